//! What a text would be to a READ ONLY transaction that runs on a reader.

use crate::route::{
    Access, Class, Effect, Form, Intent, Isolation, PinKind, Scope, SettingChange, Spelt,
    StatementEffect, TransactionModes,
};

/// What a text, or the texts of a segment together, would be to a READ ONLY transaction on a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// No statement.
    #[default]
    Empty,
    /// Proven reads, or reads that may be tried there.
    Reads,
    /// It opens such a transaction and reads in it.
    Opens(TransactionModes),
    /// The same, and it ends it.
    OpensAndEnds(TransactionModes),
    /// It gives the open transaction other modes.
    Shapes(TransactionModes),
    /// A setting of the transaction that changes neither what texts mean nor what a server reports.
    Local,
    /// It makes, releases or goes back to savepoints, and may read. Of several SHOWs in one text is not known whether
    /// one of them reads, so they are this, too.
    Savepoint,
    /// It ends the transaction by this, and nothing else.
    Ends(End),
    /// It reads, and its last statement ends the transaction.
    ReadsAndEnds,
    /// It is one statement, which ends the transaction and begins another with the same modes.
    Chains,
    /// Its first statement ends the transaction by this, and others follow.
    EndsFirst(End),
    /// It belongs on the writer.
    Foreign,
}

/// By which command a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    Rollback,
}

/// Whether reads that are not proven to be reads may run on a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    Stay,
    Go,
}

/// Whether a server that runs something fixes what the transaction sees, before which its modes may still change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Snapshot {
    #[default]
    NotTaken,
    Taken,
}

/// In what a segment brings its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// One Query.
    Query,
    /// Extended messages, of which none was run that ends a transaction.
    Batch,
    /// Extended messages, of which one was.
    RunEnd,
}

/// What a failed transaction makes of the first statement of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// There is none so far.
    Unknown,
    /// It refuses it, and all that follows up to the next ReadyForQuery.
    Refused,
    /// It runs it, or may.
    Runs,
}

/// Whether a segment leaves something in its transaction by its messages alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    None,
    /// A batch that goes on.
    Batch,
    /// A portal that outlives its batch.
    Portal,
}

impl First {
    /// What it makes of the first statement of a text.
    pub(super) fn of(intent: &Intent) -> First {
        let first = intent.effects.first().filter(|effect| effect.index == 0);
        let exits = first.is_some_and(|happened| {
            matches!(
                happened.effect,
                Effect::Commit { .. }
                    | Effect::Rollback { .. }
                    | Effect::RollbackToSavepoint(_)
                    | Effect::PrepareTransaction
            )
        });
        match exits || intent.class == Class::Unreadable {
            true => First::Runs,
            false => First::Refused,
        }
    }
}

impl Part {
    /// What a text is, where a transaction is `by_default` what its BEGIN does not say.
    pub(super) fn of(intent: &Intent, unproven: Unproven, by_default: Access) -> Part {
        let mut effects = intent.effects.iter().filter(|effect| binds(effect));
        let Some(first) = effects.next() else {
            return without_effects(intent, unproven);
        };
        if let Some(end) = ends_first(intent, first) {
            return Part::EndsFirst(end);
        }
        if let (Effect::Setting(change), 1) = (&first.effect, intent.statements) {
            return match is_local(change) && effects.next().is_none() {
                true => Part::Local,
                false => Part::Foreign,
            };
        }
        if !reads(intent.within, unproven) || intent.class > Class::Transaction {
            return Part::Foreign;
        }
        if let (Effect::Begin(modes), 0) = (&first.effect, first.index) {
            let modes = TransactionModes {
                access: Some(modes.access.unwrap_or(by_default)),
                ..*modes
            };
            if is_read_only(modes) {
                return opening(intent, modes, effects);
            }
        }
        match intent.statements {
            1 => alone(&first.effect),
            _ => mixed(intent, std::iter::once(first).chain(effects)),
        }
    }

    /// What this and a text that follows it in the same batch are together.
    pub(super) fn and(self, next: Part) -> Part {
        use Part::{
            Chains, Empty, Ends, EndsFirst, Foreign, Local, Opens, OpensAndEnds, Reads,
            ReadsAndEnds, Savepoint, Shapes,
        };
        match (self, next) {
            (Empty, part) | (part, Empty) => part,
            (one, other) if one == other => one,
            (Opens(modes), Reads) => Opens(modes),
            (Opens(modes), Ends(_)) | (OpensAndEnds(modes), Ends(_)) => OpensAndEnds(modes),
            (Reads | Savepoint | Local, Reads | Savepoint | Local) => Savepoint,
            (Reads | ReadsAndEnds, Ends(_)) => ReadsAndEnds,
            (EndsFirst(end), _) => EndsFirst(end),
            (
                Ends(_) | ReadsAndEnds | Reads | Opens(_) | OpensAndEnds(_) | Shapes(_) | Local
                | Savepoint | Chains | Foreign,
                _,
            ) => Foreign,
        }
    }

