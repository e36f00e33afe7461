//! A model of PostgreSQL: enough of its protocol and of its SQL that a client's session means something.
//!
//! A [`Cluster`] is what the servers of a primary and its standbys share; a [`Server`] is the server's end of one
//! connection. Nothing here uses the crate under test: what both got wrong would not be noticed.

mod cluster;
mod copy;
mod encoding;
mod extended;
mod fault;
mod gss;
mod impostor;
mod login;
mod portal;
mod rows;
mod run;
#[cfg(feature = "scram")]
mod scram;
mod session;
mod settings;
mod simple;
mod sql;
mod switches;
mod transfer;
mod trouble;
mod tx;
mod wire;

use std::sync::Arc;

use super::journey::Lodging;
pub(crate) use cluster::{Cluster, Lag, Write};
pub(crate) use gss::gss_token;
pub(crate) use impostor::Impostor;
use login::Opening;
use session::Session;
use transfer::Withheld;
pub(crate) use transfer::{ADDRESS, Flaw, FlawKind, STATE, TOKEN};
use trouble::Planned;
pub(crate) use trouble::{FAILURES, Judgement};
pub(crate) use wire::{HELLO, HELLO_BACK, Mark, veil};
use wire::{Input, Output};

/// The password of every user.
pub(crate) const PASSWORD: &str = "pencil";

/// What the servers store of [`PASSWORD`] for SCRAM-SHA-256.
#[cfg(feature = "scram")]
pub(crate) fn stored_verifier() -> String {
    scram::stored()
}

/// What the servers store of [`PASSWORD`] for MD5.
pub(crate) fn stored_digest(user: &str) -> String {
    format!("md5{}", super::text::hex(&login::md5_stored(user)))
}

/// What servers make of [`PASSWORD`] and keep to themselves.
pub(crate) fn derived_secrets() -> Vec<Vec<u8>> {
    let users = [super::setup::USER, super::setup::RENAMED, "nobody"];
    #[cfg_attr(not(feature = "scram"), allow(unused_mut))]
    let mut out: Vec<Vec<u8>> = users.map(login::md5_stored).into();
    #[cfg(feature = "scram")]
    out.extend(scram::keys());
    out
}

/// With what a backend's statements are cancelled.
pub(crate) fn cancel_secret(backend: u32) -> Vec<u8> {
    login::secret(backend, false)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Node {
    Primary,
    Standby,
    /// Another standby, which replays on its own.
    Second,
}

impl Node {
    pub(crate) const ALL: [Node; 3] = [Node::Primary, Node::Standby, Node::Second];
    pub(crate) const STANDBYS: [Node; 2] = [Node::Standby, Node::Second];
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Login {
    Trust,
    Cleartext,
    Md5,
    /// SCRAM-SHA-256; without the feature `scram` the same as [`Login::Md5`].
    Scram,
    /// An exchange of tokens in two rounds, as with Kerberos, of which nobody on the way makes anything.
    Gss,
}

/// What the server says to SSLRequest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TlsAnswer {
    Yes,
    No,
    /// An ErrorResponse, as from a server that has never heard of TLS.
    Old,
    /// Yes, and in the same write a login that came through, as from somebody between.
    Stuffed,
    /// Neither S nor N nor E.
    Garbage,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerOptions {
    pub(crate) login: Login,
    pub(crate) tls: TlsAnswer,
    /// No login without TLS, as `hostssl` in `pg_hba.conf` has it.
    pub(crate) wants_tls: bool,
    /// Handshakes are among the bytes that come, and not somebody else's to do.
    pub(crate) end_to_end: bool,
    /// The major version: 15 or 18.
    pub(crate) version: u32,
    /// Settings of the server's own, as from postgresql.conf.
    pub(crate) parameters: Vec<(String, String)>,
    /// The SQLSTATE with which every login ends, as 53300 when there are too many connections.
    pub(crate) refuse_login: Option<String>,
    /// Its users have another password than [`PASSWORD`].
    pub(crate) other_password: bool,
    /// It is not the server that it should be.
    pub(crate) impostor: Option<Impostor>,
    /// The hash of its certificate, to which logins over TLS may be bound.
    pub(crate) end_point: Option<&'static [u8]>,
    /// The texts of its errors and notices are what no terminal should see, and no UTF-8.
    pub(crate) rude: bool,
    /// It speaks another language, as `lc_messages` has it: what of its errors and notices is translated is.
    pub(crate) foreign: bool,
    /// It tells of a setting twice in a login, as one does where a login trigger has set it.
    pub(crate) triggers: bool,
    /// It says that it sets what it is told to, and does not.
    pub(crate) forgetful: bool,
    /// It hands sessions out and takes them in, as CockroachDB's do.
    pub(crate) transfers: bool,
    /// In what it differs from the others of its cluster.
    pub(crate) lodging: Lodging,
}

impl ServerOptions {
    /// Whether a handshake may come without an SSLRequest before it, as from version 17 on.
    pub(crate) fn takes_handshakes(&self) -> bool {
        self.tls == TlsAnswer::Yes && self.version >= 17
    }
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            login: Login::Trust,
            end_point: None,
            tls: TlsAnswer::No,
            wants_tls: false,
            end_to_end: false,
            version: 15,
            parameters: Vec::new(),
            refuse_login: None,
            other_password: false,
            impostor: None,
            rude: false,
            foreign: false,
            triggers: false,
            forgetful: false,
            lodging: Lodging::Same,
            transfers: false,
        }
    }
}

