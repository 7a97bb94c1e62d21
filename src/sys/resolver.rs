//! The resolver: a forked child without rights that turns host names into addresses.
//!
//! A lookup blocks, reads /etc and parses what strangers send; none of this belongs into the
//! daemon, which is one thread, may have an empty root and holds the keys. The child has the daemon's
//! user and no capability either, but keeps the real root, since each lookup reads /etc/resolv.conf anew.
//! Which names it may be asked for is fixed when it is forked: a request is a [`HostId`] (S23).
//!
//! Each lookup is a process of its own, forked from the child: a time limit is then a signal, a slow
//! name holds up nobody, and a crash costs one answer. At most `LOOKUPS` run at once, the rest wait their turn.

use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};

use crate::base::ids::HostId;
use crate::base::limits::{ADDRESSES_PER_HOST, HOSTS};
use crate::base::settings::Host;
use crate::sys::child::{self, Channel, Child, Received};
use crate::sys::privileges::{self, Prepared};
use crate::sys::{failure, lookup, streams};

/// Names that may be asked for: the initial peers, and one that tells of the network.
const NAMES: usize = HOSTS + 1;
/// Lookups at one time.
const LOOKUPS: usize = 8;
/// How long one lookup may take, of a short name in several domains.
const LOOKUP_LIMIT: Duration = Duration::from_secs(15);
/// The longest text of a failure, in bytes.
const REASON_MAX: usize = 120;
/// An address in an answer: family (4 or 6), 16 bytes, scope.
const ENTRY: usize = 1 + 16 + 4;
/// The longest answer: host, number of addresses or [`FAILURE`], and these or a reason.
const ANSWER_MAX: usize = 3 + ADDRESSES_PER_HOST * ENTRY;
/// Stands in place of the number of addresses.
const FAILURE: u8 = 0xff;
const _: () = assert!(ADDRESSES_PER_HOST < FAILURE as usize && REASON_MAX + 3 <= ANSWER_MAX);

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Who was asked for.
    pub host: HostId,
    /// At least one address, at most [`ADDRESSES_PER_HOST`]; or why there is none.
    pub found: Result<Vec<SocketAddr>, String>,
}

/// The resolver as the daemon sees it. Register it with mio for reading, then call
/// [`Resolver::next_answer`] until it has none.
pub struct Resolver {
    hosts: Vec<Host>,
    child: Option<Child>,
}

impl Resolver {
    /// Forks the child, unless all hosts are addresses already. To be called while all rights are there
    /// and before any thread is; `rights` is whom the daemon will become, none if it keeps its rights.
    ///
    /// `forget` runs in the child before anything else, on the child's copy of the memory: it wipes the
    /// secrets that are in it, so that who takes over a lookup finds none (S16).
    ///
    /// # Errors
    /// The kernel's, or the child could not drop its rights.
    pub fn spawn(hosts: Vec<Host>, rights: Option<&Prepared>, forget: impl FnOnce()) -> io::Result<Resolver> {
        let lookup = Lookup { limit: LOOKUP_LIMIT, look: lookup::addresses };
        Resolver::spawn_with(hosts, rights, forget, lookup)
    }

    fn spawn_with(
        mut hosts: Vec<Host>,
        rights: Option<&Prepared>,
        forget: impl FnOnce(),
        lookup: Lookup,
    ) -> io::Result<Resolver> {
        hosts.truncate(NAMES);
        if hosts.iter().all(|host| literal(host).is_some()) {
            return Ok(Resolver { hosts, child: None });
        }
        let child = child::spawn(c"peervpn-names", |channel| {
            forget();
            let dropped = rights.map_or_else(privileges::keep_rights, Prepared::drop_rights_but_root);
            if let Err(error) = dropped {
                streams::complain(&format!("the resolver: {error}"));
                return;
            }
            let _ = channel.send(&[0]);
            Service { channel, hosts: &hosts, lookup, waiting: VecDeque::new(), running: Vec::new() }.serve();
        })?;
        if child.channel.receive(&mut [0]) != Received::Message(1) {
            return Err(failure(io::ErrorKind::Other, "the resolver could not drop its rights"));
        }
        child.channel.set_nonblocking()?;
        Ok(Resolver { hosts, child: Some(child) })
    }

