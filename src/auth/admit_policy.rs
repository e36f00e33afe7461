//! How clients may prove to us who they are.

use std::fmt;

use super::admit_check::Check;
use super::certificate::TlsEndPoint;
use super::credential::Credential;
use super::likeness::{Likeness, Mix};
use super::methods::{Channel, Method};
#[cfg(feature = "scram")]
use super::scram_hash::keyed_code;
#[cfg(feature = "scram")]
use super::scram_server::{Account, Offer};
use super::users::Kinds;
#[cfg(feature = "scram")]
use super::users::Listed;
use crate::limits;
use crate::secret::{Secret, constant_time_eq};

/// The connection of a client that is to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConnection {
    /// What protects it. [`Channel::VerifiedTls`] means here that the client has shown a certificate.
    pub channel: Channel,
    /// The certificate that we have shown: what SCRAM can be bound to. Without it SCRAM-SHA-256-PLUS is not offered.
    pub end_point: Option<TlsEndPoint>,
    /// The name in the certificate that the client has shown and that was verified.
    pub identity: Option<Box<[u8]>>,
}

impl Default for ClientConnection {
    fn default() -> Self {
        ClientConnection {
            channel: Channel::Clear,
            end_point: None,
            identity: None,
        }
    }
}

/// Whether a certificate is proof enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Certificates {
    NoProof,
    Proof,
}

/// Whether SCRAM has to be bound to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Binding {
    IfOffered,
    Required,
}

/// How many iterations PostgreSQL hashes a password with unless it is told otherwise.
const ITERATIONS: u32 = 4_096;

/// How many bytes of salt PostgreSQL hashes a password with.
#[cfg(feature = "scram")]
const SALT_LEN: usize = 16;

/// How clients may prove to us who they are, and over what. It begins with nothing allowed.
///
/// Of what is allowed, a user is asked for the strongest that serves for what is listed: a password for SCRAM, MD5 and
/// cleartext, an MD5 digest for MD5 and cleartext, a verifier for SCRAM and cleartext. If it serves for nothing that is
/// allowed, the user is asked all the same, and refused whatever the answer.
///
/// A user who is not listed cannot be told from one with a wrong password. It is asked like one of those who are listed,
/// drawn by its name and the secret: where one in ten has a digest, one name in ten of those that do not exist is asked
/// for MD5, and the same one at every login. So is the length of its salt and the iteration count those of some verifier,
/// and so is the work. (PostgreSQL, whose `md5` in `pg_hba.conf` asks for SCRAM or MD5 by what is stored, asks all who do
/// not exist by `password_encryption`, with 16 bytes of salt: there, who is asked otherwise exists.) If the caller finds
/// the users, it has to say what they are like ([`AdmitPolicy::imitate`]).
///
/// ```
/// use pgturnout::auth::{AdmitPolicy, Channel};
///
/// let secret = [7; 32]; // from your random source, kept over restarts
/// let careful = AdmitPolicy::new(secret).allow_scram();
/// let older = AdmitPolicy::new(secret).allow_scram().allow_md5(Channel::Tls);
/// ```
pub struct AdmitPolicy {
    /// For each method the weakest connection that it may use; `None` forbids it.
    trust: Option<Channel>,
    cleartext: Option<Channel>,
    md5: Option<Channel>,
    scram: Option<Binding>,
    certificates: Certificates,
    /// How often passwords are hashed; `None` for as often as verifiers are.
    iterations: Option<u32>,
    /// What users are like whom the caller looks up.
    imitated: Mix,
    #[cfg_attr(
        not(feature = "scram"),
        expect(dead_code, reason = "only SCRAM has salts")
    )]
    mock: Secret,
}

/// What a client is asked.
pub(super) enum Asked {
    /// It is who it says.
    Nothing(Method),
    Cleartext(Check),
    Md5,
    #[cfg(feature = "scram")]
    Scram(Offer, Account),
    /// A certificate, which it has not shown.
    Certificate,
    /// Nothing is allowed over this connection.
    Impossible,
}

impl AdmitPolicy {
    /// Nothing is allowed. `mock_secret` is what the salts of users that do not exist are made of, and of those whose
    /// password is listed: whoever knows it can tell the two from users with a verifier. It should be random and the
    /// same for all sessions, or names would get another salt at each login.
    #[must_use]
    pub fn new(mock_secret: [u8; 32]) -> AdmitPolicy {
        AdmitPolicy {
            trust: None,
            cleartext: None,
            md5: None,
            scram: None,
            certificates: Certificates::NoProof,
            iterations: None,
            imitated: Mix::default(),
            mock: Secret::copy_of(&mock_secret),
        }
    }

