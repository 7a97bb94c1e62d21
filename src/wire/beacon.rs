//! The beacon by which members on one local network find each other: its bytes. What is hidden in it, and for whom,
//! stands in `mesh/discovery.rs`.
//!
//! ```text
//!  0      1      2          10                                44      60
//!  +------+------+----------+----------------------------------+-------+
//!  | 7    | flags| nonce    | UDP port, node id                | tag   |
//!  +------+------+----------+----------------------------------+-------+
//!                            \__________ encrypted ___________/
//! ```

use crate::base::discard::Discard;
use crate::wire::cursor::{Reader, Writer};

/// Length of a beacon, in bytes.
pub const BEACON: usize = 2 + 8 + HIDDEN + 16;
/// Length of what it hides: port and node id.
pub const HIDDEN: usize = 2 + 32;
/// The type, among those of the datagrams of [`Type`](crate::wire::envelope::Type). It comes to a port of its own.
const TYPE: u8 = 7;

/// A beacon's parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beacon {
    /// Random, of one round.
    pub nonce: [u8; 8],
    /// Port and node id, encrypted.
    pub hidden: [u8; HIDDEN],
    /// The tag of type, flags, nonce, what is hidden, and the source address.
    pub tag: [u8; 16],
}

impl Beacon {
    /// Takes a datagram apart.
    pub fn read(bytes: &[u8]) -> Result<Beacon, Discard> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != [TYPE, 0] {
            return Err(Discard::Malformed);
        }
        let beacon = Beacon { nonce: reader.array()?, hidden: reader.array()?, tag: reader.array()? };
        reader.end()?;
        Ok(beacon)
    }

    /// Its bytes.
    pub fn write(&self) -> [u8; BEACON] {
        let mut bytes = [0; BEACON];
        let mut writer = Writer::new(&mut bytes);
        // The parts are as long as the whole.
        _ = [&[TYPE, 0][..], &self.nonce, &self.hidden, &self.tag]
            .into_iter()
            .try_for_each(|part| writer.put(part));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_comes_back_and_nothing_else_is_one() {
        let beacon = Beacon { nonce: [1; 8], hidden: [2; HIDDEN], tag: [3; 16] };
        let bytes = beacon.write();
        assert_eq!(Beacon::read(&bytes), Ok(beacon));
        assert_eq!((bytes[0], bytes[BEACON - 1]), (7, 3));
        (0..BEACON).for_each(|cut| assert_eq!(Beacon::read(&bytes[..cut]), Err(Discard::Truncated)));
        assert_eq!(Beacon::read(&[&bytes[..], &[0]].concat()), Err(Discard::TooLong));
        for at in [0, 1] {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(Beacon::read(&other), Err(Discard::Malformed));
        }
    }
}
