//! The header of an Ethernet frame, VLAN tags included.
//!
//! ```text
//!  0             6             12            14
//!  +-------------+-------------+-------------+-----------+
//!  | destination | source      | ethertype   | payload   |   untagged
//!  +-------------+-------------+------+------+-----------+
//!  | destination | source      | TPID | TCI  | ethertype | payload     tagged; up to two tags
//!  +-------------+-------------+------+------+-----------+
//! ```
//!
//! [`Frame`] is a copy of what the header says and borrows nothing, so that a frame can be edited while it is
//! known what it was.

use crate::base::discard::Discard;
use crate::base::ids::Mac;
use crate::base::limits::{BEACON_GROUP4, BEACON_GROUP6, ETHERNET_HEADER};
use crate::wire::cursor::Reader;

/// Ethertype of ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// Ethertype of IPv4 (RFC 894).
pub const IPV4: u16 = 0x0800;
/// Ethertype of IPv6 (RFC 2464).
pub const IPV6: u16 = 0x86dd;

/// TPID of a customer VLAN tag (IEEE 802.1Q).
pub(super) const CUSTOMER_TAG: u16 = 0x8100;
/// TPID of a service VLAN tag (IEEE 802.1ad).
pub(super) const SERVICE_TAG: u16 = 0x88a8;
/// The VLAN id within a tag's control information; above it stand priority and drop eligibility.
const VLAN_ID: u16 = 0x0fff;
/// As many tags as are looked behind.
const TAGS: usize = 2;

/// To whom probes for loops go ([`looping`](crate::wire::looping)): a group of local significance.
pub const PROBE_GROUP: Mac = Mac([3, b'p', b'e', b'e', b'r', b'v']);

/// What the header of a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// For whom.
    pub destination: Mac,
    /// By whom: never a group address, never zero.
    pub source: Mac,
    /// The id in the outer VLAN tag, 0 to 4095. A frame without a tag is in VLAN 0, and so is one whose tag
    /// gives it only a priority (IEEE 802.1Q, 9.6).
    pub vlan: u16,
    /// What the payload is, behind at most two tags. Values below 0x600 are an LLC frame's length.
    pub ethertype: u16,
    /// Where the payload begins, in bytes from the start of the frame.
    pub payload: usize,
}

impl Frame {
    /// Reads the header of `bytes`. [`Discard::Truncated`] when it is cut short, [`Discard::Malformed`] when
    /// its source cannot be a station (IEEE 802.3, 3.2.3: the group bit of a source is reserved).
    pub fn read(bytes: &[u8]) -> Result<Frame, Discard> {
        let mut reader = Reader::new(bytes);
        let destination = Mac(reader.array()?);
        let source = Mac(reader.array()?);
        let mut ethertype = reader.u16()?;
        let mut payload = ETHERNET_HEADER;
        let mut vlan = None;
        for _ in 0..TAGS {
            if ethertype != CUSTOMER_TAG && ethertype != SERVICE_TAG {
                break;
            }
            let control = reader.u16()?;
            vlan = vlan.or(Some(control & VLAN_ID));
            ethertype = reader.u16()?;
            payload += 4;
        }
        if !source.is_station() {
            return Err(Discard::Malformed);
        }
        Ok(Frame { destination, source, vlan: vlan.unwrap_or(0), ethertype, payload })
    }

    /// Whether it goes to those who look for peers on this local network: through the tunnel it would make them find
    /// each other in there (S20).
    fn is_beacon(&self) -> bool {
        let [_, high, middle, low] = BEACON_GROUP4.octets();
        let [.., a, b, c, d] = BEACON_GROUP6.octets();
        self.destination == Mac([1, 0, 0x5e, high & 0x7f, middle, low])
            || self.destination == Mac([0x33, 0x33, a, b, c, d])
    }

