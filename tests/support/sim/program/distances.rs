//! Plays of standbys that are not equally far, and of sessions that go from one to the other.

use pgturnout::session::{Accept, PeerId};

use super::super::event::Event;
use super::super::fault::{Fault, Known};
use super::super::journey::{Journey, Terms};
use super::super::message::ClientMessage;
use super::super::setup::{Fresh, Setup, Spare};
use super::Program;
use super::prepared::with_a_reader;

/// How many standbys there are, each at its place in the configuration, behind the primary.
const STANDBYS: usize = 2;

impl Program<'_, '_> {
    /// The `nth` of them.
    pub(super) fn at_a_distance(&mut self, nth: usize, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        (setup.lag, setup.readers, setup.clients) = (true, STANDBYS, 1);
        if setup.spare == Spare::None {
            setup.spare = Spare::Like;
        }
        match nth {
            0 => self.read_elsewhere(setup),
            1 => self.served_by_standbys(setup),
            _ => self.left_for_a_standby(),
        }
    }

    fn standby(&mut self) -> usize {
        1 + self.choices.below(STANDBYS)
    }

    /// The log goes on, or a standby goes on with it.
    fn apart(&mut self) {
        for _ in 0..self.choices.below(4) {
            let count = self.choices.one(&[1, 1, 2, 9]);
            let fault = match self.choices.below(5) {
                0 | 1 => Fault::Vacuum(count),
                2 => Fault::Replay(count),
                _ => Fault::ReplayAt(self.standby(), count),
            };
            self.events.push(Event::Fault(fault));
        }
    }

    /// What was written is there on the standby that was read from, which the session leaves for another.
    fn read_elsewhere(&mut self, setup: &mut Setup) {
        setup.fresh = Fresh::Replayed;
        self.query("select id from t order by id");
        self.events.push(Event::Calm);
        for _ in 0..1 + self.choices.below(2) {
            let text = self.statements.write(self.choices);
            self.query(&text);
            self.events.push(Event::Calm);
            let place = self.standby();
            self.events.push(Event::Fault(match self.choices.below(3) {
                0 => Fault::Replay(9),
                _ => Fault::ReplayAt(place, 9),
            }));
            self.reads();
            self.apart();
            self.leaves_its_reader(setup);
            self.apart();
            self.reads();
        }
    }

    fn reads(&mut self) {
        // The first one asks for the reader, or how far it is, and perhaps does not wait for it.
        for _ in 0..1 + self.choices.below(3) {
            match self.choices.below(4) {
                0 => {
                    self.parse("", "select id, v from t");
                    self.run("");
                    self.say(ClientMessage::Sync);
                }
                _ => self.query("table t"),
            }
            self.events.push(Event::Calm);
        }
    }

    fn leaves_its_reader(&mut self, setup: &Setup) {
        let place = self.standby();
        let alone = Journey {
            writer: None,
            reader: Some(place),
            ..Journey::to(0)
        };
        let fault = match self.choices.below(10) {
            0..=4 => Fault::Move(alone),
            5 => Fault::Move(Journey {
                reader: Some(place),
                ..Journey::to(setup.spare_place())
            }),
            6 | 7 => {
                let known = |at| if at == place { Known::Up } else { Known::Down };
                Fault::Readers((1..=STANDBYS).map(known).collect())
            }
            8 => Fault::Reset(PeerId::READER),
            _ => Fault::Eof(PeerId::READER),
        };
        let lost = fault.peer().is_some();
        self.events.extend([Event::Fault(fault), Event::Calm]);
        if lost {
            self.events.push(Event::Fault(Fault::Clock(60_000)));
        }
    }

    /// The primary cannot be had: the session goes between standbys, and perhaps to the primary when there is one.
    fn served_by_standbys(&mut self, setup: &mut Setup) {
        setup.read_only = true;
        let writer = PeerId::WRITER;
        let away = match self.choices.percent(50) {
            true => Fault::RefuseDial(writer),
            false => Fault::RefuseLogin(writer, "57P03".to_owned()),
        };
        self.events.insert(0, Event::Fault(away));
        self.apart();
        for _ in 0..1 + self.choices.below(4) {
            self.apart();
            let place = match self.choices.below(12) {
                0 => setup.spare_place(),
                _ => self.standby(),
            };
            self.goes(place);
        }
    }

    /// A session whose caller does not mind that it ends on a standby, from where it may go on.
    fn left_for_a_standby(&mut self) {
        for _ in 0..1 + self.choices.below(3) {
            if self.choices.percent(50) {
                let text = self.statements.write(self.choices);
                self.query(&text);
                self.events.push(Event::Calm);
            }
            self.apart();
            let place = self.standby();
            self.goes(place);
        }
    }

    fn goes(&mut self, place: usize) {
        let mut journey = Journey {
            probes: self.choices.percent(40),
            terms: Terms::choose(self.choices),
            ..Journey::to(place)
        };
        journey.terms.accepts = 0;
        if self.choices.percent(85) {
            journey.terms.puts_up_with(Accept::Standby);
        }
        if self.choices.percent(25) {
            journey.terms.puts_up_with(Accept::Behind);
        }
        self.events.push(Event::Fault(Fault::Move(journey)));
        self.events.push(Event::Calm);
        let text = match self.choices.below(3) {
            0 => "show in_hot_standby".to_owned(),
            1 => "select id from t order by id".to_owned(),
            _ => self.statements.any(self.choices),
        };
        self.query(&text);
        self.events.push(Event::Calm);
    }
}
