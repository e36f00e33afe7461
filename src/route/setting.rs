//! One setting as one statement changes it.

use std::fmt;
use std::ops::Range;

/// How long a setting lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To the end of the session, unless its transaction rolls back.
    Session,
    /// To the end of the transaction.
    Local,
}

/// What a settings statement does to the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// `SET name TO value`.
    Set,
    /// `RESET name`, `SET name TO DEFAULT`: back to the startup value.
    Reset,
    /// `SELECT set_config('name', 'value', …)`: the value is one string, which a list is still to be read from.
    Call,
}

/// The values of a `SET`, as far as they are plain words, numbers and literals.
#[derive(Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// `DEFAULT`, or none because the statement is a `RESET`.
    Default,
    /// The list, unquoted and with unquoted words folded.
    List(Vec<Box<[u8]>>),
    /// A form that is not decoded: an escape, an interval, a sign, an unknown grammar.
    Opaque,
}

impl SettingValue {
    /// The value, if it is one and no list.
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        match self {
            SettingValue::List(items) => match items.as_slice() {
                [item] => Some(item),
                _ => None,
            },
            SettingValue::Default | SettingValue::Opaque => None,
        }
    }
}

impl fmt::Debug for SettingValue {
    /// Names the form, never the value: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingValue::Default => f.write_str("Default"),
            SettingValue::List(items) => write!(f, "List(<{} values>)", items.len()),
            SettingValue::Opaque => f.write_str("Opaque"),
        }
    }
}

/// One setting changed by one statement.
#[derive(Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// The canonical name, ASCII lower case: `TIME ZONE` is `timezone`, `NAMES` is `client_encoding`, `SCHEMA` is
    /// `search_path`, `SESSION AUTHORIZATION` is `session_authorization`.
    pub name: Box<[u8]>,
    /// For the session or for the transaction.
    pub scope: Scope,
    /// Set or reset.
    pub kind: SettingKind,
    /// The value, for those who must know it.
    pub value: SettingValue,
    /// That one statement within the text, without its semicolon; its beginning, up to a call of `set_config` whose arguments the
    /// text does not show.
    pub statement: Range<usize>,
    /// Whether that range, sent alone, means the same on another server whatever its lexing settings: ASCII, no
    /// backslash, plain literals and names only, one setting.
    pub portable: bool,
}

impl fmt::Debug for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingChange")
            .field("name", &format_args!("<{} bytes>", self.name.len()))
            .field("scope", &self.scope)
            .field("kind", &self.kind)
            .field("value", &self.value)
            .field("statement", &self.statement)
            .field("portable", &self.portable)
            .finish()
    }
}

impl SettingChange {
    /// How many bytes it holds outside itself.
    pub(super) fn heap(&self) -> usize {
        let items = match &self.value {
            SettingValue::List(items) => items.as_slice(),
            SettingValue::Default | SettingValue::Opaque => &[],
        };
        let bytes = items
            .iter()
            .map(|item| item.len().saturating_add(size_of::<Box<[u8]>>()));
        bytes.fold(self.name.len(), usize::saturating_add)
    }
}
