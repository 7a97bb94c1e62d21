//! Discovery on local networks: a beacon to everybody on the link, from which members of the same network, and nobody
//! else, learn that there is one more and where.
//!
//! It is sent at the start, when the host's network changed, and every [`BEACON_EVERY`]: the node says when
//! ([`Event::Beacon`]), the daemon asks for one for each of its addresses and knows the links. Who lacks the network's
//! key sees random bytes. The tag covers the address that it was sent from, so one that is recorded and sent again
//! points at nobody else; and whoever does that gains one first message to that address in [`MEET_EVERY`]. Nor is
//! what a beacon says believed: it is a hint, as what peers tell is (S2, S11).

use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::ids::NodeId;
use crate::base::limits::{BEACON_EVERY, BEACON_JITTER, MEET_EVERY, MEETINGS};
use crate::base::outbox::Outbox;
use crate::base::table::Table;
use crate::base::time::Instant;
use crate::crypto::random::Random;
use crate::crypto::schedule::{expand, hmac_sha256};
use crate::mesh::Mesh;
use crate::wire::beacon::{BEACON, Beacon, HIDDEN};
use crate::wire::cursor::{Reader, Writer};

/// What a node needs to send beacons and to know them.
pub(super) struct Discovery {
    key: [u8; 32],
    /// Beacons under this one are known, too.
    next_key: Option<[u8; 32]>,
    /// That of the current round: our own beacons come back to us.
    nonce: [u8; 8],
    next: Instant,
    /// When each address that sent one was last taken seriously.
    met: Table<IpAddr, Instant>,
}

impl Discovery {
    /// The first round is due at once.
    pub(super) fn new(key: [u8; 32], random: &mut Random, now: Instant) -> Discovery {
        let met = Table::new(MEETINGS, random.u64());
        Discovery { key, next_key: None, nonce: random.bytes(), next: now, met }
    }

    /// Knows beacons under another key as well.
    pub(super) fn accept_next(&mut self, key: [u8; 32]) {
        self.next_key = Some(key);
    }

    /// When the next round is due.
    pub(super) fn next_timeout(&self) -> Instant {
        self.next
    }

    fn make(&self, id: NodeId, port: u16, from: IpAddr) -> [u8; BEACON] {
        let mut hidden = [0; HIDDEN];
        let mut writer = Writer::new(&mut hidden);
        // Both fit.
        _ = writer.u16(port).and_then(|()| writer.put(&id.0));
        let mut beacon =
            Beacon { nonce: self.nonce, hidden: mask(&self.key, &self.nonce, hidden), tag: [0; 16] };
        beacon.tag = tag(&self.key, &beacon, from);
        beacon.write()
    }

    fn open(&self, from: IpAddr, bytes: &[u8]) -> Result<(NodeId, u16), Discard> {
        let beacon = Beacon::read(bytes)?;
        let is_its = |key: &&[u8; 32]| bool::from(tag(key, &beacon, from).ct_eq(&beacon.tag));
        let key = [Some(&self.key), self.next_key.as_ref()].into_iter().flatten().find(is_its);
        let key = key.ok_or(Discard::Forged)?;
        if beacon.nonce == self.nonce {
            return Err(Discard::Ourselves);
        }
        let plain = mask(key, &beacon.nonce, beacon.hidden);
        let mut reader = Reader::new(&plain);
        let port = reader.u16()?;
        Ok((NodeId(reader.array()?), port))
    }
}

/// Hides what is plain, or the reverse.
fn mask(key: &[u8; 32], nonce: &[u8; 8], mut text: [u8; HIDDEN]) -> [u8; HIDDEN] {
    let mask: [u8; HIDDEN] = expand(key, &[b"peervpn beacon mask\0", nonce]);
    text.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    text
}

fn tag(key: &[u8; 32], beacon: &Beacon, from: IpAddr) -> [u8; 16] {
    let covered = &beacon.write()[..BEACON - 16];
    let mac = match from {
        IpAddr::V4(ip) => hmac_sha256(key, &[b"peervpn beacon tag\0", covered, &ip.octets()]),
        IpAddr::V6(ip) => hmac_sha256(key, &[b"peervpn beacon tag\0", covered, &ip.octets()]),
    };
    let mut tag = [0; 16];
    tag.copy_from_slice(&mac[..16]);
    tag
}

impl Mesh {
    /// Asks for a round of beacons, when one is due.
    pub(super) fn send_beacons(&mut self, now: Instant, out: &mut Outbox) {
        let Some(discovery) = self.discovery.as_mut().filter(|discovery| discovery.next <= now) else {
            return;
        };
        discovery.nonce = self.random.bytes();
        discovery.next = now + BEACON_EVERY + self.random.jitter(BEACON_JITTER);
        out.tell(Event::Beacon);
    }

