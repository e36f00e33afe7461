//! Every bound of the crate: what it limits, its value and why.
//!
//! Of some things nothing is kept that could grow: frames that pass may be as long as a server takes them,
//! asynchronous messages that have to wait stay unread, and before one request no more is sent on our own account than
//! the statements and settings that are remembered.

use std::time::Duration;

// Route.

/// The longest SQL text that is scanned, in bytes; a longer one goes to the writer unread. Longer texts are data
/// (bulk VALUES lists), and reading one takes milliseconds.
pub const SCAN_TEXT_MAX: usize = 1 << 20;
/// How many levels of parentheses are told apart in a query, itself among them. Generated queries reach about twenty;
/// each level costs the scanner two bytes of stack.
pub const SCAN_DEPTH_MAX: usize = 64;
/// How many effects one text may have; one with more counts as unreadable. A megabyte of `SET` would otherwise become
/// twenty of them.
pub const SCAN_EFFECTS_MAX: usize = 256;
/// How many values of one `SET` are told apart; a longer list is opaque. A `search_path` has a handful.
pub const SCAN_VALUES_MAX: usize = 64;
/// The longest text that a parser sees, in bytes. This limit and the next three were set where the worst families of
/// texts known cost a parser less than a millisecond.
pub const INSPECT_TEXT_MAX: usize = 2 << 10;
/// How many tokens a text for the parser may have.
pub const INSPECT_TOKENS_MAX: usize = 400;
/// How deep brackets and `CASE` may nest in a text for the parser; some families double their cost with each level.
pub const INSPECT_DEPTH_MAX: usize = 6;
/// How many operators, joins and unions a text for the parser may have: a chain becomes a tree as deep as it is long,
/// which is walked and dropped by recursion.
pub const INSPECT_OPERATORS_MAX: usize = 32;
/// How deep a parser may recurse. Queries that nest as deep as [`INSPECT_DEPTH_MAX`] reach 23; what repeats in other
/// ways (`PREPARE a AS PREPARE b AS …`) is refused here. With it the worst texts known need less than 512 KiB of stack
/// in a release build, and less than the 2 MiB of a thread in one without optimisation.
pub const INSPECT_RECURSION_MAX: usize = 24;
/// How many rows a server's facts may have. A database with every common extension and hundreds of views has some
/// thousands; a row takes some hundred bytes.
pub const FACTS_MAX: usize = 1 << 16;
/// Bytes at which the outline of a text ends, after the token that reaches them: a line of a log, with what stands before.
pub const OUTLINE_MAX: usize = 72;
/// The longest text that the statement cache keeps, in bytes: longer ones are rarely repeated, and hashing one costs
/// about what scanning it does.
pub const CACHED_TEXT_MAX: usize = 8 << 10;
/// How many texts the statement cache keeps by default.
pub const CACHED_TEXTS_MAX: usize = 1_024;
/// How many bytes of text the statement cache keeps by default.
pub const CACHED_BYTES_MAX: usize = 1 << 20;

// Ledger.

/// Entries in one queue of a ledger. Frames with the same way share an entry, so this bounds how often a
/// client may change its mind ahead of its servers: 256 pipelined requests to alternating servers, in 6 KiB.
pub const LEDGER_SEGMENTS_PER_QUEUE: usize = 256;
/// The least that a session's [`LEDGER_SEGMENTS_PER_QUEUE`] may be set to: an entry for bytes that pass, and one that
/// is kept for a message of ours behind them.
pub const LEDGER_SEGMENTS_MIN: usize = 2;
/// Bytes of our own waiting for one destination: eight times the 8 KiB in which PostgreSQL itself collects its
/// output (`PQ_SEND_BUFFER_SIZE`), so that an injected batch rarely has to be cut.
pub const LEDGER_OWNED_PER_QUEUE: usize = 64 * 1024;
/// The least that a session's [`LEDGER_OWNED_PER_QUEUE`] may be set to: twice what the parameters of one login may take,
/// with which a client is greeted, and more than a startup packet.
pub const LEDGER_OWNED_MIN: usize = 2 * LOGIN_PARAMETER_BYTES_MAX;
/// Entries whose memory an empty queue keeps. A session in its steady state needs fewer.
pub const LEDGER_IDLE_SEGMENTS: usize = 32;
/// Bytes whose memory an empty queue keeps: most messages that we make are shorter.
pub const LEDGER_IDLE_OWNED: usize = 1024;

