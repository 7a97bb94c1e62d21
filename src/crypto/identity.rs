//! Who a node is, and which network it is in: X25519 keys, the network's pre-shared key and its forms,
//! and the secrets that follow from it.
//!
//! A pre-shared key comes in two forms. One made by [`generate_psk`] has 256 bits and is used as it is.
//! Anything else is a passphrase and is stretched, which takes seconds on a slow router: the caller may
//! keep the result under [`cache_tag`]. Either way the result depends on the network's name, and is never
//! used raw: [`NetworkKeys`] has a key for each purpose.

use core::fmt;

use pbkdf2::pbkdf2_hmac_array;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base::discard::Discard;
use crate::base::ids::{NodeId, ShortId};
use crate::base::limits::PSK_MIN;
use crate::base::settings::{NetworkName, Secret};
use crate::crypto::schedule::{expand, extract};

/// An X25519 key pair (RFC 7748). The secret is wiped when it is dropped.
#[derive(Clone)]
pub struct KeyPair {
    secret: StaticSecret,
    public: [u8; 32],
}

impl KeyPair {
    /// The pair with this secret, of which any 32 bytes will do.
    pub fn from_secret(mut bytes: [u8; 32]) -> KeyPair {
        let secret = StaticSecret::from(bytes);
        bytes.zeroize();
        let public = PublicKey::from(&secret).to_bytes();
        KeyPair { secret, public }
    }

    /// The public key, in canonical form.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The secret shared with the owner of `public`.
    ///
    /// [`Discard::BadKey`] if that key is not in canonical form, or of low order: such a key makes a
    /// "secret" that everyone knows (S10; RFC 7748, section 6.1).
    pub fn diffie_hellman(&self, public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, Discard> {
        if !is_canonical(public) {
            return Err(Discard::BadKey);
        }
        let shared = self.secret.diffie_hellman(&PublicKey::from(*public));
        if shared.was_contributory() { Ok(Zeroizing::new(shared.to_bytes())) } else { Err(Discard::BadKey) }
    }
}

/// Whether a public key is the one form of its number: below 2^255 - 19, little-endian. Were other forms
/// let through, one key would have several node ids, and a deny list could be walked around.
fn is_canonical(public: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = public;
    let prime_or_more = *last == 0x7f && middle.iter().all(|&byte| byte == 0xff) && *first >= 0xed;
    *last <= 0x7f && !prime_or_more
}

/// A node's own static key.
#[derive(Clone)]
pub struct Identity {
    keys: KeyPair,
}

impl Identity {
    /// The identity with this secret, 32 random bytes that are kept in the key file.
    pub fn from_secret(mut secret: [u8; 32]) -> Identity {
        let keys = KeyPair::from_secret(secret);
        secret.zeroize();
        Identity { keys }
    }

    /// What others know the node by.
    pub fn id(&self) -> NodeId {
        NodeId(self.keys.public)
    }

    /// The key pair, for the handshake.
    pub fn keys(&self) -> &KeyPair {
        &self.keys
    }
}

/// A node id as people see it: the first 8 bytes of its SHA-256.
pub fn short_id(id: &NodeId) -> ShortId {
    let mut short = [0; 8];
    short.copy_from_slice(&Sha256::digest(id.0)[..8]);
    ShortId(short)
}

// ---- the pre-shared key ----

const PSK_PREFIX: &str = "peervpn-psk1-";
/// Bytes of the checksum behind a generated key: key and checksum fill whole base32 digits.
const PSK_CHECKSUM: usize = 3;
const PSK_BYTES: usize = 32 + PSK_CHECKSUM;
const _: () = assert!(PSK_BYTES * 8 % 5 == 0);
const STRETCHING_ROUNDS: u32 = 200_000;

/// Writes a pre-shared key of 256 bits, which `random` are, as text: a prefix, then key and checksum in
/// base32. It holds nothing that either configuration grammar would have to quote.
pub fn generate_psk(random: [u8; 32]) -> String {
    let key = Zeroizing::new(random);
    let mut text = String::with_capacity(PSK_PREFIX.len() + PSK_BYTES * 8 / 5);
    text.push_str(PSK_PREFIX);
    let (mut bits, mut held) = (0_u16, 0);
    for byte in key.iter().chain(&checksum(&key)) {
        bits = bits << 8 | u16::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            let [_, value] = (bits >> held & 31).to_be_bytes();
            text.push(char::from(base32_digit(value)));
        }
        bits &= (1 << held) - 1;
    }
    text
}

