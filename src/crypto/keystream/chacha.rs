//! ChaCha20-Poly1305 (RFC 8439, 2.8), in place.
//!
//! The crate of that name would do, but its way through the text asks for single blocks thrice, of which processors with
//! vectors make four in the same time, and has each loop twice, which a router has no room for. Here each is in one
//! place: [`keystream`] and [`absorb`].

use chacha20::variants::Ietf;
use chacha20::{ChaChaCore, KeyIvInit, R20};
use ctr::cipher::StreamCipherCore;
use ctr::cipher::array::Array;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::aead::{NONCE, TAG};

type Stream = ChaChaCore<R20, Ietf>;
type Block = [u8; 64];

/// So many blocks are made at once.
const WIDE: usize = 4;

/// A key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct ChaCha20Poly1305 {
    key: [u8; 32],
}

impl ChaCha20Poly1305 {
    pub(crate) fn new(key: &[u8; 32]) -> ChaCha20Poly1305 {
        ChaCha20Poly1305 { key: *key }
    }

    pub(crate) fn seal(&self, nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let mut packet = self.packet(nonce, text.len());
        packet.crypt(text);
        packet.tag(ad, text)
    }

    pub(crate) fn open(&self, nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        let mut packet = self.packet(nonce, text.len());
        let right = packet.tag(ad, text).ct_eq(tag).into();
        if right {
            packet.crypt(text);
        }
        right
    }

    /// Makes the first blocks of the keystream, as many as a packet of so many bytes needs.
    fn packet(&self, nonce: &[u8; NONCE], length: usize) -> Packet {
        let mut stream = Stream::new((&self.key).into(), nonce.into());
        let mut first = [[0; 64]; WIDE];
        let needed = 1 + length.div_ceil(64).min(WIDE - 1);
        keystream(&mut stream, &mut first[..needed]);
        Packet { stream, first }
    }
}

/// The keystream of one packet. It is no more secret than the packet, and not wiped either.
struct Packet {
    /// From block [`WIDE`] on.
    stream: Stream,
    /// The block whose first half is the key of the tag, and the text's first ones.
    first: [Block; WIDE],
}

impl Packet {
    fn crypt(&mut self, text: &mut [u8]) {
        let (head, rest) = text.split_at_mut(text.len().min(64 * (WIDE - 1)));
        let (wide, tail) = rest.split_at_mut(rest.len() / (64 * WIDE) * (64 * WIDE));
        xor(head, self.first[1..].as_flattened());
        keystream(&mut self.stream, wide.as_chunks_mut().0);
        let mut last = [[0; 64]; WIDE];
        keystream(&mut self.stream, &mut last[..tail.len().div_ceil(64)]);
        xor(tail, last.as_flattened());
    }

    /// The tag of ciphertext and associated data: each is filled up to whole blocks, their lengths follow.
    fn tag(&self, ad: &[u8], text: &[u8]) -> [u8; TAG] {
        let mut key = poly1305::Key::default();
        key.copy_from_slice(&self.first[0][..32]);
        let mut poly = Poly1305::new(&key);
        let mut lengths = [0; 16];
        lengths[..8].copy_from_slice(&(ad.len() as u64).to_le_bytes());
        lengths[8..].copy_from_slice(&(text.len() as u64).to_le_bytes());
        for part in [ad, text, &lengths] {
            absorb(&mut poly, part);
        }
        poly.finalize().into()
    }
}

/// Lays the next blocks of the keystream over these.
#[inline(never)]
fn keystream(stream: &mut Stream, blocks: &mut [Block]) {
    stream.apply_keystream_blocks(Array::cast_slice_from_core_mut(blocks));
}

#[inline(never)]
fn absorb(poly: &mut Poly1305, bytes: &[u8]) {
    poly.update_padded(bytes);
}

fn xor(text: &mut [u8], stream: &[u8]) {
    text.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
}
