//! `SELECT set_config('name', 'value', false)`: a SET in the form of a query.
//!
//! It is told from other queries by reading ahead: nothing but calls with literals, each with a label or none.

use super::intent::{Class, Deed, Effect, Scope, SettingChange, SettingKind, SettingValue, Why};
use super::lex::{Kind, Lexer, Quote, Token};
use super::names::{self, Folded};
use super::rules::{Schema, Verdict};
use super::scan::Scan;
use super::words::Word;
use crate::limits;

/// One call.
#[derive(Debug)]
struct Call {
    name: Vec<u8>,
    value: SettingValue,
    scope: Scope,
}

impl Scan<'_> {
    /// Reads such a statement to its end. `false`, and no step, if it is another.
    pub(super) fn configure(&mut self) -> bool {
        if self.token.word() != Some(Word::Select) {
            return false;
        }
        let mut ahead = self.lexer.clone();
        let calls = self.calls(&mut ahead);
        #[cfg(test)]
        self.lexer.steps.set(ahead.steps.get());
        let Some(calls) = calls else {
            return false;
        };
        let first = self.first;
        let why = Why::Function(Deed::SetConfig);
        self.raise_at(Class::Session, why, &first);
        self.explained();
        let statement = first.start..self.last.end;
        let text = self.text(&Token {
            end: self.last.end,
            ..first
        });
        let portable = text.is_ascii() && !text.contains(&b'\\');
        for call in calls {
            // A value that is not shown cannot be said again, nor has it to where it ends with the transaction.
            let portable =
                portable && (call.scope == Scope::Local || call.value != SettingValue::Opaque);
            self.note_temporary_path(&call.name, call.value.single().unwrap_or_default());
            self.effect(Effect::Setting(SettingChange {
                name: call.name.into(),
                scope: call.scope,
                kind: SettingKind::Call,
                value: call.value,
                statement: statement.clone(),
                portable,
            }));
        }
        true
    }

    /// At the parenthesis of any other call: the name of a custom setting is remembered if it is shown. It may be set, and no
    /// server lists those that it has.
    pub(super) fn name_custom(&mut self) {
        let mut ahead = self.lexer.clone();
        let name = literal(&mut ahead);
        #[cfg(test)]
        self.lexer.steps.set(ahead.steps.get());
        let Some(name) = name.filter(|name| name.contains(&b'.')) else {
            return;
        };
        self.effect(Effect::Setting(SettingChange {
            name: names::setting(&name.to_ascii_lowercase()).into(),
            scope: Scope::Session,
            kind: SettingKind::Call,
            value: SettingValue::Opaque,
            statement: self.first.start..self.token.end,
            portable: false,
        }));
    }

    /// The calls that follow `SELECT`, if they are all there is.
    fn calls(&self, ahead: &mut Lexer<'_>) -> Option<Vec<Call>> {
        let mut calls = Vec::new();
        while calls.len() < limits::SCAN_EFFECTS_MAX {
            calls.push(self.one_call(ahead)?);
            let mut next = ahead.next();
            if next.word() == Some(Word::As) {
                if !ahead.next().is_name() {
                    return None;
                }
                next = ahead.next();
            }
            match next.kind {
                Kind::Comma => {}
                Kind::Semicolon | Kind::End => return Some(calls),
                Kind::Word(_)
                | Kind::Quoted
                | Kind::EscapedName
                | Kind::Literal(_)
                | Kind::Number
                | Kind::Param
                | Kind::Open
                | Kind::Close
                | Kind::Dot
                | Kind::Cast
                | Kind::Op(_)
                | Kind::Doubt(_) => return None,
            }
        }
        None
    }

    /// `[pg_catalog.]set_config('name', 'value', true | false)`. The value may be a parameter where no text is read by it: that of
    /// a custom setting, as policies of rows have it.
    fn one_call(&self, ahead: &mut Lexer<'_>) -> Option<Call> {
        let mut token = ahead.next();
        let folded = |token: &Token, ahead: &Lexer<'_>| Folded::new(token, ahead.text(token));
        let mut name = token.is_name().then(|| folded(&token, ahead))??;
        if name.as_bytes() == b"pg_catalog" {
            expect(ahead, Kind::Dot)?;
            token = ahead.next();
            name = token.is_name().then(|| folded(&token, ahead))??;
        } else if !self.catalog_first {
            return None;
        }
        let is_ours = name.as_bytes() == b"set_config"
            && self.rules.judge(Schema::None, &name) == Verdict::Not(Deed::SetConfig);
        if !is_ours {
            return None;
        }
        expect(ahead, Kind::Open)?;
        let name = literal(ahead)?;
        expect(ahead, Kind::Comma)?;
        let token = ahead.next();
        let value = if token.kind == Kind::Param {
            SettingValue::Opaque
        } else {
            SettingValue::List(vec![said(&token, ahead)?.into()])
        };
        expect(ahead, Kind::Comma)?;
        let scope = match ahead.next().word() {
            Some(Word::True) => Scope::Local,
            Some(Word::False) => Scope::Session,
            Some(_) | None => return None,
        };
        expect(ahead, Kind::Close)?;
        let name = names::setting(&name.to_ascii_lowercase());
        // The transaction's own settings have rules of their own, and the seed is none.
        let plain = !name.starts_with(b"transaction_") && name != b"seed";
        let settled = value != SettingValue::Opaque || name.contains(&b'.');
        (plain && settled).then_some(Call { name, value, scope })
    }
}

fn expect(ahead: &mut Lexer<'_>, kind: Kind) -> Option<()> {
    (ahead.next().kind == kind).then_some(())
}

fn literal(ahead: &mut Lexer<'_>) -> Option<Vec<u8>> {
    let token = ahead.next();
    said(&token, ahead)
}

/// What a plain literal says.
fn said(token: &Token, ahead: &Lexer<'_>) -> Option<Vec<u8>> {
    let plain = token.kind == Kind::Literal(Quote::Plain);
    plain.then(|| names::undouble(ahead.text(token), b'\''))
}
