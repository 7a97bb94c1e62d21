//! The Noise machine against others: with a standard cipher, against published vectors and, in both roles,
//! against an independent implementation. Then our own handshake against its frozen bytes, which a program
//! in another language computed from the description of the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use peervpn::base::discard::Discard;
use peervpn::base::ids::{SessionIndex, Suite};
use peervpn::base::settings::{NetworkName, Secret};
use peervpn::crypto::identity::{Identity, KeyPair, NetworkKeys, generate_psk, network_key};
use peervpn::crypto::noise::{Beginning, Finished, HandshakeCipher, TAG, Tag};
use peervpn::crypto::random::Random;
use peervpn::crypto::schedule::{DirectionKeys, SessionKeys};
use peervpn::peer::handshake::{AwaitM2, AwaitM3, Credentials, Established};
use peervpn::wire::hello::{Capabilities, Suites};

/// The cipher functions `ChaChaPoly` (Noise rev 34, section 12.3).
#[derive(Clone)]
struct ChaChaPoly;

impl HandshakeCipher for ChaChaPoly {
    const PROTOCOL: &'static str = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";

    fn seal(key: &[u8; 32], nonce: u64, ad: &[u8], text: &mut [u8]) -> Tag {
        let cipher = ChaCha20Poly1305::new(key.into());
        cipher.encrypt_inout_detached(&nonce_bytes(nonce).into(), ad, text.into()).unwrap().into()
    }

    fn open(key: &[u8; 32], nonce: u64, ad: &[u8], text: &mut [u8], tag: &Tag) -> Result<(), Discard> {
        let cipher = ChaCha20Poly1305::new(key.into());
        let opened = cipher.decrypt_inout_detached(&nonce_bytes(nonce).into(), ad, text.into(), tag.into());
        opened.map_err(|_| Discard::Forged)
    }
}

fn nonce_bytes(nonce: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&nonce.to_le_bytes());
    bytes
}

/// A vector file: `name = value` lines.
struct Vectors(BTreeMap<&'static str, &'static str>);

impl Vectors {
    fn read(text: &'static str) -> Vectors {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Vectors(lines.map(|line| line.split_once(" = ").unwrap()).collect())
    }

    fn text(&self, name: &str) -> &'static str {
        self.0[name]
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let text = self.text(name);
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn key(&self, name: &str) -> [u8; 32] {
        self.bytes(name).try_into().unwrap()
    }

    fn pair(&self, name: &str) -> KeyPair {
        KeyPair::from_secret(self.key(name))
    }
}

/// `payload` and tag as they stand in a message.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// The last bytes of a message: a payload, in a room of its own, and its tag.
fn payload(sealed: &[u8]) -> (Vec<u8>, Tag) {
    let (text, tag) = sealed.split_at(sealed.len() - TAG);
    (text.to_vec(), tag.try_into().unwrap())
}

fn transport(key: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = ChaChaPoly::seal(key, 0, &[], &mut sealed);
    joined(&[&sealed, &tag])
}

#[test]
fn the_published_vector() {
    let vectors = Vectors::read(include_str!("vectors/noise.txt"));
    let beginning = Beginning::<ChaChaPoly>::new(&[], &vectors.key("psk"));
    let (initiator, responder) = (vectors.pair("init_static"), vectors.pair("resp_static"));
    let (first, second) = (vectors.pair("init_ephemeral"), vectors.pair("resp_ephemeral"));
    let (e1, e2) = (*first.public(), *second.public());

    let (sent_first, tag) = beginning.initiate(first, &mut []);
    assert_eq!(joined(&[&e1, &tag]), vectors.bytes("message0"));
    let got_first = beginning.receive(&e1, &mut [], &tag).unwrap();

    let (sent_second, key, tag) = got_first.answer(&responder, second, &mut []).unwrap();
    assert_eq!(joined(&[&e2, &key, &tag]), vectors.bytes("message1"));
    let got_second = sent_first.receive(&e2, &key, &mut [], &tag).unwrap();
    assert_eq!(got_second.remote(), responder.public());

    let (ours, key, tag) = got_second.answer(&initiator, &mut []).unwrap();
    assert_eq!(joined(&[&key, &tag]), vectors.bytes("message2"));
    let theirs = sent_second.receive(&key, &mut [], &tag).unwrap();
    assert_eq!(theirs.remote, *initiator.public());
    assert_eq!(theirs.hash, ours.hash);

    for finished in [&ours, &theirs] {
        assert_eq!(transport(&finished.initiator, &vectors.bytes("text3")), vectors.bytes("message3"));
        assert_eq!(transport(&finished.responder, &vectors.bytes("text4")), vectors.bytes("message4"));
    }
}

