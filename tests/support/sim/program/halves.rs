//! Plays of what is half done when something happens: rows that have come in part, a portal that is bound anew, a batch that has
//! left in part.

use bytes::BytesMut;
use pgturnout::limits;
use pgturnout::session::PeerId;

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::super::setup::Setup;
use super::Program;
use super::prepared::{padded, with_a_reader};

const ALL: usize = 100_000;

/// What is bound first, and is not run.
const FIRST: [&str; 12] = [
    "discard all",
    "discard all",
    "deallocate all",
    "set work_mem = '1MB'",
    "set application_name = 'first'",
    "create temp table tmp (a int)",
    "begin",
    "rollback",
    "savepoint a",
    "reset all",
    "select v from t where id = 1",
    "insert into t values (904, 'first')",
];

/// What is bound in its place, and of which nothing is known.
const SECOND: [&str; 9] = [
    "set work_mem = '2MB'",
    "set work_mem = '2MB'",
    "select set_config('work_mem', '3MB', false)",
    "set application_name = 'second'",
    "create temp table tmp (a int)",
    "insert into t values (905, 'second')",
    "declare c cursor with hold for select 1",
    "begin",
    "select v from t where id = 2",
];

/// What shows which of them has run.
const SHOWN: [&str; 5] = [
    "select current_setting('work_mem')",
    "select current_setting('work_mem')",
    "select current_setting('application_name')",
    "select a from tmp",
    "table t",
];

impl Program<'_, '_> {
    /// The `nth` of them.
    pub(super) fn in_halves(&mut self, nth: usize, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        match nth {
            0 => self.rows_in_part(),
            1 => self.bound_anew(setup),
            _ => self.cancelled_in_part(),
        }
    }

    /// Rows that come together, the last of them in part, and of which the client has some, when their sender is gone.
    fn rows_in_part(&mut self) {
        let from = self.choices.one(&[PeerId::WRITER, PeerId::READER]);
        self.query("select 1");
        if from == PeerId::WRITER {
            self.query("begin");
        }
        self.events.push(Event::Calm);
        let lengths: Vec<usize> = (0..3 + self.choices.below(4))
            .map(|_| self.choices.one(&[20, 90, 200, 700]))
            .collect();
        let rows = lengths.iter().map(|n| format!("(repeat('x', {n}))"));
        let rows: Vec<String> = rows.collect();
        let mut text = format!("values {}", rows.join(", "));
        let copied = self.choices.percent(30);
        if copied {
            text = format!("copy ({text}) to stdout");
        }
        let extended = self.choices.percent(50);
        match extended {
            false => self.say(ClientMessage::Query(text)),
            true => {
                self.parse("", &text);
                self.run("");
                self.say(ClientMessage::Sync);
            }
        }
        self.events.push(Event::Arrive(PeerId::CLIENT, ALL));
        self.events.push(Event::Leave(from, ALL));
        for _ in 0..5 {
            self.events.push(Event::Serve(from));
        }
        // What stands before the rows: answers to Parse and Bind, and what they consist of.
        let before = match (extended, copied) {
            (true, true) => 10 + 10,
            (true, false) => 10,
            (false, true) => 10,
            (false, false) => 33,
        };
        let of_row = |length: &usize| length + if copied { 6 } else { 11 };
        let whole = 1 + self.choices.below(lengths.len() - 1);
        let all = before + lengths[..whole].iter().map(of_row).sum::<usize>();
        let more = self.choices.below(of_row(&lengths[whole]));
        // Who sends the rest of a message has it looked at again.
        if self.choices.percent(20) {
            let first = self.choices.below(all);
            self.events.push(Event::Arrive(from, first));
            self.events.push(Event::Leave(PeerId::CLIENT, ALL));
        }
        self.events.push(Event::Arrive(from, all + more));
        let taken = match self.choices.below(4) {
            0 => before + self.choices.below(all - before),
            1 => all - self.choices.below(5),
            2 => before + lengths[..1].iter().map(of_row).sum::<usize>(),
            _ => self.choices.below(all + more),
        };
        self.events.push(Event::Leave(PeerId::CLIENT, taken));
        let loss = match self.choices.below(4) {
            0 | 1 => Fault::Reset(from),
            2 => Fault::Cut(from, 0),
            _ => Fault::Cut(from, self.choices.below(300)),
        };
        self.events.push(Event::Fault(loss));
        self.events.push(Event::Calm);
    }