/// Where a connection is, as far as a driver of the model may want to know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ServerPhase {
    /// Before the startup packet, or between SSLRequest and the end of the handshake.
    Opening,
    Authenticating,
    Idle,
    InTransaction,
    Failed,
    /// Extended messages have come whose Sync has not.
    Batch,
    /// An error: everything up to Sync is ignored.
    Skipping,
    CopyIn,
    /// A statement waits: for time to pass, or for a lock.
    Waiting,
    Closed,
}

/// One statement that a client had run, and the state of the session it ran in.
#[derive(Clone, Debug)]
pub(crate) struct Executed {
    pub(crate) text: Arc<str>,
    /// The values that were bound, as text.
    pub(crate) parameters: Vec<Option<String>>,
    /// Every setting's name and value, in the order of names; `role` is among them. A custom setting that was reset
    /// or rolled back is missing, though the server would show it as empty.
    pub(crate) settings: Arc<Vec<(Arc<str>, Arc<str>)>>,
    pub(crate) role: Arc<str>,
    /// Names of prepared statements, in order.
    #[allow(dead_code, reason = "only the model by itself is asked this")]
    pub(crate) prepared: Arc<Vec<Arc<str>>>,
    /// Whether in a transaction block that the client began.
    pub(crate) in_transaction: bool,
}

impl Executed {
    /// The value of a setting, if it has one.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let at = settings::find(&self.settings, name).ok()?;
        Some(&self.settings[at].1)
    }
}

/// The server's end of one connection.
pub(crate) struct Server {
    node: Node,
    backend: u32,
    options: ServerOptions,
    input: Input,
    out: Output,
    stage: Stage,
    /// What a CancelRequest named.
    cancels: Option<(i32, Vec<u8>)>,
    learned: Vec<String>,
    /// Set by [`Server::terminate_with`].
    ending: Option<String>,
    /// Failures that wait for the login.
    planned: Planned,
    withheld: Withheld,
    /// What was wrong with its last answer about a transfer.
    spoilt: Option<Flaw>,
}

enum Stage {
    Opening(Opening),
    Session(Box<Session>),
    /// With the session it was, for those who ask what ran.
    Closed(Option<Box<Session>>),
}

impl Server {
    pub(crate) fn new(node: Node, backend: u32, options: ServerOptions) -> Server {
        Server {
            node,
            backend,
            input: Input::default(),
            out: Output::new(options.rude, options.foreign),
            options,
            stage: Stage::Opening(Opening::default()),
            cancels: None,
            learned: Vec::new(),
            ending: None,
            planned: Planned::default(),
            withheld: Withheld::default(),
            spoilt: None,
        }
    }

