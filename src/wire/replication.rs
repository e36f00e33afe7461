//! What CopyData carries after a CopyBothResponse: the messages of streaming replication, physical or logical.
//!
//! The formats are those under START_REPLICATION in the chapter "Streaming Replication Protocol". Nowhere else does
//! CopyData mean this: a base backup streams other messages in CopyData after a CopyOutResponse.
//!
//! WAL positions and clocks are as on the wire: a clock is microseconds since 2000-01-01 00:00 UTC.
//!
//! ```
//! use pgturnout::wire::replication::FromServer;
//! use pgturnout::wire::Backend;
//!
//! let body = b"k\0\0\0\0\x01\x6b\x37\x48\0\x02\xd5\x1e\x9f\x3c\x80\0\x01";
//! let Backend::CopyData { data } = Backend::parse(b'd', body)? else { unreachable!() };
//! let FromServer::Keepalive { wal_end, reply, .. } = FromServer::parse(data)? else { unreachable!() };
//! assert_eq!((wal_end, reply), (0x016b_3748, 1));
//! # Ok::<(), pgturnout::error::Malformed>(())
//! ```

use std::fmt;

use bytes::BytesMut;

use super::tags::frontend::COPY_DATA;
use super::{Hidden, Printable, Reader, Writer};
use crate::error::{Malformed, TooLong};

/// A message of the server that streams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FromServer<'a> {
    /// `w`: a section of the stream.
    WalData {
        /// Where the section begins.
        start: u64,
        /// Where the server's WAL ends now.
        wal_end: u64,
        /// The server's clock.
        clock: i64,
        /// The section: WAL in physical replication, a message of the output plugin in logical replication.
        data: &'a [u8],
    },
    /// `k`: nothing to send, but alive.
    Keepalive {
        /// Where the server's WAL ends now.
        wal_end: u64,
        /// The server's clock.
        clock: i64,
        /// Not 0 if the client should answer at once.
        reply: u8,
    },
    /// `s`, since PostgreSQL 19: the answer to [`FromClient::StatusRequest`].
    PrimaryStatus {
        /// Where the server's WAL ends now.
        wal_end: u64,
        /// The oldest transaction that is committing, its epoch in the upper half.
        oldest_xid: u64,
        /// The next transaction, its epoch in the upper half.
        next_xid: u64,
        /// The server's clock.
        clock: i64,
    },
    /// A message that this crate does not know.
    Unknown {
        /// The first byte, which tells messages apart.
        kind: u8,
        /// All that follows it.
        body: &'a [u8],
    },
}

/// A message of the client that receives the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FromClient<'a> {
    /// `r`: how far the client is. Each position is that behind the last byte.
    StandbyStatus {
        /// Written to disk.
        written: u64,
        /// Flushed to disk.
        flushed: u64,
        /// Applied.
        applied: u64,
        /// The client's clock.
        clock: i64,
        /// Not 0 if the server should answer at once.
        reply: u8,
    },
    /// `h`: the oldest rows that queries on the standby may still see.
    HotStandbyFeedback {
        /// The client's clock.
        clock: i64,
        /// The oldest transaction, or 0.
        xmin: u32,
        /// The epoch of `xmin`.
        xmin_epoch: u32,
        /// The oldest transaction for the catalogs, from replication slots of the standby, or 0.
        catalog_xmin: u32,
        /// The epoch of `catalog_xmin`.
        catalog_xmin_epoch: u32,
    },
    /// `p`, since PostgreSQL 19: asks for [`FromServer::PrimaryStatus`].
    StatusRequest {
        /// The client's clock.
        clock: i64,
    },
    /// A message that this crate does not know.
    Unknown {
        /// The first byte, which tells messages apart.
        kind: u8,
        /// All that follows it.
        body: &'a [u8],
    },
}

impl<'a> FromServer<'a> {
    /// Reads the whole data of one CopyData.
    ///
    /// # Errors
    /// No data, or a missing or left-over byte.
    pub fn parse(data: &'a [u8]) -> Result<FromServer<'a>, Malformed> {
        let mut reader = Reader::new("replication data", data);
        let message = match reader.u8("kind")? {
            b'w' => FromServer::WalData {
                start: reader.u64("start")?,
                wal_end: reader.u64("WAL end")?,
                clock: reader.i64("clock")?,
                data: reader.rest(),
            },
            b'k' => FromServer::Keepalive {
                wal_end: reader.u64("WAL end")?,
                clock: reader.i64("clock")?,
                reply: reader.u8("reply")?,
            },
            b's' => FromServer::PrimaryStatus {
                wal_end: reader.u64("WAL end")?,
                oldest_xid: reader.u64("oldest transaction")?,
                next_xid: reader.u64("next transaction")?,
                clock: reader.i64("clock")?,
            },
            kind => FromServer::Unknown {
                kind,
                body: reader.rest(),
            },
        };
        reader.finish()?;
        Ok(message)
    }

    /// The byte that tells this message from others.
    pub const fn kind(&self) -> u8 {
        match *self {
            FromServer::WalData { .. } => b'w',
            FromServer::Keepalive { .. } => b'k',
            FromServer::PrimaryStatus { .. } => b's',
            FromServer::Unknown { kind, .. } => kind,
        }
    }

    /// Appends a CopyData frame with this message to `out`.
    ///
    /// # Errors
    /// Too much data; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, "replication data", COPY_DATA);
        writer.u8("kind", self.kind());
        match *self {
            FromServer::WalData {
                start,
                wal_end,
                clock,
                data,
            } => {
                writer.u64("start", start);
                writer.u64("WAL end", wal_end);
                writer.i64("clock", clock);
                writer.bytes("data", data);
            }
            FromServer::Keepalive {
                wal_end,
                clock,
                reply,
            } => {
                writer.u64("WAL end", wal_end);
                writer.i64("clock", clock);
                writer.u8("reply", reply);
            }
            FromServer::PrimaryStatus {
                wal_end,
                oldest_xid,
                next_xid,
                clock,
            } => {
                writer.u64("WAL end", wal_end);
                writer.u64("oldest transaction", oldest_xid);
                writer.u64("next transaction", next_xid);
                writer.i64("clock", clock);
            }
            FromServer::Unknown { body, .. } => writer.bytes("data", body),
        }
        writer.finish()
    }
}

