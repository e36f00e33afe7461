//! The tracker of replies against a server that takes one message after the other.

use std::collections::VecDeque;

use pgturnout::track::pipeline::{Kind, Owner, Pipeline};

use super::feed::Feed;

/// With an honest client and an honest server, every reply is expected, belongs to whom it was sent for and completes
/// what the server completed, in order; what counts as ignored or dropped is never answered; one ReadyForQuery is
/// counted for each that is sent; nothing counts as settled while something is to come, what is owed waits for a Sync
/// if it does not end with ReadyForQuery by itself, and ends settled.
/// Whoever lies, nothing panics, nothing is answered twice, and an answer to nothing changes nothing.
pub(crate) fn tracker(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut game = Game {
        honest: feed.below(4) != 0,
        ..Game::default()
    };
    while !feed.is_empty() {
        game.step(&mut feed);
        game.agrees();
    }
    if game.honest {
        game.drain();
    }
}

/// One message as it was sent.
#[derive(Clone, Copy, Debug)]
struct Message {
    id: usize,
    kind: Kind,
    owner: Owner,
    /// How often it reads copy data.
    copies: usize,
}

/// One reply on its way.
#[derive(Clone, Copy, Debug)]
struct Said {
    tag: u8,
    to: Message,
    /// It is the last one to that message.
    last: bool,
    /// It ended a copy, so that what became of the Syncs sent since does not show.
    torn: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Mode {
    #[default]
    Ready,
    Skipping,
    Copying(Message),
}

/// What a server does, by the protocol chapter, in words of its own: it keeps no queue of obligations, it reads.
#[derive(Debug, Default)]
struct Server {
    inbox: VecDeque<Message>,
    mode: Mode,
    wire: VecDeque<Said>,
    /// Something ran since the last Sync, which may still fail at the commit.
    uncommitted: bool,
}

impl Server {
    fn say(&mut self, tag: u8, to: Message) {
        let last = match to.kind {
            Kind::Query | Kind::FunctionCall | Kind::Sync => tag == b'Z',
            Kind::DescribeStatement | Kind::DescribePortal => matches!(tag, b'T' | b'n'),
            Kind::Execute => matches!(tag, b'C' | b'I' | b's'),
            _ => true,
        };
        let torn = tag == b'E' && matches!(self.mode, Mode::Copying(_));
        self.wire.push_back(Said {
            tag,
            to,
            last,
            torn,
        });
    }

    /// Reads one message.
    fn read(&mut self, feed: &mut Feed<'_>) {
        let Some(message) = self.inbox.pop_front() else {
            return;
        };
        match (self.mode, message.kind) {
            (Mode::Copying(copy), Kind::CopyEnd) => self.end_copy(copy, feed),
            (Mode::Copying(_), Kind::Sync) => {}
            (Mode::Copying(_), other) => panic!("{other:?} in a copy: the client is not honest"),
            (Mode::Skipping, Kind::Sync) => {
                self.mode = Mode::Ready;
                self.say(b'Z', message);
            }
            (Mode::Skipping, _) => {}
            (Mode::Ready, _) => self.serve(message, feed),
        }
    }

    fn serve(&mut self, message: Message, feed: &mut Feed<'_>) {
        let fails = message.kind == Kind::Refused || feed.below(6) == 5;
        match message.kind {
            Kind::CopyEnd => {}
            Kind::Fence => self.say(b'3', message),
            Kind::Sync => {
                if fails && self.uncommitted {
                    self.say(b'E', message);
                }
                self.uncommitted = false;
                self.say(b'Z', message);
            }
            Kind::FunctionCall => {
                self.say(if fails { b'E' } else { b'V' }, message);
                self.say(b'Z', message);
            }
            Kind::Query => self.query(message, false, feed),
            _ if fails => self.fail(message),
            Kind::Execute if message.copies > 0 => self.copy(message),
            Kind::Execute => {
                let replies: &[u8] = feed.one(&[&b"C"[..], b"DDC", b"I", b"Ds", b"HddcC", b"HdcC"]);
                self.answer(message, replies);
            }
            Kind::Parse => self.answer(message, b"1"),
            Kind::Bind => self.answer(message, b"2"),
            Kind::Close => self.answer(message, b"3"),
            Kind::DescribeStatement => self.answer(message, feed.one(&[&b"tT"[..], b"tn"])),
            Kind::DescribePortal => self.answer(message, feed.one(&[&b"T"[..], b"n"])),
            Kind::Refused => unreachable!("it fails"),
        }
    }

