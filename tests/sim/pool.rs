//! Outboxes that are used again: the rooms of packets are never given back, and a process may see thousands of worlds.

use std::cell::RefCell;

use peervpn::base::limits::PACKETS;
use peervpn::base::outbox::Outbox;

thread_local! {
    static SPARE: RefCell<Vec<Outbox>> = const { RefCell::new(Vec::new()) };
}

/// An outbox like a new one.
pub fn take() -> Outbox {
    let mut out = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Outbox::new(PACKETS));
    out.renew();
    out
}

/// Gives one back whose owner is no more.
pub fn put(out: Outbox) {
    // The world may outlive what its thread keeps.
    let _ = SPARE.try_with(|spare| spare.borrow_mut().push(out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_again_is_like_new() {
        let mut out = take();
        let lost = out.blank().expect("it is whole");
        let sent = out.blank().expect("it is whole");
        out.send("192.0.2.1:7000".parse().expect("an address"), sent);
        out.count(peervpn::base::discard::Discard::Forged);
        put(out);
        let out = take();
        assert_eq!((out.spare(), out.packets(), out.tally().iter().count()), (PACKETS, PACKETS, 0));
        assert!(lost.is_empty());
    }
}
