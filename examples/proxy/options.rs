//! What the settings mean: every flag as its type, defaults filled in, contradictions refused.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pgturnout::auth::{Credential, Users};
use pgturnout::cancel::SourceCheck;
use pgturnout::limits::WRITER_RETRIES_MAX;
use pgturnout::migrate::Dialect;
use pgturnout::session::{
    DefaultIsolation, Gate, LostReads, Optimistic, OutOfSync, ReadOnlyTransactions, ReadYourWrites,
    RelayedPassword, Role, Split, WriterFailure, WriterRetry,
};
use pgturnout::startup::{ClientTls, TlsNegotiation, UpstreamTlsPolicy};

use tokio::net::TcpStream;

use crate::cli::{Origin, Setting, UsageError};
use crate::config;
use crate::deny::Deny;
use crate::door::Guard;
use crate::identity::Identities;
use crate::introduce::Introductions;
use crate::reading::Reading;
use crate::ring::Ring;
use crate::users;

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A way to log in to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    Scram,
    ScramPlus,
    Md5,
    Password,
    Certificate,
    Trust,
}

/// Who may use the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operators {
    pub(crate) names: BTreeSet<Vec<u8>>,
    pub(crate) proof: Proof,
}

/// What an operator has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// That it knows the secret that is listed.
    Secret,
    /// Nothing: whoever is on this machine is trusted.
    Nothing,
}

/// The whole configuration of the proxy.
pub(crate) struct Options {
    pub(crate) listen: HostPort,
    pub(crate) writer: HostPort,
    pub(crate) readers: Vec<HostPort>,
    /// Servers that sessions are only moved to.
    pub(crate) spares: Vec<HostPort>,
    /// Who may use the console; nothing if there is none.
    pub(crate) console: Option<Operators>,
    /// Whose servers they are.
    pub(crate) dialect: Dialect,
    pub(crate) identities: Identities,
    /// How clients may log in to the proxy itself; nothing if their logins are relayed.
    pub(crate) accept: Option<Vec<Accept>>,
    pub(crate) gate: Gate,
    pub(crate) split: Split,
    pub(crate) optimistic: Optimistic,
    pub(crate) read_only_transactions: ReadOnlyTransactions,
    pub(crate) read_your_writes: ReadYourWrites,
    pub(crate) lost_reads: LostReads,
    pub(crate) default_isolation: DefaultIsolation,
    pub(crate) client_tls: ClientTls,
    /// Certificate chain and private key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whose certificates of clients are believed.
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) upstream_tls: UpstreamTlsPolicy,
    pub(crate) upstream_tls_negotiation: TlsNegotiation,
    pub(crate) upstream_ca: Option<PathBuf>,
    pub(crate) log_routes: bool,
    pub(crate) metrics: Option<HostPort>,
    pub(crate) cancel_source: SourceCheck,
    pub(crate) cancel_ring: Option<Ring>,
    /// Statements that no client may run.
    pub(crate) deny: Option<Deny>,
    pub(crate) relayed_password: RelayedPassword,
    pub(crate) writer_down: WriterFailure,
    pub(crate) writer_retry: WriterRetry,
    pub(crate) out_of_sync: OutOfSync,
    pub(crate) throttle: Guard,
    pub(crate) deny_file: Option<PathBuf>,
    pub(crate) allow_file: Option<PathBuf>,
    pub(crate) introductions: Introductions,
    pub(crate) reading: Reading,
}

/// All settings, the configuration file's where the command line has nothing of that name.
pub(crate) struct Given(Vec<Setting>);

impl Given {
    /// Adds the file that the command line names, if it names one.
    pub(crate) fn with_config_file(command_line: Vec<Setting>) -> Result<Given, UsageError> {
        let mut given = Given(command_line);
        if let Some(setting) = given.one("config") {
            let path = PathBuf::from(&setting.value);
            let text =
                std::fs::read_to_string(&path).map_err(|error| unreadable(setting, &error))?;
            let file = config::parse(&path, &text)?;
            let only_in_file: Vec<Setting> = file
                .into_iter()
                .filter(|setting| given.one(setting.flag.name).is_none())
                .collect();
            given.0.extend(only_in_file);
        }
        Ok(given)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.0
            .iter()
            .filter(move |setting| setting.flag.name == name)
    }

    pub(crate) fn one(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.flag.name == name)
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.one(name).map(|setting| PathBuf::from(&setting.value))
    }

    fn required(&self, name: &str) -> Result<&Setting, UsageError> {
        self.one(name)
            .ok_or_else(|| UsageError::new(Origin::CommandLine, name, "required, and not given"))
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, UsageError> {
        let Some(setting) = self.one(name) else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == setting.value);
        let Some((_, meaning)) = found else {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("{:?} is none of {}", setting.value, known.join(", "));
            return Err(blame(setting, message));
        };
        Ok(Some(*meaning))
    }
}

