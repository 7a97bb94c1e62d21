//! The sections of `/etc/config/peervpn`: each is a network of its own, read by the same table as a `peervpn.conf`.
//!
//! ```text
//! config network 'home'
//!         option enabled '1'
//!         option psk 'correct horse battery'
//!         list initpeers 'vps.example.org 7000'
//! ```
//!
//! What is wrong with a section concerns that section only. A file that cannot be read as a whole has no sections,
//! so that nobody starts with half of what was meant. A list may also be one option with blanks in it, and an
//! option with one value a list of one.

use zeroize::Zeroizing;

use crate::config::draft::ReadSecret;
use crate::config::fault::{Fault, nearest};
use crate::config::firewall::Firewall;
use crate::config::options::{Row, UCI_OPTIONS, UciOption, find};
use crate::config::uci::{self, Comment, Item, Section, Setting, Value};
use crate::config::value::{self, Parsed};
use crate::config::write::conf_line;
use crate::config::{Intake, Loaded};

/// The type of a section that is a network.
const KIND: &str = "network";
/// The longest name of a section, in bytes: it becomes the name of a file.
const NAME_MAX: usize = 64;

/// A file of networks.
#[derive(Debug)]
pub struct Networks {
    /// All networks, enabled or not, in order.
    pub all: Vec<Network>,
    /// What is wrong with sections that are no network: they have no name, or another type.
    pub strays: Vec<Fault>,
}

/// A section that is a network.
#[derive(Debug)]
pub struct Network {
    pub(super) file: String,
    pub(super) section: Section,
    name: String,
    /// The comments around it.
    pub(super) comments: Vec<Comment>,
}

/// A network that can be started.
#[derive(Debug)]
pub struct Instance {
    /// Its settings, and what there is to say about them.
    pub loaded: Loaded,
    /// What the router is to let through for it.
    pub firewall: Firewall,
    /// The same settings as a `peervpn.conf`, the key included.
    pub conf: Zeroizing<String>,
}

/// Reads the text of a UCI file, which is called `file` in messages.
///
/// # Errors
/// It cannot be read: where and why.
pub fn read(text: &[u8], file: &str) -> Result<Networks, Vec<Fault>> {
    Intake::new(file, None).check_size(text)?;
    let content = uci::read(text).map_err(|broken| vec![unreadable(file, &broken)])?;
    let mut networks = Networks { all: Vec::new(), strays: Vec::new() };
    let mut comments = content.comments.into_iter().peekable();
    let mut sections = content.sections.into_iter().peekable();
    while let Some(section) = sections.next() {
        let last = section.options.iter().map(last_line).fold(section.line, usize::max);
        let is_last = sections.peek().is_none();
        let belongs = |comment: &Comment| is_last || comment.line <= last;
        let around = std::iter::from_fn(|| comments.next_if(belongs)).collect();
        match name_of(&section) {
            Ok(name) => {
                let (file, name) = (file.to_owned(), name.to_owned());
                networks.all.push(Network { file, section, name, comments: around });
            }
            Err((why, hint)) => networks.strays.push(Fault {
                file: file.to_owned(),
                line: Some(section.line),
                section: section.name,
                option: None,
                why,
                hint: Some(hint),
            }),
        }
    }
    Ok(networks)
}

impl Networks {
    /// The network of that name.
    pub fn find(&self, name: &str) -> Option<&Network> {
        self.all.iter().find(|network| network.name == name)
    }
}

impl Network {
    /// The section's name: letters, digits and `_`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is to be started with the system.
    ///
    /// # Errors
    /// The word is neither yes nor no.
    pub fn is_enabled(&self) -> Result<bool, Vec<Fault>> {
        let mut intake = Intake::new(&self.file, Some(&self.name));
        let enabled = self.section.options.iter().find(|setting| setting.name == "enabled");
        let mut extras = Extras::default();
        enabled.into_iter().for_each(|setting| extras.take(setting, &mut intake));
        if intake.faults.is_empty() { Ok(extras.enabled) } else { Err(intake.faults) }
    }

