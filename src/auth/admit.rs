//! The login of a client to ourselves: it proves who it is before any server hears of it.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::BytesMut;

use super::admit_check::{Check, Checked};
use super::admit_policy::{AdmitPolicy, Asked, ClientConnection};
use super::credential::Credential;
use super::likeness::{Likeness, Mix};
use super::md5::{md5_digest, salt};
use super::methods::Method;
use super::nonce::ScramNonce;
#[cfg(feature = "scram")]
use super::scram_server::{Account, Challenge, Checking, ClientFault, Hello, Offer, Verdict};
use super::users::{Kinds, Users};
#[cfg(feature = "scram")]
use crate::limits::SCRAM_STEP_ITERATIONS;
#[cfg(feature = "scram")]
use crate::wire::Names;
use crate::wire::password::parse_password;
#[cfg(feature = "scram")]
use crate::wire::password::{parse_sasl_initial, parse_sasl_response};
use crate::wire::tags::frontend::PASSWORD;
use crate::wire::{Authentication, Backend, Printable, SqlState, sqlstate};

/// What a login needs next.
#[derive(Debug)]
pub enum Admitting {
    /// Send the reply, if there is one, and hand in the client's next message.
    Wait,
    /// A password is being hashed: call [`Admission::work`] until it says something else, at leisure.
    Working,
    /// The client is who it says. The reply ends with AuthenticationOk.
    Accepted(Accepted),
    /// It is not: send the reply, tell the client why, and close.
    Refused(Rejected),
}

/// What is known of a client that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// How it proved itself.
    pub method: Method,
    /// What servers can be logged in to with in its name: what its proof has shown, else what is listed.
    pub credential: Arc<Credential>,
}

/// Why a client is not let in. Unknown users are told what known ones with a wrong password are told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// No such user, or another password.
    #[error("password authentication failed for user \"{}\"", Printable(.user))]
    Password {
        /// The name in the StartupMessage.
        user: Box<[u8]>,
    },
    /// The client has shown no certificate, or that of somebody else, and nothing else is allowed.
    #[error("certificate authentication failed for user \"{}\"", Printable(.user))]
    Certificate {
        /// The name in the StartupMessage.
        user: Box<[u8]>,
    },
    /// No method is allowed over a connection like this.
    #[error("no method of authentication is allowed over this connection")]
    NoMethod,
    /// Another message than one with the tag `p`.
    #[error("expected password response, got message type {0}")]
    Message(u8),
    /// A message that does not have the form of the answer.
    #[error("invalid password packet size")]
    Malformed,
    /// The SCRAM exchange broke a rule.
    #[cfg(feature = "scram")]
    #[error("{0}")]
    Scram(#[from] ClientFault),
    /// A call that does not fit the phase: the driver's mistake, or a call after the end.
    #[error("the login is not at that point, or has ended")]
    OutOfTurn,
}

impl Rejected {
    /// With what PostgreSQL refuses it.
    #[must_use]
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Rejected::Password { .. } => sqlstate::INVALID_PASSWORD,
            Rejected::Certificate { .. } | Rejected::NoMethod => sqlstate::INVALID_AUTHORIZATION,
            Rejected::Message(_) | Rejected::Malformed => sqlstate::PROTOCOL_VIOLATION,
            #[cfg(feature = "scram")]
            Rejected::Scram(fault) => fault.sqlstate(),
            Rejected::OutOfTurn => sqlstate::INTERNAL_ERROR,
        }
    }
}

/// Randomness for one login, from a cryptographic source, never used twice.
pub struct AdmitNonces {
    /// Our part of the nonce of SCRAM.
    pub scram: ScramNonce,
    /// The salt of MD5.
    pub md5: [u8; 4],
}

impl AdmitNonces {
    /// The nonces with this number, of all that can be made of one random key ([`ScramNonce::derive`]).
    #[must_use]
    pub fn derive(key: &[u8], number: u64) -> AdmitNonces {
        AdmitNonces {
            scram: ScramNonce::derive(key, number),
            md5: salt(key, number),
        }
    }
}

