//! The control socket: how root asks a running daemon for its status.
//!
//! `/run/peervpn/NAME.sock`, where NAME is the interface, or the network for a node without one. It is
//! opened before rights are dropped and stays usable after. S16: only root, or whoever started the
//! daemon, is answered; the file's mode says so and the kernel's word on the other side is checked too.
//! With `statusgroup` the file's mode lets the members of that group in.
//!
//! A client sends one line and gets text until the end of the stream. At most `CLIENTS` at once, each
//! with a bounded line, `CLIENT_LIFE` to ask and to take the answer, and no call that waits: a client
//! that does nothing costs a place for that long and nothing else.
//!
//! A lock file beside the socket is held as long as the daemon lives. It tells two daemons of one name
//! apart from a socket file that a dead one left behind, which it has no right to remove.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, event};

use crate::base::time::{Instant, earliest};
use crate::sys::files::{
    because, check_private, effective_user, make_directory, read_bounded, runtime_directory,
};
use crate::sys::{failure, told};

/// Asks for what is told of a node; with this request for the stations behind its peers too.
pub const SHORT: &str = "status";
/// See [`SHORT`].
pub const WHOLE: &str = "status stations";

/// Clients served at once.
const CLIENTS: usize = 4;
/// How long a client may take from its arrival to the last byte of its answer.
const CLIENT_LIFE: Duration = Duration::from_secs(5);
/// The longest request, in bytes, with its newline.
const REQUEST_MAX: usize = 256;
/// The longest answer that [`ask`] takes, in bytes.
const ANSWER_MAX: usize = 1 << 20;
/// The longest name in a path, in bytes: a socket's address has room for 107 (unix(7)).
const NAME_MAX: usize = 64;

/// The daemon's side. Register it with mio for reading: it is readable when the listener or any
/// client is.
pub struct Control {
    listener: UnixListener,
    /// Watches the listener and the clients; itself watched by the daemon.
    poll: Poll,
    events: Events,
    clients: [Option<Client>; CLIENTS],
    /// Who is answered beside root; none leaves it to the file's mode, since the kernel names one group of a client only.
    owner: Option<libc::uid_t>,
    path: PathBuf,
    _lock: File,
}

impl Control {
    /// Opens the socket for this name, for root and the members of `group`, if there is one. The name is held until
    /// the end of the process.
    ///
    /// # Errors
    /// A sentence: `AddrInUse` when another daemon of that name runs, else the kernel's.
    pub fn open(name: &str, group: Option<u32>) -> io::Result<Control> {
        Control::open_in(&runtime_directory(), name, group)
    }

    /// The same in another directory, which only the owner of the process may write to.
    ///
    /// # Errors
    /// As [`Control::open`].
    pub fn open_in(directory: &Path, name: &str, group: Option<u32>) -> io::Result<Control> {
        let path = socket_path(directory, name);
        let failed = |error| because(format!("cannot open the control socket {}", path.display()), error);
        make_directory(directory, 0o755).and_then(|()| check_private(directory)).map_err(failed)?;
        let lock = take_lock(&place_of(directory, name, ".lock"), name)?;
        let listener = listen(&path, group).map_err(failed)?;
        let poll = Poll::new().map_err(failed)?;
        poll.registry()
            .register(&mut SourceFd(&listener.as_raw_fd()), Token(0), Interest::READABLE)
            .map_err(failed)?;
        let events = Events::with_capacity(1 + CLIENTS);
        let clients = [const { None }; CLIENTS];
        let owner = group.is_none().then(effective_user);
        Ok(Control { listener, poll, events, clients, owner, path, _lock: lock })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes new clients in and serves all that can go on; `answer` turns a request into text.
    pub fn handle_ready(&mut self, now: Instant, answer: &mut dyn FnMut(&str) -> String) {
        // Which of them is ready does not matter, all are tried; but the edge must be taken.
        let _ = self.poll.poll(&mut self.events, Some(Duration::ZERO));
        self.handle_timeout(now);
        self.accept(now);
        for place in &mut self.clients {
            if place.as_mut().is_some_and(|client| client.handle_ready(answer).is_done()) {
                // Closing takes it out of the poll.
                *place = None;
            }
        }
    }

    /// Sends clients away whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        for place in &mut self.clients {
            if place.as_ref().is_some_and(|client| client.until <= now) {
                *place = None;
            }
        }
    }

    /// When [`Control::handle_timeout`] is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.clients.iter().map(|place| place.as_ref().map(|client| client.until)).fold(None, earliest)
    }

    fn accept(&mut self, now: Instant) {
        while let Ok((stream, _)) = self.listener.accept() {
            let place = self.clients.iter_mut().find(|place| place.is_none());
            let welcome = match self.owner {
                Some(owner) => peer_user(&stream).is_ok_and(|user| user == 0 || user == owner),
                None => true,
            };
            // Whoever is not welcome, or finds no place, sees the end of the stream.
            let (Some(place), true, Ok(())) = (place, welcome, stream.set_nonblocking(true)) else {
                continue;
            };
            let mut source = SourceFd(&stream.as_raw_fd());
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut source, Token(1), both).is_ok() {
                let until = now + CLIENT_LIFE;
                *place = Some(Client { stream, until, request: Vec::new(), answer: Vec::new(), sent: 0 });
            }
        }
    }
}