// Wire.

/// Smallest length word of a frame: it counts its own four bytes.
pub const LENGTH_WORD_MIN: u32 = 4;

/// Largest length word of a frame: it is a signed 32-bit integer on the wire, and a negative one is a lie.
pub const LENGTH_WORD_MAX: u32 = i32::MAX.unsigned_abs();

/// Largest length word of a client's message in a session: a PostgreSQL server takes no longer one
/// (`PQ_LARGE_MESSAGE_LIMIT`, one less than its largest allocation) and closes the connection, as does a session.
pub const MESSAGE_LENGTH_MAX: u32 = (1 << 30) - 2;

/// Shortest cancel secret, in bytes: the fixed size of protocol 3.0, and the lower bound of 3.2
/// (protocol chapter, BackendKeyData).
pub const CANCEL_SECRET_MIN: usize = 4;

/// Longest cancel secret, in bytes, from protocol 3.2 on (protocol chapter, BackendKeyData).
pub const CANCEL_SECRET_MAX: usize = 256;

/// Most bytes of a peer's text that are shown in one place: long enough for two identifiers of 63 bytes, short
/// enough that a hostile text cannot bury a log line.
pub const PRINTABLE_MAX: usize = 128;

// Statistics.

/// Bytes of a message's body that are looked at to count it. The severity, twice, comes first in errors and notices,
/// in any language a short word; command tags are shorter than 64 bytes (PostgreSQL's `COMPLETION_TAG_BUFSIZE`).
pub const STATS_BODY: usize = 256;

// Startup.

/// The least body of a startup packet, in bytes: the protocol version alone. PostgreSQL's own floor.
pub const STARTUP_BODY_MIN: u32 = 4;
/// The largest body of a startup packet, in bytes, the length word not counted. PostgreSQL's own ceiling
/// (`MAX_STARTUP_PACKET_LENGTH`); a longer packet it refuses without an answer.
pub const STARTUP_BODY_MAX: u32 = 10_000;

/// The least that a session's limit of a startup packet's body may be set to, in bytes: a user, a database, an application
/// and a few settings with room to spare.
pub const STARTUP_BODY_LEAST: u32 = 256;

/// The longest header of the PROXY protocol, version 2, in bytes. With the longest addresses, a certificate of the client's
/// and every other type that is registered it has less than 3 KiB.
pub const PROXY_HEADER_MAX: usize = 4096;
/// The longest line of the PROXY protocol, version 1, in bytes, with its end: the longest that its specification can make.
pub const PROXY_LINE_MAX: usize = 107;

// Cancel.

/// Cancel keys that a proxy holds by default, one for each session: as many sessions as one address can have
/// connections from one other.
pub const CANCEL_KEYS_MAX: usize = 65_536;
/// Cancel keys with one process id: all of them are compared with what is looked for.
/// Sessions on several servers may share one by chance, a handful; a server that has no processes says the same number
/// to everybody.
pub const CANCEL_KEYS_PER_PROCESS: usize = 8_192;
/// The shortest secret of a cancel ring, in bytes: what a guesser would have to find out is no less than an AES key.
pub const CANCEL_RING_SECRET_MIN: usize = 16;

// Access.

