//! Frames that know themselves: each carries a mark that must never be seen outside, and a number under which
//! the world remembers who sent it, with what content, and where it came out.

use std::collections::BTreeMap;

use peervpn::base::ids::Mac;
use peervpn::base::time::Instant;

use super::Id;

/// Begins every payload. Seen in a datagram, it is a leak of plaintext.
pub const MARK: [u8; 8] = *b"\x00open!\xf0\x9f";
/// The shortest frame that carries a mark and a number.
pub const SHORTEST: usize = 14 + 8 + 8;
/// IEEE 802 local experimental EtherType 1.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The number of a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FrameId(pub usize);

/// One frame's life.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Who sent it.
    pub origin: Id,
    /// When.
    pub at: Instant,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The frame that it answers.
    pub answers: Option<FrameId>,
    /// Whether its receiver is to answer it.
    pub echo: bool,
    /// How many datagrams it left in.
    pub carriers: u32,
    /// How many of them did not arrive as they were.
    pub lost: u32,
    /// Where and when it came out first.
    pub delivered: BTreeMap<Id, Instant>,
    /// How often it came out in all, or was heard on a bridge.
    pub copies: u32,
}

impl Sent {
    /// The destination.
    pub fn to(&self) -> Mac {
        destination(&self.bytes).expect("frames of ours have headers")
    }

    /// The sender's MAC address.
    pub fn from(&self) -> Mac {
        Mac(self.bytes[6..12].try_into().expect("six bytes"))
    }
}

/// All frames of a world.
#[derive(Default, Debug)]
pub struct Frames {
    sent: Vec<Sent>,
}

impl Frames {
    /// Makes a frame of `length` bytes, at least [`SHORTEST`].
    pub fn make(&mut self, origin: Id, at: Instant, to: Mac, from: Mac, length: usize) -> FrameId {
        let id = FrameId(self.sent.len());
        let mut bytes = Vec::with_capacity(length.max(SHORTEST));
        bytes.extend(to.0);
        bytes.extend(from.0);
        bytes.extend(ETHERTYPE);
        bytes.extend(MARK);
        bytes.extend((id.0 as u64).to_be_bytes());
        while bytes.len() < length {
            bytes.push(bytes.len().to_le_bytes()[0] ^ id.0.to_le_bytes()[0]);
        }
        let echo = false;
        let (answers, carriers, lost, delivered, copies) = (None, 0, 0, BTreeMap::new(), 0);
        self.sent.push(Sent { origin, at, bytes, answers, echo, carriers, lost, delivered, copies });
        id
    }

    /// A frame's life so far.
    pub fn get(&self, id: FrameId) -> &Sent {
        &self.sent[id.0]
    }

    /// A frame's life so far, to write on.
    pub fn get_mut(&mut self, id: FrameId) -> &mut Sent {
        &mut self.sent[id.0]
    }

    /// All frames, in the order of their making.
    pub fn iter(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter()
    }

    /// The number that `bytes` carry; none for a frame that is not from here, such as a neighbour
    /// advertisement that a node made.
    pub fn recognise(&self, bytes: &[u8]) -> Option<FrameId> {
        let number = bytes.get(14..SHORTEST)?.strip_prefix(&MARK)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        usize::try_from(number).ok().filter(|&number| number < self.sent.len()).map(FrameId)
    }
}

/// Where a frame goes.
pub fn destination(frame: &[u8]) -> Option<Mac> {
    Some(Mac(frame.get(..6)?.try_into().ok()?))
}

/// Whether the mark is to be seen anywhere in `bytes`.
pub fn leaks(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_recognised_by_its_number() {
        let mut frames = Frames::default();
        let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        frames.make(Id(0), Instant::ZERO, b, a, 0);
        let second = frames.make(Id(0), Instant::ZERO, b, a, 1514);
        let sent = frames.get(second).clone();
        assert_eq!((sent.bytes.len(), sent.to(), sent.from()), (1514, b, a));
        assert_eq!(frames.recognise(&sent.bytes), Some(second));
        assert!(leaks(&sent.bytes) && !leaks(&sent.bytes[..20]));
        assert_eq!(frames.recognise(&sent.bytes[..20]), None);
    }
}
