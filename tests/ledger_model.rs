//! The ledger against a model that owns every byte: laws L2 (chunking), L3 (bytes), L4 (order), L8 (bounds), L9
//! (total), L10 (progress).
//!
//! The model is a list of decisions in the order they were taken. A decision may move when every
//! earlier one of its source and every earlier one of its destination is done; nothing else is known to it.
//!
//! Operations take any numbers and mean something in every state, so that a failing schedule shrinks.

use pgturnout::ledger::{Fate, Full, Ledger, LedgerLimits, Misuse, Port, SourceEnd, Transmit};
use proptest::prelude::*;

/// Tag, number of the source, number of the frame, length of the frame: enough to check a stream on its own.
const HEADER: usize = 5;
/// The source number in frames that the ledger owns.
const OURS: u8 = 0xF0;

#[derive(Debug, Clone, Copy)]
enum Op {
    /// The peer's bytes arrive, as many as the driver's buffer takes.
    Arrive { port: u8, max: u8 },
    /// The next frame, or several, get a fate, if a header is there to decide by.
    Decide { port: u8, fate: u8, run: u8 },
    /// A frame of our own.
    Push { port: u8, len: u8 },
    /// One partial write.
    Send { port: u8, max: u8 },
    /// The driver drops what may be dropped.
    Drop { port: u8, max: u8 },
    /// The peer's stream ends where it is.
    EndSource { port: u8 },
    /// The peer takes no more.
    EndDestination { port: u8 },
    /// The port serves a new connection.
    Reset { port: u8 },
    /// More is reported as sent than was offered.
    Overreport { port: u8, by: u8 },
    /// Ports that do not exist.
    Unknown { port: u8 },
}

#[derive(Debug, Clone)]
struct Scenario {
    ports: u8,
    buffer: usize,
    limits: LedgerLimits,
    /// Lengths of the frames that every source sends, in a circle.
    frames: Vec<usize>,
    ops: Vec<Op>,
}

/// The driver's side of one peer.
#[derive(Default)]
struct Peer {
    /// Frames this source has begun, over all its connections.
    frames: usize,
    /// What the peer has still to send of the frame that is arriving.
    wire: Vec<u8>,
    buffer: Vec<u8>,
    /// Frames whose first byte arrived and that are not decided.
    undecided: Vec<Vec<u8>>,
    ended: bool,
    /// What it received.
    received: Vec<u8>,
    expected: Vec<u8>,
    /// Whose byte it received last; `None` for one of ours or none at all.
    latest: Option<usize>,
    torn: bool,
    gone: bool,
    /// The start of its newest frame is known: nothing was rolled back since.
    newest_known: bool,
    claimed: u64,
    released: u64,
}

/// One fate taken, or one frame of our own (`from` is `None`).
#[derive(Debug)]
struct Decision {
    from: Option<usize>,
    to: Option<usize>,
    bytes: Vec<u8>,
    done: usize,
}

impl Decision {
    fn left(&self) -> usize {
        self.bytes.len() - self.done
    }
}

struct World {
    limits: LedgerLimits,
    buffer: usize,
    lengths: Vec<usize>,
    ledger: Ledger,
    peers: Vec<Peer>,
    /// In the order taken; those done are removed.
    decisions: Vec<Decision>,
    pushed: usize,
}

fn port(index: usize) -> Port {
    Port::new(u8::try_from(index).unwrap())
}

fn frame(source: u8, number: usize, len: usize) -> Vec<u8> {
    let len = len.max(HEADER);
    let number = u16::try_from(number % 0x1_0000).unwrap().to_be_bytes();
    let declared = u16::try_from(len).unwrap().to_be_bytes();
    let mut bytes = vec![source, number[0], number[1], declared[0], declared[1]];
    while bytes.len() < len {
        let salt = bytes.len() * 31 + usize::from(number[1]) * 7 + usize::from(source) * 101;
        bytes.push(u8::try_from(salt % 251).unwrap());
    }
    bytes
}

impl World {
    fn new(scenario: &Scenario) -> World {
        World {
            limits: scenario.limits,
            buffer: scenario.buffer,
            lengths: scenario.frames.clone(),
            ledger: Ledger::new(scenario.ports, scenario.limits),
            peers: (0..scenario.ports).map(|_| Peer::default()).collect(),
            decisions: Vec::new(),
            pushed: 0,
        }
    }

