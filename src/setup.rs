//! `peervpn setup`: asks what is not known, writes a configuration where none is, and says what is left to do.
//!
//! Questions go to standard error and are asked on a terminal only; elsewhere what was not said takes its default, so that a
//! script can use it. A file that is there already is never changed without a word: a `peervpn.conf` stays unless
//! it is to be replaced, and then the old one is kept beside it; a UCI file gets one section more.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::cli::{SECTION, Setup, UCI_FILES, USUAL_FILES};
use crate::config::section;
use crate::config::setup::{Invitation, Plan, judge};
use crate::sys::{failure, files, streams, told};

/// Where the identity is kept if nothing else is said.
const KEYFILE: &str = "/etc/peervpn/key";
/// Where Debian's package puts the service of all files in /etc/peervpn.
const SERVICE: &str = "/usr/lib/systemd/system/peervpn@.service";

/// Asks, writes, and returns what there is to say at the end. `new_psk` makes a key.
///
/// # Errors
/// A sentence on what was wrong or could not be written; nothing was changed then.
pub fn run(
    wanted: &Setup,
    new_psk: &dyn Fn() -> io::Result<Zeroizing<String>>,
) -> io::Result<Zeroizing<String>> {
    let mut asker = Asker {
        interactive: streams::input().is_terminal() && streams::errors().is_terminal() && !wanted.join,
    };
    let place = Place::of(wanted);
    // Before anybody has answered in vain.
    place.check(wanted.replace)?;
    let plan = asker.plan(wanted, &place, new_psk)?;
    let reached_at = match &wanted.public {
        Some(public) => Some(public.clone()),
        None if wanted.join => None,
        None => {
            asker.ask("Name or address where others reach this node (empty: they cannot)", "", "initpeers")?
        }
    };
    let reached_at = reached_at.map(|host| with_port(host, &plan.port));
    if let Some(Err(why)) = reached_at.as_deref().map(|host| judge("initpeers", host)) {
        return Err(failure(io::ErrorKind::InvalidInput, why));
    }
    let kept = place.write(&plan, wanted.replace)?;
    Ok(farewell(&plan, &place, kept.as_deref(), reached_at.as_deref()))
}

/// What is to be written.
enum Place {
    Conf(PathBuf),
    Uci { file: PathBuf, section: String },
}

impl Place {
    /// A UCI section on OpenWrt, else a `peervpn.conf`, unless something else is wanted.
    fn of(wanted: &Setup) -> Place {
        let [_, usual] = UCI_FILES;
        let is_router = Path::new("/etc/openwrt_release").exists();
        match &wanted.to {
            None if is_router || wanted.uci.is_some() => Place::Uci {
                file: usual.into(),
                section: wanted.uci.clone().unwrap_or_else(|| SECTION.to_owned()),
            },
            Some(file) if wanted.uci.is_some() => {
                Place::Uci { file: file.clone(), section: wanted.uci.clone().unwrap_or_default() }
            }
            Some(file) => Place::Conf(file.clone()),
            None => Place::Conf(USUAL_FILES[0].into()),
        }
    }

    fn check(&self, replace: bool) -> io::Result<()> {
        match self {
            Place::Conf(file) if file.exists() && !replace => Err(failure(
                io::ErrorKind::AlreadyExists,
                format!(
                    "{} is there and stays as it is; name another file with --to, or replace it with --replace (the \
                     old one is kept as {})",
                    file.display(),
                    backup_of(file).display()
                ),
            )),
            Place::Conf(_) => Ok(()),
            Place::Uci { file, section } => self.uci_text(file, section).map(|_| ()),
        }
    }

    /// The UCI file as it is, which has no such section.
    fn uci_text(&self, file: &Path, section: &str) -> io::Result<Vec<u8>> {
        let content = match files::read_uci(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            content => content?,
        };
        let first =
            |faults: Vec<crate::config::Fault>| faults.first().map_or_else(String::new, ToString::to_string);
        let networks = section::read(&content.bytes, &file.display().to_string())
            .map_err(|faults| failure(io::ErrorKind::Other, first(faults)))?;
        match networks.find(section) {
            None => Ok(content.bytes.to_vec()),
            Some(_) => Err(failure(
                io::ErrorKind::AlreadyExists,
                format!(
                    "{} has a network '{section}' already, which stays as it is; give the new one another name: --uci NAME",
                    file.display()
                ),
            )),
        }
    }

