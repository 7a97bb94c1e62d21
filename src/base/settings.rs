//! The configuration as the program uses it: plain data, valid once built.
//!
//! Both grammars and the command line end here, by way of `config/options.rs`. After that no field can
//! be wrong, and nobody parses text again.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::base::ids::{Mac, NodeRef, Suite};

/// The UDP port used where none is named.
pub const DEFAULT_PORT: u16 = 7000;

/// All settings of one node in one network.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which network.
    pub network: NetworkName,
    /// The network's pre-shared key.
    pub psk: Secret,
    /// A second key that is accepted while the first is being changed.
    pub psk_next: Option<Secret>,
    /// The only nodes that may be peers; empty for all.
    pub allow: Vec<NodeRef>,
    /// Nodes that may not be peers.
    pub deny: Vec<NodeRef>,
    /// Where to start.
    pub initpeers: Vec<Host>,
    /// Bind to this address only.
    pub local: Option<IpAddr>,
    /// UDP port; 0 lets the kernel choose.
    pub port: u16,
    /// Whether to open an IPv4 socket.
    pub enable_ipv4: bool,
    /// Whether to open an IPv6 socket.
    pub enable_ipv6: bool,
    /// Whether IPv4 may be reached through a NAT64, over IPv6.
    pub nat64: bool,
    /// `SO_MARK` of all sockets; 0 for none.
    pub sockmark: u32,
    /// Bind the sockets to this network interface.
    pub device: Option<InterfaceName>,
    /// Whether many packets may go in one system call.
    pub offload: bool,
    /// Whether there is a TAP; without one a node only introduces and relays.
    pub tunneling: bool,
    /// The TAP's name; a `%d` in it lets the kernel choose a number.
    pub interface: InterfaceName,
    /// The TAP's MTU in bytes; none lets the program choose.
    pub mtu: Option<u16>,
    /// The TAP's MAC address; none derives it from the node id.
    pub mac: Option<Mac>,
    /// IPv4 address of the TAP and its prefix length in bits.
    pub ifconfig4: Option<(Ipv4Addr, u8)>,
    /// IPv6 address of the TAP and its prefix length in bits.
    pub ifconfig6: Option<(Ipv6Addr, u8)>,
    /// Shell command to run when the TAP is up.
    pub upcmd: Option<String>,
    /// Shell command to run when the daemon ends.
    pub downcmd: Option<String>,
    /// MAC addresses that only one node may use.
    pub pins: Vec<(NodeRef, Mac)>,
    /// Whether DHCP and router advertisements stay on their side of the tunnel.
    pub filter_dhcp: bool,
    /// Whether to answer ARP and NDP from what was learned.
    pub neighbour_cache: bool,
    /// The data suites to offer and to accept, the preferred one first; that which every node has need not be among them.
    pub ciphers: Vec<Suite>,
    /// Whether to carry other nodes' traffic.
    pub relay: bool,
    /// Whether to use relays.
    pub use_relay: bool,
    /// On which local networks to look for peers.
    pub lan_discovery: LanDiscovery,
    /// Whether the NAT is asked for a port.
    pub port_mapping: bool,
    /// Where the node's key is kept; none lets it live as long as the process.
    pub keyfile: Option<PathBuf>,
    /// Where it keeps where nodes were reached.
    pub statefile: Option<PathBuf>,
    /// What becomes of the process's rights after the start; none keeps them.
    pub privileges: Option<Privileges>,
    /// Whether to make no system calls but those that are needed.
    pub call_filter: CallFilter,
    /// The group whose members may ask for the status; none leaves it to root.
    pub status_group: Option<String>,
    /// What is worth a log line.
    pub loglevel: LogLevel,
}

impl Settings {
    /// Whether an address lies in the subnet of our own interface: behind the tunnel, so no way to a peer (S20).
    pub fn is_inside(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.ifconfig4.is_some_and(|(ours, prefix)| {
                is_subnet(prefix, (ours.to_bits() ^ address.to_bits()).leading_zeros())
            }),
            IpAddr::V6(address) => self.ifconfig6.is_some_and(|(ours, prefix)| {
                is_subnet(prefix, (ours.to_bits() ^ address.to_bits()).leading_zeros())
            }),
        }
    }
}

