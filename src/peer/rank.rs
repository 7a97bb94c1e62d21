//! Which of two direct paths that both work is the better one: by what they lead through, and by how long they take. The
//! bounds lie apart, so that two paths never change places back and forth.

use std::net::{IpAddr, SocketAddr};

use crate::base::time::Duration;

/// What a path to an address leads through. The lesser is the better one where nothing else speaks against it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// An own network: no NAT and no provider in between.
    Lan,
    /// The Internet without address translation.
    Ipv6,
    /// The rest.
    Ipv4,
}

impl Scope {
    /// Of the path to that address.
    pub fn of(address: SocketAddr) -> Scope {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => Scope::Lan,
            IpAddr::V4(_) => Scope::Ipv4,
            // Unique local and link-local addresses (RFC 4193, RFC 4291).
            IpAddr::V6(ip) if matches!(ip.octets()[0], 0xfc..=0xfe) => Scope::Lan,
            IpAddr::V6(_) => Scope::Ipv6,
        }
    }
}

/// By so much a path of a better scope may be slower.
const HANDICAP: Duration = Duration::from_millis(10);
/// Differences below this are noise.
const NOISE: Duration = Duration::from_millis(2);

/// Whether the first path should be left for the second.
pub fn is_better(old: (SocketAddr, Duration), new: (SocketAddr, Duration)) -> bool {
    let [was, is] = [old, new].map(|(address, _)| Scope::of(address));
    let (slow, fast) = (old.1, new.1);
    // A quarter less, and not by chance.
    let much_faster = fast * 4 < slow * 3 && fast + NOISE < slow;
    match is.cmp(&was) {
        core::cmp::Ordering::Less => fast <= slow + HANDICAP,
        core::cmp::Ordering::Equal => much_faster,
        core::cmp::Ordering::Greater => much_faster && fast + 2 * HANDICAP < slow,
    }
}

/// How long packets take to the peer and back by the path in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundTrip {
    /// As measured last.
    pub last: Duration,
    /// The least of late, which noise cannot make less. Others are compared with it.
    pub least: Duration,
}

impl RoundTrip {
    /// With one more measurement. What was the least counts less each time, so that a path that became slow is left.
    pub fn measured(before: Option<RoundTrip>, last: Duration) -> RoundTrip {
        let least = before.map_or(last, |before| last.min(before.least + before.least / 16 + NOISE / 8));
        RoundTrip { last, least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: &str = "192.168.1.2:7000";
    const LAN6: &str = "[fd00::2]:7000";
    const V6: &str = "[2001:db8::2]:7000";
    const V4: &str = "192.0.2.1:7000";
    const SHARED: &str = "100.64.0.1:7000";

    fn path(text: &str, ms: u64) -> (SocketAddr, Duration) {
        (text.parse().unwrap(), Duration::from_millis(ms))
    }

    #[test]
    fn scopes() {
        let of = |text: &str| Scope::of(text.parse().unwrap());
        assert_eq!([LAN, LAN6, "[fe80::1]:7000"].map(of), [Scope::Lan; 3]);
        assert_eq!([of(V6), of(V4), of(SHARED)], [Scope::Ipv6, Scope::Ipv4, Scope::Ipv4]);
    }

    #[test]
    fn what_is_left_for_what() {
        for (old, new, left) in [
            (path(V4, 20), path(V6, 20), true),
            (path(V4, 20), path(V6, 30), true),
            (path(V4, 20), path(V6, 31), false),
            (path(V6, 20), path(LAN, 1), true),
            (path(V4, 40), path(V4, 31), false),
            (path(V4, 40), path(V4, 29), true),
            (path(V4, 2), path(V4, 1), false),
            (path(V6, 60), path(V4, 45), false),
            (path(V6, 100), path(V4, 70), true),
            (path(LAN, 5), path(V4, 1), false),
        ] {
            assert_eq!(is_better(old, new), left, "{old:?} for {new:?}");
        }
    }

    #[test]
    fn one_slow_answer_does_not_make_a_path_slow_but_forty_do() {
        let ms = Duration::from_millis;
        let after = |slow: usize| {
            let begin = RoundTrip::measured(None, ms(10));
            (0..slow).fold(begin, |before, _| RoundTrip::measured(Some(before), ms(80)))
        };
        assert_eq!(after(0), RoundTrip { last: ms(10), least: ms(10) });
        assert_eq!(after(1).last, ms(80));
        assert!(after(1).least < ms(12) && after(40).least == ms(80), "{:?} {:?}", after(1), after(40));
        assert_eq!(RoundTrip::measured(Some(after(40)), ms(9)).least, ms(9));
    }

    #[test]
    fn no_two_paths_change_places_for_ever() {
        for one in [LAN, V6, V4] {
            for other in [LAN, V6, V4] {
                for (a, b) in (0..60).flat_map(|a| (0..60).map(move |b| (2 * a, 2 * b))) {
                    let (one, other) = (path(one, a), path(other, b));
                    assert!(!(is_better(one, other) && is_better(other, one)), "{one:?} {other:?}");
                }
            }
        }
    }
}