    fn pick(&self, number: u8) -> usize {
        usize::from(number) % self.peers.len()
    }

    /// Everything that `Debug` shows: it must not change where a call is refused.
    fn picture(&self) -> String {
        format!("{:?}", self.ledger)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Arrive { port, max } => self.arrive(self.pick(port), usize::from(max)),
            Op::Decide { port, fate, run } => {
                let to = usize::from(fate) % (self.peers.len() + 1);
                let to = (to < self.peers.len()).then_some(to);
                self.decide(self.pick(port), to, 1 + usize::from(run % 4));
            }
            Op::Push { port, len } => self.push(self.pick(port), usize::from(len)),
            Op::Send { port, max } => {
                self.send(self.pick(port), usize::from(max).max(1));
            }
            Op::Drop { port, max } => {
                self.drop_discarded(self.pick(port), usize::from(max));
            }
            Op::EndSource { port } => self.end_source(self.pick(port)),
            Op::EndDestination { port } => self.end_destination(self.pick(port)),
            Op::Reset { port } => self.reset(self.pick(port)),
            Op::Overreport { port, by } => self.overreport(self.pick(port), u64::from(by) + 1),
            Op::Unknown { port } => self.unknown(port),
        }
        self.check();
    }

    fn arrive(&mut self, p: usize, max: usize) {
        let (buffer, lengths) = (self.buffer, &self.lengths);
        let peer = &mut self.peers[p];
        if peer.ended {
            return;
        }
        for _ in 0..max {
            if peer.buffer.len() == buffer {
                return;
            }
            if peer.wire.is_empty() {
                let len = lengths[peer.frames % lengths.len()];
                peer.wire = frame(u8::try_from(p).unwrap(), peer.frames, len);
                peer.frames += 1;
                peer.undecided.push(peer.wire.clone());
            }
            peer.buffer.push(peer.wire.remove(0));
        }
    }

    fn decide(&mut self, p: usize, to: Option<usize>, run: usize) {
        let fate = to.map_or(Fate::Discard, |to| Fate::To(port(to)));
        let start = usize::try_from(self.ledger.claimed(port(p))).unwrap();
        // A frame can be decided when its header is there; the frames before it in the run are there whole.
        let (mut total, mut count) = (0, 0);
        for bytes in self.peers[p].undecided.iter().take(run) {
            if self.peers[p].buffer.len() < start + total + HEADER {
                break;
            }
            total += bytes.len();
            count += 1;
        }
        if count == 0 {
            return;
        }
        let last = self.peers[p].undecided[count - 1].len();
        let room = self.ledger.room(port(p), fate);
        let before = self.picture();
        let claimed = if count == 1 {
            self.ledger.claim(port(p), fate, len(last))
        } else {
            self.ledger.claim_run(port(p), fate, len(total), len(last))
        };
        assert_eq!(room, claimed.is_ok(), "room must foretell the claim");
        if claimed == Err(Full) {
            assert_eq!(before, self.picture(), "a refusal must change nothing");
            self.check_full(Some(p), to);
            return;
        }
        let gone = to.is_some_and(|to| self.peers[to].gone);
        for bytes in self.peers[p].undecided.drain(..count) {
            self.decisions.push(Decision {
                from: Some(p),
                to: if gone { None } else { to },
                bytes,
                done: 0,
            });
        }
        self.peers[p].claimed += len(total);
        self.peers[p].newest_known = true;
        if self.peers[p].ended {
            self.judge_end(p);
        }
    }

    fn push(&mut self, to: usize, size: usize) {
        let bytes = frame(OURS, self.pushed, size);
        let room = self.ledger.room_for(port(to), bytes.len());
        let before = self.picture();
        let pushed = self.ledger.push(port(to), &bytes);
        assert_eq!(room, pushed.is_ok(), "room_for must foretell the push");
        if pushed == Err(Full) {
            assert_eq!(before, self.picture(), "a refusal must change nothing");
            if self.owned(to) + bytes.len() <= self.limits.owned_bytes_per_queue {
                self.check_full(None, Some(to));
            }
            return;
        }
        self.pushed += 1;
        if !self.peers[to].gone {
            self.decisions.push(Decision {
                from: None,
                to: Some(to),
                bytes,
                done: 0,
            });
        }
    }

    /// A queue can only be at its limit if it holds that many undone decisions.
    fn check_full(&self, from: Option<usize>, to: Option<usize>) {
        let limit = self.limits.segments_per_queue;
        let of_source = self
            .decisions
            .iter()
            .filter(|d| d.from.is_some() && d.from == from);
        let of_destination = self
            .decisions
            .iter()
            .filter(|d| d.to.is_some() && d.to == to);
        assert!(
            of_source.count() >= limit || of_destination.count() >= limit,
            "refused with room in both queues"
        );
    }

    /// Index of the decision that may move to `to` now.
    fn movable(&self, to: usize) -> Option<usize> {
        let index = self.decisions.iter().position(|d| d.to == Some(to))?;
        let from = self.decisions[index].from;
        let blocked = from.is_some() && self.decisions[..index].iter().any(|d| d.from == from);
        (!blocked).then_some(index)
    }

    /// Bytes that follow each other at the heads of both queues: of whole frames, or of our own.
    fn movable_run(&self, to: usize, first: usize) -> usize {
        let from = self.decisions[first].from;
        self.decisions[first..]
            .iter()
            .filter(|d| d.to == Some(to) || (from.is_some() && d.from == from))
            .take_while(|d| d.to == Some(to) && d.from == from)
            .map(Decision::left)
            .sum()
    }

    /// One partial write of at most `max` bytes; whether it moved anything.
    fn send(&mut self, to: usize, max: usize) -> bool {
        let (from, bytes) = match self.ledger.poll_transmit(port(to)) {
            None => return false,
            Some(Transmit::Owned(bytes)) => (None, bytes[..bytes.len().min(max)].to_vec()),
            Some(Transmit::Splice { from, max: most }) => {
                let buffer = &mut self.peers[from.index()].buffer;
                let n = buffer.len().min(max).min(usize::try_from(most).unwrap());
                (Some(from.index()), buffer.drain(..n).collect())
            }
        };
        self.ledger.transmitted(port(to), len(bytes.len())).unwrap();
        if let Some(from) = from {
            self.peers[from].released += len(bytes.len());
        }
        self.peers[to].received.extend(&bytes);
        if !bytes.is_empty() {
            self.peers[to].latest = from;
        }
        // The model sends its own copy of the same number of bytes.
        for _ in 0..bytes.len() {
            let index = self.movable(to).expect("the model has nothing to send");
            let decision = &mut self.decisions[index];
            assert_eq!(decision.from, from, "another source's turn");
            self.peers[to].expected.push(decision.bytes[decision.done]);
            self.advance(index, 1);
        }
        assert_eq!(self.peers[to].received, self.peers[to].expected);
        !bytes.is_empty()
    }

    fn advance(&mut self, index: usize, by: usize) {
        let decision = &mut self.decisions[index];
        decision.done += by;
        if decision.left() == 0 {
            self.decisions.remove(index);
        }
    }

    /// Drops what may be dropped of the first `max` bytes of the buffer; whether it moved anything.
    fn drop_discarded(&mut self, p: usize, max: usize) -> bool {
        let available = self.peers[p].buffer.len().min(max);
        let taken = self.ledger.take_discard(port(p), available);
        let mut left = available;
        while left > 0 {
            let Some(index) = self.decisions.iter().position(|d| d.from == Some(p)) else {
                break;
            };
            if self.decisions[index].to.is_some() {
                break;
            }
            let n = self.decisions[index].left().min(left);
            let bytes: Vec<u8> = self.peers[p].buffer.drain(..n).collect();
            let done = self.decisions[index].done;
            assert_eq!(bytes, self.decisions[index].bytes[done..done + n]);
            self.advance(index, n);
            left -= n;
        }
        assert_eq!(taken, available - left, "bytes to discard");
        self.peers[p].released += len(taken);
        taken > 0
    }

    fn end_source(&mut self, p: usize) {
        self.peers[p].ended = true;
        self.peers[p].wire.clear();
        self.judge_end(p);
    }

    fn judge_end(&mut self, p: usize) {
        let arrived = self.peers[p].buffer.len();
        let outstanding = self.outstanding(p);
        let newest = self.decisions.iter().rposition(|d| d.from == Some(p));
        let expected = match newest {
            Some(index) if outstanding > arrived => {
                let decision = self.decisions.remove(index);
                let bytes = len(decision.left());
                self.peers[p].claimed -= bytes;
                self.peers[p].newest_known = false;
                match decision.to {
                    Some(to) if decision.done > 0 => {
                        self.model_end_destination(to);
                        self.peers[to].torn = true;
                        SourceEnd::Torn { to: port(to) }
                    }
                    to => SourceEnd::RolledBack {
                        to: to.map(port),
                        bytes,
                    },
                }
            }
            _ => SourceEnd::Whole,
        };
        assert_eq!(self.ledger.source_ended(port(p), len(arrived)), expected);
        // Asking again changes nothing.
        let before = self.picture();
        assert_eq!(
            self.ledger.source_ended(port(p), len(arrived)),
            SourceEnd::Whole
        );
        assert_eq!(before, self.picture());
        if expected != SourceEnd::Whole {
            // What is left of the frame stays with the driver, undecided for ever.
            self.peers[p].undecided.clear();
        }
    }

    fn end_destination(&mut self, p: usize) {
        self.ledger.destination_ended(port(p));
        self.model_end_destination(p);
    }

    fn model_end_destination(&mut self, p: usize) {
        self.peers[p].gone = true;
        self.decisions
            .retain(|d| d.from.is_some() || d.to != Some(p));
        for decision in &mut self.decisions {
            if decision.to == Some(p) {
                decision.to = None;
            }
        }
    }

    fn reset(&mut self, p: usize) {
        let busy = self
            .decisions
            .iter()
            .any(|d| d.from == Some(p) || d.to == Some(p));
        let before = self.picture();
        if busy {
            assert_eq!(self.ledger.reset(port(p)), Err(Misuse::Busy));
            assert_eq!(before, self.picture());
            return;
        }
        self.ledger.reset(port(p)).unwrap();
        check_stream(&self.peers[p]);
        self.peers[p] = Peer {
            frames: self.peers[p].frames,
            ..Peer::default()
        };
    }

    fn overreport(&mut self, to: usize, by: u64) {
        let offered = match self.ledger.poll_transmit(port(to)) {
            None => 0,
            Some(Transmit::Owned(bytes)) => len(bytes.len()),
            Some(Transmit::Splice { max, .. }) => max,
        };
        let before = self.picture();
        for sent in [offered + by, u64::MAX] {
            let refused = self.ledger.transmitted(port(to), sent);
            assert_eq!(refused, Err(Misuse::TooMuch { sent, offered }));
        }
        assert_eq!(before, self.picture());
    }

    fn unknown(&mut self, number: u8) {
        let known = port(self.pick(number));
        let unknown = Port::new(number.max(u8::try_from(self.peers.len()).unwrap()));
        let before = self.picture();
        assert_eq!(self.ledger.claim(unknown, Fate::To(known), 9), Err(Full));
        assert_eq!(self.ledger.claim(known, Fate::To(unknown), 9), Err(Full));
        assert_eq!(self.ledger.push(unknown, b"lost"), Err(Full));
        assert_eq!(self.ledger.take_discard(unknown, 9), 0);
        assert_eq!(self.ledger.poll_transmit(unknown), None);
        assert_eq!(self.ledger.source_ended(unknown, 0), SourceEnd::Whole);
        assert_eq!(self.ledger.reset(unknown), Err(Misuse::UnknownPort));
        self.ledger.destination_ended(unknown);
        assert_eq!(before, self.picture());
    }

    fn outstanding(&self, p: usize) -> usize {
        let of_source = self.decisions.iter().filter(|d| d.from == Some(p));
        of_source.map(Decision::left).sum()
    }

    fn owned(&self, p: usize) -> usize {
        let ours = self
            .decisions
            .iter()
            .filter(|d| d.from.is_none() && d.to == Some(p));
        ours.map(Decision::left).sum()
    }

    fn check(&self) {
        let mut retained = 0;
        for (p, peer) in self.peers.iter().enumerate() {
            let claimed = self.ledger.claimed(port(p));
            assert_eq!(claimed, len(self.outstanding(p)));
            assert_eq!(peer.claimed, peer.released + claimed, "conservation");
            assert_eq!(self.ledger.is_drained_from(port(p)), claimed == 0);
            let mut of_source = self.decisions.iter().filter(|d| d.from == Some(p));
            let passed_on = of_source.all(|d| d.to.is_none() || d.left() == 0);
            assert_eq!(self.ledger.is_passed_on(port(p)), passed_on);
            assert!(self.owned(p) <= self.limits.owned_bytes_per_queue);
            retained += self.owned(p);
            self.check_entries(p);
            self.check_offer(p);
            self.check_boundary(p);
        }
        assert_eq!(self.ledger.retained(), retained);
        self.check_progress();
    }

    /// Decisions that cannot share an entry with the one before them; a queue never holds more.
    fn check_entries(&self, p: usize) {
        let of_source = self.decisions.iter().filter(|d| d.from == Some(p));
        let mut fates: Vec<_> = of_source.map(|d| d.to).collect();
        fates.dedup();
        let of_destination = self.decisions.iter().filter(|d| d.to == Some(p));
        let mut sources: Vec<_> = of_destination.map(|d| d.from).collect();
        sources.dedup();
        assert!(fates.len().max(sources.len()) <= self.limits.segments_per_queue);
    }

    fn check_offer(&self, to: usize) {
        let model = self.movable(to);
        let queued = self.decisions.iter().any(|d| d.to == Some(to));
        assert_eq!(self.ledger.is_drained_to(port(to)), !queued);
        match (self.ledger.poll_transmit(port(to)), model) {
            (None, None) => {}
            (Some(Transmit::Owned(bytes)), Some(first)) => {
                assert_eq!(self.decisions[first].from, None);
                assert!(!bytes.is_empty() && bytes.len() <= self.movable_run(to, first));
            }
            (Some(Transmit::Splice { from, max }), Some(first)) => {
                let decision = &self.decisions[first];
                assert_eq!(decision.from, Some(from.index()));
                let run = len(self.movable_run(to, first));
                assert!(len(decision.left()) <= max && max <= run);
            }
            (offer, model) => panic!("{to}: the ledger offers {offer:?}, the model {model:?}"),
        }
    }

    /// Never `true` inside a frame; `false` at a boundary only inside a run of frames with one way.
    fn check_boundary(&self, to: usize) {
        let peer = &self.peers[to];
        let boundary = self.ledger.at_boundary(port(to));
        let Some(head) = self.decisions.iter().position(|d| d.to == Some(to)) else {
            assert_eq!(boundary, !peer.gone);
            return;
        };
        let Decision { from, done, .. } = self.decisions[head];
        let later = self.decisions[head + 1..].iter().any(|d| d.from == from);
        if done > 0 {
            assert!(!boundary, "inside a frame");
        } else if peer.received.is_empty() || from != peer.latest {
            assert!(boundary, "nothing of this run was sent");
        } else if from.is_some_and(|from| self.peers[from].newest_known) && !later {
            assert!(boundary, "at the newest frame of its source");
        }
    }

    /// The oldest undone decision can always move as soon as a byte of it is there.
    fn check_progress(&self) {
        let Some(Decision { from, to, .. }) = self.decisions.first() else {
            return;
        };
        if let Some(to) = to {
            assert!(self.ledger.poll_transmit(port(*to)).is_some(), "stuck");
        } else {
            // A discard has no offer to look at; `drop_discarded` compares what is taken.
            assert!(from.is_some());
        }
    }

    /// Lets everything out that can go out: at the end only bytes that never came may be missing.
    fn drain(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for p in 0..self.peers.len() {
                moved |= self.send(p, 7);
                moved |= self.drop_discarded(p, 7);
                self.check();
            }
        }
        for (index, decision) in self.decisions.iter().enumerate() {
            let waits = self.decisions[..index].iter().any(|earlier| {
                (earlier.from.is_some() && earlier.from == decision.from)
                    || (earlier.to.is_some() && earlier.to == decision.to)
            });
            if !waits {
                let from = decision.from.expect("our own frame waits for nothing");
                let source = &self.peers[from];
                assert!(source.buffer.is_empty() && !source.ended, "stuck");
            }
        }
    }

    fn finish(&mut self) {
        self.drain();
        for p in 0..self.peers.len() {
            self.end_source(p);
            self.check();
        }
        self.drain();
        for peer in &self.peers {
            check_stream(peer);
        }
        assert!(self.decisions.is_empty(), "whole frames were held back");
        assert_eq!(self.ledger.retained(), 0);
        for p in 0..self.peers.len() {
            self.ledger.reset(port(p)).unwrap();
        }
    }
}