    /// Whether it does nothing but end a transaction.
    pub(super) fn is_end(self) -> bool {
        match self {
            Part::Ends(_) | Part::Chains => true,
            Part::Empty
            | Part::Reads
            | Part::Opens(_)
            | Part::OpensAndEnds(_)
            | Part::Shapes(_)
            | Part::Local
            | Part::Savepoint
            | Part::ReadsAndEnds
            | Part::EndsFirst(_)
            | Part::Foreign => false,
        }
    }

    /// The modes of the transaction that it opens.
    pub(super) fn opened(self) -> Option<TransactionModes> {
        match self {
            Part::Opens(modes) | Part::OpensAndEnds(modes) => Some(modes),
            Part::Empty
            | Part::Reads
            | Part::Shapes(_)
            | Part::Local
            | Part::Savepoint
            | Part::Ends(_)
            | Part::ReadsAndEnds
            | Part::Chains
            | Part::EndsFirst(_)
            | Part::Foreign => None,
        }
    }
}

/// Whether a text makes a server fix what its transaction sees, as soon as it is parsed.
pub(super) fn takes_snapshot(intent: &Intent) -> Snapshot {
    match intent.form {
        Form::Read | Form::CopyOut | Form::Utility if reads(intent.class, Unproven::Go) => {
            Snapshot::Taken
        }
        Form::Empty
        | Form::Read
        | Form::Write
        | Form::Setting
        | Form::Transaction
        | Form::Cursor
        | Form::Prepared
        | Form::Notification
        | Form::CopyIn
        | Form::CopyOut
        | Form::Utility
        | Form::Unknown => Snapshot::NotTaken,
    }
}

/// Whether a statement that ended with this tag fixed what its transaction sees.
pub(super) fn took_snapshot(tag: &[u8]) -> Snapshot {
    let word = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
    let without: [&[u8]; 10] = [
        b"BEGIN",
        b"START",
        b"COMMIT",
        b"ROLLBACK",
        b"SAVEPOINT",
        b"RELEASE",
        b"SET",
        b"RESET",
        b"SHOW",
        b"DEALLOCATE",
    ];
    match without.contains(&word) {
        true => Snapshot::NotTaken,
        false => Snapshot::Taken,
    }
}

/// Whether modes leave a transaction one that a standby can run, and that may be begun elsewhere with them.
pub(super) fn is_possible(modes: TransactionModes) -> bool {
    modes.access != Some(Access::ReadWrite)
        && modes.isolation != Some(Isolation::Serializable)
        && modes.spelt == Spelt::Once
}

fn is_read_only(modes: TransactionModes) -> bool {
    modes.access == Some(Access::ReadOnly) && is_possible(modes)
}

/// Whether an effect is more than what code that a text does not show may have.
fn binds(effect: &StatementEffect) -> bool {
    effect.effect != Effect::Pin(PinKind::UnknownCode)
}

fn reads(class: Class, unproven: Unproven) -> bool {
    class.is_read() || class == Class::Unproven && unproven == Unproven::Go
}

fn without_effects(intent: &Intent, unproven: Unproven) -> Part {
    if intent.class == Class::Empty {
        return Part::Empty;
    }
    match reads(intent.class, unproven) {
        true if intent.form == Form::Setting && intent.statements > 1 => Part::Savepoint,
        true => Part::Reads,
        false => Part::Foreign,
    }
}

/// How a text's first statement ends a transaction, if others follow it.
fn ends_first(intent: &Intent, first: &StatementEffect) -> Option<End> {
    let end = end_of(&first.effect).filter(|_| first.index == 0)?;
    (intent.statements > 1 && intent.class != Class::Unreadable).then_some(end)
}

/// How an effect ends a transaction, if no other begins with it.
fn end_of(effect: &Effect) -> Option<End> {
    let Part::Ends(end) = alone(effect) else {
        return None;
    };
    Some(end)
}

/// Whether an effect is that of the last statement of a text.
fn is_last(intent: &Intent, effect: &StatementEffect) -> bool {
    effect.index.saturating_add(1) == intent.statements
}