    /// Reads the section's options; `read` gets the content of a pskfile.
    ///
    /// # Errors
    /// All mistakes in it, in the order of their lines.
    pub fn load(&self, read: &mut ReadSecret<'_>) -> Result<Instance, Vec<Fault>> {
        let Taken { mut intake, extras, lines } = self.take();
        extras.clashes(&mut intake);
        let loaded = intake.finish(read).map_err(|faults| self.located(faults))?;
        let mut conf = Zeroizing::new(String::with_capacity(
            lines.iter().map(|(_, line)| line.len()).sum::<usize>() + 256 + self.name.len(),
        ));
        conf.push_str("# The network '");
        conf.push_str(&self.name);
        conf.push_str("' as 'peervpn uci export' found it. Changes made here are lost.\n");
        lines.iter().for_each(|(_, line)| conf.push_str(line));
        // Whoever watches the instance finds the interface's name here.
        if loaded.settings.tunneling
            && !self.section.options.iter().any(|setting| setting.name == "interface")
        {
            conf.extend(["interface ", loaded.settings.interface.as_str(), "\n"]);
        }
        Ok(Instance { loaded, firewall: extras.firewall, conf })
    }

    /// Takes all options in. What they must be to each other is not looked at.
    pub(super) fn take(&self) -> Taken<'_> {
        let mut intake = Intake::new(&self.file, Some(&self.name));
        let mut extras = Extras::default();
        let mut lines = Vec::new();
        for setting in &self.section.options {
            if UCI_OPTIONS.iter().any(|option| option.name == setting.name) {
                extras.take(setting, &mut intake);
            } else {
                take_option(setting, &mut intake, &mut lines);
            }
        }
        Taken { intake, extras, lines }
    }

    /// Options that only a section has, with their values: where, name, text.
    pub(super) fn extras(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let is_extra = |setting: &&Setting| UCI_OPTIONS.iter().any(|option| option.name == setting.name);
        self.section.options.iter().filter(is_extra).flat_map(|setting| {
            items(setting).iter().filter_map(|item| Some((item.line, setting.name.as_str(), text(item)?)))
        })
    }

    /// What concerns no line concerns the section.
    fn located(&self, mut faults: Vec<Fault>) -> Vec<Fault> {
        faults.iter_mut().for_each(|fault| fault.line = fault.line.or(Some(self.section.line)));
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

/// A section's options, as far as each can be judged alone.
pub(super) struct Taken<'a> {
    pub(super) intake: Intake<'a>,
    extras: Extras,
    /// The options as lines of a `peervpn.conf`, each with its line in the UCI file.
    pub(super) lines: Vec<(usize, Zeroizing<String>)>,
}

/// Takes an option of the table in.
fn take_option(setting: &Setting, intake: &mut Intake<'_>, lines: &mut Vec<(usize, Zeroizing<String>)>) {
    let row = find(&setting.name);
    for item in one_or_list(setting, row.is_none_or(Row::is_list), intake) {
        let Some(value) = text(item) else {
            intake.fault(Some(item.line), Some(&setting.name), "is not UTF-8 text".into(), None);
            continue;
        };
        let pieces = value.split(|char| row.is_some_and(Row::is_list) && matches!(char, '\n' | '\r'));
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            intake.option(item.line, &setting.name, piece);
            let written = match row.filter(|row| row.is_boolean()).map(|_| value::boolean(piece)) {
                Some(Ok(true)) => "yes",
                Some(Ok(false)) => "no",
                _ => piece,
            };
            match conf_line(&setting.name, written) {
                Some(line) => lines.push((item.line, line)),
                // An unknown name may be one that a `peervpn.conf` understands otherwise; that is told already.
                None if row.is_none() => {}
                None => {
                    let why = "holds a line break, or is too long".to_owned();
                    intake.fault(Some(item.line), Some(&setting.name), why, row.map(Row::expected));
                }
            }
        }
    }
}

/// The values that are not empty: an empty one is as good as none. More than one must be a list's.
fn one_or_list<'a>(setting: &'a Setting, is_list: bool, intake: &mut Intake<'_>) -> Vec<&'a Item> {
    let items: Vec<&Item> = items(setting).iter().filter(|item| !item.bytes.is_empty()).collect();
    match items.as_slice() {
        [_, second, ..] if !is_list => {
            let hint = format!("write: option {} '…'", setting.name);
            let (line, why) = (Some(second.line), "has more than one value".to_owned());
            intake.fault(line, Some(&setting.name), why, Some(hint));
            Vec::new()
        }
        _ => items,
    }
}

/// What the options say that only a section has.
#[derive(Default)]
struct Extras {
    enabled: bool,
    firewall: Firewall,
    listen_line: usize,
    interface_line: usize,
}

