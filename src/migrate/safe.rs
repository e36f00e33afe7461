//! When a session can leave its server: what has to be the case, and the proof that it was.

use std::fmt;

use crate::track::Pin;
use crate::track::pipeline::Pipeline;
use crate::wire::TransactionStatus;

/// Which COPY is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copy {
    /// None.
    #[default]
    None,
    /// The client sends data.
    In,
    /// The server sends data.
    Out,
    /// Both do, as in replication.
    Both,
}

/// Whether extended messages were sent behind the last Sync: the server holds an implicit transaction and portals for them
/// even if it has answered each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batch {
    /// A Sync was the last of them, or there are none.
    #[default]
    Closed,
    /// The next Sync has not come.
    Open,
}

/// How a session passes through the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carriage {
    /// Message by message.
    #[default]
    Messages,
    /// Unread: replication, or encryption that is not the proxy's.
    Unread,
}

/// Whose word counts where the journal doubts what a statement has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The journal's: what it doubts stays where it is.
    #[default]
    Journal,
    /// The probe's. It finds temporary objects, locks, cursors, statements and settings however they came about, but not
    /// custom settings (`app.user`) whose names nobody knows, the values of `currval`, and what extensions keep.
    Probe,
}

/// What is the case at a boundary, as far as it decides whether a session can move.
///
/// Asynchronous messages are no facts: a notice, a parameter or a notification behind ReadyForQuery changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// How many requests wait for the end of their answer, on our own account too.
    pub owed: usize,
    /// Whether nothing is owed, skipped or in doubt ([`Pipeline::is_settled`]).
    pub settled: bool,
    /// The last batch of the extended protocol.
    pub batch: Batch,
    /// What ReadyForQuery said last.
    pub status: TransactionStatus,
    /// COPY.
    pub copy: Copy,
    /// How many bytes of a message from the client are still to come, or, where that is not told apart, to be forwarded.
    pub request_left: u64,
    /// How many bytes of messages from the client have come and are still to be forwarded: the server has yet to take them.
    pub request_unsent: u64,
    /// How many bytes of a message to the client are still to be forwarded.
    pub response_left: u64,
    /// What ties the session to its server.
    pub pins: &'a [Pin],
    /// How the session passes.
    pub carriage: Carriage,
    /// When the client's last message began to be forwarded, by the logical clock
    /// ([`Traffic::last`](super::Traffic::last)). What a server says unasked does not move it.
    pub clock: u64,
}

impl<'a> Facts<'a> {
    /// The facts of a server that owes nothing to a session that has done nothing.
    #[must_use]
    pub fn idle(clock: u64) -> Facts<'a> {
        Facts {
            owed: 0,
            settled: true,
            batch: Batch::Closed,
            status: TransactionStatus::Idle,
            copy: Copy::None,
            request_left: 0,
            request_unsent: 0,
            response_left: 0,
            pins: &[],
            carriage: Carriage::Messages,
            clock,
        }
    }

    /// The facts as far as a pipeline knows them.
    #[must_use]
    pub fn of<N>(pipeline: &Pipeline<N>, status: TransactionStatus, clock: u64) -> Facts<'a> {
        Facts {
            owed: pipeline.len(),
            settled: pipeline.is_settled(),
            status,
            copy: if pipeline.is_copying_in() {
                Copy::In
            } else {
                Copy::None
            },
            batch: match pipeline.awaits_sync() {
                true => Batch::Open,
                false => Batch::Closed,
            },
            ..Facts::idle(clock)
        }
    }
}

/// Why a session cannot move now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Requests are not answered.
    Owed {
        /// How many.
        requests: usize,
    },
    /// The server skips what it is sent, up to a Sync, or whether one more answer comes is not known.
    Unsettled,
    /// A batch of the extended protocol is not closed by a Sync.
    OpenBatch,
    /// A transaction is open.
    Transaction,
    /// A transaction is open and has failed.
    FailedTransaction,
    /// COPY.
    Copy(Copy),
    /// A message from the client is half forwarded.
    Request {
        /// How many bytes are to come.
        left: u64,
    },
    /// What the client has sent is on its way to the server.
    Unsent {
        /// How many bytes.
        bytes: u64,
    },
    /// A message to the client is half forwarded.
    Response {
        /// How many bytes are to come.
        left: u64,
    },
    /// State that cannot be copied, or may be.
    Pinned(Pin),
    /// The session passes unread.
    Unread,
}

