//! The program: understands its arguments, does what they say, and ends with 0 (done), 1 (failed at run time)
//! or 2 (wrong configuration or arguments).
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use peervpn::base::ids::NodeId;
use peervpn::base::settings::Settings;
use peervpn::config::cli::{self, Command, Early, Form, SECTION, Source, UCI_FILES, USUAL_FILES, Uci};
use peervpn::config::fault::{Fault, Notice};
use peervpn::config::section::{self, Instance, Network, Networks};
use peervpn::config::{Loaded, convert, router};
use peervpn::crypto::identity::{PskForm, generate_psk, short_id};
use peervpn::sys::log::Logger;
use peervpn::sys::streams::complain;
use peervpn::sys::{self, clock, failure, files, privileges, streams};
use peervpn::views::page::Look;
use peervpn::{config, inquire, secrets, setup, start};
use zeroize::Zeroizing;

/// Which interface is in which bridge.
const NETWORK_FILE: &str = "/etc/config/network";

/// Why the program ends early: the exit code, and what goes to standard error.
struct Failure(u8, String);

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)).map(execute) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Failure(code, text))) => {
            complain(&text);
            ExitCode::from(code)
        }
        Err(Early::Answer(text)) => print(&text).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(Early::Misuse(text)) => {
            complain(text.trim_end());
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    // S16: before the first secret is read.
    privileges::forbid_core_dumps().map_err(failed)?;
    match command {
        Command::Run(source) => run(&source),
        Command::Check(source) => check(&source),
        Command::Status { name, form } => status(name.as_deref(), form),
        Command::Graph { name, dot } => print(&inquire::mesh(name.as_deref(), dot).map_err(failed)?),
        Command::Explain { target, name } => {
            print(&inquire::explanation(&target, name.as_deref()).map_err(failed)?)
        }
        Command::Setup(wanted) => print(&setup::run(&wanted, &new_psk).map_err(misled)?),
        Command::GenPsk => print(&Zeroizing::new(new_psk().map_err(failed)?.to_string() + "\n")),
        Command::Id(source) => {
            let settings = configure(&source)?.settings;
            let hint = "the configuration names no keyfile, so the node has a new id after each start";
            print_id(&settings.keyfile.ok_or_else(|| failed(hint))?)
        }
        Command::IdOfKey(path) => print_id(&path),
        Command::CheckUci => check_networks(),
        Command::Uci(Uci::List) => list(),
        Command::Uci(Uci::Export { name, stdout }) => export(&name, stdout),
        Command::Uci(Uci::Firewall(name)) => print_firewall(&name),
        Command::Convert { file, section, to } => convert_file(&file, section.as_deref(), to.as_deref()),
    }
}

fn run(source: &Source) -> Result<(), Failure> {
    let Configured { settings, notices, exposed, .. } = configure(source)?;
    let log = Logger::new(settings.loglevel);
    for notice in &notices {
        log.info(format_args!("{notice}"));
    }
    if let Some(text) = exposed {
        log.warn(format_args!("{text}"));
    }
    start::run(settings, log).map_err(failed)
}

fn check(source: &Source) -> Result<(), Failure> {
    if let Source::Uci(name) = source {
        let uci = Router::read()?;
        return uci.judge(name, uci.load(uci.find(name)?)?).map(|_| ());
    }
    let Configured { file, notices, exposed, .. } = configure(source)?;
    notices.iter().map(Notice::to_string).chain(exposed).for_each(|text| complain(&text));
    print(&format!("{file}: fine\n"))
}

fn new_psk() -> io::Result<Zeroizing<String>> {
    Ok(Zeroizing::new(generate_psk(*clock::entropy()?)))
}

fn status(name: Option<&str>, form: Form) -> Result<(), Failure> {
    // The habit of no-color.org.
    let look = Look { colour: streams::output().is_terminal() && sys::variable(c"NO_COLOR").is_none() };
    let text = match form {
        Form::Page => inquire::status_page(name, look),
        Form::Json => inquire::status_json(name),
        Form::Metrics => inquire::status_metrics(name),
        Form::Watch => {
            let mut show =
                |page: &str| print(page).map_err(|Failure(_, why)| failure(io::ErrorKind::Other, why));
            return inquire::watch(name, look, &mut show).map_err(failed);
        }
    };
    print(&text.map_err(failed)?)
}

/// The short form, which status and log show, and the whole public key.
fn print_id(keyfile: &Path) -> Result<(), Failure> {
    let id = secrets::id_of_key_file(keyfile).map_err(failed)?;
    let missing = || failed(format!("{} does not exist; the first start makes it", keyfile.display()));
    let NodeId(key) = id.ok_or_else(missing)?;
    let whole: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    print(&format!("{} {whole}\n", short_id(&NodeId(key))))
}

// ---- configuration ----

/// A configuration that may be used, and what there is to say about it.
struct Configured {
    file: String,
    settings: Settings,
    notices: Vec<Notice>,
    /// S16: others can read the file, and the network's key is in it.
    exposed: Option<String>,
}

