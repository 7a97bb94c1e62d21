//! HMAC-SHA-256 (RFC 2104) from a key that is kept expanded: of one message, or of several side by side.
//!
//! A key is kept as the hash's two states once each pad has been absorbed, so a message is hashed where it lies and
//! pays for its own bytes only. Several messages are no more than several such states: each takes a lane of what the
//! processor offers ([`lanes`]), and when it is done the next message takes the lane, so that messages
//! of all lengths keep all lanes at work. The keys may differ; nothing passes from one lane to another.

use sha2::block_api::compress256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::lanes::{self, Block, Engine, LANES, State};

/// A MAC, in full length.
pub type Mac = [u8; 32];

/// Length of a short MAC, in bytes.
pub const TAG: usize = 16;

/// The most messages that [`macs`] takes at once.
pub const LOT: usize = 64;

const BLOCK: usize = size_of::<Block>();
/// SHA-256 before its first block (FIPS 180-4, 5.3.3).
const START: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A key, expanded.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct Hmac {
    inner: State,
    outer: State,
}

impl Hmac {
    /// Expands a key.
    pub fn new(key: &[u8; 32]) -> Hmac {
        let absorbed = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Hmac { inner: absorbed(0x36), outer: absorbed(0x5c) }
    }

    /// The MAC of `message`.
    pub fn mac(&self, message: &[u8]) -> Mac {
        let inner = digest(self.inner, message);
        digest(self.outer, &inner)
    }

    /// The MAC's first bytes.
    pub fn tag(&self, message: &[u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&self.mac(message)[..TAG]);
        tag
    }

    /// Whether `tag` is the MAC's first bytes; in constant time (S22).
    pub fn is_tag(&self, message: &[u8], tag: &[u8; TAG]) -> bool {
        self.tag(message).ct_eq(tag).into()
    }
}

/// SHA-256 (FIPS 180-4, 6.2) of one block that has been absorbed into `state`, and `bytes` after it.
fn digest(mut state: State, bytes: &[u8]) -> [u8; 32] {
    compress256(&mut state, whole_blocks(bytes));
    let (end, blocks) = padded(bytes);
    compress256(&mut state, &end[..blocks]);
    to_bytes(&state)
}

fn whole_blocks(bytes: &[u8]) -> &[Block] {
    bytes.as_chunks().0
}

/// What follows the whole blocks, when one block went before `bytes`: the rest of them, a one bit, zeros, the length in
/// bits. It is one block, or two.
fn padded(bytes: &[u8]) -> ([Block; 2], usize) {
    let rest = &bytes[bytes.len() / BLOCK * BLOCK..];
    let mut end = [[0; BLOCK]; 2];
    end[0][..rest.len()].copy_from_slice(rest);
    end[0][rest.len()] = 0x80;
    let blocks = if rest.len() < BLOCK - 8 { 1 } else { 2 };
    let bits = 8 * (BLOCK + bytes.len()) as u64;
    end[blocks - 1][BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    (end, blocks)
}

fn to_bytes(state: &State) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.chunks_exact_mut(4).zip(state).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_be_bytes()));
    hash
}

// ---- side by side ----

/// Whether this processor computes several MACs faster than one after the other.
pub fn side_by_side() -> bool {
    lanes::ANY && lanes::engines().next().is_some()
}

/// The MACs of up to [`LOT`] messages, each under its own key, in the same order.
pub fn macs(messages: &[(&Hmac, &[u8])], macs: &mut [Mac]) {
    debug_assert!(messages.len() <= LOT && messages.len() <= macs.len());
    match lanes::engines().next() {
        Some(engine) if lanes::ANY && messages.len() > 1 => by_lanes(engine, messages, macs),
        _ => macs.iter_mut().zip(messages).for_each(|(mac, (key, message))| *mac = key.mac(message)),
    }
}

/// How far a lane is with its message.
#[derive(Clone, Copy)]
struct Lane {
    message: usize,
    stage: Stage,
    /// Blocks of this stage that were absorbed.
    done: usize,
    /// What is absorbed in the later stages, and how much of it.
    end: [Block; 2],
    ends: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The whole blocks of the message, where it lies.
    Whole,
    /// Its end, padded.
    End,
    /// The digest of all that, under the outer pad.
    Outer,
}

