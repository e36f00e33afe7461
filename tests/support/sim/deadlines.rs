//! The deadlines of a session: that whoever is waited for has one, of the right length, from the right moment, for no
//! longer than the wait, and that what it is for happens when it passes.

use std::time::{Duration, Instant};

use pgturnout::session::{CloseCause, Event, Lifecycle, PeerId, Timer};

use super::catalogue::Phase;
use super::checks::Check;
use super::conduct;
use super::fault::is_spare;
use super::moves;
use super::oracle;
use super::retries;
use super::world::{State, World};

/// What is remembered of a session's time.
pub(crate) struct Clocks {
    /// Every moment at which anything happened.
    moments: Vec<Instant>,
    /// When each deadline that was seen began, and how many requests its upstream had answered by then.
    seen: Vec<(Timer, Instant, usize)>,
    closing: Option<Instant>,
    shut_down: Option<Instant>,
    /// When the session gave up the upstream's connection.
    given_up: [Option<Instant>; PeerId::COUNT],
    /// When our own request left for each upstream, if it is not answered and nobody else's stands behind it.
    asked: [Option<Instant>; PeerId::COUNT],
    readies: [usize; PeerId::COUNT],
    /// What has passed, and how many events had been told by then.
    fired: Vec<(Timer, usize, bool)>,
}

impl Clocks {
    pub(crate) fn new(start: Instant) -> Clocks {
        Clocks {
            moments: vec![start],
            seen: Vec::new(),
            closing: None,
            shut_down: None,
            given_up: [None; PeerId::COUNT],
            asked: [None; PeerId::COUNT],
            readies: [0; PeerId::COUNT],
            fired: Vec::new(),
        }
    }

    /// An upstream is dialled.
    pub(crate) fn dialled(&mut self, peer: PeerId) {
        self.given_up[peer.index()] = None;
        self.asked[peer.index()] = None;
        self.seen.retain(
            |(timer, ..)| !matches!(timer, Timer::Retire(of) | Timer::Restore(of) if *of == peer),
        );
    }

    /// Who was in one seat is in another.
    pub(crate) fn change(&mut self, one: PeerId, other: PeerId) {
        let turned = |peer: PeerId| match peer {
            peer if peer == one => other,
            peer if peer == other => one,
            peer => peer,
        };
        let turned = |timer: Timer| match timer {
            Timer::Dial(peer) => Timer::Dial(turned(peer)),
            Timer::Replay(peer) => Timer::Replay(turned(peer)),
            Timer::Restore(peer) => Timer::Restore(turned(peer)),
            Timer::Retire(peer) => Timer::Retire(turned(peer)),
            Timer::Redial(peer) => Timer::Redial(turned(peer)),
            Timer::Cancel(peer) => Timer::Cancel(turned(peer)),
            timer => timer,
        };
        self.seen
            .iter_mut()
            .for_each(|entry| entry.0 = turned(entry.0));
        self.fired
            .iter_mut()
            .for_each(|entry| entry.0 = turned(entry.0));
        self.given_up.swap(one.index(), other.index());
        self.asked.swap(one.index(), other.index());
        self.readies.swap(one.index(), other.index());
    }

    /// A whole message of ours has left for an upstream that is logged in to.
    pub(crate) fn injected(&mut self, peer: PeerId, tag: u8, now: Instant) {
        match tag {
            b'Q' | b'S' => self.asked[peer.index()] = Some(now),
            _ => self.asked[peer.index()] = None,
        }
    }

    /// Bytes of the client's have left for an upstream.
    pub(crate) fn passed_on(&mut self, peer: PeerId) {
        self.asked[peer.index()] = None;
    }

    /// The session has taken a message of an upstream.
    pub(crate) fn heard(&mut self, peer: PeerId, tag: u8) {
        if tag == b'Z' {
            self.readies[peer.index()] += 1;
        }
        self.asked[peer.index()] = None;
    }

    /// What was held back for a cancel goes on: only now can an upstream answer it.
    pub(crate) fn let_go(&mut self, peer: PeerId, now: Instant) {
        if let Some(since) = &mut self.asked[peer.index()] {
            *since = now;
        }
        self.seen
            .retain(|(timer, ..)| *timer != Timer::Restore(peer));
    }

    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.shut_down = self.shut_down.or(Some(now));
    }

    pub(crate) fn was_shut_down(&self) -> bool {
        self.shut_down.is_some()
    }

    /// The driver is told something.
    pub(crate) fn told(&mut self, event: &Event, now: Instant, since: impl Fn(PeerId) -> PeerId) {
        let peer = match event {
            Event::UpstreamFailed { peer, .. } => since(*peer),
            Event::ReaderLost { .. } => PeerId::READER,
            _ => return,
        };
        self.given_up[peer.index()] = Some(now);
    }

    /// Time passes.
    pub(crate) fn passes(&mut self, now: Instant) {
        self.moments.push(now);
    }
}

