//! What a simulated node is to be like, and the real `Settings` that come of it.

use std::net::{Ipv4Addr, SocketAddr};

use peervpn::base::ids::{Mac, NodeRef, Suite};
use peervpn::base::settings::{
    CallFilter, DEFAULT_PORT, Host, InterfaceName, LanDiscovery, LogLevel, NetworkName, Secret, Settings,
};
use sha2::{Digest, Sha256};

use super::Site;

/// What a node is to be like.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The network's name.
    pub network: String,
    /// The network's key.
    pub psk: String,
    /// A second key that it accepts.
    pub psk_next: Option<String>,
    /// The only nodes that may be its peers; empty for all.
    pub allow: Vec<NodeRef>,
    /// Nodes that may not be its peers.
    pub deny: Vec<NodeRef>,
    /// Where it starts.
    pub hosts: Vec<Host>,
    /// Whether it carries the traffic of others.
    pub relay: bool,
    /// Whether it uses relays.
    pub use_relay: bool,
    /// Whether it has a TAP.
    pub tunneling: bool,
    /// Whether it answers ARP and NDP itself.
    pub neighbour_cache: bool,
    /// MAC addresses that only one node may use.
    pub pins: Vec<(NodeRef, Mac)>,
    /// Whether what configures hosts stays on its side.
    pub filter_dhcp: bool,
    /// The data suites that it likes, in order.
    pub ciphers: Vec<Suite>,
    /// On which local networks it looks for peers.
    pub lan_discovery: LanDiscovery,
    /// Whether it asks its NAT for a port.
    pub port_mapping: bool,
    /// Whether it remembers from one life to the next where it reached others.
    pub remembers: bool,
    /// Where it is attached.
    pub site: Site,
    /// Its addresses there; none lets the world choose one on the Internet.
    pub addresses: Vec<SocketAddr>,
}

/// A member of the one network that most stories are about, with everything else as it comes.
pub fn member() -> NodeSpec {
    NodeSpec {
        network: "simulated".into(),
        psk: "a psk for virtual worlds".into(),
        psk_next: None,
        allow: Vec::new(),
        deny: Vec::new(),
        hosts: Vec::new(),
        relay: false,
        use_relay: true,
        tunneling: true,
        neighbour_cache: false,
        pins: Vec::new(),
        filter_dhcp: false,
        ciphers: Vec::new(),
        lan_discovery: LanDiscovery::Yes,
        port_mapping: true,
        remembers: false,
        site: Site::INTERNET,
        addresses: Vec::new(),
    }
}

/// The `n`th address on the Internet for stories that need it before the node is there. The world's own choices
/// lie elsewhere.
pub fn public(n: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(198, 18, 0, n), DEFAULT_PORT))
}

impl NodeSpec {
    /// Starts from this address, too.
    pub fn knows(mut self, at: SocketAddr) -> NodeSpec {
        self.hosts.push(Host { name: at.ip().to_string(), port: at.port() });
        self
    }

    /// Starts from whatever this name stands for, too.
    pub fn knows_name(mut self, name: &str) -> NodeSpec {
        self.hosts.push(Host { name: name.into(), port: DEFAULT_PORT });
        self
    }

    /// Has this address, beside others already given.
    pub fn at(mut self, address: SocketAddr) -> NodeSpec {
        self.addresses.push(address);
        self
    }

    /// Has this address within a site.
    pub fn behind(mut self, site: Site, address: SocketAddr) -> NodeSpec {
        self.site = site;
        self.at(address)
    }

    /// Carries the traffic of others.
    pub fn relay(mut self) -> NodeSpec {
        self.relay = true;
        self
    }

    /// Uses no relay.
    pub fn without_relays(mut self) -> NodeSpec {
        self.use_relay = false;
        self
    }

    /// Likes these data suites, in this order.
    pub fn likes(mut self, ciphers: &[Suite]) -> NodeSpec {
        self.ciphers = ciphers.to_vec();
        self
    }

    /// Asks its NAT for nothing.
    pub fn unmapped(mut self) -> NodeSpec {
        self.port_mapping = false;
        self
    }

    /// Remembers where it reached others.
    pub fn remembering(mut self) -> NodeSpec {
        self.remembers = true;
        self
    }

    /// Has no TAP.
    pub fn without_tap(mut self) -> NodeSpec {
        self.tunneling = false;
        self
    }

    /// Believes another key to be the network's.
    pub fn psk(mut self, psk: &str) -> NodeSpec {
        self.psk = psk.into();
        self
    }

    /// Accepts another key, too.
    pub fn psk_next(mut self, psk: &str) -> NodeSpec {
        self.psk_next = Some(psk.into());
        self
    }

    /// Has no other peers than these.
    pub fn allow(mut self, nodes: &[NodeRef]) -> NodeSpec {
        self.allow = nodes.to_vec();
        self
    }

    /// Does not have these as peers.
    pub fn deny(mut self, nodes: &[NodeRef]) -> NodeSpec {
        self.deny = nodes.to_vec();
        self
    }

    /// Belongs to another network.
    pub fn network(mut self, name: &str) -> NodeSpec {
        self.network = name.into();
        self
    }

    /// Whether the two are of one network: one accepts the key that the other begins with.
    pub fn may_meet(&self, other: &NodeSpec) -> bool {
        let accepts = |spec: &NodeSpec, psk: &String| spec.psk == *psk || spec.psk_next.as_ref() == Some(psk);
        self.network == other.network && (accepts(self, &other.psk) || accepts(other, &self.psk))
    }

    /// The network's one secret. The real derivation takes seconds for a passphrase and has its own tests.
    pub fn network_key(&self) -> [u8; 32] {
        self.derived(&self.psk)
    }

    /// That of the second key, if there is one.
    pub fn next_key(&self) -> Option<[u8; 32]> {
        self.psk_next.as_ref().map(|psk| self.derived(psk))
    }

    fn derived(&self, psk: &str) -> [u8; 32] {
        Sha256::new().chain_update(&self.network).chain_update([0]).chain_update(psk).finalize().into()
    }

    /// The settings of such a node.
    pub fn settings(&self) -> Settings {
        Settings {
            network: NetworkName::new(&self.network).expect("a sound name"),
            psk: Secret::new(self.psk.clone()),
            psk_next: self.psk_next.clone().map(Secret::new),
            allow: self.allow.clone(),
            deny: self.deny.clone(),
            initpeers: self.hosts.clone(),
            local: None,
            port: self.addresses.first().map_or(DEFAULT_PORT, SocketAddr::port),
            enable_ipv4: true,
            enable_ipv6: true,
            nat64: false,
            sockmark: 0,
            device: None,
            offload: true,
            tunneling: self.tunneling,
            interface: InterfaceName::new("peervpn0").expect("a sound name"),
            mtu: None,
            mac: None,
            ifconfig4: None,
            ifconfig6: None,
            upcmd: None,
            downcmd: None,
            neighbour_cache: self.neighbour_cache,
            pins: self.pins.clone(),
            filter_dhcp: self.filter_dhcp,
            ciphers: self.ciphers.clone(),
            lan_discovery: self.lan_discovery,
            port_mapping: self.port_mapping,
            relay: self.relay,
            use_relay: self.use_relay,
            keyfile: None,
            statefile: None,
            privileges: None,
            call_filter: CallFilter::Off,
            status_group: None,
            loglevel: LogLevel::Info,
        }
    }
}
