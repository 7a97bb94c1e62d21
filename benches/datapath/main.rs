//! What a packet costs on its way, without the kernel: `cargo bench --bench datapath [part of a name]`.
//!
//! Each row handles its packets in batches as the loop does, for a third of a second, and prints the median
//! batch. Cycles a byte are reckoned from the clock rate that the kernel states, where it states one; a
//! processor that changes its rate makes them a rough guide.
#![allow(clippy::print_stdout, reason = "a table is all it makes")]
#![allow(clippy::unwrap_used, reason = "a world that fails must not be measured")]
#![allow(clippy::disallowed_methods, reason = "measuring is reading the clock; the core is not touched")]

mod nodes;
mod scale;

use std::time;

use peervpn::base::ids::{CircuitId, SessionIndex, Suite};
use peervpn::base::limits::BATCH;
use peervpn::base::packet::Packet;
use peervpn::base::time::{Duration, Instant};
use peervpn::crypto::schedule::{DirectionKeys, SessionKeys};
use peervpn::peer::session::{Role, Session};
use peervpn::wire::envelope::Kind;

/// Ethernet frames from the smallest to a full one without fragments.
const LENGTHS: [usize; 3] = [64, 512, 1400];
const RUN: Duration = Duration::from_millis(330);
const CIRCUIT: CircuitId = CircuitId(1);
const NOW: Instant = Instant::from_micros(1_000_000);

fn main() {
    // Cargo passes `--bench`; what is not an option selects rows.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let table = Table { wanted, hertz: clock_rate() };
    println!("{:28} {:>12} {:>10} {:>9} {:>13}", "", "packets/s", "ns/packet", "Gbit/s", "cycles/byte");
    for length in LENGTHS {
        envelope(&table, length);
    }
    for length in LENGTHS {
        relay(&table, length);
    }
    for length in LENGTHS {
        nodes::to_one(&table, length);
        nodes::flood(&table, length);
        nodes::relayed(&table, length);
    }
    scale::peers(&table);
    scale::stations(&table);
    scale::handshakes(&table);
}

/// Sealing, opening, and refusing what is forged or comes twice.
fn envelope(table: &Table, length: usize) {
    let (mut ours, mut theirs) = pair();
    let mut packets = frames(length);
    table.row(&format!("seal {length}"), length, || {
        packets.iter_mut().for_each(|packet| refill(packet, length));
        timed(|| packets.iter_mut().for_each(|packet| ours.seal(NOW, Kind::Frame, packet).unwrap()))
    });
    table.row(&format!("open {length}"), length, || {
        fill_sealed(&mut ours, &mut packets, length);
        timed(|| packets.iter_mut().for_each(|packet| _ = theirs.open(NOW, packet).unwrap()))
    });
    fill_sealed(&mut ours, &mut packets, length);
    packets.iter_mut().for_each(|packet| *packet.bytes_mut().last_mut().unwrap() ^= 1);
    table.row(&format!("refuse forged {length}"), length, || {
        timed(|| packets.iter_mut().for_each(|packet| _ = theirs.open(NOW, packet).unwrap_err()))
    });
    fill_sealed(&mut ours, &mut packets, length);
    let mut once = frames(length);
    once.iter_mut().zip(&packets).for_each(|(copy, packet)| copy.copy_from(packet));
    once.iter_mut().for_each(|packet| _ = theirs.open(NOW, packet).unwrap());
    table.row(&format!("refuse replayed {length}"), length, || {
        timed(|| packets.iter_mut().for_each(|packet| _ = theirs.open(NOW, packet).unwrap_err()))
    });
}

/// One packet's way through a relay's two sessions, which never look inside.
fn relay(table: &Table, length: usize) {
    let (mut sender, mut from_sender) = pair();
    let (mut to_receiver, _) = pair();
    let mut packets = frames(length);
    table.row(&format!("relay hop {length}"), length, || {
        fill_sealed(&mut sender, &mut packets, length);
        packets.iter_mut().for_each(|packet| sender.wrap(CIRCUIT, packet).unwrap());
        timed(|| {
            for packet in &mut packets {
                let circuit = from_sender.unwrap(packet).unwrap();
                to_receiver.wrap(circuit, packet).unwrap();
            }
        })
    });
}

// ---- worlds ----

/// Both ends of one session.
fn pair() -> (Session, Session) {
    let direction = |seed: u8| DirectionKeys {
        suite: Suite::default(),
        encryption: [seed; 32],
        mac: [seed + 1; 32],
        salt: [seed + 2; 4],
        hop: [seed + 3; 32],
    };
    let (a, b) = (SessionIndex(1), SessionIndex(2));
    let ours = SessionKeys { seal: direction(10), open: direction(20) };
    let theirs = SessionKeys { seal: direction(20), open: direction(10) };
    (
        Session::new(Instant::ZERO, &ours, Role::Initiator, a, b, Duration::ZERO),
        Session::new(Instant::ZERO, &theirs, Role::Responder, b, a, Duration::ZERO),
    )
}

/// A batch of frames of that length.
fn frames(length: usize) -> Vec<Packet> {
    let mut packets: Vec<Packet> = (0..BATCH).map(|_| Packet::new()).collect();
    packets.iter_mut().for_each(|packet| refill(packet, length));
    packets
}

/// Makes a packet a frame of that length again, with whatever bytes it has.
fn refill(packet: &mut Packet, length: usize) {
    packet.clear(peervpn::base::limits::HEADROOM);
    packet.grow(length).unwrap();
}

fn fill_sealed(session: &mut Session, packets: &mut [Packet], length: usize) {
    for packet in packets {
        refill(packet, length);
        session.seal(NOW, Kind::Frame, packet).unwrap();
    }
}

// ---- measuring ----

pub(crate) struct Table {
    wanted: Vec<String>,
    hertz: Option<f64>,
}

impl Table {
    /// Whether a row of that name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| name.contains(part.as_str()))
    }

    /// One row: `batch` handles [`BATCH`] packets of `length` bytes and returns how long the measured part took.
    pub(crate) fn row(&self, name: &str, length: usize, mut batch: impl FnMut() -> Duration) {
        if !self.wants(name) {
            return;
        }
        let start = time::Instant::now();
        let mut took = Vec::new();
        while start.elapsed() < RUN {
            took.push(batch());
        }
        took.sort_unstable();
        let packet = took[took.len() / 2].as_secs_f64() / BATCH as f64;
        let cycles = self.hertz.map(|hertz| format!("{:.2}", packet * hertz / length as f64));
        println!(
            "{name:28} {:>12.0} {:>10.0} {:>9.3} {:>13}",
            1.0 / packet,
            packet * 1e9,
            length as f64 * 8.0 / packet / 1e9,
            cycles.as_deref().unwrap_or("-"),
        );
    }
}

/// How long `work` took.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = time::Instant::now();
    work();
    start.elapsed()
}

/// The clock rate of the first processor as Linux states it on x86.
fn clock_rate() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    let megahertz: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
    Some(megahertz * 1e6)
}
