//! Control messages: what members tell each other inside a session, as the payload of
//! [`Kind::Control`](crate::wire::envelope::Kind::Control). The first byte names the message.
//!
//! | number | message | bytes after the number |
//! |---|---|---|
//! | 1 | hello | a whole handshake message |
//! | 2 | announce | sequence 4, then entries |
//! | 3 | announced | sequence 4, then the positions (1 byte each) of entries wanted in full |
//! | 4 | open circuit | sender's circuit 4, target's node id 32 |
//! | 5 | offer circuit | sender's circuit 4, origin's node id 32 |
//! | 6 | accept circuit | receiver's circuit 4, sender's circuit 4 |
//! | 7 | close circuit | circuit 4, whose it is 1, reason 1 |
//! | 11 | loop question | nonce 8 |
//! | 12 | loop answer | nonce 8 |
//! | 8 | punch request | flags 1, kind of NAT 1, token 8, target's node id 32, count 1, the sender's addresses |
//! | 9 | punch | flags 1, kind of NAT 1, token 8, the other's node id 32, count 1, the other's addresses |
//! | 10 | observed address | where the sender sees the receiver |
//!
//! An entry of an announcement begins with a byte of flags: 1, the sender has a direct path to the node;
//! 2, the entry is full. A brief entry goes on with the node's short id (8 bytes), a full one with its node id
//! (32 bytes), a count (1 byte, at most 8) and so many addresses.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::event::NatKind;
use crate::base::ids::{CircuitId, NodeId, ShortId};
use crate::base::limits::ENDPOINTS_PER_PEER;
use crate::wire::cursor::{Reader, Writer};

/// One control message, borrowing from the packet it came in.
#[derive(Clone)]
pub enum Control<'a> {
    /// A handshake message of a rekey.
    Hello(&'a [u8]),
    /// Whom the sender reaches, as far as that changed.
    Announce(Announce<'a>),
    /// The announcement of that number arrived.
    Announced {
        /// Its number.
        sequence: u32,
        /// The positions of the entries that the receiver wants in full.
        wanted: &'a [u8],
    },
    /// Please set up a circuit to that node; packets to me shall bear my number.
    OpenCircuit {
        /// The number for packets towards the sender of this message.
        mine: CircuitId,
        /// Who is to be reached.
        target: NodeId,
    },
    /// That node asks for a circuit to you; packets to me shall bear my number.
    OfferCircuit {
        /// The number for packets towards the sender of this message.
        mine: CircuitId,
        /// Who asks.
        origin: NodeId,
    },
    /// The circuit stands.
    AcceptCircuit {
        /// The number that the receiver of this message had named.
        yours: CircuitId,
        /// The number for packets towards the sender of this message.
        mine: CircuitId,
    },
    /// There is no such circuit, or no longer.
    CloseCircuit {
        /// Its number.
        circuit: CircuitId,
        /// Whose number that is.
        named_by: NamedBy,
        /// Why.
        reason: CircuitEnd,
    },
    /// Is that probe, which I heard at my TAP, yours?
    LoopQuestion([u8; 8]),
    /// It is.
    LoopAnswer([u8; 8]),
    /// Please let that node and me find each other.
    PunchRequest(Meeting),
    /// That node and you should find each other, now.
    Punch(Meeting),
    /// Where I see you.
    Observed(SocketAddr),
}

/// What two nodes must know of each other to open a way through their NATs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meeting {
    /// Whether it answers another one and wants no answer itself.
    pub answer: bool,
    /// What keeps the addresses.
    pub nat: NatKind,
    /// By which the answer is known.
    pub token: [u8; 8],
    /// In a request who is to be met, then who wants to meet.
    pub node: NodeId,
    /// Of the sender of the request.
    pub endpoints: Endpoints,
}

/// Who chose the circuit number in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum NamedBy {
    /// The receiver of the message.
    Receiver = 0,
    /// The sender of the message.
    Sender = 1,
}