impl Obstacle {
    /// Whether the server alone ends it: it is worth to hold the client back until then.
    #[must_use]
    pub fn passes_by_itself(&self) -> bool {
        match self {
            Obstacle::Owed { .. } | Obstacle::Response { .. } | Obstacle::Unsent { .. } => true,
            Obstacle::Unsettled
            | Obstacle::OpenBatch
            | Obstacle::Transaction
            | Obstacle::FailedTransaction
            | Obstacle::Copy(_)
            | Obstacle::Request { .. }
            | Obstacle::Pinned(_)
            | Obstacle::Unread => false,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Owed { requests: 1 } => f.write_str("a request is not answered"),
            Obstacle::Owed { requests } => write!(f, "{requests} requests are not answered"),
            Obstacle::Unsettled => f.write_str("what the server answers next is not known"),
            Obstacle::OpenBatch => f.write_str("a batch waits for its Sync"),
            Obstacle::Transaction => f.write_str("a transaction is open"),
            Obstacle::FailedTransaction => f.write_str("a failed transaction is open"),
            Obstacle::Copy(Copy::In) => f.write_str("the client sends COPY data"),
            Obstacle::Copy(Copy::Out) => f.write_str("the server sends COPY data"),
            Obstacle::Copy(Copy::Both | Copy::None) => f.write_str("COPY in both directions"),
            Obstacle::Request { left } => {
                write!(f, "a message of the client has {left} bytes to come")
            }
            Obstacle::Unsent { bytes } => {
                write!(f, "{bytes} bytes of the client are on their way")
            }
            Obstacle::Response { left } => {
                write!(f, "a message to the client has {left} bytes to come")
            }
            Obstacle::Pinned(pin) => write!(f, "pinned: {pin}"),
            Obstacle::Unread => f.write_str("the session passes unread"),
        }
    }
}

/// Every [`Obstacle`] that there is, at least one. As text for an operator: all of them, parted by semicolons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsafe(Vec<Obstacle>);

impl Unsafe {
    /// The obstacles, the shortest-lived kinds first.
    #[must_use]
    pub fn obstacles(&self) -> &[Obstacle] {
        &self.0
    }

    /// Whether the server alone ends all of them, if no further request reaches it.
    #[must_use]
    pub fn passes_by_itself(&self) -> bool {
        self.0.iter().all(Obstacle::passes_by_itself)
    }
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, obstacle) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{obstacle}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unsafe {}

/// The proof that a session was at a safe point: only [`safe_point`] makes one, and nobody copies it.
///
/// It knows the time of the client's last message. A cutover demands one that knows the same time as the one with which the
/// client was held, so a message of the client that has passed meanwhile makes it worthless.
#[derive(Debug, PartialEq, Eq)]
pub struct Quiescent {
    clock: u64,
}

impl Quiescent {
    /// The time of the client's last message, by the logical clock.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock
    }
}

/// Whether a session can leave its server now: every request is answered, which is counted, no transaction, batch or COPY is
/// open, no message is half way, and nothing ties it to the server.
///
/// # Errors
/// Everything that speaks against it.
pub fn safe_point(facts: &Facts<'_>, trust: Trust) -> Result<Quiescent, Unsafe> {
    let mut found = Vec::new();
    let mut when = |is: bool, obstacle| {
        if is {
            found.push(obstacle);
        }
    };
    let (requests, left) = (facts.owed, facts.response_left);
    when(requests > 0, Obstacle::Owed { requests });
    when(left > 0, Obstacle::Response { left });
    when(requests == 0 && !facts.settled, Obstacle::Unsettled);
    let left = facts.request_left;
    when(left > 0, Obstacle::Request { left });
    let bytes = facts.request_unsent;
    when(bytes > 0, Obstacle::Unsent { bytes });
    when(facts.batch == Batch::Open, Obstacle::OpenBatch);
    when(facts.copy != Copy::None, Obstacle::Copy(facts.copy));
    match facts.status {
        TransactionStatus::Idle => {}
        TransactionStatus::InTransaction => when(true, Obstacle::Transaction),
        TransactionStatus::Failed => when(true, Obstacle::FailedTransaction),
    }
    for pin in facts.pins {
        when(ties(*pin, trust), Obstacle::Pinned(*pin));
    }
    when(facts.carriage == Carriage::Unread, Obstacle::Unread);
    if found.is_empty() {
        Ok(Quiescent { clock: facts.clock })
    } else {
        Err(Unsafe(found))
    }
}

