//! Checked walks over bytes: what runs past the end is [`Discard::Truncated`] or [`Discard::TooLong`],
//! never a panic. Numbers are big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::discard::Discard;

/// Reads from the front.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Discard> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Discard::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes, copied.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Discard> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Discard::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Discard> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Discard> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Discard> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// An address and port: family (4 or 6), 4 or 16 address bytes, 2 port bytes.
    pub fn address(&mut self) -> Result<SocketAddr, Discard> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Discard::Malformed),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Succeeds when everything has been read.
    pub fn end(&self) -> Result<(), Discard> {
        if self.rest.is_empty() { Ok(()) } else { Err(Discard::TooLong) }
    }
}

/// Writes into a slice from its front.
pub struct Writer<'a> {
    room: &'a mut [u8],
    written: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the first byte.
    pub fn new(room: &'a mut [u8]) -> Writer<'a> {
        Writer { room, written: 0 }
    }

    /// Appends `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Discard> {
        let end = self.written + bytes.len();
        self.room.get_mut(self.written..end).ok_or(Discard::TooLong)?.copy_from_slice(bytes);
        self.written = end;
        Ok(())
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> Result<(), Discard> {
        self.put(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> Result<(), Discard> {
        self.put(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> Result<(), Discard> {
        self.put(&value.to_be_bytes())
    }

    /// Appends an address and port, in the form that [`Reader::address`] reads.
    pub fn address(&mut self, address: SocketAddr) -> Result<(), Discard> {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.u8(4)?;
                self.put(&ip.octets())?;
            }
            IpAddr::V6(ip) => {
                self.u8(6)?;
                self.put(&ip.octets())?;
            }
        }
        self.u16(address.port())
    }

    /// How many bytes were written.
    pub fn written(&self) -> usize {
        self.written
    }

    /// How many more fit.
    pub fn left(&self) -> usize {
        self.room.len() - self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut room = [0; 64];
        let mut writer = Writer::new(&mut room);
        let four: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let six: SocketAddr = "[2001:db8::1]:65535".parse().unwrap();
        writer.u8(1).unwrap();
        writer.u16(0x0203).unwrap();
        writer.u32(0x0405_0607).unwrap();
        writer.address(four).unwrap();
        writer.address(six).unwrap();
        let written = writer.written();
        let mut reader = Reader::new(&room[..written]);
        assert_eq!(reader.take(3).unwrap(), [1, 2, 3]);
        assert_eq!(reader.u32().unwrap(), 0x0405_0607);
        assert_eq!(reader.address().unwrap(), four);
        assert_eq!(reader.address().unwrap(), six);
        reader.end().unwrap();
        assert_eq!(reader.u8(), Err(Discard::Truncated));
    }

    #[test]
    fn nothing_runs_past_the_end() {
        let mut reader = Reader::new(&[1, 2]);
        assert_eq!(reader.u32(), Err(Discard::Truncated));
        assert_eq!(reader.rest(), [1, 2]);
        assert_eq!(reader.end(), Err(Discard::TooLong));
        let mut room = [0; 2];
        let mut writer = Writer::new(&mut room);
        writer.u8(9).unwrap();
        assert_eq!(writer.u16(1), Err(Discard::TooLong));
        assert_eq!(writer.left(), 1);
    }

    #[test]
    fn an_unknown_address_family_is_malformed() {
        assert_eq!(Reader::new(&[5, 0, 0, 0, 0, 0, 0]).address(), Err(Discard::Malformed));
    }
}
