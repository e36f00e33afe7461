//! Which bytes of which source go to which destination, in what order; knows no protocol.
//!
//! The bytes that pass through stay in the driver's buffers. The ledger holds their *fates*: per source a queue of
//! what happens to its bytes, per destination a queue of what it is sent. An entry may be sent only while it is at
//! the head of both its queues. Every decision appends to both at the moment it is taken, so both are in
//! decision order, the oldest undone entry is at the head of both, and nothing waits for anything but its socket.
//!
//! ```text
//!   driver's buffer of 0          fates of 0                      queue to 1
//!   [ frame frame fra             [ To(1) 70 | Discard 12 ]       [ Owned 9 | Splice{from 0} | Splice{from 2} ]
//! ```
//!
//! A claim is whole frames and may exceed what has arrived: a frame of 1 GiB costs one entry, and the memory of a
//! relay is its fixed buffers whatever the frame sizes. Bytes of our own are pushed behind what is queued, so they
//! never land inside a claimed frame.
//!
//! Calls that make no sense (an unknown port, a count larger than offered) change nothing and answer what an
//! empty queue would; none panics.
//!
//! # Example
//!
//! ```
//! use pgturnout::ledger::{Fate, Ledger, LedgerLimits, Port, Transmit};
//!
//! let (client, server) = (Port::new(0), Port::new(1));
//! let mut ledger = Ledger::new(2, LedgerLimits::default());
//!
//! // Nine bytes of a frame of twelve are in the driver's buffer, which is enough to know where it goes.
//! ledger.claim(server, Fate::To(client), 12)?;
//! ledger.push(client, b"ours")?;
//!
//! assert_eq!(ledger.poll_transmit(client), Some(Transmit::Splice { from: server, max: 12 }));
//! ledger.transmitted(client, 9)?; // the driver wrote what it had, and dropped it from its buffer
//! assert_eq!(ledger.poll_transmit(client), Some(Transmit::Splice { from: server, max: 3 }));
//! ledger.transmitted(client, 3)?;
//! assert_eq!(ledger.poll_transmit(client), Some(Transmit::Owned(b"ours")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod left;
mod owned;
mod queue;

use std::fmt;
use std::mem;

use crate::limits;
use queue::{Destination, Queue, Run, Segment, Source};

/// One peer of a [`Ledger`]: a source of bytes and a destination at the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port(u8);

impl Port {
    /// The port with this index. A ledger knows the indices below the count it was made with.
    pub const fn new(index: u8) -> Port {
        Port(index)
    }

    /// The index, for tables kept beside the ledger.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What happens to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is sent to this port, unchanged.
    To(Port),
    /// It is dropped from the driver's buffer. A discard waits for no destination.
    Discard,
}

/// What may be sent to a destination now; see [`Ledger::poll_transmit`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Transmit<'a> {
    /// Bytes the ledger holds. Never empty; more of the same frame may follow.
    Owned(&'a [u8]),
    /// The front of `from`'s buffer, as much of it as has arrived but no more than `max` bytes (never 0).
    Splice {
        /// Whose buffer.
        from: Port,
        /// Bytes that may be sent before the ledger has to be asked again.
        max: u64,
    },
}

impl fmt::Debug for Transmit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transmit::Owned(bytes) => write!(f, "Owned({} bytes)", bytes.len()),
            Transmit::Splice { from, max } => f
                .debug_struct("Splice")
                .field("from", from)
                .field("max", max)
                .finish(),
        }
    }
}

/// How a source ended; see [`Ledger::source_ended`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum SourceEnd {
    /// Every claimed frame has arrived whole.
    Whole,
    /// The newest frame is incomplete and nothing of it was sent: its claim is undone.
    RolledBack {
        /// Where it would have gone; `None` if it was to be discarded.
        to: Option<Port>,
        /// Bytes that are no longer claimed.
        bytes: u64,
    },
    /// The newest frame is incomplete and part of it was sent: this destination must close without another byte.
    Torn {
        /// The destination. The ledger has ended it, as [`Ledger::destination_ended`] does.
        to: Port,
    },
}

/// A queue is at its limit, or a port is not known. Nothing was changed.
///
/// An ordinary answer: stop deciding until something was sent or discarded. Only a push longer than
/// [`LedgerLimits::owned_bytes_per_queue`] will never fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the queue is at its limit")]
pub struct Full;

