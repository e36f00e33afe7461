//! The client's login, ended here: it proves itself to us, and then the upstreams are logged in to in its name.
//!
//! No upstream is dialled for a client that was not let in. What its proof has shown (a password, the keys of a
//! verifier) serves for every login of the session and is forgotten at its end.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::client::{ClientPhase, Question, SessionKind, is_no_answer};
use super::leg::Hashing;
use super::policy_login::LoginOutcome;
use super::upstream::frame_limit;
use super::{ClientAuth, CloseCause, Demand, Event, PeerId, Session, Tell};
use crate::auth::{Accepted, Admission, Admitting, Credential, Rejected, ServerReport};
use crate::ledger::Fate;
use crate::limits;
use crate::route::Route;
use crate::startup::ProtocolVersion;
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
            ClientAuth::Terminate(_) if self.client.kind == SessionKind::Stream => {
                let tell = Tell::fatal(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "replication connections cannot be opened through a proxy that checks passwords itself",
                );
                let cause = CloseCause::ClientFault(Some(tell.state));
                self.end(now, cause, Some(tell));
            }
            ClientAuth::Terminate(policy) => {
                let Some(startup) = self.client.startup.clone() else {
                    return;
                };
                let mut out = BytesMut::new();
                self.client.minor = startup.negotiate(ProtocolVersion::V3_2, &mut out).minor;
                let connection = self.client.connection();
                let nonces = self.seed.admit_nonces();
                let mut admission =
                    Admission::new(startup.user(), &config.users, policy, connection, nonces);
                let step = admission.start(&mut out);
                self.client.phase = ClientPhase::Admitting(Box::new(admission), Hashing::Rest);
                self.admitting(now, &out, step);
            }
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
            Err(_) => return self.admit_fault(now),
        };
        if header.tag == tags::frontend::TERMINATE {
            self.tally.client.frontend(header.tag);
            self.end(now, CloseCause::ClientLeft, None);
            return Demand::Again;
        }
        if is_no_answer(header) {
            return self.admit_fault(now);
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
            return self.admit_fault(now);
        }
        self.admitting(now, &out, step);
        Demand::Again
    }

    /// PostgreSQL closes the connection without a word, too.
    fn admit_fault(&mut self, now: Instant) -> Demand {
        self.end(now, CloseCause::ClientFault(None), None);
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
    pub(super) fn credential(&self, user: &[u8]) -> Arc<Credential> {
        match &self.client.credential {
            Some(learnt) => Arc::clone(learnt),
            None => self.config.users.get(user),
        }
    }
}
