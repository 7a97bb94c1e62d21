//! The grammar of `peervpn.conf`: lines of `keyword value`. Knows no option.
//!
//! * Blanks around keyword and value do not count, nor does the CR of a CRLF; the last line needs no newline.
//! * `#` and `;` begin a comment, behind a value too.
//! * A value in double quotes may hold anything; `\"` stands for a quote and `\\` for a backslash in it.
//! * `endconfig` ends the file; `echo TEXT` is said, not set.
//!
//! The text may be hostile: lines and their number are bounded by length and by [`FILE_MAX`], a line that
//! cannot be read is a [`Broken`] one and the next is read all the same.

use zeroize::Zeroizing;

/// The longest line, in bytes.
pub const LINE_MAX: usize = 4096;
/// The longest file, in bytes.
pub const FILE_MAX: usize = 1 << 20;

/// What a line says.
#[derive(PartialEq, Eq, Debug)]
pub enum Line<'a> {
    /// An option and its value, which is empty when there is none.
    Option(&'a str, Zeroizing<String>),
    /// A text to be said.
    Echo(String),
}

/// Why a line cannot be read, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What is wrong.
    pub why: String,
    /// What to write instead.
    pub hint: &'static str,
}

/// The lines of a file that say something, each with its number.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    /// Starts at the first line.
    pub fn new(text: &'a [u8]) -> Lines<'a> {
        // Editors of some systems put a byte order mark in front of UTF-8.
        Lines { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, Result<Line<'a>, Broken>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = self.rest.iter().position(|&byte| byte == b'\n').unwrap_or(self.rest.len());
            let line = &self.rest[..end];
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            self.number += 1;
            match read_line(line) {
                Ok((None, _)) => {}
                Ok((Some(Line::Option("endconfig", _)), _)) => self.rest = &[],
                Ok((Some(Line::Option("echo", text)), _)) => {
                    return Some((self.number, Ok(Line::Echo(String::clone(&text)))));
                }
                Ok((Some(line), _)) => return Some((self.number, Ok(line))),
                Err(broken) => return Some((self.number, Err(broken))),
            }
        }
        None
    }
}

/// Reads one line: what it says, if anything, and its comment with the sign that begins it.
pub(crate) fn read_line(line: &[u8]) -> Result<(Option<Line<'_>>, &[u8]), Broken> {
    if line.len() > LINE_MAX {
        let why = format!("the line has {} bytes, at most {LINE_MAX} are possible", line.len());
        return Err(broken(why, "is this a configuration?"));
    }
    if line.contains(&0) {
        return Err(broken("the line holds a NUL byte", "is this a text file?"));
    }
    let line = line.trim_ascii();
    let end =
        line.iter().position(|&byte| byte.is_ascii_whitespace() || is_comment(byte)).unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    if keyword.is_empty() {
        return Ok((None, rest));
    }
    let (value, comment) = read_value(rest.trim_ascii_start())?;
    Ok((Some(Line::Option(as_text(keyword)?, value)), comment))
}

/// The value at the beginning of `rest`, which has no blanks in front, and the comment behind it.
fn read_value(rest: &[u8]) -> Result<(Zeroizing<String>, &[u8]), Broken> {
    let value = &rest[..rest.iter().position(|&byte| is_comment(byte)).unwrap_or(rest.len())];
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let Some(end) = end_of_quotes(quoted) else {
            return Err(broken("the closing quote is missing", "write \\\" for a quote that is meant"));
        };
        let behind = quoted[end + 1..].trim_ascii_start();
        if behind.first().is_none_or(|&byte| is_comment(byte)) {
            return unescape(&quoted[..end]).map(|value| (value, behind));
        }
        // Else the quotes are part of a value, such as the first word of a command.
    }
    let is_cut = value.len() < rest.len();
    if is_cut && value.iter().filter(|&&byte| byte == b'"').count() % 2 == 1 {
        return Err(broken(
            "a comment would begin inside double quotes",
            "put the whole value in double quotes, and write \\\" for those inside",
        ));
    }
    let text = as_text(value.trim_ascii_end())?;
    Ok((Zeroizing::new(text.to_owned()), &rest[value.len()..]))
}

