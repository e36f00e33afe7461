//! What sqlproxy's forwarder tells of itself: the last message of each direction, a logical clock, its safe transfer
//! point, and whether anything has passed lately.

use std::time::Instant;

use crate::limits::MIGRATION_IDLE;
use crate::wire::tags::{backend, frontend};

/// One of the two ways through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

/// The last message of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Its type; `None` while nothing has passed.
    pub tag: Option<u8>,
    /// When it began to pass, by the logical clock; 0 while nothing has.
    pub at: u64,
}

/// What has passed, by direction, and a logical clock that both share.
///
/// The clock counts messages, from 1; no two have the same time. It begins anew with each server
/// ([`swapped`](Traffic::swapped)). Time of day is read by nobody but [`is_idle`](Traffic::is_idle), so that a message
/// costs two stores.
///
/// ```
/// use std::time::Instant;
/// use pgturnout::migrate::{Direction, Traffic, is_safe_transfer_point};
///
/// let mut traffic = Traffic::new(Instant::now());
/// assert!(traffic.is_safe_transfer_point());
/// traffic.passes(Direction::Request, b'Q');
/// assert!(!traffic.is_safe_transfer_point());
/// traffic.passes(Direction::Response, b'Z');
/// assert!(traffic.is_safe_transfer_point());
/// assert_eq!(traffic.last(Direction::Response).at, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Traffic {
    request: Last,
    response: Last,
    clock: u64,
    seen: Seen,
}

/// What [`Traffic::is_idle`] saw when it last saw something new.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Clock {
        at: u64,
        since: Instant,
    },
    /// Another server: whatever the clock says next is new.
    Nothing,
}

impl Traffic {
    /// Nothing has passed. The time of idleness begins now.
    #[must_use]
    pub fn new(now: Instant) -> Traffic {
        Traffic {
            request: Last::default(),
            response: Last::default(),
            clock: 0,
            seen: Seen::Clock { at: 0, since: now },
        }
    }

    /// A message of this type begins to pass: to be called when its header was read and before a byte of it is
    /// forwarded. Returns its time.
    pub fn passes(&mut self, direction: Direction, tag: u8) -> u64 {
        self.clock = self.clock.saturating_add(1);
        let last = Last {
            tag: Some(tag),
            at: self.clock,
        };
        match direction {
            Direction::Request => self.request = last,
            Direction::Response => self.response = last,
        }
        self.clock
    }

    /// The last message of this direction.
    #[must_use]
    pub fn last(&self, direction: Direction) -> Last {
        match direction {
            Direction::Request => self.request,
            Direction::Response => self.response,
        }
    }

    /// How many messages have passed since the server was taken into use.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Another server has taken the place of the old one: types and clock begin anew.
    pub fn swapped(&mut self) {
        self.request = Last::default();
        self.response = Last::default();
        self.clock = 0;
        self.seen = Seen::Nothing;
    }

    /// Whether nothing has passed for [`MIGRATION_IDLE`], by what this method saw when it was called before. A session
    /// that it finds active is active for that long.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        match self.seen {
            Seen::Clock { at, since } if at == self.clock => {
                now.saturating_duration_since(since) >= MIGRATION_IDLE
            }
            Seen::Clock { .. } | Seen::Nothing => {
                self.seen = Seen::Clock {
                    at: self.clock,
                    since: now,
                };
                false
            }
        }
    }

    /// sqlproxy's predicate of the messages that have passed.
    #[must_use]
    pub fn is_safe_transfer_point(&self) -> bool {
        is_safe_transfer_point(self.request, self.response)
    }
}

