//! Who is let in beside the question of passwords: the throttle of failed logins and the file of what is denied.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use pgturnout::access::{
    Attempt, BadDenyLine, DenyList, ListRule, Outcome, Subject, Throttle, ThrottleLimits, Throttled,
};
use pgturnout::session::{
    ConnectionFacts, ConnectionKind, Denial, LoginFacts, LoginOutcome, Policy, StatementFacts,
    Verdict,
};
use pgturnout::startup::StartupParams;

use crate::Proxy;
use crate::deny::Deny;
use crate::introduce::Whence;

/// Whether logins are held back after wrong guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    Off,
    On,
}

/// What of a client can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Everything,
    /// Where it comes from: the rest may be encrypted for somebody else.
    Address,
}

/// What all sessions share of it.
pub(crate) struct Door {
    throttle: Option<Mutex<Throttle>>,
    denied: Option<DenyFile>,
}

/// The file and what was in it last.
struct DenyFile {
    path: PathBuf,
    sight: Sight,
    list: Mutex<Arc<DenyList>>,
}

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Unreadable(std::io::Error),
    Bad(BadDenyLine),
    /// The line has a rule for a name, which nobody sees.
    Unseen(usize),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unusable::Unreadable(error) => write!(f, "{error}"),
            Unusable::Bad(bad) => write!(f, "{bad}"),
            Unusable::Unseen(line) => write!(
                f,
                "line {line}: no name is seen behind --client-tls passthrough"
            ),
        }
    }
}

/// What came of reading the file again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reread {
    Same,
    Changed,
}

fn locked(throttle: &Mutex<Throttle>) -> MutexGuard<'_, Throttle> {
    // Nothing that holds the lock can leave it half changed.
    throttle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &PathBuf, sight: Sight) -> Result<DenyList, Unusable> {
    let text = std::fs::read(path).map_err(Unusable::Unreadable)?;
    let list = DenyList::parse(&text).map_err(Unusable::Bad)?;
    let unseen = |(subject, rule): (&Subject, &ListRule)| match (sight, subject) {
        (Sight::Address, Subject::User(_) | Subject::Database(_)) => Some(rule.line()),
        (Sight::Address, Subject::Network(_)) | (Sight::Everything, _) => None,
    };
    match list.rules().filter_map(unseen).min() {
        Some(line) => Err(Unusable::Unseen(line)),
        None => Ok(list),
    }
}

impl Door {
    pub(crate) fn new(
        guard: Guard,
        deny_file: Option<PathBuf>,
        sight: Sight,
    ) -> Result<Door, Unusable> {
        let throttle = match guard {
            Guard::Off => None,
            Guard::On => Some(Mutex::new(Throttle::new(ThrottleLimits::default()))),
        };
        let denied = match deny_file {
            None => None,
            Some(path) => Some(DenyFile {
                list: Mutex::new(Arc::new(read(&path, sight)?)),
                path,
                sight,
            }),
        };
        Ok(Door { throttle, denied })
    }

    /// Whether there is anything to ask.
    fn is_guarded(&self) -> bool {
        self.throttle.is_some() || self.denied.is_some()
    }

    /// Whether there is a file that may change.
    pub(crate) fn has_list(&self) -> bool {
        self.denied.is_some()
    }

    /// Reads the file again. One that cannot be used leaves what was read before.
    pub(crate) fn reread(&self) -> Result<Reread, Unusable> {
        let Some(file) = &self.denied else {
            return Ok(Reread::Same);
        };
        let fresh = read(&file.path, file.sight)?;
        let mut list = file.list.lock().unwrap_or_else(PoisonError::into_inner);
        if **list == fresh {
            return Ok(Reread::Same);
        }
        *list = Arc::new(fresh);
        Ok(Reread::Changed)
    }

    /// A client from there begins to log in as this user, if it may by now.
    pub(crate) fn begin(
        &self,
        address: IpAddr,
        user: &[u8],
        now: Instant,
    ) -> Result<Option<Attempt>, Throttled> {
        match &self.throttle {
            Some(throttle) => locked(throttle).begin(address, user, now).map(Some),
            None => Ok(None),
        }
    }

    /// What came of a login; whether the client may learn it.
    pub(crate) fn settle(
        &self,
        attempt: Option<Attempt>,
        outcome: Outcome,
        now: Instant,
    ) -> Result<(), Throttled> {
        match (&self.throttle, attempt) {
            (Some(throttle), Some(attempt)) => locked(throttle).settle(attempt, outcome, now),
            (_, _) => Ok(()),
        }
    }

    /// The rule by which this session is denied now.
    pub(crate) fn denies(
        &self,
        whence: &Whence,
        startup: Option<&StartupParams>,
    ) -> Option<ListRule> {
        let file = self.denied.as_ref()?;
        let list = Arc::clone(&file.list.lock().unwrap_or_else(PoisonError::into_inner));
        let user = startup.map(StartupParams::user);
        let database = startup.map(StartupParams::database);
        let rule = list.find(Some(whence.address), user, database, SystemTime::now())?;
        Some(rule.clone())
    }
}

