//! Cancels: each on a connection of its own, which the driver opens, and which takes as long as the set-up says.
//!
//! What runs on a server when the cancel comes ends there; what comes when nothing does is dropped, and so is what comes
//! before the server has the whole of a statement. So nothing but the rest of the request that runs may leave for a server
//! from when the session is told that a cancel is sent to when it is told of its end, and it may not say that one may be sent
//! which would hit something else, or nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pgturnout::session::{CancelEnd, CancelTarget, CancelTicket, Lifecycle, OutOfSync, PeerId};
use pgturnout::wire::Header;

use super::super::checks::{self, Check};
use super::super::duties;
use super::super::fates::{self, Whose};
use super::super::server::{Server, ServerPhase};
use super::super::verdict;
use super::World;

/// How long a cancel's connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It is all done at once.
    Prompt,
    /// A step at each turn of the world: it stands, the request is there, it is closed.
    Slow,
    /// A step whenever nothing else happens any more.
    Late,
    /// The request is there at once, and nobody hears of its end.
    Unended,
    /// Nobody ever hears of it again.
    Lost,
}

pub(crate) const PACES: [(Pace, &str); 5] = [
    (Pace::Prompt, "prompt"),
    (Pace::Slow, "slow"),
    (Pace::Late, "late"),
    (Pace::Unended, "unended"),
    (Pace::Lost, "lost"),
];

/// How far a cancel's connection is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Dialled,
    Sent(CancelTicket),
    Delivered(CancelTicket),
}

/// What a cancel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meant {
    /// The request of this epoch.
    epoch: u64,
    /// How much of the client's stream had come by then.
    said: usize,
}

/// A cancel that has hit nothing.
#[derive(Clone, Copy, Debug)]
struct InVain {
    meant: Meant,
    /// How much of the client's stream had left when it was sent, or was found to have nothing to hit.
    left: usize,
}

#[derive(Clone, Debug)]
struct Cancel {
    target: CancelTarget,
    meant: Meant,
    /// How much of the client's stream had left when it was sent.
    left: usize,
    /// Whether it has hit anything.
    hit: bool,
    /// How many answers the client had when it was known whom it means, if none was on its way.
    answered: Option<usize>,
    stage: Stage,
}

/// A cancel of which the session has been told that it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    since: Instant,
    ticket: CancelTicket,
    /// How many answers of its server the session had taken, and how much of the server's stream had left.
    heard: usize,
    told: usize,
    /// Whether the request that runs has left as a whole.
    whole: bool,
}

#[derive(Default)]
pub(crate) struct Cancels {
    /// Those that have come of which nobody knows yet whom they mean.
    waiting: VecDeque<Meant>,
    /// Those that are over, and have hit nothing.
    in_vain: Vec<InVain>,
    /// How many answers the client had when everything was last at rest, and the epoch then.
    rested: Option<(usize, u64)>,
    on_their_way: Vec<Cancel>,
    held: [Option<Held>; PeerId::COUNT],
    /// How many answers the session has taken on each connection.
    heard: [usize; PeerId::COUNT],
    /// How many have hit a statement.
    hits: usize,
    /// Whether time has passed for the sake of one that has no end.
    ran_out: bool,
}

impl Cancels {
    /// Whether time has passed for the sake of one that has no end.
    pub(crate) fn ran_out(&self) -> bool {
        self.ran_out
    }

    /// How many statements were hit.
    pub(crate) fn hits(&self) -> usize {
        self.hits
    }

    pub(super) fn has_answered(&mut self, peer: PeerId) {
        self.heard[peer.index()] += 1;
    }

    /// A connection begins, or has ended: nothing is under way to it.
    pub(super) fn begins_anew(&mut self, peer: PeerId) {
        self.held[peer.index()] = None;
        self.heard[peer.index()] = 0;
    }

