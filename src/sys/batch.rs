//! Many datagrams in one system call.
//!
//! Out: neighbours to the same peer that have one length, but for the last, which may be shorter, leave as one message
//! that the kernel or the network card cuts again (UDP generic segmentation offload), and several messages leave
//! in one call. Each datagram is sent from where it lies; on the wire nothing tells.
//!
//! In: one call takes several messages. Each comes into a packet; where the kernel joined datagrams of one sender (UDP
//! generic receive offload), what does not fit the packet comes into a buffer behind it, and is copied from there to
//! packets as there is room for them. So whatever comes, no more packets are in use than were asked for.
//!
//! What the kernel does not know is not asked of it: see [`Joins`]. A call for one message is the one that every
//! kernel has.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libc::c_int;

use crate::base::discard::Discard;
use crate::base::limits::{BATCH, DATAGRAM_MAX};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::sys::datagram::{self, Arrival, Control, Family, Name, UDP_GRO, UDP_SEGMENT};
use crate::sys::{check, length_of, set_option, told};

/// Messages of one call, out and in. Of those that the kernel joins few are a batch, and each needs room for the longest.
const OUT: usize = 16;
const IN: usize = 8;
const IN_JOINED: usize = 2;
/// The most datagrams that the kernel joins or cuts (`UDP_MAX_SEGMENTS` before Linux 6.9), and bytes of them: an IPv4
/// packet less its headers.
const SEGMENTS: usize = 64;
const JOINED_MAX: usize = 65_507;
/// Length of the buffer for what does not fit the packet, in front of which there is room for what does.
const REST: usize = DATAGRAM_MAX + 65_536;

/// A message of which nothing is known yet.
// SAFETY: null pointers and zero lengths are a valid, empty message.
const EMPTY: libc::mmsghdr = unsafe { std::mem::zeroed() };

/// What the kernel can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Joins {
    /// It takes and gives several messages in a call.
    pub(crate) many: bool,
    /// It cuts what leaves.
    pub(crate) out: bool,
    /// It joins what comes.
    pub(crate) incoming: bool,
}

impl Joins {
    /// One datagram a call.
    pub(crate) const NOTHING: Joins = Joins { many: false, out: false, incoming: false };

    /// Switches on what the kernel of `socket` can do.
    pub(crate) fn switch_on(socket: &impl AsFd) -> Joins {
        Joins {
            many: true,
            // Nothing is cut until a message asks for it. An older kernel would not know that either, and send it whole.
            out: set_option(socket, libc::SOL_UDP, UDP_SEGMENT, 0 as c_int).is_ok(),
            incoming: set_option(socket, libc::SOL_UDP, UDP_GRO, 1 as c_int).is_ok(),
        }
    }
}

// ---- out ----

/// Neighbours in a row of datagrams that leave as one message.
#[derive(Clone, Copy)]
struct Run {
    /// Our address that it is to leave from.
    from: Option<IpAddr>,
    count: usize,
}

/// Sends datagrams of one family from the front of `datagrams`, which begins with one of it, and `from` the addresses
/// that it says. Returns how many the kernel took, and what became of the next ones if it refused them.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    joins: Joins,
    datagrams: &[(SocketAddr, Packet)],
    from: &mut dyn FnMut(SocketAddr) -> Option<IpAddr>,
) -> (usize, Option<Refused>) {
    // `send_runs` has a place for so many.
    let datagrams = &datagrams[..datagrams.len().min(BATCH)];
    let mut runs = [Run { from: None, count: 0 }; OUT];
    let (mut messages, mut ahead) = (0, 0);
    let most = if joins.many { OUT } else { 1 };
    while messages < most && datagrams.get(ahead).is_some_and(|next| is_like(next, &datagrams[0])) {
        let count = if joins.out { joined(&datagrams[ahead..]) } else { 1 };
        runs[messages] = Run { from: from(datagrams[ahead].0), count };
        ahead += count;
        messages += 1;
    }
    match send_runs(socket, &runs[..messages], datagrams) {
        Ok(taken) => (runs[..taken].iter().map(|run| run.count).sum(), None),
        Err(error) => (0, Some(Refused { count: runs[0].count, error })),
    }
}

/// Datagrams that the kernel did not take.
pub(crate) struct Refused {
    /// How many of them.
    pub(crate) count: usize,
    /// Why.
    pub(crate) error: io::Error,
}

