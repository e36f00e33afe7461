//! Plays of statements that are prepared, lost and prepared again.

use pgturnout::limits;
use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::event::Event;
use super::super::fault::{Aside, Fault, Misuse};
use super::super::journey::Journey;
use super::super::message::ClientMessage;
use super::super::setup::{Caller, Offer, Setup, Spare, Tls};
use super::super::verdict;
use super::Program;

/// Texts that a server refuses when it is to prepare them: ones that nobody takes for reads, and then some of those.
const REFUSED: [&str; 6] = [
    "selec 1",
    "insert into t values (1, 2, 3)",
    "update nowhere set v = 'x'",
    "delete from nowhere",
    "select 1; select 2",
    "select * from nowhere",
];

/// Texts of this length are longer than some proxies take messages.
const LONG: usize = limits::READ_BUFFER_MIN / 2;

/// What takes the names of statements away in SQL.
const DROPS: [&str; 4] = [
    "deallocate all",
    "discard all",
    "deallocate n1",
    "deallocate prepare n2",
];

impl Program<'_, '_> {
    /// The `nth` of them.
    pub(super) fn prepared_otherwise(&mut self, nth: usize, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        match nth {
            0 => self.unnamed_and_what_drops_it(),
            1 => self.prepared_on_the_reader_before(setup),
            2 => self.names_given_back(setup),
            3 => self.left_in_silence(setup),
            4 => self.longer_than_anybody_looks(setup),
            _ => self.refused_and_named_anew(setup),
        }
    }

    fn asks(&mut self) {
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
    }

    /// The unnamed statement, and what may take it away before it is used: a Parse that fails, is skipped or is lost, a Query.
    fn unnamed_and_what_drops_it(&mut self) {
        let text = match self.choices.below(4) {
            0 => self.statements.write(self.choices),
            1 => self.statements.read(self.choices),
            _ => "select v from t where id = 1".to_owned(),
        };
        self.parse("", &text);
        if self.choices.percent(40) {
            self.run("");
        }
        self.asks();
        match self.choices.below(12) {
            0..=3 => {
                let refused = self.choices.one(&REFUSED);
                self.parse("", refused);
            }
            4..=7 => self.lost_with_the_reader(),
            8 => {
                // Behind an error nobody reads it.
                self.run("nobody");
                self.parse("", "select 2");
            }
            9 => {
                self.parse("s1", "select 1");
                self.parse("s1", "select 2");
            }
            10 => self.say(ClientMessage::CloseStatement(String::new())),
            _ => {
                let text = self.choices.one(&[" ", "select 1/0", "selec 1"]);
                self.query(text);
            }
        }
        self.asks();
        for _ in 0..1 + self.choices.below(2) {
            if self.choices.percent(25) {
                self.say(ClientMessage::DescribeStatement(String::new()));
            }
            self.run("");
            self.asks();
        }
    }

    /// The reader is asked to prepare another one in its place, and is gone.
    fn lost_with_the_reader(&mut self) {
        let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
        let loss = loss(PeerId::READER);
        let phase = self.choices.one(&[Phase::Asked, Phase::Asked, Phase::Busy]);
        self.events.push(Event::Aim(PeerId::READER, phase, 0, loss));
        if self.choices.percent(40) {
            self.parse("s1", "select 3");
        }
        self.parse("", "table t");
        if self.choices.percent(40) {
            self.run("");
        }
    }

