//! NAT64: IPv4 addresses as parts of IPv6 ones (RFC 6052), for a host whose network has IPv6 and a translator to IPv4.
//! No system calls; `udp` translates where datagrams leave and come in, so that all others think in IPv4.
//!
//! Which prefix the translator has, the network's name servers tell: for a name that has IPv4 addresses only they make
//! IPv6 ones, and of [`NAME`] everybody knows the former (RFC 7050). What else they say is no prefix. An address that is
//! not one of the internet's is no business of a translator, and stays as it is (RFC 6052, section 3.1).

use core::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The name whose addresses tell the prefix, in full.
pub const NAME: &str = "ipv4only.arpa.";
/// Its addresses (RFC 7050, section 2.2).
const KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// The lengths that a prefix may have, in bytes, and the byte that is zero behind it (RFC 6052, section 2.2).
const LENGTHS: [u8; 6] = [12, 8, 7, 6, 5, 4];
const ZERO: usize = 8;

/// Networks of IPv4 that are not the internet's (RFC 6890, section 2.2.2), and the bits that name them.
const RESERVED: [(Ipv4Addr, u8); 13] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Groups, and what is kept for later.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// What stands in front of an IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    octets: [u8; 16],
    length: u8,
}

impl Prefix {
    /// The one that serves where a network does not tell its own (RFC 6052, section 2.1).
    pub const WELL_KNOWN: Prefix =
        Prefix { octets: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).octets(), length: 12 };

    /// The prefix that the addresses of [`NAME`] tell, if they do: the first, where a network has several.
    pub fn told_by(found: &[SocketAddr]) -> Option<Prefix> {
        let of = |address: &SocketAddr| match address {
            SocketAddr::V6(v6) => LENGTHS.iter().find_map(|length| Prefix::behind_known(*v6.ip(), *length)),
            SocketAddr::V4(_) => None,
        };
        found.iter().find_map(of)
    }

    /// The prefix of that length, if one of the known addresses stands behind it, and nothing else.
    fn behind_known(ip: Ipv6Addr, length: u8) -> Option<Prefix> {
        // Nobody's network, this link's, and groups: where a translator cannot be.
        let mut octets = ip.octets();
        if octets[..4] == [0; 4] || ip.is_unicast_link_local() || ip.is_multicast() {
            return None;
        }
        octets[usize::from(length)..].fill(0);
        let prefix = Prefix { octets, length };
        KNOWN.iter().any(|known| prefix.embed(*known) == ip).then_some(prefix)
    }

    /// Where to send to so that it arrives at `to`.
    pub fn to_ipv6(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if !is_reserved(*v4.ip()) => {
                SocketAddr::new(self.embed(*v4.ip()).into(), to.port())
            }
            _ => to,
        }
    }

    /// From where that came which came from `from`.
    pub fn to_ipv4(&self, from: SocketAddr) -> SocketAddr {
        let SocketAddr::V6(v6) = from else { return from };
        let octets = v6.ip().octets();
        let ip = Ipv4Addr::from([0, 1, 2, 3].map(|n| octets[self.place(n)]));
        if self.embed(ip) != *v6.ip() || is_reserved(ip) {
            return from;
        }
        SocketAddr::new(ip.into(), from.port())
    }

    fn embed(&self, ip: Ipv4Addr) -> Ipv6Addr {
        let mut octets = self.octets;
        for (n, octet) in ip.octets().into_iter().enumerate() {
            octets[self.place(n)] = octet;
        }
        octets.into()
    }

    /// Where the byte of that number of an IPv4 address stands.
    fn place(&self, n: usize) -> usize {
        let length = usize::from(self.length);
        // No byte of it stands beyond the last of sixteen.
        (length + n + usize::from(length <= ZERO && length + n >= ZERO)) & 15
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from(self.octets), u16::from(self.length) * 8)
    }
}

