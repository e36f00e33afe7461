//! What a scenario is played on: the session's configuration and the habits of its peers.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "scram")]
use pgturnout::auth::Secret;
use pgturnout::auth::{AdmitPolicy, Channel, Credential, FoundUser, Methods, UpstreamUser};
#[cfg(feature = "scram")]
use pgturnout::cancel::CancelRing;
use pgturnout::migrate::Dialect;
use pgturnout::session::{
    ClientAuth, Config, Destination, Gate, Metadata, Optimistic, ReadOnlyTransactions,
    ReadYourWrites, ReaderFailure, ReaderOpen, RelayedPassword, RequestEvents, Role, Split,
    Upstream, UserSource, WriterFailure,
};
use pgturnout::startup::{ClientTls, ProtocolVersion, TlsNegotiation, UpstreamTlsPolicy};

use super::choices::Choices;
use super::fittings::{Fittings, Kept, ROOM};
use super::needles;
use super::server::{Lag, Login, Node, PASSWORD, ServerOptions, TlsAnswer};
use super::verdict::Shown;

/// The hash of the servers' certificate.
pub(crate) const END_POINT: &[u8] = b"the hash of some certificate ...";

/// The user of every session.
pub(crate) const USER: &str = "alice";

/// Whom servers know it as, where that is somebody else.
pub(crate) const RENAMED: &str = "u_md5";

/// Options of which a packet is longer than it has to be.
const LONG: &str = concat!(
    "-c statement_timeout=7000                                                                  ",
    "                                                                                          ",
    "                                                                                          ",
    "-c datestyle=German"
);

/// The database of whoever has tenants.
pub(crate) const TENANT: &[u8] = b"tenant";

/// For how long reads follow a write to the writer, where it is for a time.
pub(crate) const WINDOW: Duration = Duration::from_secs(2);

/// How many reads follow a write to the writer, where it is so many.
pub(crate) const KEPT_READS: u32 = 2;

/// How many bytes of log a reader may be behind, where that is known.
pub(crate) const LAG_ALLOWED: u64 = 1_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setup {
    pub(crate) split: bool,
    pub(crate) gate_is_reader: bool,
    pub(crate) reader_at_login: bool,
    pub(crate) fail_without_reader: bool,
    /// What the proxy offers its client.
    pub(crate) client_tls: Offer,
    /// Whether the client asks for TLS first.
    pub(crate) client_asks_tls: bool,
    /// Whether it begins TLS without asking.
    pub(crate) client_begins_tls: bool,
    /// Whether it leaves where it asked for TLS in vain.
    pub(crate) client_insists: bool,
    pub(crate) upstream_tls: Tls,
    /// Whether handshakes with the servers begin unasked, where they are required.
    pub(crate) upstream_direct: bool,
    pub(crate) servers_have_tls: bool,
    /// Whether they refuse logins without it, to a proxy that tries without first.
    pub(crate) servers_want_tls: bool,
    pub(crate) login: Method,
    /// Whether the proxy checks the client itself.
    pub(crate) terminate: bool,
    /// Whether the proxy has what the servers store of a SCRAM password, and not the password.
    pub(crate) verifier: bool,
    /// Who answers what the servers ask in logins of the proxy's own.
    pub(crate) caller: Caller,
    /// Whether the proxy knows the servers' certificates, to which they let a login be bound.
    pub(crate) bound: bool,
    /// Whether the keys to cancel with name the proxy among others.
    pub(crate) ring: bool,
    /// The minor version of protocol 3 that the client asks for.
    pub(crate) minor: u16,
    /// What the client's StartupMessage says, and its password.
    pub(crate) start: Start,
    /// How many clients there are, each with a session.
    pub(crate) clients: usize,
    /// How many standbys the proxy knows; they are one in the model but for [`Setup::has_standbys_apart`].
    pub(crate) readers: usize,
    /// The servers' texts hold what no log should.
    pub(crate) rude: bool,
    pub(crate) lag: bool,
    /// Tables and queues of the least size.
    pub(crate) tight: bool,
    pub(crate) server_version: u32,
    /// The caller has a policy that denies some of what the client says.
    pub(crate) judged: bool,
    /// It denies what it is not shown, too.
    pub(crate) strict: bool,
    /// Whether reads see what the session wrote.
    pub(crate) fresh: Fresh,
    /// Reads that are not proven to be reads are tried on the reader.
    pub(crate) optimistic: bool,
    /// READ ONLY transactions run on the reader.
    pub(crate) read_transactions: bool,
    /// Nobody opens the client's connection: its bytes are all in the scenario.
    pub(crate) wild: bool,
    /// The session is served by its reader where the writer cannot be had.
    pub(crate) read_only: bool,
    /// Who knows what a client has to prove that the proxy checks.
    pub(crate) finder: Finder,
    /// The servers know the client by another name.
    pub(crate) renamed: bool,
    /// What the caller says to how a login came out.
    pub(crate) logins: Logins,
    /// The proxy takes no longer StartupMessage than it has to.
    pub(crate) short_startup: bool,
    /// Whether there is a server to move to, and which.
    pub(crate) spare: Spare,
    /// Sessions move as CockroachDB's do.
    pub(crate) transfers: bool,
    /// What else a proxy may be set up with.
    pub(crate) fittings: Fittings,
}

