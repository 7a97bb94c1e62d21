//! The handshake with one node: Noise XXpsk0 in three messages, after which both sides know who the other is
//! and have keys that nobody else has.
//!
//! ```text
//! initiator                             responder
//! AwaitM2::new    ------- Hello1 ---->  AwaitM3::new
//! AwaitM2::handle <------ Hello2 -----
//!   Established   ------- Hello3 ---->  AwaitM3::handle
//!                                         Established
//! ```
//!
//! A state is never changed by a message. What is wrong is refused and the state stands as it was (S5a);
//! what is right yields an [`Established`], and the caller drops the state. A message that was sealed is
//! kept and sent again as it is, never sealed anew.
//!
//! Checks go from cheap to dear: lengths and indexes, then the PSK's tag, then the curve. A stranger costs a
//! few hashes and learns nothing. Who may be a peer is for the caller to decide, on the initiator's side
//! before the third message leaves.

use std::net::SocketAddr;

use crate::base::discard::Discard;
use crate::base::ids::{NodeId, SessionIndex, Suite};
use crate::base::settings::NetworkName;
use crate::crypto::hmac::Hmac;
use crate::crypto::identity::{Identity, KeyPair, NetworkKeys};
use crate::crypto::noise::{Aes256CtrHmac, Beginning, Finished, GotFirst, SentFirst, SentSecond, TAG};
use crate::crypto::random::Random;
use crate::crypto::schedule::SessionKeys;
use crate::wire::hello::{
    Answer, Capabilities, Confirmation, HELLO1, HELLO1_SEALED, HELLO2, HELLO3, Hello1, Hello2, Hello3, Offer,
    RETRY, Retry, Suites, TOKEN,
};

/// First part of the prologue: the handshake itself, whatever versions are spoken after it.
const HANDSHAKE_ID: &[u8] = b"PeerVPN handshake 1";
/// The protocol version spoken here.
const VERSION: u8 = 1;

/// What a node brings to every handshake in its network.
pub struct Credentials {
    identity: Identity,
    key: NetworkKey,
    next: Option<NetworkKey>,
    capabilities: Capabilities,
    suites: Suites,
}

/// What follows from one key of the network and is needed for every handshake.
struct NetworkKey {
    beginning: Beginning<Aes256CtrHmac>,
    stamp: Hmac,
    retry: Hmac,
}

impl NetworkKey {
    fn new(network: &NetworkName, keys: &NetworkKeys) -> NetworkKey {
        let name = network.as_str().as_bytes();
        // A network name has at most 255 bytes.
        let length = [u8::try_from(name.len()).unwrap_or(u8::MAX)];
        NetworkKey {
            beginning: Beginning::new(&[HANDSHAKE_ID, &length, name], &keys.handshake),
            stamp: Hmac::new(&keys.stamp),
            retry: Hmac::new(&keys.retry),
        }
    }
}

impl Credentials {
    /// Mixes network name and PSK once, for all handshakes.
    pub fn new(
        identity: Identity,
        network: &NetworkName,
        keys: &NetworkKeys,
        capabilities: Capabilities,
        suites: Suites,
    ) -> Credentials {
        Credentials { identity, key: NetworkKey::new(network, keys), next: None, capabilities, suites }
    }

    /// Accepts handshakes under these keys of the network, too; those that this node begins are under the first ones.
    pub fn accept_next(&mut self, network: &NetworkName, keys: &NetworkKeys) {
        self.next = Some(NetworkKey::new(network, keys));
    }

    fn keys(&self) -> impl Iterator<Item = &NetworkKey> {
        [Some(&self.key), self.next.as_ref()].into_iter().flatten()
    }

    /// Whether a first message carries the stamp of the network: two hashes of it tell those that anybody can make from
    /// those that took the network's key.
    pub fn is_stamped(&self, hello1: &[u8; HELLO1]) -> bool {
        self.keys().any(|key| key.has_stamped(hello1))
    }