impl Options {
    /// Gives every setting its meaning.
    pub(crate) fn new(given: &Given) -> Result<Options, UsageError> {
        let identities = Identities::new(given)?;
        let options = Options {
            listen: host_port(given.required("listen")?, Port::AnyFree)?,
            writer: host_port(given.required("writer")?, Port::Fixed)?,
            readers: given
                .all("reader")
                .map(|setting| host_port(setting, Port::Fixed))
                .collect::<Result<_, _>>()?,
            spares: given
                .all("spare")
                .map(|setting| host_port(setting, Port::Fixed))
                .collect::<Result<_, _>>()?,
            console: operators(given, &identities.users)?,
            identities,
            accept: accept(given)?,
            gate: gate(given)?,
            dialect: dialect(given)?,
            split: given
                .choice("split", &[("on", Split::On), ("off", Split::Off)])?
                .unwrap_or(Split::On),
            optimistic: optimistic(given)?,
            read_only_transactions: read_only_transactions(given)?,
            read_your_writes: read_your_writes(given)?,
            lost_reads: lost_reads(given)?,
            default_isolation: default_isolation(given)?,
            client_tls: given
                .choice("client-tls", CLIENT_TLS)?
                .unwrap_or(ClientTls::Disable),
            identity: given.path("tls-cert").zip(given.path("tls-key")),
            client_ca: given.path("client-ca"),
            upstream_tls: given
                .choice("upstream-tls", UPSTREAM_TLS)?
                .unwrap_or(UpstreamTlsPolicy::Prefer),
            upstream_tls_negotiation: given
                .choice("upstream-tls-negotiation", NEGOTIATION)?
                .unwrap_or_default(),
            upstream_ca: given.path("upstream-ca"),
            log_routes: given.one("log-routes").is_some(),
            metrics: given.one("metrics").map(metrics_address).transpose()?,
            relayed_password: relayed_password(given)?,
            writer_down: given
                .choice(
                    "writer-down",
                    &[
                        ("refuse", WriterFailure::FailClient),
                        ("read-only", WriterFailure::ReadOnly),
                    ],
                )?
                .unwrap_or_default(),
            writer_retry: writer_retry(given)?,
            out_of_sync: out_of_sync(given)?,
            throttle: throttle(given)?,
            deny_file: given.path("deny-file"),
            allow_file: given.path("allow-file"),
            introductions: Introductions::new(given)?,
            reading: Reading::new(given)?,
            cancel_source: given
                .choice("cancel-source", CANCEL_SOURCE)?
                .unwrap_or_default(),
            cancel_ring: cancel_ring(given)?,
            deny: deny(given)?,
        };
        options.check(given)?;
        Ok(options)
    }

    /// What looks at clients sees nothing of one that encrypts with its server.
    fn check_passthrough(&self) -> Result<(), (&'static str, &'static str)> {
        if self.client_tls != ClientTls::Passthrough {
            return Ok(());
        }
        if self.throttle == Guard::On {
            return Err(("throttle", "sees no login behind --client-tls passthrough"));
        }
        if self.cancel_source == SourceCheck::SameAddress {
            let message = "sees no key behind --client-tls passthrough: cancel requests pass, too";
            return Err(("cancel-source", message));
        }
        if self.deny.is_some() {
            let message = "sees no statement behind --client-tls passthrough";
            return Err(("deny-statement", message));
        }
        Ok(())
    }

    /// Who breaks a message must not get around what statements are denied by.
    fn check_out_of_sync(&self) -> Result<(), (&'static str, &'static str)> {
        let listed = self.deny_file.is_some() || self.allow_file.is_some();
        let judged = self.deny.is_some() || listed || self.throttle == Guard::On;
        match self.out_of_sync {
            OutOfSync::Passthrough if judged => Err((
                "out-of-sync",
                "pass is not possible with --deny-statement, --deny-file, --allow-file or --throttle: \
                 clients could get around them",
            )),
            OutOfSync::Passthrough | OutOfSync::Error | OutOfSync::Close => Ok(()),
        }
    }

    /// Refuses settings that contradict each other, or that would be ignored.
    fn check(&self, given: &Given) -> Result<(), UsageError> {
        let refuse = |name: &str, message: &str| match given.one(name) {
            Some(setting) => Err(blame(setting, message)),
            None => Err(UsageError::new(Origin::CommandLine, name, message)),
        };
        if self.gate == Gate::Reader && self.readers.is_empty() {
            return refuse("gate", "there is no --reader");
        }
        if !self.spares.is_empty() && self.console.is_none() {
            return refuse(
                "spare",
                "unused: there is no --console-user to move sessions",
            );
        }
        let mut servers = self.upstreams().map(|(_, address)| address);
        while let Some(server) = servers.next() {
            if self.console.is_some() && servers.clone().any(|other| other == server) {
                let message = format!("{server} is given twice: the console could not tell which");
                return refuse("writer", &message);
            }
        }
        match (given.one("tls-cert"), given.one("tls-key"), self.client_tls) {
            (None, Some(_), _) => return refuse("tls-cert", "missing: --tls-key is given"),
            (Some(_), None, _) => return refuse("tls-key", "missing: --tls-cert is given"),
            (Some(_), Some(_), ClientTls::Disable) => {
                return refuse("tls-cert", "unused: --client-tls is disable");
            }
            (Some(_), Some(_), ClientTls::Passthrough) => {
                return refuse("tls-cert", "unused: --client-tls is passthrough");
            }
            (None, None, ClientTls::Allow | ClientTls::Require) => {
                return refuse("client-tls", "needs --tls-cert and --tls-key");
            }
            _ => {}
        }
        self.check_passthrough()
            .and_then(|()| self.check_out_of_sync())
            .or_else(|(name, message)| refuse(name, message))?;
        if self.client_ca.is_some() && self.client_tls == ClientTls::Disable {
            return refuse("client-ca", "unused: --client-tls is disable");
        }
        if self.cancel_ring.is_some() && self.cancel_source == SourceCheck::SameAddress {
            let message = "what other instances hand on comes from their addresses";
            return refuse("cancel-source", message);
        }
        self.check_accept(given)?;
        self.identities
            .check(given, &self.accept, self.upstream_tls)?;
        self.check_upstream_tls(refuse)
    }

