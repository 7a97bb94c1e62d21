//! What happens, told in sentences for the log: a sentence for people, then a colon, then `key=value` pairs for programs, with
//! the keys of `peervpn status --json` where it has them. A value with blanks in it stands in quotes.
//!
//! Knows what was told before: who can make something happen again and again must not fill a router's log
//! with it. What strangers and stations can cause is told once in [`PAUSE`], what members can, so often after a
//! burst of [`BURST`]; both with the number of those left out. A host name that
//! cannot be resolved is told when that begins and when it ends. No input and output here, no secrets (S16).
#![forbid(unsafe_code)]

use std::fmt::{self, Display};
use std::net::SocketAddr;

use crate::base::event::{Event, Parting, Way};
use crate::base::ids::HostId;
use crate::base::settings::{Host, LogLevel};
use crate::base::time::{Bucket, Duration, Instant};

/// What others can cause at will is told so often at most.
const PAUSE: Duration = Duration::from_secs(10);
/// So many lines of one kind may come at once where members cause them: a mesh that starts is a story to tell.
const BURST: u32 = 32;

/// A line for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// How important it is.
    pub level: LogLevel,
    /// The sentence, without a newline.
    pub text: String,
}

/// What was told so far.
#[derive(Debug)]
pub struct Story {
    hosts: Vec<(Host, Standing)>,
    joined: Pause,
    left: Pause,
    rerouted: Pause,
    rekeyed: Pause,
    refused: Pause,
    moved: Pause,
    mapped: Pause,
    loops: Pause,
    lost: Pause,
    unsent: Pause,
}

/// What was last told of an initial peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Fine,
    Unresolved,
    Ourselves,
}

impl Story {
    /// Nothing told yet. `hosts` are the initial peers.
    pub fn new(hosts: &[Host]) -> Story {
        Story {
            hosts: hosts.iter().map(|host| (host.clone(), Standing::Fine)).collect(),
            joined: Pause::new(BURST),
            left: Pause::new(BURST),
            rerouted: Pause::new(BURST),
            rekeyed: Pause::new(BURST),
            refused: Pause::new(1),
            moved: Pause::new(1),
            mapped: Pause::new(4),
            loops: Pause::new(4),
            lost: Pause::new(1),
            unsent: Pause::new(1),
        }
    }

    /// The sentence for an event; none when there is nothing to tell, or when it was told just now.
    pub fn of_event(&mut self, now: Instant, event: &Event) -> Option<Line> {
        use LogLevel::{Debug, Info, Warn};
        match *event {
            Event::PeerUp { peer, way } => {
                self.joined.tell(now, Info, || format!("peer joined: peer={peer} {}", Tail(way)))
            }
            Event::PeerDown { peer, why } => {
                self.left.tell(now, Info, || format!("peer left, {}: peer={peer}", reason(why)))
            }
            Event::WayChanged { peer, way, silent } => self.rerouted.tell(now, Info, || {
                let why = if silent { "the one before is silent" } else { "a better one answers" };
                format!("path changed, {why}: peer={peer} {}", Tail(way))
            }),
            Event::Rekeyed { peer } => {
                self.rekeyed.tell(now, Debug, || format!("peer has a new key: peer={peer}"))
            }
            Event::HandshakeRefused { from, why } => self
                .refused
                .tell(now, Warn, || format!("handshake refused, {}: address={from}", why.label())),
            Event::MacMoved { mac, to } => {
                self.moved.tell(now, Info, || format!("station moved to another peer: mac={mac} peer={to}"))
            }
            Event::LoopFound { peer, floods } => self.loops.tell(now, Warn, || {
                let (one, other) = if floods { ("it", "this node") } else { ("this node", "it") };
                format!("peer is on our own network too, {one} forwards broadcasts and {other} does not: peer={peer}")
            }),
            Event::LoopOver { peer } => self
                .loops
                .tell(now, Info, || format!("peer is not on our own network any more: peer={peer}")),
            Event::NetworkLoops => self.loops.tell(now, Warn, || {
                "what goes out at the interface comes back, the network behind it has a loop".to_owned()
            }),
            Event::Storm { from } => self.loops.tell(now, Warn, || match from {
                Some(peer) => format!("too many broadcasts, some are dropped; is there a loop?: peer={peer}"),
                None => "too many broadcasts from our own network, some are dropped; is there a loop?".to_owned(),
            }),
            Event::Mapped(Some(at)) => self.mapped.tell(now, Info, || {
                format!("the NAT lets everybody in at a port of ours: address={at}")
            }),
            Event::Mapped(None) => self.mapped.tell(now, Info, || {
                "the NAT does not let everybody in at a port of ours any more".to_owned()
            }),
            Event::HostIsUs(host) => self.turn(host, Standing::Ourselves, |host| {
                (Info, format!("initial peer is this node itself: name={host}"))
            }),
            // The first is told by its answer, the second by who answers it.
            Event::Resolve(_) | Event::Beacon => None,
        }
    }