    /// The answer to a stamped first message while there is no time for it: `token` is to come back with it.
    pub fn retry(&self, hello1: &[u8; HELLO1], token: [u8; TOKEN]) -> Result<[u8; RETRY], Discard> {
        let hello = Hello1::read(hello1)?;
        let key = self.keys().find(|key| key.has_stamped(hello1)).ok_or(Discard::Forged)?;
        let mut retry = Retry { receiver: hello.sender, token, tag: [0; TAG] };
        retry.tag = key.retry.tag(&retry.covered(&hello.ephemeral));
        Ok(retry.to_bytes())
    }

    /// This node's identity.
    pub fn id(&self) -> NodeId {
        self.identity.id()
    }
}

impl NetworkKey {
    fn has_stamped(&self, hello1: &[u8; HELLO1]) -> bool {
        hello1.split_last_chunk().is_some_and(|(sealed, stamp)| self.stamp.is_tag(sealed, stamp))
    }
}

/// The initiator, waiting for the second message.
pub struct AwaitM2 {
    index: SessionIndex,
    message: [u8; HELLO1],
    noise: SentFirst<Aes256CtrHmac>,
}

impl AwaitM2 {
    /// Writes a first message with a fresh ephemeral key. Every try has a state of its own.
    pub fn new(cred: &Credentials, random: &mut Random, index: SessionIndex) -> AwaitM2 {
        let offer = Offer {
            sender: index,
            versions: (VERSION, VERSION),
            suites: cred.suites,
            capabilities: cred.capabilities,
        };
        let ephemeral = KeyPair::from_secret(random.bytes());
        let public = *ephemeral.public();
        let mut payload = offer.to_bytes();
        let (noise, tag) = cred.key.beginning.initiate(ephemeral, &mut payload);
        let mut hello = Hello1 { sender: index, ephemeral: public, payload, tag, token: [0; TOKEN] };
        hello.token = cred.key.stamp.tag(&hello.to_bytes()[..HELLO1_SEALED]);
        AwaitM2 { index, message: hello.to_bytes(), noise }
    }

    /// The first message with the token that a RETRY has brought: what is sealed stays as it was (S5a).
    ///
    /// Errors: [`Discard::Forged`] if the RETRY is not by one who knows the network's key and has read the message.
    pub fn retried(&self, cred: &Credentials, retry: &[u8]) -> Result<[u8; HELLO1], Discard> {
        let retry = Retry::read(retry)?;
        let mut hello = Hello1::read(&self.message)?;
        if !cred.key.retry.is_tag(&retry.covered(&hello.ephemeral), &retry.tag) {
            return Err(Discard::Forged);
        }
        hello.token = retry.token;
        Ok(hello.to_bytes())
    }

    /// The first message, always the same bytes.
    pub fn message(&self) -> &[u8; HELLO1] {
        &self.message
    }

    /// What we are called by in the answer.
    pub fn index(&self) -> SessionIndex {
        self.index
    }

    /// Reads a second message, and writes the third.
    ///
    /// After success the state must be dropped: the same message would give the same keys again, and a
    /// session whose counters begin at zero twice (S5).
    ///
    /// Errors: [`Discard::UnknownIndex`] if it is not for us, [`Discard::Forged`] if it is not by one who knows the
    /// network's key and has read our message, for which no curve work is done; [`Discard::BadKey`] if he is not who he
    /// says, [`Discard::Ourselves`] if he is this node, [`Discard::Malformed`] if he chose what was not to be chosen.
    pub fn handle(&self, cred: &Credentials, hello2: &[u8]) -> Result<(Established, [u8; HELLO3]), Discard> {
        let mut hello = Hello2::read(hello2)?;
        if hello.receiver != self.index {
            return Err(Discard::UnknownIndex);
        }
        let own = Hello1::ephemeral_of(&self.message)?;
        if !cred.key.stamp.is_tag(&hello.covered(own), &hello.stamp) {
            return Err(Discard::Forged);
        }
        let received =
            self.noise.receive(&hello.ephemeral, &hello.static_key, &mut hello.payload, &hello.tag);
        let noise = received.map_err(|_| Discard::BadKey)?;
        if *noise.remote() == cred.id().0 {
            return Err(Discard::Ourselves);
        }
        let answer = Answer::read(&hello.payload)?;
        let suite = check_answer(cred, &answer, hello.sender)?;

        let mut payload = Confirmation { capabilities: cred.capabilities }.to_bytes();
        let (finished, static_key, tag) = noise.answer(cred.identity.keys(), &mut payload)?;
        let message = Hello3 { receiver: answer.sender, static_key, payload, tag }.to_bytes();
        let keys = SessionKeys::derive(&finished.initiator, &finished.responder, suite, &finished.hash);
        let established = Established {
            peer: NodeId(finished.remote),
            local: self.index,
            remote: answer.sender,
            keys,
            capabilities: answer.capabilities,
            observed: answer.seen,
        };
        Ok((established, message))
    }
}

