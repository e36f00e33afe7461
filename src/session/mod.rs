//! The composition: one client and its upstreams.
