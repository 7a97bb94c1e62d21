//! Every bound, every length that is a sum, every interval. A number that two files must agree on
//! stands here; the compiler checks what holds between them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::base::time::Duration;

// ---- rooms ----

/// Length of an Ethernet header without VLAN tags, in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Room for two stacked VLAN tags (IEEE 802.1ad), in bytes.
pub const VLAN_TAGS: usize = 8;
/// The largest MTU the TAP may be given, in bytes.
pub const MTU_MAX: usize = 1936;
/// The smallest MTU the TAP may be given, in bytes (the minimum of IPv4, RFC 791).
pub const MTU_MIN: usize = 576;
/// The TAP's MTU with `mtu auto`: a bridge keeps its 1500.
pub const MTU_AUTO: usize = 1500;
/// The longest Ethernet frame carried, in bytes.
pub const FRAME_MAX: usize = MTU_MAX + ETHERNET_HEADER + VLAN_TAGS;

/// Bytes in front of a sealed payload: type, flags, receiver index, counter, and the kind that is sealed with it.
pub const SEAL_FRONT: usize = 13;
/// Bytes behind a sealed payload: the tag.
pub const SEAL_BACK: usize = 16;
/// Bytes a relayed packet carries in front of the packet it wraps.
pub const RELAY_FRONT: usize = 24;

/// Free bytes in front of a frame as it is read: its own envelope inside a relay's.
pub const HEADROOM: usize = RELAY_FRONT + SEAL_FRONT;
/// Free bytes behind a frame: its tag.
pub const TAILROOM: usize = SEAL_BACK;
/// Size of a packet's room, in bytes.
pub const ROOM: usize = 2048;
const _: () = assert!(HEADROOM + FRAME_MAX + TAILROOM <= ROOM);

/// The longest payload of a control packet, in bytes: fits a path of 1280 bytes (RFC 8200, section 5)
/// through a relay over IPv6.
pub const CONTROL_MAX: usize = 1280 - 40 - 8 - RELAY_FRONT - SEAL_FRONT - SEAL_BACK;

/// The largest UDP payload that a datagram of ours has, in bytes.
pub const DATAGRAM_MAX: usize = RELAY_FRONT + SEAL_FRONT + FRAME_MAX + SEAL_BACK;

// ---- how many ----

/// Remote nodes known at once, with or without a session.
pub const PEERS: usize = 256;
/// Initial peers that can be configured.
pub const HOSTS: usize = 64;
/// Addresses kept for the name of one initial peer.
pub const ADDRESSES_PER_HOST: usize = 8;
/// Endpoints kept for one peer.
pub const ENDPOINTS_PER_PEER: usize = 8;
/// Handshakes under way that we began, one for each peer or initial peer.
pub const ATTEMPTS: usize = PEERS + HOSTS;
/// Handshakes under way that others began.
pub const ANSWERS: usize = 128;
/// Session indexes in use or resting: three sessions a peer, all handshakes.
pub const INDEXES: usize = 4096;
/// Circuits that one peer may have through us, and that we may have through one relay.
pub const CIRCUITS_PER_PEER: usize = 256;
/// Circuit numbers that we have given out: one for a circuit that ends here, two for one that leads through us.
pub const CIRCUITS: usize = 4096;
/// First messages remembered, so that the same one is answered with the same bytes.
pub const HELLOS_REMEMBERED: usize = 1024;

/// Packets taken from one source in one turn of the loop.
pub const BATCH: usize = 64;
/// Packets that a flood to every peer takes, each in two parts.
pub const FLOOD: usize = 2 * PEERS;
/// Packets that exist: a batch read, a flood, and what the control plane has under way.
pub const PACKETS: usize = BATCH + FLOOD + 64;
/// Events that wait for the daemon at most; more are counted and dropped.
pub const EVENTS: usize = 1024;

/// Frames of which a part is missing, of all peers together.
pub const FRAGMENTS: usize = 64;
/// Those of one peer.
pub const FRAGMENTS_PER_PEER: usize = 8;
/// A frame of which a part is missing for so long is given up.
pub const FRAGMENT_LIFE: Duration = Duration::from_secs(1);

