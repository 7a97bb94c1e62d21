//! How long a datagram may be on each path to a peer: packetisation layer path MTU discovery (RFC 8899).
//!
//! A path begins with what every path carries, [`PATH_FLOOR`]: longer frames go in parts, so nothing is lost while the
//! search goes on. The first frame that would need more begins it. A probe of a likely length is sent; its answer proves
//! the length, three losses disprove it. First comes what a link of 1500 bytes carries, then one of 1492 (PPPoE), then
//! the middle of what is left of the [`LADDER`]; where 1500 pass, the longest that is ever needed is tried too.
//!
//! ```text
//!   begin ──► search ──────────────► rest ── 10 min, and traffic ──► search
//!               ▲                     │
//!               └── floor ◄── three probes of the proved length lost
//! ```
//!
//! A path may change under way without a word: routers that should tell (RFC 792, RFC 4443) are often kept from it, and
//! what they tell is not authentic. So what is proved is proved again while it is made use of: every [`MTU_CONFIRM`],
//! and as soon as something long was sent and nothing at all came back for [`MTU_STALL`]. When that fails
//! the path is back at the floor at once. What the kernel knows for certain, the MTU of our own interface, it tells by
//! refusing ([`Mtus::too_long`]).
//!
//! Nothing is sent while nothing long is: an idle path costs nothing.

use crate::base::limits::{
    DATAGRAM_MAX, MTU_CONFIRM, MTU_RAISE, MTU_STALL, MTU_TRIES, PATH_FLOOR, RELAY_FRONT, SEAL_BACK,
    SEAL_FRONT,
};
use crate::base::time::{Duration, Instant};
use crate::peer::path::Path;

/// Headers in front of a datagram: IPv4 or IPv6, and UDP, in bytes.
const HEADERS4: usize = 20 + 8;
const HEADERS6: usize = 40 + 8;

/// The MTUs of links as one meets them, in bytes: the least of IPv6, tunnels of several makes and depths, PPPoE,
/// Ethernet, and what carries the longest datagram of ours.
const LADDER: [usize; 10] = [1280, 1360, 1400, 1420, 1440, 1460, 1480, 1492, USUAL, DATAGRAM_MAX + HEADERS6];
const USUAL: usize = 1500;

/// The least and the most time that a probe has to be answered.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// Where no round trip was measured.
const PATIENCE_UNKNOWN: Duration = Duration::from_millis(500);
/// Paths that are remembered beside the one in use.
const REMEMBERED: usize = 3;

/// A length that is tried.
#[derive(Clone, Copy, Debug)]
struct Probe {
    length: usize,
    number: u64,
    lost_at: Instant,
    tries: u8,
}

/// How far the search is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nobody needed it yet.
    Unbegun,
    Searching,
    /// It is over, and may begin anew at that time.
    Resting(Instant),
}

/// What is known of one path. Lengths are those of datagrams, a relay's header included.
#[derive(Clone, Copy, Debug)]
struct PathMtu {
    path: Path,
    /// This length passes.
    proved: usize,
    /// This one does not.
    refused: usize,
    probe: Option<Probe>,
    stage: Stage,
    /// When the proved length was last proved.
    confirmed: Instant,
    /// Something longer than the floor was sent since.
    unconfirmed: bool,
    /// The first long one that nothing was heard after.
    long_sent: Instant,
}

/// The paths to one peer, the one in use first.
#[derive(Clone, Debug)]
pub struct Mtus {
    paths: [Option<PathMtu>; 1 + REMEMBERED],
    /// The number of the next probe.
    number: u64,
}

impl Mtus {
    /// No path yet.
    pub const fn new() -> Mtus {
        Mtus { paths: [None; 1 + REMEMBERED], number: 0 }
    }

    /// Another path is in use. What was known of it is worth something for as long as a search is.
    pub fn enter(&mut self, now: Instant, path: Path) {
        let known = self.paths.iter().position(|known| known.is_some_and(|known| known.path == path));
        self.paths[..=known.unwrap_or(REMEMBERED)].rotate_right(1);
        match &mut self.paths[0] {
            Some(known) if known.path == path && now.since(known.confirmed) < MTU_RAISE => known.probe = None,
            first => *first = Some(PathMtu::new(now, path)),
        }
    }

