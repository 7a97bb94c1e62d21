//! The start: from settings to a daemon that runs without rights. Each step is a line of [`run`], in the order
//! that the rights, and the secrets in memory, ask for.
//!
//! What can fail for a wrong setting is looked up first, so that nothing is half set up then. The children are
//! forked when they can be given all they need and before the loop has any state; what they inherit of the
//! secrets is wiped or belongs to root alone (S16). Rights are dropped last (S23).
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;

use crate::base::ids::{Mac, ShortId};
use crate::base::limits::MTU_AUTO;
use crate::base::settings::{CallFilter, InterfaceName, LanDiscovery, Secret, Settings};
use crate::base::time::Duration;
use crate::crypto::identity::{Identity, short_id};
use crate::daemon::{self, Daemon, Devices, Memory, Nat64};
use crate::node::Node;
use crate::secrets::{self, Secrets};
use crate::status::About;
use crate::story::Story;
use crate::sys::clock::{Clock, entropy};
use crate::sys::control::Control;
use crate::sys::crash;
use crate::sys::events::Events;
use crate::sys::files::effective_user;
use crate::sys::helper::{HOOK_LIMIT, Helper, Plan};
use crate::sys::landlock;
use crate::sys::log::Logger;
use crate::sys::multicast::Multicast;
use crate::sys::netlink::{Link, Netlink};
use crate::sys::privileges;
use crate::sys::resolver::Resolver;
use crate::sys::seccomp;
use crate::sys::signals::Signals;
use crate::sys::tap::Tap;
use crate::sys::udp::{Listen, Udp};

use crate::sys::failure;
use zeroize::Zeroize;

/// Starts a node and runs it until it is told to stop.
///
/// # Errors
/// A sentence on what failed and what can be done about it.
pub fn run(mut settings: Settings, log: Logger) -> io::Result<()> {
    crash::install();
    need_root(&settings)?;
    let clock = Clock::new()?;
    let rights = settings.privileges.as_ref().map(privileges::prepare).transpose()?;
    let status_group = settings.status_group.as_deref().map(privileges::status_group).transpose()?;
    let mut network_key = secrets::network_secret(&settings, &settings.psk, &log)?;
    // They have served, and are wiped by this.
    settings.psk = Secret::new(String::new());
    let psk_next = settings.psk_next.take();
    let next_key = psk_next.map(|psk| secrets::network_secret(&settings, &psk, &log)).transpose()?;
    let mut next_key = next_key.unwrap_or_default();

    let signals = Signals::install()?;
    let tap = settings.tunneling.then(|| Tap::open(&settings.interface, settings.offload)).transpose()?;
    let name = tap.as_ref().map(Tap::name);
    let instance = name.unwrap_or(settings.network.as_str());
    let control = open_control(instance, status_group, &log)?;
    let mut node_key = secrets::node_secret(&settings, control.is_some().then_some(instance), &log)?;
    let mut secrets = Secrets { network: *network_key, next: *next_key, node: *node_key };
    // This frame stays as long as the program runs, and a drop would wipe where they were moved to.
    network_key.zeroize();
    next_key.zeroize();
    node_key.zeroize();
    let short = short_id(&Identity::from_secret(secrets.node).id());
    let handshake_cost = handshake_cost(&clock, &secrets.node);
    let link = tap.as_ref().map(|tap| set_up(tap, &settings, short)).transpose()?;
    let udp = open_sockets(&settings, &log)?;
    settings.port = udp.port();
    let multicast = open_multicast(&settings, &log);
    let network = Events::open(link.as_ref())?;
    let about = About::new(&settings, name, udp.port(), clock.now());
    log.info(format_args!(
        "started: node={short} network={} interface={} port={}",
        settings.network.as_str(),
        name.unwrap_or("none"),
        udp.port()
    ));

    let memory = settings.statefile.as_deref().map(|path| Memory::load(clock.now(), path, &log));
    let mut helper = Helper::spawn(plan(&settings, short, name, control.as_ref()))?;
    let resolver = Resolver::spawn(daemon::names(&settings), rights.as_ref(), || secrets.zeroize())?;
    if tap.is_some() {
        // It runs beside us: a command that waits for the tunnel must not keep the tunnel waiting.
        helper.announce_up()?;
    } else if settings.upcmd.is_some() || settings.downcmd.is_some() {
        log.info(format_args!("upcmd and downcmd are not run without an interface (enabletunneling is no)"));
    }
    let mut seed = entropy()?;
    match &rights {
        Some(rights) => rights.drop_rights()?,
        None => privileges::keep_rights()?,
    }
    confine(settings.call_filter, &log)?;

    let mut node = Node::new(&settings, &secrets.network, &secrets.node, &seed, clock.now());
    node.set_handshake_cost(clock.now(), handshake_cost);
    if secrets.next != [0; 32] {
        node.accept_next(&settings.network, &secrets.next);
    }
    if let Some(memory) = &memory {
        node.remember(clock.now(), &memory.places);
    }
    secrets.zeroize();
    seed.zeroize();
    let story = Story::new(&settings.initpeers);
    let devices = Devices { tap, udp, multicast, network, signals, helper, resolver, control };
    let mut daemon = Daemon::new(clock, log, about, story, node, Nat64::new(&settings), devices)?;
    daemon.memorise_in(memory);
    daemon.run()
}

