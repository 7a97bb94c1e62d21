//! The program: understands its arguments, does what they say, and ends with 0 (done), 1 (failed at run time)
//! or 2 (wrong configuration or arguments).
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use peervpn::base::ids::NodeId;
use peervpn::base::settings::Settings;
use peervpn::config::cli::{self, Command, Early, Source, USUAL_FILES};
use peervpn::config::fault::{Fault, Notice};
use peervpn::crypto::identity::{PskForm, generate_psk, short_id};
use peervpn::sys::log::Logger;
use peervpn::sys::{clock, control, files, privileges};
use peervpn::{config, secrets, start};
use zeroize::Zeroizing;

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
        Command::Status(name) => print(&control::ask(name.as_deref(), "status").map_err(failed)?),
        Command::GenPsk => print(&Zeroizing::new(generate_psk(*clock::entropy().map_err(failed)?) + "\n")),
        Command::Id(source) => {
            let settings = configure(&source)?.settings;
            let hint = "the configuration names no keyfile, so the node has a new id after each start";
            print_id(&settings.keyfile.ok_or_else(|| failed(hint))?)
        }
        Command::IdOfKey(path) => print_id(&path),
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
    let Configured { file, notices, exposed, .. } = configure(source)?;
    notices.iter().map(Notice::to_string).chain(exposed).for_each(|text| complain(&text));
    print(&format!("{file}: fine\n"))
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
    let (file, content) = read(source)?;
    let mut read_psk = |path: &Path| files::read_psk(path).map(|key| Zeroizing::new(key.as_bytes().to_vec()));
    let loaded = config::load(content.text.as_bytes(), &file, &mut read_psk).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
        Failure(2, lines.join("\n"))
    })?;
    // The configuration knows no cipher, so this kind of mistake is found here.
    if let Err(why) = PskForm::of(&loaded.settings.psk) {
        return Err(Failure(2, format!("{file}: {why}")));
    }
    let exposed = content.exposed.filter(|_| loaded.holds_psk).map(|mode| {
        format!("others can read {file} (mode {mode:04o}), and the network's key is in it: chmod 600 {file}")
    });
    Ok(Configured { file, settings: loaded.settings, notices: loaded.notices, exposed })
}

/// The text and its name for messages.
fn read(source: &Source) -> Result<(String, files::Configuration), Failure> {
    let wrong = |error: io::Error| Failure(2, format!("peervpn: {error}"));
    match source {
        Source::Stdin => {
            Ok(("standard input".into(), files::read_configuration(Path::new("-")).map_err(wrong)?))
        }
        Source::File(path) => read_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if path.components().count() == 1 => {
                Failure(2, format!("peervpn: {error}; nor is it a command, see peervpn --help"))
            }
            _ => wrong(error),
        }),
        Source::Usual => {
            for file in USUAL_FILES {
                match read_file(Path::new(file)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                    other => return other.map_err(wrong),
                }
            }
            let [first, second] = USUAL_FILES;
            Err(Failure(
                2,
                format!("peervpn: there is neither {first} nor {second} (name another file: peervpn FILE)"),
            ))
        }
    }
}

fn read_file(path: &Path) -> io::Result<(String, files::Configuration)> {
    Ok((path.display().to_string(), files::read_configuration(path)?))
}

// ---- what goes out ----

fn failed(why: impl ToString) -> Failure {
    Failure(1, format!("peervpn: {}", why.to_string()))
}

/// Writes to standard output. Whoever reads it may have seen enough (`| head`): that is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Writes a line to standard error, if anybody is there.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