/// Why a circuit ended or never was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CircuitEnd {
    /// The relay knows no such circuit.
    Unknown = 0,
    /// The relay has no direct path to the target.
    Unreachable = 1,
    /// The node does not relay, or the target does not want to.
    Refused = 2,
    /// No place left.
    Full = 3,
}

/// An announcement's number and its entries, already checked.
#[derive(Clone)]
pub struct Announce<'a> {
    /// Its number, to be named in the answer.
    pub sequence: u32,
    entries: Reader<'a>,
}

/// One entry of an announcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Whether the sender has a direct path to the node.
    pub reachable: bool,
    /// Which node, and what is told of it.
    pub subject: Subject,
}

/// Which node an entry is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack while one entry is read or written")]
pub enum Subject {
    /// Only its name, in the hope that the receiver knows it.
    Brief(ShortId),
    /// Its identity and where it was seen.
    Full(NodeId, Endpoints),
}

/// A few addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoints {
    places: [Option<SocketAddr>; ENDPOINTS_PER_PEER],
}

impl Endpoints {
    /// The addresses, first the one added last.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.places.iter().copied().flatten()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places[0].is_none()
    }

    /// Whether it is one of them.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.places.contains(&Some(address))
    }

    /// Puts `address` first; the oldest one falls out when there is no room.
    pub fn add(&mut self, address: SocketAddr) {
        let same = self.places.iter().position(|&place| place == Some(address));
        let end = same.unwrap_or(ENDPOINTS_PER_PEER - 1);
        self.places.copy_within(0..end, 1);
        self.places[0] = Some(address);
    }

    /// Puts `address` last, unless it is in already or there is no room.
    pub fn append(&mut self, address: SocketAddr) {
        if !self.has(address)
            && let Some(place) = self.places.iter_mut().find(|place| place.is_none())
        {
            *place = Some(address);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Endpoints, Discard> {
        let mut endpoints = Endpoints::default();
        let count = usize::from(reader.u8()?);
        for place in endpoints.places.get_mut(..count).ok_or(Discard::Malformed)? {
            *place = Some(reader.address()?);
        }
        Ok(endpoints)
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Discard> {
        writer.u8(u8::try_from(self.iter().count()).map_err(|_| Discard::TooLong)?)?;
        self.iter().try_for_each(|address| writer.address(address))
    }
}

const REACHABLE: u8 = 1;
const FULL: u8 = 2;

impl<'a> Control<'a> {
    /// Reads a message; all of it is checked before any of it is used.
    pub fn read(bytes: &'a [u8]) -> Result<Control<'a>, Discard> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            1 => return Ok(Control::Hello(reader.rest())),
            2 => return Ok(Control::Announce(Announce::read(reader)?)),
            3 => return Ok(Control::Announced { sequence: reader.u32()?, wanted: reader.rest() }),
            4 => Control::OpenCircuit { mine: CircuitId(reader.u32()?), target: NodeId(reader.array()?) },
            5 => Control::OfferCircuit { mine: CircuitId(reader.u32()?), origin: NodeId(reader.array()?) },
            6 => Control::AcceptCircuit { yours: CircuitId(reader.u32()?), mine: CircuitId(reader.u32()?) },
            7 => Control::CloseCircuit {
                circuit: CircuitId(reader.u32()?),
                named_by: NamedBy::from_byte(reader.u8()?)?,
                reason: CircuitEnd::from_byte(reader.u8()?)?,
            },
            11 => Control::LoopQuestion(reader.array()?),
            12 => Control::LoopAnswer(reader.array()?),
            8 => Control::PunchRequest(Meeting::read(&mut reader)?),
            9 => Control::Punch(Meeting::read(&mut reader)?),
            10 => Control::Observed(reader.address()?),
            _ => return Err(Discard::Malformed),
        };
        reader.end()?;
        Ok(message)
    }

    /// Writes any message but an announcement, which [`AnnounceWriter`] composes.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), Discard> {
        match *self {
            Control::Hello(message) => {
                writer.u8(1)?;
                writer.put(message)
            }
            Control::Announce(ref announce) => {
                writer.u8(2)?;
                writer.u32(announce.sequence)?;
                writer.put(announce.entries.rest())
            }
            Control::Announced { sequence, wanted } => {
                writer.u8(3)?;
                writer.u32(sequence)?;
                writer.put(wanted)
            }
            Control::OpenCircuit { mine, target } => {
                writer.u8(4)?;
                writer.u32(mine.0)?;
                writer.put(&target.0)
            }
            Control::OfferCircuit { mine, origin } => {
                writer.u8(5)?;
                writer.u32(mine.0)?;
                writer.put(&origin.0)
            }
            Control::AcceptCircuit { yours, mine } => {
                writer.u8(6)?;
                writer.u32(yours.0)?;
                writer.u32(mine.0)
            }
            Control::CloseCircuit { circuit, named_by, reason } => {
                writer.u8(7)?;
                writer.u32(circuit.0)?;
                writer.u8(named_by as u8)?;
                writer.u8(reason as u8)
            }
            Control::LoopQuestion(nonce) => {
                writer.u8(11)?;
                writer.put(&nonce)
            }
            Control::LoopAnswer(nonce) => {
                writer.u8(12)?;
                writer.put(&nonce)
            }
            Control::PunchRequest(ref meeting) => meeting.write(8, writer),
            Control::Punch(ref meeting) => meeting.write(9, writer),
            Control::Observed(address) => {
                writer.u8(10)?;
                writer.address(address)
            }
        }
    }
}

