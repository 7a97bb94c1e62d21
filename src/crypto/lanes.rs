//! SHA-256's compression function on several messages side by side, each with a block of its own and a state of its own.
//!
//! One message cannot be hashed faster than its rounds follow each other; several can, since their rounds do not wait
//! for one another. Each engine below is a way of doing that which some processors have. Which one this processor has
//! is found out at run time ([`engines`]), and all give the same result as the `sha2` crate, which hashes one message
//! at a time (FIPS 180-4, 6.2.2):
//!
//! - two messages by the SHA instructions of x86, which wait for their own results half of the time;
//! - eight by AVX2, one in each 32-bit lane of a vector: a third of the instructions of one message;
//! - eight by the same vectors with AVX-512's rotation and three-way logic, which halves that again. Vectors of twice
//!   the length gain nothing on top;
//! - four by NEON on ARMv8 processors without SHA instructions. With them the `sha2` crate is faster.
//!
//! 32-bit processors get none of this; there is nothing of it in their program.
//!
//! Beside `src/sys` this is the only file with unsafe code, for two reasons: a function that is compiled for certain
//! instructions must not be called where they are missing, and vectors are read and written through pointers. So: an
//! [`Engine`] exists only where its instructions do, and only the functions `load` and `store` use pointers, each made
//! of an array as long as a vector. What is hashed and what comes out are plain arrays; no branch and no address
//! depends on them.
#![allow(unsafe_code)]

/// Whether any processor of this architecture has an engine.
pub const ANY: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The most messages that any engine takes at once.
pub const LANES: usize = 8;

/// What the compression function takes in at a time.
pub type Block = [u8; 64];
/// The eight words that it turns into the next eight.
pub type State = [u32; 8];

/// A way to hash several messages at once. Whoever has one may use it: it is made only where the processor can do it.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    lanes: usize,
    /// Must be called only where the instructions that it is compiled for exist.
    compress: unsafe fn(&mut [State; LANES], &[&[Block]; LANES], usize),
}

impl Engine {
    /// How many messages it takes at once; the rest of what [`Engine::compress`] is given it leaves alone.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Absorbs as many blocks into each state as every lane has, and returns how many that was.
    pub fn compress(&self, states: &mut [State; LANES], blocks: &[&[Block]; LANES]) -> usize {
        let count = blocks[..self.lanes].iter().map(|lane| lane.len()).min().unwrap_or(0);
        // SAFETY: `engines` made this engine, and so the processor has what the function is compiled for.
        unsafe { (self.compress)(states, blocks, count) };
        count
    }
}

/// All engines that this processor has, the fastest first; none where one message at a time is best.
pub fn engines() -> impl Iterator<Item = Engine> {
    available().into_iter().flatten()
}

#[cfg(target_arch = "x86_64")]
fn available() -> [Option<Engine>; 3] {
    use std::arch::is_x86_feature_detected as has;
    let sha = has!("sha") && has!("ssse3") && has!("sse4.1");
    let avx2 = has!("avx2");
    let avx512 = avx2 && has!("avx512f") && has!("avx512vl");
    [
        sha.then_some(Engine { lanes: 2, compress: sha_ni::compress }),
        avx512.then_some(Engine { lanes: 8, compress: avx512::compress }),
        avx2.then_some(Engine { lanes: 8, compress: avx2::compress }),
    ]
}

