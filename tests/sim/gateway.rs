//! A gateway that maps ports on request, by PCP (RFC 6887) or NAT-PMP (RFC 6886), written from the standards and not with
//! the reader and writer of the program.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peervpn::base::time::{Duration, Instant};

/// Where gateways listen.
pub const PORT: u16 = 5351;

/// A port of the NAT that everybody may come in by.
#[derive(Clone, Copy, Debug)]
struct Opening {
    inside: SocketAddr,
    nonce: [u8; 12],
    until: Instant,
}

/// What the NAT of a site says to who asks for a port.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its address inside.
    pub at: Ipv4Addr,
    /// Whether it knows PCP.
    pub pcp: bool,
    /// Whether it knows NAT-PMP.
    pub nat_pmp: bool,
    /// It grants no longer than this, in seconds.
    pub most: u32,
    /// What it answers in place of granting; 0 for granting.
    pub refusal: u8,
    /// How many questions came.
    pub asked: u64,
    started: Instant,
    openings: BTreeMap<u16, Opening>,
    /// Who answers whom by which port.
    replies: BTreeMap<(SocketAddr, SocketAddr), u16>,
}

impl Gateway {
    /// One that knows PCP, started now.
    pub fn new(at: Ipv4Addr, now: Instant) -> Gateway {
        Gateway {
            at,
            pcp: true,
            nat_pmp: false,
            most: 7200,
            refusal: 0,
            asked: 0,
            started: now,
            openings: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }

    /// Starts anew, with nothing open.
    pub fn restart(&mut self, now: Instant) {
        self.started = now;
        self.openings.clear();
        self.replies.clear();
    }

    /// How many ports are open.
    pub fn open(&self, now: Instant) -> usize {
        self.openings.values().filter(|opening| opening.until > now).count()
    }

    /// Whom a datagram that comes in from `far` to `port` goes to.
    pub fn inbound(&mut self, now: Instant, far: SocketAddr, port: u16) -> Option<SocketAddr> {
        let opening = self.openings.get(&port).filter(|opening| opening.until > now)?;
        self.replies.insert((opening.inside, far), port);
        Some(opening.inside)
    }

    /// Whom `port` belongs to.
    pub fn behind(&self, port: u16) -> Option<SocketAddr> {
        self.openings.get(&port).map(|opening| opening.inside)
    }

    /// By which port an answer to `far` goes out.
    pub fn outbound(&self, inside: SocketAddr, far: SocketAddr) -> Option<u16> {
        self.replies.get(&(inside, far)).copied()
    }

    /// What it answers, if anything.
    pub fn serve(
        &mut self,
        now: Instant,
        from: SocketAddr,
        question: &[u8],
        outside: IpAddr,
    ) -> Option<Vec<u8>> {
        self.asked += 1;
        let IpAddr::V4(outside) = outside else { return None };
        let epoch = u32::try_from((now - self.started).as_secs()).unwrap_or(u32::MAX);
        match *question {
            [2, 1, ..] if self.pcp && question.len() == 60 => {
                Some(self.map(now, from, question, outside, epoch))
            }
            [2, ..] if self.nat_pmp => Some([&[0, 128, 0, 1][..], &epoch.to_be_bytes()].concat()),
            [0, 0] if self.nat_pmp => {
                Some([&[0, 128, 0, self.refusal][..], &epoch.to_be_bytes(), &outside.octets()].concat())
            }
            [0, 1, 0, 0, a, b, c, d, e, f, g, h] if self.nat_pmp => {
                assert_eq!(u16::from_be_bytes([a, b]), from.port(), "it asks for its own port");
                let life = u32::from_be_bytes([e, f, g, h]);
                let port = self.grant(now, from, [0; 12], u16::from_be_bytes([c, d]), life);
                let head = [0, 129, 0, self.refusal];
                let life = life.min(self.most).to_be_bytes();
                Some([&head[..], &epoch.to_be_bytes(), &[a, b], &port.to_be_bytes(), &life].concat())
            }
            _ => None,
        }
    }

    fn map(
        &mut self,
        now: Instant,
        from: SocketAddr,
        question: &[u8],
        outside: Ipv4Addr,
        epoch: u32,
    ) -> Vec<u8> {
        let mut answer = question.to_vec();
        let nonce: [u8; 12] = question[24..36].try_into().expect("60 bytes");
        let client =
            IpAddr::V6(<[u8; 16]>::try_from(&question[8..24]).expect("60 bytes").into()).to_canonical();
        let others =
            |opening: &Opening| opening.until > now && opening.inside == from && opening.nonce != nonce;
        let code = match self.refusal {
            // Section 12.3: the mapping is somebody else's.
            0 if self.openings.values().any(others) => 2,
            0 if client != from.ip() => 12,
            code => code,
        };
        assert_eq!((question[36], &question[40..42]), (17, &from.port().to_be_bytes()[..]));
        let life = u32::from_be_bytes(question[4..8].try_into().expect("60 bytes")).min(self.most);
        if code == 0 {
            let wish = u16::from_be_bytes([question[42], question[43]]);
            let port = self.grant(now, from, nonce, wish, life);
            answer[42..44].copy_from_slice(&port.to_be_bytes());
            answer[44..60].copy_from_slice(&outside.to_ipv6_mapped().octets());
        }
        (answer[1], answer[3]) = (129, code);
        answer[4..8].copy_from_slice(&life.to_be_bytes());
        answer[8..12].copy_from_slice(&epoch.to_be_bytes());
        answer[12..24].fill(0);
        answer
    }

    /// Opens a port, or closes it where `life` is 0.
    fn grant(&mut self, now: Instant, inside: SocketAddr, nonce: [u8; 12], wish: u16, life: u32) -> u16 {
        self.openings.retain(|_, opening| opening.until > now);
        let known = self.openings.iter().find(|(_, opening)| opening.inside == inside).map(|(port, _)| *port);
        let free = || (wish.max(1024)..).find(|port| !self.openings.contains_key(port)).unwrap_or(0);
        let port = known.unwrap_or_else(free);
        if life == 0 {
            self.openings.remove(&port);
        } else if self.refusal == 0 {
            let until = now + Duration::from_secs(life.min(self.most).into());
            self.openings.insert(port, Opening { inside, nonce, until });
        }
        port
    }
}
