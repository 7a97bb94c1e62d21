//! What people and programs on this machine write: two grammars and the line of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use peervpn::base::time::{Duration, Instant};
use peervpn::config::section::{self, Network};
use peervpn::config::{self, Loaded, convert};
use peervpn::sys::control::Control;
use zeroize::Zeroizing;

fn no_file(_: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(b"a key that stands in a file".to_vec()))
}

/// A `peervpn.conf`: what is understood is understood alike as a UCI section, and back.
pub fn conf(text: &[u8]) {
    let first = config::load(text, "fuzzed", &mut no_file);
    let converted = convert::to_uci(text, "fuzzed", "fuzzed");
    let Ok(loaded) = first else { return };
    let uci = converted.expect("what can be run can be converted");
    let networks = section::read(uci.as_bytes(), "converted").expect("our own words");
    let [network] = networks.all.as_slice() else { panic!("not one section: {}", uci.as_str()) };
    let instance = network.load(&mut no_file).expect("our own words");
    same(&loaded, &instance.loaded);
    back(network, &loaded);
}

/// A file of OpenWrt's: each network that can run says the same as a `peervpn.conf`.
pub fn uci(text: &[u8]) {
    let _ = convert::is_uci(text);
    let Ok(networks) = section::read(text, "fuzzed") else { return };
    for network in &networks.all {
        let _ = network.is_enabled();
        let Ok(instance) = network.load(&mut no_file) else { continue };
        let exported =
            config::load(instance.conf.as_bytes(), "exported", &mut no_file).expect("our own words");
        same(&instance.loaded, &exported);
        let _ = instance.firewall.rules(&instance.loaded.settings);
        back(network, &instance.loaded);
    }
}

fn back(network: &Network, loaded: &Loaded) {
    let conf = convert::to_conf(network).expect("what can be run can be converted");
    same(loaded, &config::load(conf.as_bytes(), "converted back", &mut no_file).expect("our own words"));
}

fn same(one: &Loaded, other: &Loaded) {
    assert_eq!(format!("{:?}", one.settings), format!("{:?}", other.settings));
    assert!(one.settings.psk == other.settings.psk, "the key changed");
}

/// The control socket, asked in pieces; a piece of no length is a client that goes. Whoever asks a whole line gets an
/// answer.
pub fn request(bytes: &[u8]) {
    let place = std::env::temp_dir().join(format!("peervpn-fuzz-{}", std::process::id()));
    let mut control = Control::open_in(&place, "fuzzed", None).expect("a place for sockets");
    let mut clients: Vec<UnixStream> = Vec::new();
    let mut script = super::Script::new(bytes);
    let mut now = Instant::ZERO;
    for _ in 0..32 {
        let (Some(who), Some(piece)) = (script.byte(), script.piece()) else { break };
        let at = usize::from(who & 7);
        if piece.is_empty() {
            clients.truncate(at);
        } else if at >= clients.len() {
            clients.push(UnixStream::connect(control.path()).expect("it listens"));
        } else {
            // Whoever was sent away already cannot write.
            let _ = clients[at].write(&piece[..piece.len().min(4096)]);
        }
        now = now + Duration::from_millis(u64::from(who >> 3) * 100);
        control.handle_ready(now, &mut |line| {
            assert!(!line.contains('\n') && line.len() <= 256);
            "answered\n".repeat(1000)
        });
        control.handle_timeout(now);
    }
    drop(clients);
    // S1: a client that asks in order is answered, whatever went before.
    now = now + Duration::from_secs(60);
    control.handle_timeout(now);
    let mut client = UnixStream::connect(control.path()).expect("it listens");
    client.write_all(b"status\n").expect("it takes a line");
    for _ in 0..3 {
        control.handle_ready(now, &mut |line| format!("{line} it is\n"));
    }
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "status it is\n");
    drop(control);
    let _ = std::fs::remove_dir_all(&place);
}