/// MAC addresses in the switch.
pub const MACS: usize = 4096;
/// MAC addresses behind one peer.
pub const MACS_PER_PEER: usize = 256;
/// MAC addresses on our own side.
pub const MACS_LOCAL: usize = MACS / 2;
/// Entries of the neighbour cache.
pub const NEIGHBOURS: usize = 1024;
/// Entries of the neighbour cache that one peer's stations have.
pub const NEIGHBOURS_PER_PEER: usize = 256;
/// Received counters remembered in one session, in bits.
pub const REPLAY_WINDOW: u64 = 4096;
/// Of fewer packets no loss is told: those that look for better or wider paths, and are lost there, would count for much.
pub const LOSS_SAMPLE: u32 = 1000;
/// Received counters remembered on one relay hop, in bits.
pub const HOP_WINDOW: u64 = 1024;
/// Counters are 48 bits wide; the last one is never used.
pub const COUNTER_MAX: u64 = (1 << 48) - 1;
/// A new key is asked for when so many packets were sealed under one.
pub const REKEY_AFTER_PACKETS: u64 = 1 << 40;
const _: () = assert!(REKEY_AFTER_PACKETS < COUNTER_MAX / 2);
const _: () = assert!(BATCH + FLOOD < PACKETS);

// ---- sessions ----

/// The side that began the handshake asks for a new key at this age.
pub const REKEY_INITIATOR: Duration = Duration::from_secs(120);
/// The other side does at this age.
pub const REKEY_RESPONDER: Duration = Duration::from_secs(150);
/// The rekey deadline is brought forward by up to this much, at random.
pub const REKEY_JITTER: Duration = Duration::from_secs(10);
/// Whose first late frame came from the other side leaves the rekey to it for this long.
pub const REKEY_YIELD: Duration = Duration::from_secs(2);
/// Frames are no longer sealed under a key of this age.
pub const FRAMES_UNTIL: Duration = Duration::from_secs(180);
/// Frames are accepted this much longer than they may be sealed.
pub const ACCEPT_GRACE: Duration = Duration::from_secs(15);
/// One of two sessions that both nodes began within a short time, and that is not in use, is kept for so long: until a
/// keepalive has come.
pub const TWIN_GRACE: Duration = Duration::from_secs(35);
/// So long after the choice among two such sessions a packet under the other shows that the peer chose that one.
pub const TWIN_SETTLES: Duration = Duration::from_secs(2);
const _: () = assert!(TWIN_GRACE.as_secs() > KEEPALIVE.as_secs() + TWIN_SETTLES.as_secs());
/// A session that was idle past [`FRAMES_UNTIL`] still carries frames for so long after its first one.
pub const IDLE_GRACE: Duration = Duration::from_secs(30);
/// Packets other than frames may be sealed under a key of this age.
pub const SESSION_UNTIL: Duration = Duration::from_secs(3600);
/// An idle session asks for a new key so long before it ends.
pub const SESSION_RENEWAL: Duration = Duration::from_secs(300);
/// An index is not given out again for this long.
pub const INDEX_REST: Duration = Duration::from_secs(180);
const _: () = assert!(REKEY_INITIATOR.as_secs() < REKEY_RESPONDER.as_secs());
const _: () = assert!(REKEY_RESPONDER.as_secs() < FRAMES_UNTIL.as_secs());
const _: () = assert!(REKEY_YIELD.as_secs() < IDLE_GRACE.as_secs() / 2);

// ---- handshakes ----