/// A text that opens a transaction: reads may follow, and its end.
fn opening<'a>(
    intent: &Intent,
    modes: TransactionModes,
    mut behind: impl Iterator<Item = &'a StatementEffect>,
) -> Part {
    match (behind.next(), behind.next()) {
        (None, _) => Part::Opens(modes),
        (Some(end), None) if end_of(&end.effect).is_some() && is_last(intent, end) => {
            Part::OpensAndEnds(modes)
        }
        (Some(_), _) => Part::Foreign,
    }
}

/// One statement on the transaction.
fn alone(effect: &Effect) -> Part {
    match effect {
        Effect::Begin(modes) | Effect::SetTransaction(modes) => Part::Shapes(*modes),
        Effect::Commit { chain: false } => Part::Ends(End::Commit),
        Effect::Rollback { chain: false } => Part::Ends(End::Rollback),
        Effect::Commit { chain: true } | Effect::Rollback { chain: true } => Part::Chains,
        Effect::Savepoint(_) | Effect::RollbackToSavepoint(_) | Effect::Release(_) => {
            Part::Savepoint
        }
        Effect::PrepareTransaction
        | Effect::Setting(_)
        | Effect::ResetAll
        | Effect::DiscardAll
        | Effect::DiscardPlans
        | Effect::DiscardSequences
        | Effect::DiscardTemp
        | Effect::Deallocate(_)
        | Effect::DeallocateAll
        | Effect::Prepare(_)
        | Effect::Execute { .. }
        | Effect::UnlistenAll
        | Effect::CloseAll
        | Effect::Pin(_) => Part::Foreign,
    }
}

/// Several statements: reads, with savepoints or an end behind them.
fn mixed<'a>(intent: &Intent, effects: impl Iterator<Item = &'a StatementEffect>) -> Part {
    let mut part = Part::Reads;
    for effect in effects {
        part = match (part, alone(&effect.effect)) {
            (Part::Reads | Part::Savepoint, Part::Savepoint) => Part::Savepoint,
            (Part::Reads, Part::Ends(_)) if is_last(intent, effect) => Part::ReadsAndEnds,
            _ => return Part::Foreign,
        };
    }
    part
}

