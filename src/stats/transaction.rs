//! Transactions, as far as a server's replies tell of them.

use super::{Counter, Stats};
use crate::wire::TransactionStatus;

/// Where the transaction of a connection stands.
///
/// ReadyForQuery says what is open; command tags say how what was open ended, and that there was more than one
/// transaction between two ReadyForQuery messages. A ROLLBACK and a ROLLBACK TO SAVEPOINT have the same tag: where a
/// savepoint was set and the block goes on, the latter is assumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    open: Open,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    /// No transaction.
    #[default]
    None,
    /// Statements ran that no block holds: they commit together at the next ReadyForQuery.
    Implicit,
    /// A transaction block.
    Block(Savepoints),
    /// A transaction block in which a ROLLBACK completed: to a savepoint, or of all of it. ReadyForQuery tells.
    RolledBack,
}

/// Whether a savepoint was set in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Savepoints {
    None,
    Some,
}

/// Whether an error came since the last ReadyForQuery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outcome {
    #[default]
    Fine,
    Failed,
}

/// What a command tag means for transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Begin,
    Commit,
    Rollback,
    /// The block leaves the session; COMMIT PREPARED, of any session, ends it.
    Prepare,
    Savepoint,
    Other,
}

impl Command {
    /// COMMIT PREPARED and ROLLBACK PREPARED are statements like others: what they end is no transaction of the session.
    pub(super) fn of(tag: &[u8]) -> Command {
        match tag {
            b"BEGIN" | b"START TRANSACTION" => Command::Begin,
            b"COMMIT" => Command::Commit,
            b"ROLLBACK" => Command::Rollback,
            b"PREPARE TRANSACTION" => Command::Prepare,
            b"SAVEPOINT" => Command::Savepoint,
            _ => Command::Other,
        }
    }
}

impl Transaction {
    /// A statement ran to its end, or a part of it did.
    pub(super) fn ran(&mut self, command: Command, stats: &mut Stats) {
        self.open = match (command, self.open) {
            (Command::Begin, Open::None) => begun(Open::Block(Savepoints::None), stats),
            (Command::Begin, Open::RolledBack) => {
                stats.count(Counter::TransactionsRollback, 1);
                begun(Open::Block(Savepoints::None), stats)
            }
            // What ran before in the same request belongs to the block.
            (Command::Begin, Open::Implicit) => Open::Block(Savepoints::None),
            // A warning, and nothing else.
            (Command::Begin, Open::Block(savepoints)) => Open::Block(savepoints),
            (Command::Commit | Command::Rollback | Command::Prepare, Open::None) => Open::None,
            (Command::Commit, Open::Implicit | Open::Block(_) | Open::RolledBack) => {
                stats.count(Counter::TransactionsCommit, 1);
                Open::None
            }
            (Command::Rollback, Open::Implicit | Open::Block(Savepoints::None)) => {
                stats.count(Counter::TransactionsRollback, 1);
                Open::None
            }
            (Command::Rollback, Open::Block(Savepoints::Some) | Open::RolledBack) => {
                Open::RolledBack
            }
            (Command::Prepare, Open::Implicit | Open::Block(_) | Open::RolledBack) => Open::None,
            (Command::Savepoint, Open::Block(_)) => Open::Block(Savepoints::Some),
            (Command::Savepoint | Command::Other, Open::None) => begun(Open::Implicit, stats),
            (Command::Savepoint | Command::Other, open) => open,
        };
    }

    /// An error came.
    pub(super) fn failed(&mut self) {
        self.outcome = Outcome::Failed;
    }

    /// The server is ready for the next request.
    pub(super) fn ready(&mut self, status: TransactionStatus, stats: &mut Stats) {
        let outcome = std::mem::take(&mut self.outcome);
        self.open = match status {
            TransactionStatus::Idle => {
                self.settle(outcome, stats);
                Open::None
            }
            TransactionStatus::InTransaction | TransactionStatus::Failed => match self.open {
                // The one before was ended AND CHAIN.
                Open::None => begun(Open::Block(Savepoints::None), stats),
                Open::Implicit => Open::Block(Savepoints::None),
                Open::Block(savepoints) => Open::Block(savepoints),
                Open::RolledBack => Open::Block(Savepoints::Some),
            },
        };
    }

    /// Nothing is open any more.
    fn settle(&self, outcome: Outcome, stats: &mut Stats) {
        match (self.open, outcome) {
            (Open::None, Outcome::Fine) => {}
            (Open::None, Outcome::Failed) => {
                begun(Open::Implicit, stats);
                stats.count(Counter::TransactionsRollback, 1);
            }
            (Open::Implicit | Open::Block(_), Outcome::Fine) => {
                stats.count(Counter::TransactionsCommit, 1);
            }
            (Open::RolledBack, _) | (Open::Implicit | Open::Block(_), Outcome::Failed) => {
                stats.count(Counter::TransactionsRollback, 1);
            }
        }
    }

