//! The bytes a destination queue owns: a ring that grows with what is pushed, within its limit.

use std::collections::VecDeque;
use std::fmt;

use crate::limits;
use crate::secret::wipe;

/// Bytes we made ourselves, waiting for one destination.
///
/// A ring, so that releasing from the front moves nothing and the capacity never exceeds the limit however the
/// pushes and the partial writes fall. Its `Debug` gives the length only: the content is somebody's session.
#[derive(Default)]
pub(super) struct OwnedBytes {
    ring: VecDeque<u8>,
}

impl OwnedBytes {
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// The first bytes, at most `max`, that lie in one piece. Empty only if `max` or the ring is.
    pub(super) fn front(&self, max: usize) -> &[u8] {
        let (first, _) = self.ring.as_slices();
        first.get(..max).unwrap_or(first)
    }

    /// Whether `more` further bytes fit into `limit`.
    pub(super) fn fits(&self, more: usize, limit: usize) -> bool {
        self.len()
            .checked_add(more)
            .is_some_and(|total| total <= limit)
    }

    /// Appends all of `bytes`; the caller has asked [`OwnedBytes::fits`].
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        reserve_within(&mut self.ring, bytes.len(), limit);
        self.ring.extend(bytes);
    }

    /// Forgets the first `n` bytes, or all of them if there are fewer.
    pub(super) fn release(&mut self, n: usize) {
        overwrite(&mut self.ring, n);
        if n >= self.len() {
            self.ring.clear();
            shrink_idle(&mut self.ring, limits::LEDGER_IDLE_OWNED);
        } else {
            self.ring.drain(..n);
        }
    }
}

/// A login's answers are among them: what was sent or given up is not left in memory.
impl Drop for OwnedBytes {
    fn drop(&mut self) {
        overwrite(&mut self.ring, usize::MAX);
    }
}

/// Overwrites the first `n` bytes, or all of them if there are fewer.
fn overwrite(ring: &mut VecDeque<u8>, n: usize) {
    let (first, second) = ring.as_mut_slices();
    let (of_first, of_second) = (n.min(first.len()), n.saturating_sub(first.len()));
    wipe(first.get_mut(..of_first).unwrap_or_default());
    let of_second = of_second.min(second.len());
    wipe(second.get_mut(..of_second).unwrap_or_default());
}

impl fmt::Debug for OwnedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Makes room for `more` elements, doubling like the standard queue does but never past `limit`.
pub(super) fn reserve_within<T>(queue: &mut VecDeque<T>, more: usize, limit: usize) {
    let needed = queue.len().saturating_add(more);
    if needed > queue.capacity() {
        let doubled = queue.capacity().saturating_mul(2).min(limit);
        queue.reserve_exact(doubled.max(needed).saturating_sub(queue.len()));
    }
}

/// Gives memory back once a queue is empty, keeping `keep` elements' worth for the next burst.
pub(super) fn shrink_idle<T>(queue: &mut VecDeque<T>, keep: usize) {
    if queue.is_empty() {
        queue.shrink_to(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overwritten_is_the_front() {
        for turn in [0, 3, 7] {
            for n in [0, 1, 4, 8, 9] {
                let mut ring: VecDeque<u8> = VecDeque::with_capacity(8);
                ring.extend([7; 8]);
                ring.drain(..turn);
                ring.extend(std::iter::repeat_n(7, turn));
                overwrite(&mut ring, n);
                let zeros = ring.iter().take_while(|byte| **byte == 0).count();
                assert_eq!(zeros, n.min(8), "{turn}, {n}");
                assert_eq!(ring.iter().filter(|byte| **byte == 7).count(), 8 - zeros);
            }
        }
    }

    #[test]
    fn an_empty_queue_keeps_so_much() {
        for keep in [limits::LEDGER_IDLE_SEGMENTS, limits::LEDGER_IDLE_OWNED] {
            for (had, keeps) in [(keep, keep), (keep + 1, keep), (keep * 8, keep)] {
                let mut queue = VecDeque::<u8>::with_capacity(had);
                shrink_idle(&mut queue, keep);
                assert_eq!(queue.capacity(), keeps);
            }
            let mut used: VecDeque<u8> = std::iter::repeat_n(7, keep * 8).collect();
            used.truncate(1);
            shrink_idle(&mut used, keep);
            assert!(used.capacity() >= keep * 8, "it is not empty");
        }
    }
}