impl event::Source for Control {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.poll.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.poll.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.poll.as_raw_fd()).deregister(registry)
    }
}

/// Whether a client is still of interest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Waiting,
    Done,
}

impl Progress {
    fn is_done(self) -> bool {
        self == Progress::Done
    }

    /// A call that would have waited is tried again later, any other failure is the end.
    fn after(error: &io::Error) -> Progress {
        if error.kind() == io::ErrorKind::WouldBlock { Progress::Waiting } else { Progress::Done }
    }
}

struct Client {
    stream: UnixStream,
    until: Instant,
    request: Vec<u8>,
    /// Empty while the request is not complete.
    answer: Vec<u8>,
    sent: usize,
}

impl Client {
    fn handle_ready(&mut self, answer: &mut dyn FnMut(&str) -> String) -> Progress {
        if self.answer.is_empty() {
            match self.read_request() {
                Ok(request) => self.answer = answer(&request).into_bytes(),
                Err(progress) => return progress,
            }
        }
        self.write_answer()
    }

    /// The request once its line is complete.
    fn read_request(&mut self) -> Result<String, Progress> {
        let mut room = [0; REQUEST_MAX];
        loop {
            let free = REQUEST_MAX - self.request.len();
            let got = match self.stream.read(&mut room[..free]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Progress::after(&error)),
                Ok(got) => got,
            };
            self.request.extend_from_slice(&room[..got]);
            if let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8(self.request[..end].to_vec()).map_err(|_| Progress::Done)?;
                return Ok(line.trim().to_owned());
            }
            if got == 0 || self.request.len() == REQUEST_MAX {
                return Err(Progress::Done);
            }
        }
    }

    fn write_answer(&mut self) -> Progress {
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Progress::after(&error),
                Ok(0) => return Progress::Done,
                Ok(sent) => self.sent += sent,
            }
        }
        Progress::Done
    }
}

/// The user on the other side, as the kernel noted it when it connected (`SO_PEERCRED`).
fn peer_user(stream: &UnixStream) -> io::Result<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(told)?;
    // SAFETY: both pointers are to live memory, and the length is that of the structure.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

/// Takes the name for this process. The kernel gives it back however the process ends.
fn take_lock(path: &Path, name: &str) -> io::Result<File> {
    let failed = |error| because(format!("cannot open {}", path.display()), error);
    let file = super::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_NOFOLLOW, 0o600).map_err(failed)?;
    // SAFETY: no memory is involved; the descriptor is open.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(file);
    }
    let error = io::Error::last_os_error();
    if error.kind() != io::ErrorKind::WouldBlock {
        return Err(failed(error));
    }
    Err(failure(
        io::ErrorKind::AddrInUse,
        format!("another peervpn runs with the interface or network {name}"),
    ))
}

/// Under the lock, so a socket file that is there already is a dead daemon's.
fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Until the group is right nobody but root gets in.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn socket_path(directory: &Path, name: &str) -> PathBuf {
    place_of(directory, name, ".sock")
}

