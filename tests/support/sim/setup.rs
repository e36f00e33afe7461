//! What a scenario is played on: the session's configuration and the habits of its peers.

mod choose;
mod config;
mod text;

use std::time::Duration;

use pgturnout::auth::{Credential, FoundUser, UpstreamUser};
use pgturnout::session::{Destination, RelayedPassword};
use pgturnout::startup::ProtocolVersion;

use super::fittings::{Fittings, ROOM};
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

/// How a client introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Plain,
    /// With settings in `options`, and one setting named twice.
    Options,
    /// With a search path that makes tables temporary.
    Temporary,
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
            Start::Temporary => vec![(b"options", b"-c search_path=pg_temp,public")],
            Start::Long => vec![(b"options", LONG.as_bytes())],
            Start::Extension => vec![(b"_pq_.unheard_of", b"1")],
            Start::Replication => vec![(b"replication", b"database")],
            Start::Plain | Start::Nobody | Start::Nowhere | Start::WrongPassword => Vec::new(),
        }
    }
}

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
            Start::Plain
            | Start::Options
            | Start::Temporary
            | Start::Extension
            | Start::Replication => true,
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
        let named = matches!(
            self.start,
            Start::Plain | Start::Options | Start::Temporary | Start::Extension
        );
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
