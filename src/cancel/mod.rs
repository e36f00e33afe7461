//! Whose cancel key is it?
//!
//! A client cancels over a connection of its own, with the process id and the secret that its session was given. A proxy
//! gives keys of its own, so it has to find the session ([`CancelMap`]) and, where several instances share an
//! address, first the instance that has it (`CancelRing`, with the feature `scram`).
//!
//! What a session is to be cancelled *for* it says itself:
//! [`Session::cancel_target`](crate::session::Session::cancel_target) names the upstream that owes the current reply and
//! the epoch in which it does, and nothing when nothing runs. The server knows no requests, only its own current one;
//! so a cancel that was long on its way needs a second look, right before it is sent
//! ([`Session::cancel_begins`](crate::session::Session::cancel_begins)); from there to its end
//! ([`Session::cancel_ended`](crate::session::Session::cancel_ended)) the session sends that upstream nothing that could be hit.
//!
//! Nothing here answers: PostgreSQL closes the connection of a CancelRequest without a word, whatever came of it.

mod map;
#[cfg(feature = "scram")]
mod ring;

pub use map::{CancelMap, Epoch, Found, NotEntered, Place, SourceCheck};
#[cfg(feature = "scram")]
pub use ring::{CancelRing, KeyWidth, Owner, ShortSecret};
