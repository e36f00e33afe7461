//! Every bound of the crate: what it limits, its value and why.

// Ledger.

/// Entries in one queue of a ledger. Frames with the same way share an entry, so this bounds how often a
/// client may change its mind ahead of its servers: 256 pipelined requests to alternating servers, in 6 KiB.
pub const LEDGER_SEGMENTS_PER_QUEUE: usize = 256;
/// Bytes of our own waiting for one destination: eight times the 8 KiB in which PostgreSQL itself collects its
/// output (`PQ_SEND_BUFFER_SIZE`), so that an injected batch rarely has to be cut.
pub const LEDGER_OWNED_PER_QUEUE: usize = 64 * 1024;
/// Entries whose memory an empty queue keeps. A session in its steady state needs fewer.
pub const LEDGER_IDLE_SEGMENTS: usize = 32;
/// Bytes whose memory an empty queue keeps: most messages that we make are shorter.
pub const LEDGER_IDLE_OWNED: usize = 1024;

// Wire.

/// Smallest length word of a frame: it counts its own four bytes.
pub const LENGTH_WORD_MIN: u32 = 4;

/// Largest length word of a frame: it is a signed 32-bit integer on the wire, and a negative one is a lie.
pub const LENGTH_WORD_MAX: u32 = i32::MAX.unsigned_abs();

/// Shortest cancel secret, in bytes: the fixed size of protocol 3.0, and the lower bound of 3.2
/// (protocol chapter, BackendKeyData).
pub const CANCEL_SECRET_MIN: usize = 4;

/// Longest cancel secret, in bytes, from protocol 3.2 on (protocol chapter, BackendKeyData).
pub const CANCEL_SECRET_MAX: usize = 256;

/// Most bytes of a peer's text that are shown in one place: long enough for two identifiers of 63 bytes, short
/// enough that a hostile text cannot bury a log line.
pub const PRINTABLE_MAX: usize = 128;
