//! The helper: a small child, forked before rights are dropped, that keeps the rights needed later. It
//! runs `upcmd` and `downcmd`, changes the TAP's MTU and writes the state file.
//!
//! S17, S23: what it can be asked for is fixed when it is forked. Commands, environment and interface
//! are its own copies; a request is a number, so a daemon that was taken over can have `upcmd` run once,
//! `downcmd` once after it, the MTU of its own TAP set within bounds, a short text without anything but numbers
//! in its state file, and nothing else.
//!
//! The helper ends when the daemon's end of the socket closes. If the daemon dies without having asked
//! for `downcmd`, the helper runs it all the same, provided the TAP had been announced as up: whatever
//! `upcmd` set up is taken down. The TAP itself is gone by then, as no descriptor of it is kept here.
//!
//! A hook is a process group of its own: `/bin/sh -c COMMAND` in `/`, its input from /dev/null, its
//! output to the daemon's log, only the variables listed in [`Plan`] beside `PATH`, `INTERFACE` and
//! `HOOK` (`up` or `down`). After the time limit the group is terminated, and killed a second later.

use core::fmt;
use core::time::Duration;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};

use crate::base::limits::{MTU_MAX, MTU_MIN};
use crate::base::settings::InterfaceName;
use crate::sys::child::{self, Channel, Child, Received};
use crate::sys::files::{self, STATE_MAX};

/// How long a hook may run.
pub const HOOK_LIMIT: Duration = Duration::from_secs(30);
/// How long a hook has to end by itself once it was told to.
const GRACE: Duration = Duration::from_secs(1);
/// Where hooks find programs; the daemon's own variable may come from anywhere.
const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// All that the helper will ever do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The TAP's name as the kernel gave it.
    pub interface: Option<InterfaceName>,
    /// The command to run when the TAP is up.
    pub up: Option<String>,
    /// The command to run when the daemon ends.
    pub down: Option<String>,
    /// Further variables for both: `NODE_ID`, `NETWORK` and the like.
    pub environment: Vec<(&'static str, String)>,
    /// How long each may run, usually [`HOOK_LIMIT`].
    pub limit: Duration,
    /// The file of what the node remembers.
    pub state: Option<PathBuf>,
    /// The control socket, to be removed when the daemon ends in order; it has no right to by then.
    pub socket: Option<PathBuf>,
}

/// Which of the two commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// `upcmd`
    Up,
    /// `downcmd`
    Down,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With this exit code; 0 is success.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It ran into the time limit and was ended.
    TimedOut,
    /// It could not be started, by this error number.
    NotStarted(i32),
    /// None is configured, or it is not its turn.
    Skipped,
}

/// What the helper has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// A command has ended.
    HookDone {
        /// Which.
        which: Which,
        /// How.
        outcome: Outcome,
    },
    /// The MTU was set, or not, by this error number.
    MtuDone(Result<(), i32>),
    /// The state file was written, or not, by this error number.
    StateDone(Result<(), i32>),
}

