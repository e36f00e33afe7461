//! Servers that a session comes to anew: dialled again, or moved to, behind what only it knows.

use pgturnout::session::PeerId;

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::journey::Journey;
use super::super::message::ClientMessage;
use super::super::server::TlsAnswer;
use super::super::setup::{Method, Setup, Spare, Start, Tls};
use super::Program;
use super::prepared::with_a_reader;

/// What makes a session another than its login did, or takes that back.
const CHANGES: [&str; 25] = [
    "set role m_role",
    "set role m_role",
    "reset role",
    "set role none",
    "reset all",
    "reset all",
    "discard all",
    "set application_name = 'anew'",
    "reset application_name",
    "set my.a = 'one'",
    "reset my.a",
    "set statement_timeout = 1000",
    "set statement_timeout to default",
    "set datestyle = 'German'",
    "set timezone = 'Europe/Berlin'",
    "set search_path = app, public",
    "select set_config('my.a', 'x', false)",
    "select set_config('my.b', 'x', true)",
    "select set_config('my.b', upper('abc'), false)",
    "select set_config('my.b', upper('abc'), false)",
    "select set_config('application_name', upper('abc'), false)",
    "set session characteristics as transaction read only",
    "begin; set local my.c = 'seven'; commit",
    "begin; set my.c = 'eight'; rollback",
    "begin; set role m_role; savepoint a; reset role; rollback to a; commit",
];

/// What is in the texts of those that compute a value.
const COMPUTED: &str = "upper('abc'), false";

/// What shows some of that.
const SHOWN: [&str; 7] = [
    "table t",
    "select current_setting('my.a', true)",
    "select current_setting('my.b', true)",
    "select current_setting('my.c', true)",
    "show my.a",
    "select current_setting('application_name')",
    "select 1",
];

/// PREPARE with types of parameters: what is sent without them has others.
const TYPED: [&str; 6] = [
    "prepare q (numeric) as select $1",
    "prepare q (name) as select $1",
    "prepare q (float8) as select $1",
    "prepare q (int8) as select $1",
    "prepare q (text) as select $1",
    "prepare q (regclass) as select $1",
];

impl Program<'_, '_> {
    /// The `nth` of these plays.
    pub(super) fn anew(&mut self, nth: usize, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        setup.clients = 1;
        match nth {
            0 => self.brought_up_again(setup),
            1 => self.moved_with_what_it_is(setup),
            _ => match self.choices.below(4) {
                0 => self.dialled_in_the_clear(setup),
                1 => self.back_to_its_beginning(setup),
                2 => self.prepared_with_types(),
                _ => self.judged_in_a_lost_batch(setup),
            },
        }
    }

    fn changes_itself(&mut self) {
        self.events.push(Event::Calm);
        let mut computes = self.events.iter().any(is_computed);
        for _ in 0..1 + self.choices.below(5) {
            let text = self.choices.one(&CHANGES);
            if computes && text == "discard all" {
                // A custom setting whose value no text has shown stays known, with none, and only there.
                continue;
            }
            let in_a_batch = self.choices.percent(40);
            for part in text.split("; ") {
                match in_a_batch {
                    true => self.one_row_of(part),
                    false => self.query(part),
                }
                self.events.push(Event::Calm);
            }
            computes |= text.contains(COMPUTED);
        }
    }

    /// As drivers ask that want one row.
    fn one_row_of(&mut self, text: &str) {
        self.parse("", text);
        self.bind("", "");
        self.say(ClientMessage::Execute {
            portal: String::new(),
            max_rows: 1,
        });
        self.say(ClientMessage::Sync);
    }

    fn shows_itself(&mut self) {
        if self.events.iter().any(is_computed) {
            self.query("select current_setting('my.b', true)");
        }
        for _ in 0..2 + self.choices.below(2) {
            let text = self.choices.one(&SHOWN);
            self.query(text);
            self.events.push(Event::Calm);
        }
    }

    /// The reader is not there any more, and can be dialled again.
    fn loses_its_reader(&mut self) {
        let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
        self.events.push(Event::Calm);
        self.events.push(Event::Fault(loss(PeerId::READER)));
        self.events.push(Event::Calm);
        self.events.push(Event::Fault(Fault::Clock(60_000)));
    }