    fn check_upstream_tls(
        &self,
        refuse: impl Fn(&str, &str) -> Result<(), UsageError>,
    ) -> Result<(), UsageError> {
        if self.upstream_tls_negotiation == TlsNegotiation::Direct
            && !self.upstream_tls.requires_tls()
        {
            let message = "direct needs --upstream-tls require, verify-ca or verify-full";
            return refuse("upstream-tls-negotiation", message);
        }
        match (self.upstream_tls, &self.upstream_ca) {
            (UpstreamTlsPolicy::VerifyCa, None) => {
                refuse("upstream-tls", "verify-ca needs --upstream-ca")
            }
            (UpstreamTlsPolicy::VerifyFull, None) => {
                refuse("upstream-tls", "verify-full needs --upstream-ca")
            }
            (
                UpstreamTlsPolicy::Disable
                | UpstreamTlsPolicy::Allow
                | UpstreamTlsPolicy::Prefer
                | UpstreamTlsPolicy::Require,
                Some(_),
            ) => refuse(
                "upstream-ca",
                "unused: --upstream-tls is not verify-ca or verify-full",
            ),
            (UpstreamTlsPolicy::VerifyCa | UpstreamTlsPolicy::VerifyFull, Some(_))
            | (
                UpstreamTlsPolicy::Disable
                | UpstreamTlsPolicy::Allow
                | UpstreamTlsPolicy::Prefer
                | UpstreamTlsPolicy::Require,
                None,
            ) => Ok(()),
        }
    }

    /// Every server with what it is for when the proxy starts, in the order of [`pgturnout::session::Destination`].
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = (Role, &HostPort)> + Clone {
        let readers = self.readers.iter().map(|address| (Role::Reader, address));
        let spares = self.spares.iter().map(|address| (Role::Spare, address));
        std::iter::once((Role::Writer, &self.writer))
            .chain(readers)
            .chain(spares)
    }

    /// Refuses ways to log in that a client could go around, or that none could use.
    fn check_accept(&self, given: &Given) -> Result<(), UsageError> {
        let Some(methods) = &self.accept else {
            return Ok(());
        };
        let over_tls = |method: &Accept| match method {
            Accept::ScramPlus | Accept::Password | Accept::Certificate => true,
            Accept::Scram | Accept::Md5 | Accept::Trust => false,
        };
        let (name, message) = match self.client_tls {
            ClientTls::Passthrough => (
                "auth",
                "terminate cannot check clients behind --client-tls passthrough",
            ),
            ClientTls::Disable if methods.iter().all(over_tls) => {
                ("accept", "all of it needs TLS, and --client-tls is disable")
            }
            ClientTls::Disable | ClientTls::Allow | ClientTls::Require => return Ok(()),
        };
        match given.one(name) {
            Some(setting) => Err(blame(setting, message)),
            None => Err(UsageError::new(Origin::CommandLine, name, message)),
        }
    }
}

/// Whose servers they are.
fn dialect(given: &Given) -> Result<Dialect, UsageError> {
    let dialects = [
        ("postgres", Dialect::Postgres),
        ("cockroach", Dialect::Cockroach),
    ];
    Ok(given.choice("dialect", &dialects)?.unwrap_or_default())
}

fn optimistic(given: &Given) -> Result<Optimistic, UsageError> {
    let choices = [("on", Optimistic::On), ("off", Optimistic::Off)];
    Ok(given.choice("optimistic", &choices)?.unwrap_or_default())
}

fn read_only_transactions(given: &Given) -> Result<ReadOnlyTransactions, UsageError> {
    let choice = given.choice(
        "read-only-transactions",
        &[
            ("writer", ReadOnlyTransactions::Writer),
            ("reader", ReadOnlyTransactions::Reader),
        ],
    )?;
    Ok(choice.unwrap_or_default())
}

/// What becomes of reads after a write.
fn read_your_writes(given: &Given) -> Result<ReadYourWrites, UsageError> {
    let Some(setting) = given.one("read-your-writes") else {
        return Ok(ReadYourWrites::Off);
    };
    match setting.value.as_str() {
        "off" => Ok(ReadYourWrites::Off),
        "replayed" => Ok(ReadYourWrites::Replayed),
        other => {
            let known = match other.strip_prefix("reads:") {
                Some(count) => count.parse().ok().map(ReadYourWrites::Reads),
                None => {
                    let ms = other.parse().ok().map(Duration::from_millis);
                    ms.map(ReadYourWrites::For)
                }
            };
            known.ok_or_else(|| {
                let what = "neither off nor replayed nor a number of milliseconds or of reads";
                blame(setting, format!("{other:?} is {what}"))
            })
        }
    }
}

/// How often a writer that cannot be had is dialled again, and when.
fn writer_retry(given: &Given) -> Result<WriterRetry, UsageError> {
    let Some(setting) = given.one("writer-retry") else {
        return Ok(WriterRetry::NoRetry);
    };
    if setting.value == "off" {
        return Ok(WriterRetry::NoRetry);
    }
    let parts = setting.value.split_once(':');
    let numbers = parts.and_then(|(times, ms)| Some((times.parse().ok()?, ms.parse().ok()?)));
    match numbers {
        Some((times, _)) if times > WRITER_RETRIES_MAX => Err(blame(
            setting,
            format!("at most {WRITER_RETRIES_MAX} times are possible"),
        )),
        Some((times, ms)) => Ok(WriterRetry::Again {
            times,
            delay: Duration::from_millis(ms),
        }),
        None => Err(blame(
            setting,
            format!("{:?} is neither off nor TIMES:MILLISECONDS", setting.value),
        )),
    }
}

/// Which server the client logs in to.
fn gate(given: &Given) -> Result<Gate, UsageError> {
    let choices = [("writer", Gate::Writer), ("reader", Gate::Reader)];
    Ok(given.choice("gate", &choices)?.unwrap_or(Gate::Writer))
}

/// Whether a reader is asked if it serves a session by its default isolation.
fn default_isolation(given: &Given) -> Result<DefaultIsolation, UsageError> {
    let choices = [
        ("asked", DefaultIsolation::Asked),
        ("assumed", DefaultIsolation::Assumed),
    ];
    Ok(given
        .choice("default-isolation", &choices)?
        .unwrap_or_default())
}

/// What becomes of a read whose reader is lost.
fn lost_reads(given: &Given) -> Result<LostReads, UsageError> {
    let choices = [("fail", LostReads::Fail), ("again", LostReads::Again)];
    Ok(given.choice("lost-reads", &choices)?.unwrap_or_default())
}