    /// The sentence for the resolver's answer: how many addresses it found, or why none.
    pub fn of_answer(&mut self, host: HostId, found: Result<usize, &str>) -> Option<Line> {
        match (found, self.standing(host)?) {
            (Ok(_), Standing::Unresolved) => self.turn(host, Standing::Fine, |host| {
                (LogLevel::Info, format!("name resolves again: name={host}"))
            }),
            (Ok(_), _) => None,
            (Err(why), before) => {
                let level = if before == Standing::Unresolved { LogLevel::Debug } else { LogLevel::Warn };
                let place = self.hosts.get_mut(usize::from(host.0))?;
                place.1 = Standing::Unresolved;
                line(level, format!("cannot resolve a name, trying again: name={} reason=\"{why}\"", place.0))
            }
        }
    }

    /// The sentence for a datagram that the kernel did not take.
    pub fn of_unsent(&mut self, now: Instant, to: SocketAddr, why: &dyn Display) -> Option<Line> {
        self.unsent.tell(now, LogLevel::Debug, || format!("cannot send: address={to} reason=\"{why}\""))
    }

    /// The sentence for events that found the queue full.
    pub fn of_lost_events(&mut self, now: Instant, all: u64) -> Option<Line> {
        self.lost.tell(now, LogLevel::Warn, || {
            format!("too much happens at once, some of it was not told: events={all}")
        })
    }

    fn standing(&self, host: HostId) -> Option<Standing> {
        self.hosts.get(usize::from(host.0)).map(|place| place.1)
    }

    /// Notes a host's new standing; tells it when it is new.
    fn turn(
        &mut self,
        host: HostId,
        standing: Standing,
        sentence: impl FnOnce(&Host) -> (LogLevel, String),
    ) -> Option<Line> {
        let place = self.hosts.get_mut(usize::from(host.0))?;
        if std::mem::replace(&mut place.1, standing) == standing {
            return None;
        }
        let (level, text) = sentence(&place.0);
        line(level, text)
    }
}

fn line(level: LogLevel, text: String) -> Option<Line> {
    Some(Line { level, text })
}

/// A way as the status has it.
struct Tail(Way);

impl Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Way::Direct(address) => write!(f, "path=direct address={address}"),
            Way::Relayed(relay) => write!(f, "path=relayed relay={relay}"),
        }
    }
}

fn reason(why: Parting) -> &'static str {
    match why {
        Parting::Goodbye => "it said goodbye",
        Parting::Silent => "silent for too long",
        Parting::Expired => "its key ended without a new one",
        Parting::Evicted => "room was needed for another",
    }
}

/// One kind of thing that may come too often.
#[derive(Clone, Copy, Debug)]
struct Pause {
    lines: Bucket,
    left_out: u64,
}

impl Pause {
    fn new(burst: u32) -> Pause {
        Pause { lines: Bucket::new(burst, PAUSE, Instant::ZERO), left_out: 0 }
    }