    /// A statement of the reader's, which is lost with it: the one that is there later has nothing of what it had.
    fn prepared_on_the_reader_before(&mut self, setup: &mut Setup) {
        (setup.spare, setup.readers) = (Spare::Like, 2);
        let name = self.choices.one(&["", "", "", "back"]);
        let text = match self.choices.percent(70) {
            true => "select v from t where id = 1".to_owned(),
            false => self.statements.read(self.choices),
        };
        self.parse(name, &text);
        if self.choices.percent(40) {
            self.run(name);
        }
        self.asks();
        for _ in 0..1 + self.choices.below(2) {
            let loss = match self.choices.below(10) {
                0..=4 => {
                    let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
                    Event::Fault(loss(PeerId::READER))
                }
                // The reader is another one from here on.
                5 | 6 => Event::Fault(Fault::Move(Journey {
                    writer: None,
                    reader: Some(1 + self.choices.below(setup.readers)),
                    ..Journey::to(0)
                })),
                _ => self.loss(),
            };
            self.events.push(loss);
            self.events.push(Event::Calm);
            if self.choices.percent(30) {
                self.prepared_while_it_is_away(name);
            }
            self.events.push(Event::Fault(Fault::Clock(60_000)));
            // The first of them asks for the reader, and does not wait for it.
            for _ in 0..2 {
                self.run(name);
                self.asks();
            }
        }
        if self.choices.percent(16) {
            // Whoever drives the session makes a mistake about a reader that is not there.
            let misuse = self.choices.one(&[Misuse::Found, Misuse::Answered]);
            let mistake = Fault::Misuse(PeerId::READER, misuse);
            let gone = Event::Fault(Fault::Reset(PeerId::READER));
            self.events
                .extend([gone, Event::Calm, Event::Fault(mistake)]);
        }
    }

    /// Another statement takes the name, or what is to be lost with the reader would have.
    fn prepared_while_it_is_away(&mut self, name: &str) {
        match self.choices.below(6) {
            0 => {
                let text = self.statements.write(self.choices);
                self.parse(name, &text);
            }
            1 => self.say(ClientMessage::DescribeStatement(name.to_owned())),
            2 => self.say(ClientMessage::CloseStatement(name.to_owned())),
            3 => self.query("select 1"),
            _ => {
                self.parse(name, "table t");
                if self.choices.percent(50) {
                    self.run(name);
                }
            }
        }
        self.asks();
    }

    /// Few names, which are given to one statement after the other and given back, far more often than there is room for
    /// names.
    fn names_given_back(&mut self, setup: &mut Setup) {
        setup.tight = true;
        for _ in 0..8 + self.choices.below(8) {
            let name = self.choices.one(&["n1", "n2"]);
            let text = match self.choices.below(3) {
                0 => "insert into t values (1, 'n')",
                _ => "select v from t where id = 1",
            };
            match self.choices.below(10) {
                0 => {
                    self.query(&format!("prepare {name} as select 1"));
                    self.events.push(Event::Calm);
                }
                1 => self.parse(name, "select * from nowhere"),
                2 => {
                    self.run("nobody");
                    self.parse(name, text);
                }
                3 => self.parse("", text),
                _ => self.parse(name, text),
            }
            if self.choices.percent(30) {
                self.run(name);
            }
            self.asks();
            match self.choices.below(10) {
                0 | 1 => {
                    let drop = self.choices.one(&DROPS);
                    self.query(drop);
                    self.events.push(Event::Calm);
                }
                2 => {
                    let drop = self.choices.one(&DROPS);
                    self.parse("", drop);
                    self.run("");
                    self.asks();
                }
                _ => {
                    self.say(ClientMessage::CloseStatement(name.to_owned()));
                    self.asks();
                }
            }
        }
    }