/// Where the quotes close that opened in front of `quoted`.
fn end_of_quotes(quoted: &[u8]) -> Option<usize> {
    let mut escaped = false;
    quoted.iter().position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// What was meant by the text between quotes. A backslash in front of anything else stands for itself.
fn unescape(quoted: &[u8]) -> Result<Zeroizing<String>, Broken> {
    let mut chars = as_text(quoted)?.chars().peekable();
    let mut text = Zeroizing::new(String::with_capacity(quoted.len()));
    while let Some(char) = chars.next() {
        let escaped = if char == '\\' { chars.next_if(|&next| next == '"' || next == '\\') } else { None };
        text.push(escaped.unwrap_or(char));
    }
    Ok(text)
}

fn is_comment(byte: u8) -> bool {
    byte == b'#' || byte == b';'
}

/// Only what counts must be UTF-8; a comment may be in any code.
fn as_text(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| broken("the line is not UTF-8 text", "save the file as UTF-8"))
}

fn broken(why: impl Into<String>, hint: &'static str) -> Broken {
    Broken { why: why.into(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options of `text` as `keyword=value`, a broken line as `!`, an echo as `>text`.
    fn told(text: &[u8]) -> String {
        let lines = Lines::new(text).map(|(number, line)| match line {
            Ok(Line::Option(keyword, value)) => format!("{number} {keyword}={}", value.as_str()),
            Ok(Line::Echo(text)) => format!("{number} >{text}"),
            Err(_) => format!("{number} !"),
        });
        lines.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn one_line_each() {
        for (text, expected) in [
            ("", ""),
            ("\n\n", ""),
            ("port 7000", "1 port=7000"),
            ("port 7000\n", "1 port=7000"),
            ("\n  port \t 7000 \t\r\n", "2 port=7000"),
            ("a 1\r\nb 2", "1 a=1|2 b=2"),
            ("\u{feff}port 1", "1 port=1"),
            ("port", "1 port="),
            ("port # 7000", "1 port="),
            ("port#7000", "1 port="),
            ("port 7000#x", "1 port=7000"),
            ("port 7000 ; x", "1 port=7000"),
            ("# port 7000", ""),
            ("   ;port 7000", ""),
            ("initpeers a 1  b 2", "1 initpeers=a 1  b 2"),
            ("a 1\nendconfig\nb 2", "1 a=1"),
            ("a 1\n endconfig # or not\nb \"", "1 a=1"),
            ("endconfigs 1", "1 endconfigs=1"),
            ("echo Hello world # not this", "1 >Hello world"),
            ("echo", "1 >"),
        ] {
            assert_eq!(told(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_hold_anything() {
        for (value, expected) in [
            (r#""a # b ; c""#, "a # b ; c"),
            (r#""  a  "  # comment"#, "  a  "),
            (r#""""#, ""),
            (r#""a"#, "!"),
            (r#""a\""#, "!"),
            (r#""a\"b""#, r#"a"b"#),
            (r#""a\\""#, r"a\"),
            (r#""a\nb""#, r"a\nb"),
            (r#""my script" and more"#, r#""my script" and more"#),
            (r#""my script" and more # comment"#, r#""my script" and more"#),
            (r#""my # script" and more"#, "!"),
            (r#"sh -c "true; false""#, "!"),
            (r#"sh -c "true" ; false"#, r#"sh -c "true""#),
            (r#"12" disk"#, r#"12" disk"#),
        ] {
            let line = format!("x {value}");
            let expected = if expected == "!" { "1 !".to_owned() } else { format!("1 x={expected}") };
            assert_eq!(told(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_command_survives_as_it_was_written() {
        let line = "upcmd route add -net 192.168.1.0/24 gw 10.99.0.2";
        assert_eq!(told(line.as_bytes()), "1 upcmd=route add -net 192.168.1.0/24 gw 10.99.0.2");
    }

    #[test]
    fn only_what_counts_must_be_utf8() {
        assert_eq!(told(b"a 1 # f\xfcr\n# f\xfcr\nb f\xfcr\nf\xfcr 1\nc 2"), "1 a=1|3 !|4 !|5 c=2");
    }

    #[test]
    fn hostile_lines_are_broken_and_the_next_is_read() {
        let long = "x".repeat(1 << 20);
        assert_eq!(told(format!("{long}\nport 1\nx {long}\n").as_bytes()), "1 !|2 port=1|3 !");
        assert_eq!(told(b"a\0b 1\n# \0\nport 1"), "1 !|2 !|3 port=1");
        let just = format!("x {}", "y".repeat(LINE_MAX - 2));
        assert_eq!(told(just.as_bytes()), format!("1 x={}", &just[2..]));
        assert_eq!(told(format!("{just}z").as_bytes()), "1 !");
    }
}