/// How long what a deadline is for may take.
fn length(world: &World<'_>, timer: Timer) -> Duration {
    let timeouts = &world.config.timeouts;
    match timer {
        Timer::Login => timeouts.login,
        Timer::Dial(_) => timeouts.dial,
        Timer::Replay(_) | Timer::Restore(_) => timeouts.replay,
        Timer::Shutdown => timeouts.shutdown,
        Timer::Retire(_) | Timer::Drain => timeouts.drain,
        Timer::Cancel(_) => timeouts.cancel,
        Timer::Redial(_) => world.setup.fittings.delay(),
        other => panic!("a deadline nobody knows: {other:?}"),
    }
}

/// After each decision: the deadline that comes next is one that there is a reason for, from the right moment.
pub(crate) fn watch(world: &mut World<'_>) {
    let lifecycle = world.session.lifecycle();
    let closing = match lifecycle {
        Lifecycle::Live => false,
        Lifecycle::Closing(_) => true,
        Lifecycle::Dead(_) => return,
    };
    if closing {
        let now = world.now;
        world.clocks.closing.get_or_insert(now);
    }
    let Some((at, timer)) = world.session.poll_timeout() else {
        return;
    };
    if timer == Timer::Move {
        return moves::deadline(world, at);
    }
    let length = length(world, timer);
    let begun = at.checked_sub(length);
    let Some(begun) = begun.filter(|begun| world.clocks.moments.contains(begun)) else {
        let detail = format!("{timer}: {length:?} before its end nothing happened");
        return world.broken(Check::Deadline, detail);
    };
    if let Some(why) = wrong(world, timer, begun, closing) {
        let since = begun - world.start;
        world.broken(Check::Deadline, format!("{timer}, since {since:?}: {why}"));
    }
    remember(world, timer, begun);
}

/// Why there can be no such deadline now.
fn wrong(world: &World<'_>, timer: Timer, begun: Instant, closing: bool) -> Option<String> {
    let clocks = &world.clocks;
    if closing {
        let since = clocks.closing;
        let fine = timer == Timer::Drain && since == Some(begun);
        return (!fine).then(|| format!("the session ends since {since:?}"));
    }
    let state = |peer: PeerId| world.links[peer.index()].state;
    let phase = |peer: PeerId| world.seen.phase(peer);
    match timer {
        Timer::Login => {
            if world.told.contains(&Event::LoggedIn) {
                return Some("the client is logged in".to_owned());
            }
            (begun != world.start).then(|| "the client came at first".to_owned())
        }
        Timer::Dial(peer) => wrong_dial(world, peer, begun),
        Timer::Replay(peer) => {
            if state(peer) == State::Closed {
                return Some("it is gone".to_owned());
            }
            let login = matches!(phase(peer), Phase::Opening | Phase::Login);
            if !login && !world.lies(peer) {
                return Some("its login is over".to_owned());
            }
            let stood = world.connected[peer.index()];
            // A session that is handed over comes with its token, for which the connection waits.
            let waits = world.setup.transfers && is_spare(peer) && begun > stood;
            (begun != stood && !waits).then(|| "its connection stood at another time".to_owned())
        }
        Timer::Restore(peer) => {
            if state(peer) == State::Closed {
                return Some("it is gone".to_owned());
            }
            let before = clocks.seen.iter().find(|(of, ..)| *of == timer);
            let (since, answered) = before.map(|(_, since, answered)| (*since, *answered))?;
            let moved = since != begun && answered == clocks.readies[peer.index()];
            moved.then(|| "it has answered nothing that would give it more time".to_owned())
        }
        // A connection that was asked for and given up again the driver may not have heard of.
        Timer::Retire(peer) if state(peer) == State::Closed => None,
        Timer::Retire(_) => {
            let before = clocks.seen.iter().find(|(of, ..)| *of == timer);
            let moved = before.is_some_and(|(_, since, _)| *since != begun);
            moved.then(|| "it was given up before".to_owned())
        }
        Timer::Redial(_) => retries::wrong_wait(world),
        Timer::Cancel(peer) => {
            let since = world.cancels.since(peer);
            (since != Some(begun)).then(|| format!("a cancel is under way since {since:?}"))
        }
        Timer::Shutdown => {
            let fine = clocks.shut_down == Some(begun);
            (!fine).then(|| format!("shut down at {:?}", clocks.shut_down))
        }
        Timer::Drain => {
            // It may have been read before what stands ahead of it is taken.
            let left = world.links[0].has_ended()
                || oracle::says_goodbye(world)
                || world.leaving
                || world.lies(PeerId::CLIENT);
            (!left).then(|| "the client is still there".to_owned())
        }
        _ => Some("nobody knows it".to_owned()),
    }
}

