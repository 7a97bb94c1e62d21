//! What a node remembers from one life to the next: where others were reached, so that it finds the mesh again when none of
//! its initial peers is there. It is a text, a line for each node, that the helper writes: rarely, since a router keeps it
//! in flash, and at the end; and only when it would not be the same.
#![forbid(unsafe_code)]

use core::fmt::Write;
use std::io;
use std::path::Path;

use super::Daemon;
use crate::base::ids::NodeRef;
use crate::base::limits::{STORED_AFTER, STORED_EVERY};
use crate::base::time::Instant;
use crate::config;
use crate::mesh::remembered::Place;
use crate::sys::files;
use crate::sys::log::Logger;
use crate::sys::told;

/// What was stored last, and when it is time to look again.
pub struct Memory {
    /// Where nodes were reached.
    pub places: Vec<Place>,
    due: Instant,
}

impl Memory {
    /// Reads the state file. One that cannot be read, or makes no sense, is told of; a node does without.
    pub fn load(now: Instant, path: &Path, log: &Logger) -> Memory {
        let mut places = Vec::new();
        if let Err(error) = files::load_state(path).and_then(|text| read(&text, &mut places)) {
            log.warn(format_args!("the state file {}: {error}; nothing more is remembered", path.display()));
        }
        Memory { places, due: now + STORED_AFTER }
    }

    /// What is to be stored, if that has changed.
    fn news(&mut self, now: Instant, places: &[Place]) -> Option<String> {
        self.due = now + STORED_EVERY;
        if places.len() == self.places.len() && places.iter().all(|place| self.places.contains(place)) {
            return None;
        }
        self.places.clear();
        self.places.extend_from_slice(places);
        Some(text(places))
    }
}

impl Daemon {
    /// Stores what is worth it, if it is time, or if this is the end.
    pub(super) fn memorise(&mut self, now: Instant, last: bool) {
        if let Some(memory) = self.memory.as_mut().filter(|memory| last || memory.due <= now)
            && let Some(text) = memory.news(now, self.node.remembered())
        {
            // Without a helper the daemon ends anyhow.
            _ = self.devices.helper.store(&text);
        }
    }
}

/// Reads places up to the first that makes no sense.
fn read(text: &str, places: &mut Vec<Place>) -> io::Result<()> {
    let mut words = text.split_ascii_whitespace();
    while let Some(id) = words.next() {
        let (id, address) = (config::node(id), words.next().and_then(|word| word.parse().ok()));
        let (Ok(NodeRef::Whole(id)), Some(address)) = (id, address) else {
            return Err(told("it makes no sense"));
        };
        places.push((id, address));
    }
    Ok(())
}

/// The text of these.
fn text(places: &[Place]) -> String {
    let mut text = String::new();
    for (id, address) in places {
        id.0.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
        _ = writeln!(text, " {address}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::NodeId;
    use crate::base::limits::REMEMBERED;
    use crate::base::time::Duration;

    fn place(n: u8, address: &str) -> Place {
        (NodeId([n; 32]), address.parse().unwrap())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let places = [place(0x1f, "192.0.2.1:7000"), place(0xa0, "[2001:db8::1]:7000")];
        let text = text(&places);
        assert!(text.starts_with("1f1f1f"), "{text}");
        let mut again = Vec::new();
        read(&text, &mut again).unwrap();
        assert_eq!(again, places);
    }

    #[test]
    fn the_longest_text_fits_into_the_file() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        let places: Vec<Place> = (0..REMEMBERED).map(|_| place(0xff, longest)).collect();
        assert!(text(&places).len() <= files::STATE_MAX);
    }

    #[test]
    fn what_makes_no_sense_ends_it_and_what_stands_before_counts() {
        let id = "1f".repeat(32);
        for rest in
            ["1f", "x 192.0.2.1:7000", "1f1f1f1f1f1f1f1f 192.0.2.1:7000", &id, &format!("{id} 192.0.2.1")]
        {
            let mut places = Vec::new();
            assert!(read(&format!("{id} 192.0.2.1:7000\n{rest}\n"), &mut places).is_err(), "{rest}");
            assert_eq!(places.len(), 1, "{rest}");
        }
    }

    #[test]
    fn the_same_in_another_order_is_not_stored_again() {
        let mut memory = Memory { places: Vec::new(), due: Instant::ZERO };
        let (a, b) = (place(1, "192.0.2.1:7000"), place(2, "192.0.2.2:7000"));
        let now = Instant::ZERO + Duration::from_secs(1);
        assert!(memory.news(now, &[a, b]).is_some());
        assert!(memory.news(now, &[b, a]).is_none());
        assert!(memory.news(now, &[b]).is_some());
        assert_eq!(memory.due, now + STORED_EVERY);
    }
}
