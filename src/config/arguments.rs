//! A command's words against a table of what it takes, and the help that the table makes.
//!
//! One line of the table is an argument in the form in which help shows it: `--json` is a switch, `--to FILE` takes
//! the next word, `-k, --keyfile FILE` has a short name, `FILE` must stand in its place, `[FILE]` may. Whatever the
//! table does not have is refused, with the name that was probably meant. It knows no command.

use std::fmt::Write;

use crate::config::fault::{nearest, shown};

/// A command, and what may follow it.
#[derive(Debug)]
pub struct Shape {
    /// One word, or two: `uci list`.
    pub name: &'static str,
    /// What it does, on one line.
    pub help: &'static str,
    /// What it takes. Those with a place come in their order.
    pub arguments: &'static [Argument],
    /// What else is to be said of it; with its line ends.
    pub note: &'static str,
}

/// One argument: its form, and what it means.
#[derive(Debug)]
pub struct Argument(pub &'static str, pub &'static str);

impl Argument {
    /// `--to` of `--to FILE`, or the whole of what has a place.
    fn is_called(&self, name: &str) -> bool {
        self.0.split([',', ' ']).any(|word| word == name)
    }

    /// Whether it has a place and no name.
    pub fn has_place(&self) -> bool {
        !self.0.starts_with('-')
    }

    /// What stands for its value in the form, if it takes one.
    pub fn value(&self) -> Option<&'static str> {
        self.0.rsplit(' ').next().filter(|last| !last.starts_with('-'))
    }
}

/// What was given, an entry for each argument of the table.
pub(super) struct Given<'a>(&'static [Argument], Vec<Option<&'a str>>);

impl Given<'_> {
    /// Whether the switch is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of an argument.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The value of one that [`read`] insists on.
    pub(super) fn required(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().zip(&self.1).find(|(argument, _)| argument.is_called(name))?.1.as_deref()
    }
}

/// Puts each word where it belongs.
///
/// # Errors
/// A sentence on the first word that belongs nowhere, or on what is missing.
pub(super) fn read<'a>(shape: &Shape, words: &[&'a str]) -> Result<Given<'a>, String> {
    let table = shape.arguments;
    let mut given = Given(table, vec![None; table.len()]);
    let mut words = words.iter().copied();
    let mut names_over = false;
    while let Some(word) = words.next() {
        if word == "--" && !names_over {
            names_over = true;
            continue;
        }
        // A lone `-` is standard input, not a name.
        let found = if word.len() < 2 || !word.starts_with('-') || names_over {
            (0..table.len()).find(|&at| table[at].has_place() && given.1[at].is_none())
        } else {
            table.iter().position(|argument| argument.is_called(word))
        };
        let at = found.ok_or_else(|| unknown(shape, word))?;
        let argument = &table[at];
        let value = match argument.value() {
            Some(what) if !argument.has_place() => {
                words.next().ok_or_else(|| format!("{word} needs a value: {what}"))?
            }
            _ => word,
        };
        if given.1[at].replace(value).is_some() {
            return Err(format!("{word} stands there twice"));
        }
    }
    let missing = |(argument, value): &(&Argument, &Option<&str>)| {
        value.is_none() && argument.has_place() && !argument.0.starts_with('[')
    };
    match table.iter().zip(&given.1).find(missing) {
        Some((argument, _)) => Err(format!("'{}' needs {}: {}", shape.name, argument.0, argument.1)),
        None => Ok(given),
    }
}

fn unknown(shape: &Shape, word: &str) -> String {
    let names = shape.arguments.iter().filter(|argument| !argument.has_place());
    let names = names.flat_map(|argument| argument.0.split([',', ' '])).filter(|name| name.starts_with("--"));
    let mut text = format!("'{}' does not take '{}'", shape.name, shown(word));
    if let Some(name) = nearest(word, names) {
        let _ = write!(text, "; did you mean {name}?");
    }
    text
}

