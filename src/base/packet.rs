//! A packet: one fixed room with the bytes somewhere in its middle, edited in place.
//!
//! A frame is read behind [`HEADROOM`] free bytes; its envelope, and a relay's around that, are pushed in
//! front and the tag behind, without a copy. Coming in, the same bytes are pulled off again. A packet going out may owe
//! its MACs for a while, so that they are computed together with those of others.

use core::fmt;
use core::num::NonZeroU8;

use crate::base::discard::Discard;
use crate::base::limits::{HEADROOM, ROOM};

/// An owned buffer of [`ROOM`] bytes of which a middle part is in use. Rooms are made once, when the program starts,
/// and last as long as it does: none is ever given back to the system.
pub struct Packet {
    room: &'static mut [u8; ROOM],
    start: usize,
    end: usize,
    tag: Option<Ticket>,
    hop: Option<Ticket>,
}

/// A number for a MAC that a packet owes, given out by who will compute it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(NonZeroU8);

impl Ticket {
    /// The ticket of that number; none when the number is too great for one.
    pub fn new(number: usize) -> Option<Ticket> {
        u8::try_from(number + 1).ok().and_then(NonZeroU8::new).map(Ticket)
    }

    /// Its number.
    pub fn number(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

impl Packet {
    /// An empty packet with [`HEADROOM`] free bytes in front.
    pub fn new() -> Packet {
        Packet::of(Box::leak(Box::new([0; ROOM])))
    }

    /// So many empty packets, in one piece of memory that is all zero: the kernel provides each page of it when a
    /// packet first uses it. Here and in [`Packet::new`] alone is allocated.
    pub fn pool(packets: usize) -> impl Iterator<Item = Packet> {
        // One long row of zeros, since a vector of long arrays is written out.
        let rooms = vec![0; packets * ROOM].leak().chunks_exact_mut(ROOM);
        let rooms = rooms.filter_map(|room| <&mut [u8; ROOM]>::try_from(room).ok());
        rooms.map(Packet::of)
    }

    fn of(room: &'static mut [u8; ROOM]) -> Packet {
        Packet { room, start: HEADROOM, end: HEADROOM, tag: None, hop: None }
    }

    /// Forgets the content; `headroom` bytes are free in front afterwards.
    pub fn clear(&mut self, headroom: usize) {
        debug_assert!(headroom <= ROOM);
        self.start = headroom.min(ROOM);
        self.end = self.start;
        (self.tag, self.hop) = (None, None);
    }

    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    /// The bytes in use, to edit.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.end]
    }

    /// How many bytes are in use.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Everything behind the bytes in use: where a read may put its bytes before [`Packet::grow`] takes them in.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.end..]
    }

    /// Takes `n` bytes that were written to [`Packet::spare_mut`] into use.
    pub fn grow(&mut self, n: usize) -> Result<(), Discard> {
        self.push_back(n).map(|_| ())
    }

    /// Takes `n` more bytes in front into use and returns them, with whatever they held.
    pub fn push_front(&mut self, n: usize) -> Result<&mut [u8], Discard> {
        self.start = self.start.checked_sub(n).ok_or(Discard::TooLong)?;
        Ok(&mut self.room[self.start..self.start + n])
    }

    /// Gives `n` bytes in front free and returns them.
    pub fn pull_front(&mut self, n: usize) -> Result<&[u8], Discard> {
        if n > self.len() {
            return Err(Discard::Truncated);
        }
        self.start += n;
        Ok(&self.room[self.start - n..self.start])
    }

    /// Takes `n` more bytes behind into use and returns them, with whatever they held.
    pub fn push_back(&mut self, n: usize) -> Result<&mut [u8], Discard> {
        if n > ROOM - self.end {
            return Err(Discard::TooLong);
        }
        self.end += n;
        Ok(&mut self.room[self.end - n..self.end])
    }

    /// Gives `n` bytes behind free.
    pub fn pull_back(&mut self, n: usize) -> Result<(), Discard> {
        if n > self.len() {
            return Err(Discard::Truncated);
        }
        self.end -= n;
        Ok(())
    }

