//! The bytes of the three handshake messages, of what they carry sealed, and of the RETRY between the first and the
//! second.
//!
//! ```text
//! Hello1, 160 bytes
//!  0      1      2             6          38             128        144       160
//!  +------+------+-------------+----------+--------------+----------+---------+
//!  | 1    | flags| sender ix   | e        | payload      | tag      | token   |
//!  +------+------+-------------+----------+--------------+----------+---------+
//!
//! Hello2, 154 bytes
//!  0      1      2             6             10         42            90        122   138     154
//!  +------+------+-------------+-------------+----------+-------------+---------+-----+-------+
//!  | 2    | flags| receiver ix | sender ix   | e        | static key  | payload | tag | stamp |
//!  +------+------+-------------+-------------+----------+-------------+---------+-----+-------+
//!
//! Hello3, 86 bytes
//!  0      1      2             6            54        70    86
//!  +------+------+-------------+------------+---------+-----+
//!  | 3    | flags| receiver ix | static key | payload | tag |
//!  +------+------+-------------+------------+---------+-----+
//!
//! Retry, 38 bytes
//!  0      1      2             6        22    38
//!  +------+------+-------------+--------+-----+
//!  | 6    | flags| receiver ix | token  | tag |
//!  +------+------+-------------+--------+-----+
//! ```
//!
//! Payloads and static keys are sealed, the latter with a tag of their own. The header is no part of what
//! Noise authenticates: therefore the payload repeats the sender index, and the handshake compares the two.
//! The token is outside the seal, so that it can be filled in without sealing again. Where no RETRY has been
//! received its place holds a stamp: a MAC of all that stands before it. So does the end of the second message, for which the
//! first one's ephemeral key is covered, too. A message has its exact length.
//!
//! What a payload does not define is sent as zero and ignored when read, so that a later version may use
//! it: the rest of the payload, unknown capabilities, suites of unknown number, an unknown address family.

use core::ops::Range;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::discard::Discard;
use crate::base::ids::{SessionIndex, Suite};
use crate::wire::cursor::Reader;
use crate::wire::envelope::Type;

/// Length of the first message, in bytes.
pub const HELLO1: usize = HEADER1 + KEY + OFFER + TAG + TOKEN;
/// Length of the second message, in bytes: no more than the first, so that nobody is flooded by an answer (S2).
pub const HELLO2: usize = HELLO2_SEALED + TOKEN;
/// Length of the third message, in bytes.
pub const HELLO3: usize = HEADER1 + SEALED_KEY + CONFIRMATION + TAG;
const _: () = assert!(HELLO1 == 160 && HELLO2 == 154 && HELLO3 == 86);
const _: () = assert!(HELLO2 <= HELLO1);
/// Length of the first message without its token, in bytes.
pub const HELLO1_SEALED: usize = HELLO1 - TOKEN;
/// Length of the second message without its stamp, in bytes.
const HELLO2_SEALED: usize = HEADER2 + KEY + SEALED_KEY + ANSWER + TAG;
/// Length of a RETRY, in bytes.
pub const RETRY: usize = HEADER1 + TOKEN + TAG;
const _: () = assert!(RETRY == 38);
/// Length of a token or a stamp, in bytes.
pub const TOKEN: usize = 16;

/// Length of an [`Offer`], in bytes.
pub const OFFER: usize = 90;
/// Length of an [`Answer`], in bytes.
pub const ANSWER: usize = 32;
/// Length of a [`Confirmation`], in bytes.
pub const CONFIRMATION: usize = 16;

const HEADER1: usize = 6;
const HEADER2: usize = 10;
const KEY: usize = 32;
const TAG: usize = 16;
const SEALED_KEY: usize = KEY + TAG;

/// The first message: whoever sends it knows the network's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello1 {
    /// What the initiator wants to be called by.
    pub sender: SessionIndex,
    /// The initiator's ephemeral key.
    pub ephemeral: [u8; KEY],
    /// An [`Offer`], sealed.
    pub payload: [u8; OFFER],
    /// Its tag.
    pub tag: [u8; TAG],
    /// A stamp, or the token of a RETRY.
    pub token: [u8; TOKEN],
}