const ACCEPT: &[(&str, Accept)] = &[
    ("scram", Accept::Scram),
    ("scram-plus", Accept::ScramPlus),
    ("md5", Accept::Md5),
    ("password", Accept::Password),
    ("cert", Accept::Certificate),
    ("trust", Accept::Trust),
];

fn throttle(given: &Given) -> Result<Guard, UsageError> {
    let words = &[("on", Guard::On), ("off", Guard::Off)];
    Ok(given.choice("throttle", words)?.unwrap_or(Guard::Off))
}

/// Over what a password in clear goes on.
fn relayed_password(given: &Given) -> Result<RelayedPassword, UsageError> {
    let words = &[
        ("as-client", RelayedPassword::AsTheClient),
        ("tls", RelayedPassword::OverTls),
        ("any", RelayedPassword::Anyhow),
    ];
    Ok(given.choice("relayed-password", words)?.unwrap_or_default())
}

/// First words of statements that are denied.
fn deny(given: &Given) -> Result<Option<Deny>, UsageError> {
    for setting in given.all("deny-statement") {
        let word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphabetic());
        let mut words = setting.value.split_whitespace().peekable();
        if words.peek().is_none() || !words.all(word) {
            let message = format!("{:?}: not the first words of a statement", setting.value);
            return Err(blame(setting, message));
        }
    }
    let all = given.all("deny-statement");
    Ok(Deny::new(all.map(|setting| setting.value.as_str())))
}

/// Who may use the console.
fn operators(given: &Given, users: &Users) -> Result<Option<Operators>, UsageError> {
    let proof = given.choice(
        "console-auth",
        &[("secret", Proof::Secret), ("trust", Proof::Nothing)],
    )?;
    let mut names = BTreeSet::new();
    for setting in given.all("console-user") {
        let name = setting.value.as_bytes();
        let known = !matches!(*users.get(name), Credential::None);
        if !known && proof != Some(Proof::Nothing) {
            let message = format!("{:?} has no secret to prove", setting.value);
            return Err(blame(setting, message));
        }
        names.insert(name.to_vec());
    }
    match (names.is_empty(), given.one("console-auth")) {
        (true, Some(setting)) => Err(blame(setting, "unused: there is no --console-user")),
        (true, None) => Ok(None),
        (false, _) => Ok(Some(Operators {
            names,
            proof: proof.unwrap_or(Proof::Secret),
        })),
    }
}

/// How clients may log in to the proxy; nothing if it relays their logins.
fn accept(given: &Given) -> Result<Option<Vec<Accept>>, UsageError> {
    let terminates = given
        .choice("auth", &[("relay", false), ("terminate", true)])?
        .unwrap_or(false);
    let unused = |name: &str| match given.one(name) {
        Some(setting) => Err(blame(setting, "unused: --auth is relay")),
        None => Ok(()),
    };
    if !terminates {
        unused("accept")?;
        unused("client-ca")?;
        return Ok(None);
    }
    let Some(setting) = given.one("accept") else {
        let certificates = given.one("client-ca").map(|_| Accept::Certificate);
        return Ok(Some(
            [Accept::Scram].into_iter().chain(certificates).collect(),
        ));
    };
    let method = |name: &str| {
        let found = ACCEPT.iter().find(|(word, _)| *word == name.trim());
        found.map(|(_, method)| *method).ok_or_else(|| {
            let known: Vec<&str> = ACCEPT.iter().map(|(word, _)| *word).collect();
            let message = format!("{name:?} is none of {}", known.join(", "));
            blame(setting, message)
        })
    };
    let methods: Vec<Accept> = setting
        .value
        .split(',')
        .map(method)
        .collect::<Result<_, _>>()?;
    if methods.contains(&Accept::Scram) && methods.contains(&Accept::ScramPlus) {
        return Err(blame(
            setting,
            "scram-plus is part of scram: give one of them",
        ));
    }
    let certificates = methods.contains(&Accept::Certificate);
    match (certificates, given.one("client-ca")) {
        (true, None) => Err(blame(setting, "cert needs --client-ca")),
        (false, Some(setting)) => Err(blame(setting, "unused: --accept has no cert")),
        (true, Some(_)) | (false, None) => Ok(Some(methods)),
    }
}

const CLIENT_TLS: &[(&str, ClientTls)] = &[
    ("disable", ClientTls::Disable),
    ("allow", ClientTls::Allow),
    ("require", ClientTls::Require),
    ("passthrough", ClientTls::Passthrough),
];

const UPSTREAM_TLS: &[(&str, UpstreamTlsPolicy)] = &[
    ("disable", UpstreamTlsPolicy::Disable),
    ("allow", UpstreamTlsPolicy::Allow),
    ("prefer", UpstreamTlsPolicy::Prefer),
    ("require", UpstreamTlsPolicy::Require),
    ("verify-ca", UpstreamTlsPolicy::VerifyCa),
    ("verify-full", UpstreamTlsPolicy::VerifyFull),
];

const CANCEL_SOURCE: &[(&str, SourceCheck)] = &[
    ("any", SourceCheck::Off),
    ("same-address", SourceCheck::SameAddress),
];

/// What follows when a stream makes no sense.
fn out_of_sync(given: &Given) -> Result<OutOfSync, UsageError> {
    let choice = given.choice("out-of-sync", OUT_OF_SYNC)?;
    Ok(choice.unwrap_or_default())
}

const OUT_OF_SYNC: &[(&str, OutOfSync)] = &[
    ("error", OutOfSync::Error),
    ("close", OutOfSync::Close),
    ("pass", OutOfSync::Passthrough),
];

const NEGOTIATION: &[(&str, TlsNegotiation)] = &[
    ("postgres", TlsNegotiation::Postgres),
    ("direct", TlsNegotiation::Direct),
];

pub(crate) fn blame(setting: &Setting, message: impl Into<String>) -> UsageError {
    UsageError::new(setting.origin.clone(), setting.flag.name, message)
}

