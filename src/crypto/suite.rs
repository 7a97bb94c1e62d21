//! The data suites, and the short MAC of a relay hop.
//!
//! Suite 1 is AES-256-CTR and HMAC-SHA-256 truncated to 16 bytes, encrypt-then-MAC over header and ciphertext. Suites 2
//! and 3 are ChaCha20-Poly1305 and AES-256-GCM with the header as associated data. The envelope is the same for all, and
//! so is the nonce: the salt of the direction and the packet's counter, which no two packets of a direction share.
//!
//! Keys are expanded once, when they are made: the AES round keys, both states of the hash behind HMAC's
//! pads and the powers of GCM's key are kept, so a packet pays for its own bytes only. Everything works in place on the
//! packet's bytes and allocates nothing. MACs are compared in constant time, and before a byte is decrypted.
//!
//! The primitives come from the crates. The MACs of suite 1 may be computed elsewhere, several side by side
//! ([`macs`](crate::crypto::macs)); what the others do about their tags is part of their ciphers.

use ctr::cipher::KeyInit;
use peervpn_keystream::aead::{Aead, NONCE, TAG};
use peervpn_keystream::{self as keystream, Aes256Enc, BLOCK};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::base::discard::Discard;
use crate::base::ids::Suite;
use crate::base::limits::{RELAY_FRONT, SEAL_BACK, SEAL_FRONT};
use crate::base::packet::Ticket;
use crate::crypto::hmac::Hmac;
use crate::crypto::macs::{Due, shortened};
use crate::crypto::schedule::DirectionKeys;

/// What stands in front of the encrypted part: the header; the kind behind it is encrypted.
const HEADER: usize = SEAL_FRONT - 1;
/// The last cipher block of a packet may reach into the room of the tag.
const _: () = assert!(BLOCK <= SEAL_BACK);
/// All suites fit one envelope.
const _: () = assert!(TAG == SEAL_BACK);

/// Length of a hop MAC, in bytes.
pub const HOP_MAC: usize = 8;
/// What a hop MAC covers of the relay header: all but itself.
const HOP_HEAD: usize = RELAY_FRONT - HOP_MAC;
/// How many bytes of the packet inside a hop MAC covers at most.
const HOP_INNER: usize = 32;
/// Header, length and inner bytes are one block of SHA-256 with its padding, so a hop costs two
/// compressions whatever it carries.
const _: () = assert!(HOP_HEAD + 2 + HOP_INNER + 1 + 8 <= 64);

/// Seals the packets of one direction.
pub struct SealKey(DataKey);

impl SealKey {
    /// Expands the keys.
    pub fn new(keys: &DirectionKeys) -> SealKey {
        SealKey(DataKey::new(keys))
    }

    /// Encrypts a packet from behind its 12-byte header to before its last 16 bytes, and writes the tag
    /// of header and ciphertext there. `counter` is the one in the header; no two packets may share it.
    ///
    /// The tag may be owed to `due`: then the ticket for it comes back, and what stands in its place means nothing and
    /// must not be seen.
    ///
    /// [`Discard::Truncated`] when there is no room for header and tag.
    pub fn seal(
        &self,
        counter: u64,
        packet: &mut [u8],
        due: Option<&mut Due>,
    ) -> Result<Option<Ticket>, Discard> {
        let tag_at = tag_place(packet)?;
        let nonce = self.0.nonce(counter);
        let hmac = match &self.0.cipher {
            Cipher::CtrHmac { aes, hmac } => {
                crypt(aes, nonce, packet);
                hmac
            }
            Cipher::Aead(aead) => {
                let (covered, tag) = packet.split_at_mut(tag_at);
                let (header, text) = covered.split_at_mut(HEADER);
                tag.copy_from_slice(&aead.seal(&nonce, header, text).ok_or(Discard::TooLong)?);
                return Ok(None);
            }
        };
        // One more must be left for a relay's header, whose MAC is not computed before the tag.
        let ticket = due.and_then(|due| due.owe(hmac, 1));
        if ticket.is_none() {
            let tag = hmac.mac(&packet[..tag_at]);
            packet[tag_at..].copy_from_slice(&tag[..SEAL_BACK]);
        }
        Ok(ticket)
    }
}

/// Opens the packets of one direction.
pub struct OpenKey(DataKey);