/// The index is the one outside the seal too, and the choice is the one that we would have made (S4): that suite.
fn check_answer(cred: &Credentials, answer: &Answer, outside: SessionIndex) -> Result<Suite, Discard> {
    if answer.sender != outside {
        return Err(Discard::Malformed);
    }
    let chosen = Suites::choose(cred.suites, answer.suites);
    let agreed = chosen.filter(|suite| answer.version == VERSION && *suite as u8 == answer.chosen);
    agreed.ok_or(Discard::Malformed)
}

/// The responder, waiting for the third message.
pub struct AwaitM3 {
    index: SessionIndex,
    remote: SessionIndex,
    suite: Suite,
    message: [u8; HELLO2],
    noise: SentSecond<Aes256CtrHmac>,
}

impl AwaitM3 {
    /// Reads a first message, and writes the second with a fresh ephemeral key. `seen` is where it came
    /// from; none if it came through a relay. Stamp and token are for the one who decides whether to answer at all.
    ///
    /// Errors: [`Discard::Forged`] if the sender does not know the network's key, for which no curve work is
    /// done; [`Discard::BadKey`]; [`Discard::Malformed`] if it speaks no version, and [`Discard::Refused`]
    /// if it has no suite, that we have.
    pub fn new(
        cred: &Credentials,
        random: &mut Random,
        index: SessionIndex,
        hello1: &[u8],
        seen: Option<SocketAddr>,
    ) -> Result<AwaitM3, Discard> {
        let mut hello = Hello1::read(hello1)?;
        let (noise, key) = cred.receive(&mut hello)?;
        let covered = hello.ephemeral;
        let offer = Offer::read(&hello.payload)?;
        let suite = check_offer(cred, &offer, hello.sender)?;

        let answer = Answer {
            sender: index,
            version: VERSION,
            suites: cred.suites,
            chosen: suite as u8,
            capabilities: cred.capabilities,
            seen,
        };
        let ephemeral = KeyPair::from_secret(random.bytes());
        let public = *ephemeral.public();
        let mut payload = answer.to_bytes();
        let (noise, static_key, tag) = noise.answer(cred.identity.keys(), ephemeral, &mut payload)?;
        let receiver = offer.sender;
        let stamp = [0; TOKEN];
        let mut hello =
            Hello2 { receiver, sender: index, ephemeral: public, static_key, payload, tag, stamp };
        hello.stamp = key.stamp.tag(&hello.covered(&covered));
        Ok(AwaitM3 { index, remote: receiver, suite, message: hello.to_bytes(), noise })
    }

    /// The second message, always the same bytes.
    pub fn message(&self) -> &[u8; HELLO2] {
        &self.message
    }

    /// What we are called by in the third message.
    pub fn index(&self) -> SessionIndex {
        self.index
    }

    /// Reads a third message.
    ///
    /// After success the state must be dropped, as with [`AwaitM2::handle`]; the initiator repeats its third
    /// message, which the new session is then to answer.
    ///
    /// Errors: [`Discard::UnknownIndex`] if it is not for us, [`Discard::Forged`] or [`Discard::BadKey`] if
    /// it is not by one who has read our message, [`Discard::Ourselves`] if that one is this node.
    pub fn handle(&self, cred: &Credentials, hello3: &[u8]) -> Result<Established, Discard> {
        let mut hello = Hello3::read(hello3)?;
        if hello.receiver != self.index {
            return Err(Discard::UnknownIndex);
        }
        let finished = self.noise.receive(&hello.static_key, &mut hello.payload, &hello.tag)?;
        if finished.remote == cred.id().0 {
            return Err(Discard::Ourselves);
        }
        let confirmation = Confirmation::read(&hello.payload)?;
        Ok(self.establish(&finished, confirmation))
    }

