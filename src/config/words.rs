//! Lines, keywords and arguments of a UCI file: the lower half of its grammar, with all its quotes; see
//! [`uci`](super::uci) for the rules.

use zeroize::{Zeroize, Zeroizing};

use crate::config::uci::{Broken, Bytes, Comment};

/// What libuci says where an argument is missing.
pub(super) const FEW: &str = "insufficient arguments";

/// What C calls space.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

/// What a command does.
pub(super) enum Keyword {
    Package,
    Config,
    Option,
    List,
}

/// Walks over the text, a line at a time. A quote or a backslash that needs it takes the next line in, so that a
/// command may have several.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    /// The byte to be looked at.
    at: usize,
    /// Where what may be read ends: at the line's end, or at a comment.
    end: usize,
    /// Where the next line begins.
    next: usize,
    /// The line where the command began, counted from 1.
    pub(super) begun: usize,
    /// Newlines seen.
    lines_read: usize,
    /// What bytes are counted from: the beginning of the line, less what joining lines left out.
    zero: usize,
    /// Where an argument is put together. It has room for all of the text: what grows leaves copies of a key behind,
    /// and what is made anew for each argument costs the text's length each time.
    word: Bytes,
    pub(super) comments: Vec<Comment>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Scanner<'a> {
        let word = Zeroizing::new(Vec::with_capacity(text.len()));
        Scanner { text, at: 0, end: 0, next: 0, begun: 0, lines_read: 0, zero: 0, word, comments: Vec::new() }
    }

    /// Goes to the next line; false behind the last one.
    pub(super) fn next_line(&mut self) -> bool {
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

    pub(super) fn skip_blanks(&mut self) {
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
    pub(super) fn keyword(&mut self, in_section: bool) -> Result<Option<Keyword>, Broken> {
        self.begun = self.line();
        let is_separator = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let line = &self.text[self.at..self.end];
        let Some(begin) = line.iter().position(|byte| !is_separator(byte)) else { return Ok(None) };
        let end = line[begin..].iter().position(is_separator).map_or(line.len(), |len| begin + len);
        let keyword = match &line[begin..end] {
            [b'#', ..] => {
                self.at += begin;
                self.comment();
                return Ok(None);
            }
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
    pub(super) fn name(&mut self, belongs: fn(u8) -> bool) -> Result<Option<String>, Broken> {
        let word = self.argument()?;
        if !word.iter().all(|&byte| belongs(byte)) {
            return Err(self.broken("invalid character in name field"));
        }
        Ok((!word.is_empty()).then(|| String::from_utf8_lossy(&word).into_owned()))
    }

    /// The next argument, which is empty when there is none.
    pub(super) fn argument(&mut self) -> Result<Bytes, Broken> {
        self.scan_argument()?;
        let word = Zeroizing::new(self.word.to_vec());
        // Not all of its room, as its own `zeroize` would.
        self.word.as_mut_slice().zeroize();
        self.word.clear();
        Ok(word)
    }

    /// Puts the next argument into `word`.
    fn scan_argument(&mut self) -> Result<(), Broken> {
        self.skip_blanks();
        if self.peek() == Some(b';') {
            self.at += 1;
            return Ok(());
        }
        let mut bare = true;
        while let Some(byte) = self.peek().filter(|&byte| !is_blank(byte)) {
            bare &= !matches!(byte, b'\'' | b'"' | b'\\');
            match byte {
                b'\'' => self.literal()?,
                b'"' => self.quoted()?,
                b'#' => self.comment(),
                b';' if bare => self.end = self.at,
                b';' => return Ok(()),
                b'\\' if self.join_line() => {}
                b'\\' => self.push_escaped(),
                _ => self.push(),
            }
        }
        self.at = self.end.min(self.at + 1);
        Ok(())
    }

    /// From the `#` at hand to the end of the line.
    fn comment(&mut self) {
        let text = String::from_utf8_lossy(&self.text[self.at + 1..self.end]).trim().to_owned();
        self.comments.push(Comment { line: self.line(), text });
        self.end = self.at;
    }

    /// The line that was taken last, counted from 1.
    fn line(&self) -> usize {
        let is_whole = self.text[..self.next].ends_with(b"\n");
        self.lines_read + usize::from(!is_whole)
    }

    /// Between single quotes.
    fn literal(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'\'') => break,
                Some(_) => self.push(),
                None => self.take_line_of_quotes("EOF with unterminated '")?,
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Between double quotes.
    fn quoted(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') if self.join_line() => {}
                Some(b'\\') => self.push_escaped(),
                Some(_) => self.push(),
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

    fn push(&mut self) {
        let byte = self.peek();
        self.word.extend(byte);
        self.at += 1;
    }

    fn push_escaped(&mut self) {
        self.at += 1;
        self.push();
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
    pub(super) fn end_command(&mut self) -> Result<(), Broken> {
        if self.argument()?.is_empty() { Ok(()) } else { Err(self.broken("too many arguments")) }
    }

    pub(super) fn broken(&self, why: &'static str) -> Broken {
        Broken { why, lines_read: self.lines_read, byte: self.at - self.zero, line: self.begun }
    }
}
