//! Readers that are gone, now or in the middle of what they say.

use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::event::Event;
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::Program;

impl Program<'_, '_> {
    /// A long row is on its way when its sender is gone.
    pub(super) fn torn_row(&mut self) {
        self.events.push(Event::Calm);
        self.say(ClientMessage::Query("select repeat('x', 9000)".to_owned()));
        let (client, reader) = (PeerId::CLIENT, PeerId::READER);
        let (arrived, left) = (self.choices.below(9_000), self.choices.below(9_000));
        for event in [
            Event::Arrive(client, 100_000),
            Event::Leave(reader, 100_000),
            Event::Serve(reader),
            Event::Arrive(reader, arrived),
            Event::Leave(client, left),
            Event::Fault(Fault::Cut(reader, 0)),
        ] {
            self.events.push(event);
        }
    }

    /// The reader is gone in the middle of what it says of a statement.
    pub(super) fn torn_description(&mut self) {
        self.events.push(Event::Calm);
        self.say(ClientMessage::Parse {
            name: String::new(),
            text: "select id, v from t".to_owned(),
        });
        self.say(ClientMessage::DescribeStatement(String::new()));
        self.say(ClientMessage::Sync);
        self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
        self.events.push(Event::Leave(PeerId::READER, 100_000));
        for _ in 0..3 {
            self.events.push(Event::Serve(PeerId::READER));
        }
        let left = self.choices.below(80);
        self.events
            .push(Event::Fault(Fault::Cut(PeerId::READER, left)));
        self.events.push(Event::Calm);
    }

    /// The reader is gone, now or when it is asked next.
    pub(super) fn loss(&mut self) -> Event {
        let fault = match self.choices.below(4) {
            0 => Fault::Reset(PeerId::READER),
            1 => Fault::Eof(PeerId::READER),
            2 => Fault::Shutdown(PeerId::READER, "57P01".to_owned()),
            _ => Fault::Cut(PeerId::READER, self.choices.below(30)),
        };
        let phase = self.choices.one(&[Phase::Idle, Phase::Asked, Phase::Busy]);
        match self.choices.percent(70) {
            true => Event::Aim(PeerId::READER, phase, 0, fault),
            false => Event::Fault(fault),
        }
    }
}
