//! What the driver has a session do that is to move, on which terms, and where the server is that it may move to.

use std::time::Duration;

use pgturnout::migrate::postgres::{Listening, OtherOids, Sequences};
use pgturnout::migrate::{PhaseLimits, Trust};
use pgturnout::session::{Accept, MoveOrder, MoveTarget};

use super::choices::Choices;
use super::text::Words;

/// Places in the configuration, and terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Journey {
    pub(crate) writer: Option<usize>,
    pub(crate) reader: Option<usize>,
    /// Whether the servers' word counts where the journal doubts.
    pub(crate) probes: bool,
    /// Whether LISTEN goes along.
    pub(crate) listens: bool,
    pub(crate) terms: Terms,
}

/// On which terms a session moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Which limits the phases have: 0 for those that they have by default, otherwise four of which no two are the same.
    pub(crate) pace: u8,
    /// What of the new server is put up with, a bit for each of [`ACCEPTS`].
    pub(crate) accepts: u8,
    /// Whether a session stays that has values of sequences.
    pub(crate) keeps_values: bool,
    /// Whether types may have other OIDs.
    pub(crate) remaps: bool,
}

/// What may be put up with.
const ACCEPTS: [(Accept, &str); 7] = [
    (Accept::Behind, "behind"),
    (Accept::OlderTimeline, "older-timeline"),
    (Accept::Database, "database"),
    (Accept::Encoding, "encoding"),
    (Accept::Locale, "locale"),
    (Accept::OlderMajor, "older-major"),
    STANDBY,
];

/// What a session may do is another thing there: no journey is chosen that puts up with it.
const STANDBY: (Accept, &str) = (Accept::Standby, "standby");

/// In what the server that a session may move to differs from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lodging {
    #[default]
    Same,
    /// The others were promoted since.
    OlderTimeline,
    Database,
    Encoding,
    Locale,
}

pub(crate) const LODGINGS: [(Lodging, &str); 5] = [
    (Lodging::Same, "same"),
    (Lodging::OlderTimeline, "older-timeline"),
    (Lodging::Database, "database"),
    (Lodging::Encoding, "encoding"),
    (Lodging::Locale, "locale"),
];

impl Lodging {
    /// As which it is put up with.
    pub(crate) fn accepted_as(self) -> Option<Accept> {
        match self {
            Lodging::Same => None,
            Lodging::OlderTimeline => Some(Accept::OlderTimeline),
            Lodging::Database => Some(Accept::Database),
            Lodging::Encoding => Some(Accept::Encoding),
            Lodging::Locale => Some(Accept::Locale),
        }
    }

    /// Mostly there is no difference.
    pub(crate) fn choose(choices: &mut Choices<'_>) -> Lodging {
        choices.weighted(&[
            (12, Lodging::Same),
            (1, Lodging::OlderTimeline),
            (1, Lodging::Database),
            (1, Lodging::Encoding),
            (1, Lodging::Locale),
        ])
    }
}

impl Terms {
    pub(crate) fn choose(choices: &mut Choices<'_>) -> Terms {
        Terms {
            pace: match choices.percent(60) {
                true => 1 + choices.byte() % 250,
                false => 0,
            },
            accepts: match choices.percent(50) {
                true => choices.byte() % (1 << (ACCEPTS.len() - 1)),
                false => 0,
            },
            keeps_values: choices.percent(20),
            remaps: choices.percent(20),
        }
    }

    /// Puts up with a server that is like this.
    pub(crate) fn takes(&mut self, lodging: Lodging) {
        if let Some(wanted) = lodging.accepted_as() {
            self.puts_up_with(wanted);
        }
    }

    /// Puts up with this.
    pub(crate) fn puts_up_with(&mut self, wanted: Accept) {
        let at = ACCEPTS.iter().position(|(accept, _)| *accept == wanted);
        self.accepts |= at.map_or(0, |at| 1 << at);
    }

