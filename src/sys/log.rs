//! Lines to standard error that a person can read.
//!
//! Who reads them decides their form: a terminal gets the time of day (UTC), the journal its priority as `<4>`
//! (sd-daemon(3)), anything else, procd's pipe above all, the level as a word; its reader knows the time.
//! One message is one line and one write, whatever names from outside are in it. How often a kind of
//! message may come is the daemon's affair. Secrets never come here (S16).
//!
//! A reader that stands still must not stop the VPN: what standard error does not take at once is dropped and
//! counted, and the number is told when it takes lines again. It is asked before each line whether it does;
//! making it non-blocking instead would change the terminal or pipe for everybody who shares it.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::base::settings::LogLevel;
use crate::sys::{check, streams, variable};

/// Writes what the level lets pass.
#[derive(Debug)]
pub struct Logger {
    level: LogLevel,
    reader: Reader,
    /// Lines that nobody took since the last one that somebody did.
    dropped: Cell<u64>,
}

/// Who is at the other end of standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reader {
    Terminal,
    Journal,
    Pipe,
}

/// The longest message, in bytes; the rest is cut off. A pipe takes up to 4096 bytes in one piece (pipe(7)).
const LINE_MAX: usize = 1024;

impl Logger {
    /// A logger for messages up to `level`. Looks once at who reads standard error.
    pub fn new(level: LogLevel) -> Logger {
        let reader = if streams::errors().is_terminal() {
            Reader::Terminal
        } else if variable(c"JOURNAL_STREAM").is_some_and(|stream| is_standard_error(&stream)) {
            Reader::Journal
        } else {
            Reader::Pipe
        };
        Logger { level, reader, dropped: Cell::new(0) }
    }

    /// Whether a message of this level is written: ask before collecting what is dear to collect.
    pub fn writes(&self, level: LogLevel) -> bool {
        level <= self.level
    }

    /// What ends the program or loses data.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.tell(LogLevel::Error, message);
    }

    /// What a person should look at.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.tell(LogLevel::Warn, message);
    }

    /// The story.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.tell(LogLevel::Info, message);
    }

    /// Enough to solve a problem from afar.
    pub fn debug(&self, message: fmt::Arguments<'_>) {
        self.tell(LogLevel::Debug, message);
    }

    /// A message of that level.
    pub fn tell(&self, level: LogLevel, message: fmt::Arguments<'_>) {
        if self.writes(level) {
            self.write(streams::errors().as_fd(), level, message);
        }
    }

    fn write(&self, to: BorrowedFd<'_>, level: LogLevel, message: fmt::Arguments<'_>) {
        let dropped = self.dropped.get();
        if dropped > 0 {
            let text = format_args!("lines missing here: {dropped}, for the log was not read");
            if !put(to, &line(self.reader, LogLevel::Warn, text)) {
                self.dropped.set(dropped + 1);
                return;
            }
            self.dropped.set(0);
        }
        if !put(to, &line(self.reader, level, message)) {
            self.dropped.set(self.dropped.get() + 1);
        }
    }
}

/// Writes a line if that does not block: a pipe that is ready takes 4096 bytes (pipe(7)), a terminal that is held
/// (Ctrl-S) is not. False when it was not ready. A log that is gone for good has taken it: the error has no
/// other place to go.
fn put(to: BorrowedFd<'_>, line: &str) -> bool {
    let mut question = libc::pollfd { fd: to.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one structure, which lives through the call.
    if !matches!(check(unsafe { libc::poll(&raw mut question, 1, 0) }), Ok(1)) {
        return false;
    }
    // SAFETY: the bytes live through the call with the length given; the kernel only reads them.
    let _ = check(unsafe { libc::write(to.as_raw_fd(), line.as_ptr().cast(), line.len()) });
    true
}

fn line(reader: Reader, level: LogLevel, message: fmt::Arguments<'_>) -> String {
    let mut line = Line(String::with_capacity(128));
    // Writing to a `Line` fails only when it is full, which cuts the message.
    let _ = match reader {
        Reader::Journal => write!(line, "<{}>{message}", priority(level)),
        Reader::Pipe => write!(line, "{}{message}", word(level)),
        Reader::Terminal => {
            let (hour, minute, second) = time_of_day();
            write!(line, "{hour:02}:{minute:02}:{second:02}Z {}{message}", word(level))
        }
    };
    line.0.push('\n');
    line.0
}

/// A line under construction: control characters become `?`, so that no name from outside can forge a second
/// line or steer a terminal.
struct Line(String);

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() >= LINE_MAX {
                return Err(fmt::Error);
            }
            self.0.push(if character.is_control() { '?' } else { character });
        }
        Ok(())
    }
}