    /// Lets everybody in over `least` or better: servers will be told that it is whoever it says it is.
    #[must_use]
    pub fn allow_trust(self, least: Channel) -> AdmitPolicy {
        AdmitPolicy {
            trust: Some(least),
            ..self
        }
    }

    /// Allows a password as it is, over TLS. No setting takes one in clear.
    #[must_use]
    pub fn allow_cleartext(self) -> AdmitPolicy {
        AdmitPolicy {
            cleartext: Some(Channel::Tls),
            ..self
        }
    }

    /// Allows MD5, over `least` or better. Whoever reads a login over a weaker connection can try passwords on it.
    #[must_use]
    pub fn allow_md5(self, least: Channel) -> AdmitPolicy {
        AdmitPolicy {
            md5: Some(least),
            ..self
        }
    }

    /// Allows SCRAM-SHA-256, and SCRAM-SHA-256-PLUS where the connection can be bound.
    #[must_use]
    pub fn allow_scram(self) -> AdmitPolicy {
        AdmitPolicy {
            scram: Some(Binding::IfOffered),
            ..self
        }
    }

    /// Allows SCRAM-SHA-256-PLUS, and SCRAM-SHA-256 no more.
    #[must_use]
    pub fn require_binding(self) -> AdmitPolicy {
        AdmitPolicy {
            scram: Some(Binding::Required),
            ..self
        }
    }

    /// A client whose certificate names the user needs no other proof. Others are asked for one, if there is another
    /// that is allowed.
    #[must_use]
    pub fn allow_certificates(self) -> AdmitPolicy {
        AdmitPolicy {
            certificates: Certificates::Proof,
            ..self
        }
    }

    /// How often passwords that are listed are hashed, between 1 and [`limits::SCRAM_ITERATIONS_MAX`]. Unless it is said
    /// here, as often as all verifiers that are listed beside them (of users whom the caller finds, those that are
    /// [imitated](AdmitPolicy::imitate)), if these agree: then nobody can tell who has which. Otherwise 4,096 times, as
    /// PostgreSQL does.
    #[must_use]
    pub fn iterations(self, iterations: u32) -> AdmitPolicy {
        AdmitPolicy {
            iterations: Some(iterations.clamp(1, limits::SCRAM_ITERATIONS_MAX)),
            ..self
        }
    }

    /// What the users are like whom the caller looks up ([`Admission::with_credential`](super::Admission::with_credential)):
    /// those who do not exist are asked like these, in equal shares, after more than one call. Unless it is said here, they
    /// are asked like one with a password. Of those who are listed we see it ourselves, and this is not looked at.
    #[must_use]
    pub fn imitate(mut self, likeness: Likeness) -> AdmitPolicy {
        self.imitated.add(likeness);
        self
    }

    pub(super) fn imitated(&self) -> &Mix {
        &self.imitated
    }

