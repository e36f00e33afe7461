//! From SQL text to intent, and from intent to an upstream.
//!
//! [`scan()`] reads a text once with the byte rules of PostgreSQL's own lexer and says what it asks for: an [`Intent`]
//! with a [`Class`], the [`Reason`] for it, and the [`Effect`]s that the session must remember. It is total, linear,
//! needs a constant stack, and answers doubt with a class that no reader serves. A [`Cache`] remembers texts. A
//! [`Route`] policy turns an intent into a [`Target`].
//!
//! ```
//! use pgturnout::route::{scan, Class, LexState, Route, RouteContext, Rules, Split, Target};
//!
//! let (lex, rules) = (LexState::defaults(), Rules::default());
//! let read = scan(b"select balance from account where id = $1", &lex, &rules);
//! assert_eq!(read.class, Class::Read);
//! let lock = scan(b"select balance from account where id = $1 for update", &lex, &rules);
//! assert_eq!(lock.reason.to_string(), "LockingClause at 46+6");
//! assert_eq!(Split.route(&read, &RouteContext::new(true)), Target::Reader);
//! assert_eq!(Split.route(&lock, &RouteContext::new(true)), Target::Writer);
//! ```

mod boundaries;
mod builtins;
mod cache;
mod configure;
mod encoding;
mod facts;
mod fast_path;
mod form;
mod hint;
#[cfg(feature = "inspect")]
pub mod inspect;
mod intent;
mod lex;
mod modes;
mod names;
mod outline;
mod policy;
mod prepare;
mod query;
mod readers;
mod rules;
mod scan;
mod setting;
mod settings;
mod statements;
mod suspect;
mod tables;
mod words;

pub use boundaries::statements;
pub use cache::{Cache, CacheLimits};
pub use encoding::{Encoding, Known, LexState};
pub use facts::{BadFact, Facts};
pub(crate) use fast_path::may_leave_something;
pub use form::Form;
pub use hint::{Hint, hint};
pub use intent::{
    Access, Arguments, Class, Concerns, Deed, Deferral, Doubt, Effect, Intent, Isolation, Name,
    PinKind, Preparation, Reason, Scope, SettingChange, SettingKind, SettingValue, Spelt,
    StatementEffect, TransactionModes, Why,
};
pub use outline::outline;
pub use policy::{Route, RouteContext, Split, Target, WriterOnly};
pub(crate) use readers::mix;
pub use readers::{Balance, Excluded, Health, ReaderChoice, ReaderFacts};
pub use rules::{BadName, Rules};
pub use scan::scan;
pub use tables::{Operation, Operations, TableUse, Unparsed, View, tables};
