//! Who may start a handshake now.
//!
//! A first message is looked at in the order of what that costs: whether it was seen before, then its stamp, which takes two
//! hashes and the network's key, then, here, whether there is time for it. Only then a curve is reckoned on, for which a slow
//! router needs as long as for a hundred frames. So there is
//!
//! * a part of the processor's time for strangers, in the form of a bucket, and a short queue before it: one at a time, and
//!   data goes first. What goes on inside sessions is not counted here and cannot be held up from outside;
//! * buckets for each network that first messages come from (IPv4 /24, IPv6 /64 and /48, never a port): one flood leaves
//!   room for others. Who has proved his address has buckets of his own, which nobody can use up in his name;
//! * a token, while there is a queue: it goes to where the first message came from, and who brings it back is there.
//!   Nothing is stored for those who do not, but that a first message was seen: who has recorded a few, and sends them
//!   as fast as he can, is soon met with silence and takes nothing from anybody's budget (S2).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::base::discard::Discard;
use crate::base::limits::{
    ANSWERS_EASY, HANDSHAKE_COST, HELLOS_REMEMBERED, NETWORK_BURST, NETWORK_EVERY, PLACES, RETRIES_SENT,
    RETRY_SHARES, STRANGERS_BURST, STRANGERS_PART, STRANGERS_PATIENCE, STRANGERS_PAUSE, STRANGERS_WAITING,
    TOKEN_LIFE, WIDE,
};
use crate::base::table::Table;
use crate::base::time::{Bucket, Duration, Instant};
use crate::crypto::hmac::Hmac;
use crate::crypto::random::Random;
use crate::peer::path::Path;
use crate::wire::cursor::Writer;
use crate::wire::hello::{HELLO1, HELLO1_SEALED, TOKEN};

/// What is to become of a first message that was made with the network's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is answered.
    Answer,
    /// It waits for its turn.
    Wait,
    /// It is to come again, with a token.
    Retry,
}

/// What a network has a budget for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Budget {
    /// Second messages to addresses that have proved nothing.
    Answers,
    /// Messages that ask one for another copy. They are small and cheap.
    Retries,
    /// Handshakes of those who have proved their address.
    Handshakes,
}

/// A network that first messages come from: for what, how many bits of its addresses count, and which these are.
type Network = (Budget, u8, u64);

/// The networks that share what comes by that path, and how many shares they have of it. Who has proved his IPv4 address
/// has a share for himself. All that one relay brings is of one network.
fn networks(path: Path, budget: Budget) -> [Option<(Network, u32)>; 2] {
    let one = if budget == Budget::Retries { RETRY_SHARES } else { 1 };
    match path {
        Path::Direct(address) => match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let address = u64::from(ip.to_bits());
                match budget {
                    Budget::Handshakes => {
                        [Some(((budget, 32, address), one)), Some(((budget, 24, address >> 8), one * WIDE))]
                    }
                    _ => [Some(((budget, 24, address >> 8), one)), None],
                }
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments().map(u64::from);
                let wide = a << 32 | b << 16 | c;
                [Some(((budget, 64, wide << 16 | d), one)), Some(((budget, 48, wide), one * WIDE))]
            }
        },
        Path::Via { relay, .. } => [Some(((budget, 0, u64::from(relay.slot)), one)), None],
    }
}

/// A first message that waits for its turn.
pub(super) struct Waiting {
    /// By what path it came.
    pub(super) path: Path,
    /// All of it.
    pub(super) message: [u8; HELLO1],
    came: Instant,
}

/// Budgets, tokens, and who waits.
pub struct Admission {
    /// Handshakes of strangers.
    strangers: Bucket,
    /// Messages to addresses that have proved nothing.
    replies: Bucket,
    networks: Table<Network, Bucket>,
    /// How often a first message was asked to come again, by the beginning of its ephemeral key.
    retried: Table<u64, u8>,
    waiting: VecDeque<Waiting>,
    /// When the last handshake was answered.
    worked: Option<Instant>,
    tokens: Option<Tokens>,
}

