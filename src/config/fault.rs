//! What is wrong with the user's text, and what the user should merely know of.
//!
//! A [`Fault`] names file, line and option, says why, and how to put it right. It never repeats the value
//! of an option that holds a secret (S16): the parsers of `value.rs` decide what may be quoted.

use core::fmt;

/// The longest piece of the user's text that a message repeats, in characters.
const SHOWN_MAX: usize = 40;

/// One mistake in a configuration. The program does not start with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file as the user named it.
    pub file: String,
    /// Its line, counted from 1; none when the mistake is that something is missing.
    pub line: Option<usize>,
    /// The section of a UCI file.
    pub section: Option<String>,
    /// The option concerned, as it was written.
    pub option: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line, self.section.as_deref())?;
        if let Some(option) = &self.option {
            write!(f, "option '{option}': ")?;
        }
        f.write_str(&self.why)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

/// Something the user should know; the program starts all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The text of an `echo` line.
    Echo(String),
    /// A remark on an option.
    Remark {
        /// The file as the user named it.
        file: String,
        /// Its line, counted from 1.
        line: Option<usize>,
        /// The section of a UCI file.
        section: Option<String>,
        /// The option concerned.
        option: &'static str,
        /// What there is to say.
        text: &'static str,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Echo(text) => f.write_str(text),
            Notice::Remark { file, line, section, option, text } => {
                write_place(f, file, *line, section.as_deref())?;
                write!(f, "option '{option}': {text}")
            }
        }
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: Option<usize>,
    section: Option<&str>,
) -> fmt::Result {
    write!(f, "{file}:")?;
    line.iter().try_for_each(|line| write!(f, "{line}:"))?;
    f.write_str(" ")?;
    section.iter().try_for_each(|section| write!(f, "section '{section}': "))
}

/// The user's text in a form that is safe and short enough for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(SHOWN_MAX) {
        if hides(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a terminal would obey the character instead of showing it, or let others stand in another order.
fn hides(character: char) -> bool {
    let sets_direction =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    character.is_control() || sets_direction || character == '\u{feff}'
}

/// The known word that `written` was most likely meant to be.
pub(crate) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > SHOWN_MAX {
        return None;
    }
    let written = written.to_ascii_lowercase();
    let allowed = if written.len() < 5 { 1 } else { 2 };
    known
        // No word is nearer than their lengths are.
        .filter(|word| word.len().abs_diff(written.len()) <= allowed)
        .map(|word| (distance(written.as_bytes(), word.as_bytes()), word))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, word)| word)
}

/// How many bytes must be inserted, removed, replaced or swapped with their neighbour to turn `a` into `b`
/// (the optimal string alignment distance).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_file_line_option_why_hint() {
        let mut fault = Fault {
            file: "home.conf".into(),
            line: Some(3),
            section: None,
            option: Some("prot".into()),
            why: "unknown option".into(),
            hint: Some("did you mean 'port'?".into()),
        };
        assert_eq!(fault.to_string(), "home.conf:3: option 'prot': unknown option (did you mean 'port'?)");
        (fault.line, fault.option, fault.hint) = (None, None, None);
        assert_eq!(fault.to_string(), "home.conf: unknown option");
        (fault.line, fault.section) = (Some(7), Some("home".into()));
        assert_eq!(fault.to_string(), "home.conf:7: section 'home': unknown option");
    }

    #[test]
    fn distances() {
        for (a, b, steps) in [
            ("", "", 0),
            ("", "ab", 2),
            ("port", "port", 0),
            ("prot", "port", 1),
            ("potr", "prt", 2),
            ("a", "b", 1),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), steps, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), steps, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_when_there_is_one_near() {
        let known = || ["port", "psk", "pskfile", "initpeers"].into_iter();
        for (written, meant) in [
            ("prot", Some("port")),
            ("Port", Some("port")),
            ("pks", Some("psk")),
            ("initpeer", Some("initpeers")),
            ("inittpers", Some("initpeers")),
            ("secret", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known()), meant, "{written}");
        }
        assert_eq!(nearest(&"p".repeat(1 << 20), known()), None);
    }

    #[test]
    fn what_is_shown_is_short_and_tame() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown(&"x".repeat(41)).chars().count(), SHOWN_MAX + 1);
    }
}