    fn establish(&self, finished: &Finished, confirmation: Confirmation) -> Established {
        Established {
            peer: NodeId(finished.remote),
            local: self.index,
            remote: self.remote,
            keys: SessionKeys::derive(&finished.responder, &finished.initiator, self.suite, &finished.hash),
            capabilities: confirmation.capabilities,
            observed: None,
        }
    }
}

impl Credentials {
    /// Opens a first message under the key that it was sealed under. One that does not open is left as it was.
    fn receive(&self, hello: &mut Hello1) -> Result<(GotFirst<Aes256CtrHmac>, &NetworkKey), Discard> {
        for key in self.keys() {
            match key.beginning.receive(&hello.ephemeral, &mut hello.payload, &hello.tag) {
                Err(Discard::Forged) => {}
                opened => return opened.map(|noise| (noise, key)),
            }
        }
        Err(Discard::Forged)
    }
}

/// The index is the one outside the seal too, and there is a version and a suite that both have: the suite.
fn check_offer(cred: &Credentials, offer: &Offer, outside: SessionIndex) -> Result<Suite, Discard> {
    if offer.sender != outside {
        return Err(Discard::Forged);
    }
    let (from, to) = offer.versions;
    if !(from..=to).contains(&VERSION) {
        return Err(Discard::Malformed);
    }
    Suites::choose(offer.suites, cred.suites).ok_or(Discard::Refused)
}

/// What a handshake comes to.
pub struct Established {
    /// Who the other side is, proved.
    pub peer: NodeId,
    /// Our name for the session.
    pub local: SessionIndex,
    /// The peer's name for it.
    pub remote: SessionIndex,
    /// The keys, fresh: no counter under them has been used.
    pub keys: SessionKeys,
    /// What the peer does for others.
    pub capabilities: Capabilities,
    /// Where the peer says our first message came from. The responder is told nothing.
    pub observed: Option<SocketAddr>,
}

