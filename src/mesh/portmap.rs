//! Port mapping: the NAT in front of us is asked to let everybody in at a port of its own.
//!
//! PCP first (RFC 6887), then NAT-PMP (RFC 6886), each as often as its standard lets a question be repeated. What is
//! granted is renewed at half its time, asked for anew when the network changed, and given back at a stop. A gateway
//! that grants nothing is left alone for [`PORTMAP_REST`].
//!
//! ```text
//!   asking by PCP ---- silent, refused, unknown ---> asking by NAT-PMP ---- silent, refused ---> resting
//!        |                                                 |                                       |
//!        +---------------> granted <-----------------------+                  (an hour, or a change of the network)
//! ```
//!
//! It is asked only where our own address is one that NATs stand in front of. Nothing that it says is proved: where it
//! says we are is told on as a hint, which costs those who follow it a few challenges (S2). So an answer counts only
//! from the gateway's own port, while a question is out, and with the question's nonce where the protocol has one; what
//! is granted is taken for no shorter than [`MAPPED_LEAST`]; and of what comes unasked, none does more than bring the
//! next question forward, to [`MAPPED_LEAST`] after the last.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::base::discard::Discard;
use crate::base::event::{Event, MapState, Mapping, Refusal};
use crate::base::limits::{
    MAPPED_LEAST, MAPPED_MOST, MAPPING_LIFE, NAT_PMP_FIRST, NAT_PMP_TRIES, PCP_FIRST, PCP_TRIES,
    PORTMAP_REST, RENEW_LEAST,
};
use crate::base::outbox::Outbox;
use crate::base::settings::Settings;
use crate::base::time::{Duration, Instant, earliest};
use crate::crypto::schedule::expand;
use crate::mesh::Mesh;
use crate::wire::cursor::Writer;
use crate::wire::portmap::{ASK_MAX, Ask, GATEWAY_PORT, Told};

/// What is asked of a gateway, if there is one to ask.
pub(super) struct PortMap {
    on: bool,
    /// The only address that we send from, if there is one.
    local: Option<Ipv4Addr>,
    /// The same after a restart, so that the gateway knows whose the mapping is (RFC 6887, section 11.2).
    nonce: [u8; 12],
    gate: Option<Gate>,
}

/// A gateway, and how far we are with it.
struct Gate {
    address: Ipv4Addr,
    ours: SocketAddrV4,
    pcp: bool,
    /// How often the question at hand was put; 0: none is out.
    tries: u8,
    /// When the next one is due.
    next: Instant,
    asked: Instant,
    resting: bool,
    refused: Option<Refusal>,
    /// NAT-PMP tells address and port one after the other.
    outside: Option<Ipv4Addr>,
    granted: Option<(SocketAddrV4, Instant)>,
    /// What its clock said, and when.
    epoch: Option<(u32, Instant)>,
}

impl PortMap {
    pub(super) fn new(settings: &Settings, secret: &[u8; 32]) -> PortMap {
        let local = match settings.local {
            Some(IpAddr::V4(local)) if !local.is_unspecified() => Some(local),
            _ => None,
        };
        let nonce = expand(secret, &[b"peervpn port mapping nonce\0"]);
        PortMap { on: settings.port_mapping && settings.enable_ipv4, local, nonce, gate: None }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let gate = self.gate.as_ref()?;
        earliest(Some(gate.next), gate.granted.map(|(_, until)| until))
    }

