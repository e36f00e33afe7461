//! Guesses that are held back, and lists of what is denied.

#![allow(clippy::disallowed_methods, reason = "some instant to count from")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use pgturnout::access::{
    AllowFault, AllowList, DenyFault, DenyList, ListRule, Outcome, Scope, Source, Subject, Throttle,
};
use pgturnout::limits;
use pgturnout::startup::EndpointId;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A wrong guess that takes no time. Whether it was let begin.
fn guess(throttle: &mut Throttle, name: &[u8], now: Instant) -> bool {
    let attempt = throttle.begin(HERE, name, now);
    attempt.is_ok_and(|attempt| {
        let outcome = throttle.settle(attempt, Outcome::WrongCredentials, now);
        outcome.is_ok()
    })
}

fn throttle() -> (Throttle, Instant) {
    (Throttle::new(Default::default()), Instant::now())
}

#[test]
fn throttle_pairs_max() {
    let (mut throttle, now) = throttle();
    for number in 0..=limits::THROTTLE_PAIRS_MAX {
        assert!(guess(&mut throttle, number.to_string().as_bytes(), now));
        assert_eq!(throttle.len(), (number + 1).min(limits::THROTTLE_PAIRS_MAX));
    }
    assert!(guess(&mut throttle, b"0", now), "forgotten");
    assert!(!guess(&mut throttle, b"2", now), "held");
}

#[test]
fn throttle_first() {
    let (mut throttle, now) = throttle();
    assert!(guess(&mut throttle, b"a", now));
    let until = now + limits::THROTTLE_FIRST;
    assert!(!guess(&mut throttle, b"a", until - Duration::from_nanos(1)));
    assert!(guess(&mut throttle, b"a", until));
}

#[test]
fn throttle_longest() {
    let (mut throttle, mut now) = throttle();
    for _ in 0..40 {
        assert!(guess(&mut throttle, b"a", now));
        now += limits::THROTTLE_LONGEST;
    }
    assert!(guess(&mut throttle, b"a", now));
    now += limits::THROTTLE_LONGEST;
    assert!(!guess(&mut throttle, b"a", now - Duration::from_nanos(1)));
}

#[test]
fn user_name_len() {
    let (mut throttle, now) = throttle();
    let name = [b'x'; limits::USER_NAME_LEN + 1];
    let (whole, cut) = (
        &name[..limits::USER_NAME_LEN],
        &name[..limits::USER_NAME_LEN - 1],
    );
    assert!(guess(&mut throttle, whole, now));
    assert!(!guess(&mut throttle, &name, now), "the same to a server");
    assert!(guess(&mut throttle, cut, now));
}

#[test]
fn deny_rules_max() {
    let mut list = DenyList::default();
    let mut deny = |number: usize| {
        let user = Subject::User(number.to_string().as_bytes().into());
        list.insert(user, ListRule::new(1, b""))
    };
    for number in 0..limits::DENY_RULES_MAX {
        assert_eq!(deny(number), Ok(()));
    }
    assert_eq!(deny(limits::DENY_RULES_MAX), Err(DenyFault::TooMany));
}

#[test]
fn allow_rules_max() {
    let mut list = AllowList::default();
    let mut allow = |number: u64| {
        let from = Source::Endpoint(EndpointId::Gcp(number));
        list.insert(from, Scope::Everybody, ListRule::new(1, b""))
    };
    let most = u64::try_from(limits::ALLOW_RULES_MAX).unwrap();
    for number in 0..most {
        assert_eq!(allow(number), Ok(()));
    }
    assert_eq!(allow(most), Err(AllowFault::TooMany));
}

#[test]
fn deny_reason_max() {
    let line = |len: usize| format!("user a : {}", "x".repeat(len));
    let most = DenyList::parse(line(limits::DENY_REASON_MAX).as_bytes());
    assert_eq!(most.unwrap().len(), 1);
    let more = DenyList::parse(line(limits::DENY_REASON_MAX + 1).as_bytes());
    assert_eq!(more.unwrap_err().fault, DenyFault::Reason);
}