/// A network's name may be longer than a socket's address has room for; its beginning will do.
fn place_of(directory: &Path, name: &str, kind: &str) -> PathBuf {
    let mut file: String = name.replace('/', "_");
    while file.len() > NAME_MAX {
        file.pop();
    }
    file.push_str(kind);
    directory.join(file)
}

/// Asks running daemons: the one of this name, or all there are. One answer each, in the order of their names.
///
/// # Errors
/// A sentence: none runs, not root, no answer in time.
pub fn ask(name: Option<&str>, request: &str) -> io::Result<Vec<String>> {
    ask_in(&runtime_directory(), name, request, CLIENT_LIFE)
}

fn ask_in(directory: &Path, name: Option<&str>, request: &str, limit: Duration) -> io::Result<Vec<String>> {
    let mut streams = Vec::new();
    match name {
        Some(name) => streams.extend(connect(&socket_path(directory, name))?),
        None => streams = connect_to_all(directory)?,
    }
    if streams.is_empty() {
        return Err(nobody(directory, name));
    }
    let mut answers = Vec::with_capacity(streams.len());
    for stream in streams {
        answers.push(ask_one(stream, request, limit)?);
    }
    Ok(answers)
}

fn ask_one(mut stream: UnixStream, request: &str, limit: Duration) -> io::Result<String> {
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    let asked = stream.write_all(format!("{request}\n").as_bytes());
    match asked.and_then(|()| read_bounded(&mut stream, ANSWER_MAX)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(failure(io::ErrorKind::TimedOut, "peervpn runs but does not answer"))
        }
        Err(error) => Err(because("peervpn broke off its answer", error)),
        Ok(none) if none.is_empty() => {
            Err(failure(io::ErrorKind::UnexpectedEof, "peervpn is busy with others; try again"))
        }
        Ok(answer) => Ok(printable(&answer)),
    }
}

/// S23: the answer goes to root's terminal, and the daemon has fewer rights than root: no escape
/// sequence of a daemon that was taken over gets through.
fn printable(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c }).collect()
}

/// None when no daemon is behind that path.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            io::ErrorKind::PermissionDenied => {
                Err(failure(io::ErrorKind::PermissionDenied, "only root may ask; try sudo"))
            }
            _ => Err(because(format!("cannot reach {}", path.display()), error)),
        },
    }
}

fn connect_to_all(directory: &Path) -> io::Result<Vec<UnixStream>> {
    let mut streams = Vec::new();
    for name in names(directory) {
        streams.extend(connect(&socket_path(directory, &name))?);
    }
    Ok(streams)
}

/// The names of all control sockets, dead or alive, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names = Vec::new();
    for name in
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".sock").map(str::to_owned))
    {
        if let Err(at) = names.binary_search(&name) {
            names.insert(at, name);
        }
    }
    names
}

