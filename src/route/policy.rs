//! From intent to an upstream.

use super::intent::{Class, Intent};

/// Which upstream serves a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The server that accepts writes.
    Writer,
    /// A server that may only be asked for reads.
    Reader,
}

/// What a policy may look at beside the intent.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RouteContext<'a> {
    /// Whether a reader is connected, or can be, and is fresh enough. The session falls back to the writer by itself
    /// when a policy asks for a reader that is not there.
    pub reader_available: bool,
    /// Whether the request, if it is [unproven](super::Class::Unproven), can be tried on the reader and run on the writer if
    /// it is refused.
    pub may_try: bool,
    /// The user of the session.
    pub user: &'a [u8],
    /// The database of the session.
    pub database: &'a [u8],
    /// The text, when the request has exactly one: that of a Query, of a Parse, or of the prepared statement that is bound.
    /// For hints in comments and rules of the caller's own.
    pub text: Option<&'a [u8]>,
}

impl RouteContext<'_> {
    /// A context that knows nothing but whether a reader is there.
    #[must_use]
    pub fn new(reader_available: bool) -> Self {
        RouteContext {
            reader_available,
            may_try: false,
            user: b"",
            database: b"",
            text: None,
        }
    }
}

/// Chooses the upstream of a request that no transaction and no pin has decided already.
///
/// A policy that answers [`Target::Reader`] for a class other than read takes the responsibility: the reader must be
/// one that refuses writes, and the session will not run the request a second time without proof.
pub trait Route {
    /// Chooses. Called once per request, in request order.
    fn route(&mut self, intent: &Intent, cx: &RouteContext<'_>) -> Target;
}

/// Reads to a reader, and what may be tried there; everything else to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Split;

impl Route for Split {
    fn route(&mut self, intent: &Intent, cx: &RouteContext<'_>) -> Target {
        let tried = cx.may_try && intent.class == Class::Unproven;
        if cx.reader_available && (intent.class.is_read() || tried) {
            Target::Reader
        } else {
            Target::Writer
        }
    }
}

/// Everything to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterOnly;

impl Route for WriterOnly {
    fn route(&mut self, _intent: &Intent, _cx: &RouteContext<'_>) -> Target {
        Target::Writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Class, Form, Reason, Why};

    fn intent(class: Class) -> Intent {
        Intent {
            class,
            within: class,
            reason: Reason {
                why: Why::NoStatement,
                offset: 0,
                token_len: 0,
            },
            form: Form::Read,
            statements: 1,
            effects: Vec::new(),
        }
    }

    #[test]
    fn split_sends_only_proven_reads_to_a_reader() {
        use Class::{Empty, Read, Session, Transaction, Unproven, Unreadable, Write};
        let with = RouteContext::new(true);
        let without = RouteContext::new(false);
        for class in [Empty, Read] {
            assert_eq!(
                Split.route(&intent(class), &with),
                Target::Reader,
                "{class:?}"
            );
            assert_eq!(
                Split.route(&intent(class), &without),
                Target::Writer,
                "{class:?}"
            );
            assert_eq!(
                WriterOnly.route(&intent(class), &with),
                Target::Writer,
                "{class:?}"
            );
        }
        for class in [Unproven, Session, Transaction, Write, Unreadable] {
            assert_eq!(
                Split.route(&intent(class), &with),
                Target::Writer,
                "{class:?}"
            );
        }
    }
}
