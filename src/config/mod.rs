//! Wing A: configuration text to [`Settings`]. Knows floor 0 only, and touches no file.
//!
//! ```text
//! peervpn.conf  → legacy.rs ┐
//!                           ├→ options.rs (the row) → value.rs (its type) → draft.rs (rules) → Settings
//! /etc/config/… → uci.rs ───┘
//!                 section.rs: its sections, each a network of its own; firewall.rs: what goes with one
//! ```
//!
//! A grammar yields names and values with their line numbers and knows no option; the table knows the
//! options and no grammar. They meet in [`Intake`], where every mistake is noted as a [`Fault`]: the user is
//! told all of them at once. Nothing of a text with a fault is used.
#![forbid(unsafe_code)]

mod arguments;
pub mod cli;
pub mod convert;
mod draft;
pub mod fault;
pub mod firewall;
pub mod legacy;
pub mod options;
pub mod router;
pub mod section;
pub mod setup;
pub mod uci;
mod value;
mod verbs;
mod words;
mod write;

use crate::base::settings::Settings;

pub use crate::config::draft::ReadSecret;
pub use crate::config::fault::{Fault, Notice};
pub use crate::config::legacy::FILE_MAX;
pub(crate) use crate::config::value::node;

use crate::config::draft::Draft;
use crate::config::fault::{nearest, shown};
use crate::config::legacy::{Line, Lines};
use crate::config::options::{OPTIONS, UCI_OPTIONS};

/// So many notices are told at most, and after so many faults the rest of the text is not read: it is no
/// configuration.
const TOLD_MAX: usize = 50;

/// A configuration that may be used.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What the user should know of.
    pub notices: Vec<Notice>,
    /// Whether the key stands in this very text, so that others should not be able to read it (S16).
    pub holds_psk: bool,
}

/// Reads a `peervpn.conf`. `file` is its name for messages; `read` gets the content of a pskfile.
///
/// # Errors
///
/// All mistakes, in the order of their lines; those without a line at the end.
pub fn load(text: &[u8], file: &str, read: &mut ReadSecret<'_>) -> Result<Loaded, Vec<Fault>> {
    read_lines(text, file)?.finish(read)
}

/// Takes all lines in; what must be between options is not looked at. What is wrong is told only if it is too much.
fn read_lines<'a>(text: &[u8], file: &'a str) -> Result<Intake<'a>, Vec<Fault>> {
    let mut intake = Intake::new(file, None);
    intake.check_size(text)?;
    for (number, line) in Lines::new(text) {
        intake.check_patience()?;
        match line {
            Ok(Line::Option(name, value)) => intake.option(number, name, &value),
            Ok(Line::Echo(text)) => intake.notice(Notice::Echo(text)),
            Err(broken) => intake.fault(Some(number), None, broken.why, Some(broken.hint.to_owned())),
        }
    }
    Ok(intake)
}

/// Where a grammar hands over what it read.
struct Intake<'a> {
    file: &'a str,
    /// The section that is read, if the file has sections.
    section: Option<&'a str>,
    draft: Draft,
    /// The last line that set each option, in the order of the table; 0 for none.
    lines: [usize; OPTIONS.len()],
    faults: Vec<Fault>,
    notices: Vec<Notice>,
}