/// The same of a dial's.
fn wrong_dial(world: &World<'_>, peer: PeerId, begun: Instant) -> Option<String> {
    let again = world.setup.servers_want_tls && !world.links[peer.index()].secure
        || (world.setup.read_only || world.setup.fittings.retries > 0) && peer == PeerId::WRITER;
    if world.links[peer.index()].state == State::Closed || again {
        // The driver has not heard of it yet, perhaps not even of the end of a connection without TLS.
        return None;
    }
    if !matches!(world.seen.phase(peer), Phase::Absent | Phase::Opening) && !world.lies(peer) {
        return Some("its login has begun".to_owned());
    }
    let dialled = world.dialled[peer.index()];
    (begun > dialled).then(|| "it was dialled before".to_owned())
}

fn remember(world: &mut World<'_>, timer: Timer, begun: Instant) {
    let answered = match timer {
        Timer::Restore(peer) => world.clocks.readies[peer.index()],
        _ => 0,
    };
    let seen = &mut world.clocks.seen;
    match seen.iter_mut().find(|(of, ..)| *of == timer) {
        Some(entry) if entry.1 == begun => {}
        Some(entry) => *entry = (timer, begun, answered),
        None => seen.push((timer, begun, answered)),
    }
}

/// Nothing moves any more: whoever is waited for has a deadline, and it is not later than theirs is.
pub(crate) fn rests(world: &mut World<'_>) {
    honoured(world);
    let next = world.session.poll_timeout();
    let next = next.map(|(at, timer)| (at - world.start, timer));
    world.rests.push(next);
    if let Some((_, timer)) = world.session.poll_timeout()
        && let Timer::Dial(peer) | Timer::Replay(peer) | Timer::Retire(peer) | Timer::Restore(peer) =
            timer
        && world.links[peer.index()].state == State::Closed
    {
        return world.broken(Check::Deadline, format!("{timer}: it is gone"));
    }
    let due = match world.session.lifecycle() {
        Lifecycle::Live => due(world),
        Lifecycle::Closing(_) => {
            let drain = world.config.timeouts.drain;
            let since = world.clocks.closing.unwrap_or(world.now);
            vec![("the end of the session".to_owned(), since + drain)]
        }
        Lifecycle::Dead(_) => return,
    };
    let Some((who, latest)) = due.into_iter().min_by_key(|(_, at)| *at) else {
        return;
    };
    let next = world.session.poll_timeout();
    if next.is_none_or(|(at, _)| at > latest) {
        let next = next.map(|(at, timer)| (at - world.start, timer));
        let latest = latest - world.start;
        let detail = format!("{who} may take until {latest:?}, and the next deadline is {next:?}");
        world.broken(Check::Deadline, detail);
    }
}

/// Who is waited for, and until when at most.
fn due(world: &World<'_>) -> Vec<(String, Instant)> {
    let timeouts = &world.config.timeouts;
    let clocks = &world.clocks;
    let mut due = Vec::new();
    // A client that does not read may take its time, and so may a server that has nobody else to answer to.
    let client = &world.links[PeerId::CLIENT.index()];
    let reads = world.session.poll_transmit(PeerId::CLIENT).is_none();
    let logs_in = !world.is_opaque() && reads && world.client.waits();
    if client.state == State::Securing || logs_in {
        due.push((
            "the client's login".to_owned(),
            world.start + timeouts.login,
        ));
    }
    if world.waits_for_the_caller() {
        due.push(("the caller".to_owned(), world.now + timeouts.replay));
    }
    if client.has_ended() {
        let latest = world.now + timeouts.drain;
        due.push(("what is left for a client that left".to_owned(), latest));
    }
    if let Some(since) = clocks.shut_down {
        due.push(("the shutdown".to_owned(), since + timeouts.shutdown));
    }
    for peer in [PeerId::WRITER, PeerId::READER] {
        due.extend(due_of(world, peer));
    }
    if retries::is_ahead(world) {
        due.push((
            "the next try".to_owned(),
            world.now + world.setup.fittings.delay(),
        ));
    }
    for peer in PeerId::ALL {
        if let Some(since) = world.cancels.since(peer) {
            due.push((format!("a cancel at the {peer}"), since + timeouts.cancel));
        }
    }
    if world.session.migration().is_some() {
        let latest = world.moves.ends().unwrap_or(world.now);
        due.push(("the move".to_owned(), latest));
    } else {
        let spare = [PeerId::THIRD, PeerId::FOURTH].map(|peer| (peer, &world.links[peer.index()]));
        for (peer, link) in spare {
            if link.state != State::Closed && !link.has_ended() {
                let latest = world.now + timeouts.drain;
                due.push((format!("the leave of the {peer}"), latest));
            }
        }
    }
    due
}