/// The driver reported what cannot have happened. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misuse {
    /// More bytes were reported as sent than were offered.
    #[error("{sent} bytes were reported as sent, {offered} were offered")]
    TooMuch {
        /// Bytes reported.
        sent: u64,
        /// Bytes that [`Ledger::poll_transmit`] offered.
        offered: u64,
    },
    /// A port was reset that still has something queued from or to it.
    #[error("the port still has something queued")]
    Busy,
    /// The ledger has no such port.
    #[error("no such port")]
    UnknownPort,
}

/// Bounds of the queues of a [`Ledger`]; each port has one queue as a source and one as a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerLimits {
    /// Entries in one queue, at least 1. Neighbouring frames with the same way share an entry.
    pub segments_per_queue: usize,
    /// Bytes of our own waiting for one destination; also the longest push that can ever fit.
    pub owned_bytes_per_queue: usize,
}

impl LedgerLimits {
    /// Bytes of memory that a ledger with `ports` ports never exceeds.
    pub fn memory_bound(&self, ports: u8) -> usize {
        let entry = mem::size_of::<Run>().saturating_add(mem::size_of::<Segment>());
        let port = mem::size_of::<Source>().saturating_add(mem::size_of::<Destination>());
        self.segments_per_queue
            .saturating_mul(entry)
            .saturating_add(self.owned_bytes_per_queue)
            .saturating_add(port)
            .saturating_mul(usize::from(ports))
            .saturating_add(mem::size_of::<Ledger>())
    }
}

impl Default for LedgerLimits {
    fn default() -> LedgerLimits {
        LedgerLimits {
            segments_per_queue: limits::LEDGER_SEGMENTS_PER_QUEUE,
            owned_bytes_per_queue: limits::LEDGER_OWNED_PER_QUEUE,
        }
    }
}

/// The order of bytes between a fixed number of ports. See the [module page](self).
#[derive(Debug)]
pub struct Ledger {
    limits: LedgerLimits,
    sources: Box<[Source]>,
    destinations: Box<[Destination]>,
}

impl Ledger {
    /// A ledger for the ports 0 to `ports` − 1, with nothing queued. Memory is taken when it is needed.
    pub fn new(ports: u8, limits: LedgerLimits) -> Ledger {
        Ledger {
            limits,
            sources: (0..ports).map(|_| Source::default()).collect(),
            destinations: (0..ports)
                .map(|_| Destination::Open(Queue::default()))
                .collect(),
        }
    }

    /// Gives the next frame of `from` its fate. `frame_len` is the whole frame, arrived or not; 0 claims nothing.
    ///
    /// A frame to a destination that has ended is discarded.
    ///
    /// # Errors
    ///
    /// [`Full`] if [`Ledger::room`] says so, or if the claims of `from` would exceed `u64::MAX` bytes.
    pub fn claim(&mut self, from: Port, fate: Fate, frame_len: u64) -> Result<(), Full> {
        self.claim_run(from, fate, frame_len, frame_len)
    }

    /// Gives a run of whole frames of `from` one fate, as a [`claim`](Ledger::claim) of each would.
    ///
    /// `total` bytes are claimed, the last `last` of which are the newest frame: the only one that may not have
    /// arrived whole, and therefore the one that [`Ledger::source_ended`] may have to undo.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::claim`]; none of the run is claimed then.
    pub fn claim_run(&mut self, from: Port, fate: Fate, total: u64, last: u64) -> Result<(), Full> {
        if total == 0 {
            return Ok(());
        }
        let (fate, place) = self.place(from, fate)?;
        let source = self.sources.get_mut(from.index()).ok_or(Full)?;
        let claimed = source.claimed.checked_add(total).ok_or(Full)?;
        match place {
            Place::Join => source.lengthen_newest_run(total),
            Place::Append => {
                if let Fate::To(to) = fate {
                    let queue = open_queue(&mut self.destinations, to).ok_or(Full)?;
                    queue.append(Segment::Splice { from }, self.limits.segments_per_queue);
                }
                source.append(Run { fate, len: total }, self.limits.segments_per_queue);
            }
        }
        source.claimed = claimed;
        source.newest = last.min(total);
        Ok(())
    }

    /// Queues a copy of `bytes` for `to`: whole frames of our own. Empty `bytes` queue nothing.
    ///
    /// Bytes for a destination that has ended are dropped.
    ///
    /// # Errors
    ///
    /// [`Full`] if [`Ledger::room_for`] says so.
    pub fn push(&mut self, to: Port, bytes: &[u8]) -> Result<(), Full> {
        if !self.room_for(to, bytes.len()) {
            return Err(Full);
        }
        let Some(queue) = open_queue(&mut self.destinations, to) else {
            return Ok(());
        };
        if bytes.is_empty() {
            return Ok(());
        }
        queue.owned.push(bytes, self.limits.owned_bytes_per_queue);
        match queue.segments.back_mut() {
            Some(Segment::Owned { len }) => *len = len.saturating_add(bytes.len()),
            Some(Segment::Splice { .. }) | None => queue.append(
                Segment::Owned { len: bytes.len() },
                self.limits.segments_per_queue,
            ),
        }
        Ok(())
    }

