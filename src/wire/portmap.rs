//! How a NAT is asked for a port: PCP's MAP (RFC 6887), and NAT-PMP (RFC 6886) for what does not know it.
//!
//! Both share a port of the gateway and the first byte, the version. Only UDP over IPv4 is asked for. What an answer
//! says is returned as it stands; whether to believe it is the asker's affair.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::base::discard::Discard;
use crate::wire::cursor::{Reader, Writer};

/// The UDP port where gateways listen (RFC 6887, section 19.1).
pub const GATEWAY_PORT: u16 = 5351;
/// Bytes of the longest question.
pub const ASK_MAX: usize = 60;

const PCP: u8 = 2;
const NAT_PMP: u8 = 0;
const ANSWER: u8 = 128;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
const UDP: u8 = 17;

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// PCP: a mapping of our port; `lifetime` in seconds, 0 deletes it.
    Map {
        /// Ties the answer to the question.
        nonce: [u8; 12],
        /// Our address as the gateway sees it.
        client: Ipv4Addr,
        /// Our port.
        port: u16,
        /// For how long, in seconds.
        lifetime: u32,
        /// What we would like to have.
        wish: SocketAddrV4,
    },
    /// NAT-PMP: the gateway's own address outside.
    Outside,
    /// NAT-PMP: a mapping of our port; `lifetime` in seconds, 0 deletes it.
    MapPort {
        /// Our port.
        port: u16,
        /// The port outside that we would like to have.
        wish: u16,
        /// For how long, in seconds.
        lifetime: u32,
    },
}

/// An answer. `epoch` counts the seconds since the gateway lost its mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named as in the questions")]
pub enum Told {
    /// PCP: the mapping, or why there is none (`code`, section 7.4).
    Mapped { code: u8, nonce: [u8; 12], port: u16, outside: SocketAddrV4, lifetime: u32, epoch: u32 },
    /// PCP: the gateway has started anew.
    Anew { epoch: u32 },
    /// NAT-PMP: the gateway's own address outside.
    Outside { code: u16, address: Ipv4Addr, epoch: u32 },
    /// NAT-PMP: the port.
    MappedPort { code: u16, port: u16, outside: u16, lifetime: u32, epoch: u32 },
    /// It speaks another version of the two.
    OtherVersion,
}

impl Ask {
    /// Writes the question.
    ///
    /// # Errors
    /// No room.
    pub fn write(&self, w: &mut Writer<'_>) -> Result<(), Discard> {
        match *self {
            Ask::Map { nonce, client, port, lifetime, wish } => {
                w.put(&[PCP, MAP, 0, 0])?;
                w.u32(lifetime)?;
                w.put(&client.to_ipv6_mapped().octets())?;
                w.put(&nonce)?;
                w.put(&[UDP, 0, 0, 0])?;
                w.u16(port)?;
                w.u16(wish.port())?;
                w.put(&wish.ip().to_ipv6_mapped().octets())
            }
            Ask::Outside => w.put(&[NAT_PMP, 0]),
            Ask::MapPort { port, wish, lifetime } => {
                w.put(&[NAT_PMP, 1, 0, 0])?;
                w.u16(port)?;
                w.u16(wish)?;
                w.u32(lifetime)
            }
        }
    }
}

impl Told {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is none, or not whole. PCP may append options (section 7.3), which are not asked for and not looked at.
    pub fn read(bytes: &[u8]) -> Result<Told, Discard> {
        let mut r = Reader::new(bytes);
        let [version, operation] = r.array()?;
        let operation = operation.checked_sub(ANSWER).ok_or(Discard::Malformed)?;
        match version {
            PCP => Told::read_pcp(operation, &mut r),
            NAT_PMP => Told::read_nat_pmp(operation, &mut r),
            _ => Ok(Told::OtherVersion),
        }
    }