impl<'a> Intake<'a> {
    fn new(file: &'a str, section: Option<&'a str>) -> Intake<'a> {
        let lines = [0; OPTIONS.len()];
        Intake { file, section, draft: Draft::new(), lines, faults: Vec::new(), notices: Vec::new() }
    }

    fn check_size(&mut self, text: &[u8]) -> Result<(), Vec<Fault>> {
        if text.len() <= FILE_MAX {
            return Ok(());
        }
        let why = format!("the file has {} bytes", text.len());
        self.fault(None, None, why, Some(format!("at most {FILE_MAX} are possible")));
        Err(std::mem::take(&mut self.faults))
    }

    /// After so many mistakes the rest is not read.
    fn check_patience(&mut self) -> Result<(), Vec<Fault>> {
        if self.faults.len() <= TOLD_MAX {
            return Ok(());
        }
        Err(std::mem::take(&mut self.faults))
    }

    /// Takes one option, as written.
    fn option(&mut self, line: usize, name: &str, value: &str) {
        let Some(at) = OPTIONS.iter().position(|row| row.name == name) else {
            return self.unknown(line, name);
        };
        let row = &OPTIONS[at];
        self.lines[at] = line;
        let taken = match value {
            "" => Err("needs a value".to_owned()),
            value => row.apply(&mut self.draft, value),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(text)) => self.remark(row.name, text),
            Err(why) => self.fault(Some(line), Some(name), why, Some(row.expected())),
        }
    }

    fn unknown(&mut self, line: usize, name: &str) {
        // Looking for what was meant is the one thing here that takes long.
        if self.faults.len() > TOLD_MAX {
            return;
        }
        // `port=7000` and `port: 7000` are what other programs want.
        let bare = name.split(['=', ':']).next().unwrap_or(name);
        let more = UCI_OPTIONS.iter().filter(|_| self.section.is_some()).map(|option| option.name);
        let hint = match nearest(bare, OPTIONS.iter().map(|row| row.name).chain(more)) {
            Some(near) if bare.len() < name.len() => format!("write '{near}', a blank and the value"),
            Some(near) => format!("did you mean '{near}'?"),
            None => "'peervpn help options' lists them all".to_owned(),
        };
        self.fault(Some(line), Some(&shown(name)), "unknown option".into(), Some(hint));
    }

    /// Checks the rules between options.
    fn finish(mut self, read: &mut ReadSecret<'_>) -> Result<Loaded, Vec<Fault>> {
        let idle: Vec<_> = self.draft.idle().collect();
        idle.into_iter().for_each(|(option, text)| self.remark(option, text));
        let holds_psk = self.draft.psk.is_some() || self.draft.psk_next.is_some();
        match std::mem::take(&mut self.draft).finish(read) {
            Ok(settings) if self.faults.is_empty() => {
                return Ok(Loaded { settings, notices: self.notices, holds_psk });
            }
            Ok(_) => {}
            Err(clashes) => {
                for clash in clashes {
                    let is_named = |fault: &Fault| {
                        fault.option.as_deref().is_some_and(|name| clash.options.contains(&name))
                    };
                    if !self.faults.iter().any(is_named) {
                        let option = clash.options[0];
                        self.fault(self.line_of(option), Some(option), clash.why, Some(clash.hint.into()));
                    }
                }
            }
        }
        self.faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        Err(self.faults)
    }

    /// Notes a mistake. Of those that are too many only the first is noted, as what it is.
    fn fault(&mut self, line: Option<usize>, option: Option<&str>, why: String, hint: Option<String>) {
        let (line, option, why, hint) = match self.faults.len() {
            0..TOLD_MAX => (line, option, why, hint),
            TOLD_MAX => (None, None, "there are more mistakes than told here".into(), None),
            _ => return,
        };
        let (file, section) = (self.file.to_owned(), self.section.map(str::to_owned));
        self.faults.push(Fault { file, line, section, option: option.map(str::to_owned), why, hint });
    }

    fn remark(&mut self, option: &'static str, text: &'static str) {
        self.remark_at(self.line_of(option), option, text);
    }

    fn remark_at(&mut self, line: Option<usize>, option: &'static str, text: &'static str) {
        let (file, section) = (self.file.to_owned(), self.section.map(str::to_owned));
        self.notice(Notice::Remark { file, line, section, option, text });
    }

    fn notice(&mut self, notice: Notice) {
        if self.notices.len() < TOLD_MAX {
            self.notices.push(notice);
        }
    }

    fn line_of(&self, option: &str) -> Option<usize> {
        let at = OPTIONS.iter().position(|row| row.name == option)?;
        Some(self.lines[at]).filter(|&line| line > 0)
    }
}
