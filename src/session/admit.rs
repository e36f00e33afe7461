//! The client's login, ended here: it proves itself to us, and then the upstreams are logged in to in its name.
//!
//! No upstream is dialled for a client that was not let in. What its proof has shown (a password, the keys of a
//! verifier) serves for every login of the session and is forgotten at its end.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::client::{ClientPhase, Question, is_no_proof};
use super::leg::Hashing;
use super::policy_login::LoginOutcome;
use super::upstream::frame_limit;
use super::{Action, ClientAuth, CloseCause, Demand, Event, PeerId, Session, Tell, UserSource};
use crate::auth::{
    Accepted, Admission, AdmitNonces, Admitting, Credential, FoundUser, Rejected, ServerReport,
};
use crate::ledger::Fate;
use crate::limits;
use crate::migrate::Dialect;
use crate::migrate::cockroach::with_address;
use crate::route::Route;
use crate::startup::{BuildError, ProtocolVersion, StartupParams};
use crate::wire::{Header, sqlstate, tags};

impl<R: Route> Session<R> {
    /// The client has opened the session: it logs in to the gate through us, or to us.
    pub(super) fn begin_login(&mut self, now: Instant) {
        let config = Arc::clone(&self.config);
        match &config.authentication {
            ClientAuth::Relay => {
                self.client.phase = ClientPhase::LoggingIn(Question::None);
                self.dial(now, self.gate());
            }
            ClientAuth::Terminate(policy) => {
                let Some(startup) = self.client.startup.clone() else {
                    return;
                };
                let user = startup.user();
                match config.user_source {
                    UserSource::Caller => {
                        self.client.phase = ClientPhase::Finding;
                        let user = user.into();
                        self.act(Action::FindUser { user });
                    }
                    UserSource::Listed => {
                        let (connection, nonces) = (self.client.connection(), self.nonces());
                        let users = &config.users;
                        let admission = Admission::new(user, users, policy, connection, nonces);
                        self.ask_client(now, &startup, admission);
                    }
                }
            }
        }
    }

    fn nonces(&self) -> AdmitNonces {
        self.seed.admit_nonces()
    }

    /// The caller's answer to [`Action::FindUser`], or why there is none, in words for a log: the client is told that it
    /// cannot be checked. If nobody is being looked up any more, the answer goes nowhere.
    pub fn handle_user(&mut self, now: Instant, found: Result<FoundUser, String>) {
        let config = Arc::clone(&self.config);
        let (ClientPhase::Finding, ClientAuth::Terminate(policy), Some(startup)) = (
            &self.client.phase,
            &config.authentication,
            self.client.startup.clone(),
        ) else {
            return;
        };
        match found {
            Ok(found) => {
                self.client.upstream_user = found.upstream;
                let credential = Arc::new(found.credential);
                let (connection, nonces) = (self.client.connection(), self.nonces());
                let user = startup.user();
                let admission =
                    Admission::with_credential(user, credential, policy, connection, nonces);
                self.ask_client(now, &startup, admission);
            }
            Err(why) => {
                self.notify(Event::UserNotFound { why });
                let why = "the proxy cannot look up its users now";
                let tell = Tell::fatal(sqlstate::CANNOT_CONNECT_NOW, why);
                self.end(now, CloseCause::ClientFault(Some(tell.state)), Some(tell));
            }
        }
        self.couple(now);
    }

    /// Asks the client for its proof.
    fn ask_client(&mut self, now: Instant, startup: &StartupParams, mut admission: Admission) {
        let mut out = BytesMut::new();
        self.client.minor = startup.negotiate(ProtocolVersion::V3_2, &mut out).minor;
        let step = admission.start(&mut out);
        self.client.phase = ClientPhase::Admitting(Box::new(admission), Hashing::Rest);
        self.admitting(now, &out, step);
    }

    /// As whom, and with what, upstreams are logged in to in the client's name.
    ///
    /// # Errors
    ///
    /// Its startup packet does not take the other name.
    pub(super) fn upstream_login(
        &self,
        startup: &StartupParams,
    ) -> Result<(StartupParams, Arc<Credential>), BuildError> {
        let user = startup.user();
        let found = self.client.upstream_user.as_ref();
        let (startup, credential) = match found.or_else(|| self.config.upstream_users.get(user)) {
            Some(other) => (startup.as_user(&other.name)?, Arc::clone(&other.credential)),
            None => (startup.clone(), self.credential(user)),
        };
        match (self.config.dialect, self.hook.endpoint) {
            (Dialect::Cockroach, Some(endpoint)) => {
                Ok((with_address(&startup, endpoint)?, credential))
            }
            (Dialect::Cockroach, None) | (Dialect::Postgres, _) => Ok((startup, credential)),
        }
    }