/// Whether a setting ends with its transaction and concerns nothing but how a server plans and how long it waits: none of
/// these is reported, and no text means anything else under it.
fn is_local(change: &SettingChange) -> bool {
    const NAMES: [&[u8]; 12] = [
        b"effective_cache_size",
        b"extra_float_digits",
        b"hash_mem_multiplier",
        b"idle_in_transaction_session_timeout",
        b"jit",
        b"lock_timeout",
        b"max_parallel_workers_per_gather",
        b"plan_cache_mode",
        b"random_page_cost",
        b"seq_page_cost",
        b"statement_timeout",
        b"work_mem",
    ];
    let known = NAMES.contains(&&*change.name) || change.name.starts_with(b"enable_");
    change.scope == Scope::Local && change.portable && known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{LexState, Rules, scan};

    fn of(text: &str) -> Part {
        part(text, Unproven::Stay)
    }

    fn part(text: &str, unproven: Unproven) -> Part {
        let intent = scan(text.as_bytes(), &LexState::defaults(), &Rules::default());
        Part::of(&intent, unproven, Access::ReadWrite)
    }

    #[test]
    fn a_text_opens_a_read_only_transaction_in_every_spelling() {
        for text in [
            "begin read only",
            "BEGIN TRANSACTION READ ONLY",
            "begin work read only;",
            "start transaction read only",
            "begin isolation level repeatable read, read only",
            "begin read only isolation level repeatable read",
            "start transaction isolation level read committed read only not deferrable",
            "begin isolation level read uncommitted, deferrable, read only",
            "/* a */ begin /* b */ read -- c\n only; select 1; show timezone",
        ] {
            assert!(matches!(of(text), Part::Opens(_)), "{text}: {:?}", of(text));
        }
        for text in [
            "begin read only; select 1; commit",
            "begin read only; rollback;",
            "begin read only; select 1; end",
        ] {
            assert!(
                matches!(of(text), Part::OpensAndEnds(_)),
                "{text}: {:?}",
                of(text)
            );
        }
        for text in [
            "begin",
            "begin read write",
            "begin read only, isolation level serializable",
            "begin read only isolation level serializable isolation level read committed",
            "begin read write read only",
            "begin read only; insert into t values (1)",
            "begin read only; select pg_backend_pid()",
            "begin read only; select app.f()",
            "begin read only; savepoint a",
            "begin read only; set local work_mem = '1MB'",
            "begin read only; set transaction read write",
            "begin read only; commit and chain",
            "begin read only; commit; select 1",
            "begin read only; begin read only",
            "select 1; begin read only",
        ] {
            let part = of(text);
            assert_eq!(part.opened(), None, "{text}: {part:?}");
        }
    }

    #[test]
    fn what_follows_is_sorted() {
        for (text, expected) in [
            ("", Part::Empty),
            (";;", Part::Empty),
            ("select 1", Part::Reads),
            ("select 1; select 2", Part::Reads),
            ("show timezone", Part::Reads),
            ("show timezone; select 1", Part::Savepoint),
            ("copy t to stdout", Part::Reads),
            ("explain select 1", Part::Reads),
            ("savepoint a", Part::Savepoint),
            ("release a", Part::Savepoint),
            ("rollback to a", Part::Savepoint),
            ("savepoint a; select 1", Part::Savepoint),
            ("select 1; commit", Part::ReadsAndEnds),
            ("savepoint a; commit", Part::Foreign),
            ("commit", Part::Ends(End::Commit)),
            ("end", Part::Ends(End::Commit)),
            ("abort", Part::Ends(End::Rollback)),
            ("commit and no chain", Part::Ends(End::Commit)),
            ("commit and chain", Part::Chains),
            ("rollback and chain", Part::Chains),
            ("select 1; commit and chain", Part::Foreign),
            ("commit; select 1", Part::EndsFirst(End::Commit)),
            ("rollback; begin", Part::EndsFirst(End::Rollback)),
            ("rollback; delete from t", Part::EndsFirst(End::Rollback)),
            ("rollback and chain; delete from t", Part::Foreign),
            ("select 1; commit; select 2", Part::Foreign),
            ("set local statement_timeout = '1s'", Part::Local),
            ("set local enable_seqscan = off", Part::Local),
            ("set local enable_seqscan = off; select 1", Part::Foreign),
            ("set statement_timeout = '1s'", Part::Foreign),
            ("set local timezone = 'UTC'", Part::Foreign),
            ("set local search_path = a", Part::Foreign),
            ("set constraints all deferred", Part::Foreign),
            ("prepare transaction 'a'", Part::Foreign),
            ("declare c cursor for select 1", Part::Foreign),
            ("fetch c", Part::Foreign),
            ("listen a", Part::Foreign),
            ("notify a", Part::Foreign),
            ("insert into t values (1)", Part::Foreign),
            ("select nextval('s')", Part::Foreign),
            ("select pg_advisory_lock(1)", Part::Foreign),
            ("select app.f()", Part::Foreign),
            ("execute s", Part::Foreign),
            ("lock t", Part::Foreign),
            ("show transaction_read_only", Part::Foreign),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn doubtful_reads_and_batches_are_sorted() {
        assert_eq!(part("select app.f()", Unproven::Go), Part::Reads);
        assert_eq!(
            part("select app.f(pg_advisory_lock(1))", Unproven::Go),
            Part::Foreign
        );
        let batch = |texts: &[&str]| {
            texts
                .iter()
                .fold(Part::Empty, |all, text| all.and(of(text)))
        };
        assert_eq!(batch(&["commit", "commit"]), Part::Ends(End::Commit));
        assert_eq!(batch(&["commit", "select 1"]), Part::Foreign);
        assert_eq!(batch(&["select 1", "commit"]), Part::ReadsAndEnds);
        assert_eq!(batch(&["select 1", "begin read only"]), Part::Foreign);
        let opened = batch(&["begin read only", "select 1", "commit", "commit"]);
        assert!(matches!(opened, Part::OpensAndEnds(_)));
        assert_eq!(opened.and(Part::Reads), Part::Foreign);
        for text in [
            "begin",
            "set transaction read write",
            "set transaction_read_only = off",
        ] {
            assert!(matches!(of(text), Part::Shapes(_)), "{text}");
        }
    }

    #[test]
    fn a_snapshot_is_told_by_the_form_and_by_the_tag() {
        let of = |text: &str| {
            let intent = scan(text.as_bytes(), &LexState::defaults(), &Rules::default());
            takes_snapshot(&intent)
        };
        for text in [
            "select 1",
            "table t",
            "copy t to stdout",
            "explain select 1",
        ] {
            assert_eq!(of(text), Snapshot::Taken, "{text}");
        }
        for text in ["", "show timezone", "begin read only; select 1", "commit"] {
            assert_eq!(of(text), Snapshot::NotTaken, "{text}");
        }
        for tag in [&b"SELECT 1"[..], b"EXPLAIN", b"COPY 3", b"FETCH 1"] {
            assert_eq!(took_snapshot(tag), Snapshot::Taken);
        }
        for tag in [
            &b"BEGIN"[..],
            b"START TRANSACTION",
            b"SHOW",
            b"SET",
            b"ROLLBACK",
        ] {
            assert_eq!(took_snapshot(tag), Snapshot::NotTaken);
        }
    }
}