    /// Whether a claim of a frame of `from` with this fate fits now.
    pub fn room(&self, from: Port, fate: Fate) -> bool {
        self.place(from, fate).is_ok()
    }

    /// Whether a claim of a frame of `from` to `to` fits now and leaves an entry for a push behind it.
    pub fn room_before_push(&self, from: Port, to: Port) -> bool {
        let Ok((_, place)) = self.place(from, Fate::To(to)) else {
            return false;
        };
        let taken = match place {
            Place::Join => 0,
            Place::Append => 1,
        };
        self.queue(to).is_none_or(|queue| {
            queue.segments.len().saturating_add(taken) < self.limits.segments_per_queue
        })
    }

    /// Whether a push of `len` bytes to `to` fits now.
    pub fn room_for(&self, to: Port, len: usize) -> bool {
        match self.destinations.get(to.index()) {
            None => false,
            Some(Destination::Ended) => true,
            Some(Destination::Open(queue)) => {
                let entry = match queue.segments.back() {
                    Some(Segment::Owned { .. }) => true,
                    Some(Segment::Splice { .. }) | None => {
                        len == 0 || queue.segments.len() < self.limits.segments_per_queue
                    }
                };
                entry && queue.owned.fits(len, self.limits.owned_bytes_per_queue)
            }
        }
    }

    /// Whether a push of `len` bytes to `to` and, behind it, a claim of a frame of `from` to it fit now, both.
    pub fn room_for_both(&self, to: Port, len: usize, from: Port) -> bool {
        let fits = |held: usize| held < self.limits.segments_per_queue;
        let splice = match self.destinations.get(to.index()) {
            None | Some(Destination::Ended) => true,
            Some(Destination::Open(queue)) => match queue.segments.back() {
                Some(Segment::Owned { .. }) => fits(queue.segments.len()),
                Some(Segment::Splice { .. }) | None => fits(queue.segments.len().saturating_add(1)),
            },
        };
        let run = self
            .source(from)
            .is_some_and(|source| fits(source.runs.len()));
        self.room_for(to, len) && splice && run
    }

    /// Bytes of `from` that are claimed and not yet released: the offset in the driver's buffer of the first
    /// byte that is undecided. It exceeds the buffer while a claimed frame is still arriving.
    pub fn claimed(&self, from: Port) -> u64 {
        self.source(from).map_or(0, |source| source.claimed)
    }

