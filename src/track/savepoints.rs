//! The savepoints of the transaction that runs, by PostgreSQL's rules: a stack of names, of which the newest counts.

/// One savepoint, or several that one name was given to while nothing else happened.
#[derive(Debug)]
struct Savepoint {
    name: Box<[u8]>,
    /// What was there when it was set.
    mark: usize,
    times: usize,
}

/// A bounded stack of savepoints. Names come as the server has them: folded, and no longer than 63 bytes.
///
/// Drivers that set one before every statement and never release it (pgjdbc's `autosave`) use one name, which takes one
/// place.
#[derive(Debug)]
pub(crate) struct Savepoints {
    stack: Stack,
    limit: usize,
}

#[derive(Debug)]
enum Stack {
    Known(Vec<Savepoint>),
    /// There were more of them than are kept, or one that was not seen.
    Lost,
}

impl Savepoints {
    pub(crate) fn new(limit: usize) -> Savepoints {
        Savepoints {
            stack: Stack::Known(Vec::new()),
            limit,
        }
    }

    /// Whether it is not known any more what a name means in this transaction.
    pub(super) fn are_lost(&self) -> bool {
        matches!(self.stack, Stack::Lost)
    }

    /// Whether there is one; `None` if that is not known.
    pub(super) fn are_set(&self) -> Option<bool> {
        match &self.stack {
            Stack::Known(stack) => Some(!stack.is_empty()),
            Stack::Lost => None,
        }
    }

    /// The transaction is over.
    pub(crate) fn clear(&mut self) {
        self.stack = Stack::Known(Vec::new());
    }

    /// The mark of the newest one; 0 if there is none.
    pub(super) fn newest_mark(&self) -> usize {
        match &self.stack {
            Stack::Known(stack) => stack.last().map_or(0, |newest| newest.mark),
            Stack::Lost => 0,
        }
    }

    pub(crate) fn set(&mut self, name: &[u8], mark: usize) {
        let Stack::Known(stack) = &mut self.stack else {
            return;
        };
        let room = stack.len() < self.limit;
        match stack.last_mut() {
            Some(newest) if *newest.name == *name && newest.mark == mark => {
                newest.times = newest.times.saturating_add(1);
            }
            Some(_) | None if room => stack.push(Savepoint {
                name: name.into(),
                mark,
                times: 1,
            }),
            Some(_) | None => self.stack = Stack::Lost,
        }
    }

    /// The name's mark; those set behind it are gone.
    pub(crate) fn roll_back_to(&mut self, name: &[u8]) -> Option<usize> {
        let stack = self.up_to(name)?;
        stack.last().map(|newest| newest.mark)
    }

    /// The name is gone, with those set behind it.
    pub(crate) fn release(&mut self, name: &[u8]) {
        let Some(stack) = self.up_to(name) else {
            return;
        };
        match stack.last_mut() {
            Some(newest) if newest.times > 1 => newest.times = newest.times.saturating_sub(1),
            _ => {
                stack.pop();
            }
        }
    }

    /// The stack up to the newest one of that name.
    fn up_to(&mut self, name: &[u8]) -> Option<&mut Vec<Savepoint>> {
        let found = match &self.stack {
            Stack::Known(stack) => stack.iter().rposition(|one| *one.name == *name),
            Stack::Lost => None,
        };
        let Some(at) = found else {
            // The server knows it: what we know is not all.
            self.stack = Stack::Lost;
            return None;
        };
        match &mut self.stack {
            Stack::Known(stack) => {
                stack.truncate(at.saturating_add(1));
                Some(stack)
            }
            Stack::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(savepoints: &Savepoints) -> usize {
        match &savepoints.stack {
            Stack::Known(stack) => stack.len(),
            Stack::Lost => panic!("they are lost"),
        }
    }

    #[test]
    fn the_newest_of_a_name_counts() {
        let mut savepoints = Savepoints::new(4);
        savepoints.set(b"a", 1);
        savepoints.set(b"b", 2);
        savepoints.set(b"a", 3);
        assert_eq!(savepoints.newest_mark(), 3);
        assert_eq!(savepoints.roll_back_to(b"a"), Some(3));
        assert_eq!(savepoints.roll_back_to(b"a"), Some(3));
        savepoints.release(b"a");
        assert_eq!(savepoints.roll_back_to(b"a"), Some(1));
        assert!(!savepoints.are_lost());
        assert_eq!(savepoints.roll_back_to(b"b"), None);
        assert!(savepoints.are_lost());
        savepoints.clear();
        assert!(!savepoints.are_lost());
    }

    #[test]
    fn release_takes_those_behind_with_it() {
        let mut savepoints = Savepoints::new(4);
        for (name, mark) in [(b"a", 0), (b"b", 1), (b"c", 2)] {
            savepoints.set(name, mark);
        }
        savepoints.release(b"b");
        assert_eq!(known(&savepoints), 1);
        assert_eq!(savepoints.newest_mark(), 0);
    }

    #[test]
    fn one_name_again_and_again_takes_one_place() {
        let mut savepoints = Savepoints::new(2);
        for _ in 0..1_000 {
            savepoints.set(b"autosave", 0);
        }
        assert_eq!(known(&savepoints), 1);
        for _ in 0..999 {
            savepoints.release(b"autosave");
        }
        assert_eq!(savepoints.roll_back_to(b"autosave"), Some(0));
        savepoints.release(b"autosave");
        assert_eq!(known(&savepoints), 0);
        // A change in between is one more to tell apart.
        for mark in 0..2 {
            savepoints.set(b"autosave", mark);
        }
        assert_eq!(known(&savepoints), 2);
    }

    /// Where one name is as long as names are, and the list has just grown.
    #[test]
    fn one_takes_so_much() {
        let entry = std::mem::size_of::<Savepoint>();
        let most = 63_usize.next_multiple_of(16) + 2 * entry;
        let held = crate::limits::SAVEPOINT_HELD;
        assert!((most..most + entry).contains(&held), "{most}");
    }

    #[test]
    fn so_many_are_kept() {
        for (more, lost) in [(0, false), (1, true)] {
            let mut savepoints = Savepoints::new(3);
            for name in 0..3 + more {
                savepoints.set(&[b'a' + name], 0);
            }
            assert_eq!(savepoints.are_lost(), lost);
        }
    }
}
