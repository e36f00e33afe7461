//! Plays of messages at their limits, and of how a session begins.

use pgturnout::limits::READ_BUFFER_MIN;
use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::choices::Choices;
use super::super::event::Event;
use super::super::fault::Fault;
use super::super::fittings::Kept;
use super::super::introduction::Says;
use super::super::message::ClientMessage;
use super::super::setup::{Caller, Method, Offer, Setup, Start};
use super::Program;

/// What a play needs of the set-up, as far as that is chosen behind it.
pub(super) fn fitted(play: usize, mut setup: Setup, choices: &mut Choices<'_>) -> Setup {
    match play {
        0 => {
            setup.fittings.kept = choices.weighted(&[
                (3, Kept::Password),
                (2, Kept::Digest),
                (2, Kept::Blank),
                (2, Kept::Outside),
                (2, Kept::Nothing),
            ]);
            // Who uses SCRAM hashes a password, and an empty one is none.
            setup.fittings.blank = setup.login != Method::Scram && choices.percent(60);
        }
        1 => setup.fittings.short_messages = true,
        2 => {
            if setup.start == Start::Long {
                setup.start = Start::Plain;
            }
            setup.fittings.says = choices.weighted(&[
                (7, Says::Twice),
                (4, Says::Capitals),
                (3, Says::Serializable),
                (3, Says::Misnamed),
                (5, Says::Blank),
                (3, Says::Brim),
                (5, Says::Spills),
            ]);
            let long = matches!(setup.fittings.says, Says::Brim | Says::Spills);
            setup.short_startup = long && choices.percent(60);
            let renamed = match setup.fittings.says {
                Says::Twice => 40,
                Says::Blank => 80,
                _ => 0,
            };
            setup.renamed |= choices.percent(renamed);
            if setup.fittings.says == Says::Serializable {
                // Nobody finds out but by the packet.
                setup.fittings.cuts = setup.fittings.cuts / 3 * 3;
            }
        }
        5 => setup.fittings.cuts = setup.fittings.cuts / 16 * 16 + 5,
        _ => {}
    }
    setup.sound()
}

impl Program<'_, '_> {
    pub(super) fn at_the_edge(&mut self, play: usize, setup: &mut Setup) {
        match play {
            0 => self.strangers(setup),
            1 => self.at_their_limits(),
            2 => self.introduced(setup),
            3 => self.bound_values(),
            4 => self.cancelled_too_late(),
            _ => self.farewells(),
        }
    }

    /// Whoever logs in to the proxy itself and is nobody, or cannot prove who it is.
    fn strangers(&mut self, setup: &mut Setup) {
        setup.terminate = true;
        setup.caller = Caller::Nobody;
        setup.login =
            self.choices
                .weighted(&[(4, Method::Md5), (2, Method::Scram), (1, Method::Cleartext)]);
        setup.verifier &= setup.login == Method::Scram;
        setup.start = self.choices.weighted(&[
            (3, Start::Nobody),
            (1, Start::WrongPassword),
            (1, Start::Plain),
        ]);
        if setup.client_tls == Offer::Passthrough {
            setup.client_tls = Offer::Allow;
        }
    }

    /// A session whose StartupMessage says more than most.
    fn introduced(&mut self, setup: &mut Setup) {
        if self.choices.percent(55) {
            setup.terminate = true;
            setup.caller = Caller::Nobody;
            if setup.client_tls == Offer::Passthrough {
                setup.client_tls = Offer::Disable;
            }
        }
        if self.choices.percent(50) && setup.login == Method::Trust {
            setup.login = Method::Md5;
        }
        for text in [
            "select current_setting('application_name')",
            "show statement_timeout",
            "show datestyle",
            "select current_database(), current_user",
            "reset all",
            "select v from t where id = 1",
        ] {
            if self.choices.percent(70) {
                self.query(text);
            }
        }
    }

    /// Messages as long as the proxy takes them, in both directions, and perhaps one that is a byte longer.
    fn at_their_limits(&mut self) {
        for _ in 0..1 + self.choices.below(3) {
            let less = self.choices.weighted(&[(4, 0), (1, 1), (1, 2)]);
            self.of_length(READ_BUFFER_MIN - less);
        }
        if self.choices.percent(60) {
            self.events.push(Event::Calm);
            self.of_length(READ_BUFFER_MIN + 1);
        }
    }

    /// A message of so many bytes, with its tag and its length word.
    fn of_length(&mut self, length: usize) {
        let fill = |text: &str, besides: usize| {
            let room = length - besides - (text.len() - 1);
            text.replace('*', &"x".repeat(room))
        };
        match self.choices.below(7) {
            0 => self.query(&fill("select '*'", 6)),
            1 => {
                self.parse("s1", &fill("insert into t values (1, '*')", 11));
                self.run("s1");
                self.sync();
            }
            2 => {
                self.query("copy t from stdin");
                // Several that come together are looked at together.
                self.say(ClientMessage::CopyData("2\tshort\n".to_owned()));
                self.say(ClientMessage::CopyData(fill("1\t*\n", 5)));
                self.say(ClientMessage::CopyDone);
            }
            3 => {
                self.parse("", "select $1::text");
                self.say(ClientMessage::Bind {
                    portal: String::new(),
                    statement: String::new(),
                    values: vec![fill("*", 17)],
                });
                self.say(ClientMessage::Execute {
                    portal: String::new(),
                    max_rows: 0,
                });
                self.sync();
            }
            4 => self.query(&format!("select repeat('x', {})", length - 11)),
            5 => {
                let text = format!("values ('short'), (repeat('x', {}))", length - 11);
                self.query(&text);
            }
            _ => {
                let text = format!("copy (select repeat('x', {})) to stdout", length - 6);
                self.query(&text);
            }
        }
    }

