//! The outside of every datagram: its type, and the headers of sealed and relayed packets.
//!
//! ```text
//!  0      1      2             6                  12      13                       n       n+16
//!  +------+------+-------------+------------------+-------+------------------------+--------+
//!  | type | flags| receiver ix | counter 48 bit   | kind  | payload ...            |  tag   |
//!  +------+------+-------------+------------------+-------+------------------------+--------+
//!    \_____________ authenticated ______________/   \______ encrypted __________/
//!
//!  0      1      2             6                  12            16            24
//!  +------+------+-------------+------------------+-------------+-------------+-----------------+
//!  | type | flags| receiver ix | hop counter      | circuit     | hop MAC     | a whole packet  |
//!  +------+------+-------------+------------------+-------------+-------------+-----------------+
//! ```

use core::ops::Range;

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, SessionIndex};
use crate::base::limits::{RELAY_FRONT, SEAL_BACK, SEAL_FRONT};

/// What a datagram is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Type {
    /// First handshake message.
    Hello1 = 1,
    /// Second handshake message.
    Hello2 = 2,
    /// Third handshake message.
    Hello3 = 3,
    /// A packet sealed under a session's key.
    Sealed = 4,
    /// A packet on its way through a relay.
    Relayed = 5,
    /// Asks for a first message once more, with a token.
    Retry = 6,
}

impl Type {
    /// The type of a datagram; its flags byte, not yet given a meaning, must be zero.
    pub fn of(datagram: &[u8]) -> Result<Type, Discard> {
        let [kind, flags, ..] = *datagram else { return Err(Discard::Truncated) };
        let kind = match kind {
            1 => Type::Hello1,
            2 => Type::Hello2,
            3 => Type::Hello3,
            4 => Type::Sealed,
            5 => Type::Relayed,
            6 => Type::Retry,
            _ => return Err(Discard::Malformed),
        };
        if flags == 0 { Ok(kind) } else { Err(Discard::Malformed) }
    }
}

/// What is inside a sealed packet, by the first sealed byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// An Ethernet frame.
    Frame = 0,
    /// A part of an Ethernet frame.
    Fragment = 1,
    /// Nothing: keeps a NAT's mapping, confirms a key.
    Keepalive = 2,
    /// A message of `wire/control.rs`.
    Control = 3,
    /// A filled packet that measures a path's MTU.
    Probe = 4,
    /// Asks whoever is at an address to answer from there: an 8-byte nonce.
    Challenge = 5,
    /// The answer: the same nonce.
    Response = 6,
    /// The sender has ended this session.
    Close = 7,
}

impl Kind {
    /// The kind with that number.
    pub fn from_byte(byte: u8) -> Result<Kind, Discard> {
        Ok(match byte {
            0 => Kind::Frame,
            1 => Kind::Fragment,
            2 => Kind::Keepalive,
            3 => Kind::Control,
            4 => Kind::Probe,
            5 => Kind::Challenge,
            6 => Kind::Response,
            7 => Kind::Close,
            _ => return Err(Discard::Malformed),
        })
    }
}

const INDEX: Range<usize> = 2..6;
const COUNTER: Range<usize> = 6..12;
const CIRCUIT: Range<usize> = 12..16;
const HOP_MAC: Range<usize> = 16..24;

/// Length of the authenticated header of a sealed packet, in bytes; the kind follows it, encrypted.
pub const SEALED_HEADER: usize = 12;
const _: () = assert!(SEALED_HEADER + 1 == SEAL_FRONT && HOP_MAC.end == RELAY_FRONT);

/// The header that sealed and relayed packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The receiver's name for the session.
    pub index: SessionIndex,
    /// The packet's number under its key, 48 bits.
    pub counter: u64,
}

impl Header {
    /// Reads the header of a sealed packet, which must have room for kind and tag.
    pub fn of_sealed(bytes: &[u8]) -> Result<Header, Discard> {
        if bytes.len() < SEAL_FRONT + SEAL_BACK {
            return Err(Discard::Truncated);
        }
        Ok(Header::read(bytes))
    }