    /// A batch goes on at the writer while the reader says nothing more, or only late, and time passes.
    fn left_in_silence(&mut self, setup: &mut Setup) {
        setup.judged = self.choices.percent(40);
        let reader = PeerId::READER;
        self.query("select 1");
        self.events.push(Event::Calm);
        let text = self.statements.read(self.choices);
        self.parse("moves", &text);
        if self.choices.percent(30) {
            self.run("moves");
        }
        let silence = self
            .choices
            .one(&[Fault::Mute, Fault::Mute, Fault::Stall, Fault::Trickle]);
        let silence = Event::Fault(silence(reader));
        // Its answer to what was flushed has come, or is still awaited.
        if self.choices.percent(60) {
            self.say(ClientMessage::Flush);
            self.events.extend([Event::Calm, silence]);
        } else {
            self.events.push(silence);
            self.say(ClientMessage::Flush);
            self.events.push(Event::Calm);
        }
        let text = self.statements.write(self.choices);
        self.parse("", &text);
        self.run("");
        let ends = self.choices.percent(50);
        if ends {
            self.say(ClientMessage::Sync);
        }
        self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
        match self.choices.percent(70) {
            true => self.events.push(Event::Calm),
            false => self.moves(6),
        }
        for _ in 0..self.choices.below(4) {
            let fault = self.meanwhile();
            self.events.push(Event::Fault(fault));
            if self.choices.percent(70) {
                self.events.push(Event::Calm);
            }
        }
        if !ends {
            self.asks();
        }
        if setup.judged {
            self.say(ClientMessage::Query(verdict::marked("select 2")));
        }
        self.run("moves");
        self.asks();
        self.events.push(Event::Fault(Fault::Clock(60_000)));
        for _ in 0..2 {
            self.run("moves");
            self.asks();
        }
    }

    /// What happens while a server says nothing.
    fn meanwhile(&mut self) -> Fault {
        match self.choices.below(12) {
            0..=3 => Fault::Deadline,
            4 | 5 => Fault::Clock(self.choices.one(&[1_000, 3_000, 9_999, 60_000])),
            6 => Fault::Cancel,
            7 => Fault::ShutDownProxy,
            8 => Fault::Async(PeerId::WRITER, Aside::Notice),
            9 => Fault::Eof(PeerId::CLIENT),
            _ => self.choices.one(&[Fault::Reset, Fault::Eof])(PeerId::READER),
        }
    }

    /// Messages that no buffer holds, among others that the caller's policy denies or lets pass.
    fn longer_than_anybody_looks(&mut self, setup: &mut Setup) {
        (setup.tight, setup.judged) = (true, true);
        setup.strict = self.choices.percent(40);
        for _ in 0..1 + self.choices.below(3) {
            let text = match self.choices.percent(50) {
                true => self.statements.write(self.choices),
                false => "select v from t where id = 1".to_owned(),
            };
            // A few bytes decide whether it is held.
            let length = limits::READ_BUFFER_MIN - 30 + self.choices.below(80);
            let text = padded(&text, length);
            match self.choices.below(6) {
                0 | 1 => self.say(ClientMessage::Query(text)),
                2 | 3 => {
                    let name = self.choices.one(&["", "s1", verdict::NAME, verdict::NAME]);
                    self.parse(name, &text);
                    if self.choices.percent(50) {
                        self.run(name);
                    }
                }
                _ => {
                    self.parse("s2", "select v from t where v = $1");
                    let statement = self.choices.one(&["s2", "s2", verdict::NAME]).to_owned();
                    self.say(ClientMessage::Bind {
                        portal: String::new(),
                        statement,
                        values: vec![text],
                    });
                }
            }
            for _ in 0..self.choices.below(3) {
                self.judged_behind_it();
            }
            self.asks();
        }
    }

    /// Something short, which is denied or not.
    fn judged_behind_it(&mut self) {
        let text = self.statements.any(self.choices);
        match self.choices.below(8) {
            0 | 1 => self.say(ClientMessage::Query(verdict::marked(&text))),
            2 => self.parse("", &verdict::marked("select 1")),
            3 => self.run(verdict::NAME),
            4 => self.say(ClientMessage::Execute {
                portal: verdict::NAME.to_owned(),
                max_rows: 0,
            }),
            5 => self.say(ClientMessage::FunctionCall(verdict::FUNCTION)),
            6 => self.say(ClientMessage::Query(text)),
            _ => self.say(ClientMessage::Sync),
        }
    }

