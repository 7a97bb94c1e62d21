//! The event loop: the one place where the core and the kernel meet.
//!
//! It sleeps until something is ready or due, reads the clock once, takes at most one batch from each source, hands it to
//! the node, and does what the node wants done. The poll is edge-triggered: a source counts as ready until it
//! says "would block". Nothing here waits for anything but the poll, and nothing on a packet's way allocates.
#![forbid(unsafe_code)]

mod memory;
mod nat64;
mod sources;

use std::io;
use std::net::SocketAddr;

use mio::{Events, Poll};

pub use self::memory::Memory;
pub use self::nat64::{Nat64, names};
pub use self::sources::Devices;
use self::sources::{
    BEACONS4, BEACONS6, CONTROL, HELPER, NETWORK, RESOLVER, Ready, SIGNALS, SOURCES, TAP, UDP4, UDP6,
    vanished, watch_all,
};
use crate::base::discard::Discard;
use crate::base::event::Event;
use crate::base::limits::{BATCH, FLOOD, NETWORK_SETTLES, PACKETS};
use crate::base::outbox::Outbox;
use crate::base::packet::Packet;
use crate::base::settings::LogLevel;
use crate::base::time::{Duration, Instant, earliest};
use crate::node::Node;
use crate::status::{self, About, Extent};
use crate::story::{Line, Story};
use crate::sys::clock::Clock;
use crate::sys::control::{Control, WHOLE};
use crate::sys::events::LinkState;
use crate::sys::helper::{Outcome, Report};
use crate::sys::log::Logger;
use crate::sys::resolver::Answer;
use crate::sys::signals::Signal;
use crate::sys::tap::{Trouble, trouble};
use crate::sys::udp::{Family, Udp};
use crate::views::Snapshot;
use crate::views::page::{self, Look};

/// A running node.
pub struct Daemon {
    clock: Clock,
    log: Logger,
    about: About,
    story: Story,
    node: Node,
    out: Outbox,
    /// The batch of frames, or of datagrams, that is being handed to the node.
    frames: Vec<Packet>,
    datagrams: Vec<(SocketAddr, Packet)>,
    devices: Devices,
    nat64: Option<Nat64>,
    memory: Option<Memory>,
    poll: Poll,
    ready: Ready,
    /// When the node is to be told that the network changed.
    settled: Option<Instant>,
    events_lost: u64,
}

