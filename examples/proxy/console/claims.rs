//! What running statements work on, so that two operators at once do not undo each other's work: whoever comes second is
//! told who was first.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgturnout::session::Destination;

/// What a statement works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Server(Destination),
    Session(u64),
}

/// Whether others may work on it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Nobody.
    Alone,
    /// Those that do not need it alone: sessions that move to one server, each by a statement of its own.
    Together,
}

/// Who runs a statement, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    /// The number of the console's session.
    pub(crate) session: u64,
    pub(crate) statement: String,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}: {}", self.session, self.statement)
    }
}

/// Another statement works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) thing: Thing,
    pub(crate) by: Operator,
}

/// What all running statements work on.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    claims: Vec<Claim>,
}

struct Claim {
    number: u64,
    by: Arc<Operator>,
    things: Vec<(Thing, Share)>,
}

impl Claims {
    /// Claims all of these, until the returned value is dropped.
    ///
    /// # Errors
    /// The first of them that is taken: then none is claimed.
    pub(crate) fn claim(
        self: &Arc<Claims>,
        by: &Arc<Operator>,
        things: &[(Thing, Share)],
    ) -> Result<Claimed, Taken> {
        let mut table = self.table();
        for claim in &table.claims {
            let clash = |(thing, share): &&(Thing, Share)| {
                let theirs = claim.things.iter().find(|(other, _)| other == thing);
                theirs.is_some_and(|(_, other)| {
                    (*share, *other) != (Share::Together, Share::Together)
                })
            };
            if let Some((thing, _)) = things.iter().find(clash) {
                return Err(Taken {
                    thing: *thing,
                    by: Operator::clone(&claim.by),
                });
            }
        }
        let number = table.next;
        table.next += 1;
        table.claims.push(Claim {
            number,
            by: Arc::clone(by),
            things: things.to_vec(),
        });
        Ok(Claimed {
            claims: Arc::clone(self),
            number,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is claimed, as long as this lives.
#[must_use = "what is claimed is free again when this is dropped"]
pub(crate) struct Claimed {
    claims: Arc<Claims>,
    number: u64,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let number = self.number;
        self.claims
            .table()
            .claims
            .retain(|claim| claim.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Thing = Thing::Server(Destination(0));
    const B: Thing = Thing::Server(Destination(1));

    fn operator(session: u64) -> Arc<Operator> {
        Arc::new(Operator {
            session,
            statement: "PAUSE 'a:1'".to_owned(),
        })
    }

    #[test]
    fn who_comes_second_learns_who_was_first() {
        let claims = Arc::new(Claims::default());
        let first = claims.claim(&operator(1), &[(A, Share::Alone)]).unwrap();
        let wanted = [(B, Share::Alone), (A, Share::Together)];
        let taken = claims.claim(&operator(2), &wanted).map(drop).unwrap_err();
        assert_eq!((taken.thing, taken.by.session), (A, 1));
        assert_eq!(taken.by.to_string(), "session 1: PAUSE 'a:1'");
        // Nothing of it was claimed.
        let other = claims.claim(&operator(3), &[(B, Share::Alone)]).unwrap();
        drop(first);
        let again = claims.claim(&operator(2), &[(A, Share::Alone)]).unwrap();
        drop((other, again));
        assert!(claims.table().claims.is_empty());
    }

    #[test]
    fn what_nobody_needs_alone_is_shared() {
        let claims = Arc::new(Claims::default());
        let together = [(B, Share::Together), (Thing::Session(7), Share::Alone)];
        let first = claims.claim(&operator(1), &together).unwrap();
        let second = claims.claim(&operator(2), &[(B, Share::Together)]).unwrap();
        for wanted in [(B, Share::Alone), (Thing::Session(7), Share::Together)] {
            let taken = claims.claim(&operator(3), &[wanted]).map(drop).unwrap_err();
            assert_eq!((taken.thing, taken.by.session), (wanted.0, 1));
        }
        drop(first);
        let taken = claims.claim(&operator(3), &[(B, Share::Alone)]).map(drop);
        assert_eq!(taken.unwrap_err().by.session, 2);
        drop(second);
    }
}
