use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::SystemTime;

use super::deny_file::{BadDenyLine, DenyFault};
use crate::limits;
use crate::wire::Printable;

/// Addresses, users and databases that get no session, each until a time or for good, with a reason.
///
/// It can be asked at any time, of a client that connects and of one that has been there for hours. Names are compared byte
/// for byte with what the client says of itself, 63 bytes of them, as servers know them. [`DenyList::parse`] reads a file:
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use pgturnout::access::DenyList;
///
/// let list = DenyList::parse(b"
/// ## what is denied   until                      why
/// address 192.0.2.0/24                           : port scans
/// user mallory        until 2027-01-31           : left the company
/// database \"old app\"  until 2027-01-31T06:30:00Z
/// ")?;
/// let (here, there) = ("198.51.100.1".parse().ok(), "192.0.2.77".parse().ok());
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
/// assert!(list.find(here, Some(b"alice"), Some(b"app"), now).is_none());
/// assert_eq!(list.find(there, None, None, now).unwrap().reason(), b"port scans");
/// let mallory = list.find(here, Some(b"mallory"), Some(b"app"), now).unwrap();
/// assert_eq!((mallory.line(), mallory.reason()), (4, &b"left the company"[..]));
/// assert_eq!(DenyList::parse(b"user a\nadress ::1").unwrap_err().line, 2);
/// # Ok::<(), pgturnout::access::BadDenyLine>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DenyList {
    rules: BTreeMap<Subject, ListRule>,
    /// The lengths of prefixes that networks have.
    prefixes: BTreeSet<u8>,
}

/// Who or what is denied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Clients from a network.
    Network(Network),
    /// Clients that say they are this user.
    User(Box<[u8]>),
    /// Clients that ask for this database.
    Database(Box<[u8]>),
}

/// So much of a name as a server knows users and databases by: it opens the one for a longer name.
pub(super) fn known(name: &[u8]) -> &[u8] {
    name.get(..limits::USER_NAME_LEN).unwrap_or(name)
}

impl Subject {
    fn into_known(self) -> Subject {
        match self {
            Subject::Network(network) => Subject::Network(network),
            Subject::User(name) => Subject::User(known(&name).into()),
            Subject::Database(name) => Subject::Database(known(&name).into()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Network(network) => write!(f, "address {network}"),
            Subject::User(name) => write!(f, "user {}", Printable(name)),
            Subject::Database(name) => write!(f, "database {}", Printable(name)),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({self})")
    }
}

/// The addresses that share a prefix. Those of IPv4 are the network `::ffff:0:0/96` of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    prefix: u8,
    bits: u128,
}

impl Network {
    /// The network of the addresses whose first `prefix` bits are those of `address`; `None` when an address has fewer.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        let prefix = match address {
            IpAddr::V4(_) => prefix.checked_add(96)?,
            IpAddr::V6(_) => prefix,
        };
        (prefix <= 128).then(|| Network {
            prefix,
            bits: number(address) & mask(prefix),
        })
    }

    /// The network of one address.
    #[must_use]
    pub fn of(address: IpAddr) -> Network {
        Network {
            prefix: 128,
            bits: number(address),
        }
    }

    /// The one around an address whose prefix, among those of IPv6, has this length.
    pub(super) fn around(address: IpAddr, prefix: u8) -> Network {
        Network {
            prefix,
            bits: number(address) & mask(prefix),
        }
    }

    /// The length of its prefix, among those of IPv6.
    pub(super) fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether this is the first address of it.
    pub(super) fn is_base(&self, address: IpAddr) -> bool {
        number(address) == self.bits
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        number(address) & mask(self.prefix) == self.bits
    }
}

/// Reads an address, or a network as `192.0.2.0/24` or `2001:db8::/32`.
impl FromStr for Network {
    type Err = DenyFault;

    /// # Errors
    ///
    /// [`DenyFault::Network`], or [`DenyFault::HostBits`] for an address with bits behind the prefix.
    fn from_str(text: &str) -> Result<Network, DenyFault> {
        super::deny_file::network(text.as_bytes())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.bits);
        match (address.to_ipv4_mapped(), self.prefix.checked_sub(96)) {
            (Some(address), Some(prefix)) => write!(f, "{address}/{prefix}"),
            (_, _) => write!(f, "{address}/{}", self.prefix),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

fn number(address: IpAddr) -> u128 {
    u128::from(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    })
}

fn mask(prefix: u8) -> u128 {
    let rest = 128u32.saturating_sub(u32::from(prefix));
    u128::MAX.checked_shl(rest).unwrap_or(0)
}

/// One rule of a [`DenyList`] or an [`AllowList`](super::AllowList): since which line, until when, and why.
#[derive(Clone, PartialEq, Eq)]
pub struct ListRule {
    pub(super) line: usize,
    pub(super) until: Option<SystemTime>,
    pub(super) reason: Box<[u8]>,
}

impl ListRule {
    /// A rule that holds for good. `line` is where it was written, for a log.
    #[must_use]
    pub fn new(line: usize, reason: &[u8]) -> ListRule {
        ListRule {
            line,
            until: None,
            reason: reason.into(),
        }
    }

