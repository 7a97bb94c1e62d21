//! The TAP: a network interface whose cable ends in this program.
//!
//! Frames are read behind the packet's headroom and written as they lie. What one system call carries is a frame, or
//! what the host would leave to a network card with offloads: a super-frame, which is cut here, and made of the
//! neighbouring segments that come out of the tunnel (`offload`). Where the kernel does not offer that, or it is
//! switched off, a call is a frame.
//!
//! What is set on the interface (MTU, addresses, up) goes by `netlink`. The constants of the ioctls come from libc,
//! because MIPS and PowerPC number them otherwise.
//!
//! A TAP that is down passes: reads wait, writes are refused until it is up again. A TAP that was removed
//! does not come back (S24): [`trouble`] tells the two apart.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use libc::{c_int, c_uint, c_ulong};

use crate::base::limits::{BATCH, FRAME_MAX, HEADROOM};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::InterfaceName;
use crate::sys::offload::headers::Protocol;
use crate::sys::offload::join::{HEADERS_MAX, Run};
use crate::sys::offload::split::Split;
use crate::sys::offload::{LONGEST, Vnet};
use crate::sys::{check, failure};

const DEVICE: &str = "/dev/net/tun";
/// What the kernel may leave to us: checksums; super-frames of TCP over IPv4 and IPv6, also congested ones; those of UDP
/// (since Linux 6.2).
const CHECKSUM: c_uint = libc::TUN_F_CSUM;
const TSO: c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
const USO: c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// An open TAP. The interface goes when it is dropped, unless somebody made it persistent before.
#[derive(Debug)]
pub struct Tap {
    device: File,
    name: String,
    too_long: u64,
    /// None where a call is a frame.
    supers: Option<Supers>,
    /// The frames that are being written.
    leaving: Vec<Packet>,
}

/// What there is to do with super-frames.
#[derive(Debug)]
struct Supers {
    /// Room for one, with the part in front that would fit a packet.
    room: Vec<u8>,
    /// The one in there that is being cut, and its length.
    split: Option<(Split, usize)>,
    /// Whether the kernel takes super-frames of TCP, and of UDP.
    tcp: bool,
    udp: bool,
}

/// What an error of a read or write means for the TAP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// This one frame was not taken; the next may be.
    Frame,
    /// The interface is down. It works again when somebody sets it up.
    Down,
    /// The interface was removed. Nothing brings it back but a new start.
    Vanished,
}

/// What `error` means. What nobody has foreseen counts as [`Trouble::Frame`]: it is counted, and the loop goes on.
pub fn trouble(error: &io::Error) -> Trouble {
    match error.raw_os_error() {
        // tun_get_user: the interface is not up.
        Some(libc::EIO | libc::ENETDOWN) => Trouble::Down,
        // tun_chr_read_iter, tun_chr_write_iter: the file has no interface any more.
        Some(libc::EBADFD | libc::ENODEV | libc::ENXIO) => Trouble::Vanished,
        _ => Trouble::Frame,
    }
}