    fn tell(&mut self, now: Instant, level: LogLevel, sentence: impl FnOnce() -> String) -> Option<Line> {
        if !self.lines.take(now) {
            self.left_out += 1;
            return None;
        }
        let mut text = sentence();
        match std::mem::take(&mut self.left_out) {
            0 => (),
            left_out => {
                text.push_str(if text.contains('=') { " left_out=" } else { ": left_out=" });
                text.push_str(&left_out.to_string());
            }
        }
        line(level, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::discard::Discard;
    use crate::base::ids::{Mac, ShortId};

    const PEER: ShortId = ShortId([0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70, 0x81]);
    const RELAY: ShortId = ShortId([0x99; 8]);

    fn address() -> SocketAddr {
        "203.0.113.10:7000".parse().unwrap()
    }

    fn story() -> Story {
        let host = |name: &str| Host { name: name.into(), port: 7000 };
        Story::new(&[host("vps.example.org"), host("2001:db8::1")])
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn text(told: Option<Line>) -> String {
        told.map_or("nothing".into(), |line| line.text)
    }

    #[test]
    fn each_event_has_a_sentence() {
        let direct = Way::Direct(address());
        for (event, level, sentence) in [
            (
                Event::PeerUp { peer: PEER, way: direct },
                LogLevel::Info,
                "peer joined: peer=1a2b3c4d5e6f7081 path=direct address=203.0.113.10:7000",
            ),
            (
                Event::WayChanged { peer: PEER, way: Way::Relayed(RELAY), silent: true },
                LogLevel::Info,
                "path changed, the one before is silent: peer=1a2b3c4d5e6f7081 path=relayed relay=9999999999999999",
            ),
            (
                Event::PeerDown { peer: PEER, why: Parting::Goodbye },
                LogLevel::Info,
                "peer left, it said goodbye: peer=1a2b3c4d5e6f7081",
            ),
            (Event::Rekeyed { peer: PEER }, LogLevel::Debug, "peer has a new key: peer=1a2b3c4d5e6f7081"),
            (
                Event::HandshakeRefused { from: address(), why: Discard::BadKey },
                LogLevel::Warn,
                "handshake refused, bad public key: address=203.0.113.10:7000",
            ),
            (
                Event::MacMoved { mac: Mac([2, 0, 0, 0, 0, 1]), to: PEER },
                LogLevel::Info,
                "station moved to another peer: mac=02:00:00:00:00:01 peer=1a2b3c4d5e6f7081",
            ),
            (
                Event::HostIsUs(HostId(1)),
                LogLevel::Info,
                "initial peer is this node itself: name=[2001:db8::1]:7000",
            ),
        ] {
            let told = story().of_event(at(0), &event).unwrap();
            assert_eq!((told.level, told.text.as_str()), (level, sentence));
        }
        assert_eq!(story().of_event(at(0), &Event::Resolve(HostId(0))), None);
        assert_eq!(story().of_event(at(0), &Event::HostIsUs(HostId(9))), None);
    }

    #[test]
    fn what_strangers_repeat_is_told_once_in_a_while_with_its_number() {
        let mut story = story();
        let knock = Event::HandshakeRefused { from: address(), why: Discard::BadKey };
        assert!(story.of_event(at(0), &knock).is_some());
        for second in 1..10 {
            assert_eq!(story.of_event(at(second), &knock), None);
        }
        // Another kind is not held back by it.
        assert!(story.of_unsent(at(9), address(), &"no route").is_some());
        assert!(text(story.of_event(at(10), &knock)).ends_with(" address=203.0.113.10:7000 left_out=9"));
        assert!(text(story.of_event(at(20), &knock)).ends_with(" address=203.0.113.10:7000"));
    }

    #[test]
    fn a_member_that_comes_and_goes_does_not_fill_the_log() {
        let way = Way::Direct(address());
        for event in [
            Event::PeerUp { peer: PEER, way },
            Event::PeerDown { peer: PEER, why: Parting::Goodbye },
            Event::WayChanged { peer: PEER, way, silent: false },
        ] {
            let mut story = story();
            // Twice a second for an hour, after a mesh of a common size has come up.
            let told = (0..7200).filter(|n| story.of_event(at(n / 2), &event).is_some()).count();
            assert_eq!(told, 32 + 359, "{event:?}");
            let after_the_storm = text(story.of_event(at(4000), &event));
            assert!(after_the_storm.ends_with(" left_out=19"), "{after_the_storm}");
            assert!(!text(story.of_event(at(4000), &event)).contains("left_out"));
        }
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_when_it_begins_and_when_it_ends() {
        let mut story = story();
        let (first, second) = (HostId(0), HostId(1));
        assert_eq!(story.of_answer(first, Ok(2)), None);
        let told = story.of_answer(first, Err("no such name")).unwrap();
        assert_eq!(told.level, LogLevel::Warn);
        assert_eq!(
            told.text,
            "cannot resolve a name, trying again: name=vps.example.org:7000 reason=\"no such name\""
        );
        assert_eq!(story.of_answer(first, Err("no such name")).unwrap().level, LogLevel::Debug);
        assert_eq!(story.of_answer(second, Err("no such name")).unwrap().level, LogLevel::Warn);
        assert_eq!(text(story.of_answer(first, Ok(1))), "name resolves again: name=vps.example.org:7000");
        assert_eq!(story.of_answer(first, Ok(1)), None);
        assert_eq!(story.of_answer(HostId(7), Ok(1)), None);
    }

    #[test]
    fn an_initial_peer_that_is_ourselves_is_told_once() {
        let mut story = story();
        assert!(story.of_event(at(0), &Event::HostIsUs(HostId(0))).is_some());
        assert_eq!(story.of_event(at(300), &Event::HostIsUs(HostId(0))), None);
    }
}