fn is_like((one, _): &(SocketAddr, Packet), (other, _): &(SocketAddr, Packet)) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// How many datagrams at the front can leave as one.
fn joined(datagrams: &[(SocketAddr, Packet)]) -> usize {
    let Some((to, first)) = datagrams.first() else { return 0 };
    let (mut count, mut total) = (1, first.len());
    for (other, packet) in &datagrams[1..] {
        total += packet.len();
        if other != to || packet.is_empty() || packet.len() > first.len() || total > JOINED_MAX {
            break;
        }
        count += 1;
        if count == SEGMENTS || packet.len() < first.len() {
            break;
        }
    }
    count
}

/// Returns how many of the runs were taken; an error is that of the first.
fn send_runs(socket: BorrowedFd<'_>, runs: &[Run], datagrams: &[(SocketAddr, Packet)]) -> io::Result<usize> {
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    for (part, (_, packet)) in parts.iter_mut().zip(datagrams) {
        // The kernel only reads the bytes; the field serves both directions and so asks for more.
        *part = libc::iovec { iov_base: packet.bytes().as_ptr().cast_mut().cast(), iov_len: packet.len() };
    }
    let mut names = [Name::empty(); OUT];
    let mut controls = [Control::empty(); OUT];
    let mut messages = [EMPTY; OUT];
    let mut at = 0;
    for (((run, name), control), message) in runs.iter().zip(&mut names).zip(&mut controls).zip(&mut messages)
    {
        let (to, first) = &datagrams[at];
        let length;
        (*name, length) = Name::from_address(*to);
        let header = &mut message.msg_hdr;
        *header = datagram::message(name, length, &mut parts[at]);
        header.msg_iovlen = run.count as _;
        if let Some(from) = run.from {
            control.set_source(header, 0, from);
        }
        if run.count > 1 {
            control.set_segment(header, u16::try_from(first.len()).unwrap_or(u16::MAX));
        }
        at += run.count;
    }
    debug_assert!(at <= BATCH);
    if let [_] = runs {
        // SAFETY: the message points to the name, the parts and the control buffer above, with their sizes, and the
        // parts to packets that are borrowed.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const messages[0].msg_hdr, libc::MSG_NOSIGNAL) };
        return check(sent).map(|_| 1);
    }
    // SAFETY: as above, for as many messages as are named. By its number, since one C library makes many calls of it.
    let sent = check(unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            runs.len(),
            libc::MSG_NOSIGNAL,
        )
    })?;
    usize::try_from(sent).map_err(told)
}

// ---- in ----

/// What came with the last call and was not handed over yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// A buffer of [`REST`] bytes for each message of a call; none where nothing is joined.
    rest: Vec<u8>,
    came: Vec<Came>,
    /// Which of those is next.
    at: usize,
    /// Whether the kernel had no more.
    drained: bool,
}

/// A message.
#[derive(Debug)]
struct Came {
    arrival: Arrival,
    /// The first datagram, until it is handed over.
    first: Option<Packet>,
    /// Where in `rest` the others are.
    from: usize,
    to: usize,
}

/// What [`Inbox::next`] found.
pub(crate) enum Next<'a> {
    /// A datagram.
    Datagram(&'a Arrival, Packet),
    /// There was one, longer than any of ours.
    TooLong,
    /// There is more, and no packet for it.
    NoRoom,
    /// All is handed over; true if the kernel may have more.
    Nothing(bool),
}

impl Inbox {
    /// An empty one.
    pub(crate) fn new(joins: Joins) -> Inbox {
        // All zero, so that the kernel provides each page when it is first used.
        Inbox {
            rest: vec![0; if joins.incoming { IN_JOINED * REST } else { 0 }],
            came: Vec::with_capacity(IN),
            at: 0,
            drained: false,
        }
    }

    /// To be told of each turn of the loop. That the kernel had no more then says nothing of now: what has come since woke
    /// the loop, once, and would lie there until the next datagram comes, for ever if there is no more room for one.
    pub(crate) fn begin_turn(&mut self) {
        self.drained = false;
    }