/// The page that explains a command.
pub(super) fn page(shape: &Shape) -> String {
    let mut text = format!("Usage: peervpn {}", shape.name);
    let names = shape.arguments.iter().filter(|argument| !argument.has_place());
    if names.clone().count() > 4 {
        text.push_str(" [OPTIONS]");
    } else {
        for argument in names {
            let _ = write!(text, " [{}]", argument.0);
        }
    }
    for argument in shape.arguments.iter().filter(|argument| argument.has_place()) {
        let _ = write!(text, " {}", argument.0);
    }
    let _ = write!(text, "\n\nIt is to {}.\n\n", shape.help);
    let all = || shape.arguments.iter().map(|argument| (argument.0, argument.1));
    columns(&mut text, &mut all().chain([("-h, --help", "this page")]));
    if !shape.note.is_empty() {
        text.push('\n');
        text.push_str(shape.note);
    }
    text
}

/// Lines of two columns.
pub(super) fn columns(text: &mut String, lines: &mut dyn Iterator<Item = (&str, &str)>) {
    let lines: Vec<_> = lines.collect();
    let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in lines {
        let _ = writeln!(text, "  {left:<width$}  {right}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        name: "fold",
        help: "fold a paper",
        arguments: &[
            Argument("PAPER", "what to fold"),
            Argument("[SHAPE]", "what to make of it"),
            Argument("--twice", "again"),
            Argument("-e, --edge SIDE", "where to begin"),
        ],
        note: "",
    };

    fn told(words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        match read(&SHAPE, &words) {
            Ok(given) => {
                let text = ["PAPER", "[SHAPE]", "--edge"].map(|name| given.text(name).unwrap_or_default());
                format!("{} {}", text.join(","), given.has("--twice"))
            }
            Err(why) => why,
        }
    }

    #[test]
    fn each_word_is_put_where_it_belongs() {
        for (words, expected) in [
            ("a", "a,, false"),
            ("a b", "a,b, false"),
            ("--twice a", "a,, true"),
            ("a --edge left b", "a,b,left false"),
            ("-e left a", "a,,left false"),
            ("--edge --twice a", "a,,--twice false"),
            ("-", "-,, false"),
            ("-- --twice", "--twice,, false"),
            ("-- -- --twice", "--,--twice, false"),
        ] {
            assert_eq!(told(words), expected, "{words}");
        }
    }

    #[test]
    fn what_belongs_nowhere_is_refused_with_what_was_meant() {
        for (words, expected) in [
            ("", "'fold' needs PAPER: what to fold"),
            ("a b c", "'fold' does not take 'c'"),
            ("a --twcie", "'fold' does not take '--twcie'; did you mean --twice?"),
            ("a --nonsense", "'fold' does not take '--nonsense'"),
            ("a -x", "'fold' does not take '-x'"),
            ("a SIDE --", "a,SIDE, false"),
            ("a --edge", "--edge needs a value: SIDE"),
            ("a --twice --twice", "--twice stands there twice"),
        ] {
            assert_eq!(told(words), expected, "{words}");
        }
    }

    #[test]
    fn the_page_shows_the_table() {
        let text = page(&SHAPE);
        assert!(
            text.starts_with("Usage: peervpn fold [--twice] [-e, --edge SIDE] PAPER [SHAPE]\n"),
            "{text}"
        );
        assert!(text.contains("\n  -e, --edge SIDE  where to begin\n"), "{text}");
    }

    #[test]
    fn the_page_names_few_options_and_sums_up_many() {
        let text = page(&SHAPE);
        assert!(text.starts_with(
            "Usage: peervpn fold [--twice] [-e, --edge SIDE] PAPER [SHAPE]\n\nIt is to fold a paper.\n\n"
        ));
        assert!(text.ends_with("  this page\n"), "{text}");
        const OPTION: Argument = Argument("--fast", "at once");
        let usage = |arguments| page(&Shape { arguments, note: "Take care.\n", ..SHAPE });
        let four = usage(&[OPTION, OPTION, OPTION, OPTION]);
        assert!(four.starts_with("Usage: peervpn fold [--fast] [--fast] [--fast] [--fast]\n"), "{four}");
        let five = usage(&[OPTION, OPTION, OPTION, OPTION, OPTION]);
        assert!(five.starts_with("Usage: peervpn fold [OPTIONS]\n"), "{five}");
        assert!(five.ends_with("  this page\n\nTake care.\n"), "{five}");
    }
}