#[cfg(target_arch = "aarch64")]
fn available() -> [Option<Engine>; 1] {
    use std::arch::is_aarch64_feature_detected as has;
    let neon = has!("neon") && (cfg!(test) || !has!("sha2"));
    [neon.then_some(Engine { lanes: 4, compress: neon::compress })]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn available() -> [Option<Engine>; 0] {
    []
}

/// FIPS 180-4, 4.2.2.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The compression function with a vector in place of each word, lane `n` of it being that word of message `n`:
/// FIPS 180-4, 6.2.2, in its own letters. The message schedule is made as it is used up. The module that it stands in
/// says what a vector is and how it is loaded, added and put through the standard's six functions.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! compress {
    ($features:literal) => {
        /// Absorbs `count` blocks of each lane.
        #[target_feature(enable = $features)]
        pub(super) fn compress(states: &mut [State; LANES], blocks: &[&[Block]; LANES], count: usize) {
            let mut state = load_states(states);
            for number in 0..count {
                let mut w = load_blocks(blocks, number);
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
                for k in K.chunks_exact(16) {
                    macro_rules! round {
                        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident $t:literal) => {
                            let t1 = add(add($h, word(k[$t])), add(w[$t], add(big_sigma1($e), ch($e, $f, $g))));
                            $d = add($d, t1);
                            $h = add(t1, add(big_sigma0($a), maj($a, $b, $c)));
                            let older = add(w[$t], small_sigma0(w[($t + 1) % 16]));
                            w[$t] = add(older, add(w[($t + 9) % 16], small_sigma1(w[($t + 14) % 16])));
                        };
                    }
                    round!(a b c d e f g h 0);
                    round!(h a b c d e f g 1);
                    round!(g h a b c d e f 2);
                    round!(f g h a b c d e 3);
                    round!(e f g h a b c d 4);
                    round!(d e f g h a b c 5);
                    round!(c d e f g h a b 6);
                    round!(b c d e f g h a 7);
                    round!(a b c d e f g h 8);
                    round!(h a b c d e f g 9);
                    round!(g h a b c d e f 10);
                    round!(f g h a b c d e 11);
                    round!(e f g h a b c d 12);
                    round!(d e f g h a b c 13);
                    round!(c d e f g h a b 14);
                    round!(b c d e f g h a 15);
                }
                for (old, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                    *old = add(*old, new);
                }
            }
            store_states(states, state);
        }
    };
}

/// Functions that are compiled for certain instructions, so that they are inlined where those are used.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operations {
    ($features:literal; $($(#[$doc:meta])* fn $name:ident($($arg:ident: $of:ty),*) -> $to:ty $body:block)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = $features)]
        fn $name($($arg: $of),*) -> $to $body
    )*};
}

