//! Numbers as people read them.

/// A length of time in its two largest units at most.
pub fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (1..100, _, _) => format!("{days} d {} h", hours % 24),
        _ => format!("{days} d"),
    }
}

/// Microseconds as milliseconds, with one digit behind the point below a hundred.
pub fn milliseconds(microseconds: u64) -> String {
    let tenths = microseconds / 100;
    if tenths < 1000 { format!("{}.{} ms", tenths / 10, tenths % 10) } else { format!("{} ms", tenths / 10) }
}

/// Thousandths as a percentage.
pub fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// A number of bytes in its largest decimal unit, with one digit behind the point below ten.
pub fn bytes(count: u64) -> String {
    scaled(count, "B")
}

/// Bytes in so many milliseconds, as bits a second.
pub fn rate(bytes: u64, milliseconds: u64) -> String {
    scaled(bytes.saturating_mul(8000) / milliseconds.max(1), "b/s")
}

fn scaled(count: u64, unit: &str) -> String {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let (mut rest, mut step, mut size) = (count, 0, 1);
    while rest >= 1000 && step + 1 < PREFIXES.len() {
        rest /= 1000;
        step += 1;
        size *= 1000;
    }
    let prefix = PREFIXES[step];
    if step > 0 && rest < 10 {
        format!("{rest}.{} {prefix}{unit}", count % size * 10 / size)
    } else {
        format!("{rest} {prefix}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1999, "1.9 kB"),
            (34_567, "34 kB"),
            (999_999, "999 kB"),
            (1_200_000, "1.2 MB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (8_640_000, "100 d"),
        ] {
            assert_eq!(age(seconds), text);
        }
        assert_eq!(
            (percent(0), percent(12), percent(1000)),
            ("0.0 %".into(), "1.2 %".into(), "100.0 %".into())
        );
        assert_eq!(milliseconds(12_345), "12.3 ms");
        assert_eq!(milliseconds(123_456), "123 ms");
        assert_eq!(rate(1250, 1000), "10 kb/s");
        assert_eq!(rate(1250, 0), "10 Mb/s");
        assert_eq!(rate(u64::MAX, 1), "18446 Pb/s");
    }
}
