//! The text of a [`DenyList`].

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::deny::{DenyList, ListRule, Network, Subject};
use crate::limits;

/// A line that cannot be read. No part of it is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct BadDenyLine {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: DenyFault,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DenyFault {
    /// It does not begin with what it denies.
    #[error("expected `address`, `user` or `database`")]
    Kind,
    /// Nothing stands behind that.
    #[error("a network or a name is missing")]
    NoSubject,
    /// No address, or a prefix that is longer than one.
    #[error("expected an address, or a network as 192.0.2.0/24 or 2001:db8::/32")]
    Network,
    /// Bits behind the prefix are set: another network may be meant.
    #[error("the address has bits behind the prefix")]
    HostBits,
    /// A quote without its end, or something right behind it.
    #[error("a quote is not closed, or something stands right behind it")]
    Quote,
    /// A zero byte, which no name has.
    #[error("a zero byte cannot be part of a name")]
    Nul,
    /// No time behind `until`.
    #[error("expected a UTC time as 2027-01-31 or 2027-01-31T06:30:00Z")]
    Time,
    /// Something else than `until` or `:` stands behind the network or the name.
    #[error("expected `until` and a time, or `:` and a reason")]
    Trailing,
    /// An earlier line denies the same.
    #[error("an earlier line denies the same")]
    Repeated,
    /// There are as many rules as a list holds.
    #[error("more than {} rules", limits::DENY_RULES_MAX)]
    TooMany,
    /// The reason is too long.
    #[error("the reason has more than {} bytes", limits::DENY_REASON_MAX)]
    Reason,
}

pub(super) fn parse(text: &[u8]) -> Result<DenyList, BadDenyLine> {
    let mut list = DenyList::default();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let bad = |fault| BadDenyLine {
            line: number,
            fault,
        };
        if let Some((subject, rule)) = parse_line(number, line).map_err(bad)? {
            list.insert(subject, rule).map_err(bad)?;
        }
    }
    Ok(list)
}

fn parse_line(number: usize, line: &[u8]) -> Result<Option<(Subject, ListRule)>, DenyFault> {
    let line = line.trim_ascii();
    if matches!(line, [] | [b'#', ..]) {
        return Ok(None);
    }
    let (kind, rest) = word(line);
    let subject: fn(&[u8]) -> Result<Subject, DenyFault> = match kind {
        b"address" => |text| network(text).map(Subject::Network),
        b"user" => |name| Ok(Subject::User(name.into())),
        b"database" => |name| Ok(Subject::Database(name.into())),
        _ => return Err(DenyFault::Kind),
    };
    let (name, rest) = value(rest)?;
    if name.contains(&0) {
        return Err(DenyFault::Nul);
    }
    let subject = subject(&name)?;
    Ok(Some((subject, rule(number, rest)?)))
}

/// What stands behind the subject of a rule: until when it holds, and why.
pub(super) fn rule(number: usize, rest: &[u8]) -> Result<ListRule, DenyFault> {
    let (until, rest) = match word(rest) {
        (b"until", rest) => {
            let (text, rest) = word(rest);
            (Some(time(text).ok_or(DenyFault::Time)?), rest)
        }
        _ => (None, rest),
    };
    let reason = match word(rest) {
        (b":", reason) => reason,
        (b"", _) => b"",
        _ => return Err(DenyFault::Trailing),
    };
    if reason.len() > limits::DENY_REASON_MAX {
        return Err(DenyFault::Reason);
    }
    Ok(ListRule {
        line: number,
        until,
        reason: reason.into(),
    })
}

/// What stands before the first blank, and what stands behind the blanks.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_ascii_start())
}

/// A word, or a string in quotes.
pub(super) fn value(text: &[u8]) -> Result<(Vec<u8>, &[u8]), DenyFault> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        return match word(text) {
            (b"", _) => Err(DenyFault::NoSubject),
            (word, _) if word.contains(&b'"') => Err(DenyFault::Quote),
            (word, rest) => Ok((word.to_vec(), rest)),
        };
    };
    let mut value = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'"');
        let (before, after) = rest.split_at(end.ok_or(DenyFault::Quote)?);
        value.extend_from_slice(before);
        match after {
            [b'"', b'"', more @ ..] => {
                value.push(b'"');
                rest = more;
            }
            [_] => return Ok((value, b"")),
            [_, blank, more @ ..] if blank.is_ascii_whitespace() => {
                return Ok((value, more.trim_ascii_start()));
            }
            [..] => return Err(DenyFault::Quote),
        }
    }
}

pub(super) fn network(text: &[u8]) -> Result<Network, DenyFault> {
    let text = std::str::from_utf8(text).map_err(|_| DenyFault::Network)?;
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| DenyFault::Network)?;
    let Some(prefix) = prefix else {
        return Ok(Network::of(address));
    };
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| digits);
    let network = prefix.and_then(|prefix| Network::new(address, prefix));
    let network = network.ok_or(DenyFault::Network)?;
    match network.is_base(address) {
        true => Ok(network),
        false => Err(DenyFault::HostBits),
    }
}

