//! What ends a statement before its end.

use std::borrow::Cow;

/// An error as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// Whether the connection ends with it.
    pub(super) fatal: bool,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
    /// Where in the server it was raised, of those by which somebody knows it.
    pub(super) routine: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Fault {
        Fault {
            fatal: false,
            code: code.into(),
            message: message.into(),
            routine: None,
        }
    }

    pub(super) fn raised_by(self, routine: &'static str) -> Fault {
        Fault {
            routine: Some(routine),
            ..self
        }
    }

    pub(super) fn syntax(near: &str) -> Fault {
        Fault::new("42601", format!("syntax error at or near \"{near}\""))
    }

    pub(super) fn protocol(message: &str) -> Fault {
        Fault::new("08P01", message)
    }

    pub(super) fn read_only(what: &str) -> Fault {
        Fault::new(
            "25006",
            format!("cannot execute {what} in a read-only transaction"),
        )
    }

    pub(super) fn recovery(what: &str) -> Fault {
        Fault::new("25006", format!("cannot execute {what} during recovery"))
    }

    pub(super) fn aborted() -> Fault {
        Fault::new(
            "25P02",
            "current transaction is aborted, commands ignored until end of transaction block",
        )
    }
}

/// Why a statement does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    Fault(Fault),
    /// It waits, for time or a lock, and is tried again.
    Wait,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}