/// Pairs of address and user whose failed logins are remembered by default. Each takes some 250 bytes, and costs whoever
/// would push others out a login.
pub const THROTTLE_PAIRS_MAX: usize = 65_536;
/// How long the first wrong guess blocks a user at an address by default. Each further one blocks twice as long.
pub const THROTTLE_FIRST: Duration = Duration::from_secs(1);
/// How long a wrong guess blocks at most by default: with it a day has room for 35 guesses, and every further one for 24.
pub const THROTTLE_LONGEST: Duration = Duration::from_secs(3600);
/// Bytes of a user's name that count: PostgreSQL cuts a longer one (`NAMEDATALEN`).
pub const USER_NAME_LEN: usize = 63;
/// Rules of a list of whom to allow: some for each tenant of a proxy with thousands of them.
pub const ALLOW_RULES_MAX: usize = 65_536;
/// Rules of a list of what is denied. More is the work of a firewall.
pub const DENY_RULES_MAX: usize = 65_536;
/// The longest reason of such a rule, in bytes: what is shown of it in one line.
pub const DENY_REASON_MAX: usize = PRINTABLE_MAX;

// Auth.

/// The longest SCRAM message that is parsed, in bytes. Real ones stay below 200.
pub const SCRAM_MESSAGE_MAX: usize = 16 * 1024;
/// The longest SCRAM nonce, client and server part together, in bytes. PostgreSQL's has 48.
pub const SCRAM_NONCE_MAX: usize = 1024;
/// The longest SCRAM salt, decoded, in bytes. PostgreSQL's has 16.
pub const SCRAM_SALT_MAX: usize = 1024;
/// The highest SCRAM iteration count that is worked off: about 40 ms of one core. PostgreSQL asks for 4,096 unless
/// `scram_iterations` says otherwise; a hostile server could ask for 2³¹ − 1, which is twenty minutes.
pub const SCRAM_ITERATIONS_MAX: u32 = 100_000;
/// How many SCRAM iterations one call works off: about 1 ms, and the whole of PostgreSQL's default count.
pub const SCRAM_STEP_ITERATIONS: u32 = 4_096;
/// Bytes that a session may hold of the exchange by which its client logs in, and of its own with upstreams: three
/// messages of [`SCRAM_MESSAGE_MAX`], twice.
pub const LOGIN_EXCHANGES: usize = 6 * SCRAM_MESSAGE_MAX;
/// The longest hash of a certificate that a login is bound to, in bytes: that of SHA-512.
pub const TLS_END_POINT_MAX: usize = 64;
/// The longest message of a method that the caller answers for, in bytes, in either direction. PostgreSQL takes no longer
/// one (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const EXTERNAL_MESSAGE_MAX: usize = 65_535;
/// How often a server may ask in one login that the caller answers for. Kerberos takes two or three rounds.
pub const EXTERNAL_ROUNDS_MAX: usize = 16;
/// Bytes that one upstream's login may hold for a method that the caller answers for: a question as it came and the
/// caller's copy of it, or an answer as it goes; what is written grows by doubling.
pub const EXTERNAL_HELD: usize = 4 * EXTERNAL_MESSAGE_MAX;
/// Bytes that a password may take which a client has shown to us. It is kept, mapped, and written into an answer. Prepared
/// for hashing (SASLprep) it may for a moment be eleven times as long, which is what form KC makes of U+FDFA, in a text
/// that grows by doubling.
pub const PASSWORD_HELD: usize = (3 * 11 + 3) * PROOF_MESSAGE;
/// How many ParameterStatus messages one login may bring. PostgreSQL sends about fifteen.
pub const LOGIN_PARAMETERS_MAX: usize = 64;
/// The bytes of all parameter names and values of one login together.
pub const LOGIN_PARAMETER_BYTES_MAX: usize = 16 * 1024;
/// How many NoticeResponse and NotificationResponse messages one login may bring.
pub const LOGIN_NOTICES_MAX: usize = 100;
/// The bytes of all notices and notifications of one login together.
pub const LOGIN_NOTICE_BYTES_MAX: usize = 64 * 1024;
/// Bytes that the notices of one login may take while it runs: of each a severity and the beginning of a text, both some
/// bytes longer than [`PRINTABLE_MAX`], in a list that grows by doubling.
pub const LOGIN_NOTICES_HELD: usize = LOGIN_NOTICES_MAX * 4 * PRINTABLE_MAX;
/// The bytes of a writer's notices during our login that the client gets, in messages with the beginnings of their
/// texts: what [`LEDGER_OWNED_MIN`] leaves beside the parameters and a key is more.
pub const LOGIN_NOTICE_BYTES_TOLD: usize = 8 * 1024;