    /// Who was in one seat is in another.
    pub(super) fn change(&mut self, one: PeerId, other: PeerId) {
        self.held.swap(one.index(), other.index());
        self.heard.swap(one.index(), other.index());
        for cancel in &mut self.on_their_way {
            cancel.target.peer = match cancel.target.peer {
                peer if peer == one => other,
                peer if peer == other => one,
                peer => peer,
            };
        }
    }

    /// Since when a cancel is under way to an upstream.
    pub(crate) fn since(&self, peer: PeerId) -> Option<Instant> {
        Some(self.held[peer.index()]?.since)
    }

    /// What was held back goes to whoever it was for, whatever hits it there.
    pub(crate) fn let_go(&mut self) {
        self.held = Default::default();
    }

    /// Whose time is over is under way no more.
    fn pass(&mut self, now: Instant, time: Duration) {
        for held in &mut self.held {
            held.take_if(|held| held.since + time <= now);
        }
    }
}

impl World<'_> {
    /// One more cancel has come.
    pub(super) fn cancel_comes(&mut self) {
        let meant = Meant {
            epoch: self.session.cancel_epoch(),
            said: self.from_client.passed() + self.links[0].buffer.len(),
        };
        self.cancels.waiting.push_back(meant);
    }

    /// Whether nothing may leave for an upstream, since a cancel is under way to it, and it has what that is for.
    pub(crate) fn holds_for_a_cancel(&self, peer: PeerId) -> bool {
        let live = matches!(self.session.lifecycle(), Lifecycle::Live);
        live && self.cancels.held[peer.index()].is_some_and(|held| held.whole)
    }

    /// Time has passed.
    pub(super) fn cancels_pass(&mut self) {
        let (now, time) = (self.now, self.config.timeouts.cancel);
        self.cancels.pass(now, time);
        for peer in PeerId::ALL {
            let over = self.cancels.since(peer).is_none();
            if over && self.session.is_cancelling(peer) && !self.misused {
                let detail = format!("a cancel at the {peer} is under way, and its time is over");
                self.broken(Check::Deadline, detail);
            }
        }
    }

    /// Whether all that has left for an upstream of the client's are whole requests.
    fn has_whole(&self, peer: PeerId) -> bool {
        let begun = self.from_client.begun();
        let last = begun.iter().rfind(|(to, _)| *to == Some(peer));
        let passing = begun.last().is_some_and(|(to, _)| *to == Some(peer));
        let between = self.from_client.is_between() || !passing;
        // Of a request that is tried it gets a copy.
        let tried = peer == PeerId::READER && self.setup.copies_requests();
        !tried && between && last.is_none_or(|(_, tag)| b"QFS".contains(tag))
    }

    /// Bytes have left for a peer.
    pub(super) fn cancels_see(&mut self, to: PeerId) {
        let (whole, told) = (self.has_whole(to), fates::has_told(self, to));
        if let Some(held) = &mut self.cancels.held[to.index()]
            && whole
            && !held.whole
        {
            // It waited for what has left now.
            (held.whole, held.told) = (true, told);
        }
    }

    /// Carries out cancels as soon as it is known whom they mean.
    pub(super) fn cancel_when_known(&mut self) {
        if self.cancels.waiting.is_empty() || self.session.is_holding() {
            return;
        }
        let Some(target) = self.session.cancel_target() else {
            let left = self.from_client.passed();
            for meant in std::mem::take(&mut self.cancels.waiting) {
                self.cancelled_in_vain(meant, left);
            }
            return self.nobody_waits();
        };
        let meant = self.cancels.waiting.pop_front();
        let Some(meant) = meant.filter(|meant| meant.epoch == target.epoch) else {
            return;
        };
        checks::cancelled(self, &target);
        duties::cancels(self, &target);
        let hears_all = self.session.poll_transmit(PeerId::CLIENT).is_none();
        self.cancels.on_their_way.push(Cancel {
            target,
            meant,
            left: 0,
            hit: false,
            answered: hears_all.then_some(self.client.ready),
            stage: Stage::Dialled,
        });
        match self.setup.fittings.cancels {
            Pace::Prompt => while self.last_cancel_moves() {},
            Pace::Unended => while !self.is_delivered() && self.last_cancel_moves() {},
            Pace::Lost => while !self.is_sent() && self.last_cancel_moves() {},
            Pace::Slow | Pace::Late => {}
        }
        if matches!(self.setup.fittings.cancels, Pace::Unended | Pace::Lost) {
            self.cancels.on_their_way.clear();
        }
    }

    fn is_delivered(&self) -> bool {
        let last = self.cancels.on_their_way.last();
        last.is_some_and(|cancel| matches!(cancel.stage, Stage::Delivered(_)))
    }

    fn is_sent(&self) -> bool {
        let last = self.cancels.on_their_way.last();
        last.is_some_and(|cancel| matches!(cancel.stage, Stage::Sent(_)))
    }

    fn last_cancel_moves(&mut self) -> bool {
        match self.cancels.on_their_way.pop() {
            Some(cancel) => self.cancel_moves(cancel),
            None => false,
        }
    }

    /// Each cancel makes a step, if they do at this pace. Whether any did.
    pub(super) fn cancels_move(&mut self, pace: Pace) -> bool {
        let due = self.setup.fittings.cancels == pace;
        let all = match due {
            true => std::mem::take(&mut self.cancels.on_their_way),
            false => Vec::new(),
        };
        let moved = !all.is_empty();
        for cancel in all {
            self.cancel_moves(cancel);
        }
        moved
    }

    /// A cancel's connection makes a step. Whether there are more to come.
    fn cancel_moves(&mut self, mut cancel: Cancel) -> bool {
        let next = match cancel.stage {
            Stage::Dialled => {
                cancel.left = self.from_client.passed();
                self.cancel_begins(&cancel).map(Stage::Sent)
            }
            Stage::Sent(ticket) => {
                cancel.hit = self.cancel_arrives(cancel.target.peer, ticket);
                Some(Stage::Delivered(ticket))
            }
            Stage::Delivered(ticket) => {
                self.cancel_ends(&cancel, ticket);
                None
            }
        };
        let Some(stage) = next else {
            return false;
        };
        cancel.stage = stage;
        self.cancels.on_their_way.push(cancel);
        true
    }

    /// The connection stands.
    fn cancel_begins(&mut self, cancel: &Cancel) -> Option<CancelTicket> {
        let (now, target) = (self.now, &cancel.target);
        let ticket = self
            .meter
            .measure(|| self.session.cancel_begins(now, target));
        self.log(|| format!("    a cancel for the {}: {ticket:?}", target.peer));
        let Some(ticket) = ticket else {
            // What it means may be elsewhere by now.
            self.cancels.waiting.push_back(cancel.meant);
            return None;
        };
        let at = target.peer.index();
        if self.cancels.held[at].is_some() {
            let detail = format!("two cancels are under way to the {}", target.peer);
            self.broken(Check::CancelHome, detail);
        }
        // Its answer may be the client's by now, and another request runs.
        let later = cancel
            .answered
            .is_some_and(|answered| self.client.ready > answered);
        if later && !self.is_whole() && self.servers_are_honest() {
            let detail = format!("a cancel for the {} hits a later request", target.peer);
            self.broken(Check::CancelHome, detail);
        }
        self.cancels.held[at] = Some(Held {
            since: now,
            ticket,
            heard: self.cancels.heard[at],
            told: fates::has_told(self, target.peer),
            whole: self.has_whole(target.peer),
        });
        Some(ticket)
    }

    /// The server has it. Whether it hits a statement.
    fn cancel_arrives(&mut self, peer: PeerId, ticket: CancelTicket) -> bool {
        let held = self.cancels.held[peer.index()];
        let judged = held.filter(|held| held.ticket == ticket);
        let known = self.servers_are_honest() && !self.is_whole();
        let posing = self.posing[peer.index()].is_some();
        let Some(server) = &mut self.servers[peer.index()] else {
            return false;
        };
        let unanswered = judged.is_some_and(|held| server.readies() == held.heard);
        let reads_on = matches!(
            server.phase(),
            ServerPhase::Idle | ServerPhase::InTransaction | ServerPhase::Failed
        );
        // What a client says that makes no sense may be about to pass unread, and never be a message.
        let passes = self.config.out_of_sync == OutOfSync::Passthrough && self.liars[0];
        let early = unanswered && reads_on && !server.has_a_message() && !passes;
        let hit = server.signal();
        self.log(|| format!("    the {peer} is signalled, and a statement hit: {hit:?}"));
        self.cancels.hits += usize::from(hit.is_some());
        if !known || posing {
            return hit.is_some();
        }
        if early && !self.is_denied_next() {
            let detail = format!("a cancel comes before the {peer} has what it is for");
            self.broken(Check::CancelHome, detail);
        }
        if let Some(at) = hit
            && judged.is_some_and(|held| held.whole && at >= held.told)
        {
            let detail = format!("a cancel hits what the {peer} was sent behind it");
            self.broken(Check::CancelHome, detail);
        }
        hit.is_some()
    }

    /// Whether something is denied of the request that is to be answered next: it fails, and there is nothing to cancel.
    fn is_denied_next(&self) -> bool {
        let (mut rest, mut request) = (&self.said[..], 0);
        while let Ok(Some(header)) = Header::parse(rest)
            && let Some((body, behind)) = header.split(rest)
            && request <= self.client.ready
            && self.setup.judges()
        {
            if request == self.client.ready && verdict::denies(header.tag, body, self.setup.shown())
            {
                return true;
            }
            request += usize::from(matches!(header.tag, b'Q' | b'F' | b'S'));
            rest = behind;
        }
        false
    }

    /// Its connection is closed.
    fn cancel_ends(&mut self, cancel: &Cancel, ticket: CancelTicket) {
        let (now, peer) = (self.now, cancel.target.peer);
        // How much of what has left for it is the client's request nobody knows.
        let copied = peer == PeerId::READER && self.setup.copies_requests();
        let held = &mut self.cancels.held[peer.index()];
        if held.take_if(|held| held.ticket == ticket).is_some() {
            self.clocks.let_go(peer, now);
        }
        let end = self
            .meter
            .measure(|| self.session.cancel_ended(now, ticket));
        self.log(|| format!("    a cancel at the {peer} has ended: {end:?}"));
        match end {
            CancelEnd::Again => self.cancels.waiting.push_back(cancel.meant),
            CancelEnd::Done if !cancel.hit && !copied => {
                self.cancelled_in_vain(cancel.meant, cancel.left);
            }
            CancelEnd::Done => {}
        }
        self.digest();
    }

    /// A cancel is dropped: no statement of the client's runs that could wait for it.
    fn nobody_waits(&mut self) {
        let live = matches!(self.session.lifecycle(), Lifecycle::Live);
        if !live || !self.servers_are_honest() || self.is_whole() {
            return;
        }
        let waits = PeerId::ALL.into_iter().find(|peer| {
            let server = self.servers[peer.index()].as_ref();
            let newest = server.and_then(Server::waits_in);
            newest.is_some_and(|at| fates::is_for(self, *peer, at, Whose::Client))
        });
        if let Some(peer) = waits {
            let detail = format!("a cancel is dropped, and the {peer} works for the client");
            self.broken(Check::CancelHome, detail);
        }
    }

    /// A cancel is over, or never began, and has hit nothing.
    fn cancelled_in_vain(&mut self, meant: Meant, left: usize) {
        self.cancels.in_vain.push(InVain { meant, left });
    }

    /// Everything is at rest: no request waits on for which a cancel came when all of it had been said, and was sent when its
    /// server had yet to get what runs.
    pub(super) fn cancelled_ones_rest(&mut self) {
        let live = matches!(self.session.lifecycle(), Lifecycle::Live);
        let epoch = self.session.cancel_epoch();
        let known = live && self.servers_are_honest() && !self.is_whole();
        let all = &mut self.cancels.in_vain;
        all.retain(|cancel| known && cancel.meant.epoch == epoch);
        if all.is_empty() {
            return;
        }
        let waits = PeerId::ALL.into_iter().find(|peer| {
            let server = self.servers[peer.index()].as_ref();
            let newest = server.and_then(Server::waits_in);
            let stands = newest.and_then(|at| fates::said_at(self, *peer, at));
            stands.is_some_and(|stands| self.waits_for_ever(stands))
        });
        if let Some(peer) = waits {
            let detail = format!("the {peer} works on what was cancelled while it was on its way");
            self.broken(Check::CancelHome, detail);
        }
    }

    /// Whether the message there in the client's stream is of a request that was cancelled in vain, but not too early.
    fn waits_for_ever(&self, stands: usize) -> bool {
        let stream = &self.from_client;
        let Ok(at) = stream.starts().binary_search(&stands) else {
            return false;
        };
        let tags: Vec<u8> = stream.begun().iter().map(|(_, tag)| *tag).collect();
        let closes = |tag: &u8| b"QFS".contains(tag);
        let (before, rest) = tags.split_at(at);
        let answered = before.iter().filter(|tag| closes(tag)).count();
        let batch = before.iter().rev().take_while(|tag| !closes(tag));
        // What stands behind something that has run is another matter.
        let is_first = batch.filter(|tag| **tag == b'E').count() == 0;
        let end_of_next = |of: &dyn Fn(&u8) -> bool| {
            let next = rest.iter().position(of)? + at;
            Some(stream.starts()[next] + stream.lengths()[next])
        };
        let (Some(runs), Some(end)) = (
            end_of_next(&|tag| b"QFSE".contains(tag)),
            end_of_next(&closes),
        ) else {
            return false;
        };
        let mut all = self.cancels.in_vain.iter();
        is_first
            && all.any(|cancel| {
                let meant = cancel.meant;
                meant.epoch == answered as u64 && meant.said >= end && cancel.left < runs
            })
    }

    /// Everything is at rest: with each answer that the client has had a cancel means another request, and the same as long
    /// as there was none.
    pub(super) fn epoch_rests(&mut self) {
        let live = matches!(self.session.lifecycle(), Lifecycle::Live);
        let hears_all = self.session.poll_transmit(PeerId::CLIENT).is_none();
        // What a wild client has been answered nobody counts.
        let counts = !self.setup.wild && self.servers_are_honest() && !self.is_whole();
        if !live || !hears_all || !counts {
            return;
        }
        let epoch = self.session.cancel_epoch();
        if let Some(target) = self.session.cancel_target()
            && target.epoch != epoch
        {
            let detail = format!(
                "a cancel means request {epoch}, and its target is that of {}",
                target.epoch
            );
            self.broken(Check::CancelHome, detail);
        }
        let answered = self.client.ready;
        if let Some((before, then)) = self.cancels.rested.replace((answered, epoch))
            && epoch - then != (answered - before) as u64
        {
            let detail = format!(
                "{before} answers, and then {answered}: a cancel means request {then}, and then {epoch}"
            );
            self.broken(Check::CancelHome, detail);
        }
    }

    /// The faults are over: whoever still waits for the end of a cancel does not wait for ever.
    pub(super) fn cancels_run_out(&mut self) {
        loop {
            let live = matches!(self.session.lifecycle(), Lifecycle::Live);
            let since = PeerId::ALL.map(|peer| self.cancels.since(peer));
            let Some(since) = since.into_iter().flatten().min().filter(|_| live) else {
                return;
            };
            if self.violation.is_some() {
                return;
            }
            self.cancels.ran_out = true;
            let end = since + self.config.timeouts.cancel;
            self.pass(end.saturating_duration_since(self.now));
            self.calm();
        }
    }
}
