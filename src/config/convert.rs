//! From a `peervpn.conf` to a section of `/etc/config/peervpn`, and back. Comments stay where they are.
//!
//! Each line is judged alone, so that a file that lacks nothing but its key can be converted. What the other
//! grammar has no word for is kept as a comment: `echo` and what stands behind `endconfig`, and on the way back the
//! options that only a router has.

use zeroize::Zeroizing;

use crate::config::fault::Fault;
use crate::config::legacy::{LINE_MAX, Line, read_line};
use crate::config::options::{Row, find};
use crate::config::read_lines;
use crate::config::section::{Network, Taken};
use crate::config::write::uci_quoted;

/// Whether the text is a UCI file rather than a `peervpn.conf`: the first line that says something begins with a
/// word of that grammar.
pub fn is_uci(text: &[u8]) -> bool {
    let words = text.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.trim_ascii_start();
        line.split(|byte| byte.is_ascii_whitespace())
            .next()
            .filter(|word| !word.is_empty() && word[0] != b'#')
    });
    let is_command = |word: &[u8]| {
        [b"config".as_slice(), b"package", b"option", b"list", b"c", b"p", b"o", b"l"].contains(&word)
    };
    words.into_iter().next().is_some_and(is_command)
}

/// Makes a section of that name of a `peervpn.conf`. It is not enabled.
///
/// # Errors
/// All lines that cannot be understood.
pub fn to_uci(text: &[u8], file: &str, section: &str) -> Result<Zeroizing<String>, Vec<Fault>> {
    let faults = read_lines(text, file)?.faults;
    if !faults.is_empty() {
        return Err(faults);
    }
    // Room for all at once: a text that grows leaves copies of a key behind. A quote becomes four characters, and a
    // line gets some words more.
    let lines = text.split(|&byte| byte == b'\n').count();
    let mut out = Zeroizing::new(String::with_capacity(4 * text.len() + 32 * lines + 256));
    out.extend(["config network '", section, "'\n\toption enabled '0'\n"]);
    let mut ended = false;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for line in text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n') {
        // A line that cannot be read is a fault above, unless it is behind the end.
        let (said, comment) = match read_line(line) {
            Ok(read) if !ended => read,
            _ => (None, line.trim_ascii()),
        };
        ended |= matches!(said, Some(Line::Option("endconfig", _)));
        let comment = String::from_utf8_lossy(comment);
        let comment = comment.trim_start_matches(['#', ';']).trim();
        match said {
            Some(Line::Option("echo" | "endconfig", _)) => {
                out.extend(["\t# ", &String::from_utf8_lossy(line.trim_ascii()), "\n"]);
            }
            Some(Line::Option(name, value)) => {
                let keyword = if find(name).is_some_and(Row::is_list) { "list" } else { "option" };
                out.extend(["\t", keyword, " ", name, " ", &uci_quoted(&value)]);
                if !comment.is_empty() {
                    out.extend([" # ", comment]);
                }
                out.push('\n');
            }
            _ if comment.is_empty() => out.push('\n'),
            _ => out.extend(["\t# ", comment, "\n"]),
        }
    }
    Ok(out)
}

/// Makes a `peervpn.conf` of a network.
///
/// # Errors
/// All options that cannot be understood.
pub fn to_conf(network: &Network) -> Result<Zeroizing<String>, Vec<Fault>> {
    let Taken { intake, lines, .. } = network.take();
    if !intake.faults.is_empty() {
        return Err(intake.faults);
    }
    let comments = &network.comments;
    let mut all: Vec<(usize, Zeroizing<String>)> = lines;
    for (line, name, value) in network.extras() {
        all.push((line, Zeroizing::new(format!("# {name} {value} (on OpenWrt only)\n"))));
    }
    all.sort_by_key(|&(line, _)| line);
    let length: usize = all.iter().map(|(_, text)| text.len()).sum();
    let said: usize = comments.iter().map(|comment| 2 * comment.text.len() + 4).sum();
    let mut out = Zeroizing::new(String::with_capacity(length + said));
    let mut comments = comments.iter().peekable();
    for (line, text) in all {
        while let Some(comment) = comments.next_if(|comment| comment.line < line) {
            push_comment(&mut out, &comment.text);
        }
        let text = text.trim_end_matches('\n');
        match comments.next_if(|comment| comment.line == line) {
            Some(comment) if may_stand_behind(text, &comment.text) => {
                out.extend([text, " # ", &comment.text, "\n"]);
            }
            Some(comment) => {
                push_comment(&mut out, &comment.text);
                out.extend([text, "\n"]);
            }
            None => out.extend([text, "\n"]),
        }
    }
    comments.for_each(|comment| push_comment(&mut out, &comment.text));
    Ok(out)
}

/// Whether a line reads the same with that comment behind it: there may be a quote in it, or no room.
fn may_stand_behind(text: &str, comment: &str) -> bool {
    let mut line = Zeroizing::new(String::with_capacity(text.len() + comment.len() + 3));
    line.extend([text, " # ", comment]);
    let same = match (read_line(line.as_bytes()), read_line(text.as_bytes())) {
        (Ok((with, _)), Ok((without, _))) => with == without,
        _ => false,
    };
    same && line.len() <= LINE_MAX
}

/// A comment may be longer than a line of a `peervpn.conf`.
fn push_comment(out: &mut String, text: &str) {
    let mut rest = text;
    loop {
        let cut = rest.char_indices().map(|(at, _)| at).nth(LINE_MAX / 5).unwrap_or(rest.len());
        let (piece, more) = rest.split_at(cut);
        out.extend(["# ", piece, "\n"]);
        rest = more;
        if rest.is_empty() {
            return;
        }
    }
}
