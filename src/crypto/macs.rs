//! MACs side by side: those of packets on their way out are computed behind the rest of the work, those of datagrams
//! that came in ahead of it.
//!
//! **Out.** A MAC is the last thing that is written into a packet and nothing depends on it. So a packet may be
//! encrypted, given its headers and put into the outbox while its MACs are owed: [`Due`] keeps their keys, and the
//! packet has a ticket for each. [`Due::finish`] pays for all of them at once. A packet that owes does not leave the
//! outbox.
//!
//! **In.** What the MAC of a datagram ought to be is a function of the session's key and the datagram alone, and it does
//! no harm to know it early. [`Ahead`] computes it for several; the datagrams are then dealt with one after the other,
//! as if each had come alone, and where a session would compute a MAC it looks whether it has been [`Foreseen`] for
//! this very session. A session's index rests after its end for longer than any batch, so it names one session here.

use core::array::from_fn;

use crate::base::ids::SessionIndex;
use crate::base::limits::{RELAY_FRONT, SEAL_BACK};
use crate::base::outbox::Outbox;
use crate::base::packet::{Packet, Ticket};
use crate::crypto::hmac::{self, Hmac, LOT, Mac};
use crate::crypto::lanes;
use crate::crypto::suite::{HOP_MAC, HopKey, HopText, OpenKey};

/// Datagrams whose MACs are computed together. Each has two at most: that of the relay hop and that of the packet inside.
pub const TOGETHER: usize = LOT / 2;

// ---- out ----

/// How many MACs may be owed at once; next to nothing where nothing ever is.
const OWED: usize = if lanes::ANY { LOT } else { 1 };

/// The MACs that packets in the outbox are to have.
pub struct Due {
    keys: [Hmac; OWED],
    used: usize,
    worthwhile: bool,
}

impl Due {
    /// None so far. Where the processor computes one MAC at a time there will be none ever.
    pub fn new() -> Due {
        Due { keys: from_fn(|_| Hmac::default()), used: 0, worthwhile: hmac::side_by_side() }
    }

    /// Whether the next packet may find no room for its MACs, which then are computed at once: time to finish.
    pub fn is_full(&self) -> bool {
        lanes::ANY && self.used + 2 > OWED
    }

    /// Whether MACs are better computed together here.
    pub fn is_worthwhile(&self) -> bool {
        lanes::ANY && self.worthwhile
    }

    /// A ticket for a MAC under `key`, if so many more are left then; without one it is to be computed at once.
    pub(super) fn owe(&mut self, key: &Hmac, left: usize) -> Option<Ticket> {
        let free = self.keys[self.used..].len();
        if !self.is_worthwhile() || free <= left {
            return None;
        }
        let ticket = Ticket::new(self.used)?;
        self.keys[self.used].clone_from(key);
        self.used += 1;
        Some(ticket)
    }

    /// Computes all MACs that packets in `out` owe and writes them there.
    pub fn finish(&mut self, out: &mut Outbox) {
        if lanes::ANY && self.used > 0 {
            // The tags first: if a packet inside is short, the MAC of the hop covers its tag.
            self.pay_tags(out);
            self.pay_hops(out);
            self.keys[..self.used].iter_mut().for_each(zeroize::Zeroize::zeroize);
            self.used = 0;
        }
        out.release();
    }

    fn pay_tags(&self, out: &mut Outbox) {
        let mut messages: [(&Hmac, &[u8]); LOT] = [(&self.keys[0], &[]); LOT];
        let mut count = 0;
        for packet in out.owing() {
            if let Some(ticket) = packet.owes_tag() {
                let bytes = &packet.bytes()[sealed_part(packet)..];
                messages[count] = (&self.keys[ticket.number()], &bytes[..bytes.len() - SEAL_BACK]);
                count += 1;
            }
        }
        let mut macs = [Mac::default(); LOT];
        hmac::macs(&messages[..count], &mut macs);
        let packets = out.owing_mut().filter(|packet| packet.owes_tag().is_some());
        for (packet, mac) in packets.zip(macs) {
            let end = packet.len();
            packet.bytes_mut()[end - SEAL_BACK..].copy_from_slice(&mac[..SEAL_BACK]);
            packet.owe_tag(None);
        }
    }

    fn pay_hops(&self, out: &mut Outbox) {
        let mut texts = [(0, HopText::NONE); LOT];
        let mut count = 0;
        for packet in out.owing() {
            if let Some(ticket) = packet.owes_hop() {
                let (front, inner) = packet.bytes().split_at(RELAY_FRONT);
                texts[count] = (ticket.number(), HopText::new(&front[..RELAY_FRONT - HOP_MAC], inner));
                count += 1;
            }
        }
        let messages: [(&Hmac, &[u8]); LOT] = from_fn(|at| (&self.keys[texts[at].0], texts[at].1.bytes()));
        let mut macs = [Mac::default(); LOT];
        hmac::macs(&messages[..count], &mut macs);
        let packets = out.owing_mut().filter(|packet| packet.owes_hop().is_some());
        for (packet, mac) in packets.zip(macs) {
            packet.bytes_mut()[RELAY_FRONT - HOP_MAC..RELAY_FRONT].copy_from_slice(&mac[..HOP_MAC]);
            packet.owe_hop(None);
        }
    }
}

