//! The Noise protocol framework (revision 34) as far as the pattern XXpsk0 over X25519 and SHA-256 goes:
//!
//! ```text
//! XXpsk0:
//!   -> psk, e
//!   <- e, ee, s, es
//!   -> s, se
//! ```
//!
//! Each state of a handshake is a type, and each step makes the next one from it. A step that reads borrows
//! its state and works on a copy: one that fails leaves nothing behind, so an injected message cannot end a
//! handshake (S5a). Payloads are edited in place; where the pieces of a message stand is the caller's
//! matter. The cipher is a parameter, so that the same machine runs against published vectors.

use core::marker::PhantomData;

use ctr::cipher::KeyInit;
use peervpn_keystream::{self as keystream, Aes256Enc, BLOCK};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base::discard::Discard;
use crate::crypto::identity::KeyPair;
use crate::crypto::schedule::{expand, extract, hmac_sha256};

/// Length of an authentication tag, in bytes.
pub const TAG: usize = 16;

/// An authentication tag.
pub type Tag = [u8; TAG];

/// A static key as it is sent: sealed, with its tag.
pub type SealedKey = [u8; 32 + TAG];

/// The cipher functions of a Noise protocol (rev 34, section 4.2).
pub trait HandshakeCipher: Clone {
    /// The whole name of the protocol, such as `Noise_XXpsk0_25519_ChaChaPoly_SHA256`: more than 32 bytes.
    const PROTOCOL: &'static str;

    /// Encrypts `text` in place; the tag covers `ad` too. No nonce is used twice with a key.
    fn seal(key: &[u8; 32], nonce: u64, ad: &[u8], text: &mut [u8]) -> Tag;

    /// Decrypts `text` in place, or leaves it alone and answers [`Discard::Forged`].
    fn open(key: &[u8; 32], nonce: u64, ad: &[u8], text: &mut [u8], tag: &Tag) -> Result<(), Discard>;
}

/// Both roles before the first message: prologue and PSK are mixed in, which need not be done anew for every
/// handshake.
#[derive(Clone)]
pub struct Beginning<C> {
    symmetric: Symmetric<C>,
}

impl<C: HandshakeCipher> Beginning<C> {
    /// Starts with the prologue, given in parts that are joined, and the pre-shared key.
    pub fn new(prologue: &[&[u8]], psk: &[u8; 32]) -> Beginning<C> {
        let mut symmetric = Symmetric::new(prologue);
        symmetric.mix_key_and_hash(psk);
        Beginning { symmetric }
    }

    /// Writes the first message: the public half of `ephemeral`, the payload and its tag.
    pub fn initiate(&self, ephemeral: KeyPair, payload: &mut [u8]) -> (SentFirst<C>, Tag) {
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_ephemeral(ephemeral.public());
        let tag = symmetric.seal(payload);
        (SentFirst { symmetric, ephemeral }, tag)
    }

    /// Reads the first message. Its tag shows that the sender has the PSK; no curve work is done.
    pub fn receive(
        &self,
        ephemeral: &[u8; 32],
        payload: &mut [u8],
        tag: &Tag,
    ) -> Result<GotFirst<C>, Discard> {
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_ephemeral(ephemeral);
        symmetric.open(payload, tag)?;
        Ok(GotFirst { symmetric, remote_ephemeral: *ephemeral })
    }
}

/// The initiator, waiting for the second message.
pub struct SentFirst<C> {
    symmetric: Symmetric<C>,
    ephemeral: KeyPair,
}

impl<C: HandshakeCipher> SentFirst<C> {
    /// Reads the second message, whose sender is then known and proved to be its sender.
    pub fn receive(
        &self,
        ephemeral: &[u8; 32],
        sealed_key: &SealedKey,
        payload: &mut [u8],
        tag: &Tag,
    ) -> Result<GotSecond<C>, Discard> {
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_ephemeral(ephemeral);
        symmetric.mix_key(&*self.ephemeral.diffie_hellman(ephemeral)?);
        let remote = symmetric.open_key(sealed_key)?;
        symmetric.mix_key(&*self.ephemeral.diffie_hellman(&remote)?);
        symmetric.open(payload, tag)?;
        Ok(GotSecond { symmetric, remote, remote_ephemeral: *ephemeral })
    }
}

/// The responder with a first message that holds.
pub struct GotFirst<C> {
    symmetric: Symmetric<C>,
    remote_ephemeral: [u8; 32],
}