/// What a client is told that is denied; the reason is the operator's.
pub(crate) fn denial() -> Denial {
    Denial::new("the proxy does not serve this client")
}

/// The door as one client meets it.
struct Visitor {
    proxy: Arc<Proxy>,
    number: u64,
    whence: Whence,
    attempt: Option<Attempt>,
    /// What it may not run.
    deny: Option<Deny>,
}

/// The policy of a session, if it needs one.
pub(crate) fn policy(proxy: &Arc<Proxy>, number: u64, whence: Whence) -> Option<Box<dyn Policy>> {
    (proxy.door.is_guarded() || proxy.deny.is_some()).then(|| {
        let visitor: Box<dyn Policy> = Box::new(Visitor {
            proxy: Arc::clone(proxy),
            number,
            whence,
            attempt: None,
            deny: proxy.deny.clone(),
        });
        visitor
    })
}

impl Visitor {
    fn throttled(&self, throttled: Throttled) -> Verdict {
        let (number, whence) = (self.number, &self.whence);
        let line = format!("session {number} from {whence} held back: {throttled}");
        self.proxy.log.line(&line);
        let denial = Denial::new(throttled.to_string());
        Verdict::Deny(
            denial
                .with_sqlstate(Throttled::SQLSTATE)
                .with_hint(Throttled::HINT),
        )
    }
}

impl Policy for Visitor {
    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        match &mut self.deny {
            Some(deny) => deny.statement(facts),
            None => Verdict::Allow,
        }
    }

    fn connection(&mut self, connection: &ConnectionFacts<'_>) -> Verdict {
        let (number, whence) = (self.number, &self.whence);
        if let Some(rule) = self.proxy.door.denies(whence, connection.startup) {
            let line = format!("session {number} from {whence} denied by {rule}");
            self.proxy.log.line(&line);
            return Verdict::Deny(denial());
        }
        let unread = connection.kind != ConnectionKind::Requests;
        if unread && self.deny.is_some() {
            let line =
                format!("session {number} from {whence} denied: nobody would read what it runs");
            self.proxy.log.line(&line);
            let why = "the proxy serves only connections whose statements it can read";
            let detail = "The proxy was started with --deny-statement.";
            return Verdict::Deny(Denial::new(why).with_detail(detail));
        }
        let Some(user) = connection.user() else {
            return Verdict::Allow;
        };
        match self.proxy.door.begin(whence.address, user, connection.now) {
            Ok(attempt) => {
                self.attempt = attempt;
                Verdict::Allow
            }
            Err(throttled) => self.throttled(throttled),
        }
    }

    fn login(&mut self, login: &LoginFacts<'_>) -> Verdict {
        let outcome = match login.outcome {
            LoginOutcome::Accepted => Outcome::Accepted,
            LoginOutcome::Refused(Some(state)) => Outcome::of_refusal(state),
            LoginOutcome::Refused(None) => Outcome::Other,
        };
        let attempt = self.attempt.take();
        match self.proxy.door.settle(attempt, outcome, login.now) {
            Ok(()) => Verdict::Allow,
            Err(throttled) => self.throttled(throttled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_leaves_what_was_read_before() {
        let path = std::env::temp_dir().join(format!("pgturnout-{}-deny", std::process::id()));
        let here = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        std::fs::write(&path, "address 127.0.0.1 : here").unwrap();
        let door = Door::new(Guard::Off, Some(path.clone()), Sight::Everything).unwrap();
        let denied = || door.denies(&here.into(), None).map(|rule| rule.to_string());
        assert_eq!(denied().unwrap(), "line 1: here");
        assert_eq!(door.reread().unwrap(), Reread::Same);
        std::fs::write(&path, "\nadress 127.0.0.1").unwrap();
        let message = door.reread().unwrap_err().to_string();
        assert!(message.starts_with("line 2: "), "{message}");
        assert!(denied().is_some());
        std::fs::write(&path, "address 127.0.0.2").unwrap();
        assert_eq!(door.reread().unwrap(), Reread::Changed);
        assert!(denied().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(door.reread(), Err(Unusable::Unreadable(_))));
        assert!(Door::new(Guard::Off, Some(path), Sight::Everything).is_err());
    }
    /// A rule that could not deny anybody is no rule, neither at the start nor later.
    #[test]
    fn names_are_no_rules_where_they_are_not_seen() {
        let path = std::env::temp_dir().join(format!("pgturnout-{}-unseen", std::process::id()));
        let new = || Door::new(Guard::Off, Some(path.clone()), Sight::Address);
        for rule in ["user mallory", "database app"] {
            std::fs::write(&path, format!("address 127.0.0.1\n{rule}")).unwrap();
            let why = new().err().unwrap().to_string();
            assert_eq!(
                why,
                "line 2: no name is seen behind --client-tls passthrough"
            );
        }
        std::fs::write(&path, "address 127.0.0.1").unwrap();
        let door = new().unwrap();
        std::fs::write(&path, "user mallory").unwrap();
        assert!(matches!(door.reread(), Err(Unusable::Unseen(1))));
        let here = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        assert!(door.denies(&here.into(), None).is_some());
        std::fs::remove_file(&path).unwrap();
    }
}
