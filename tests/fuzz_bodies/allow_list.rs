//! The file of who may come from where.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use pgturnout::access::{AllowFault, AllowList};
use pgturnout::startup::EndpointId;

use super::feed::Feed;

/// Networks, with how many bits of an IPv6 address they fix.
const NETWORKS: &[(&str, u32)] = &[
    ("192.0.2.0/24", 120),
    ("192.0.2.77", 128),
    ("0.0.0.0/0", 96),
    ("2001:db8::/32", 32),
    ("::1", 128),
    ("::/0", 0),
];
const ENDPOINTS: &[&str] = &["aws:vpce-1", "aws:vpce-2", "azure:7", "gcp:7"];
const ADDRESSES: &[&str] = &[
    "192.0.2.77",
    "192.0.2.1",
    "198.51.100.1",
    "::1",
    "2001:db8::5",
];
const NAMES: &[&str] = &["alice", "", "a b", "q\"q", ":", "until"];
/// Times as they are written, and in seconds.
const TIMES: &[Option<(&str, u64)>] = &[None, Some(("2027-01-31", 1_801_353_600))];
const CLOCKS: &[u64] = &[0, 1_801_353_599, 1_801_353_600];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Network(&'static str, u32),
    Endpoint(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Everybody,
    User(&'static str),
    Database(&'static str),
}

struct Rule {
    from: Source,
    whom: Scope,
    until: Option<u64>,
}

/// Whatever the text, what stands before the first line that cannot be read can be, and comments change nothing; a list
/// allows whom a line of it names that comes from there, until its time, and nobody else: one behind an endpoint by that
/// alone.
pub(crate) fn allow_list(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(2) {
        0 => any(feed.rest()),
        _ => written(&mut feed),
    }
}

fn any(text: &[u8]) {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    match AllowList::parse(text) {
        Ok(list) => {
            assert!(list.len() <= lines.len());
            let commented = [text, b"\n# address ::/0\n \t\r\n"].concat();
            assert!(AllowList::parse(&commented).is_ok_and(|same| same == list));
            let twice = AllowList::parse(&[text, b"\n", text].concat());
            match list.is_empty() {
                true => assert!(twice.is_ok_and(|same| same == list)),
                false => assert!(twice.is_err_and(|bad| bad.fault == AllowFault::Repeated)),
            }
        }
        Err(bad) => {
            let before = lines.get(..bad.line - 1).expect("a line of the text");
            assert!(AllowList::parse(&before.join(&b'\n')).is_ok());
            let alone = AllowList::parse(lines[bad.line - 1]);
            let among = [AllowFault::Repeated, AllowFault::TooMany].contains(&bad.fault);
            assert!(
                alone.is_ok() == among && alone.err().is_none_or(|alone| alone.fault == bad.fault)
            );
        }
    }
}

fn written(feed: &mut Feed<'_>) {
    let (mut text, mut rules, mut repeated) = (String::new(), Vec::<Rule>::new(), None);
    for line in 1..=feed.below(6) {
        let from = match feed.below(2) {
            0 => {
                let (network, prefix) = feed.one(NETWORKS);
                text += &format!("address {network}");
                Source::Network(network, prefix)
            }
            _ => {
                let id = feed.one(ENDPOINTS);
                text += &format!("endpoint {id}");
                Source::Endpoint(id)
            }
        };
        let whom = match feed.below(3) {
            0 => Scope::Everybody,
            1 => Scope::User(feed.one(NAMES)),
            _ => Scope::Database(feed.one(NAMES)),
        };
        match whom {
            Scope::Everybody => {}
            Scope::User(name) => text += &format!(" user {}", quoted(name)),
            Scope::Database(name) => text += &format!("\tdatabase {}", quoted(name)),
        }
        let until = feed.one(TIMES);
        if let Some((time, _)) = until {
            text += &format!(" until {time}");
        }
        text += feed.one(&["\n", " : why\n"]);
        if (rules.iter()).any(|rule| (rule.from, rule.whom) == (from, whom)) {
            repeated = repeated.or(Some(line));
        }
        rules.push(Rule {
            from,
            whom,
            until: until.map(|(_, seconds)| seconds),
        });
    }
    match (AllowList::parse(text.as_bytes()), repeated) {
        (Ok(list), None) => {
            for _ in 0..8 {
                compare(feed, &list, &rules);
            }
        }
        (Err(bad), Some(line)) => assert_eq!((bad.line, bad.fault), (line, AllowFault::Repeated)),
        (read, _) => panic!("{text:?} is read as {read:?}"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn number(address: &str) -> u128 {
    match address.parse().expect("an address") {
        IpAddr::V4(address) => 0xffff_0000_0000 | u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// A client, as the list sees it and as the rules do one by one.
fn compare(feed: &mut Feed<'_>, list: &AllowList, rules: &[Rule]) {
    let address = feed.one(ADDRESSES);
    let through = (feed.below(2) == 1).then(|| feed.one(ENDPOINTS));
    let (user, database) = (feed.one(NAMES), feed.one(NAMES));
    let seconds = feed.one(CLOCKS);
    let comes = |rule: &&Rule| match (rule.from, through) {
        (Source::Endpoint(id), through) => through == Some(id),
        (Source::Network(..), Some(_)) => false,
        (Source::Network(network, prefix), None) => {
            let start = number(network.split('/').next().unwrap_or_default());
            prefix == 0 || number(address) >> (128 - prefix) == start >> (128 - prefix)
        }
    };
    let holds = |rule: &&Rule| rule.until.is_none_or(|until| seconds < until);
    let names = |rule: &Rule| match rule.whom {
        Scope::Everybody => true,
        Scope::User(name) => name == user,
        Scope::Database(name) => name == database,
    };
    let (address, id) = (
        address.parse().ok(),
        through.and_then(|id| EndpointId::parse(id.as_bytes())),
    );
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let known: Vec<&Rule> = rules.iter().filter(comes).filter(holds).collect();
    assert_eq!(list.is_known(address, id.as_ref(), now), !known.is_empty());
    let (user, database) = (Some(user.as_bytes()), Some(database.as_bytes()));
    let found = list.find(address, id.as_ref(), user, database, now);
    assert_eq!(
        found.is_some(),
        known.into_iter().any(names),
        "{:?}",
        found.map(|rule| rule.line())
    );
}