    /// What may be sent to `to` now, or `None` if nothing is queued or its turn has not come.
    ///
    /// Changes nothing: report with [`Ledger::transmitted`] what was written.
    pub fn poll_transmit(&self, to: Port) -> Option<Transmit<'_>> {
        let queue = self.queue(to)?;
        match *queue.segments.front()? {
            Segment::Owned { len } => Some(Transmit::Owned(queue.owned.front(len))),
            Segment::Splice { from } => {
                let run = self.source(from)?.runs.front()?;
                (run.fate == Fate::To(to)).then_some(Transmit::Splice { from, max: run.len })
            }
        }
    }

    /// `n` bytes of what [`Ledger::poll_transmit`] offers were written to `to`; those of a splice are
    /// released, and the driver drops them from the front of the source's buffer.
    ///
    /// # Errors
    ///
    /// [`Misuse::TooMuch`] if fewer than `n` bytes are offered.
    pub fn transmitted(&mut self, to: Port, n: u64) -> Result<(), Misuse> {
        let (offered, from) = match self.poll_transmit(to) {
            None => (0, None),
            Some(Transmit::Owned(bytes)) => (length(bytes), None),
            Some(Transmit::Splice { from, max }) => (max, Some(from)),
        };
        if n > offered {
            return Err(Misuse::TooMuch { sent: n, offered });
        }
        let Some(queue) = open_queue(&mut self.destinations, to) else {
            return Ok(());
        };
        let done = match from {
            Some(from) => match self.sources.get_mut(from.index()) {
                Some(source) => source.release(n),
                None => false,
            },
            None => queue.release_owned(n),
        };
        if done {
            queue.pop();
        } else {
            queue.sent = queue.sent.saturating_add(n);
        }
        Ok(())
    }

    /// Bytes to drop now from the front of `from`'s buffer, which holds `available` bytes; they are released.
    pub fn take_discard(&mut self, from: Port, available: usize) -> usize {
        let Some(source) = self.sources.get_mut(from.index()) else {
            return 0;
        };
        // Neighbouring discards are one run, so there is no second one behind it.
        let n = match source.runs.front() {
            Some(Run {
                fate: Fate::Discard,
                len,
            }) => usize::try_from(*len).map_or(available, |len| len.min(available)),
            Some(Run {
                fate: Fate::To(_), ..
            })
            | None => 0,
        };
        source.release(u64::try_from(n).unwrap_or(u64::MAX));
        n
    }

    /// `from` will send nothing more; `arrived` bytes of it are still in the driver's buffer.
    ///
    /// Only the newest frame can be incomplete, because a frame is claimed when its header has arrived. If it
    /// is and nothing of it was sent, its claim is undone and the ledger goes on as if it had never been made:
    /// whole frames still go out, and a message of our own can take its place. If part of it was sent, no
    /// message can follow on that destination, and the ledger ends it. An incomplete frame that
    /// was being discarded harms nobody and counts as rolled back.
    ///
    /// Frames that arrived whole but were not claimed yet can be claimed afterwards; then call this again.
    ///
    /// If more than the newest frame is missing, what `arrived` says contradicts the claims. Everything from the
    /// first missing byte on is undone, and the destination of that byte is taken to be torn.
    pub fn source_ended(&mut self, from: Port, arrived: u64) -> SourceEnd {
        let Some(source) = self.source(from) else {
            return SourceEnd::Whole;
        };
        let missing = source.claimed.saturating_sub(arrived);
        if missing == 0 {
            return SourceEnd::Whole;
        }
        let (newest, claimed) = (source.newest, source.claimed);
        let cut = missing.max(newest.min(claimed));
        let to = match self.unclaim(from, cut) {
            Fate::To(to) => to,
            Fate::Discard => {
                return SourceEnd::RolledBack {
                    to: None,
                    bytes: cut,
                };
            }
        };
        if newest > claimed || missing > newest {
            self.destination_ended(to);
            return SourceEnd::Torn { to };
        }
        SourceEnd::RolledBack {
            to: Some(to),
            bytes: cut,
        }
    }

    /// `to` can be sent nothing more: what was queued to it from others is discarded instead, so that
    /// its sources keep draining, and bytes of our own for it are dropped. So is all that is queued later,
    /// until [`Ledger::reset`].
    pub fn destination_ended(&mut self, to: Port) {
        let Some(destination) = self.destinations.get_mut(to.index()) else {
            return;
        };
        *destination = Destination::Ended;
        for source in &mut self.sources {
            source.discard_all_to(to);
        }
    }

    /// Forgets what is known of `port`, so that the index can serve a new connection.
    ///
    /// # Errors
    ///
    /// [`Misuse::Busy`] while something is queued from or to it.
    pub fn reset(&mut self, port: Port) -> Result<(), Misuse> {
        if !self.is_drained_to(port) || !self.is_drained_from(port) {
            return Err(Misuse::Busy);
        }
        let (Some(source), Some(destination)) = (
            self.sources.get_mut(port.index()),
            self.destinations.get_mut(port.index()),
        ) else {
            return Err(Misuse::UnknownPort);
        };
        *source = Source::default();
        *destination = Destination::Open(Queue::default());
        Ok(())
    }

    fn source(&self, port: Port) -> Option<&Source> {
        self.sources.get(port.index())
    }

    fn queue(&self, port: Port) -> Option<&Queue> {
        match self.destinations.get(port.index())? {
            Destination::Open(queue) => Some(queue),
            Destination::Ended => None,
        }
    }

    /// Where a claim goes: the fate that holds for it, and whether it needs entries of its own.
    fn place(&self, from: Port, fate: Fate) -> Result<(Fate, Place), Full> {
        let source = self.source(from).ok_or(Full)?;
        let (fate, segments) = match fate {
            Fate::Discard => (Fate::Discard, None),
            Fate::To(to) => match self.destinations.get(to.index()).ok_or(Full)? {
                Destination::Open(queue) => (fate, Some(&queue.segments)),
                Destination::Ended => (Fate::Discard, None),
            },
        };
        // The newest run of `from` to `to` is the newest splice from `from` in that queue, so a look at
        // both ends is enough: nothing was decided in between for either of them.
        let joins_source = source.runs.back().is_some_and(|run| run.fate == fate);
        let joins_destination =
            segments.is_none_or(|segments| segments.back() == Some(&Segment::Splice { from }));
        if joins_source && joins_destination {
            return Ok((fate, Place::Join));
        }
        let limit = self.limits.segments_per_queue;
        if source.runs.len() < limit && segments.is_none_or(|segments| segments.len() < limit) {
            Ok((fate, Place::Append))
        } else {
            Err(Full)
        }
    }

    /// Takes back the newest `bytes` claimed bytes of `from`, and says what the oldest of them was to become.
    fn unclaim(&mut self, from: Port, bytes: u64) -> Fate {
        let mut fate = Fate::Discard;
        let Some(source) = self.sources.get_mut(from.index()) else {
            return fate;
        };
        let mut left = bytes;
        while left > 0 {
            let Some(run) = source.runs.back_mut() else {
                break;
            };
            fate = run.fate;
            let n = left.min(run.len);
            left = left.saturating_sub(n);
            source.claimed = source.claimed.saturating_sub(n);
            run.len = run.len.saturating_sub(n);
            if run.len == 0 {
                source.runs.pop_back();
                if let Fate::To(to) = fate {
                    if let Some(queue) = open_queue(&mut self.destinations, to) {
                        queue.remove_newest_splice(from);
                    }
                }
            }
        }
        source.newest = 0;
        fate
    }
}

