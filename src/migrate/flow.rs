//! One direction of a forwarder that can be stopped between two messages and set going again.

/// Where a [`Flow`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing passes. What arrives stays where it is.
    Suspended,
    /// Somebody wants it to run; whoever moves the bytes has not begun.
    Resuming,
    /// Between two messages.
    Between,
    /// Inside a message, with this many bytes to come.
    Inside(u64),
    /// Inside a message behind which it stops.
    Suspending(u64),
    /// An error ended it for good.
    Closed,
}

/// The flow was closed by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this direction is closed")]
pub struct FlowClosed;

/// What a message may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Pass, to its last byte.
    Pass,
    /// Stay in its buffer: it goes to whoever is the peer after the resumption.
    Stay,
}

/// Whether a suspension has come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// Nothing passes any more.
    Done,
    /// The message that passes now has so many bytes to come; the flow stops behind it.
    Behind(u64),
}

/// Whether a resumption has come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// It runs.
    Running,
    /// It is asked for: [`Flow::started`] says when it has come about.
    Asked,
}

/// One direction of a forwarder: running, suspended at a message's boundary, or on the way to either.
///
/// These are sqlproxy's processors as one state each, without a goroutine that has to be awaited. A suspension that is
/// asked for right after a resumption cannot be lost, because the resumption is a state of its own until the loop that
/// moves the bytes has taken it up; it can be taken back at any time, and none of the flags are left over.
///
/// ```
/// use pgturnout::migrate::{Flow, Passage, Resumption, Suspension};
///
/// let mut flow = Flow::new();
/// assert_eq!(flow.resume()?, Resumption::Asked);
/// assert!(flow.started());
/// assert_eq!(flow.begins(14), Passage::Pass); // the length of a whole message
/// flow.passed(10);
/// assert_eq!(flow.suspend()?, Suspension::Behind(4));
/// flow.passed(4);
/// assert!(flow.is_suspended());
/// assert_eq!(flow.begins(5), Passage::Stay);
/// # Ok::<(), pgturnout::migrate::FlowClosed>(())
/// ```
#[derive(Debug)]
pub struct Flow {
    state: State,
}

impl Default for Flow {
    fn default() -> Flow {
        Flow::new()
    }
}

impl Flow {
    /// A flow that does not run yet.
    #[must_use]
    pub fn new() -> Flow {
        Flow {
            state: State::Suspended,
        }
    }

    /// Asks for the flow to run. A suspension that has not come about is taken back. One that runs keeps running.
    ///
    /// # Errors
    /// [`FlowClosed`].
    pub fn resume(&mut self) -> Result<Resumption, FlowClosed> {
        let (state, answer) = match self.state {
            State::Suspended | State::Resuming => (State::Resuming, Resumption::Asked),
            State::Suspending(left) => (State::Inside(left), Resumption::Running),
            State::Between | State::Inside(_) => (self.state, Resumption::Running),
            State::Closed => return Err(FlowClosed),
        };
        self.state = state;
        Ok(answer)
    }

    /// Whoever moves the bytes takes up a resumption. Whether there is one: it may have been taken back.
    pub fn started(&mut self) -> bool {
        match self.state {
            State::Resuming => {
                self.state = State::Between;
                true
            }
            State::Between | State::Inside(_) | State::Suspending(_) => true,
            State::Suspended | State::Closed => false,
        }
    }

    /// Asks for the flow to stop at the next boundary. One that is stopped stays so.
    ///
    /// # Errors
    /// [`FlowClosed`].
    pub fn suspend(&mut self) -> Result<Suspension, FlowClosed> {
        let (state, answer) = match self.state {
            State::Suspended | State::Resuming | State::Between => {
                (State::Suspended, Suspension::Done)
            }
            State::Inside(left) | State::Suspending(left) => {
                (State::Suspending(left), Suspension::Behind(left))
            }
            State::Closed => return Err(FlowClosed),
        };
        self.state = state;
        Ok(answer)
    }

    /// A message of so many bytes, header included, is there or begins to be. What may become of it. A message that
    /// begins inside another one, which is its caller's mistake, stays.
    pub fn begins(&mut self, frame_len: u64) -> Passage {
        match self.state {
            State::Between if frame_len == 0 => Passage::Pass,
            State::Between => {
                self.state = State::Inside(frame_len);
                Passage::Pass
            }
            State::Suspended
            | State::Resuming
            | State::Inside(_)
            | State::Suspending(_)
            | State::Closed => Passage::Stay,
        }
    }

    /// So many bytes of the message that passes have passed.
    pub fn passed(&mut self, bytes: u64) {
        self.state = match self.state {
            State::Inside(left) if bytes < left => State::Inside(left.saturating_sub(bytes)),
            State::Inside(_) => State::Between,
            State::Suspending(left) if bytes < left => {
                State::Suspending(left.saturating_sub(bytes))
            }
            State::Suspending(_) => State::Suspended,
            State::Suspended | State::Resuming | State::Between | State::Closed => self.state,
        };
    }