/// A server that serves nobody until somebody moves there: the primary under another address, so that everything that
/// was written is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spare {
    /// There is none, and sessions do not move.
    None,
    Like,
    /// Of a newer version than the others, or an older one, where there is such.
    Newer,
    Older,
}

const SPARES: [(Spare, &str); 4] = [
    (Spare::None, "none"),
    (Spare::Like, "like"),
    (Spare::Newer, "newer"),
    (Spare::Older, "older"),
];

impl Spare {
    /// Its version, where the others are of that one.
    pub(crate) fn version(self, of_others: u32) -> Option<u32> {
        match self {
            Spare::None => None,
            Spare::Like => Some(of_others),
            Spare::Newer => Some(18),
            Spare::Older => Some(15),
        }
    }
}

/// What a client that encrypts finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Disable,
    Allow,
    Require,
    /// The server, through the proxy.
    Passthrough,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Disable,
    Allow,
    Require,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Trust,
    Cleartext,
    Md5,
    Scram,
    Gss,
}

/// Who answers for the proxy, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The proxy itself.
    Nobody,
    /// Somebody else, at once.
    Prompt,
    /// When nothing else happens any more.
    Late,
    /// Not before the faults end.
    Silent,
    /// With another password.
    Wrong,
    /// That there is no answer.
    Sorry,
}

const CALLERS: [(Caller, &str); 6] = [
    (Caller::Nobody, "nobody"),
    (Caller::Prompt, "prompt"),
    (Caller::Late, "late"),
    (Caller::Silent, "silent"),
    (Caller::Wrong, "wrong"),
    (Caller::Sorry, "sorry"),
];

/// Who looks users up, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finder {
    /// The proxy, in its list.
    Listed,
    /// The caller, at once.
    Prompt,
    /// When nothing else happens any more.
    Late,
    /// Not before the faults end.
    Silent,
    /// It cannot.
    Sorry,
}

const FINDERS: [(Finder, &str); 5] = [
    (Finder::Listed, "listed"),
    (Finder::Prompt, "prompt"),
    (Finder::Late, "late"),
    (Finder::Silent, "silent"),
    (Finder::Sorry, "sorry"),
];

/// What the caller's policy does about logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logins {
    /// There is none.
    Unasked,
    /// It hears of them.
    Allowed,
    /// It denies each, however it came out.
    Denied,
}

const LOGINS: [(Logins, &str); 3] = [
    (Logins::Unasked, "unasked"),
    (Logins::Allowed, "allowed"),
    (Logins::Denied, "denied"),
];

/// What reads do behind a write of their session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Nothing.
    Off,
    /// They go to the writer for [`WINDOW`].
    For,
    /// The next [`KEPT_READS`] go there.
    Reads,
    /// They go there until the reader has replayed it.
    Replayed,
}

const FRESH: [(Fresh, &str); 4] = [
    (Fresh::Off, "off"),
    (Fresh::For, "for"),
    (Fresh::Reads, "reads"),
    (Fresh::Replayed, "replayed"),
];

/// How a client introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Plain,
    /// With settings in `options`, and one setting named twice.
    Options,
    /// With a protocol option that nobody knows.
    Extension,
    /// As a user who does not exist.
    Nobody,
    /// For a database that does not exist.
    Nowhere,
    WrongPassword,
    /// For a replication session, in which a server takes statements too.
    Replication,
    /// With a packet longer than the least that a proxy may allow.
    Long,
}

impl Start {
    /// What its StartupMessage says beside what every client says.
    pub(super) fn pairs(self) -> Vec<(&'static [u8], &'static [u8])> {
        match self {
            Start::Options => vec![
                (b"options", b"-c statement_timeout=7000 --datestyle=German"),
                (b"application_name", b"simulator"),
                (b"TimeZone", b"Europe/Berlin"),
            ],
            Start::Long => vec![(b"options", LONG.as_bytes())],
            Start::Extension => vec![(b"_pq_.unheard_of", b"1")],
            Start::Replication => vec![(b"replication", b"database")],
            Start::Plain | Start::Nobody | Start::Nowhere | Start::WrongPassword => Vec::new(),
        }
    }
}