impl Hello1 {
    /// Takes a datagram apart.
    pub fn read(datagram: &[u8]) -> Result<Hello1, Discard> {
        let mut reader = body(datagram, Type::Hello1)?;
        let hello = Hello1 {
            sender: SessionIndex(reader.u32()?),
            ephemeral: reader.array()?,
            payload: reader.array()?,
            tag: reader.array()?,
            token: reader.array()?,
        };
        reader.end()?;
        Ok(hello)
    }

    /// The datagram, if it has a first message's form.
    pub fn whole(datagram: &[u8]) -> Result<&[u8; HELLO1], Discard> {
        body(datagram, Type::Hello1)?;
        let whole = datagram.first_chunk().ok_or(Discard::Truncated)?;
        if datagram.len() == HELLO1 { Ok(whole) } else { Err(Discard::TooLong) }
    }

    /// The ephemeral key where it stands in the datagram, whose form is checked.
    pub fn ephemeral_of(datagram: &[u8]) -> Result<&[u8; KEY], Discard> {
        Hello1::whole(datagram)?[HEADER1..].first_chunk().ok_or(Discard::Truncated)
    }

    /// The datagram.
    pub fn to_bytes(&self) -> [u8; HELLO1] {
        let mut bytes = [0; HELLO1];
        bytes[0] = Type::Hello1 as u8;
        join(
            &mut bytes[2..],
            &[&self.sender.0.to_be_bytes(), &self.ephemeral, &self.payload, &self.tag, &self.token],
        );
        bytes
    }
}

/// The second message: the responder shows who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello2 {
    /// The initiator's index.
    pub receiver: SessionIndex,
    /// What the responder wants to be called by.
    pub sender: SessionIndex,
    /// The responder's ephemeral key.
    pub ephemeral: [u8; KEY],
    /// Its static key, sealed.
    pub static_key: [u8; SEALED_KEY],
    /// An [`Answer`], sealed.
    pub payload: [u8; ANSWER],
    /// Its tag.
    pub tag: [u8; TAG],
    /// Over all that stands before it, and the first message's ephemeral key.
    pub stamp: [u8; TOKEN],
}

impl Hello2 {
    /// Takes a datagram apart.
    pub fn read(datagram: &[u8]) -> Result<Hello2, Discard> {
        let mut reader = body(datagram, Type::Hello2)?;
        let hello = Hello2 {
            receiver: SessionIndex(reader.u32()?),
            sender: SessionIndex(reader.u32()?),
            ephemeral: reader.array()?,
            static_key: reader.array()?,
            payload: reader.array()?,
            tag: reader.array()?,
            stamp: reader.array()?,
        };
        reader.end()?;
        Ok(hello)
    }

    /// What the stamp is to cover.
    pub fn covered(&self, ephemeral: &[u8; KEY]) -> [u8; HELLO2_SEALED + KEY] {
        let mut bytes = [0; HELLO2_SEALED + KEY];
        join(&mut bytes, &[&self.to_bytes()[..HELLO2_SEALED], ephemeral]);
        bytes
    }

    /// The datagram.
    pub fn to_bytes(&self) -> [u8; HELLO2] {
        let mut bytes = [0; HELLO2];
        bytes[0] = Type::Hello2 as u8;
        let (receiver, sender) = (self.receiver.0.to_be_bytes(), self.sender.0.to_be_bytes());
        join(
            &mut bytes[2..],
            &[&receiver, &sender, &self.ephemeral, &self.static_key, &self.payload, &self.tag, &self.stamp],
        );
        bytes
    }
}

/// The third message: the initiator shows who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello3 {
    /// The responder's index.
    pub receiver: SessionIndex,
    /// The initiator's static key, sealed.
    pub static_key: [u8; SEALED_KEY],
    /// A [`Confirmation`], sealed.
    pub payload: [u8; CONFIRMATION],
    /// Its tag.
    pub tag: [u8; TAG],
}

impl Hello3 {
    /// Takes a datagram apart.
    pub fn read(datagram: &[u8]) -> Result<Hello3, Discard> {
        let mut reader = body(datagram, Type::Hello3)?;
        let hello = Hello3 {
            receiver: SessionIndex(reader.u32()?),
            static_key: reader.array()?,
            payload: reader.array()?,
            tag: reader.array()?,
        };
        reader.end()?;
        Ok(hello)
    }