pub(crate) fn unreadable(setting: &Setting, error: &std::io::Error) -> UsageError {
    blame(setting, format!("{}: {error}", setting.value))
}

/// Which ports are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Fixed,
    AnyFree,
}

fn host_port(setting: &Setting, kind: Port) -> Result<HostPort, UsageError> {
    HostPort::parse(&setting.value, kind)
        .map_err(|what| blame(setting, format!("{:?}: {what}", setting.value)))
}

impl HostPort {
    /// Connects to the first of its addresses that answers.
    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        TcpStream::connect((self.host.as_str(), self.port)).await
    }

    pub(crate) fn parse(text: &str, kind: Port) -> Result<HostPort, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err("an IPv6 address goes in brackets, as [::1]:5432");
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Err("the host is empty");
        }
        match port.parse() {
            Ok(0) if kind == Port::Fixed => Err("port 0 is no port to connect to"),
            Ok(port) => Ok(HostPort {
                host: host.to_owned(),
                port,
            }),
            Err(_) => Err("the port is not a number up to 65535"),
        }
    }
}

/// The instances that hand each other's cancel requests on, if this is one of them.
fn cancel_ring(given: &Given) -> Result<Option<Ring>, UsageError> {
    let (file, instance) = match (given.one("cancel-ring"), given.one("cancel-instance")) {
        (Some(file), Some(instance)) => (file, instance),
        (None, None) => return Ok(None),
        (Some(file), None) => return Err(blame(file, "needs --cancel-instance")),
        (None, Some(instance)) => return Err(blame(instance, "unused: there is no --cancel-ring")),
    };
    let number = instance.value.parse();
    let number = number.map_err(|_| blame(instance, "expected a number"))?;
    let text = std::fs::read_to_string(&file.value).map_err(|error| unreadable(file, &error))?;
    Ring::parse(&text, number)
        .map(Some)
        .map_err(|bad| bad_line(file, &bad))
}

/// Where metrics are served: whoever gives a port alone wants them to stay on this machine.
fn metrics_address(setting: &Setting) -> Result<HostPort, UsageError> {
    let port = setting.value.strip_prefix(':').unwrap_or(&setting.value);
    match port.parse() {
        Ok(port) => Ok(HostPort {
            host: "127.0.0.1".to_owned(),
            port,
        }),
        Err(_) => host_port(setting, Port::AnyFree),
    }
}

pub(crate) fn bad_line(setting: &Setting, bad: &users::BadLine) -> UsageError {
    blame(
        setting,
        format!("{}:{}: {}", setting.value, bad.line, bad.message),
    )
}

#[cfg(test)]
mod tests {
    use pgturnout::auth::Credential;

    use super::*;
    use crate::cli::{self, Command};
    use pgturnout::auth::Likeness;

    fn options(args: &[&str]) -> Result<Options, String> {
        let settings = match cli::parse(args.iter().map(std::ffi::OsString::from)) {
            Ok(Command::Run(settings)) => settings,
            Ok(Command::Help) => panic!("asked for help"),
            Err(error) => return Err(error.to_string()),
        };
        Given::with_config_file(settings)
            .and_then(|given| Options::new(&given))
            .map_err(|error| error.to_string())
    }

    /// The least that has to be given, and more.
    fn with(more: &[&str]) -> Result<Options, String> {
        options(&[&["--listen", "127.0.0.1:0", "--writer", "db:5432"], more].concat())
    }

    fn refused(more: &[&str]) -> String {
        with(more)
            .err()
            .unwrap_or_else(|| panic!("{more:?} was taken"))
    }

