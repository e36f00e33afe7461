//! Errors that more than one module reports.
