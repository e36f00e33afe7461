//! The two kinds of queue that a ledger keeps in step: what becomes of a source's bytes, what a destination is sent.

use std::collections::VecDeque;

use super::owned::{OwnedBytes, reserve_within, shrink_idle};
use super::{Fate, Port};
use crate::limits;

/// What becomes of the bytes of one port, oldest first.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) runs: VecDeque<Run>,
    /// Sum of the runs.
    pub(super) claimed: u64,
    /// Length of the newest frame, which is the end of the newest run. It exceeds `claimed` if part of that
    /// frame was released.
    pub(super) newest: u64,
}

/// Whole frames with one fate; `len` bytes of them are not yet released. Never 0.
///
/// The runs of a source to one destination and the splices from that source in the queue of that destination
/// are the same entries in the same order; the length is kept here only.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) fate: Fate,
    pub(super) len: u64,
}

impl Source {
    pub(super) fn append(&mut self, run: Run, limit: usize) {
        reserve_within(&mut self.runs, 1, limit);
        self.runs.push_back(run);
    }

    pub(super) fn lengthen_newest_run(&mut self, by: u64) {
        if let Some(run) = self.runs.back_mut() {
            run.len = run.len.saturating_add(by);
        }
    }

    /// Releases `n` bytes of the oldest run, and says whether that was the rest of it.
    pub(super) fn release(&mut self, n: u64) -> bool {
        let Some(run) = self.runs.front_mut() else {
            return false;
        };
        run.len = run.len.saturating_sub(n);
        self.claimed = self.claimed.saturating_sub(n);
        if run.len > 0 {
            return false;
        }
        self.runs.pop_front();
        shrink_idle(&mut self.runs, limits::LEDGER_IDLE_SEGMENTS);
        true
    }

    /// Turns each run to `to` into a discard, joined with the discards beside it.
    pub(super) fn discard_all_to(&mut self, to: Port) {
        for turn in 0..self.runs.len() {
            let Some(mut run) = self.runs.pop_front() else {
                break;
            };
            if run.fate == Fate::To(to) {
                run.fate = Fate::Discard;
            }
            match self.runs.back_mut() {
                // On the first turn the back is the newest run, not the neighbour.
                Some(back) if turn > 0 && back.fate == run.fate && run.fate == Fate::Discard => {
                    back.len = back.len.saturating_add(run.len);
                }
                Some(_) | None => self.runs.push_back(run),
            }
        }
    }
}

/// What a port may be sent.
#[derive(Debug)]
pub(super) enum Destination {
    /// It takes what is queued.
    Open(Queue),
    /// It takes nothing more.
    Ended,
}

/// What one port is sent, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) segments: VecDeque<Segment>,
    /// The bytes of the `Owned` segments, in their order.
    pub(super) owned: OwnedBytes,
    /// Bytes of the oldest segment that were sent.
    pub(super) sent: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    Owned { len: usize },
    Splice { from: Port },
}

impl Queue {
    pub(super) fn append(&mut self, segment: Segment, limit: usize) {
        reserve_within(&mut self.segments, 1, limit);
        self.segments.push_back(segment);
    }

    /// Forgets the oldest segment, all of which was sent.
    pub(super) fn pop(&mut self) {
        self.segments.pop_front();
        self.sent = 0;
        shrink_idle(&mut self.segments, limits::LEDGER_IDLE_SEGMENTS);
    }

    /// Releases `n` bytes of the oldest segment, which is an owned one, and says whether that was the rest of it.
    pub(super) fn release_owned(&mut self, n: u64) -> bool {
        let Some(Segment::Owned { len }) = self.segments.front_mut() else {
            return false;
        };
        let n = usize::try_from(n).unwrap_or(*len).min(*len);
        *len = len.saturating_sub(n);
        let done = *len == 0;
        self.owned.release(n);
        done
    }

    pub(super) fn remove_newest_splice(&mut self, from: Port) {
        let newest = Segment::Splice { from };
        let Some(index) = self.segments.iter().rposition(|segment| *segment == newest) else {
            return;
        };
        self.segments.remove(index);
        if index == 0 {
            self.sent = 0;
        }
    }
}