    /// Asks for a host's addresses. An address literal is answered right here; any other answer comes
    /// from [`Resolver::next_answer`] within a minute or so. Asking again meanwhile changes nothing.
    pub fn ask(&mut self, host: HostId) -> Option<Answer> {
        let failed = |reason: &str| Some(Answer { host, found: Err(reason.to_owned()) });
        let Some(asked) = self.hosts.get(usize::from(host.0)) else { return failed("there is no such host") };
        if let Some(address) = literal(asked) {
            return Some(Answer { host, found: Ok(vec![address]) });
        }
        match self.child.as_ref().map(|child| child.channel.send(&host.0.to_be_bytes())) {
            Some(Ok(())) => None,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => failed("the resolver is busy"),
            _ => failed("the resolver has ended"),
        }
    }

    /// An answer that has come.
    ///
    /// # Errors
    /// The child is gone.
    pub fn next_answer(&mut self) -> io::Result<Option<Answer>> {
        let Some(child) = &self.child else { return Ok(None) };
        let mut room = [0; ANSWER_MAX];
        loop {
            let length = match child.channel.receive(&mut room) {
                Received::Message(length) => length,
                Received::Nothing => return Ok(None),
                Received::Closed => return Err(child::ended("resolver")),
            };
            let answer = room.get(..length).and_then(|message| read_answer(message, &self.hosts));
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }
}

impl event::Source for Resolver {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        SourceFd(&child.channel.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        SourceFd(&child.channel.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        SourceFd(&child.channel.as_raw_fd()).deregister(registry)
    }
}

fn literal(host: &Host) -> Option<SocketAddr> {
    host.name.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, host.port))
}

/// How names are looked up.
#[derive(Clone, Copy)]
struct Lookup {
    limit: Duration,
    look: fn(&Host) -> Result<Vec<SocketAddr>, String>,
}

/// The child's side.
struct Service<'a> {
    channel: Channel,
    hosts: &'a [Host],
    lookup: Lookup,
    /// Asked for and not begun, each host once.
    waiting: VecDeque<HostId>,
    running: Vec<(libc::pid_t, HostId)>,
}

impl Service<'_> {
    /// Until the daemon's end closes.
    fn serve(mut self) {
        let Ok(ended) = child::watch_for_ends() else { return };
        if self.channel.set_nonblocking().is_err() {
            return;
        }
        loop {
            self.begin();
            child::wait_readable([self.channel.as_raw_fd(), ended.as_raw_fd()], None);
            drain(&ended);
            self.reap();
            if !self.take_requests() {
                break;
            }
        }
        for (pid, _) in self.running {
            // SAFETY: no memory is involved; the number is that of our own child, not yet waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }

    /// False once the daemon is gone.
    fn take_requests(&mut self) -> bool {
        let mut request = [0; 2];
        loop {
            match self.channel.receive(&mut request) {
                Received::Closed => return false,
                Received::Nothing => return true,
                Received::Message(2) => {
                    let host = HostId(u16::from_be_bytes(request));
                    let known = usize::from(host.0) < self.hosts.len();
                    let asked =
                        self.waiting.contains(&host) || self.running.iter().any(|(_, other)| *other == host);
                    if known && !asked {
                        self.waiting.push_back(host);
                    }
                }
                Received::Message(_) => {}
            }
        }
    }

    fn begin(&mut self) {
        while self.running.len() < LOOKUPS {
            let Some(host) = self.waiting.pop_front() else { return };
            // SAFETY: the child has one thread, as the daemon had.
            match unsafe { libc::fork() } {
                -1 => self.fail(host, "cannot start a lookup"),
                0 => {
                    self.look_up(host);
                    // SAFETY: ends the process of this lookup.
                    unsafe { libc::_exit(0) }
                }
                pid => self.running.push((pid, host)),
            }
        }
    }

    /// In a process of its own, which the alarm ends.
    fn look_up(&self, host: HostId) {
        child::set_signal_mask(false);
        let seconds = u32::try_from(self.lookup.limit.as_secs()).unwrap_or(u32::MAX);
        // SAFETY: no memory is involved; nobody in this process handles the signal.
        unsafe { libc::alarm(seconds) };
        match (self.lookup.look)(&self.hosts[usize::from(host.0)]) {
            Ok(found) if found.is_empty() => self.fail(host, "it has no address"),
            Ok(found) => {
                let _ = self.channel.send(&write_addresses(host, &found));
            }
            Err(reason) => self.fail(host, &reason),
        }
    }

    /// Takes lookups that have ended. One that did not end by itself has sent nothing.
    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a live integer.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            let Some(at) = self.running.iter().position(|(running, _)| *running == pid) else { continue };
            let (_, host) = self.running.swap_remove(at);
            if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM {
                self.fail(host, &format!("no answer within {} s", self.lookup.limit.as_secs()));
            } else if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
                self.fail(host, "the lookup crashed");
            }
        }
    }

    fn fail(&self, host: HostId, reason: &str) {
        let mut message = host.0.to_be_bytes().to_vec();
        message.push(FAILURE);
        message.extend(reason.bytes().take(REASON_MAX));
        let _ = self.channel.send(&message);
    }
}

