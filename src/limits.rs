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