/// Whether a pin, which says that reads may not go elsewhere, also keeps the session from leaving.
fn ties(pin: Pin, trust: Trust) -> bool {
    match pin {
        // State that no probe sees.
        Pin::Load | Pin::SetSeed => true,
        // What the journal cannot repeat or does not know. A probe reads most of it.
        Pin::TemporaryObject
        | Pin::TemporarySchema
        | Pin::Setting
        | Pin::SettingsDiffer
        | Pin::SetConfig
        | Pin::Savepoint
        | Pin::TooManySettings
        | Pin::TooManyStatements
        | Pin::UnreadStatement
        | Pin::RestoreFailed
        | Pin::Procedure
        | Pin::Unaccounted
        | Pin::Lexing => trust == Trust::Journal,
        // What only two servers at once cannot have, or a standby.
        Pin::UnloggedObject | Pin::Serializable | Pin::IdleTimeout | Pin::LoginDefaults => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Direction, Traffic, start};
    use super::*;
    use crate::track::pipeline::{Kind, Owner};

    fn obstacles(facts: &Facts<'_>) -> Vec<Obstacle> {
        match safe_point(facts, Trust::Journal) {
            Ok(_) => Vec::new(),
            Err(why) => why.obstacles().to_vec(),
        }
    }

    type Change = fn(&mut Facts<'_>);

    /// Each fact by itself, and what an operator reads of it.
    const ROWS: &[(Change, Obstacle, &str)] = &[
        (
            |facts| facts.owed = 1,
            Obstacle::Owed { requests: 1 },
            "a request is not answered",
        ),
        (
            |facts| (facts.owed, facts.settled) = (2, false),
            Obstacle::Owed { requests: 2 },
            "2 requests are not answered",
        ),
        (
            |facts| facts.settled = false,
            Obstacle::Unsettled,
            "what the server answers next is not known",
        ),
        (
            |facts| facts.batch = Batch::Open,
            Obstacle::OpenBatch,
            "a batch waits for its Sync",
        ),
        (
            |facts| facts.status = TransactionStatus::InTransaction,
            Obstacle::Transaction,
            "a transaction is open",
        ),
        (
            |facts| facts.status = TransactionStatus::Failed,
            Obstacle::FailedTransaction,
            "a failed transaction is open",
        ),
        (
            |facts| facts.copy = Copy::In,
            Obstacle::Copy(Copy::In),
            "the client sends COPY data",
        ),
        (
            |facts| facts.copy = Copy::Out,
            Obstacle::Copy(Copy::Out),
            "the server sends COPY data",
        ),
        (
            |facts| facts.copy = Copy::Both,
            Obstacle::Copy(Copy::Both),
            "COPY in both directions",
        ),
        (
            |facts| facts.request_left = 9,
            Obstacle::Request { left: 9 },
            "a message of the client has 9 bytes to come",
        ),
        (
            |facts| facts.request_unsent = 4,
            Obstacle::Unsent { bytes: 4 },
            "4 bytes of the client are on their way",
        ),
        (
            |facts| facts.response_left = 3,
            Obstacle::Response { left: 3 },
            "a message to the client has 3 bytes to come",
        ),
        (
            |facts| facts.pins = &[Pin::Load],
            Obstacle::Pinned(Pin::Load),
            "pinned: a loaded library",
        ),
        (
            |facts| facts.pins = &[Pin::SetSeed],
            Obstacle::Pinned(Pin::SetSeed),
            "pinned: setseed",
        ),
        (
            |facts| facts.carriage = Carriage::Unread,
            Obstacle::Unread,
            "the session passes unread",
        ),
    ];

    #[test]
    fn every_fact_refuses_by_itself() {
        for (change, obstacle, text) in ROWS {
            let mut facts = Facts::idle(7);
            change(&mut facts);
            assert_eq!(obstacles(&facts), [*obstacle], "{text}");
            assert_eq!(obstacle.to_string(), *text);
        }
        let proof = safe_point(&Facts::idle(7), Trust::Journal).unwrap();
        assert_eq!(proof.clock(), 7);
    }

    #[test]
    fn all_obstacles_are_told_at_once() {
        let facts = Facts {
            owed: 1,
            settled: false,
            status: TransactionStatus::InTransaction,
            pins: &[Pin::Load, Pin::Serializable, Pin::SetConfig],
            ..Facts::idle(1)
        };
        let why = safe_point(&facts, Trust::Journal).unwrap_err();
        assert_eq!(
            why.to_string(),
            "a request is not answered; a transaction is open; pinned: a loaded library; \
             pinned: set_config with a name or a value that the text does not show"
        );
        assert!(!why.passes_by_itself());
        let facts = Facts {
            owed: 3,
            response_left: 1,
            ..Facts::idle(1)
        };
        assert!(
            safe_point(&facts, Trust::Journal)
                .unwrap_err()
                .passes_by_itself()
        );
    }

    /// A pin that is about readers does not hold a session that moves whole; one that a probe clears up does not hold
    /// where the probe is trusted; the rest always hold.
    #[test]
    fn pins_weigh_by_what_can_be_found_out() {
        let tied = |pin, trust| {
            safe_point(
                &Facts {
                    pins: &[pin],
                    ..Facts::idle(0)
                },
                trust,
            )
            .is_err()
        };
        for pin in [
            Pin::UnloggedObject,
            Pin::Serializable,
            Pin::IdleTimeout,
            Pin::LoginDefaults,
        ] {
            assert!(
                !tied(pin, Trust::Journal) && !tied(pin, Trust::Probe),
                "{pin}"
            );
        }
        for pin in [
            Pin::TemporaryObject,
            Pin::Setting,
            Pin::SetConfig,
            Pin::Savepoint,
            Pin::TooManySettings,
            Pin::TooManyStatements,
            Pin::UnreadStatement,
            Pin::RestoreFailed,
            Pin::Procedure,
            Pin::Unaccounted,
            Pin::Lexing,
        ] {
            assert!(
                tied(pin, Trust::Journal) && !tied(pin, Trust::Probe),
                "{pin}"
            );
        }
        for pin in [Pin::Load, Pin::SetSeed] {
            assert!(
                tied(pin, Trust::Journal) && tied(pin, Trust::Probe),
                "{pin}"
            );
        }
    }

    /// One session under both predicates: what passed, and what each says then.
    struct Both {
        traffic: Traffic,
        pipeline: Pipeline<()>,
        status: TransactionStatus,
        batch: Batch,
    }

    impl Both {
        fn new() -> Both {
            Both {
                traffic: Traffic::new(start()),
                pipeline: Pipeline::new(),
                status: TransactionStatus::Idle,
                batch: Batch::Closed,
            }
        }

        fn ask(mut self, tag: u8, kind: Kind) -> Both {
            self.traffic.passes(Direction::Request, tag);
            self.pipeline.sent(kind, Owner::Client, (), 0);
            self.batch = match kind {
                Kind::Sync | Kind::Query => Batch::Closed,
                _ => Batch::Open,
            };
            self
        }

        fn answer(mut self, tag: u8, status: u8) -> Both {
            self.traffic.passes(Direction::Response, tag);
            if !b"NSA".contains(&tag) {
                self.pipeline.reply(tag).unwrap();
            }
            if let (b'Z', Some(status)) = (tag, TransactionStatus::from_byte(status)) {
                self.status = status;
            }
            self
        }

        /// What sqlproxy says, and what we say.
        fn say(&self) -> (bool, Vec<Obstacle>) {
            let facts = Facts {
                batch: self.batch,
                ..Facts::of(
                    &self.pipeline,
                    self.status,
                    self.traffic.last(Direction::Request).at,
                )
            };
            (self.traffic.is_safe_transfer_point(), obstacles(&facts))
        }
    }

    #[test]
    fn both_agree_on_a_plain_request() {
        let both = Both::new().ask(b'Q', Kind::Query);
        assert_eq!(both.say(), (false, vec![Obstacle::Owed { requests: 1 }]));
        let both = both.answer(b'C', 0);
        assert!(!both.say().0 && !both.say().1.is_empty());
        assert_eq!(both.answer(b'Z', b'I').say(), (true, vec![]));
    }

    /// W1: the first of two pipelined answers has come, and the second query still runs.
    #[test]
    fn a_pipeline_is_counted() {
        let both = Both::new()
            .ask(b'Q', Kind::Query)
            .ask(b'Q', Kind::Query)
            .answer(b'C', 0)
            .answer(b'Z', b'I');
        assert_eq!(both.say(), (true, vec![Obstacle::Owed { requests: 1 }]));
        let both = both.answer(b'C', 0).answer(b'Z', b'I');
        assert_eq!(both.say(), (true, vec![]));
    }

    /// W2: ReadyForQuery says that a transaction is open.
    #[test]
    fn the_transaction_status_is_read() {
        let begun = |status| {
            Both::new()
                .ask(b'Q', Kind::Query)
                .answer(b'C', 0)
                .answer(b'Z', status)
                .say()
        };
        assert_eq!(begun(b'T'), (true, vec![Obstacle::Transaction]));
        assert_eq!(begun(b'E'), (true, vec![Obstacle::FailedTransaction]));
    }

    /// W9: a notice, a parameter or a notification reaches a session that is idle.
    #[test]
    fn what_comes_unasked_changes_nothing() {
        for tag in *b"NSA" {
            let both = Both::new()
                .ask(b'Q', Kind::Query)
                .answer(b'C', 0)
                .answer(b'Z', b'I');
            assert_eq!(
                both.answer(tag, 0).say(),
                (false, vec![]),
                "{}",
                char::from(tag)
            );
        }
    }

    /// Flush brings the answers of a batch, and the server still holds its transaction and portals.
    #[test]
    fn a_batch_without_its_sync_is_open() {
        let both = Both::new().ask(b'P', Kind::Parse).answer(b'1', 0);
        assert_eq!(both.say(), (false, vec![Obstacle::OpenBatch]));
        let both = both.ask(b'S', Kind::Sync).answer(b'Z', b'I');
        assert_eq!(both.say(), (true, vec![]));
    }
}
