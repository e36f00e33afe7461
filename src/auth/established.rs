use std::fmt;

use super::error::{AuthError, ServerReport};
use super::methods::Method;
use crate::limits;
use crate::startup::{CancelKey, ProtocolVersion};
use crate::wire::{Fields, Names, Printable};

/// Names and values that a server reported, in order.
pub type Parameters = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What a completed login left behind: the session is idle and has run nothing.
///
/// Nothing of it was shown to any client. `Debug` shows no secret.
pub struct Established {
    /// The values that the server reported (ParameterStatus), in the order of their first report, the latest value of
    /// each.
    pub parameters: Parameters,
    /// What a CancelRequest for this session must carry, if the server said so.
    pub key: Option<CancelKey>,
    /// The protocol version of this session: what was asked for, or the older one that the server negotiated.
    pub version: ProtocolVersion,
    /// The protocol options that the server does not know.
    pub unknown_options: Vec<Box<[u8]>>,
    /// What the server noticed on the way.
    pub notices: Vec<ServerReport>,
    /// How the server let us in.
    pub method: Method,
}

impl Established {
    /// The value of a reported parameter, its name compared byte for byte.
    #[must_use]
    pub fn parameter(&self, name: &[u8]) -> Option<&[u8]> {
        self.parameters
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, value)| &**value)
    }
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): &(Box<[u8]>, Box<[u8]>)| {
            format!("{}={}", Printable(name), Printable(value))
        };
        f.debug_struct("Established")
            .field(
                "parameters",
                &self.parameters.iter().map(shown).collect::<Vec<_>>(),
            )
            .field("key", &self.key)
            .field("version", &self.version)
            .field(
                "unknown_options",
                &self
                    .unknown_options
                    .iter()
                    .map(|name| Printable(name))
                    .collect::<Vec<_>>(),
            )
            .field("notices", &self.notices)
            .field("method", &self.method)
            .finish()
    }
}

/// What a login has collected so far, within its limits.
#[derive(Debug, Default)]
pub(super) struct Collected {
    parameters: Parameters,
    parameter_messages: Allowance,
    key: Option<CancelKey>,
    negotiated: Option<ProtocolVersion>,
    unknown_options: Vec<Box<[u8]>>,
    notices: Vec<ServerReport>,
    notice_messages: Allowance,
}

/// Messages of one kind and their bytes, both counted over the whole login: a name that is sent again and again counts
/// every time.
#[derive(Debug, Default)]
struct Allowance {
    messages: usize,
    bytes: usize,
}

impl Allowance {
    fn take(&mut self, bytes: usize, messages_max: usize, bytes_max: usize) -> Option<()> {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        (self.messages <= messages_max && self.bytes <= bytes_max).then_some(())
    }
}

impl Collected {
    pub(super) fn parameter(&mut self, name: &[u8], value: &[u8]) -> Result<(), AuthError> {
        let bytes = name.len().saturating_add(value.len());
        self.parameter_messages
            .take(
                bytes,
                limits::LOGIN_PARAMETERS_MAX,
                limits::LOGIN_PARAMETER_BYTES_MAX,
            )
            .ok_or(AuthError::TooMany { what: "parameters" })?;
        match self
            .parameters
            .iter_mut()
            .find(|(known, _)| **known == *name)
        {
            Some((_, known)) => *known = Box::from(value),
            None => self.parameters.push((Box::from(name), Box::from(value))),
        }
        Ok(())
    }

    pub(super) fn notice(&mut self, fields: Fields<'_>) -> Result<(), AuthError> {
        let bytes = fields
            .iter()
            .fold(0usize, |sum, (_, text)| sum.saturating_add(text.len()));
        self.count_notice(bytes)?;
        self.notices.push(ServerReport::new(fields));
        Ok(())
    }

    /// Counts a message that is not kept.
    pub(super) fn count_notice(&mut self, bytes: usize) -> Result<(), AuthError> {
        self.notice_messages
            .take(
                bytes,
                limits::LOGIN_NOTICES_MAX,
                limits::LOGIN_NOTICE_BYTES_MAX,
            )
            .ok_or(AuthError::TooMany { what: "notices" })
    }

    /// The version in force, if `asked` was sent.
    fn version(&self, asked: ProtocolVersion) -> ProtocolVersion {
        self.negotiated.unwrap_or(asked)
    }

    /// Keeps the cancel key. `None` for a second one.
    pub(super) fn cancel_key(
        &mut self,
        process_id: i32,
        secret: &[u8],
        asked: ProtocolVersion,
    ) -> Option<Result<(), AuthError>> {
        if self.key.is_some() {
            return None;
        }
        let len = secret.len();
        // Longer secrets came with 3.2: an older client could not send one back.
        let fits = len == limits::CANCEL_SECRET_MIN || self.version(asked) >= ProtocolVersion::V3_2;
        Some(match CancelKey::new(process_id, secret) {
            Ok(key) if fits => {
                self.key = Some(key);
                Ok(())
            }
            Ok(_) | Err(_) => Err(AuthError::KeyLength { len }),
        })
    }

    /// Keeps the outcome of a version negotiation. `None` for a second one.
    pub(super) fn negotiated(
        &mut self,
        version: ProtocolVersion,
        unknown_options: Names<'_>,
    ) -> Option<()> {
        if self.negotiated.is_some() {
            return None;
        }
        self.negotiated = Some(version);
        self.unknown_options = unknown_options.iter().map(Box::from).collect();
        Some(())
    }

    pub(super) fn establish(self, asked: ProtocolVersion, method: Method) -> Established {
        let version = self.version(asked);
        Established {
            parameters: self.parameters,
            key: self.key,
            version,
            unknown_options: self.unknown_options,
            notices: self.notices,
            method,
        }
    }
}
