//! Errors that more than one module reports.
//!
//! None of them holds a byte that a peer sent, so that any of them may be logged as it is.

/// A frame or a body that the protocol's message formats do not allow.
///
/// It names what was being read and where it stopped making sense. `offset` counts bytes from the start of the
/// body, which begins after the tag and the length word; for the header itself it counts from the tag.
///
/// ```
/// use pgturnout::error::{Fault, Malformed};
/// use pgturnout::wire::Frontend;
///
/// let error = Frontend::parse(b'E', b"portal\0\0\0").unwrap_err();
/// assert_eq!(error, Malformed { message: "Execute", field: "row limit", offset: 7, fault: Fault::Missing { needed: 2 } });
/// assert_eq!(error.to_string(), "Execute: row limit: 2 bytes missing (offset 7)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {field}: {fault} (offset {offset})")]
pub struct Malformed {
    /// The message, as the protocol chapter names it.
    pub message: &'static str,
    /// The part of the message that could not be read.
    pub field: &'static str,
    /// Where that part begins, in bytes from the start of the body.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a [`Malformed`] field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The body ends inside the field, or before all the elements that a count announced.
    #[error("{needed} bytes missing")]
    Missing {
        /// How many more bytes the field needs at least.
        needed: usize,
    },
    /// The message is complete and the body goes on.
    #[error("{extra} bytes left over")]
    Leftover {
        /// How many bytes follow.
        extra: usize,
    },
    /// A string without its NUL, or a list without its terminator.
    #[error("no terminator")]
    NoTerminator,
    /// A value that the format does not define.
    #[error("undefined value")]
    BadValue,
    /// A length below the smallest that is allowed here.
    #[error("length below {least}")]
    LengthTooSmall {
        /// The smallest length allowed.
        least: u32,
    },
    /// A length above the largest that is allowed here.
    #[error("length above {limit}")]
    LengthTooLarge {
        /// The largest length allowed.
        limit: u32,
    },
}

/// A value that does not fit the message format, so that no frame was written.
///
/// Every encoder checks before it is too late: after this error its output is what it was before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {field}: {misfit}")]
pub struct TooLong {
    /// The message, as the protocol chapter names it.
    pub message: &'static str,
    /// The part of the message that could not be written.
    pub field: &'static str,
    /// Why not.
    pub misfit: Misfit,
}

/// Why a field is [`TooLong`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The frame's length word would exceed 2³¹ − 1.
    #[error("the frame would exceed 2^31 - 1 bytes")]
    Frame,
    /// More elements than the count in the message can tell: 65,535 for a 16-bit one.
    #[error("{count} elements are more than its count can tell")]
    Count {
        /// How many elements there are.
        count: usize,
    },
    /// A length outside the range that the format defines.
    #[error("a length of {len}")]
    Length {
        /// The length.
        len: usize,
    },
    /// A NUL inside a string, which would end it there and make its tail the next field.
    #[error("a NUL inside a string")]
    InnerNul,
    /// An empty name or a zero code in a list that ends with one.
    #[error("an element that reads as the end of its list")]
    Terminator,
}
