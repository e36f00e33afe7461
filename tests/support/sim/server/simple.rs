//! Query: several statements in one message, one transaction if none of them says otherwise.

use std::sync::Arc;

use super::fault::{Fault, Stop};
use super::portal::{Outcome, Portal};
use super::session::{Done, Io, Pending, Session, malformed};
use super::sql::{Caution, Lexing, Statement, statements};
use super::tx::Block;
use super::wire::Fields;

/// A Query that is under way.
pub(super) struct Simple {
    statements: Vec<(Statement, Arc<str>)>,
    at: usize,
    portal: Option<Portal>,
}

impl Session {
    pub(super) fn lexing(&self) -> Lexing {
        Lexing {
            standard: self.settings.is_on("standard_conforming_strings"),
            warn: self.settings.is_on("escape_string_warning"),
        }
    }

    pub(super) fn query(&mut self, fields: &mut Fields<'_>, io: &mut Io<'_>) -> Done {
        let text = fields.text().ok_or_else(malformed)?;
        if !fields.is_empty() {
            return Err(Fault::protocol("invalid message format"));
        }
        let text = &*self.heard(text)?;
        self.start_transaction();
        self.drop_prepared("");
        let parsed = statements(text, self.lexing())?;
        self.caution(&parsed.warnings, io);
        if parsed.list.is_empty() {
            io.out.message(b'I', |_| {});
            self.finish_transaction(io)?;
            return Ok(None);
        }
        let simple = Simple {
            statements: parsed.list,
            at: 0,
            portal: None,
        };
        self.run_simple(simple, io)
    }

    pub(super) fn caution(&mut self, cautions: &[Caution], io: &mut Io<'_>) {
        for caution in cautions {
            let (severity, code, text) = match caution {
                Caution::Backslash => (
                    "WARNING",
                    "22P06",
                    "nonstandard use of \\\\ in a string literal",
                ),
                Caution::Truncated => ("NOTICE", "42622", "identifier will be truncated"),
                Caution::Global => (
                    "WARNING",
                    "01000",
                    "GLOBAL is deprecated in temporary table creation",
                ),
            };
            self.notice(io, severity, code, text);
        }
    }

    /// Runs what is left of a Query.
    pub(super) fn run_simple(&mut self, mut simple: Simple, io: &mut Io<'_>) -> Done {
        while simple.at < simple.statements.len() {
            let mut portal = match simple.portal.take() {
                Some(portal) => portal,
                None if self.is_locked_out(&simple.statements[simple.at].0, io.cluster) => {
                    return self.wait_with(Pending::Simple(simple, None));
                }
                None => self.prepare_simple(&simple, io)?,
            };
            match self.run_portal(&mut portal, usize::MAX, true, io) {
                Ok(Outcome::Complete(tag)) => self.finish_simple(&mut simple, &tag, io)?,
                Ok(Outcome::Suspended) => unreachable!("there is no limit"),
                Ok(Outcome::CopyIn(copy)) => {
                    simple.portal = Some(portal);
                    return Ok(Some(Pending::Simple(simple, Some(copy))));
                }
                Err(Stop::Fault(fault)) => {
                    // It stays, as a portal that failed, until the transaction is over.
                    portal.failed = true;
                    self.portals.push(portal);
                    return Err(fault);
                }
                Err(Stop::Wait) => {
                    simple.portal = Some(portal);
                    return self.wait_with(Pending::Simple(simple, None));
                }
            }
        }
        Ok(None)
    }

    fn prepare_simple(&mut self, simple: &Simple, io: &mut Io<'_>) -> Result<Portal, Fault> {
        let (statement, text) = &simple.statements[simple.at];
        self.text = Arc::clone(text);
        if self.is_failed() && !statement.ends_transaction() {
            return Err(Fault::aborted());
        }
        self.start_transaction();
        if simple.statements.len() > 1 && self.tx.block == Block::None {
            self.tx.block = Block::Implicit;
        }
        let mut types = Vec::new();
        let plan = self.analyze(statement.clone(), text, &mut types, false, io.cluster)?;
        self.plan(&plan.statement, &[])?;
        self.portals.retain(|portal| !portal.name.is_empty());
        let mut portal = Portal::new("".into(), Some(Arc::new(plan)), Vec::new());
        portal.depth = self.tx.depth();
        Ok(portal)
    }

    /// A statement is done: its tag is sent when its transaction has ended, if it ends with it.
    fn finish_simple(
        &mut self,
        simple: &mut Simple,
        tag: &str,
        io: &mut Io<'_>,
    ) -> Result<(), Fault> {
        let (statement, _) = &simple.statements[simple.at];
        simple.at += 1;
        let last = simple.at == simple.statements.len();
        if last && simple.statements.len() > 1 {
            self.end_implicit_block();
        }
        if statement.is_transaction() || last || self.tx.commit_now {
            self.finish_transaction(io)?;
        }
        io.out.complete(tag);
        Ok(())
    }

    /// COPY has all its data.
    pub(super) fn copied_simple(&mut self, mut simple: Simple, tag: &str, io: &mut Io<'_>) -> Done {
        simple.portal = None;
        self.finish_simple(&mut simple, tag, io)?;
        self.run_simple(simple, io)
    }
}
