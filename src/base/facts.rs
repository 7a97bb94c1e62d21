//! What a running node tells of itself when asked, as lines of text: the form in which it passes the control
//! socket, from [`status`](crate::status), which knows the node, to [`views`](crate::views), which know
//! people and programs.
//!
//! A line is a record: its name, then `key=value` pairs, all separated by tabs. The order of the lines is
//! that of what is told; records that belong to another name it. Values hold no control characters: the
//! writer replaces them, so that no value can begin another field or record. Both ends are the same program,
//! and a reader passes over what it does not know.

use core::fmt::{Display, Write};

/// Writes records.
#[derive(Debug, Default)]
pub struct Facts {
    text: String,
}

impl Facts {
    /// None yet.
    pub fn new() -> Facts {
        Facts { text: String::with_capacity(2048) }
    }

    /// Begins a record; its fields follow.
    pub fn record(&mut self, name: &str) -> &mut Facts {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(name);
        self
    }

    /// Adds a field to the record begun last.
    pub fn field(&mut self, key: &str, value: &dyn Display) -> &mut Facts {
        self.text.push('\t');
        // Writing to a String cannot fail.
        let _ = write!(Clean(&mut self.text), "{key}={value}");
        self
    }

    /// Adds a field if there is something to tell.
    pub fn maybe(&mut self, key: &str, value: Option<&dyn Display>) -> &mut Facts {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// All of it, the last line ended like the others.
    pub fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

/// A field on its way into the text, without control characters.
struct Clean<'a>(&'a mut String);

impl Write for Clean<'_> {
    fn write_str(&mut self, piece: &str) -> core::fmt::Result {
        self.0.extend(piece.chars().map(|c| if c.is_control() { '?' } else { c }));
        Ok(())
    }
}

/// A record as it is read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Fact<'a> {
    /// What it tells of.
    pub name: &'a str,
    fields: &'a str,
}

impl<'a> Fact<'a> {
    /// The value of a field; none when it was not told.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.fields().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    /// The value of a field as a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// Whether a field has that value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }

    /// All fields, in the order in which they were told.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.fields.split('\t').filter_map(|field| field.split_once('='))
    }
}

/// The records in a text.
pub fn read(text: &str) -> impl Iterator<Item = Fact<'_>> + '_ {
    let line = |line| {
        let (name, fields) = str::split_once(line, '\t').unwrap_or((line, ""));
        Fact { name, fields }
    };
    text.lines().filter(|line| !line.is_empty()).map(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut facts = Facts::new();
        facts.record("node").field("id", &"0011").field("port", &7000);
        facts.record("empty");
        facts.record("peer").field("path", &"a=b c").maybe("rtt", None).maybe("mtu", Some(&1500));
        let text = facts.finish();
        assert_eq!(text, "node\tid=0011\tport=7000\nempty\npeer\tpath=a=b c\tmtu=1500\n");
        let read: Vec<Fact<'_>> = read(&text).collect();
        assert_eq!(read.iter().map(|fact| fact.name).collect::<Vec<_>>(), ["node", "empty", "peer"]);
        assert_eq!(read[0].get("id"), Some("0011"));
        assert_eq!(read[0].number("port"), Some(7000));
        assert_eq!((read[0].get("por"), read[0].number("id")), (None, Some(11)));
        assert_eq!(read[1].fields().count(), 0);
        assert_eq!(read[2].get("path"), Some("a=b c"));
        assert!(read[2].is("mtu", "1500") && !read[2].is("rtt", ""));
    }

    #[test]
    fn no_value_begins_another_record_or_field() {
        let mut facts = Facts::new();
        facts.record("host").field("name", &"a\tb=c\nnode\tid=1\u{1b}[2J\u{9b}");
        assert_eq!(facts.finish(), "host\tname=a?b=c?node?id=1?[2J?\n");
    }

    #[test]
    fn any_text_is_read_as_something() {
        for text in ["", "\n", "\t", "=\t=\t\t", "node\t=\t=x\ty", "\u{0}\u{ffff}\t\n\nx"] {
            read(text).for_each(|fact| fact.fields().for_each(|(key, _)| _ = fact.number(key)));
        }
    }
}
