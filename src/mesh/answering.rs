//! The first messages of others: which are answered, when, and with what.
//!
//! What is cheap to find out comes first: one that was seen before, one without the network's stamp. Those from outside then
//! pass `admission.rs`, and may have to wait or to come again. Those inside a session do not: no flood reaches them.

use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::limits::{ANSWER_COPIES, ANSWER_LIFE, INDEXES_OURS};
use crate::base::outbox::Outbox;
use crate::base::time::{Instant, earliest};
use crate::mesh::Mesh;
use crate::mesh::admission::Verdict;
use crate::mesh::answers::{Answer, Origin};
use crate::mesh::indexes::Owner;
use crate::peer::handshake::AwaitM3;
use crate::peer::path::Path;
use crate::wire::hello::{HELLO1, Hello1};

impl Mesh {
    pub(super) fn handle_hello1(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let message = Hello1::whole(message)?;
        let ephemeral = Hello1::ephemeral_of(message)?;
        self.expire_answers(now);
        if self.answers.seen.get(ephemeral).is_some() {
            return self.answer_again(now, origin, ephemeral, out);
        }
        let token = match origin {
            Origin::Outside(Path::Direct(from)) => self.admission.has_token(now, message, from),
            _ => false,
        };
        if !token && !self.credentials.is_stamped(message) {
            return Err(Discard::Forged);
        }
        if self.is_ours(ephemeral, out) {
            return Err(Discard::Ourselves);
        }
        match origin {
            Origin::Outside(path) => self.admit_hello1(now, path, message, token, out),
            Origin::Inside(key) => {
                let member = self.peers.get_mut(key).ok_or(Discard::UnknownPeer)?;
                if !member.handshakes.take(now) {
                    return Err(Discard::Throttled);
                }
                self.answer(now, origin, message, out)
            }
        }
    }

    /// One from outside.
    fn admit_hello1(
        &mut self,
        now: Instant,
        path: Path,
        message: &[u8; HELLO1],
        token: bool,
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        // A relay is a peer and has proved where it is.
        let proved = token || matches!(path, Path::Via { .. });
        let ephemeral = Hello1::ephemeral_of(message)?;
        match self.admission.judge(now, path, ephemeral, proved, self.answers.outside())? {
            Verdict::Answer => self.answer(now, Origin::Outside(path), message, out),
            Verdict::Wait => {
                self.admission.wait(now, path, *message);
                self.due = earliest(self.due, self.admission.next_timeout());
                Ok(())
            }
            Verdict::Retry => {
                if let Path::Direct(from) = path {
                    let token = self.admission.token(now, &mut self.random, message, from);
                    let retry = self.credentials.retry(message, token)?;
                    self.send_bytes(now, path, &retry, out);
                }
                Err(Discard::Throttled)
            }
        }
    }

    /// Answers the one that has waited longest, if it is its turn.
    pub(super) fn answer_next(&mut self, now: Instant, out: &mut Outbox) -> Result<(), Discard> {
        let Some(next) = self.admission.next(now) else { return Ok(()) };
        let origin = Origin::Outside(next.path);
        let ephemeral = Hello1::ephemeral_of(&next.message)?;
        // A copy may have waited, too.
        if self.answers.seen.get(ephemeral).is_some() {
            return self.answer_again(now, origin, ephemeral, out);
        }
        self.answer(now, origin, &next.message, out)
    }

    /// Answers a first message, with work on the curve.
    fn answer(
        &mut self,
        now: Instant,
        origin: Origin,
        message: &[u8; HELLO1],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        if !self.answers.has_room(origin) {
            return Err(Discard::NoRoom);
        }
        let ephemeral = *Hello1::ephemeral_of(message)?;
        let seen = match origin {
            Origin::Outside(Path::Direct(from)) => Some(from),
            _ => None,
        };
        let leave = if matches!(origin, Origin::Outside(_)) { INDEXES_OURS } else { 0 };
        let index = self.indexes.fresh(now, &mut self.random, Owner::Answer, leave)?;
        let made = AwaitM3::new(&self.credentials, &mut self.random, index, message, seen);
        let state = made.inspect_err(|_| self.indexes.withdraw(index))?;
        self.answers.seen.insert(ephemeral, ());
        let stored = *state.message();
        let (sent_to, copies) = (Some(origin), ANSWER_COPIES - 1);
        let answer = Answer { state, ephemeral, sent_to, arrived: now, copies, failures: 0 };
        if let Some(replaced) = self.answers.add(origin, answer) {
            self.indexes.withdraw(replaced);
        }
        self.wake(now + ANSWER_LIFE);
        self.reply(now, origin, &stored, out);
        Ok(())
    }

    /// Another copy of a first message: the same answer while it lives, to where this copy came from; then silence. Who has
    /// recorded a few, and sends them as fast as he can, does not use up what is there for the answers of all.
    fn answer_again(
        &mut self,
        now: Instant,
        origin: Origin,
        ephemeral: &[u8; 32],
        out: &mut Outbox,
    ) -> Result<(), Discard> {
        let answer = self.answers.to(ephemeral).ok_or(Discard::Replayed)?;
        let left = answer.copies.checked_sub(1).ok_or(Discard::Replayed)?;
        if let Origin::Outside(path) = origin
            && !self.admission.may_answer(now, path)
        {
            return Err(Discard::Throttled);
        }
        answer.copies = left;
        answer.sends_to(origin);
        let stored = *answer.state.message();
        self.reply(now, origin, &stored, out);
        Ok(())
    }

    /// Whether a first message is one of our own that came back: an initial peer is this very node, or somebody on the way
    /// plays with us. Neither keeps us from trying on.
    fn is_ours(&self, ephemeral: &[u8; 32], out: &mut Outbox) -> bool {
        if let Some((host, _)) = self.hosts.iter().find(|(_, entry)| entry.dial.is_own(ephemeral)) {
            out.tell(Event::HostIsUs(host));
            return true;
        }
        self.peers.iter().any(|(_, member)| member.dial.is_own(ephemeral))
    }

    /// Forgets what was answered and not completed.
    pub(super) fn expire_answers(&mut self, now: Instant) {
        let indexes = &mut self.indexes;
        self.answers.expire(now, &mut |index| indexes.withdraw(index));
    }
}
