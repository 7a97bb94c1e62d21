//! The probe by which two members find that they are bridged to one local network, and that what one floods would
//! come back by the other: a frame that goes out at our TAP and into no tunnel. Who may read it stands in
//! `mesh/loops.rs`.
//!
//! ```text
//!  0             6        12       14     15      23         31      47        60
//!  +-------------+--------+--------+------+-------+----------+-------+---------+
//!  | group       | source | 88 b6  | 1    | nonce | short id | tag   | zeros   |
//!  +-------------+--------+--------+------+-------+----------+-------+---------+
//!                                                  encrypted
//! ```

use crate::base::discard::Discard;
use crate::base::ids::Mac;
use crate::base::limits::ETHERNET_HEADER;
use crate::wire::cursor::{Reader, Writer};
use crate::wire::ether::{Frame, PROBE_GROUP};

/// Length of a probe's frame, in bytes: the least that Ethernet carries, without its checksum.
pub const PROBE: usize = 60;
/// IEEE 802's second Ethertype for local experiments.
const ETHERTYPE: u16 = 0x88b6;
const TYPE: u8 = 1;

/// A probe's parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Random, of one probe.
    pub nonce: [u8; 8],
    /// The sender's short id, encrypted.
    pub hidden: [u8; 8],
    /// The tag of the two.
    pub tag: [u8; 16],
}

impl Probe {
    /// Whether a frame is to be read as one: untagged, since that is how they are sent.
    pub fn is_in(frame: &Frame) -> bool {
        frame.destination == PROBE_GROUP && frame.ethertype == ETHERTYPE && frame.payload == ETHERNET_HEADER
    }

    /// Takes a frame apart for which that holds.
    pub fn read(bytes: &[u8]) -> Result<Probe, Discard> {
        let mut reader = Reader::new(bytes);
        reader.take(ETHERNET_HEADER)?;
        if reader.u8()? != TYPE {
            return Err(Discard::Malformed);
        }
        Ok(Probe { nonce: reader.array()?, hidden: reader.array()?, tag: reader.array()? })
    }

    /// The frame.
    pub fn write(&self, source: Mac) -> [u8; PROBE] {
        let mut bytes = [0; PROBE];
        let mut writer = Writer::new(&mut bytes);
        let kind = ETHERTYPE.to_be_bytes();
        // The parts are shorter than the whole.
        _ = [&PROBE_GROUP.0[..], &source.0, &kind, &[TYPE], &self.nonce, &self.hidden, &self.tag]
            .into_iter()
            .try_for_each(|part| writer.put(part));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_comes_back_and_nothing_else_is_one() {
        let source = Mac([2, 0, 0, 0, 0, 7]);
        let probe = Probe { nonce: [1; 8], hidden: [2; 8], tag: [3; 16] };
        let bytes = probe.write(source);
        let frame = Frame::read(&bytes).unwrap();
        assert!(Probe::is_in(&frame) && frame.is_link_local() && frame.source == source);
        assert_eq!(Probe::read(&bytes), Ok(probe));
        assert_eq!((bytes[46], bytes[47]), (3, 0));
        (14..47).for_each(|cut| assert_eq!(Probe::read(&bytes[..cut]), Err(Discard::Truncated)));
        let mut other = bytes;
        other[14] = 2;
        assert_eq!(Probe::read(&other), Err(Discard::Malformed));
        let tagged = [&bytes[..12], &[0x81, 0, 0, 5], &bytes[12..]].concat();
        let tagged = Frame::read(&tagged).unwrap();
        assert!(!Probe::is_in(&tagged) && tagged.is_link_local(), "it crosses no tunnel either");
        let mut elsewhere = bytes;
        elsewhere[..6].fill(0xff);
        assert!(!Probe::is_in(&Frame::read(&elsewhere).unwrap()));
    }
}
