//! What the crate reads of a message is what it says, and what it writes of that again is the message. Read here once more,
//! without its help. And how long a message may be.

use bytes::BytesMut;
use pgturnout::session::{Lifecycle, OutOfSync, PeerId};
use pgturnout::stats::{Counter, Stats};
use pgturnout::wire::{Backend, Frontend, Header};

use super::checks::Check;
use super::client::Frame;
use super::message::ClientMessage;
use super::senseless;
use super::world::World;

/// A body that is read on.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn count(&mut self) -> Option<usize> {
        let bytes = self.bytes(2)?;
        Some(usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
    }

    fn oids(&mut self) -> Option<Vec<u32>> {
        let count = self.count()?;
        let one = |_| Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?));
        (0..count).map(one).collect()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Some(text)
    }

    fn formats(&mut self) -> Option<Vec<i16>> {
        let count = self.count()?;
        let one = |_| Some(i16::from_be_bytes(self.bytes(2)?.try_into().ok()?));
        (0..count).map(one).collect()
    }

    fn values(&mut self) -> Option<Vec<Option<&'a [u8]>>> {
        let count = self.count()?;
        let one = |_| {
            let length = i32::from_be_bytes(self.bytes(4)?.try_into().ok()?);
            match usize::try_from(length) {
                Ok(length) => Some(Some(self.bytes(length)?)),
                Err(_) => Some(None),
            }
        };
        (0..count).map(one).collect()
    }
}

/// The client says this, in these bytes.
pub(crate) fn said(world: &mut World<'_>, message: &ClientMessage, bytes: &[u8]) {
    if matches!(message, ClientMessage::Malformed(_)) {
        return;
    }
    if let Some(wrong) = misread(bytes) {
        world.broken(Check::Codec, format!("{wrong} of {message}"));
    }
}

/// What the crate reads otherwise, or writes otherwise again, of a message of the client's.
fn misread(bytes: &[u8]) -> Option<String> {
    let (tag, body) = (bytes.first()?, bytes.get(Header::LEN..)?);
    let read = match Frontend::parse(*tag, body) {
        Ok(read) => read,
        Err(fault) => return Some(fault.to_string()),
    };
    let mut again = BytesMut::new();
    if read.encode(&mut again).is_err() || again != bytes {
        return Some(format!("{again:?} is written"));
    }
    let mut body = Body(body);
    let same = match &read {
        Frontend::Parse(parse) => {
            let (name, text) = (body.text()?, body.text()?);
            parse.name == name && parse.text == text && parse.types.iter().eq(body.oids()?)
        }
        Frontend::Bind(bind) => {
            let (portal, statement) = (body.text()?, body.text()?);
            let (formats, values, results) = (body.formats()?, body.values()?, body.formats()?);
            bind.portal == portal
                && bind.statement == statement
                && bind.formats.iter().eq(formats)
                && bind.values.iter().eq(values)
                && bind.result_formats.iter().eq(results)
        }
        Frontend::FunctionCall(call) => {
            let function = u32::from_be_bytes(body.bytes(4)?.try_into().ok()?);
            let (formats, arguments) = (body.formats()?, body.values()?);
            call.function == function
                && call.formats.iter().eq(formats)
                && call.arguments.iter().eq(arguments)
        }
        _ => true,
    };
    (!same).then(|| format!("{read:?} is read"))
}

/// The client is told this.
pub(crate) fn told(world: &mut World<'_>, frame: &Frame) {
    if let Some(wrong) = misunderstood(frame) {
        world.broken(Check::Codec, format!("{wrong} of {frame:?}"));
    }
}

/// The same of a message of a server's.
fn misunderstood(frame: &Frame) -> Option<String> {
    let read = match Backend::parse(frame.tag, &frame.body) {
        Ok(read) => read,
        Err(fault) => return Some(fault.to_string()),
    };
    let mut again = BytesMut::new();
    if read.encode(&mut again).is_err() || again.get(Header::LEN..) != Some(&frame.body) {
        return Some(format!("{again:?} is written"));
    }
    let same = match read {
        Backend::DataRow { values } => values.iter().eq(Body(&frame.body).values()?),
        Backend::ParameterDescription { types } => types.iter().eq(Body(&frame.body).oids()?),
        Backend::ErrorResponse(fields) | Backend::NoticeResponse(fields) => {
            fields.severity() == frame.severity()
                && fields.is_fatal() == matches!(frame.severity(), Some(b"FATAL" | b"PANIC"))
        }
        _ => true,
    };
    (!same).then(|| format!("{read:?} is read"))
}

/// What is wrong with the counts of errors and notices by their severity, in whatever language they came.
pub(crate) fn severities(world: &World<'_>, stats: &Stats) -> Option<String> {
    let names = [
        (b'E', "ERROR", Counter::ErrorsError),
        (b'E', "FATAL", Counter::ErrorsFatal),
        (b'E', "PANIC", Counter::ErrorsPanic),
        (b'N', "WARNING", Counter::NoticesWarning),
        (b'N', "NOTICE", Counter::NoticesNotice),
    ];
    names.into_iter().find_map(|(tag, word, counter)| {
        let of_it = |frame: &&Frame| frame.tag == tag && frame.severity() == Some(word.as_bytes());
        let frames = world.client.login.iter().chain(&world.client.frames);
        let told = frames.filter(of_it).count() as u64;
        let counted = stats.get(counter);
        let torn = u64::from(world.client.torn() > 0);
        (!(told..=told + torn).contains(&counted))
            .then(|| format!("{counter}: {counted} counted, {told} of {word} told to the client"))
    })
}

/// Whoever reads a log need not know the languages of all the servers.
pub(crate) fn untranslated(world: &mut World<'_>, why: &str) {
    if ["FATALE", "ERRORE"].iter().any(|word| why.contains(word)) {
        world.broken(Check::Told, format!("in the server's language: {why:?}"));
    }
}

/// How long a message of a peer's may be.
pub(crate) fn longest(world: &World<'_>, peer: PeerId) -> usize {
    let limits = &world.config.limits;
    let most = match peer == PeerId::CLIENT {
        true => limits.client_message,
        false => limits.server_message,
    };
    // Whether a session that is over let the streams pass may be told later than they did.
    let live = matches!(world.session.lifecycle(), Lifecycle::Live);
    let passed = world.config.out_of_sync == OutOfSync::Passthrough && !live && world.lies(peer);
    match world.is_whole() || senseless::is_unread(world) || passed {
        true => usize::MAX,
        false => usize::try_from(most).unwrap_or(usize::MAX),
    }
}

/// Nothing is passed on of a message of a peer's that is longer than it may be.
pub(crate) fn not_too_long(world: &mut World<'_>, from: PeerId, length: usize) {
    let most = longest(world, from);
    if length > most {
        let detail = format!("a message of {length} bytes of the {from}, which may send {most}");
        world.broken(Check::WholeFrames, detail);
    }
}
