//! What a server does because of something outside of the session.

use super::super::verdict::{self, Shown};
use super::{Server, ServerPhase, Stage};

/// What a server does about what the caller's policy denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Judgement {
    #[default]
    None,
    /// It denies it itself.
    Denies(Shown),
    /// It should never hear of it, and counts how often it does.
    Watches(Shown, usize),
}

/// The failures that lie ahead of a session.
#[derive(Default)]
pub(super) struct Planned {
    /// The SQLSTATE with which the next Query or Execute fails.
    next: Option<String>,
    /// How many messages come before, and the SQLSTATE; in that order.
    messages: Vec<(usize, String)>,
    /// How many messages have come.
    passed: usize,
    judgement: Judgement,
}

impl Planned {
    fn at_next(&mut self, code: &str) {
        self.next = Some(code.to_owned());
    }

    fn at(&mut self, message: usize, code: &str) {
        let place = self.messages.partition_point(|(other, _)| *other < message);
        self.messages.insert(place, (message, code.to_owned()));
    }

    /// One more message: with what it fails. Of two failures of one message the later planned one holds.
    pub(super) fn due(&mut self, tag: u8, body: &[u8]) -> Option<String> {
        // Nothing can go wrong in a Flush that is one.
        if !b"QFPBDCEHS".contains(&tag) || tag == b'H' && body.is_empty() {
            return None;
        }
        self.passed += 1;
        let mut due = None;
        self.messages.retain_mut(|(ahead, code)| {
            if *ahead == 0 && due.is_none() {
                due = Some(std::mem::take(code));
            }
            let later = *ahead > 0;
            *ahead = ahead.saturating_sub(1);
            later
        });
        due
    }

    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    pub(super) fn judgement(&self) -> Judgement {
        self.judgement
    }

    /// Whether the server has to deny this message. One that skips it does not look at it.
    pub(super) fn judge(&mut self, tag: u8, body: &[u8]) -> bool {
        match &mut self.judgement {
            Judgement::None => false,
            Judgement::Denies(shown) => verdict::denies(tag, body, *shown),
            Judgement::Watches(shown, heard) => {
                *heard += usize::from(verdict::denies(tag, body, *shown));
                false
            }
        }
    }

    /// With what the next statement fails, if this message runs one.
    pub(super) fn due_statement(&mut self, tag: u8) -> Option<String> {
        match tag {
            b'Q' | b'E' => self.next.take(),
            _ => None,
        }
    }
}

/// Why a statement may fail for no fault of its own: conflict with recovery, out of memory, disk full, timeout.
pub(crate) const FAILURES: [&str; 4] = ["40001", "53200", "53100", "57014"];

impl Server {
    /// Whether the client is logged in, and the connection stands.
    pub(crate) fn is_let_in(&self) -> bool {
        matches!(self.stage, Stage::Session(_))
    }

    /// It has a notice for the client, whatever the client does.
    pub(crate) fn notice(&mut self) {
        if let Stage::Session(_) = &self.stage {
            self.out.answers(None, false);
            self.out
                .report(b'N', "WARNING", "01000", "there is no cause for alarm");
        }
    }

    /// The next statement fails, as for a conflict with recovery or for want of memory.
    pub(crate) fn fail_next(&mut self, code: &str) {
        if let Stage::Session(session) = &mut self.stage {
            session.planned().at_next(code);
        }
    }

    /// A message fails with this SQLSTATE instead of being run, whatever it is: the one after so many others.
    ///
    /// What counts is what a client sends outside of COPY once it is logged in, but Terminate and Flush; also what is skipped
    /// up to a Sync, which cannot fail. Several failures may be ahead.
    pub(crate) fn fail_at(&mut self, message: usize, code: &str) {
        match &mut self.stage {
            Stage::Session(session) => session.planned().at(message, code),
            Stage::Opening(_) => self.planned.at(message, code),
            Stage::Closed(_) => {}
        }
    }

    /// What it does from its login on about what the caller's policy denies.
    pub(crate) fn judge(&mut self, judgement: Judgement) {
        match &mut self.stage {
            Stage::Session(session) => session.planned().judgement = judgement,
            Stage::Opening(_) => self.planned.judgement = judgement,
            Stage::Closed(_) => {}
        }
    }

    /// The signal of a CancelRequest arrives. It ends the statement that waits with 57014, or the one whose message is here
    /// whole and is read next; one that comes when nothing runs is dropped. Where the message begins that it hits.
    pub(crate) fn signal(&mut self) -> Option<usize> {
        if self.cancel() {
            return self.input.newest();
        }
        let Stage::Session(session) = &mut self.stage else {
            return None;
        };
        let (at, tag) = self.input.whole_next()?;
        let runs = matches!(tag, b'Q' | b'E') && session.takes_statements();
        runs.then(|| {
            session.planned().at_next("57014");
            at
        })
    }

    /// Where the message begins whose statement waits, for time or a lock.
    pub(crate) fn waits_in(&self) -> Option<usize> {
        match self.phase() {
            ServerPhase::Waiting => self.input.newest(),
            _ => None,
        }
    }

    /// How often it was ready for a query.
    pub(crate) fn readies(&self) -> usize {
        self.out.readies()
    }

    /// Whether it has the whole of a message that it has not read.
    pub(crate) fn has_a_message(&self) -> bool {
        self.input.whole_next().is_some()
    }

    /// How much it has heard of what is denied.
    pub(crate) fn heard_denied(&self) -> usize {
        let judgement = match &self.stage {
            Stage::Session(session) | Stage::Closed(Some(session)) => session.judgement(),
            Stage::Opening(_) | Stage::Closed(None) => Judgement::None,
        };
        match judgement {
            Judgement::Watches(_, heard) => heard,
            Judgement::None | Judgement::Denies(_) => 0,
        }
    }

    /// How many messages have come that [`fail_at`](Server::fail_at) counts.
    pub(crate) fn counted(&self) -> usize {
        match &self.stage {
            Stage::Session(session) | Stage::Closed(Some(session)) => session.planned_so_far(),
            Stage::Opening(_) | Stage::Closed(None) => 0,
        }
    }

    /// Whether a READ ONLY transaction block is open, or such a one has failed.
    pub(crate) fn is_in_read_only_block(&self) -> bool {
        match &self.stage {
            Stage::Session(session) => session.is_in_read_only_block(),
            Stage::Opening(_) | Stage::Closed(_) => false,
        }
    }

    /// Whether bytes wait to be read, or a statement runs, waits or takes data of COPY. Not once it is closed.
    pub(crate) fn has_unread(&self) -> bool {
        match &self.stage {
            Stage::Session(session) => session.is_busy() || !self.input.rest().is_empty(),
            Stage::Opening(_) => !self.input.rest().is_empty(),
            Stage::Closed(_) => false,
        }
    }

    /// A setting that it reports was changed in its configuration, which shows what the session has.
    pub(crate) fn report_parameter(&mut self) {
        if let Stage::Session(session) = &self.stage {
            let told = session.settings.reported();
            let name = "default_transaction_read_only";
            let known = told.iter().find(|(reported, _)| reported == name);
            let value = known.map_or("off", |(_, value)| value);
            self.out.answers(None, false);
            self.out.parameter(name, value);
            self.out.flush();
        }
    }
}