/// Reads the configuration. All that is wrong with it is told at once; nothing was opened by then.
fn configure(source: &Source) -> Result<Configured, Failure> {
    if let Source::Uci(name) = source {
        let uci = Router::read()?;
        let instance = uci.load(uci.find(name)?)?;
        return uci.configured(name, instance);
    }
    let (file, content) = read(source)?;
    let loaded = config::load(content.text.as_bytes(), &file, &mut read_psk).map_err(wrong)?;
    checked(loaded, file.clone(), &file, content.exposed)
}

/// What the configuration cannot judge itself. `place` is where it stands, in `file`.
fn checked(loaded: Loaded, place: String, file: &str, exposed: Option<u32>) -> Result<Configured, Failure> {
    // The configuration knows no cipher, so this kind of mistake is found here.
    if let Err(why) = PskForm::of(&loaded.settings.psk) {
        return Err(Failure(2, format!("{place}: {why}")));
    }
    let exposed = exposed.filter(|_| loaded.holds_psk).map(|mode| {
        format!("others can read {file} (mode {mode:04o}), and the network's key is in it: chmod 600 {file}")
    });
    Ok(Configured { file: place, settings: loaded.settings, notices: loaded.notices, exposed })
}

fn read_psk(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    files::read_psk(path).map(|key| Zeroizing::new(key.as_bytes().to_vec()))
}

/// The text and its name for messages.
fn read(source: &Source) -> Result<(String, files::Configuration), Failure> {
    match source {
        Source::Stdin => {
            Ok(("standard input".into(), files::read_configuration(Path::new("-")).map_err(unread)?))
        }
        Source::File(path) => read_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if !path.as_os_str().as_encoded_bytes().contains(&b'/') => Failure(
                2,
                format!("peervpn: {error}; 'peervpn setup' makes one, 'peervpn --help' names the commands"),
            ),
            _ => unread(error),
        }),
        Source::Uci(name) => Err(Failure(2, format!("peervpn: '{name}' is a network, not a file"))),
        Source::Usual => {
            let hint = "'peervpn setup' makes one; or name another file: peervpn FILE";
            first_of(&USUAL_FILES, hint, |file| {
                Ok((file.display().to_string(), files::read_configuration(file)?))
            })
        }
    }
}

fn read_file(path: &Path) -> io::Result<(String, files::Configuration)> {
    Ok((path.display().to_string(), files::read_configuration(path)?))
}

