//! A session with a scripted client and scripted servers around it, in one thread and without sockets.
//!
//! A [`Rig`] does what a driver does, with one buffer of fixed size for each peer, and hands over bytes in chunks of a
//! chosen size. Tests write and read messages in a small notation: see [`frames`].
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

pub(crate) mod cockroach;
pub(crate) mod frames;
pub(crate) mod moving;
mod rig;

pub(crate) use rig::{Chunk, Dial, Rig, config, each, each_routed, login, startup, upstream};