/// Whether so many equal bits in front put an address in a subnet. A prefix of no bits is the whole world, no subnet.
fn is_subnet(prefix: u8, equal: u32) -> bool {
    prefix != 0 && equal >= u32::from(prefix)
}

/// Whether the system calls are filtered after the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallFilter {
    /// All that the rights allow can be called.
    Off,
    /// If the kernel can.
    WherePossible,
    /// Or the program does not run.
    Always,
}

/// A network's name in its normal form: `A` to `Z`, `0` to `9` and `_`, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkName(String);

impl NetworkName {
    /// The longest name, in bytes.
    pub const MAX: usize = 255;

    /// Normalises `text` as PeerVPN 0.044 did: letters become capitals, all but letters and digits `_`.
    /// None when it is empty or longer than [`NetworkName::MAX`].
    pub fn new(text: &str) -> Option<NetworkName> {
        if text.is_empty() || text.len() > Self::MAX {
            return None;
        }
        let normal = text.bytes().map(|byte| match byte {
            b'a'..=b'z' => byte.to_ascii_uppercase() as char,
            b'A'..=b'Z' | b'0'..=b'9' => byte as char,
            _ => '_',
        });
        Some(NetworkName(normal.collect()))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that must not be seen: wiped when dropped, hidden when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text, for the one who derives keys from it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A host name or address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// A DNS name or an address literal without brackets.
    pub name: String,
    /// UDP port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// A network interface's name: 1 to 15 bytes without blanks, slashes and colons, as the kernel takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The longest name, in bytes (`IFNAMSIZ` less the closing zero).
    pub const MAX: usize = 15;

    /// None when the kernel would refuse it (`dev_valid_name`).
    pub fn new(text: &str) -> Option<InterfaceName> {
        let sound = !text.is_empty()
            && text.len() <= Self::MAX
            && text != "."
            && text != ".."
            && !text
                .bytes()
                .any(|byte| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0);
        sound.then(|| InterfaceName(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who the process becomes after its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Privileges {
    /// User name.
    pub user: String,
    /// Group name.
    pub group: String,
    /// Directory that becomes the root, if any.
    pub chroot: Option<PathBuf>,
}

/// On which local networks to look for peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LanDiscovery {
    /// On none.
    No,
    /// On all but one that leads to the world under a public address.
    #[default]
    Yes,
    /// On all.
    All,
}

impl LanDiscovery {
    /// Whether on any.
    pub fn is_on(self) -> bool {
        self != LanDiscovery::No
    }
}

/// How much is logged; each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    /// What ends the program or loses data.
    Error,
    /// What a person should look at.
    Warn,
    /// The story: who came, who went, by what way.
    #[default]
    Info,
    /// Enough to solve a problem from afar.
    Debug,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_names_are_normalised_as_the_original_did() {
        assert_eq!(NetworkName::new("lauri-vpn").unwrap().as_str(), "LAURI_VPN");
        assert_eq!(NetworkName::new("a b9ü").unwrap().as_str(), "A_B9__");
        assert!(NetworkName::new("").is_none());
        assert!(NetworkName::new(&"x".repeat(256)).is_none());
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["peervpn0", "a", "fifteen-bytes15", "tap%d"] {
            assert!(InterfaceName::new(good).is_some(), "{good}");
        }
        for bad in ["", "sixteen-bytes-16", "a/b", "a b", "a:b", ".", ".."] {
            assert!(InterfaceName::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("verysecurepassword".into());
        assert!(!format!("{secret:?}").contains("very"));
    }

    #[test]
    fn hosts_read_as_one_would_write_them() {
        let host = |name: &str| Host { name: name.into(), port: 7000 }.to_string();
        assert_eq!(host("vps.example.org"), "vps.example.org:7000");
        assert_eq!(host("2001:db8::1"), "[2001:db8::1]:7000");
    }
}