const STARTS: [(Start, &str); 8] = [
    (Start::Plain, "plain"),
    (Start::Options, "options"),
    (Start::Extension, "extension"),
    (Start::Nobody, "nobody"),
    (Start::Nowhere, "nowhere"),
    (Start::WrongPassword, "wrong-password"),
    (Start::Replication, "replication"),
    (Start::Long, "long"),
];

const OFFERS: [(Offer, &str); 4] = [
    (Offer::Disable, "disable"),
    (Offer::Allow, "allow"),
    (Offer::Require, "require"),
    (Offer::Passthrough, "passthrough"),
];
const TLS: [(Tls, &str); 3] = [
    (Tls::Disable, "disable"),
    (Tls::Allow, "allow"),
    (Tls::Require, "require"),
];
const METHODS: [(Method, &str); 5] = [
    (Method::Gss, "gss"),
    (Method::Trust, "trust"),
    (Method::Cleartext, "cleartext"),
    (Method::Md5, "md5"),
    (Method::Scram, "scram"),
];

impl Setup {
    pub(crate) fn plain() -> Setup {
        Setup {
            split: true,
            gate_is_reader: false,
            reader_at_login: false,
            fail_without_reader: false,
            client_tls: Offer::Disable,
            client_asks_tls: false,
            client_begins_tls: false,
            client_insists: false,
            upstream_tls: Tls::Disable,
            upstream_direct: false,
            servers_have_tls: false,
            servers_want_tls: false,
            login: Method::Trust,
            terminate: false,
            verifier: false,
            caller: Caller::Nobody,
            bound: false,
            ring: false,
            minor: 0,
            start: Start::Plain,
            clients: 1,
            readers: 1,
            rude: false,
            lag: false,
            tight: false,
            server_version: 15,
            judged: false,
            strict: false,
            fresh: Fresh::Off,
            optimistic: false,
            read_transactions: false,
            wild: false,
            read_only: false,
            finder: Finder::Listed,
            renamed: false,
            logins: Logins::Unasked,
            short_startup: false,
            spare: Spare::None,
            transfers: false,
            fittings: Fittings::default(),
        }
    }

    pub(crate) fn choose(choices: &mut Choices<'_>) -> Setup {
        let upstream_tls =
            choices.weighted(&[(6, Tls::Disable), (1, Tls::Allow), (2, Tls::Require)]);
        let servers_have_tls = match upstream_tls {
            Tls::Require => !choices.percent(8),
            Tls::Disable | Tls::Allow => choices.percent(30),
        };
        let encrypted = servers_have_tls && upstream_tls != Tls::Disable;
        let login = choices.weighted(&[
            (10, Method::Trust),
            (2, Method::Scram),
            (2, Method::Md5),
            (1, Method::Cleartext),
        ]);
        let upstream_direct = upstream_tls == Tls::Require && choices.percent(25);
        let terminate = choices.percent(25);
        let verifier = cfg!(feature = "scram") && login == Method::Scram && choices.percent(50);
        let caller = match terminate || verifier {
            true => Caller::Nobody,
            false => choices.weighted(&[
                (10, Caller::Nobody),
                (2, Caller::Prompt),
                (1, Caller::Late),
                (1, Caller::Silent),
                (1, Caller::Wrong),
                (1, Caller::Sorry),
            ]),
        };
        // Who is checked by the proxy is checked for everything.
        let strangers = if terminate { 3 } else { 1 };
        let setup = Setup {
            split: !choices.percent(8),
            gate_is_reader: choices.percent(20),
            reader_at_login: choices.percent(40),
            fail_without_reader: choices.percent(15),
            client_tls: choices.weighted(&[
                (6, Offer::Disable),
                (2, Offer::Allow),
                (1, Offer::Require),
                (2, Offer::Passthrough),
            ]),
            client_asks_tls: choices.percent(30),
            client_begins_tls: choices.percent(12),
            client_insists: choices.percent(25),
            upstream_tls,
            upstream_direct,
            servers_have_tls,
            servers_want_tls: upstream_tls == Tls::Allow && servers_have_tls && choices.percent(50),
            login: match login {
                // We send a password as it is over TLS only.
                Method::Cleartext if !encrypted => Method::Md5,
                other => other,
            },
            terminate,
            verifier,
            caller,
            bound: false,
            ring: choices.percent(20),
            minor: choices.weighted(&[(3, 0), (1, 2)]),
            start: choices.weighted(&[
                (20, Start::Plain),
                (3, Start::Options),
                (2, Start::Extension),
                (strangers, Start::Nobody),
                (strangers, Start::Nowhere),
                (strangers, Start::WrongPassword),
                (2, Start::Replication),
            ]),
            clients: choices.weighted(&[(5, 1), (1, 2)]),
            readers: choices.weighted(&[(3, 1), (1, 2)]),
            rude: choices.percent(25),
            lag: choices.percent(12),
            tight: choices.percent(25),
            server_version: match upstream_direct {
                true => choices.weighted(&[(1, 15), (5, 18)]),
                false => choices.one(&[15, 18]),
            },
            judged: false,
            strict: false,
            fresh: Fresh::Off,
            optimistic: false,
            read_transactions: false,
            wild: false,
            read_only: false,
            finder: Finder::Listed,
            renamed: false,
            logins: Logins::Unasked,
            short_startup: false,
            spare: Spare::None,
            transfers: false,
            fittings: Fittings::default(),
        };
        // Not a choice of its own, so that what follows is chosen as before.
        let bound = encrypted && setup.reader_at_login;
        Setup { bound, ..setup }.sound()
    }