/// The login of one client to ourselves, by [`AdmitPolicy`] and [`Users`].
///
/// | awaiting | `p` | any other |
/// | --- | --- | --- |
/// | a password, as it is or hashed | accepted or refused | refused |
/// | the choice of a SASL mechanism | a challenge, or refused | refused |
/// | the proof | accepted or refused | refused |
/// | the end of our hashing | out of turn | out of turn |
///
/// ```
/// use std::sync::Arc;
/// use bytes::BytesMut;
/// use pgturnout::auth::*;
///
/// let mut users = Users::default();
/// users.insert(b"pgpg", Credential::password("pgpg"));
/// let policy = AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear); // your own secret, the same for every login
/// let nonces = AdmitNonces { scram: ScramNonce::from_bytes([7; 18]), md5: [1, 2, 3, 4] }; // from your random source
/// let connection = ClientConnection::default(); // not encrypted
/// let mut login = Admission::new(b"pgpg", &users, &policy, connection, nonces);
///
/// let mut out = BytesMut::new();
/// assert!(matches!(login.start(&mut out), Admitting::Wait));
/// assert_eq!(&out[..], b"R\0\0\0\x0c\0\0\0\x05\x01\x02\x03\x04");
/// out.clear();
/// let result = login.handle(b'p', b"md5e8dcacd3b532f5316ad9df7ed202ca21\0", &mut out);
/// assert!(matches!(result, Admitting::Accepted(_)));
/// assert_eq!(&out[..], b"R\0\0\0\x08\0\0\0\0");
/// ```
pub struct Admission {
    user: Box<[u8]>,
    credential: Arc<Credential>,
    nonces: AdmitNonces,
    phase: Phase,
}

enum Phase {
    New(Asked),
    Cleartext(Check),
    CleartextHashing(Check),
    Md5,
    /// AuthenticationSASL was sent.
    #[cfg(feature = "scram")]
    Offered(Offer, Account),
    /// The mechanism was chosen without the first message.
    #[cfg(feature = "scram")]
    Chosen(Offer, Account, Box<[u8]>),
    #[cfg(feature = "scram")]
    Challenged(Challenge, Method),
    #[cfg(feature = "scram")]
    Checking(Box<Checking>, Method),
    Ended,
}

/// The phase after a message, and what to tell the caller.
type Step = Result<(Phase, Admitting), Rejected>;

/// What is listed, unless it is an empty password or its digest: a server keeps none such, and who has one has none
/// (`CreateRole` of `user.c`). The digest is made for everybody, so that nobody's login takes another time. A verifier
/// would have to be hashed for: [`Credential::is_of_an_empty_password`] is for whoever loads it.
fn proving(user: &[u8], listed: Arc<Credential>) -> Arc<Credential> {
    let of_nothing = md5_digest(user, b"");
    let proves = match &*listed {
        Credential::Password(password) => !password.expose().is_empty(),
        Credential::Md5Digest(digest) => !digest.matches(&of_nothing),
        #[cfg(feature = "scram")]
        Credential::ScramKeys(_) | Credential::ScramVerifier(_) => true,
        Credential::External | Credential::None => true,
    };
    if proves {
        listed
    } else {
        Arc::new(Credential::None)
    }
}

impl Admission {
    /// A login as `user` over this connection.
    #[must_use]
    pub fn new(
        user: &[u8],
        users: &Users,
        policy: &AdmitPolicy,
        connection: ClientConnection,
        nonces: AdmitNonces,
    ) -> Admission {
        let listed = users.get(user);
        let drawn = policy.draw(user, users.mix());
        let likeness = if users.lists(user) {
            Likeness::of(&listed)
        } else {
            drawn
        };
        let among = (users.kinds(), users.mix());
        Admission::asking(user, listed, likeness, among, policy, connection, nonces)
    }

