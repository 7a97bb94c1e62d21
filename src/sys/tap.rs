//! The TAP: a network interface whose cable ends in this program.
//!
//! Frames are read behind the packet's headroom, one system call a frame, and written as they lie. What is
//! set on the interface (MTU, addresses, up) goes by `netlink`. The constants of the ioctl come from libc,
//! because MIPS and PowerPC number them otherwise.
//!
//! A TAP that is down passes: reads wait, writes are refused until it is up again. A TAP that was removed
//! does not come back (S24): [`trouble`] tells the two apart.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::base::limits::{BATCH, FRAME_MAX};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::InterfaceName;
use crate::sys::check;

const DEVICE: &str = "/dev/net/tun";

/// An open TAP. The interface goes when it is dropped, unless somebody made it persistent before.
#[derive(Debug)]
pub struct Tap {
    device: File,
    name: String,
    too_long: u64,
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
    /// number; [`Tap::name`] says which.
    ///
    /// # Errors
    /// With what can be done about it: no tun module, no permission, the name taken.
    pub fn open(name: &InterfaceName) -> io::Result<Tap> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)
            .map_err(|error| explain_open(&error))?;
        let mut request = Request::new(name);
        request.set_flags(libc::IFF_TAP | libc::IFF_NO_PI);
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is.
        check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request.0) })
            .map_err(|error| explain_attach(&error, name))?;
        Ok(Tap { device, name: request.name(), too_long: 0 })
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
        // One byte more than allowed, for the kernel cuts what does not fit and does not tell.
        let spare = packet.spare_mut();
        let room = spare.len().min(FRAME_MAX + 1);
        match self.device.read(&mut spare[..room]) {
            Ok(length) if length > FRAME_MAX || packet.grow(length).is_err() => self.too_long += 1,
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Gives the kernel one frame.
    ///
    /// # Errors
    /// The kernel's own, for [`trouble`]; the frame is lost then.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        // The kernel takes a frame whole or not at all.
        self.device.write(frame).map(|_| ())
    }

    /// Whether the interface is still there, wherever it was renamed or moved to.
    pub fn exists(&self) -> bool {
        let mut request = Request::empty();
        // SAFETY: TUNGETIFF writes one ifreq, which `request` is.
        check(unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNGETIFF, &raw mut request.0) }).is_ok()
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
    io::Error::new(error.kind(), format!("cannot open {DEVICE}: {why}"))
}

fn explain_attach(error: &io::Error, name: &InterfaceName) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EBUSY) => "the name is in use, perhaps by another instance".to_owned(),
        Some(libc::EINVAL) => "an interface of that name exists and is not a TAP".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "no permission; start as root or with CAP_NET_ADMIN".to_owned(),
        _ => super::words(error),
    };
    io::Error::new(error.kind(), format!("cannot create the interface {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Mac;
    use crate::base::limits::{HEADROOM, PACKETS};
    use crate::sys::netlink::Netlink;
    use crate::sys::testing::in_namespace;

    fn open(name: &str) -> io::Result<Tap> {
        Tap::open(&InterfaceName::new(name).unwrap())
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