/// What kind of pre-shared key a text is.
pub enum PskForm {
    /// One that [`generate_psk`] wrote: the key itself.
    Generated(Zeroizing<[u8; 32]>),
    /// Anything else: to be stretched, and no stronger than whoever chose it made it.
    Passphrase,
}

/// What is wrong with a pre-shared key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PskError {
    /// It begins as a generated one does but is not what was written: a typing error, or a part is missing.
    Damaged,
    /// It has fewer than [`PSK_MIN`] characters.
    TooShort,
}

impl fmt::Display for PskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PskError::Damaged => f.write_str("the generated psk is damaged: it was mistyped or cut"),
            PskError::TooShort => write!(f, "the psk has fewer than {PSK_MIN} characters"),
        }
    }
}

impl std::error::Error for PskError {}

impl PskForm {
    /// Recognises a generated key by its prefix, in small or capital letters.
    pub fn of(psk: &Secret) -> Result<PskForm, PskError> {
        let text = psk.expose();
        let prefix = text.get(..PSK_PREFIX.len()).unwrap_or_default();
        if prefix.eq_ignore_ascii_case(PSK_PREFIX) {
            return read_generated(&text[PSK_PREFIX.len()..]).map(PskForm::Generated);
        }
        // S9: the last place that a guessable key has to pass; the configuration says it with a line number.
        if text.chars().count() < PSK_MIN { Err(PskError::TooShort) } else { Ok(PskForm::Passphrase) }
    }

    /// Whether [`network_key`] will take seconds on a slow machine, so that its result is worth keeping.
    pub fn needs_stretching(&self) -> bool {
        matches!(self, PskForm::Passphrase)
    }
}

fn read_generated(digits: &str) -> Result<Zeroizing<[u8; 32]>, PskError> {
    if digits.len() != PSK_BYTES * 8 / 5 {
        return Err(PskError::Damaged);
    }
    let mut read = Zeroizing::new([0; PSK_BYTES]);
    let (mut bits, mut held) = (0_u16, 0);
    let mut room = read.iter_mut();
    for digit in digits.bytes() {
        let value = base32_value(digit).ok_or(PskError::Damaged)?;
        bits = bits << 5 | u16::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            let [_, byte] = (bits >> held).to_be_bytes();
            *room.next().ok_or(PskError::Damaged)? = byte;
            bits &= (1 << held) - 1;
        }
    }
    let (key, sum) = read.split_first_chunk::<32>().ok_or(PskError::Damaged)?;
    let key = Zeroizing::new(*key);
    if sum == checksum(&key) { Ok(key) } else { Err(PskError::Damaged) }
}

/// The alphabet of RFC 4648, section 6, in small letters: no digit that looks like a letter. Without a table: where the
/// memory of a table was read would tell of the key (S22).
fn base32_digit(value: u8) -> u8 {
    // Behind the letters, where the subtraction has turned negative, come the digits.
    let is_number = 25_u8.wrapping_sub(value) >> 7;
    b'a' + value - is_number * (b'a' + 26 - b'2')
}

/// The other way, as well without a table.
fn base32_value(digit: u8) -> Option<u8> {
    match digit.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => Some(letter - b'a'),
        number @ b'2'..=b'7' => Some(number - b'2' + 26),
        _ => None,
    }
}

fn checksum(key: &[u8; 32]) -> [u8; PSK_CHECKSUM] {
    let mut sum = [0; PSK_CHECKSUM];
    sum.copy_from_slice(&sha256(&[b"peervpn psk checksum\0", key])[..PSK_CHECKSUM]);
    sum
}

