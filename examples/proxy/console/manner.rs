//! How sessions are to move: the options of a MIGRATE, by their words.

use std::fmt;
use std::time::Duration;

use pgturnout::migrate::Trust;
use pgturnout::migrate::postgres::{Listening, OtherOids, Sequences};
use pgturnout::session::{Accept, Destination, MoveOrder, MoveTarget};

/// The longest time that may be asked for: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What a move is told, but for its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    order: MoveOrder,
    /// The options that were given.
    given: Vec<&'static str>,
}

impl Default for Manner {
    /// What the library does by default.
    fn default() -> Manner {
        // Any target will do until there is one.
        let target = MoveTarget::Writer(Destination(0));
        Manner {
            order: MoveOrder::new(target),
            given: Vec::new(),
        }
    }
}

/// An option, by its name, what it takes, and what it does.
pub(crate) const OPTIONS: &[(&str, &str, &str)] = &[
    (
        "trust",
        "journal | probe",
        "whose word counts where a statement may have changed more than its text shows (DO, CALL): journal has the session stay, probe asks the server",
    ),
    (
        "listen",
        "refuse | move",
        "a session that listens stays, or listens again on the new server",
    ),
    (
        "sequences",
        "lose | refuse",
        "a session that has called nextval or setval moves, and loses currval and lastval, or stays",
    ),
    (
        "oids",
        "refuse | remap",
        "a session whose statements have types with other OIDs there stays, or its statements are prepared with the new ones",
    ),
    (
        "accept",
        "'standby, behind, older_timeline, database, encoding, locale, older_major'",
        "what of the new server is put up with: one or several",
    ),
    (
        "timeout",
        "time",
        "how long one try may take; WITHIN is for all of them",
    ),
    ("dial", "time", "how long the dial of a try may take"),
    ("login", "time", "how long its login may take"),
    ("hold", "time", "how long an idle client may be held"),
];

/// What each word of `accept` puts up with.
const ACCEPTS: &[(&str, Accept)] = &[
    ("standby", Accept::Standby),
    ("behind", Accept::Behind),
    ("older_timeline", Accept::OlderTimeline),
    ("database", Accept::Database),
    ("encoding", Accept::Encoding),
    ("locale", Accept::Locale),
    ("older_major", Accept::OlderMajor),
];

/// Why an option is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// There is none of this name.
    Unknown(String),
    /// It was given before.
    Twice(&'static str),
    /// It does not take this.
    Value {
        option: &'static str,
        takes: &'static str,
        value: String,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unknown(name) => write!(f, "a move has no option \"{name}\""),
            Wrong::Twice(name) => write!(f, "option \"{name}\" is given twice"),
            Wrong::Value {
                option,
                takes,
                value,
            } => write!(f, "option \"{option}\" takes {takes}, not \"{value}\""),
        }
    }
}

/// The options, for the hint of an error.
pub(crate) fn hint() -> String {
    let words: Vec<String> = OPTIONS
        .iter()
        .map(|(name, takes, _)| format!("{name} = {takes}"))
        .collect();
    let words = words.join("; ");
    format!("A move knows {words}. A time is a number with ms, s or min; seconds without.")
}

impl Manner {
    /// Takes an option.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        let known = OPTIONS.iter().find(|(known, ..)| *known == name);
        let (option, takes, _) = *known.ok_or_else(|| Wrong::Unknown(name.to_owned()))?;
        if self.given.contains(&option) {
            return Err(Wrong::Twice(option));
        }
        self.given.push(option);
        let small = value.trim().to_ascii_lowercase();
        let order = &mut self.order;
        let done = match option {
            "trust" => pick(
                &small,
                &[("journal", Trust::Journal), ("probe", Trust::Probe)],
            )
            .map(|trust| order.trust = trust),
            "listen" => pick(
                &small,
                &[("refuse", Listening::Refuse), ("move", Listening::Move)],
            )
            .map(|listening| order.listening = listening),
            "sequences" => pick(
                &small,
                &[("lose", Sequences::Lose), ("refuse", Sequences::Refuse)],
            )
            .map(|sequences| order.sequences = sequences),
            "oids" => pick(
                &small,
                &[("refuse", OtherOids::Refuse), ("remap", OtherOids::Remap)],
            )
            .map(|other| order.other_oids = other),
            "accept" => {
                let words = small.split(',');
                let accepts: Option<Vec<Accept>> =
                    words.map(|word| pick(word.trim(), ACCEPTS)).collect();
                accepts.map(|accepts| order.accepts = accepts)
            }
            "timeout" => time(&small).map(|time| order.limits.total = time),
            "dial" => time(&small).map(|time| order.limits.dial = time),
            "login" => time(&small).map(|time| order.limits.login = time),
            "hold" => time(&small).map(|time| order.limits.hold = time),
            _ => None,
        };
        done.ok_or_else(|| Wrong::Value {
            option,
            takes,
            value: value.to_owned(),
        })
    }

    /// Whether this of the new server is put up with.
    pub(crate) fn accepts(&self, what: Accept) -> bool {
        self.order.accepts.contains(&what)
    }

    /// The order of one try, which may take no longer than this.
    pub(crate) fn order(&self, target: MoveTarget, limit: Duration) -> MoveOrder {
        let mut order = self.order.clone();
        order.target = target;
        order.limits.total = order.limits.total.min(limit);
        order
    }
}

