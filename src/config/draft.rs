//! Settings in the making: what the options said so far, typed, and the rules between options that turn it
//! into [`Settings`]. Starts out with the defaults of the option table.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::ids::{Mac, NodeRef, Suite};
use crate::base::settings::{
    CallFilter, Host, InterfaceName, LanDiscovery, LogLevel, NetworkName, Privileges, Secret, Settings,
};
use crate::config::options::OPTIONS;
use crate::config::value;

/// Reads the content of a pskfile; refuses one that others can read (S16).
pub type ReadSecret<'a> = dyn FnMut(&Path) -> io::Result<Zeroizing<Vec<u8>>> + 'a;

/// The smallest MTU that carries IPv6 (RFC 8200, section 5), in bytes.
const IPV6_MTU_MIN: u16 = 1280;

/// A field for each option that means something; see [`Settings`] for their meaning.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) network: Option<NetworkName>,
    pub(crate) psk: Option<Secret>,
    pub(crate) pskfile: Option<PathBuf>,
    pub(crate) psk_next: Option<Secret>,
    pub(crate) pskfile_next: Option<PathBuf>,
    pub(crate) allow: Vec<NodeRef>,
    pub(crate) deny: Vec<NodeRef>,
    pub(crate) initpeers: Vec<Host>,
    pub(crate) local: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) enable_ipv4: bool,
    pub(crate) enable_ipv6: bool,
    pub(crate) nat64: bool,
    pub(crate) sockmark: u32,
    pub(crate) device: Option<InterfaceName>,
    pub(crate) offload: bool,
    pub(crate) tunneling: bool,
    pub(crate) interface: Option<InterfaceName>,
    pub(crate) mtu: Option<u16>,
    pub(crate) mac: Option<Mac>,
    pub(crate) ifconfig4: Option<(Ipv4Addr, u8)>,
    pub(crate) ifconfig6: Option<(Ipv6Addr, u8)>,
    pub(crate) upcmd: Option<String>,
    pub(crate) downcmd: Option<String>,
    pub(crate) neighbour_cache: bool,
    pub(crate) pins: Vec<(NodeRef, Mac)>,
    pub(crate) filter_dhcp: bool,
    pub(crate) ciphers: Vec<Suite>,
    pub(crate) relay: bool,
    pub(crate) use_relay: bool,
    pub(crate) lan_discovery: LanDiscovery,
    pub(crate) port_mapping: bool,
    pub(crate) keyfile: Option<PathBuf>,
    pub(crate) statefile: Option<PathBuf>,
    pub(crate) privdrop: bool,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) chroot: Option<PathBuf>,
    pub(crate) seccomp: bool,
    pub(crate) force_seccomp: bool,
    pub(crate) status_group: String,
    pub(crate) loglevel: LogLevel,
}

/// A rule between options that is broken.
pub(crate) struct Clash {
    /// The options concerned. The first one is named; a mistake in any of them already explains the clash.
    pub(crate) options: &'static [&'static str],
    pub(crate) why: String,
    pub(crate) hint: &'static str,
}

impl Draft {
    /// What holds when nothing is configured. The table is the only place where a default is written.
    pub(crate) fn new() -> Draft {
        let mut draft = Draft::default();
        for row in OPTIONS.iter().filter(|row| !row.default.is_empty()) {
            // A test keeps every default parsable.
            let _ = row.apply(&mut draft, row.default);
        }
        draft
    }

    /// Options that were set and have no effect: the option and why.
    pub(crate) fn idle(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        const NO_TAP: &str = "has no effect without a virtual interface (enabletunneling is no)";
        const NO_IPV6: &str = "has no effect without IPv6 (see enableipv6 and local)";
        const NO_FILTER: &str = "has no effect without the filter (enableseccomp is no)";
        const NO_DROP: &str = "has no effect while rights are kept (enableprivdrop is no)";
        [
            (
                "enablenat64clat",
                NO_IPV6,
                self.nat64 && (!self.enable_ipv6 || self.local.is_some_and(|local| local.is_ipv4())),
            ),
            ("ifconfig4", NO_TAP, !self.tunneling && self.ifconfig4.is_some()),
            ("ifconfig6", NO_TAP, !self.tunneling && self.ifconfig6.is_some()),
            ("mac", NO_TAP, !self.tunneling && self.mac.is_some()),
            ("chroot", NO_DROP, !self.privdrop && self.chroot.is_some()),
            ("forceseccomp", NO_FILTER, !self.seccomp && self.force_seccomp),
        ]
        .into_iter()
        .filter_map(|(option, why, idle)| idle.then_some((option, why)))
    }