    /// What to ask now; `life` in seconds, 0 gives the mapping back.
    fn question(&self, gate: &Gate, life: u32) -> Ask {
        let port = gate.ours.port();
        let wish = gate.granted.map_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), |(at, _)| at);
        match gate.pcp {
            true => Ask::Map { nonce: self.nonce, client: *gate.ours.ip(), port, lifetime: life, wish },
            false if life == 0 => Ask::MapPort { port, wish: 0, lifetime: 0 },
            false if gate.outside.is_none() => Ask::Outside,
            false => Ask::MapPort { port, wish: wish.port(), lifetime: life },
        }
    }

    /// What an answer says, if it is one; none when it changes no more than the time of the next question.
    fn read(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<Option<Said>, Discard> {
        let is_its = |gate: &&mut Gate| from == SocketAddr::from((gate.address, GATEWAY_PORT));
        let gate = self.gate.as_mut().filter(is_its).ok_or(Discard::Malformed)?;
        let waits = gate.tries > 0;
        Ok(match (Told::read(bytes)?, gate.pcp, gate.outside) {
            (Told::Mapped { code, nonce, port, outside, lifetime: life, epoch }, true, _)
                if nonce == self.nonce && port == gate.ours.port() =>
            {
                let said = Said { code: code.into(), epoch, outside, life };
                // A gateway may tell of changes unasked (RFC 6887, section 14.2).
                if !waits && gate.granted.is_some_and(|(at, _)| code != 0 || at != outside) {
                    gate.hurry();
                }
                Some(said).filter(|_| waits)
            }
            (Told::Outside { code, address, epoch }, false, None) if waits => {
                Some(Said { code, epoch, outside: SocketAddrV4::new(address, 0), life: 0 })
            }
            (Told::MappedPort { code, port, outside, lifetime: life, epoch }, false, Some(ip))
                if waits && port == gate.ours.port() =>
            {
                Some(Said { code, epoch, outside: SocketAddrV4::new(ip, outside), life })
            }
            // As if it had never answered.
            (Told::OtherVersion, ..) if waits => {
                (gate.tries, gate.next) = (gate.limit(), gate.asked);
                None
            }
            (Told::Anew { .. }, ..) => {
                gate.hurry();
                None
            }
            _ => return Err(Discard::Unexpected),
        })
    }
}

/// What an answer says that a question was out for.
struct Said {
    code: u16,
    epoch: u32,
    /// Without a port, NAT-PMP tells that after the address.
    outside: SocketAddrV4,
    life: u32,
}

impl Gate {
    /// A round of questions is due at once; where nothing is granted, it begins with PCP.
    fn begin(&mut self, now: Instant) {
        self.pcp |= self.granted.is_none();
        (self.tries, self.next, self.resting) = (0, now, false);
        (self.refused, self.outside) = (None, None);
    }

    /// How often a question is put.
    fn limit(&self) -> u8 {
        if self.pcp { PCP_TRIES } else { NAT_PMP_TRIES }
    }

    /// The question at hand comes to nothing.
    fn fail(&mut self, now: Instant, why: Option<Refusal>) {
        self.refused = why.or(self.refused);
        (self.tries, self.outside, self.next) = (0, None, now);
        if let Some((_, until)) = self.granted {
            // RFC 6887, section 11.2.1.
            self.next = now + (until.since(now) / 2).max(RENEW_LEAST);
        } else if self.pcp {
            self.pcp = false;
        } else {
            (self.pcp, self.resting, self.next) = (true, true, now + PORTMAP_REST);
        }
    }

    /// Something is new, as somebody says who proves nothing.
    fn hurry(&mut self) {
        if self.tries == 0 {
            self.next = self.next.min(self.asked + MAPPED_LEAST);
        }
    }

    /// Notes what the gateway's clock says. Whether it has lost what it granted since it was last heard (RFC 6887,
    /// section 8.5; RFC 6886, section 3.6).
    fn is_anew(&mut self, now: Instant, epoch: u32) -> bool {
        let Some((before, then)) = self.epoch.replace((epoch, now)) else { return false };
        let passed = now.since(then).as_secs();
        let Some(grown) = (u64::from(epoch) + 1).checked_sub(u64::from(before)) else { return true };
        let slow = grown + 2 < passed - passed / 16;
        slow || (self.pcp && passed + 2 < grown - grown / 16)
    }
}

