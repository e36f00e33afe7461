//! Sans-IO building blocks for PostgreSQL proxies.
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

pub mod auth;
pub mod error;
pub mod ledger;
pub mod limits;
pub mod route;
mod secret;
pub mod session;
pub mod startup;
pub mod track;
pub mod wire;