impl OpenKey {
    /// Expands the keys.
    pub fn new(keys: &DirectionKeys) -> OpenKey {
        OpenKey(DataKey::new(keys))
    }

    /// Checks the tag, which may have been computed ahead, and then decrypts what [`SealKey::seal`] encrypted. The last
    /// 16 bytes mean nothing afterwards.
    ///
    /// [`Discard::Truncated`] when there is no room for header and tag, [`Discard::Forged`] when the tag is
    /// wrong; the packet is untouched then.
    pub fn open(
        &self,
        counter: u64,
        packet: &mut [u8],
        foreseen: Option<&[u8; SEAL_BACK]>,
    ) -> Result<(), Discard> {
        let tag_at = tag_place(packet)?;
        let nonce = self.0.nonce(counter);
        let (covered, tag) = packet.split_at_mut(tag_at);
        match &self.0.cipher {
            Cipher::CtrHmac { aes, hmac } => {
                let wanted = foreseen.copied().unwrap_or_else(|| shortened(&hmac.mac(covered)));
                if !bool::from(wanted.ct_eq(tag)) {
                    return Err(Discard::Forged);
                }
                crypt(aes, nonce, packet);
                Ok(())
            }
            Cipher::Aead(aead) => {
                let (header, text) = covered.split_at_mut(HEADER);
                let tag = tag.first_chunk().ok_or(Discard::Truncated)?;
                if aead.open(&nonce, header, text, tag) { Ok(()) } else { Err(Discard::Forged) }
            }
        }
    }

    /// The key of the tag, for those who compute it ahead; none if the cipher does that itself.
    pub(super) fn hmac(&self) -> Option<&Hmac> {
        match &self.0.cipher {
            Cipher::CtrHmac { hmac, .. } => Some(hmac),
            Cipher::Aead(_) => None,
        }
    }
}

/// Where the tag of a packet begins.
fn tag_place(packet: &[u8]) -> Result<usize, Discard> {
    packet.len().checked_sub(SEAL_BACK).filter(|&at| at >= HEADER).ok_or(Discard::Truncated)
}

/// The expanded keys of one direction. Ciphers and MACs wipe themselves.
struct DataKey {
    cipher: Cipher,
    salt: [u8; 4],
}

/// What a suite is made of.
enum Cipher {
    CtrHmac { aes: Aes256Enc, hmac: Hmac },
    Aead(Aead),
}

impl DataKey {
    fn new(keys: &DirectionKeys) -> DataKey {
        let cipher = match keys.suite {
            Suite::Aes256Sha256 => {
                Cipher::CtrHmac { aes: Aes256Enc::new((&keys.encryption).into()), hmac: Hmac::new(&keys.mac) }
            }
            Suite::ChaCha20Poly1305 => Cipher::Aead(Aead::chacha20_poly1305(&keys.encryption)),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Suite::Aes256Gcm => Cipher::Aead(Aead::aes256_gcm(&keys.encryption)),
        };
        DataKey { cipher, salt: keys.salt }
    }

    /// What encrypts one packet of this direction, and no other.
    fn nonce(&self, counter: u64) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        nonce
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// Encrypts or decrypts between header and tag: SP 800-38A, 6.5, with nonce(12) | block(4).
///
/// Works in whole blocks. The last may run into the tag's room: the tag is not written yet, or has done
/// its work, and an odd end would cost another pass of the cipher.
fn crypt(aes: &Aes256Enc, nonce: [u8; NONCE], packet: &mut [u8]) {
    let mut first = [0; BLOCK];
    first[..NONCE].copy_from_slice(&nonce);
    let needed = (packet.len() - HEADER - SEAL_BACK).next_multiple_of(BLOCK);
    keystream::apply(aes, &first, &mut packet[HEADER..][..needed]);
}

/// Makes and checks the MACs of one direction of a relay hop.
///
/// A MAC covers the relay header, the length of the inner packet and its first bytes: enough that nobody
/// else can make a relay forward something, and the same small work for every length. The inner packet has
/// a tag of its own for its receiver.
pub struct HopKey(Hmac);

impl HopKey {
    /// Expands the key.
    pub fn new(key: &[u8; 32]) -> HopKey {
        HopKey(Hmac::new(key))
    }

