//! Settings that the client changes, and what follows from them.

use super::begin::mentions_catalog;
use super::effects::{Memory, SearchPath};
use super::{Event, Session};
use crate::migrate::postgres::Assignment;
use crate::route::{Known, Route, Scope, SettingChange, SettingKind, SettingValue};
use crate::track::Pin;
use crate::track::reading::Reading;
use crate::track::settings::{Change, JournalDoubt, Repeat, Topic};

/// Whether a search path by which built-in names may mean something else is on its way, or holds in the transaction that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathInFlight {
    None,
    Some,
}

impl Memory {
    /// Looks again at what the journal says of the search path.
    pub(super) fn journal_changed(&mut self) {
        let topic = Topic::Setting(b"search_path".as_slice().into());
        let path = self.journal.get(&topic);
        let mentions = path.is_some_and(|change| match &change.repeat {
            Repeat::Text(text) => mentions_catalog(text.strip_prefix(SET_CONFIG).unwrap_or(text)),
            Repeat::Not(_) => true,
        });
        let first = !mentions
            && self.path == PathInFlight::None
            && self.search_path == SearchPath::CatalogFirst;
        self.lex.catalog_first = if first {
            Known::Is(true)
        } else {
            Known::Unknown
        };
    }

    /// A statement that changes a setting is on its way. By some search paths built-in names are searched later than first.
    pub(super) fn setting_is_sent(&mut self, change: &SettingChange) {
        // Not even a rollback tells that it is as it was.
        if let Some(reading) = Reading::unseen_by(&change.name) {
            self.statements.reading_is_unknown(reading);
        }
        let mentions = match &change.value {
            SettingValue::Default => false,
            SettingValue::List(items) => items.iter().any(|item| mentions_catalog(item)),
            SettingValue::Opaque => true,
        };
        if *change.name == *b"search_path" && mentions {
            self.path = PathInFlight::Some;
            self.lex.catalog_first = Known::Unknown;
        }
    }

    /// The writer has answered everything, and is outside any transaction: the search path is what the journal says.
    pub(super) fn path_is_settled(&mut self) {
        if std::mem::replace(&mut self.path, PathInFlight::None) == PathInFlight::Some {
            self.journal_changed();
        }
    }
}

impl<R: Route> Session<R> {
    /// What is committed may have changed the journal.
    pub(super) fn journal_moved(&mut self) {
        if self.memory.seen_stamp == self.memory.journal.stamp() {
            return;
        }
        self.memory.seen_stamp = self.memory.journal.stamp();
        self.memory.journal_changed();
        let obstacle = self.memory.journal.obstacle();
        let before = std::mem::replace(&mut self.memory.obstacle, obstacle);
        if obstacle != before && self.splits() {
            if let Some(pin) = obstacle {
                self.notify(Event::Pinned(pin));
            }
        }
    }

    pub(super) fn setting_changed(&mut self, text: &[u8], change: &SettingChange) {
        self.setting_named(&change.name);
        if change.scope == Scope::Local {
            // Nothing of it outlasts its transaction.
            return;
        }
        let topic = match &*change.name {
            b"role" => Topic::Role,
            b"session_authorization" => Topic::SessionAuthorization,
            name => Topic::Setting(name.into()),
        };
        let statement = text.get(change.statement.clone()).unwrap_or_default();
        let repeat = if let Some(pin) = pin_of_setting(change) {
            Repeat::Not(pin)
        } else if statement.is_empty() {
            Repeat::Not(Pin::Setting)
        } else {
            Repeat::Text(match change.kind {
                SettingKind::Set | SettingKind::Reset => statement.into(),
                SettingKind::Call => {
                    let value = change.value.single().unwrap_or_default();
                    set_config(&change.name, value, Scope::Session).into()
                }
            })
        };
        self.stage(topic, repeat);
    }

    /// A custom setting is known to the server from now on, with the empty string for a value where asking for it was an error. On
    /// another server a set_config that ends at once leaves the same.
    pub(super) fn setting_named(&mut self, name: &[u8]) {
        // One that is spelled otherwise is the same name in some encodings only.
        let is_plain = |byte: &u8| byte.is_ascii() && !matches!(byte, b'\'' | b'\\');
        if name.contains(&b'.') && name.iter().all(is_plain) {
            let text = set_config(name, b"", Scope::Local);
            let known = self.memory.journal.know(name, &text);
            self.doubt(known);
        }
    }

