//! The program as people meet it: what it prints, and the exit code it ends with. Everything here ends before
//! anything is opened; how a node runs is the affair of `ci/netns`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test of the program has to start it"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How it ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    /// Failed with that code and in one line that holds these words, and printed nothing.
    fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no '{word}' in {self:?}");
        }
        assert!(!self.err.contains("panicked") && !self.err.contains("os error"), "{self:?}");
    }
}

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_peervpn"));
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn finish(program: &mut Command) -> Ended {
    let output = program.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn run(args: &[&str]) -> Ended {
    finish(program().args(args))
}

fn run_with_input(args: &[&str], input: &(impl AsRef<[u8]> + ?Sized)) -> Ended {
    let mut child = program().args(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_ref()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A file of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &str, mode: u32) -> Scratch {
        let path = std::env::temp_dir().join(format!("peervpn-binary-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A user without rights.
const NOBODY: u32 = 65_534;
const KEY: &str = "psk correct horse battery staple\n";

// ---- making a configuration ----

/// The line for the shell that ends what `setup` says.
fn invitation(said: &str) -> String {
    let line = said.lines().last().unwrap().trim();
    line.strip_prefix("echo '").unwrap().split_once("' | sudo peervpn setup --join").unwrap().0.to_owned()
}

#[test]
fn two_nodes_are_set_up_with_an_invitation() {
    let [first, second] = ["setup-first", "setup-second"].map(|name| Scratch::new(name, "", 0o600));
    [&first, &second].iter().for_each(|file| fs::remove_file(&file.0).unwrap());
    let words = ["setup", "--network", "flats", "--public", "vps.example.org", "--to", first.path()];
    let said = run(&words);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let invitation = invitation(&said.out);
    assert!(invitation.starts_with("FLATS vps.example.org:7000 peervpn-psk1-"), "{invitation}");
    let joined = run_with_input(&["setup", "--join", "--to", second.path()], &format!("{invitation}\n"));
    assert_eq!(joined.code, Some(0), "{joined:?}");
    for file in [&first, &second] {
        assert_eq!(fs::metadata(&file.0).unwrap().mode() & 0o777, 0o600);
        assert_eq!(run(&["check", file.path()]).out, format!("{}: fine\n", file.path()));
    }
    let key = |file: &Scratch| {
        let text = fs::read_to_string(&file.0).unwrap();
        text.lines().find(|line| line.starts_with("psk ")).unwrap().to_owned()
    };
    assert_eq!(key(&first), key(&second));
    assert!(fs::read_to_string(&second.0).unwrap().contains("\ninitpeers vps.example.org:7000\n"));
}

#[test]
fn what_is_there_is_replaced_only_when_asked_for_and_kept_then() {
    let file = Scratch::new("setup-old", "mine\n", 0o600);
    run(&["setup", "--to", file.path()]).refused(1, &["stays as it is", "--replace"]);
    assert_eq!(fs::read_to_string(&file.0).unwrap(), "mine\n");
    // A wrong answer leaves it too.
    run(&["setup", "--to", file.path(), "--replace", "--port", "70000"]).refused(2, &["port", "70000"]);
    assert_eq!(fs::read_to_string(&file.0).unwrap(), "mine\n");
    let said = run(&["setup", "--to", file.path(), "--replace"]);
    let kept = Scratch(format!("{}.old", file.path()).into());
    assert!(said.out.contains(&format!("kept as {}", kept.path())), "{said:?}");
    assert_eq!(fs::read_to_string(&kept.0).unwrap(), "mine\n");
    assert_eq!(run(&["check", file.path()]).code, Some(0));
}

#[test]
fn a_router_s_file_gets_a_section_and_loses_nothing() {
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/files/etc/config/peervpn")).unwrap();
    let file = Scratch::new("setup-uci", &shipped, 0o600);
    run(&["setup", "--uci", "home", "--to", file.path()]).refused(1, &["'home' already"]);
    let said = run(&["setup", "--uci", "flats", "--to", file.path()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let text = fs::read_to_string(&file.0).unwrap();
    assert!(text.starts_with(&shipped) && text.contains("\nconfig network 'flats'\n"));
    let conf = run(&["convert", file.path(), "--section", "flats", "--stdout"]);
    assert_eq!(run_with_input(&["check", "-"], &conf.out).code, Some(0), "{conf:?}");
}

#[test]
fn no_invitation_no_configuration() {
    let file = Scratch::new("setup-none", "", 0o600);
    fs::remove_file(&file.0).unwrap();
    let endless = [b'a'; 4096];
    let answers: [(&[u8], _); 5] = [
        (b"", "no answer"),
        (b"home\n", "an invitation has"),
        (b"a - short\n", "psk"),
        (b"a - \xff\n", "not UTF-8"),
        (&endless, "too long"),
    ];
    for (input, why) in answers {
        let ended = run_with_input(&["setup", "--join", "--to", file.path()], input);
        ended.refused(2, &[why]);
        assert!(!file.0.exists());
    }
}

// ---- what asks for an answer ----

#[test]
fn help_and_version_are_answers() {
    for args in
        [&["--help"][..], &["-h"], &["help"], &["help", "options"], &["run", "--help"], &["status", "-h"]]
    {
        let ended = run(args);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(ended.out.contains("peervpn"), "{ended:?}");
    }
    let version = format!("peervpn {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        assert_eq!(run(&[flag]).out, version);
    }
}

#[test]
fn nobody_has_to_read_to_the_end() {
    // `peervpn help options | head -1`
    let ended = finish(program().args(["help", "options"]).stdout(nobody_listens()));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(finish(program().arg("--no-such-option").stderr(nobody_listens())).code, Some(2));
}

/// A stream whose other end is closed.
fn nobody_listens() -> Stdio {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    OwnedFd::from(ours).into()
}

#[test]
fn two_keys_are_never_alike_and_both_are_accepted() {
    let [one, other] = [run(&["genpsk"]), run(&["genpsk"])];
    assert_ne!(one.out, other.out);
    for key in [one, other] {
        assert_eq!((key.code, key.out.lines().count()), (Some(0), 1), "{key:?}");
        let ended = run_with_input(&["check", "-"], &format!("psk {}", key.out));
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "standard input: fine\n"), "{ended:?}");
        let cut = key.out.trim_end().strip_suffix(|_: char| true).unwrap();
        run_with_input(&["check", "-"], &format!("psk {cut}\n")).refused(2, &["psk", "damaged"]);
    }
}

// ---- configurations ----

#[test]
fn the_reference_files_are_fine() {
    for name in ["laptop", "router", "vps"] {
        let source = format!("{}/tests/reference/{name}.conf", env!("CARGO_MANIFEST_DIR"));
        let own = Scratch::new(name, &fs::read_to_string(source).unwrap(), 0o600);
        let ended = run(&["check", own.path()]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(ended.out, format!("{}: fine\n", own.path()));
    }
}

#[test]
fn a_key_that_others_can_read_is_told() {
    // S16
    let exposed = Scratch::new("exposed", KEY, 0o644);
    let ended = run(&["check", exposed.path()]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains("chmod 600") && ended.err.contains(exposed.path()), "{ended:?}");
    let file = Scratch::new("pskfile", "correct horse battery staple\n", 0o644);
    let ended = run_with_input(&["check", "-"], &format!("pskfile {}\n", file.path()));
    ended.refused(2, &["standard input:1", "pskfile", "chmod 600"]);
    assert!(!ended.err.contains("horse"));
}

#[test]
fn every_mistake_is_told_at_once_and_before_anything_is_opened() {
    let text = format!("{KEY}initpeer 192.0.2.1 7000\nport 70000\nupcmd exit 1\nlocal nowhere\n");
    let faulty = Scratch::new("faulty", &text, 0o600);
    let place = |line: u32| format!("{}:{line}:", faulty.path());
    for args in
        [&["check", faulty.path()][..], &["run", faulty.path()], &[faulty.path()], &["id", faulty.path()]]
    {
        let ended = run(args);
        ended.refused(2, &[&place(2), "initpeers", &place(3), "65535", &place(5)]);
        assert_eq!(ended.err.lines().count(), 3, "{ended:?}");
        // S16: the key stays out of it.
        assert!(!ended.err.contains("horse"));
    }
    run_with_input(&["-"], "port 7000\n").refused(2, &["standard input", "psk", "genpsk"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    run(&["check", "/nonexistent/home.conf"]).refused(2, &["/nonexistent/home.conf", "No such file"]);
    // A command that was mistyped looks like a file.
    run(&["statsu"]).refused(2, &["statsu", "--help"]);
    run(&["check", "/"]).refused(2, &["regular file"]);
}

#[test]
fn a_senseless_command_line_is_refused() {
    for args in [&["--no-such-option"][..], &["check", "a", "b"], &["help", "me"], &["genpsk", "x"]] {
        run(args).refused(2, &["peervpn --help"]);
    }
}

// ---- nodes ----

#[test]
fn the_id_belongs_to_the_key_file() {
    let digits = |digit: &str| format!("# a comment\n{}\n", digit.repeat(64));
    let [one, other] = [Scratch::new("one", &digits("1"), 0o600), Scratch::new("other", &digits("2"), 0o600)];
    let id = run(&["id", "-k", one.path()]);
    assert_eq!(id.code, Some(0), "{id:?}");
    let (short, long) = id.out.trim_end().split_once(' ').unwrap();
    assert!(short.len() == 16 && long.len() == 64, "{id:?}");
    assert_eq!(run(&["id", "-k", one.path()]).out, id.out);
    assert_ne!(run(&["id", "-k", other.path()]).out, id.out);
    let by_configuration = run_with_input(&["id", "-"], &format!("{KEY}keyfile {}\n", one.path()));
    assert_eq!(by_configuration.out, id.out);
    // What is damaged or no secret is refused, and left as it is.
    let damaged = Scratch::new("damaged", "12\n", 0o600);
    run(&["id", "-k", damaged.path()]).refused(1, &[damaged.path(), "damaged"]);
    let exposed = Scratch::new("exposed-key", &digits("3"), 0o640);
    run(&["id", "-k", exposed.path()]).refused(1, &["chmod 600", exposed.path()]);
    run(&["id", "-k", "/nonexistent/key"]).refused(1, &["/nonexistent/key", "first start"]);
    run_with_input(&["id", "-"], KEY).refused(1, &["keyfile"]);
}

#[test]
fn nobody_answers_for_a_node_that_does_not_run() {
    run(&["status", "no-such-node"]).refused(1, &["no-such-node"]);
}

#[test]
fn who_is_not_root_is_told_so() {
    // The directory that it was built in may be closed to others.
    let copy = Scratch::new("copy", "", 0o755);
    fs::copy(env!("CARGO_BIN_EXE_peervpn"), &copy.0).unwrap();
    let mut node = Command::new(&copy.0);
    node.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        node.uid(NOBODY).gid(NOBODY);
    }
    let mut child = match node.spawn() {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED who_is_not_root_is_told_so: {error}"),
    };
    child.stdin.take().unwrap().write_all(KEY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("needs root") && err.contains("sudo"), "{err}");
}
