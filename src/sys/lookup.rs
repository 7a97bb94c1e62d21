//! A lookup: what addresses a host has, by /etc/hosts and by the name servers of /etc/resolv.conf.
//!
//! It is what libc's getaddrinfo does, in a fifth of the code, which is what matters on a router; and where that fails
//! altogether if a server does not answer for one of the two families, this takes the other. It blocks, for
//! some seconds at most, and so runs in a process of its own that holds no secret (see `resolver`).

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::base::settings::Host;
use crate::sys::child;
use crate::sys::datagram::{self, Family};
use crate::sys::dns::{self, Kind, MESSAGE_MAX, Reply, Servers};
use crate::sys::files::read_bounded;

/// Where name servers listen.
const PORT: u16 = 53;
/// How often all servers are asked.
const ATTEMPTS: usize = 2;
/// How long they have to answer each time, in milliseconds.
const PATIENCE: u32 = 2_500;
/// How long the one family is waited for once the other's addresses are there, in milliseconds.
const SECOND_FAMILY: u32 = 1_000;
/// Datagrams that are looked at in one attempt.
const DATAGRAMS: usize = 64;
/// How much of a file is read, in bytes; lists of blocked hosts are long.
const FILE_MAX: usize = 1 << 20;

/// The host's addresses, best first; or why there are none.
pub(super) fn addresses(host: &Host) -> Result<Vec<SocketAddr>, String> {
    let mut found = dns::hosts(&read("/etc/hosts"), &host.name);
    if found.is_empty() {
        found = ask(&Servers::read(&read("/etc/resolv.conf")), PORT, &host.name)?;
    }
    // IPv6 first, but what there is no way to last (RFC 6724, sections 5 and 6, as far as it concerns us).
    found.sort_by_key(|ip| (!is_reachable(*ip), ip.is_ipv4()));
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, host.port)).collect())
}

