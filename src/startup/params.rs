use std::fmt;

use bytes::{Bytes, BytesMut};

use super::refusal::Refusal;
use super::settings;
use super::version::ProtocolVersion;
use crate::error::{Misfit, TooLong};
use crate::limits::{STARTUP_BODY_MAX, STARTUP_BODY_MIN};
use crate::wire::{Backend, Names, Printable, Reader, Writer};

/// The least and the largest length word of a startup packet.
pub(super) const LENGTH_MIN: u32 = STARTUP_BODY_MIN.saturating_add(4);
pub(super) const LENGTH_MAX: u32 = STARTUP_BODY_MAX.saturating_add(4);

/// What the names of protocol options start with; every other name is a setting or one of the four the server itself
/// reads (`user`, `database`, `options`, `replication`).
const PROTOCOL_OPTION_PREFIX: &[u8] = b"_pq_.";

/// A StartupMessage: a version and an ordered list of names and values.
///
/// The packet is kept byte for byte, so that [`raw`](StartupParams::raw) sent to another server sets up the very same
/// session. Nothing is reordered, merged or unescaped: a name may come twice and a value may be empty. Where one value
/// is asked for, the last one wins, as in PostgreSQL. There is always a user.
///
/// `Debug` shows names and the lengths of values: `options` may hold anything. Cloning shares the bytes.
///
/// ```
/// use pgturnout::startup::{ProtocolVersion, StartupParams};
///
/// let params = StartupParams::build(
///     ProtocolVersion::V3_0,
///     [(&b"user"[..], &b"alice"[..]), (b"search_path", b"a"), (b"search_path", b"b")],
/// )?;
/// assert_eq!(params.database(), b"alice");
/// assert_eq!(params.get(b"search_path"), Some(&b"b"[..]));
/// assert_eq!(params.iter().count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StartupParams {
    raw: Bytes,
    version: ProtocolVersion,
}

impl StartupParams {
    /// Reads a whole packet, its length word included, of any version 3.x.
    ///
    /// Refuses what PostgreSQL refuses, in its order, and one packet more: PostgreSQL takes a name of one byte in the
    /// place of the terminator (`user\0a\0x`), because it puts a NUL behind the packet and does not miss the real one.
    ///
    /// # Errors
    ///
    /// [`Refusal::Length`], [`Refusal::Version`], [`Refusal::Layout`] or [`Refusal::NoUser`].
    pub fn parse(packet: &[u8]) -> Result<StartupParams, Refusal> {
        let announced = packet
            .first_chunk()
            .map_or(0, |word| u32::from_be_bytes(*word));
        let fits = usize::try_from(announced).is_ok_and(|length| length == packet.len());
        if !fits || !(LENGTH_MIN..=LENGTH_MAX).contains(&announced) {
            return Err(Refusal::Length { announced });
        }
        let (version, list) = split_body(packet).ok_or(Refusal::Layout)?;
        if version.major != 3 {
            return Err(Refusal::Version(version));
        }
        let mut rest = Params { rest: list };
        rest.by_ref().for_each(drop);
        if rest.rest != [0] {
            return Err(Refusal::Layout);
        }
        let params = StartupParams {
            raw: Bytes::copy_from_slice(packet),
            version,
        };
        if params.user().is_empty() {
            Err(Refusal::NoUser)
        } else {
            Ok(params)
        }
    }

