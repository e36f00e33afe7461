//! The file of what is denied.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use pgturnout::access::{DenyFault, DenyList};

use super::feed::Feed;

const NETWORKS: &[(&str, u32)] = &[
    ("192.0.2.0", 24),
    ("192.0.2.64", 26),
    ("192.0.2.77", 32),
    ("0.0.0.0", 0),
    ("2001:db8::", 32),
    ("::ffff:192.0.2.77", 128),
    ("::1", 128),
    ("::", 0),
];
const ADDRESSES: &[&str] = &[
    "192.0.2.77",
    "192.0.2.1",
    "198.51.100.1",
    "::1",
    "2001:db8::5",
    "::ffff:192.0.2.77",
];
const NAMES: &[&str] = &["alice", "", "a b", "q\"q", "#", ":", "until", "\u{e9}\t"];
const REASONS: &[&str] = &["", "left", ": until 2000-01-01", "\"", "# no comment"];
/// Times as they are written, and in seconds.
const TIMES: &[Option<(&str, u64)>] = &[
    None,
    Some(("2027-01-31", 1_801_353_600)),
    Some(("2027-01-31T06:30:00Z", 1_801_377_000)),
    Some(("1970-01-01", 0)),
];
const CLOCKS: &[u64] = &[
    0,
    1_801_353_599,
    1_801_353_600,
    1_801_376_999,
    1_801_377_000,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Network(u128, u32),
    User(&'static str),
    Database(&'static str),
}

struct Rule {
    subject: Subject,
    until: Option<u64>,
    line: usize,
    reason: &'static str,
}

/// Whatever the text, what stands before the first line that cannot be read can be, and comments change nothing; a list
/// denies whom its lines name, the narrowest network first, until their time, and nobody else.
pub(crate) fn deny_list(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(2) {
        0 => any(feed.rest()),
        _ => written(&mut feed),
    }
}

fn any(text: &[u8]) {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    match DenyList::parse(text) {
        Ok(list) => {
            assert!(list.len() <= lines.len());
            let commented = [text, b"\n# user x\n \t\r\n"].concat();
            assert!(DenyList::parse(&commented).is_ok_and(|same| same == list));
            let twice = DenyList::parse(&[text, b"\n", text].concat());
            match list.is_empty() {
                true => assert!(twice.is_ok_and(|same| same == list)),
                false => {
                    assert!(twice.is_err_and(
                        |bad| bad.line > lines.len() && bad.fault == DenyFault::Repeated
                    ))
                }
            }
        }
        Err(bad) => {
            let before = lines.get(..bad.line - 1).expect("a line of the text");
            assert!(before.len() < lines.len());
            assert!(DenyList::parse(&before.join(&b'\n')).is_ok());
            let alone = DenyList::parse(lines[bad.line - 1]);
            let among = [DenyFault::Repeated, DenyFault::TooMany].contains(&bad.fault);
            assert!(
                alone.is_ok() == among && alone.err().is_none_or(|alone| alone.fault == bad.fault)
            );
        }
    }
}

fn written(feed: &mut Feed<'_>) {
    let (mut text, mut rules, mut repeated) = (String::new(), Vec::<Rule>::new(), None);
    for line in 1..=feed.below(6) {
        let subject = subject(feed, &mut text);
        let until = feed.one(TIMES);
        let reason = feed.one(REASONS);
        if let Some((written, _)) = until {
            text += &format!(" until\t{written}");
        }
        if !reason.is_empty() {
            text += &format!("  : {reason} ");
        }
        text.push('\n');
        if rules.iter().any(|rule| rule.subject == subject) {
            repeated = repeated.or(Some(line));
        }
        rules.push(Rule {
            subject,
            until: until.map(|(_, seconds)| seconds),
            line,
            reason,
        });
    }
    match (DenyList::parse(text.as_bytes()), repeated) {
        (Ok(list), None) => {
            for _ in 0..8 {
                compare(feed, &list, &rules);
            }
        }
        (Err(bad), Some(line)) => assert_eq!((bad.line, bad.fault), (line, DenyFault::Repeated)),
        (read, _) => panic!("{text:?} is read as {:?}", read.map(|list| list.len())),
    }
}

/// Chooses a subject, and writes it.
fn subject(feed: &mut Feed<'_>, text: &mut String) -> Subject {
    match feed.below(3) {
        0 => {
            let (address, prefix) = feed.one(NETWORKS);
            let whole = if address.contains(':') { 128 } else { 32 };
            *text += &match prefix == whole && feed.below(2) == 0 {
                true => format!("address {address}"),
                false => format!("address {address}/{prefix}"),
            };
            let bits = number(address);
            Subject::Network(bits, 128 - whole + prefix)
        }
        kind => {
            let name = feed.one(NAMES);
            let plain = ["alice", "#", ":", "until"].contains(&name) && feed.below(2) == 0;
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            let kind_of = if kind == 1 { "user" } else { "database" };
            *text += &format!(" {kind_of} {}", if plain { name } else { &quoted });
            if kind == 1 {
                Subject::User(name)
            } else {
                Subject::Database(name)
            }
        }
    }
}

fn number(address: &str) -> u128 {
    let address: IpAddr = address.parse().expect("an address");
    match address {
        IpAddr::V4(address) => 0xffff_0000_0000 | u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// A client, as the list sees it and as the rules do one by one.
fn compare(feed: &mut Feed<'_>, list: &DenyList, rules: &[Rule]) {
    let address = feed.one(ADDRESSES);
    let (user, database) = (feed.one(NAMES), feed.one(NAMES));
    let seconds = feed.one(CLOCKS);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    // The narrower, the better; users before databases.
    let rank = |rule: &&Rule| match rule.subject {
        Subject::Network(bits, prefix) => {
            let rest = 128 - prefix;
            let same = rest == 128 || number(address) >> rest == bits >> rest;
            same.then_some(3 + prefix)
        }
        Subject::User(name) => (name == user).then_some(2),
        Subject::Database(name) => (name == database).then_some(1),
    };
    let holds = |rule: &&Rule| rule.until.is_none_or(|until| seconds < until);
    let expected = rules
        .iter()
        .filter(holds)
        .filter(|rule| rank(rule).is_some())
        .max_by_key(rank);
    let found = list.find(
        address.parse().ok(),
        Some(user.as_bytes()),
        Some(database.as_bytes()),
        now,
    );
    let shown = found.map(|rule| (rule.line(), rule.reason()));
    assert_eq!(
        shown,
        expected.map(|rule| (rule.line, rule.reason.as_bytes()))
    );
}