/// The ephemeral key of a first message, by which a repeated one is known. Nothing has been checked but the
/// form.
pub fn hello1_ephemeral(hello1: &[u8]) -> Result<&[u8; 32], Discard> {
    Hello1::ephemeral_of(hello1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: SessionIndex = SessionIndex(0xa1a2_a3a4);
    const BOB: SessionIndex = SessionIndex(0xb1b2_b3b4);
    const SEEN: &str = "198.51.100.7:7000";

    fn member_of(network: &str, psk: u8, secret: u8, capabilities: Capabilities) -> Credentials {
        let network = NetworkName::new(network).unwrap();
        let keys = NetworkKeys::derive(&[psk; 32], &network);
        Credentials::new(Identity::from_secret([secret; 32]), &network, &keys, capabilities, Suites::new(&[]))
    }

    fn alice() -> Credentials {
        member_of("HOME", 1, 0xaa, Capabilities::default())
    }

    fn bob() -> Credentials {
        member_of("HOME", 1, 0xbb, Capabilities::RELAY)
    }

    fn hello(cred: &Credentials) -> AwaitM2 {
        AwaitM2::new(cred, &mut Random::new([1; 32]), ALICE)
    }

    fn answer(cred: &Credentials, hello1: &[u8]) -> Result<AwaitM3, Discard> {
        AwaitM3::new(cred, &mut Random::new([2; 32]), BOB, hello1, SEEN.parse().ok())
    }

    fn refusal<T>(result: Result<T, Discard>) -> Discard {
        result.err().expect("this must be refused")
    }

    /// All datagrams that differ from this one in one bit.
    fn flips(datagram: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
        (0..datagram.len() * 8).map(|bit| {
            let mut flipped = datagram.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            (bit / 8, flipped)
        })
    }

    fn assert_agree(ours: &Established, theirs: &Established) {
        assert_eq!((ours.local, ours.remote), (theirs.remote, theirs.local));
        for (seal, open) in [(&ours.keys.seal, &theirs.keys.open), (&theirs.keys.seal, &ours.keys.open)] {
            assert_eq!((seal.encryption, seal.mac), (open.encryption, open.mac));
            assert_eq!((seal.salt, seal.hop), (open.salt, open.hop));
        }
    }

    #[test]
    fn two_members_meet() {
        let (alice, bob) = (alice(), bob());
        let await_m2 = hello(&alice);
        let await_m3 = answer(&bob, await_m2.message()).unwrap();
        let (at_alice, hello3) = await_m2.handle(&alice, await_m3.message()).unwrap();
        let at_bob = await_m3.handle(&bob, &hello3).unwrap();
        assert_agree(&at_alice, &at_bob);
        assert_eq!((at_alice.peer, at_bob.peer), (bob.id(), alice.id()));
        assert_eq!((at_alice.local, at_bob.local), (ALICE, BOB));
        assert_eq!((at_alice.observed, at_bob.observed), (SEEN.parse().ok(), None));
        assert_eq!(at_alice.capabilities, Capabilities::RELAY);
        assert_eq!(at_bob.capabilities, Capabilities::default());
        assert_ne!(at_alice.keys.seal.encryption, at_alice.keys.open.encryption);
    }

    #[test]
    fn one_flipped_bit_is_refused_and_harms_nothing() {
        // S5a: whatever is injected, the true message still completes the handshake.
        let (alice, bob) = (alice(), bob());
        let await_m2 = hello(&alice);
        for (at, flipped) in flips(await_m2.message()) {
            let in_token = at >= HELLO1 - 16;
            assert_eq!(answer(&bob, &flipped).is_ok(), in_token, "byte {at}");
        }
        let await_m3 = answer(&bob, await_m2.message()).unwrap();
        for (at, flipped) in flips(await_m3.message()) {
            assert!(await_m2.handle(&alice, &flipped).is_err(), "byte {at}");
        }
        let (at_alice, hello3) = await_m2.handle(&alice, await_m3.message()).unwrap();
        for (at, flipped) in flips(&hello3) {
            assert!(await_m3.handle(&bob, &flipped).is_err(), "byte {at}");
        }
        assert_agree(&at_alice, &await_m3.handle(&bob, &hello3).unwrap());
    }

    #[test]
    fn another_key_or_name_is_another_network() {
        let await_m2 = hello(&alice());
        for (network, psk) in [("HOME", 2), ("HOMF", 1), ("HOM", 1)] {
            let stranger = member_of(network, psk, 0xcc, Capabilities::default());
            assert_eq!(refusal(answer(&stranger, await_m2.message())), Discard::Forged, "{network} {psk}");
        }
    }

    #[test]
    fn a_stranger_costs_no_curve_work() {
        // A key of low order is found out by the curve: it is not looked at before the tag is right.
        let (bob, mut random) = (bob(), Random::new([2; 32]));
        let mut bytes = *hello(&alice()).message();
        bytes[6..38].fill(0);
        assert_eq!(refusal(AwaitM3::new(&bob, &mut random, BOB, &bytes, None)), Discard::Forged);
        assert_eq!(random.u64(), Random::new([2; 32]).u64(), "nor is an ephemeral key made for it");
    }

    #[test]
    fn who_meets_himself_notices() {
        // S3: the same static key at both ends, by a loop or by a cloned key file.
        let alice = alice();
        let await_m2 = hello(&alice);
        let await_m3 = answer(&alice, await_m2.message()).unwrap();
        assert_eq!(refusal(await_m2.handle(&alice, await_m3.message())), Discard::Ourselves);

        let bob = bob();
        let await_m3 = answer(&bob, await_m2.message()).unwrap();
        let (_, hello3) = await_m2.handle(&alice, await_m3.message()).unwrap();
        let twin = Credentials { identity: alice.identity.clone(), ..self::bob() };
        assert_eq!(refusal(await_m3.handle(&twin, &hello3)), Discard::Ourselves);
    }

    #[test]
    fn messages_of_another_handshake_are_refused() {
        let (alice, bob) = (alice(), bob());
        let first = hello(&alice);
        let second = AwaitM2::new(&alice, &mut Random::new([3; 32]), SessionIndex(7));
        let same_index = AwaitM2::new(&alice, &mut Random::new([3; 32]), ALICE);
        let await_m3 = answer(&bob, first.message()).unwrap();
        assert_eq!(refusal(second.handle(&alice, await_m3.message())), Discard::UnknownIndex);
        assert_eq!(refusal(same_index.handle(&alice, await_m3.message())), Discard::Forged);

        // The same first message answered twice: each answer has a third message of its own.
        let other =
            AwaitM3::new(&bob, &mut Random::new([4; 32]), BOB, first.message(), SEEN.parse().ok()).unwrap();
        let (_, hello3) = first.handle(&alice, other.message()).unwrap();
        assert_eq!(refusal(await_m3.handle(&bob, &hello3)), Discard::Forged);
        assert!(other.handle(&bob, &hello3).is_ok());
    }

    #[test]
    fn an_answer_that_a_member_changed_on_the_way_opens_nothing() {
        // S3: whoever has the network's key can stamp anew what he changed. The tag is not his to make.
        const STAMP_AT: usize = HELLO2 - TOKEN;
        let (alice, bob) = (alice(), bob());
        let await_m2 = hello(&alice);
        let await_m3 = answer(&bob, await_m2.message()).unwrap();
        let own = Hello1::ephemeral_of(await_m2.message()).unwrap();
        for (at, flipped) in flips(await_m3.message()) {
            let mut hello =
                Hello2::read(&flipped).unwrap_or_else(|_| Hello2::read(await_m3.message()).unwrap());
            hello.stamp = alice.key.stamp.tag(&hello.covered(own));
            let refused = await_m2.handle(&alice, &hello.to_bytes()).err();
            let wanted = match at {
                // What is not part of the message itself is written anew.
                0..2 | STAMP_AT.. => None,
                2..6 => Some(Discard::UnknownIndex),
                6..10 => Some(Discard::Malformed),
                _ => Some(Discard::BadKey),
            };
            assert_eq!(refused, wanted, "byte {at}");
        }
    }

    #[test]
    fn messages_in_another_role_are_refused() {
        let (alice, bob) = (alice(), bob());
        let await_m2 = hello(&alice);
        let await_m3 = answer(&bob, await_m2.message()).unwrap();
        assert_eq!(refusal(answer(&bob, await_m3.message())), Discard::Malformed);
        assert_eq!(refusal(await_m2.handle(&alice, await_m2.message())), Discard::Malformed);
        assert_eq!(refusal(await_m3.handle(&bob, await_m3.message())), Discard::Malformed);
        assert_eq!(refusal(hello1_ephemeral(await_m3.message())), Discard::Malformed);
    }

    #[test]
    fn a_volley_is_the_same_bytes_and_every_try_is_new() {
        // S5a: no two seals under one key.
        let alice = alice();
        let mut random = Random::new([1; 32]);
        let one = AwaitM2::new(&alice, &mut random, ALICE);
        let two = AwaitM2::new(&alice, &mut random, ALICE);
        assert_ne!(hello1_ephemeral(one.message()), hello1_ephemeral(two.message()));
        let (again, hello1) = (*one.message(), one.message());
        assert_eq!(*hello1, again);
    }

    /// A first message as a member writes it who can say what he likes.
    fn crafted_hello(offer: &Offer) -> [u8; HELLO1] {
        // The ephemeral key that `hello` makes: a member between the two can seal anything with it.
        let ephemeral = KeyPair::from_secret(Random::new([1; 32]).bytes());
        let public = *ephemeral.public();
        let mut payload = offer.to_bytes();
        let (_, tag) = alice().key.beginning.initiate(ephemeral, &mut payload);
        let mut hello = Hello1 { sender: ALICE, ephemeral: public, payload, tag, token: [0; 16] };
        hello.token = alice().key.stamp.tag(&hello.to_bytes()[..HELLO1_SEALED]);
        hello.to_bytes()
    }

    const OFFERED: Offer = Offer {
        sender: ALICE,
        versions: (1, 1),
        suites: Suites([1, 0, 0, 0]),
        capabilities: Capabilities(0),
    };

    #[test]
    fn an_offer_changed_on_the_way_fails_the_handshake() {
        // S4: even a member between the two, who can open and seal first messages, is found out.
        let (alice, bob) = (alice(), bob());
        let await_m2 = hello(&alice);
        assert_eq!(crafted_hello(&OFFERED), *await_m2.message());
        for changed in [
            Offer { versions: (0, 1), ..OFFERED },
            Offer { versions: (1, 2), ..OFFERED },
            Offer { suites: Suites([1, 2, 0, 0]), ..OFFERED },
            Offer { suites: Suites([2, 1, 0, 0]), ..OFFERED },
            Offer { capabilities: Capabilities::RELAY, ..OFFERED },
        ] {
            let await_m3 = answer(&bob, &crafted_hello(&changed)).unwrap();
            assert_eq!(refusal(await_m2.handle(&alice, await_m3.message())), Discard::BadKey, "{changed:?}");
        }
    }

    /// A member that likes these suites, in this order.
    fn liking(cred: Credentials, suites: &[Suite]) -> Credentials {
        Credentials { suites: Suites::new(suites), ..cred }
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn two_members_use_what_the_initiator_likes_best_of_what_both_have() {
        let [aes, chacha, gcm] = [Suite::Aes256Sha256, Suite::ChaCha20Poly1305, Suite::Aes256Gcm];
        for (ours, theirs, wanted) in [
            (&[][..], &[][..], aes),
            (&[chacha], &[], aes),
            (&[], &[gcm, chacha], aes),
            (&[chacha], &[gcm], aes),
            (&[gcm, chacha], &[chacha, gcm], gcm),
            (&[chacha, gcm], &[gcm], gcm),
            (&[aes, gcm], &[gcm], aes),
            (&[chacha], &[aes, chacha], chacha),
        ] {
            let (alice, bob) = (liking(alice(), ours), liking(bob(), theirs));
            let await_m2 = hello(&alice);
            let await_m3 = answer(&bob, await_m2.message()).unwrap();
            let (at_alice, hello3) = await_m2.handle(&alice, await_m3.message()).unwrap();
            let at_bob = await_m3.handle(&bob, &hello3).unwrap();
            assert_agree(&at_alice, &at_bob);
            for keys in [&at_alice.keys.seal, &at_alice.keys.open, &at_bob.keys.seal, &at_bob.keys.open] {
                assert_eq!(keys.suite, wanted, "{ours:?} {theirs:?}");
            }
        }
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn nobody_between_two_members_takes_a_suite_away() {
        // S4: not even a member, who can open first messages and seal others in their place. The initiator reckons the
        // choice of its own list, and the responder's answer is under keys that depend on the offer as it came.
        let all = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        let (alice, bob) = (liking(alice(), &all), liking(bob(), &all));
        let await_m2 = hello(&alice);
        let offered = Offer { suites: alice.suites, ..OFFERED };
        assert_eq!(crafted_hello(&offered), *await_m2.message());
        assert_eq!(alice.suites, Suites([3, 2, 1, 0]));
        for fewer in [[1, 0, 0, 0], [2, 1, 0, 0], [3, 1, 0, 0], [2, 3, 1, 0], [3, 2, 1, 9]] {
            let offer = Offer { suites: Suites(fewer), ..OFFERED };
            let await_m3 = answer(&bob, &crafted_hello(&offer)).unwrap();
            let refused = refusal(await_m2.handle(&alice, await_m3.message()));
            assert_eq!(refused, Discard::BadKey, "{fewer:?}");
        }
        // What the true responder says of itself cannot be changed either: see the flipped bits above. And a responder
        // that claims to have less than it uses, or chooses what is not the best of both, is refused.
        assert!(await_m2.handle(&alice, answer(&bob, await_m2.message()).unwrap().message()).is_ok());
    }

    #[test]
    fn an_offer_we_cannot_meet_is_refused() {
        for (offer, why) in [
            (Offer { versions: (2, 3), ..OFFERED }, Discard::Malformed),
            (Offer { versions: (0, 0), ..OFFERED }, Discard::Malformed),
            (Offer { versions: (2, 0), ..OFFERED }, Discard::Malformed),
            (Offer { suites: Suites([2, 3, 4, 5]), ..OFFERED }, Discard::Refused),
            (Offer { suites: Suites([0; 4]), ..OFFERED }, Discard::Refused),
            (Offer { sender: BOB, ..OFFERED }, Discard::Forged),
        ] {
            assert_eq!(refusal(answer(&bob(), &crafted_hello(&offer))), why, "{offer:?}");
        }
    }

    #[test]
    fn an_answer_that_chose_wrongly_is_refused() {
        // S4: the initiator reckons the choice itself.
        let (alice, bob) = (liking(alice(), &[Suite::ChaCha20Poly1305]), bob());
        let await_m2 = hello(&alice);
        let true_answer = Answer {
            sender: BOB,
            version: 1,
            suites: Suites([1, 0, 0, 0]),
            chosen: 1,
            capabilities: Capabilities(0),
            seen: None,
        };
        for (said, why) in [
            (true_answer, None),
            (Answer { suites: Suites([3, 1, 0, 0]), ..true_answer }, None),
            (Answer { suites: Suites([1, 2, 0, 0]), chosen: 2, ..true_answer }, None),
            (Answer { suites: Suites([1, 2, 0, 0]), ..true_answer }, Some(Discard::Malformed)),
            (Answer { suites: Suites([1, 3, 0, 0]), chosen: 3, ..true_answer }, Some(Discard::Malformed)),
            (Answer { chosen: 2, ..true_answer }, Some(Discard::Malformed)),
            (Answer { chosen: 0, ..true_answer }, Some(Discard::Malformed)),
            (Answer { suites: Suites([3, 0, 0, 0]), ..true_answer }, Some(Discard::Malformed)),
            (Answer { version: 2, ..true_answer }, Some(Discard::Malformed)),
            (Answer { sender: ALICE, ..true_answer }, Some(Discard::Malformed)),
        ] {
            let mut hello1 = Hello1::read(await_m2.message()).unwrap();
            let noise =
                bob.key.beginning.receive(&hello1.ephemeral, &mut hello1.payload, &hello1.tag).unwrap();
            let ephemeral = KeyPair::from_secret([9; 32]);
            let public = *ephemeral.public();
            let mut payload = said.to_bytes();
            let (_, static_key, tag) = noise.answer(bob.identity.keys(), ephemeral, &mut payload).unwrap();
            let stamp = [0; TOKEN];
            let mut hello2 =
                Hello2 { receiver: ALICE, sender: BOB, ephemeral: public, static_key, payload, tag, stamp };
            hello2.stamp = bob.key.stamp.tag(&hello2.covered(&hello1.ephemeral));
            assert_eq!(await_m2.handle(&alice, &hello2.to_bytes()).err(), why, "{said:?}");
        }
    }

    #[test]
    fn who_changes_its_key_knows_the_stamps_of_both() {
        let old = alice();
        let mut changing = member_of("HOME", 2, 0xbb, Capabilities::default());
        let (with_old, with_new) = (*hello(&old).message(), *hello(&changing).message());
        assert_eq!([with_old, with_new].map(|m1| changing.is_stamped(&m1)), [false, true]);
        let network = NetworkName::new("HOME").unwrap();
        changing.accept_next(&network, &NetworkKeys::derive(&[1; 32], &network));
        assert_eq!([with_old, with_new].map(|m1| changing.is_stamped(&m1)), [true, true]);
        assert!(answer(&changing, &with_old).is_ok());
    }
}
