//! S22: no branch and no address depends on a secret. memcheck knows of every bit whether it is defined, and tells when
//! a jump or an address depends on one that is not; so a secret is declared undefined, and what is told is counted.
//! (The idea is Adam Langley's ctgrind.) That is no measurement of time: the same is counted on any machine.
//!
//! The test runs itself under `valgrind` where that is installed, on x86-64. What it may decide on is whether a tag is the
//! right one; that must be one decision, however many of its bytes are.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "valgrind is spoken to by instructions that do nothing")]
#![allow(clippy::disallowed_methods, reason = "the test starts itself again")]
#![allow(clippy::print_stderr, reason = "what was skipped is said")]

use std::hint::black_box;
use std::io::ErrorKind;
use std::process::Command;

use peervpn::base::ids::Suite;
use peervpn::crypto::hmac::Hmac;
use peervpn::crypto::identity::KeyPair;
use peervpn::crypto::noise::{Aes256CtrHmac, HandshakeCipher};
use peervpn::crypto::schedule::{DirectionKeys, expand};
use peervpn::crypto::suite::{HopKey, OpenKey, SealKey};

/// valgrind.h: a request is an array whose address is in rax, behind four rotations that change nothing and an exchange
/// of a register with itself. Elsewhere it answers with what was in rdx.
fn request(number: u64, at: u64, length: u64) -> u64 {
    let arguments = [number, at, length, 0, 0, 0];
    let mut answer = 0_u64;
    // SAFETY: the instructions change rdi four times, by 128 bits in all, and rdx if valgrind sees them.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") answer,
        );
    }
    answer
}

fn is_watched() -> bool {
    request(0x1001, 0, 0) != 0
}

/// So many decisions on something undefined were told so far.
fn decisions() -> u64 {
    request(0x1201, 0, 0)
}

/// From now on these bytes are a secret.
fn secret<T: Copy>(value: T) -> T {
    let value = black_box(value);
    request(0x4d43_0001, (&raw const value) as u64, size_of::<T>() as u64);
    black_box(value)
}

/// Keeps the compiler from leaving out what made it.
fn made<T>(value: T) {
    drop(black_box(value));
}

/// How many decisions on a secret some work takes.
fn count(work: impl FnOnce()) -> u64 {
    let before = decisions();
    work();
    decisions() - before
}

/// `bytes` with a wrong byte, once for each of these places.
fn spoilt<'a>(bytes: &'a [u8], places: &'a [usize]) -> impl Iterator<Item = Vec<u8>> + 'a {
    places.iter().map(|at| bytes.iter().enumerate().map(|(i, byte)| byte ^ u8::from(i == *at)).collect())
}

const KEY: [u8; 32] = [0x5a; 32];
/// Where a tag of 16 bytes is wrong.
const PLACES: [usize; 3] = [0, 7, 15];

/// What is made with a key takes no decision at all.
fn making() {
    let text = [7; 200];
    let none = |what: &str, work: &mut dyn FnMut([u8; 32])| {
        assert_eq!(count(|| work(secret(KEY))), 0, "{what} decides by its key");
    };
    none("HMAC", &mut |key| made(Hmac::new(&key).mac(&text)));
    none("HKDF", &mut |key| made(expand::<64>(&key, &[b"x"])));
    none("a public key", &mut |key| made(KeyPair::from_secret(key)));
    none("a handshake's seal", &mut |key| {
        black_box(Aes256CtrHmac::seal(&key, 0, b"ad", &mut [1; 64]));
    });
    none("a relay's MAC", &mut |key| made(HopKey::new(&key).mac(&[1; 16], &[2; 60])));
    for suite in Suite::ALL {
        none(suite.name(), &mut |key| {
            _ = black_box(SealKey::new(&keys(*suite, key)).seal(5, &mut [2; 140], None));
        });
    }
}

/// What is checked with a key takes one: whether it is right. Where it is wrong makes no difference.
fn checking() {
    let one = |what: &str, most: u64, work: &mut dyn FnMut([u8; 32])| {
        let taken = count(|| work(secret(KEY)));
        assert!(taken <= most, "{what}: {taken} decisions");
    };
    for tag in spoilt(&Hmac::new(&KEY).tag(&[7; 200]), &PLACES) {
        let tag = tag.try_into().expect("16 bytes");
        // It is the caller who decides by it.
        one("a MAC", 0, &mut |key| made(Hmac::new(&key).is_tag(&[7; 200], &tag)));
    }
    for mac in spoilt(&HopKey::new(&KEY).mac(&[1; 16], &[2; 60]), &[0, 7]) {
        one("a relay's MAC", 1, &mut |key| {
            _ = black_box(HopKey::new(&key).check(&[1; 16], &mac, &[2; 60], None));
        });
    }
    let mut sealed = [1; 64];
    for tag in spoilt(&Aes256CtrHmac::seal(&KEY, 0, b"ad", &mut sealed), &PLACES) {
        let tag = tag.try_into().expect("16 bytes");
        one("a handshake's tag", 1, &mut |key| {
            _ = black_box(Aes256CtrHmac::open(&key, 0, b"ad", &mut sealed, &tag));
        });
    }
    for suite in Suite::ALL {
        let mut packet = [2; 140];
        SealKey::new(&keys(*suite, KEY)).seal(5, &mut packet, None).expect("room");
        for mut packet in spoilt(&packet, &PLACES.map(|at| 124 + at)) {
            one(suite.name(), 1, &mut |key| {
                _ = black_box(OpenKey::new(&keys(*suite, key)).open(5, &mut packet, None));
            });
        }
    }
    // Whether the other's key is one that makes every secret the same.
    let other = *KeyPair::from_secret([3; 32]).public();
    let shared = &mut |key| _ = black_box(KeyPair::from_secret(key).diffie_hellman(&other));
    one("the shared secret", 1, shared);
}

fn keys(suite: Suite, key: [u8; 32]) -> DirectionKeys {
    DirectionKeys { suite, encryption: key, mac: key, salt: [key[0]; 4], hop: key }
}

/// The meter itself: a comparison that ends early, and a table.
fn the_meter_counts() {
    let taken = |wrong: usize| {
        let guess = spoilt(&KEY, &[wrong]).next().expect("one");
        let same = |(a, b): (&u8, &u8)| black_box(*a) == *b;
        count(|| made(secret(KEY).iter().zip(&guess).all(same)))
    };
    assert!(taken(31) > taken(0) + 8, "{} and {}", taken(31), taken(0));
    let table = black_box([1_u8; 256]);
    assert_ne!(count(|| made(table[usize::from(secret(KEY)[0])])), 0);
}

#[test]
fn no_branch_and_no_address_depends_on_a_secret() {
    if is_watched() {
        the_meter_counts();
        making();
        checking();
        return;
    }
    let this = std::env::current_exe().expect("a test is a program");
    let told = Command::new("valgrind")
        .args(["--quiet", "--error-limit=no", "--num-callers=6"])
        .arg(this)
        .args(["--exact", "no_branch_and_no_address_depends_on_a_secret", "--nocapture"])
        .output();
    match told {
        Ok(told) => {
            let text = [told.stdout, told.stderr].concat();
            assert!(told.status.success(), "{}", String::from_utf8_lossy(&text));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => eprintln!("skipped: there is no valgrind"),
        Err(error) => panic!("valgrind: {error}"),
    }
}