fn drain(signals: &OwnedFd) {
    let mut room = [0u8; size_of::<libc::signalfd_siginfo>()];
    // SAFETY: pointer and length are those of a live, exclusive array.
    while unsafe { libc::read(signals.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) } > 0 {}
}

/// The lookup's order, but the families take turns (RFC 8305, section 4): of a name with many addresses none of either family
/// would be tried otherwise, as there is a limit to how many are kept.
fn take_turns(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (leading, other): (Vec<_>, Vec<_>) = found.iter().partition(|address| address.is_ipv6() == first);
    let longest = leading.len().max(other.len());
    (0..longest).flat_map(|at| [leading.get(at), other.get(at)]).flatten().copied().collect()
}

fn write_addresses(host: HostId, found: &[SocketAddr]) -> Vec<u8> {
    let mut message = host.0.to_be_bytes().to_vec();
    let mut kept = take_turns(found);
    kept.truncate(ADDRESSES_PER_HOST);
    message.push(u8::try_from(kept.len()).unwrap_or(0));
    for address in kept {
        let (family, bytes, scope) = match address {
            SocketAddr::V4(v4) => (4, v4.ip().to_ipv6_mapped().octets(), 0),
            SocketAddr::V6(v6) => (6, v6.ip().octets(), v6.scope_id()),
        };
        message.push(family);
        message.extend(bytes);
        message.extend(scope.to_be_bytes());
    }
    message
}

/// The child is in contact with strangers, so its answers are checked like theirs.
fn read_answer(message: &[u8], hosts: &[Host]) -> Option<Answer> {
    let (&[high, low, count], rest) = message.split_first_chunk::<3>()?;
    let host = HostId(u16::from_be_bytes([high, low]));
    let port = hosts.get(usize::from(host.0))?.port;
    if count == FAILURE {
        let printable = rest.iter().filter(|byte| matches!(byte, b' '..=b'~')).take(REASON_MAX);
        return Some(Answer { host, found: Err(printable.map(|byte| char::from(*byte)).collect()) });
    }
    let count = usize::from(count);
    if count == 0 || count > ADDRESSES_PER_HOST || rest.len() != count * ENTRY {
        return None;
    }
    let found: Option<Vec<SocketAddr>> =
        rest.chunks_exact(ENTRY).map(|entry| read_entry(entry, port)).collect();
    Some(Answer { host, found: Ok(found?) })
}