    fn answer(&mut self, message: Message, replies: &[u8]) {
        self.uncommitted = true;
        for tag in replies {
            self.say(*tag, message);
        }
    }

    /// The statements of a Query, or those behind its first copy, up to the next copy.
    fn query(&mut self, message: Message, begun: bool, feed: &mut Feed<'_>) {
        let count = feed.below(3);
        for _ in 0..count {
            let replies: &[u8] = feed.one(&[&b"C"[..], b"TDC", b"TC", b"HdcC", b"E"]);
            self.answer(message, replies);
            if replies == b"E" {
                return self.end_query(message);
            }
        }
        if message.copies > 0 {
            return self.copy(message);
        }
        // A text without a statement has an answer of its own, and the commit at the end may fail.
        match (begun || count > 0, feed.below(4)) {
            (_, 3) => self.say(b'E', message),
            (false, _) => self.say(b'I', message),
            (true, _) => {}
        }
        self.end_query(message);
    }

    fn end_query(&mut self, message: Message) {
        self.mode = Mode::Ready;
        self.uncommitted = false;
        self.say(b'Z', message);
    }

    fn copy(&mut self, message: Message) {
        self.say(b'G', message);
        let copies = message.copies - 1;
        self.mode = Mode::Copying(Message { copies, ..message });
    }

    fn end_copy(&mut self, copy: Message, feed: &mut Feed<'_>) {
        if feed.below(4) == 3 {
            return self.fail(copy);
        }
        self.mode = Mode::Ready;
        self.answer(copy, b"C");
        if copy.kind == Kind::Query {
            self.query(copy, true, feed);
        }
    }

    fn fail(&mut self, message: Message) {
        self.say(b'E', message);
        self.uncommitted = false;
        if message.kind == Kind::Query {
            self.end_query(message);
        } else {
            self.mode = Mode::Skipping;
        }
    }

    /// Whether more comes for what was sent, if nothing more is sent.
    fn owes(&self, whose: impl Fn(&Message) -> bool) -> bool {
        let asks = |message: &&Message| !matches!(message.kind, Kind::CopyEnd) && whose(message);
        let answers = match self.mode {
            Mode::Ready => self.inbox.iter().any(|message| asks(&message)),
            Mode::Skipping => {
                let mut rest = self
                    .inbox
                    .iter()
                    .skip_while(|message| message.kind != Kind::Sync);
                rest.any(|message| asks(&message))
            }
            Mode::Copying(copy) => whose(&copy),
        };
        answers || self.wire.iter().any(|said| whose(&said.to))
    }

    /// Whether what it still has to answer ends without ReadyForQuery, if nothing fails. Nobody can know while
    /// something is on its way, or whether a copy that has not begun will swallow what was sent behind it.
    fn awaits_sync(&self) -> Option<bool> {
        let mut inbox = self.inbox.iter();
        let mut last = None;
        match self.mode {
            Mode::Ready => {}
            Mode::Skipping => last = inbox.find(|message| message.kind == Kind::Sync),
            Mode::Copying(ref copy) => {
                inbox.find(|message| message.kind == Kind::CopyEnd);
                last = Some(copy);
            }
        }
        // A CopyDone behind no copy is ignored, and what a fence asks for comes by itself.
        let asks = |message: &&Message| !matches!(message.kind, Kind::CopyEnd | Kind::Fence);
        let asked: Vec<&Message> = last.into_iter().chain(inbox.filter(asks)).collect();
        let begun = usize::from(matches!(self.mode, Mode::Copying(_)));
        let copies = asked.iter().skip(begun).any(|message| message.copies > 0);
        let known = self.wire.is_empty() && !copies;
        known.then(|| {
            asked
                .last()
                .is_some_and(|last| !last.kind.ends_with_ready())
        })
    }
}

/// What the tracker said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    /// It will not be answered.
    Silent,
    Done,
}

