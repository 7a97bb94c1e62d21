//! Who has this IP address? ARP over Ethernet and IPv4 (RFC 826) and the neighbour messages of IPv6
//! (NDP, RFC 4861): what a message asks and tells, and how to turn a question into its answer in place.
//!
//! Everything here serves a cache that speaks in the owner's stead, so it reads less than a host would. A
//! message that says anything unusual is none of ours and goes its way to the owner untouched:
//!
//! * Questions to a group are answered. One to a single station is a check whether that station lives
//!   (RFC 1122, 2.3.2.1; RFC 4861, 7.3), which nobody can answer but the station.
//! * Probes for duplicates (RFC 5227, 2.1.1; RFC 4862, 5.4.2) and announcements of one's own address
//!   (RFC 5227, 2.3) are never answered: they are for the owner of the address, if there is one.
//! * An address is told only by the station that sends the frame. What it says of a third is not heard (S11).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::discard::Discard;
use crate::base::ids::Mac;
use crate::wire::cursor::Reader;
use crate::wire::ether::{ARP, Frame, IPV4, IPV6};

/// What a message of either protocol means to a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// The address whose owner is sought, when a cache may answer that.
    pub asks: Option<IpAddr>,
    /// What the sender says of itself.
    pub tells: Option<Binding>,
}

/// A station's word about its own address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The IP address.
    pub ip: IpAddr,
    /// The Ethernet address it belongs to, which is the source of the frame.
    pub mac: Mac,
    /// How much the message says.
    pub claim: Claim,
}

/// How much a message says of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// All that an answer needs.
    Full {
        /// Whether the station is a router. An answer that denies it makes the asker drop the station from its
        /// default routers (RFC 4861, 7.2.5), so it has to be known. False for IPv4, which has no such thing.
        router: bool,
    },
    /// That the station uses the address, but not whether it is a router, or whether it is the only one
    /// (anycast, RFC 4861, 7.2.7; proxies, 7.2.8).
    Partial,
}

/// What the frame asks and tells. None when it belongs to neither protocol or breaks the rules by which a
/// host must ignore it (RFC 4861, 7.1.1 and 7.1.2).
pub fn read(frame: &Frame, bytes: &[u8]) -> Option<Message> {
    let payload = bytes.get(frame.payload..)?;
    match frame.ethertype {
        ARP => read_arp(frame, payload).ok(),
        IPV6 => read_ndp(frame, payload).ok(),
        _ => None,
    }
}

/// Makes a frame for which [`read`] said that it asks for `target` the owner's answer to it.
/// [`Discard::Truncated`] when it cannot have been such a frame; then it is as it was.
pub fn answer(
    frame: &Frame,
    bytes: &mut [u8],
    target: IpAddr,
    owner: Mac,
    router: bool,
) -> Result<(), Discard> {
    let (header, payload) = bytes.split_at_mut_checked(frame.payload).ok_or(Discard::Truncated)?;
    let (addresses, _) = header.split_first_chunk_mut::<12>().ok_or(Discard::Truncated)?;
    match target {
        IpAddr::V4(target) => {
            let message = payload.first_chunk_mut().ok_or(Discard::Truncated)?;
            write_arp_reply(message, frame.source, target, owner);
        }
        IpAddr::V6(target) => {
            let message = payload.first_chunk_mut().ok_or(Discard::Truncated)?;
            write_advertisement(message, target, owner, router);
        }
    }
    addresses[..6].copy_from_slice(&frame.source.0);
    addresses[6..].copy_from_slice(&owner.0);
    Ok(())
}

// ---- ARP (RFC 826) ----

const ARP_LENGTH: usize = 28;
/// Hardware type Ethernet, protocol IPv4, and the lengths of their addresses.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, IPV4.to_be_bytes()[0], IPV4.to_be_bytes()[1], 6, 4];
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;

fn read_arp(frame: &Frame, payload: &[u8]) -> Result<Message, Discard> {
    let mut reader = Reader::new(payload);
    if reader.array()? != ARP_ETHERNET_IPV4 {
        return Err(Discard::Malformed);
    }
    let operation = reader.u16()?;
    let sender_mac = Mac(reader.array()?);
    let sender = Ipv4Addr::from(reader.array::<4>()?);
    let _target_mac = reader.take(6)?;
    let target = Ipv4Addr::from(reader.array::<4>()?);
    if !matches!(operation, ARP_REQUEST | ARP_REPLY) || sender_mac != frame.source || !is_host4(sender) {
        return Ok(Message::default());
    }
    let asks = operation == ARP_REQUEST
        && frame.destination == Mac::BROADCAST
        && is_host4(target)
        && target != sender;
    Ok(Message {
        asks: asks.then_some(IpAddr::V4(target)),
        tells: Some(Binding {
            ip: IpAddr::V4(sender),
            mac: sender_mac,
            claim: Claim::Full { router: false },
        }),
    })
}