/// Whether a claim lengthens the newest entry of both its queues or needs a new one in each.
enum Place {
    Join,
    Append,
}

fn open_queue(destinations: &mut [Destination], port: Port) -> Option<&mut Queue> {
    match destinations.get_mut(port.index())? {
        Destination::Open(queue) => Some(queue),
        Destination::Ended => None,
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Port = Port::new(0);
    const B: Port = Port::new(1);
    const C: Port = Port::new(2);

    fn ledger() -> Ledger {
        let limits = LedgerLimits {
            segments_per_queue: 4,
            owned_bytes_per_queue: 16,
        };
        Ledger::new(3, limits)
    }

    fn splice(from: Port, max: u64) -> Option<Transmit<'static>> {
        Some(Transmit::Splice { from, max })
    }

    fn owned(bytes: &[u8]) -> Option<Transmit<'_>> {
        Some(Transmit::Owned(bytes))
    }

    #[test]
    fn an_entry_waits_for_the_head_of_both_queues() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.claim(A, Fate::To(B), 10).unwrap();
        ledger.claim(B, Fate::To(C), 10).unwrap();
        // Head of C's queue and of A's fates; A's second frame and B's frame are at the head of one only.
        assert_eq!(ledger.poll_transmit(C), splice(A, 10));
        assert_eq!(ledger.poll_transmit(B), None);
        ledger.transmitted(C, 10).unwrap();
        assert_eq!(ledger.poll_transmit(C), splice(B, 10));
        assert_eq!(ledger.poll_transmit(B), splice(A, 10));
    }

    #[test]
    fn neighbours_share_an_entry_and_others_do_not() {
        let mut ledger = ledger();
        for _ in 0..100 {
            ledger.claim(A, Fate::To(C), 10).unwrap();
            ledger.claim(B, Fate::Discard, 10).unwrap();
        }
        assert_eq!(ledger.poll_transmit(C), splice(A, 1000));
        // One entry each so far; these alternate, so that each takes one in C's queue of four.
        for from in [B, A, B] {
            ledger.claim(from, Fate::To(C), 10).unwrap();
        }
        assert!(!ledger.room(A, Fate::To(C)));
        assert!(ledger.room(B, Fate::To(C)), "joins its neighbour");
        assert_eq!(ledger.claim(A, Fate::To(C), 10), Err(Full));
        assert_eq!(ledger.claimed(A), 1010);
    }

    #[test]
    fn an_entry_can_be_kept_for_a_push() {
        let mut ledger = ledger();
        for from in [A, B] {
            ledger.claim(from, Fate::To(C), 10).unwrap();
        }
        assert!(ledger.room_before_push(A, C) && ledger.room_before_push(B, C));
        ledger.claim(A, Fate::To(C), 10).unwrap();
        assert!(ledger.room_before_push(A, C), "joins its neighbour");
        assert!(ledger.room(B, Fate::To(C)) && !ledger.room_before_push(B, C));
        ledger.push(C, b"ours").unwrap();
        assert!(!ledger.room_before_push(A, C));
        ledger.destination_ended(C);
        assert!(ledger.room_before_push(A, C));
    }

    #[test]
    fn a_push_never_lands_inside_a_frame() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.transmitted(C, 4).unwrap();
        ledger.push(C, b"ours").unwrap();
        ledger.claim(A, Fate::To(C), 5).unwrap();
        assert_eq!(ledger.poll_transmit(C), splice(A, 6));
        ledger.transmitted(C, 6).unwrap();
        assert_eq!(ledger.poll_transmit(C), owned(b"ours"));
        ledger.transmitted(C, 3).unwrap();
        assert_eq!(ledger.poll_transmit(C), owned(b"s"));
        ledger.transmitted(C, 1).unwrap();
        assert_eq!(ledger.poll_transmit(C), splice(A, 5));
    }

    #[test]
    fn a_source_queue_has_a_limit_of_its_own() {
        let mut ledger = ledger();
        for fate in [Fate::Discard, Fate::To(B), Fate::Discard, Fate::To(C)] {
            ledger.claim(A, fate, 5).unwrap();
        }
        assert_eq!(ledger.claim(A, Fate::Discard, 5), Err(Full));
        assert_eq!(ledger.claim(A, Fate::To(B), 5), Err(Full));
        ledger.claim(A, Fate::To(C), 5).unwrap();
        assert_eq!(ledger.take_discard(A, 100), 5);
        ledger.claim(A, Fate::Discard, 5).unwrap();
    }

    #[test]
    fn owned_bytes_have_a_limit_per_destination() {
        let mut ledger = ledger();
        ledger.push(B, &[1; 10]).unwrap();
        assert_eq!(ledger.push(B, &[2; 7]), Err(Full));
        ledger.push(B, &[2; 6]).unwrap();
        ledger.push(C, &[3; 16]).unwrap();
        assert_eq!(ledger.retained(), 32);
        // The room comes back with each byte sent, wherever the ring begins.
        ledger.transmitted(B, 7).unwrap();
        ledger.push(B, &[4; 7]).unwrap();
        let mut got = Vec::new();
        while let Some(Transmit::Owned(bytes)) = ledger.poll_transmit(B) {
            got.extend_from_slice(bytes);
            let n = length(bytes);
            ledger.transmitted(B, n).unwrap();
        }
        assert_eq!(got, [&[1; 3][..], &[2; 6], &[4; 7]].concat());
    }

    #[test]
    fn nothing_is_claimed_or_queued_by_nothing() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(B), 0).unwrap();
        ledger.push(B, b"").unwrap();
        assert!(ledger.is_drained_to(B) && ledger.is_drained_from(A));
        assert_eq!(ledger.poll_transmit(B), None);
        ledger.claim(A, Fate::To(B), u64::MAX).unwrap();
        assert_eq!(ledger.claim(A, Fate::To(B), 1), Err(Full));
        assert_eq!(ledger.claim(A, Fate::Discard, 1), Err(Full));
    }

    #[test]
    fn what_is_queued_is_counted_until_it_is_written() {
        let mut ledger = ledger();
        ledger.push(B, b"one").unwrap();
        ledger.claim(A, Fate::To(B), 10).unwrap();
        ledger.claim(A, Fate::To(C), 20).unwrap();
        ledger.claim(A, Fate::Discard, 5).unwrap();
        assert_eq!((ledger.queued(B), ledger.queued(C)), (13, 20));
        ledger.transmitted(B, 2).unwrap();
        assert_eq!(ledger.queued(B), 11);
        ledger.transmitted(B, 1).unwrap();
        ledger.transmitted(B, 4).unwrap();
        assert_eq!(ledger.queued(B), 6);
        ledger.destination_ended(B);
        assert_eq!((ledger.queued(B), ledger.queued(C)), (0, 20));
    }

    #[test]
    fn a_report_beyond_the_offer_changes_nothing() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(B), 10).unwrap();
        let refused = Misuse::TooMuch {
            sent: 11,
            offered: 10,
        };
        assert_eq!(ledger.transmitted(B, 11), Err(refused));
        assert_eq!(ledger.poll_transmit(B), splice(A, 10));
        let refused = Misuse::TooMuch {
            sent: 1,
            offered: 0,
        };
        assert_eq!(ledger.transmitted(C, 1), Err(refused));
        assert_eq!(ledger.transmitted(C, 0), Ok(()));
    }

    #[test]
    fn discards_go_in_their_turn_and_need_no_destination() {
        let mut ledger = ledger();
        ledger.push(B, b"never sent").unwrap();
        ledger.claim(A, Fate::Discard, 10).unwrap();
        ledger.claim(A, Fate::To(C), 5).unwrap();
        ledger.claim(A, Fate::Discard, 10).unwrap();
        assert_eq!(ledger.take_discard(A, 4), 4);
        assert_eq!(ledger.take_discard(A, 100), 6);
        assert_eq!(ledger.take_discard(A, 100), 0);
        ledger.transmitted(C, 5).unwrap();
        assert_eq!(ledger.take_discard(A, 100), 10);
        assert!(ledger.is_drained_from(A));
    }

    #[test]
    fn an_incomplete_frame_of_which_nothing_was_sent_is_rolled_back() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.claim(A, Fate::To(C), 30).unwrap(); // joins it
        ledger.transmitted(C, 10).unwrap(); // exactly up to the newest frame
        ledger.push(C, b"next").unwrap();
        let rolled_back = SourceEnd::RolledBack {
            to: Some(C),
            bytes: 30,
        };
        assert_eq!(ledger.source_ended(A, 29), rolled_back);
        assert!(ledger.at_boundary(C));
        assert_eq!(ledger.claimed(A), 0);
        assert_eq!(ledger.poll_transmit(C), owned(b"next"));
    }

    #[test]
    fn whole_frames_before_a_rolled_back_one_still_go_out() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.claim(A, Fate::To(C), 30).unwrap();
        ledger.transmitted(C, 4).unwrap();
        let rolled_back = SourceEnd::RolledBack {
            to: Some(C),
            bytes: 30,
        };
        assert_eq!(ledger.source_ended(A, 6 + 5), rolled_back);
        assert_eq!(ledger.poll_transmit(C), splice(A, 6));
        assert!(!ledger.at_boundary(C));
        assert_eq!(ledger.source_ended(A, 6), SourceEnd::Whole);
    }

    #[test]
    fn a_rollback_takes_the_newest_entry_and_leaves_the_older() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.claim(B, Fate::To(C), 10).unwrap();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.push(C, b"end").unwrap();
        let _ = ledger.source_ended(A, 15);
        for (offer, n) in [(splice(A, 10), 10), (splice(B, 10), 10), (owned(b"end"), 3)] {
            assert_eq!(ledger.poll_transmit(C), offer);
            ledger.transmitted(C, n).unwrap();
        }
        assert!(ledger.is_drained_to(C) && ledger.is_drained_from(A));
    }

    #[test]
    fn an_incomplete_frame_of_which_a_byte_was_sent_tears_its_destination() {
        let mut ledger = ledger();
        ledger.claim_run(A, Fate::To(C), 40, 30).unwrap();
        ledger.transmitted(C, 11).unwrap();
        ledger.claim(B, Fate::To(C), 10).unwrap();
        ledger.push(C, b"ours").unwrap();
        assert_eq!(ledger.source_ended(A, 28), SourceEnd::Torn { to: C });
        assert_eq!(ledger.poll_transmit(C), None);
        assert!(!ledger.at_boundary(C));
        assert_eq!(ledger.retained(), 0);
        assert_eq!(ledger.claimed(A), 0);
        assert_eq!(ledger.take_discard(B, 100), 10);
    }

    #[test]
    fn a_torn_discard_harms_nobody() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::Discard, 10).unwrap();
        assert_eq!(ledger.take_discard(A, 4), 4);
        let rolled_back = SourceEnd::RolledBack { to: None, bytes: 6 };
        assert_eq!(ledger.source_ended(A, 3), rolled_back);
        assert!(ledger.is_drained_from(A));
    }

    #[test]
    fn an_arrival_that_contradicts_the_claims_tears_what_cannot_be_told() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(B), 10).unwrap();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        assert_eq!(ledger.source_ended(A, 12), SourceEnd::Torn { to: C });
        assert_eq!(ledger.poll_transmit(B), splice(A, 10));
        assert_eq!(ledger.claimed(A), 12);
        assert_eq!(ledger.source_ended(A, 9), SourceEnd::Torn { to: B });
        assert_eq!(ledger.claimed(A), 9);
        assert_eq!(ledger.take_discard(A, 9), 9);
    }

    #[test]
    fn the_sources_of_a_lost_destination_keep_draining() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(B), 5).unwrap();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.claim(A, Fate::To(B), 5).unwrap();
        ledger.claim(A, Fate::To(C), 10).unwrap();
        ledger.push(C, b"ours").unwrap();
        ledger.transmitted(B, 5).unwrap();
        ledger.transmitted(C, 4).unwrap();
        ledger.destination_ended(C);
        assert!(ledger.is_drained_to(C));
        assert_eq!(ledger.retained(), 0);
        assert_eq!(ledger.take_discard(A, 100), 6);
        ledger.transmitted(B, 5).unwrap();
        // What is decided later has nowhere to go either.
        ledger.claim(A, Fate::To(C), 7).unwrap();
        ledger.push(C, b"ours").unwrap();
        assert_eq!(ledger.retained(), 0);
        assert_eq!(ledger.poll_transmit(C), None);
        assert_eq!(ledger.take_discard(A, 100), 17);
    }

    #[test]
    fn a_port_is_reset_only_when_drained_both_ways() {
        let mut ledger = ledger();
        ledger.claim(A, Fate::To(B), 5).unwrap();
        assert_eq!(ledger.reset(A), Err(Misuse::Busy));
        assert_eq!(ledger.reset(B), Err(Misuse::Busy));
        ledger.destination_ended(B);
        assert_eq!(ledger.reset(B), Ok(()));
        assert_eq!(ledger.take_discard(A, 5), 5);
        assert_eq!(ledger.reset(A), Ok(()));
        ledger.push(B, b"again").unwrap();
        assert_eq!(ledger.poll_transmit(B), owned(b"again"));
        assert_eq!(ledger.reset(Port::new(3)), Err(Misuse::UnknownPort));
    }

    #[test]
    fn debug_shows_no_payload() {
        let mut ledger = ledger();
        ledger.push(B, b"hunter2").unwrap();
        let shown = format!("{ledger:?} {:?}", ledger.poll_transmit(B));
        assert!(shown.contains("7 bytes") && shown.contains("Owned(7 bytes)"));
        // Neither as text nor as a list of numbers.
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"));
    }

    /// Bytes that the queues hold on to, as their containers count.
    fn memory(ledger: &Ledger) -> usize {
        let mut sum = mem::size_of::<Ledger>();
        for source in &ledger.sources {
            sum += mem::size_of::<Source>() + source.runs.capacity() * mem::size_of::<Run>();
        }
        for destination in &ledger.destinations {
            sum += mem::size_of::<Destination>();
            if let Destination::Open(queue) = destination {
                sum += queue.segments.capacity() * mem::size_of::<Segment>();
                sum += queue.owned.capacity();
            }
        }
        sum
    }

    #[test]
    fn memory_follows_use_within_the_bound_and_comes_back() {
        let limits = LedgerLimits {
            segments_per_queue: 1000,
            owned_bytes_per_queue: 3000,
        };
        let mut ledger = Ledger::new(2, limits);
        let bound = limits.memory_bound(2);
        let bare = memory(&ledger);
        // A declared length of 1 GiB costs an entry, not a byte of it.
        ledger.claim(A, Fate::To(B), 1 << 30).unwrap();
        assert!(memory(&ledger) < bare + 1024);
        ledger.transmitted(B, 1 << 30).unwrap();

        while ledger.push(B, b"xyz").is_ok() && ledger.claim(A, Fate::To(B), 5).is_ok() {}
        while ledger.push(A, b"xyz").is_ok() && ledger.claim(B, Fate::To(A), 5).is_ok() {}
        assert!(memory(&ledger) <= bound);
        assert!(ledger.retained() > 1000);
        for (source, destination) in ledger.sources.iter().zip(&ledger.destinations) {
            let Destination::Open(queue) = destination else {
                panic!("nobody ended")
            };
            assert_eq!(queue.segments.len(), 1000);
            assert!(source.runs.capacity() <= 1000 && queue.segments.capacity() <= 1000);
            assert!(queue.owned.capacity() <= 3000);
        }
        for port in [A, B] {
            while let Some(offer) = ledger.poll_transmit(port) {
                let n = match offer {
                    Transmit::Owned(bytes) => length(bytes),
                    Transmit::Splice { max, .. } => max,
                };
                ledger.transmitted(port, n).unwrap();
            }
        }
        assert!(memory(&ledger) < bare + 2 * (limits::LEDGER_IDLE_OWNED + 64 * 64));
    }

    #[test]
    fn a_steady_relay_allocates_nothing() {
        let mut ledger = ledger();
        let mut after_first = None;
        for _ in 0..1000 {
            ledger.claim(A, Fate::To(B), 40).unwrap();
            ledger.push(B, b"injected").unwrap();
            ledger.claim(A, Fate::Discard, 40).unwrap();
            ledger.transmitted(B, 40).unwrap();
            ledger.transmitted(B, 8).unwrap();
            assert_eq!(ledger.take_discard(A, 40), 40);
            let held = memory(&ledger);
            assert_eq!(*after_first.get_or_insert(held), held);
        }
        assert!(
            after_first > Some(memory(&Ledger::new(3, ledger.limits))),
            "kept for reuse"
        );
    }
}
