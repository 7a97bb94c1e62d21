//! What `peervpn setup` makes of a few answers: a configuration with comments, in either grammar, and the line that brings the
//! next node in.
//!
//! The key is never an argument, where every user of a machine could read it (S16): the invitation is a line for
//! standard input.

use core::net::Ipv4Addr;

use zeroize::Zeroizing;

use crate::base::settings::NetworkName;
use crate::config::convert;
use crate::config::draft::Draft;
use crate::config::fault::Fault;
use crate::config::options::find;
use crate::config::value;
use crate::config::write::conf_line;

/// The answers.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The network's name.
    pub network: String,
    /// Its key.
    pub psk: Zeroizing<String>,
    /// Where a node is that is there already; none for the first.
    pub peer: Option<String>,
    /// The UDP port.
    pub port: String,
    /// The TAP.
    pub interface: String,
    /// The address in the VPN; none leaves it to others.
    pub address: Option<String>,
    /// Whether to carry the traffic of nodes that cannot reach each other.
    pub relay: bool,
    /// Where the node's identity is kept.
    pub keyfile: String,
}

/// What one node says to the next.
#[derive(Clone, PartialEq, Debug)]
pub struct Invitation {
    /// The network's name.
    pub network: String,
    /// Its key.
    pub psk: Zeroizing<String>,
    /// A node that is there already.
    pub peer: Option<String>,
}

/// Whether a value may stand for an option.
///
/// # Errors
/// What is wrong with it.
pub fn judge(option: &str, value: &str) -> Result<(), String> {
    let row = find(option).ok_or("is no option")?;
    row.apply(&mut Draft::new(), value).map(|_| ())
}

impl Plan {
    /// A `peervpn.conf`.
    ///
    /// # Errors
    /// A sentence with the option that cannot be written.
    pub fn conf(&self) -> Result<Zeroizing<String>, String> {
        // Room for all at once: a text that grows leaves copies of a key behind.
        let mut text = Zeroizing::new(String::with_capacity(4096));
        let peer = self.peer.as_deref();
        let entries: [(&str, &str, Option<&str>); 8] = [
            ("Nodes of the same name and key find each other.", "networkname", Some(&self.network)),
            ("Whoever has this key is a member. Keep this file to root.", "psk", Some(&self.psk)),
            ("Where to start; more nodes can be named, a line each.", "initpeers", peer),
            (
                "The UDP port. Open it in the firewall of a node that others are to reach.",
                "port",
                Some(&self.port),
            ),
            ("The virtual interface, and its address in the VPN.", "interface", Some(&self.interface)),
            ("", "ifconfig4", self.address.as_deref()),
            (
                "Carry the traffic of nodes that cannot reach each other.",
                "enablerelay",
                self.relay.then_some("yes"),
            ),
            ("This node's identity; made at the first start.", "keyfile", Some(&self.keyfile)),
        ];
        for (comment, option, value) in entries {
            let Some(value) = value else { continue };
            if !comment.is_empty() {
                let gap = if text.is_empty() { "" } else { "\n" };
                text.extend([gap, "# ", comment, "\n"]);
            }
            let option = if option == "ifconfig4" && value.contains(':') { "ifconfig6" } else { option };
            let line = conf_line(option, value).ok_or_else(|| format!("{option}: no line can hold it"))?;
            text.push_str(&line);
        }
        Ok(text)
    }

    /// A section of `/etc/config/peervpn`, enabled, with its port opened towards the zone `wan`.
    ///
    /// # Errors
    /// A sentence on what cannot be written.
    pub fn section(&self, name: &str) -> Result<Zeroizing<String>, String> {
        let told = |faults: Vec<Fault>| faults.first().map_or_else(String::new, Fault::to_string);
        let made = convert::to_uci(self.conf()?.as_bytes(), "setup", name).map_err(told)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * made.len() + 512));
        for line in made.split_inclusive('\n') {
            let off = line.trim_ascii() == "option enabled '0'";
            text.push_str(if off { "\toption enabled '1'\n" } else { line });
        }
        text.push_str(
            "\n\t# The port is open for this zone while the network runs.\n\tlist listen_zone 'wan'\n",
        );
        text.push_str(
            "\n\t# Uncomment to let the VPN and the LAN reach each other.\n\t#list forward_zone 'lan'\n",
        );
        Ok(text)
    }

    /// The command that brings the next node in, from a shell. `reached_at` is where this node is reached by others.
    pub fn invitation(&self, reached_at: Option<&str>) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(4096));
        // One is enough, since all others are found through it, and is one word.
        let peers = value::hosts(reached_at.or(self.peer.as_deref()).unwrap_or_default());
        let peer = peers.ok().and_then(|peers| peers.first().map(ToString::to_string));
        let peer = peer.unwrap_or_else(|| "-".to_owned());
        line.push_str("echo '");
        // Its normal form is one word, and the same network.
        let network = NetworkName::new(&self.network);
        let network = network.as_ref().map_or("", NetworkName::as_str);
        for (at, word) in [network, &peer, self.psk.as_str()].into_iter().enumerate() {
            if at > 0 {
                line.push(' ');
            }
            // What ends the quotes is put outside of them.
            word.split('\'').enumerate().for_each(|(at, piece)| {
                line.push_str(if at > 0 { r"'\''" } else { "" });
                line.push_str(piece);
            });
        }
        line.push_str("' | sudo peervpn setup --join");
        if let Some(address) = self.next_address() {
            line.extend([" --address ", &address]);
        }
        line
    }

    /// An address for the next node: the one after this node's own, where its network has one.
    fn next_address(&self) -> Option<String> {
        let (own, len) = value::ifconfig4(self.address.as_deref()?).ok()?;
        let hosts = u32::MAX.checked_shr(len.into())?;
        let next = u32::from(own).checked_add(1)?;
        // The last one is the network's broadcast address.
        let free = next & hosts != hosts && next & hosts > 1;
        free.then(|| format!("{}/{len}", Ipv4Addr::from(next)))
    }
}