    /// A file that is removed at the end of the test.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(name: &str, text: &str) -> TestFile {
            let path =
                std::env::temp_dir().join(format!("pgturnout-{}-{name}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            TestFile(path)
        }

        pub(crate) fn path(&self) -> &str {
            self.0.to_str().unwrap()
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn defaults() {
        let options = with(&[]).unwrap();
        assert_eq!(
            options.listen,
            HostPort {
                host: "127.0.0.1".to_owned(),
                port: 0
            }
        );
        assert_eq!(options.writer.to_string(), "db:5432");
        assert!(options.readers.is_empty() && options.identities.users.is_empty());
        assert_eq!((options.gate, options.split), (Gate::Writer, Split::On));
        assert_eq!(options.client_tls, ClientTls::Disable);
        assert_eq!(options.upstream_tls, UpstreamTlsPolicy::Prefer);
        assert!(!options.log_routes && options.metrics.is_none());
    }

    #[test]
    fn metrics_stay_on_this_machine_unless_told_otherwise() {
        for (value, address) in [
            ("9187", "127.0.0.1:9187"),
            (":9187", "127.0.0.1:9187"),
            ("0.0.0.0:9187", "0.0.0.0:9187"),
            ("[::1]:0", "[::1]:0"),
        ] {
            let options = with(&["--metrics", value]).unwrap();
            assert_eq!(options.metrics.unwrap().to_string(), address);
        }
        assert_eq!(
            refused(&["--metrics", "here"]),
            "--metrics: \"here\": expected HOST:PORT"
        );
    }

    #[test]
    fn addresses() {
        let options = with(&["--reader", "[::1]:5433", "--reader=standby.example:1"]).unwrap();
        let readers: Vec<_> = options.readers.iter().map(HostPort::to_string).collect();
        assert_eq!(readers, ["[::1]:5433", "standby.example:1"]);
        assert_eq!(options.readers[0].host, "::1");
        for (value, why) in [
            ("db", "expected HOST:PORT"),
            (":5432", "the host is empty"),
            ("[]:5432", "the host is empty"),
            (
                "::1:5432",
                "an IPv6 address goes in brackets, as [::1]:5432",
            ),
            ("db:", "the port is not a number up to 65535"),
            ("db:65536", "the port is not a number up to 65535"),
            ("db:0", "port 0 is no port to connect to"),
        ] {
            let error = refused(&["--reader", value]);
            assert_eq!(error, format!("--reader: {value:?}: {why}"));
        }
    }

    #[test]
    fn what_would_be_gone_around_is_refused() {
        let passing = |more: &[&str]| refused(&[&["--client-tls", "passthrough"], more].concat());
        assert_eq!(
            passing(&["--throttle", "on"]),
            "--throttle: sees no login behind --client-tls passthrough"
        );
        assert_eq!(
            passing(&["--deny-statement", "drop"]),
            "--deny-statement: sees no statement behind --client-tls passthrough"
        );
    }

    /// Whoever may say where a client connects from has to be named.
    #[test]
    fn whose_headers_are_believed() {
        for (more, message) in [
            (
                &["--proxy-protocol", "optional"][..],
                "--proxy-protocol: needs --proxy-protocol-from: whom to believe",
            ),
            (
                &["--proxy-protocol", "require"],
                "--proxy-protocol: needs --proxy-protocol-from: whom to believe",
            ),
            (
                &["--proxy-protocol-from", "::1"],
                "--proxy-protocol-from: unused: --proxy-protocol is off",
            ),
            (
                &[
                    "--proxy-protocol=require",
                    "--proxy-protocol-from=10.0.0.0/8,10.1/16",
                ],
                "--proxy-protocol-from: expected an address, or a network as 192.0.2.0/24 or 2001:db8::/32",
            ),
        ] {
            assert_eq!(refused(more), message);
        }
        let believed = with(&[
            "--proxy-protocol=optional",
            "--proxy-protocol-from=10.0.0.0/8, ::1",
        ]);
        let all = with(&["--proxy-protocol=require", "--proxy-protocol-from=all"]);
        assert!(believed.is_ok() && all.is_ok());
    }

    #[test]
    fn whom_to_believe_is_said_where_somebody_asks() {
        for (more, message) in [
            (
                &["--upstream-tls", "verify-full"][..],
                "--upstream-tls: verify-full needs --upstream-ca",
            ),
            (
                &["--upstream-tls", "verify-ca"],
                "--upstream-tls: verify-ca needs --upstream-ca",
            ),
            (
                &["--upstream-ca", "ca"],
                "--upstream-ca: unused: --upstream-tls is not verify-ca or verify-full",
            ),
        ] {
            assert_eq!(refused(more), message, "{more:?}");
        }
        for policy in ["verify-ca", "verify-full"] {
            assert!(with(&["--upstream-tls", policy, "--upstream-ca", "ca"]).is_ok());
        }
    }

    #[test]
    fn what_is_missing_unknown_or_contradictory_names_its_flag() {
        assert_eq!(
            options(&["--listen", "a:1"]).err().unwrap(),
            "--writer: required, and not given"
        );
        for (more, message) in [
            (
                &["--split", "yes"][..],
                "--split: \"yes\" is none of on, off",
            ),
            (&["--gate", "reader"], "--gate: there is no --reader"),
            (
                &["--client-tls", "allow"],
                "--client-tls: needs --tls-cert and --tls-key",
            ),
            (
                &["--tls-cert", "c"],
                "--tls-key: missing: --tls-cert is given",
            ),
            (
                &["--tls-key", "k"],
                "--tls-cert: missing: --tls-key is given",
            ),
            (
                &["--tls-cert", "c", "--tls-key", "k"],
                "--tls-cert: unused: --client-tls is disable",
            ),
            (
                &[
                    "--tls-cert",
                    "c",
                    "--tls-key",
                    "k",
                    "--client-tls",
                    "passthrough",
                ],
                "--tls-cert: unused: --client-tls is passthrough",
            ),
            (
                &["--upstream-tls-negotiation", "direct"],
                "--upstream-tls-negotiation: direct needs --upstream-tls require, verify-ca or verify-full",
            ),
            (
                &["--deny-statement", "drop;"],
                "--deny-statement: \"drop;\": not the first words of a statement",
            ),
            (
                &["--cancel-source", "mine"],
                "--cancel-source: \"mine\" is none of any, same-address",
            ),
        ] {
            assert_eq!(refused(more), message, "{more:?}");
        }
        let no_file = refused(&["--users-file", "/no/such/file"]);
        assert!(
            no_file.starts_with("--users-file: /no/such/file: "),
            "{no_file}"
        );
    }

    #[test]
    fn users_come_from_the_file_and_the_command_line_which_wins() {
        let file = TestFile::new("users", "a:1\n\"b\" \"2\"\n");
        let options = with(&[
            "--users-file",
            file.path(),
            "--user",
            "b:3",
            "--user",
            "c:x:y",
        ])
        .unwrap();
        let password = |name: &str| match &*options.identities.users.get(name.as_bytes()) {
            Credential::Password(secret) => secret.expose().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(options.identities.users.len(), 3);
        assert_eq!(
            [password("a"), password("b"), password("c")],
            [&b"1"[..], b"3", b"x:y"]
        );
    }

    #[test]
    fn who_clients_are_to_the_servers() {
        let file = TestFile::new("upstream", "alice:app:hunter2\n\"bob\" \"app\"\n");
        let named = ["--auth=terminate", "--upstream-users-file", file.path()];
        let place = format!("--upstream-users-file: {}:2: ", file.path());
        let missing = refused(&named);
        assert_eq!(missing, place + "no secret, and no --credential-command");
        let asks = [
            "--credential-command=c",
            "--upstream-tls=require",
            "--user=carol:x",
        ];
        let options = with(&[&named[..], &asks].concat()).unwrap();
        let upstream = |name: &str| {
            let other = options.identities.upstream.get(name.as_bytes()).unwrap();
            format!("{other:?} {:?}", other.credential)
        };
        assert_eq!(
            upstream("alice"),
            "UpstreamUser(app) Credential::Password(..)"
        );
        assert_eq!(
            upstream("bob"),
            "UpstreamUser(app) Credential::External(..)"
        );
        assert_eq!(
            upstream("carol"),
            "UpstreamUser(carol) Credential::External(..)"
        );
        for (more, message) in [
            (
                &["--users-command=c"][..],
                "--users-command: unused: --auth is relay",
            ),
            (
                &["--auth=terminate", "--unknown-user=md5"],
                "--unknown-user: unused: there is no --users-command",
            ),
            (
                &[
                    "--auth=terminate",
                    "--users-command=c",
                    "--unknown-user=scram:0",
                ],
                "--unknown-user: expected password, md5 or scram[:ITERATIONS[:SALT]], with at most 100000 iterations and 1024 bytes of salt",
            ),
            (
                &["--auth=terminate", "--users-command=c", "--user=a:x"],
                "--user: unused: --users-command is given",
            ),
            (
                &["--auth=terminate", "--credential-command=c"],
                "--credential-command: tokens are not sent in clear: needs --upstream-tls require, verify-ca or verify-full",
            ),
        ] {
            assert_eq!(refused(more), message, "{more:?}");
        }
    }

    #[test]
    fn who_is_unknown_is_like_those_who_are_not() {
        let scram = |iterations, salt_len| Likeness::ScramVerifier {
            iterations,
            salt_len,
        };
        for (words, likeness) in [
            ("password", Some(Likeness::Password)),
            ("md5", Some(Likeness::Md5Digest)),
            ("scram", Some(scram(4_096, 16))),
            ("scram:10000", Some(scram(10_000, 16))),
            ("scram:10000:20", Some(scram(10_000, 20))),
            ("scram:100000:1024", Some(scram(100_000, 1_024))),
            ("scram:100001", None),
            ("scram:1:1025", None),
            ("scram:1:0", None),
            ("scram:", None),
            ("scram:1:2:3", None),
            ("md5:1", None),
            ("gss", None),
        ] {
            let word = format!("--unknown-user={words}");
            let given = [&word[..], "--auth=terminate", "--users-command=c"];
            let unknown = with(&given).map(|options| options.identities.unknown);
            assert_eq!(unknown.ok(), likeness.map(|it| vec![it]), "{words}");
        }
        let both = ["--unknown-user=md5", "--unknown-user=scram:5000"];
        let more = ["--auth=terminate", "--users-command=c"];
        let options = with(&[&both[..], &more].concat()).unwrap();
        assert_eq!(
            options.identities.unknown,
            [Likeness::Md5Digest, scram(5_000, 16)]
        );
    }

    /// Nobody gets in with an empty password, so a line with one is a mistake that nobody would find.
    #[test]
    fn other_users_have_no_empty_passwords() {
        let digest = "md5f1e0b5b5b8d3ac1b6c4b8a5a0e7e9b2a";
        for (line, refused_too) in [
            ("alice:app:", true),
            ("\"alice\" \"app\" \"\"", true),
            (&format!("alice:app:{digest}")[..], false),
            ("alice:app:x", false),
        ] {
            let file = TestFile::new("upstream", &format!("# first\n{line}\n"));
            let given = ["--auth=terminate", "--upstream-users-file", file.path()];
            match with(&given) {
                Ok(_) => assert!(!refused_too, "{line}"),
                Err(error) => {
                    assert!(refused_too, "{line}: {error}");
                    let at = format!("{}:2: the password is empty", file.path());
                    assert!(error.to_string().contains(&at), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_writer_is_dialled_again_so_often() {
        let again = |times, ms| WriterRetry::Again {
            times,
            delay: Duration::from_millis(ms),
        };
        for (word, retry) in [
            ("off", Some(WriterRetry::NoRetry)),
            ("10:500", Some(again(10, 500))),
            ("100:0", Some(again(100, 0))),
            ("101:1", None),
            ("10", None),
            ("10:", None),
            ("-1:5", None),
        ] {
            let options = with(&["--writer-retry", word]);
            let read = options.map(|options| options.writer_retry);
            assert_eq!(read.ok(), retry, "{word}");
        }
        let pass = ["--out-of-sync", "pass"];
        assert!(with(&pass).is_ok());
        for deny in [&["--deny-statement", "drop"][..], &["--throttle", "on"]] {
            let message = refused(&[&pass[..], deny].concat());
            assert!(
                message.starts_with("--out-of-sync: pass is not"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_ring_is_read_as_one_of_its_instances() {
        let file = TestFile::new(
            "ring",
            "secret 0123456789abcdef\ninstance 7 a:1\ninstance 8 b:2",
        );
        let ring = ["--cancel-ring", file.path(), "--cancel-instance", "8"];
        let own = with(&ring).unwrap().cancel_ring.unwrap().own().to_string();
        assert_eq!(own, "b:2");
        let from = ["--cancel-source", "same-address"];
        assert_eq!(
            refused(&[&ring[..], &from].concat()),
            "--cancel-source: what other instances hand on comes from their addresses"
        );
        let (file, none) = ("--cancel-ring", "/dev/null");
        let number = "--cancel-instance";
        for (more, message) in [
            (&[file, none][..], "--cancel-ring: needs --cancel-instance"),
            (
                &[number, "1"],
                "--cancel-instance: unused: there is no --cancel-ring",
            ),
            (
                &[file, none, number, "one"],
                "--cancel-instance: expected a number",
            ),
            (
                &[file, none, number, "1"],
                "--cancel-ring: /dev/null:1: there is no line of this instance",
            ),
        ] {
            assert_eq!(refused(more), message);
        }
    }

    #[test]
    fn a_wrong_user_names_its_place_and_not_its_secret() {
        let file = TestFile::new("broken", "a:1\nSCRAM-SHA-256$hunter2\n");
        let place = format!("--users-file: {}:2: expected NAME:SECRET", file.path());
        assert_eq!(refused(&["--users-file", file.path()]), place);
        assert_eq!(
            refused(&["--user", "hunter2"]),
            "--user: expected NAME:SECRET"
        );
        assert_eq!(
            refused(&["--user", "a:hunter2", "--user", "a:x"]),
            "--user: a is given twice"
        );
        let verifier = refused(&["--user", "a:SCRAM-SHA-256$hunter2"]);
        assert!(
            verifier.starts_with("--user: a: ") && !verifier.contains("hunter2"),
            "{verifier}"
        );
    }

    #[test]
    fn reads_after_writes() {
        let freshness = |more: &[&str]| with(more).map(|options| options.read_your_writes);
        for (more, expected) in [
            (&[][..], ReadYourWrites::Off),
            (&["--read-your-writes", "off"], ReadYourWrites::Off),
            (
                &["--read-your-writes", "replayed"],
                ReadYourWrites::Replayed,
            ),
            (
                &["--read-your-writes", "1500"],
                ReadYourWrites::For(Duration::from_millis(1_500)),
            ),
            (&["--read-your-writes", "reads:3"], ReadYourWrites::Reads(3)),
        ] {
            assert_eq!(freshness(more).unwrap(), expected, "{more:?}");
        }
        for wrong in ["2s", "reads:", "reads:-1"] {
            assert_eq!(
                refused(&["--read-your-writes", wrong]),
                format!(
                    "--read-your-writes: {wrong:?} is neither off nor replayed nor a number of \
                     milliseconds or of reads"
                )
            );
        }
        let lost = |more: &[&str]| with(more).unwrap().lost_reads;
        assert_eq!(lost(&[]), LostReads::Fail);
        assert_eq!(lost(&["--lost-reads", "again"]), LostReads::Again);
        let isolation = |more: &[&str]| with(more).unwrap().default_isolation;
        assert_eq!(isolation(&[]), DefaultIsolation::Asked);
        let assumed = isolation(&["--default-isolation", "assumed"]);
        assert_eq!(assumed, DefaultIsolation::Assumed);
        assert_eq!(with(&[]).unwrap().optimistic, Optimistic::Off);
        let on = with(&["--optimistic", "on"]).unwrap();
        assert_eq!(on.optimistic, Optimistic::On);
        let begun = |more: &[&str]| with(more).unwrap().read_only_transactions;
        assert_eq!(begun(&[]), ReadOnlyTransactions::Writer);
        let reader = begun(&["--read-only-transactions", "reader"]);
        assert_eq!(reader, ReadOnlyTransactions::Reader);
    }

    #[test]
    fn ways_to_log_in() {
        let tls = ["--client-tls", "allow", "--tls-cert", "c", "--tls-key", "k"];
        let accept = |more: &[&str]| with(&[&tls, more].concat()).unwrap().accept;
        use Accept::*;
        for (more, expected) in [
            (&[][..], None),
            (&["--auth", "relay"], None),
            (&["--auth", "terminate"], Some(vec![Scram])),
            (
                &["--auth", "terminate", "--client-ca", "ca"],
                Some(vec![Scram, Certificate]),
            ),
            (
                &["--auth", "terminate", "--accept", "scram, md5,password"],
                Some(vec![Scram, Md5, Password]),
            ),
            (
                &["--auth", "terminate", "--accept", "scram-plus"],
                Some(vec![ScramPlus]),
            ),
        ] {
            assert_eq!(accept(more), expected, "{more:?}");
        }
        for (more, message) in [
            (
                &["--accept", "scram"][..],
                "--accept: unused: --auth is relay",
            ),
            (
                &["--client-ca", "ca"],
                "--client-ca: unused: --auth is relay",
            ),
            (
                &["--auth", "both"],
                "--auth: \"both\" is none of relay, terminate",
            ),
            (
                &["--auth", "terminate", "--accept", "cert"],
                "--accept: cert needs --client-ca",
            ),
            (
                &["--auth", "terminate", "--accept", "md5", "--client-ca", "c"],
                "--client-ca: unused: --accept has no cert",
            ),
            (
                &["--auth", "terminate", "--accept", "scram,scram-plus"],
                "--accept: scram-plus is part of scram: give one of them",
            ),
            (
                &["--auth", "terminate", "--accept", "pam"],
                "--accept: \"pam\" is none of scram, scram-plus, md5, password, cert, trust",
            ),
            (
                &["--auth", "terminate", "--accept", "password,scram-plus"],
                "--accept: all of it needs TLS, and --client-tls is disable",
            ),
            (
                &["--auth", "terminate", "--client-tls", "passthrough"],
                "--auth: terminate cannot check clients behind --client-tls passthrough",
            ),
        ] {
            assert_eq!(refused(more), message, "{more:?}");
        }
        assert_eq!(
            refused(&["--auth", "terminate", "--client-ca", "ca"]),
            "--client-ca: unused: --client-tls is disable"
        );
    }

    #[test]
    fn the_command_line_wins_over_the_file_flag_by_flag() {
        let text = "listen = 'a:1'\nwriter = 'b:2'\nreader = ['c:3', 'd:4']\nsplit = 'off'\nlog-routes = true\n";
        let file = TestFile::new("config", text);
        let config = ["--config", file.path()];
        let options = options(&[&config[..], &["--reader", "e:5", "--split=on"]].concat()).unwrap();
        let readers: Vec<_> = options.readers.iter().map(HostPort::to_string).collect();
        assert_eq!(
            (options.writer.to_string(), readers),
            ("b:2".to_owned(), vec!["e:5".to_owned()])
        );
        assert!(options.split == Split::On && options.log_routes);
    }

    #[test]
    fn a_wrong_value_in_the_file_names_the_file_and_line() {
        let file = TestFile::new("wrong", "\ngate = 'both'\n");
        let expected = format!(
            "{}:2: gate: \"both\" is none of writer, reader",
            file.path()
        );
        assert_eq!(refused(&["--config", file.path()]), expected);
    }
}