    /// Whether the client and the server encrypt with each other, if they can.
    pub(crate) fn is_opaque(&self) -> bool {
        let encrypts = self.client_asks_tls || self.client_begins_tls;
        self.client_tls == Offer::Passthrough && encrypts
    }

    /// Whether a policy sees what the client says.
    pub(crate) fn judges(&self) -> bool {
        self.judged && !self.is_opaque() && self.start != Start::Replication
    }

    /// What it is shown of a message.
    pub(crate) fn shown(&self) -> Shown {
        Shown {
            held: match self.tight {
                true => pgturnout::limits::READ_BUFFER_MIN,
                false if self.fittings.roomy => ROOM,
                false => pgturnout::limits::READ_BUFFER,
            },
            strict: self.strict,
        }
    }

    /// Whether a request may go to the reader as a copy, while it stays in the client's buffer.
    pub(crate) fn copies_requests(&self) -> bool {
        self.optimistic || self.fittings.again
    }

    /// Whether the proxy begins TLS with the servers unasked.
    pub(crate) fn is_direct(&self) -> bool {
        self.upstream_direct && self.upstream_tls == Tls::Require
    }

    /// Whether the proxy itself finds out that the client is not who it says.
    pub(crate) fn is_found_out(&self) -> bool {
        let stranger = matches!(self.start, Start::Nobody | Start::WrongPassword)
            || self.fittings.blank
            || self.fittings.kept.is_no_proof();
        let checks = self.terminate && self.login != Method::Trust && !self.is_opaque();
        checks && stranger
    }

    /// Whether the servers take a handshake that nobody has asked for.
    pub(crate) fn servers_take_handshakes(&self) -> bool {
        self.servers_have_tls && self.server_version >= 18
    }

    /// Whether whoever takes the client's beginning of encryption goes along with it.
    fn encrypts_as_wanted(&self) -> bool {
        let (begins, asks) = (self.client_begins_tls, self.client_asks_tls);
        match self.client_tls {
            Offer::Disable => !(begins || asks && self.client_insists),
            Offer::Allow | Offer::Require => true,
            Offer::Passthrough if begins => self.servers_take_handshakes(),
            Offer::Passthrough => self.servers_have_tls || !(asks && self.client_insists),
        }
    }

    /// Whether nobody insists on more TLS than there is.
    pub(crate) fn has_tls_enough(&self) -> bool {
        let encrypts = self.client_asks_tls || self.client_begins_tls;
        let client = self.client_tls != Offer::Require || encrypts;
        let servers = match self.is_direct() && !self.is_opaque() {
            true => self.servers_take_handshakes(),
            false => self.servers_have_tls,
        };
        client && (self.upstream_tls != Tls::Require || servers)
    }

    /// Whether the client gets in at all: it does not where it insists on less TLS than the proxy.
    pub(crate) fn lets_client_in(&self) -> bool {
        self.is_heard_out() && self.makes_sense()
    }

    /// The same if it makes sense to the servers.
    pub(crate) fn is_heard_out(&self) -> bool {
        // We send a password as it is over TLS only; the one of the gate is the client's own.
        let encrypted = self.upstream_tls != Tls::Disable && self.servers_have_tls;
        let whole = self.is_opaque() || self.start == Start::Replication;
        let both = !self.is_opaque() && self.terminate
            || !whole && self.split && (self.gate_is_reader || self.fail_without_reader);
        let welcome = match self.start {
            Start::Plain | Start::Options | Start::Extension | Start::Replication => true,
            Start::Nobody | Start::Nowhere => false,
            Start::WrongPassword => self.login == Method::Trust,
            Start::Long => true,
        };
        let stranger = self.fittings.blank && self.login != Method::Trust;
        let denied = self.logins == Logins::Denied && !self.is_opaque();
        welcome
            && !stranger
            && !self.is_found_out()
            && !self.is_too_long()
            && !denied
            && !self.names_reserved()
            && self.encrypts_as_wanted()
            && self.has_tls_enough()
            && self.may_relay_the_password()
            && (encrypted || !both || self.login != Method::Cleartext)
    }

