//! Which nodes may be peers. Every holder of the key is a member and can make new identities, so to deny one stops an id and
//! not a person: who is to be kept out for good is left out of `allow`, or the key is changed.

use crate::base::ids::{NodeId, NodeRef};
use crate::base::settings::Settings;
use crate::crypto::identity::short_id;

/// The two lists.
pub(super) struct Access {
    allow: Box<[NodeRef]>,
    deny: Box<[NodeRef]>,
}

impl Access {
    /// From the configuration.
    pub(super) fn new(settings: &Settings) -> Access {
        Access { allow: settings.allow.as_slice().into(), deny: settings.deny.as_slice().into() }
    }

    /// Whether that node may be a peer (S10).
    pub(super) fn permits(&self, id: &NodeId) -> bool {
        if self.allow.is_empty() && self.deny.is_empty() {
            return true;
        }
        let short = short_id(id);
        let named = |list: &[NodeRef]| list.iter().any(|node| node.is(*id, short));
        (self.allow.is_empty() || named(&self.allow)) && !named(&self.deny)
    }
}