    /// One answer of the client, or a piece of hashing for it.
    pub(super) fn admit_input(&mut self, now: Instant, input: &[u8]) -> Demand {
        let ClientPhase::Admitting(admission, hashing) = &mut self.client.phase else {
            return Demand::Paused;
        };
        let mut out = BytesMut::new();
        if *hashing == Hashing::Running {
            let step = admission.work(&mut out);
            self.admitting(now, &out, step);
            return Demand::Again;
        }
        let header = match Header::parse_within(input, frame_limit(&self.config)) {
            Ok(Some(header)) => header,
            Ok(None) => return Demand::Bytes(Header::LEN),
            Err(_) => return self.answer_has_no_length(now),
        };
        if header.tag == tags::frontend::TERMINATE {
            self.tally.client.frontend(header.tag);
            self.end(now, CloseCause::ClientLeft, None);
            return Demand::Again;
        }
        if is_no_proof(header) {
            return self.answer_has_no_length(now);
        }
        let Some((body, _)) = header.split(input) else {
            return Demand::Bytes(usize::try_from(header.frame_len).unwrap_or(usize::MAX));
        };
        let step = admission.handle(header.tag, body, &mut out);
        self.tally.client.frontend(header.tag);
        let frame = u64::from(header.frame_len);
        if self
            .ledger
            .claim(PeerId::CLIENT.port(), Fate::Discard, frame)
            .is_err()
        {
            self.end(now, CloseCause::ClientFault(None), None);
            return Demand::Again;
        }
        self.admitting(now, &out, step);
        Demand::Again
    }

    /// Goes on with the client's login. `answer` is for the client, unless the policy has it told something else.
    fn admitting(&mut self, now: Instant, answer: &[u8], step: Admitting) {
        let outcome = match &step {
            Admitting::Wait | Admitting::Working => None,
            Admitting::Accepted(_) => Some(LoginOutcome::Accepted),
            Admitting::Refused(rejected) => {
                self.tally.refused(rejected.sqlstate());
                Some(LoginOutcome::Refused(Some(rejected.sqlstate())))
            }
        };
        if let Some(denial) = outcome.and_then(|outcome| self.judge_login(now, outcome)) {
            self.deny_login(now, denial);
            return;
        }
        self.push(PeerId::CLIENT, answer);
        match step {
            Admitting::Wait => self.hash(Hashing::Rest),
            Admitting::Working => self.hash(Hashing::Running),
            Admitting::Accepted(Accepted { method, credential }) => {
                self.client.credential = Some(credential);
                self.client.phase = ClientPhase::LoggingIn(Question::None);
                self.notify(Event::ClientProven { method });
                self.dial(now, self.gate());
            }
            Admitting::Refused(rejected) => self.reject(now, &rejected),
        }
    }

    fn hash(&mut self, wanted: Hashing) {
        if let ClientPhase::Admitting(_, hashing) = &mut self.client.phase {
            *hashing = wanted;
        }
    }

    fn reject(&mut self, now: Instant, rejected: &Rejected) {
        let tell = Tell::fatal(rejected.sqlstate(), rejected.to_string());
        let cause = CloseCause::ClientFault(Some(tell.state));
        self.end(now, cause, Some(tell));
    }

    /// What the client's proof has shown does not serve: it is not shown to a server again.
    pub(super) fn forget_proof(&mut self) {
        self.client.credential = None;
    }

    /// What the writer has noticed while we logged in for a client that logged in to us. More than a login has in earnest
    /// is left out.
    pub(super) fn pass_notices(&mut self, notices: &[ServerReport]) {
        if matches!(self.config.authentication, ClientAuth::Relay) {
            return;
        }
        let mut out = BytesMut::new();
        for notice in notices {
            let whole = out.len();
            let fits = notice.encode_notice(&mut out).is_ok()
                && out.len() <= limits::LOGIN_NOTICE_BYTES_TOLD;
            if !fits {
                out.truncate(whole);
                break;
            }
        }
        self.push(PeerId::CLIENT, &out);
    }

    /// With what upstreams are logged in to in the client's name: what its proof has shown, else what is listed.
    fn credential(&self, user: &[u8]) -> Arc<Credential> {
        match &self.client.credential {
            Some(learnt) => Arc::clone(learnt),
            None => self.config.users.get(user),
        }
    }
}