    /// A login as a user whose credential the caller has found; [`Credential::None`] if there is no such user, who is asked
    /// like those that [`AdmitPolicy::imitate`] names. Since nobody here knows what others have, everybody's proof costs
    /// what the dearest kind does.
    #[must_use]
    pub fn with_credential(
        user: &[u8],
        credential: Arc<Credential>,
        policy: &AdmitPolicy,
        connection: ClientConnection,
        nonces: AdmitNonces,
    ) -> Admission {
        let drawn = policy.draw(user, policy.imitated());
        let likeness = match &*credential {
            Credential::None => drawn,
            #[cfg(feature = "scram")]
            Credential::ScramKeys(_) | Credential::ScramVerifier(_) => Likeness::of(&credential),
            Credential::Password(_) | Credential::Md5Digest(_) | Credential::External => {
                Likeness::of(&credential)
            }
        };
        let among = (Kinds::ALL, policy.imitated());
        Admission::asking(
            user, credential, likeness, among, policy, connection, nonces,
        )
    }

    fn asking(
        user: &[u8],
        found: Arc<Credential>,
        likeness: Likeness,
        among: (Kinds, &Mix),
        policy: &AdmitPolicy,
        connection: ClientConnection,
        nonces: AdmitNonces,
    ) -> Admission {
        let credential = proving(user, found);
        let asked = policy.ask(user, &credential, likeness, among, connection);
        Admission {
            user: Box::from(user),
            credential,
            nonces,
            phase: Phase::New(asked),
        }
    }

    /// Appends what the client is asked to `reply`, or AuthenticationOk if it need not be asked anything.
    pub fn start(&mut self, reply: &mut BytesMut) -> Admitting {
        let phase = mem::replace(&mut self.phase, Phase::Ended);
        let result = if let Phase::New(asked) = phase {
            self.ask(asked, reply)
        } else {
            Err(Rejected::OutOfTurn)
        };
        self.settle(result)
    }

    /// Takes the client's next message, by its tag and its body, and appends the answer to `reply`.
    pub fn handle(&mut self, tag: u8, body: &[u8], reply: &mut BytesMut) -> Admitting {
        let phase = mem::replace(&mut self.phase, Phase::Ended);
        let result = if tag == PASSWORD {
            self.step(phase, body, reply)
        } else {
            Err(Rejected::Message(tag))
        };
        self.settle(result)
    }

    /// Works off at most [`SCRAM_STEP_ITERATIONS`] iterations of a password's
    /// hash, and appends the answer to `reply` when it is ready.
    pub fn work(&mut self, reply: &mut BytesMut) -> Admitting {
        let phase = mem::replace(&mut self.phase, Phase::Ended);
        let result = match phase {
            Phase::CleartextHashing(check) => self.judge_cleartext(check.work(), reply),
            #[cfg(feature = "scram")]
            Phase::Checking(checking, method) => self.judge_proof(*checking, method, reply),
            #[cfg(feature = "scram")]
            Phase::Offered(..) | Phase::Chosen(..) | Phase::Challenged(..) => {
                Err(Rejected::OutOfTurn)
            }
            Phase::New(_) | Phase::Cleartext(_) | Phase::Md5 | Phase::Ended => {
                Err(Rejected::OutOfTurn)
            }
        };
        self.settle(result)
    }

    fn settle(&mut self, result: Step) -> Admitting {
        match result {
            Ok((phase, admitting)) => {
                self.phase = phase;
                admitting
            }
            Err(rejected) => Admitting::Refused(rejected),
        }
    }

    fn wrong_password(&self) -> Rejected {
        Rejected::Password {
            user: self.user.clone(),
        }
    }

    fn ask(&self, asked: Asked, reply: &mut BytesMut) -> Step {
        match asked {
            Asked::Nothing(method) => {
                let credential = Arc::clone(&self.credential);
                Ok(accept(method, credential, reply))
            }
            Asked::Cleartext(check) => {
                say(reply, Authentication::CleartextPassword);
                Ok((Phase::Cleartext(check), Admitting::Wait))
            }
            Asked::Md5 => {
                let salt = self.nonces.md5;
                say(reply, Authentication::Md5Password { salt });
                Ok((Phase::Md5, Admitting::Wait))
            }
            #[cfg(feature = "scram")]
            Asked::Scram(offer, account) => {
                let mechanisms = Names::new(offer.mechanisms());
                say(reply, Authentication::Sasl { mechanisms });
                Ok((Phase::Offered(offer, account), Admitting::Wait))
            }
            Asked::Certificate => Err(Rejected::Certificate {
                user: self.user.clone(),
            }),
            Asked::Impossible => Err(Rejected::NoMethod),
        }
    }