#[derive(Debug, Default)]
struct Game {
    honest: bool,
    pipeline: Pipeline<usize>,
    server: Server,
    /// What was sent to this connection, and what became of it.
    sent: Vec<(Message, Verdict)>,
    /// CopyDone or CopyFail messages that the client still has to send.
    open_copies: usize,
    /// A Sync of the client's was sent before the end of a copy, and none since.
    early_sync: bool,
    /// Syncs that were sent while a copy might swallow them have not been told from others since.
    unsure: bool,
    /// ReadyForQuery messages for the client: those that were sent, and those that were taken for its.
    ready: (usize, usize),
    newest_done: Option<usize>,
}

const KINDS: &[Kind] = &[
    Kind::Query,
    Kind::FunctionCall,
    Kind::Parse,
    Kind::Bind,
    Kind::DescribeStatement,
    Kind::DescribePortal,
    Kind::Execute,
    Kind::Close,
    Kind::Sync,
    Kind::CopyEnd,
    Kind::Refused,
    Kind::Sync,
    Kind::Query,
    Kind::Execute,
];

impl Game {
    fn step(&mut self, feed: &mut Feed<'_>) {
        match feed.below(16) {
            0..=5 => self.client_sends(feed),
            6 => self.we_send(feed),
            7..=9 if self.honest => self.server.read(feed),
            10..=13 if self.honest => self.hear(),
            14 if self.honest => match self.server.mode {
                // A copy may fail by itself: by its data, a cancel, a timeout.
                Mode::Copying(copy) => self.server.fail(copy),
                Mode::Ready | Mode::Skipping => {}
            },
            15 if feed.below(8) == 0 => self.abandon(),
            _ if !self.honest => self.hear_anything(feed),
            _ => self.fence(),
        }
    }

    fn client_sends(&mut self, feed: &mut Feed<'_>) {
        let kind = feed.one(KINDS);
        let copies = match kind {
            Kind::Query | Kind::Execute => feed.one(&[0, 0, 1, 2]),
            _ => 0,
        };
        if self.honest && self.is_bound() && !matches!(kind, Kind::Sync | Kind::CopyEnd) {
            return;
        }
        match kind {
            Kind::Sync => self.early_sync = self.open_copies > 0,
            Kind::CopyEnd => self.open_copies = self.open_copies.saturating_sub(1),
            _ => {}
        }
        // Execute reads one set of data; a Query may hold several statements.
        let copies = if kind == Kind::Execute {
            copies.min(1)
        } else {
            copies
        };
        self.open_copies += copies;
        self.send(kind, Owner::Client, copies);
    }

    /// In a copy an honest client sends data, Syncs too early and the end; and if it sent Syncs too early, another one
    /// next, because no one can tell whether a failed copy took them.
    fn is_bound(&self) -> bool {
        self.open_copies > 0 || self.early_sync
    }

    /// We never send into a copy, nor to a server that skips.
    fn we_send(&mut self, feed: &mut Feed<'_>) {
        let kind = feed.one(&[
            Kind::Parse,
            Kind::Close,
            Kind::Query,
            Kind::Sync,
            Kind::Fence,
        ]);
        let bad_time =
            self.is_bound() || self.pipeline.is_skipping() || self.pipeline.is_copying_in();
        if !(self.honest && bad_time) {
            self.send(kind, Owner::Injected, 0);
        }
    }

    fn fence(&mut self) {
        if self.pipeline.needs_fence() && self.open_copies == 0 {
            self.send(Kind::Fence, Owner::Injected, 0);
        }
    }

    fn send(&mut self, kind: Kind, owner: Owner, copies: usize) {
        let id = self.sent.len();
        let message = Message {
            id,
            kind,
            owner,
            copies,
        };
        self.sent.push((message, Verdict::Open));
        if self.honest {
            self.server.inbox.push_back(message);
        }
        if let Some(ignored) = self.pipeline.sent(kind, owner, id, 0) {
            assert_eq!(
                (ignored.note, ignored.kind, ignored.owner),
                (id, kind, owner)
            );
            self.close(id, Verdict::Silent);
        }
    }