impl Meeting {
    fn read(reader: &mut Reader<'_>) -> Result<Meeting, Discard> {
        let answer = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Discard::Malformed),
        };
        Ok(Meeting {
            answer,
            nat: NatKind::from_byte(reader.u8()?),
            token: reader.array()?,
            node: NodeId(reader.array()?),
            endpoints: Endpoints::read(reader)?,
        })
    }

    fn write(&self, number: u8, writer: &mut Writer<'_>) -> Result<(), Discard> {
        writer.put(&[number, u8::from(self.answer), self.nat as u8])?;
        writer.put(&self.token)?;
        writer.put(&self.node.0)?;
        self.endpoints.write(writer)
    }
}

impl NamedBy {
    fn from_byte(byte: u8) -> Result<NamedBy, Discard> {
        match byte {
            0 => Ok(NamedBy::Receiver),
            1 => Ok(NamedBy::Sender),
            _ => Err(Discard::Malformed),
        }
    }
}

impl CircuitEnd {
    fn from_byte(byte: u8) -> Result<CircuitEnd, Discard> {
        match byte {
            0 => Ok(CircuitEnd::Unknown),
            1 => Ok(CircuitEnd::Unreachable),
            2 => Ok(CircuitEnd::Refused),
            3 => Ok(CircuitEnd::Full),
            _ => Err(Discard::Malformed),
        }
    }
}

impl<'a> Announce<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Announce<'a>, Discard> {
        let announce = Announce { sequence: reader.u32()?, entries: reader };
        let mut rest = announce.entries.clone();
        while !rest.rest().is_empty() {
            Entry::read(&mut rest)?;
        }
        Ok(announce)
    }

    /// The entries in their order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + 'a {
        let mut rest = self.entries.clone();
        core::iter::from_fn(move || Entry::read(&mut rest).ok())
    }
}

