//! Why a packet died. A bad packet is not an error of ours: it is counted and work goes on.

/// The reasons, each with a counter in [`Tally`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Discard {
    /// Shorter than its own fields say.
    Truncated,
    /// Longer than fits.
    TooLong,
    /// A type, kind, version or reserved bit that has no meaning here.
    Malformed,
    /// No session or handshake of ours has that index.
    UnknownIndex,
    /// No peer, or not any more.
    UnknownPeer,
    /// The tag is wrong: another network, a bad key, or someone's invention.
    Forged,
    /// Seen before, or older than the window.
    Replayed,
    /// A key that may no longer be used.
    Expired,
    /// A peer without a session.
    NoSession,
    /// Neither a direct path nor a relay.
    NoRoute,
    /// No packet or table place left.
    NoRoom,
    /// Our own identity came back to us.
    Ourselves,
    /// A public key of low order or not in canonical form.
    BadKey,
    /// Not allowed by the configuration.
    Refused,
    /// More than its share.
    Throttled,
    /// An answer nobody asked for, or that came too late.
    Unexpected,
    /// A destination that stays on its side: an address on our own LAN, a link-local protocol.
    NotForwarded,
    /// The kernel would not take it.
    KernelRefused,
    /// A datagram that came by way of our own interface.
    InsideTunnel,
    /// A frame of which a part did not come in time.
    Incomplete,
    /// A frame for everybody, which another member on our network floods.
    Looping,
    /// In the name of a station that is pinned to another node.
    Pinned,
    /// DHCP or a router advertisement, which shall not cross.
    Filtered,
}

/// All reasons, in the order of their numbers.
pub const DISCARDS: [Discard; 23] = [
    Discard::Truncated,
    Discard::TooLong,
    Discard::Malformed,
    Discard::UnknownIndex,
    Discard::UnknownPeer,
    Discard::Forged,
    Discard::Replayed,
    Discard::Expired,
    Discard::NoSession,
    Discard::NoRoute,
    Discard::NoRoom,
    Discard::Ourselves,
    Discard::BadKey,
    Discard::Refused,
    Discard::Throttled,
    Discard::Unexpected,
    Discard::NotForwarded,
    Discard::KernelRefused,
    Discard::InsideTunnel,
    Discard::Incomplete,
    Discard::Looping,
    Discard::Pinned,
    Discard::Filtered,
];

impl Discard {
    /// The reason in a few words, as `peervpn status` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Discard::Truncated => "truncated",
            Discard::TooLong => "too long",
            Discard::Malformed => "malformed",
            Discard::UnknownIndex => "unknown index",
            Discard::UnknownPeer => "unknown peer",
            Discard::Forged => "forged or other network",
            Discard::Replayed => "replayed",
            Discard::Expired => "key expired",
            Discard::NoSession => "no session",
            Discard::NoRoute => "no route",
            Discard::NoRoom => "no room",
            Discard::Ourselves => "from ourselves",
            Discard::BadKey => "bad public key",
            Discard::Refused => "refused",
            Discard::Throttled => "throttled",
            Discard::Unexpected => "unexpected",
            Discard::NotForwarded => "not forwarded",
            Discard::KernelRefused => "kernel refused",
            Discard::InsideTunnel => "through our own tunnel",
            Discard::Incomplete => "incomplete frames",
            Discard::Looping => "flooded by another",
            Discard::Pinned => "pinned to another node",
            Discard::Filtered => "DHCP or router advertisement",
        }
    }
}

/// One counter a reason.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    counts: [u64; DISCARDS.len()],
}

impl Tally {
    /// Counts one packet.
    pub fn count(&mut self, why: Discard) {
        self.counts[why as usize] += 1;
    }

    /// How many died for that reason.
    pub fn get(&self, why: Discard) -> u64 {
        self.counts[why as usize]
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        DISCARDS.iter().map(|&why| (why, self.get(why))).filter(|&(_, n)| n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_numbers() {
        for (number, why) in DISCARDS.iter().enumerate() {
            assert_eq!(*why as usize, number);
        }
    }

    #[test]
    fn only_what_occurred_is_listed() {
        let mut tally = Tally::default();
        tally.count(Discard::Forged);
        tally.count(Discard::Forged);
        assert_eq!(tally.iter().collect::<Vec<_>>(), [(Discard::Forged, 2)]);
    }
}