/// The priority of syslog(3).
fn priority(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
        LogLevel::Debug => 7,
    }
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error: ",
        LogLevel::Warn => "warning: ",
        LogLevel::Info => "",
        LogLevel::Debug => "debug: ",
    }
}

/// Whether `stream`, device and inode as in `8:1234`, is our standard error (systemd.exec(5)): the variable is
/// inherited by programs whose error output goes elsewhere.
fn is_standard_error(stream: &str) -> bool {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills `found` or fails.
    if unsafe { libc::fstat(libc::STDERR_FILENO, found.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: fstat succeeded, so `found` is filled.
    let found = unsafe { found.assume_init() };
    stream == format!("{}:{}", found.st_dev, found.st_ino)
}

/// Hour, minute and second of the day, UTC: so the logs of nodes that live in several zones lie side by side. The
/// only wall clock in the program, for eyes alone (S7).
fn time_of_day() -> (u64, u64, u64) {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    (now / 3600 % 24, now / 60 % 60, now % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_its_form() {
        let say = |reader, level| line(reader, level, format_args!("peer {} is up", "0011"));
        assert_eq!(say(Reader::Pipe, LogLevel::Info), "peer 0011 is up\n");
        assert_eq!(say(Reader::Pipe, LogLevel::Warn), "warning: peer 0011 is up\n");
        assert_eq!(say(Reader::Journal, LogLevel::Error), "<3>peer 0011 is up\n");
        assert_eq!(say(Reader::Journal, LogLevel::Info), "<6>peer 0011 is up\n");
        let terminal = say(Reader::Terminal, LogLevel::Error);
        assert_eq!(terminal.as_bytes()[2], b':');
        assert!(terminal.ends_with("Z error: peer 0011 is up\n"), "{terminal}");
    }

    #[test]
    fn the_level_lets_pass_what_stands_before_it() {
        let logger = Logger { level: LogLevel::Warn, reader: Reader::Pipe, dropped: Cell::new(0) };
        assert!(logger.writes(LogLevel::Error) && logger.writes(LogLevel::Warn));
        assert!(!logger.writes(LogLevel::Info) && !logger.writes(LogLevel::Debug));
    }

    #[test]
    fn a_log_that_nobody_reads_holds_up_nothing_and_tells_what_is_missing() {
        use std::io::Read as _;
        let logger = Logger { level: LogLevel::Info, reader: Reader::Pipe, dropped: Cell::new(0) };
        let (mut reader, writer) = std::io::pipe().unwrap();
        let say = |number: u32| logger.write(writer.as_fd(), LogLevel::Info, format_args!("line {number}"));
        (0..20_000).for_each(say);
        let dropped = logger.dropped.get();
        assert!(dropped > 0, "the pipe was full");
        let mut taken = vec![0; 1 << 20];
        let length = reader.read(&mut taken).unwrap();
        assert!(taken[..length].starts_with(b"line 0\nline 1\n"));
        say(20_000);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let missing =
            format!("warning: lines missing here: {dropped}, for the log was not read\nline 20000\n");
        assert!(rest.ends_with(&missing), "{rest}");
        assert_eq!(logger.dropped.get(), 0);
    }

    #[test]
    fn a_name_from_outside_cannot_forge_a_line() {
        let line = line(Reader::Journal, LogLevel::Info, format_args!("host {}", "a\n<3>b\u{1b}[2J"));
        assert_eq!(line, "<6>host a?<3>b?[2J\n");
    }

    #[test]
    fn a_long_message_is_cut_and_still_one_line() {
        let line = line(Reader::Pipe, LogLevel::Info, format_args!("{}", "ü".repeat(LINE_MAX)));
        assert!(line.len() <= LINE_MAX + "ü\n".len() && line.ends_with('\n'));
    }

    #[test]
    fn another_stream_is_not_ours() {
        assert!(!is_standard_error("0:0"));
        assert!(!is_standard_error("nonsense"));
    }
}