impl Extras {
    fn take(&mut self, setting: &Setting, intake: &mut Intake<'_>) {
        let Some(option) = UCI_OPTIONS.iter().find(|option| option.name == setting.name) else { return };
        for item in one_or_list(setting, option.hint.ends_with("..."), intake) {
            let value = text(item).ok_or_else(|| "is not UTF-8 text".to_owned());
            if let Err(why) = value.and_then(|value| self.set(option, value, item.line)) {
                let hint = format!("expected: {} {}", option.name, option.hint);
                intake.fault(Some(item.line), Some(option.name), why, Some(hint));
            }
        }
    }

    fn set(&mut self, option: &UciOption, value: &str, line: usize) -> Parsed<()> {
        match option.name {
            "enabled" => self.enabled = value::boolean(value)?,
            "listen_zone" => {
                add_zones(&mut self.firewall.listen, value)?;
                self.listen_line = line;
            }
            "forward_zone" => {
                add_zones(&mut self.firewall.forward, value)?;
                self.interface_line = line;
            }
            _ => {
                self.firewall.input = value::boolean(value)?;
                self.interface_line = line;
            }
        }
        Ok(())
    }

    /// What these options must be to those of the table.
    fn clashes(&self, intake: &mut Intake<'_>) {
        let name = if self.firewall.forward.is_empty() { "input" } else { "forward_zone" };
        let (tunneling, port) = (intake.draft.tunneling, intake.draft.port);
        if !self.firewall.listen.is_empty() && port == 0 {
            let why = "port is 0, so nobody knows which one to open".to_owned();
            intake.fault(Some(self.listen_line), Some("listen_zone"), why, Some("set a port".into()));
        }
        if !self.firewall.names_interface() {
            return;
        }
        let is_template = intake.draft.interface.as_ref().is_some_and(|name| name.as_str().contains('%'));
        if !tunneling {
            let text = "has no effect without a virtual interface (enabletunneling is no)";
            intake.remark_at(Some(self.interface_line), name, text);
        } else if is_template {
            let why = "nobody knows the interface's name before it starts".to_owned();
            let hint = Some("set an interface without %d".into());
            intake.fault(Some(self.interface_line), Some(name), why, hint);
        }
    }
}

fn add_zones(zones: &mut Vec<String>, text: &str) -> Parsed<()> {
    for word in text.split_ascii_whitespace() {
        let zone = value::zone(word)?;
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    Ok(())
}

/// The name of a section that is a network, or what keeps it from being one, and what to write.
fn name_of(section: &Section) -> Result<&str, (String, String)> {
    let Some(name) = section.name.as_deref().filter(|_| section.kind == KIND) else {
        return Err(match nearest(&section.kind, [KIND].into_iter()) {
            _ if section.kind == KIND => {
                ("the section has no name".into(), "write: config network 'NAME'".into())
            }
            Some(_) => (format!("unknown type '{}'", section.kind), "did you mean 'network'?".into()),
            None => (format!("unknown type '{}'", section.kind), "networks are 'network' sections".into()),
        });
    };
    if name.len() > NAME_MAX {
        return Err((
            format!("its name has {} bytes", name.len()),
            format!("at most {NAME_MAX} are possible"),
        ));
    }
    Ok(name)
}

/// A whole file that libuci would not read either.
fn unreadable(file: &str, broken: &uci::Broken) -> Fault {
    let hint = match broken.why {
        "invalid command" => "a line begins with config, option or list, and a blank behind it",
        "insufficient arguments" => "something is missing on this line",
        "too many arguments" => "put a value with blanks in quotes",
        "invalid character in name field" => "names have letters, digits and _ only",
        "invalid character in type field" => "write: config network 'NAME'",
        "option/list command found before the first section" => "write first: config network 'NAME'",
        "NUL byte" => "the file is damaged",
        "too many names" => "no file has so many sections, and no section so many options",
        why if why.starts_with("EOF") => "a quote that is opened here, or in a line above, is not closed",
        _ => "names of sections are used once",
    };
    let hint = format!("{hint}; to uci, line {} byte {}", broken.lines_read, broken.byte);
    Fault {
        file: file.to_owned(),
        line: Some(broken.line),
        section: None,
        option: None,
        why: format!("no network is read, for this line is wrong: {}", broken.why),
        hint: Some(hint),
    }
}

pub(super) fn items(setting: &Setting) -> &[Item] {
    match &setting.value {
        Value::One(item) => std::slice::from_ref(item),
        Value::List(items) => items,
    }
}

fn last_line(setting: &Setting) -> usize {
    items(setting).iter().map(|item| item.line).max().unwrap_or(0)
}

pub(super) fn text(item: &Item) -> Option<&str> {
    std::str::from_utf8(&item.bytes).ok()
}
