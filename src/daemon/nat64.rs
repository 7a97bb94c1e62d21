//! Whether IPv4 is reached through a NAT64, and by which prefix: only while this host has a way to the world over IPv6 and
//! none over IPv4. The network's name servers are asked for the prefix again when the network changed, and when the answer
//! is old; where they tell none, it is the well-known one.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use super::Daemon;
use crate::base::event::Event;
use crate::base::ids::HostId;
use crate::base::limits::{BACKOFF_MAX, FIRST_PAUSE, NAT64_AGE, RESOLVE_AFTER};
use crate::base::settings::{Host, Settings};
use crate::base::time::{Backoff, Instant};
use crate::sys::nat64::{NAME, Prefix};
use crate::sys::resolver::Answer;
use crate::sys::udp::Family;

/// The names that the resolver is to know: of the initial peers, and the one that tells the prefix.
pub fn names(settings: &Settings) -> Vec<Host> {
    let mut names = settings.initpeers.clone();
    if settings.nat64 {
        names.push(Host { name: NAME.to_owned(), port: 0 });
    }
    names
}

/// The search for the prefix.
pub struct Nat64 {
    /// The resolver's number of the name that tells it.
    name: HostId,
    /// When to ask; never while there is no need for a translator.
    due: Option<Instant>,
    pauses: Backoff,
    known: Option<Prefix>,
}

impl Nat64 {
    /// None unless it is wanted.
    pub fn new(settings: &Settings) -> Option<Nat64> {
        let name = HostId(u16::try_from(settings.initpeers.len()).ok()?);
        let pauses = Backoff::new(FIRST_PAUSE, BACKOFF_MAX);
        settings.nat64.then_some(Nat64 { name, due: None, pauses, known: None })
    }

    /// The network changed: there is need for a translator from now on, or none.
    fn network_changed(&mut self, now: Instant, needed: bool) {
        self.pauses.reset();
        self.due = needed.then_some(now);
    }

    /// When to ask for the prefix.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The name to ask for now.
    fn poll(&mut self, now: Instant) -> Option<HostId> {
        self.due.filter(|at| *at <= now)?;
        // Unless an answer comes before.
        self.due = Some(now + RESOLVE_AFTER);
        Some(self.name)
    }

    /// Name servers that say nothing change nothing, but for the first time.
    fn handle_answer(&mut self, now: Instant, found: Option<&[SocketAddr]>) {
        if self.due.is_none() {
            return;
        }
        let again = match found {
            Some(found) => {
                self.pauses.reset();
                self.known = Prefix::told_by(found);
                NAT64_AGE
            }
            None => self.pauses.pause(),
        };
        self.due = Some(now + again);
        self.known.get_or_insert(Prefix::WELL_KNOWN);
    }

    /// Whether it is not known yet what an address leads through.
    fn waits(&self) -> bool {
        self.due.is_some() && self.known.is_none()
    }

    /// The prefix that is to be used now.
    fn in_use(&self) -> Option<Prefix> {
        self.known.filter(|_| self.due.is_some())
    }
}

impl Daemon {
    /// Looks whether this host needs a translator.
    pub(super) fn look_for_nat64(&mut self, now: Instant) {
        let Some(nat64) = &mut self.nat64 else { return };
        let (udp, [v4, v6]) = (&self.devices.udp, self.devices.network.ways_out());
        let has_v4 = v4.is_some() && udp.socket(Family::V4).is_some();
        nat64.network_changed(now, !has_v4 && v6.is_some() && udp.socket(Family::V6).is_some());
        self.switch_nat64();
    }

    /// Asks for the prefix when that is due.
    pub(super) fn ask_for_nat64(&mut self, now: Instant) {
        if let Some(name) = self.nat64.as_mut().and_then(|nat64| nat64.poll(now)) {
            self.out.tell(Event::Resolve(name));
        }
    }

    /// Takes in what tells of the prefix, or else returns false and leaves of what tells of an initial peer each address
    /// once: name servers that make IPv6 addresses of IPv4 ones tell both. Until they told the prefix, nobody knows which
    /// are made; the names are asked for again then.
    pub(super) fn handle_nat64(&mut self, now: Instant, answer: &mut Answer) -> bool {
        let Some(nat64) = &mut self.nat64 else { return false };
        if nat64.name == answer.host {
            nat64.handle_answer(now, answer.found.as_deref().ok());
            if self.switch_nat64() {
                self.node.handle_network_change(now, &mut self.out);
            }
            return true;
        }
        let Ok(found) = &mut answer.found else { return false };
        if nat64.waits() && found.iter().any(SocketAddr::is_ipv4) {
            return true;
        }
        if nat64.in_use().is_some() {
            for at in (0..found.len()).rev() {
                let address = self.devices.udp.inward(found[at]);
                if found[..at].iter().any(|other| self.devices.udp.inward(*other) == address) {
                    found.remove(at);
                } else {
                    found[at] = address;
                }
            }
        }
        false
    }