    fn step(&self, phase: Phase, body: &[u8], reply: &mut BytesMut) -> Step {
        match phase {
            Phase::Cleartext(check) => {
                let given = parse_password(body).map_err(|_| Rejected::Malformed)?;
                self.judge_cleartext(check.begin(&self.user, given.password), reply)
            }
            Phase::Md5 => {
                let given = parse_password(body).map_err(|_| Rejected::Malformed)?;
                if self.is_md5(given.password) {
                    let credential = Arc::clone(&self.credential);
                    Ok(accept(Method::Md5, credential, reply))
                } else {
                    Err(self.wrong_password())
                }
            }
            #[cfg(feature = "scram")]
            Phase::Offered(offer, account) => {
                let first = parse_sasl_initial(body).map_err(|_| Rejected::Malformed)?;
                match first.data {
                    Some(data) => self.challenge(&offer, account, first.mechanism, data, reply),
                    None if !offer.mechanisms().contains(&first.mechanism) => {
                        Err(ClientFault::Mechanism.into())
                    }
                    None => {
                        say(reply, Authentication::SaslContinue { data: b"" });
                        let mechanism = Box::from(first.mechanism);
                        let phase = Phase::Chosen(offer, account, mechanism);
                        Ok((phase, Admitting::Wait))
                    }
                }
            }
            #[cfg(feature = "scram")]
            Phase::Chosen(offer, account, mechanism) => {
                let first = parse_sasl_response(body).map_err(|_| Rejected::Malformed)?;
                self.challenge(&offer, account, &mechanism, first.data, reply)
            }
            #[cfg(feature = "scram")]
            Phase::Challenged(challenge, method) => {
                let last = parse_sasl_response(body).map_err(|_| Rejected::Malformed)?;
                let checking = challenge.client_final(last.data)?;
                Ok((
                    Phase::Checking(Box::new(checking), method),
                    Admitting::Working,
                ))
            }
            #[cfg(feature = "scram")]
            Phase::Checking(..) => Err(Rejected::OutOfTurn),
            Phase::New(_) | Phase::CleartextHashing(_) | Phase::Ended => Err(Rejected::OutOfTurn),
        }
    }

    /// Whether this answers our MD5 question. Everybody's answer costs two hashes, whatever is listed.
    fn is_md5(&self, given: &[u8]) -> bool {
        let password = match &*self.credential {
            Credential::Password(password) => password.expose(),
            #[cfg(feature = "scram")]
            Credential::ScramKeys(_) | Credential::ScramVerifier(_) => b"",
            Credential::Md5Digest(_) | Credential::External | Credential::None => b"",
        };
        let made = md5_digest(&self.user, password);
        let (digest, known) = match &*self.credential {
            Credential::Password(_) => (&made, true),
            Credential::Md5Digest(digest) => (digest, true),
            #[cfg(feature = "scram")]
            Credential::ScramKeys(_) | Credential::ScramVerifier(_) => (&made, false),
            Credential::External | Credential::None => (&made, false),
        };
        digest.accepts(self.nonces.md5, given) && known
    }

    fn judge_cleartext(&self, checked: Checked, reply: &mut BytesMut) -> Step {
        match checked {
            Checked::More(check) => Ok((Phase::CleartextHashing(check), Admitting::Working)),
            Checked::Listed => {
                let credential = Arc::clone(&self.credential);
                Ok(accept(Method::Cleartext, credential, reply))
            }
            Checked::Learnt(password) => {
                let credential = Arc::new(Credential::Password(password));
                Ok(accept(Method::Cleartext, credential, reply))
            }
            Checked::Wrong => Err(self.wrong_password()),
        }
    }

