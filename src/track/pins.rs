//! Pins: state that lives on the writer alone, so that reads have to go there too.

/// Why a session's reads stay on the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Pin {
    /// Temporary objects exist there, and may shadow permanent ones.
    TemporaryObject,
    /// Unlogged tables or sequences were made, which a standby cannot read.
    UnloggedObject,
    /// A setting was changed in a way that cannot be repeated elsewhere.
    Setting,
    /// A setting was changed by `set_config`.
    SetConfig,
    /// Settings were changed under savepoints.
    Savepoint,
    /// More settings were changed than are remembered.
    TooManySettings,
    /// More statements were prepared than are remembered.
    TooManyStatements,
    /// A statement was too long to be looked at whole.
    UnreadStatement,
    /// The reader refused to take over the session's settings.
    RestoreFailed,
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

impl Pin {
    /// Whether DISCARD ALL on the writer ends it.
    fn ends_with_discard_all(self) -> bool {
        match self {
            Pin::TemporaryObject
            | Pin::Setting
            | Pin::SetConfig
            | Pin::Savepoint
            | Pin::TooManySettings
            | Pin::RestoreFailed
            | Pin::Procedure
            | Pin::Serializable
            | Pin::IdleTimeout
            | Pin::UnreadStatement
            | Pin::Unaccounted => true,
            Pin::UnloggedObject
            | Pin::TooManyStatements
            | Pin::LoginDefaults
            | Pin::Load
            | Pin::SetSeed
            | Pin::Lexing => false,
        }
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pin::TemporaryObject => "temporary objects",
            Pin::UnloggedObject => "unlogged objects",
            Pin::Setting => "a setting that cannot be repeated elsewhere",
            Pin::SetConfig => "set_config",
            Pin::Savepoint => "settings changed under a savepoint",
            Pin::TooManySettings => "too many settings",
            Pin::TooManyStatements => "too many prepared statements",
            Pin::UnreadStatement => "a statement too long to be read",
            Pin::RestoreFailed => "the reader refused the session's settings",
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

/// The pins that hold now, oldest first.
#[derive(Debug, Default)]
pub struct Pins(Vec<Pin>);

impl Pins {
    /// Adds a pin; whether it is a new one.
    pub fn add(&mut self, pin: Pin) -> bool {
        if self.0.contains(&pin) {
            return false;
        }
        self.0.push(pin);
        true
    }

    /// The oldest pin that holds.
    pub fn first(&self) -> Option<Pin> {
        self.0.first().copied()
    }

    /// Every pin that holds, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Pin> {
        self.0.iter().copied()
    }

    /// DISCARD ALL succeeded on the writer.
    pub fn discard_all(&mut self) {
        self.0.retain(|pin| !pin.ends_with_discard_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Pin; 17] = [
        Pin::TemporaryObject,
        Pin::UnloggedObject,
        Pin::Setting,
        Pin::SetConfig,
        Pin::Savepoint,
        Pin::TooManySettings,
        Pin::TooManyStatements,
        Pin::UnreadStatement,
        Pin::RestoreFailed,
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
        pins.discard_all();
        let left: Vec<Pin> = pins.iter().collect();
        assert_eq!(
            left,
            [
                Pin::UnloggedObject,
                Pin::TooManyStatements,
                Pin::LoginDefaults,
                Pin::Load,
                Pin::SetSeed,
                Pin::Lexing
            ]
        );
    }
}