/// Reads the first file that exists.
fn first_of<T>(
    files: &[&str; 2],
    hint: &str,
    mut read: impl FnMut(&Path) -> io::Result<T>,
) -> Result<T, Failure> {
    for file in files {
        match read(Path::new(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            other => return other.map_err(unread),
        }
    }
    let [first, second] = files;
    Err(Failure(2, format!("peervpn: there is neither {first} nor {second} ({hint})")))
}

// ---- the networks of an OpenWrt router ----

/// `/etc/config/peervpn`, or what is in its place.
struct Router {
    file: &'static str,
    exposed: Option<u32>,
    networks: Networks,
}

impl Router {
    fn read() -> Result<Router, Failure> {
        let [over, usual] = UCI_FILES;
        let hint = "this is for OpenWrt; elsewhere use: peervpn FILE";
        let (file, content) = first_of(&[over, usual], hint, |path| {
            let file = if path == Path::new(over) { over } else { usual };
            Ok((file, files::read_uci(path)?))
        })?;
        let networks = section::read(&content.bytes, file).map_err(wrong)?;
        Ok(Router { file, exposed: content.exposed, networks })
    }

    fn find(&self, name: &str) -> Result<&Network, Failure> {
        self.networks.find(name).ok_or_else(|| {
            let there: Vec<&str> = self.networks.all.iter().map(Network::name).collect();
            let hint = if there.is_empty() { "it has none".to_owned() } else { there.join(", ") };
            Failure(2, format!("{}: there is no network '{name}' ({hint})", self.file))
        })
    }

    fn load(&self, network: &Network) -> Result<Instance, Failure> {
        network.load(&mut read_psk).map_err(wrong)
    }

    fn configured(&self, name: &str, instance: Instance) -> Result<Configured, Failure> {
        checked(instance.loaded, format!("{}: section '{name}'", self.file), self.file, self.exposed)
    }

    /// Tells what there is to say about a network that can run.
    fn judge(&self, name: &str, instance: Instance) -> Result<Settings, Failure> {
        let needs_device = instance.firewall.names_interface();
        let Configured { file, settings, notices, exposed } = self.configured(name, instance)?;
        notices.iter().map(Notice::to_string).chain(exposed).for_each(|text| complain(&text));
        let bridge = files::read_uci(Path::new(NETWORK_FILE)).ok();
        let bridge =
            bridge.and_then(|content| router::bridge_of(&content.bytes, settings.interface.as_str()));
        if let Some(bridge) = bridge.filter(|_| needs_device && settings.tunneling) {
            complain(&format!(
                "{file}: forward_zone and input have no effect, as {} is a port of the bridge {bridge}: it is in the \
                 bridge's zone",
                settings.interface
            ));
        }
        print(&format!("{file}: fine\n"))?;
        Ok(settings)
    }

    /// All networks that are to run. What is wrong with others is told, and no reason to stop.
    fn enabled(&self) -> Vec<&Network> {
        self.networks.strays.iter().for_each(|fault| complain(&fault.to_string()));
        let is_enabled = |network: &&Network| {
            network.is_enabled().map_err(wrong).unwrap_or_else(|Failure(_, text)| {
                complain(&text);
                false
            })
        };
        self.networks.all.iter().filter(is_enabled).collect()
    }
}

/// A broken network is named too: whoever asks must know that it is not to be stopped.
fn list() -> Result<(), Failure> {
    let uci = Router::read()?;
    let mut names = String::new();
    for network in uci.enabled() {
        let loaded = uci.load(network).and_then(|instance| uci.configured(network.name(), instance));
        if let Err(Failure(_, text)) = loaded {
            complain(&text);
        }
        names.push_str(network.name());
        names.push('\n');
    }
    print(&names)
}

fn export(name: &str, stdout: bool) -> Result<(), Failure> {
    let uci = Router::read()?;
    let mut instance = uci.load(uci.find(name)?)?;
    let conf = std::mem::take(&mut instance.conf);
    let Configured { notices, exposed, .. } = uci.configured(name, instance)?;
    notices.iter().map(Notice::to_string).chain(exposed).for_each(|text| complain(&text));
    if stdout { print(&conf) } else { files::store_export(name, &conf).map_err(failed) }
}

fn print_firewall(name: &str) -> Result<(), Failure> {
    let uci = Router::read()?;
    let instance = uci.load(uci.find(name)?)?;
    let rules = instance.firewall.rules(&instance.loaded.settings);
    print(&rules.iter().map(|rule| format!("{rule}\n")).collect::<String>())
}

/// Checks what is to run, one by one and side by side.
fn check_networks() -> Result<(), Failure> {
    let uci = Router::read()?;
    let enabled = uci.enabled();
    let mut sound = Vec::new();
    let undecided = uci.networks.all.iter().filter(|network| network.is_enabled().is_err()).count();
    let mut wrong_ones = uci.networks.strays.len() + undecided;
    for network in &enabled {
        match uci.load(network).and_then(|instance| uci.judge(network.name(), instance)) {
            Ok(settings) => sound.push((*network, settings)),
            Err(Failure(_, text)) => {
                complain(&text);
                wrong_ones += 1;
            }
        }
    }
    let sound: Vec<_> = sound.iter().map(|(network, settings)| (*network, settings)).collect();
    let collisions = router::collisions(&sound);
    if !collisions.is_empty() {
        return Err(wrong(collisions));
    }
    match (wrong_ones, enabled.len()) {
        (0, 0) => print(&format!("{}: no network is enabled\n", uci.file)),
        (0, _) => Ok(()),
        _ => Err(Failure(2, format!("{}: the networks without a mistake can run all the same", uci.file))),
    }
}

// ---- from one grammar to the other ----

fn convert_file(file: &Path, section: Option<&str>, to: Option<&Path>) -> Result<(), Failure> {
    let source = if file == Path::new("-") { Source::Stdin } else { Source::File(file.to_owned()) };
    let (name, content) = read(&source)?;
    let text = content.text.as_bytes();
    let made = if convert::is_uci(text) {
        let networks = section::read(text, &name).map_err(wrong)?;
        let network = match (section, networks.all.as_slice()) {
            (Some(section), all) => all.iter().find(|network| network.name() == section),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let hint = "name one of its networks: --section NAME";
        convert::to_conf(network.ok_or_else(|| Failure(2, format!("{name}: {hint}")))?)
    } else {
        convert::to_uci(text, &name, section.unwrap_or(SECTION))
    };
    let made = made.map_err(wrong)?;
    match to {
        None => print(&made),
        Some(to) => files::store_configuration(to, &made, false).map_err(failed),
    }
}

// ---- what goes out ----

/// All that is wrong with a configuration.
fn wrong(faults: Vec<Fault>) -> Failure {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    Failure(2, lines.join("\n"))
}

fn unread(error: io::Error) -> Failure {
    Failure(2, format!("peervpn: {error}"))
}

fn failed(why: impl ToString) -> Failure {
    Failure(1, format!("peervpn: {}", why.to_string()))
}

/// What was said to `setup` may be wrong, or what it did may have failed.
fn misled(error: io::Error) -> Failure {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let wrong = matches!(error.kind(), InvalidInput | InvalidData | UnexpectedEof);
    Failure(if wrong { 2 } else { 1 }, format!("peervpn: {error}"))
}

/// Writes to standard output. Whoever reads it may have seen enough (`| head`): that is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match streams::output().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}