    /// Builds a packet from names and values, in this order.
    ///
    /// # Errors
    ///
    /// What [`encode_startup`] refuses, and [`BuildError::NoUser`].
    pub fn build<'p>(
        version: ProtocolVersion,
        params: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
    ) -> Result<StartupParams, BuildError> {
        let mut raw = BytesMut::new();
        encode_startup(version, params, &mut raw)?;
        let params = StartupParams {
            raw: raw.freeze(),
            version,
        };
        if params.user().is_empty() {
            Err(BuildError::NoUser)
        } else {
            Ok(params)
        }
    }

    /// The packet as it came, length word and version included.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The version that the client asks for: any 3.x, known or not.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// All names and values, in order.
    #[must_use]
    pub fn iter(&self) -> Params<'_> {
        Params {
            rest: split_body(&self.raw).map_or(&[], |(_, list)| list),
        }
    }

    /// The value of a name, compared byte for byte. The last one if there are several.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .filter(|(known, _)| *known == name)
            .last()
            .map(|(_, value)| value)
    }

    /// The user; never empty. PostgreSQL cuts a longer name to 63 bytes before it looks it up.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        self.get(b"user").unwrap_or_default()
    }

    /// The database, which is the user's name unless the client says otherwise.
    #[must_use]
    pub fn database(&self) -> &[u8] {
        match self.get(b"database") {
            None | Some([]) => self.user(),
            Some(name) => name,
        }
    }

    /// Whether a replication session is asked for, decided as PostgreSQL does: one value that it cannot read spoils
    /// the packet, else the last one counts.
    #[must_use]
    pub fn replication(&self) -> Replication {
        let values = self.iter().filter(|(name, _)| *name == b"replication");
        values
            .map(|(_, value)| replication_value(value))
            .fold(Replication::Off, |so_far, value| match so_far {
                Replication::Invalid => so_far,
                Replication::Off | Replication::On => value,
            })
    }

    /// The same packet in the name of another user: for a proxy whose clients are other users to it than to its servers.
    /// Where the name was, the new one is; a database that the server would have made of the name is said instead.
    ///
    /// ```
    /// use pgturnout::startup::{ProtocolVersion, StartupParams};
    ///
    /// let alice = StartupParams::build(ProtocolVersion::V3_0, [(&b"user"[..], &b"alice"[..])])?;
    /// let app = alice.as_user(b"app")?;
    /// assert_eq!((app.user(), app.database()), (&b"app"[..], &b"alice"[..]));
    /// # Ok::<(), pgturnout::startup::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`build`](StartupParams::build): the name is empty or holds a NUL, or makes the packet too long.
    pub fn as_user(&self, name: &[u8]) -> Result<StartupParams, BuildError> {
        let is_said = matches!(self.get(b"database"), Some([_, ..]));
        let implied = (!is_said).then_some((&b"database"[..], self.database()));
        let renamed = self.iter().map(|(key, value)| match key {
            b"user" => (key, name),
            _ => (key, value),
        });
        StartupParams::build(self.version, renamed.chain(implied))
    }

    /// Answers the version as a server whose newest one is `newest`: appends a NegotiateProtocolVersion to `out` if the
    /// client asks for a newer one, or sends protocol options, of which none is known here. Returns the version that is
    /// spoken from then on. It goes out once, before the first message of the authentication.
    ///
    /// For a proxy that logs clients in itself; one that relays the login passes the server's answer on
    /// ([`negotiated`](StartupParams::negotiated) checks it).
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use pgturnout::startup::{ProtocolVersion, StartupParams};
    ///
    /// let grease = ProtocolVersion { major: 3, minor: 9999 };
    /// let params = StartupParams::build(grease, [(&b"user"[..], &b"u"[..]), (b"_pq_.x", b"")])?;
    /// let mut out = BytesMut::new();
    /// assert_eq!(params.negotiate(ProtocolVersion::V3_2, &mut out), ProtocolVersion::V3_2);
    /// assert_eq!(&out[..], b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn negotiate(&self, newest: ProtocolVersion, out: &mut BytesMut) -> ProtocolVersion {
        let spoken = self.version.min(newest);
        let unknown: Vec<&[u8]> = self.protocol_options().collect();
        if spoken == self.version && unknown.is_empty() {
            return spoken;
        }
        let message = Backend::NegotiateProtocolVersion {
            newest: i32::from_be_bytes(spoken.code().to_be_bytes()),
            options: Names::new(&unknown),
        };
        // Names that were read from one packet hold no NUL and fit another.
        let _ = message.encode(out);
        spoken
    }

    /// Whether the packet gives this name a value: itself or in `options`, in any case. For names that clients may not
    /// use; PostgreSQL compares those of settings without case, its own four with it.
    #[must_use]
    pub fn mentions(&self, name: &[u8]) -> bool {
        !settings::asked(self, name).is_empty()
    }

    /// The version of a NegotiateProtocolVersion, if that answers this packet: a version that exists and is not newer
    /// than the one asked for, and of the options only such as were sent.
    ///
    /// PostgreSQL sends a whole version word; some servers send the minor version alone.
    #[must_use]
    pub fn negotiated(&self, newest: i32, options: &Names<'_>) -> Option<ProtocolVersion> {
        let code = u32::from_be_bytes(newest.to_be_bytes());
        let version = match ProtocolVersion::from_code(code) {
            ProtocolVersion { major: 0, minor } => ProtocolVersion { major: 3, minor },
            version => version,
        };
        // There is no 3.1, and nothing newer than what was asked for can be a compromise.
        let exists = version.major == 3 && version.minor != 1;
        let sent = |option: &[u8]| self.protocol_options().any(|known| known == option);
        let within = options.len() <= self.protocol_options().count();
        (exists && version <= self.version && within && options.iter().all(sent)).then_some(version)
    }

    /// The names of the protocol options (`_pq_.…`), in order and as often as they come. A server lists those that it
    /// does not know in NegotiateProtocolVersion.
    pub fn protocol_options(&self) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(PROTOCOL_OPTION_PREFIX))
    }
}