    /// Appends `bytes`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Discard> {
        self.push_back(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Notes that the packet owes the tag at its end, or no longer.
    pub fn owe_tag(&mut self, ticket: Option<Ticket>) {
        self.tag = ticket;
    }

    /// Notes that the packet owes the MAC of the relay header in its front, or no longer.
    pub fn owe_hop(&mut self, ticket: Option<Ticket>) {
        self.hop = ticket;
    }

    /// The tag that is missing.
    pub fn owes_tag(&self) -> Option<Ticket> {
        self.tag
    }

    /// The MAC of the relay header that is missing.
    pub fn owes_hop(&self) -> Option<Ticket> {
        self.hop
    }

    /// Whether a MAC is missing.
    pub fn owes(&self) -> bool {
        self.tag.is_some() || self.hop.is_some()
    }

    /// Becomes a copy of `other`, which owes nothing, at the same place in the room: for floods and fragments.
    pub fn copy_from(&mut self, other: &Packet) {
        self.start = other.start;
        self.end = other.end;
        self.room[self.start..self.end].copy_from_slice(other.bytes());
        (self.tag, self.hop) = (None, None);
    }
}

impl Default for Packet {
    fn default() -> Self {
        Packet::new()
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packet({} bytes at {})", self.len(), self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks_at_both_ends() {
        let mut packet = Packet::new();
        packet.append(b"frame").unwrap();
        packet.push_front(4).unwrap().copy_from_slice(b"head");
        packet.append(b"tag").unwrap();
        assert_eq!(packet.bytes(), b"headframetag");
        assert_eq!(packet.pull_front(4).unwrap(), b"head");
        packet.pull_back(3).unwrap();
        assert_eq!(packet.bytes(), b"frame");
    }

    #[test]
    fn refuses_what_does_not_fit_and_stays_as_it_was() {
        let mut packet = Packet::new();
        assert_eq!(packet.push_front(HEADROOM + 1).unwrap_err(), Discard::TooLong);
        assert_eq!(packet.push_back(ROOM).unwrap_err(), Discard::TooLong);
        assert_eq!(packet.pull_front(1).unwrap_err(), Discard::Truncated);
        assert_eq!(packet.pull_back(1).unwrap_err(), Discard::Truncated);
        assert!(packet.is_empty());
        packet.push_back(ROOM - HEADROOM).unwrap();
        packet.push_front(HEADROOM).unwrap();
        assert_eq!(packet.len(), ROOM);
    }

    #[test]
    fn the_rooms_of_a_pool_are_apart() {
        let mut pool: Vec<Packet> = Packet::pool(3).collect();
        for (packet, byte) in pool.iter_mut().zip([1, 2, 3]) {
            packet.push_back(ROOM - HEADROOM).unwrap();
            packet.push_front(HEADROOM).unwrap();
            packet.bytes_mut().fill(byte);
        }
        assert_eq!(pool.len(), 3);
        for (packet, byte) in pool.iter().zip([1, 2, 3]) {
            assert!(packet.bytes().iter().all(|&found| found == byte));
        }
    }

    #[test]
    fn a_packet_that_is_cleared_owes_nothing() {
        let mut packet = Packet::new();
        for number in [0, 1, 254] {
            let ticket = Ticket::new(number);
            assert_eq!(ticket.map(Ticket::number), Some(number));
            packet.owe_tag(ticket);
            packet.owe_hop(ticket);
            assert!(packet.owes());
            packet.clear(HEADROOM);
            assert!(!packet.owes() && packet.owes_tag().is_none() && packet.owes_hop().is_none());
        }
        assert_eq!(Ticket::new(255), None);
    }

    #[test]
    fn a_copy_keeps_its_headroom() {
        let mut original = Packet::new();
        original.append(b"frame").unwrap();
        let mut copy = Packet::new();
        copy.clear(0);
        copy.copy_from(&original);
        assert_eq!(copy.bytes(), b"frame");
        assert!(copy.push_front(HEADROOM).is_ok());
    }
}