impl Report {
    /// Whether all is as asked for.
    pub fn is_success(&self) -> bool {
        match self {
            Report::HookDone { outcome, .. } => matches!(outcome, Outcome::Exited(0) | Outcome::Skipped),
            Report::MtuDone(result) | Report::StateDone(result) => result.is_ok(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (which, outcome) = match *self {
            Report::MtuDone(Ok(())) => return f.write_str("the TAP's MTU was set"),
            Report::StateDone(Ok(())) => return f.write_str("wrote the state file"),
            Report::MtuDone(Err(code)) => {
                return write!(f, "cannot set the TAP's MTU: {}", io::Error::from_raw_os_error(code));
            }
            Report::StateDone(Err(code)) => {
                return write!(f, "cannot write the state file: {}", io::Error::from_raw_os_error(code));
            }
            Report::HookDone { which: Which::Up, outcome } => ("upcmd", outcome),
            Report::HookDone { which: Which::Down, outcome } => ("downcmd", outcome),
        };
        match outcome {
            Outcome::Exited(0) => write!(f, "{which} is done"),
            Outcome::Exited(code) => write!(f, "{which} failed with exit code {code}"),
            Outcome::Killed(signal) => write!(f, "{which} was ended by signal {signal}"),
            Outcome::TimedOut => write!(f, "{which} took too long and was ended"),
            Outcome::NotStarted(code) => {
                write!(f, "{which} did not start: {}", io::Error::from_raw_os_error(code))
            }
            Outcome::Skipped => write!(f, "{which} was not run"),
        }
    }
}

/// A request: what, and a number that only an MTU uses; behind it, what is to be stored.
const REQUEST: usize = 3;
/// A report: about what, how, and a number.
const REPORT: usize = 6;
const RUN_UP: u8 = 1;
const RUN_DOWN: u8 = 2;
const SET_MTU: u8 = 3;
const STORE: u8 = 4;

/// The helper as the daemon sees it. Register it with mio for reading, then call
/// [`Helper::next_report`] until it has none.
pub struct Helper {
    child: Child,
    limit: Duration,
}

impl Helper {
    /// Forks the helper. To be called while all rights are there and before any thread is.
    ///
    /// # Errors
    /// The kernel's, from fork or socketpair.
    pub fn spawn(plan: Plan) -> io::Result<Helper> {
        let limit = plan.limit;
        let child = child::spawn(c"peervpn-helper", move |channel| Work::new(plan).serve(&channel))?;
        child.channel.set_nonblocking()?;
        Ok(Helper { child, limit })
    }

    /// The TAP is up: run `upcmd`, and `downcmd` once the daemon ends, however that comes about.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn announce_up(&mut self) -> io::Result<()> {
        self.request(RUN_UP, 0)
    }

    /// Asks for another MTU of the TAP, in bytes.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn set_mtu(&mut self, mtu: u16) -> io::Result<()> {
        self.request(SET_MTU, mtu)
    }

    /// Asks for this text in the state file.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn store(&mut self, text: &str) -> io::Result<()> {
        self.child.channel.send(&[&[STORE, 0, 0], text.as_bytes()].concat())
    }

    /// What was done since the last call.
    ///
    /// # Errors
    /// The helper is gone.
    pub fn next_report(&mut self) -> io::Result<Option<Report>> {
        let mut room = [0; REPORT];
        match self.child.channel.receive(&mut room) {
            Received::Message(REPORT) => Ok(read_report(&room)),
            Received::Closed => Err(child::ended("helper")),
            _ => Ok(None),
        }
    }

    /// The daemon ends: runs `downcmd` and waits for it, holding the TAP open meanwhile. Waits at most
    /// as long as both commands may take. What else was still to be reported is handed to `others`. None when the
    /// helper did not answer.
    pub fn finish(mut self, others: &mut dyn FnMut(&Report)) -> Option<Report> {
        self.request(RUN_DOWN, 0).ok()?;
        let until = Instant::now() + 2 * (self.limit + GRACE);
        loop {
            let mut room = [0; REPORT];
            let left = until.checked_duration_since(Instant::now())?;
            let left = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).saturating_add(1);
            child::wait_readable([self.child.channel.as_raw_fd()], Some(left));
            match self.child.channel.receive(&mut room) {
                Received::Closed => return None,
                Received::Nothing => {}
                Received::Message(_) => match read_report(&room) {
                    Some(report @ Report::HookDone { which: Which::Down, .. }) => return Some(report),
                    Some(report) => others(&report),
                    None => {}
                },
            }
        }
    }

    fn request(&mut self, what: u8, number: u16) -> io::Result<()> {
        let [high, low] = number.to_be_bytes();
        self.child.channel.send(&[what, high, low])
    }
}

impl event::Source for Helper {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.child.channel.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.child.channel.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.child.channel.as_raw_fd()).deregister(registry)
    }
}

fn write_report(report: Report) -> [u8; REPORT] {
    let (what, how, number) = match report {
        Report::MtuDone(result) => (SET_MTU, 0, result.err().unwrap_or(0)),
        Report::StateDone(result) => (STORE, 0, result.err().unwrap_or(0)),
        Report::HookDone { which, outcome } => {
            let (how, number) = match outcome {
                Outcome::Exited(code) => (0, code),
                Outcome::Killed(signal) => (1, signal),
                Outcome::TimedOut => (2, 0),
                Outcome::NotStarted(code) => (3, code),
                Outcome::Skipped => (4, 0),
            };
            (if which == Which::Up { RUN_UP } else { RUN_DOWN }, how, number)
        }
    };
    let [a, b, c, d] = number.to_be_bytes();
    [what, how, a, b, c, d]
}

