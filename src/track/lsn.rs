//! Positions in a server's write-ahead log.

use std::fmt;

/// A position in the write-ahead log: bytes since its beginning. Positions of one timeline compare as their time does.
///
/// ```
/// use pgturnout::track::Lsn;
/// let replayed = Lsn::parse(b"16/B374D848").ok_or("no position")?;
/// assert!(replayed > Lsn(0x15_FFFF_FFFF));
/// assert_eq!(replayed.to_string(), "16/B374D848");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads a position as servers write it (type `pg_lsn`): its two halves in hexadecimal, with a slash between them.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Lsn> {
        let mut halves = text.split(|byte| *byte == b'/');
        let (high, low) = (half(halves.next()?)?, half(halves.next()?)?);
        match halves.next() {
            None => Some(Lsn((u64::from(high) << 32) | u64::from(low))),
            Some(_) => None,
        }
    }
}

/// One to eight hexadecimal digits.
fn half(digits: &[u8]) -> Option<u32> {
    if digits.first() == Some(&b'+') {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = (self.0 >> 32, self.0 & u64::from(u32::MAX));
        write!(f, "{high:X}/{low:X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_servers_write_them() {
        for (text, position) in [
            ("0/0", Some(0)),
            ("0/16B3748", Some(0x16B_3748)),
            ("1/0", Some(1 << 32)),
            ("FFFFFFFF/FFFFFFFF", Some(u64::MAX)),
            ("ffffffff/a", Some(0xFFFF_FFFF_0000_000A)),
            ("", None),
            ("/", None),
            ("1", None),
            ("1/2/3", None),
            ("100000000/0", None),
            ("+1/0", None),
            ("0/-1", None),
            ("0/ 1", None),
            ("x/1", None),
        ] {
            let read = Lsn::parse(text.as_bytes());
            assert_eq!(read, position.map(Lsn), "{text:?}");
            if let Some(lsn) = read {
                assert_eq!(Lsn::parse(lsn.to_string().as_bytes()), Some(lsn));
            }
        }
    }
}