    /// A portal is bound to a statement, and then to one of which only the server knows what it is.
    fn bound_anew(&mut self, setup: &mut Setup) {
        setup.tight = true;
        setup.judged |= self.choices.percent(30);
        let long = match self.choices.percent(40) {
            // No buffer holds it.
            true => limits::READ_BUFFER_MIN + self.choices.below(30),
            // It is not remembered.
            false => 250 + self.choices.below(100),
        };
        for _ in 0..1 + self.choices.below(2) {
            let n = self.choices.below(FIRST.len());
            self.parse("first", FIRST[n]);
            let text = self.choices.one(&SECOND);
            let block = self.choices.percent(25);
            if self.choices.percent(50) {
                self.sync();
            }
            if block {
                self.query("begin");
            }
            let portal = self.choices.one(&["", "", "", "p1"]);
            self.bind(portal, "first");
            if block && self.choices.percent(60) {
                self.sync();
            }
            let name = self.choices.one(&["second", "second", ""]);
            self.parse(name, &padded(text, long));
            if !portal.is_empty() && self.choices.percent(80) {
                self.say(ClientMessage::ClosePortal(portal.to_owned()));
            }
            self.bind(portal, name);
            self.say(ClientMessage::Execute {
                portal: portal.to_owned(),
                max_rows: 0,
            });
            self.say(ClientMessage::Sync);
            self.events.push(Event::Calm);
            if block {
                let end = self.choices.one(&["commit", "rollback"]);
                self.query(end);
            }
            self.shows_what_ran();
        }
    }

    fn shows_what_ran(&mut self) {
        for _ in 0..1 + self.choices.below(3) {
            let text = self.choices.one(&SHOWN);
            self.query(text);
        }
        let lift = self.choices.one(&["deallocate all", "discard all"]);
        self.query(lift);
        self.events.push(Event::Calm);
        for _ in 0..1 + self.choices.below(2) {
            let text = self.choices.one(&SHOWN);
            self.query(text);
        }
    }

    /// A batch of which a part has left for its server when it is cancelled, and which would wait for ever.
    fn cancelled_in_part(&mut self) {
        self.query("select 1");
        self.events.push(Event::Calm);
        let locks = self.choices.percent(60);
        if locks {
            self.events.push(Event::Fault(Fault::Lock));
        }
        for _ in 0..1 + self.choices.below(3) {
            let text = self.choices.one(&[
                "select id from t order by id",
                "update t set v = 'cancelled'",
                "insert into t values (906, 'cancelled')",
                "table t",
            ]);
            let name = self.choices.one(&["", "", "", "s1"]);
            let from = self.events.len();
            if !name.is_empty() || self.choices.percent(20) {
                self.say(ClientMessage::CloseStatement(name.to_owned()));
            }
            self.parse(name, text);
            if self.choices.percent(30) {
                self.say(ClientMessage::DescribeStatement(name.to_owned()));
            }
            self.run(name);
            self.say(ClientMessage::Sync);
            let lengths: Vec<usize> = self.events[from..].iter().map(length).collect();
            self.events.push(Event::Arrive(PeerId::CLIENT, ALL));
            let whole = 1 + self.choices.below(lengths.len() - 1);
            let part = self.choices.weighted(&[(3, 0), (1, 1), (1, 6)]);
            let left = lengths[..whole].iter().sum::<usize>() + part;
            for upstream in [PeerId::WRITER, PeerId::READER] {
                self.events.push(Event::Leave(upstream, left));
                if self.choices.percent(30) {
                    self.events.push(Event::Serve(upstream));
                    self.events.push(Event::Arrive(upstream, ALL));
                }
            }
            if !locks {
                self.events.push(Event::Fault(Fault::Lock));
            }
            self.events.push(Event::Fault(Fault::Cancel));
            if self.choices.percent(40) {
                self.moves(6);
            }
            if self.choices.percent(15) {
                self.events.push(Event::Fault(Fault::Cancel));
            }
            self.events.push(Event::Calm);
        }
    }
}

/// How many bytes what is said has.
fn length(said: &Event) -> usize {
    let mut bytes = BytesMut::new();
    if let Event::Say(message) = said {
        message.encode(&mut bytes);
    }
    bytes.len()
}