    /// Asks the kernel for as many messages as a call brings. All that came before has been handed over.
    ///
    /// # Errors
    /// The kernel's own.
    pub(crate) fn fill(
        &mut self,
        socket: BorrowedFd<'_>,
        family: Family,
        joins: Joins,
        out: &mut Outbox,
    ) -> io::Result<()> {
        debug_assert!(self.came.is_empty());
        let wanted = match joins.many {
            true if joins.incoming => IN_JOINED,
            true => IN,
            false => 1,
        };
        let mut packets = [const { None }; IN];
        let mut asked = 0;
        while asked < wanted
            && let Ok(packet) = out.blank()
        {
            packets[asked] = Some(packet);
            asked += 1;
        }
        if asked == 0 {
            return Ok(());
        }
        let received = self.receive(socket, family, joins, &mut packets[..asked]);
        packets.into_iter().flatten().for_each(|packet| out.recycle(packet));
        match received {
            Ok(count) => self.drained = joins.many && count < asked,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drained = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next datagram.
    pub(crate) fn next(&mut self, out: &mut Outbox) -> Next<'_> {
        while let Some(came) = self.came.get(self.at)
            && came.first.is_none()
            && came.from == came.to
        {
            self.at += 1;
        }
        if self.at == self.came.len() {
            self.came.clear();
            self.at = 0;
            return Next::Nothing(!std::mem::take(&mut self.drained));
        }
        let came = &mut self.came[self.at];
        if came.arrival.cut {
            came.first.take().into_iter().for_each(|packet| out.recycle(packet));
            return Next::TooLong;
        }
        if let Some(packet) = came.first.take() {
            return Next::Datagram(&came.arrival, packet);
        }
        let Ok(mut packet) = out.blank() else { return Next::NoRoom };
        let length = came.arrival.segment.unwrap_or_default().min(came.to - came.from);
        let part = &self.rest[came.from..came.from + length];
        came.from += length;
        match packet.append(part) {
            Ok(()) => Next::Datagram(&came.arrival, packet),
            Err(Discard::TooLong | _) => {
                out.recycle(packet);
                Next::TooLong
            }
        }
    }

    /// Returns how many messages came. The packets that they came in are taken.
    fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        family: Family,
        joins: Joins,
        packets: &mut [Option<Packet>],
    ) -> io::Result<usize> {
        let mut parts = [[libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2]; IN];
        let mut names = [Name::empty(); IN];
        let mut controls = [Control::empty(); IN];
        let mut messages = [EMPTY; IN];
        let asked = packets.len();
        let mut rest = self.rest.chunks_exact_mut(REST);
        for ((((packet, parts), name), control), message) in
            packets.iter_mut().flatten().zip(&mut parts).zip(&mut names).zip(&mut controls).zip(&mut messages)
        {
            // One byte more than is allowed would tell that it was cut; the kernel tells by itself.
            let room = &mut packet.spare_mut()[..DATAGRAM_MAX];
            parts[0] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            if let Some(rest) = rest.next() {
                let rest = &mut rest[DATAGRAM_MAX..];
                parts[1] = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
            }
            let header = &mut message.msg_hdr;
            *header = datagram::message(name, length_of::<Name>(), &mut parts[0]);
            header.msg_iovlen = if joins.incoming { 2 } else { 1 };
            header.msg_control = (&raw mut *control).cast();
            header.msg_controllen = Control::SIZE as _;
        }
        let count = if asked == 1 {
            // SAFETY: the message points to the name, the parts and the control buffer above, with their sizes; the
            // parts point to a packet and a buffer that are borrowed.
            let length =
                check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut messages[0].msg_hdr, 0) })?;
            messages[0].msg_len = u32::try_from(length).unwrap_or_default();
            1
        } else {
            let no_limit = std::ptr::null_mut::<libc::timespec>();
            // SAFETY: as above, for as many messages as are named.
            let count = check(unsafe {
                libc::syscall(
                    libc::SYS_recvmmsg,
                    socket.as_raw_fd(),
                    messages.as_mut_ptr(),
                    asked,
                    0,
                    no_limit,
                )
            })?;
            usize::try_from(count).map_err(told)?
        };
        for (at, packet) in packets.iter_mut().enumerate().take(count) {
            let arrival =
                datagram::arrival(&messages[at].msg_hdr, &names[at], family, messages[at].msg_len as usize);
            self.take(at, arrival, packet.take());
        }
        Ok(count)
    }

    /// Cuts the first datagram off a message.
    fn take(&mut self, at: usize, mut arrival: Arrival, packet: Option<Packet>) {
        let Some(mut packet) = packet else { return };
        let length = arrival.length;
        let first = arrival.segment.map_or(length, |segment| segment.min(length));
        let begin = at * REST + DATAGRAM_MAX;
        let (mut from, mut to) = (begin, begin);
        arrival.cut |= first > DATAGRAM_MAX || packet.grow(first).is_err();
        // Of the others the packet holds what it had room for. That goes in front of what is in the buffer.
        let held = length.min(DATAGRAM_MAX).saturating_sub(first);
        if !arrival.cut
            && length > first
            && let Some(front) = self.rest.get_mut(begin - held..begin)
        {
            front.copy_from_slice(&packet.spare_mut()[..held]);
            from = begin - held;
            to = begin + length.saturating_sub(DATAGRAM_MAX);
        }
        self.came.push(Came { arrival, first: Some(packet), from, to });
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::base::limits::PACKETS;

    fn datagrams(to: &[(u16, usize)]) -> Vec<(SocketAddr, Packet)> {
        let datagram = |(n, &(port, length)): (usize, &(u16, usize))| {
            let mut packet = Packet::new();
            packet.append(&vec![n.to_le_bytes()[0]; length]).unwrap();
            (SocketAddr::from(([127, 0, 0, 1], port)), packet)
        };
        to.iter().enumerate().map(datagram).collect()
    }

    fn runs(to: &[(u16, usize)]) -> Vec<usize> {
        let all = datagrams(to);
        let (mut rest, mut counts) = (all.as_slice(), Vec::new());
        while !rest.is_empty() {
            counts.push(joined(rest));
            rest = &rest[counts[counts.len() - 1]..];
        }
        counts
    }

    #[test]
    fn neighbours_of_one_length_and_one_way_leave_together() {
        assert_eq!(runs(&[(1, 100), (1, 100), (1, 100)]), [3]);
        assert_eq!(runs(&[(1, 100), (1, 99), (1, 100), (1, 100)]), [2, 2], "a shorter one is the last");
        assert_eq!(runs(&[(1, 100), (1, 101), (1, 101)]), [1, 2]);
        assert_eq!(runs(&[(1, 100), (2, 100), (1, 100)]), [1, 1, 1]);
        assert_eq!(runs(&[(1, 100), (1, 0), (1, 0), (1, 100)]), [1, 1, 1, 1], "nothing cannot be cut off");
        assert_eq!(runs(&[(1, 100); SEGMENTS + 1]), [SEGMENTS, 1]);
        assert_eq!(runs(&[(1, 1500); 50]), [JOINED_MAX / 1500, 50 - JOINED_MAX / 1500]);
    }

    /// What arrives of `lengths` when it is sent and received in these ways: each datagram's first byte and length.
    fn carried(lengths: &[usize], ways: [Joins; 2]) -> Vec<(u8, usize)> {
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        b.set_nonblocking(true).unwrap();
        for (socket, joins) in [(&a, ways[0]), (&b, ways[1])] {
            // Whatever this kernel can: elsewhere some of the ways are the same.
            let able = Joins::switch_on(socket);
            set_option(socket, libc::SOL_UDP, UDP_GRO, c_int::from(joins.incoming)).unwrap();
            assert!(able.many);
        }
        let port = b.local_addr().unwrap().port();
        let all = datagrams(&lengths.iter().map(|&length| (port, length)).collect::<Vec<_>>());
        let (mut out, mut inbox, mut came) = (Outbox::new(PACKETS), Inbox::new(ways[1]), Vec::new());
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let (taken, refused) = send(a.as_fd(), ways[0], &rest[..rest.len().min(BATCH)], &mut |_| None);
            assert!(refused.is_none());
            rest = &rest[taken..];
            loop {
                match inbox.next(&mut out) {
                    Next::Datagram(arrival, packet) => {
                        assert_eq!(arrival.from, a.local_addr().unwrap());
                        came.push((packet.bytes().first().copied().unwrap_or_default(), packet.len()));
                        assert!(packet.bytes().iter().all(|&byte| byte == packet.bytes()[0]));
                        out.recycle(packet);
                    }
                    Next::TooLong => came.push((0, usize::MAX)),
                    Next::NoRoom => unreachable!("all came home"),
                    Next::Nothing(false) => break,
                    Next::Nothing(true) => inbox.fill(b.as_fd(), Family::V4, ways[1], &mut out).unwrap(),
                }
            }
        }
        assert!(out.is_whole());
        came
    }

    #[test]
    fn every_way_carries_the_same() {
        let all = Joins { many: true, out: true, incoming: true };
        let ways =
            [Joins::NOTHING, Joins { many: true, ..Joins::NOTHING }, Joins { incoming: false, ..all }, all];
        let stream: Vec<usize> =
            [vec![1400; 100], vec![700, 1400, 1400, 9, 0, 0, 9, DATAGRAM_MAX], vec![64; 200]].concat();
        let expected: Vec<(u8, usize)> = stream
            .iter()
            .enumerate()
            .map(|(n, &length)| (if length == 0 { 0 } else { n.to_le_bytes()[0] }, length))
            .collect();
        for out in ways {
            for incoming in ways {
                assert_eq!(carried(&stream, [out, incoming]), expected, "{out:?} {incoming:?}");
            }
        }
    }

    #[test]
    fn of_more_than_a_batch_a_batch_is_sent() {
        let all = Joins { many: true, out: true, incoming: true };
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let stream = datagrams(&vec![(b.local_addr().unwrap().port(), 100); BATCH + 10]);
        for out in [all, Joins { out: false, ..all }] {
            let (taken, refused) = send(a.as_fd(), out, &stream, &mut |_| None);
            assert!((1..=BATCH).contains(&taken) && refused.is_none(), "{taken}");
        }
    }

    // Whoever finds the port may send what our own never do.
    #[test]
    fn what_is_longer_than_ours_is_told_and_what_follows_comes() {
        let all = Joins { many: true, out: true, incoming: true };
        for incoming in [Joins::NOTHING, all] {
            let b = UdpSocket::bind("127.0.0.1:0").unwrap();
            b.set_nonblocking(true).unwrap();
            if incoming.incoming {
                assert!(Joins::switch_on(&b).incoming);
            }
            let a = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = b.local_addr().unwrap();
            a.send_to(&[1; 65_507], to).unwrap();
            a.send_to(&[2; 3], to).unwrap();
            // Joined, each longer than any of ours; and joined from parts of one byte.
            set_option(&a, libc::SOL_UDP, UDP_SEGMENT, c_int::try_from(DATAGRAM_MAX + 1).unwrap()).unwrap();
            a.send_to(&[3; 60_000], to).unwrap();
            set_option(&a, libc::SOL_UDP, UDP_SEGMENT, 1 as c_int).unwrap();
            a.send_to(&[4; SEGMENTS], to).unwrap();
            let (mut out, mut inbox, mut came) = (Outbox::new(PACKETS), Inbox::new(incoming), Vec::new());
            loop {
                match inbox.next(&mut out) {
                    Next::Datagram(_, packet) => {
                        came.push((packet.bytes()[0], packet.len()));
                        out.recycle(packet);
                    }
                    Next::TooLong if came.last() == Some(&(0, 0)) => (),
                    Next::TooLong => came.push((0, 0)),
                    Next::NoRoom => unreachable!("all came home"),
                    Next::Nothing(false) => break,
                    Next::Nothing(true) => inbox.fill(b.as_fd(), Family::V4, incoming, &mut out).unwrap(),
                }
            }
            let mut expected = vec![(0, 0), (2, 3), (0, 0)];
            if !incoming.incoming {
                // What was left over behind the last cut fits.
                expected.push((3, 60_000 % (DATAGRAM_MAX + 1)));
            }
            expected.extend([(4, 1); SEGMENTS]);
            assert_eq!(came, expected);
            assert!(out.is_whole());
        }
    }

    #[test]
    fn without_packets_it_waits_in_the_inbox() {
        let all = Joins { many: true, out: true, incoming: true };
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        b.set_nonblocking(true).unwrap();
        assert_eq!(Joins::switch_on(&b), all);
        let port = b.local_addr().unwrap().port();
        assert_eq!(send(a.as_fd(), all, &datagrams(&[(port, 1000); 10]), &mut |_| None).0, 10);
        let (mut out, mut inbox) = (Outbox::new(3), Inbox::new(all));
        inbox.fill(b.as_fd(), Family::V4, all, &mut out).unwrap();
        let mut held = Vec::new();
        for n in 0..10 {
            if held.len() == 3 {
                assert!(matches!(inbox.next(&mut out), Next::NoRoom));
                held.drain(..).for_each(|packet| out.recycle(packet));
            }
            let Next::Datagram(_, packet) = inbox.next(&mut out) else { panic!("{n} is missing") };
            assert_eq!((packet.bytes()[0], packet.len()), (n, 1000));
            held.push(packet);
        }
        assert!(matches!(inbox.next(&mut out), Next::Nothing(_)));
    }
}