/// One part in so many of the processor's time goes into handshakes that strangers began.
pub const STRANGERS_PART: u32 = 10;
/// What one handshake costs its responder, unless it was measured to be more. With less, answers that are not completed
/// would push each other out of their places within the round trip that completing them takes.
pub const HANDSHAKE_COST: Duration = Duration::from_millis(1);
/// Handshakes of strangers that may be answered in a row.
pub const STRANGERS_BURST: u32 = 16;
/// Between two of them so much time passes: the event loop goes round in between, and data goes first.
pub const STRANGERS_PAUSE: Duration = Duration::from_millis(1);
/// First messages that wait for their turn.
pub const STRANGERS_WAITING: usize = 16;
/// They wait no longer than this: their sender has begun anew by then.
pub const STRANGERS_PATIENCE: Duration = Duration::from_secs(2);
/// With so many answers not yet completed, a first message must bring a token.
pub const ANSWERS_EASY: usize = ANSWERS / 4;
/// Answers that one network (IPv4 /24, IPv6 /64) may be sent at once.
pub const NETWORK_BURST: u32 = 64;
/// One more in this time.
pub const NETWORK_EVERY: Duration = Duration::from_millis(50);
/// RETRYs, which are small, have so many shares.
pub const RETRY_SHARES: u32 = 16;
/// The network around one has so many shares: an IPv6 /48, and the IPv4 /24 of addresses that are proved.
pub const WIDE: u32 = 4;
/// One first message is asked to come again at most so often.
pub const RETRIES_SENT: u8 = 4;
/// Second or third messages of one handshake that may fail; each may have cost work on the curve.
pub const FAILURES: u8 = 64;
/// A token is good for this long, and for as long again.
pub const TOKEN_LIFE: Duration = Duration::from_secs(120);
/// Retries that one try follows.
pub const RETRIES: u8 = 2;
/// Handshakes that a peer may begin inside its session at once.
pub const REKEY_BURST: u32 = 4;
/// One more in this time.
pub const REKEY_EVERY: Duration = Duration::from_secs(2);
/// Most nodes that `allow` names, and `deny`.
pub const LISTED: usize = 1024;
/// A pre-shared key with fewer characters is refused.
pub const PSK_MIN: usize = 12;
/// The pause after the first try; doubled after each, so that tries fall at 0, 1, 3, 7 s and so on.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries to reach a node that others told of.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The longest pause between two tries to reach an initial peer: without one there is no mesh to come back to.
pub const BACKOFF_HOST: Duration = Duration::from_secs(30);
/// The addresses of an initial peer's name are asked for again when they are so old and it is not connected.
pub const RESOLVE_AFTER: Duration = Duration::from_secs(30);
/// Places where nodes were reached that are remembered.
pub const REMEMBERED: usize = 64;
/// So long after its start a node that reached nobody tries those.
pub const RECALL_AFTER: Duration = Duration::from_secs(3);
/// So long after its start a node stores for the first time what it remembers: by then it has met whom it meets.
pub const STORED_AFTER: Duration = Duration::from_secs(600);
/// And then it looks at this interval whether there is something new to store.
pub const STORED_EVERY: Duration = Duration::from_secs(6 * 3600);
/// A node that nobody reaches is forgotten after so long.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Datagrams a second, in the mean, to addresses that others told of and that have proved nothing.
pub const HINTS_PER_SECOND: u32 = 10;
/// So many of those may go at once.
pub const HINTS_BURST: u32 = 32;
/// One of those goes to one address (IPv6: network of 64 bits) in this time, in the mean.
pub const PLACE_EVERY: Duration = Duration::from_secs(10);
/// So many of those may go to one address at once.
pub const PLACE_BURST: u32 = 6;
/// Addresses whose share is remembered.
pub const PLACES: usize = 512;
/// Indexes that rest at most; when more would, the oldest are given free before their time.
pub const INDEXES_RESTING: usize = 1024;
const _: () = assert!(3 * PEERS + INDEXES_RESTING + INDEXES_OURS + ANSWERS < INDEXES);
/// Indexes that handshakes of others leave to ours and to new keys of sessions.
pub const INDEXES_OURS: usize = 3 * PEERS;
/// The longest pause between two tries while an older session lives.
pub const BACKOFF_LIVE: Duration = Duration::from_secs(8);
/// An answered first message is remembered, and its answer can be completed, for this long.
pub const ANSWER_LIFE: Duration = Duration::from_secs(5);
/// The same first message gets the same answer at most so often: it goes to each address of a host, and each copy counts.
pub const ANSWER_COPIES: u8 = 16;
/// The third message is repeated until answered, at most this long after the first time.
pub const CONFIRM_LIFE: Duration = Duration::from_secs(5);
/// The third message is repeated at this interval.
pub const CONFIRM_EVERY: Duration = Duration::from_millis(250);

// ---- paths ----