    fn brought_up_again(&mut self, setup: &mut Setup) {
        setup.read_transactions = self.choices.percent(20);
        if self.choices.percent(70) {
            self.query("select 1");
        }
        for _ in 0..1 + self.choices.below(2) {
            self.changes_itself();
            self.loses_its_reader();
            // The first read asks for the reader, and does not wait for it.
            self.query("select 1");
            self.events.push(Event::Calm);
            self.shows_itself();
        }
    }

    fn moved_with_what_it_is(&mut self, setup: &mut Setup) {
        if setup.spare == Spare::None {
            setup.spare = Spare::Like;
        }
        self.changes_itself();
        let mut journey = Journey::to(setup.spare_place());
        journey.probes = self.choices.percent(40);
        journey.terms.takes(setup.fittings.lodging);
        self.events
            .extend([Event::Calm, Event::Fault(Fault::Move(journey)), Event::Calm]);
        self.shows_itself();
        self.changes_itself();
        self.shows_itself();
    }

    /// The reader had TLS, and whoever is there now has none: nothing is shown to them that only TLS may carry.
    fn dialled_in_the_clear(&mut self, setup: &mut Setup) {
        setup.login = self.choices.one(&[Method::Cleartext, Method::Md5]);
        (setup.verifier, setup.bound, setup.terminate) = (false, false, false);
        (setup.upstream_tls, setup.servers_have_tls) = (Tls::Allow, true);
        (setup.servers_want_tls, setup.upstream_direct) = (false, false);
        self.query("select 1");
        self.events.push(Event::Calm);
        self.query("select 1");
        self.loses_its_reader();
        let answer = self
            .choices
            .one(&[TlsAnswer::No, TlsAnswer::No, TlsAnswer::Old]);
        self.events
            .push(Event::Fault(Fault::AnswerTls(PeerId::READER, answer)));
        for _ in 0..3 {
            self.query("select 1");
            self.events.push(Event::Calm);
        }
    }

    /// DISCARD ALL takes a session back to what its StartupMessage says.
    fn back_to_its_beginning(&mut self, setup: &mut Setup) {
        setup.start = Start::Temporary;
        if self.choices.percent(50) {
            self.changes_itself();
        }
        self.query("discard all");
        self.query("create table made (a int)");
        self.events.push(Event::Calm);
        for _ in 0..2 {
            self.query("select a from made");
        }
    }

    fn prepared_with_types(&mut self) {
        self.query("select 1");
        if self.choices.percent(60) {
            self.query("set search_path = app, public");
        }
        let text = self.choices.one(&TYPED);
        self.query(text);
        for _ in 0..2 {
            let text = self
                .choices
                .one(&["execute q('1')", "execute q(5)", "execute q('t')"]);
            self.query(text);
            self.events.push(Event::Calm);
        }
    }

    /// A batch stands open on the reader, which is lost when one of its messages has been judged and not sent.
    fn judged_in_a_lost_batch(&mut self, setup: &mut Setup) {
        setup.judged = true;
        setup.fittings.again &= self.choices.percent(50);
        self.query("select 1");
        self.events.push(Event::Calm);
        self.parse("", "select v from t where id = 1");
        self.say(ClientMessage::DescribeStatement(String::new()));
        self.say(ClientMessage::Flush);
        self.events.push(Event::Calm);
        self.bind("", "");
        self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
        self.events.push(Event::Act);
        let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
        self.events.push(Event::Fault(loss(PeerId::READER)));
        self.events.push(Event::Calm);
        self.say(ClientMessage::Execute {
            portal: String::new(),
            max_rows: 0,
        });
        self.say(ClientMessage::Sync);
        let text = self.statements.write(self.choices);
        self.query(&format!("{text} /* off limits */"));
    }
}

fn is_computed(event: &Event) -> bool {
    match event {
        Event::Say(ClientMessage::Query(text) | ClientMessage::Parse { text, .. }) => {
            text.contains(COMPUTED)
        }
        _ => false,
    }
}
