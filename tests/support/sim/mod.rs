//! A world in one process: a model PostgreSQL and what is built around it. Deterministic: no clock, no threads,
//! no maps without order.
//!
//! | file | what |
//! |---|---|
//! | `choices` | every decision, from one string of bytes |
//! | `program` | a scenario out of choices: what a client says, how the network cuts it, what goes wrong |
//! | `event`, `fault`, `message`, `setup`, `fittings`, `introduction`, `journey`, `text` | a scenario, and its text |
//! | `verdict` | what the caller's policy denies in it |
//! | `world`, `client`, `server`, `meter` | the driver and the network, the client, PostgreSQL, the heap |
//! | `checks`, `codec`, `conduct`, `duties`, `moves`, `distance`, `transfers`, `deadlines`, `door`, `reads`, `retries`, `senseless`, `fates`, `torn`, `named`, `needles`, `oracle`, `cursor` | what must hold, at every step and in the end |
//! | `catalogue` | which situations were seen |
//! | `run`, `comparable`, `shrink` | a scenario under every chunking, how much of two runs can be compared, and the least part of it that still fails |
//! | `alone` | a scenario in a thread of its own |
//! | `campaign`, `report`, `spoken` | many seeds, and what is printed of a scenario that fails |
//!
//! `tests/simulation.rs` uses all of it, so that what nobody uses is noticed there; whoever uses a part allows that where it
//! has the module.

pub(crate) mod alone;
pub(crate) mod campaign;
pub(crate) mod catalogue;
pub(crate) mod checks;
pub(crate) mod choices;
pub(crate) mod client;
mod codec;
mod comparable;
mod conduct;
mod cursor;
mod deadlines;
mod distance;
mod door;
mod duties;
pub(crate) mod event;
mod fates;
pub(crate) mod fault;
mod fittings;
mod introduction;
mod journey;
pub(crate) mod message;
pub(crate) mod meter;
pub(crate) mod moves;
mod named;
mod needles;
pub(crate) mod oracle;
pub(crate) mod program;
mod reads;
pub(crate) mod report;
mod retries;
pub(crate) mod run;
mod senseless;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod shrink;
mod spoken;
mod text;
pub(crate) mod torn;
pub(crate) mod transfers;
pub(crate) mod verdict;
pub(crate) mod visible;
mod wants;
pub(crate) mod world;