    /// Reads the header of a relayed packet, with its circuit.
    pub fn of_relayed(bytes: &[u8]) -> Result<(Header, CircuitId), Discard> {
        if bytes.len() <= RELAY_FRONT {
            return Err(Discard::Truncated);
        }
        Ok((Header::read(bytes), CircuitId(be32(&bytes[CIRCUIT]))))
    }

    fn read(bytes: &[u8]) -> Header {
        let counter = bytes[COUNTER].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Header { index: SessionIndex(be32(&bytes[INDEX])), counter }
    }

    /// Writes the first [`SEALED_HEADER`] bytes of a sealed packet.
    pub fn write_sealed(self, bytes: &mut [u8]) {
        self.write(Type::Sealed, bytes);
    }

    /// Writes the header of a relayed packet but for its MAC.
    pub fn write_relayed(self, circuit: CircuitId, bytes: &mut [u8]) {
        self.write(Type::Relayed, bytes);
        bytes[CIRCUIT].copy_from_slice(&circuit.0.to_be_bytes());
    }

    fn write(self, kind: Type, bytes: &mut [u8]) {
        bytes[0] = kind as u8;
        bytes[1] = 0;
        bytes[INDEX].copy_from_slice(&self.index.0.to_be_bytes());
        bytes[COUNTER].copy_from_slice(&self.counter.to_be_bytes()[2..]);
    }
}

/// Splits a relayed packet into what its hop MAC covers in front, the MAC, and the packet inside.
/// The caller has read its header, so it is long enough.
pub fn split_relayed(bytes: &mut [u8]) -> (&mut [u8], &mut [u8], &mut [u8]) {
    let (front, inner) = bytes.split_at_mut(RELAY_FRONT);
    let (head, mac) = front.split_at_mut(HOP_MAC.start);
    (head, mac, inner)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_what_the_first_two_bytes_say() {
        assert_eq!(Type::of(&[4, 0, 9]), Ok(Type::Sealed));
        assert_eq!(Type::of(&[4, 1]), Err(Discard::Malformed));
        assert_eq!(Type::of(&[0, 0]), Err(Discard::Malformed));
        assert_eq!(Type::of(&[6, 0]), Ok(Type::Retry));
        assert_eq!(Type::of(&[8, 0]), Err(Discard::Malformed));
        assert_eq!(Type::of(&[4]), Err(Discard::Truncated));
    }

    #[test]
    fn kinds_and_their_numbers() {
        for number in 0..8 {
            assert_eq!(Kind::from_byte(number).unwrap() as u8, number);
        }
        assert_eq!(Kind::from_byte(8), Err(Discard::Malformed));
    }

    #[test]
    fn a_sealed_header_has_frozen_bytes() {
        let header = Header { index: SessionIndex(0x0102_0304), counter: 0x0506_0708_090a };
        let mut bytes = [0xff; SEAL_FRONT + SEAL_BACK];
        header.write_sealed(&mut bytes);
        assert_eq!(bytes[..SEALED_HEADER], [4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(Header::of_sealed(&bytes), Ok(header));
        assert_eq!(Header::of_sealed(&bytes[1..]), Err(Discard::Truncated));
    }

    #[test]
    fn a_relayed_header_has_frozen_bytes() {
        let header = Header { index: SessionIndex(0x0102_0304), counter: 1 };
        let mut bytes = [0xff; RELAY_FRONT + 1];
        header.write_relayed(CircuitId(0x0a0b_0c0d), &mut bytes);
        assert_eq!(bytes[..16], [5, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 1, 10, 11, 12, 13]);
        assert_eq!(Header::of_relayed(&bytes), Ok((header, CircuitId(0x0a0b_0c0d))));
        assert_eq!(Header::of_relayed(&bytes[1..]), Err(Discard::Truncated));
        let (head, mac, inner) = split_relayed(&mut bytes);
        assert_eq!((head.len(), mac.len(), inner.len()), (16, 8, 1));
    }
}
