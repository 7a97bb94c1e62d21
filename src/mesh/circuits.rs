//! The table of circuits: those that end here and those that lead through us, by our own numbers.

use crate::base::discard::Discard;
use crate::base::ids::{CircuitId, PeerKey};
use crate::base::limits::{CIRCUIT_IDLE, CIRCUIT_PACKETS, CIRCUITS};
use crate::base::table::Table;
use crate::base::time::{Duration, Instant};
use crate::crypto::random::Random;

/// What a number of ours stands for.
pub enum Circuit {
    /// The circuit ends here.
    End {
        /// Who relays.
        relay: PeerKey,
        /// Who is at the other end.
        far: PeerKey,
        /// The relay's number, once it accepted.
        theirs: Option<CircuitId>,
        /// Whether we asked for it, not the other end.
        ours: bool,
        /// How often the relay was asked for it, or a handshake sent by it, to no avail.
        tries: u8,
    },
    /// We relay; packets with this number come from that neighbour.
    Leg {
        /// Who sends by it.
        neighbour: PeerKey,
        /// The neighbour's number for packets the other way, once it accepted.
        theirs: Option<CircuitId>,
        /// Our number of the other leg.
        twin: CircuitId,
        /// Whether that neighbour asked for the circuit.
        near: bool,
        /// How much it may still carry in this second.
        quota: Quota,
    },
}

/// How many packets were carried in the second that began at `since`.
#[derive(Clone, Copy, Default)]
pub struct Quota {
    since: Instant,
    packets: u32,
}

impl Quota {
    /// Counts one packet, unless the second is used up.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Quota { since: now, packets: 0 };
        }
        self.packets += 1;
        self.packets <= CIRCUIT_PACKETS
    }
}

pub(super) struct Entry {
    /// What it is.
    pub(super) circuit: Circuit,
    used: Instant,
}

/// All circuits that end here or lead through us, by our own numbers.
pub struct Circuits {
    pub(super) entries: Table<CircuitId, Entry>,
}

impl Circuits {
    /// None.
    pub fn new(seed: u64) -> Circuits {
        Circuits { entries: Table::new(CIRCUITS, seed) }
    }

    pub(super) fn get(&self, number: CircuitId) -> Option<&Circuit> {
        self.entries.get(&number).map(|entry| &entry.circuit)
    }

    pub(super) fn get_mut(&mut self, number: CircuitId) -> Option<&mut Circuit> {
        self.entries.get_mut(&number).map(|entry| &mut entry.circuit)
    }

    /// The circuit of that number, which something has just come or gone by.
    pub(super) fn used(&mut self, now: Instant, number: CircuitId) -> Option<&mut Circuit> {
        self.entries.get_mut(&number).map(|entry| {
            entry.used = now;
            &mut entry.circuit
        })
    }

    /// Puts a circuit in under a new number. Nothing is pushed out for it: a full table refuses.
    pub(super) fn add(
        &mut self,
        now: Instant,
        random: &mut Random,
        circuit: impl FnOnce(CircuitId) -> Circuit,
    ) -> Result<CircuitId, Discard> {
        if self.entries.is_full() {
            return Err(Discard::NoRoom);
        }
        loop {
            let number = CircuitId(random.u32());
            if self.entries.get(&number).is_none() {
                self.entries.insert(number, Entry { circuit: circuit(number), used: now });
                return Ok(number);
            }
        }
    }

    pub(super) fn find(&self, wanted: impl Fn(&Circuit) -> bool) -> Option<CircuitId> {
        self.entries.iter().find(|(_, entry)| wanted(&entry.circuit)).map(|(number, _)| *number)
    }

    /// How many legs begin at that neighbour.
    pub(super) fn legs_of(&self, key: PeerKey) -> usize {
        let of = |entry: &Entry| matches!(entry.circuit, Circuit::Leg { neighbour, .. } if neighbour == key);
        self.entries.iter().filter(|(_, entry)| of(entry)).count()
    }

