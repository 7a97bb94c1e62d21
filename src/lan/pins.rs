//! MAC addresses that only one node may use (`pin`), whoever else speaks in their name.

use crate::base::ids::{Mac, NodeId, NodeRef, ShortId};

/// The pinned addresses with their owners, in the order of the addresses.
pub struct Pins {
    owners: Box<[(Mac, NodeRef)]>,
}

impl Pins {
    /// From the configuration, where no address has two owners.
    pub fn new(pins: &[(NodeRef, Mac)]) -> Pins {
        let mut owners: Vec<_> = pins.iter().map(|&(node, mac)| (mac, node)).collect();
        owners.sort_unstable_by_key(|&(mac, _)| mac);
        Pins { owners: owners.into() }
    }

    /// Whether the stations behind that node may be `mac`. Its id is asked for only when it matters.
    pub fn allow(&self, mac: Mac, node: impl FnOnce() -> Option<(NodeId, ShortId)>) -> bool {
        let Ok(at) = self.owners.binary_search_by_key(&mac, |&(mac, _)| mac) else { return true };
        let (_, owner) = &self.owners[at];
        node().is_some_and(|(id, short)| owner.is(id, short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_use_an_address() {
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let node = |n: u8| Some((NodeId([n; 32]), ShortId([n; 8])));
        let whole = |n| NodeRef::Whole(NodeId([n; 32]));
        let pins = [(whole(1), mac(9)), (NodeRef::Short(ShortId([2; 8])), mac(3)), (whole(1), mac(5))];
        let pins = Pins::new(&pins);
        for (last, owner) in [(9, 1), (5, 1), (3, 2)] {
            for n in 1..4 {
                assert_eq!(pins.allow(mac(last), || node(n)), n == owner, "{last} {n}");
            }
            assert!(!pins.allow(mac(last), || None));
        }
        for free in [0, 4, 10] {
            assert!(pins.allow(mac(free), || panic!("nobody asks")));
        }
        assert!(Pins::new(&[]).allow(mac(9), || None));
    }
}
