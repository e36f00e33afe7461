//! What a statement answers with: columns, rows and errors, before they are messages.

use std::borrow::Cow;

use pgturnout::wire::{SqlState, sqlstate};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    /// Of eight bytes, which clients align to the right.
    Number,
}

impl Type {
    /// Its object id and its size, as PostgreSQL has them.
    pub(crate) fn oid_and_size(self) -> (u32, i16) {
        match self {
            Type::Text => (25, -1),
            Type::Number => (20, 8),
        }
    }
}

/// A column's name and type.
pub(crate) type Column = (&'static str, Type);

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Text(String),
    Number(i64),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// A count; what does not fit is as much as fits.
    pub(crate) fn count(count: impl TryInto<i64>) -> Value {
        Value::Number(count.try_into().unwrap_or(i64::MAX))
    }

    /// Its bytes in a row: as text, or as the type's binary form.
    pub(crate) fn bytes(&self, binary: bool) -> Option<Cow<'_, [u8]>> {
        match self {
            Value::Null => None,
            Value::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Value::Number(number) if binary => Some(Cow::Owned(number.to_be_bytes().to_vec())),
            Value::Number(number) => Some(Cow::Owned(number.to_string().into_bytes())),
        }
    }
}

pub(crate) type Row = Vec<Value>;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) state: SqlState,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    /// Where in the text, in characters from 1.
    pub(crate) position: Option<usize>,
}

impl Failure {
    pub(crate) fn new(state: SqlState, message: impl Into<String>) -> Failure {
        Failure {
            state,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// Something that the protocol does not allow.
    pub(crate) fn protocol(message: impl Into<String>) -> Failure {
        Failure::new(sqlstate::PROTOCOL_VIOLATION, message)
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Failure {
        Failure {
            detail: Some(detail.into()),
            ..self
        }
    }

    pub(crate) fn with_position(self, position: usize) -> Failure {
        Failure {
            position: Some(position),
            ..self
        }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Failure {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }
}
