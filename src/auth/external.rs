//! Methods of authentication that are not spoken here: the caller answers.

use std::fmt;

use bytes::BytesMut;

use super::error::AuthError;
use crate::limits::{EXTERNAL_MESSAGE_MAX, EXTERNAL_ROUNDS_MAX};
use crate::secret::Secret;
use crate::wire::password::GssResponse;
use crate::wire::{Authentication, Backend};

/// What a server asks of the caller. `Debug` shows the code alone.
pub struct ExternalRequest {
    code: i32,
    body: Secret,
}

impl ExternalRequest {
    fn new(request: Authentication<'_>) -> Result<ExternalRequest, AuthError> {
        let mut frame = BytesMut::new();
        let encoded = Backend::Authentication(request).encode(&mut frame);
        encoded.map_err(|_| AuthError::ExternalTooLong)?;
        let body = frame.get(5..).unwrap_or_default();
        if body.len() > EXTERNAL_MESSAGE_MAX {
            return Err(AuthError::ExternalTooLong);
        }
        Ok(ExternalRequest {
            code: request.code(),
            body: Secret::copy_of(body),
        })
    }

    /// The code of the Authentication message.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The body of the Authentication message: the code in four bytes, and what belongs to it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.expose()
    }
}

impl fmt::Debug for ExternalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalRequest(code {})", self.code)
    }
}

/// What the caller answers a server's request with. Bytes are the body of a message with the tag `p`: a SASLResponse
/// or GSSResponse is nothing but data, a PasswordMessage ends with a NUL, a SASLInitialResponse names the mechanism.
#[derive(Clone, Copy)]
pub enum ExternalAnswer<'a> {
    /// Send this. The server has yet to prove itself or to ask more, and may not accept us now.
    More(&'a [u8]),
    /// Send this. The server may accept us then.
    Last(&'a [u8]),
    /// Send nothing: the request was the server's proof, and it was right. The server may accept us.
    Nothing,
}

impl fmt::Debug for ExternalAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExternalAnswer::More(_) => "More(..)",
            ExternalAnswer::Last(_) => "Last(..)",
            ExternalAnswer::Nothing => "Nothing",
        })
    }
}

/// Where such an exchange is.
#[derive(Debug)]
pub(super) struct External {
    rounds: usize,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Premature,
    Due,
}

impl External {
    /// The server's first request.
    pub(super) fn begin(
        request: Authentication<'_>,
    ) -> Result<(External, ExternalRequest), AuthError> {
        let begun = External {
            rounds: 0,
            verdict: Verdict::Premature,
        };
        begun.asked(request)
    }

    /// One more request.
    pub(super) fn asked(
        self,
        request: Authentication<'_>,
    ) -> Result<(External, ExternalRequest), AuthError> {
        let rounds = self.rounds.saturating_add(1);
        if rounds > EXTERNAL_ROUNDS_MAX {
            return Err(AuthError::TooMany { what: "questions" });
        }
        let verdict = Verdict::Premature;
        Ok((External { rounds, verdict }, ExternalRequest::new(request)?))
    }

    /// The caller's answer.
    pub(super) fn answered(
        self,
        answer: ExternalAnswer<'_>,
        reply: &mut BytesMut,
    ) -> Result<External, AuthError> {
        let (data, verdict) = match answer {
            ExternalAnswer::More(data) => (Some(data), Verdict::Premature),
            ExternalAnswer::Last(data) => (Some(data), Verdict::Due),
            ExternalAnswer::Nothing => (None, Verdict::Due),
        };
        if let Some(data) = data {
            if data.len() > EXTERNAL_MESSAGE_MAX {
                return Err(AuthError::ExternalTooLong);
            }
            let encoded = GssResponse { data }.encode(reply);
            encoded.map_err(|_| AuthError::ExternalTooLong)?;
        }
        Ok(External { verdict, ..self })
    }

    /// Whether the caller has allowed the server to accept us.
    pub(super) fn may_be_accepted(&self) -> bool {
        self.verdict == Verdict::Due
    }
}
