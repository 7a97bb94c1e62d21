//! The keys that a node runs with: the network's, from its pre-shared key, and the node's own, from its key
//! file. Both are wiped when dropped (S16).
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::base::ids::NodeId;
use crate::base::settings::Settings;
use crate::crypto::identity::{Identity, PskForm, cache_tag, network_key};
use crate::sys::clock::entropy;
use crate::sys::files;
use crate::sys::log::Logger;

/// What nobody else may know.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// The network's one secret.
    pub network: [u8; 32],
    /// The node's X25519 key.
    pub node: [u8; 32],
}

impl Secrets {
    /// Collects both. Takes seconds on a slow machine when the pre-shared key is a passphrase that was not used
    /// since the last boot.
    ///
    /// # Errors
    /// A sentence: a key file that others can read, or that is damaged.
    pub fn gather(settings: &Settings, log: &Logger) -> io::Result<Secrets> {
        let network = *network_secret(settings, log)?;
        let node = *node_secret(settings.keyfile.as_deref(), log)?;
        Ok(Secrets { network, node })
    }
}

/// What others know the owner of a key file by; none when there is no such file.
///
/// # Errors
/// A sentence, as from [`files::load_key`].
pub fn id_of_key_file(path: &Path) -> io::Result<Option<NodeId>> {
    Ok(files::load_key(path)?.map(|secret| Identity::from_secret(*secret).id()))
}

fn network_secret(settings: &Settings, log: &Logger) -> io::Result<Zeroizing<[u8; 32]>> {
    let form = PskForm::of(&settings.psk).map_err(io::Error::other)?;
    let derive =
        || network_key(&settings.network, &settings.psk).map(Zeroizing::new).map_err(io::Error::other);
    if !form.needs_stretching() {
        return derive();
    }
    // S9: stretching makes guessing dearer, it saves no weak passphrase.
    log.warn(format_args!(
        "the psk is a passphrase: whoever records one packet can guess it offline; 'peervpn genpsk' makes a key \
         that nobody guesses"
    ));
    let tag = Zeroizing::new(cache_tag(&settings.network, &settings.psk));
    if let Some(key) = files::load_stretched(&*tag) {
        return Ok(key);
    }
    let key = derive()?;
    if let Err(error) = files::store_stretched(&*tag, &key) {
        log.info(format_args!("{error}; the next start computes it again"));
    }
    Ok(key)
}

fn node_secret(keyfile: Option<&Path>, log: &Logger) -> io::Result<Zeroizing<[u8; 32]>> {
    let Some(path) = keyfile else {
        log.info(format_args!("without a keyfile this is a new node to the others after each start"));
        return entropy().map(Zeroizing::new);
    };
    if let Some(key) = files::load_key(path)? {
        return Ok(key);
    }
    let key = Zeroizing::new(entropy()?);
    match files::create_key(path, &key) {
        Ok(()) => log.info(format_args!("made the key of this node: {}", path.display())),
        // S24: a read-only or full disk is no reason to leave a router without its network.
        Err(error) => log.warn(format_args!("{error}; this is a new node to the others after each start")),
    }
    Ok(key)
}