/// Midnight of a date, or a time of a date, UTC, of the years 1970 to 9999.
fn time(text: &[u8]) -> Option<SystemTime> {
    let (date, clock) = match text {
        [date @ .., b'T', h1, h0, b':', m1, m0, b':', s1, s0, b'Z'] => {
            let clock = [[*h1, *h0], [*m1, *m0], [*s1, *s0]];
            (date, clock)
        }
        date => (date, [*b"00"; 3]),
    };
    let [y3, y2, y1, y0, b'-', o1, o0, b'-', d1, d0] = date else {
        return None;
    };
    let year = digits(&[*y3, *y2, *y1, *y0]).filter(|year| *year >= 1970)?;
    let month = digits(&[*o1, *o0])?;
    let day = digits(&[*d1, *d0])?;
    let [hour, minute, second] = clock.map(|pair| digits(&pair));
    let (hour, minute, second) = (hour?, minute?, second?);
    let fits =
        (1..=days_of(year, month)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let months = (1..month).filter_map(|month| days_of(year, month));
    let before = year.saturating_sub(1);
    // 477 leap years were before 1970.
    let leap_days = (before / 4)
        .saturating_sub(before / 100)
        .saturating_add(before / 400)
        .saturating_sub(477);
    let days = year
        .saturating_sub(1970)
        .saturating_mul(365)
        .saturating_add(leap_days)
        .saturating_add(months.sum())
        .saturating_add(day.saturating_sub(1));
    let minutes = days
        .saturating_mul(24)
        .saturating_add(hour)
        .saturating_mul(60)
        .saturating_add(minute);
    let seconds = minutes.saturating_mul(60).saturating_add(second);
    fits.then(|| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))?
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.saturating_sub(b'0'))?;
        Some(number.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

fn days_of(year: u64, month: u64) -> Option<u64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if leap => Some(29),
        2 => Some(28),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> DenyFault {
        parse(line.as_bytes()).unwrap_err().fault
    }

    fn one(line: &str) -> (Subject, ListRule) {
        parse_line(1, line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn lines() {
        for (line, subject, reason) in [
            ("user alice", "user alice", ""),
            (
                "\t user \"a b\"\"c\"  : why not\t\r",
                "user a b\\\"c",
                "why not",
            ),
            ("user \"\"", "user ", ""),
            ("user until : : :", "user until", ": :"),
            ("database until until 2027-01-31", "database until", ""),
            ("address ::1 : #", "address ::1/128", "#"),
            (
                "address 192.0.2.0/24 until 2027-01-31T00:00:00Z : x",
                "address 192.0.2.0/24",
                "x",
            ),
        ] {
            let (found, rule) = one(line);
            assert_eq!(found.to_string(), subject, "{line}");
            assert_eq!(rule.reason(), reason.as_bytes(), "{line}");
        }
        let list = parse(b"\n# user a\n   \nuser b\r\n").unwrap();
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn faults() {
        for (line, expected) in [
            ("alice", DenyFault::Kind),
            ("User alice", DenyFault::Kind),
            ("user", DenyFault::NoSubject),
            ("address 192.0.2", DenyFault::Network),
            ("address host.example", DenyFault::Network),
            ("address 192.0.2.0/33", DenyFault::Network),
            ("address 192.0.2.0/+24", DenyFault::Network),
            ("address 192.0.2.0/", DenyFault::Network),
            ("address 2001:db8::/129", DenyFault::Network),
            ("address 192.0.2.1/24", DenyFault::HostBits),
            ("address 2001:db8::1/64", DenyFault::HostBits),
            ("user \"alice", DenyFault::Quote),
            ("user \"alice\"bob", DenyFault::Quote),
            ("user al\"ice\"", DenyFault::Quote),
            ("user a\0b", DenyFault::Nul),
            ("user a until", DenyFault::Time),
            ("user a until tomorrow", DenyFault::Time),
            ("user a until 2027-02-29", DenyFault::Time),
            ("user a until 2027-00-01", DenyFault::Time),
            ("user a until 2027-13-01", DenyFault::Time),
            ("user a until 2027-01-00", DenyFault::Time),
            ("user a until 1969-12-31", DenyFault::Time),
            ("user a until 2027-01-31T24:00:00Z", DenyFault::Time),
            ("user a until 2027-01-31T00:60:00Z", DenyFault::Time),
            ("user a until 2027-01-31T00:00:60Z", DenyFault::Time),
            ("user a until 2027-01-31T00:00:00", DenyFault::Time),
            ("user a until 2027-01-31T00:00:00+01", DenyFault::Time),
            ("user a b", DenyFault::Trailing),
            ("user a :why", DenyFault::Trailing),
            ("user a until 2027-01-31 why", DenyFault::Trailing),
        ] {
            assert_eq!(fault(line), expected, "{line}");
        }
        let bad = parse(b"user hidden\n\nuser hidden").unwrap_err();
        assert_eq!(bad.to_string(), "line 3: an earlier line denies the same");
    }

    #[test]
    fn a_reason_of_so_many_bytes_and_no_more() {
        let line = |len: usize| format!("user a : {}", "x".repeat(len));
        let (_, rule) = one(&line(limits::DENY_REASON_MAX));
        assert_eq!(rule.reason().len(), limits::DENY_REASON_MAX);
        assert_eq!(fault(&line(limits::DENY_REASON_MAX + 1)), DenyFault::Reason);
    }

    #[test]
    fn times() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01Z", 1),
            ("1999-12-31T23:59:59Z", 946_684_799),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2027-01-31T06:30:00Z", 1_801_377_000),
            ("2100-03-01", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(time(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(time(b"2100-02-29"), None);
    }
}