    /// The next round is due at once.
    pub(super) fn hurry_beacons(&mut self, now: Instant) {
        if let Some(discovery) = &mut self.discovery {
            discovery.next = now;
        }
    }

    /// The beacon of this round to send from the address `from`; none unless local networks are searched.
    pub fn beacon(&self, from: IpAddr) -> Option<[u8; BEACON]> {
        Some(self.discovery.as_ref()?.make(self.id(), self.port, from))
    }

    /// A beacon came from `from`, an address on a local network. Its port is not of interest.
    pub fn handle_beacon(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<(), Discard> {
        let discovery = self.discovery.as_mut().ok_or(Discard::Refused)?;
        let (id, port) = discovery.open(from.ip(), bytes)?;
        let mut place = from;
        place.set_port(port);
        // No hint makes us knock at a well-known service.
        if port < 1024 {
            return Err(Discard::Malformed);
        }
        if id == self.credentials.id() {
            return Err(Discard::Ourselves);
        }
        if self.peers.iter().any(|(_, member)| member.peer.direct() == Some(place)) {
            return Ok(());
        }
        if discovery.met.get(&from.ip()).is_some_and(|last| now.since(*last) < MEET_EVERY) {
            return Err(Discard::Throttled);
        }
        discovery.met.insert(from.ip(), now);
        let key = self.know(now, id)?;
        let Some(member) = self.peers.get_mut(key) else { return Err(Discard::UnknownPeer) };
        member.peer.add_endpoint(now, place);
        if member.peer.is_up() {
            self.wake(now);
        } else if member.dial.is_active() {
            self.seek(now, key, true);
        } else {
            member.known_since = now;
            member.dial.start_once(now);
            self.wake(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(key: u8, seed: u8) -> Discovery {
        Discovery::new([key; 32], &mut Random::new([seed; 32]), Instant::ZERO)
    }

    #[test]
    fn a_beacon_is_for_members_and_from_where_it_was_sent() {
        let (ours, theirs) = (discovery(1, 1), discovery(1, 2));
        for from in ["192.168.1.7", "fe80::7"].map(|text| text.parse::<IpAddr>().unwrap()) {
            let bytes = theirs.make(NodeId([9; 32]), 7001, from);
            assert_eq!(ours.open(from, &bytes), Ok((NodeId([9; 32]), 7001)));
            assert_eq!(theirs.open(from, &bytes), Err(Discard::Ourselves));
            assert_eq!(discovery(2, 1).open(from, &bytes), Err(Discard::Forged), "another network");
            for elsewhere in ["192.168.1.8", "fe80::8"].map(|text| text.parse().unwrap()) {
                assert_eq!(ours.open(elsewhere, &bytes), Err(Discard::Forged), "sent again from elsewhere");
            }
            for at in 2..BEACON {
                let mut flipped = bytes;
                flipped[at] ^= 0x10;
                assert_eq!(ours.open(from, &flipped), Err(Discard::Forged), "byte {at}");
            }
        }
    }

    #[test]
    fn its_bytes_are_those_of_the_protocol() {
        let page = include_str!("../../PROTOCOL.md");
        let vector = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap();
            let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
            (0..line.len()).step_by(2).map(byte).collect::<Vec<u8>>()
        };
        let mut discovery = discovery(0, 1);
        discovery.key.copy_from_slice(&vector("beacon.key"));
        discovery.nonce.copy_from_slice(&vector("beacon.nonce"));
        let id = NodeId(vector("beacon.id").try_into().unwrap());
        let port = u16::from_be_bytes(vector("beacon.port").try_into().unwrap());
        let from4: [u8; 4] = vector("beacon.from4").try_into().unwrap();
        let from6: [u8; 16] = vector("beacon.from6").try_into().unwrap();
        assert_eq!(discovery.make(id, port, from4.into())[..], vector("beacon4"));
        assert_eq!(discovery.make(id, port, from6.into())[..], vector("beacon6"));
    }

    #[test]
    fn outsiders_see_neither_port_nor_identity() {
        let from = "192.168.1.7".parse().unwrap();
        let (a, b) = (discovery(1, 1), discovery(1, 2));
        let [a, b] = [a, b].map(|side| side.make(NodeId([9; 32]), 7000, from));
        assert!(
            (2..BEACON).filter(|at| a[*at] == b[*at]).count() < 5,
            "two rounds of one node have nothing in common"
        );
    }
}
