//! Ciphers that bring a tag of their own, in place: ChaCha20-Poly1305 (RFC 8439) and AES-256-GCM (SP 800-38D).

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use aes_gcm::{
    AesGcm,
    aead::{AeadInOut, KeyInit},
    aes::{Aes256Enc, cipher::consts::U12},
};

use crate::chacha::ChaCha20Poly1305;

/// Length of a nonce, in bytes.
pub const NONCE: usize = 12;
/// Length of a tag, in bytes.
pub const TAG: usize = 16;

/// One of the ciphers, with its key. It is wiped when it is dropped.
pub struct Aead(Cipher);

/// A key of GCM is expanded once and long; kept apart it would be another step on each packet's way.
#[allow(clippy::large_enum_variant)]
enum Cipher {
    ChaCha20Poly1305(ChaCha20Poly1305),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Aes256Gcm(AesGcm<Aes256Enc, U12>),
}

impl Aead {
    /// ChaCha20-Poly1305.
    pub fn chacha20_poly1305(key: &[u8; 32]) -> Aead {
        Aead(Cipher::ChaCha20Poly1305(ChaCha20Poly1305::new(key)))
    }

    /// AES-256-GCM.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn aes256_gcm(key: &[u8; 32]) -> Aead {
        Aead(Cipher::Aes256Gcm(AesGcm::new(key.into())))
    }

    /// Encrypts `text`; the tag covers `ad` too. No nonce may be used twice. None if there is more text than the cipher
    /// takes, which no packet has.
    pub fn seal(&self, nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8]) -> Option<[u8; TAG]> {
        match &self.0 {
            Cipher::ChaCha20Poly1305(cipher) => Some(cipher.seal(nonce, ad, text)),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Cipher::Aes256Gcm(cipher) => {
                cipher.encrypt_inout_detached(nonce.into(), ad, text.into()).ok().map(Into::into)
            }
        }
    }

    /// Checks the tag in constant time and then decrypts `text`; if it is wrong, answers false and leaves `text` alone.
    pub fn open(&self, nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        match &self.0 {
            Cipher::ChaCha20Poly1305(cipher) => cipher.open(nonce, ad, text, tag),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Cipher::Aes256Gcm(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), ad, text.into(), tag.into()).is_ok()
            }
        }
    }
}