    /// What this user is asked like if it does not exist, of those who do.
    #[cfg(feature = "scram")]
    pub(super) fn draw(&self, user: &[u8], mix: &Mix) -> Likeness {
        // No name has a NUL: this is nobody's salt.
        let code = keyed_code(self.mock.expose(), &[&[0], user].concat());
        let point = code
            .expose()
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes));
        mix.at(point.unwrap_or_default())
    }

    /// Without SCRAM everybody is asked the same.
    #[cfg(not(feature = "scram"))]
    pub(super) fn draw(&self, _user: &[u8], mix: &Mix) -> Likeness {
        mix.at(0)
    }

    /// Whether a client may send its password as it is.
    pub(crate) fn takes_passwords(&self) -> bool {
        self.cleartext.is_some()
    }

    /// The weakest connection over which anything is allowed; `None` if nothing is over any.
    pub(crate) fn weakest(&self) -> Option<Channel> {
        #[cfg(feature = "scram")]
        let scram = self.scram.map(|binding| match binding {
            Binding::IfOffered => Channel::Clear,
            Binding::Required => Channel::Tls,
        });
        #[cfg(not(feature = "scram"))]
        let scram = None;
        let certificates = match self.certificates {
            Certificates::Proof => Some(Channel::VerifiedTls),
            Certificates::NoProof => None,
        };
        let all = [self.trust, self.cleartext, self.md5, scram, certificates];
        all.into_iter().flatten().min()
    }

    /// What this user is asked over this connection. The credential decides nothing here but which answer is right.
    pub(super) fn ask(
        &self,
        user: &[u8],
        credential: &Credential,
        likeness: Likeness,
        (kinds, mix): (Kinds, &Mix),
        connection: ClientConnection,
    ) -> Asked {
        let iterations = self.iterations_of_passwords(mix);
        let over = |least: Option<Channel>| least.is_some_and(|least| connection.channel >= least);
        let shown = connection.identity.as_deref();
        if self.certificates == Certificates::Proof
            && shown.is_some_and(|shown| constant_time_eq(shown, user))
        {
            return Asked::Nothing(Method::Certificate);
        }
        if over(self.trust) {
            return Asked::Nothing(Method::Trust);
        }
        #[cfg(feature = "scram")]
        let scram = self.offer(connection.end_point).map(|offer| {
            Asked::Scram(
                offer,
                self.account(user, credential, (likeness, iterations), kinds),
            )
        });
        #[cfg(not(feature = "scram"))]
        let scram: Option<Asked> = None;
        let md5 = over(self.md5).then_some(Asked::Md5);
        let cleartext = over(self.cleartext).then(|| {
            Asked::Cleartext(Check::new(
                credential,
                kinds,
                likeness.iterations().unwrap_or(iterations),
            ))
        });
        // What serves before what does not.
        let asked = match likeness {
            Likeness::Password => scram.or(md5).or(cleartext),
            Likeness::Md5Digest => md5.or(cleartext).or(scram),
            #[cfg(feature = "scram")]
            Likeness::ScramVerifier { .. } => scram.or(cleartext).or(md5),
        };
        asked.unwrap_or(match self.certificates {
            Certificates::Proof => Asked::Certificate,
            Certificates::NoProof => Asked::Impossible,
        })
    }

    /// How often passwords are hashed beside such users.
    fn iterations_of_passwords(&self, mix: &Mix) -> u32 {
        let like_verifiers = mix.iterations();
        let iterations = self.iterations.or(like_verifiers).unwrap_or(ITERATIONS);
        iterations.clamp(1, limits::SCRAM_ITERATIONS_MAX)
    }

    #[cfg(feature = "scram")]
    fn offer(&self, end_point: Option<TlsEndPoint>) -> Option<Offer> {
        match (self.scram?, end_point) {
            (Binding::IfOffered, None) => Some(Offer::Unbound),
            (Binding::IfOffered, Some(end_point)) => Some(Offer::Bindable(end_point)),
            (Binding::Required, None) => None,
            (Binding::Required, Some(end_point)) => Some(Offer::BoundOnly(end_point)),
        }
    }

    #[cfg(feature = "scram")]
    fn account(
        &self,
        user: &[u8],
        credential: &Credential,
        (likeness, iterations): (Likeness, u32),
        kinds: Kinds,
    ) -> Account {
        let salt = self.mock_salt(user, likeness);
        let nobody = || Account::nobody(&salt, likeness.iterations().unwrap_or(iterations));
        let account = match credential {
            Credential::Password(password) => Account::of_password(password, &salt, iterations),
            Credential::ScramVerifier(verifier) => Account::of_verifier(verifier),
            Credential::ScramKeys(keys) => keys
                .verifier()
                .map_or_else(nobody, |verifier| Account::of_verifier(&verifier)),
            Credential::Md5Digest(_) | Credential::External | Credential::None => nobody(),
        };
        if kinds.passwords == Listed::Somebody {
            account.worked_for()
        } else {
            account
        }
    }

    /// The salt of a user who has none: as long as that of those it is like, PostgreSQL's own length if they have none.
    #[cfg(feature = "scram")]
    fn mock_salt(&self, user: &[u8], likeness: Likeness) -> Vec<u8> {
        let len = match likeness {
            Likeness::ScramVerifier { salt_len, .. } => salt_len.clamp(1, limits::SCRAM_SALT_MAX),
            Likeness::Password | Likeness::Md5Digest => SALT_LEN,
        };
        let mut salt = keyed_code(self.mock.expose(), user).expose().to_vec();
        while salt.len() < len {
            // Each block is that of the one before, which no name can be since it has a NUL.
            let block = keyed_code(self.mock.expose(), &[&[0, 0], &salt[..]].concat());
            salt.extend_from_slice(block.expose());
        }
        salt.truncate(len);
        salt
    }
}

impl fmt::Debug for AdmitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmitPolicy")
            .field("trust", &self.trust)
            .field("cleartext", &self.cleartext)
            .field("md5", &self.md5)
            .field("scram", &self.scram)
            .field("certificates", &self.certificates)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}
