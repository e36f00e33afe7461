//! Pins: state that lives on the writer alone, so that reads have to go there too.

/// Why a session's reads stay on the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Pin {
    /// Temporary objects exist there, and may shadow permanent ones.
    TemporaryObject,
    /// The search path names the schema of temporary objects: what is made without a schema may be one.
    TemporarySchema,
    /// Unlogged tables or sequences were made, which a standby cannot read.
    UnloggedObject,
    /// A setting was changed in a way that cannot be repeated elsewhere.
    Setting,
    /// A setting was changed by `set_config` with a name or a value that was computed, or through `pg_settings`.
    SetConfig,
    /// Settings were changed under more savepoints than are remembered.
    Savepoint,
    /// More settings were changed than are remembered.
    TooManySettings,
    /// More statements were prepared than are remembered.
    TooManyStatements,
    /// A statement was too long to be looked at whole.
    UnreadStatement,
    /// The reader refused to take over the session's settings.
    RestoreFailed,
    /// The reader reports other values of the session's settings than the writer.
    SettingsDiffer,
    /// A procedure ran that may have changed settings or made temporary objects.
    Procedure,
    /// The session's transactions are serializable unless they say otherwise, which a standby refuses.
    Serializable,
    /// The server ends the session when it idles, as it does while its reads run elsewhere.
    IdleTimeout,
    /// The defaults of later logins were changed, and the reader's may be one of them.
    LoginDefaults,
    /// A library was loaded.
    Load,
    /// `setseed` was called.
    SetSeed,
    /// A statement's effect on the session is not known.
    Unaccounted,
    /// The server works in a client encoding or with settings that texts cannot be read under.
    Lexing,
}

/// What takes a pin off, when it is committed on the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD TEMP`.
    DiscardTemp,
    /// `DEALLOCATE ALL`.
    DeallocateAll,
}

impl Pin {
    /// Whether it ends with what the session has done now.
    fn ends_with(self, lift: Lift) -> bool {
        match self {
            Pin::TemporaryObject => match lift {
                Lift::DiscardAll | Lift::DiscardTemp => true,
                Lift::DeallocateAll => false,
            },
            Pin::TooManyStatements => match lift {
                Lift::DiscardAll | Lift::DeallocateAll => true,
                Lift::DiscardTemp => false,
            },
            Pin::TemporarySchema
            | Pin::Setting
            | Pin::SetConfig
            | Pin::Savepoint
            | Pin::TooManySettings
            | Pin::RestoreFailed
            | Pin::SettingsDiffer
            | Pin::Procedure
            | Pin::Serializable
            | Pin::IdleTimeout
            | Pin::UnreadStatement
            | Pin::Unaccounted => lift == Lift::DiscardAll,
            Pin::UnloggedObject | Pin::LoginDefaults | Pin::Load | Pin::SetSeed | Pin::Lexing => {
                false
            }
        }
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pin::TemporaryObject => "temporary objects",
            Pin::TemporarySchema => "the schema of temporary objects in search_path",
            Pin::UnloggedObject => "unlogged objects",
            Pin::Setting => "a setting that cannot be repeated elsewhere",
            Pin::SetConfig => "set_config with a name or a value that the text does not show",
            Pin::Savepoint => "settings changed under too many savepoints",
            Pin::TooManySettings => "too many settings",
            Pin::TooManyStatements => "too many prepared statements",
            Pin::UnreadStatement => "a statement too long to be read",
            Pin::RestoreFailed => "the reader refused the session's settings",
            Pin::SettingsDiffer => "the reader reports other settings than the writer",
            Pin::Procedure => "a procedure of unknown content",
            Pin::Serializable => "serializable transactions, which a standby refuses",
            Pin::IdleTimeout => "idle_session_timeout",
            Pin::LoginDefaults => "changed defaults of later logins",
            Pin::Load => "a loaded library",
            Pin::SetSeed => "setseed",
            Pin::Unaccounted => "a statement with an unknown effect",
            Pin::Lexing => "lexical settings that texts cannot be read under",
        })
    }
}

