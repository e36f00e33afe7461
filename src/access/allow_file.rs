//! The text of an [`AllowList`].

use super::allow::{AllowList, Scope, Source};
use super::deny_file::{self, DenyFault, value, word};
use crate::limits;
use crate::startup::EndpointId;

/// A line that cannot be read. No part of it is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct BadAllowLine {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: AllowFault,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllowFault {
    /// It does not begin with where from.
    #[error("expected `address` or `endpoint`")]
    Kind,
    /// No private endpoint.
    #[error("expected an endpoint as aws:vpce-0a1b2c3d, azure:305419896 or gcp:72057594037927936")]
    Endpoint,
    /// Something else stands behind that.
    #[error("expected `user` or `database` and a name, `until` and a time, or `:` and a reason")]
    Trailing,
    /// An earlier line allows the same.
    #[error("an earlier line allows the same")]
    Repeated,
    /// There are as many rules as a list holds.
    #[error("more than {} rules", limits::ALLOW_RULES_MAX)]
    TooMany,
    /// What a line of a list of what is denied could have wrong, too.
    #[error(transparent)]
    Part(DenyFault),
}

impl From<DenyFault> for AllowFault {
    fn from(fault: DenyFault) -> AllowFault {
        if fault == DenyFault::Trailing {
            AllowFault::Trailing
        } else {
            AllowFault::Part(fault)
        }
    }
}

pub(super) fn parse(text: &[u8]) -> Result<AllowList, BadAllowLine> {
    let mut list = AllowList::default();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        add(&mut list, number, line.trim_ascii()).map_err(|fault| BadAllowLine {
            line: number,
            fault,
        })?;
    }
    Ok(list)
}

fn add(list: &mut AllowList, number: usize, line: &[u8]) -> Result<(), AllowFault> {
    if matches!(line, [] | [b'#', ..]) {
        return Ok(());
    }
    let (kind, rest) = word(line);
    let from: fn(&[u8]) -> Result<Source, AllowFault> = match kind {
        b"address" => |text| Ok(Source::Network(deny_file::network(text)?)),
        b"endpoint" => |text| {
            let id = EndpointId::parse(text).ok_or(AllowFault::Endpoint)?;
            Ok(Source::Endpoint(id))
        },
        _ => return Err(AllowFault::Kind),
    };
    let (place, rest) = value(rest)?;
    let from = from(&place)?;
    let (whom, rest) = match word(rest) {
        (b"user", rest) => named(rest, Scope::User)?,
        (b"database", rest) => named(rest, Scope::Database)?,
        _ => (Scope::Everybody, rest),
    };
    list.insert(from, whom, deny_file::rule(number, rest)?)
}