fn nobody(directory: &Path, name: Option<&str>) -> io::Error {
    let others: Vec<String> = names(directory)
        .into_iter()
        .filter(|other| matches!(connect(&socket_path(directory, other)), Ok(Some(_))))
        .collect();
    let text = match name {
        Some(name) if others.is_empty() => format!("no peervpn runs as '{name}', nor any other"),
        Some(name) => format!("no peervpn runs as '{name}'; there is: {}", others.join(", ")),
        None => format!("no peervpn runs here (nothing in {})", directory.display()),
    };
    failure(io::ErrorKind::NotFound, text)
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::thread::JoinHandle;

    use super::*;
    use crate::sys::child::{in_child, no_forks, root_or_skip};
    use crate::sys::files::tests::Scratch;

    const LONG: Duration = Duration::from_secs(20);

    /// A daemon's loop in a thread: answers `twice X` with `X X`, `long` with 300 000 bytes.
    struct Running {
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Running {
        fn start(mut control: Control) -> Running {
            let stop = Arc::new(AtomicBool::new(false));
            let seen = stop.clone();
            let thread = std::thread::spawn(move || {
                // Only what mio reports is served: an edge that got lost would show as no answer.
                let mut poll = Poll::new().unwrap();
                poll.registry().register(&mut control, Token(7), Interest::READABLE).unwrap();
                let mut events = Events::with_capacity(4);
                while !seen.load(Ordering::Relaxed) {
                    poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
                    if !events.is_empty() {
                        control.handle_ready(Instant::ZERO, &mut answer);
                    }
                }
            });
            Running { stop, thread: Some(thread) }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn answer(request: &str) -> String {
        match request.strip_prefix("twice ") {
            Some(word) => format!("{word} {word}\n"),
            None if request == "long" => "0123456789".repeat(30_000),
            None => "what?\u{1b}[2J\n".to_owned(),
        }
    }

    fn complaint(place: &Scratch, name: Option<&str>) -> String {
        ask_in(place.path(), name, "x", LONG).unwrap_err().to_string()
    }

    #[test]
    fn a_client_gets_its_answer() {
        let _guard = no_forks();
        let place = Scratch::new();
        let _running = Running::start(Control::open_in(place.path(), "vpn0", None).unwrap());
        for name in [Some("vpn0"), None] {
            assert_eq!(ask_in(place.path(), name, "twice hello", LONG).unwrap(), ["hello hello\n"]);
        }
        // More than a socket holds at once.
        assert_eq!(ask_in(place.path(), None, "long", LONG).unwrap()[0].len(), 300_000);
        // No escape sequence reaches a terminal.
        assert_eq!(ask_in(place.path(), None, "other", LONG).unwrap(), ["what??[2J\n"]);
    }

    #[test]
    fn a_silent_client_holds_up_nobody() {
        let _guard = no_forks();
        let place = Scratch::new();
        let _running = Running::start(Control::open_in(place.path(), "vpn0", None).unwrap());
        let path = socket_path(place.path(), "vpn0");
        let _silent = UnixStream::connect(&path).unwrap();
        let mut half = UnixStream::connect(&path).unwrap();
        half.write_all(b"twice ").unwrap();
        let mut greedy = UnixStream::connect(&path).unwrap();
        greedy.write_all(b"long\n").unwrap();
        assert_eq!(ask_in(place.path(), None, "twice a", LONG).unwrap(), ["a a\n"]);
        // The others can still go on.
        half.write_all(b"b\n").unwrap();
        let mut text = String::new();
        half.read_to_string(&mut text).unwrap();
        assert_eq!(text, "b b\n");
        text.clear();
        greedy.read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), 300_000);
    }

    #[test]
    fn clients_that_take_too_long_make_room() {
        let _guard = no_forks();
        let place = Scratch::new();
        let mut control = Control::open_in(place.path(), "vpn0", None).unwrap();
        let path = socket_path(place.path(), "vpn0");
        let start = Instant::ZERO;
        let idle: Vec<UnixStream> = (0..CLIENTS).map(|_| UnixStream::connect(&path).unwrap()).collect();
        control.handle_ready(start, &mut answer);
        assert_eq!(control.next_timeout(), Some(start + CLIENT_LIFE));

        // No place: the end of the stream at once.
        let mut late = UnixStream::connect(&path).unwrap();
        control.handle_ready(start, &mut answer);
        assert_eq!(late.read(&mut [0]).unwrap(), 0);

        control.handle_timeout(start + CLIENT_LIFE);
        assert_eq!(control.next_timeout(), None);
        for mut client in idle {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn requests_are_one_bounded_line_of_text() {
        let _guard = no_forks();
        let place = Scratch::new();
        let mut control = Control::open_in(place.path(), "vpn0", None).unwrap();
        let path = socket_path(place.path(), "vpn0");
        let mut asked = Vec::new();
        let long = [b'x'; REQUEST_MAX];
        let mut fits = [b'y'; REQUEST_MAX];
        fits[REQUEST_MAX - 1] = b'\n';
        for bytes in [&long[..], b"\xff\xfe\n", b"no newline", b"", b"status\r\nmore\n", &fits] {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(bytes).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            control.handle_ready(Instant::ZERO, &mut |request| {
                asked.push(request.len());
                "fine".to_owned()
            });
            assert_eq!(control.next_timeout(), None, "each is answered or sent away at once");
        }
        assert_eq!(asked, [6, REQUEST_MAX - 1]);
    }

    #[test]
    fn one_name_one_daemon_and_dead_sockets_are_replaced() {
        let _guard = no_forks();
        let place = Scratch::new();
        let first = Control::open_in(place.path(), "vpn0", None).unwrap();
        let second = Control::open_in(place.path(), "vpn0", None).map(|_| ()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(second.to_string(), "another peervpn runs with the interface or network vpn0");
        let _other = Control::open_in(place.path(), "vpn1", None).unwrap();
        // S24: what kill -9 leaves behind is in nobody's way.
        drop(first);
        assert!(socket_path(place.path(), "vpn0").exists());
        let _running = Running::start(Control::open_in(place.path(), "vpn0", None).unwrap());
        assert_eq!(ask_in(place.path(), Some("vpn0"), "twice a", LONG).unwrap(), ["a a\n"]);
    }

    #[test]
    fn who_cannot_be_asked_is_told_in_a_sentence() {
        let _guard = no_forks();
        let place = Scratch::new();
        assert!(complaint(&place, None).starts_with("no peervpn runs here"));
        drop(Control::open_in(place.path(), "dead", None).unwrap());
        assert!(complaint(&place, None).starts_with("no peervpn runs here"));
        assert_eq!(complaint(&place, Some("dead")), "no peervpn runs as 'dead', nor any other");
        let _a = Control::open_in(place.path(), "a", None).unwrap();
        let _b = Control::open_in(place.path(), "b", None).unwrap();
        assert_eq!(complaint(&place, Some("../c")), "no peervpn runs as '../c'; there is: a, b");
        // Nobody serves this one.
        let stuck = ask_in(place.path(), Some("a"), "x", Duration::from_millis(50)).unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn without_a_name_all_answer() {
        let _guard = no_forks();
        let place = Scratch::new();
        let _b = Running::start(Control::open_in(place.path(), "b", None).unwrap());
        let _a = Running::start(Control::open_in(place.path(), "a", None).unwrap());
        drop(Control::open_in(place.path(), "dead", None).unwrap());
        assert_eq!(ask_in(place.path(), None, "twice x", LONG).unwrap(), ["x x\n", "x x\n"]);
    }

    #[test]
    fn members_of_the_group_are_answered_and_nobody_else() {
        let _guard = no_forks();
        // S16
        const GROUP: u32 = 4343;
        if !root_or_skip("members_of_the_group_are_answered_and_nobody_else") {
            return;
        }
        let place = Scratch::new();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let _running = Running::start(Control::open_in(place.path(), "vpn0", Some(GROUP)).unwrap());
        for (groups, is_member) in [(&[GROUP][..], true), (&[], false)] {
            in_child(|| {
                // SAFETY: the list is live for the call.
                unsafe {
                    assert!(libc::setgroups(groups.len(), groups.as_ptr()) == 0);
                    assert!(libc::setgid(4242) == 0 && libc::setuid(4242) == 0);
                }
                let answer = ask_in(place.path(), Some("vpn0"), "twice x", LONG);
                assert_eq!(answer.is_ok(), is_member, "{answer:?}");
            });
        }
    }

    #[test]
    fn only_root_is_answered() {
        let _guard = no_forks();
        // S16: by the file's mode, and by the kernel's word where the mode was opened up.
        let place = Scratch::new();
        let mut control = Control::open_in(place.path(), "vpn0", None).unwrap();
        let path = socket_path(place.path(), "vpn0");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        if !root_or_skip("only_root_is_answered") {
            return;
        }
        let as_stranger = |body: fn(&Path)| {
            in_child(|| {
                // SAFETY: no memory is involved.
                unsafe { assert!(libc::setgroups(0, core::ptr::null()) == 0 && libc::setuid(4242) == 0) };
                body(&path);
            });
        };
        as_stranger(|path| {
            let text = ask_in(path.parent().unwrap(), None, "x", LONG).unwrap_err().to_string();
            assert_eq!(text, "only root may ask; try sudo");
        });
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        as_stranger(|path| UnixStream::connect(path).unwrap().write_all(b"status\n").unwrap());
        control.handle_ready(Instant::ZERO, &mut |_| panic!("a stranger is answered"));
        assert_eq!(control.next_timeout(), None);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let _guard = no_forks();
        let place = Scratch::new();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Control::open_in(place.path(), "vpn0", None).is_err());
    }

    #[test]
    fn long_names_still_fit_a_socket() {
        let _guard = no_forks();
        let place = Scratch::new();
        assert!(Control::open_in(place.path(), &"N".repeat(255), None).is_ok());
    }
}