/// The pins that hold now.
#[derive(Debug, Default)]
pub struct Pins {
    /// Oldest first.
    held: Vec<Pin>,
    /// Those that the transaction that runs takes off, if it commits.
    lifting: Vec<Pin>,
}

impl Pins {
    /// Adds a pin; whether it is a new one. What was about to take it off came before it.
    pub fn add(&mut self, pin: Pin) -> bool {
        self.lifting.retain(|lifting| *lifting != pin);
        if self.held.contains(&pin) {
            return false;
        }
        self.held.push(pin);
        true
    }

    /// The oldest pin that holds.
    pub fn first(&self) -> Option<Pin> {
        self.held.first().copied()
    }

    /// Every pin that holds, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Pin> {
        self.held.iter().copied()
    }

    /// What takes pins off has succeeded in the transaction that runs.
    pub fn lift(&mut self, lift: Lift) {
        let ended = self.held.iter().filter(|pin| pin.ends_with(lift));
        self.lifting = ended.copied().collect();
    }

    /// What no transaction takes back has succeeded.
    pub fn lift_now(&mut self, lift: Lift) {
        self.held.retain(|pin| !pin.ends_with(lift));
    }

    /// The transaction that ran is committed.
    pub fn commit(&mut self) {
        let lifting = std::mem::take(&mut self.lifting);
        self.held.retain(|pin| !lifting.contains(pin));
    }

    /// The transaction that ran is rolled back, or a part of it: it takes off nothing.
    pub fn rollback(&mut self) {
        self.lifting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Pin; 19] = [
        Pin::TemporaryObject,
        Pin::TemporarySchema,
        Pin::UnloggedObject,
        Pin::Setting,
        Pin::SetConfig,
        Pin::Savepoint,
        Pin::TooManySettings,
        Pin::TooManyStatements,
        Pin::UnreadStatement,
        Pin::RestoreFailed,
        Pin::SettingsDiffer,
        Pin::Procedure,
        Pin::Serializable,
        Pin::IdleTimeout,
        Pin::LoginDefaults,
        Pin::Load,
        Pin::SetSeed,
        Pin::Unaccounted,
        Pin::Lexing,
    ];

    #[test]
    fn a_pin_is_new_once_and_the_oldest_is_the_reason() {
        let mut pins = Pins::default();
        assert_eq!(pins.first(), None);
        assert!(pins.add(Pin::Load));
        assert!(pins.add(Pin::Setting));
        assert!(!pins.add(Pin::Load));
        assert_eq!(pins.first(), Some(Pin::Load));
        assert_eq!(pins.iter().count(), 2);
    }

    /// DISCARD ALL resets settings and drops temporary objects; a library stays loaded.
    #[test]
    fn discard_all_ends_what_the_server_ends() {
        let mut pins = Pins::default();
        for pin in ALL {
            pins.add(pin);
        }
        pins.lift_now(Lift::DeallocateAll);
        assert_eq!(pins.iter().count(), ALL.len() - 1);
        pins.add(Pin::TooManyStatements);
        pins.lift_now(Lift::DiscardAll);
        let left: Vec<Pin> = pins.iter().collect();
        assert_eq!(
            left,
            [
                Pin::UnloggedObject,
                Pin::LoginDefaults,
                Pin::Load,
                Pin::SetSeed,
                Pin::Lexing
            ]
        );
    }

    #[test]
    fn a_pin_is_taken_off_when_that_is_committed_and_no_new_one() {
        let mut pins = Pins::default();
        let objects = [Pin::TemporaryObject, Pin::TemporarySchema];
        for pin in objects {
            pins.add(pin);
        }
        pins.lift(Lift::DiscardTemp);
        assert_eq!(pins.iter().count(), 2);
        pins.rollback();
        pins.commit();
        assert_eq!(pins.iter().count(), 2);
        pins.lift(Lift::DiscardTemp);
        assert!(!pins.add(Pin::TemporaryObject));
        pins.commit();
        assert_eq!(pins.iter().count(), 2);
        pins.lift(Lift::DiscardTemp);
        pins.commit();
        let left: Vec<Pin> = pins.iter().collect();
        assert_eq!(left, [Pin::TemporarySchema]);
    }
}