fn write_arp_reply(arp: &mut [u8; ARP_LENGTH], asker: Mac, target: Ipv4Addr, owner: Mac) {
    arp[6..8].copy_from_slice(&ARP_REPLY.to_be_bytes());
    arp.copy_within(14..18, 24);
    arp[18..24].copy_from_slice(&asker.0);
    arp[8..14].copy_from_slice(&owner.0);
    arp[14..18].copy_from_slice(&target.octets());
}

fn is_host4(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast())
}

// ---- NDP (RFC 4861) ----

const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
/// A packet that came through a router has a smaller one (RFC 4861, 7.1.1).
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
/// Either message with nothing but its link-layer address option, in bytes from the type on.
const ICMP_LENGTH: usize = 32;
const NDP_LENGTH: usize = IPV6_HEADER + ICMP_LENGTH;

fn read_ndp(frame: &Frame, payload: &[u8]) -> Result<Message, Discard> {
    let mut reader = Reader::new(payload);
    let first = reader.u32()?;
    let length = reader.u16()?;
    let [next_header, hop_limit] = reader.array()?;
    let source = Ipv6Addr::from(reader.array::<16>()?);
    let destination = Ipv6Addr::from(reader.array::<16>()?);
    let message = reader.take(usize::from(length))?;
    if first >> 28 != 6 || next_header != ICMPV6 || hop_limit != HOP_LIMIT {
        return Err(Discard::Malformed);
    }
    let mut reader = Reader::new(message);
    let [kind, code] = reader.array()?;
    let _checksum = reader.u16()?;
    let [flags, ..] = reader.array::<4>()?;
    let target = Ipv6Addr::from(reader.array::<16>()?);
    if !matches!(kind, SOLICITATION | ADVERTISEMENT) || code != 0 || !is_host6(target) {
        return Err(Discard::Malformed);
    }
    if checksum(source, destination, message) != 0 {
        return Err(Discard::Malformed);
    }
    if kind == SOLICITATION {
        // From the unspecified address it is a probe for duplicates (RFC 4862, 5.4.2).
        let own = is_host6(source) && link_address(reader, OPTION_SOURCE)? == Some(frame.source);
        // More options than one mean more than is understood here, a nonce that has to come back
        // (RFC 3971, 5.3.2) among them.
        let asks = own
            && message.len() == ICMP_LENGTH
            && target != source
            && is_solicited_node_group(target, destination, frame.destination);
        let told = Binding { ip: IpAddr::V6(source), mac: frame.source, claim: Claim::Partial };
        Ok(Message { asks: asks.then_some(IpAddr::V6(target)), tells: own.then_some(told) })
    } else {
        if destination.is_multicast() && flags & FLAG_SOLICITED != 0 {
            return Err(Discard::Malformed);
        }
        let own = link_address(reader, OPTION_TARGET)? == Some(frame.source);
        let claim = match flags & FLAG_OVERRIDE {
            0 => Claim::Partial,
            _ => Claim::Full { router: flags & FLAG_ROUTER != 0 },
        };
        let told = Binding { ip: IpAddr::V6(target), mac: frame.source, claim };
        Ok(Message { asks: None, tells: own.then_some(told) })
    }
}

/// The advertisement that answers a solicitation (RFC 4861, 7.2.4): solicited, because the solicitation came
/// from an address; without override, because it speaks for another, and the owner's own word has to win over
/// it (7.2.8).
fn write_advertisement(packet: &mut [u8; NDP_LENGTH], target: Ipv6Addr, owner: Mac, router: bool) {
    packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    packet.copy_within(8..24, 24);
    packet[8..24].copy_from_slice(&target.octets());
    let (header, message) = packet.split_at_mut(IPV6_HEADER);
    message[..4].copy_from_slice(&[ADVERTISEMENT, 0, 0, 0]);
    message[4..8].copy_from_slice(&[FLAG_SOLICITED | if router { FLAG_ROUTER } else { 0 }, 0, 0, 0]);
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[OPTION_TARGET, 1]);
    message[26..].copy_from_slice(&owner.0);
    let mut asker = [0; 16];
    asker.copy_from_slice(&header[24..]);
    let sum = checksum(target, Ipv6Addr::from(asker), message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

/// The Ethernet address in the first option of that kind. All options must have a length (RFC 4861, 7.1.1)
/// and be whole.
fn link_address(mut options: Reader<'_>, wanted: u8) -> Result<Option<Mac>, Discard> {
    let mut found = None;
    while !options.rest().is_empty() {
        let [kind, eights] = options.array()?;
        let body = (usize::from(eights) * 8).checked_sub(2).ok_or(Discard::Malformed)?;
        let body = options.take(body)?;
        if kind == wanted && found.is_none() {
            found = Some(Mac(body.try_into().map_err(|_| Discard::Malformed)?));
        }
    }
    Ok(found)
}

/// Whether packet and frame are for the group that `target` listens to (RFC 4291, 2.7.1; RFC 2464, 7).
fn is_solicited_node_group(target: Ipv6Addr, destination: Ipv6Addr, station: Mac) -> bool {
    let [.., a, b, c] = target.octets();
    destination.octets() == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]
        && station.0 == [0x33, 0x33, 0xff, a, b, c]
}

