//! The keys that a node runs with: the network's, from its pre-shared key, and the node's own, from its key
//! file. Both are wiped when dropped (S16).
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base::ids::NodeId;
use crate::base::settings::{Secret, Settings};
use crate::crypto::identity::{Identity, PskForm, cache_tag, network_key, node_tag};
use crate::sys::clock::entropy;
use crate::sys::log::Logger;
use crate::sys::{files, told};

/// What nobody else may know; in one place, to be wiped at once.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// The network's one secret.
    pub network: [u8; 32],
    /// That of the second key; zero when there is none.
    pub next: [u8; 32],
    /// The node's X25519 key.
    pub node: [u8; 32],
}

/// What others know the owner of a key file by; none when there is no such file.
///
/// # Errors
/// A sentence, as from [`files::load_key`].
pub fn id_of_key_file(path: &Path) -> io::Result<Option<NodeId>> {
    Ok(files::load_key(path)?.map(|secret| Identity::from_secret(*secret).id()))
}

/// The network's secret. Takes seconds on a slow machine when the pre-shared key is a passphrase that was not used
/// since the last boot.
///
/// # Errors
/// A damaged pre-shared key.
pub fn network_secret(settings: &Settings, psk: &Secret, log: &Logger) -> io::Result<Zeroizing<[u8; 32]>> {
    let form = PskForm::of(psk).map_err(told)?;
    let derive = || network_key(&settings.network, psk).map(Zeroizing::new).map_err(told);
    if !form.needs_stretching() {
        return derive();
    }
    // S9: stretching makes guessing dearer, it saves no weak passphrase.
    log.warn(format_args!(
        "the psk is a passphrase: whoever records one packet can guess it offline; 'peervpn genpsk' makes a key \
         that nobody guesses"
    ));
    let tag = Zeroizing::new(cache_tag(&settings.network, psk));
    if let Some(key) = files::load_cached(&*tag) {
        return Ok(key);
    }
    let key = derive()?;
    if let Err(error) = files::store_cached(&*tag, &key) {
        log.info(format_args!("{error}; the next start stretches the passphrase again"));
    }
    Ok(key)
}

/// The node's own key: from its key file, which is made when it is missing. Without one it is kept until the next
/// boot, so that a restart does not make a stranger of this node. `instance` is a name that no other node on
/// this machine has at this time; none when that is not sure.
///
/// # Errors
/// A sentence: a key file that others can read, or that is damaged.
pub fn node_secret(
    settings: &Settings,
    instance: Option<&str>,
    log: &Logger,
) -> io::Result<Zeroizing<[u8; 32]>> {
    match &settings.keyfile {
        Some(path) => kept_in_file(path, log),
        None => kept_until_boot(instance.map(|instance| node_tag(&settings.network, instance)), log),
    }
}

fn kept_in_file(path: &Path, log: &Logger) -> io::Result<Zeroizing<[u8; 32]>> {
    if let Some(key) = files::load_key(path)? {
        return Ok(key);
    }
    let key = entropy()?;
    match files::create_key(path, &key) {
        Ok(()) => log.info(format_args!("made the key of this node: keyfile={}", path.display())),
        // S24: a read-only or full disk is no reason to leave a router without its network.
        Err(error) => log.warn(format_args!("{error}; this is a new node to the others after each start")),
    }
    Ok(key)
}

fn kept_until_boot(tag: Option<[u8; 32]>, log: &Logger) -> io::Result<Zeroizing<[u8; 32]>> {
    if let Some(key) = tag.and_then(|tag| files::load_cached(&tag)) {
        return Ok(key);
    }
    let key = entropy()?;
    match tag.map(|tag| files::store_cached(&tag, &key)) {
        Some(Ok(())) => {
            log.info(format_args!("no keyfile is set: to the others this is a new node after each boot"))
        }
        _ => log.info(format_args!("no keyfile is set: to the others this is a new node after each start")),
    }
    Ok(key)
}