    /// The datagram.
    pub fn to_bytes(&self) -> [u8; HELLO3] {
        let mut bytes = [0; HELLO3];
        bytes[0] = Type::Hello3 as u8;
        let receiver = self.receiver.0.to_be_bytes();
        join(&mut bytes[2..], &[&receiver, &self.static_key, &self.payload, &self.tag]);
        bytes
    }
}

/// A responder without time for the first message asks for it once more, with a token that shows where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retry {
    /// The initiator's index.
    pub receiver: SessionIndex,
    /// What the first message is to bring back.
    pub token: [u8; TOKEN],
    /// Over all that stands before it, and the first message's ephemeral key.
    pub tag: [u8; TAG],
}

impl Retry {
    /// Takes a datagram apart.
    pub fn read(datagram: &[u8]) -> Result<Retry, Discard> {
        let mut reader = body(datagram, Type::Retry)?;
        let retry =
            Retry { receiver: SessionIndex(reader.u32()?), token: reader.array()?, tag: reader.array()? };
        reader.end()?;
        Ok(retry)
    }

    /// The datagram.
    pub fn to_bytes(&self) -> [u8; RETRY] {
        let mut bytes = [0; RETRY];
        bytes[0] = Type::Retry as u8;
        join(&mut bytes[2..], &[&self.receiver.0.to_be_bytes(), &self.token, &self.tag]);
        bytes
    }

    /// What the tag is to cover.
    pub fn covered(&self, ephemeral: &[u8; KEY]) -> [u8; RETRY - TAG + KEY] {
        let mut bytes = [0; RETRY - TAG + KEY];
        join(&mut bytes, &[&self.to_bytes()[..RETRY - TAG], ephemeral]);
        bytes
    }
}

/// Behind type and flags, if the type is this one.
fn body(datagram: &[u8], expected: Type) -> Result<Reader<'_>, Discard> {
    if Type::of(datagram)? != expected {
        return Err(Discard::Malformed);
    }
    let mut reader = Reader::new(datagram);
    reader.take(2)?;
    Ok(reader)
}

/// Lays the parts one after the other; the lengths above are their sums.
fn join(room: &mut [u8], parts: &[&[u8]]) {
    let joined = parts.iter().flat_map(|part| part.iter());
    room.iter_mut().zip(joined).for_each(|(to, from)| *to = *from);
}

/// What a node can do for others: bits, of which unknown ones are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(pub u16);

impl Capabilities {
    /// It carries other nodes' traffic.
    pub const RELAY: Capabilities = Capabilities(1 << 0);

    /// Whether all of `others` are among them.
    pub fn has(self, others: Capabilities) -> bool {
        self.0 & others.0 == others.0
    }
}

/// Data suites by their numbers, the preferred one first; zero fills up what is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suites(pub [u8; 4]);

impl Suites {
    /// Those, and at the end the one that every node has: so two members always have one in common.
    pub fn new(preferred: &[Suite]) -> Suites {
        let mut numbers = [0; 4];
        let rest = if preferred.contains(&Suite::default()) { None } else { Some(Suite::default()) };
        let all = preferred.iter().copied().chain(rest);
        numbers.iter_mut().zip(all).for_each(|(number, suite)| *number = suite as u8);
        Suites(numbers)
    }

    /// The suite that both have and the initiator likes best. Both sides reckon it, and the initiator
    /// refuses any other (S4). One of the two lists must be our own.
    pub fn choose(initiator: Suites, responder: Suites) -> Option<Suite> {
        let chosen = initiator.0.into_iter().find(|number| responder.0.contains(number) && *number != 0)?;
        Suite::ALL.iter().copied().find(|suite| *suite as u8 == chosen)
    }
}

/// Each suite has room, and the one that every node has beside them.
const _: () = assert!(Suite::ALL.len() <= 4);

