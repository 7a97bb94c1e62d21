//! The handshakes that we begin with one target: when to try, and the last two tries, since an answer may be late.

use crate::base::ids::SessionIndex;
use crate::base::limits::{FIRST_PAUSE, NEWS_EVERY};
use crate::base::time::{Backoff, Duration, Instant, earliest};
use crate::peer::handshake::{AwaitM2, hello1_ephemeral};
use crate::peer::path::Path;

/// One try: its stored first message and when it first went out.
pub struct Try {
    /// The handshake.
    pub state: AwaitM2,
    /// When its first message went out.
    pub began: Instant,
    /// How often it was sent again with a token.
    pub retries: u8,
    /// Second messages that took work on the curve and failed.
    pub failures: u8,
    places: Sent,
}

/// Where a first message went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nowhere,
    To(Path),
    Several,
}

impl Try {
    /// Notes that its first message went to `place`.
    pub fn goes_to(&mut self, place: Path) {
        self.places = match self.places {
            Sent::Nowhere => Sent::To(place),
            Sent::To(before) if before == place => Sent::To(place),
            _ => Sent::Several,
        };
    }

    /// Whether its first message went to `place` and nowhere else: whoever answers from there is there.
    pub fn went_only_to(&self, place: Path) -> bool {
        self.places == Sent::To(place)
    }
}

/// Our handshakes with one target.
pub struct Dial {
    latest: Option<Try>,
    before: Option<Try>,
    next: Option<Instant>,
    relay_at: Option<Instant>,
    backoff: Backoff,
    hurried: Option<Instant>,
    /// One try is all.
    once: bool,
}

impl Dial {
    /// At rest. `longest` is the longest pause between two tries.
    pub fn new(longest: Duration) -> Dial {
        Dial {
            latest: None,
            before: None,
            next: None,
            relay_at: None,
            backoff: Backoff::new(FIRST_PAUSE, longest),
            hurried: None,
            once: false,
        }
    }

    /// Tries at `at`, and again after growing pauses.
    pub fn start(&mut self, at: Instant) {
        self.backoff.reset();
        self.next = Some(at);
        self.once = false;
    }

    /// Tries once, at `at`.
    pub fn start_once(&mut self, at: Instant) {
        self.start(at);
        self.once = true;
    }

    /// Tries at `at` unless a try is due earlier; the pauses go on growing. At most once in [`NEWS_EVERY`], whatever
    /// others say.
    pub fn hurry(&mut self, at: Instant) {
        if self.hurried.is_none_or(|before| before + NEWS_EVERY <= at) {
            self.hurried = Some(at);
            self.next = earliest(self.next, Some(at));
        }
    }

    /// Whether it is trying.
    pub fn is_active(&self) -> bool {
        self.next.is_some()
    }

    /// When the next try is due.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Sets the time of the next try after one at `now`: the pause that is due, and `jitter` of it.
    pub fn postpone(
        &mut self,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
        most: Option<Duration>,
    ) {
        let pause = self.backoff.pause();
        let pause = most.map_or(pause, |most| pause.min(most));
        self.next = (!core::mem::take(&mut self.once)).then(|| now + pause + jitter(pause / 4));
    }

    /// Waits until `at` without counting it as a try.
    pub fn wait(&mut self, at: Instant) {
        self.next = Some(at);
    }

    /// When a relay is to be asked, because no direct answer came.
    pub fn relay_at(&self) -> Option<Instant> {
        self.relay_at
    }

    /// Asks a relay at `at`, or no more.
    pub fn set_relay_at(&mut self, at: Option<Instant>) {
        self.relay_at = at;
    }

    /// Takes in a new try; the index of the one that falls out is returned.
    pub fn add(&mut self, now: Instant, state: AwaitM2) -> Option<SessionIndex> {
        let fallen = self.before.take();
        self.before =
            self.latest.replace(Try { state, began: now, retries: 0, failures: 0, places: Sent::Nowhere });
        fallen.map(|old| old.state.index())
    }

    /// The latest try.
    pub fn latest(&self) -> Option<&Try> {
        self.latest.as_ref()
    }

    /// Notes that the latest try's first message went to `place`.
    pub fn sent(&mut self, place: Path) {
        if let Some(latest) = self.latest.as_mut() {
            latest.goes_to(place);
        }
    }

    /// Gives up the try of that index, which has become a session; true if there is one.
    pub fn give_up(&mut self, index: SessionIndex) -> bool {
        let given_up = |t: &mut Option<Try>| t.take_if(|t| t.state.index() == index).is_some();
        given_up(&mut self.latest) || given_up(&mut self.before)
    }

    /// Whether that ephemeral key is one of its tries'.
    pub fn is_own(&self, ephemeral: &[u8; 32]) -> bool {
        let of = |t: &Try| hello1_ephemeral(t.state.message()).is_ok_and(|own| own == ephemeral);
        self.latest.as_ref().is_some_and(of) || self.before.as_ref().is_some_and(of)
    }

    /// The try of that index.
    pub fn find(&mut self, index: SessionIndex) -> Option<&mut Try> {
        [&mut self.latest, &mut self.before].into_iter().flatten().find(|t| t.state.index() == index)
    }

    /// Comes to rest; the indexes of its tries are handed to `freed`.
    pub fn stop(&mut self, freed: &mut dyn FnMut(SessionIndex)) {
        for old in [self.latest.take(), self.before.take()].into_iter().flatten() {
            freed(old.state.index());
        }
        self.next = None;
        self.relay_at = None;
        self.backoff.reset();
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        earliest(self.next, self.relay_at)
    }
}