/// A keepalive is sent when nothing else was for this long, until the path is known to need none so soon.
pub const KEEPALIVE: Duration = Duration::from_secs(25);
/// However long the path remembers, one is sent after this.
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(600);
/// How long a path bears to lie idle is tried only when it carried no frame for this long.
pub const KEEPALIVE_LEARN: Duration = Duration::from_secs(600);
/// A peer whose keepalive is so late is asked for a sign of life.
pub const KEEPALIVE_LATE: Duration = Duration::from_secs(5);
/// As long as nothing else is known, a peer that was silent for this long has missed a keepalive.
pub const QUIET: Duration = Duration::from_secs(30);
/// Something was sent and nothing came back for this long: ask.
pub const PROBE_AFTER: Duration = Duration::from_secs(3);
/// The question is repeated at this interval.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Something was sent and nothing came back for this long: the path is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(7);
/// A peer without a path is given up after this long.
pub const LOST_FOR: Duration = Duration::from_secs(12);
/// While there is no direct path, the known addresses are challenged again after pauses that grow up to this.
pub const UPGRADE_MAX: Duration = Duration::from_secs(300);
/// So often direct paths that work are compared at first; after that only while frames are carried.
pub const COMPARISONS: u8 = 3;
/// A direct path is tried before a relay when there is an address to try, for this long.
pub const RELAY_HEADSTART: Duration = Duration::from_millis(200);
const _: () = assert!(QUIET.as_secs() == KEEPALIVE.as_secs() + KEEPALIVE_LATE.as_secs());
const _: () = assert!(DEAD_AFTER.as_secs() > 2 * PROBE_AFTER.as_secs());

// ---- path MTU ----

/// Datagrams of this length pass every path, as far as the search is concerned (RFC 8899, 5.1.2), in bytes of UDP payload.
pub const PATH_FLOOR: usize = 1200;
const _: () = assert!(FRAME_MAX <= 2 * (PATH_FLOOR - RELAY_FRONT - SEAL_FRONT - SEAL_BACK - 1));
/// A probe is taken for lost after so many tries.
pub const MTU_TRIES: u8 = 3;
/// A search that has ended begins anew after this, if there is traffic for it.
pub const MTU_RAISE: Duration = Duration::from_secs(600);
/// What is proved is proved again at this interval while it is made use of.
pub const MTU_CONFIRM: Duration = Duration::from_secs(5);
/// And so long after something long was sent that nothing followed back.
pub const MTU_STALL: Duration = Duration::from_millis(500);

// ---- peer exchange and relays ----

/// News for one peer are collected for up to this long, so that several go in one message.
pub const NEWS_DELAY: Duration = Duration::from_millis(500);
/// One announcement goes to a peer in this time, in the mean.
pub const NEWS_EVERY: Duration = Duration::from_secs(10);
/// So many may go at once.
pub const NEWS_BURST: u32 = 4;
/// An announcement that is not answered is sent again after this pause, doubled each time.
pub const NEWS_AGAIN: Duration = Duration::from_secs(1);
/// Most entries of one announcement.
pub const NEWS_ENTRIES: usize = 128;
/// When the datagrams go that two nodes open their NATs for each other with, in milliseconds after they were told to.
pub const PUNCHES: [u64; 5] = [0, 100, 300, 700, 1500];
/// A third is asked to let two nodes meet so often at most.
pub const PUNCH_EVERY: Duration = Duration::from_secs(3);
/// So many requests of one node to let it meet others are passed on at once,
pub const MEETINGS_BURST: u32 = 32;
/// and one more in each such time.
pub const MEETINGS_EVERY: Duration = Duration::from_millis(200);
/// So many ports above the one that a third sees are tried where a NAT gives each peer another.
pub const PORTS_GUESSED: u16 = 16;
/// One such row goes in this time, and one to one address in ten times this time.
pub const ROW_EVERY: Duration = Duration::from_secs(30);
/// A circuit that is not accepted is asked for again after this long.
pub const CIRCUIT_AGAIN: Duration = Duration::from_secs(1);
/// After so many unanswered requests another relay is tried.
pub const CIRCUIT_TRIES: u8 = 3;
/// A circuit that nothing came by for so long is taken down.
pub const CIRCUIT_IDLE: Duration = Duration::from_secs(120);
/// Tables are swept of what is over at this interval.
pub const SWEEP: Duration = Duration::from_secs(30);
/// Packets a second that a relay carries on one circuit in one direction.
pub const CIRCUIT_PACKETS: u32 = 200_000;
const _: () = assert!(CIRCUIT_IDLE.as_secs() > 3 * KEEPALIVE.as_secs());

// ---- local networks ----