/// The payload of the first message.
///
/// ```text
///  0           4         5         6        10             12         14             90
///  +-----------+---------+---------+--------+--------------+----------+--------------+
///  | sender ix | version | version | suites | capabilities | MTU hint | zero         |
///  |           | from    | to      |        |              | (zero)   |              |
///  +-----------+---------+---------+--------+--------------+----------+--------------+
/// ```
///
/// The hint has its place and is sent as zero, which means none; it is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The index in the header, once more.
    pub sender: SessionIndex,
    /// The lowest and the highest protocol version understood.
    pub versions: (u8, u8),
    /// The initiator's suites.
    pub suites: Suites,
    /// What the initiator does for others. Who it is, is not yet known: the third message says it again.
    pub capabilities: Capabilities,
}

impl Offer {
    /// Reads an opened payload.
    pub fn read(payload: &[u8; OFFER]) -> Result<Offer, Discard> {
        let mut reader = Reader::new(payload);
        Ok(Offer {
            sender: SessionIndex(reader.u32()?),
            versions: (reader.u8()?, reader.u8()?),
            suites: Suites(reader.array()?),
            capabilities: Capabilities(reader.u16()?),
        })
    }

    /// The payload.
    pub fn to_bytes(&self) -> [u8; OFFER] {
        let mut bytes = [0; OFFER];
        let (from, to) = self.versions;
        let capabilities = self.capabilities.0.to_be_bytes();
        join(&mut bytes, &[&self.sender.0.to_be_bytes(), &[from, to], &self.suites.0, &capabilities]);
        bytes
    }
}

/// The payload of the second message.
///
/// ```text
///  0           4         5        9        10             12        13            29     31     32
///  +-----------+---------+--------+--------+--------------+---------+-------------+------+------+
///  | sender ix | version | suites | chosen | capabilities | family  | address     | port | zero |
///  +-----------+---------+--------+--------+--------------+---------+-------------+------+------+
/// ```
///
/// The family is 4, 6, or zero for none; an IPv4 address fills the first four bytes of its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The index in the header, once more.
    pub sender: SessionIndex,
    /// The chosen protocol version.
    pub version: u8,
    /// All of the responder's suites.
    pub suites: Suites,
    /// The chosen suite.
    pub chosen: u8,
    /// What the responder does for others.
    pub capabilities: Capabilities,
    /// Where the first message came from; none when it came through a relay.
    pub seen: Option<SocketAddr>,
}

const SEEN_FAMILY: usize = 12;
const SEEN_ADDRESS: Range<usize> = 13..29;
const SEEN_PORT: Range<usize> = 29..31;

impl Answer {
    /// Reads an opened payload.
    pub fn read(payload: &[u8; ANSWER]) -> Result<Answer, Discard> {
        let mut reader = Reader::new(payload);
        Ok(Answer {
            sender: SessionIndex(reader.u32()?),
            version: reader.u8()?,
            suites: Suites(reader.array()?),
            chosen: reader.u8()?,
            capabilities: Capabilities(reader.u16()?),
            seen: read_seen(&mut reader)?,
        })
    }

    /// The payload.
    pub fn to_bytes(&self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        let (sender, capabilities) = (self.sender.0.to_be_bytes(), self.capabilities.0.to_be_bytes());
        join(&mut bytes, &[&sender, &[self.version], &self.suites.0, &[self.chosen], &capabilities]);
        if let Some(seen) = self.seen {
            write_seen(seen, &mut bytes);
        }
        bytes
    }
}

