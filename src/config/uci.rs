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
//! The first mistake ends it: half a file is no configuration. Two deviations: a file with a NUL byte in it is
//! refused, since that is what a loss of power leaves of a file, and a bare keyword that ends the file without a
//! newline lacks its arguments.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// A piece of the file's text. It may be a secret.
pub type Bytes = Zeroizing<Vec<u8>>;

/// A section in the order of its first `config` line.
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
pub fn read(text: &[u8]) -> Result<Vec<Section>, Broken> {
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
        }
    }
    Ok(package.sections)
}

const FEW: &str = "insufficient arguments";

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

/// What C calls space.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

enum Keyword {
    Package,
    Config,
    Option,
    List,
}

/// Walks over the text, a line at a time. A quote or a backslash that needs it takes the next line in, so that a
/// command may have several.
struct Scanner<'a> {
    text: &'a [u8],
    /// The byte to be looked at.
    at: usize,
    /// Where what may be read ends: at the line's end, or at a comment.
    end: usize,
    /// Where the next line begins.
    next: usize,
    /// The line where the command began, counted from 1.
    begun: usize,
    /// Newlines seen.
    lines_read: usize,
    /// What bytes are counted from: the beginning of the line, less what joining lines left out.
    zero: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0, end: 0, next: 0, begun: 0, lines_read: 0, zero: 0 }
    }

    /// Goes to the next line; false behind the last one.
    fn next_line(&mut self) -> bool {
        (self.at, self.zero) = (self.next, self.next);
        self.take_line();
        self.at < self.end
    }

    /// Lets the next line be read too.
    fn take_line(&mut self) {
        let rest = &self.text[self.next..];
        match rest.iter().position(|&byte| byte == b'\n') {
            Some(len) => {
                self.next += len + 1;
                self.lines_read += 1;
            }
            None => self.next = self.text.len(),
        }
        self.end = self.next;
    }

    fn peek(&self) -> Option<u8> {
        self.text[self.at..self.end].first().copied()
    }

    fn skip_blanks(&mut self) {
        loop {
            while self.peek().is_some_and(is_blank) {
                self.at += 1;
            }
            if self.peek() != Some(b'\\') || !self.join_line() {
                return;
            }
        }
    }

    /// The command's first word; none when the line has no more commands.
    fn keyword(&mut self, in_section: bool) -> Result<Option<Keyword>, Broken> {
        let is_whole = self.next > 0 && self.text[self.next - 1] == b'\n';
        self.begun = self.lines_read + usize::from(!is_whole);
        let is_separator = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let line = &self.text[self.at..self.end];
        let Some(begin) = line.iter().position(|byte| !is_separator(byte)) else { return Ok(None) };
        let end = line[begin..].iter().position(is_separator).map_or(line.len(), |len| begin + len);
        let keyword = match &line[begin..end] {
            [b'#', ..] => return Ok(None),
            b"p" | b"package" => Keyword::Package,
            b"c" | b"config" => Keyword::Config,
            b"o" | b"option" => Keyword::Option,
            b"l" | b"list" => Keyword::List,
            _ => return Err(self.broken("invalid command")),
        };
        if matches!(keyword, Keyword::Option | Keyword::List) && !in_section {
            return Err(self.broken("option/list command found before the first section"));
        }
        self.at = self.end.min(self.at + end + 1);
        Ok(Some(keyword))
    }

    /// The next argument if it is a name; none when it is empty.
    fn name(&mut self, belongs: fn(u8) -> bool) -> Result<Option<String>, Broken> {
        let word = self.argument()?;
        if !word.iter().all(|&byte| belongs(byte)) {
            return Err(self.broken("invalid character in name field"));
        }
        Ok((!word.is_empty()).then(|| String::from_utf8_lossy(&word).into_owned()))
    }

    /// The next argument, which is empty when there is none.
    fn argument(&mut self) -> Result<Bytes, Broken> {
        self.skip_blanks();
        let mut word = Zeroizing::new(Vec::with_capacity(self.end - self.at));
        if self.peek() == Some(b';') {
            self.at += 1;
            return Ok(word);
        }
        let mut bare = true;
        while let Some(byte) = self.peek().filter(|&byte| !is_blank(byte)) {
            bare &= !matches!(byte, b'\'' | b'"' | b'\\');
            match byte {
                b'\'' => self.literal(&mut word)?,
                b'"' => self.quoted(&mut word)?,
                b'#' => self.end = self.at,
                b';' if bare => self.end = self.at,
                b';' => return Ok(word),
                b'\\' if self.join_line() => {}
                b'\\' => self.push_escaped(&mut word),
                _ => self.push(&mut word),
            }
        }
        self.at = self.end.min(self.at + 1);
        Ok(word)
    }

    /// Between single quotes.
    fn literal(&mut self, word: &mut Vec<u8>) -> Result<(), Broken> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'\'') => break,
                Some(_) => self.push(word),
                None => self.take_line_of_quotes("EOF with unterminated '")?,
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Between double quotes.
    fn quoted(&mut self, word: &mut Vec<u8>) -> Result<(), Broken> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') if self.join_line() => {}
                Some(b'\\') => self.push_escaped(word),
                Some(_) => self.push(word),
                None => self.take_line_of_quotes("EOF with unterminated \"")?,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn take_line_of_quotes(&mut self, otherwise: &'static str) -> Result<(), Broken> {
        self.take_line();
        if self.at < self.end { Ok(()) } else { Err(self.broken(otherwise)) }
    }

    fn push(&mut self, word: &mut Vec<u8>) {
        word.extend(self.peek());
        self.at += 1;
    }

    fn push_escaped(&mut self, word: &mut Vec<u8>) {
        self.at += 1;
        self.push(word);
    }

    /// If the backslash at hand ends its line, takes both out and the next line in.
    fn join_line(&mut self) -> bool {
        match &self.text[self.at + 1..self.end] {
            [] | [b'\n'] | [b'\r', b'\n'] => {}
            _ => return false,
        }
        // libuci counts the backslash, and not the newline.
        self.zero += self.end - self.at - 1;
        self.at = self.end;
        self.take_line();
        true
    }

    /// Behind the last argument there may be a `;` or an empty word.
    fn end_command(&mut self) -> Result<(), Broken> {
        if self.argument()?.is_empty() { Ok(()) } else { Err(self.broken("too many arguments")) }
    }

    fn broken(&self, why: &'static str) -> Broken {
        Broken { why, lines_read: self.lines_read, byte: self.at - self.zero, line: self.begun }
    }
}

/// What was read so far.
#[derive(Default)]
struct Package {
    sections: Vec<Section>,
    /// The section that is open.
    current: Option<usize>,
    by_name: BTreeMap<String, usize>,
    /// Where each option is, by its section and name.
    options: BTreeMap<(usize, String), usize>,
}

impl Package {
    /// Opens a new section, or one of that name again; false if that has another type.
    fn open(&mut self, kind: &str, name: Option<String>, line: usize) -> bool {
        let known = name.as_ref().and_then(|name| self.by_name.get(name)).copied();
        if let Some(at) = known {
            self.current = known;
            return self.sections[at].kind == kind;
        }
        let at = self.sections.len();
        self.by_name.extend(name.clone().map(|name| (name, at)));
        self.sections.push(Section { kind: kind.to_owned(), name, line, options: Vec::new() });
        self.current = Some(at);
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
        match self.options.get(&(current, name.clone())) {
            Some(&at) => {
                let before = core::mem::replace(&mut settings[at].value, Value::List(Vec::new()));
                settings[at].value = with(Some(before));
            }
            None => {
                self.options.insert((current, name.clone()), settings.len());
                settings.push(Setting { name, value: with(None) });
            }
        }
    }
}