/// The one secret of a network, from which [`NetworkKeys`] follow.
///
/// With a passphrase this is PBKDF2-HMAC-SHA-256 (RFC 8018), and slow on purpose; see
/// [`PskForm::needs_stretching`].
pub fn network_key(name: &NetworkName, psk: &Secret) -> Result<[u8; 32], PskError> {
    Ok(match PskForm::of(psk)? {
        PskForm::Generated(key) => {
            extract(&sha256(&[b"peervpn generated psk\0", name.as_str().as_bytes()]), &*key)
        }
        PskForm::Passphrase => {
            let salt = sha256(&[b"peervpn passphrase\0", name.as_str().as_bytes()]);
            pbkdf2_hmac_array::<Sha256, 32>(psk.expose().as_bytes(), &salt, STRETCHING_ROUNDS)
        }
    })
}

/// Under what name the result of [`network_key`] may be kept. It changes when name or key do. It lets
/// whoever reads it try passphrases without stretching them, so it is guarded like the result itself.
pub fn cache_tag(name: &NetworkName, psk: &Secret) -> [u8; 32] {
    let name = name.as_str().as_bytes();
    // The name in its normal form holds no zero byte, so the second one ends it.
    sha256(&[b"peervpn psk cache\0", name, b"\0", psk.expose().as_bytes()])
}

/// Under what name the key of a node without a key file may be kept. `instance` tells the nodes of one network on
/// one machine apart.
pub fn node_tag(name: &NetworkName, instance: &str) -> [u8; 32] {
    sha256(&[b"peervpn node key cache\0", name.as_str().as_bytes(), b"\0", instance.as_bytes()])
}

/// The secrets of a network, one for each purpose. Another purpose gets another field and another label in
/// [`NetworkKeys::derive`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NetworkKeys {
    /// The PSK of the handshake.
    pub handshake: [u8; 32],
    /// What beacons on local networks are hidden and proved with.
    pub beacon: [u8; 32],
    /// For the stamp on first messages, by which a stranger's is told at once.
    pub stamp: [u8; 32],
    /// For the tag of a RETRY.
    pub retry: [u8; 32],
}