impl Mesh {
    /// By which address of ours, port included, and through which router IPv4 packets leave for the world, if they do. To
    /// be told at the start and whenever the network changed: the router is asked again.
    pub fn handle_gateway(&mut self, now: Instant, way: Option<(SocketAddrV4, Ipv4Addr)>, out: &mut Outbox) {
        let PortMap { on, local, .. } = self.portmap;
        let way = way.filter(|(ours, _)| {
            on && local.is_none_or(|local| local == *ours.ip()) && is_behind_nats(*ours.ip())
        });
        let known = self.portmap.gate.as_ref().map(|gate| (gate.ours, gate.address));
        if known != way {
            self.portmap.gate = way.map(|(ours, address)| Gate {
                address,
                ours,
                pcp: true,
                tries: 0,
                next: now,
                asked: now,
                resting: false,
                refused: None,
                outside: None,
                granted: None,
                epoch: None,
            });
            self.set_mapping(now, out);
        } else if let Some(gate) = &mut self.portmap.gate {
            gate.begin(now);
        }
        self.wake(now);
    }

    /// Asks the gateway, if that is due.
    pub(super) fn ask_gateway(&mut self, now: Instant, out: &mut Outbox) {
        let Some(gate) = &mut self.portmap.gate else { return };
        if gate.granted.take_if(|(_, until)| *until <= now).is_some() {
            gate.begin(now);
            self.set_mapping(now, out);
        }
        let Some(gate) = self.portmap.gate.as_mut().filter(|gate| gate.next <= now) else { return };
        if gate.resting {
            gate.begin(now);
        }
        if gate.tries == gate.limit() {
            gate.fail(now, None);
            if gate.next > now {
                return;
            }
        }
        let first = if gate.pcp { PCP_FIRST } else { NAT_PMP_FIRST };
        let pause = first * (1 << gate.tries);
        gate.tries += 1;
        (gate.asked, gate.next) = (now, now + pause + self.random.jitter(pause / 8));
        self.send_to_gateway(MAPPING_LIFE, out);
    }

    /// Gives back what was granted.
    pub(super) fn give_mapping_back(&self, out: &mut Outbox) {
        if self.own.mapped.is_some() {
            self.send_to_gateway(0, out);
        }
    }

    fn send_to_gateway(&self, life: u32, out: &mut Outbox) {
        let Some(gate) = &self.portmap.gate else { return };
        let mut room = [0; ASK_MAX];
        let mut writer = Writer::new(&mut room);
        let written = self.portmap.question(gate, life).write(&mut writer).map(|()| writer.written());
        let packet = written.and_then(|written| {
            let mut packet = out.blank()?;
            packet.append(&room[..written])?;
            Ok(packet)
        });
        match packet {
            Ok(packet) => out.send((gate.address, GATEWAY_PORT).into(), packet),
            Err(why) => out.count(why),
        }
    }

    /// What may be an answer of the gateway: a datagram that is none of the protocol's.
    pub(super) fn handle_gateway_answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let said = self.portmap.read(from, bytes)?;
        if let (Some(said), Some(gate)) = (said, &mut self.portmap.gate) {
            if gate.is_anew(now, said.epoch) {
                gate.granted = None;
            }
            let refusal = Refusal::of(gate.pcp, said.code);
            if refusal.is_none() && !gate.pcp && gate.outside.is_none() {
                // Its port is to be asked for.
                (gate.outside, gate.tries, gate.next) = (Some(*said.outside.ip()), 0, now);
            } else if refusal.is_none() && said.life > 0 && self.own.allows(said.outside.into()) {
                let life = Duration::from_secs(said.life.into()).clamp(MAPPED_LEAST, MAPPED_MOST);
                let renewal = life / 2 + self.random.jitter(life / 8);
                gate.granted = Some((said.outside, now + life));
                (gate.outside, gate.tries, gate.next) = (None, 0, now + renewal);
            } else {
                gate.fail(now, Some(refusal.unwrap_or(Refusal::BadAddress)));
            }
            self.set_mapping(now, out);
        }
        self.wake(now);
        Ok(())
    }

    /// Takes over where we are mapped, if that has changed: who is not reached directly may be now.
    fn set_mapping(&mut self, now: Instant, out: &mut Outbox) {
        let granted = self.portmap.gate.as_ref().and_then(|gate| gate.granted);
        let mapped = granted.map(|(at, _)| SocketAddr::from(at));
        if self.own.mapped == mapped {
            return;
        }
        self.own.mapped = mapped;
        out.tell(Event::Mapped(mapped));
        for (_, member) in self.peers.iter_mut() {
            if mapped.is_some() && member.peer.is_up() && member.peer.direct().is_none() {
                member.punch.restart();
                member.peer.seek_direct(now);
            }
        }
    }

    /// What became of it; none where nobody is asked.
    pub fn mapping(&self) -> Option<Mapping> {
        let gate = self.portmap.gate.as_ref()?;
        let state = match (gate.granted, gate.refused) {
            (Some((at, until)), _) => MapState::Granted { at: at.into(), until },
            _ if !gate.resting => MapState::Asking,
            (None, Some(why)) => MapState::Refused(why),
            (None, None) => MapState::Silent,
        };
        Some(Mapping { gateway: gate.address, pcp: gate.pcp, state })
    }
}

