//! The ledger against a list of decisions.

use pgturnout::ledger::{Fate, Ledger, LedgerLimits, Port, Transmit};

use super::feed::Feed;

const PORTS: usize = 3;

/// A decision: so many bytes of a source, or of ours, to a destination, or to nobody.
struct Decision {
    from: Option<usize>,
    to: Option<usize>,
    left: u64,
}

/// What goes out is the oldest undone decision of both its source and its destination, whatever the order of calls; a
/// refused call changes nothing; polling changes nothing; nothing is kept past the limits; and what was decided drains.
/// Once a connection has ended, what is left is that nothing panics and that it still drains.
pub(crate) fn ledger(data: &[u8]) {
    let mut feed = Feed::new(data);
    let limits = LedgerLimits {
        segments_per_queue: 1 + feed.below(4),
        owned_bytes_per_queue: feed.below(64),
    };
    let mut game = Game {
        ledger: Ledger::new(u8::try_from(PORTS).expect("few"), limits),
        limits,
        decisions: Vec::new(),
        strict: true,
    };
    while !feed.is_empty() {
        game.step(&mut feed);
        assert!(game.ledger.retained() <= limits.owned_bytes_per_queue * PORTS);
    }
    game.drain();
}

struct Game {
    ledger: Ledger,
    limits: LedgerLimits,
    decisions: Vec<Decision>,
    /// No connection has ended, so that the list tells everything.
    strict: bool,
}

fn port(index: usize) -> Port {
    Port::new(u8::try_from(index).expect("few"))
}

impl Game {
    fn step(&mut self, feed: &mut Feed<'_>) {
        let at = feed.below(PORTS);
        match feed.below(16) {
            0..=4 => self.claim(at, feed),
            5 | 6 => self.push(at, feed),
            7..=10 => self.send(at, u64::from(feed.byte())),
            11 | 12 => self.discard(at, usize::from(feed.byte())),
            13 => {
                let before = self.ledger.claimed(port(at));
                let offered = self.offered(at);
                let too_much = offered.saturating_add(1 + u64::from(feed.byte()));
                assert!(self.ledger.transmitted(port(at), too_much).is_err());
                assert_eq!(
                    before,
                    self.ledger.claimed(port(at)),
                    "refused, but not undone"
                );
            }
            14 => {
                let unknown = port(PORTS + at);
                assert!(self.ledger.claim(unknown, Fate::Discard, 1).is_err());
                assert!(self.ledger.push(unknown, b"x").is_err());
                assert_eq!(self.ledger.poll_transmit(unknown), None);
                assert_eq!(self.ledger.take_discard(unknown, 9), 0);
            }
            _ => self.end(at, feed),
        }
    }

    fn claim(&mut self, at: usize, feed: &mut Feed<'_>) {
        let to = feed.below(PORTS + 1);
        let to = (to < PORTS).then_some(to);
        let len = 1 + u64::from(feed.byte()) * u64::from(feed.byte());
        let fate = to.map_or(Fate::Discard, |to| Fate::To(port(to)));
        let room = self.ledger.room(port(at), fate);
        let claimed = self.ledger.claim(port(at), fate, len);
        assert_eq!(room, claimed.is_ok(), "room and claim disagree");
        if claimed.is_ok() {
            self.decisions.push(Decision {
                from: Some(at),
                to,
                left: len,
            });
        }
    }

    fn push(&mut self, to: usize, feed: &mut Feed<'_>) {
        let bytes = vec![7; feed.below(64)];
        let room = self.ledger.room_for(port(to), bytes.len());
        let pushed = self.ledger.push(port(to), &bytes);
        assert_eq!(room, pushed.is_ok(), "room and push disagree");
        if pushed.is_ok() && !bytes.is_empty() {
            self.decisions.push(Decision {
                from: None,
                to: Some(to),
                left: u64::try_from(bytes.len()).expect("few"),
            });
        }
    }