fn is_reserved(ip: Ipv4Addr) -> bool {
    RESERVED
        .iter()
        .any(|(network, bits)| (network.to_bits() ^ ip.to_bits()).leading_zeros() >= u32::from(*bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The addresses of the name, as a name server gives them.
    fn told(texts: &[&str]) -> Option<String> {
        let found: Vec<_> = texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
        Prefix::told_by(&found).map(|prefix| prefix.to_string())
    }

    /// RFC 6052, section 2.4: prefix and length in bits, and 192.0.2.33 behind it.
    const VECTORS: [(&str, u8, &str); 7] = [
        ("2001:db8::", 32, "2001:db8:c000:221::"),
        ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
    ];

    #[test]
    fn addresses_stand_where_rfc_6052_draws_them() {
        for (prefix, bits, embedded) in VECTORS {
            let prefix = Prefix { octets: ip(prefix).octets(), length: bits / 8 };
            assert_eq!(prefix.embed(Ipv4Addr::new(192, 0, 2, 33)), ip(embedded), "{bits}");
            let (v4, port) = (Ipv4Addr::new(45, 67, 89, 101), 7000);
            let outside = prefix.to_ipv6(SocketAddr::new(v4.into(), port));
            assert_eq!(outside, SocketAddr::new(prefix.embed(v4).into(), port));
            assert_eq!(prefix.to_ipv4(outside), SocketAddr::new(v4.into(), port));
        }
        let known = Prefix::WELL_KNOWN;
        assert_eq!(known.to_ipv6(at("45.67.89.101:7")), at("[64:ff9b::45.67.89.101]:7"));
    }

    #[test]
    fn the_prefix_is_found_at_each_of_its_lengths() {
        for (prefix, bits, _) in VECTORS {
            let right = Prefix { octets: ip(prefix).octets(), length: bits / 8 };
            for known in KNOWN {
                let found = right.embed(known).to_string();
                assert_eq!(told(&["192.0.0.170", &found]), Some(format!("{prefix}/{bits}")), "{known}");
            }
        }
        // The first of several, whatever stands before it.
        let several = ["2001:db8::1", "64:ff9b:1::192.0.0.171", "64:ff9b::192.0.0.170"];
        assert_eq!(told(&several).as_deref(), Some("64:ff9b:1::/96"));
    }

    #[test]
    fn what_else_name_servers_say_is_no_prefix() {
        // S2: nobody has us send to places where no translator can be.
        for found in [
            &[][..],
            &["192.0.0.170", "192.0.0.171"],
            // A server that leads all names to its own page, and its kin.
            &["2001:db8::80"],
            &["64:ff9b::192.0.0.169", "64:ff9b::192.0.0.172", "64:ff9b::8.8.8.8"],
            // Something behind the address, or in the byte that is zero.
            &["2001:db8:c000:aa::1", "2001:db8:122:3c0:100:aa::", "2001:db8:122:344:1c0:0:aa00::"],
            // Ourselves, IPv4 by another name, this link, a group.
            &[
                "::192.0.0.170",
                "::ffff:192.0.0.170",
                "fe80::192.0.0.170",
                "ff0e::192.0.0.170",
                "0:0:c000:aa::",
            ],
        ] {
            assert_eq!(told(found), None, "{found:?}");
        }
    }

    #[test]
    fn what_is_not_the_internet_s_is_not_translated() {
        // RFC 6052, section 3.1.
        let prefix = Prefix::WELL_KNOWN;
        for inside in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            let address = SocketAddr::new(inside.parse().unwrap(), 7000);
            assert_eq!(prefix.to_ipv6(address), address, "{inside}");
            let outside = SocketAddr::new(prefix.embed(inside.parse().unwrap()).into(), 7000);
            assert_eq!(prefix.to_ipv4(outside), outside, "{inside}");
        }
        for outside in
            ["1.0.0.1", "9.255.255.255", "11.0.0.0", "100.128.0.0", "172.32.0.1", "192.0.1.1", "223.1.1.1"]
        {
            assert!(prefix.to_ipv6(SocketAddr::new(outside.parse().unwrap(), 7000)).is_ipv6(), "{outside}");
        }
    }

    #[test]
    fn addresses_of_others_are_left_alone() {
        let prefix = Prefix { octets: ip("2001:db8:122:344::").octets(), length: 8 };
        for other in [
            "[2001:db8:122:345:2d:4359:6500::]:7000",
            "[2001:db8:122:344:12d:4359:6500:0]:7000",
            "[2001:db8:122:344:2d:4359:6500:1]:7000",
            "[fe80::1%3]:7000",
            "45.67.89.101:7000",
        ] {
            assert_eq!(prefix.to_ipv4(at(other)), at(other), "{other}");
        }
        assert_eq!(prefix.to_ipv4(at("[2001:db8:122:344:2d:4359:6500:0]:7000")), at("45.67.89.101:7000"));
        assert_eq!(prefix.to_ipv6(at("[2001:db8::1]:7000")), at("[2001:db8::1]:7000"));
    }
}
