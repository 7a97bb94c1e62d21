//! Values as either grammar would have them written, so that reading gives the same value again.

use zeroize::Zeroizing;

use crate::config::legacy::{LINE_MAX, Line, Lines};

/// A line of `peervpn.conf`, with its newline; none when no line can say it: it would be too long, or the value has
/// a line break in it.
pub(crate) fn conf_line(name: &str, value: &str) -> Option<Zeroizing<String>> {
    let mut quoted = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    quoted.push('"');
    for char in value.chars() {
        if char == '"' || char == '\\' {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    // The grammar itself says whether quotes are needed.
    [value, &quoted].into_iter().find_map(|written| {
        let mut line = Zeroizing::new(String::with_capacity(name.len() + written.len() + 2));
        line.push_str(name);
        line.push(' ');
        line.push_str(written);
        let mut lines = Lines::new(line.as_bytes());
        let same = match lines.next() {
            Some((1, Ok(Line::Option(read_name, read)))) => read_name == name && read.as_str() == value,
            _ => false,
        };
        (same && lines.next().is_none() && line.len() <= LINE_MAX).then(|| {
            line.push('\n');
            line
        })
    })
}

/// A value in the quotes of a UCI file.
pub(crate) fn uci_quoted(value: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(4 * value.len() + 2));
    quoted.push('\'');
    for char in value.chars() {
        match char {
            '\'' => quoted.push_str(r"'\''"),
            char => quoted.push(char),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::uci::{self, Value};

    /// What people put into a key, and worse.
    const NASTY: &[&str] = &[
        "plain",
        "two words",
        " blanks around ",
        "a#b",
        "a;b",
        "\"quoted\"",
        "\"half",
        "back\\slash\\",
        "it's",
        "'",
        "''",
        "$HOME `x` $(y)",
        "\ttab\t",
        "cr\r",
        "ü €",
        "\"a\" # \"b\"",
        "\\\"",
        "\u{feff}",
    ];

    #[test]
    fn what_is_written_reads_the_same() {
        for value in NASTY {
            let line = conf_line("psk", value).unwrap();
            let read: Vec<_> = Lines::new(line.as_bytes()).collect();
            let expected = Line::Option("psk", Zeroizing::new((*value).to_owned()));
            assert_eq!(read, [(1, Ok(expected))], "{value:?}");

            let text = format!("config network 'x'\n\toption psk {}\n", uci_quoted(value).as_str());
            let sections = uci::read(text.as_bytes()).unwrap().sections;
            let Value::One(item) = &sections[0].options[0].value else { panic!("{value:?}") };
            assert_eq!(item.bytes.as_slice(), value.as_bytes());
        }
    }

    #[test]
    fn quotes_are_used_where_they_are_needed() {
        for (value, line) in [
            ("home", "interface home\n"),
            ("a b 7000", "interface a b 7000\n"),
            ("a#b", "interface \"a#b\"\n"),
            (" a", "interface \" a\"\n"),
        ] {
            assert_eq!(conf_line("interface", value).unwrap().as_str(), line);
        }
    }

    #[test]
    fn what_no_line_can_say_is_refused() {
        assert!(conf_line("psk", "two\nlines").is_none());
        assert!(conf_line("psk", "nul\0").is_none());
        assert!(conf_line("psk", &"x".repeat(LINE_MAX)).is_none());
        assert!(conf_line("psk", &"\"#".repeat(LINE_MAX / 2)).is_none());
    }
}