const PSK: [u8; 32] = [0x77; 32];
const PROLOGUE: [&[u8]; 3] = [b"a prologue ", b"", b"in parts"];
const WHOLE_PROLOGUE: &[u8] = b"a prologue in parts";
const PAYLOADS: [&[u8]; 3] =
    [b"first", b"", b"the third payload, longer than the cipher's block of 64 bytes, say"];

fn snow(secret: &[u8; 32]) -> snow::Builder<'_> {
    let builder = snow::Builder::new(ChaChaPoly::PROTOCOL.parse().unwrap());
    let builder = builder.local_private_key(secret).unwrap();
    builder.psk(0, &PSK).unwrap().prologue(WHOLE_PROLOGUE).unwrap()
}

fn snow_writes(snow: &mut snow::HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut room = [0; 256];
    let length = snow.write_message(payload, &mut room).unwrap();
    room[..length].to_vec()
}

fn snow_reads(snow: &mut snow::HandshakeState, message: &[u8]) -> Vec<u8> {
    let mut room = [0; 256];
    let length = snow.read_message(message, &mut room).unwrap();
    room[..length].to_vec()
}

/// Both ends have the same hash, identities and keys.
fn assert_agree(
    ours: &Finished,
    their_identity: &KeyPair,
    our_identity: &KeyPair,
    snow: snow::HandshakeState,
) {
    assert_eq!(ours.remote, *their_identity.public());
    assert_eq!(snow.get_remote_static().unwrap(), our_identity.public());
    assert_eq!(snow.get_handshake_hash(), ours.hash);
    let (to_us, to_them) =
        if snow.is_initiator() { (ours.initiator, ours.responder) } else { (ours.responder, ours.initiator) };
    let mut snow = snow.into_transport_mode().unwrap();
    let mut room = [0; 64];
    let length = snow.write_message(b"to us", &mut room).unwrap();
    assert_eq!(transport(&to_us, b"to us"), room[..length]);
    let length = snow.read_message(&transport(&to_them, b"to them"), &mut room).unwrap();
    assert_eq!(room[..length], *b"to them");
}

#[test]
fn we_begin_and_snow_answers() {
    let beginning = Beginning::<ChaChaPoly>::new(&PROLOGUE, &PSK);
    let (ours, theirs) = (KeyPair::from_secret([1; 32]), KeyPair::from_secret([2; 32]));
    let mut snow = snow(&[2; 32]).build_responder().unwrap();

    let ephemeral = KeyPair::from_secret([3; 32]);
    let public = *ephemeral.public();
    let mut text = PAYLOADS[0].to_vec();
    let (sent_first, tag) = beginning.initiate(ephemeral, &mut text);
    assert_eq!(snow_reads(&mut snow, &joined(&[&public, &text, &tag])), PAYLOADS[0]);

    let message = snow_writes(&mut snow, PAYLOADS[1]);
    let (mut text, tag) = payload(&message[80..]);
    let (e, key) = (message[..32].try_into().unwrap(), message[32..80].try_into().unwrap());
    let got_second = sent_first.receive(e, key, &mut text, &tag).unwrap();
    assert_eq!(text, PAYLOADS[1]);

    let mut text = PAYLOADS[2].to_vec();
    let (finished, key, tag) = got_second.answer(&ours, &mut text).unwrap();
    assert_eq!(snow_reads(&mut snow, &joined(&[&key, &text, &tag])), PAYLOADS[2]);
    assert_agree(&finished, &theirs, &ours, snow);
}