    /// Nothing is answered, dropped or ignored twice.
    fn close(&mut self, id: usize, verdict: Verdict) {
        let (message, before) = &mut self.sent[id];
        assert_eq!(*before, Verdict::Open, "{message:?} has {verdict:?} too");
        *before = verdict;
    }

    /// The tracker takes the oldest reply on the wire.
    fn hear(&mut self) {
        let Some(said) = self.server.wire.pop_front() else {
            return;
        };
        let owes_sync = |(message, verdict): &(Message, Verdict)| {
            message.kind == Kind::Sync && *verdict != Verdict::Done && message.id > said.to.id
        };
        if said.tag == b'E' {
            self.unsure = said.torn && self.sent.iter().any(owes_sync);
            return self.hear_error(said);
        }
        let reply = self.pipeline.reply(said.tag);
        let reply = reply.unwrap_or_else(|error| panic!("{error}: {said:?} {self:?}"));
        let done = reply.done.map(|owed| owed.note);
        if said.tag == b'Z' {
            self.ready.0 += usize::from(said.to.owner == Owner::Client);
            self.ready.1 += usize::from(reply.owner == Owner::Client);
            if let Some(id) = done {
                self.close(id, Verdict::Done);
            }
            let syncs =
                |id: usize| self.sent[id].0.kind == Kind::Sync && said.to.kind == Kind::Sync;
            let swapped = self.unsure && done.is_none_or(syncs);
            assert!(
                done == Some(said.to.id) || swapped,
                "{said:?}: {done:?} {self:?}"
            );
        } else {
            self.unsure = false;
            assert_eq!(reply.owner, said.to.owner, "{said:?} {self:?}");
            let expected = said.last.then_some(said.to.id);
            assert_eq!(done, expected, "{said:?} {self:?}");
            if let Some(id) = done {
                self.close(id, Verdict::Done);
            }
            let (_, verdict) = self.sent[said.to.id];
            assert_ne!(verdict, Verdict::Silent, "answered after all: {said:?}");
        }
        if let Some(id) = done {
            assert!(self.newest_done < Some(id), "{id} out of order: {self:?}");
            self.newest_done = Some(id);
        }
    }

    fn hear_error(&mut self, said: Said) {
        let answered = self.pipeline.error();
        let (owner, dropped) = answered.unwrap_or_else(|| panic!("{said:?}: owes nothing"));
        assert_eq!(owner, said.to.owner, "{said:?} {self:?}");
        let ids: Vec<usize> = dropped.iter().map(|owed| owed.note).collect();
        let ends_with_ready = matches!(said.to.kind, Kind::Query | Kind::FunctionCall | Kind::Sync);
        let failed = (!ends_with_ready).then_some(said.to.id);
        assert_eq!(ids.first().copied(), failed, "{said:?} {self:?}");
        assert!(ids.is_sorted(), "{ids:?}");
        for id in ids {
            assert!(self.sent[id].0.kind != Kind::Sync, "a Sync is answered");
            self.close(id, Verdict::Silent);
        }
    }

    /// A server that says what it likes.
    fn hear_anything(&mut self, feed: &mut Feed<'_>) {
        let tag = feed.one(b"123CDEGHIKRTVWZcdnst");
        let shown = format!("{:?}", self.pipeline);
        if tag == b'E' {
            let dropped = self
                .pipeline
                .error()
                .map_or(Vec::new(), |(_, dropped)| dropped);
            for owed in dropped {
                self.close(owed.note, Verdict::Silent);
            }
            return;
        }
        let head = self.pipeline.head().map(|owed| owed.kind);
        match self.pipeline.reply(tag) {
            Ok(reply) => {
                let fits = head.is_some_and(|kind| replies_to(kind).contains(&tag));
                assert!(fits || tag == b'Z', "{} to {head:?}", char::from(tag));
                if let Some(owed) = reply.done {
                    self.close(owed.note, Verdict::Done);
                }
            }
            Err(unexpected) => {
                assert_eq!(unexpected.tag, tag);
                assert_eq!(shown, format!("{:?}", self.pipeline), "refused, not undone");
            }
        }
    }