impl Entry {
    fn read(reader: &mut Reader<'_>) -> Result<Entry, Discard> {
        let flags = reader.u8()?;
        if flags & !(REACHABLE | FULL) != 0 {
            return Err(Discard::Malformed);
        }
        let subject = if flags & FULL == 0 {
            Subject::Brief(ShortId(reader.array()?))
        } else {
            Subject::Full(NodeId(reader.array()?), Endpoints::read(reader)?)
        };
        Ok(Entry { reachable: flags & REACHABLE != 0, subject })
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Discard> {
        let reachable = if self.reachable { REACHABLE } else { 0 };
        match self.subject {
            Subject::Brief(short) => {
                writer.u8(reachable)?;
                writer.put(&short.0)
            }
            Subject::Full(id, endpoints) => {
                writer.u8(reachable | FULL)?;
                writer.put(&id.0)?;
                endpoints.write(writer)
            }
        }
    }

    /// How many bytes it takes.
    fn len(&self) -> usize {
        match self.subject {
            Subject::Brief(_) => 1 + 8,
            Subject::Full(_, endpoints) => {
                let address = |a: SocketAddr| if a.is_ipv4() { 7 } else { 19 };
                1 + 32 + 1 + endpoints.iter().map(address).sum::<usize>()
            }
        }
    }
}

/// Composes an announcement entry by entry.
pub struct AnnounceWriter<'a> {
    writer: Writer<'a>,
    entries: u8,
}

