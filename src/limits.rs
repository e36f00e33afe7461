//! Every bound of the crate: what it limits, its value and why.
