//! What is left to send, and whether anything is.

use super::queue::{Destination, Segment};
use super::{Fate, Ledger, Port};

impl Ledger {
    /// Whether `to` stands between two whole frames, so that closing it now cuts none.
    ///
    /// `false` may also mean that it stands between two frames of one run, whose inner boundaries are not kept.
    /// A destination that has ended is never at a boundary: nothing may be put behind what it got.
    pub fn at_boundary(&self, to: Port) -> bool {
        let Some(queue) = self.queue(to) else {
            return false;
        };
        queue.sent == 0
            || match queue.segments.front() {
                None => true,
                Some(Segment::Owned { .. }) => false,
                Some(Segment::Splice { from }) => self
                    .source(*from)
                    .is_some_and(|source| source.claimed == source.newest),
            }
    }

    /// Whether nothing is queued to `to`.
    pub fn is_drained_to(&self, to: Port) -> bool {
        self.queue(to).is_none_or(|queue| queue.segments.is_empty())
    }

    /// How many bytes are queued for `to`, those of a frame that has yet to arrive among them.
    pub fn queued(&self, to: Port) -> u64 {
        let owned = self.queue(to).map_or(0, |queue| queue.owned.len());
        let runs = self.sources.iter().flat_map(|source| &source.runs);
        let spliced = runs.filter(|run| run.fate == Fate::To(to));
        let owned = u64::try_from(owned).unwrap_or(u64::MAX);
        spliced.fold(owned, |sum, run| sum.saturating_add(run.len))
    }

    /// Whether nothing of `from` is claimed.
    pub fn is_drained_from(&self, from: Port) -> bool {
        self.claimed(from) == 0
    }

    /// Whether nothing of `from` has to be sent anywhere: what is claimed of it is discarded.
    pub fn is_passed_on(&self, from: Port) -> bool {
        self.source(from)
            .is_none_or(|source| source.runs.iter().all(|run| run.fate == Fate::Discard))
    }

    /// Bytes of our own in all queues.
    pub fn retained(&self) -> usize {
        self.destinations
            .iter()
            .fold(0, |sum: usize, destination| match destination {
                Destination::Open(queue) => sum.saturating_add(queue.owned.len()),
                Destination::Ended => sum,
            })
    }
}
