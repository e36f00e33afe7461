//! Logging in to further upstreams on behalf of a client that has already logged in once, and checking that client.
//!
//! [`Replay`] is one login to one more server: the client's own StartupMessage, then whatever that server asks, as far
//! as [`Methods`] allow it and the [`Credential`] serves, up to the first ReadyForQuery. Nothing of it reaches the
//! client. [`Admission`] is the login of a client to us, as far as an [`AdmitPolicy`] allows and [`Users`] are listed;
//! where its login is relayed instead, an `Observer` learns from it what opens other servers. Their parts can be used
//! alone: `scram` and `scram_server` are the two sides of SCRAM-SHA-256, [`md5_password`] is the answer to an MD5
//! request.
//!
//! Nothing in here prints a secret: `Debug` and `Display` of every type are free of passwords, digests, keys, nonces
//! and proofs, and the bytes of secrets are overwritten when they are dropped, as far as safe Rust reaches.

mod admit;
mod admit_check;
mod admit_policy;
mod certificate;
mod credential;
mod error;
mod established;
mod external;
mod likeness;
mod md5;
mod methods;
mod nonce;
#[cfg(feature = "scram")]
mod observe;
mod replay;
#[cfg(feature = "scram")]
mod replay_scram;
#[cfg(feature = "scram")]
mod saslprep;
#[cfg(feature = "scram")]
pub mod scram;
#[cfg(feature = "scram")]
mod scram_hash;
#[cfg(feature = "scram")]
mod scram_keys;
#[cfg(feature = "scram")]
pub mod scram_server;
mod users;

pub use admit::{Accepted, Admission, AdmitNonces, Admitting, Rejected};
pub use admit_policy::{AdmitPolicy, ClientConnection};
pub use certificate::{TlsEndPoint, common_name};
pub use credential::{Credential, CredentialKind};
pub use error::{AuthError, ServerReport};
pub use established::{Established, Parameters};
pub use external::{ExternalAnswer, ExternalRequest};
pub use likeness::Likeness;
pub use md5::{Md5Digest, md5_digest, md5_password};
pub use methods::{Channel, Method, Methods};
pub use nonce::ScramNonce;
#[cfg(feature = "scram")]
pub use observe::{CannotPass, NotLearnt, Observer};
pub use replay::{Handshake, Replay};
#[cfg(feature = "scram")]
pub use scram_keys::{ScramKeys, ScramVerifier};

pub use users::{FoundUser, UpstreamUser, UpstreamUsers, Users};

pub use crate::secret::Secret;
