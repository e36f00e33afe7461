//! What the tag of a CommandComplete says of the statement that it ends.

use crate::route::{Effect, SettingKind, SettingValue};

/// The tag of a query of calls alone, which gives one row. Without a tag its portal is suspended behind that.
const ONE_ROW: &[u8] = b"SELECT 1";

/// The same of one that has no row left: it came before, and was all that it does.
const NO_ROW: &[u8] = b"SELECT 0";

/// What a tag says of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Happened,
    /// It has happened before.
    Nothing,
    /// What has run is another statement.
    Another,
}

/// The same, of the effects that show in their tags: by the first word of those that PostgreSQL has (`cmdtaglist.h`).
pub(super) fn said_of(effect: &Effect, tag: &[u8]) -> Said {
    let words: &[&[u8]] = match effect {
        Effect::Begin(_) => &[b"BEGIN", b"START"],
        Effect::Commit { .. } | Effect::Rollback { .. } => &[b"COMMIT", b"ROLLBACK"],
        Effect::PrepareTransaction => &[b"PREPARE", b"ROLLBACK"],
        Effect::Savepoint(_) => &[b"SAVEPOINT"],
        Effect::RollbackToSavepoint(_) => &[b"ROLLBACK"],
        Effect::Release(_) => &[b"RELEASE"],
        Effect::Setting(change) => match (change.kind, &change.value) {
            (SettingKind::Set | SettingKind::Reset, _) => &[b"SET", b"RESET"],
            // That there may be such a call is all that is known.
            (SettingKind::Call, SettingValue::Opaque) => return Said::Happened,
            (SettingKind::Call, SettingValue::Default | SettingValue::List(_)) => {
                return match tag {
                    b"" | ONE_ROW => Said::Happened,
                    NO_ROW => Said::Nothing,
                    _ => Said::Another,
                };
            }
        },
        Effect::ResetAll => &[b"RESET"],
        Effect::DiscardAll | Effect::DiscardTemp | Effect::DiscardSequences => &[b"DISCARD"],
        Effect::Deallocate(_) | Effect::DeallocateAll => &[b"DEALLOCATE"],
        Effect::Prepare(_) => &[b"PREPARE"],
        Effect::CloseAll => &[b"CLOSE"],
        Effect::SetTransaction(_)
        | Effect::Execute { .. }
        | Effect::Pin(_)
        | Effect::DiscardPlans
        | Effect::UnlistenAll => return Said::Happened,
    };
    let word = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
    match words.contains(&word) {
        true => Said::Happened,
        false => Said::Another,
    }
}