    /// Forgets all paths.
    pub fn clear(&mut self) {
        self.paths = [None; 1 + REMEMBERED];
    }

    /// The network changed: proves what is known again before long, and looks for more.
    pub fn network_changed(&mut self, now: Instant) {
        for known in self.paths.iter_mut().flatten() {
            known.confirmed = Instant::ZERO;
            if matches!(known.stage, Stage::Resting(_)) {
                known.stage = Stage::Resting(now);
            }
        }
    }

    /// The longest payload that one packet carries on the path in use; as far as is known, when there is none.
    pub fn room(&self) -> usize {
        let length = self.paths[0].map_or(PATH_FLOOR, |path| path.proved);
        length - self.envelope()
    }

    /// What [`Mtus::room`] will be, most likely, when the search is over: for what one says to last.
    pub fn expected_room(&self) -> usize {
        let length = self.paths[0].map_or(PATH_FLOOR, |path| path.expected());
        length - self.envelope()
    }

    fn envelope(&self) -> usize {
        let relayed = matches!(self.paths[0], Some(PathMtu { path: Path::Via { .. }, .. }));
        SEAL_FRONT + SEAL_BACK + if relayed { RELAY_FRONT } else { 0 }
    }

    /// The MTU of the path in use, in bytes of an IP packet, as far as it is proved.
    pub fn mtu(&self) -> Option<usize> {
        self.paths[0].map(|path| path.proved + headers(path.path))
    }

    /// A payload of that length is to be sent now, and the peer was last heard at `heard`. True when
    /// [`Mtus::poll`] has something to do soon.
    pub fn sends(&mut self, now: Instant, length: usize, heard: Instant) -> bool {
        let length = length + self.envelope();
        let Some(path) = self.paths[0].as_mut().filter(|_| length > PATH_FLOOR) else { return false };
        if path.long_sent <= heard {
            path.long_sent = now;
        }
        path.wants(now) | !core::mem::replace(&mut path.unconfirmed, true)
    }

    /// Somebody wants to know for how long payloads there is room: true as for [`Mtus::sends`].
    pub fn asked(&mut self, now: Instant) -> bool {
        self.paths[0].as_mut().is_some_and(|path| path.wants(now))
    }

    /// The probe to be sent now, if one is due: its number, and the length of its whole datagram.
    pub fn poll(&mut self, now: Instant, heard: Instant, rtt: Option<Duration>) -> Option<(u64, usize)> {
        let next = self.number;
        let path = self.paths[0].as_mut()?;
        let (length, tries, number) = match path.probe {
            Some(probe) if probe.lost_at > now => return None,
            Some(probe) if probe.tries < MTU_TRIES => (probe.length, probe.tries, probe.number),
            Some(probe) => {
                path.refuse(now, probe.length);
                (path.next_length(now, heard)?, 0, next)
            }
            None => (path.next_length(now, heard)?, 0, next),
        };
        let patience = rtt.map_or(PATIENCE_UNKNOWN, |rtt| (4 * rtt).clamp(PATIENCE.0, PATIENCE.1));
        path.probe = Some(Probe { length, number, lost_at: now + patience, tries: tries + 1 });
        self.number = next.max(number + 1);
        Some((number, length))
    }

    /// When [`Mtus::poll`] wants to be asked.
    pub fn next_timeout(&self, heard: Instant) -> Option<Instant> {
        let path = self.paths[0].as_ref()?;
        path.probe.map(|probe| probe.lost_at).or_else(|| path.confirm_at(heard))
    }

    /// The probe of that number was answered. True when [`Mtus::poll`] may have another one.
    pub fn answered(&mut self, now: Instant, number: u64) -> bool {
        let out = |path: &PathMtu| path.probe.is_some_and(|probe| probe.number == number);
        let Some(path) = self.paths.iter_mut().flatten().find(|path| out(path)) else { return false };
        let Some(probe) = path.probe.take() else { return false };
        path.proved = path.proved.max(probe.length);
        path.confirmed = now;
        path.unconfirmed = false;
        true
    }