fn read_report(&[what, how, a, b, c, d]: &[u8; REPORT]) -> Option<Report> {
    let number = i32::from_be_bytes([a, b, c, d]);
    let done = if number == 0 { Ok(()) } else { Err(number) };
    let which = match what {
        SET_MTU => return Some(Report::MtuDone(done)),
        STORE => return Some(Report::StateDone(done)),
        RUN_UP => Which::Up,
        RUN_DOWN => Which::Down,
        _ => return None,
    };
    let outcome = match how {
        0 => Outcome::Exited(number),
        1 => Outcome::Killed(number),
        2 => Outcome::TimedOut,
        3 => Outcome::NotStarted(number),
        4 => Outcome::Skipped,
        _ => return None,
    };
    Some(Report::HookDone { which, outcome })
}

/// The helper's own side.
struct Work {
    plan: Plan,
    came_up: bool,
    went_down: bool,
}

impl Work {
    fn new(plan: Plan) -> Work {
        Work { plan, came_up: false, went_down: false }
    }

    /// One request after the other, until the daemon's end closes.
    fn serve(mut self, channel: &Channel) {
        loop {
            let mut room = [0; REQUEST + STATE_MAX];
            let report = match channel.receive(&mut room) {
                Received::Message(length) => match room[..length].split_first_chunk() {
                    Some((request, text)) => self.handle(*request, text),
                    None => None,
                },
                Received::Nothing => None,
                Received::Closed => break,
            };
            if let Some(report) = report {
                let _ = channel.send(&write_report(report));
            }
        }
        self.go_down();
    }

    fn handle(&mut self, [what, high, low]: [u8; REQUEST], text: &[u8]) -> Option<Report> {
        let code = |error: io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
        match what {
            RUN_UP => Some(Report::HookDone { which: Which::Up, outcome: self.come_up() }),
            RUN_DOWN => {
                let outcome = self.go_down();
                // The daemon still holds the name, so nobody else's socket can be there yet.
                if let Some(socket) = self.plan.socket.take() {
                    let _ = std::fs::remove_file(socket);
                }
                Some(Report::HookDone { which: Which::Down, outcome })
            }
            SET_MTU => {
                let done = self.set_mtu(u16::from_be_bytes([high, low]));
                Some(Report::MtuDone(done.map_err(code)))
            }
            // S23: nothing that anybody could take for a command, or for a setting.
            STORE if text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'.' | b':' | b'[' | b']' | b' ' | b'\n')) => {
                let path = self.plan.state.as_deref()?;
                Some(Report::StateDone(files::store_state(path, text).map_err(code)))
            }
            _ => None,
        }
    }

    fn come_up(&mut self) -> Outcome {
        if self.came_up || self.went_down {
            return Outcome::Skipped;
        }
        self.came_up = true;
        self.plan.up.as_deref().map_or(Outcome::Skipped, |command| self.run("up", command))
    }

    /// Also after an `upcmd` that failed: half of what it sets up may be there.
    fn go_down(&mut self) -> Outcome {
        if !self.came_up || self.went_down {
            return Outcome::Skipped;
        }
        self.went_down = true;
        self.plan.down.as_deref().map_or(Outcome::Skipped, |command| self.run("down", command))
    }

    fn run(&self, hook: &str, command: &str) -> Outcome {
        // S17: no variable of the daemon's, nothing that a remote node can choose.
        let mut variables = vec![format!("PATH={SEARCH_PATH}"), format!("HOOK={hook}")];
        variables.extend(self.plan.environment.iter().map(|(name, value)| format!("{name}={value}")));
        if let Some(interface) = &self.plan.interface {
            variables.push(format!("INTERFACE={interface}"));
        }
        match child::start_shell(command, &variables) {
            Err(error) => Outcome::NotStarted(error.raw_os_error().unwrap_or(libc::EINVAL)),
            Ok(pid) => watch(pid, self.plan.limit),
        }
    }

    fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let fits = (MTU_MIN..=MTU_MAX).contains(&usize::from(mtu));
        let (Some(interface), true) = (&self.plan.interface, fits) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        // Any socket will do, and this kind exists in every kernel.
        let socket = UnixDatagram::unbound()?;
        // SAFETY: a zeroed ifreq is valid; the name, at most 15 bytes, leaves its closing zero; the request
        // lives through the call, which reads the name and the number.
        let failed = unsafe {
            let mut request: libc::ifreq = core::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(interface.as_str().bytes()) {
                *to = libc::c_char::from_ne_bytes([from]);
            }
            request.ifr_ifru.ifru_mtu = i32::from(mtu);
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU as _, &raw mut request)
        };
        if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Waits for a hook, and ends its group when it takes too long.