impl<'a> AnnounceWriter<'a> {
    /// Begins an announcement in `room`.
    pub fn new(room: &'a mut [u8], sequence: u32) -> Result<AnnounceWriter<'a>, Discard> {
        let mut writer = Writer::new(room);
        writer.u8(2)?;
        writer.u32(sequence)?;
        Ok(AnnounceWriter { writer, entries: 0 })
    }

    /// Appends an entry, unless it does not fit or 255 are in already: then false.
    pub fn add(&mut self, entry: &Entry) -> bool {
        let fits = entry.len() <= self.writer.left() && self.entries < u8::MAX;
        let added = fits && entry.write(&mut self.writer).is_ok();
        self.entries += u8::from(added);
        added
    }

    /// How many bytes were written.
    pub fn written(&self) -> usize {
        self.writer.written()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(message: &Control<'_>) -> Vec<u8> {
        let mut room = [0; 256];
        let mut writer = Writer::new(&mut room);
        message.write(&mut writer).unwrap();
        let written = writer.written();
        room[..written].to_vec()
    }

    fn meeting() -> Meeting {
        let mut endpoints = Endpoints::default();
        endpoints.append("192.0.2.1:7000".parse().unwrap());
        let nat = NatKind::Symmetric;
        Meeting { answer: true, nat, token: [0xa1; 8], node: NodeId([0xab; 32]), endpoints }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn messages_have_frozen_bytes() {
        let id = NodeId([0xab; 32]);
        let ab = "ab".repeat(32);
        let table = [
            (Control::Hello(&[1, 0, 9]), "01010009".to_owned()),
            (Control::Announced { sequence: 7, wanted: &[0, 3] }, "03000000070003".to_owned()),
            (Control::OpenCircuit { mine: CircuitId(1), target: id }, format!("0400000001{ab}")),
            (Control::OfferCircuit { mine: CircuitId(2), origin: id }, format!("0500000002{ab}")),
            (
                Control::AcceptCircuit { yours: CircuitId(2), mine: CircuitId(3) },
                "060000000200000003".to_owned(),
            ),
            (
                Control::CloseCircuit {
                    circuit: CircuitId(3),
                    named_by: NamedBy::Sender,
                    reason: CircuitEnd::Full,
                },
                "07000000030103".to_owned(),
            ),
            (Control::PunchRequest(meeting()), format!("080103{}{ab}0104c00002011b58", "a1".repeat(8))),
            (Control::Punch(meeting()), format!("090103{}{ab}0104c00002011b58", "a1".repeat(8))),
            (Control::Observed("192.0.2.1:7000".parse().unwrap()), "0a04c00002011b58".to_owned()),
        ];
        for (message, expected) in table {
            let bytes = bytes_of(&message);
            assert_eq!(hex(&bytes), expected);
            assert_eq!(hex(&bytes_of(&Control::read(&bytes).unwrap())), expected);
        }
    }

    #[test]
    fn an_announcement_has_frozen_bytes() {
        let mut endpoints = Endpoints::default();
        endpoints.add("192.0.2.1:7000".parse().unwrap());
        let brief = Entry { reachable: true, subject: Subject::Brief(ShortId([1; 8])) };
        let full = Entry { reachable: false, subject: Subject::Full(NodeId([2; 32]), endpoints) };
        let mut room = [0; 100];
        let mut writer = AnnounceWriter::new(&mut room, 9).unwrap();
        assert!(writer.add(&brief));
        assert!(writer.add(&full));
        let written = writer.written();
        assert_eq!(
            hex(&room[..written]),
            format!("0200000009{}{}{}{}", "01".repeat(9), "02".repeat(33), "0104", "c00002011b58")
        );
        let Control::Announce(announce) = Control::read(&room[..written]).unwrap() else { panic!() };
        assert_eq!(announce.sequence, 9);
        assert_eq!(announce.entries().collect::<Vec<_>>(), [brief, full]);
    }

    #[test]
    fn a_full_room_takes_no_more_entries() {
        let mut room = [0; 5 + 9 + 8];
        let mut writer = AnnounceWriter::new(&mut room, 0).unwrap();
        let brief = Entry { reachable: true, subject: Subject::Brief(ShortId([1; 8])) };
        assert!(writer.add(&brief));
        assert!(!writer.add(&brief));
        assert_eq!(writer.written(), 14);
    }

    #[test]
    fn every_truncation_and_every_excess_is_refused() {
        let id = NodeId([3; 32]);
        for message in [
            Control::OpenCircuit { mine: CircuitId(1), target: id },
            Control::AcceptCircuit { yours: CircuitId(2), mine: CircuitId(3) },
            Control::CloseCircuit {
                circuit: CircuitId(3),
                named_by: NamedBy::Receiver,
                reason: CircuitEnd::Unknown,
            },
            Control::PunchRequest(meeting()),
            Control::Observed("[2001:db8::1]:7000".parse().unwrap()),
        ] {
            let mut bytes = bytes_of(&message);
            for end in 0..bytes.len() {
                assert!(Control::read(&bytes[..end]).is_err());
            }
            bytes.push(0);
            assert!(Control::read(&bytes).is_err());
        }
    }

    #[test]
    fn a_bad_entry_spoils_the_whole_announcement() {
        let good = [2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert!(Control::read(&good).is_ok());
        let unknown_flag = [2, 0, 0, 0, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(Control::read(&unknown_flag).err(), Some(Discard::Malformed));
        assert_eq!(Control::read(&good[..13]).err(), Some(Discard::Truncated));
        let mut too_many = vec![2, 0, 0, 0, 1, FULL];
        too_many.extend([9; 32]);
        too_many.push(9);
        too_many.extend([4, 1, 1, 1, 1, 1, 1].repeat(9));
        assert_eq!(Control::read(&too_many).err(), Some(Discard::Malformed));
    }

    #[test]
    fn a_meeting_has_one_flag_and_any_kind_of_nat() {
        let mut bytes = bytes_of(&Control::Punch(meeting()));
        bytes[2] = 99;
        let Control::Punch(read) = Control::read(&bytes).unwrap() else { panic!() };
        assert_eq!(read.nat, NatKind::Unknown, "a later version may know more");
        bytes[1] = 2;
        assert_eq!(Control::read(&bytes).err(), Some(Discard::Malformed));
    }

    #[test]
    fn endpoints_keep_the_latest_first_and_once() {
        let address = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
        let mut endpoints = Endpoints::default();
        assert!(endpoints.is_empty());
        for port in [1, 2, 3, 2] {
            endpoints.add(address(port));
        }
        assert_eq!(endpoints.iter().collect::<Vec<_>>(), [address(2), address(3), address(1)]);
        for port in 10..30 {
            endpoints.add(address(port));
        }
        assert_eq!(endpoints.iter().count(), ENDPOINTS_PER_PEER);
        assert_eq!(endpoints.iter().next(), Some(address(29)));
        endpoints.append(address(99));
        assert!(!endpoints.has(address(99)), "no room at the end");
        let mut endpoints = Endpoints::default();
        [1, 2, 1].into_iter().for_each(|port| endpoints.append(address(port)));
        assert_eq!(endpoints.iter().collect::<Vec<_>>(), [address(1), address(2)]);
    }
}