    /// The MAC of a relay header in front of that inner packet. `head` is the 16 bytes before the MAC.
    pub fn mac(&self, head: &[u8], inner: &[u8]) -> [u8; HOP_MAC] {
        shortened(&self.0.mac(HopText::new(head, inner).bytes()))
    }

    /// A ticket for that MAC; without one it is to be computed at once.
    pub fn owe(&self, due: &mut Due) -> Option<Ticket> {
        due.owe(&self.0, 0)
    }

    /// Checks the MAC in constant time; [`Discard::Forged`] when it is wrong. It may have been computed ahead.
    pub fn check(
        &self,
        head: &[u8],
        mac: &[u8],
        inner: &[u8],
        foreseen: Option<&[u8; HOP_MAC]>,
    ) -> Result<(), Discard> {
        let wanted = foreseen.copied().unwrap_or_else(|| self.mac(head, inner));
        if bool::from(wanted.ct_eq(mac)) { Ok(()) } else { Err(Discard::Forged) }
    }

    /// The key itself, for those who compute a MAC ahead.
    pub(super) fn hmac(&self) -> &Hmac {
        &self.0
    }
}

/// What a hop MAC covers.
#[derive(Clone, Copy)]
pub struct HopText {
    bytes: [u8; HOP_HEAD + 2 + HOP_INNER],
    length: usize,
}

impl HopText {
    /// Of no packet.
    pub(super) const NONE: HopText = HopText { bytes: [0; HOP_HEAD + 2 + HOP_INNER], length: 0 };

    /// Of a relay header, as far as it stands before its MAC, and the packet inside.
    pub(super) fn new(head: &[u8], inner: &[u8]) -> HopText {
        // No datagram is longer than its 16-bit length field says (RFC 768).
        let length = u16::try_from(inner.len()).unwrap_or(u16::MAX);
        let covered = &inner[..inner.len().min(HOP_INNER)];
        let mut text = HopText { length: HOP_HEAD + 2 + covered.len(), ..HopText::NONE };
        text.bytes[..HOP_HEAD].copy_from_slice(head);
        text.bytes[HOP_HEAD..HOP_HEAD + 2].copy_from_slice(&length.to_be_bytes());
        text.bytes[HOP_HEAD + 2..][..covered.len()].copy_from_slice(covered);
        text
    }

    /// The bytes that it covers.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> DirectionKeys {
        keys_of(Suite::default(), seed)
    }