    /// Writes; returns where an older file is kept.
    fn write(&self, plan: &Plan, replace: bool) -> io::Result<Option<PathBuf>> {
        match self {
            Place::Conf(file) => {
                let text = plan.conf().map_err(told)?;
                let kept = (replace && file.exists()).then(|| backup_of(file));
                if let Some(kept) = &kept {
                    files::keep_beside(file, kept)?;
                }
                files::store_configuration(file, &text, replace)?;
                Ok(kept)
            }
            Place::Uci { file, section } => {
                let old = Zeroizing::new(self.uci_text(file, section)?);
                let made = plan.section(section).map_err(told)?;
                let mut text = Zeroizing::new(String::with_capacity(old.len() + made.len() + 2));
                let odd = || {
                    failure(
                        io::ErrorKind::Other,
                        format!("{} is not UTF-8; add the network by hand", file.display()),
                    )
                };
                text.push_str(core::str::from_utf8(&old).map_err(|_| odd())?);
                let gap = match text.chars().last() {
                    None => "",
                    Some('\n') => "\n",
                    Some(_) => "\n\n",
                };
                text.push_str(gap);
                text.push_str(&made);
                files::store_configuration(file, &text, true)?;
                Ok(None)
            }
        }
    }
}

fn backup_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// A host as `initpeers` wants it, with this node's port unless it names one.
fn with_port(host: String, port: &str) -> String {
    let has_port = host.contains(' ')
        || host.rsplit_once(':').is_some_and(|(front, _)| !front.contains(':') || front.ends_with(']'));
    match has_port {
        true => host,
        false if host.contains(':') => format!("[{}]:{port}", host.trim_matches(['[', ']'])),
        false => format!("{host}:{port}"),
    }
}

struct Asker {
    interactive: bool,
}

impl Asker {
    fn plan(
        &mut self,
        wanted: &Setup,
        place: &Place,
        new_psk: &dyn Fn() -> io::Result<Zeroizing<String>>,
    ) -> io::Result<Plan> {
        let invitation = if wanted.join { Some(self.invitation()?) } else { None };
        let (network, psk, peer) = match invitation {
            Some(Invitation { network, psk, peer }) => (network, psk, peer),
            None => {
                let network =
                    self.known_or(&wanted.network, "Name of the network", "home-net", "networkname")?;
                let psk = match self.secret()? {
                    Some(psk) => psk,
                    None => new_psk()?,
                };
                let question =
                    "A node that is there already, as host or host:port (empty: this is the first)";
                let peer = match &wanted.peer {
                    Some(peer) => Some(peer.clone()),
                    None => self.ask(question, "", "initpeers")?,
                };
                (network, psk, peer)
            }
        };
        let first = peer.is_none();
        let port = self.known_or(&wanted.port, "UDP port", "7000", "port")?;
        let interface =
            self.known_or(&wanted.interface, "Name of the virtual interface", "peervpn0", "interface")?;
        let address = match &wanted.address {
            Some(address) => Some(address.clone()),
            None => self.ask(
                "This node's address in the VPN, such as 10.99.0.1/24 (empty: none)",
                "",
                "ifconfig4",
            )?,
        };
        let keyfile = match place {
            Place::Uci { section, .. } => format!("/etc/peervpn/{section}.key"),
            // Beside the usual file, so that several networks have identities of their own.
            Place::Conf(file) if file.as_os_str() == USUAL_FILES[0] => KEYFILE.to_owned(),
            Place::Conf(file) => match file.to_str() {
                Some(text) if text.starts_with("/etc/peervpn/") => {
                    [text.strip_suffix(".conf").unwrap_or(text), ".key"].concat()
                }
                _ => KEYFILE.to_owned(),
            },
        };
        for (option, value) in [
            ("networkname", Some(&network)),
            ("initpeers", peer.as_ref()),
            ("port", Some(&port)),
            ("interface", Some(&interface)),
        ] {
            if let Some(Err(why)) = value.map(|value| judge(option, value)) {
                return Err(failure(io::ErrorKind::InvalidInput, format!("{option}: {why}")));
            }
        }
        if let Some(address) = &address {
            judge_address(address).map_err(|why| failure(io::ErrorKind::InvalidInput, why))?;
        }
        Ok(Plan { network, psk, peer, port, interface, address, relay: wanted.relay || first, keyfile })
    }

    fn invitation(&mut self) -> io::Result<Invitation> {
        Invitation::read(&read_line()?).map_err(|why| failure(io::ErrorKind::InvalidInput, why))
    }

    /// The network's key; none for a new one.
    fn secret(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        let question = "The network's key (empty: make a new one)";
        Ok(self.ask(question, "", "psk")?.map(Zeroizing::new))
    }

