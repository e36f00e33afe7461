//! The login to the new server: the client's own StartupMessage, with a token in place of a password.

use std::net::SocketAddr;

use bytes::BytesMut;

use super::super::cockroach::SessionState;
use crate::auth::{AuthError, Channel, Credential, Handshake, Methods, Replay, ScramNonce};
use crate::limits::STARTUP_BODY_MAX;
use crate::secret::{self, Secret};
use crate::startup::{BuildError, RESERVED_PARAMETERS, StartupParams, encode_startup};

/// The parameter that holds a revival token.
const TOKEN: &[u8] = b"crdb:session_revival_token_base64";
/// The parameter that holds the client's address.
const ADDRESS: &[u8] = b"crdb:remote_addr";

/// A client sends a parameter that belongs to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the startup parameter {} is the proxy's", .name.escape_ascii())]
pub struct ReservedParameter {
    /// The parameter, in its usual spelling.
    pub name: &'static [u8],
}

/// Whether a client may have a session with this StartupMessage in front of CockroachDB: one that names a
/// [reserved parameter](RESERVED_PARAMETERS) itself, in any case, or in `options`, could log in with somebody else's token or
/// come from anywhere.
///
/// # Errors
/// The parameter.
pub fn check_client(params: &StartupParams) -> Result<(), ReservedParameter> {
    RESERVED_PARAMETERS
        .iter()
        .find(|name| params.mentions(name))
        .map_or(Ok(()), |name| Err(ReservedParameter { name }))
}

/// The StartupMessage by which a CockroachDB server learns where the client is: as the client sent it, with its address in
/// place of whatever it says of that itself.
///
/// # Errors
/// [`BuildError::TooLong`] if the packet would be longer than a server takes.
pub fn with_address(
    client: &StartupParams,
    address: SocketAddr,
) -> Result<StartupParams, BuildError> {
    let address = address.to_string();
    let theirs = client
        .iter()
        .filter(|(name, _)| !ADDRESS.eq_ignore_ascii_case(name));
    let own = [(ADDRESS, address.as_bytes())];
    StartupParams::build(client.version(), theirs.chain(own))
}

/// A login to a CockroachDB server with a session's revival token.
///
/// The server must let it in without asking for anything; whatever else it wants is an error. The packet holds the token: it
/// is overwritten when this is dropped, and so should be what [`start`](Revival::start) has written.
#[derive(Debug)]
pub struct Revival {
    login: Replay,
    packet: Secret,
}

impl Revival {
    /// A login with the client's own parameters, as it sent them, the token and the client's address, if it is known.
    /// `channel` is what the connection to the new server is now.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] if the packet would be longer than a server takes.
    pub fn new(
        client: &StartupParams,
        state: &SessionState,
        address: Option<SocketAddr>,
        channel: Channel,
    ) -> Result<Revival, BuildError> {
        let address = address.map(|address| address.to_string());
        let address = address
            .as_ref()
            .map(|address| (ADDRESS, address.as_bytes()));
        let own = [(TOKEN, state.token.expose())].into_iter().chain(address);
        // What the client says of these counts for nothing, however it is spelt.
        let theirs = client.iter().filter(|(name, _)| {
            !RESERVED_PARAMETERS
                .iter()
                .any(|reserved| reserved.eq_ignore_ascii_case(name))
        });
        let longest = usize::try_from(STARTUP_BODY_MAX).unwrap_or(usize::MAX);
        // Room for all of it, so that no half of a token is left behind by growing.
        let needed = longest.saturating_add(state.token.expose().len());
        let mut packet = BytesMut::with_capacity(needed.saturating_mul(2));
        let built = encode_startup(client.version(), theirs.chain(own), &mut packet);
        let secret = Secret::copy_of(&packet);
        secret::empty(&mut packet);
        built?;
        Ok(Revival {
            login: Replay::new(
                client,
                Credential::None,
                Methods::NONE.allow_trust(),
                channel,
                ScramNonce::from_bytes([0; 18]),
            ),
            packet: secret,
        })
    }

    /// Appends the StartupMessage to `out`.
    ///
    /// # Errors
    /// As [`Replay::start`].
    pub fn start(&mut self, out: &mut BytesMut) -> Result<(), AuthError> {
        self.login.start(&mut BytesMut::new())?;
        out.extend_from_slice(self.packet.expose());
        Ok(())
    }

    /// The login behind its StartupMessage.
    pub(crate) fn into_login(self) -> Replay {
        self.login
    }

    /// Takes the server's next message. The login is over with [`Handshake::Ready`].
    ///
    /// # Errors
    /// As [`Replay::handle`]; [`AuthError::NotAllowed`] if the server asks for anything.
    pub fn handle(&mut self, message: crate::wire::Backend<'_>) -> Result<Handshake, AuthError> {
        self.login.handle(message, &mut BytesMut::new())
    }
}