fn watch(pid: libc::pid_t, limit: Duration) -> Outcome {
    if let Some(status) = wait_for(pid, limit) {
        return outcome_of(status);
    }
    signal_group(pid, libc::SIGTERM);
    let ended = wait_for(pid, GRACE);
    // Whoever of the group did not listen, whether or not the shell did.
    signal_group(pid, libc::SIGKILL);
    if ended.is_none() {
        wait_for(pid, GRACE);
    }
    Outcome::TimedOut
}

/// The exit status of a child, if it ends within the limit.
fn wait_for(pid: libc::pid_t, limit: Duration) -> Option<i32> {
    let until = Instant::now() + limit;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live integer.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } != 0 {
            return Some(status);
        }
        let left = until.checked_duration_since(Instant::now())?;
        child::wait_for_end(left);
    }
}

fn signal_group(leader: libc::pid_t, signal: i32) {
    // SAFETY: no memory is involved; a group that is gone is no error here.
    unsafe { libc::kill(-leader, signal) };
}

fn outcome_of(status: i32) -> Outcome {
    if libc::WIFSIGNALED(status) {
        Outcome::Killed(libc::WTERMSIG(status))
    } else {
        Outcome::Exited(libc::WEXITSTATUS(status))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sys::child::root_or_skip;
    use crate::sys::files::tests::Scratch;

    fn plan(up: Option<String>, down: Option<String>) -> Plan {
        let interface = InterfaceName::new("peervpn-none");
        Plan {
            interface,
            up,
            down,
            environment: vec![("NODE_ID", "00ff".into()), ("NETWORK", "HOME".into())],
            limit: Duration::from_secs(20),
            state: None,
            socket: None,
        }
    }

    /// Waits for the next report; the time limit is for a test that fails.
    fn report(helper: &mut Helper) -> Report {
        child::wait_readable([helper.child.channel.as_raw_fd()], Some(30_000));
        helper.next_report().unwrap().expect("the helper says something")
    }

    /// Waits until a file has this content.
    fn wait_for_text(path: &Path, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(path).unwrap_or_default() != text {
            assert!(Instant::now() < until, "{} never said {text:?}", path.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn say(word: &str, place: &Scratch) -> Option<String> {
        Some(format!("echo {word} >>{}/said", place.path().display()))
    }

    #[test]
    fn what_is_remembered_is_written_and_nothing_else() {
        let _guard = child::forking();
        // S23: who has taken the daemon over writes numbers into one file, no command and no setting.
        let place = Scratch::new();
        let path = place.path().join("state");
        let mut helper = Helper::spawn(Plan { state: Some(path.clone()), ..plan(None, None) }).unwrap();
        let text = "1f2e 192.0.2.1:7000\n1f2e [2001:db8::1]:7000\n";
        helper.store(text).unwrap();
        assert_eq!(report(&mut helper), Report::StateDone(Ok(())));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        helper.store("psk 1\n").unwrap();
        helper.store("$(reboot)\n").unwrap();
        helper.store("1f2e 192.0.2.2:7000\n").unwrap();
        assert_eq!(report(&mut helper), Report::StateDone(Ok(())), "the only one that was done");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1f2e 192.0.2.2:7000\n");
        drop(helper);
    }

    #[test]
    fn a_state_file_that_cannot_be_written_is_told() {
        let _guard = child::forking();
        // S24
        let place = Scratch::new();
        let path = place.path().join("missing/state");
        let mut helper = Helper::spawn(Plan { state: Some(path), ..plan(None, None) }).unwrap();
        helper.store("1f 192.0.2.1:7000\n").unwrap();
        let told = report(&mut helper);
        assert!(!told.is_success());
        assert!(told.to_string().starts_with("cannot write the state file: No such file"), "{told}");
    }

    #[test]
    fn a_hook_sees_its_variables_and_no_others() {
        let _guard = child::forking();
        // S17
        let place = Scratch::new();
        let command = format!("env | sort >{0}/env; pwd >{0}/pwd; cat >{0}/input", place.path().display());
        let mut helper = Helper::spawn(plan(Some(command), None)).unwrap();
        helper.announce_up().unwrap();
        let done = report(&mut helper);
        assert_eq!(done, Report::HookDone { which: Which::Up, outcome: Outcome::Exited(0) });
        let text = |name| std::fs::read_to_string(place.path().join(name)).unwrap();
        // What the shell and its loader make by themselves does not count.
        let env = text("env");
        let own = |line: &&str| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own));
        let seen: Vec<&str> = env.lines().filter(own).collect();
        let path = format!("PATH={SEARCH_PATH}");
        assert_eq!(seen, ["HOOK=up", "INTERFACE=peervpn-none", "NETWORK=HOME", "NODE_ID=00ff", &path]);
        assert_eq!(text("pwd"), "/\n");
        assert_eq!(text("input"), "");
    }

    #[test]
    fn how_a_hook_ends_is_reported() {
        let _guard = child::forking();
        for (command, outcome, words) in [
            ("exit 3", Outcome::Exited(3), "upcmd failed with exit code 3"),
            ("kill -9 $$", Outcome::Killed(9), "upcmd was ended by signal 9"),
            ("true", Outcome::Exited(0), "upcmd is done"),
        ] {
            let mut helper = Helper::spawn(plan(Some(command.into()), None)).unwrap();
            helper.announce_up().unwrap();
            let done = report(&mut helper);
            assert_eq!(done, Report::HookDone { which: Which::Up, outcome });
            assert_eq!(done.to_string(), words);
            assert_eq!(done.is_success(), outcome == Outcome::Exited(0));
        }
    }

    #[test]
    fn a_hook_that_takes_too_long_is_ended_with_all_its_children() {
        let _guard = child::forking();
        // S17: also a child that ignores the polite signal.
        let place = Scratch::new();
        let child = "(trap '' TERM; while :; do sleep 1; done)";
        let command = format!("{child} & echo $! >{}/pid; sleep 1000", place.path().display());
        let mut plan = plan(Some(command), None);
        plan.limit = Duration::from_secs(1);
        let mut helper = Helper::spawn(plan).unwrap();
        helper.announce_up().unwrap();
        let done = report(&mut helper);
        assert_eq!(done, Report::HookDone { which: Which::Up, outcome: Outcome::TimedOut });
        let pid = std::fs::read_to_string(place.path().join("pid")).unwrap();
        let alive = |pid: &str| {
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        let until = Instant::now() + Duration::from_secs(20);
        while alive(&pid) {
            assert!(Instant::now() < until, "the child of the hook lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_helper_that_was_killed_is_noticed() {
        let _guard = child::forking();
        // S24
        let mut helper = Helper::spawn(plan(None, None)).unwrap();
        assert_eq!(helper.next_report().unwrap(), None);
        helper.child.kill();
        child::wait_readable([helper.child.channel.as_raw_fd()], Some(30_000));
        assert!(helper.next_report().unwrap_err().to_string().contains("the helper was ended"));
    }

    #[test]
    fn the_end_of_the_daemon_runs_downcmd_once() {
        let _guard = child::forking();
        let place = Scratch::new();
        let mut helper = Helper::spawn(plan(say("up", &place), say("down", &place))).unwrap();
        helper.announce_up().unwrap();
        let done = helper.finish(&mut |_| ()).unwrap();
        assert_eq!(done, Report::HookDone { which: Which::Down, outcome: Outcome::Exited(0) });
        assert_eq!(std::fs::read_to_string(place.path().join("said")).unwrap(), "up\ndown\n");
    }

    #[test]
    fn downcmd_runs_even_when_the_daemon_just_dies() {
        let _guard = child::forking();
        // S24: the socket closes without a word, as after kill -9.
        let place = Scratch::new();
        let mut helper = Helper::spawn(plan(say("up", &place), say("down", &place))).unwrap();
        helper.announce_up().unwrap();
        drop(helper);
        wait_for_text(&place.path().join("said"), "up\ndown\n");
    }

    #[test]
    fn downcmd_does_not_run_for_a_tap_that_never_came_up() {
        let _guard = child::forking();
        let place = Scratch::new();
        let helper = Helper::spawn(plan(say("up", &place), say("down", &place))).unwrap();
        let done = helper.finish(&mut |_| ()).unwrap();
        assert_eq!(done, Report::HookDone { which: Which::Down, outcome: Outcome::Skipped });
        assert!(!place.path().join("said").exists());
    }

    #[test]
    fn requests_can_neither_bring_a_command_nor_repeat_one() {
        let _guard = child::forking();
        // S23: what a daemon that was taken over could try.
        let place = Scratch::new();
        let mut helper = Helper::spawn(plan(say("up", &place), None)).unwrap();
        let command = format!("\u{1}\0\0echo bad >>{}/said", place.path().display());
        for request in [command.as_bytes(), &[9, 0, 0], &[RUN_UP], &[0; 200]] {
            helper.child.channel.send(request).unwrap();
        }
        helper.announce_up().unwrap();
        helper.announce_up().unwrap();
        assert_eq!(report(&mut helper), Report::HookDone { which: Which::Up, outcome: Outcome::Exited(0) });
        assert_eq!(report(&mut helper), Report::HookDone { which: Which::Up, outcome: Outcome::Skipped });
        drop(helper);
        assert_eq!(std::fs::read_to_string(place.path().join("said")).unwrap(), "up\n");
    }

    #[test]
    fn the_mtu_is_set_within_bounds_and_on_the_own_interface_only() {
        let _guard = child::forking();
        // S23
        if !root_or_skip("the_mtu_is_set_within_bounds_and_on_the_own_interface_only") {
            return;
        }
        child::in_child(|| {
            // A network of its own, with nothing but its loopback.
            // SAFETY: no memory is involved.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            for (interface, mtu, result) in [
                ("lo", 1400, Ok(())),
                ("lo", 0, Err(libc::EINVAL)),
                ("lo", 65_535, Err(libc::EINVAL)),
                ("peervpn-none", 1400, Err(libc::ENODEV)),
            ] {
                let mut plan = plan(None, None);
                plan.interface = InterfaceName::new(interface);
                let mut helper = Helper::spawn(plan).unwrap();
                helper.set_mtu(mtu).unwrap();
                assert_eq!(report(&mut helper), Report::MtuDone(result), "{interface} {mtu}");
            }
            assert_eq!(mtu_of_loopback(), 1400);
        });
    }

    fn mtu_of_loopback() -> i32 {
        let socket = UnixDatagram::unbound().unwrap();
        // SAFETY: a zeroed ifreq is valid, the name is short, the kernel writes the number that is read.
        unsafe {
            let mut request: libc::ifreq = core::mem::zeroed();
            request.ifr_name[0] = b'l' as _;
            request.ifr_name[1] = b'o' as _;
            assert_eq!(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request), 0);
            request.ifr_ifru.ifru_mtu
        }
    }

    #[test]
    fn reports_survive_the_socket() {
        for report in [
            Report::MtuDone(Ok(())),
            Report::MtuDone(Err(19)),
            Report::HookDone { which: Which::Up, outcome: Outcome::Killed(9) },
            Report::HookDone { which: Which::Down, outcome: Outcome::NotStarted(2) },
            Report::HookDone { which: Which::Down, outcome: Outcome::TimedOut },
            Report::HookDone { which: Which::Up, outcome: Outcome::Skipped },
            Report::HookDone { which: Which::Up, outcome: Outcome::Exited(-1) },
        ] {
            assert_eq!(read_report(&write_report(report)), Some(report));
        }
        assert_eq!(read_report(&[7, 0, 0, 0, 0, 0]), None);
        assert_eq!(read_report(&[1, 9, 0, 0, 0, 0]), None);
    }
}