/// Eight lanes in vectors of 256 bits. The arguments are macros for what AVX2 and AVX-512 do differently.
#[cfg(target_arch = "x86_64")]
macro_rules! eight_lanes {
    ($features:literal, $rotate:ident, $xor3:ident, $choose:ident, $majority:ident) => {
        use core::arch::x86_64::*;

        use super::{Block, K, LANES, State};

        type V = __m256i;

        compress!($features);

        operations! { $features;
            fn load(half: &[u32; 8]) -> V {
                // SAFETY: 32 bytes are read, as many as the array has.
                unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
            }

            fn store(to: &mut [u32; 8], vector: V) -> () {
                // SAFETY: 32 bytes are written, as many as the array has.
                unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
            }

            fn load_bytes(half: &[u8; 32]) -> V {
                // SAFETY: 32 bytes are read, as many as the array has.
                unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
            }

            fn word(word: u32) -> V { _mm256_set1_epi32(i32::from_ne_bytes(word.to_ne_bytes())) }
            fn add(a: V, b: V) -> V { _mm256_add_epi32(a, b) }
            fn ch(e: V, f: V, g: V) -> V { $choose!(e, f, g) }
            fn maj(a: V, b: V, c: V) -> V { $majority!(a, b, c) }
            fn big_sigma0(a: V) -> V { $xor3!($rotate!(a, 2), $rotate!(a, 13), $rotate!(a, 22)) }
            fn big_sigma1(e: V) -> V { $xor3!($rotate!(e, 6), $rotate!(e, 11), $rotate!(e, 25)) }
            fn small_sigma0(w: V) -> V { $xor3!($rotate!(w, 7), $rotate!(w, 18), _mm256_srli_epi32::<3>(w)) }
            fn small_sigma1(w: V) -> V { $xor3!($rotate!(w, 17), $rotate!(w, 19), _mm256_srli_epi32::<10>(w)) }

            fn load_states(states: &[State; LANES]) -> [V; 8] {
                let mut rows = [_mm256_setzero_si256(); 8];
                for (row, state) in rows.iter_mut().zip(states) {
                    *row = load(state);
                }
                transpose(rows)
            }

            fn store_states(states: &mut [State; LANES], words: [V; 8]) -> () {
                for (state, row) in states.iter_mut().zip(transpose(words)) {
                    store(state, row);
                }
            }

            /// The sixteen words of each lane's block, which are big-endian.
            fn load_blocks(blocks: &[&[Block]; LANES], number: usize) -> [V; 16] {
                let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
                let swap = _mm256_broadcastsi128_si256(swap);
                let (mut front, mut back) = ([_mm256_setzero_si256(); 8], [_mm256_setzero_si256(); 8]);
                for ((front, back), lane) in front.iter_mut().zip(&mut back).zip(blocks) {
                    let (halves, _) = lane[number].as_chunks();
                    *front = _mm256_shuffle_epi8(load_bytes(&halves[0]), swap);
                    *back = _mm256_shuffle_epi8(load_bytes(&halves[1]), swap);
                }
                let [a, b, c, d, e, f, g, h] = transpose(front);
                let [i, j, k, l, m, n, o, p] = transpose(back);
                [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
            }

            /// Rows become columns.
            fn transpose(rows: [V; 8]) -> [V; 8] {
                let [a0, a1, a2, a3] = quarters(rows[0], rows[1], rows[2], rows[3]);
                let [b0, b1, b2, b3] = quarters(rows[4], rows[5], rows[6], rows[7]);
                [
                    _mm256_permute2x128_si256::<0x20>(a0, b0),
                    _mm256_permute2x128_si256::<0x20>(a1, b1),
                    _mm256_permute2x128_si256::<0x20>(a2, b2),
                    _mm256_permute2x128_si256::<0x20>(a3, b3),
                    _mm256_permute2x128_si256::<0x31>(a0, b0),
                    _mm256_permute2x128_si256::<0x31>(a1, b1),
                    _mm256_permute2x128_si256::<0x31>(a2, b2),
                    _mm256_permute2x128_si256::<0x31>(a3, b3),
                ]
            }

            /// The columns of four rows, two in each vector: the first and the fifth, and so on.
            fn quarters(a: V, b: V, c: V, d: V) -> [V; 4] {
                let (low_ab, high_ab) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                let (low_cd, high_cd) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
                [
                    _mm256_unpacklo_epi64(low_ab, low_cd),
                    _mm256_unpackhi_epi64(low_ab, low_cd),
                    _mm256_unpacklo_epi64(high_ab, high_cd),
                    _mm256_unpackhi_epi64(high_ab, high_cd),
                ]
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    macro_rules! rotate {
        ($a:expr, $by:literal) => {
            _mm256_or_si256(_mm256_srli_epi32::<$by>($a), _mm256_slli_epi32::<{ 32 - $by }>($a))
        };
    }
    macro_rules! xor3 {
        ($a:expr, $b:expr, $c:expr) => {
            _mm256_xor_si256(_mm256_xor_si256($a, $b), $c)
        };
    }
    macro_rules! choose {
        ($e:expr, $f:expr, $g:expr) => {
            _mm256_xor_si256($g, _mm256_and_si256($e, _mm256_xor_si256($f, $g)))
        };
    }
    macro_rules! majority {
        ($a:expr, $b:expr, $c:expr) => {
            _mm256_or_si256(_mm256_and_si256($a, $b), _mm256_and_si256($c, _mm256_or_si256($a, $b)))
        };
    }
    eight_lanes!("avx2", rotate, xor3, choose, majority);
}

/// The same vectors, with a rotation and any function of three bits as one instruction each; such a function is named by
/// the number whose bit 4a + 2b + c is its value.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    macro_rules! rotate {
        ($a:expr, $by:literal) => {
            _mm256_ror_epi32::<$by>($a)
        };
    }
    macro_rules! xor3 {
        ($a:expr, $b:expr, $c:expr) => {
            _mm256_ternarylogic_epi32::<0x96>($a, $b, $c)
        };
    }
    macro_rules! choose {
        ($e:expr, $f:expr, $g:expr) => {
            _mm256_ternarylogic_epi32::<0xca>($e, $f, $g)
        };
    }
    macro_rules! majority {
        ($a:expr, $b:expr, $c:expr) => {
            _mm256_ternarylogic_epi32::<0xe8>($a, $b, $c)
        };
    }
    eight_lanes!("avx2,avx512f,avx512vl", rotate, xor3, choose, majority);
}

/// Two messages by turns with the SHA instructions, each of which does two rounds on a state in two vectors, as ABEF and
/// CDGH.
#[cfg(target_arch = "x86_64")]
mod sha_ni {
    use core::arch::x86_64::*;

    use super::{Block, K, LANES, State};

    type V = __m128i;

    /// Absorbs `count` blocks of each of the first two lanes.
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub(super) fn compress(states: &mut [State; LANES], blocks: &[&[Block]; LANES], count: usize) {
        let (constants, _) = K.as_chunks();
        let [mut one, mut two] = [load_state(&states[0]), load_state(&states[1])];
        for (first, second) in blocks[0].iter().zip(blocks[1]).take(count) {
            let (before_one, before_two) = (one, two);
            let (mut w, mut x) = (load_block(first), load_block(second));
            for k in 0..4 {
                // Four rounds for each of the four vectors, which then is replaced by its successor four vectors on.
                macro_rules! rounds {
                    ($now:literal $next:literal $third:literal $last:literal) => {
                        let constant = load(&constants[4 * k + $now]);
                        one = four_rounds(one, _mm_add_epi32(w[$now], constant));
                        two = four_rounds(two, _mm_add_epi32(x[$now], constant));
                        w[$now] = schedule(w[$now], w[$next], w[$third], w[$last]);
                        x[$now] = schedule(x[$now], x[$next], x[$third], x[$last]);
                    };
                }
                rounds!(0 1 2 3);
                rounds!(1 2 3 0);
                rounds!(2 3 0 1);
                rounds!(3 0 1 2);
            }
            one = [_mm_add_epi32(one[0], before_one[0]), _mm_add_epi32(one[1], before_one[1])];
            two = [_mm_add_epi32(two[0], before_two[0]), _mm_add_epi32(two[1], before_two[1])];
        }
        store_state(&mut states[0], one);
        store_state(&mut states[1], two);
    }

    operations! { "sha,ssse3,sse4.1";
        fn load(words: &[u32; 4]) -> V {
            // SAFETY: 16 bytes are read, as many as the array has.
            unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
        }

        fn store(to: &mut [u32; 4], vector: V) -> () {
            // SAFETY: 16 bytes are written, as many as the array has.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), vector) }
        }

        fn load_bytes(quarter: &[u8; 16]) -> V {
            // SAFETY: 16 bytes are read, as many as the array has.
            unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) }
        }

        fn four_rounds(state: [V; 2], words: V) -> [V; 2] {
            let [abef, cdgh] = state;
            let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
            let abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0x0e>(words));
            [abef, cdgh]
        }

        /// The words of the message schedule that come sixteen after those in `now`.
        fn schedule(now: V, next: V, third: V, last: V) -> V {
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, next), _mm_alignr_epi8::<4>(last, third));
            _mm_sha256msg2_epu32(sum, last)
        }

        fn load_block(block: &Block) -> [V; 4] {
            let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
            let mut words = [_mm_setzero_si128(); 4];
            for (words, bytes) in words.iter_mut().zip(block.as_chunks().0) {
                *words = _mm_shuffle_epi8(load_bytes(bytes), swap);
            }
            words
        }

        fn load_state(state: &State) -> [V; 2] {
            let (halves, _) = state.as_chunks();
            let badc = _mm_shuffle_epi32::<0xb1>(load(&halves[0]));
            let hgfe = _mm_shuffle_epi32::<0x1b>(load(&halves[1]));
            [_mm_alignr_epi8::<8>(badc, hgfe), _mm_blend_epi16::<0xf0>(hgfe, badc)]
        }

        fn store_state(state: &mut State, vectors: [V; 2]) -> () {
            let feba = _mm_shuffle_epi32::<0x1b>(vectors[0]);
            let dchg = _mm_shuffle_epi32::<0xb1>(vectors[1]);
            let (halves, _) = state.as_chunks_mut();
            store(&mut halves[0], _mm_blend_epi16::<0xf0>(feba, dchg));
            store(&mut halves[1], _mm_alignr_epi8::<8>(dchg, feba));
        }
    }
}