impl Default for Due {
    fn default() -> Due {
        Due::new()
    }
}

/// Where the sealed packet begins in a packet that owes its tag: behind the relay's header, if that is owed as well.
fn sealed_part(packet: &Packet) -> usize {
    if packet.owes_hop().is_some() { RELAY_FRONT } else { 0 }
}

// ---- in ----

/// What the MACs of one datagram ought to be, as far as it was computed ahead.
#[derive(Clone, Copy, Default, Debug)]
pub struct Foreseen {
    tag: Option<(SessionIndex, [u8; SEAL_BACK])>,
    hop: Option<(SessionIndex, [u8; HOP_MAC])>,
}

impl Foreseen {
    /// Nothing was computed ahead.
    pub const NOTHING: Foreseen = Foreseen { tag: None, hop: None };

    /// The tag under the session of that index.
    pub fn tag(&self, index: SessionIndex) -> Option<&[u8; SEAL_BACK]> {
        self.tag.as_ref().filter(|(of, _)| *of == index).map(|(_, tag)| tag)
    }

    /// The MAC of the hop under the session of that index.
    pub fn hop(&self, index: SessionIndex) -> Option<&[u8; HOP_MAC]> {
        self.hop.as_ref().filter(|(of, _)| *of == index).map(|(_, mac)| mac)
    }
}

/// Collects what is to be computed ahead for up to [`TOGETHER`] datagrams.
pub struct Ahead<'a> {
    wanted: [Option<Wanted<'a>>; LOT],
    count: usize,
}

struct Wanted<'a> {
    datagram: usize,
    index: SessionIndex,
    key: &'a Hmac,
    message: Message<'a>,
}

enum Message<'a> {
    Sealed(&'a [u8]),
    Hop(HopText),
}

impl<'a> Ahead<'a> {
    /// Nothing so far.
    pub fn new() -> Ahead<'a> {
        Ahead { wanted: [const { None }; LOT], count: 0 }
    }

    /// The tag of a sealed packet that is, or is inside, that datagram. Suites with a tag of their own way have nothing to
    /// be computed ahead.
    pub fn tag(&mut self, datagram: usize, index: SessionIndex, key: &'a OpenKey, packet: &'a [u8]) {
        let covered = &packet[..packet.len() - SEAL_BACK];
        if let Some(key) = key.hmac() {
            self.want(Wanted { datagram, index, key, message: Message::Sealed(covered) });
        }
    }

    /// The MAC of the hop that the datagram came by.
    pub fn hop(&mut self, datagram: usize, index: SessionIndex, key: &'a HopKey, packet: &[u8]) {
        let (front, inner) = packet.split_at(RELAY_FRONT);
        let text = HopText::new(&front[..RELAY_FRONT - HOP_MAC], inner);
        self.want(Wanted { datagram, index, key: key.hmac(), message: Message::Hop(text) });
    }

    fn want(&mut self, wanted: Wanted<'a>) {
        if let Some(place) = self.wanted.get_mut(self.count) {
            *place = Some(wanted);
            self.count += 1;
        }
    }

    /// Computes it all, into the places that the datagrams' numbers name.
    pub fn compute(&self, foreseen: &mut [Foreseen]) {
        let Some(Wanted { key, .. }) = &self.wanted[0] else { return };
        let mut messages: [(&Hmac, &[u8]); LOT] = [(key, &[]); LOT];
        for (message, wanted) in messages.iter_mut().zip(self.wanted.iter().flatten()) {
            *message = match &wanted.message {
                Message::Sealed(covered) => (wanted.key, covered),
                Message::Hop(text) => (wanted.key, text.bytes()),
            };
        }
        let mut macs = [Mac::default(); LOT];
        hmac::macs(&messages[..self.count], &mut macs);
        for (wanted, mac) in self.wanted.iter().flatten().zip(macs) {
            let Some(foreseen) = foreseen.get_mut(wanted.datagram) else { continue };
            match wanted.message {
                Message::Sealed(_) => foreseen.tag = Some((wanted.index, shortened(&mac))),
                Message::Hop(_) => foreseen.hop = Some((wanted.index, shortened(&mac))),
            }
        }
    }
}

impl Default for Ahead<'_> {
    fn default() -> Self {
        Ahead::new()
    }
}

/// The first bytes of a MAC (RFC 2104, section 5).
pub(super) fn shortened<const N: usize>(mac: &Mac) -> [u8; N] {
    let mut short = [0; N];
    short.copy_from_slice(&mac[..N]);
    short
}