impl<'a> FromClient<'a> {
    /// Reads the whole data of one CopyData.
    ///
    /// # Errors
    /// No data, or a missing or left-over byte.
    pub fn parse(data: &'a [u8]) -> Result<FromClient<'a>, Malformed> {
        let mut reader = Reader::new("replication data", data);
        let message = match reader.u8("kind")? {
            b'r' => FromClient::StandbyStatus {
                written: reader.u64("written")?,
                flushed: reader.u64("flushed")?,
                applied: reader.u64("applied")?,
                clock: reader.i64("clock")?,
                reply: reader.u8("reply")?,
            },
            b'h' => FromClient::HotStandbyFeedback {
                clock: reader.i64("clock")?,
                xmin: reader.u32("xmin")?,
                xmin_epoch: reader.u32("xmin epoch")?,
                catalog_xmin: reader.u32("catalog xmin")?,
                catalog_xmin_epoch: reader.u32("catalog xmin epoch")?,
            },
            b'p' => FromClient::StatusRequest {
                clock: reader.i64("clock")?,
            },
            kind => FromClient::Unknown {
                kind,
                body: reader.rest(),
            },
        };
        reader.finish()?;
        Ok(message)
    }

    /// The byte that tells this message from others.
    pub const fn kind(&self) -> u8 {
        match *self {
            FromClient::StandbyStatus { .. } => b'r',
            FromClient::HotStandbyFeedback { .. } => b'h',
            FromClient::StatusRequest { .. } => b'p',
            FromClient::Unknown { kind, .. } => kind,
        }
    }

    /// Appends a CopyData frame with this message to `out`.
    ///
    /// # Errors
    /// Too much data; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, "replication data", COPY_DATA);
        writer.u8("kind", self.kind());
        match *self {
            FromClient::StandbyStatus {
                written,
                flushed,
                applied,
                clock,
                reply,
            } => {
                writer.u64("written", written);
                writer.u64("flushed", flushed);
                writer.u64("applied", applied);
                writer.i64("clock", clock);
                writer.u8("reply", reply);
            }
            FromClient::HotStandbyFeedback {
                clock,
                xmin,
                xmin_epoch,
                catalog_xmin,
                catalog_xmin_epoch,
            } => {
                writer.i64("clock", clock);
                writer.u32("xmin", xmin);
                writer.u32("xmin epoch", xmin_epoch);
                writer.u32("catalog xmin", catalog_xmin);
                writer.u32("catalog xmin epoch", catalog_xmin_epoch);
            }
            FromClient::StatusRequest { clock } => writer.i64("clock", clock),
            FromClient::Unknown { body, .. } => writer.bytes("data", body),
        }
        writer.finish()
    }
}

/// The stream's data shows its length only.
impl fmt::Debug for FromServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FromServer::WalData {
                start,
                wal_end,
                clock,
                data,
            } => f
                .debug_struct("WalData")
                .field("start", &Lsn(*start))
                .field("wal_end", &Lsn(*wal_end))
                .field("clock", clock)
                .field("data", &Hidden(data))
                .finish(),
            FromServer::Keepalive {
                wal_end,
                clock,
                reply,
            } => f
                .debug_struct("Keepalive")
                .field("wal_end", &Lsn(*wal_end))
                .field("clock", clock)
                .field("reply", reply)
                .finish(),
            FromServer::PrimaryStatus {
                wal_end,
                oldest_xid,
                next_xid,
                clock,
            } => f
                .debug_struct("PrimaryStatus")
                .field("wal_end", &Lsn(*wal_end))
                .field("oldest_xid", oldest_xid)
                .field("next_xid", next_xid)
                .field("clock", clock)
                .finish(),
            FromServer::Unknown { kind, body } => show_unknown(*kind, body, f),
        }
    }
}

impl fmt::Debug for FromClient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FromClient::StandbyStatus {
                written,
                flushed,
                applied,
                clock,
                reply,
            } => f
                .debug_struct("StandbyStatus")
                .field("written", &Lsn(*written))
                .field("flushed", &Lsn(*flushed))
                .field("applied", &Lsn(*applied))
                .field("clock", clock)
                .field("reply", reply)
                .finish(),
            FromClient::HotStandbyFeedback {
                clock,
                xmin,
                xmin_epoch,
                catalog_xmin,
                catalog_xmin_epoch,
            } => f
                .debug_struct("HotStandbyFeedback")
                .field("clock", clock)
                .field("xmin", xmin)
                .field("xmin_epoch", xmin_epoch)
                .field("catalog_xmin", catalog_xmin)
                .field("catalog_xmin_epoch", catalog_xmin_epoch)
                .finish(),
            FromClient::StatusRequest { clock } => f
                .debug_struct("StatusRequest")
                .field("clock", clock)
                .finish(),
            FromClient::Unknown { kind, body } => show_unknown(*kind, body, f),
        }
    }
}

/// A WAL position in PostgreSQL's notation, both halves in hexadecimal.
struct Lsn(u64);

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

fn show_unknown(kind: u8, body: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct("Unknown")
        .field("kind", &Printable(&[kind]))
        .field("body", &Hidden(body))
        .finish()
}
