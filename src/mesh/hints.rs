//! How often we write to addresses that others told of and that have proved nothing: so often in all, and so often to
//! one place, however many nodes are said to be there (S2).

use std::net::{IpAddr, Ipv6Addr};

use crate::base::limits::{HINTS_BURST, HINTS_PER_SECOND, PLACE_BURST, PLACE_EVERY, PLACES, ROW_EVERY};
use crate::base::table::Table;
use crate::base::time::{Bucket, Duration, Instant};

/// The budgets.
pub struct Hints {
    all: Bucket,
    places: Table<IpAddr, Bucket>,
    rows: Bucket,
    /// When a row of ports went to each of the last addresses that got one.
    rowed: Table<IpAddr, Instant>,
}

impl Hints {
    /// Full budgets.
    pub fn new(now: Instant, seed: u64) -> Hints {
        let interval = Duration::from_secs(1) / HINTS_PER_SECOND;
        Hints {
            all: Bucket::new(HINTS_BURST, interval, now),
            places: Table::new(PLACES, seed),
            rows: Bucket::new(1, ROW_EVERY, now),
            rowed: Table::new(ROWS, seed),
        }
    }

    /// Takes leave to send one datagram to `to`, if there is any.
    pub fn take(&mut self, now: Instant, to: IpAddr) -> bool {
        let place = network_of(to);
        // Who gets nothing anyhow pushes no place out of the table.
        if !self.all.has(now) {
            return false;
        }
        if self.places.get(&place).is_none() {
            self.places.insert(place, Bucket::new(PLACE_BURST, PLACE_EVERY, now));
        }
        self.places
            .touch(&place)
            .is_some_and(|bucket| bucket.has(now) && self.all.take(now) && bucket.take(now))
    }

    /// Takes leave to send one datagram to each of a row of ports at `to`.
    pub fn take_row(&mut self, now: Instant, to: IpAddr) -> bool {
        let rested = self.rowed.get(&to).is_none_or(|at| now.since(*at) >= ROW_EVERY * ROWS_APART);
        let leave = rested && self.rows.take(now);
        if leave {
            self.rowed.insert(to, now);
        }
        leave
    }

    /// When something may be sent again, to whomever.
    pub fn ready_at(&self) -> Instant {
        self.all.ready_at()
    }
}

/// One address gets a row in so many times the time in which one goes to anybody.
const ROWS_APART: u32 = 10;
/// So many addresses get one before the first may have another.
const ROWS: usize = ROWS_APART as usize;

/// An IPv4 address, or the /64 of an IPv6 address: one host has all of it.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_gets_its_share_and_the_others_theirs() {
        // S2: a hint cannot make us shout at one place, nor a thousand hints at a thousand.
        let now = Instant::ZERO;
        let mut hints = Hints::new(now, 1);
        let place = |n: u8| IpAddr::from([192, 0, 2, n]);
        let one = (0..100).filter(|_| hints.take(now, place(1))).count();
        assert_eq!(one, PLACE_BURST as usize);
        let others = (2..200).filter(|n| hints.take(now, place(*n))).count();
        assert_eq!(others + one, HINTS_BURST as usize);
        assert!(hints.ready_at() > now);
        assert!(hints.take(now + PLACE_EVERY, place(1)));
    }

    #[test]
    fn what_may_not_go_pushes_no_place_out() {
        let now = Instant::ZERO;
        let mut hints = Hints::new(now, 1);
        let place = |n: u16| IpAddr::from([192, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        assert_eq!((0..100).filter(|_| hints.take(now, place(0))).count(), PLACE_BURST as usize);
        (1..2000).for_each(|n| _ = hints.take(now, place(n)));
        let soon = now + PLACE_EVERY / 2;
        assert!(!hints.take(soon, place(0)) && hints.take(soon, place(1)));
    }

    #[test]
    fn a_row_of_ports_goes_rarely_and_not_to_one_place_over_and_over() {
        // S2: a lie about somebody's NAT makes us knock at so many ports of his, in five minutes.
        let place = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut hints = Hints::new(Instant::ZERO, 1);
        assert!(hints.take_row(Instant::ZERO, place(1)));
        assert!(!hints.take_row(Instant::ZERO, place(2)), "one for all");
        let rows = |hints: &mut Hints, n: u32| hints.take_row(Instant::ZERO + ROW_EVERY * n, place(1));
        assert_eq!((1..=20).filter(|n| rows(&mut hints, *n)).collect::<Vec<_>>(), [10, 20]);
    }

    #[test]
    fn one_host_has_a_whole_ipv6_network() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
