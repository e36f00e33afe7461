//! Servers that do not know the password, and others that a client must not trust or wait for.

use super::Login;
use super::wire::{Output, text};

/// What a server does that is not the one it should be. Those that need SCRAM are honest in other logins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Impostor {
    /// The signature of AuthenticationSASLFinal is not that of the password; any proof is taken.
    WrongSignature,
    /// AuthenticationOk comes without AuthenticationSASLFinal; any proof is taken.
    NoProof,
    /// It asks for the password as it is, whatever it should do, and takes any.
    Downgrade,
    /// The password is to be hashed [`ITERATIONS`] times.
    ManyIterations,
    /// The nonce is not that of the client with something behind.
    BadNonce,
    /// The startup packet is never answered.
    Silent,
    /// As many settings as [`FLOOD`] before the first ReadyForQuery.
    TooManyParameters,
    /// As many notices as [`FLOOD`] before anything else.
    Flood,
    /// GSSAPI on every other backend, and a method that nobody knows.
    UnknownMethod,
}

impl Impostor {
    pub(crate) const ALL: [(Impostor, &'static str); 9] = [
        (Impostor::WrongSignature, "wrong-signature"),
        (Impostor::NoProof, "no-proof"),
        (Impostor::Downgrade, "downgrade"),
        (Impostor::ManyIterations, "many-iterations"),
        (Impostor::BadNonce, "bad-nonce"),
        (Impostor::Silent, "silent"),
        (Impostor::TooManyParameters, "too-many-parameters"),
        (Impostor::Flood, "flood"),
        (Impostor::UnknownMethod, "unknown-method"),
    ];
}

impl Impostor {
    /// Whether it does anything else than an honest server that lets in by this method.
    pub(crate) fn tells_on(self, login: Login) -> bool {
        match self {
            Impostor::WrongSignature
            | Impostor::NoProof
            | Impostor::ManyIterations
            | Impostor::BadNonce => login == Login::Scram,
            Impostor::Downgrade
            | Impostor::Silent
            | Impostor::TooManyParameters
            | Impostor::Flood => true,
            // The method that it asks for.
            Impostor::UnknownMethod => login != Login::Gss,
        }
    }

    /// Whether nobody who minds their password may let it be the server.
    pub(crate) fn must_fail(self) -> bool {
        !matches!(self, Impostor::Downgrade | Impostor::TooManyParameters)
    }
}

/// Minutes of work for a client that obeys.
#[cfg(feature = "scram")]
pub(super) const ITERATIONS: u32 = 100_000_000;

/// More than anybody has to say during a login.
const FLOOD: usize = 3_000;

/// The code of AuthenticationGSS, or none that there is.
pub(super) fn unknown_method(backend: u32) -> i32 {
    if backend % 2 == 0 { 7 } else { 99 }
}

pub(super) fn flood_of_notices(out: &mut Output) {
    for _ in 0..FLOOD {
        out.report(b'N', "NOTICE", "00000", "wait");
    }
}

pub(super) fn flood_of_settings(out: &mut Output) {
    for number in 0..FLOOD {
        out.message(b'S', |out| {
            text(out, &format!("p{number}"));
            text(out, "x");
        });
    }
}