    /// Checks what options must be to each other. Reports everything that is wrong.
    pub(crate) fn finish(self, read: &mut ReadSecret<'_>) -> Result<Settings, Vec<Clash>> {
        let mut clashes = Vec::new();
        let psk = self.find_psk(read).map_err(|clash| clashes.push(clash)).ok();
        let psk_next = self.find_next(psk.as_ref(), read).map_err(|clash| clashes.push(clash)).ok();
        if self.allow.iter().any(|node| self.deny.contains(node)) {
            clashes.push(Clash {
                options: &["deny", "allow"],
                why: "a node is in both lists".into(),
                hint: "take it out of one of them",
            });
        }
        let families = self.find_families().map_err(|clash| clashes.push(clash)).ok();
        if self.tunneling && self.ifconfig6.is_some() && self.mtu.is_some_and(|mtu| mtu < IPV6_MTU_MIN) {
            clashes.push(Clash {
                options: &["mtu", "ifconfig6"],
                why: format!("IPv6 needs {IPV6_MTU_MIN} bytes, and ifconfig6 is set"),
                hint: "leave mtu at auto",
            });
        }
        let (Some(psk), Some(psk_next), Some((enable_ipv4, enable_ipv6)), Some(network), Some(interface), []) =
            (psk, psk_next, families, self.network, self.interface, clashes.as_slice())
        else {
            // Name and interface have defaults, so it is a clash that led here.
            return Err(clashes);
        };
        Ok(Settings {
            network,
            psk,
            psk_next,
            allow: self.allow,
            deny: self.deny,
            initpeers: self.initpeers,
            local: self.local,
            port: self.port,
            enable_ipv4,
            enable_ipv6,
            nat64: self.nat64 && enable_ipv6,
            sockmark: self.sockmark,
            device: self.device,
            offload: self.offload,
            tunneling: self.tunneling,
            interface,
            mtu: self.mtu,
            mac: self.mac,
            ifconfig4: self.ifconfig4,
            ifconfig6: self.ifconfig6,
            upcmd: self.upcmd,
            downcmd: self.downcmd,
            neighbour_cache: self.neighbour_cache,
            pins: self.pins,
            filter_dhcp: self.filter_dhcp,
            lan_discovery: self.lan_discovery,
            port_mapping: self.port_mapping,
            ciphers: self.ciphers,
            relay: self.relay,
            use_relay: self.use_relay,
            keyfile: self.keyfile,
            statefile: self.statefile,
            privileges: self.privdrop.then_some(Privileges {
                user: self.user,
                group: self.group,
                chroot: self.chroot,
            }),
            call_filter: match (self.seccomp, self.force_seccomp) {
                (false, _) => CallFilter::Off,
                (true, false) => CallFilter::WherePossible,
                (true, true) => CallFilter::Always,
            },
            status_group: Some(self.status_group).filter(|name| !name.is_empty()),
            loglevel: self.loglevel,
        })
    }

    /// The key, from wherever it is.
    fn find_psk(&self, read: &mut ReadSecret<'_>) -> Result<Secret, Clash> {
        // S9: no network without a key.
        one_key(&["pskfile", "psk"], self.psk.as_ref(), self.pskfile.as_deref(), read)?.ok_or_else(|| Clash {
            options: &["psk", "pskfile"],
            why: "the network's key is missing".into(),
            hint: "write 'psk TEXT' or 'pskfile PATH'; 'peervpn genpsk' makes a key",
        })
    }

    /// The second key, if there is one.
    fn find_next(&self, psk: Option<&Secret>, read: &mut ReadSecret<'_>) -> Result<Option<Secret>, Clash> {
        let options = &["pskfile_next", "psk_next"];
        let next = one_key(options, self.psk_next.as_ref(), self.pskfile_next.as_deref(), read)?;
        if next.is_some() && next.as_ref() == psk {
            return Err(Clash {
                options: &["psk_next", "psk"],
                why: "both keys are the same".into(),
                hint: "during a change one is the old key and one the new",
            });
        }
        Ok(next)
    }

    /// Which families get a socket: an address to bind to closes the family it is not of.
    fn find_families(&self) -> Result<(bool, bool), Clash> {
        let (v4, v6) = (self.enable_ipv4, self.enable_ipv6);
        let families = match self.local {
            Some(IpAddr::V4(_)) => (v4, false),
            Some(IpAddr::V6(_)) => (false, v6),
            None => (v4, v6),
        };
        match (families, self.local) {
            ((false, false), None) => Err(Clash {
                options: &["enableipv6", "enableipv4"],
                why: "IPv4 and IPv6 are both switched off".into(),
                hint: "leave one of them on",
            }),
            ((false, false), Some(local)) => Err(Clash {
                options: &["local"],
                why: format!("{local} is of the family that is switched off"),
                hint: "see enableipv4 and enableipv6",
            }),
            (families, _) => Ok(families),
        }
    }
}

/// A key that is given by a text or by a file that holds it. `options` are the names of these, the file first.
fn one_key(
    options: &'static [&'static str; 2],
    text: Option<&Secret>,
    file: Option<&Path>,
    read: &mut ReadSecret<'_>,
) -> Result<Option<Secret>, Clash> {
    let (Some(path), given) = (file, text) else { return Ok(text.cloned()) };
    let at_file =
        |why| Clash { options: &options[..1], why, hint: "it holds one line, for the daemon's eyes only" };
    if given.is_some() {
        return Err(Clash {
            options,
            why: format!("the key is given by {} already", options[1]),
            hint: "keep one of the two",
        });
    }
    let content = read(path).map_err(|error| at_file(format!("{}: {error}", path.display())))?;
    value::psk_of_file(&content).map(Some).map_err(|why| at_file(format!("{}: {why}", path.display())))
}