    /// The connection is gone: everything open comes back, and the tracker is as new.
    fn abandon(&mut self) {
        let owed = self.pipeline.abandon();
        assert!(owed.is_sorted_by_key(|owed| owed.note));
        for owed in owed {
            self.close(owed.note, Verdict::Silent);
        }
        assert!(self.pipeline.is_settled() && self.pipeline.is_quiet());
        let pipeline = std::mem::take(&mut self.pipeline);
        *self = Game {
            honest: self.honest,
            pipeline,
            ..Game::default()
        };
    }

    /// What holds at every moment.
    fn agrees(&self) {
        let pipeline = &self.pipeline;
        let count = |of: fn(&Message) -> bool| {
            let owed = pipeline.iter().map(|owed| self.sent[owed.note].0);
            owed.filter(of).count()
        };
        let open = |message: &(Message, Verdict)| message.1 == Verdict::Open;
        assert_eq!(pipeline.len(), count(|_| true));
        assert!(pipeline.len() <= self.sent.iter().filter(|message| open(message)).count());
        assert_eq!(
            pipeline.has_injected(),
            count(|message| message.owner == Owner::Injected) > 0
        );
        assert_eq!(
            pipeline.has_client(),
            count(|message| message.owner == Owner::Client) > 0
        );
        let ready = count(|message| {
            message.owner == Owner::Client
                && matches!(message.kind, Kind::Query | Kind::FunctionCall | Kind::Sync)
        });
        if self.honest {
            assert_eq!(pipeline.client_ready_owed(), ready);
            let is_owed = self.server.owes(|_| true);
            let owes_client = self.server.owes(|message| message.owner == Owner::Client);
            assert!(!pipeline.needs_fence() || self.unsure, "no doubt: {self:?}");
            assert!(!(pipeline.is_settled() && is_owed), "not settled: {self:?}");
            assert!(!(pipeline.is_quiet() && owes_client), "not quiet: {self:?}");
            let awaits = self.server.awaits_sync();
            assert!(
                awaits.is_none_or(|awaits| awaits == pipeline.awaits_sync()),
                "{awaits:?}: {self:?}"
            );
        }
    }

    /// Everybody finishes: then nothing is owed, and the client has as many ReadyForQuery as were sent to it.
    fn drain(&mut self) {
        let mut nothing = Feed::new(&[]);
        for _ in 0..self.open_copies {
            self.send(Kind::CopyEnd, Owner::Client, 0);
        }
        self.open_copies = 0;
        if self.early_sync {
            self.send(Kind::Sync, Owner::Client, 0);
        }
        for _ in 0..3 {
            self.finish(&mut nothing);
            if self.pipeline.is_skipping() {
                self.send(Kind::Sync, Owner::Client, 0);
            }
            self.fence();
        }
        assert!(self.pipeline.is_settled(), "unsettled: {self:?}");
        assert!(matches!(self.server.mode, Mode::Ready), "{self:?}");
        assert_eq!(
            self.ready.0, self.ready.1,
            "ReadyForQuery to the client: {self:?}"
        );
        for (message, verdict) in &self.sent {
            let unseen = matches!(message.kind, Kind::Sync | Kind::CopyEnd);
            assert!(
                *verdict != Verdict::Open || unseen,
                "{message:?} is forgotten"
            );
        }
    }

    /// The server reads all that there is, and everything is heard.
    fn finish(&mut self, feed: &mut Feed<'_>) {
        while !self.server.inbox.is_empty() {
            self.server.read(feed);
        }
        while !self.server.wire.is_empty() {
            self.hear();
            self.agrees();
        }
    }
}

/// The tags that may answer a request, errors aside.
fn replies_to(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Query => b"TDCIHGWdcZ",
        Kind::Execute => b"DCIsHGWdc",
        Kind::FunctionCall => b"VZ",
        Kind::Parse => b"1",
        Kind::Bind => b"2",
        Kind::Close | Kind::Fence => b"3",
        Kind::DescribeStatement => b"tTn",
        Kind::DescribePortal => b"Tn",
        Kind::Sync => b"Z",
        Kind::CopyEnd | Kind::Refused => b"",
    }
}
