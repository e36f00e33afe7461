//! `SET`, `RESET`, `DISCARD`, `DEALLOCATE`: statements that change the session and nothing else.

use super::intent::{
    Access, Class, Effect, Isolation, PinKind, Scope, SettingChange, SettingKind, SettingValue,
    TransactionModes, Why,
};
use super::lex::{Kind, Token};
use super::names;
use super::scan::Scan;
use super::words::Word;
use crate::limits;

impl Scan<'_> {
    /// `SET`, in all its forms.
    pub(super) fn set(&mut self) {
        self.bump();
        let mut scope = Scope::Session;
        let named =
            matches!(self.peek().word(), Some(Word::To)) || self.peek().kind == Kind::Op(b'=');
        if !named && self.eat(Word::Local) {
            scope = Scope::Local;
        } else if !named && self.token.word() == Some(Word::Session) && !self.peek_is_session_form()
        {
            self.bump();
        }
        if self.is_assignment() {
            return self.set_named(scope);
        }
        if self.eat(Word::Transaction) {
            self.set_transaction_modes();
        } else if self.eat(Word::Constraints) {
            let first = self.first;
            self.raise_at(Class::Transaction, Why::TransactionStatement, &first);
        } else if self.eat(Word::Session) {
            self.set_session_form(scope);
        } else {
            self.set_special(scope);
        }
    }

    fn peek_is_session_form(&self) -> bool {
        matches!(
            self.peek().word(),
            Some(Word::Characteristics | Word::Authorization)
        )
    }

    /// Whether a name and `TO` or `=` follow, whatever the name.
    fn is_assignment(&self) -> bool {
        let next = self.peek();
        next.word() == Some(Word::To) || matches!(next.kind, Kind::Op(b'=') | Kind::Dot)
    }

    /// `SET TRANSACTION modes`, `SET TRANSACTION SNAPSHOT 'id'`.
    fn set_transaction_modes(&mut self) {
        let modes = self.transaction_modes();
        self.set_transaction(modes);
    }

    /// `SET SESSION AUTHORIZATION name`, `SET SESSION CHARACTERISTICS AS TRANSACTION modes`.
    fn set_session_form(&mut self, scope: Scope) {
        if self.eat(Word::Authorization) {
            return self.set_value(b"session_authorization", scope);
        }
        self.bump();
        self.eat(Word::As);
        self.eat(Word::Transaction);
        let start = self.token;
        let modes = self.transaction_modes();
        // One mode is one setting, and one statement can restore it. More of them in one statement cannot be told
        // apart when only one is reset later.
        let single = modes.access.is_none() != modes.isolation.is_none()
            && !self.mentions_deferrable(&start);
        let change = |scan: &mut Self, name: &[u8], value: &[u8]| {
            let value = SettingValue::List(vec![value.into()]);
            scan.setting(name, scope, SettingKind::Set, value, single);
        };
        if let Some(access) = modes.access {
            let value: &[u8] = if access == Access::ReadOnly {
                b"on"
            } else {
                b"off"
            };
            change(self, b"default_transaction_read_only", value);
        }
        if let Some(isolation) = modes.isolation {
            change(
                self,
                b"default_transaction_isolation",
                isolation_name(isolation),
            );
        }
        if self.mentions_deferrable(&start) {
            self.setting(
                b"default_transaction_deferrable",
                scope,
                SettingKind::Set,
                SettingValue::Opaque,
                false,
            );
        }
    }

    /// Whether the statement's text from that token on contains `DEFERRABLE`.
    fn mentions_deferrable(&self, from: &Token) -> bool {
        let text = self.text(&Token {
            end: self.last.end,
            ..*from
        });
        names::mentions(text, b"deferrable")
    }

    /// The forms of `SET` with words of their own. The token is the first word after the scope.
    fn set_special(&mut self, scope: Scope) {
        let next = self.peek().word();
        if self.token.word() == Some(Word::Time) && next == Some(Word::Zone) {
            self.bump();
            self.bump();
            if self.token.word() == Some(Word::Local) {
                self.bump();
                return self.setting(
                    b"timezone",
                    scope,
                    SettingKind::Reset,
                    SettingValue::Default,
                    true,
                );
            }
            self.set_value(b"timezone", scope);
        } else if self.eat(Word::Names) {
            if self.at_end() {
                return self.setting(
                    b"client_encoding",
                    scope,
                    SettingKind::Reset,
                    SettingValue::Default,
                    true,
                );
            }
            self.set_value(b"client_encoding", scope);
        } else if self.eat(Word::Schema) {
            self.set_value(b"search_path", scope);
        } else if self.eat(Word::Role) {
            self.set_value(b"role", scope);
        } else if self.token.word() == Some(Word::Xml) {
            self.bump();
            self.bump();
            self.set_value(b"xmloption", scope);
        } else if next == Some(Word::From) {
            let (name, _) = names::owned(&self.token, self.text(&self.token));
            self.bump();
            self.setting(&name, scope, SettingKind::Set, SettingValue::Opaque, false);
        } else {
            self.session_statement();
            self.pin(PinKind::UnknownSetting);
        }
    }

    /// `SET name TO value`; the name may have several parts.
    fn set_named(&mut self, scope: Scope) {
        let Some(name) = self.setting_name() else {
            self.session_statement();
            return self.pin(PinKind::UnknownSetting);
        };
        if self.eat(Word::To) || self.token.kind == Kind::Op(b'=') {
            if self.token.kind == Kind::Op(b'=') {
                self.bump();
            }
            self.set_value(&name, scope);
        } else {
            self.setting(&name, scope, SettingKind::Set, SettingValue::Opaque, false);
        }
    }

    /// A setting's name, ASCII lower case. `None` if the token starts none or the server may read it differently.
    fn setting_name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            let (part, exact) = names::owned(&self.token, self.text(&self.token));
            if !(self.token.is_name() && exact) {
                return None;
            }
            name.extend(part.to_ascii_lowercase());
            self.bump();
            if self.token.kind != Kind::Dot {
                break;
            }
            name.push(b'.');
            self.bump();
        }
        Some(names::setting(&name))
    }

    /// The value after `TO`, to the end of the statement.
    fn set_value(&mut self, name: &[u8], scope: Scope) {
        let is_default = self.token.word() == Some(Word::Default);
        if is_default {
            self.bump();
            let fine = self.at_end();
            return self.setting(name, scope, SettingKind::Reset, SettingValue::Default, fine);
        }
        let value = self.value_list();
        let fine = value != SettingValue::Opaque;
        self.setting(name, scope, SettingKind::Set, value, fine);
    }

    /// A list of words, numbers and plain literals.
    fn value_list(&mut self) -> SettingValue {
        let mut items = Vec::new();
        loop {
            let mut item = Vec::new();
            if matches!(self.token.kind, Kind::Op(b'-' | b'+')) {
                item.extend(self.text(&self.token));
                self.bump();
                if self.token.kind != Kind::Number {
                    return SettingValue::Opaque;
                }
            }
            let text = self.text(&self.token);
            if self.is_plain_literal() {
                item = names::undouble(text, b'\'');
            } else if self.token.kind == Kind::Number {
                item.extend(text);
            } else if matches!(self.token.kind, Kind::Word(_) | Kind::Quoted) {
                item.extend(names::owned(&self.token, text).0);
            } else {
                return SettingValue::Opaque;
            }
            items.push(item.into_boxed_slice());
            self.bump();
            if self.at_end() {
                return SettingValue::List(items);
            }
            if self.token.kind != Kind::Comma || items.len() >= limits::SCAN_VALUES_MAX {
                return SettingValue::Opaque;
            }
            self.bump();
        }
    }

    /// `RESET`.
    pub(super) fn reset(&mut self) {
        self.bump();
        let next = self.peek().word();
        if self.token.word() == Some(Word::All) {
            self.session_statement();
            self.effect(Effect::ResetAll);
        } else if self.token.word() == Some(Word::Time) && next == Some(Word::Zone) {
            self.bump();
            self.bump();
            self.setting(
                b"timezone",
                Scope::Session,
                SettingKind::Reset,
                SettingValue::Default,
                true,
            );
        } else if self.token.word() == Some(Word::Transaction) && next == Some(Word::Isolation) {
            self.set_transaction(TransactionModes::default());
        } else if self.token.word() == Some(Word::Session) && next == Some(Word::Authorization) {
            self.bump();
            self.bump();
            let name = b"session_authorization";
            self.setting(
                name,
                Scope::Session,
                SettingKind::Reset,
                SettingValue::Default,
                true,
            );
        } else if let Some(name) = self.setting_name() {
            let fine = self.at_end();
            self.setting(
                &name,
                Scope::Session,
                SettingKind::Reset,
                SettingValue::Default,
                fine,
            );
        } else {
            self.session_statement();
            self.pin(PinKind::UnknownSetting);
        }
    }

    fn session_statement(&mut self) {
        let first = self.first;
        self.raise_at(Class::Session, Why::SessionStatement, &first);
    }

    /// Remembers a change of a setting. Some names are not settings of the session at all.
    fn setting(
        &mut self,
        name: &[u8],
        scope: Scope,
        kind: SettingKind,
        value: SettingValue,
        understood: bool,
    ) {
        match name {
            b"transaction_read_only" => {
                return self.set_transaction(TransactionModes {
                    access: access(&value),
                    ..TransactionModes::default()
                });
            }
            b"transaction_isolation" => {
                return self.set_transaction(TransactionModes {
                    isolation: isolation(&value),
                    ..TransactionModes::default()
                });
            }
            b"transaction_deferrable" => return self.set_transaction(TransactionModes::default()),
            b"seed" => {
                self.session_statement();
                return self.pin(PinKind::SetSeed);
            }
            _ => self.session_statement(),
        }
        let understood = understood && self.at_end();
        self.rest(false);
        let end = self.last.end;
        let statement = self.first.start..end;
        let text = self.text(&Token { end, ..self.first });
        self.note_temporary_path(name, text);
        let portable = understood && text.is_ascii() && !text.contains(&b'\\');
        self.effect(Effect::Setting(SettingChange {
            name: name.into(),
            scope,
            kind,
            value,
            statement,
            portable,
        }));
    }

    /// If this is a search path that names the temporary schema, what is made without a schema may be temporary from now
    /// on.
    pub(super) fn note_temporary_path(&mut self, name: &[u8], value: &[u8]) {
        if name == b"search_path" && names::mentions(value, b"pg_temp") {
            self.pin(PinKind::TemporarySchema);
        }
    }

    /// `DISCARD`.
    pub(super) fn discard(&mut self) {
        self.session_statement();
        self.bump();
        let effect = match self.token.word() {
            Some(Word::All) => Effect::DiscardAll,
            Some(Word::Plans) => Effect::DiscardPlans,
            Some(Word::Sequences) => Effect::DiscardSequences,
            Some(Word::Temp) => Effect::DiscardTemp,
            _ => return self.pin(PinKind::UnknownSetting),
        };
        self.effect(effect);
    }

    /// `DEALLOCATE [PREPARE] name | ALL`.
    pub(super) fn deallocate(&mut self) {
        self.session_statement();
        self.bump();
        if self.peek().is_name() {
            self.eat(Word::Prepare);
        }
        if self.token.word() == Some(Word::All) {
            self.effect(Effect::DeallocateAll);
        } else if let Some(name) = self.name() {
            self.effect(Effect::Deallocate(name));
        }
    }
}

fn isolation_name(isolation: Isolation) -> &'static [u8] {
    match isolation {
        Isolation::ReadUncommitted => b"read uncommitted",
        Isolation::ReadCommitted => b"read committed",
        Isolation::RepeatableRead => b"repeatable read",
        Isolation::Serializable => b"serializable",
    }
}

/// The access mode that a value of `transaction_read_only` means, by the rules for booleans (`parse_bool`), of which
/// only the full words are taken.
fn access(value: &SettingValue) -> Option<Access> {
    let item = value.single()?.to_ascii_lowercase();
    match item.as_slice() {
        b"on" | b"true" | b"yes" | b"1" => Some(Access::ReadOnly),
        b"off" | b"false" | b"no" | b"0" => Some(Access::ReadWrite),
        _ => None,
    }
}

fn isolation(value: &SettingValue) -> Option<Isolation> {
    let item = value.single()?.to_ascii_lowercase();
    let levels = [
        Isolation::ReadUncommitted,
        Isolation::ReadCommitted,
        Isolation::RepeatableRead,
        Isolation::Serializable,
    ];
    levels
        .into_iter()
        .find(|level| isolation_name(*level) == item.as_slice())
}
