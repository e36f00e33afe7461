//! The tables of the client's statements, for whoever asked for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::leg::LegId;
use super::segment::text_of;
use super::statement::bind_names;
use super::{Event, Metadata, Session};
use crate::limits;
use crate::route::{LexState, Route, Unparsed, View, tables};
use crate::track::prepared::key;
use crate::wire::{Frontend, tags::frontend as tag};

/// Which message of the client a statement came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// A Query, whose text is executed.
    Query,
    /// A Parse, whose text is prepared.
    Parse,
    /// A Bind of a prepared statement.
    Bind,
    /// An Execute of a portal.
    Execute,
}

/// The tables of the newest texts, and the statement that the event to come is about.
#[derive(Debug, Default)]
pub(super) struct Views {
    texts: VecDeque<(HiddenText, Arc<View>)>,
    bytes: usize,
    forwarded: Option<(StatementKind, Arc<View>)>,
}

/// `Debug` shows its length.
struct HiddenText(Box<[u8]>);

impl std::fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Views {
    fn get(&self, text: &[u8]) -> Option<Arc<View>> {
        let mut newest_first = self.texts.iter().rev();
        let (_, view) = newest_first.find(|(known, _)| *known.0 == *text)?;
        Some(Arc::clone(view))
    }

    /// Remembers a view; the oldest ones make room for it.
    fn keep(&mut self, text: &[u8], view: &Arc<View>) {
        let cost = text.len().saturating_add(view.size());
        if cost > limits::METADATA_BYTES {
            return;
        }
        while self.texts.len() >= limits::METADATA_TEXTS
            || self.bytes.saturating_add(cost) > limits::METADATA_BYTES
        {
            let Some((oldest, view)) = self.texts.pop_front() else {
                break;
            };
            let freed = oldest.0.len().saturating_add(view.size());
            self.bytes = self.bytes.saturating_sub(freed);
        }
        self.bytes = self.bytes.saturating_add(cost);
        self.texts
            .push_back((HiddenText(text.into()), Arc::clone(view)));
    }
}

/// Whether lexical settings make no difference to a text's tables: they are about backslashes and bytes beyond ASCII.
pub(super) fn is_plain(text: &[u8]) -> bool {
    text.is_ascii() && !text.contains(&b'\\')
}

impl<R: Route> Session<R> {
    /// Whether statements and portals have to be followed.
    pub(super) fn follows_statements(&self) -> bool {
        self.splits() || self.config.metadata == Metadata::On || self.is_judged() || self.may_move()
    }

    /// Notes what a message of the client's that was just forwarded does to which tables. `body` may be cut off.
    pub(super) fn note_tables(&mut self, leg: LegId, frame: u8, body: &[u8], whole: bool) {
        if self.config.metadata == Metadata::Off {
            return;
        }
        let (kind, view) = match frame {
            tag::QUERY | tag::PARSE => {
                let kind = match frame {
                    tag::QUERY => StatementKind::Query,
                    _ => StatementKind::Parse,
                };
                let view = self.view_of_new(frame, body, whole);
                self.tally.parsed(leg, &view);
                (kind, view)
            }
            tag::BIND => {
                let portal = bind_names(body).map(|(portal, _)| portal);
                (StatementKind::Bind, self.view_of_portal(portal))
            }
            tag::EXECUTE => {
                let portal = match Frontend::parse(frame, body) {
                    Ok(Frontend::Execute(execute)) => Some(execute.portal),
                    Ok(_) | Err(_) => None,
                };
                (StatementKind::Execute, self.view_of_portal(portal))
            }
            _ => return,
        };
        self.views.forwarded = Some((kind, view));
    }

    /// Tells of the statement that was just forwarded, if it is to be told of.
    pub(super) fn tell_tables(&mut self, leg: LegId) {
        if let Some((kind, view)) = self.views.forwarded.take() {
            self.notify(Event::Statement {
                request: self.requests.newest(),
                peer: leg.peer(),
                kind,
                view,
            });
        }
    }