    /// The kernel refused a datagram of that length on the path in use: it is longer than our own interface carries.
    pub fn too_long(&mut self, now: Instant, length: usize) -> bool {
        let Some(path) = self.paths[0].as_mut().filter(|_| length > PATH_FLOOR) else { return false };
        path.refuse(now, length);
        true
    }
}

impl Default for Mtus {
    fn default() -> Self {
        Mtus::new()
    }
}

impl PathMtu {
    fn new(now: Instant, path: Path) -> PathMtu {
        PathMtu {
            path,
            proved: PATH_FLOOR,
            refused: DATAGRAM_MAX + 1,
            probe: None,
            stage: Stage::Unbegun,
            confirmed: now,
            unconfirmed: false,
            long_sent: Instant::ZERO,
        }
    }

    /// Begins the search, if it is time for one.
    fn wants(&mut self, now: Instant) -> bool {
        let begins = match self.stage {
            Stage::Unbegun => true,
            Stage::Searching => false,
            Stage::Resting(until) => until <= now,
        };
        if begins {
            self.stage = Stage::Searching;
            self.refused = DATAGRAM_MAX + 1;
        }
        begins
    }

    /// That length does not pass.
    fn refuse(&mut self, now: Instant, length: usize) {
        self.probe.take_if(|probe| probe.length >= length);
        if length > self.proved {
            self.refused = self.refused.min(length);
        } else {
            // It did once. Three may have been lost by chance, so the search begins with all lengths.
            *self = PathMtu { stage: Stage::Searching, ..PathMtu::new(now, self.path) };
        }
    }

    /// The length to try now.
    fn next_length(&mut self, now: Instant, heard: Instant) -> Option<usize> {
        if self.confirm_at(heard).is_some_and(|at| at <= now) {
            return Some(self.proved);
        }
        if self.stage != Stage::Searching {
            return None;
        }
        let next = self.candidate();
        if next.is_none() {
            self.stage = Stage::Resting(now + MTU_RAISE);
        }
        next
    }

    /// The likeliest of the lengths that are neither proved nor refused.
    fn candidate(&self) -> Option<usize> {
        let open = |mtu: &usize| {
            let length = (mtu - headers(self.path)).min(DATAGRAM_MAX);
            (length > self.proved && length < self.refused).then_some(length)
        };
        // First 1500, then 1492 or what is longer than usual, then the middle.
        let usual = open(&USUAL);
        let mut rest = LADDER.iter().filter_map(open);
        if usual.is_some() {
            usual
        } else if self.refused + headers(self.path) >= USUAL {
            rest.next_back()
        } else {
            let half = rest.clone().count() / 2;
            rest.nth(half)
        }
    }

    /// The length that is tried, or what is proved when nothing is. Nobody counts on more than usual.
    fn expected(&self) -> usize {
        let tried = match self.stage {
            Stage::Resting(_) => 0,
            _ => self.candidate().unwrap_or(0).min(USUAL - headers(self.path)),
        };
        self.proved.max(tried)
    }

    /// When the proved length is to be proved again.
    fn confirm_at(&self, heard: Instant) -> Option<Instant> {
        if !self.unconfirmed || self.proved == PATH_FLOOR {
            return None;
        }
        let at = self.confirmed + MTU_CONFIRM;
        let stalls = self.long_sent > heard;
        Some(if stalls {
            at.min((self.long_sent + MTU_STALL).max(self.confirmed + 2 * MTU_STALL))
        } else {
            at
        })
    }
}

