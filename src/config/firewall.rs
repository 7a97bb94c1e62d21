//! What the firewall of an OpenWrt router is to let through for one network.
//!
//! A rule has the options of a `config rule` section of `/etc/config/firewall`. It is handed to procd with the
//! instance and lives as long; no file is edited and no other program's rules are touched. The rules go by the
//! interface's name, since the interface belongs to no zone.

use crate::base::settings::Settings;

/// The zones that have to do with a network.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Firewall {
    /// From here the UDP port is reached.
    pub listen: Vec<String>,
    /// These and the network may talk to each other.
    pub forward: Vec<String>,
    /// Whether the network may reach the router itself.
    pub input: bool,
}

impl Firewall {
    /// The rules, each as `name=value` words with a blank between. No value holds a blank; some are `*`.
    pub fn rules(&self, settings: &Settings) -> Vec<String> {
        let mut rules = Vec::new();
        for zone in &self.listen {
            rules.push(format!("src={zone} proto=udp dest_port={} target=ACCEPT", settings.port));
        }
        if !settings.tunneling {
            return rules;
        }
        let interface = settings.interface.as_str();
        for zone in &self.forward {
            let what = "proto=all target=ACCEPT";
            rules.push(format!("src=* dest={zone} device={interface} direction=in {what}"));
            rules.push(format!("src={zone} dest=* device={interface} direction=out {what}"));
        }
        if self.input {
            rules.push(format!("src=* device={interface} direction=in proto=all target=ACCEPT"));
        }
        rules
    }

    /// Whether there are rules that name the interface.
    pub fn names_interface(&self) -> bool {
        self.input || !self.forward.is_empty()
    }
}