/// What one of the servers owes, and when it is due.
fn due_of(world: &World<'_>, peer: PeerId) -> Vec<(String, Instant)> {
    let mut due = Vec::new();
    let relays = world.is_opaque() || !world.setup.terminate && peer == conduct::gate(world);
    let at = peer.index();
    let link = &world.links[at];
    let given_up = world.clocks.given_up[at];
    match (link.state, given_up) {
        (State::Closed, _) => {}
        (State::Dialing | State::Securing, _) => {
            due.push((
                format!("the dial of the {peer}"),
                world.dialled[at] + world.config.timeouts.dial,
            ));
        }
        (State::Open, Some(since)) => {
            if !link.has_ended() {
                due.push((
                    format!("the leave of the {peer}"),
                    since + world.config.timeouts.drain,
                ));
            }
        }
        (State::Open, None) => {
            let login = matches!(world.seen.phase(peer), Phase::Opening | Phase::Login);
            if login && !relays {
                let dial = world.dialled[at] + world.config.timeouts.dial;
                let login = world.connected[at] + world.config.timeouts.replay;
                due.push((format!("our login to the {peer}"), dial.max(login)));
            }
            // Behind bytes that a client is slow to take the session may have seen the answer.
            let held = world.cancels.since(peer).is_some();
            let since = world.clocks.asked[at].filter(|_| link.buffer.is_empty() && !held);
            if let Some(since) = since {
                due.push((
                    format!("our request to the {peer}"),
                    since + world.config.timeouts.replay,
                ));
            }
        }
    }
    due
}

/// Time is about to pass: what is due then.
pub(crate) fn due_at(world: &mut World<'_>, now: Instant) {
    world.clocks.passes(now);
    if let Some((at, timer)) = world.session.poll_timeout()
        && at <= now
    {
        let live = matches!(world.session.lifecycle(), Lifecycle::Live);
        let told = world.told.len();
        match timer {
            // It has not been asked for as long as that.
            Timer::Restore(peer) if world.cancels.since(peer).is_some() => {
                return world.clocks.let_go(peer, now);
            }
            // What waits for a cancel has its time behind it.
            Timer::Drain
                if live
                    && PeerId::ALL
                        .iter()
                        .any(|peer| world.cancels.since(*peer).is_some()) =>
            {
                return world.cancels.let_go();
            }
            Timer::Cancel(peer) => world.clocks.let_go(peer, at),
            _ => {}
        }
        world.clocks.fired.push((timer, told, live));
    }
}

/// Time has passed, and the session was told.
pub(crate) fn time_passed(world: &mut World<'_>) {
    if let Some((at, timer)) = world.session.poll_timeout()
        && at <= world.now
    {
        world.broken(
            Check::Deadline,
            format!("{timer}: it has passed, and waits still"),
        );
    }
}

/// What has passed was told of, and has ended what it was for.
fn honoured(world: &mut World<'_>) {
    for (timer, before, was_live) in std::mem::take(&mut world.clocks.fired) {
        let mut told = world.told[before..].iter();
        // Its connection may be another's by now.
        let same = |event: &Event| match (event, timer) {
            (Event::TimedOut(Timer::Cancel(_)), Timer::Cancel(_))
            | (Event::TimedOut(Timer::Redial(_)), Timer::Redial(_)) => true,
            (event, timer) => *event == Event::TimedOut(timer),
        };
        if !told.any(same) {
            return world.broken(
                Check::Deadline,
                format!("{timer}: nobody is told that it passed"),
            );
        }
        let live = matches!(world.session.lifecycle(), Lifecycle::Live);
        let given_up = |of: PeerId| {
            let failed =
                |event: &Event| matches!(event, Event::UpstreamFailed { peer, .. } if *peer == of);
            let moves = |event: &Event| matches!(event, Event::MoveFailed { .. });
            let told = &world.told[before..];
            told.iter().any(failed) || is_spare(of) && told.iter().any(moves)
        };
        let fine = match timer {
            Timer::Login | Timer::Shutdown => !live,
            Timer::Drain if was_live => !live,
            Timer::Drain => world.links.iter().all(|link| link.state == State::Closed),
            Timer::Dial(peer) | Timer::Replay(peer) | Timer::Restore(peer) => given_up(peer),
            Timer::Move => world.told[before..]
                .iter()
                .any(|event| matches!(event, Event::MoveFailed { .. })),
            Timer::Retire(peer) => world.closes.contains(&(peer, CloseCause::Timeout(timer))),
            // That nothing is under way any more is seen when the time has passed.
            Timer::Cancel(_) | Timer::Redial(_) => true,
            _ => false,
        };
        if !fine {
            return world.broken(
                Check::Deadline,
                format!("{timer}: it passed, and nothing came of it"),
            );
        }
    }
}
