//! Where a text runs code that it does not name, as far as the server's facts tell.

use super::facts::{Place, Suspicion};
use super::intent::{Class, PinKind, Why};
use super::lex::Kind;
use super::names::Folded;
use super::scan::Scan;
use super::words::Word;

impl Scan<'_> {
    /// The token as the start of a run of operators.
    pub(super) fn check_operator(&mut self) {
        let known = self.rules.known();
        if !known.has_operators() || !matches!(self.token.kind, Kind::Op(_)) {
            return;
        }
        // Brackets and colons are no operators, and end none.
        let after_operator =
            matches!(self.last.kind, Kind::Op(byte) if !matches!(byte, b'[' | b']' | b':'));
        let goes_on = after_operator && self.last.end == self.token.start;
        if !goes_on {
            let run = self.lexer.operators(self.token.start);
            for suspicion in known.of_operators(run) {
                self.suspect(suspicion, Why::OperatorFact);
            }
        }
    }

    /// The token as a keyword that stands for an operator.
    pub(super) fn check_operator_word(&mut self, word: Word) {
        let stands_for_one = matches!(
            word,
            Word::NamedOp | Word::Case | Word::Is | Word::Using | Word::Order
        );
        if stands_for_one && self.rules.known().doubts_keywords() {
            self.suspect(Suspicion::Unknown, Why::OperatorFact);
        }
    }

    /// The token as the name of a relation or a type, whatever else it may be.
    pub(super) fn check_name(&mut self) {
        let known = self.rules.known();
        if !known.has_names() || !self.token.is_name() {
            return;
        }
        let token = self.token;
        let place = if self.last.kind == Kind::Dot {
            Place::BehindDot
        } else {
            Place::Anywhere
        };
        match Folded::new(&token, self.text(&token)) {
            Some(name) if known.may_be_doubtful(name.as_bytes()) => {
                for suspicion in known.of_name(&name, place) {
                    self.suspect(suspicion, Why::NameFact);
                }
            }
            Some(_) => {}
            None if token.kind == Kind::EscapedName || known.has_odd_names() => {
                self.suspect(Suspicion::Unknown, Why::NameFact);
            }
            None => {}
        }
    }

    fn suspect(&mut self, suspicion: Suspicion, why: Why) {
        match suspicion {
            Suspicion::Does(deed) => {
                self.pin_deed(deed);
                self.raise(deed.class(), why);
            }
            Suspicion::Unknown => {
                self.pin(PinKind::UnknownCode);
                self.raise(Class::Unproven, why);
            }
        }
    }
}