/// What a peer received, read without the model: whole frames, each source's in order, the last one cut only
/// if the stream was reported torn or the peer stopped taking bytes itself.
fn check_stream(peer: &Peer) {
    let mut rest = &peer.received[..];
    let mut newest = [None::<u16>; 256];
    while let Some(header) = rest.get(..HEADER) {
        let number = u16::from_be_bytes([header[1], header[2]]);
        let size = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let whole = frame(header[0], usize::from(number), size);
        let got = &rest[..size.min(rest.len())];
        assert_eq!(got, &whole[..got.len()], "not the bytes of one frame");
        if let Some(before) = newest[usize::from(header[0])].replace(number) {
            assert!(before < number, "frames of one source out of order");
        }
        if got.len() < size {
            assert!(peer.torn || peer.gone, "a frame was cut");
            return;
        }
        rest = &rest[size..];
    }
    assert!(
        rest.is_empty() || peer.torn || peer.gone,
        "a header was cut"
    );
}

fn len(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

fn run(scenario: &Scenario) {
    let mut world = World::new(scenario);
    for op in &scenario.ops {
        world.apply(*op);
    }
    world.finish();
}

fn op() -> impl Strategy<Value = Op> {
    let byte = any::<u8>;
    prop_oneof![
        8 => (byte(), byte()).prop_map(|(port, max)| Op::Arrive { port, max }),
        8 => (byte(), byte(), byte()).prop_map(|(port, fate, run)| Op::Decide { port, fate, run }),
        3 => (byte(), byte()).prop_map(|(port, len)| Op::Push { port, len: len % 40 }),
        8 => (byte(), byte()).prop_map(|(port, max)| Op::Send { port, max: max % 64 }),
        3 => (byte(), byte()).prop_map(|(port, max)| Op::Drop { port, max }),
        1 => byte().prop_map(|port| Op::EndSource { port }),
        1 => byte().prop_map(|port| Op::EndDestination { port }),
        1 => byte().prop_map(|port| Op::Reset { port }),
        1 => (byte(), byte()).prop_map(|(port, by)| Op::Overreport { port, by }),
        1 => byte().prop_map(|port| Op::Unknown { port }),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (
        1..=4u8,
        6..64usize,
        (1..6usize, 1..120usize),
        proptest::collection::vec(prop_oneof![5..12usize, 5..300usize], 1..8),
        proptest::collection::vec(op(), 0..160),
    )
        .prop_map(|(ports, buffer, (segments, owned), frames, ops)| Scenario {
            ports,
            buffer,
            limits: LedgerLimits {
                segments_per_queue: segments,
                owned_bytes_per_queue: owned,
            },
            frames,
            ops,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_agrees_with_the_model(scenario in scenario()) {
        run(&scenario);
    }
}

/// Xorshift: the schedules below are the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn size(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }

    fn op(&mut self) -> Op {
        let (port, max) = (self.byte(), self.byte());
        match self.below(64) {
            0 => Op::EndSource { port },
            1 => Op::EndDestination { port },
            2 => Op::Reset { port },
            3 => Op::Overreport { port, by: max },
            4 => Op::Unknown { port },
            5..10 => Op::Push {
                port,
                len: max % 40,
            },
            10..16 => Op::Drop { port, max },
            16..32 => Op::Send {
                port,
                max: max % 64,
            },
            32..48 => Op::Arrive { port, max },
            _ => Op::Decide {
                port,
                fate: max,
                run: self.byte(),
            },
        }
    }

    fn scenario(&mut self) -> Scenario {
        Scenario {
            ports: 1 + self.byte() % 4,
            buffer: 6 + self.size(58),
            limits: LedgerLimits {
                segments_per_queue: 1 + self.size(5),
                owned_bytes_per_queue: 1 + self.size(120),
            },
            frames: (0..1 + self.size(6))
                .map(|_| {
                    HEADER
                        + if self.below(2) == 0 {
                            self.size(8)
                        } else {
                            self.size(295)
                        }
                })
                .collect(),
            ops: (0..self.size(120)).map(|_| self.op()).collect(),
        }
    }
}

#[test]
fn thousands_of_seeded_schedules_agree_with_the_model() {
    for seed in 1..=3000 {
        let scenario = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15)).scenario();
        let seeded = std::panic::catch_unwind(|| run(&scenario));
        assert!(seeded.is_ok(), "seed {seed}: {scenario:?}");
    }
}