    fn known_or(
        &mut self,
        known: &Option<String>,
        question: &str,
        default: &str,
        option: &str,
    ) -> io::Result<String> {
        match known {
            Some(known) => Ok(known.clone()),
            None => Ok(self.ask(question, default, option)?.unwrap_or_else(|| default.to_owned())),
        }
    }

    /// An answer that may stand for that option; none for an empty one without a default.
    fn ask(&mut self, question: &str, default: &str, option: &str) -> io::Result<Option<String>> {
        let nothing = || Some(default.to_owned()).filter(|default| !default.is_empty());
        if !self.interactive {
            return Ok(nothing());
        }
        loop {
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            eprint(&format!("{question}{shown}: "))?;
            let answer = read_line()?;
            let answer = answer.trim();
            if answer.is_empty() {
                return Ok(nothing());
            }
            let judged = if option == "ifconfig4" { judge_address(answer) } else { judge(option, answer) };
            match judged {
                Ok(()) => return Ok(Some(answer.to_owned())),
                Err(why) => eprint(&format!("  {why}\n"))?,
            }
        }
    }
}

fn judge_address(address: &str) -> Result<(), String> {
    judge(if address.contains(':') { "ifconfig6" } else { "ifconfig4" }, address)
}

fn eprint(text: &str) -> io::Result<()> {
    streams::errors().write_all(text.as_bytes())
}

fn read_line() -> io::Result<Zeroizing<String>> {
    let none = || failure(io::ErrorKind::UnexpectedEof, "there is no answer to read; nothing was written");
    streams::read_line()?.ok_or_else(none)
}

fn farewell(plan: &Plan, place: &Place, kept: Option<&Path>, reached_at: Option<&str>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(8192));
    match place {
        Place::Conf(file) => {
            text.extend(["Wrote ", &file.display().to_string(), ", for root's eyes only.\n"])
        }
        Place::Uci { file, section } => {
            text.extend(["Added the network '", section, "' to ", &file.display().to_string(), ".\n"]);
        }
    }
    if let Some(kept) = kept {
        text.extend(["The file that was there is kept as ", &kept.display().to_string(), ".\n"]);
    }
    match place {
        Place::Uci { .. } => text.push_str(
            "\nStart it:\n  /etc/init.d/peervpn enable\n  /etc/init.d/peervpn reload\nIts UDP port is open for the zone wan as \
             long as it runs (listen_zone).\n",
        ),
        Place::Conf(file) => {
            if reached_at.is_some() {
                let port = &plan.port;
                text.extend(["\nOpen UDP port ", port, " in this machine's firewall, with one of:\n"]);
                text.extend(["  sudo ufw allow ", port, "/udp\n"]);
                text.extend(["  sudo firewall-cmd --permanent --add-port=", port, "/udp && sudo firewall-cmd --reload\n"]);
                text.extend(["  sudo nft add rule inet filter input udp dport ", port, " accept\n"]);
            }
            let usual = USUAL_FILES.iter().any(|usual| file.as_os_str() == *usual);
            let named = if usual { String::new() } else { format!(" {}", file.display()) };
            text.extend(["\nStart it:\n  sudo peervpn", &named, "\n"]);
            if let Some(network) = network_of(file).filter(|_| Path::new(SERVICE).exists()) {
                text.extend(["or, now and at each boot:\n  sudo systemctl enable --now peervpn@", network, "\n"]);
            }
        }
    }
    text.push_str(
        "\nBring the next node in: run this line there, as root without the sudo (it holds the key), or\n'peervpn setup' \
         without it.\n  ",
    );
    text.push_str(&plan.invitation(reached_at));
    text.push('\n');
    text
}

/// The name by which the packages' service knows a file.
fn network_of(file: &Path) -> Option<&str> {
    file.to_str()?.strip_prefix("/etc/peervpn/")?.strip_suffix(".conf").filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_where_the_service_looks_is_a_network() {
        for (file, name) in [
            ("/etc/peervpn/peervpn.conf", Some("peervpn")),
            ("/etc/peervpn/a/b.conf", None),
            ("/etc/peervpn.conf", None),
            ("home.conf", None),
        ] {
            assert_eq!(network_of(Path::new(file)), name);
        }
    }

    #[test]
    fn ports_are_added_where_none_is_named() {
        for (host, expected) in [
            ("vps.example.org", "vps.example.org:7001"),
            ("vps.example.org:7", "vps.example.org:7"),
            ("203.0.113.10", "203.0.113.10:7001"),
            ("2001:db8::1", "[2001:db8::1]:7001"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
            ("2001:db8::1 7", "2001:db8::1 7"),
        ] {
            assert_eq!(with_port(host.to_owned(), "7001"), expected);
        }
    }
}