    /// An error ended this direction. There is no way back.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// How many bytes of the message that passes are still to come; 0 at a boundary.
    #[must_use]
    pub fn left(&self) -> u64 {
        match self.state {
            State::Inside(left) | State::Suspending(left) => left,
            State::Suspended | State::Resuming | State::Between | State::Closed => 0,
        }
    }

    /// Whether it runs, be it to the end of a message: the barrier to wait for behind [`Flow::resume`].
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(
            self.state,
            State::Between | State::Inside(_) | State::Suspending(_)
        )
    }

    /// Whether it is stopped at a boundary.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.state == State::Suspended
    }

    /// Whether an error has ended it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Flow {
        let mut flow = Flow::new();
        flow.resume().unwrap();
        assert!(flow.started());
        flow
    }

    /// sqlproxy's `wait_for_resumed`: what is suspended before its loop has begun does not begin.
    #[test]
    fn a_suspension_right_behind_a_resumption_is_not_lost() {
        let mut flow = Flow::new();
        assert_eq!(flow.resume(), Ok(Resumption::Asked));
        assert!(!flow.is_running());
        assert_eq!(flow.suspend(), Ok(Suspension::Done));
        assert!(!flow.started(), "it was taken back");
        assert_eq!(flow.begins(5), Passage::Stay);
        assert!(flow.is_suspended());
    }

    /// `already_resumed_or_suspended`: repetitions change nothing and are no errors.
    #[test]
    fn what_is_asked_for_twice_is_done_once() {
        let mut flow = Flow::new();
        assert_eq!(flow.suspend(), Ok(Suspension::Done));
        for _ in 0..3 {
            assert_eq!(flow.resume(), Ok(Resumption::Asked));
        }
        assert!(flow.started() && flow.started());
        assert_eq!(flow.resume(), Ok(Resumption::Running));
        for _ in 0..2 {
            assert_eq!(flow.suspend(), Ok(Suspension::Done));
        }
        assert!(flow.is_suspended());
        assert_eq!(flow.resume(), Ok(Resumption::Asked));
    }

    /// `context_cancelled`: an error closes it, and everything behind says so.
    #[test]
    fn a_closed_flow_stays_closed() {
        let mut flow = running();
        flow.close();
        assert_eq!(flow.resume(), Err(FlowClosed));
        assert_eq!(flow.suspend(), Err(FlowClosed));
        assert_eq!(flow.begins(5), Passage::Stay);
        flow.passed(5);
        assert!(flow.is_closed() && !flow.started() && !flow.is_running());
    }

    /// sqlproxy waits here without a way out (W5), and forgets a flag (W6): a suspension that is given up leaves the
    /// message where it was and the flow running.
    #[test]
    fn a_suspension_inside_a_message_waits_for_its_end_or_is_taken_back() {
        let mut flow = running();
        assert_eq!(flow.begins(100), Passage::Pass);
        flow.passed(30);
        assert_eq!(flow.suspend(), Ok(Suspension::Behind(70)));
        assert!(flow.is_running() && !flow.is_suspended());
        assert_eq!(flow.left(), 70);
        assert_eq!(flow.resume(), Ok(Resumption::Running));
        flow.passed(70);
        assert_eq!(flow.begins(5), Passage::Pass, "nothing is left of it");
        assert_eq!(flow.suspend(), Ok(Suspension::Behind(5)));
        flow.passed(4);
        assert!(!flow.is_suspended());
        flow.passed(1);
        assert!(flow.is_suspended());
    }

    /// `multiple_resume_suspend_race`: 100 queries fed byte by byte between 200 resumptions and 200 suspensions arrive
    /// whole and in order.
    #[test]
    fn resumptions_and_suspensions_lose_no_byte() {
        let messages: Vec<Vec<u8>> = (0..100)
            .map(|n| format!("message {n}, {}", "x".repeat(n % 17)).into_bytes())
            .collect();
        let all: Vec<u8> = messages.concat();
        let mut ends = messages.iter().scan(0, |end, message| {
            *end += message.len();
            Some(*end)
        });
        let (mut flow, mut out, mut end) = (running(), Vec::new(), ends.next().unwrap());
        let mut left_to_ask = 400;
        let mut turn = 0_usize;
        while out.len() < all.len() {
            turn += 1;
            if left_to_ask > 0 {
                left_to_ask -= 1;
                match turn * 7 % 4 {
                    0 | 3 => drop(flow.suspend().unwrap()),
                    _ => drop(flow.resume().unwrap()),
                }
            } else {
                flow.resume().unwrap();
            }
            if turn % 3 == 0 {
                flow.started();
            }
            if flow.left() == 0 {
                let boundary = out.len();
                if boundary == end {
                    end = ends.next().unwrap();
                }
                let len = u64::try_from(end - boundary).unwrap();
                if flow.begins(len) == Passage::Stay {
                    continue;
                }
            }
            out.push(all[out.len()]);
            flow.passed(1);
        }
        assert_eq!(out, all);
        assert_eq!(left_to_ask, 0);
    }
}