    /// Values that are there, empty or NULL, of one format and another, and rows of such.
    fn bound_values(&mut self) {
        for _ in 0..1 + self.choices.below(3) {
            let texts = 1 + self.choices.below(20);
            let (text, number) = match self.choices.below(4) {
                0 => ("insert into t values ($1, $2)".to_owned(), 2),
                1 => ("select v from t where id = $1 or v = $2".to_owned(), 2),
                _ => {
                    let more = (0..texts).map(|at| format!(", ${}::text", at + 2));
                    let more: String = more.collect();
                    (format!("select $1::int{more}"), texts + 1)
                }
            };
            let name = self.choices.one(&["", "s1"]);
            if !name.is_empty() {
                self.say(ClientMessage::CloseStatement(name.to_owned()));
            }
            self.parse(name, &text);
            for _ in 0..1 + self.choices.below(2) {
                self.bind_all(name, number);
                self.say(ClientMessage::DescribePortal(String::new()));
                self.say(ClientMessage::Execute {
                    portal: String::new(),
                    max_rows: 0,
                });
            }
            self.sync();
        }
    }

    fn bind_all(&mut self, statement: &str, number: usize) {
        let formats: Vec<i16> = match self.choices.below(4) {
            0 => Vec::new(),
            1 => vec![self.choices.one(&[0, 1])],
            2 => vec![0],
            _ => (0..number).map(|_| self.choices.one(&[0, 1])).collect(),
        };
        let results = match self.choices.below(3) {
            0 => Vec::new(),
            1 => vec![self.choices.one(&[0, 1])],
            _ => vec![0; number],
        };
        let first = match formats.first() {
            Some(1) => "\0\0\u{3}\u{9}",
            _ => "777",
        };
        let values = (0..number).map(|at| match (self.choices.below(5), at) {
            (0, 1..) => None,
            (_, 0) => Some(first.to_owned()),
            (1 | 2, _) => Some(String::new()),
            (_, _) => Some(format!("v{at}")),
        });
        let values = values.collect();
        self.say(ClientMessage::BindAs {
            portal: String::new(),
            statement: statement.to_owned(),
            formats,
            values,
            results,
        });
    }

    /// A request is answered while the cancel that was meant for it is on its way, and the next one waits for a lock.
    fn cancelled_too_late(&mut self) {
        self.query("select 1");
        self.events.push(Event::Calm);
        let struck = self.choices.percent(30);
        for _ in 0..1 + self.choices.below(2) {
            self.events.push(Event::Fault(Fault::Lock));
            let first = self.choices.one(&[
                "select pg_sleep(0.1)",
                "select nextval('s')",
                "set application_name = 'quick'",
                "select current_setting('application_name')",
            ]);
            self.say(ClientMessage::Query(first.to_owned()));
            let second = self.choices.one(&[
                "update t set v = 'waits'",
                "select id from t order by id",
                "insert into t values (900, 'waits')",
            ]);
            self.say(ClientMessage::Query(second.to_owned()));
            self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
            let upstream = self.choices.one(&[PeerId::WRITER, PeerId::READER]);
            if self.choices.percent(70) {
                self.events.push(Event::Leave(upstream, 100_000));
            }
            self.events.push(Event::Fault(Fault::Cancel));
            if self.choices.percent(40) {
                self.events.push(Event::Serve(upstream));
                self.events.push(Event::Arrive(upstream, 100_000));
                self.events.push(Event::Leave(PeerId::CLIENT, 100_000));
            }
            if struck {
                self.events.push(Event::Fault(Fault::Reset(PeerId::READER)));
            }
            self.events.push(Event::Calm);
        }
    }

    /// A server that speaks another language says its last word.
    fn farewells(&mut self) {
        self.query("select 1");
        let peer = self.choices.one(&[PeerId::WRITER, PeerId::READER]);
        let phase = self
            .choices
            .one(&[Phase::Idle, Phase::Asked, Phase::Busy, Phase::Login]);
        let state = self.choices.one(&["57P01", "57P02", "57P05"]).to_owned();
        let shutdown = Fault::Shutdown(peer, state);
        self.events.push(match self.choices.percent(70) {
            true => Event::Aim(peer, phase, 0, shutdown),
            false => Event::Fault(shutdown),
        });
        for _ in 0..3 {
            let text = self.statements.any(self.choices);
            self.query(&text);
        }
        let text = self.statements.failing(self.choices);
        self.query(&text);
    }
}
