//! The Internet checksum (RFC 1071).
//!
//! Sums are of words in the machine's own order, which gives the same bytes in the end (RFC 1071, section 2 (B)); they
//! are kept wide and folded once.
#![forbid(unsafe_code)]

/// Adds `bytes` to a sum. All parts of one sum but the last have an even length.
pub(crate) fn sum(sum: u64, bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut sum = lanes.iter().fold(sum, |sum, lane| sum + lane);
    let mut pairs = blocks.remainder().chunks_exact(2);
    for pair in &mut pairs {
        sum += u64::from(u16::from_ne_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

/// A number of 16 bits as it adds to a sum when it is written in network order.
pub(crate) fn word(value: u16) -> u64 {
    u64::from(value.to_be())
}

/// A sum in 16 bits, as bytes.
pub(crate) fn fold(sum: u64) -> [u8; 2] {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "just folded")]
    let folded = sum as u16;
    folded.to_ne_bytes()
}

/// The checksum for a sum.
pub(crate) fn of(sum: u64) -> [u8; 2] {
    fold(sum).map(|byte| !byte)
}

/// The same where 0 would mean that there is none (RFC 768).
pub(crate) fn of_datagram(sum: u64) -> [u8; 2] {
    match of(sum) {
        [0, 0] => [0xff, 0xff],
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "numbers of tests")]
mod tests {
    use super::super::testing::slow_checksum;
    use super::*;

    #[test]
    fn it_is_that_of_the_rfc() {
        // RFC 1071, section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(0, &bytes)), [0xdd, 0xf2]);
        assert_eq!(of(sum(0, &bytes)), [0x22, 0x0d]);
        assert_eq!(of_datagram(sum(0, &[0xff, 0xff])), [0xff, 0xff]);
        assert_eq!(fold(word(0x1234)), [0x12, 0x34]);
    }

    #[test]
    fn any_length_and_any_cut_at_an_even_place_gives_the_same() {
        let bytes: Vec<u8> = (0..1500_u32).map(|n| (n * n % 255) as u8).collect();
        for length in (0..100).chain([1448, 1499, 1500]) {
            let whole = of(sum(0, &bytes[..length]));
            assert_eq!(u16::from_be_bytes(whole), slow_checksum(&bytes[..length]), "{length}");
            let cut = length / 3 * 2;
            assert_eq!(of(sum(sum(0, &bytes[..cut]), &bytes[cut..length])), whole);
        }
        assert_eq!(of(sum(0, &[0xff; 65_535])), slow_checksum(&[0xff; 65_535]).to_be_bytes());
    }
}