impl<C: HandshakeCipher> GotFirst<C> {
    /// Writes the second message: the public half of `ephemeral`, our static key, the payload and its tag.
    pub fn answer(
        mut self,
        own: &KeyPair,
        ephemeral: KeyPair,
        payload: &mut [u8],
    ) -> Result<(SentSecond<C>, SealedKey, Tag), Discard> {
        self.symmetric.mix_ephemeral(ephemeral.public());
        self.symmetric.mix_key(&*ephemeral.diffie_hellman(&self.remote_ephemeral)?);
        let sealed_key = self.symmetric.seal_key(own.public());
        self.symmetric.mix_key(&*own.diffie_hellman(&self.remote_ephemeral)?);
        let tag = self.symmetric.seal(payload);
        Ok((SentSecond { symmetric: self.symmetric, ephemeral }, sealed_key, tag))
    }
}

/// The responder, waiting for the third message.
pub struct SentSecond<C> {
    symmetric: Symmetric<C>,
    ephemeral: KeyPair,
}

impl<C: HandshakeCipher> SentSecond<C> {
    /// Reads the third message, which ends the handshake.
    pub fn receive(
        &self,
        sealed_key: &SealedKey,
        payload: &mut [u8],
        tag: &Tag,
    ) -> Result<Finished, Discard> {
        let mut symmetric = self.symmetric.clone();
        let remote = symmetric.open_key(sealed_key)?;
        symmetric.mix_key(&*self.ephemeral.diffie_hellman(&remote)?);
        symmetric.open(payload, tag).map_err(|_| Discard::BadKey)?;
        Ok(symmetric.split(remote))
    }
}

/// The initiator with a second message that holds.
pub struct GotSecond<C> {
    symmetric: Symmetric<C>,
    remote: [u8; 32],
    remote_ephemeral: [u8; 32],
}

impl<C: HandshakeCipher> GotSecond<C> {
    /// The responder's static key.
    pub fn remote(&self) -> &[u8; 32] {
        &self.remote
    }

    /// Writes the third message: our static key, the payload and its tag. It ends the handshake.
    pub fn answer(
        mut self,
        own: &KeyPair,
        payload: &mut [u8],
    ) -> Result<(Finished, SealedKey, Tag), Discard> {
        let sealed_key = self.symmetric.seal_key(own.public());
        self.symmetric.mix_key(&*own.diffie_hellman(&self.remote_ephemeral)?);
        let tag = self.symmetric.seal(payload);
        Ok((self.symmetric.split(self.remote), sealed_key, tag))
    }
}

/// What both sides have at the end (`Split`, rev 34, section 5.2).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Finished {
    /// The key for what the initiator sends.
    pub initiator: [u8; 32],
    /// The key for what the responder sends.
    pub responder: [u8; 32],
    /// The hash of the whole handshake.
    pub hash: [u8; 32],
    /// The other side's static key.
    pub remote: [u8; 32],
}

/// `SymmetricState` with its `CipherState` (rev 34, sections 5.1 and 5.2). In a psk0 pattern there is a key
/// before anything is sealed, so that none is ever sent in clear for want of one.
#[derive(Clone)]
struct Symmetric<C> {
    chain: Zeroizing<[u8; 32]>,
    hash: [u8; 32],
    key: Zeroizing<[u8; 32]>,
    nonce: u64,
    cipher: PhantomData<C>,
}

impl<C: HandshakeCipher> Symmetric<C> {
    fn new(prologue: &[&[u8]]) -> Symmetric<C> {
        const { assert!(C::PROTOCOL.len() > 32, "a shorter name would be padded, not hashed") };
        let hash = Sha256::digest(C::PROTOCOL).into();
        let mut symmetric = Symmetric {
            chain: Zeroizing::new(hash),
            hash,
            key: Zeroizing::default(),
            nonce: 0,
            cipher: PhantomData,
        };
        symmetric.mix_hash(prologue);
        symmetric
    }

    fn mix_hash(&mut self, parts: &[&[u8]]) {
        let mut hash = Sha256::new_with_prefix(self.hash);
        parts.iter().for_each(|part| hash.update(part));
        self.hash = hash.finalize().into();
    }

    fn mix_key(&mut self, material: &[u8]) {
        let [chain, key] = *self.stretch::<2>(material);
        *self.chain = chain;
        *self.key = key;
        self.nonce = 0;
    }

    fn mix_key_and_hash(&mut self, material: &[u8]) {
        let [chain, hash, key] = *self.stretch::<3>(material);
        *self.chain = chain;
        self.mix_hash(&[&hash]);
        *self.key = key;
        self.nonce = 0;
    }