    /// Whether the frame is for this side only and so ends at the tunnel: for the next bridge (IEEE 802.1Q, table 8-1:
    /// spanning tree, pause, 802.1X, LLDP), or one of our own beacons and probes.
    pub fn is_link_local(&self) -> bool {
        matches!(self.destination.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
            || self.destination == PROBE_GROUP
            || self.is_beacon()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
    const BOB: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

    fn frame(destination: [u8; 6], source: [u8; 6], rest: &[u8]) -> Vec<u8> {
        [&destination[..], &source[..], rest].concat()
    }

    #[test]
    fn tags_are_skipped_and_the_outer_one_names_the_vlan() {
        let table: [(&[u8], u16, u16, usize); 8] = [
            (&[0x08, 0x00], 0, IPV4, 14),
            (&[0x81, 0x00, 0x00, 0x05, 0x86, 0xdd], 5, IPV6, 18),
            // Priority 7 and drop eligible: neither belongs to the id.
            (&[0x81, 0x00, 0xff, 0xff, 0x08, 0x06], 4095, ARP, 18),
            (&[0x81, 0x00, 0xe0, 0x00, 0x08, 0x06], 0, ARP, 18),
            (&[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x05, 0x08, 0x00], 7, IPV4, 22),
            (&[0x81, 0x00, 0x00, 0x00, 0x81, 0x00, 0x00, 0x05, 0x08, 0x00], 0, IPV4, 22),
            // A third tag is payload.
            (&[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0x00], 1, 0x8100, 22),
            (&[0x00, 0x26], 0, 0x26, 14),
        ];
        for (rest, vlan, ethertype, payload) in table {
            let read = Frame::read(&frame(BOB, ALICE, rest)).unwrap();
            assert_eq!((read.destination, read.source), (Mac(BOB), Mac(ALICE)));
            assert_eq!((read.vlan, read.ethertype, read.payload), (vlan, ethertype, payload), "{rest:x?}");
        }
    }

    #[test]
    fn whatever_is_cut_short_is_truncated() {
        let whole = frame(BOB, ALICE, &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x05, 0x08, 0x00]);
        for length in 0..whole.len() {
            assert_eq!(Frame::read(&whole[..length]), Err(Discard::Truncated), "{length}");
        }
        assert!(Frame::read(&whole).is_ok());
    }

    #[test]
    fn a_source_that_is_no_station_is_malformed() {
        for source in [[0; 6], [0xff; 6], [0x01, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
            assert_eq!(Frame::read(&frame(BOB, source, &[8, 0])), Err(Discard::Malformed));
        }
    }

    #[test]
    fn link_local_groups_are_sixteen() {
        let group = |last| Frame::read(&frame([1, 0x80, 0xc2, 0, 0, last], ALICE, &[8, 0])).unwrap();
        assert!((0..=0x0f).all(|last| group(last).is_link_local()));
        assert!(!group(0x10).is_link_local());
        for beacon in [[1, 0, 0x5e, 0x7f, 0x70, 0x76], [0x33, 0x33, 0x70, 0x65, 0x65, 0x72]] {
            assert!(Frame::read(&frame(beacon, ALICE, &[8, 0])).unwrap().is_link_local());
        }
        assert!(!Frame::read(&frame([0xff; 6], ALICE, &[8, 0])).unwrap().is_link_local());
    }

    #[test]
    fn a_million_random_frames_do_no_harm() {
        // S1: no remote input panics. Tags are made likely, or chance would never find them.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut bytes = [0; 32];
        for _ in 0..1_000_000 {
            for chunk in bytes.chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
            }
            if state & 1 != 0 {
                bytes[12..14].copy_from_slice(&CUSTOMER_TAG.to_be_bytes());
            }
            if state & 2 != 0 {
                bytes[16..18].copy_from_slice(&SERVICE_TAG.to_be_bytes());
            }
            let length = bytes[31] as usize % 32;
            if let Ok(frame) = Frame::read(&bytes[..length]) {
                assert!(frame.payload <= length && frame.source.is_station() && frame.vlan < 4096);
            }
        }
    }
}