// Session.

/// Size in bytes of a driver's read buffer for each peer, by default: PostgreSQL's own send buffer is 8 KiB, and TLS
/// records carry 16 KiB; four of them in one read keep system calls few on large results.
pub const READ_BUFFER: usize = 65_536;

/// The least read buffer in bytes: the largest message that must be seen whole is a startup packet of 10,004 bytes
/// (PostgreSQL's `MAX_STARTUP_PACKET_LENGTH` is 10,000).
pub const READ_BUFFER_MIN: usize = 16_384;

/// Requests that one upstream may owe before the client is not read any more. PostgreSQL has no such bound but the
/// sockets' buffers, which hold some thousands of the shortest requests.
pub const REQUESTS_IN_FLIGHT: usize = 4_096;

/// The least that [`REQUESTS_IN_FLIGHT`] may be set to. A server collects its replies in 8 KiB before it sends them
/// unasked, the shortest of them has 5 bytes, and with fewer allowed a batch could wait for replies that wait for it.
pub const REQUESTS_IN_FLIGHT_MIN: usize = 2_048;

/// Bytes of the error and the ReadyForQuery that answer a request of a lost reader, rounded up.
pub const LOST_REQUEST: usize = 150;

/// Requests that a reader may owe: the errors that answer them if it is lost have to fit [`LEDGER_OWNED_PER_QUEUE`].
pub const READER_REQUESTS_IN_FLIGHT: usize = 256;

/// Prepared statements remembered in one session. Drivers that cache statements keep 100 to 500; of object mappers that
/// make a text for each length of a list some have been seen with thousands.
pub const STATEMENTS: usize = 10_000;

/// Bytes of the names and texts of prepared statements remembered in one session: some 400 for each. Of more, the texts used
/// least are forgotten.
pub const STATEMENT_BYTES: usize = 4 * 1_048_576;

/// Bytes that a remembered statement takes beside its name and text: its place in a table of which half may be empty, that of
/// one that the client has closed and an upstream has not, what is known of the text, and its turn while the one used least
/// is looked for.
pub const STATEMENT_HELD: usize = 768;

/// Prepared statements that one reader has at a time, by default: twice what drivers keep. A server takes ten to fifty KiB for
/// each. Of more, those used least are closed there.
pub const READER_STATEMENTS: usize = 1_000;

/// For so many names of prepared statements at most a text is looked through: each costs a pass over it. With more of them all are
/// taken to stand in it.
pub const NAMES_LOOKED_FOR: usize = 32;

/// Statements that only a reader has and that are prepared on the writer before one request, so that their texts may be
/// forgotten.
pub const LENT_STATEMENTS_AT_ONCE: usize = 32;

/// The longest statement that is remembered, in bytes: half the queue of our own messages to one upstream, so that
/// sending it again never waits for more room than there can be.
pub const STATEMENT_BODY: usize = LEDGER_OWNED_PER_QUEUE / 2;

/// Settings remembered in one session: all that PostgreSQL 18 knows are some 400, sessions change a handful.
pub const JOURNAL_ENTRIES: usize = 256;

/// Bytes of statements that change settings remembered in one session: with their framing they fit the queue of our
/// own messages to an upstream that has to run them all.
pub const JOURNAL_BYTES: usize = LEDGER_OWNED_PER_QUEUE / 2;