    /// The new writer was set to these defaults of the old one; whoever serves beside it needs them too.
    pub(super) fn defaults_moved(&mut self, defaults: &[Assignment]) {
        if defaults.is_empty() || !self.splits() {
            return;
        }
        for default in defaults {
            let name = default.name.to_ascii_lowercase();
            // A value that no encoding and no lexical setting has a say in; and a standby refuses some of these.
            let plain = |byte: &u8| byte.is_ascii() && *byte != b'\\';
            let repeats =
                default.value.iter().all(plain) && !name.starts_with(b"default_transaction_");
            let repeat = if repeats {
                let text = set_config(&name, &default.value, Scope::Session);
                Repeat::Text(text.into())
            } else {
                Repeat::Not(Pin::LoginDefaults)
            };
            self.stage(Topic::Setting(name.into()), repeat);
        }
        self.memory.journal.commit();
        self.journal_moved();
    }

    pub(super) fn stage_text(&mut self, topic: Topic, text: &[u8]) {
        self.stage(topic, Repeat::Text(text.into()));
    }

    fn stage(&mut self, topic: Topic, repeat: Repeat) {
        let staged = self.memory.journal.stage(Change { topic, repeat });
        self.doubt(staged);
    }

    /// What the journal cannot tell any more pins.
    pub(super) fn doubt(&mut self, kept: Result<(), JournalDoubt>) {
        match kept {
            Ok(()) => {}
            Err(JournalDoubt::Full) => self.pin(Pin::TooManySettings),
            Err(JournalDoubt::Savepoints) => self.pin(Pin::Savepoint),
        }
    }
}

/// What a setting pins that cannot be repeated on a reader.
pub(super) fn pin_of_setting(change: &SettingChange) -> Option<Pin> {
    if change.scope == Scope::Local {
        None
    } else if keeps_idle_time(change) {
        Some(Pin::IdleTimeout)
    } else if !change.portable || !can_run_on_a_standby(change) {
        Some(Pin::Setting)
    } else {
        None
    }
}

/// Whether a setting can be repeated on a standby, which refuses some, and with some refuses every answer: the reads of a
/// session that sets those stay home. Their values that do no harm take the others back.
fn can_run_on_a_standby(change: &SettingChange) -> bool {
    let value = match &change.value {
        SettingValue::List(items) => items.first().map(|item| item.to_ascii_lowercase()),
        SettingValue::Default => return !change.name.starts_with(b"transaction_"),
        SettingValue::Opaque => None,
    };
    let harmless: &[&[u8]] = match &*change.name {
        b"default_transaction_read_only" => &[b"off", b"false", b"on", b"true"],
        b"default_transaction_deferrable" => &[b"off", b"false"],
        b"default_transaction_isolation" => {
            &[b"read uncommitted", b"read committed", b"repeatable read"]
        }
        name => {
            let refused =
                name.starts_with(b"transaction_") || name.starts_with(b"default_transaction_");
            return !refused;
        }
    };
    value.is_some_and(|value| harmless.contains(&value.as_slice()))
}

/// How a set_config of the client's is repeated, whatever is searched first.
const SET_CONFIG: &[u8] = b"select pg_catalog.set_config(";

fn set_config(name: &[u8], value: &[u8], scope: Scope) -> Vec<u8> {
    let mut text = SET_CONFIG.to_vec();
    for argument in [name, value] {
        text.push(b'\'');
        for byte in argument {
            text.push(*byte);
            if *byte == b'\'' {
                text.push(b'\'');
            }
        }
        text.extend(b"', ");
    }
    text.extend(match scope {
        Scope::Session => &b"false)"[..],
        Scope::Local => b"true)",
    });
    text
}

/// Whether it has the server end a session that idles, as the writer's does while its reads run elsewhere.
fn keeps_idle_time(change: &SettingChange) -> bool {
    let off = match &change.value {
        SettingValue::List(_) => change.value.single() == Some(b"0"),
        SettingValue::Default => true,
        SettingValue::Opaque => false,
    };
    *change.name == *b"idle_session_timeout" && !off
}