/// Where beacons go over IPv4: a group of the local scope (RFC 2365, section 6.1).
pub const BEACON_GROUP4: Ipv4Addr = Ipv4Addr::new(239, 255, 112, 118);
/// Where beacons go over IPv6: a transient group of the link (RFC 4291, section 2.7).
pub const BEACON_GROUP6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x7065, 0x6572);
/// The UDP port that beacons go to, the same for all networks.
pub const BEACON_PORT: u16 = 17000;
/// Beacons are sent at this interval.
pub const BEACON_EVERY: Duration = Duration::from_secs(60);
/// The interval is up to this much longer, at random.
pub const BEACON_JITTER: Duration = Duration::from_secs(5);
/// A beacon from one address has an effect once in this time.
pub const MEET_EVERY: Duration = Duration::from_secs(60);
/// Addresses whose beacons are remembered.
pub const MEETINGS: usize = 128;

// ---- port mapping ----

/// For how long a mapping is asked for, in seconds: a gateway that was restarted has forgotten it, and is asked again within
/// half of this.
pub const MAPPING_LIFE: u32 = 1200;
/// What is granted is taken to be for no shorter than this,
pub const MAPPED_LEAST: Duration = Duration::from_secs(120);
/// and for no longer (RFC 6887, section 15).
pub const MAPPED_MOST: Duration = Duration::from_secs(24 * 3600);
/// A renewal that came to nothing is tried again after no less than this (RFC 6887, section 11.2.1).
pub const RENEW_LEAST: Duration = Duration::from_secs(4);
/// A question by PCP is put again after this, and each time after twice as long (RFC 6887, section 8.1.1),
pub const PCP_FIRST: Duration = Duration::from_secs(3);
/// so often in all.
pub const PCP_TRIES: u8 = 3;
/// A question by NAT-PMP is put again after this, and each time after twice as long,
pub const NAT_PMP_FIRST: Duration = Duration::from_millis(250);
/// so often in all (RFC 6886, section 3.1).
pub const NAT_PMP_TRIES: u8 = 9;
/// A gateway that grants nothing is asked again after this.
pub const PORTMAP_REST: Duration = Duration::from_secs(3600);

// ---- the switch ----

/// A MAC address not seen for this long is forgotten.
pub const MAC_LIFE: Duration = Duration::from_secs(300);
/// A MAC address in use has its age renewed so often, not at each frame.
pub const MAC_RENEWAL: Duration = Duration::from_secs(1);
/// A MAC address that peers claim from one another moves so often at most until [`MOVES_REST`] has passed.
pub const MOVES: u8 = 3;
/// A MAC address that has not moved for this long has settled.
pub const MOVES_REST: Duration = Duration::from_secs(10);
/// Frames a second that our side floods, and that one peer floods to us, in the mean.
pub const FLOODS_PER_SECOND: u32 = 2000;
/// So many of those may come at once.
pub const FLOOD_BURST: u32 = 2000;
/// That there is more is told so often.
pub const STORM_PAUSE: Duration = Duration::from_secs(10);
/// MAC addresses that can be pinned.
pub const PINS: usize = 256;
/// A neighbour binding not seen for this long is forgotten.
pub const NEIGHBOUR_LIFE: Duration = Duration::from_secs(60);

// ---- loops ----

/// Probes for loops go out at this interval.
pub const LOOP_EVERY: Duration = Duration::from_secs(5);
/// The first one goes out so soon after a peer came.
pub const LOOP_FIRST: Duration = Duration::from_millis(100);
/// A probe is asked for, and its sender vouches for it, for so long.
pub const LOOP_FRESH: Duration = Duration::from_secs(10);
/// A member that was not heard on our own network for so long is no longer there.
pub const LOOP_HOLD: Duration = Duration::from_secs(16);
const _: () = assert!(LOOP_HOLD.as_secs() > 3 * LOOP_EVERY.as_secs());
/// Questions under way at most.
pub const LOOP_ASKS: u32 = 4;
/// Members on our own network that are remembered.
pub const LOOP_NEIGHBOURS: usize = 16;

// ---- the host's network ----

/// The prefix of a NAT64 is asked for again when it is so old.
pub const NAT64_AGE: Duration = Duration::from_secs(3600);
/// Links, addresses and routes change in bursts: the node hears of a change this long after its first sign.
pub const NETWORK_SETTLES: Duration = Duration::from_millis(300);