#[test]
fn snow_begins_and_we_answer() {
    let beginning = Beginning::<ChaChaPoly>::new(&PROLOGUE, &PSK);
    let (ours, theirs) = (KeyPair::from_secret([1; 32]), KeyPair::from_secret([2; 32]));
    let mut snow = snow(&[2; 32]).build_initiator().unwrap();

    let message = snow_writes(&mut snow, PAYLOADS[0]);
    let (mut text, tag) = payload(&message[32..]);
    let got_first = beginning.receive(message[..32].try_into().unwrap(), &mut text, &tag).unwrap();
    assert_eq!(text, PAYLOADS[0]);

    let ephemeral = KeyPair::from_secret([3; 32]);
    let public = *ephemeral.public();
    let mut text = PAYLOADS[1].to_vec();
    let (sent_second, key, tag) = got_first.answer(&ours, ephemeral, &mut text).unwrap();
    assert_eq!(snow_reads(&mut snow, &joined(&[&public, &key, &text, &tag])), PAYLOADS[1]);

    let message = snow_writes(&mut snow, PAYLOADS[2]);
    let (mut text, tag) = payload(&message[48..]);
    let finished = sent_second.receive(message[..48].try_into().unwrap(), &mut text, &tag).unwrap();
    assert_eq!(text, PAYLOADS[2]);
    assert_agree(&finished, &theirs, &ours, snow);
}

#[test]
fn our_handshake_has_frozen_bytes() {
    let vectors = Vectors::read(include_str!("vectors/handshake.txt"));
    let network = NetworkName::new(vectors.text("network_name")).unwrap();
    assert_eq!(generate_psk(core::array::from_fn(|at| u8::try_from(at).unwrap())), vectors.text("psk"));
    let network_key = network_key(&network, &Secret::new(vectors.text("psk").into())).unwrap();
    assert_eq!(network_key, vectors.key("network_key"));
    let keys = NetworkKeys::derive(&network_key, &network);
    assert_eq!(keys.handshake, vectors.key("handshake_psk"));

    let member = |role: &str, capabilities| {
        let identity = Identity::from_secret(vectors.key(&format!("{role}_static_secret")));
        assert_eq!(identity.id().0, vectors.key(&format!("{role}_static_public")));
        let seed = vectors.key(&format!("{role}_seed"));
        let ephemeral: [u8; 32] = Random::new(seed).bytes();
        assert_eq!(ephemeral, vectors.key(&format!("{role}_ephemeral_secret")));
        (Credentials::new(identity, &network, &keys, capabilities, Suites::new(&[])), Random::new(seed))
    };
    let (initiator, mut random) = member("initiator", Capabilities::default());
    let await_m2 = AwaitM2::new(&initiator, &mut random, SessionIndex(0x0102_0304));
    assert_eq!(await_m2.message()[..], vectors.bytes("hello1"));

    let (responder, mut random) = member("responder", Capabilities::RELAY);
    let seen = "192.0.2.1:7000".parse().ok();
    let index = SessionIndex(0x0a0b_0c0d);
    let await_m3 = AwaitM3::new(&responder, &mut random, index, await_m2.message(), seen).unwrap();
    assert_eq!(await_m3.message()[..], vectors.bytes("hello2"));

    let (at_initiator, hello3) = await_m2.handle(&initiator, await_m3.message()).unwrap();
    assert_eq!(hello3[..], vectors.bytes("hello3"));
    let at_responder = await_m3.handle(&responder, &hello3).unwrap();
    assert_frozen(&vectors, &at_initiator, &at_responder);

    let (split, hash) = (|role| vectors.key(role), vectors.key("handshake_hash"));
    let derived =
        SessionKeys::derive(&split("split_initiator"), &split("split_responder"), Suite::default(), &hash);
    assert_eq!(derived.seal.encryption, at_initiator.keys.seal.encryption);
    assert_eq!(derived.open.encryption, at_initiator.keys.open.encryption);
}

fn assert_frozen(vectors: &Vectors, at_initiator: &Established, at_responder: &Established) {
    let check = |role: &str, keys: &DirectionKeys| {
        assert_eq!(keys.encryption, vectors.key(&format!("{role}_encryption")));
        assert_eq!(keys.mac, vectors.key(&format!("{role}_mac")));
        assert_eq!(keys.salt[..], vectors.bytes(&format!("{role}_salt")));
        assert_eq!(keys.hop, vectors.key(&format!("{role}_hop")));
    };
    check("initiator", &at_initiator.keys.seal);
    check("initiator", &at_responder.keys.open);
    check("responder", &at_responder.keys.seal);
    check("responder", &at_initiator.keys.open);
}
