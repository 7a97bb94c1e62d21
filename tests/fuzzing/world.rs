//! A world of four nodes, one of them a relay and one behind a NAT, to which the bytes do what networks and people
//! do: loss, disorder, damage, partitions, restarts, moves, and packets that somebody recorded and sends again,
//! changed or not. What must hold at every step is the simulator's affair; here it must heal once all that stops.

use std::net::SocketAddr;

use peervpn::base::time::Duration;

use super::Script;
use super::sim::nat::NatSpec;
use super::sim::spec::{member, public};
use super::sim::traffic::Datagram;
use super::sim::{Id, Site, World};

/// So many acts are played at most.
const ACTS: usize = 48;

/// Plays the bytes, then lets all nodes find each other.
pub fn world(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut world = World::new(script.byte().unwrap_or(0).into());
    world.capture();
    let relay = world.add(member().at(public(1)).relay());
    let beside = world.add(member().at(public(2)).knows(public(1)));
    let other = world.add(member().at(public(3)).knows(public(1)));
    let site = world.site(Site::INTERNET, NatSpec::symmetric(public(4).ip()));
    let behind = SocketAddr::from(([10, 0, 0, 2], 7000));
    let inside = world.add(member().behind(site, behind).knows(public(1)));
    let nodes = [relay, beside, other, inside];
    world.run_for(Duration::from_secs(3));
    let mut stage = Stage { nodes, site, recorded: world.captured() };
    for _ in 0..ACTS {
        if stage.act(&mut script, &mut world).is_none() {
            break;
        }
    }
    world.heal();
    world.run_for(Duration::from_secs(90));
    for (&a, &b) in nodes.iter().zip(nodes.iter().cycle().skip(1)) {
        assert!(world.talks_within(a, b, Duration::from_secs(90)).is_some(), "{a} to {b}");
    }
}

struct Stage {
    nodes: [Id; 4],
    site: Site,
    recorded: Vec<Datagram>,
}

impl Stage {
    /// One act; none where the bytes end.
    fn act(&mut self, script: &mut Script<'_>, world: &mut World) -> Option<()> {
        let what = script.byte()?;
        let pair = script.byte()?;
        let (a, b) = (self.nodes[usize::from(pair & 3)], self.nodes[usize::from(pair >> 2 & 3)]);
        let share = f64::from(script.byte()?) / 256.0;
        match what & 15 {
            0 => world.run_for(Duration::from_millis((share * 1000.0) as u64)),
            1 => world.run_for(Duration::from_secs((share * 256.0) as u64)),
            2 => world.link(a, b).loss = share,
            3 => world.link(a, b).corrupt = share,
            4 => world.link(a, b).duplicate = share,
            5 => world.link(a, b).reorder = share,
            6 => world.link(a, b).truncate = share,
            7 => world.link(a, b).delay = Duration::from_millis((share * 3000.0) as u64),
            8 => world.part(&[a], &self.nodes),
            9 => world.heal(),
            10 => world.restart(a, share < 0.5),
            11 => world.nat(self.site).forget(),
            12 => self.replay(script, world, a)?,
            13 => {
                let mut frame = script.piece()?.to_vec();
                // Not in the name of a station of this world: that would be a second one of its name, which nothing heals.
                if let Some(source) = frame.get_mut(6) {
                    *source |= 4;
                }
                world.strike_tap(a, &frame);
            }
            14 => world.strike(a, public(77), script.piece()?),
            _ => drop(world.send(a, b, 60 + (share * 1400.0) as usize, true)),
        }
        Some(())
    }

    /// Something that was on the way once comes again, from where it came or from elsewhere, whole or damaged.
    fn replay(&mut self, script: &mut Script<'_>, world: &mut World, to: Id) -> Option<()> {
        let at = usize::from(script.number()?);
        let damage = script.piece()?;
        self.recorded.extend(world.captured());
        let original = self.recorded.get(at % self.recorded.len().max(1))?;
        let mut bytes = original.bytes.clone();
        for pair in damage.chunks_exact(2) {
            if let Some(byte) = bytes.get_mut(usize::from(pair[0])) {
                *byte ^= pair[1];
            }
        }
        let from = if at & 1 == 0 { original.from } else { public(78) };
        world.strike(to, from, &bytes);
        Some(())
    }
}