fn headers(path: Path) -> usize {
    match path {
        Path::Direct(address) if address.is_ipv6() => HEADERS6,
        // A relay's address is not known here. What fits neither family exactly is found by the ladder all the same.
        _ => HEADERS4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{CircuitId, PeerKey};
    use crate::crypto::random::Random;

    fn direct() -> Path {
        Path::Direct("192.0.2.1:7000".parse().unwrap())
    }

    fn direct6() -> Path {
        Path::Direct("[2001:db8::1]:7000".parse().unwrap())
    }

    fn via() -> Path {
        Path::Via { relay: PeerKey { slot: 1, generation: 0 }, circuit: CircuitId(1) }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// A path that carries datagrams up to a length, with a round trip of 20 ms, and whoever sends by it.
    struct Road {
        mtus: Mtus,
        now: u64,
        carries: usize,
        heard: u64,
        answers: Vec<(u64, u64)>,
        probes: Vec<usize>,
    }

    impl Road {
        fn new(path: Path, carries: usize) -> Road {
            let mut mtus = Mtus::new();
            mtus.enter(at(1000), path);
            Road { mtus, now: 1000, carries, heard: 999, answers: Vec::new(), probes: Vec::new() }
        }

        /// Time passes, a millisecond at a time; at each, if `frames`, a full frame is sent, and the peer
        /// is heard now and then if `talks`.
        fn run(&mut self, ms: u64, frames: bool, talks: bool) {
            for _ in 0..ms {
                self.now += 1;
                let now = at(self.now);
                while let Some(&(when, number)) = self.answers.first().filter(|(when, _)| *when <= self.now) {
                    self.heard = when;
                    self.answers.remove(0);
                    self.mtus.answered(now, number);
                }
                if talks {
                    self.heard = self.now;
                }
                if frames {
                    self.mtus.sends(now, 1514, at(self.heard));
                }
                while let Some((number, length)) = self.mtus.poll(now, at(self.heard), None) {
                    self.probes.push(length);
                    if length <= self.carries {
                        self.answers.push((self.now + 20, number));
                    }
                }
                let next = self.mtus.next_timeout(at(self.heard));
                assert!(next.is_none_or(|next| next > now), "{next:?} at {now:?}");
            }
        }

        fn proved(&self) -> usize {
            self.mtus.room() + self.mtus.envelope()
        }
    }

    #[test]
    fn the_search_finds_the_longest_of_the_ladder_that_passes() {
        // The model: a step. What is at most as long passes, what is longer does not.
        for path in [direct(), direct6(), via()] {
            for carries in
                (PATH_FLOOR..=DATAGRAM_MAX + 10).step_by(3).chain([1252, 1444, 1452, 1464, 1472, 2011])
            {
                let mut road = Road::new(path, carries);
                for _ in 0..80 {
                    road.run(100, true, true);
                    assert!(road.proved() <= carries, "S24: nothing is sent that does not pass");
                }
                let lengths = LADDER.iter().map(|mtu| (mtu - headers(path)).min(DATAGRAM_MAX));
                let best = lengths.filter(|length| *length <= carries).max().unwrap_or(PATH_FLOOR);
                assert_eq!(road.proved(), best, "{path:?} {carries}");
                assert!(road.probes.len() < 24, "{:?}", road.probes);
            }
        }
    }

    #[test]
    fn where_1500_pass_one_round_trip_is_enough() {
        let mut road = Road::new(direct(), 1472);
        assert_eq!((road.mtus.room(), road.mtus.expected_room()), (1171, 1443));
        road.run(22, true, true);
        assert_eq!((road.proved(), road.mtus.mtu()), (1472, Some(1500)));
        let mut pppoe = Road::new(direct(), 1464);
        pppoe.run(1600, true, true);
        assert_eq!((pppoe.proved(), pppoe.mtus.mtu()), (1464, Some(1492)));
        assert_eq!(pppoe.mtus.expected_room(), 1464 - 29);
        assert_eq!(pppoe.probes, [1472, 1472, 1472, 1464]);
    }

    #[test]
    fn nothing_is_sent_while_nothing_long_is() {
        let mut road = Road::new(direct(), 1472);
        road.run(2000, false, true);
        assert!(!road.mtus.sends(at(road.now), PATH_FLOOR - 29, at(road.heard)));
        assert!(road.mtus.sends(at(road.now), PATH_FLOOR - 28, at(road.heard)));
        road.run(3000, true, true);
        let probes = road.probes.len();
        road.run(3_000_000, false, true);
        assert!(road.probes.len() - probes <= 1, "{:?}", road.probes);
    }

    #[test]
    fn after_ten_minutes_more_is_tried_if_there_is_traffic() {
        let mut road = Road::new(direct(), 1464);
        road.run(10_000, true, true);
        road.carries = 1472;
        road.run(580_000, true, true);
        assert_eq!(road.proved(), 1464);
        road.run(30_000, true, true);
        assert_eq!(road.proved(), 1472);
    }

    #[test]
    fn a_path_that_carries_less_than_before_is_noticed_and_searched_anew() {
        for (talks, patience) in [(false, 500 + 3 * 500), (true, 5000 + 3 * 500)] {
            let mut road = Road::new(direct(), 1472);
            road.run(7000, true, true);
            road.carries = 1252;
            if !talks {
                // Everything long is lost, so nothing comes back.
                road.heard = road.now;
            }
            road.run(patience + 10, true, talks);
            assert_eq!(road.proved(), PATH_FLOOR, "{talks}");
            road.run(20_000, true, true);
            assert_eq!(road.proved(), 1252);
            road.carries = 1472;
            road.run(620_000, true, true);
            assert_eq!(road.proved(), 1472);
        }
    }

    #[test]
    fn what_our_own_interface_refuses_is_known_at_once() {
        let mut road = Road::new(direct(), 1472);
        road.run(50, true, true);
        assert_eq!(road.probes, [1472, 2011]);
        assert!(road.mtus.too_long(at(road.now), 2011));
        road.run(4000, true, true);
        assert_eq!(road.probes.len(), 2);
        // The interface's MTU is lowered: the floor, and the next best by what the kernel says.
        road.carries = 1464;
        assert!(road.mtus.too_long(at(road.now), 1472));
        assert_eq!(road.proved(), PATH_FLOOR);
        road.run(1, true, true);
        assert_eq!(road.probes.last(), Some(&1472));
        assert!(road.mtus.too_long(at(road.now), 1472));
        road.run(30, true, true);
        assert_eq!(road.proved(), 1464);
        assert!(!road.mtus.too_long(at(road.now), 1100), "no path carries less than the floor");
    }

    #[test]
    fn each_path_has_its_own_and_is_remembered_for_a_while() {
        let mut road = Road::new(direct(), 1472);
        road.run(3000, true, true);
        assert_eq!(road.mtus.room(), 1472 - 29);
        road.mtus.enter(at(road.now), via());
        assert_eq!(road.mtus.room(), PATH_FLOOR - 29 - 24);
        road.carries = 1432;
        road.run(6000, true, true);
        assert_eq!(road.mtus.room(), 1432 - 29 - 24);
        road.mtus.enter(at(road.now), direct());
        assert_eq!(road.mtus.room(), 1472 - 29);
        let probes = road.probes.len();
        road.run(1, true, true);
        assert_eq!(road.probes[probes..], [1472], "it is proved again at once");
        road.mtus.enter(at(road.now), via());
        road.mtus.enter(at(road.now + 601_000), direct());
        assert_eq!(road.mtus.room(), PATH_FLOOR - 29);
    }

    #[test]
    fn a_change_of_the_network_is_followed_by_a_proof() {
        let mut road = Road::new(direct(), 1464);
        road.run(20_000, true, true);
        road.run(6_000, false, true);
        let probes = road.probes.len();
        road.carries = 1472;
        road.mtus.network_changed(at(road.now));
        road.run(100, true, true);
        assert_eq!(road.probes[probes..], [1464, 1472, 2011]);
        assert_eq!(road.proved(), 1472);
    }

    #[test]
    fn chance_losses_leave_the_path_as_it_is_or_bring_it_back_soon() {
        let mut random = Random::new([3; 32]);
        let mut road = Road::new(direct(), 1472);
        let mut full = 0;
        for _ in 0..6000 {
            // A third of all probes and answers are lost.
            let lost = random.u32() % 3 == 0;
            road.carries = if lost { 0 } else { 1472 };
            road.run(50, true, true);
            full += u32::from(road.proved() == 1472);
        }
        assert!(full > 5000, "{full}");
    }

    #[test]
    fn an_answer_that_nobody_waits_for_means_nothing() {
        let mut road = Road::new(direct(), 0);
        assert!(!road.mtus.answered(at(1000), 0));
        road.run(1, true, true);
        assert_eq!(road.probes, [1472]);
        assert!(!road.mtus.answered(at(road.now), 1));
        assert!(road.mtus.answered(at(road.now), 0));
        assert!(!road.mtus.answered(at(road.now), 0));
    }
}