impl Admission {
    /// Full budgets, and nobody waits.
    pub fn new(now: Instant, seed: u64) -> Admission {
        let [strangers, replies] = buckets(now, HANDSHAKE_COST);
        Admission {
            strangers,
            replies,
            networks: Table::new(PLACES, seed),
            retried: Table::new(HELLOS_REMEMBERED, seed),
            waiting: VecDeque::with_capacity(STRANGERS_WAITING),
            worked: None,
            tokens: None,
        }
    }

    /// Scales the budgets to what one handshake costs here.
    pub fn set_cost(&mut self, now: Instant, cost: Duration) {
        [self.strangers, self.replies] = buckets(now, cost.max(HANDSHAKE_COST));
    }

    /// Decides on a first message that came by `path`. `proved` tells whether its sender has shown that it is there,
    /// `answers` is how many handshakes of others are under way.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        path: Path,
        ephemeral: &[u8; 32],
        proved: bool,
        answers: usize,
    ) -> Result<Verdict, Discard> {
        let easy = self.waiting.is_empty()
            && self.strangers.left(now) > STRANGERS_BURST / 2
            && answers < ANSWERS_EASY;
        if !(proved || easy && self.may_answer(now, path)) {
            return self.ask_again(now, path, ephemeral);
        }
        if proved && !self.take(now, path, Budget::Handshakes) {
            return Err(Discard::Throttled);
        }
        if self.waiting.is_empty() && self.is_turn(now) && self.strangers.take(now) {
            self.worked = Some(now);
            return Ok(Verdict::Answer);
        }
        if self.waiting.len() < STRANGERS_WAITING { Ok(Verdict::Wait) } else { Err(Discard::Throttled) }
    }

    /// The same bytes go to all addresses of a host, and each may ask; more copies than that are somebody else's.
    fn ask_again(&mut self, now: Instant, path: Path, ephemeral: &[u8; 32]) -> Result<Verdict, Discard> {
        let [a, b, c, d, e, f, g, h, ..] = *ephemeral;
        let name = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let before = self.retried.get(&name).copied().unwrap_or(0);
        if before >= RETRIES_SENT || !self.may_reply(now, path, Budget::Retries) {
            return Err(Discard::Throttled);
        }
        self.retried.insert(name, before + 1);
        Ok(Verdict::Retry)
    }

    /// Whether a second message may go back by `path`, to one who has not proved to be there.
    pub(super) fn may_answer(&mut self, now: Instant, path: Path) -> bool {
        self.may_reply(now, path, Budget::Answers)
    }

    fn may_reply(&mut self, now: Instant, path: Path, budget: Budget) -> bool {
        self.replies.has(now) && self.take(now, path, budget) && self.replies.take(now)
    }

    /// Takes from that budget of the networks of `path`, if all have something left.
    fn take(&mut self, now: Instant, path: Path, budget: Budget) -> bool {
        let networks = networks(path, budget);
        let mut all = |spend: fn(&mut Bucket, Instant) -> bool| {
            networks.iter().flatten().all(|(network, shares)| {
                let bucket = self.bucket(now, *network, *shares);
                bucket.is_some_and(|bucket| spend(bucket, now))
            })
        };
        all(Bucket::has) && all(Bucket::take)
    }

    fn bucket(&mut self, now: Instant, network: Network, shares: u32) -> Option<&mut Bucket> {
        if self.networks.get(&network).is_none() {
            let full = Bucket::new(NETWORK_BURST * shares, NETWORK_EVERY / shares, now);
            self.networks.insert(network, full);
        }
        self.networks.touch(&network)
    }

    // ---- who waits ----

    fn is_turn(&self, now: Instant) -> bool {
        self.worked.is_none_or(|before| before + STRANGERS_PAUSE <= now)
    }

    /// Lets a first message wait, as [`Admission::judge`] said; once, however often it comes.
    pub(super) fn wait(&mut self, now: Instant, path: Path, message: [u8; HELLO1]) {
        if self.waiting.iter().any(|waiting| waiting.message[..HELLO1_SEALED] == message[..HELLO1_SEALED]) {
            return;
        }
        self.waiting.push_back(Waiting { path, message, came: now });
    }

    /// The one whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<Waiting> {
        while self.waiting.front().is_some_and(|first| first.came + STRANGERS_PATIENCE <= now) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() || !self.is_turn(now) || !self.strangers.take(now) {
            return None;
        }
        self.worked = Some(now);
        self.waiting.pop_front()
    }

    /// When that will be.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.waiting.front()?;
        let turn = self.worked.map_or(Instant::ZERO, |before| before + STRANGERS_PAUSE);
        Some(turn.max(self.strangers.ready_at()))
    }

    // ---- tokens ----

    /// A token for a first message that came from `from`.
    pub(super) fn token(
        &mut self,
        now: Instant,
        random: &mut Random,
        message: &[u8; HELLO1],
        from: SocketAddr,
    ) -> [u8; TOKEN] {
        let tokens = self.tokens.get_or_insert_with(|| Tokens::new(now, random));
        if tokens.rotate_at <= now {
            let fresh = Tokens::new(now, random);
            // The one before is kept unless it, too, is too old.
            let old = core::mem::replace(tokens, fresh);
            if now < old.rotate_at + TOKEN_LIFE {
                tokens.previous = old.current;
            }
        }
        tokens.current.tag(&covered(message, from))
    }

    /// Whether a first message from `from` brings back the token that it was given.
    pub(super) fn has_token(&self, now: Instant, message: &[u8; HELLO1], from: SocketAddr) -> bool {
        let Some(tokens) = self.tokens.as_ref().filter(|tokens| now < tokens.rotate_at + TOKEN_LIFE) else {
            return false;
        };
        let (bytes, token) = (covered(message, from), message.last_chunk::<TOKEN>());
        token.is_some_and(|token| {
            tokens.current.is_tag(&bytes, token)
                || now < tokens.rotate_at && tokens.previous.is_tag(&bytes, token)
        })
    }
}

