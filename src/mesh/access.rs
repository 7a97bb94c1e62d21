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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_is_let_in_or_kept_out() {
        // S10. Each by its whole id or by the short one; `deny` goes first.
        let id = |n| NodeId([n; 32]);
        let whole = |n| NodeRef::Whole(id(n));
        let short = |n| NodeRef::Short(short_id(&id(n)));
        let lists: [(&[NodeRef], &[NodeRef], [bool; 3]); 6] = [
            (&[], &[], [true, true, true]),
            (&[whole(1), short(2)], &[], [true, true, false]),
            (&[], &[whole(1), short(2)], [false, false, true]),
            (&[whole(1), whole(2)], &[short(2)], [true, false, false]),
            (&[whole(1)], &[whole(3)], [true, false, false]),
            (&[short(3)], &[short(3)], [false, false, false]),
        ];
        for (n, (allow, deny, permitted)) in lists.into_iter().enumerate() {
            let access = Access { allow: allow.into(), deny: deny.into() };
            assert_eq!([1, 2, 3].map(|n| access.permits(&id(n))), permitted, "list {n}");
        }
    }
}