    #[cfg(feature = "scram")]
    fn challenge(
        &self,
        offer: &Offer,
        account: Account,
        mechanism: &[u8],
        data: &[u8],
        reply: &mut BytesMut,
    ) -> Step {
        let hello = Hello::read(offer, mechanism, data)?;
        let method = if hello.is_bound() {
            Method::ScramSha256Plus
        } else {
            Method::ScramSha256
        };
        let challenge = hello.challenge(account, self.nonces.scram.text().as_bytes());
        let data = challenge.message();
        say(reply, Authentication::SaslContinue { data });
        Ok((Phase::Challenged(challenge, method), Admitting::Wait))
    }

    #[cfg(feature = "scram")]
    fn judge_proof(&self, checking: Checking, method: Method, reply: &mut BytesMut) -> Step {
        let proven = match checking.work(SCRAM_STEP_ITERATIONS) {
            Verdict::More(checking) => {
                return Ok((Phase::Checking(checking, method), Admitting::Working));
            }
            Verdict::Wrong => return Err(self.wrong_password()),
            Verdict::Proven(proven) => proven,
        };
        let data = proven.message();
        say(reply, Authentication::SaslFinal { data });
        let credential = match &*self.credential {
            // It serves servers with any salt.
            Credential::Password(_) => Arc::clone(&self.credential),
            Credential::ScramVerifier(_)
            | Credential::ScramKeys(_)
            | Credential::Md5Digest(_)
            | Credential::External
            | Credential::None => Arc::new(Credential::ScramKeys(proven.into_keys())),
        };
        Ok(accept(method, credential, reply))
    }
}

fn accept(method: Method, credential: Arc<Credential>, reply: &mut BytesMut) -> (Phase, Admitting) {
    say(reply, Authentication::Ok);
    let accepted = Accepted { method, credential };
    (Phase::Ended, Admitting::Accepted(accepted))
}

/// Appends a request. All that is sent here is short and without NULs in names, so that it can be encoded.
fn say(reply: &mut BytesMut, request: Authentication<'_>) {
    let encoded = Backend::Authentication(request).encode(reply);
    debug_assert!(encoded.is_ok(), "{encoded:?}");
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("user", &Printable(&self.user))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AdmitNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdmitNonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::md5::MADE;
    use super::super::methods::Channel;
    use super::*;

    /// B10: how many MD5 digests a question and a wrong answer cost, in that order.
    fn cost(users: &Users, user: &[u8], policy: &AdmitPolicy, answer: &[u8]) -> [usize; 2] {
        let nonces = AdmitNonces {
            scram: ScramNonce::from_bytes([7; 18]),
            md5: [1, 2, 3, 4],
        };
        let connection = ClientConnection {
            channel: Channel::Tls,
            ..ClientConnection::default()
        };
        let count = || MADE.replace(0);
        count();
        let mut login = Admission::new(user, users, policy, connection, nonces);
        let mut out = BytesMut::new();
        assert!(matches!(login.start(&mut out), Admitting::Wait));
        let asked = count();
        let mut state = login.handle(PASSWORD, answer, &mut out);
        while let Admitting::Working = state {
            state = login.work(&mut out);
        }
        assert!(matches!(state, Admitting::Refused(_)));
        [asked, count()]
    }

    #[test]
    fn everybody_costs_the_same_digests() {
        let policy = || AdmitPolicy::new([9; 32]);
        let digest = || Credential::Md5Digest(md5_digest(b"digest", b"pencil"));
        for (policy, answers, expected) in [
            (
                policy().allow_md5(Channel::Clear),
                [&b"md50123456789abcdef0123456789abcdef\0"[..], b"x\0"],
                [1, 2],
            ),
            (policy().allow_cleartext(), [b"wrong\0", b"\0"], [1, 1]),
        ] {
            let mut users = Users::default();
            users.insert(b"password", Credential::password("pencil"));
            users.insert(b"digest", digest());
            users.insert(b"outside", Credential::External);
            users.insert(b"empty", Credential::password(""));
            for answer in answers {
                for user in [&b"password"[..], b"digest", b"outside", b"empty", b"nobody"] {
                    let cost = cost(&users, user, &policy, answer);
                    assert_eq!(cost, expected, "{}", user.escape_ascii());
                }
            }
        }
    }
}