    /// Whether the client's password may go to the server that asks for it as it is, if one does.
    pub(crate) fn may_relay_the_password(&self) -> bool {
        let asked = self.login == Method::Cleartext && !self.terminate && !self.is_opaque();
        let encrypted = self.upstream_tls != Tls::Disable && self.servers_have_tls;
        let offered = matches!(self.client_tls, Offer::Allow | Offer::Require);
        let sees_tls = offered && (self.client_asks_tls || self.client_begins_tls);
        !asked
            || encrypted
            || match self.fittings.relayed {
                RelayedPassword::AsTheClient => !sees_tls,
                RelayedPassword::OverTls => false,
                RelayedPassword::Anyhow => true,
            }
    }

    /// Whether servers are told of another database and of other options than the client names.
    pub(crate) fn has_tenants(&self) -> bool {
        let named = matches!(self.start, Start::Plain | Start::Options | Start::Extension);
        self.fittings.tenant && named && !self.wild && !self.is_opaque()
    }

    fn other_user(&self) -> UpstreamUser {
        UpstreamUser::new(RENAMED.as_bytes(), Credential::password(PASSWORD))
    }

    /// What the caller finds of a user.
    pub(crate) fn found(&self, user: &[u8]) -> FoundUser {
        let known = user == USER.as_bytes();
        FoundUser {
            credential: match known && self.login != Method::Trust {
                true => self.listed(),
                false => Credential::None,
            },
            upstream: (known && self.renamed).then(|| self.other_user()),
        }
    }