/// Whether an address is one of those that NATs stand in front of (RFC 1918, RFC 6598).
fn is_behind_nats(ip: Ipv4Addr) -> bool {
    ip.is_private() || ip.to_bits() >> 22 == u32::from_be_bytes([100, 64, 0, 0]) >> 22
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 2), 7000);
    const OUTSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 9), 7001);
    const NONCE: [u8; 12] = [9; 12];

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A question is out, by PCP or by NAT-PMP.
    fn asking(pcp: bool) -> Gate {
        Gate {
            address: Ipv4Addr::new(192, 168, 1, 1),
            ours: OURS,
            pcp,
            tries: 1,
            next: at(3),
            asked: at(0),
            resting: false,
            refused: None,
            outside: None,
            granted: None,
            epoch: None,
        }
    }

    fn map(gate: Gate) -> PortMap {
        PortMap { on: true, local: None, nonce: NONCE, gate: Some(gate) }
    }

    /// PCP's answer to our question, as the standard has it.
    fn mapped(code: u8, nonce: [u8; 12], port: u16, outside: SocketAddrV4) -> Vec<u8> {
        let mut bytes = vec![2, 129, 0, code, 0, 0, 2, 88, 0, 0, 0, 7];
        bytes.extend([0; 12]);
        bytes.extend(nonce);
        bytes.extend([17, 0, 0, 0]);
        bytes.extend(port.to_be_bytes());
        bytes.extend(outside.port().to_be_bytes());
        bytes.extend(outside.ip().to_ipv6_mapped().octets());
        bytes
    }

    #[test]
    fn nats_stand_in_front_of_some_addresses_only() {
        for (address, is_behind) in [
            ([10, 0, 0, 1], true),
            ([172, 31, 255, 255], true),
            ([192, 168, 1, 2], true),
            ([100, 64, 0, 0], true),
            ([100, 127, 255, 255], true),
            ([100, 63, 255, 255], false),
            ([100, 128, 0, 0], false),
            ([172, 32, 0, 1], false),
            ([198, 18, 0, 1], false),
            ([169, 254, 0, 1], false),
            ([127, 0, 0, 1], false),
        ] {
            assert_eq!(is_behind_nats(address.into()), is_behind, "{address:?}");
        }
    }

    #[test]
    fn an_answer_counts_from_the_gateway_alone_and_for_the_question_at_hand() {
        let gateway: SocketAddr = ([192, 168, 1, 1], GATEWAY_PORT).into();
        let answer = mapped(0, NONCE, 7000, OUTSIDE);
        let read = |gate: Gate, from: SocketAddr, bytes: &[u8]| {
            map(gate).read(from, bytes).map(|said| said.map(|said| said.outside))
        };
        assert_eq!(read(asking(true), gateway, &answer), Ok(Some(OUTSIDE)));
        for elsewhere in [([192, 168, 1, 1], 7000), ([192, 168, 1, 3], GATEWAY_PORT)] {
            assert_eq!(read(asking(true), elsewhere.into(), &answer), Err(Discard::Malformed));
        }
        let port = [0, 129, 0, 0, 0, 0, 0, 7, 0x1b, 0x58, 0x1b, 0x59, 0, 0, 0x0e, 0x10];
        let outside = [0, 128, 0, 0, 0, 0, 0, 7, 198, 18, 0, 9];
        for bytes in [
            // Who cannot see our questions does not know the nonce.
            &mapped(0, [8; 12], 7000, OUTSIDE)[..],
            &mapped(0, NONCE, 7001, OUTSIDE),
            &port,
            &outside,
        ] {
            assert_eq!(read(asking(true), gateway, bytes), Err(Discard::Unexpected));
        }
        assert_eq!(read(asking(false), gateway, &answer), Err(Discard::Unexpected));
        assert_eq!(read(asking(false), gateway, &port), Err(Discard::Unexpected), "the address comes first");
        let known = Gate { outside: Some(*OUTSIDE.ip()), ..asking(false) };
        assert_eq!(read(known, gateway, &port), Ok(Some(OUTSIDE)));
        let known = Gate { outside: Some(*OUTSIDE.ip()), ..asking(false) };
        assert_eq!(read(known, gateway, &outside), Err(Discard::Unexpected), "it is known");
    }

    #[test]
    fn what_comes_unasked_brings_the_next_question_forward_and_no_more() {
        let gateway: SocketAddr = ([192, 168, 1, 1], GATEWAY_PORT).into();
        let other = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 10), 7001);
        let anew = [&[2, 128, 0, 0][..], &[0; 20]].concat();
        let soon = at(100) + MAPPED_LEAST;
        for (bytes, next) in [
            (mapped(0, NONCE, 7000, other), soon),
            (mapped(2, NONCE, 7000, OUTSIDE), soon),
            (anew, soon),
            (mapped(0, NONCE, 7000, OUTSIDE), at(900)),
        ] {
            let granted = Some((OUTSIDE, at(1300)));
            let mut map = map(Gate { tries: 0, asked: at(100), next: at(900), granted, ..asking(true) });
            assert!(map.read(gateway, &bytes).is_ok_and(|said| said.is_none()));
            let gate = map.gate.unwrap();
            assert_eq!((gate.next, gate.granted), (next, granted));
        }
        let version = [0, 128, 0, 1, 0, 0, 0, 7];
        let mut idle = map(Gate { tries: 0, ..asking(true) });
        assert_eq!(idle.read(gateway, &version).err(), Some(Discard::Unexpected));
    }

    #[test]
    fn a_clock_that_stood_still_or_jumped_is_another_one() {
        for (passed, epoch, pcp, is_anew) in [
            (600, 1600, true, false),
            (600, 1570, true, false),
            (600, 1638, true, false),
            (600, 1500, true, true),
            (600, 1700, true, true),
            // NAT-PMP allows a clock to be fast.
            (600, 1700, false, false),
            (600, 1500, false, true),
            (600, 0, false, true),
            (0, 999, true, false),
            (0, 998, true, true),
        ] {
            let mut gate = Gate { epoch: Some((1000, at(50))), ..asking(pcp) };
            assert_eq!(gate.is_anew(at(50 + passed), epoch), is_anew, "{passed} {epoch} {pcp}");
        }
        assert!(!asking(true).is_anew(at(0), 0), "there is nothing to compare it with");
    }

    #[test]
    fn what_comes_to_nothing_leads_on_to_the_other_protocol_and_to_rest() {
        let mut gate = asking(true);
        gate.fail(at(21), Some(Refusal::NoRoom));
        assert_eq!((gate.pcp, gate.tries, gate.next, gate.resting), (false, 0, at(21), false));
        gate.fail(at(30), None);
        assert_eq!((gate.pcp, gate.next, gate.resting), (true, at(30) + PORTMAP_REST, true));
        assert_eq!(gate.refused, Some(Refusal::NoRoom), "what was said is not forgotten");
        // A renewal is tried again in half of what is left, but not at every moment.
        let mut gate = Gate { granted: Some((OUTSIDE, at(1000))), ..asking(true) };
        for (now, next) in [(600, 800), (996, 1000)] {
            gate.fail(at(now), None);
            assert_eq!((gate.pcp, gate.next, gate.resting), (true, at(next), false));
        }
    }
}