    /// What the reader refuses has named a statement there, or taken a name away; behind it, and where it runs then, the name
    /// means what it means.
    fn refused_and_named_anew(&mut self, setup: &mut Setup) {
        setup.optimistic = true;
        let name = match self.choices.percent(20) {
            true => super::long_name(self.choices),
            false => self.choices.one(&["s1", "s1", ""]).to_owned(),
        };
        for n in 0..2 + self.choices.below(3) {
            if n > 0 && self.choices.percent(80) {
                self.say(ClientMessage::CloseStatement(name.clone()));
                if self.choices.percent(60) {
                    self.asks();
                }
            }
            let text = self.tried_or_not(6_000 + n);
            self.parse(&name, &text);
            if self.choices.percent(30) {
                self.say(ClientMessage::DescribeStatement(name.clone()));
            }
            if self.choices.percent(20) {
                self.parse("s2", "select 2");
            }
            if self.choices.percent(40) {
                self.asks();
                self.taken_away_meanwhile(&name);
            } else {
                self.run(&name);
            }
            self.asks();
            if self.choices.percent(20) {
                let loss = self.loss();
                self.events.push(loss);
                self.events.push(Event::Calm);
            }
            if self.choices.percent(40) {
                self.run(&name);
                self.asks();
            }
        }
        self.query("table t");
    }

    /// The name is taken away before what it was given to has run, or right behind that, and given to something else.
    fn taken_away_meanwhile(&mut self, name: &str) {
        self.bind("p1", name);
        let early = self.choices.percent(50);
        if early {
            self.given_to_another(name);
        }
        self.say(ClientMessage::Execute {
            portal: "p1".to_owned(),
            max_rows: 0,
        });
        if !early {
            self.given_to_another(name);
        }
    }

    fn given_to_another(&mut self, name: &str) {
        if !name.is_empty() || self.choices.percent(50) {
            self.say(ClientMessage::CloseStatement(name.to_owned()));
        }
        if self.choices.percent(60) {
            self.parse(name, "select 5");
        }
    }

    /// What the reader may be asked for, and some that it is not.
    fn tried_or_not(&mut self, n: usize) -> String {
        match self.choices.below(6) {
            0..=2 => format!("select f_write({n})"),
            3 => format!("select f_read({n})"),
            4 => "select v from t where id = 1".to_owned(),
            _ => self.statements.write(self.choices),
        }
    }
}

/// The same with nothing that keeps the client out, or the reader from serving it.
pub(super) fn with_a_reader(setup: Setup) -> Setup {
    let required = setup.upstream_tls == Tls::Require;
    let whole = matches!(setup.client_tls, Offer::Require | Offer::Passthrough);
    let client_tls = if whole {
        Offer::Allow
    } else {
        setup.client_tls
    };
    let meets = client_tls == Offer::Allow;
    Setup {
        client_tls,
        client_begins_tls: setup.client_begins_tls && meets,
        client_insists: setup.client_insists && meets,
        servers_have_tls: setup.servers_have_tls || required,
        upstream_direct: setup.upstream_direct && setup.server_version >= 18,
        caller: Caller::Nobody,
        fail_without_reader: false,
        ..setup
    }
    .sound()
}

/// Whether a client says something that not every server or proxy takes.
pub(super) fn has_long_messages(events: &[Event]) -> bool {
    events.iter().any(|event| match event {
        Event::Say(ClientMessage::Query(text) | ClientMessage::Parse { text, .. }) => {
            text.len() > LONG
        }
        Event::Say(ClientMessage::Bind { values, .. }) => {
            values.iter().any(|value| value.len() > LONG)
        }
        _ => false,
    })
}

/// A text with a comment behind it, of so many bytes in all.
pub(super) fn padded(text: &str, length: usize) -> String {
    let more = length.saturating_sub(text.len() + 7);
    format!("{text} /* {}*/", "x".repeat(more))
}
