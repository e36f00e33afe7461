//! Who is let in beside the question of passwords: the throttle of failed logins, and the files of who is denied and
//! who is allowed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use pgturnout::access::{
    AllowList, Attempt, BadAllowLine, BadDenyLine, DenyList, ListRule, Outcome, Scope, Subject,
    Throttle, ThrottleLimits, Throttled,
};
use pgturnout::session::{
    ConnectionFacts, ConnectionKind, Denial, LoginFacts, LoginOutcome, Policy, StatementFacts,
    Verdict,
};
use pgturnout::startup::{ClientTls, StartupParams};

use crate::Proxy;
use crate::cli::{Origin, UsageError};
use crate::deny::Deny;
use crate::introduce::Whence;
use crate::options::Options;

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
    denied: Option<ListFile<DenyList>>,
    allowed: Option<ListFile<AllowList>>,
}

/// A file and what was in it last.
struct ListFile<L> {
    path: PathBuf,
    sight: Sight,
    list: Mutex<Arc<L>>,
}

/// What such a file holds.
trait List: PartialEq + Sized {
    fn parse(text: &[u8]) -> Result<Self, Unusable>;

    /// The first line with a rule for a name.
    fn first_name(&self) -> Option<usize>;
}

impl List for DenyList {
    fn parse(text: &[u8]) -> Result<DenyList, Unusable> {
        DenyList::parse(text).map_err(Unusable::Deny)
    }

    fn first_name(&self) -> Option<usize> {
        let named = |(subject, rule): (&Subject, &ListRule)| match subject {
            Subject::User(_) | Subject::Database(_) => Some(rule.line()),
            Subject::Network(_) => None,
        };
        self.rules().filter_map(named).min()
    }
}

impl List for AllowList {
    fn parse(text: &[u8]) -> Result<AllowList, Unusable> {
        AllowList::parse(text).map_err(Unusable::Allow)
    }

    fn first_name(&self) -> Option<usize> {
        let named = |(_, whom, rule): (_, &Scope, &ListRule)| match whom {
            Scope::User(_) | Scope::Database(_) => Some(rule.line()),
            Scope::Everybody => None,
        };
        self.rules().filter_map(named).min()
    }
}

impl<L: List> ListFile<L> {
    fn new(path: PathBuf, sight: Sight) -> Result<ListFile<L>, Unusable> {
        Ok(ListFile {
            list: Mutex::new(Arc::new(read(&path, sight)?)),
            path,
            sight,
        })
    }

    fn list(&self) -> Arc<L> {
        Arc::clone(&self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again. One that cannot be used leaves what was read before.
    fn reread(&self) -> Result<Reread, Unusable> {
        let fresh = read(&self.path, self.sight)?;
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if **list == fresh {
            return Ok(Reread::Same);
        }
        *list = Arc::new(fresh);
        Ok(Reread::Changed)
    }
}

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Unreadable(std::io::Error),
    Deny(BadDenyLine),
    Allow(BadAllowLine),
    /// The line has a rule for a name, which nobody sees.
    Unseen(usize),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unusable::Unreadable(error) => write!(f, "{error}"),
            Unusable::Deny(bad) => write!(f, "{bad}"),
            Unusable::Allow(bad) => write!(f, "{bad}"),
            Unusable::Unseen(line) => write!(
                f,
                "line {line}: no name is seen behind --client-tls passthrough"
            ),
        }
    }
}

/// Why somebody is not served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// A rule of the deny file.
    Rule(ListRule),
    /// No rule of the allow file.
    NoRule,
}

impl std::fmt::Display for Objection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Objection::Rule(rule) => write!(f, "{rule}"),
            Objection::NoRule => f.write_str("the allow file, which has no rule for it"),
        }
    }
}

/// What came of reading a file again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reread {
    Same,
    Changed,
    /// The same, and who was allowed when it was read may not be by now.
    Later,
}