    /// The token `e` of a pattern with a PSK (rev 34, section 9.2): the key depends on the ephemeral key, so
    /// that no two handshakes seal under one.
    fn mix_ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(&[public]);
        self.mix_key(public);
    }

    /// `HKDF(ck, material, N)` (rev 34, section 4.3).
    fn stretch<const N: usize>(&self, material: &[u8]) -> Zeroizing<[[u8; 32]; N]> {
        let secret = Zeroizing::new(extract(&*self.chain, material));
        let bytes: Zeroizing<[u8; 96]> = Zeroizing::new(expand(&secret, &[]));
        let mut outputs = Zeroizing::new([[0; 32]; N]);
        outputs.as_flattened_mut().iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
        outputs
    }

    /// `EncryptAndHash`.
    fn seal(&mut self, text: &mut [u8]) -> Tag {
        let tag = C::seal(&self.key, self.nonce, &self.hash, text);
        self.nonce += 1;
        self.mix_hash(&[text, &tag]);
        tag
    }

    /// `DecryptAndHash`.
    fn open(&mut self, text: &mut [u8], tag: &Tag) -> Result<(), Discard> {
        let mut hash = self.clone();
        hash.mix_hash(&[text, tag]);
        C::open(&self.key, self.nonce, &self.hash, text, tag)?;
        self.nonce += 1;
        self.hash = hash.hash;
        Ok(())
    }

    fn seal_key(&mut self, public: &[u8; 32]) -> SealedKey {
        let mut sealed = [0; 32 + TAG];
        let (text, tag) = sealed.split_at_mut(32);
        text.copy_from_slice(public);
        tag.copy_from_slice(&self.seal(text));
        sealed
    }

    fn open_key(&mut self, sealed: &SealedKey) -> Result<[u8; 32], Discard> {
        let (text, tag) = sealed.split_first_chunk::<32>().ok_or(Discard::Truncated)?;
        let (mut public, tag) = (*text, tag.try_into().map_err(|_| Discard::Truncated)?);
        self.open(&mut public, tag)?;
        Ok(public)
    }

    fn split(self, remote: [u8; 32]) -> Finished {
        let [initiator, responder] = *self.stretch::<2>(&[]);
        Finished { initiator, responder, hash: self.hash, remote }
    }
}

/// The cipher of PeerVPN's handshake: AES-256 in counter mode, then HMAC-SHA-256 cut to 16 bytes.
///
/// The MAC covers the length of the associated data (8 bytes), the associated data, the ciphertext and the
/// nonce (8 bytes); the counter block begins with the nonce. Its key is a hash's, so that a message has one
/// key under which it is right: a PSK cannot be sought by messages that fit many.
#[derive(Clone)]
pub struct Aes256CtrHmac;

impl HandshakeCipher for Aes256CtrHmac {
    const PROTOCOL: &'static str = "Noise_XXpsk0_25519_AES256CTRHMAC_SHA256";

    fn seal(key: &[u8; 32], nonce: u64, ad: &[u8], text: &mut [u8]) -> Tag {
        apply_keystream(key, nonce, text);
        compute_tag(key, nonce, ad, text)
    }

    fn open(key: &[u8; 32], nonce: u64, ad: &[u8], text: &mut [u8], tag: &Tag) -> Result<(), Discard> {
        // S22: in constant time.
        if !bool::from(compute_tag(key, nonce, ad, text).ct_eq(tag)) {
            return Err(Discard::Forged);
        }
        apply_keystream(key, nonce, text);
        Ok(())
    }
}

fn apply_keystream(key: &[u8; 32], nonce: u64, text: &mut [u8]) {
    let key = Zeroizing::new(expand::<32>(key, &[b"peervpn handshake encryption\0"]));
    let cipher = Aes256Enc::new((&*key).into());
    let (whole, rest) = text.split_at_mut(text.len() / BLOCK * BLOCK);
    let first = u128::from(nonce) << 64;
    keystream::apply(&cipher, &first.to_be_bytes(), whole);
    // What is left is encrypted as the beginning of a block.
    let last = first + (whole.len() / BLOCK) as u128;
    let mut block = Zeroizing::new([0; BLOCK]);
    block[..rest.len()].copy_from_slice(rest);
    keystream::apply(&cipher, &last.to_be_bytes(), &mut *block);
    rest.copy_from_slice(&block[..rest.len()]);
}