impl Tap {
    /// Makes the interface, or takes a persistent one of that name over. A `%d` in `name` becomes the lowest free
    /// number; [`Tap::name`] says which. With `offload` it does all that this kernel offers.
    ///
    /// # Errors
    /// With what can be done about it: no tun module, no permission, the name taken.
    pub fn open(name: &InterfaceName, offload: bool) -> io::Result<Tap> {
        let device = super::open(Path::new(DEVICE), libc::O_RDWR | libc::O_NONBLOCK, 0)
            .map_err(|error| explain_open(&error))?;
        let mut request = Request::new(name);
        request.set_flags(libc::IFF_TAP | libc::IFF_NO_PI | if offload { libc::IFF_VNET_HDR } else { 0 });
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is.
        check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request.0) })
            .map_err(|error| explain_attach(&error, name))?;
        let mut tap = Tap {
            device,
            name: request.name(),
            too_long: 0,
            supers: None,
            leaving: Vec::with_capacity(BATCH),
        };
        let offers = tap.negotiate(offload);
        if offload {
            // All zero, so that the kernel provides each page when it is first used.
            let room = vec![0; FRAME_MAX + 1 + LONGEST];
            tap.supers = Some(Supers { room, split: None, tcp: offers & TSO != 0, udp: offers & USO != 0 });
        }
        Ok(tap)
    }

    /// Tells the kernel what it may leave to us. Returns what it knows of that. The interface may have been another
    /// program's before, so nothing is taken for granted.
    fn negotiate(&self, offload: bool) -> c_uint {
        if offload {
            let length = c_int::try_from(Vnet::LENGTH).unwrap_or_default();
            // SAFETY: TUNSETVNETHDRSZ reads one int. It has this length anyway but on somebody's persistent interface.
            let _ = check(unsafe {
                libc::ioctl(self.device.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const length)
            });
        }
        let wanted: &[c_uint] = if offload { &[CHECKSUM | TSO | USO, CHECKSUM | TSO, 0] } else { &[0] };
        let accepted = wanted.iter().find(|&&offers| {
            // SAFETY: a plain number.
            check(unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(offers)) })
                .is_ok()
        });
        accepted.copied().unwrap_or_default()
    }

    /// The name that the kernel gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Frames dropped because they were longer than any we carry: somebody set a larger MTU.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Puts up to [`BATCH`] frames behind those in `frames`, in the order in which they were sent. True while there may
    /// be more: an empty outbox leaves the rest in the kernel until packets come home.
    ///
    /// # Errors
    /// As [`Tap::read`]; what was read before is in `frames`.
    pub fn read_batch(&mut self, out: &mut Outbox, frames: &mut Vec<Packet>) -> io::Result<bool> {
        for _ in 0..BATCH {
            let Ok(mut packet) = out.blank() else { return Ok(true) };
            match self.read(&mut packet) {
                Ok(true) if packet.is_empty() => out.recycle(packet),
                Ok(true) => frames.push(packet),
                other => {
                    out.recycle(packet);
                    return other;
                }
            }
        }
        Ok(true)
    }

    /// Reads one frame behind what `packet` holds; false when there is none. A frame that is too long is counted
    /// and leaves the packet as it was.
    ///
    /// # Errors
    /// The kernel's own, for [`trouble`].
    pub fn read(&mut self, packet: &mut Packet) -> io::Result<bool> {
        if self.cut(packet) {
            return Ok(true);
        }
        // One byte more than allowed, for the kernel cuts what does not fit and does not tell.
        let room = &mut packet.spare_mut()[..FRAME_MAX + 1];
        let mut header = [0; Vnet::LENGTH];
        let read = match &mut self.supers {
            None => self.device.read(room),
            Some(supers) => {
                let parts = [&mut header[..], room, &mut supers.room[FRAME_MAX + 1..]];
                self.device.read_vectored(&mut parts.map(IoSliceMut::new))
            }
        };
        match read {
            Ok(length) => self.take(Vnet::read(&header), length, packet),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Makes a frame of what was read behind what `packet` holds, which is nothing where there is none of use.
    fn take(&mut self, vnet: Vnet, length: usize, packet: &mut Packet) {
        let Some(supers) = &mut self.supers else {
            if length > FRAME_MAX || packet.grow(length).is_err() {
                self.too_long += 1;
            }
            return;
        };
        let length = length.saturating_sub(Vnet::LENGTH);
        if !vnet.is_super() {
            if length > FRAME_MAX || packet.grow(length).is_err() {
                self.too_long += 1;
            } else if !vnet.complete(packet.bytes_mut()) {
                packet.clear(HEADROOM);
            }
            return;
        }
        // What the packet had room for goes in front of the rest.
        let front = length.min(FRAME_MAX + 1);
        supers.room[..front].copy_from_slice(&packet.spare_mut()[..front]);
        match supers.room.get(..length).map(|frame| Split::new(&vnet, frame)) {
            Some(Ok(split)) => supers.split = Some((split, length)),
            _ => self.too_long += 1,
        }
        self.cut(packet);
    }

    /// Makes the next frame of a super-frame that is being cut; false when there is none.
    fn cut(&mut self, packet: &mut Packet) -> bool {
        let Some(Supers { split, room, .. }) = &mut self.supers else { return false };
        let made = split.as_mut().is_some_and(|(split, length)| split.next(&room[..*length], packet));
        if !made {
            *split = None;
        }
        made
    }

    /// Writes all frames that wait in `out`. What the kernel does not take is dropped and told to `lost`, for
    /// [`trouble`].
    pub fn write_batch(&mut self, out: &mut Outbox, lost: &mut dyn FnMut(&io::Error)) {
        let mut leaving = std::mem::take(&mut self.leaving);
        loop {
            while leaving.len() < BATCH
                && let Some(frame) = out.next_frame()
            {
                leaving.push(frame);
            }
            if leaving.is_empty() {
                break;
            }
            let mut rest = leaving.as_mut_slice();
            while !rest.is_empty() {
                let taken = self.write_joined(rest, lost);
                rest = &mut rest[taken..];
            }
            leaving.drain(..).for_each(|frame| out.recycle(frame));
        }
        self.leaving = leaving;
    }

    /// Writes as many frames from the front as one call can carry, and returns their number.
    fn write_joined(&mut self, frames: &mut [Packet], lost: &mut dyn FnMut(&io::Error)) -> usize {
        let run = self.supers.as_ref().and_then(|supers| supers.run(frames));
        let Some((run, count)) = run else {
            self.write(frames[0].bytes()).unwrap_or_else(|error| lost(&error));
            return 1;
        };
        let mut saved = [0; HEADERS_MAX];
        let headers = run.payload().min(HEADERS_MAX);
        saved[..headers].copy_from_slice(&frames[0].bytes()[..headers]);
        let vnet = run.finish(frames[0].bytes_mut()).bytes();
        let mut parts = [IoSlice::new(&[]); BATCH + 1];
        parts[0] = IoSlice::new(&vnet);
        for (at, (part, frame)) in parts[1..].iter_mut().zip(&frames[..count]).enumerate() {
            *part = IoSlice::new(&frame.bytes()[if at == 0 { 0 } else { run.payload() }..]);
        }
        let written = self.device.write_vectored(&parts[..count + 1]);
        let Err(error) = written else { return count };
        if trouble(&error) != Trouble::Frame {
            (0..count).for_each(|_| lost(&error));
            return count;
        }
        // Perhaps it takes each of them, if not this.
        if let Some(supers) = &mut self.supers
            && error.raw_os_error() == Some(libc::EINVAL)
        {
            supers.forgo(run.protocol());
        }
        frames[0].bytes_mut()[..headers].copy_from_slice(&saved[..headers]);
        for frame in &frames[..count] {
            self.write(frame.bytes()).unwrap_or_else(|error| lost(&error));
        }
        count
    }

    /// Gives the kernel one frame.
    ///
    /// # Errors
    /// The kernel's own, for [`trouble`]; the frame is lost then.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        // The kernel takes a frame whole or not at all.
        let written = match &self.supers {
            None => self.device.write(frame),
            Some(_) => {
                let vnet = Vnet::default().bytes();
                self.device.write_vectored(&[IoSlice::new(&vnet), IoSlice::new(frame)])
            }
        };
        written.map(|_| ())
    }

    /// Whether the interface is still there, wherever it was renamed or moved to.
    pub fn exists(&self) -> bool {
        let mut request = Request::empty();
        // SAFETY: TUNGETIFF writes one ifreq, which `request` is.
        check(unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNGETIFF, &raw mut request.0) }).is_ok()
    }
}