/// sqlproxy's safe transfer point, exactly: the server has the last word, which is ReadyForQuery or nothing, and the
/// client's last message is Sync, Query, CopyDone, CopyFail or nothing.
///
/// It looks at two messages and counts nothing. So it takes for safe what is not: a pipeline whose first answer has
/// come, an open transaction; and refuses what is safe: a session that was sent a notice while it was idle.
/// [`safe_point`](super::safe_point) errs in neither direction; this one is here for those who compare.
#[must_use]
pub fn is_safe_transfer_point(request: Last, response: Last) -> bool {
    let asked = matches!(
        request.tag,
        None | Some(frontend::SYNC | frontend::QUERY | frontend::COPY_DONE | frontend::COPY_FAIL)
    );
    let answered = matches!(response.tag, None | Some(backend::READY_FOR_QUERY));
    request.at <= response.at && asked && answered
}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;
    use std::time::Duration;

    fn last(tag: u8, at: u64) -> Last {
        Last {
            tag: (tag != 0).then_some(tag),
            at,
        }
    }

    /// The rows of sqlproxy's TestIsSafeTransferPointLocked, by their names.
    #[test]
    fn the_predicate_is_sqlproxys() {
        let rows = [
            ("sync_with_ready", b'S', b'Z', 1, 2, true),
            ("sync_without_ready", b'S', b'Z', 2, 1, false),
            ("query_with_ready", b'Q', b'Z', 1, 2, true),
            ("query_without_ready", b'Q', b'Z', 2, 1, false),
            ("copy_done_with_ready", b'c', b'Z', 1, 2, true),
            ("copy_done_without_ready", b'c', b'Z', 2, 1, false),
            ("copy_fail_with_ready", b'f', b'Z', 1, 2, true),
            ("copy_fail_without_ready", b'f', b'Z', 2, 1, false),
            ("initial_state", 0, 0, 0, 0, true),
            ("random_sent_with_ready", b'E', b'Z', 1, 2, false),
            ("random_sent_without_ready", b'E', b'n', 1, 2, false),
        ];
        for (name, request, response, asked, answered, safe) in rows {
            let got = is_safe_transfer_point(last(request, asked), last(response, answered));
            assert_eq!(got, safe, "{name}");
        }
    }

    /// Every tag in either place: only the listed ones are safe.
    #[test]
    fn no_other_tag_is_safe() {
        for tag in 1..=u8::MAX {
            let asked = is_safe_transfer_point(last(tag, 1), last(b'Z', 2));
            assert_eq!(asked, b"SQcf".contains(&tag), "{tag}");
            let answered = is_safe_transfer_point(last(b'Q', 1), last(tag, 2));
            assert_eq!(answered, tag == b'Z', "{tag}");
        }
    }

    #[test]
    fn one_clock_counts_both_directions_and_begins_anew_with_a_server() {
        let mut traffic = Traffic::new(start());
        for (direction, tag, at) in [
            (Direction::Request, b'Q', 1),
            (Direction::Response, b'T', 2),
            (Direction::Request, b'E', 3),
            (Direction::Response, b'Z', 4),
        ] {
            assert_eq!(traffic.passes(direction, tag), at);
            assert_eq!(traffic.last(direction), last(tag, at));
        }
        assert_eq!(traffic.last(Direction::Request), last(b'E', 3));
        assert_eq!(traffic.clock(), 4);
        traffic.swapped();
        assert_eq!(traffic.clock(), 0);
        assert_eq!(traffic.last(Direction::Request), Last::default());
        assert_eq!(traffic.last(Direction::Response), Last::default());
        assert!(traffic.is_safe_transfer_point());
    }

    /// sqlproxy's `client_to_server` and `server_to_client`: active after each message, idle when nothing has passed for
    /// thirty seconds since that was noticed.
    #[test]
    fn idle_is_what_two_looks_find_unchanged() {
        let begin = start();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut traffic = Traffic::new(begin);
        assert!(!traffic.is_idle(at(29)));
        assert!(traffic.is_idle(at(30)));
        traffic.passes(Direction::Request, b'Q');
        assert!(!traffic.is_idle(at(40)), "noticed at 40");
        assert!(!traffic.is_idle(at(69)));
        assert!(traffic.is_idle(at(70)));
        traffic.passes(Direction::Response, b'Z');
        assert!(!traffic.is_idle(at(200)));
        // As many messages on the next server as on this one are still new.
        traffic.swapped();
        traffic.passes(Direction::Request, b'Q');
        traffic.passes(Direction::Response, b'Z');
        assert!(!traffic.is_idle(at(300)));
        assert!(traffic.is_idle(at(330)));
    }
}