    pub(crate) fn password(&self) -> &'static str {
        match self.start {
            _ if self.fittings.blank => "",
            Start::WrongPassword => needles::WRONG_PASSWORD,
            _ => PASSWORD,
        }
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        match self.minor {
            0 => ProtocolVersion::V3_0,
            _ => ProtocolVersion::V3_2,
        }
    }

    /// Whether each of the standbys replays on its own. A second client's reads would not know of it.
    pub(crate) fn has_standbys_apart(&self) -> bool {
        self.lag && self.readers > 1 && self.clients == 1
    }

    /// What is at a place of the configuration.
    pub(crate) fn node_at(&self, place: Destination) -> Node {
        match place.0 {
            2 if self.has_standbys_apart() => Node::Second,
            number if (1..=self.readers).contains(&number) => Node::Standby,
            _ => Node::Primary,
        }
    }

    /// How many bytes are the least that arrives or leaves at once where messages are cut: of those that are longer than most
    /// buffers it would take too long to pass each by itself.
    pub(crate) fn grain(&self) -> usize {
        match self.fittings.roomy {
            true => 1_021,
            false => 1,
        }
    }

    /// Where the server to move to is in the configuration, behind the readers.
    pub(crate) fn spare_place(&self) -> usize {
        self.readers + 1
    }

    /// How a server may let the proxy in, or whoever answers for it.
    pub(crate) fn methods() -> Methods {
        Methods::NONE
            .allow_trust()
            .allow_cleartext(Channel::Tls)
            .allow_md5(Channel::Clear)
            .allow_scram()
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        let upstream = |name: &str, role| Upstream {
            name: name.to_owned(),
            role,
            tls: match self.upstream_tls {
                Tls::Disable => UpstreamTlsPolicy::Disable,
                Tls::Allow if self.servers_want_tls => UpstreamTlsPolicy::Allow,
                Tls::Allow => UpstreamTlsPolicy::Prefer,
                Tls::Require => UpstreamTlsPolicy::VerifyFull,
            },
            tls_negotiation: match self.is_direct() {
                true => TlsNegotiation::Direct,
                false => TlsNegotiation::Postgres,
            },
            methods: Some(Setup::methods().allow_external(Channel::Clear)),
        };
        let mut upstreams = vec![upstream("primary", Role::Writer)];
        for number in 0..self.readers {
            upstreams.push(upstream(&format!("standby{number}"), Role::Reader));
        }
        if self.spare != Spare::None {
            upstreams.push(upstream("spare", Role::Spare));
        }
        let mut config = Config::new(upstreams);
        if self.spare != Spare::None {
            config.moves = pgturnout::session::Moves::On;
        }
        if self.transfers {
            config.dialect = Dialect::Cockroach;
        }
        config.reader_choice.max_lag_bytes = Some(LAG_ALLOWED);
        config.split = if self.split { Split::On } else { Split::Off };
        if self.reader_at_login {
            config.request_events = RequestEvents::On;
            // The parser needs more stack than a simulated session has.
            if !cfg!(feature = "inspect") {
                config.metadata = Metadata::On;
            }
        }
        config.gate = match self.gate_is_reader {
            true => Gate::Reader,
            false => Gate::Writer,
        };
        config.reader_open = match self.reader_at_login {
            true => ReaderOpen::AtLogin,
            false => ReaderOpen::OnFirstRead,
        };
        config.reader_failure = match self.fail_without_reader {
            true => ReaderFailure::FailClient,
            false => ReaderFailure::UseWriter,
        };
        if self.short_startup {
            config.limits.startup_body = pgturnout::limits::STARTUP_BODY_LEAST;
        }
        if self.read_only {
            config.writer_failure = WriterFailure::ReadOnly;
        }
        if self.finder != Finder::Listed {
            config.user_source = UserSource::Caller;
        } else if self.renamed {
            let user = self.other_user();
            config.upstream_users.insert(USER.as_bytes(), user);
        }
        config.read_your_writes = match self.fresh {
            Fresh::Off => ReadYourWrites::Off,
            Fresh::For => ReadYourWrites::For(WINDOW),
            Fresh::Reads => ReadYourWrites::Reads(KEPT_READS),
            Fresh::Replayed => ReadYourWrites::Replayed,
        };
        config.optimistic = match self.optimistic {
            true => Optimistic::On,
            false => Optimistic::Off,
        };
        if self.read_transactions {
            config.read_only_transactions = ReadOnlyTransactions::Reader;
        }
        config.client_tls = match self.client_tls {
            Offer::Disable => ClientTls::Disable,
            Offer::Allow => ClientTls::Allow,
            Offer::Require => ClientTls::Require,
            Offer::Passthrough => ClientTls::Passthrough,
        };
        if self.login != Method::Trust {
            config.users.insert(USER.as_bytes(), self.listed());
        }
        if self.terminate {
            let policy = AdmitPolicy::new(*needles::MOCK_SECRET).iterations(1);
            config.authentication = ClientAuth::Terminate(match self.login {
                Method::Trust => policy.allow_trust(Channel::Clear),
                Method::Cleartext => policy.allow_cleartext().allow_md5(Channel::Clear),
                Method::Md5 => policy.allow_md5(Channel::Clear),
                Method::Scram | Method::Gss => policy.allow_scram().allow_md5(Channel::Clear),
            });
        }
        #[cfg(feature = "scram")]
        if self.ring {
            let secret = Secret::new(needles::RING_SECRET.to_vec());
            let ring = CancelRing::new(7, secret).expect("a secret that is long enough");
            config.cancel_ring = Some(Arc::new(ring));
        }
        self.fittings.apply(&mut config);
        if self.tight {
            tighten(&mut config);
        }
        config.check().expect("a sound configuration");
        Arc::new(config)
    }

    fn listed(&self) -> Credential {
        #[cfg(feature = "scram")]
        if self.verifier {
            let stored = super::server::stored_verifier();
            return Credential::from_secret(stored.as_bytes()).expect("a verifier");
        }
        match (self.caller, self.fittings.kept) {
            (Caller::Nobody, Kept::Password) => Credential::password(PASSWORD),
            (Caller::Nobody, Kept::Digest) => {
                let digest = super::server::stored_digest(USER);
                Credential::from_secret(digest.as_bytes()).expect("a digest")
            }
            (Caller::Nobody, Kept::Blank) => Credential::password(""),
            (Caller::Nobody, Kept::Nothing) => Credential::None,
            (Caller::Nobody, Kept::Outside) | (_, _) => Credential::External,
        }
    }

    pub(crate) fn server(&self) -> ServerOptions {
        ServerOptions {
            login: match self.login {
                Method::Trust => Login::Trust,
                Method::Cleartext => Login::Cleartext,
                Method::Md5 => Login::Md5,
                Method::Scram => Login::Scram,
                Method::Gss => Login::Gss,
            },
            tls: match self.servers_have_tls {
                true => TlsAnswer::Yes,
                false => TlsAnswer::No,
            },
            wants_tls: self.servers_want_tls,
            version: self.server_version,
            rude: self.rude,
            foreign: self.fittings.is_foreign(),
            triggers: self.fittings.has_triggers(),
            end_point: self.bound.then_some(END_POINT),
            transfers: self.transfers,
            parameters: self.server_parameters(),
            ..ServerOptions::default()
        }
    }

    /// Settings of all servers' own.
    pub(crate) fn server_parameters(&self) -> Vec<(String, String)> {
        let serializable = ("default_transaction_isolation", "serializable");
        let all = self.fittings.is_serializable().then_some(serializable);
        let all = all.into_iter();
        all.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(crate) fn lag(&self) -> Lag {
        match self.lag {
            true => Lag::Manual,
            false => Lag::None,
        }
    }
}