    /// Takes bytes that arrived. Nothing happens yet.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.push(bytes);
    }

    /// Processes one packet or message if one is complete, and tells whether it did.
    pub(crate) fn step(&mut self, cluster: &mut Cluster) -> bool {
        let of_login = matches!(self.stage, Stage::Opening(_));
        self.out.answers(self.input.newest(), of_login);
        if let Some(code) = self.ending.take() {
            self.out.answers(None, of_login);
            self.out.fatal(&code, "terminating connection");
            self.close(cluster);
            return true;
        }
        match &mut self.stage {
            Stage::Opening(opening) => {
                let place = login::Place {
                    node: self.node,
                    backend: self.backend,
                    options: &self.options,
                };
                let next = opening.step(&mut self.input, &mut self.out, cluster, &place);
                let Some(next) = next else {
                    return false;
                };
                self.cancels = opening.cancels.take();
                self.learned.append(&mut opening.learned);
                match next {
                    login::Next::Go => {}
                    login::Next::Session(mut session) => {
                        *session.planned() = std::mem::take(&mut self.planned);
                        self.stage = Stage::Session(session);
                    }
                    login::Next::Refused(code) => {
                        self.out.fatal(&code, "the login is refused");
                        self.close(cluster);
                    }
                    login::Next::Close => self.close(cluster),
                }
                true
            }
            Stage::Session(session) => {
                let next = session.step(&mut self.input, &mut self.out, cluster);
                let spoilt = session.spoilt.take();
                let dies = spoilt.is_some_and(|flaw| flaw.kind == FlawKind::Dies);
                if let Some(flaw) = spoilt {
                    self.withheld.begin(flaw);
                    self.spoilt = Some(flaw);
                }
                match next {
                    _ if dies => {
                        self.close(cluster);
                        true
                    }
                    session::Next::Wait => false,
                    session::Next::Go => true,
                    session::Next::Close => {
                        self.close(cluster);
                        true
                    }
                }
            }
            Stage::Closed(_) => false,
        }
    }

    fn close(&mut self, cluster: &mut Cluster) {
        let ended = std::mem::replace(&mut self.stage, Stage::Closed(None));
        if let Stage::Session(mut session) = ended {
            session.end(cluster);
            self.stage = Stage::Closed(Some(session));
        }
    }

    /// Takes what it has sent. As PostgreSQL it sends at ReadyForQuery, Flush, CopyInResponse, requests of the
    /// login and errors that end the connection, and whenever 8 KiB have gathered.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        self.withheld.pass(self.out.take())
    }

    /// The messages that it has said since this was last asked, in its buffer or sent.
    pub(crate) fn marks(&mut self) -> Vec<Mark> {
        self.out.marks()
    }

    /// Whether a handshake may come without an SSLRequest before it.
    pub(crate) fn takes_handshakes(&self) -> bool {
        self.options.takes_handshakes()
    }

    /// Whether what it sends now is encrypted by itself.
    pub(crate) fn is_veiled(&self) -> bool {
        self.out.is_veiled()
    }

    /// The TLS handshake it agreed to is done.
    pub(crate) fn secured(&mut self) {
        if let Stage::Opening(opening) = &mut self.stage {
            opening.secured();
        }
    }

    /// Its next answer about a transfer is like this.
    pub(crate) fn errs(&mut self, flaw: Flaw) {
        if let Stage::Session(session) = &mut self.stage {
            session.flaw = Some(flaw);
        }
    }

    /// What was wrong with its answer, if it has given one since this was last asked. Until then it is only meant to be.
    pub(crate) fn has_erred(&mut self) -> Option<Flaw> {
        if let Stage::Session(session) = &mut self.stage {
            session.flaw = None;
        }
        self.spoilt.take()
    }

    /// The faults are over: it sends what it has kept.
    pub(crate) fn speaks_up(&mut self) {
        self.withheld.end();
    }

    /// The client closed: rolls back and ends at the next step.
    pub(crate) fn eof(&mut self) {
        self.input.end();
    }

    /// Whether it closed its side of the connection.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed(_))
    }

    pub(crate) fn phase(&self) -> ServerPhase {
        match &self.stage {
            Stage::Opening(opening) => opening.phase(),
            Stage::Session(session) => session.phase(),
            Stage::Closed(_) => ServerPhase::Closed,
        }
    }

    /// What ran, in order.
    pub(crate) fn executed(&self) -> &[Executed] {
        match &self.stage {
            Stage::Session(session) | Stage::Closed(Some(session)) => session.executed(),
            Stage::Opening(_) | Stage::Closed(None) => &[],
        }
    }

    /// A CancelRequest with its key arrived. A statement that waits ends with 57014 at the next step, which is told; anything
    /// else is not disturbed.
    pub(crate) fn cancel(&mut self) -> bool {
        match &mut self.stage {
            Stage::Session(session) => session.cancel(),
            Stage::Opening(_) | Stage::Closed(_) => false,
        }
    }

    /// Process id and secret, when the connection was a CancelRequest: whoever made the server delivers it.
    #[allow(dead_code, reason = "only the model by itself is asked this")]
    pub(crate) fn cancel_request(&self) -> Option<(i32, &[u8])> {
        let (id, secret) = self.cancels.as_ref()?;
        Some((*id, secret))
    }

    /// Process id and secret of BackendKeyData.
    pub(crate) fn key(&self) -> (i32, Vec<u8>) {
        let long = matches!(&self.stage, Stage::Session(session) if session.has_long_key());
        (self.backend as i32, login::secret(self.backend, long))
    }

    /// Secrets of its login, in every notation.
    pub(crate) fn learned(&self) -> &[String] {
        &self.learned
    }

    /// FATAL with this SQLSTATE at the next step.
    pub(crate) fn terminate_with(&mut self, code: &str) {
        self.ending = Some(code.to_owned());
    }
}
