//! From the secrets of a handshake to the keys of a session, and the HKDF (RFC 5869, over SHA-256) by
//! which every key of the program is made.
//!
//! Each use has a label of its own. A label holds no zero byte and a zero byte ends it, so that no two
//! uses can mean the same input.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base::ids::Suite;

/// The keys of one direction of a session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DirectionKeys {
    /// How packets are sealed.
    #[zeroize(skip)]
    pub suite: Suite,
    /// The cipher's key.
    pub encryption: [u8; 32],
    /// HMAC-SHA-256 key of sealed packets, for the suite that has one.
    pub mac: [u8; 32],
    /// First four bytes of every nonce.
    pub salt: [u8; 4],
    /// HMAC-SHA-256 key of relay headers.
    pub hop: [u8; 32],
}

/// The keys of a session, from this node's point of view.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    /// For what we send.
    pub seal: DirectionKeys,
    /// For what we receive.
    pub open: DirectionKeys,
}

impl SessionKeys {
    /// The keys under `suite` of the session whose handshake ended with these two keys, one a direction,
    /// and this hash of everything that was said.
    pub fn derive(
        send: &[u8; 32],
        receive: &[u8; 32],
        suite: Suite,
        handshake_hash: &[u8; 32],
    ) -> SessionKeys {
        SessionKeys {
            seal: DirectionKeys::derive(send, suite, handshake_hash),
            open: DirectionKeys::derive(receive, suite, handshake_hash),
        }
    }
}

impl DirectionKeys {
    fn derive(secret: &[u8; 32], of: Suite, handshake_hash: &[u8; 32]) -> DirectionKeys {
        let suite = [of as u8];
        DirectionKeys {
            suite: of,
            encryption: expand(secret, &[b"peervpn data encryption\0", &suite, handshake_hash]),
            mac: expand(secret, &[b"peervpn data mac\0", &suite, handshake_hash]),
            salt: expand(secret, &[b"peervpn data salt\0", &suite, handshake_hash]),
            hop: expand(secret, &[b"peervpn hop mac\0", &suite, handshake_hash]),
        }
    }
}

/// HKDF-Extract (RFC 5869, 2.2): concentrates `material` into one key.
pub fn extract(salt: &[u8], material: &[u8]) -> [u8; 32] {
    hmac_sha256(salt, &[material])
}

/// HKDF-Expand (RFC 5869, 2.3): `N` bytes from a key, for the purpose that the parts of `info`, one after
/// the other, name.
pub fn expand<const N: usize>(key: &[u8; 32], info: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 255 * 32, "the block number is one byte") };
    let mut output = [0; N];
    let keyed = keyed(key);
    let mut block = [0; 32];
    for (number, piece) in (1..=u8::MAX).zip(output.chunks_mut(32)) {
        let mut mac = keyed.clone();
        if number > 1 {
            mac.update(&block);
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[number]);
        block = mac.finalize().into_bytes().into();
        piece.copy_from_slice(&block[..piece.len()]);
    }
    block.zeroize();
    output
}

/// HMAC-SHA-256 (RFC 2104) of the parts, one after the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn hkdf_gives_what_rfc_5869_says() {
        // Appendix A.1 to A.3: short, long (info in two parts), and nothing but the key material.
        let key = extract(&hex("000102030405060708090a0b0c"), &[0x0b; 22]);
        assert_eq!(key[..], hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"));
        let output: [u8; 42] = expand(&key, &[&hex("f0f1f2f3f4f5f6f7f8f9")]);
        assert_eq!(
            output[..],
            hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        );

        let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let key = extract(&range(0x60, 0xaf), &range(0x00, 0x4f));
        assert_eq!(key[..], hex("06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244"));
        let output: [u8; 82] = expand(&key, &[&range(0xb0, 0xc0), &range(0xc1, 0xff)]);
        assert_eq!(
            output[..],
            hex("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                 59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                 cc30c58179ec3e87c14c01d5c1f3434f1d87")
        );

        let key = extract(&[], &[0x0b; 22]);
        let output: [u8; 42] = expand(&key, &[]);
        assert_eq!(
            output[..],
            hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
        );
    }

    #[test]
    fn what_one_side_seals_with_the_other_opens_with() {
        let one = SessionKeys::derive(&[1; 32], &[2; 32], Suite::Aes256Sha256, &[3; 32]);
        let other = SessionKeys::derive(&[2; 32], &[1; 32], Suite::Aes256Sha256, &[3; 32]);
        assert_eq!(one.seal.encryption, other.open.encryption);
        assert_eq!(one.open.mac, other.seal.mac);
        assert_eq!(one.seal.salt, other.open.salt);
        assert_eq!(one.open.hop, other.seal.hop);
    }

    #[test]
    fn every_key_is_another() {
        // S5: separate keys for each direction and each purpose; suite and transcript are bound.
        let keys = SessionKeys::derive(&[1; 32], &[2; 32], Suite::Aes256Sha256, &[3; 32]);
        let other_suite = SessionKeys::derive(&[1; 32], &[2; 32], Suite::ChaCha20Poly1305, &[3; 32]);
        let other_hash = SessionKeys::derive(&[1; 32], &[2; 32], Suite::Aes256Sha256, &[4; 32]);
        let mut all: Vec<[u8; 32]> = [&keys, &other_suite, &other_hash]
            .iter()
            .flat_map(|keys| [&keys.seal, &keys.open])
            .flat_map(|keys| [keys.encryption, keys.mac, keys.hop])
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 18);
        for other in [&keys.open, &other_suite.seal, &other_hash.seal] {
            assert_ne!(keys.seal.salt, other.salt);
        }
    }
}