impl Lane {
    const IDLE: Lane = Lane { message: 0, stage: Stage::Outer, done: 0, end: [[0; BLOCK]; 2], ends: 0 };

    /// Begins with a message.
    fn begin(number: usize, message: &[u8]) -> Lane {
        let (end, ends) = padded(message);
        let stage = if message.len() < BLOCK { Stage::End } else { Stage::Whole };
        Lane { message: number, stage, done: 0, end, ends }
    }

    /// What is left of this stage.
    fn blocks<'a>(&'a self, message: &'a [u8]) -> &'a [Block] {
        match self.stage {
            Stage::Whole => &whole_blocks(message)[self.done..],
            Stage::End | Stage::Outer => &self.end[self.done..self.ends],
        }
    }

    /// Goes on to the next stage if this one is over; the MAC if there is none.
    fn advance(&mut self, key: &Hmac, message: &[u8], state: &mut State) -> Option<Mac> {
        if !self.blocks(message).is_empty() {
            return None;
        }
        self.done = 0;
        self.stage = match self.stage {
            Stage::Whole => Stage::End,
            Stage::End => {
                let digest = to_bytes(state);
                (self.end, self.ends) = padded(&digest);
                *state = key.outer;
                Stage::Outer
            }
            Stage::Outer => return Some(to_bytes(state)),
        };
        None
    }
}