    /// The connection ended.
    pub(super) fn ended(&mut self, stats: &mut Stats) {
        match std::mem::take(self).open {
            // Whether the last statements outside a block were committed nobody can know.
            Open::None | Open::Implicit => {}
            Open::Block(_) | Open::RolledBack => stats.count(Counter::TransactionsRollback, 1),
        }
    }
}

fn begun(open: Open, stats: &mut Stats) -> Open {
    stats.count(Counter::Transactions, 1);
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words: a status as `I`, `T`, `E`, an error as `!`, the end as `X`, else a command tag with `_` for blanks.
    fn counted(script: &str) -> [u64; 3] {
        let (mut stats, mut transaction) = (Stats::default(), Transaction::default());
        for word in script.split(' ') {
            match word {
                "I" | "T" | "E" => {
                    let status = TransactionStatus::from_byte(word.as_bytes()[0]).unwrap();
                    transaction.ready(status, &mut stats);
                }
                "!" => transaction.failed(),
                "X" => transaction.ended(&mut stats),
                tag => {
                    let tag = tag.replace('_', " ");
                    transaction.ran(Command::of(tag.as_bytes()), &mut stats);
                }
            }
        }
        [
            stats.get(Counter::Transactions),
            stats.get(Counter::TransactionsCommit),
            stats.get(Counter::TransactionsRollback),
        ]
    }

    /// What replies a server gives to a script, and how many transactions that were: begun, committed, rolled back.
    #[test]
    fn a_table_of_transactions() {
        let rows: [(&str, [u64; 3]); 29] = [
            ("I", [0, 0, 0]),
            ("INSERT I", [1, 1, 0]),
            ("INSERT I UPDATE I", [2, 2, 0]),
            ("! I", [1, 0, 1]),
            ("INSERT ! I", [1, 0, 1]),
            // Several statements in one request are one transaction.
            ("INSERT INSERT I", [1, 1, 0]),
            ("INSERT COMMIT INSERT ! I", [2, 1, 1]),
            ("INSERT ROLLBACK SELECT I", [2, 1, 1]),
            ("BEGIN T INSERT T COMMIT I", [1, 1, 0]),
            ("START_TRANSACTION T COMMIT I", [1, 1, 0]),
            ("BEGIN T INSERT T ROLLBACK I", [1, 0, 1]),
            ("BEGIN INSERT COMMIT BEGIN DELETE ROLLBACK I", [2, 1, 1]),
            ("INSERT BEGIN T COMMIT I", [1, 1, 0]),
            // COMMIT of a failed transaction is answered with ROLLBACK.
            ("BEGIN T ! E ROLLBACK I", [1, 0, 1]),
            ("BEGIN ! E ROLLBACK I", [1, 0, 1]),
            // Outside a transaction they do nothing.
            ("COMMIT I ROLLBACK I", [0, 0, 0]),
            // A second BEGIN does nothing.
            ("BEGIN T BEGIN T COMMIT I", [1, 1, 0]),
            ("BEGIN T SAVEPOINT T ROLLBACK T COMMIT I", [1, 1, 0]),
            (
                "BEGIN T SAVEPOINT T ! E ROLLBACK T INSERT T COMMIT I",
                [1, 1, 0],
            ),
            ("BEGIN T SAVEPOINT T ROLLBACK T ROLLBACK I", [1, 0, 1]),
            ("BEGIN SAVEPOINT ROLLBACK INSERT COMMIT I", [1, 1, 0]),
            ("BEGIN T SAVEPOINT ROLLBACK BEGIN T COMMIT I", [2, 1, 1]),
            ("BEGIN T COMMIT T INSERT T COMMIT I", [2, 2, 0]),
            ("BEGIN T ROLLBACK T COMMIT I", [2, 1, 1]),
            ("BEGIN T PREPARE_TRANSACTION I COMMIT_PREPARED I", [2, 1, 0]),
            (
                "BEGIN T PREPARE_TRANSACTION I ROLLBACK_PREPARED I",
                [2, 1, 0],
            ),
            ("BEGIN T INSERT T X", [1, 0, 1]),
            ("BEGIN T X I X", [1, 0, 1]),
            // Seen from its middle on.
            ("T INSERT T COMMIT I", [1, 1, 0]),
        ];
        for (script, expected) in rows {
            assert_eq!(counted(script), expected, "{script}");
        }
    }
}