impl Supers {
    /// The frames at the front that can be written as one, and their number; none where that is one.
    fn run(&self, frames: &[Packet]) -> Option<(Run, usize)> {
        let (first, more) = frames.split_first()?;
        // Nothing is read that decides nothing.
        let mut run = Run::new(first.bytes()).filter(|_| !more.is_empty())?;
        if !(if run.protocol() == Protocol::Tcp { self.tcp } else { self.udp }) {
            return None;
        }
        let count = more.iter().take_while(|frame| run.take(first.bytes(), frame.bytes())).count();
        (count > 0).then_some((run, count + 1))
    }

    /// No more super-frames of that kind: the kernel refused one.
    fn forgo(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Tcp => self.tcp = false,
            Protocol::Udp => self.udp = false,
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

/// The kernel's way to name an interface in an ioctl.
struct Request(libc::ifreq);

impl Request {
    fn empty() -> Request {
        // SAFETY: a name of zeros and a union of plain numbers; all zero is a valid value.
        Request(unsafe { std::mem::zeroed() })
    }

    fn new(name: &InterfaceName) -> Request {
        const _: () = assert!(InterfaceName::MAX < libc::IFNAMSIZ);
        let mut request = Request::empty();
        for (to, from) in request.0.ifr_name.iter_mut().zip(name.as_str().bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request
    }

    fn set_flags(&mut self, flags: libc::c_int) {
        // The field is a short and IFF_VNET_HDR and its like are below its sign bit.
        self.0.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(libc::c_short::MAX);
    }

    fn name(&self) -> String {
        let bytes = self.0.ifr_name.iter().map(|&byte| byte.to_ne_bytes()[0]);
        bytes.take_while(|&byte| byte != 0).map(char::from).collect()
    }
}

fn explain_open(error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        // ENODEV and ENXIO: the node is there, but no driver behind it.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "the tun module is missing (load it: modprobe tun; on OpenWrt: install kmod-tun; in a container: \
             have the host pass the device in)"
                .to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => "no permission; start as root".to_owned(),
        _ => super::words(error),
    };
    failure(error.kind(), format!("cannot open {DEVICE}: {why}"))
}

fn explain_attach(error: &io::Error, name: &InterfaceName) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EBUSY) => "the name is in use, perhaps by another instance".to_owned(),
        Some(libc::EINVAL) => "an interface of that name exists and is not a TAP".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "no permission; start as root or with CAP_NET_ADMIN".to_owned(),
        _ => super::words(error),
    };
    failure(error.kind(), format!("cannot create the interface {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Mac;
    use crate::base::limits::PACKETS;
    use crate::sys::datagram::UDP_SEGMENT;
    use crate::sys::netlink::Netlink;
    use crate::sys::offload::headers::Headers;
    use crate::sys::offload::testing::{Spec, dice};
    use crate::sys::set_option;
    use crate::sys::testing::in_namespace;

    fn open(name: &str) -> io::Result<Tap> {
        Tap::open(&InterfaceName::new(name).unwrap(), true)
    }

    /// A frame of an experimental EtherType (IEEE 802), which no stack answers.
    fn frame(length: usize) -> Vec<u8> {
        let mut frame = vec![0xab; length];
        frame[..6].copy_from_slice(&[0xff; 6]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame
    }

    /// Sends `frame` out of interface `index` with a packet socket, as a program on this host would.
    fn send_from_host(index: u32, frame: &[u8]) {
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: plain numbers.
        let raw =
            check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) }).unwrap();
        // SAFETY: just opened, nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: plain numbers; all zero is a valid value.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        to.sll_ifindex = i32::try_from(index).unwrap();
        // SAFETY: both buffers live through the call with the lengths given.
        let sent = check(unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                u32::try_from(size_of_val(&to)).unwrap(),
            )
        });
        assert_eq!(sent.unwrap(), isize::try_from(frame.len()).unwrap());
    }

    /// The next frame of [`frame`]'s kind: the stack of the namespace sends some of its own accord.
    fn next_of_ours(tap: &mut Tap) -> Option<Packet> {
        loop {
            let mut packet = Packet::new();
            if !tap.read(&mut packet).unwrap() {
                return None;
            }
            if packet.bytes().get(12..14) == Some(&[0x88, 0xb5]) {
                return Some(packet);
            }
        }
    }

    #[test]
    fn the_kernel_chooses_the_number_and_tells_it() {
        in_namespace("the_kernel_chooses_the_number", || {
            let first = open("pvpn%d").unwrap();
            let second = open("pvpn%d").unwrap();
            assert_eq!((first.name(), second.name()), ("pvpn0", "pvpn1"));
        });
    }

    #[test]
    fn a_frame_comes_in_behind_the_headroom_and_goes_out_whole() {
        in_namespace("a_frame_comes_in_behind_the_headroom", || {
            let mut netlink = Netlink::open().unwrap();
            let mut tap = open("pvpn0").unwrap();
            let link = netlink.link("pvpn0").unwrap().unwrap();
            assert!(!tap.read(&mut Packet::new()).unwrap(), "a TAP that is down has nothing to read");
            netlink.set_mtu(&link, 1936).unwrap();
            netlink.set_mac(&link, Mac([2, 0, 0, 0, 0, 1])).unwrap();
            netlink.set_up(&link).unwrap();

            let long = frame(1936 + 14);
            send_from_host(link.index, &long);
            let mut packet = next_of_ours(&mut tap).unwrap();
            assert_eq!(packet.bytes(), long);
            assert!(packet.push_front(HEADROOM).is_ok());
            tap.write(&frame(60)).unwrap();
            tap.write(&long).unwrap();
        });
    }

    #[test]
    fn a_frame_longer_than_any_we_carry_is_counted_and_not_cut() {
        in_namespace("a_frame_longer_than_any_we_carry", || {
            let mut netlink = Netlink::open().unwrap();
            let mut tap = open("pvpn0").unwrap();
            let link = netlink.link("pvpn0").unwrap().unwrap();
            netlink.set_mtu(&link, 4000).unwrap();
            netlink.set_up(&link).unwrap();
            send_from_host(link.index, &frame(FRAME_MAX));
            send_from_host(link.index, &frame(FRAME_MAX + 1));
            send_from_host(link.index, &frame(4000));
            send_from_host(link.index, &frame(60));
            let mut out = Outbox::new(PACKETS);
            let mut lengths = Vec::new();
            let mut frames = Vec::new();
            let more = tap.read_batch(&mut out, &mut frames);
            assert!(!more.unwrap(), "read to the end");
            for packet in frames {
                if packet.bytes()[12..14] == [0x88, 0xb5] {
                    lengths.push(packet.len());
                }
                out.recycle(packet);
            }
            assert_eq!(lengths, [FRAME_MAX, 60]);
            assert_eq!(tap.too_long(), 2);
            assert!(out.is_whole());
        });
    }

    const HOST: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// An interface that is up, with an address; the frames of others in it carry no checksum that is left open.
    fn open_with_address(offload: bool) -> Tap {
        let tap = Tap::open(&InterfaceName::new("pvpn0").unwrap(), offload).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link("pvpn0").unwrap().unwrap();
        netlink.set_mac(&link, HOST).unwrap();
        netlink.set_mtu(&link, 1500).unwrap();
        netlink.add_address(&link, "10.0.0.1".parse().unwrap(), 24).unwrap();
        netlink.set_up(&link).unwrap();
        tap
    }

    // One call of the program's is fifty frames of the host's.
    #[test]
    fn what_the_host_sends_as_one_comes_as_the_frames_of_a_cable() {
        for offload in [true, false] {
            in_namespace("what_the_host_sends_as_one", move || {
                let mut tap = open_with_address(offload);
                let socket = std::net::UdpSocket::bind("10.0.0.1:5000").unwrap();
                socket.set_broadcast(true).unwrap();
                set_option(&socket, libc::SOL_UDP, UDP_SEGMENT, 1000 as c_int).unwrap();
                let payload: Vec<u8> = (0..50_500_u32).map(|n| n.to_le_bytes()[1]).collect();
                socket.send_to(&payload, "10.0.0.255:5001").unwrap();
                let mut out = Outbox::new(PACKETS);
                let (mut came, mut frames, mut more) = (Vec::new(), Vec::new(), true);
                while more {
                    more = tap.read_batch(&mut out, &mut frames).unwrap();
                    for packet in frames.drain(..) {
                        let bytes = packet.bytes();
                        if let Some(headers) = Headers::of_plain(bytes)
                            && bytes[headers.transport..][2..4] == 5001_u16.to_be_bytes()
                        {
                            assert_eq!(bytes.len() - headers.payload, 1000.min(payload.len() - came.len()));
                            assert!(Run::new(bytes).unwrap().is_sound(bytes), "its checksums are right");
                            came.extend_from_slice(&bytes[headers.payload..]);
                        }
                        out.recycle(packet);
                    }
                }
                assert!(came == payload);
                assert!(out.is_whole());
            });
        }
    }

    /// A datagram to the host.
    fn datagram(n: u16, length: usize) -> Vec<u8> {
        let [.., a, b] = n.to_be_bytes();
        let mut spec = Spec { id: n, port: 5001, ..Spec::udp(length) };
        spec.payload.iter_mut().step_by(2).for_each(|byte| *byte = a);
        spec.payload.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = b);
        let mut frame = spec.frame();
        frame[..6].copy_from_slice(&HOST.0);
        // From 10.0.0.2 to 10.0.0.1, as the sums do not notice.
        let (from, to) = (frame[26..30].to_vec(), frame[30..34].to_vec());
        frame[26..30].copy_from_slice(&to);
        frame[30..34].copy_from_slice(&from);
        frame
    }

    fn deliver(tap: &mut Tap, frames: &[Vec<u8>]) -> usize {
        let (mut out, mut lost) = (Outbox::new(frames.len()), 0);
        for frame in frames {
            let mut packet = out.blank().unwrap();
            packet.append(frame).unwrap();
            out.deliver(packet);
        }
        tap.write_batch(&mut out, &mut |_| lost += 1);
        assert!(out.is_whole() && out.spare() == frames.len());
        lost
    }

    #[test]
    fn what_is_joined_reaches_the_host_as_it_was() {
        for offload in [true, false] {
            in_namespace("what_is_joined_reaches_the_host", move || {
                let mut tap = open_with_address(offload);
                let socket = std::net::UdpSocket::bind("10.0.0.1:80").unwrap();
                socket.set_nonblocking(true).unwrap();
                let lengths: Vec<usize> = [vec![1000; 30], vec![999, 1000, 1400], vec![8; 90]].concat();
                let frames: Vec<Vec<u8>> =
                    lengths.iter().zip(0..).map(|(&length, n)| datagram(n, length)).collect();
                assert_eq!(deliver(&mut tap, &frames), 0);
                let mut room = [0; 2000];
                for (frame, length) in frames.iter().zip(lengths) {
                    assert_eq!(socket.recv(&mut room).unwrap(), length);
                    assert_eq!(room[..length], frame[42..]);
                }
                assert!(socket.recv(&mut room).is_err());
            });
        }
    }

    // A peer may send any bytes. The kernel gets them as it would from a cable: what it makes of them is its own.
    #[test]
    fn no_frames_whatever_are_written_as_something_else() {
        in_namespace("no_frames_whatever", || {
            let mut tap = open_with_address(true);
            let supers = |tap: &Tap| tap.supers.as_ref().map(|supers| (supers.tcp, supers.udp));
            let able = supers(&tap);
            let mut state = 11;
            for _ in 0..300 {
                let kinds = [Spec::tcp(700), Spec::udp(700)];
                let mut spec = kinds[dice(&mut state, 2)].clone();
                let mut frames = Vec::new();
                for _ in 0..20 {
                    let mut frame = spec.frame();
                    frame[..6].copy_from_slice(&HOST.0);
                    if dice(&mut state, 3) == 0 {
                        let at = dice(&mut state, 80);
                        frame[at] = dice(&mut state, 256).to_le_bytes()[0];
                    }
                    if dice(&mut state, 6) == 0 {
                        frame.truncate(14 + dice(&mut state, 80));
                    }
                    frames.push(frame);
                    spec = spec.next(700);
                }
                deliver(&mut tap, &frames);
            }
            assert_eq!(supers(&tap), able, "the kernel refused no super-frame");
            let socket = std::net::UdpSocket::bind("10.0.0.1:80").unwrap();
            deliver(&mut tap, &[datagram(1, 5)]);
            assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 5);
        });
    }

    // Kernels differ in what they take; none of it is lost.
    #[test]
    fn what_the_kernel_does_not_take_as_one_it_gets_one_by_one() {
        in_namespace("what_the_kernel_does_not_take_as_one", || {
            let tap = Tap::open(&InterfaceName::new("pvpn0").unwrap(), true).unwrap();
            let mut tap = Tap { device: refusing(), ..tap };
            let frames: Vec<Vec<u8>> = (0..5).map(|n| datagram(n, 100)).collect();
            assert_eq!(deliver(&mut tap, &frames), 5, "each of them is told");
        });
    }

    /// A file that takes nothing.
    fn refusing() -> File {
        File::open("/dev/null").unwrap()
    }

    // S24: down passes, removed does not.
    #[test]
    fn down_and_removed_are_told_apart() {
        in_namespace("down_and_removed_are_told_apart", || {
            let mut netlink = Netlink::open().unwrap();
            let mut tap = open("pvpn0").unwrap();
            let link = netlink.link("pvpn0").unwrap().unwrap();
            assert_eq!(trouble(&tap.write(&frame(60)).unwrap_err()), Trouble::Down);
            netlink.set_up(&link).unwrap();
            tap.write(&frame(60)).unwrap();
            assert_eq!(trouble(&tap.write(&[0; 3]).unwrap_err()), Trouble::Frame);

            assert!(tap.exists());
            netlink.remove(&link).unwrap();
            assert!(!tap.exists());
            assert_eq!(trouble(&tap.write(&frame(60)).unwrap_err()), Trouble::Vanished);
            assert_eq!(trouble(&tap.read(&mut Packet::new()).unwrap_err()), Trouble::Vanished);
        });
    }

    #[test]
    fn what_goes_wrong_at_the_start_says_what_to_do() {
        in_namespace("what_goes_wrong_at_the_start", || {
            let _first = open("pvpn0").unwrap();
            let taken = open("pvpn0").unwrap_err().to_string();
            assert!(taken.contains("pvpn0: the name is in use"), "{taken}");
            let other = open("lo").unwrap_err().to_string();
            assert!(other.contains("exists and is not a TAP"), "{other}");
        });
        let missing = explain_open(&io::Error::from_raw_os_error(libc::ENOENT)).to_string();
        assert!(
            missing.starts_with("cannot open /dev/net/tun: ") && missing.contains("kmod-tun"),
            "{missing}"
        );
    }
}