fn pick<T: Copy>(word: &str, choices: &[(&str, T)]) -> Option<T> {
    let found = choices.iter().find(|(name, _)| *name == word);
    found.map(|(_, choice)| *choice)
}

/// A time of a millisecond or more.
fn time(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let time = match unit.trim_start() {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (!time.is_zero() && time <= LONGEST).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(options: &[(&str, &str)]) -> MoveOrder {
        let mut manner = Manner::default();
        for (name, value) in options {
            manner.set(name, value).unwrap();
        }
        manner.order(MoveTarget::Reader(Destination(3)), LONGEST)
    }

    #[test]
    fn every_option_does_what_it_says() {
        let target = MoveTarget::Reader(Destination(3));
        let mut expected = MoveOrder::new(target);
        assert_eq!(order(&[]), expected);
        expected.trust = Trust::Probe;
        expected.listening = Listening::Move;
        expected.sequences = Sequences::Refuse;
        expected.other_oids = OtherOids::Remap;
        expected.accepts = vec![Accept::Behind, Accept::OlderMajor];
        expected.limits.total = Duration::from_secs(5);
        expected.limits.dial = Duration::from_millis(250);
        expected.limits.login = Duration::from_secs(2);
        expected.limits.hold = Duration::from_secs(60);
        let all = [
            ("trust", "probe"),
            ("listen", "Move"),
            ("sequences", "refuse"),
            ("oids", "remap"),
            ("accept", "behind, older_major"),
            ("timeout", "5s"),
            ("dial", "250 ms"),
            ("login", "2"),
            ("hold", "1min"),
        ];
        assert_eq!(all.map(|(name, _)| name).len(), OPTIONS.len());
        assert_eq!(order(&all), expected);
    }

    #[test]
    fn a_try_takes_no_longer_than_there_is_time() {
        let second = Duration::from_secs(1);
        let target = MoveTarget::Writer(Destination(1));
        let order = Manner::default().order(target, second);
        assert_eq!(order.limits.total, second);
    }

    #[test]
    fn what_is_no_option_is_told() {
        let mut manner = Manner::default();
        let wrong = manner.set("sped", "1").unwrap_err();
        assert_eq!(wrong.to_string(), "a move has no option \"sped\"");
        for (name, value) in [
            ("trust", "me"),
            ("accept", "behind,"),
            ("accept", ""),
            ("timeout", "0"),
            ("timeout", "5 h"),
            ("timeout", "86401"),
            ("timeout", "99999999999999999999"),
            ("hold", "-1"),
        ] {
            let mut manner = Manner::default();
            let wrong = manner.set(name, value).unwrap_err();
            assert!(matches!(wrong, Wrong::Value { .. }), "{name} {value}");
        }
        manner.set("timeout", "86400").unwrap();
        assert_eq!(manner.set("timeout", "5"), Err(Wrong::Twice("timeout")));
    }

    #[test]
    fn each_word_of_a_list_is_known() {
        for (_, takes, _) in OPTIONS.iter().filter(|(name, ..)| *name == "accept") {
            let words: Vec<&str> = takes.trim_matches('\'').split(", ").collect();
            let known: Vec<&str> = ACCEPTS.iter().map(|(word, _)| *word).collect();
            assert_eq!(words, known);
        }
    }
}
