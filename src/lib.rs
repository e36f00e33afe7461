//! Sans-IO building blocks for PostgreSQL proxies.
//!
//! Pure state machines: no socket, no task, no clock, no random source. A driver tells a [`session::Session`] what
//! happened and carries out what it asks for; the session puts one client in front of a primary and a standby, and
//! sends writes to the one and proven reads to the other.
//!
//! ```text
//!   client ⇄ driver ⇄ primary        handle_input, handle_eof, handle_connected …   what happened
//!               ⇅    ⇄ standby       poll_transmit, take_discard, poll_action …     what to do
//!            Session                 wants_read, poll_timeout, lifecycle            what is the case
//! ```
//!
//! # Layers
//!
//! From top to bottom; a module knows only what is below it, and each can be used alone.
//!
//! - [`session`]: the composition. One client, its upstreams, and the order in which everybody is heard.
//! - [`migrate`]: a live session to another server: safe points, what is read and restored, phases and their deadlines.
//! - [`route`]: from a SQL text to what it asks for, and from there to an upstream.
//! - [`track`]: what must be remembered: replies that are owed, prepared statements, settings, pins.
//! - [`auth`]: the login to one more server in the name of a client that is logged in, and that of a client to us.
//! - [`access`]: who is not served: too many wrong guesses, and lists of the operator's.
//! - [`cancel`]: whose a cancel key is, among the sessions of a proxy and the instances of a fleet.
//! - [`startup`]: how connections open, on both sides: requests for encryption, parameters, cancel keys.
//! - [`stats`]: counters of messages, statements, transactions, errors and connections.
//! - [`ledger`]: which bytes of which source go to which destination, in what order; knows no protocol.
//! - [`wire`]: frames and messages as borrowed views, and their encoders; has no state.
//! - [`limits`] and [`error`]: every bound with its reason, and the errors that modules share.
//!
//! # A driver
//!
//! What is read from a peer stays in the driver's buffer until the session says where it goes. This one has a single
//! event: the client's StartupMessage arrives, the session asks for the primary to be dialled, and the message goes
//! there as it came. The repository's README has the same loop with answers, and its examples have it with sockets.
//!
//! ```
//! use std::{sync::Arc, time::Instant};
//! use pgturnout::route::Split;
//! use pgturnout::session::{Action, Config, Demand, PeerId, Role, Seed, Session, Transmit, Upstream};
//! use pgturnout::startup::UpstreamTlsPolicy;
//!
//! let tls = UpstreamTlsPolicy::Disable;
//! let primary = Upstream { name: "primary".to_owned(), role: Role::Writer, tls, tls_negotiation: Default::default(), methods: None };
//! let now = Instant::now();
//! let seed = Seed::new([7; Seed::LEN]); // from a cryptographic random source
//! let mut session = Session::new(Arc::new(Config::new(vec![primary])), Split, seed, now);
//!
//! let hello = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";
//! let mut buffer = hello.to_vec(); // what was read from the client
//! while session.handle_input(now, PeerId::CLIENT, &buffer) == Demand::Again {}
//! let dropped = session.take_discard(PeerId::CLIENT, buffer.len());
//! buffer.drain(..dropped);
//!
//! while let Some(action) = session.poll_action() {
//!     if let Action::Connect { peer, .. } = action {
//!         session.handle_connected(now, peer, Ok(())); // it is dialled
//!     }
//! }
//! while let Some(Transmit::Owned(bytes)) = session.poll_transmit(PeerId::WRITER) {
//!     assert_eq!(bytes, hello); // a socket may take less of it
//!     let written = bytes.len();
//!     session.transmitted(now, PeerId::WRITER, written);
//! }
//! ```
//!
//! # Laws
//!
//! What the tests hold the crate to.
//!
//! 1. *Pure*: the same configuration, seed and events give the same outputs.
//! 2. *Chunking-blind*: however the incoming bytes are split, the same bytes come out.
//! 3. *Byte-exact*: a frame that is forwarded is forwarded unchanged, whatever its type and size.
//! 4. *One order*: the client sees what one server could have answered, whole frames in request order.
//! 5. *Never a wrong write*: what is not proven to be a read goes to the writer.
//! 6. *Never twice*: a statement that may have had an effect is not sent again.
//! 7. *Same session everywhere*: no statement runs where the session's state is another one; else the session is pinned.
//! 8. *Bounded*: nothing is kept past [`session::Config::memory_bound`], nothing allocated by an announced length.
//! 9. *Total*: no input of any peer panics, loops or hangs; a peer's fault is an output, not an `Err`.
//! 10. *Live*: when everybody behaves, every request is answered; every phase that waits has a deadline.
//! 11. *Secret*: no password, key, nonce or query text is in `Debug`, `Display`, errors or events unasked.
//!
//! # Features
//!
//! `scram` (on by default): SCRAM-SHA-256, as a client and as a server; cancel keys that name an instance. `inspect` (on by
//! default): the tables of a text, and a
//! second opinion on names, from `sqlparser`.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::todo,
    clippy::unimplemented,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::get_unwrap,
    clippy::mem_forget,
    clippy::wildcard_enum_match_arm,
    clippy::large_stack_arrays,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::wildcard_enum_match_arm,
        reason = "a test may fail by panicking"
    )
)]

pub mod access;
pub mod auth;
pub mod cancel;
pub mod error;
pub mod ledger;
pub mod limits;
pub mod migrate;
pub mod route;
mod secret;
pub mod session;
pub mod startup;
pub mod stats;
pub mod track;
pub mod wire;

/// The code of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