impl Invitation {
    /// Reads what an invitation feeds to standard input: name, peer or `-`, key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &str) -> Result<Invitation, String> {
        let mut words = line.trim().splitn(3, ' ');
        let (Some(network), Some(peer), Some(psk)) = (words.next(), words.next(), words.next()) else {
            return Err("an invitation has a network's name, a peer (or -) and a key".to_owned());
        };
        let peer = Some(peer).filter(|peer| *peer != "-");
        for (option, value) in [("networkname", Some(network)), ("initpeers", peer), ("psk", Some(psk))] {
            if let Some(value) = value {
                judge(option, value).map_err(|why| format!("{option}: {why}"))?;
            }
        }
        Ok(Invitation {
            network: network.to_owned(),
            psk: Zeroizing::new(psk.to_owned()),
            peer: peer.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::{load, section};

    fn plan() -> Plan {
        Plan {
            network: "home-net".into(),
            psk: Zeroizing::new("it's; a \"secret\" # key".to_owned()),
            peer: Some("vps.example.org:7000".into()),
            port: "7001".into(),
            interface: "peervpn0".into(),
            address: Some("10.99.0.2/24".into()),
            relay: true,
            keyfile: "/etc/peervpn/key".into(),
        }
    }

    #[test]
    fn both_grammars_read_what_was_meant() {
        let nothing = &mut |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
        let conf = load(plan().conf().unwrap().as_bytes(), "x", nothing).unwrap();
        let text = plan().section("vpn").unwrap();
        let networks = section::read(text.as_bytes(), "x").unwrap();
        let network = &networks.all[0];
        assert_eq!((network.name(), network.is_enabled().unwrap()), ("vpn", true));
        let uci = network.load(nothing).unwrap().loaded;
        for loaded in [conf, uci] {
            let settings = loaded.settings;
            assert_eq!(loaded.notices, []);
            assert_eq!(settings.network.as_str(), "HOME_NET");
            assert_eq!(settings.psk.expose(), plan().psk.as_str());
            assert_eq!(settings.initpeers[0].to_string(), "vps.example.org:7000");
            assert_eq!((settings.port, settings.relay), (7001, true));
            assert_eq!(settings.ifconfig4, Some(([10, 99, 0, 2].into(), 24)));
            assert_eq!(settings.keyfile.unwrap().to_str(), Some("/etc/peervpn/key"));
        }
    }

    #[test]
    fn an_ipv6_address_is_one_too() {
        let plan = Plan { address: Some("fd00::2/64".into()), ..plan() };
        assert!(plan.conf().unwrap().contains("\nifconfig6 fd00::2/64\n"));
    }

    #[test]
    fn an_invitation_brings_the_next_node_in() {
        for (peer, reached_at, expected) in [
            (Some("a:1"), None, Some("a:1")),
            (Some("a:1"), Some("b:2"), Some("b:2")),
            (None, None, None),
            (None, Some("vps.example.org 7000"), Some("vps.example.org:7000")),
            (Some("2001:db8::1 7001"), None, Some("[2001:db8::1]:7001")),
            (Some("2001:db8::1"), None, Some("[2001:db8::1]:7000")),
            (Some("a 1 b 2"), None, Some("a:1")),
        ] {
            let plan = Plan { network: "my flats".into(), peer: peer.map(str::to_owned), ..plan() };
            let line = plan.invitation(reached_at);
            // What the shell's echo would print.
            let quoted =
                line.strip_prefix("echo ").unwrap().split_once(" | sudo peervpn setup --join").unwrap().0;
            let fed = quoted.replace(r"'\''", "\u{1}").replace('\'', "").replace('\u{1}', "'");
            let invitation = Invitation::read(&fed).unwrap();
            assert_eq!((invitation.network.as_str(), invitation.psk), ("MY_FLATS", plan.psk));
            assert_eq!(invitation.peer.as_deref(), expected);
        }
    }

    #[test]
    fn an_invitation_offers_the_next_address_of_the_network() {
        for (own, next) in [
            (Some("10.99.0.1/24"), Some("10.99.0.2/24")),
            (Some("10.99.0.255/16"), Some("10.99.1.0/16")),
            (Some("10.99.0.254/24"), None),
            (Some("10.99.0.1/32"), None),
            (Some("255.255.255.254/0"), None),
            (Some("fd00::1/64"), None),
            (None, None),
        ] {
            let plan = Plan { address: own.map(str::to_owned), ..plan() };
            let line = plan.invitation(None);
            let offered = line.split_once("--join --address ").map(|(_, address)| address);
            assert_eq!(offered, next, "{own:?}");
        }
    }

    #[test]
    fn what_is_no_invitation_is_refused() {
        for (line, why) in [
            ("", "an invitation has"),
            ("home vps:7000", "an invitation has"),
            ("home vps:0x verysecurepassword", "initpeers"),
            ("home - short", "psk"),
        ] {
            let error = Invitation::read(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn answers_are_judged_as_the_options_they_become() {
        assert!(judge("port", "7000").is_ok());
        assert!(judge("port", "70000").is_err());
        assert!(judge("psk", "short").is_err());
        assert!(judge("ifconfig4", "10.0.0.1").is_err());
    }
}
