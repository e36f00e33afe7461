//! A world in one process: a model PostgreSQL and what is built around it. Deterministic: no clock, no threads,
//! no maps without order.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

pub(crate) mod server;