    fn view_of_new(&mut self, frame: u8, body: &[u8], whole: bool) -> Arc<View> {
        match Frontend::parse(frame, body) {
            _ if !whole => Arc::new(View::Unparsed(Unparsed::TooLong)),
            Ok(Frontend::Query(query)) => self.view_of(query.text),
            Ok(Frontend::Parse(parse)) => self.view_of_one(parse.text),
            Ok(_) | Err(_) => Arc::new(View::Unparsed(Unparsed::Unreadable)),
        }
    }

    /// The tables of a text in which a server takes one statement only.
    fn view_of_one(&mut self, text: &[u8]) -> Arc<View> {
        let view = self.view_of(text);
        match *view {
            View::Parsed(_) if self.intent_of(text).statements > 1 => {
                Arc::new(View::Unparsed(Unparsed::SeveralStatements))
            }
            View::Parsed(_) | View::Unparsed(_) => view,
        }
    }

    fn view_of(&mut self, text: &[u8]) -> Arc<View> {
        let lex = match is_plain(text) {
            true => LexState::defaults(),
            false => self.lex_now(),
        };
        if is_plain(text) {
            if let Some(known) = self.views.get(text) {
                return known;
            }
        }
        let view = Arc::new(tables(text, &lex, &self.config.rules));
        if text.len() <= limits::INSPECT_TEXT_MAX {
            self.views.keep(text, &view);
        }
        view
    }

    /// The tables of the statement behind a portal. They are those that its Parse had, while they are remembered.
    fn view_of_portal(&mut self, portal: Option<&[u8]>) -> Arc<View> {
        let unknown = || Arc::new(View::Unparsed(Unparsed::UnknownStatement));
        let bound = portal.and_then(|portal| self.memory.portals.get(key(portal)));
        let Some(bound) = bound.cloned() else {
            return unknown();
        };
        let Some(text) = text_of(&bound.body) else {
            return unknown();
        };
        match self.views.get(text) {
            Some(view) => view,
            None => self.view_of(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Operation, Operations, TableUse};

    fn view(name: &str) -> Arc<View> {
        let mut operations = Operations::default();
        operations.insert(Operation::Select);
        Arc::new(View::Parsed(vec![TableUse {
            schema: None,
            table: name.to_owned(),
            operations,
        }]))
    }

    #[test]
    fn so_many_texts_are_remembered_the_newest() {
        let mut views = Views::default();
        for number in 0..=limits::METADATA_TEXTS {
            assert!(views.get(number.to_string().as_bytes()).is_none());
            views.keep(number.to_string().as_bytes(), &view("t"));
            assert_eq!(views.get(b"0").is_some(), number < limits::METADATA_TEXTS);
        }
        assert_eq!(views.texts.len(), limits::METADATA_TEXTS);
    }

    #[test]
    fn so_many_bytes_are_remembered_with_the_names_of_tables() {
        let other = view("t");
        let rest = limits::METADATA_BYTES - other.size() - 1 - view("").size();
        for (more, fits) in [(0, true), (1, false)] {
            let mut views = Views::default();
            views.keep(b"1", &other);
            views.keep(b"", &view(&"x".repeat(rest + more)));
            assert_eq!(views.get(b"1").is_some(), fits, "{more}");
            assert!(views.get(b"").is_some() && views.bytes <= limits::METADATA_BYTES);
        }
        let mut views = Views::default();
        let most = limits::METADATA_BYTES - view("").size();
        views.keep(b"1", &view(&"x".repeat(most - 1)));
        views.keep(b"2", &view(&"x".repeat(most)));
        assert!(views.get(b"1").is_some() && views.get(b"2").is_none());
    }

    #[test]
    fn texts_are_not_shown() {
        let mut views = Views::default();
        views.keep(b"select secret", &view("t"));
        assert!(!format!("{views:?}").contains("secret"));
    }
}