/// Keeps every lane at work as long as there are messages: the longest first, for those that are left last are hashed
/// with few lanes, or alone.
fn by_lanes(engine: Engine, messages: &[(&Hmac, &[u8])], macs: &mut [Mac]) {
    let mut order = [0; LOT];
    let order = &mut order[..messages.len()];
    order.iter_mut().enumerate().for_each(|(at, number)| *number = at);
    order.sort_unstable_by_key(|&number| core::cmp::Reverse(messages[number].1.len() / BLOCK));
    let mut waiting = order.iter().copied();

    let mut states = [[0; 8]; LANES];
    let mut lanes = [Lane::IDLE; LANES];
    let mut busy = 0;
    loop {
        while busy < engine.lanes()
            && let Some(number) = waiting.next()
        {
            let (key, message) = messages[number];
            (lanes[busy], states[busy]) = (Lane::begin(number, message), key.inner);
            busy += 1;
        }
        if busy < 2 {
            break;
        }
        // A lane without a message does the first one's work once more.
        let mut blocks = [lanes[0].blocks(messages[lanes[0].message].1); LANES];
        for (blocks, lane) in blocks.iter_mut().zip(&lanes).take(busy) {
            *blocks = lane.blocks(messages[lane.message].1);
        }
        let count = engine.compress(&mut states, &blocks);
        // Backwards, because the last lane takes the place of one that is done.
        for at in (0..busy).rev() {
            let lane = &mut lanes[at];
            lane.done += count;
            let (key, message) = messages[lane.message];
            if let Some(mac) = lane.advance(key, message, &mut states[at]) {
                macs[lane.message] = mac;
                busy -= 1;
                (lanes[at], states[at]) = (lanes[busy], states[busy]);
            }
        }
    }
    if busy == 1 {
        let (lane, state) = (&mut lanes[0], &mut states[0]);
        let (key, message) = messages[lane.message];
        macs[lane.message] = loop {
            let blocks = lane.blocks(message);
            compress256(state, blocks);
            lane.done += blocks.len();
            if let Some(mac) = lane.advance(key, message, state) {
                break mac;
            }
        };
    }
    // What a lane held last may be a key.
    states.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Random;

    fn hex(text: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(pair).collect()
    }

    /// Key, data and MAC of RFC 4231, test cases 1, 2 and 5, as far as keys have at most 32 bytes: a shorter key is the
    /// same key filled with zeros. The last is there for truncation.
    fn known_answers() -> [(Hmac, &'static [u8], Vec<u8>); 4] {
        let padded = |key: &[u8]| {
            let mut padded = [0; 32];
            padded[..key.len()].copy_from_slice(key);
            Hmac::new(&padded)
        };
        let counting: Vec<u8> = (1..=25).collect();
        [
            (
                padded(&[0x0b; 20]),
                b"Hi There",
                hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            ),
            (
                padded(b"Jefe"),
                b"what do ya want for nothing?",
                hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            ),
            (
                padded(&counting),
                &[0xcd; 50],
                hex("82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            ),
            (padded(&[0x0c; 20]), b"Test With Truncation", hex("a3b6167473100ee06e0c796c2955552b")),
        ]
    }

    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        for (key, data, wanted) in known_answers() {
            assert_eq!(key.mac(data)[..wanted.len()], wanted);
        }
    }

    #[test]
    fn the_macs_of_rfc_4231_come_out_of_every_lane() {
        let cases = known_answers();
        for engine in lanes::engines() {
            for count in 1..=LOT {
                let messages: Vec<(&Hmac, &[u8])> =
                    cases.iter().cycle().map(|(key, data, _)| (key, *data)).take(count).collect();
                let mut found = [[0; 32]; LOT];
                by_lanes(engine, &messages, &mut found);
                for (found, (_, _, wanted)) in found[..count].iter().zip(cases.iter().cycle()) {
                    assert_eq!(found[..wanted.len()], *wanted, "{engine:?}, {count} messages");
                }
            }
        }
    }

    #[test]
    fn the_mac_is_hmac_at_every_length() {
        use hmac::{KeyInit, Mac};
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..bytes.len() {
            let mut other = hmac::Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
            other.update(&bytes[..length]);
            assert_eq!(
                Hmac::new(&[7; 32]).mac(&bytes[..length])[..],
                *other.finalize().into_bytes(),
                "{length}"
            );
        }
    }

    /// Each engine on its own, and the choice that [`macs`] makes.
    fn by_all_means(messages: &[(&Hmac, &[u8])], wanted: &[Mac], what: &str) {
        let mut found = [[0xee; 32]; LOT];
        macs(messages, &mut found);
        assert_eq!(found[..wanted.len()], *wanted, "{what}");
        assert!(found[wanted.len()..].iter().all(|mac| *mac == [0xee; 32]), "no more than was asked for");
        for engine in lanes::engines() {
            let mut found = [[0xee; 32]; LOT];
            by_lanes(engine, messages, &mut found);
            assert_eq!(found[..wanted.len()], *wanted, "{what} by {engine:?}");
        }
    }

    #[test]
    fn lanes_give_what_one_at_a_time_gives() {
        let mut random = Random::new([9; 32]);
        let text: Vec<u8> = (0..2100).flat_map(|_| random.bytes::<1>()).collect();
        let keys: Vec<Hmac> = (0..5).map(|_| Hmac::new(&random.bytes())).collect();
        for round in 0..600 {
            let count = round % (LOT + 1);
            // Lengths that are all alike, of two kinds, around the ends of blocks, or anything.
            let messages: Vec<(&Hmac, &[u8])> = (0..count)
                .map(|_| {
                    let any = random.u32() as usize;
                    let length = match round / 3 % 4 {
                        0 => 1400,
                        1 => [80, 1500][any % 2],
                        2 => 64 * (any % 4) + [0, 1, 54, 55, 56, 57, 62, 63][any / 4 % 8],
                        _ => any % 2048,
                    };
                    let from = random.u32() as usize % 50;
                    (&keys[random.u32() as usize % keys.len()], &text[from..from + length])
                })
                .collect();
            let wanted: Vec<Mac> = messages.iter().map(|(key, message)| key.mac(message)).collect();
            by_all_means(&messages, &wanted, &format!("round {round}"));
        }
    }

    #[test]
    fn one_long_message_among_short_ones_is_right() {
        let key = Hmac::new(&[3; 32]);
        let text = vec![5; 100_000];
        for at in 0..LOT {
            let messages: Vec<(&Hmac, &[u8])> =
                (0..LOT).map(|n| (&key, if n == at { &text[..] } else { &text[..n] })).collect();
            let wanted: Vec<Mac> = messages.iter().map(|(key, message)| key.mac(message)).collect();
            by_all_means(&messages, &wanted, &format!("the long one is {at}"));
        }
    }
}