    fn read_pcp(operation: u8, r: &mut Reader<'_>) -> Result<Told, Discard> {
        const UNSUPPORTED_VERSION: u8 = 1;
        let [_, code] = r.array()?;
        let (lifetime, epoch) = (r.u32()?, r.u32()?);
        r.take(12)?;
        match operation {
            _ if code == UNSUPPORTED_VERSION => Ok(Told::OtherVersion),
            ANNOUNCE if code == 0 => Ok(Told::Anew { epoch }),
            MAP => {
                let nonce = r.array()?;
                let [protocol, ..] = r.array::<4>()?;
                let (port, outside_port) = (r.u16()?, r.u16()?);
                let address = std::net::Ipv6Addr::from(r.array::<16>()?);
                if protocol != UDP {
                    return Err(Discard::Malformed);
                }
                let address = address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
                let outside = SocketAddrV4::new(address, outside_port);
                Ok(Told::Mapped { code, nonce, port, outside, lifetime, epoch })
            }
            _ => Err(Discard::Malformed),
        }
    }

    fn read_nat_pmp(operation: u8, r: &mut Reader<'_>) -> Result<Told, Discard> {
        const UNSUPPORTED_VERSION: u16 = 1;
        let (code, epoch) = (r.u16()?, r.u32()?);
        match operation {
            _ if code == UNSUPPORTED_VERSION => Ok(Told::OtherVersion),
            0 => Ok(Told::Outside { code, address: r.array::<4>()?.into(), epoch }),
            1 => Ok(Told::MappedPort { code, port: r.u16()?, outside: r.u16()?, lifetime: r.u32()?, epoch }),
            _ => Err(Discard::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ask: Ask) -> Vec<u8> {
        let mut room = [0; ASK_MAX];
        let mut writer = Writer::new(&mut room);
        ask.write(&mut writer).unwrap();
        let length = writer.written();
        room[..length].to_vec()
    }

    #[test]
    fn questions_have_the_bytes_of_the_standards() {
        let client = Ipv4Addr::new(192, 168, 1, 2);
        let wish = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 7000);
        let map = written(Ask::Map { nonce: [9; 12], client, port: 7000, lifetime: 3600, wish });
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0x0e, 0x10];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2]);
        expected.extend([9; 12]);
        expected.extend([17, 0, 0, 0, 0x1b, 0x58, 0x1b, 0x58]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(map, expected);
        assert_eq!(written(Ask::Outside), [0, 0]);
        let port = written(Ask::MapPort { port: 7000, wish: 7001, lifetime: 3600 });
        assert_eq!(port, [0, 1, 0, 0, 0x1b, 0x58, 0x1b, 0x59, 0, 0, 0x0e, 0x10]);
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let outside = [0, 128, 0, 0, 0, 0, 0, 7, 203, 0, 113, 9];
        let address = Ipv4Addr::new(203, 0, 113, 9);
        let port = [0, 129, 0, 0, 0, 0, 0, 7, 0x1b, 0x58, 0x1b, 0x59, 0, 0, 0x0e, 0x10];
        let mut map = vec![2, 129, 0, 0, 0, 0, 0x0e, 0x10, 0, 0, 0, 7];
        map.extend([0; 12]);
        map.extend([9; 12]);
        map.extend([17, 0, 0, 0, 0x1b, 0x58, 0x1b, 0x59]);
        map.extend(address.to_ipv6_mapped().octets());
        let mapped = Told::Mapped {
            code: 0,
            nonce: [9; 12],
            port: 7000,
            outside: SocketAddrV4::new(address, 7001),
            lifetime: 3600,
            epoch: 7,
        };
        let told = Told::MappedPort { code: 0, port: 7000, outside: 7001, lifetime: 3600, epoch: 7 };
        for (bytes, meaning) in
            [(&outside[..], Told::Outside { code: 0, address, epoch: 7 }), (&port, told), (&map, mapped)]
        {
            assert_eq!(Told::read(bytes), Ok(meaning));
            for length in 0..bytes.len() {
                assert_eq!(Told::read(&bytes[..length]), Err(Discard::Truncated), "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let mut tcp = [0; 60];
        (tcp[0], tcp[1], tcp[36]) = (2, 129, 6);
        for bytes in [&[2, 1, 0, 0][..], &[0, 0], &[0, 130, 0, 0, 0, 0, 0, 7], &tcp] {
            assert_eq!(Told::read(bytes), Err(Discard::Malformed), "{bytes:?}");
        }
        // A gateway that only knows NAT-PMP says so in its own form (RFC 6886, section 3.5).
        assert_eq!(Told::read(&[0, 129, 0, 1, 0, 0, 0, 7]), Ok(Told::OtherVersion));
        assert_eq!(Told::read(&[3, 129]), Ok(Told::OtherVersion));
    }
}