/// Savepoints remembered in one transaction, those that one name was given to in a row being one. Frameworks nest them as
/// deep as their calls, some ten; with more of them a transaction that changes settings pins its session.
pub const JOURNAL_SAVEPOINTS: usize = 64;

/// Bytes that a savepoint takes at most: its name of 63, its place, in a list that grows by doubling.
pub const SAVEPOINT_HELD: usize = 128;

/// The longest value of a setting that an upstream reports and that is kept to be compared with the other's, in bytes: a
/// search path of a dozen names. Nine of them are kept of each upstream.
pub const REPORTED_VALUE_MAX: usize = 1_024;

/// Portals whose statements are remembered in one transaction.
pub const PORTALS: usize = 256;

/// Statements that one batch, up to its Sync or Flush, may prepare and still be followed by name: each Bind in it looks
/// through them. With more it goes to the writer. Drivers that batch prepare a handful.
pub const SEGMENT_STATEMENTS: usize = 64;

/// Statements closed on an upstream before one request, because the client closed them while it was served elsewhere:
/// they cost the request a little each. More are closed before the next.
pub const STALE_STATEMENTS_AT_ONCE: usize = 32;

/// Texts whose intents a session keeps, so that a repeated one is not scanned again. An application repeats some
/// dozens of texts in one session, and the table itself takes some 70 bytes for each.
pub const SESSION_TEXTS: usize = 64;

/// Bytes of texts and intents that a session keeps.
pub const SESSION_TEXT_BYTES: usize = 32_768;

/// Texts whose tables a session keeps, where events tell of tables: each Bind and Execute of a prepared statement needs
/// those of its Parse. An application uses some dozens of statements in one session.
pub const METADATA_TEXTS: usize = 64;

/// Bytes of the texts and the names of tables that a session keeps for that; what takes more by itself is not kept.
pub const METADATA_BYTES: usize = 65_536;

/// The client's login, from its first byte: PostgreSQL's `authentication_timeout` is 60 s.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to an upstream, TLS included.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Our own login to an upstream.
pub const REPLAY_TIMEOUT: Duration = Duration::from_secs(15);

/// What is left to send at the end of a session.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests in flight at a shutdown.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many times the writer is dialled again for one login: one a second for longer than a login may take.
pub const WRITER_RETRIES_MAX: u32 = 100;

/// A cancel that is under way: PostgreSQL closes its connection as soon as the signal is sent.
pub const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the writer serves the reads before a reader that was lost is tried again.
pub const READER_RETRY: Duration = Duration::from_secs(5);

/// The longest certificate of a peer that is kept, in bytes of DER. Real ones have one to four thousand; one that vouches
/// for hundreds of names may have ten.
pub const TLS_CERTIFICATE_MAX: usize = 16 * 1024;

/// The longest name in a TLS handshake that is kept, of a host or a protocol, in bytes: a host name in SNI and a protocol
/// in ALPN have 255 at most.
pub const TLS_NAME_MAX: usize = 255;

/// Bytes of what is kept of one peer's TLS handshake: its certificate, three names, the hash of a certificate, and their
/// places.
pub const TLS_INFO_HELD: usize = TLS_CERTIFICATE_MAX + 3 * TLS_NAME_MAX + TLS_END_POINT_MAX + 256;

/// Longest body in bytes of a client's message during its login (PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH`).
pub const LOGIN_MESSAGE: usize = 65_535;

/// The same where we check the client ourselves. It is less than PostgreSQL takes, since a password is held several times
/// over while it is checked; more than any token has that somebody would list.
pub const PROOF_MESSAGE: usize = 16 * 1024;

/// Longest text in bytes of a caller's policy to a client that it denies something, of which there are three: a few sentences,
/// beside the errors that the same queue may hold.
pub const DENIAL_MESSAGE_MAX: usize = 1_024;

/// Longest request in bytes that is tried on a reader, which may refuse it: a copy of it is made.
pub const TRIED_REQUEST: usize = 4_096;