fn compute_tag(key: &[u8; 32], nonce: u64, ad: &[u8], text: &[u8]) -> Tag {
    let key = Zeroizing::new(expand::<32>(key, &[b"peervpn handshake mac\0"]));
    let ad_length = (ad.len() as u64).to_be_bytes();
    let full = hmac_sha256(&*key, &[&ad_length, ad, text, &nonce.to_be_bytes()]);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&full[..TAG]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let (key, ad) = ([3; 32], b"header");
        let mut sealed = *b"some text longer than one block";
        let tag = Aes256CtrHmac::seal(&key, 5, ad, &mut sealed);
        assert_ne!(sealed, *b"some text longer than one block");
        let open = |key: &[u8; 32], nonce, ad: &[u8], mut text: Vec<u8>, tag: &Tag| {
            let before = text.clone();
            let opened = Aes256CtrHmac::open(key, nonce, ad, &mut text, tag);
            assert_eq!(opened.is_err(), before == text, "a forged text is left alone");
            opened.map(|()| text)
        };
        assert_eq!(open(&key, 5, ad, sealed.to_vec(), &tag).unwrap(), b"some text longer than one block");
        let forged = |result: Result<Vec<u8>, Discard>| assert_eq!(result, Err(Discard::Forged));
        forged(open(&[4; 32], 5, ad, sealed.to_vec(), &tag));
        forged(open(&key, 6, ad, sealed.to_vec(), &tag));
        forged(open(&key, 5, b"Header", sealed.to_vec(), &tag));
        for bit in 0..8 * TAG {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            forged(open(&key, 5, ad, sealed.to_vec(), &other));
        }
        for at in 0..sealed.len() {
            let mut other = sealed.to_vec();
            other[at] ^= 0x10;
            forged(open(&key, 5, ad, other, &tag));
        }
        // The border between associated data and text is part of what is authenticated.
        let mut moved = sealed.to_vec();
        moved.remove(0);
        forged(open(&key, 5, &[&ad[..], &sealed[..1]].concat(), moved, &tag));
    }

    #[test]
    fn a_member_with_a_bad_key_is_refused() {
        // S10: the sender knows the PSK and what such a key makes of every shared secret, and seals with it.
        let beginning = Beginning::<Aes256CtrHmac>::new(&[], &[1; 32]);
        let (alice, bob) = (KeyPair::from_secret([2; 32]), KeyPair::from_secret([3; 32]));
        let mut non_canonical = [0xff; 32];
        non_canonical[31] = 0x7f;
        for bad in [[0; 32], non_canonical] {
            let (sent_first, tag) = beginning.initiate(alice.clone(), &mut []);

            // As ephemeral key of the first message.
            let (mut symmetric, mut none) = (beginning.symmetric.clone(), []);
            symmetric.mix_ephemeral(&bad);
            let its_tag = symmetric.seal(&mut none);
            let got_first = beginning.receive(&bad, &mut none, &its_tag).unwrap();
            let refused = got_first.answer(&bob, bob.clone(), &mut none).err();
            assert_eq!(refused, Some(Discard::BadKey));

            // As static key of the second.
            let mut got_first = beginning.receive(alice.public(), &mut none, &tag).unwrap();
            let symmetric = &mut got_first.symmetric;
            symmetric.mix_ephemeral(bob.public());
            symmetric.mix_key(&*bob.diffie_hellman(alice.public()).unwrap());
            let sealed_key = symmetric.seal_key(&bad);
            symmetric.mix_key(&[0; 32]);
            let its_tag = symmetric.seal(&mut none);
            let refused = sent_first.receive(bob.public(), &sealed_key, &mut none, &its_tag).err();
            assert_eq!(refused, Some(Discard::BadKey));

            // As static key of the third.
            let got_first = beginning.receive(alice.public(), &mut none, &tag).unwrap();
            let (sent_second, sealed_key, tag) = got_first.answer(&bob, bob.clone(), &mut none).unwrap();
            let mut got_second = sent_first.receive(bob.public(), &sealed_key, &mut none, &tag).unwrap();
            let sealed_key = got_second.symmetric.seal_key(&bad);
            got_second.symmetric.mix_key(&[0; 32]);
            let its_tag = got_second.symmetric.seal(&mut none);
            let refused = sent_second.receive(&sealed_key, &mut none, &its_tag).err();
            assert_eq!(refused, Some(Discard::BadKey));
        }
    }

    #[test]
    fn each_nonce_has_a_keystream_of_its_own() {
        let (mut one, mut other) = ([0; 64], [0; 64]);
        Aes256CtrHmac::seal(&[9; 32], 0, &[], &mut one);
        Aes256CtrHmac::seal(&[9; 32], 1, &[], &mut other);
        assert!(!one.chunks(16).any(|block| other.chunks(16).any(|found| found == block)));
    }
}
