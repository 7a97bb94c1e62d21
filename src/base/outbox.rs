//! The one door out of the core: all that it wants done leaves here, and all packets there are live here.
//!
//! Every queue is filled to its capacity at the start; afterwards packets only change hands. When the
//! spare ones run out the core gets [`Discard::NoRoom`], a counted loss, never more memory.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::base::discard::{Discard, Tally};
use crate::base::event::Event;
use crate::base::limits::{EVENTS, HEADROOM};
use crate::base::packet::Packet;

/// Packets to send, frames to deliver, events to tell, and the spare packets.
pub struct Outbox {
    /// Last in, first out: the packets used are those that the cache still holds.
    spare: Vec<Packet>,
    datagrams: VecDeque<(SocketAddr, Packet)>,
    /// So many datagrams at the front may leave.
    released: usize,
    frames: VecDeque<Packet>,
    events: VecDeque<Event>,
    events_lost: u64,
    tally: Tally,
    packets: usize,
}

impl Outbox {
    /// An outbox with all the packets there will ever be.
    pub fn new(packets: usize) -> Outbox {
        Outbox {
            spare: Packet::pool(packets).collect(),
            datagrams: VecDeque::with_capacity(packets),
            released: 0,
            frames: VecDeque::with_capacity(packets),
            events: VecDeque::with_capacity(EVENTS),
            events_lost: 0,
            tally: Tally::default(),
            packets,
        }
    }

    // ---- for the core ----

    /// An empty packet, or [`Discard::NoRoom`].
    pub fn blank(&mut self) -> Result<Packet, Discard> {
        let mut packet = self.spare.pop().ok_or(Discard::NoRoom)?;
        packet.clear(HEADROOM);
        Ok(packet)
    }

    /// Sends `packet` to `to`. One that owes a MAC waits, and so does what is sent after it, for [`Outbox::release`].
    pub fn send(&mut self, to: SocketAddr, packet: Packet) {
        self.released += usize::from(self.released == self.datagrams.len() && !packet.owes());
        self.datagrams.push_back((to, packet));
    }

    /// The packets that wait because they or others owe a MAC.
    pub fn owing(&self) -> impl Iterator<Item = &Packet> {
        self.datagrams.range(self.released..).map(|(_, packet)| packet)
    }

    /// The same packets, to be given what they owe.
    pub fn owing_mut(&mut self) -> impl Iterator<Item = &mut Packet> {
        self.datagrams.range_mut(self.released..).map(|(_, packet)| packet)
    }

    /// No packet owes anything any more: all may leave.
    pub fn release(&mut self) {
        debug_assert!(self.owing().all(|packet| !packet.owes()), "a packet would leave without its MAC");
        self.released = self.datagrams.len();
    }

    /// Hands `frame` to the TAP.
    pub fn deliver(&mut self, frame: Packet) {
        self.frames.push_back(frame);
    }

    /// Tells the daemon something. What finds the queue full is counted and lost.
    pub fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        } else {
            self.events_lost += 1;
        }
    }

    /// Gives a packet back.
    pub fn recycle(&mut self, packet: Packet) {
        self.spare.push(packet);
    }

    /// Counts a packet that died, or an input that came to nothing.
    pub fn count(&mut self, why: Discard) {
        self.tally.count(why);
    }

    /// Counts `packet` as dead and takes it back.
    pub fn discard(&mut self, packet: Packet, why: Discard) {
        self.tally.count(why);
        self.spare.push(packet);
    }

    // ---- for the daemon and the simulator ----

    /// Why packets died.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The next datagram to send; [`Outbox::recycle`] its packet afterwards.
    pub fn next_datagram(&mut self) -> Option<(SocketAddr, Packet)> {
        self.released = self.released.checked_sub(1)?;
        self.datagrams.pop_front()
    }

    /// The next frame for the TAP; [`Outbox::recycle`] it afterwards.
    pub fn next_frame(&mut self) -> Option<Packet> {
        self.frames.pop_front()
    }

    /// The next event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many events found the queue full.
    pub fn events_lost(&self) -> u64 {
        self.events_lost
    }

    /// How many packets nobody uses.
    pub fn spare(&self) -> usize {
        self.spare.len()
    }

    /// How many packets there are in all.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// As it was when new, whatever became of its packets: for those who live many lives in one process, since the
    /// room of a packet is never given back.
    pub fn renew(&mut self) {
        while let Some(packet) = self.frames.pop_front() {
            self.spare.push(packet);
        }
        self.spare.extend(self.datagrams.drain(..).map(|(_, packet)| packet));
        while self.spare.len() < self.packets {
            self.spare.push(Packet::new());
        }
        self.events.clear();
        (self.released, self.events_lost, self.tally) = (0, 0, Tally::default());
    }

    /// Whether every packet is at home: spare, or queued in here.
    pub fn is_whole(&self) -> bool {
        self.spare.len() + self.datagrams.len() + self.frames.len() == self.packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_change_hands_and_come_home() {
        let mut out = Outbox::new(2);
        let to = "192.0.2.1:7000".parse().unwrap();
        let first = out.blank().unwrap();
        let second = out.blank().unwrap();
        assert_eq!(out.blank().unwrap_err(), Discard::NoRoom);
        assert!(!out.is_whole());
        out.send(to, first);
        out.deliver(second);
        assert!(out.is_whole());
        let (_, packet) = out.next_datagram().unwrap();
        out.recycle(packet);
        let packet = out.next_frame().unwrap();
        out.recycle(packet);
        assert_eq!(out.spare(), 2);
    }

    #[test]
    fn what_owes_a_mac_does_not_leave_and_nothing_overtakes_it() {
        let mut out = Outbox::new(4);
        let to = |n: u8| SocketAddr::from(([192, 0, 2, n], 7000));
        let sent = |out: &mut Outbox| out.next_datagram().map(|(to, packet)| (to, out.recycle(packet)).0);
        for (n, owes) in [(1, false), (2, true), (3, false)] {
            let mut packet = out.blank().unwrap();
            packet.owe_tag(crate::base::packet::Ticket::new(0).filter(|_| owes));
            out.send(to(n), packet);
        }
        assert_eq!((sent(&mut out), sent(&mut out)), (Some(to(1)), None));
        assert_eq!(out.owing().count(), 2);
        out.owing_mut().for_each(|packet| packet.owe_tag(None));
        out.release();
        let last = out.blank().unwrap();
        out.send(to(4), last);
        assert_eq!([(); 4].map(|()| sent(&mut out)), [Some(to(2)), Some(to(3)), Some(to(4)), None]);
        assert!(out.is_whole() && out.spare() == 4);
    }

    #[test]
    fn a_full_event_queue_loses_and_counts() {
        let mut out = Outbox::new(0);
        for _ in 0..EVENTS + 3 {
            out.tell(Event::Resolve(crate::base::ids::HostId(0)));
        }
        assert_eq!(out.events_lost(), 3);
    }
}