/// Settings of a READ ONLY transaction on a reader that are kept to begin it again elsewhere: more than a report sets. One
/// with more goes to the writer.
pub const READ_ONLY_SETTINGS: usize = 16;
/// Bytes of their texts together: some hundred for each.
pub const READ_ONLY_SETTING_BYTES: usize = 4_096;
/// Bytes that each of them takes beside its text, in a list that grows by doubling.
pub const READ_ONLY_HELD: usize = 4 * size_of::<Box<[u8]>>();

/// Texts that a reader has refused which a session remembers: more distinct ones than most applications have.
pub const REFUSED_TEXTS: usize = 64;

/// Messages of one request that is tried: Parse, Bind, Describe, Execute, Close, Sync and some.
pub const TRIED_MESSAGES: usize = 16;
/// Denials that a session holds the words of until the server has refused what stands in their places. Clients that go on
/// asking for what they are denied may wait for the answers before.
pub const DENIALS_IN_FLIGHT: usize = 16;

/// Actions that wait for the driver before nothing more is decided: a driver that takes them at every turn never
/// has more than a handful.
pub const ACTIONS: usize = 64;

/// Everything of a session that has no limit of its own: startup packets, parameters and keys of three peers, values of
/// [`REPORTED_VALUE_MAX`], the tables of the maps, and the session itself.
pub const SESSION_FIXED: usize = 262_144;

// Migration.

/// A move of a session, from its beginning to its cutover: sqlproxy's 15 s.
pub const MIGRATION_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to the server that a session moves to, TLS included: sqlproxy's 5 s.
pub const MIGRATION_DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Our login to the server that a session moves to, and a look at what it finds there.
pub const MIGRATION_LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client is held while its session moves: what a user takes for a slow query and no timeout of a driver for a
/// dead connection.
pub const MIGRATION_HOLD_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long nothing has passed through an idle session: sqlproxy's 30 s.
pub const MIGRATION_IDLE: Duration = Duration::from_secs(30);

/// The longest message of an answer to us, the row apart, in bytes: columns, tags and errors. PostgreSQL's own words in an
/// error stay far below; what it quotes of ours is a name.
pub const MIGRATION_ANSWER_MAX: usize = 16 * 1024;

/// Prepared statements that a server of CockroachDB is asked about at once. With a Sync for each the answers owed are a
/// fraction of what a session may owe ([`REQUESTS_IN_FLIGHT_MIN`]), and ten thousand take forty round trips.
pub const MIGRATION_DESCRIBES: usize = 256;

/// The longest row with a CockroachDB session's state that is read, in bytes: a session that has prepared a mebibyte, in
/// base64, and as much again for all else.
pub const TRANSFER_STATE_MAX: usize = 2 * 1_048_576;

/// What a session holds of its state while it moves between CockroachDB's servers, in bytes: the row as it comes, in a
/// buffer that grows, and the state and the token in it; behind that a statement's description in such a buffer, beside
/// what the old server has said of each.
pub const TRANSFER_HELD: usize = 4 * TRANSFER_STATE_MAX;

/// The longest row of a probe that is read, in bytes: some 250 settings take 15 KiB, and the names, types and digests of as
/// many statements as it may list ([`PROBE_ENTRIES_MAX`]) another 600. A session with more is not moved.
pub const PROBE_ROW_MAX: usize = 640 * 1024;

/// How many entries each list of a probe's row may have. PostgreSQL 18 has some 400 settings.
pub const PROBE_ENTRIES_MAX: usize = 4_096;

/// What a session holds of its state while it moves, in bytes: the row of a probe as it comes, what it says of the old and the
/// new server, each with the tables around short names and values, and the restore's messages that are not sent.
pub const MOVE_HELD: usize = 8 * PROBE_ROW_MAX;

/// How many types of parameters are looked up for one move. Applications have a handful of their own.
pub const PROBE_TYPES_MAX: usize = 1_024;