/// What it costs to answer a first message: four times what an identity costs, and some hashing. The quickest of a few
/// counts, or a machine that has more to do just now would be taken for a slow one as long as the node runs.
fn handshake_cost(clock: &Clock, secret: &[u8; 32]) -> Duration {
    let measure = || {
        let before = clock.now();
        std::hint::black_box(Identity::from_secret(*secret));
        clock.now() - before
    };
    let quickest = std::iter::repeat_with(measure).take(4).min();
    quickest.unwrap_or(Duration::ZERO) * 5
}

/// Who is to give up root's rights must have them.
fn need_root(settings: &Settings) -> io::Result<()> {
    match &settings.privileges {
        Some(privileges) if effective_user() != 0 => Err(failure(
            io::ErrorKind::PermissionDenied,
            format!(
                "peervpn needs root to start, and becomes user '{}' once it has: try sudo (or set enableprivdrop \
                 no and give the program CAP_NET_ADMIN)",
                privileges.user
            ),
        )),
        _ => Ok(()),
    }
}

/// S23: from here on nothing can be opened, and no system call be made, that the loop has no use for.
fn confine(filter: CallFilter, log: &Logger) -> io::Result<()> {
    if let Err(error) = landlock::fence_in() {
        log.debug(format_args!("no Landlock: {error}"));
    }
    let filtered = if filter == CallFilter::Off { Ok(()) } else { seccomp::filter_calls() };
    match filtered {
        Err(error) if filter == CallFilter::Always => Err(failure(
            error.kind(),
            format!("cannot filter system calls: {error} (forceseccomp no would go on without)"),
        )),
        Err(error) => {
            log.info(format_args!("system calls are not filtered: {error}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Sets the interface up as configured.
fn set_up(tap: &Tap, settings: &Settings, short: ShortId) -> io::Result<Link> {
    let mut netlink = Netlink::open()?;
    let gone = || failure(io::ErrorKind::Other, format!("the interface {} went away at once", tap.name()));
    let link = netlink.link(tap.name())?.ok_or_else(gone)?;
    netlink.set_mac(&link, settings.mac.unwrap_or_else(|| mac_of(short)))?;
    netlink.set_mtu(&link, settings.mtu.map_or(MTU_AUTO, usize::from).try_into().unwrap_or(u16::MAX))?;
    if let Some((address, prefix)) = settings.ifconfig4 {
        netlink.add_address(&link, IpAddr::V4(address), prefix)?;
    }
    if let Some((address, prefix)) = settings.ifconfig6 {
        netlink.add_address(&link, IpAddr::V6(address), prefix).map_err(explain_ipv6)?;
    }
    netlink.set_up(&link)?;
    Ok(link)
}

fn explain_ipv6(error: io::Error) -> io::Error {
    let hint = "if IPv6 is off on this host, see net.ipv6.conf.all.disable_ipv6 or remove ifconfig6";
    failure(error.kind(), format!("{error}; {hint}"))
}

/// A node's MAC address: locally administered, and the same wherever the node's key is the same.
fn mac_of(ShortId([a, b, c, d, e, f, _, _]): ShortId) -> Mac {
    const GROUP: u8 = 1;
    const LOCAL: u8 = 2;
    Mac([a & !GROUP | LOCAL, b, c, d, e, f])
}

fn open_sockets(settings: &Settings, log: &Logger) -> io::Result<Udp> {
    let udp = Udp::open(&Listen::from(settings))?;
    if let Some(family) = udp.missing() {
        log.info(format_args!("this kernel has no {}; going on without", family.name()));
    }
    Ok(udp)
}

/// A node that does not find its neighbours by itself may be told of them by others.
fn open_multicast(settings: &Settings, log: &Logger) -> Option<Multicast> {
    let families = [settings.enable_ipv4, settings.enable_ipv6];
    let all = settings.lan_discovery == LanDiscovery::All;
    let on = settings.lan_discovery.is_on();
    let opened = on.then(|| Multicast::open(families, settings.sockmark, all))?;
    opened.inspect_err(|error| log.warn(format_args!("{error}; going on without"))).ok()
}

/// A node that cannot be asked for its status is still a node; two of one name are not.
fn open_control(name: &str, group: Option<u32>, log: &Logger) -> io::Result<Option<Control>> {
    match Control::open(name, group) {
        Ok(control) => Ok(Some(control)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(error) => {
            log.warn(format_args!("{error}; 'peervpn status' will find nobody"));
            Ok(None)
        }
    }
}

fn plan(settings: &Settings, short: ShortId, interface: Option<&str>, control: Option<&Control>) -> Plan {
    Plan {
        interface: interface.and_then(InterfaceName::new),
        up: settings.upcmd.clone(),
        down: settings.downcmd.clone(),
        environment: vec![("NODE_ID", short.to_string()), ("NETWORK", settings.network.as_str().to_owned())],
        limit: HOOK_LIMIT,
        state: settings.statefile.clone(),
        socket: control.map(|control| control.path().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_belongs_to_a_station_and_to_nobody_else() {
        for (first, made) in [(0x00, 0x02), (0x01, 0x02), (0xff, 0xfe), (0xfd, 0xfe), (0x1a, 0x1a)] {
            let mac = mac_of(ShortId([first, 1, 2, 3, 4, 5, 6, 7]));
            assert_eq!(mac, Mac([made, 1, 2, 3, 4, 5]));
            assert!(mac.is_station());
            assert_eq!(mac.0[0] & 2, 2, "locally administered (IEEE 802, 8.4)");
        }
    }

    #[test]
    fn the_same_key_gives_the_same_mac_address() {
        let of = |key| mac_of(short_id(&Identity::from_secret([key; 32]).id()));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
