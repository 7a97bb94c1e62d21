//! The grammar of `/etc/config` files, as libuci reads them in strict mode. Knows no option of ours.
//!
//! * A line is a command: `package`, `config`, `option` or `list`, or its first letter, then a space or a tab,
//!   then arguments. CR is a blank like any other.
//! * An argument is made of pieces without a blank between them: `'literal'`, `"with \" escapes"`, or bare with
//!   `\x` for x. Quotes hold newlines; a backslash at the end of a line joins it with the next.
//! * `#` begins a comment wherever it is not quoted, in the middle of a word too.
//! * `;` ends a command only behind a blank or a quote. Right behind a bare word it swallows the rest of the line,
//!   and where an argument could stand it is an empty one; what follows it must be a command.
//! * `option` sets, `list` adds. An empty `option` sets nothing and takes nothing away. A section that is opened
//!   again goes on, if its type is the same.
//!
//! The first mistake ends it: half a file is no configuration. Three deviations: a file with a NUL byte in it is
//! refused, since that is what a loss of power leaves of a file; a bare keyword that ends the file without a
//! newline lacks its arguments; and there are no more than [`NAMES_MAX`] sections, or options in one.

use zeroize::Zeroizing;

use crate::config::words::{FEW, Keyword, Scanner};

/// So many names are looked through one by one; nobody has more of them.
const NAMES_MAX: usize = 1024;
const MANY: &str = "too many names";

/// A piece of the file's text. It may be a secret.
pub type Bytes = Zeroizing<Vec<u8>>;

/// What a file says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct File {
    /// Its sections, in the order of their first `config` lines.
    pub sections: Vec<Section>,
    /// Its comments, in order.
    pub comments: Vec<Comment>,
}

/// A comment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// The line where it stands, counted from 1.
    pub line: usize,
    /// What stands behind the `#`, without the blanks around it.
    pub text: String,
}

/// A section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Its type.
    pub kind: String,
    /// Its name; none when it is anonymous.
    pub name: Option<String>,
    /// The line where it begins, counted from 1.
    pub line: usize,
    /// What is set in it, in order.
    pub options: Vec<Setting>,
}

/// An option or list of a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// One value, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// From an `option` line; never empty.
    One(Item),
    /// From `list` lines.
    List(Vec<Item>),
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// The line where its command begins, counted from 1.
    pub line: usize,
    /// The value in whatever code the file is in.
    pub bytes: Bytes,
}

impl core::fmt::Debug for Item {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Item({}, …)", self.line)
    }
}

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What is wrong, in libuci's words.
    pub why: &'static str,
    /// How many whole lines were read by then, as libuci tells it.
    pub lines_read: usize,
    /// How many bytes of the command were read by then, as libuci tells it.
    pub byte: usize,
    /// The line where the command begins, counted from 1.
    pub line: usize,
}

/// Reads a file.
///
/// # Errors
/// The first mistake.
pub fn read(text: &[u8]) -> Result<File, Broken> {
    if let Some(at) = text.iter().position(|&byte| byte == 0) {
        let lines_read = text[..at].iter().filter(|&&byte| byte == b'\n').count();
        return Err(Broken { why: "NUL byte", lines_read, byte: 0, line: lines_read + 1 });
    }
    let mut scanner = Scanner::new(text);
    let mut package = Package::default();
    while scanner.next_line() {
        scanner.skip_blanks();
        while let Some(keyword) = scanner.keyword(package.current.is_some())? {
            match keyword {
                Keyword::Package => {
                    scanner.name(|byte| is_name(byte) || byte == b'-')?.ok_or_else(|| scanner.broken(FEW))?;
                    scanner.end_command()?;
                }
                Keyword::Config => read_section(&mut scanner, &mut package)?,
                Keyword::Option => read_setting(&mut scanner, &mut package, Package::set)?,
                Keyword::List => read_setting(&mut scanner, &mut package, Package::add)?,
            }
            if package.is_crowded() {
                return Err(scanner.broken(MANY));
            }
        }
    }
    Ok(File { sections: package.sections, comments: scanner.comments })
}

fn read_section(scanner: &mut Scanner<'_>, package: &mut Package) -> Result<(), Broken> {
    let kind = scanner.argument()?;
    if kind.is_empty() {
        return Err(scanner.broken(FEW));
    }
    if !kind.iter().all(u8::is_ascii_graphic) {
        return Err(scanner.broken("invalid character in type field"));
    }
    let name = scanner.name(is_name)?;
    scanner.end_command()?;
    if !package.open(&String::from_utf8_lossy(&kind), name, scanner.begun) {
        return Err(scanner.broken("section of different type overwrites prior section with same name"));
    }
    Ok(())
}

fn read_setting(
    scanner: &mut Scanner<'_>,
    package: &mut Package,
    take: fn(&mut Package, String, Item),
) -> Result<(), Broken> {
    let name = scanner.name(is_name)?.ok_or_else(|| scanner.broken(FEW))?;
    let bytes = scanner.argument()?;
    scanner.end_command()?;
    take(package, name, Item { line: scanner.begun, bytes });
    Ok(())
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What was read so far.
#[derive(Default)]
struct Package {
    sections: Vec<Section>,
    /// The section that is open.
    current: Option<usize>,
}

impl Package {
    fn is_crowded(&self) -> bool {
        let current = self.current.map_or(0, |at| self.sections[at].options.len());
        self.sections.len().max(current) > NAMES_MAX
    }

    /// Opens a new section, or one of that name again; false if that has another type.
    fn open(&mut self, kind: &str, name: Option<String>, line: usize) -> bool {
        self.current = self.sections.iter().position(|section| name.is_some() && section.name == name);
        if let Some(at) = self.current {
            return self.sections[at].kind == kind;
        }
        self.current = Some(self.sections.len());
        self.sections.push(Section { kind: kind.to_owned(), name, line, options: Vec::new() });
        true
    }

    /// `option`: takes the place of what was there.
    fn set(&mut self, name: String, item: Item) {
        if !item.bytes.is_empty() {
            self.change(name, |_| Value::One(item));
        }
    }

    /// `list`: joins what was there.
    fn add(&mut self, name: String, item: Item) {
        self.change(name, |before| match before {
            None => Value::List(vec![item]),
            Some(Value::One(first)) => Value::List(vec![first, item]),
            Some(Value::List(mut items)) => {
                items.push(item);
                Value::List(items)
            }
        });
    }

    fn change(&mut self, name: String, with: impl FnOnce(Option<Value>) -> Value) {
        // The scanner lets no option come before a section.
        let Some(current) = self.current else { return };
        let settings = &mut self.sections[current].options;
        match settings.iter_mut().find(|setting| setting.name == name) {
            Some(known) => {
                let before = core::mem::replace(&mut known.value, Value::List(Vec::new()));
                known.value = with(Some(before));
            }
            None => settings.push(Setting { name, value: with(None) }),
        }
    }
}