/// For strangers' handshakes, and for messages to addresses that have proved nothing: each takes that part of the time. A
/// message costs a hundredth of a handshake or less.
fn buckets(now: Instant, cost: Duration) -> [Bucket; 2] {
    let each = cost * STRANGERS_PART;
    [Bucket::new(STRANGERS_BURST, each, now), Bucket::new(NETWORK_BURST, each / 100, now)]
}

/// The secrets that tokens are made with: this one, and the one before.
struct Tokens {
    current: Hmac,
    previous: Hmac,
    rotate_at: Instant,
}

impl Tokens {
    fn new(now: Instant, random: &mut Random) -> Tokens {
        let mut fresh = || Hmac::new(&random.bytes());
        Tokens { current: fresh(), previous: fresh(), rotate_at: now + TOKEN_LIFE }
    }
}

/// What a token covers: all of the message but the token's own place, and where it came from.
fn covered(message: &[u8; HELLO1], from: SocketAddr) -> [u8; HELLO1_SEALED + 19] {
    let mut bytes = [0; HELLO1_SEALED + 19];
    let mut writer = Writer::new(&mut bytes);
    // Both fit.
    _ = writer.put(&message[..HELLO1_SEALED]).and_then(|()| writer.address(from));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn from(text: &str) -> Path {
        Path::Direct(text.parse().unwrap())
    }

    fn fresh() -> Admission {
        Admission::new(Instant::ZERO, 7)
    }

    fn hello(n: u16) -> [u8; HELLO1] {
        let mut message = [9; HELLO1];
        message[6..8].copy_from_slice(&n.to_be_bytes());
        message
    }

    fn ephemeral(n: u16) -> [u8; 32] {
        *hello(n)[6..].first_chunk().unwrap()
    }

    /// How many of a thousand in a row are given leave.
    fn leave(admission: &mut Admission, budget: Budget, mut path: impl FnMut(u16) -> Path) -> u32 {
        (0..1000).filter(|n| admission.take(Instant::ZERO, path(*n), budget)).count().try_into().unwrap()
    }

    #[test]
    fn what_counts_is_the_network_never_the_port() {
        // S2
        for (budget, network, wide) in [
            (Budget::Answers, NETWORK_BURST, NETWORK_BURST),
            (Budget::Retries, 1000, 1000),
            (Budget::Handshakes, NETWORK_BURST, WIDE * NETWORK_BURST),
        ] {
            let ports = leave(&mut fresh(), budget, |n| from(&format!("192.0.2.1:{}", 1 + n)));
            assert_eq!(ports, network.min(1000), "{budget:?}");
            let hosts = leave(&mut fresh(), budget, |n| from(&format!("192.0.2.{}:7000", n % 250)));
            assert_eq!(hosts, wide.min(1000), "{budget:?}");
            let hosts = leave(&mut fresh(), budget, |n| from(&format!("[2001:db8::{n:x}]:7000")));
            assert_eq!(hosts, network.min(1000), "{budget:?}");
            let subnets = leave(&mut fresh(), budget, |n| from(&format!("[2001:db8:0:{n:x}::1]:7000")));
            assert_eq!(subnets, (WIDE * network).min(1000), "{budget:?}");
            let apart = leave(&mut fresh(), budget, |n| from(&format!("[2001:db8:{n:x}::1]:7000")));
            assert_eq!(apart, 1000);
        }
    }

    #[test]
    fn a_first_message_waits_once() {
        let mut admission = fresh();
        for n in [1, 1, 2, 1] {
            admission.wait(Instant::ZERO, from("192.0.2.1:7000"), hello(n));
        }
        assert_eq!(admission.waiting.len(), 2);
    }

    #[test]
    fn what_is_sent_in_another_s_name_takes_nothing_from_who_proved_his_address() {
        // S2
        let mut admission = fresh();
        let path = from("192.0.2.1:7000");
        leave(&mut admission, Budget::Answers, |_| path);
        leave(&mut admission, Budget::Retries, |_| path);
        assert!(!admission.may_answer(Instant::ZERO, path));
        assert_eq!(leave(&mut admission, Budget::Handshakes, |_| path), NETWORK_BURST);
    }

    #[test]
    fn who_comes_while_there_is_time_is_answered_and_then_asked_for_a_token() {
        let mut admission = fresh();
        let path = from("192.0.2.1:7000");
        let mut judge = |now: Instant, n: u16, proved: bool, answers: usize| {
            admission.judge(now, path, &ephemeral(n), proved, answers)
        };
        assert_eq!(judge(Instant::ZERO, 0, false, 0), Ok(Verdict::Answer));
        // Too many are not completed.
        assert_eq!(judge(Instant::ZERO + STRANGERS_PAUSE, 1, false, ANSWERS_EASY), Ok(Verdict::Retry));
        // Half the burst is gone.
        let mut now = Instant::ZERO;
        for n in 1..STRANGERS_BURST / 2 {
            now = now + STRANGERS_PAUSE;
            assert_eq!(judge(now, u16::try_from(n).unwrap(), false, 0), Ok(Verdict::Answer), "{n}");
        }
        assert_eq!(judge(now, 100, false, 0), Ok(Verdict::Retry));
        // With a token there is the other half.
        for _ in 0..STRANGERS_BURST / 2 {
            now = now + STRANGERS_PAUSE;
            assert_eq!(judge(now, 101, true, 0), Ok(Verdict::Answer));
        }
        assert_eq!(judge(now, 102, true, 0), Ok(Verdict::Wait));
    }

    #[test]
    fn one_is_answered_at_a_time_and_who_waits_too_long_has_begun_anew() {
        let mut admission = fresh();
        let (start, path) = (Instant::ZERO, from("192.0.2.1:7000"));
        assert_eq!(admission.judge(start, path, &ephemeral(0), false, 0), Ok(Verdict::Answer));
        for n in 0..STRANGERS_WAITING {
            let n = 1 + u16::try_from(n).unwrap();
            assert_eq!(admission.judge(start, path, &ephemeral(n), true, 0), Ok(Verdict::Wait), "{n}");
            admission.wait(start, path, hello(n));
        }
        assert_eq!(admission.judge(start, path, &ephemeral(1), true, 0), Err(Discard::Throttled));
        assert!(admission.next(start).is_none());
        let turn = admission.next_timeout().unwrap();
        assert_eq!(turn, start + STRANGERS_PAUSE);
        assert!(admission.next(turn).is_some() && admission.next(turn).is_none());
        // Whoever is first in the queue holds nobody up who is not there any more.
        assert!(admission.next(start + STRANGERS_PATIENCE).is_none());
        assert_eq!(admission.next_timeout(), None);
    }

    #[test]
    fn one_first_message_is_not_asked_for_again_and_again() {
        // S2: who replays a few takes nothing from the budgets.
        let mut admission = fresh();
        let path = from("192.0.2.1:7000");
        let mut asked = 0;
        for _ in 0..10_000 {
            asked += u32::from(admission.ask_again(Instant::ZERO, path, &ephemeral(1)).is_ok());
        }
        assert_eq!(asked, u32::from(RETRIES_SENT));
        assert_eq!(admission.ask_again(Instant::ZERO, path, &ephemeral(2)), Ok(Verdict::Retry));
    }

    #[test]
    fn a_token_is_good_for_one_message_from_one_place_and_for_a_while() {
        let (mut admission, mut random) = (fresh(), Random::new([1; 32]));
        let place: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let mut message = hello(1);
        assert!(!admission.has_token(Instant::ZERO, &message, place), "before there is any");
        let token = admission.token(Instant::ZERO, &mut random, &message, place);
        message[HELLO1_SEALED..].copy_from_slice(&token);
        assert!(admission.has_token(Instant::ZERO, &message, place));
        for other in ["192.0.2.1:7001", "192.0.2.2:7000", "[::ffff:192.0.2.1]:7000", "[2001:db8::1]:7000"] {
            assert!(!admission.has_token(Instant::ZERO, &message, other.parse().unwrap()), "{other}");
        }
        for at in 0..HELLO1 {
            let mut other = message;
            other[at] ^= 1;
            assert!(!admission.has_token(Instant::ZERO, &other, place), "byte {at}");
        }
        // Another is made when the first secret is old; the token outlives that once.
        let later = Instant::ZERO + TOKEN_LIFE;
        assert_ne!(admission.token(later, &mut random, &message, place), token);
        let just = later + (TOKEN_LIFE - Duration::from_micros(1));
        assert!(admission.has_token(just, &message, place));
        assert!(!admission.has_token(later + TOKEN_LIFE, &message, place));
        admission.token(later + TOKEN_LIFE, &mut random, &message, place);
        assert!(!admission.has_token(later + TOKEN_LIFE, &message, place));
    }

    #[test]
    fn an_old_secret_is_forgotten_whether_or_not_anybody_asks() {
        let (mut admission, mut random) = (fresh(), Random::new([1; 32]));
        let place: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let mut message = hello(1);
        let token = admission.token(Instant::ZERO, &mut random, &message, place);
        message[HELLO1_SEALED..].copy_from_slice(&token);
        let late = Instant::ZERO + 10 * MINUTE;
        assert!(!admission.has_token(late, &message, place));
        admission.token(late, &mut random, &message, place);
        assert!(!admission.has_token(late, &message, place));
    }

    #[test]
    fn the_secret_before_is_good_until_the_next_one_is_due() {
        // S2: whether or not anybody has come for it since.
        let (mut admission, mut random) = (fresh(), Random::new([1; 32]));
        let place: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let mut message = |now: Instant, n: u16, admission: &mut Admission| {
            let mut message = hello(n);
            let token = admission.token(now, &mut random, &message, place);
            message[HELLO1_SEALED..].copy_from_slice(&token);
            message
        };
        let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
        let first = message(at(0), 1, &mut admission);
        let (life, second_at) = (TOKEN_LIFE.as_secs(), TOKEN_LIFE.as_secs() + 10);
        let second = message(at(second_at), 2, &mut admission);
        let good = |seconds: u64| [first, second].map(|each| admission.has_token(at(seconds), &each, place));
        assert_eq!(good(second_at + life - 1), [true, true]);
        assert_eq!(good(second_at + life), [false, true]);
        assert_eq!(good(second_at + 2 * life), [false, false]);
    }

    #[test]
    fn all_networks_together_get_no_more_than_the_node_has_for_them() {
        // S2: a flood that names another network each time.
        let mut admission = fresh();
        let mut answer = |n: u16| {
            let path = from(&format!("192.{}.{}.1:7000", n / 250, n % 250));
            admission.may_answer(Instant::ZERO, path)
        };
        let answered = (0..1000).filter(|n| answer(*n)).count();
        assert_eq!(answered, NETWORK_BURST as usize);
    }

    #[test]
    fn what_a_handshake_costs_scales_what_is_done_for_strangers() {
        let answered = |cost: Duration| {
            let mut admission = fresh();
            admission.set_cost(Instant::ZERO, cost);
            let (mut count, mut now) = (0, Instant::ZERO);
            while now < Instant::ZERO + MINUTE {
                count += u32::from(admission.strangers.take(now));
                now = now + Duration::from_millis(1);
            }
            count * cost
        };
        let part = MINUTE / STRANGERS_PART;
        for cost in [1, 20].map(Duration::from_millis) {
            let spent = answered(cost);
            assert!(part <= spent && spent <= part + cost * (STRANGERS_BURST + 1), "{cost:?}: {spent:?}");
        }
        // No machine is so fast that answers push each other out within a round trip.
        let cost = Duration::from_micros(10);
        assert!(answered(cost) / 10 <= answered(HANDSHAKE_COST) / 1000);
    }

    #[test]
    fn each_bit_of_a_network_counts() {
        // Two addresses that differ in any one bit of what names the network have nothing in common.
        let of = |bits: u128| {
            networks(Path::Direct((std::net::Ipv6Addr::from(bits), 7000).into()), Budget::Answers)
        };
        let base = 0x2001_0db8_5a5a_a5a5_3c3c_c3c3_9696_6969_u128;
        let keys = |bits| of(bits).map(|one| one.map(|(network, _)| network));
        let [narrow, wide] = keys(base);
        for bit in 0..128 {
            let [other_narrow, other_wide] = keys(base ^ 1 << bit);
            assert_eq!(other_narrow == narrow, bit < 64, "bit {bit} and the /64");
            assert_eq!(other_wide == wide, bit < 80, "bit {bit} and the /48");
        }
    }

    #[test]
    fn a_share_is_one_more_answer_in_less_time() {
        // Who has several shares gets as many more at once, and as many more afterwards.
        let mut admission = fresh();
        let mut subnet = 0u16;
        let mut take = |now: Instant| {
            subnet = subnet.wrapping_add(1);
            admission.take(now, from(&format!("[2001:db8:0:{subnet:x}::1]:7000")), Budget::Answers)
        };
        let burst = (0..2000).filter(|_| take(Instant::ZERO)).count();
        assert_eq!(burst, (WIDE * NETWORK_BURST) as usize);
        let later = (0..2000).filter(|_| take(Instant::ZERO + NETWORK_EVERY)).count();
        assert_eq!(later, WIDE as usize);
    }
}