    fn limits(self) -> PhaseLimits {
        let n = u64::from(self.pace);
        let millis = Duration::from_millis;
        match self.pace {
            0 => PhaseLimits::default(),
            // Some phases are cut short by the end of the whole.
            pace if pace % 4 == 3 => PhaseLimits {
                total: millis(1_500 + n),
                dial: millis(400 + 3 * n),
                login: millis(1_900 + 7 * n),
                hold: millis(5_000 + 11 * n),
            },
            _ => PhaseLimits {
                total: millis(11_003 + 41 * n),
                dial: millis(701 + 13 * n),
                login: millis(1_102 + 17 * n),
                hold: millis(1_904 + 23 * n),
            },
        }
    }
}

impl Journey {
    /// The writer goes there.
    pub(crate) fn to(writer: usize) -> Journey {
        Journey {
            writer: Some(writer),
            reader: None,
            probes: false,
            listens: false,
            terms: Terms::default(),
        }
    }

    /// What the session is told.
    pub(crate) fn order(&self, target: MoveTarget) -> MoveOrder {
        let mut order = MoveOrder::new(target);
        if self.probes {
            order.trust = Trust::Probe;
        }
        if self.listens {
            order.listening = Listening::Move;
        }
        if self.terms.keeps_values {
            order.sequences = Sequences::Refuse;
        }
        if self.terms.remaps {
            order.other_oids = OtherOids::Remap;
        }
        order.limits = self.terms.limits();
        let accepted = ACCEPTS.iter().enumerate();
        let accepted = accepted.filter(|(at, _)| self.terms.accepts & (1 << at) != 0);
        order.accepts = accepted.map(|(_, (accept, _))| *accept).collect();
        order
    }

    pub(crate) fn parse(words: &mut Words<'_>) -> Result<Journey, String> {
        let place = |word: &str| match word {
            "-" => Ok(None),
            word => word
                .parse()
                .map(Some)
                .map_err(|_| format!("{word:?} is no place")),
        };
        let one_of = |word: &str, [no, yes]: [&str; 2]| match word {
            word if word == no => Ok(false),
            word if word == yes => Ok(true),
            word => Err(format!("{word:?} is not known")),
        };
        let mut journey = Journey {
            writer: place(words.word()?)?,
            reader: place(words.word()?)?,
            probes: one_of(words.word()?, ["journal", "probe"])?,
            listens: one_of(words.word()?, ["stay", "listen"])?,
            terms: Terms::default(),
        };
        while !words.is_empty() {
            journey.terms.set(words.word()?)?;
        }
        Ok(journey)
    }
}

impl Terms {
    fn set(&mut self, word: &str) -> Result<(), String> {
        let wrong = || format!("{word:?} is no term");
        match word.split_once('=').ok_or_else(wrong)? {
            ("pace", pace) => self.pace = pace.parse().map_err(|_| wrong())?,
            ("values", "keep") => self.keeps_values = true,
            ("types", "remap") => self.remaps = true,
            ("accepts", list) => {
                for name in list.split(',') {
                    let at = ACCEPTS.iter().position(|(_, known)| *known == name);
                    self.accepts |= 1 << at.ok_or_else(wrong)?;
                }
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

impl std::fmt::Display for Journey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |at: Option<usize>| at.map_or("-".to_owned(), |at| at.to_string());
        let trusts = if self.probes { "probe" } else { "journal" };
        let listens = if self.listens { "listen" } else { "stay" };
        let (writer, reader) = (place(self.writer), place(self.reader));
        write!(f, "{writer} {reader} {trusts} {listens}")?;
        let terms = self.terms;
        if terms.pace > 0 {
            write!(f, " pace={}", terms.pace)?;
        }
        let accepted = ACCEPTS.iter().enumerate();
        let accepted = accepted.filter(|(at, _)| terms.accepts & (1 << at) != 0);
        let names: Vec<&str> = accepted.map(|(_, (_, name))| *name).collect();
        if !names.is_empty() {
            write!(f, " accepts={}", names.join(","))?;
        }
        if terms.keeps_values {
            f.write_str(" values=keep")?;
        }
        if terms.remaps {
            f.write_str(" types=remap")?;
        }
        Ok(())
    }
}