fn is_host6(ip: Ipv6Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}

/// The checksum of an ICMPv6 message (RFC 4443, 2.3; RFC 8200, 8.1); zero over a message that holds the right one.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let addresses = source.segments().into_iter().chain(destination.segments());
    let words = message.chunks(2).map(|word| match *word {
        [high, low] => u16::from_be_bytes([high, low]),
        [last] => u16::from_be_bytes([last, 0]),
        _ => 0,
    });
    let mut sum: u64 = addresses.chain(words).map(u64::from).sum();
    sum += message.len() as u64 + u64::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const BOB: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
    const ALICE4: [u8; 4] = [192, 0, 2, 10];
    const BOB4: [u8; 4] = [192, 0, 2, 11];
    const ALICE6: &str = "2001:db8::a";
    const BOB6: &str = "2001:db8::1:2:3b";

    fn six(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn frame(to: Mac, from: Mac, tags: &[u8], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&to.0[..], &from.0, tags, &ethertype.to_be_bytes(), payload].concat()
    }

    fn arp(operation: u8, mac: Mac, ip: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, operation], &mac.0[..], &ip, &[0; 6], &target].concat()
    }

    /// An IPv6 packet with a message whose checksum is right.
    fn ndp(source: &str, destination: &str, kind: u8, flags: u8, target: &str, options: &[u8]) -> Vec<u8> {
        let mut message = [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &six(target).octets(), options].concat();
        let sum = checksum(six(source), six(destination), &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let length = u8::try_from(message.len()).unwrap();
        let header = [0x60, 0, 0, 0, 0, length, 58, 255];
        [&header[..], &six(source).octets(), &six(destination).octets(), &message].concat()
    }

    fn option(kind: u8, mac: Mac) -> Vec<u8> {
        [&[kind, 1], &mac.0[..]].concat()
    }

    fn solicitation() -> Vec<u8> {
        let packet = ndp(ALICE6, "ff02::1:ff02:3b", SOLICITATION, 0, BOB6, &option(1, ALICE));
        frame(Mac([0x33, 0x33, 0xff, 2, 0, 0x3b]), ALICE, &[], IPV6, &packet)
    }

    fn advertisement(flags: u8) -> Vec<u8> {
        frame(ALICE, BOB, &[], IPV6, &ndp(BOB6, ALICE6, ADVERTISEMENT, flags, BOB6, &option(2, BOB)))
    }

    fn meaning(bytes: &[u8]) -> Option<Message> {
        read(&Frame::read(bytes).unwrap(), bytes)
    }

    fn asked(bytes: &[u8]) -> Option<IpAddr> {
        meaning(bytes)?.asks
    }

    fn told(bytes: &[u8]) -> Option<(IpAddr, Mac, Claim)> {
        meaning(bytes)?.tells.map(|told| (told.ip, told.mac, told.claim))
    }

    #[test]
    fn a_checksum_summed_by_hand() {
        // fe80::1 asks the group of fe80::2. The words that are not zero: fe80 0001 ff02 0001 ff00 0002 for the
        // addresses, 0020 003a for length and protocol, 8700 fe80 0002 0101 0001 for the message.
        // Their sum is 48364, folded 8368.
        let mut message = vec![0; ICMP_LENGTH];
        message[0] = 0x87;
        message[8..10].copy_from_slice(&[0xfe, 0x80]);
        message[23] = 2;
        message[24..].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(checksum(six("fe80::1"), six("ff02::1:ff00:2"), &message), !0x8368);
        message[2..4].copy_from_slice(&(!0x8368_u16).to_be_bytes());
        assert_eq!(checksum(six("fe80::1"), six("ff02::1:ff00:2"), &message), 0);
    }

    #[test]
    fn an_arp_request_becomes_the_reply() {
        for tags in [&[][..], &[0x81, 0, 0, 5], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5]] {
            let mut bytes = frame(Mac::BROADCAST, ALICE, tags, ARP, &arp(1, ALICE, ALICE4, BOB4));
            bytes.extend([0; 18]);
            assert_eq!(asked(&bytes), Some(BOB4.into()));
            assert_eq!(told(&bytes), Some((ALICE4.into(), ALICE, Claim::Full { router: false })));
            let header = Frame::read(&bytes).unwrap();
            answer(&header, &mut bytes, BOB4.into(), BOB, false).unwrap();
            let reply = [&[0, 1, 8, 0, 6, 4, 0, 2], &BOB.0[..], &BOB4, &ALICE.0, &ALICE4].concat();
            let mut expected = frame(ALICE, BOB, tags, ARP, &reply);
            expected.extend([0; 18]);
            assert_eq!(bytes, expected);
            assert_eq!(told(&bytes), Some((BOB4.into(), BOB, Claim::Full { router: false })));
        }
    }

    #[test]
    fn arp_that_is_for_the_owner_is_not_answered() {
        let table = [
            ("a probe, RFC 5227", Mac::BROADCAST, arp(1, ALICE, [0; 4], BOB4)),
            ("an announcement", Mac::BROADCAST, arp(1, ALICE, ALICE4, ALICE4)),
            ("a unicast poll, RFC 1122", BOB, arp(1, ALICE, ALICE4, BOB4)),
            ("a reply", Mac::BROADCAST, arp(2, ALICE, ALICE4, BOB4)),
            ("in another's name", Mac::BROADCAST, arp(1, BOB, ALICE4, BOB4)),
            ("for a group", Mac::BROADCAST, arp(1, ALICE, ALICE4, [224, 0, 0, 1])),
        ];
        for (what, to, payload) in table {
            assert_eq!(asked(&frame(to, ALICE, &[], ARP, &payload)), None, "{what}");
        }
    }

    #[test]
    fn arp_tells_only_of_the_sender() {
        let tells = |payload: Vec<u8>| told(&frame(ALICE, BOB, &[], ARP, &payload));
        assert!(tells(arp(2, BOB, BOB4, ALICE4)).is_some());
        assert!(tells(arp(1, BOB, BOB4, BOB4)).is_some());
        // S11: a node's word counts about itself only.
        assert_eq!(tells(arp(2, ALICE, BOB4, ALICE4)), None);
        for nonsense in [[0; 4], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
            assert_eq!(tells(arp(2, BOB, nonsense, ALICE4)), None);
        }
        assert_eq!(tells(arp(3, BOB, BOB4, ALICE4)), None);
        let mut token_ring = arp(2, BOB, BOB4, ALICE4);
        token_ring[1] = 6;
        assert_eq!(tells(token_ring), None);
    }

    #[test]
    fn a_solicitation_becomes_the_advertisement() {
        for (router, flags) in [(false, 0x40), (true, 0xc0)] {
            let mut bytes = solicitation();
            assert_eq!(asked(&bytes), Some(six(BOB6).into()));
            assert_eq!(told(&bytes), Some((six(ALICE6).into(), ALICE, Claim::Partial)));
            let header = Frame::read(&bytes).unwrap();
            answer(&header, &mut bytes, six(BOB6).into(), BOB, router).unwrap();
            assert_eq!(bytes, advertisement(flags));
        }
    }

    #[test]
    fn solicitations_for_the_owner_are_not_answered() {
        let group = "ff02::1:ff02:3b";
        let station = Mac([0x33, 0x33, 0xff, 2, 0, 0x3b]);
        let own = option(1, ALICE);
        let nonce = [&own[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
        let table = [
            ("a probe for duplicates", station, ndp("::", group, 135, 0, BOB6, &[])),
            ("a probe with an option", station, ndp("::", group, 135, 0, BOB6, &own)),
            ("is it still alive", BOB, ndp(ALICE6, BOB6, 135, 0, BOB6, &own)),
            ("to the group, but one station", BOB, ndp(ALICE6, group, 135, 0, BOB6, &own)),
            ("another's group", station, ndp(ALICE6, "ff02::1:ff02:3c", 135, 0, BOB6, &own)),
            ("with a nonce", station, ndp(ALICE6, group, 135, 0, BOB6, &nonce)),
            ("no link-layer address", station, ndp(ALICE6, group, 135, 0, BOB6, &[])),
            ("another's link-layer address", station, ndp(ALICE6, group, 135, 0, BOB6, &option(1, BOB))),
            ("for itself", station, ndp(BOB6, group, 135, 0, BOB6, &own)),
        ];
        for (what, to, packet) in table {
            assert_eq!(asked(&frame(to, ALICE, &[], IPV6, &packet)), None, "{what}");
        }
    }

    #[test]
    fn advertisements_tell_as_much_as_their_flags_say() {
        let bob = |claim| Some((six(BOB6).into(), BOB, claim));
        assert_eq!(told(&advertisement(0x60)), bob(Claim::Full { router: false }));
        assert_eq!(told(&advertisement(0xe0)), bob(Claim::Full { router: true }));
        assert_eq!(told(&advertisement(0x40)), bob(Claim::Partial));
        let from_bob = |packet: Vec<u8>| told(&frame(ALICE, BOB, &[], IPV6, &packet));
        assert_eq!(from_bob(ndp(BOB6, ALICE6, 136, 0x60, BOB6, &option(2, ALICE))), None);
        assert_eq!(from_bob(ndp(BOB6, ALICE6, 136, 0x60, BOB6, &[])), None);
        assert_eq!(from_bob(ndp(BOB6, "ff02::1", 136, 0x60, BOB6, &option(2, BOB))), None);
        assert!(from_bob(ndp(BOB6, "ff02::1", 136, 0x20, BOB6, &option(2, BOB))).is_some());
    }

    #[test]
    fn whatever_came_through_a_router_or_was_damaged_is_not_heard() {
        let good = advertisement(0x60);
        assert!(meaning(&good).is_some());
        // Version, next header, hop limit, type, code, checksum, target, length of the option.
        for at in [14, 20, 21, 54, 55, 57, 77, 79] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(meaning(&bad), None, "byte {at}");
        }
        let endless = ndp(BOB6, ALICE6, 136, 0x60, BOB6, &[2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(meaning(&frame(ALICE, BOB, &[], IPV6, &endless)), None);
        let long = [option(2, BOB), vec![9, 4, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(meaning(&frame(ALICE, BOB, &[], IPV6, &ndp(BOB6, ALICE6, 136, 0x60, BOB6, &long))), None);
        // The checksum is right again over another code.
        let mut code = good.clone();
        code[55] = 1;
        code[57] -= 1;
        assert_eq!(meaning(&code), None);
        let group = ndp(BOB6, ALICE6, 136, 0x60, "ff02::1", &option(2, BOB));
        assert_eq!(meaning(&frame(ALICE, BOB, &[], IPV6, &group)), None);
    }

    #[test]
    fn whatever_is_cut_short_means_nothing_and_is_not_rewritten() {
        let request = frame(Mac::BROADCAST, ALICE, &[], ARP, &arp(1, ALICE, ALICE4, BOB4));
        for (whole, target) in [(request, IpAddr::from(BOB4)), (solicitation(), six(BOB6).into())] {
            let header = Frame::read(&whole).unwrap();
            for length in 0..whole.len() {
                assert_eq!(read(&header, &whole[..length]), None, "{length}");
                let mut short = whole[..length].to_vec();
                assert_eq!(answer(&header, &mut short, target, BOB, false), Err(Discard::Truncated));
                assert_eq!(short, whole[..length]);
            }
        }
    }

    #[test]
    fn a_million_damaged_frames_do_no_harm() {
        // S1: no remote input panics. Valid frames with up to four changed bytes come further than noise.
        let request = frame(Mac::BROADCAST, ALICE, &[0x81, 0, 0, 5], ARP, &arp(1, ALICE, ALICE4, BOB4));
        let seeds = [request, solicitation(), advertisement(0x60)];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut room = [0; 128];
        for round in 0..1_000_000 {
            let seed = &seeds[round % 3];
            let bytes = &mut room[..seed.len()];
            bytes.copy_from_slice(seed);
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for change in state.to_be_bytes().chunks(2) {
                bytes[12 + usize::from(change[0]) % (seed.len() - 12)] = change[1];
            }
            let length = 14 + usize::try_from(state >> 32).unwrap_or(0) % (seed.len() - 13);
            let length = if state & 3 == 0 { length } else { seed.len() };
            let bytes = &mut bytes[..length];
            let Ok(header) = Frame::read(bytes) else { continue };
            if let Some(target) = read(&header, bytes).and_then(|message| message.asks) {
                answer(&header, bytes, target, BOB, true).unwrap();
            }
        }
    }
}