/// What cannot be read says nothing.
fn read(path: &str) -> String {
    let bytes = super::open(Path::new(path), libc::O_RDONLY, 0)
        .and_then(|file| read_bounded(&mut file.take(FILE_MAX as u64), FILE_MAX));
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// Whether the kernel knows a way there; nothing is sent.
fn is_reachable(ip: IpAddr) -> bool {
    open(Family::of(ip))
        .is_ok_and(|socket| datagram::connect(socket.as_fd(), SocketAddr::new(ip, PORT)).is_ok())
}

fn open(family: Family) -> io::Result<OwnedFd> {
    let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no memory is involved.
    let socket = super::check(unsafe {
        libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn ask(said: &Servers, port: u16, name: &str) -> Result<Vec<IpAddr>, String> {
    let servers: Vec<SocketAddr> = said.servers.iter().map(|(ip, on)| server(*ip, on, port)).collect();
    let mut why = "";
    for name in said.names(name) {
        // A domain that is no part of a name, as the dot alone that systemd writes, does not forbid the others.
        let Some(round) = Round::new(&name, &servers) else {
            why = IMPOSSIBLE;
            continue;
        };
        match round.run() {
            Ok(found) => return Ok(found),
            // Short names are tried in several domains, of which one will do.
            Err(end) if end == NO_SUCH_NAME || end == NO_ADDRESS => why = end,
            Err(end) => return Err(end.to_owned()),
        }
    }
    Err(why.to_owned())
}

fn server(ip: IpAddr, interface: &str, port: u16) -> SocketAddr {
    match (ip, std::ffi::CString::new(interface)) {
        (IpAddr::V6(ip), Ok(interface)) if !interface.is_empty() => {
            // SAFETY: the name ends with a zero and lives through the call.
            let scope = unsafe { libc::if_nametoindex(interface.as_ptr()) };
            SocketAddrV6::new(ip, port, 0, scope).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

const IMPOSSIBLE: &str = "no host can have that name";
const NO_SUCH_NAME: &str = "there is no such name";
const NO_ADDRESS: &str = "it has no address";
const FAILED: &str = "the name servers cannot tell";
const SILENT: &str = "the name servers do not answer";

/// One full name, asked for in both families.
struct Round<'a> {
    servers: &'a [SocketAddr],
    sockets: [Option<OwnedFd>; 2],
    /// The question, what came of it, and how many servers could not tell.
    questions: [(Vec<u8>, Option<Reply>, usize); 2],
}

impl Round<'_> {
    /// None if there is no such host name.
    fn new<'a>(name: &str, servers: &'a [SocketAddr]) -> Option<Round<'a>> {
        let mut ids = [0; 4];
        // Without chance the answers are still those of the servers' addresses and of our port.
        let _ = getrandom::fill(&mut ids);
        let question = |id: [u8; 2], kind| dns::question(u16::from_be_bytes(id), name, kind);
        let (v6, v4) = (question([ids[0], ids[1]], Kind::Aaaa)?, question([ids[2], ids[3]], Kind::A)?);
        let sockets = Family::BOTH.map(|family| {
            let wanted = servers.iter().any(|server| Family::of(server.ip()) == family);
            if wanted { open(family).ok() } else { None }
        });
        Some(Round { servers, sockets, questions: [(v6, None, 0), (v4, None, 0)] })
    }

    fn run(mut self) -> Result<Vec<IpAddr>, &'static str> {
        for _ in 0..ATTEMPTS {
            self.send();
            for _ in 0..DATAGRAMS {
                let limit = if self.found().is_empty() { PATIENCE } else { SECOND_FAMILY };
                // The kernel passes over what is no descriptor.
                let fds =
                    self.sockets.each_ref().map(|socket| socket.as_ref().map_or(-1, AsRawFd::as_raw_fd));
                child::wait_readable(fds, Some(limit));
                if !self.receive() || self.questions.iter().all(|(_, reply, _)| reply.is_some()) {
                    break;
                }
            }
            let found = self.found();
            if !found.is_empty() {
                return Ok(found);
            }
            if let [(_, Some(one), _), (_, Some(other), _)] = &self.questions {
                return Err(match (one, other) {
                    (Reply::Failed, _) | (_, Reply::Failed) => FAILED,
                    (Reply::NoSuchName, _) | (_, Reply::NoSuchName) => NO_SUCH_NAME,
                    _ => NO_ADDRESS,
                });
            }
        }
        Err(SILENT)
    }

    fn found(&self) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for (_, reply, _) in &self.questions {
            if let Some(Reply::Addresses(addresses)) = reply {
                found.extend(addresses);
            }
        }
        found
    }

    /// Asks all servers what is not answered yet. Who cannot be reached is as one that does not answer.
    fn send(&self) {
        for server in self.servers {
            let Some(socket) = &self.sockets[usize::from(server.is_ipv6())] else { continue };
            for (question, reply, _) in &self.questions {
                if reply.is_none() {
                    let _ = datagram::send(socket.as_fd(), None, *server, question);
                }
            }
        }
    }

    /// Takes all that has come; false if nothing has.
    fn receive(&mut self) -> bool {
        let mut room = [0; MESSAGE_MAX];
        let mut any = false;
        for family in Family::BOTH {
            let Some(socket) = &self.sockets[family as usize] else { continue };
            while let Ok(arrival) = datagram::receive(socket.as_fd(), family, &mut room) {
                any = true;
                let known = |server: &SocketAddr| {
                    (server.ip(), server.port()) == (arrival.from.ip(), arrival.from.port())
                };
                if !self.servers.iter().any(known) {
                    continue;
                }
                for (question, kept, failures) in &mut self.questions {
                    match dns::reply(&room[..arrival.length], question) {
                        // The others may know.
                        Some(Reply::Failed) if *failures + 1 < self.servers.len() => *failures += 1,
                        Some(reply) if kept.is_none() => *kept = Some(reply),
                        _ => {}
                    }
                }
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A name server that answers by `answer`, or is silent; it ends with what it returns.
    fn serve(address: &str, answer: fn(&[u8]) -> Option<Vec<u8>>) -> (u16, Sender<()>) {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (sender, until) = channel::<()>();
        std::thread::spawn(move || {
            let mut room = [0; MESSAGE_MAX];
            while until.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                let Ok((length, from)) = socket.recv_from(&mut room) else { continue };
                if let Some(bytes) = answer(&room[..length]) {
                    socket.send_to(&bytes, from).unwrap();
                }
            }
        });
        (port, sender)
    }

    fn answer(question: &[u8], result: u8, content: &[u8]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2] |= 0x80;
        message[3] = result;
        if !content.is_empty() {
            message[7] = 1;
            message.extend([0xc0, 12]);
            message.extend(&question[question.len() - 4..]);
            message.extend([0, 0, 0, 60, 0, u8::try_from(content.len()).unwrap()]);
            message.extend(content);
        }
        message
    }

    fn wants_v4(question: &[u8]) -> bool {
        question[question.len() - 3] == 1
    }

    fn servers(text: &str) -> Servers {
        Servers::read(text)
    }

    #[test]
    fn a_server_that_is_silent_about_one_family_costs_a_second_and_not_the_other() {
        let (port, _server) =
            serve("127.0.0.1:0", |asked| wants_v4(asked).then(|| answer(asked, 0, &[192, 0, 2, 7])));
        let found = ask(&servers("nameserver 127.0.0.1"), port, "vps.example.org");
        assert_eq!(found, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
    }

    #[test]
    fn a_server_that_fails_leaves_it_to_the_next() {
        let (port, _good) = serve("127.0.0.1:0", |asked| {
            Some(answer(asked, 0, if wants_v4(asked) { &[192, 0, 2, 7] } else { &[] }))
        });
        let bad = |asked: &[u8]| Some(answer(asked, 2, &[]));
        let (_, _bad) = serve(&format!("127.0.0.2:{port}"), bad);
        let found = ask(&servers("nameserver 127.0.0.2\nnameserver 127.0.0.1"), port, "vps.example.org");
        assert_eq!(found, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        let found = ask(&servers("nameserver 127.0.0.2"), port, "vps.example.org");
        assert_eq!(found, Err(FAILED.to_owned()));
    }

    #[test]
    fn short_names_are_found_in_the_domain_and_others_nowhere() {
        let (port, _server) = serve("127.0.0.1:0", |asked| {
            let known = asked[12..].starts_with(b"\x03vps\x03lan\0");
            let content: &[u8] = if wants_v4(asked) { &[192, 0, 2, 7] } else { &[0x20; 16] };
            Some(if known { answer(asked, 0, content) } else { answer(asked, 3, &[]) })
        });
        let said = servers("search . nowhere lan\nnameserver 127.0.0.1");
        assert_eq!(ask(&said, port, "vps").map(|found| found.len()), Ok(2));
        assert_eq!(ask(&said, port, "vpn"), Err(NO_SUCH_NAME.to_owned()));
        assert_eq!(ask(&said, port, "a..b"), Err(IMPOSSIBLE.to_owned()));
        let said = servers("search lan\noptions ndots:2\nnameserver 127.0.0.1");
        assert_eq!(ask(&said, port, "vps.lan.").map(|found| found.len()), Ok(2), "a full name");
    }

    #[test]
    fn answers_of_others_and_to_others_are_passed_over() {
        // It first says something else under a wrong number, as who guesses would.
        let (port, _server) = serve("127.0.0.1:0", |asked| {
            let mut wrong = answer(asked, 0, if wants_v4(asked) { &[192, 0, 2, 66] } else { &[6; 16] });
            wrong[1] ^= 1;
            Some(wrong)
        });
        let servers = [SocketAddr::from(([127, 0, 0, 1], port))];
        let mut round = Round::new("vps.example.org", &servers).unwrap();
        round.send();
        child::wait_readable([round.sockets[0].as_ref().unwrap().as_raw_fd()], Some(10_000));
        assert!(round.receive() && round.found().is_empty());
        // What comes from elsewhere is not looked at, be it right in all.
        let own = datagram::bound(round.sockets[0].as_ref().unwrap().as_fd(), Family::V4).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let right = answer(&round.questions[1].0, 0, &[192, 0, 2, 66]);
        other.send_to(&right, (std::net::Ipv4Addr::LOCALHOST, own.port())).unwrap();
        child::wait_readable([round.sockets[0].as_ref().unwrap().as_raw_fd()], Some(10_000));
        assert!(round.receive() && round.found().is_empty());
    }
}