    fn keys_of(suite: Suite, seed: u8) -> DirectionKeys {
        DirectionKeys {
            suite,
            encryption: [seed; 32],
            mac: [seed.wrapping_add(1); 32],
            salt: [seed.wrapping_add(2); 4],
            hop: [seed.wrapping_add(3); 32],
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(pair).collect()
    }

    /// A header, `length` bytes of content, room for the tag.
    fn plain(length: usize) -> Vec<u8> {
        let mut packet: Vec<u8> = (0..=255).cycle().take(HEADER + length).collect();
        packet.resize(HEADER + length + SEAL_BACK, 0xaa);
        packet
    }

    #[test]
    fn the_cipher_is_that_of_sp_800_38a_f_5_5() {
        // The example begins at block number fcfdfeff, where a packet begins at zero: the stream is asked
        // directly, and the next test ties it to packets.
        let key = hex("603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4");
        let plain = hex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
                         30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710");
        let cipher = hex("601ec313775789a5b7a7f504bbf3d228 f443e3ca4d62b59aca84e990cacaf5c5
                          2b0930daa23de94ce87017ba2d84988d dfc9c58db67aada613c2dd08457941a6");
        let aes = Aes256Enc::new_from_slice(&key).unwrap();
        let first: [u8; BLOCK] = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").try_into().unwrap();
        let mut bytes = plain;
        keystream::apply(&aes, &first, &mut bytes);
        assert_eq!(bytes, cipher);
    }

    #[test]
    fn the_counter_block_is_salt_counter_block() {
        use ctr::cipher::BlockCipherEncrypt;
        let mut packet = vec![0; HEADER + 2 * BLOCK + SEAL_BACK];
        SealKey::new(&keys(7)).seal(0x0102_0304_0506, &mut packet, None).unwrap();
        let aes = Aes256Enc::new(&[7; 32].into());
        for (number, block) in (0..).zip(packet[HEADER..][..2 * BLOCK].chunks(BLOCK)) {
            let mut wanted = [9, 9, 9, 9, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, number].into();
            aes.encrypt_block(&mut wanted);
            assert_eq!(block, wanted.as_slice());
        }
    }

    #[test]
    fn what_was_sealed_opens_at_every_length() {
        let all = Suite::ALL
            .iter()
            .flat_map(|suite| (0..200).chain([1400, 1500, 2020]).map(|length| (*suite, length)));
        for (suite, length) in all {
            let (seal, open) = (SealKey::new(&keys_of(suite, 1)), OpenKey::new(&keys_of(suite, 1)));
            let original = plain(length);
            let mut packet = original.clone();
            seal.seal(9, &mut packet, None).unwrap();
            let end = HEADER + length;
            assert_eq!(packet[..HEADER], original[..HEADER], "the header stays readable");
            assert!(length < 8 || packet[HEADER..end] != original[HEADER..end], "length {length}");
            open.open(9, &mut packet, None).unwrap();
            assert_eq!(packet[..end], original[..end], "length {length}");
        }
    }

    #[test]
    fn no_bit_can_be_flipped() {
        for &suite in Suite::ALL {
            let mut sealed = plain(20);
            SealKey::new(&keys_of(suite, 1)).seal(9, &mut sealed, None).unwrap();
            let open = OpenKey::new(&keys_of(suite, 1));
            for bit in 0..8 * sealed.len() {
                let mut packet = sealed.clone();
                packet[bit / 8] ^= 1 << (bit % 8);
                let changed = packet.clone();
                assert_eq!(open.open(9, &mut packet, None), Err(Discard::Forged), "{suite:?} bit {bit}");
                assert_eq!(packet, changed, "nothing is decrypted before its tag has passed");
            }
        }
    }

    #[test]
    fn no_counter_and_no_suite_opens_what_another_sealed() {
        // S5: each packet has a nonce of its own; in the envelope of one suite nothing passes for another's.
        for &suite in Suite::ALL {
            let mut sealed = plain(64);
            SealKey::new(&keys_of(suite, 1)).seal(9, &mut sealed, None).unwrap();
            for &other in Suite::ALL.iter().filter(|other| **other != suite) {
                let opened = OpenKey::new(&keys_of(other, 1)).open(9, &mut sealed.clone(), None);
                assert_eq!(opened, Err(Discard::Forged), "{suite:?} {other:?}");
            }
            let mut again = plain(64);
            SealKey::new(&keys_of(suite, 1)).seal(10, &mut again, None).unwrap();
            let alike = |from: usize| sealed[from..][..8] == again[from..][..8];
            assert!((HEADER..HEADER + 56).all(|from| !alike(from)), "{suite:?} uses a keystream twice");
            // The header names the counter, and the tag covers both.
            let wrong = OpenKey::new(&keys_of(suite, 1)).open(10, &mut sealed.clone(), None);
            let passes = matches!(suite, Suite::Aes256Sha256);
            assert_eq!(wrong.is_ok(), passes, "{suite:?}: only suite 1 trusts the header alone");
        }
    }

    #[test]
    fn chacha20_poly1305_is_that_of_the_crate_of_its_name() {
        use chacha20poly1305::{ChaCha20Poly1305, aead::AeadInOut};
        let crates = ChaCha20Poly1305::new(&[1; 32].into());
        let ours = SealKey::new(&keys_of(Suite::ChaCha20Poly1305, 1));
        let nonce = [3, 3, 3, 3, 0, 0, 1, 2, 3, 4, 5, 6].into();
        for length in 0..2048 {
            let (mut sealed, mut wanted) = (plain(length), plain(length));
            ours.seal(0x0102_0304_0506, &mut sealed, None).unwrap();
            let (header, rest) = wanted.split_at_mut(HEADER);
            let (text, tag) = rest.split_at_mut(length);
            tag.copy_from_slice(&crates.encrypt_inout_detached(&nonce, header, text.into()).unwrap());
            assert_eq!(sealed, wanted, "length {length}");
        }
    }

    #[test]
    fn suites_with_a_tag_of_their_own_owe_nothing() {
        for &suite in Suite::ALL {
            let (mut due, mut sealed, mut wanted) = (Due::new(), plain(64), plain(64));
            let ticket = SealKey::new(&keys_of(suite, 1)).seal(9, &mut sealed, Some(&mut due)).unwrap();
            SealKey::new(&keys_of(suite, 1)).seal(9, &mut wanted, None).unwrap();
            let owes = suite == Suite::Aes256Sha256 && due.is_worthwhile();
            assert_eq!((ticket.is_some(), sealed == wanted), (owes, !owes), "{suite:?}");
            assert_eq!(OpenKey::new(&keys_of(suite, 1)).hmac().is_some(), suite == Suite::Aes256Sha256);
        }
    }

    #[test]
    fn no_byte_can_be_cut_off() {
        for &suite in Suite::ALL {
            let (seal, open) = (SealKey::new(&keys_of(suite, 1)), OpenKey::new(&keys_of(suite, 1)));
            let mut sealed = plain(20);
            seal.seal(9, &mut sealed, None).unwrap();
            for length in 0..sealed.len() {
                let short = length < HEADER + SEAL_BACK;
                let wanted = Err(if short { Discard::Truncated } else { Discard::Forged });
                let (front, back) = (&mut sealed.clone()[..length], sealed.len() - length);
                assert_eq!(open.open(9, front, None), wanted, "{suite:?} {length}");
                assert_eq!(open.open(9, &mut sealed.clone()[back..], None), wanted, "{suite:?} {length}");
            }
            let room = &mut [0; HEADER + SEAL_BACK - 1];
            assert_eq!(seal.seal(9, room, None), Err(Discard::Truncated));
        }
    }

    #[test]
    fn each_key_does_its_part() {
        let mut sealed = plain(64);
        SealKey::new(&keys(1)).seal(9, &mut sealed, None).unwrap();
        let opened = |change: fn(&mut DirectionKeys)| {
            let mut keys = keys(1);
            change(&mut keys);
            let mut packet = sealed.clone();
            OpenKey::new(&keys)
                .open(9, &mut packet, None)
                .map(|()| packet[..HEADER + 64] == plain(64)[..HEADER + 64])
        };
        assert_eq!(opened(|_| ()), Ok(true));
        assert_eq!(opened(|keys| keys.mac[31] ^= 1), Err(Discard::Forged));
        assert_eq!(opened(|keys| keys.encryption[31] ^= 1), Ok(false));
        assert_eq!(opened(|keys| keys.salt[3] ^= 1), Ok(false));
        assert_eq!(opened(|keys| keys.hop[0] ^= 1), Ok(true));
    }

    #[test]
    fn a_hop_mac_covers_header_length_and_first_bytes() {
        let key = HopKey::new(&[3; 32]);
        let head = [1; HOP_HEAD];
        let inner = [2; 100];
        let mac = key.mac(&head, &inner);
        assert_eq!(key.check(&head, &mac, &inner, None), Ok(()));
        let refused = Err(Discard::Forged);
        for bit in 0..8 * head.len() {
            let mut head = head;
            head[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.check(&head, &mac, &inner, None), refused);
        }
        for bit in 0..8 * HOP_MAC {
            let mut mac = mac;
            mac[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.check(&head, &mac, &inner, None), refused);
        }
        for place in 0..inner.len() {
            let mut inner = inner;
            inner[place] ^= 1;
            let wanted = if place < HOP_INNER { refused } else { Ok(()) };
            assert_eq!(key.check(&head, &mac, &inner, None), wanted, "the receiver's tag covers the rest");
        }
        for length in 0..inner.len() {
            assert_eq!(key.check(&head, &mac, &inner[..length], None), refused, "{length}");
        }
        assert_eq!(key.check(&head, &mac[..7], &inner, None), refused);
        assert_eq!(HopKey::new(&[4; 32]).check(&head, &mac, &inner, None), refused);
    }

    #[test]
    fn a_short_inner_packet_is_not_its_own_longer_form() {
        let key = HopKey::new(&[3; 32]);
        assert_ne!(key.mac(&[1; 16], &[2; 5]), key.mac(&[1; 16], &[2; 6]));
        assert_eq!(key.check(&[1; 16], &key.mac(&[1; 16], &[]), &[], None), Ok(()));
    }
}