fn read_seen(reader: &mut Reader<'_>) -> Result<Option<SocketAddr>, Discard> {
    let (family, address, port) = (reader.u8()?, reader.array::<16>()?, reader.u16()?);
    let [a, b, c, d, ..] = address;
    let ip = match family {
        4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        6 => IpAddr::V6(Ipv6Addr::from(address)),
        _ => return Ok(None),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

fn write_seen(seen: SocketAddr, bytes: &mut [u8; ANSWER]) {
    match seen.ip() {
        IpAddr::V4(ip) => {
            bytes[SEEN_FAMILY] = 4;
            join(&mut bytes[SEEN_ADDRESS], &[&ip.octets()]);
        }
        IpAddr::V6(ip) => {
            bytes[SEEN_FAMILY] = 6;
            join(&mut bytes[SEEN_ADDRESS], &[&ip.octets()]);
        }
    }
    join(&mut bytes[SEEN_PORT], &[&seen.port().to_be_bytes()]);
}

/// The payload of the third message: capabilities, then 14 bytes of zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirmation {
    /// What the initiator does for others.
    pub capabilities: Capabilities,
}

impl Confirmation {
    /// Reads an opened payload.
    pub fn read(payload: &[u8; CONFIRMATION]) -> Result<Confirmation, Discard> {
        Ok(Confirmation { capabilities: Capabilities(Reader::new(payload).u16()?) })
    }

    /// The payload.
    pub fn to_bytes(&self) -> [u8; CONFIRMATION] {
        let mut bytes = [0; CONFIRMATION];
        join(&mut bytes, &[&self.capabilities.0.to_be_bytes()]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_has_frozen_bytes() {
        let hello = Hello1 {
            sender: SessionIndex(0x0102_0304),
            ephemeral: [5; 32],
            payload: [6; OFFER],
            tag: [7; TAG],
            token: [8; TOKEN],
        };
        let bytes = hello.to_bytes();
        assert_eq!(bytes[..6], [1, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[6..38], [5; 32]);
        assert_eq!(bytes[38..128], [6; 90]);
        assert_eq!(bytes[128..144], [7; 16]);
        assert_eq!(bytes[144..], [8; 16]);
        assert_eq!(Hello1::read(&bytes), Ok(hello));
        assert_eq!(Hello1::ephemeral_of(&bytes), Ok(&[5; 32]));
        assert_eq!(Hello1::ephemeral_of(&bytes[..37]), Err(Discard::Truncated));
    }

    #[test]
    fn the_second_message_has_frozen_bytes() {
        let hello = Hello2 {
            receiver: SessionIndex(0x0102_0304),
            sender: SessionIndex(0x0506_0708),
            ephemeral: [9; 32],
            static_key: [10; SEALED_KEY],
            payload: [11; ANSWER],
            tag: [12; TAG],
            stamp: [13; TOKEN],
        };
        let bytes = hello.to_bytes();
        assert_eq!(bytes[..10], [2, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[10..42], [9; 32]);
        assert_eq!(bytes[42..90], [10; 48]);
        assert_eq!(bytes[90..122], [11; 32]);
        assert_eq!(bytes[122..138], [12; 16]);
        assert_eq!(bytes[138..], [13; 16]);
        assert_eq!(Hello2::read(&bytes), Ok(hello));
    }

    #[test]
    fn the_third_message_has_frozen_bytes() {
        let hello = Hello3 {
            receiver: SessionIndex(0x0102_0304),
            static_key: [5; SEALED_KEY],
            payload: [6; CONFIRMATION],
            tag: [7; TAG],
        };
        let bytes = hello.to_bytes();
        assert_eq!(bytes[..6], [3, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[6..54], [5; 48]);
        assert_eq!(bytes[54..70], [6; 16]);
        assert_eq!(bytes[70..], [7; 16]);
        assert_eq!(Hello3::read(&bytes), Ok(hello));
    }

    #[test]
    fn a_retry_has_frozen_bytes() {
        let retry = Retry { receiver: SessionIndex(0x0102_0304), token: [5; TOKEN], tag: [6; TAG] };
        let bytes = retry.to_bytes();
        assert_eq!(bytes[..6], [6, 0, 1, 2, 3, 4]);
        assert_eq!((&bytes[6..22], &bytes[22..]), (&[5; 16][..], &[6; 16][..]));
        assert_eq!(Retry::read(&bytes), Ok(retry));
    }

    #[test]
    fn a_message_has_its_type_and_its_exact_length() {
        // S1
        let mut room = [0; HELLO1 + 1];
        for (number, length) in [(1, HELLO1), (2, HELLO2), (3, HELLO3), (6, RETRY)] {
            room[0] = number;
            let read = |bytes: &[u8]| match number {
                1 => Hello1::read(bytes).map(drop),
                2 => Hello2::read(bytes).map(drop),
                6 => Retry::read(bytes).map(drop),
                _ => Hello3::read(bytes).map(drop),
            };
            assert_eq!(read(&room[..length]), Ok(()));
            assert_eq!(read(&room[..length + 1]), Err(Discard::TooLong));
            assert!((0..length).all(|shorter| read(&room[..shorter]) == Err(Discard::Truncated)));
            let mut other = room;
            other[0] = number % 3 + 1;
            assert_eq!(read(&other[..length]), Err(Discard::Malformed));
            other[..2].copy_from_slice(&[number, 0x80]);
            assert_eq!(read(&other[..length]), Err(Discard::Malformed));
        }
    }

    #[test]
    fn an_offer_has_frozen_bytes() {
        let offer = Offer {
            sender: SessionIndex(0x0102_0304),
            versions: (5, 6),
            suites: Suites([7, 8, 0, 0]),
            capabilities: Capabilities(0x0910),
        };
        let mut bytes = offer.to_bytes();
        assert_eq!(bytes[..12], [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 9, 16]);
        assert_eq!(bytes[12..], [0; 78]);
        bytes[12..].fill(0xff);
        assert_eq!(Offer::read(&bytes), Ok(offer), "what is not defined is ignored");
    }

    #[test]
    fn an_answer_has_frozen_bytes() {
        let mut answer = Answer {
            sender: SessionIndex(0x0102_0304),
            version: 5,
            suites: Suites([6, 7, 0, 0]),
            chosen: 8,
            capabilities: Capabilities(0x090a),
            seen: Some("192.0.2.1:7000".parse().unwrap()),
        };
        let bytes = answer.to_bytes();
        assert_eq!(bytes[..17], [1, 2, 3, 4, 5, 6, 7, 0, 0, 8, 9, 10, 4, 192, 0, 2, 1]);
        assert_eq!(bytes[17..29], [0; 12]);
        assert_eq!(bytes[29..], [0x1b, 0x58, 0]);
        assert_eq!(Answer::read(&bytes), Ok(answer));

        answer.seen = Some("[2001:db8::1]:65535".parse().unwrap());
        let mut bytes = answer.to_bytes();
        assert_eq!(bytes[12..17], [6, 0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(bytes[28..], [1, 0xff, 0xff, 0]);
        assert_eq!(Answer::read(&bytes), Ok(answer));

        answer.seen = None;
        assert_eq!(answer.to_bytes()[12..], [0; 20]);
        bytes[12] = 9;
        assert_eq!(Answer::read(&bytes), Ok(answer), "an unknown family is no address");
    }

    #[test]
    fn a_confirmation_has_frozen_bytes() {
        let confirmation = Confirmation { capabilities: Capabilities::RELAY };
        let mut bytes = confirmation.to_bytes();
        assert_eq!(bytes, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes[2..].fill(0xff);
        assert_eq!(Confirmation::read(&bytes), Ok(confirmation));
    }

    #[test]
    fn the_initiators_favourite_among_common_suites_is_chosen() {
        for (initiator, responder, chosen) in [
            ([1, 0, 0, 0], [1, 0, 0, 0], Some(Suite::Aes256Sha256)),
            ([2, 1, 0, 0], [1, 2, 0, 0], Some(Suite::ChaCha20Poly1305)),
            ([3, 1, 0, 0], [1, 2, 0, 0], Some(Suite::Aes256Sha256)),
            ([9, 2, 1, 0], [1, 2, 0, 0], Some(Suite::ChaCha20Poly1305)),
            ([3, 0, 0, 0], [1, 2, 0, 0], None),
            ([0, 0, 0, 0], [0, 0, 0, 0], None),
        ] {
            assert_eq!(Suites::choose(Suites(initiator), Suites(responder)), chosen);
        }
    }

    #[test]
    fn the_suite_that_all_have_is_offered_last_if_not_before() {
        let [aes, chacha] = [Suite::Aes256Sha256, Suite::ChaCha20Poly1305];
        assert_eq!(Suites::new(&[]), Suites([1, 0, 0, 0]));
        assert_eq!(Suites::new(&[chacha]), Suites([2, 1, 0, 0]));
        assert_eq!(Suites::new(&[aes, chacha]), Suites([1, 2, 0, 0]));
        assert!(
            Suites::new(Suite::ALL)
                .0
                .iter()
                .all(|&number| number == 0 || Suite::ALL.iter().any(|suite| *suite as u8 == number))
        );
    }

    #[test]
    fn capabilities_are_bits() {
        assert!(Capabilities(0xffff).has(Capabilities::RELAY));
        assert!(!Capabilities(0xfffe).has(Capabilities::RELAY));
    }
}