/// Four lanes in vectors of 128 bits.
#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::*;

    use super::{Block, K, LANES, State};

    type V = uint32x4_t;

    macro_rules! rotate {
        ($a:expr, $by:literal) => {
            vsriq_n_u32::<$by>(vshlq_n_u32::<{ 32 - $by }>($a), $a)
        };
    }
    macro_rules! xor3 {
        ($a:expr, $b:expr, $c:expr) => {
            veorq_u32(veorq_u32($a, $b), $c)
        };
    }

    compress!("neon");

    operations! { "neon";
        fn load(half: &[u32; 4]) -> V {
            // SAFETY: 16 bytes are read, as many as the array has.
            unsafe { vld1q_u32(half.as_ptr()) }
        }

        fn store(to: &mut [u32; 4], vector: V) -> () {
            // SAFETY: 16 bytes are written, as many as the array has.
            unsafe { vst1q_u32(to.as_mut_ptr(), vector) }
        }

        fn load_bytes(quarter: &[u8; 16]) -> uint8x16_t {
            // SAFETY: 16 bytes are read, as many as the array has.
            unsafe { vld1q_u8(quarter.as_ptr()) }
        }

        fn word(word: u32) -> V { vdupq_n_u32(word) }
        fn add(a: V, b: V) -> V { vaddq_u32(a, b) }
        fn ch(e: V, f: V, g: V) -> V { vbslq_u32(e, f, g) }
        fn maj(a: V, b: V, c: V) -> V { vbslq_u32(veorq_u32(a, b), c, a) }
        fn big_sigma0(a: V) -> V { xor3!(rotate!(a, 2), rotate!(a, 13), rotate!(a, 22)) }
        fn big_sigma1(e: V) -> V { xor3!(rotate!(e, 6), rotate!(e, 11), rotate!(e, 25)) }
        fn small_sigma0(w: V) -> V { xor3!(rotate!(w, 7), rotate!(w, 18), vshrq_n_u32::<3>(w)) }
        fn small_sigma1(w: V) -> V { xor3!(rotate!(w, 17), rotate!(w, 19), vshrq_n_u32::<10>(w)) }

        fn load_states(states: &[State; LANES]) -> [V; 8] {
            let (mut front, mut back) = ([vdupq_n_u32(0); 4], [vdupq_n_u32(0); 4]);
            for ((front, back), state) in front.iter_mut().zip(&mut back).zip(states) {
                let (halves, _) = state.as_chunks();
                (*front, *back) = (load(&halves[0]), load(&halves[1]));
            }
            let ([a, b, c, d], [e, f, g, h]) = (transpose(front), transpose(back));
            [a, b, c, d, e, f, g, h]
        }

        fn store_states(states: &mut [State; LANES], words: [V; 8]) -> () {
            let [a, b, c, d, e, f, g, h] = words;
            let (front, back) = (transpose([a, b, c, d]), transpose([e, f, g, h]));
            for (state, (front, back)) in states.iter_mut().zip(front.into_iter().zip(back)) {
                let (halves, _) = state.as_chunks_mut();
                store(&mut halves[0], front);
                store(&mut halves[1], back);
            }
        }

        /// The sixteen words of each lane's block, which are big-endian.
        fn load_blocks(blocks: &[&[Block]; LANES], number: usize) -> [V; 16] {
            let mut words = [vdupq_n_u32(0); 16];
            for (quarter, words) in words.chunks_exact_mut(4).enumerate() {
                let mut rows = [vdupq_n_u32(0); 4];
                for (row, lane) in rows.iter_mut().zip(blocks) {
                    let (quarters, _) = lane[number].as_chunks();
                    *row = vreinterpretq_u32_u8(vrev32q_u8(load_bytes(&quarters[quarter])));
                }
                words.copy_from_slice(&transpose(rows));
            }
            words
        }

        /// Rows become columns.
        fn transpose(rows: [V; 4]) -> [V; 4] {
            let [r0, r1, r2, r3] = rows;
            let even = |a, b| vreinterpretq_u64_u32(vtrn1q_u32(a, b));
            let odd = |a, b| vreinterpretq_u64_u32(vtrn2q_u32(a, b));
            let (even01, odd01, even23, odd23) = (even(r0, r1), odd(r0, r1), even(r2, r3), odd(r2, r3));
            [
                vreinterpretq_u32_u64(vtrn1q_u64(even01, even23)),
                vreinterpretq_u32_u64(vtrn1q_u64(odd01, odd23)),
                vreinterpretq_u32_u64(vtrn2q_u64(even01, even23)),
                vreinterpretq_u32_u64(vtrn2q_u64(odd01, odd23)),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::block_api::compress256;

    use super::*;
    use crate::crypto::random::Random;

    #[test]
    fn this_processor_is_known_for_what_it_is() {
        // A machine of this architecture has at least the first of these; elsewhere there is none.
        let found = engines().count();
        if cfg!(target_arch = "aarch64") {
            assert_eq!(found, 1);
        } else if !cfg!(target_arch = "x86_64") {
            assert_eq!(found, 0);
        }
        for engine in engines() {
            assert!((2..=LANES).contains(&engine.lanes()));
        }
    }

    #[test]
    fn each_lane_of_each_engine_is_the_compression_function() {
        let mut random = Random::new([7; 32]);
        for engine in engines() {
            for round in 0..200 {
                // Lanes of different lengths, at every alignment: as many blocks are absorbed as the shortest has.
                let text: Vec<u8> = (0..LANES * 64 * 8).flat_map(|_| random.bytes::<1>()).collect();
                let lengths: [usize; LANES] = core::array::from_fn(|_| 1 + random.u32() as usize % 6);
                let blocks: [&[Block]; LANES] = core::array::from_fn(|lane| {
                    let (blocks, _) = text[lane * 512 + round % 64..].as_chunks();
                    &blocks[..lengths[lane]]
                });
                let states: [State; LANES] = core::array::from_fn(|_| core::array::from_fn(|_| random.u32()));
                let mut found = states;
                let count = engine.compress(&mut found, &blocks);
                assert_eq!(Some(&count), lengths[..engine.lanes()].iter().min());
                for lane in 0..LANES {
                    let mut wanted = states[lane];
                    if lane < engine.lanes() {
                        compress256(&mut wanted, &blocks[lane][..count]);
                    }
                    assert_eq!(found[lane], wanted, "{engine:?} lane {lane}");
                }
            }
        }
    }

    #[test]
    fn a_lane_without_blocks_changes_nothing() {
        for engine in engines() {
            let states: [State; LANES] = core::array::from_fn(|lane| [u32::try_from(lane).unwrap(); 8]);
            let mut found = states;
            let mut blocks: [&[Block]; LANES] = [&[[1; 64]; 3]; LANES];
            blocks[engine.lanes() - 1] = &[];
            assert_eq!(engine.compress(&mut found, &blocks), 0);
            assert_eq!(found, states);
        }
    }
}
