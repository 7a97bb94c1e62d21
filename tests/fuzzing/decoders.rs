//! Readers of bytes. What one has understood, its writer says again in the same bytes.

use peervpn::base::ids::{Mac, PeerKey};
use peervpn::base::packet::Packet;
use peervpn::base::time::{Duration, Instant};
use peervpn::lan::neighbours::Neighbours;
use peervpn::lan::switch::Switch;
use peervpn::wire::autoconf;
use peervpn::wire::control::{AnnounceWriter, Control};
use peervpn::wire::cursor::Writer;
use peervpn::wire::envelope::{Header, Type};
use peervpn::wire::ether::Frame;
use peervpn::wire::hello::{Answer, Confirmation, Hello1, Hello2, Hello3, Offer};
use peervpn::wire::looping::Probe;
use peervpn::wire::tcp;

use super::{Scratch, Script};

/// Datagrams of a handshake, and what is sealed in them.
pub fn hello(bytes: &[u8]) {
    let _ = (Type::of(bytes), Header::of_sealed(bytes), Header::of_relayed(bytes));
    let _ = Hello1::ephemeral_of(bytes);
    if let Ok(hello) = Hello1::read(bytes) {
        assert_eq!(hello.to_bytes(), bytes);
    }
    if let Ok(hello) = Hello2::read(bytes) {
        assert_eq!(hello.to_bytes(), bytes);
    }
    if let Ok(hello) = Hello3::read(bytes) {
        assert_eq!(hello.to_bytes(), bytes);
    }
    if let Some(Ok(offer)) = bytes.first_chunk().map(Offer::read) {
        let again = offer.to_bytes();
        assert_eq!(Offer::read(&again).expect("our own words").to_bytes(), again);
    }
    if let Some(Ok(answer)) = bytes.first_chunk().map(Answer::read) {
        let again = answer.to_bytes();
        assert_eq!(Answer::read(&again).expect("our own words").to_bytes(), again);
    }
    if let Some(Ok(confirmation)) = bytes.first_chunk().map(Confirmation::read) {
        let again = confirmation.to_bytes();
        assert_eq!(Confirmation::read(&again).expect("our own words").to_bytes(), again);
    }
}

/// Control messages, announcements above all: they are the only ones of any length.
pub fn control(bytes: &[u8]) {
    // No packet holds more.
    let mut room = [0; peervpn::base::limits::ROOM];
    let Ok(message) = Control::read(&bytes[..bytes.len().min(room.len())]) else { return };
    let written = if let Control::Announce(announce) = &message {
        let mut writer = AnnounceWriter::new(&mut room, announce.sequence).expect("room");
        for entry in announce.entries() {
            assert!(writer.add(&entry), "what came in one message fits into one");
        }
        writer.written()
    } else {
        let mut writer = Writer::new(&mut room);
        message.write(&mut writer).expect("room");
        writer.written()
    };
    let again = Control::read(&room[..written]);
    assert!(again.is_ok(), "our own words are understood");
}

fn look_into(frame: &Frame, packet: &mut Packet) {
    let _ = (autoconf::configures(frame, packet.bytes()), Probe::is_in(frame), Probe::read(packet.bytes()));
    if let Some(first) = tcp::first_segment(frame, packet.bytes()) {
        first.clamp(packet.bytes_mut(), 1200);
        assert_eq!(tcp::first_segment(frame, packet.bytes()), Some(first), "it is where it was");
    }
}

/// Ethernet frames through all that looks into them.
pub fn frame(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let (mut switch, mut neighbours) = (Switch::new(1), Neighbours::new(2));
    let mut now = Instant::ZERO;
    for _ in 0..64 {
        let (Some(what), Some(piece)) = (script.byte(), script.piece()) else { return };
        now = now + Duration::from_secs(u64::from(what >> 2));
        let mut packet = Scratch::new();
        let piece = &piece[..piece.len().min(peervpn::base::limits::FRAME_MAX)];
        packet.append(piece).expect("room for any frame");
        let Ok(frame) = Frame::read(piece) else { continue };
        look_into(&frame, &mut packet);
        let peer = PeerKey { slot: u16::from(what & 1), generation: 1 };
        match what & 3 {
            0 | 1 => {
                if switch.learn(now, peer, &frame).is_ok() {
                    neighbours.learn(now, peer, &frame, piece);
                }
            }
            2 => {
                switch.destination(now, &frame);
                let peer_of = |vlan: u16, mac: Mac| switch.peer_of(now, vlan, mac);
                if neighbours.answer(now, &frame, &mut packet, peer_of) {
                    let answer = Frame::read(packet.bytes()).expect("a frame of our own");
                    assert_eq!(answer.destination, frame.source, "the answer goes to who asked");
                }
            }
            _ => {
                switch.expire(now);
                neighbours.expire(now);
            }
        }
    }
}
