//! Ciphers that bring a tag of their own: ChaCha20-Poly1305 (RFC 8439, 2.8) and AES-256-GCM (SP 800-38D), in place.
//!
//! What the crates say to a wrong length is passed on; no packet is that long.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use aes_gcm::{AesGcm, aes::Aes256Enc, aes::cipher::consts::U12};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};

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
        Aead(Cipher::ChaCha20Poly1305(ChaCha20Poly1305::new(key.into())))
    }

    /// AES-256-GCM.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn aes256_gcm(key: &[u8; 32]) -> Aead {
        Aead(Cipher::Aes256Gcm(AesGcm::new(key.into())))
    }

    /// Encrypts `text`; the tag covers `ad` too. No nonce may be used twice. None if there is too much of it.
    pub fn seal(&self, nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8]) -> Option<[u8; TAG]> {
        let tag = match &self.0 {
            Cipher::ChaCha20Poly1305(cipher) => cipher.encrypt_inout_detached(nonce.into(), ad, text.into()),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Cipher::Aes256Gcm(cipher) => cipher.encrypt_inout_detached(nonce.into(), ad, text.into()),
        };
        tag.ok().map(Tag::into)
    }

    /// Checks the tag in constant time and then decrypts `text`; if it is wrong, answers false and leaves `text` alone.
    pub fn open(&self, nonce: &[u8; NONCE], ad: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        let opened = match &self.0 {
            Cipher::ChaCha20Poly1305(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), ad, text.into(), tag.into())
            }
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Cipher::Aes256Gcm(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), ad, text.into(), tag.into())
            }
        };
        opened.is_ok()
    }
}
