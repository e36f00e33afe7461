use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use super::allow_file::{AllowFault, BadAllowLine};
use super::deny::{ListRule, Network, known};
use crate::limits;
use crate::startup::EndpointId;
use crate::wire::Printable;

/// Networks and private endpoints that clients may come from, each until a time or for good: whoever comes from elsewhere
/// gets no session.
///
/// A client that came through a private endpoint ([`ProxyHeader::endpoint`](crate::startup::ProxyHeader::endpoint)) is
/// looked for among the endpoints, and any other one among the networks, since the address behind an endpoint is one of
/// somebody else's network. A rule may be for one user or for one database. An empty list allows nobody.
///
/// It can be asked at any time, of a client that connects and of one that has been there for hours.
/// [`AllowList::parse`] reads a file:
///
/// ```
/// use std::time::SystemTime;
/// use pgturnout::access::AllowList;
/// use pgturnout::startup::EndpointId;
///
/// let list = AllowList::parse(b"
/// ## from where                 for                until        why
/// address  192.0.2.0/24                                         : the office
/// address  0.0.0.0/0            database public
/// endpoint aws:vpce-0a1b2c3d    user reports       until 2027-01-31
/// ")?;
/// let now = SystemTime::UNIX_EPOCH;
/// let (office, home) = ("192.0.2.7".parse().ok(), "198.51.100.7".parse().ok());
/// let vpce = EndpointId::parse(b"aws:vpce-0a1b2c3d");
/// let finds = |address, endpoint, user, database| {
///     list.find(address, endpoint, Some(user), Some(database), now).map(|rule| rule.line())
/// };
/// assert_eq!(finds(office, None, b"alice", b"app"), Some(3));
/// assert_eq!(finds(home, None, b"alice", b"app"), None);
/// assert_eq!(finds(home, None, b"alice", b"public"), Some(4));
/// assert_eq!(finds(home, vpce.as_ref(), b"reports", b"app"), Some(5));
/// assert_eq!(finds(office, vpce.as_ref(), b"alice", b"app"), None, "not by its address");
/// # Ok::<(), pgturnout::access::BadAllowLine>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    rules: BTreeMap<(Source, Scope), ListRule>,
    /// The lengths of prefixes that networks have.
    prefixes: BTreeSet<u8>,
}

/// Where clients may come from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// A network, and no private endpoint.
    Network(Network),
    /// A private endpoint, from whatever address.
    Endpoint(EndpointId),
}

/// For whom a rule of an [`AllowList`] holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Whoever comes from there.
    Everybody,
    /// Clients that say they are this user.
    User(Box<[u8]>),
    /// Clients that ask for this database.
    Database(Box<[u8]>),
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Everybody => f.write_str("Everybody"),
            Scope::User(name) => write!(f, "User({})", Printable(name)),
            Scope::Database(name) => write!(f, "Database({})", Printable(name)),
        }
    }
}

impl AllowList {
    /// Reads a file. A line is empty, a comment (`#`), or a rule: `address` and a network, or `endpoint` and `aws:ID`,
    /// `azure:NUMBER` or `gcp:NUMBER`; perhaps `user` or `database` and a name, in double quotes if it is empty or has blanks or
    /// quotes, which are doubled; perhaps `until` and a UTC date or time; perhaps `:` between blanks, and the reason.
    ///
    /// # Errors
    ///
    /// The first line that says nothing usable.
    pub fn parse(text: &[u8]) -> Result<AllowList, BadAllowLine> {
        super::allow_file::parse(text)
    }

    /// Adds a rule.
    ///
    /// # Errors
    ///
    /// [`AllowFault::Repeated`] when there is one for the same, [`AllowFault::TooMany`] when there are
    /// [`limits::ALLOW_RULES_MAX`].
    pub fn insert(&mut self, from: Source, whom: Scope, rule: ListRule) -> Result<(), AllowFault> {
        let whom = match whom {
            Scope::Everybody => Scope::Everybody,
            Scope::User(name) => Scope::User(known(&name).into()),
            Scope::Database(name) => Scope::Database(known(&name).into()),
        };
        let key = (from, whom);
        if self.rules.contains_key(&key) {
            return Err(AllowFault::Repeated);
        }
        if self.rules.len() >= limits::ALLOW_RULES_MAX {
            return Err(AllowFault::TooMany);
        }
        if let Source::Network(network) = &key.0 {
            self.prefixes.insert(network.prefix());
        }
        self.rules.insert(key, rule);
        Ok(())
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether nobody is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, with whence and for whom they are.
    pub fn rules(&self) -> impl Iterator<Item = (&Source, &Scope, &ListRule)> {
        self.rules
            .iter()
            .map(|((from, whom), rule)| (from, whom, rule))
    }

    /// The rule that allows a session with this address, endpoint, user and database now, if there is one: that of the
    /// narrowest network first, and one for everybody before one for the user or the database. What is not known is not
    /// looked for.
    #[must_use]
    pub fn find(
        &self,
        address: Option<IpAddr>,
        endpoint: Option<&EndpointId>,
        user: Option<&[u8]>,
        database: Option<&[u8]>,
        now: SystemTime,
    ) -> Option<&ListRule> {
        let user = user.map(|name| Scope::User(known(name).into()));
        let database = database.map(|name| Scope::Database(known(name).into()));
        let whom: Vec<Scope> = std::iter::once(Scope::Everybody)
            .chain(user)
            .chain(database)
            .collect();
        let find = |from: Source| {
            let mut all = whom.iter();
            all.find_map(|whom| {
                let rule = self.rules.get(&(from.clone(), whom.clone()))?;
                rule.holds(now).then_some(rule)
            })
        };
        self.places(address, endpoint).into_iter().find_map(find)
    }

    /// Whether anybody may come from there now: of one who does not say who it is, as whoever sends a CancelRequest.
    #[must_use]
    pub fn is_known(
        &self,
        address: Option<IpAddr>,
        endpoint: Option<&EndpointId>,
        now: SystemTime,
    ) -> bool {
        let places = self.places(address, endpoint);
        let mut all = self.rules.iter();
        all.any(|((from, _), rule)| places.contains(from) && rule.holds(now))
    }

    /// What rules may say of where somebody comes from, the narrowest first.
    fn places(&self, address: Option<IpAddr>, endpoint: Option<&EndpointId>) -> Vec<Source> {
        match (endpoint, address) {
            (Some(endpoint), _) => vec![Source::Endpoint(endpoint.clone())],
            (None, None) => Vec::new(),
            (None, Some(address)) => {
                let longest_first = self.prefixes.iter().rev();
                let network = |prefix: &u8| Source::Network(Network::around(address, *prefix));
                longest_first.map(network).collect()
            }
        }
    }
}

/// Shows how many rules there are.
impl fmt::Debug for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowList({})", self.rules.len())
    }
}