/// What servers get in the place of these parameters: another database, and options that the client has not named, or none
/// of those that it has.
pub(crate) fn of_tenant<'a>(mut pairs: Vec<(&'a [u8], &'a [u8])>) -> Vec<(&'a [u8], &'a [u8])> {
    let before = pairs.len();
    pairs.retain(|(name, _)| *name != b"options");
    if pairs.len() == before {
        pairs.push((b"options", b"-c statement_timeout=4000"));
    }
    for (name, value) in &mut pairs {
        if *name == b"database" {
            *value = TENANT;
        }
    }
    pairs
}

/// The least that a session works with: what it remembers falls out early, and queues fill.
fn tighten(config: &mut Config) {
    let limits = &mut config.limits;
    limits.read_buffer = pgturnout::limits::READ_BUFFER_MIN;
    limits.requests_in_flight = pgturnout::limits::REQUESTS_IN_FLIGHT_MIN;
    limits.reader_requests_in_flight = 4;
    limits.ledger.segments_per_queue = pgturnout::limits::LEDGER_SEGMENTS_MIN;
    limits.ledger.owned_bytes_per_queue = pgturnout::limits::LEDGER_OWNED_MIN;
    limits.statements.names = 5;
    limits.statements.bytes = 320;
    limits.statements.on_reader = 2;
    limits.statements.body = 256;
    limits.journal.entries = 4;
    limits.journal.bytes = 512;
    limits.journal.savepoints = 2;
    limits.portals = 2;
    limits.texts.texts = 4;
    limits.texts.bytes = 512;
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offer = OFFERS.iter().find(|(offer, _)| *offer == self.client_tls);
        let tls = TLS.iter().find(|(tls, _)| *tls == self.upstream_tls);
        let login = METHODS.iter().find(|(method, _)| *method == self.login);
        let caller = CALLERS.iter().find(|(caller, _)| *caller == self.caller);
        let start = STARTS.iter().find(|(start, _)| *start == self.start);
        let fresh = FRESH.iter().find(|(fresh, _)| *fresh == self.fresh);
        let finder = FINDERS.iter().find(|(finder, _)| *finder == self.finder);
        let logins = LOGINS.iter().find(|(logins, _)| *logins == self.logins);
        let spare = SPARES.iter().find(|(spare, _)| *spare == self.spare);
        write!(
            f,
            "split={} gate-is-reader={} reader-at-login={} fail-without-reader={} client-tls={} \
             client-asks-tls={} client-begins-tls={} client-insists={} upstream-tls={} \
             upstream-direct={} servers-have-tls={} servers-want-tls={} login={} terminate={} \
             verifier={} caller={} bound={} ring={} minor={} start={} clients={} \
             readers={} rude={} lag={} tight={} \
             server-version={} judged={} strict={} read-your-writes={} optimistic={} read-transactions={} wild={} \
             read-only={} finder={} renamed={} logins={} short-startup={} spare={} transfers={} {}",
            self.split,
            self.gate_is_reader,
            self.reader_at_login,
            self.fail_without_reader,
            offer.map_or("?", |(_, name)| name),
            self.client_asks_tls,
            self.client_begins_tls,
            self.client_insists,
            tls.map_or("?", |(_, name)| name),
            self.upstream_direct,
            self.servers_have_tls,
            self.servers_want_tls,
            login.map_or("?", |(_, name)| name),
            self.terminate,
            self.verifier,
            caller.map_or("?", |(_, name)| name),
            self.bound,
            self.ring,
            self.minor,
            start.map_or("?", |(_, name)| name),
            self.clients,
            self.readers,
            self.rude,
            self.lag,
            self.tight,
            self.server_version,
            self.judged,
            self.strict,
            fresh.map_or("?", |(_, name)| name),
            self.optimistic,
            self.read_transactions,
            self.wild,
            self.read_only,
            finder.map_or("?", |(_, name)| name),
            self.renamed,
            logins.map_or("?", |(_, name)| name),
            self.short_startup,
            spare.map_or("?", |(_, name)| name),
            self.transfers,
            self.fittings,
        )
    }
}