fn locked(throttle: &Mutex<Throttle>) -> MutexGuard<'_, Throttle> {
    // Nothing that holds the lock can leave it half changed.
    throttle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<L: List>(path: &PathBuf, sight: Sight) -> Result<L, Unusable> {
    let list = L::parse(&std::fs::read(path).map_err(Unusable::Unreadable)?)?;
    match (sight, list.first_name()) {
        (Sight::Address, Some(line)) => Err(Unusable::Unseen(line)),
        (Sight::Address, None) | (Sight::Everything, _) => Ok(list),
    }
}

impl Door {
    /// Fails with the name of the option whose file cannot be used, and why.
    pub(crate) fn new(options: &Options) -> Result<Door, UsageError> {
        let sight = match options.client_tls {
            ClientTls::Passthrough => Sight::Address,
            ClientTls::Disable | ClientTls::Allow | ClientTls::Require => Sight::Everything,
        };
        let throttle = match options.throttle {
            Guard::Off => None,
            Guard::On => Some(Mutex::new(Throttle::new(ThrottleLimits::default()))),
        };
        Ok(Door {
            throttle,
            denied: opened("deny-file", options.deny_file.as_ref(), sight)?,
            allowed: opened("allow-file", options.allow_file.as_ref(), sight)?,
        })
    }

    /// Whether there is anything to ask.
    fn is_guarded(&self) -> bool {
        self.throttle.is_some() || self.has_list()
    }

    /// Whether there is a file of whom to serve.
    fn has_list(&self) -> bool {
        self.denied.is_some() || self.allowed.is_some()
    }

