//! The values that settings take, and how they are shown.

use super::Kind;

pub(super) fn clean(value: &str, version: u32) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            other if version >= 16 => out.push_str(&format!("\\x{other:02x}")),
            _ => out.push('?'),
        }
    }
    out
}

pub(in super::super) fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let prefix = |whole: &str, least: usize| value.len() >= least && whole.starts_with(&value);
    if prefix("true", 1) || prefix("yes", 1) || value == "on" || value == "1" {
        Some(true)
    } else if prefix("false", 1) || prefix("no", 1) || prefix("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

/// Enumerations with `on` and `off` take other words for these.
pub(super) fn of_boolean(names: &[(&str, &str)], value: &str) -> Option<String> {
    let name = if boolean(value)? { "on" } else { "off" };
    let named = names.iter().any(|(known, _)| *known == name);
    named.then(|| name.to_owned())
}

/// A number and the unit behind it.
fn quantity(value: &str) -> Option<(i64, &str)> {
    let value = value.trim();
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .unwrap_or(value.len());
    Some((value[..end].parse().ok()?, value[end..].trim()))
}

fn scaled(amount: i64, units: &[(&str, i64)]) -> String {
    if amount == 0 {
        return "0".to_owned();
    }
    let (unit, size) = units
        .iter()
        .find(|(_, size)| amount % size == 0)
        .unwrap_or(&("", 1));
    format!("{}{unit}", amount / size)
}

/// Units of time in milliseconds, and of memory in kilobytes.
const TIMES: &[(&str, i64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const SIZES: &[(&str, i64)] = &[("TB", 1 << 30), ("GB", 1 << 20), ("MB", 1 << 10), ("kB", 1)];

/// How much a value is in the smallest of these units.
fn amount(value: &str, units: &[(&str, i64)]) -> Option<i64> {
    let (number, unit) = quantity(value)?;
    let size = match unit {
        "" => 1,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(size)
}

pub(super) fn time(value: &str) -> Option<String> {
    let amount = amount(value, TIMES)?;
    let fits = (0..=i64::from(i32::MAX)).contains(&amount);
    fits.then(|| scaled(amount, TIMES))
}

pub(super) fn memory(value: &str, least: i64) -> Option<String> {
    let amount = amount(value, SIZES)?;
    let fits = (least..=i64::from(i32::MAX)).contains(&amount);
    fits.then(|| scaled(amount, SIZES))
}

/// A value as `pg_settings` has it, without a unit.
pub(super) fn plain(kind: &Kind, value: &str) -> String {
    let units = match kind {
        Kind::Time => TIMES,
        Kind::Memory(_) => SIZES,
        _ => return value.to_owned(),
    };
    amount(value, units).map_or_else(|| value.to_owned(), |amount| amount.to_string())
}

pub(super) fn encoding(value: &str) -> Option<&'static str> {
    let plain: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    Some(match plain.as_str() {
        "UTF8" | "UNICODE" => "UTF8",
        "LATIN1" | "ISO88591" => "LATIN1",
        "SQLASCII" => "SQL_ASCII",
        "WIN1252" => "WIN1252",
        "SJIS" => "SJIS",
        _ => return None,
    })
}

pub(super) fn zone(value: &str) -> Option<String> {
    const ZONES: [&str; 7] = [
        "UTC",
        "Etc/UTC",
        "GMT",
        "Europe/Berlin",
        "America/New_York",
        "Asia/Tokyo",
        "CET",
    ];
    ZONES
        .iter()
        .find(|zone| zone.eq_ignore_ascii_case(value))
        .map(|zone| (*zone).to_owned())
        .or_else(|| {
            let hours: i32 = value.trim().parse().ok()?;
            let sign = if hours < 0 { '-' } else { '+' };
            let other = if hours < 0 { '+' } else { '-' };
            let hours = hours.abs();
            (hours < 24).then(|| format!("<{sign}{hours:02}>{other}{hours:02}"))
        })
        .or_else(|| posix_zone(value))
}

/// A name in angle brackets, and how far it is from UTC, in hours: as a zone is shown that is given as a number.
fn posix_zone(value: &str) -> Option<String> {
    let (name, offset) = value.strip_prefix('<')?.split_once('>')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '-';
    let hours: i32 = offset.parse().ok()?;
    (name.len() >= 3 && name.chars().all(plain) && hours.abs() < 24)
        .then(|| value.to_ascii_uppercase())
}

pub(in super::super) fn isolation(value: &str) -> Option<&'static str> {
    [
        "read committed",
        "read uncommitted",
        "repeatable read",
        "serializable",
    ]
    .into_iter()
    .find(|level| level.eq_ignore_ascii_case(value))
}