    /// The same until a time.
    #[must_use]
    pub fn until(self, until: SystemTime) -> ListRule {
        ListRule {
            until: Some(until),
            ..self
        }
    }

    /// The line that it was written in, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// From when on it holds no more.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.until
    }

    /// Why, for a log; empty when no reason was given.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    pub(super) fn holds(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl fmt::Display for ListRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        match &*self.reason {
            [] => Ok(()),
            reason => write!(f, ": {}", Printable(reason)),
        }
    }
}

impl fmt::Debug for ListRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListRule({self})")
    }
}

impl DenyList {
    /// Reads a file. A line is empty, a comment (`#`), or a rule: `address`, `user` or `database`; a network or a name, in
    /// double quotes if it is empty or has blanks or quotes, which are doubled; perhaps `until` and a UTC date or time
    /// (`2027-01-31`, `2027-01-31T06:30:00Z`); perhaps `:` between blanks, and the reason.
    ///
    /// # Errors
    ///
    /// The first line that says nothing usable.
    pub fn parse(text: &[u8]) -> Result<DenyList, BadDenyLine> {
        super::deny_file::parse(text)
    }

    /// Adds a rule.
    ///
    /// # Errors
    ///
    /// [`DenyFault::Repeated`] when there is one for the same, [`DenyFault::TooMany`] when there are
    /// [`limits::DENY_RULES_MAX`].
    pub fn insert(&mut self, subject: Subject, rule: ListRule) -> Result<(), DenyFault> {
        let subject = subject.into_known();
        if self.rules.contains_key(&subject) {
            return Err(DenyFault::Repeated);
        }
        if self.rules.len() >= limits::DENY_RULES_MAX {
            return Err(DenyFault::TooMany);
        }
        if let Subject::Network(network) = &subject {
            self.prefixes.insert(network.prefix);
        }
        self.rules.insert(subject, rule);
        Ok(())
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether nothing is denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, with whom they deny.
    pub fn rules(&self) -> impl Iterator<Item = (&Subject, &ListRule)> {
        self.rules.iter()
    }

    /// The rule that denies a session with this address, user and database now, if there is one. What is not known is
    /// not looked for.
    #[must_use]
    pub fn find(
        &self,
        address: Option<IpAddr>,
        user: Option<&[u8]>,
        database: Option<&[u8]>,
        now: SystemTime,
    ) -> Option<&ListRule> {
        let networks = address.into_iter().flat_map(|address| {
            let longest_first = self.prefixes.iter().rev();
            longest_first.map(move |prefix| {
                Subject::Network(Network {
                    prefix: *prefix,
                    bits: number(address) & mask(*prefix),
                })
            })
        });
        let user = user.map(|name| Subject::User(known(name).into()));
        let database = database.map(|name| Subject::Database(known(name).into()));
        networks
            .chain(user)
            .chain(database)
            .filter_map(|subject| self.rules.get(&subject))
            .find(|rule| rule.holds(now))
    }
}

/// Shows how many rules there are.
impl fmt::Debug for DenyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DenyList({})", self.rules.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const THEN: SystemTime = SystemTime::UNIX_EPOCH;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn denies(list: &DenyList, from: &str, user: &[u8], database: &[u8]) -> Option<usize> {
        let found = list.find(Some(address(from)), Some(user), Some(database), THEN);
        found.map(ListRule::line)
    }

    #[test]
    fn networks() {
        for (network, prefix, holds, does_not) in [
            ("192.0.2.77", 24, "192.0.2.255", "192.0.3.0"),
            ("192.0.2.77", 32, "192.0.2.77", "192.0.2.76"),
            ("192.0.2.77", 0, "255.0.0.1", "2001:db8::1"),
            ("192.0.2.77", 31, "::ffff:192.0.2.76", "192.0.2.78"),
            ("2001:db8::1", 32, "2001:db8:ffff::", "2001:db9::"),
            ("2001:db8::1", 128, "2001:db8::1", "2001:db8::"),
            ("::ffff:192.0.2.0", 120, "192.0.2.9", "192.0.3.9"),
        ] {
            let network = Network::new(address(network), prefix).unwrap();
            assert!(network.holds(address(holds)), "{network} {holds}");
            assert!(!network.holds(address(does_not)), "{network} {does_not}");
        }
        let all = Network::new(address("::"), 0).unwrap();
        assert!(all.holds(address("192.0.2.1")) && all.holds(address("::1")));
        assert_eq!(Network::new(address("192.0.2.1"), 33), None);
        assert_eq!(Network::new(address("192.0.2.1"), 255), None);
        assert_eq!(Network::new(address("::1"), 129), None);
        let shown = |text, prefix| Network::new(address(text), prefix).unwrap().to_string();
        assert_eq!(shown("192.0.2.77", 24), "192.0.2.0/24");
        assert_eq!(shown("2001:db8::1", 32), "2001:db8::/32");
        assert_eq!(shown("::1", 8), "::/8");
        let read = |text: &str| text.parse::<Network>();
        assert_eq!(
            read("192.0.2.0/24"),
            Ok(Network::new(address("192.0.2.9"), 24).unwrap())
        );
        assert_eq!(read("::1"), Ok(Network::of(address("::1"))));
        assert_eq!(read("192.0.2.1/24"), Err(DenyFault::HostBits));
        assert_eq!(read("nowhere"), Err(DenyFault::Network));
        let one = Network::of(address("::ffff:192.0.2.7"));
        assert_eq!(one.to_string(), "192.0.2.7/32");
    }

    #[test]
    fn any_rule_suffices_and_names_are_bytes() {
        let text = b"address 192.0.2.0/24\naddress 192.0.2.9\nuser mallory\ndatabase old";
        let list = DenyList::parse(text).unwrap();
        assert_eq!(denies(&list, "192.0.2.1", b"a", b"b"), Some(1));
        assert_eq!(
            denies(&list, "192.0.2.9", b"a", b"b"),
            Some(2),
            "the narrower"
        );
        assert_eq!(denies(&list, "::1", b"mallory", b"old"), Some(3));
        assert_eq!(denies(&list, "::1", b"a", b"old"), Some(4));
        assert_eq!(denies(&list, "::1", b"Mallory", b"mallory"), None);
        assert_eq!(denies(&list, "::1", b"old", b"Old"), None);
        assert!(list.find(None, None, None, THEN).is_none());
        assert_eq!(list.find(None, None, Some(b"old"), THEN).unwrap().line(), 4);
    }

    #[test]
    fn names_are_those_that_servers_know() {
        let name = [b'x'; 65];
        for listed in [63, 64] {
            let mut list = DenyList::default();
            for subject in [Subject::User, Subject::Database] {
                let subject = subject(name[..listed].into());
                list.insert(subject, ListRule::new(1, b"")).unwrap();
            }
            for said in [63, 64, 65] {
                let said = Some(&name[..said]);
                assert!(list.find(None, said, None, THEN).is_some());
                assert!(list.find(None, None, said, THEN).is_some());
            }
            assert!(list.find(None, Some(&name[..62]), None, THEN).is_none());
        }
    }

    #[test]
    fn a_rule_holds_until_its_time() {
        let mut list = DenyList::default();
        let until = THEN + Duration::from_secs(10);
        let narrow = Network::of(address("192.0.2.7"));
        let wide = Network::new(address("192.0.2.7"), 8).unwrap();
        let rule = ListRule::new(7, b"why").until(until);
        list.insert(Subject::Network(narrow), rule).unwrap();
        list.insert(Subject::Network(wide), ListRule::new(8, b""))
            .unwrap();
        let at = |now| {
            list.find(Some(address("192.0.2.7")), None, None, now)
                .unwrap()
        };
        assert_eq!(at(until - Duration::from_nanos(1)).line(), 7);
        assert_eq!(at(until).line(), 8, "another holds on");
        assert_eq!(at(THEN).expires(), Some(until));
        assert_eq!(at(THEN).to_string(), "line 7: why");
        assert_eq!(at(until).to_string(), "line 8");
    }

    #[test]
    fn so_many_rules_and_no_more() {
        let mut list = DenyList::default();
        let user = |number: usize| Subject::User(number.to_string().as_bytes().into());
        for number in 0..limits::DENY_RULES_MAX {
            list.insert(user(number), ListRule::new(1, b"")).unwrap();
        }
        let again = list.insert(user(0), ListRule::new(1, b""));
        assert_eq!(again, Err(DenyFault::Repeated));
        let more = list.insert(user(limits::DENY_RULES_MAX), ListRule::new(1, b""));
        assert_eq!(more, Err(DenyFault::TooMany));
        assert_eq!(list.len(), limits::DENY_RULES_MAX);
    }
}
