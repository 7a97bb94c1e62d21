//! Challenges that one peer is to answer: what was asked where, and how long an answer took.
//!
//! One question may go to several places, each with a number of its own, so that who was asked elsewhere cannot answer in
//! that place's name (S19). The one before stays open: its answers may be late.

use crate::base::time::{Duration, Instant};
use crate::crypto::schedule::hmac_sha256;
use crate::peer::path::{Nonce, Path};
use crate::wire::cursor::Writer;

struct Question {
    secret: [u8; 32],
    asked: Instant,
    /// Whether it went out more than once: an answer tells no round trip then.
    repeated: bool,
}

/// An answer to a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// How long it took, if that can be told.
    pub rtt: Option<Duration>,
}

/// The last two questions.
#[derive(Default)]
pub struct Questions {
    latest: Option<Question>,
    before: Option<Question>,
}

impl Questions {
    /// Begins one; `secret` makes its numbers.
    pub fn ask(&mut self, now: Instant, secret: [u8; 32]) {
        self.before = self.latest.replace(Question { secret, asked: now, repeated: false });
    }

    /// The latest goes out again.
    pub fn repeat(&mut self) {
        if let Some(latest) = self.latest.as_mut() {
            latest.repeated = true;
        }
    }

    /// The number to put to `place` in the latest question.
    pub fn nonce_for(&self, place: Path) -> Option<Nonce> {
        self.latest.as_ref().map(|question| question.nonce(place))
    }

    /// Whether `nonce`, come back from `place`, answers one of them.
    pub fn answered(&self, now: Instant, place: Path, nonce: &Nonce) -> Option<Answered> {
        let mut all = [&self.latest, &self.before].into_iter().flatten();
        let question = all.find(|question| question.nonce(place) == *nonce)?;
        Some(Answered { rtt: (!question.repeated).then(|| now.since(question.asked)) })
    }
}

impl Question {
    fn nonce(&self, place: Path) -> Nonce {
        let mut bytes = [0; 19];
        let mut writer = Writer::new(&mut bytes);
        // Both forms fit; what is left stays zero.
        _ = match place {
            Path::Direct(address) => writer.address(address),
            Path::Via { circuit, .. } => writer.u32(circuit.0),
        };
        let mac = hmac_sha256(&self.secret, &[&bytes]);
        let mut nonce = Nonce::default();
        nonce.copy_from_slice(&mac[..size_of::<Nonce>()]);
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn place(n: u8) -> Path {
        Path::Direct(SocketAddr::from(([192, 0, 2, n], 7000)))
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn each_place_has_its_number_and_the_question_before_stays_open() {
        let mut questions = Questions::default();
        assert_eq!(questions.nonce_for(place(1)), None);
        questions.ask(at(0), [1; 32]);
        let first = questions.nonce_for(place(1)).unwrap();
        assert_ne!(questions.nonce_for(place(2)), Some(first), "S19");
        questions.ask(at(100), [2; 32]);
        let answered = |questions: &Questions, ms, n| questions.answered(at(ms), place(n), &first);
        assert_eq!(answered(&questions, 130, 1), Some(Answered { rtt: Some(Duration::from_millis(130)) }));
        assert_eq!(answered(&questions, 130, 2), None);
        questions.ask(at(200), [3; 32]);
        assert_eq!(answered(&questions, 230, 1), None, "it is too old");
    }

    #[test]
    fn what_was_asked_twice_tells_no_round_trip() {
        let mut questions = Questions::default();
        questions.ask(at(0), [1; 32]);
        questions.repeat();
        let nonce = questions.nonce_for(place(1)).unwrap();
        assert_eq!(questions.answered(at(300), place(1), &nonce), Some(Answered { rtt: None }));
    }
}