fn read_entry(entry: &[u8], port: u16) -> Option<SocketAddr> {
    let (&[family], rest) = entry.split_first_chunk::<1>()?;
    let (bytes, scope) = rest.split_first_chunk::<16>()?;
    let ip = Ipv6Addr::from(*bytes);
    match family {
        4 => Some(SocketAddr::new(IpAddr::V4(ip.to_ipv4_mapped()?), port)),
        6 => Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, u32::from_be_bytes(scope.try_into().ok()?)))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::net::Ipv4Addr;

    use super::*;
    use crate::base::settings::Privileges;
    use crate::sys::child::root_or_skip;

    fn host(name: &str) -> Host {
        Host { name: name.into(), port: 7001 }
    }

    /// Waits for the next answer; the time limit is for a test that fails.
    fn answer(resolver: &mut Resolver) -> Answer {
        let fd = resolver.child.as_ref().unwrap().channel.as_raw_fd();
        child::wait_readable([fd], Some(30_000));
        resolver.next_answer().unwrap().expect("an answer")
    }

    fn one(text: &str) -> Vec<SocketAddr> {
        vec![text.parse().unwrap()]
    }

    /// Stands for a lookup: what a name does is in the name.
    fn pretend(host: &Host) -> Result<Vec<SocketAddr>, String> {
        match host.name.as_str() {
            "hangs" => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            "crashes" => std::process::abort(),
            "many" => {
                Ok((1..=20).map(|n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), host.port))).collect())
            }
            "both" => Ok((1..=20)
                .map(|n| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), host.port)))
                .chain(one("192.0.2.1:7001"))
                .collect()),
            "nothing" => Ok(Vec::new()),
            "unknown" => Err("no such\nname".into()),
            _ => Ok(one("[fe80::1%3]:7001")),
        }
    }

    fn pretending(names: &[&str]) -> Resolver {
        let hosts: Vec<Host> = names.iter().map(|name| host(name)).collect();
        Resolver::spawn_with(hosts, None, || (), Lookup { limit: Duration::from_secs(1), look: pretend })
            .unwrap()
    }

    #[test]
    fn literals_are_answered_at_once_and_need_no_child() {
        let mut resolver =
            Resolver::spawn(vec![host("192.0.2.1"), host("2001:db8::1")], None, || ()).unwrap();
        assert!(resolver.child.is_none());
        assert_eq!(resolver.ask(HostId(0)).unwrap().found.unwrap(), one("192.0.2.1:7001"));
        assert_eq!(resolver.ask(HostId(1)).unwrap().found.unwrap(), one("[2001:db8::1]:7001"));
        assert!(resolver.ask(HostId(2)).unwrap().found.is_err());
        assert_eq!(resolver.next_answer().unwrap(), None);
    }

    #[test]
    fn localhost_is_found_and_nonsense_is_not() {
        let _guard = child::forking();
        // A name with an empty label leads to no question to any server.
        let mut resolver = Resolver::spawn(vec![host("localhost"), host("a..b")], None, || ()).unwrap();
        assert_eq!(resolver.ask(HostId(0)), None);
        let found = answer(&mut resolver);
        assert_eq!(found.host, HostId(0));
        let found = found.found.unwrap();
        assert!(!found.is_empty() && found.iter().all(|at| at.ip().is_loopback() && at.port() == 7001));

        assert_eq!(resolver.ask(HostId(1)), None);
        let reason = answer(&mut resolver).found.unwrap_err();
        assert_eq!(reason, "no host can have that name");
    }

    #[test]
    fn a_name_that_hangs_ends_at_its_limit_and_holds_up_nobody() {
        let _guard = child::forking();
        let mut resolver = pretending(&["hangs", "fine"]);
        assert_eq!(resolver.ask(HostId(0)), None);
        assert_eq!(resolver.ask(HostId(1)), None);
        assert_eq!(answer(&mut resolver).host, HostId(1));
        let late = Answer { host: HostId(0), found: Err("no answer within 1 s".into()) };
        assert_eq!(answer(&mut resolver), late);
    }

    #[test]
    fn more_names_than_places_all_get_their_answer() {
        let _guard = child::forking();
        let mut names = vec!["hangs"; LOOKUPS];
        names.push("fine");
        let mut resolver = pretending(&names);
        for number in (0u16..).take(names.len()) {
            assert_eq!(resolver.ask(HostId(number)), None);
        }
        let mut answered: Vec<u16> = (0..names.len()).map(|_| answer(&mut resolver).host.0).collect();
        answered.sort_unstable();
        assert!(answered.iter().enumerate().all(|(at, host)| at == usize::from(*host)));
    }

    #[test]
    fn asking_again_takes_no_further_place() {
        let _guard = child::forking();
        let mut resolver = pretending(&["hangs", "fine"]);
        for _ in 0..LOOKUPS {
            assert_eq!(resolver.ask(HostId(0)), None);
        }
        assert_eq!(resolver.ask(HostId(1)), None);
        assert_eq!(answer(&mut resolver).host, HostId(1));
        assert_eq!(answer(&mut resolver).host, HostId(0));
    }

    #[test]
    fn whatever_a_lookup_comes_to_is_an_answer() {
        let _guard = child::forking();
        let mut resolver = pretending(&["crashes", "many", "nothing", "unknown", "scoped", "both"]);
        let mut found = |number| {
            assert_eq!(resolver.ask(HostId(number)), None);
            answer(&mut resolver).found
        };
        assert_eq!(found(0).unwrap_err(), "the lookup crashed");
        assert_eq!(found(1).unwrap().len(), ADDRESSES_PER_HOST);
        assert_eq!(found(2).unwrap_err(), "it has no address");
        assert_eq!(found(3).unwrap_err(), "no suchname");
        assert_eq!(found(4).unwrap(), one("[fe80::1%3]:7001"));
        let both = found(5).unwrap();
        assert_eq!(both.len(), ADDRESSES_PER_HOST);
        assert_eq!(both[..2], ["[2001:db8::1]:7001", "192.0.2.1:7001"].map(|text| text.parse().unwrap()));
    }

    #[test]
    fn the_families_take_turns_and_each_keeps_its_order() {
        let at = |text: &str| -> SocketAddr { format!("{text}:7000").parse().unwrap() };
        for (found, turns) in [
            (&[][..], &[][..]),
            (&["192.0.2.1", "192.0.2.2"], &["192.0.2.1", "192.0.2.2"]),
            (
                &["[2001:db8::1]", "[2001:db8::2]", "192.0.2.1"],
                &["[2001:db8::1]", "192.0.2.1", "[2001:db8::2]"],
            ),
            (
                &["192.0.2.1", "[2001:db8::1]", "[2001:db8::2]"],
                &["192.0.2.1", "[2001:db8::1]", "[2001:db8::2]"],
            ),
        ] {
            let of = |texts: &[&str]| texts.iter().map(|text| at(text)).collect::<Vec<_>>();
            assert_eq!(take_turns(&of(found)), of(turns));
        }
    }

    #[test]
    fn a_resolver_that_is_gone_says_so() {
        let _guard = child::forking();
        let mut resolver = pretending(&["fine"]);
        // SAFETY: no memory is involved; the socket is ours.
        unsafe { libc::shutdown(resolver.child.as_ref().unwrap().channel.as_raw_fd(), libc::SHUT_RDWR) };
        assert!(resolver.ask(HostId(0)).unwrap().found.unwrap_err().contains("has ended"));
        // S24
        assert!(resolver.next_answer().unwrap_err().to_string().contains("the resolver was ended"));
    }

    #[test]
    fn the_child_has_no_rights() {
        let _guard = child::forking();
        // S23
        if !root_or_skip("the_child_has_no_rights") {
            return;
        }
        let who = Privileges { user: "4242".into(), group: "4243".into(), chroot: None };
        let rights = privileges::prepare(&who).unwrap();
        let look = |_: &Host| {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let wanted = ["Uid:\t4242\t4242", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"];
            let all = wanted.iter().all(|line| status.contains(line));
            if all { Ok(one("192.0.2.1:7001")) } else { Err(status) }
        };
        let lookup = Lookup { limit: Duration::from_secs(5), look };
        let mut resolver = Resolver::spawn_with(vec![host("any")], Some(&rights), || (), lookup).unwrap();
        assert_eq!(resolver.ask(HostId(0)), None);
        assert_eq!(answer(&mut resolver).found.unwrap(), one("192.0.2.1:7001"));
    }

    #[test]
    fn the_child_forgets_and_the_daemon_does_not() {
        // S16
        let _guard = child::forking();
        static SECRET: AtomicBool = AtomicBool::new(true);
        let look = |_: &Host| {
            if SECRET.load(Ordering::Relaxed) { Err("knows".to_owned()) } else { Ok(one("192.0.2.1:1")) }
        };
        let lookup = Lookup { limit: Duration::from_secs(5), look };
        let forget = || SECRET.store(false, Ordering::Relaxed);
        let mut resolver = Resolver::spawn_with(vec![host("any")], None, forget, lookup).unwrap();
        assert_eq!(resolver.ask(HostId(0)), None);
        assert!(answer(&mut resolver).found.is_ok());
        assert!(SECRET.load(Ordering::Relaxed));
    }

    #[test]
    fn answers_that_make_no_sense_are_dropped() {
        let hosts = [host("a")];
        let good = write_addresses(HostId(0), &one("192.0.2.1:7001"));
        assert!(read_answer(&good, &hosts).is_some());
        for length in 0..good.len() {
            assert_eq!(read_answer(&good[..length], &hosts), None, "{length}");
        }
        for (at, value) in [(1, 1), (2, 0), (2, 2), (2, 9), (3, 5)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(read_answer(&bad, &hosts), None, "{at}");
        }
    }
}