    /// Has the sockets do what is decided; true if they did something else before.
    fn switch_nat64(&mut self) -> bool {
        let prefix = self.nat64.as_ref().and_then(Nat64::in_use);
        if !self.devices.udp.translate(prefix) {
            return false;
        }
        let text = prefix.map(|prefix| prefix.to_string());
        let told = text.as_deref().unwrap_or("none");
        self.log.info(format_args!("NAT64 for IPv4: prefix={told}"));
        self.about.set_nat64(text);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn search() -> Nat64 {
        Nat64 { name: HostId(2), due: None, pauses: Backoff::new(FIRST_PAUSE, BACKOFF_MAX), known: None }
    }

    fn in_use(nat64: &Nat64) -> String {
        nat64.in_use().map_or("none".to_owned(), |prefix| prefix.to_string())
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn a_host_with_ipv4_asks_nobody_and_translates_nothing() {
        let mut nat64 = search();
        nat64.network_changed(at(0), false);
        assert_eq!((nat64.next_timeout(), nat64.poll(at(9999))), (None, None));
        // What was asked before IPv4 came is answered late.
        nat64.handle_answer(at(1), Some(&addresses(&["2001:db8::192.0.0.170"])));
        assert_eq!((in_use(&nat64).as_str(), nat64.next_timeout()), ("none", None));
    }

    #[test]
    fn the_prefix_is_asked_for_again_when_it_is_old_and_when_the_network_changed() {
        let mut nat64 = search();
        nat64.network_changed(at(0), true);
        assert_eq!(nat64.poll(at(0)), Some(HostId(2)));
        assert_eq!(nat64.poll(at(1)), None, "it is asked for already");
        nat64.handle_answer(at(1), Some(&addresses(&["192.0.0.170", "2001:db8:64::192.0.0.170"])));
        assert_eq!(in_use(&nat64), "2001:db8:64::/96");
        assert_eq!(nat64.next_timeout(), Some(at(1) + NAT64_AGE));
        nat64.network_changed(at(50), true);
        assert_eq!(in_use(&nat64), "2001:db8:64::/96", "until another is told");
        assert_eq!(nat64.poll(at(50)), Some(HostId(2)));
        nat64.handle_answer(at(51), Some(&addresses(&["64:ff9b:1::192.0.0.171"])));
        assert_eq!(in_use(&nat64), "64:ff9b:1::/96");
        assert_eq!(nat64.poll(at(50) + NAT64_AGE), None);
        assert!(nat64.poll(at(51) + NAT64_AGE).is_some());
        assert!(nat64.poll(at(51) + NAT64_AGE + RESOLVE_AFTER).is_some(), "the question was lost");
        nat64.network_changed(at(9999), false);
        assert_eq!(in_use(&nat64), "none");
        nat64.network_changed(at(9999), true);
        assert_eq!(in_use(&nat64), "64:ff9b:1::/96", "what it was is the best guess");
    }

    #[test]
    fn where_nobody_tells_the_well_known_prefix_serves() {
        let mut nat64 = search();
        nat64.network_changed(at(0), true);
        assert!(nat64.waits() && in_use(&nat64) == "none", "nothing is known yet");
        let asked_after = |nat64: &mut Nat64, now: u64| {
            assert!(nat64.poll(at(now)).is_some());
            nat64.handle_answer(at(now), None);
            nat64.next_timeout().unwrap().since(at(now)).as_secs()
        };
        assert_eq!(asked_after(&mut nat64, 0), 1);
        assert_eq!((in_use(&nat64).as_str(), nat64.waits()), ("64:ff9b::/96", false));
        assert_eq!([asked_after(&mut nat64, 1), asked_after(&mut nat64, 3)], [2, 4]);
        // Servers that know only the name's IPv4 addresses make none of IPv6.
        assert!(nat64.poll(at(7)).is_some());
        nat64.handle_answer(at(7), Some(&addresses(&["2001:db8:64::192.0.0.170"])));
        assert!(nat64.poll(at(9999)).is_some());
        nat64.handle_answer(at(9999), None);
        assert_eq!(in_use(&nat64), "2001:db8:64::/96", "silence is no answer");
        nat64.handle_answer(at(9999), Some(&addresses(&["192.0.0.170", "192.0.0.171"])));
        assert_eq!(in_use(&nat64), "64:ff9b::/96");
    }
}