impl Setup {
    /// The text of what is not as in [`Setup::plain`].
    pub(crate) fn peculiar(&self) -> String {
        let (all, plain) = (self.to_string(), Setup::plain().to_string());
        let pairs = all.split_whitespace().zip(plain.split_whitespace());
        let other: Vec<&str> = pairs.filter(|(a, b)| a != b).map(|(a, _)| a).collect();
        other.join(" ")
    }

    /// Reads what [`Display`](std::fmt::Display) writes; what is left out is as in [`Setup::plain`].
    pub(crate) fn parse(text: &str) -> Result<Setup, String> {
        let mut setup = Setup::plain();
        for pair in text.split_whitespace() {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is not name=value"))?;
            setup.set(name, value)?;
        }
        Ok(setup.sound())
    }

    /// The same without what no proxy may be set up with: to check clients whose encryption is not its own.
    pub(crate) fn sound(self) -> Setup {
        // Tokens are nothing to the proxy: somebody else answers for it, or it logs in nowhere of its own accord.
        let handed_on = !self.split || self.caller != Caller::Nobody;
        let login = match self.login {
            Method::Gss if !handed_on => Method::Trust,
            other => other,
        };
        let checks = self.client_tls != Offer::Passthrough && login != Method::Gss;
        let terminate = self.terminate && checks;
        // Whom the proxy does not check it cannot look up or know by another name.
        let finder = match terminate {
            true => self.finder,
            false => Finder::Listed,
        };
        let renamed = self.renamed && terminate && self.caller == Caller::Nobody;
        let verifier = self.verifier && login != Method::Gss;
        let kept = match self.fittings.kept {
            _ if !terminate || login == Method::Trust || verifier => Kept::Password,
            // It serves for nothing else.
            Kept::Digest if login != Method::Md5 => Kept::Password,
            other => other,
        };
        Setup {
            login,
            verifier,
            terminate,
            finder,
            renamed,
            fittings: Fittings {
                kept,
                ..self.fittings
            },
            ..self
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "split" => self.split = parsed(value)?,
            "gate-is-reader" => self.gate_is_reader = parsed(value)?,
            "reader-at-login" => self.reader_at_login = parsed(value)?,
            "fail-without-reader" => self.fail_without_reader = parsed(value)?,
            "client-tls" => self.client_tls = named(&OFFERS, value)?,
            "client-insists" => self.client_insists = parsed(value)?,
            "client-begins-tls" => self.client_begins_tls = parsed(value)?,
            "client-asks-tls" => self.client_asks_tls = parsed(value)?,
            "upstream-tls" => self.upstream_tls = named(&TLS, value)?,
            "upstream-direct" => self.upstream_direct = parsed(value)?,
            "caller" => self.caller = named(&CALLERS, value)?,
            "servers-want-tls" => self.servers_want_tls = parsed(value)?,
            "servers-have-tls" => self.servers_have_tls = parsed(value)?,
            "login" => self.login = named(&METHODS, value)?,
            "terminate" => self.terminate = parsed(value)?,
            "verifier" => self.verifier = parsed(value)?,
            "bound" => self.bound = parsed(value)?,
            "ring" => self.ring = parsed(value)?,
            "minor" => self.minor = parsed(value)?,
            "start" => self.start = named(&STARTS, value)?,
            "clients" => self.clients = parsed(value)?,
            "readers" => self.readers = parsed(value)?,
            "rude" => self.rude = parsed(value)?,
            "lag" => self.lag = parsed(value)?,
            "tight" => self.tight = parsed(value)?,
            "server-version" => self.server_version = parsed(value)?,
            "judged" => self.judged = parsed(value)?,
            "strict" => self.strict = parsed(value)?,
            "read-your-writes" => self.fresh = named(&FRESH, value)?,
            "optimistic" => self.optimistic = parsed(value)?,
            "read-transactions" => self.read_transactions = parsed(value)?,
            "wild" => self.wild = parsed(value)?,
            "read-only" => self.read_only = parsed(value)?,
            "finder" => self.finder = named(&FINDERS, value)?,
            "renamed" => self.renamed = parsed(value)?,
            "short-startup" => self.short_startup = parsed(value)?,
            "logins" => self.logins = named(&LOGINS, value)?,
            "transfers" => self.transfers = parsed(value)?,
            "spare" => self.spare = named(&SPARES, value)?,
            other if self.fittings.set(other, value)? => {}
            other => return Err(format!("{other:?} is no part of a set-up")),
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value:?} is no value"))
}

fn named<T: Copy>(all: &[(T, &str)], name: &str) -> Result<T, String> {
    all.iter()
        .find(|(_, known)| *known == name)
        .map(|(what, _)| *what)
        .ok_or_else(|| format!("{name:?} is not known"))
}
