//! What a network must be to the rest of its router: to the other networks, and to the bridges.

use crate::base::settings::Settings;
use crate::config::fault::Fault;
use crate::config::section::{Network, items, text};
use crate::config::uci::{self, Section};

/// Networks that cannot run side by side: the later of each pair is at fault.
pub fn collisions(instances: &[(&Network, &Settings)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, (network, settings)) in instances.iter().enumerate() {
        for (other, others) in &instances[..at] {
            let mut collide = |option: &str, why: String, hint: &str| {
                faults.push(Fault {
                    file: network.file.clone(),
                    line: Some(network.section.line),
                    section: Some(network.name().to_owned()),
                    option: Some(option.to_owned()),
                    why,
                    hint: Some(hint.to_owned()),
                });
            };
            let used = |what: &str| format!("{what} is used by the section '{}' already", other.name());
            let (ours, theirs) = (settings.interface.as_str(), others.interface.as_str());
            if settings.tunneling && others.tunneling && ours == theirs && !ours.contains('%') {
                collide("interface", used(ours), "each network has an interface of its own");
            }
            let same_place = settings.device == others.device
                && (settings.local == others.local || settings.local.is_none() || others.local.is_none());
            if settings.port == others.port && settings.port != 0 && same_place {
                collide("port", used(&settings.port.to_string()), "each network has a port of its own");
            }
        }
    }
    faults
}

/// The bridge that has the interface as a port, after the text of `/etc/config/network`; none also when that cannot
/// be read.
pub fn bridge_of(network: &[u8], interface: &str) -> Option<String> {
    let has = |section: &Section, name: &str, wanted: &str| {
        let setting = section.options.iter().find(|setting| setting.name == name);
        let words =
            setting.into_iter().flat_map(items).filter_map(text).flat_map(str::split_ascii_whitespace);
        words.into_iter().any(|word| word == wanted)
    };
    let sections = uci::read(network).ok()?.sections;
    let bridge = sections.iter().find(|section| {
        has(section, "type", "bridge")
            && (has(section, "ports", interface) || has(section, "ifname", interface))
    })?;
    let name = bridge.options.iter().find(|setting| setting.name == "name").map(items);
    let name = name.and_then(|items| text(items.first()?).map(str::to_owned));
    name.or_else(|| bridge.name.as_ref().map(|name| format!("br-{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_of_an_interface_is_found_in_old_and_new_files() {
        for (text, bridge) in [
            (
                "config device\n option name 'br-lan'\n option type 'bridge'\n list ports 'lan1'\n list ports 'tap0'\n",
                Some("br-lan"),
            ),
            (
                "config device 'x'\n option name br-x\n option type bridge\n option ports 'lan1 tap0'\n",
                Some("br-x"),
            ),
            ("config interface 'lan'\n option type 'bridge'\n option ifname 'eth0 tap0'\n", Some("br-lan")),
            ("config interface 'vpn'\n option device 'tap0'\n option proto 'static'\n", None),
            ("config device\n option name 'br-lan'\n option type 'bridge'\n list ports 'tap01'\n", None),
            ("config device\n option type 'bridge'\n list ports 'tap0'\n", None),
            ("config device\n option name br-lan\n option type bridge\n list ports tap0\nbroken\n", None),
            ("", None),
        ] {
            assert_eq!(bridge_of(text.as_bytes(), "tap0").as_deref(), bridge, "{text}");
        }
    }
}