impl Daemon {
    /// Begins to watch the devices.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new(
        clock: Clock,
        log: Logger,
        about: About,
        story: Story,
        node: Node,
        nat64: Option<Nat64>,
        mut devices: Devices,
    ) -> io::Result<Daemon> {
        let poll = Poll::new()?;
        watch_all(&poll, &mut devices)?;
        let mut daemon = Daemon {
            clock,
            log,
            about,
            story,
            node,
            out: Outbox::new(PACKETS),
            frames: Vec::with_capacity(BATCH),
            datagrams: Vec::with_capacity(BATCH),
            devices,
            nat64,
            memory: None,
            poll,
            ready: Ready::default(),
            settled: None,
            events_lost: 0,
        };
        let now = daemon.clock.now();
        daemon.look_around(now);
        Ok(daemon)
    }

    /// From now on it stores what it remembers.
    pub fn memorise_in(&mut self, memory: Option<Memory>) {
        self.memory = memory;
    }

    /// Runs until it is told to stop, then says goodbye and takes down what `upcmd` set up.
    ///
    /// # Errors
    /// A sentence on what cannot be gone on without: the interface was removed, a child was killed.
    pub fn run(mut self) -> io::Result<()> {
        let end = self.serve();
        self.stop();
        end
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(SOURCES);
        let mut now = self.clock.now();
        loop {
            match self.poll.poll(&mut events, self.patience(now)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => events.iter().for_each(|event| self.ready.set(event.token())),
            }
            now = self.clock.now();
            if self.take_signals(now) {
                return Ok(());
            }
            self.take_frames(now)?;
            self.take_datagrams(now)?;
            self.take_beacons(now);
            self.take_network_events(now)?;
            self.take_answers(now)?;
            self.handle_timeouts(now);
            self.memorise(now, false);
            self.tell(now);
            self.flush(now)?;
            self.serve_control(now);
        }
    }

    /// How long to sleep; none: until something happens.
    fn patience(&self, now: Instant) -> Option<Duration> {
        if self.ready.any() {
            return Some(Duration::ZERO);
        }
        let control = self.devices.control.as_ref().and_then(Control::next_timeout);
        let nat64 = self.nat64.as_ref().and_then(Nat64::next_timeout);
        let due = earliest(earliest(self.node.next_timeout(), self.settled), earliest(control, nat64));
        due.map(|at| at.since(now))
    }

    // ---- what comes in ----

    fn take_frames(&mut self, now: Instant) -> io::Result<()> {
        let Some(tap) = self.devices.tap.as_mut().filter(|_| self.ready.take(TAP)) else { return Ok(()) };
        let too_long = tap.too_long();
        let more = tap.read_batch(&mut self.out, &mut self.frames);
        (too_long..tap.too_long()).for_each(|_| self.out.count(Discard::TooLong));
        for frame in self.frames.drain(..) {
            self.node.take_frame(now, frame, &mut self.out);
            // A flood needs a packet for every peer.
            if self.out.spare() < FLOOD {
                self.node.finish(&mut self.out);
                send(now, &mut self.devices.udp, &mut self.out, &mut self.story, &self.log);
            }
        }
        self.node.finish(&mut self.out);
        match more {
            Ok(more) => self.ready.put(TAP, more),
            Err(error) if trouble(&error) == Trouble::Vanished => return Err(vanished(tap)),
            Err(error) => {
                self.log.debug(format_args!("cannot read from {}: {error}", tap.name()));
                // Behind the frame that cannot be had there may be others, and a full queue wakes nobody.
                self.ready.put(TAP, trouble(&error) == Trouble::Frame);
            }
        }
        self.flush(now)
    }

    fn take_datagrams(&mut self, now: Instant) -> io::Result<()> {
        for (family, token) in [(Family::V4, UDP4), (Family::V6, UDP6)] {
            if !self.ready.take(token) {
                continue;
            }
            let udp = &mut self.devices.udp;
            let (too_long, from_inside) = (udp.too_long(), udp.from_inside());
            let more = udp.receive_batch(family, &mut self.out, &mut self.datagrams);
            (too_long..udp.too_long()).for_each(|_| self.out.count(Discard::TooLong));
            (from_inside..udp.from_inside()).for_each(|_| self.out.count(Discard::InsideTunnel));
            self.node.handle_datagrams(now, &mut self.datagrams, &mut self.out, &mut |at, heard| {
                udp.note_heard(now, at, heard);
            });
            match more {
                Ok(more) => self.ready.put(token, more),
                Err(error) => self.log.warn(format_args!("cannot receive: {error}")),
            }
            self.flush(now)?;
        }
        Ok(())
    }

    /// True when it is time to stop.
    fn take_signals(&mut self, now: Instant) -> bool {
        if !self.ready.take(SIGNALS) {
            return false;
        }
        while let Ok(Some(signal)) = self.devices.signals.take() {
            match signal {
                Signal::Stop => return true,
                Signal::Retry => self.settled = Some(now),
                Signal::Status => {
                    let facts = status::tell(now, &self.about, &self.node, self.out.tally(), Extent::Short);
                    let page = page::render(&Snapshot::read(&facts), None, Look::default());
                    page.lines().for_each(|line| self.log.info(format_args!("{line}")));
                }
            }
        }
        false
    }

    /// Changes come in bursts: the node hears of them once they have settled.
    fn take_network_events(&mut self, now: Instant) -> io::Result<()> {
        if !self.ready.take(NETWORK) {
            return Ok(());
        }
        let changes = match self.devices.network.drain() {
            Ok(changes) => changes,
            Err(error) => {
                self.log.warn(format_args!("cannot watch the network: {error}"));
                return Ok(());
            }
        };
        self.devices.udp.shut_out(self.devices.network.inside());
        if changes.network {
            self.settled = self.settled.or(Some(now + NETWORK_SETTLES));
        }
        let Some(tap) = &self.devices.tap else { return Ok(()) };
        match changes.tap {
            // S24: whoever supervises us starts us again, with a new interface.
            Some(LinkState::Gone) if !tap.exists() => Err(vanished(tap)),
            Some(state) => {
                let state = if state == LinkState::Up { "up" } else { "down" };
                self.log.debug(format_args!("interface {} is {state}", tap.name()));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn take_beacons(&mut self, now: Instant) {
        let Some(multicast) = &self.devices.multicast else { return };
        for (family, token) in [(Family::V4, BEACONS4), (Family::V6, BEACONS6)] {
            if !self.ready.take(token) {
                continue;
            }
            let (node, out) = (&mut self.node, &mut self.out);
            match multicast.receive(family, &mut |from, bytes| node.handle_beacon(now, from, bytes, out)) {
                Ok(more) => self.ready.put(token, more),
                Err(error) => self.log.debug(format_args!("cannot receive beacons: {error}")),
            }
        }
    }

    /// Takes in where this host is now.
    fn look_around(&mut self, now: Instant) {
        let own = self.devices.look_around();
        self.node.handle_local_addresses(now, &own);
        self.look_for_nat64(now);
        let way = self.devices.way_out();
        self.node.handle_gateway(now, way, &mut self.out);
    }

    /// What the children have to say.
    fn take_answers(&mut self, now: Instant) -> io::Result<()> {
        if self.ready.take(RESOLVER) {
            while let Some(answer) = self.devices.resolver.next_answer()? {
                self.handle_answer(now, answer);
            }
        }
        if self.ready.take(HELPER) {
            while let Some(report) = self.devices.helper.next_report()? {
                tell_report(&self.log, &report);
            }
        }
        Ok(())
    }

    fn handle_answer(&mut self, now: Instant, mut answer: Answer) {
        if self.handle_nat64(now, &mut answer) {
            return;
        }
        let found = answer.found.as_deref().map_err(String::as_str);
        write(&self.log, self.story.of_answer(answer.host, found.map(<[_]>::len)));
        self.node.handle_addresses(now, answer.host, found.unwrap_or_default(), &mut self.out);
    }

    fn handle_timeouts(&mut self, now: Instant) {
        if self.settled.is_some_and(|at| at <= now) {
            self.settled = None;
            self.log.debug(format_args!("the network changed: trying everybody again"));
            self.devices.udp.network_changed();
            self.look_around(now);
            self.node.handle_network_change(now, &mut self.out);
        }
        self.ask_for_nat64(now);
        if self.node.next_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now, &mut self.out);
        }
    }

    // ---- what goes out ----

    /// Passes on what the node told.
    fn tell(&mut self, now: Instant) {
        while let Some(event) = self.out.next_event() {
            write(&self.log, self.story.of_event(now, &event));
            if event == Event::Beacon {
                self.devices.send_beacons(&self.node, &self.log);
            }
            if let Event::Resolve(host) = event
                && let Some(answer) = self.devices.resolver.ask(host)
            {
                self.handle_answer(now, answer);
            }
        }
        if self.events_lost != self.out.events_lost() {
            self.events_lost = self.out.events_lost();
            write(&self.log, self.story.of_lost_events(now, self.events_lost));
        }
    }

    /// Sends and delivers all that waits.
    fn flush(&mut self, now: Instant) -> io::Result<()> {
        send(now, &mut self.devices.udp, &mut self.out, &mut self.story, &self.log);
        while let Some((to, length)) = self.devices.udp.next_too_long() {
            self.node.handle_too_long(now, to, length, &mut self.out);
        }
        let Some(tap) = &mut self.devices.tap else {
            while let Some(frame) = self.out.next_frame() {
                self.out.recycle(frame);
            }
            return Ok(());
        };
        let (mut refused, mut gone) = (0, false);
        tap.write_batch(&mut self.out, &mut |error| {
            // A TAP that is down takes no frames, and that is no news.
            refused += 1;
            gone |= trouble(error) == Trouble::Vanished;
        });
        (0..refused).for_each(|_| self.out.count(Discard::KernelRefused));
        if gone { Err(vanished(tap)) } else { Ok(()) }
    }

    fn serve_control(&mut self, now: Instant) {
        let Some(control) = &mut self.devices.control else { return };
        if self.ready.take(CONTROL) {
            control.handle_ready(now, &mut |request| {
                let extent = if request == WHOLE { Extent::Whole } else { Extent::Short };
                status::tell(now, &self.about, &self.node, self.out.tally(), extent)
            });
        }
        control.handle_timeout(now);
    }

    /// Says goodbye, then takes the interface down in order.
    fn stop(mut self) {
        let now = self.clock.now();
        self.log.info(format_args!("stopping"));
        self.memorise(now, true);
        self.node.stop(now, &mut self.out);
        self.tell(now);
        send(now, &mut self.devices.udp, &mut self.out, &mut self.story, &self.log);
        // `downcmd` finds the interface still there: the TAP is dropped after it.
        match self.devices.helper.finish(&mut |report| tell_report(&self.log, report)) {
            Some(report) => tell_report(&self.log, &report),
            None => self.log.warn(format_args!("the helper does not answer; downcmd may not have run")),
        }
        drop(self.devices.tap);
    }
}

/// Sends all datagrams that wait; counts those the kernel does not take.
fn send(now: Instant, udp: &mut Udp, out: &mut Outbox, story: &mut Story, log: &Logger) {
    let mut refused = 0;
    udp.send_batch(out, &mut |to, error| {
        refused += 1;
        if log.writes(LogLevel::Debug) {
            write(log, story.of_unsent(now, to, error));
        }
    });
    (0..refused).for_each(|_| out.count(Discard::KernelRefused));
}

fn write(log: &Logger, line: Option<Line>) {
    if let Some(Line { level, text }) = line {
        log.tell(level, format_args!("{text}"));
    }
}

fn tell_report(log: &Logger, report: &Report) {
    match report {
        Report::HookDone { outcome: Outcome::Skipped, .. } => (),
        _ if report.is_success() => log.info(format_args!("{report}")),
        _ => log.warn(format_args!("{report}")),
    }
}