    /// How many circuits others have through us.
    pub fn carried(&self) -> usize {
        let legs = self.entries.iter().filter(|(_, entry)| matches!(entry.circuit, Circuit::Leg { .. }));
        legs.count() / 2
    }

    /// Takes down what nothing came by for long.
    pub fn expire(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now.since(entry.used) < CIRCUIT_IDLE);
    }
}

impl Circuit {
    /// Whether `neighbour` is on its other side and named it `number`.
    pub(super) fn is_with(&self, neighbour: PeerKey, number: CircuitId) -> bool {
        match self {
            Circuit::End { relay, theirs, .. } => *relay == neighbour && *theirs == Some(number),
            Circuit::Leg { neighbour: other, theirs, .. } => *other == neighbour && *theirs == Some(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_carries_its_quota_and_no_more() {
        // S15: one circuit cannot take all of a relay.
        let mut quota = Quota::default();
        let now = Instant::ZERO + Duration::from_secs(5);
        assert!((0..CIRCUIT_PACKETS).all(|_| quota.take(now)));
        assert!(!quota.take(now));
        assert!(quota.take(now + Duration::from_secs(1)));
    }

    #[test]
    fn idle_circuits_are_taken_down_and_full_tables_refuse() {
        let mut random = Random::new([1; 32]);
        let mut circuits = Circuits::new(1);
        let key = PeerKey { slot: 1, generation: 0 };
        let end = |_| Circuit::End { relay: key, far: key, theirs: None, ours: true, tries: 0 };
        let first = circuits.add(Instant::ZERO, &mut random, end).unwrap();
        for _ in 1..CIRCUITS {
            circuits.add(Instant::ZERO, &mut random, end).unwrap();
        }
        assert_eq!(circuits.add(Instant::ZERO, &mut random, end).err(), Some(Discard::NoRoom));
        circuits.used(Instant::ZERO + CIRCUIT_IDLE, first);
        circuits.expire(Instant::ZERO + CIRCUIT_IDLE);
        assert_eq!(circuits.entries.len(), 1);
    }

    #[test]
    fn what_a_relay_carries_is_counted_by_neighbour_and_by_circuit() {
        let mut random = Random::new([1; 32]);
        let mut circuits = Circuits::new(1);
        let [one, two, three] = [1, 2, 3].map(|slot| PeerKey { slot, generation: 0 });
        for neighbour in [one, two, one, three] {
            let (twin, quota) = (CircuitId(5), Quota::default());
            let leg = |_| Circuit::Leg { neighbour, theirs: None, twin, near: true, quota };
            circuits.add(Instant::ZERO, &mut random, leg).unwrap();
        }
        let end = |_| Circuit::End { relay: one, far: two, theirs: None, ours: true, tries: 0 };
        circuits.add(Instant::ZERO, &mut random, end).unwrap();
        assert_eq!([one, two, three].map(|key| circuits.legs_of(key)), [2, 1, 1]);
        assert_eq!(circuits.carried(), 2, "two legs each, and none for what ends here");
    }

    #[test]
    fn a_number_means_a_circuit_only_together_with_who_gave_it() {
        let [one, other] = [1, 2].map(|slot| PeerKey { slot, generation: 0 });
        let (theirs, twin, quota) = (Some(CircuitId(7)), CircuitId(5), Quota::default());
        let end = |theirs| Circuit::End { relay: one, far: other, theirs, ours: true, tries: 0 };
        let leg = |theirs| Circuit::Leg { neighbour: one, theirs, twin, near: true, quota };
        for (what, known, unnamed) in [("end", end(theirs), end(None)), ("leg", leg(theirs), leg(None))] {
            assert!(known.is_with(one, CircuitId(7)), "{what}");
            for (neighbour, number) in [(one, 8), (other, 7), (one, 5)] {
                assert!(!known.is_with(neighbour, CircuitId(number)), "{what}: {neighbour:?} {number}");
            }
            assert!(!unnamed.is_with(one, CircuitId(7)), "{what} without a number");
        }
    }
}