    /// Reads the files again, and says what each of them is called and what came of it.
    pub(crate) fn reread(&self) -> Vec<(&'static str, Result<Reread, Unusable>)> {
        let denied = self.denied.as_ref().map(ListFile::reread);
        let allowed = self.allowed.as_ref().map(|file| match file.reread()? {
            // A rule that has run out allows nobody any more.
            Reread::Same => Ok(Reread::Later),
            changed => Ok(changed),
        });
        let named = |name| move |outcome| (name, outcome);
        let denied = denied.map(named("deny file"));
        denied
            .into_iter()
            .chain(allowed.map(named("allow file")))
            .collect()
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

    /// Why this session is denied now, or a cancel request, which has no startup message.
    pub(crate) fn denies(
        &self,
        whence: &Whence,
        startup: Option<&StartupParams>,
    ) -> Option<Objection> {
        let user = startup.map(StartupParams::user);
        let database = startup.map(StartupParams::database);
        let (address, now) = (Some(whence.address), SystemTime::now());
        if let Some(file) = &self.denied {
            if let Some(rule) = file.list().find(address, user, database, now) {
                return Some(Objection::Rule(rule.clone()));
            }
        }
        let list = self.allowed.as_ref()?.list();
        let through = whence.through.as_ref();
        let allowed = match startup {
            Some(_) => list.find(address, through, user, database, now).is_some(),
            // Of one who has not said who it is, where it comes from has to do.
            None => list.is_known(address, through, now),
        };
        (!allowed).then_some(Objection::NoRule)
    }
}

fn opened<L: List>(
    option: &'static str,
    path: Option<&PathBuf>,
    sight: Sight,
) -> Result<Option<ListFile<L>>, UsageError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let file = ListFile::new(path.clone(), sight).map_err(|why| {
        let message = format!("{}: {why}", path.display());
        UsageError::new(Origin::CommandLine, option, message)
    })?;
    Ok(Some(file))
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
    use pgturnout::startup::{EndpointId, ProtocolVersion};

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pgturnout-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn door(denied: Option<ListFile<DenyList>>, allowed: Option<ListFile<AllowList>>) -> Door {
        Door {
            throttle: None,
            denied,
            allowed,
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_file_that_cannot_be_used_leaves_what_was_read_before() {
        let path = file("deny", "address 127.0.0.1 : here");
        let new = || ListFile::<DenyList>::new(path.clone(), Sight::Everything);
        let door = door(Some(new().unwrap()), None);
        let denied = || door.denies(&HERE.into(), None).map(|rule| rule.to_string());
        let reread = || {
            let mut all = door.reread();
            assert_eq!((all.len(), all[0].0), (1, "deny file"));
            all.remove(0).1
        };
        assert_eq!(denied().unwrap(), "line 1: here");
        assert_eq!(reread().unwrap(), Reread::Same);
        std::fs::write(&path, "\nadress 127.0.0.1").unwrap();
        let message = reread().unwrap_err().to_string();
        assert!(message.starts_with("line 2: "), "{message}");
        assert!(denied().is_some());
        std::fs::write(&path, "address 127.0.0.2").unwrap();
        assert_eq!(reread().unwrap(), Reread::Changed);
        assert!(denied().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(reread(), Err(Unusable::Unreadable(_))));
        assert!(new().is_err());
    }

    /// A rule that could not hold for anybody is no rule, neither at the start nor later.
    #[test]
    fn names_are_no_rules_where_they_are_not_seen() {
        let path = file("unseen", "");
        let new = || ListFile::<DenyList>::new(path.clone(), Sight::Address);
        for rule in ["user mallory", "database app"] {
            std::fs::write(&path, format!("address 127.0.0.1\n{rule}")).unwrap();
            let why = new().err().unwrap().to_string();
            assert_eq!(
                why,
                "line 2: no name is seen behind --client-tls passthrough"
            );
            let allowed = format!("address 127.0.0.1\naddress 127.0.0.1 {rule}");
            std::fs::write(&path, allowed).unwrap();
            let allowed = ListFile::<AllowList>::new(path.clone(), Sight::Address);
            assert!(matches!(allowed, Err(Unusable::Unseen(2))));
        }
        std::fs::write(&path, "address 127.0.0.1").unwrap();
        let door = door(Some(new().unwrap()), None);
        std::fs::write(&path, "user mallory").unwrap();
        assert!(matches!(door.reread()[..], [(_, Err(Unusable::Unseen(1)))]));
        assert!(door.denies(&HERE.into(), None).is_some());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn who_is_allowed_has_a_rule_and_is_not_denied() {
        let path = file(
            "allow",
            "address 127.0.0.1 user alice\nendpoint aws:vpce-1 database app",
        );
        let allowed = ListFile::new(path.clone(), Sight::Everything).unwrap();
        std::fs::write(&path, "user mallory").unwrap();
        let denied = ListFile::new(path.clone(), Sight::Everything).unwrap();
        let door = door(Some(denied), Some(allowed));
        let asks = |user: &str| {
            let pairs = [(&b"user"[..], user.as_bytes()), (b"database", b"app")];
            StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap()
        };
        let through = |id: &str| Whence {
            address: HERE,
            through: EndpointId::parse(id.as_bytes()),
        };
        let objects = |whence: &Whence, user: &str| {
            let objection = door.denies(whence, Some(&asks(user)));
            objection.map(|why| why.to_string())
        };
        let no_rule = "the allow file, which has no rule for it";
        assert_eq!(objects(&HERE.into(), "alice"), None);
        assert_eq!(objects(&HERE.into(), "bob").as_deref(), Some(no_rule));
        assert_eq!(objects(&through("aws:vpce-1"), "bob"), None);
        let denied = objects(&through("aws:vpce-1"), "mallory");
        assert_eq!(denied.as_deref(), Some("line 1"));
        let elsewhere = objects(&through("aws:vpce-2"), "alice");
        assert_eq!(elsewhere.as_deref(), Some(no_rule));
        // A cancel request says no name: where it comes from has to do.
        assert_eq!(door.denies(&HERE.into(), None), None);
        let unknown = door.denies(&through("aws:vpce-2"), None);
        assert_eq!(unknown, Some(Objection::NoRule));
        std::fs::remove_file(&path).unwrap();
    }

    /// Rules run out while nobody changes the file, and sessions are looked at again for that.
    #[test]
    fn an_allow_file_is_looked_at_again_though_it_is_the_same() {
        let path = file("same", "address ::/0 until 2999-01-01");
        let allowed = ListFile::new(path.clone(), Sight::Everything).unwrap();
        let door = door(None, Some(allowed));
        let same = door.reread();
        assert!(matches!(same[..], [("allow file", Ok(Reread::Later))]));
        std::fs::remove_file(&path).unwrap();
    }
}