impl<'a> IntoIterator for &'a StartupParams {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Params<'a>;

    fn into_iter(self) -> Params<'a> {
        self.iter()
    }
}

impl fmt::Debug for StartupParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct List<'a>(&'a StartupParams);
        impl fmt::Debug for List<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let lengths = self
                    .0
                    .iter()
                    .map(|(name, value)| (Printable(name), value.len()));
                f.debug_map().entries(lengths).finish()
            }
        }
        f.debug_struct("StartupParams")
            .field("version", &self.version)
            .field("lengths", &List(self))
            .finish()
    }
}

/// The names and values of a [`StartupParams`], in order.
#[derive(Clone)]
pub struct Params<'a> {
    /// Ends in the terminator of the list, which is a name of no bytes.
    rest: &'a [u8],
}

impl<'a> Iterator for Params<'a> {
    type Item = (&'a [u8], &'a [u8]);

    /// Stops, without reading on, at an empty name and at what is no pair of strings.
    fn next(&mut self) -> Option<Self::Item> {
        let mut pair = Reader::new("StartupMessage", self.rest);
        let name = pair.cstr("name").ok().filter(|name| !name.is_empty())?;
        let value = pair.cstr("value").ok()?;
        self.rest = pair.rest();
        Some((name, value))
    }
}

/// Whether a client asks for a replication session (`replication=…` in its StartupMessage).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replication {
    /// No: a session that runs statements.
    Off,
    /// Yes, physical or logical.
    On,
    /// A value that PostgreSQL refuses with 22023. Not a proven no.
    Invalid,
}

/// PostgreSQL's spellings of a boolean: any prefix of true, false, yes and no, `on`, `of`, `off`, 1 and 0, in any case;
/// `database` in lower case is a yes.
fn replication_value(value: &[u8]) -> Replication {
    let lower = value.to_ascii_lowercase();
    let prefix_of = |word: &[u8]| !lower.is_empty() && word.starts_with(&lower);
    if value == b"database"
        || prefix_of(b"true")
        || prefix_of(b"yes")
        || lower == b"on"
        || value == b"1"
    {
        Replication::On
    } else if prefix_of(b"false")
        || prefix_of(b"no")
        || lower == b"of"
        || lower == b"off"
        || value == b"0"
    {
        Replication::Off
    } else {
        Replication::Invalid
    }
}

/// The version, and the list behind it, of a packet with its length word.
fn split_body(packet: &[u8]) -> Option<(ProtocolVersion, &[u8])> {
    let (_length, body) = packet.split_first_chunk::<4>()?;
    let (code, list) = body.split_first_chunk()?;
    Some((ProtocolVersion::from_code(u32::from_be_bytes(*code)), list))
}

/// Why a StartupMessage cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name or a value holds a NUL, or a name is empty: the server would read another list.
    #[error(transparent)]
    Unfit(#[from] TooLong),
    /// The packet would be longer than PostgreSQL accepts.
    #[error("StartupMessage: more than {} bytes", STARTUP_BODY_MAX)]
    TooLong,
    /// No user, or an empty one.
    #[error("StartupMessage: no user")]
    NoUser,
}

/// Appends a StartupMessage with these names and values, in this order, to `out`. On an error `out` is left as it was.
///
/// # Errors
///
/// [`BuildError::Unfit`] for a name or value that holds a NUL and for an empty name, [`BuildError::TooLong`] for a
/// body above [`STARTUP_BODY_MAX`].
pub fn encode_startup<'p>(
    version: ProtocolVersion,
    params: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
    out: &mut BytesMut,
) -> Result<(), BuildError> {
    let before = out.len();
    let mut writer = Writer::packet(out, "StartupMessage");
    writer.u32("version", version.code());
    for (name, value) in params {
        if name.is_empty() {
            writer.refuse("name", Misfit::Terminator);
        }
        writer.cstr("name", name);
        writer.cstr("value", value);
    }
    writer.u8("terminator", 0);
    writer.finish()?;
    let written = out.len().saturating_sub(before);
    if u32::try_from(written).is_ok_and(|length| length <= LENGTH_MAX) {
        Ok(())
    } else {
        out.truncate(before);
        Err(BuildError::TooLong)
    }
}