    /// The decisions that may be sent to `to` now: the oldest, if it is also its source's oldest, and what follows it
    /// in both.
    fn allowed(&self, to: usize) -> Option<(Option<usize>, u64)> {
        let mine = |decision: &&Decision| decision.left > 0 && decision.to == Some(to);
        let oldest = self.decisions.iter().find(mine)?;
        let Some(from) = oldest.from else {
            return Some((None, oldest.left));
        };
        let theirs = |decision: &&Decision| decision.left > 0 && decision.from == Some(from);
        let first = self.decisions.iter().find(theirs)?;
        std::ptr::eq(first, oldest).then_some((Some(from), oldest.left))
    }

    fn offered(&self, to: usize) -> u64 {
        match self.ledger.poll_transmit(port(to)) {
            None => 0,
            Some(Transmit::Owned(bytes)) => u64::try_from(bytes.len()).expect("few"),
            Some(Transmit::Splice { max, .. }) => max,
        }
    }

    fn send(&mut self, to: usize, most: u64) {
        let offer = self.ledger.poll_transmit(port(to));
        assert_eq!(
            offer,
            self.ledger.poll_transmit(port(to)),
            "polling changes nothing"
        );
        let from = match offer {
            Some(Transmit::Splice { from, .. }) => Some(from.index()),
            Some(Transmit::Owned(_)) | None => None,
        };
        let offered = self.offered(to);
        assert_eq!(offer.is_some(), offered > 0, "an empty offer");
        if self.strict {
            match self.allowed(to) {
                None => assert_eq!(offer, None, "out of turn"),
                Some((source, left)) => {
                    assert_eq!(from, source, "from another source");
                    // What is ours may be offered in two pieces.
                    assert!(
                        source.is_none() || offered >= left,
                        "less than the decision"
                    );
                }
            }
        }
        let n = offered.min(most);
        self.ledger.transmitted(port(to), n).expect("as offered");
        self.settle(|decision| decision.to == Some(to), n);
    }

    fn discard(&mut self, from: usize, most: usize) {
        let n = self.ledger.take_discard(port(from), most);
        assert!(n <= most, "more than there is");
        let n = u64::try_from(n).expect("few");
        if self.strict && n > 0 {
            let theirs = |decision: &&Decision| decision.left > 0 && decision.from == Some(from);
            let first = self.decisions.iter().find(theirs);
            assert!(
                first.is_some_and(|decision| decision.to.is_none()),
                "not its turn"
            );
        }
        self.settle(|decision| decision.from == Some(from), n);
    }

    /// Takes `n` bytes off the oldest decisions that match.
    fn settle(&mut self, matches: impl Fn(&Decision) -> bool, mut n: u64) {
        for decision in self
            .decisions
            .iter_mut()
            .filter(|decision| matches(decision))
        {
            let taken = n.min(decision.left);
            decision.left -= taken;
            n -= taken;
        }
        assert!(n == 0 || !self.strict, "{n} bytes that nobody decided");
        self.decisions.retain(|decision| decision.left > 0);
    }

    fn end(&mut self, at: usize, feed: &mut Feed<'_>) {
        self.strict = false;
        match feed.below(3) {
            0 => self.ledger.destination_ended(port(at)),
            1 => {
                let arrived = u64::from(feed.byte());
                let _ = self.ledger.source_ended(port(at), arrived);
                assert!(
                    self.ledger.claimed(port(at)) <= arrived,
                    "claims what never came"
                );
            }
            _ => {
                let idle =
                    self.ledger.is_drained_to(port(at)) && self.ledger.is_drained_from(port(at));
                assert_eq!(self.ledger.reset(port(at)).is_ok(), idle);
            }
        }
    }

    fn drain(&mut self) {
        // Each round finishes an entry at least.
        for _ in 0..2 + 2 * PORTS * self.limits.segments_per_queue {
            for at in 0..PORTS {
                self.send(at, u64::MAX);
                self.discard(at, usize::MAX);
            }
        }
        for at in 0..PORTS {
            assert!(
                self.ledger.is_drained_to(port(at)),
                "stuck: {:?}",
                self.ledger
            );
            assert!(
                self.ledger.is_drained_from(port(at)),
                "stuck: {:?}",
                self.ledger
            );
        }
        assert_eq!(self.ledger.retained(), 0);
    }
}