fn named(rest: &[u8], whom: fn(Box<[u8]>) -> Scope) -> Result<(Scope, &[u8]), DenyFault> {
    let (name, rest) = value(rest)?;
    match name.contains(&0) {
        true => Err(DenyFault::Nul),
        false => Ok((whom(name.into()), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::{Duration, SystemTime};

    const THEN: SystemTime = SystemTime::UNIX_EPOCH;

    fn line(list: &AllowList, from: &str, who: (&str, &str), now: SystemTime) -> Option<usize> {
        let address: Option<IpAddr> = from.parse().ok();
        let endpoint = EndpointId::parse(from.as_bytes());
        let (user, database) = (Some(who.0.as_bytes()), Some(who.1.as_bytes()));
        let found = list.find(address, endpoint.as_ref(), user, database, now);
        found.map(|rule| rule.line())
    }

    #[test]
    fn the_narrowest_rule_that_holds_allows() {
        let list = parse(
            b"address 192.0.2.0/24 user alice\naddress 192.0.2.9 database \"a b\" until 1970-01-02 : till then\n\
              address ::ffff:198.51.100.0/120\nendpoint azure:7 : x\nendpoint gcp:7 user alice",
        )
        .unwrap();
        assert_eq!(list.len(), 5);
        for (from, who, found) in [
            ("192.0.2.7", ("alice", "app"), Some(1)),
            ("::ffff:192.0.2.7", ("alice", "app"), Some(1)),
            ("192.0.2.7", ("bob", "app"), None),
            ("192.0.2.9", ("alice", "a b"), Some(2)),
            ("192.0.2.9", ("bob", "a b"), Some(2)),
            ("192.0.2.9", ("alice", "app"), Some(1)),
            ("198.51.100.7", ("bob", "app"), Some(3)),
            ("2001:db8::1", ("alice", "app"), None),
            ("azure:7", ("bob", "app"), Some(4)),
            ("gcp:7", ("alice", "app"), Some(5)),
            ("gcp:7", ("bob", "app"), None),
            ("gcp:8", ("alice", "app"), None),
        ] {
            assert_eq!(line(&list, from, who, THEN), found, "{from} {who:?}");
        }
        let day = THEN + Duration::from_secs(86_400);
        assert_eq!(line(&list, "192.0.2.9", ("alice", "a b"), day), Some(1));
        assert_eq!(line(&list, "192.0.2.9", ("bob", "a b"), day), None);
        // By its endpoint alone, or by its address alone.
        let (address, id) = ("198.51.100.7".parse().ok(), EndpointId::Azure(8));
        assert!(
            list.find(address, Some(&id), Some(b"a"), Some(b"b"), THEN)
                .is_none()
        );
        assert!(
            list.find(None, None, Some(b"alice"), Some(b"a b"), THEN)
                .is_none()
        );
        let known = |from: &str| list.is_known(from.parse().ok(), None, day);
        assert!(known("192.0.2.8") && known("198.51.100.7") && !known("::1"));
        assert!(list.is_known(None, Some(&EndpointId::Gcp(7)), THEN));
        assert!(!list.is_known(address, Some(&id), THEN));
        assert!(!AllowList::default().is_known(address, None, THEN));
    }

    #[test]
    fn names_are_those_that_servers_know() {
        let text = format!("address ::/0 user {}", "x".repeat(64));
        let list = parse(text.as_bytes()).unwrap();
        for (length, found) in [(62, None), (63, Some(1)), (64, Some(1)), (65, Some(1))] {
            let user = "x".repeat(length);
            assert_eq!(line(&list, "::1", (&user, "app"), THEN), found);
        }
    }

    #[test]
    fn faults() {
        let part = AllowFault::Part;
        for (line, expected) in [
            ("user alice", AllowFault::Kind),
            ("address", part(DenyFault::NoSubject)),
            ("address 192.0.2.1/24", part(DenyFault::HostBits)),
            ("address nowhere", part(DenyFault::Network)),
            ("endpoint", part(DenyFault::NoSubject)),
            ("endpoint vpce-1", AllowFault::Endpoint),
            ("endpoint azure:07", AllowFault::Endpoint),
            ("address ::1 user", part(DenyFault::NoSubject)),
            ("address ::1 user \"a", part(DenyFault::Quote)),
            ("address ::1 user a\0b", part(DenyFault::Nul)),
            ("address ::1 user a database b", AllowFault::Trailing),
            ("address ::1 alice", AllowFault::Trailing),
            ("address ::1 until soon", part(DenyFault::Time)),
        ] {
            let bad = parse(format!("\n{line}").as_bytes()).unwrap_err();
            assert_eq!((bad.line, bad.fault), (2, expected), "{line}");
        }
        let twice = parse(b"endpoint aws:a user b\n\nendpoint aws:a\nendpoint aws:a user b");
        let told = twice.unwrap_err().to_string();
        assert_eq!(told, "line 4: an earlier line allows the same");
    }

    #[test]
    fn so_many_rules_and_no_more() {
        let mut text = String::new();
        for number in 0..limits::ALLOW_RULES_MAX {
            text += &format!("endpoint azure:{number}\n");
        }
        assert_eq!(
            parse(text.as_bytes()).unwrap().len(),
            limits::ALLOW_RULES_MAX
        );
        text += "address ::1";
        assert_eq!(
            parse(text.as_bytes()).unwrap_err().fault,
            AllowFault::TooMany
        );
    }
}
