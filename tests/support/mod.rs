//! What tests against real servers share: the cluster, the proxy under test and a client that speaks
//! the protocol by hand, so that the crate's codec is not checked against itself.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod cockroach;
pub(crate) mod frame;
pub(crate) mod lab;
pub(crate) mod message;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod socket;