impl NetworkKeys {
    /// Derives them from the result of [`network_key`].
    pub fn derive(network_key: &[u8; 32], name: &NetworkName) -> NetworkKeys {
        let secret = Zeroizing::new(extract(b"peervpn network\0", network_key));
        let name = name.as_str().as_bytes();
        NetworkKeys {
            handshake: expand(&secret, &[b"peervpn handshake psk\0", name]),
            beacon: expand(&secret, &[b"peervpn lan beacon\0", name]),
            stamp: expand(&secret, &[b"peervpn handshake stamp\0", name]),
            retry: expand(&secret, &[b"peervpn retry\0", name]),
        }
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> [u8; 32] {
        let digit = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        core::array::from_fn(digit)
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    fn name(text: &str) -> NetworkName {
        NetworkName::new(text).unwrap()
    }

    #[test]
    fn x25519_gives_what_rfc_7748_says() {
        // Section 6.1.
        let alice =
            KeyPair::from_secret(key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let bob =
            KeyPair::from_secret(key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        assert_eq!(*alice.public(), key("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(*bob.public(), key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let shared = key("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(*alice.diffie_hellman(bob.public()).unwrap(), shared);
        assert_eq!(*bob.diffie_hellman(alice.public()).unwrap(), shared);
    }

    #[test]
    fn keys_that_share_no_secret_are_refused() {
        // S10: all points of low order on the curve and its twist, in canonical form.
        let ours = KeyPair::from_secret([7; 32]);
        for low in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            assert!(is_canonical(&key(low)), "{low}");
            assert_eq!(ours.diffie_hellman(&key(low)).unwrap_err(), Discard::BadKey, "{low}");
        }
    }

    #[test]
    fn a_key_has_one_form() {
        // S10: 2^255 - 19 and above, and anything with the highest bit set.
        let ours = KeyPair::from_secret([7; 32]);
        let mut last_good = [0xff; 32];
        (last_good[0], last_good[31]) = (0xec, 0x7f);
        assert!(is_canonical(&last_good));
        for first in 0xed..=0xff {
            let mut bad = last_good;
            bad[0] = first;
            assert!(!is_canonical(&bad));
            assert_eq!(ours.diffie_hellman(&bad).unwrap_err(), Discard::BadKey);
        }
        let mut high_bit = *KeyPair::from_secret([8; 32]).public();
        assert!(ours.diffie_hellman(&high_bit).is_ok());
        high_bit[31] |= 0x80;
        assert_eq!(ours.diffie_hellman(&high_bit).unwrap_err(), Discard::BadKey);
    }

    #[test]
    fn a_node_is_shown_by_the_hash_of_its_key() {
        assert_eq!(short_id(&NodeId([0; 32])).to_string(), "66687aadf862bd77");
    }

    #[test]
    fn a_generated_psk_is_read_back() {
        for random in [[0; 32], [0xff; 32], core::array::from_fn(|at| u8::try_from(at * 7).unwrap())] {
            let text = generate_psk(random);
            assert_eq!(text.len(), 69);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{text}");
            for text in [text.clone(), text.to_uppercase()] {
                let Ok(PskForm::Generated(read)) = PskForm::of(&secret(&text)) else { panic!("{text}") };
                assert_eq!(*read, random);
            }
        }
    }

    #[test]
    fn a_damaged_psk_is_told_not_stretched() {
        let whole = generate_psk([0x5a; 32]);
        let body = PSK_PREFIX.len();
        for at in body..whole.len() {
            for other in ['b', '7', '1', ' '] {
                let mut typo = whole.clone();
                typo.replace_range(at..=at, &other.to_string());
                if typo != whole {
                    assert_eq!(PskForm::of(&secret(&typo)).err(), Some(PskError::Damaged), "{typo}");
                }
            }
            assert_eq!(PskForm::of(&secret(&whole[..at])).err(), Some(PskError::Damaged));
        }
        assert_eq!(PskForm::of(&secret(&format!("{whole}a"))).err(), Some(PskError::Damaged));
        assert_eq!(PskForm::of(&secret(&format!("{}é", &whole[..67]))).err(), Some(PskError::Damaged));
    }

    #[test]
    fn what_anyone_would_guess_is_refused() {
        // S9
        for short in ["", "default", "elevenchars", "üüüüüüüüüüü"] {
            assert_eq!(network_key(&name("X"), &secret(short)).err(), Some(PskError::TooShort), "{short}");
        }
        assert!(PskForm::of(&secret("twelve chars")).unwrap().needs_stretching());
        assert!(!PskForm::of(&secret(&generate_psk([1; 32]))).unwrap().needs_stretching());
    }

    #[test]
    fn every_name_and_key_makes_another_network() {
        let (one, other) = (secret(&generate_psk([1; 32])), secret(&generate_psk([2; 32])));
        let mut all = [
            network_key(&name("A"), &one).unwrap(),
            network_key(&name("B"), &one).unwrap(),
            network_key(&name("A"), &other).unwrap(),
            NetworkKeys::derive(&[1; 32], &name("A")).handshake,
            NetworkKeys::derive(&[1; 32], &name("B")).handshake,
            NetworkKeys::derive(&[2; 32], &name("A")).handshake,
            node_tag(&name("A"), "peervpn0"),
            node_tag(&name("A"), "peervpn1"),
            node_tag(&name("B"), "peervpn0"),
            cache_tag(&name("A"), &one),
            cache_tag(&name("B"), &one),
            cache_tag(&name("A"), &other),
        ]
        .to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
        assert_eq!(network_key(&name("a"), &one), network_key(&name("A"), &one));
    }

    #[test]
    fn a_passphrase_is_stretched_as_frozen() {
        let stretched = network_key(&name("PEERVPN"), &secret("correct horse battery staple")).unwrap();
        assert_eq!(stretched, key("810721b60c1633bff7356aee15a2d4b79772a7a2a289ecb98f37988ba2f7acf1"));
    }
}
