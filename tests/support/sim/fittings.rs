//! What of a set-up changes nothing that a client sees: how bytes are cut, what is shown, what is known of functions, how
//! long phases may take, where reads run; and what few clients meet: names that are not theirs to use, and short messages.

use std::sync::Arc;
use std::time::Duration;

use pgturnout::limits;
use pgturnout::route::{Balance, Rules};
use pgturnout::session::{Config, LostReads, RouteTexts};

use super::choices::Choices;
use super::journey::{LODGINGS, Lodging};
use super::setup::WINDOW;

/// A parameter that some clients name in their `options`, and that may be one of the proxy's own.
const RESERVED: &[u8] = b"Statement_Timeout";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fittings {
    /// What the third way of cutting bytes begins with.
    pub(crate) cuts: u64,
    /// Events show what texts begin with.
    pub(crate) outlines: bool,
    /// A name is reserved that some clients use.
    pub(crate) reserved: bool,
    /// Phases have less time, each of its own length.
    pub(crate) hasty: bool,
    /// The caller knows functions of the servers: one that reads, and one that is not what its name says.
    pub(crate) informed: bool,
    /// Texts are looked at for a little way only.
    pub(crate) short_sighted: bool,
    /// No longer messages are taken than have to be, of either side.
    pub(crate) short_messages: bool,
    /// A read whose reader is lost before anything of its answer came runs on the writer.
    pub(crate) again: bool,
    /// Comments say where their texts are to run.
    pub(crate) hints: bool,
    /// The caller sends some of the reads to the writer.
    pub(crate) whims: bool,
    /// What the server is like that a session may move to.
    pub(crate) lodging: Lodging,
}

impl Default for Fittings {
    fn default() -> Fittings {
        Fittings {
            cuts: 1,
            outlines: false,
            reserved: false,
            hasty: false,
            informed: false,
            short_sighted: false,
            short_messages: false,
            again: false,
            hints: false,
            whims: false,
            lodging: Lodging::Same,
        }
    }
}

impl Fittings {
    pub(crate) fn choose(choices: &mut Choices<'_>) -> Fittings {
        let cuts = u64::from(choices.byte());
        Fittings {
            cuts,
            outlines: choices.percent(25),
            reserved: choices.percent(12),
            hasty: choices.percent(25),
            informed: choices.percent(25),
            short_sighted: choices.percent(8),
            short_messages: choices.percent(12),
            again: choices.percent(30),
            hints: choices.percent(15),
            whims: choices.percent(12),
            lodging: Lodging::Same,
        }
    }

    pub(crate) fn apply(&self, config: &mut Config) {
        if self.outlines {
            config.route_texts = RouteTexts::Outline;
        }
        if self.reserved {
            config.reserved.push(RESERVED.into());
        }
        if self.hasty {
            let timeouts = &mut config.timeouts;
            timeouts.login = Duration::from_secs(9);
            timeouts.dial = Duration::from_secs(2);
            timeouts.replay = Duration::from_millis(3_500);
            timeouts.drain = Duration::from_millis(1_250);
            timeouts.shutdown = Duration::from_secs(4);
            timeouts.reader_retry = Duration::from_millis(700);
        }
        let mut rules = Rules::default();
        if self.informed {
            rules.allow(b"f_read").expect("a name");
            rules.deny(b"length").expect("a name");
        }
        if self.short_sighted {
            rules = rules.with_text_limit(40);
        }
        config.rules = Arc::new(rules.with_hints(self.hints));
        let choice = &mut config.reader_choice;
        choice.balance = match self.cuts % 4 {
            0 => Balance::LeastOutstanding,
            1 => Balance::Seeded,
            2 => Balance::LatencyWeighted,
            _ => Balance::Sticky,
        };
        // Nobody knows of a time that a reader lags by.
        choice.max_lag = (self.cuts % 5 == 0).then_some(WINDOW);
        if self.cuts % 7 == 0 {
            choice.max_lag_bytes = None;
        }
        if self.again {
            config.lost_reads = LostReads::Again;
        }
        if self.short_messages {
            let least = u32::try_from(limits::READ_BUFFER_MIN).expect("short");
            config.limits.client_message = least;
            config.limits.server_message = least;
        }
    }

    /// Reads a part of a set-up's text. Whether it is one of these.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let wrong = || format!("{value:?} is no value");
        if name == "cuts" {
            self.cuts = value.parse().map_err(|_| wrong())?;
            return Ok(true);
        }
        if name == "lodging" {
            let found = LODGINGS.iter().find(|(_, known)| *known == value);
            self.lodging = found.map(|(lodging, _)| *lodging).ok_or_else(wrong)?;
            return Ok(true);
        }
        let known = match name {
            "outlines" => &mut self.outlines,
            "reserved" => &mut self.reserved,
            "hasty" => &mut self.hasty,
            "informed" => &mut self.informed,
            "short-sighted" => &mut self.short_sighted,
            "short-messages" => &mut self.short_messages,
            "again" => &mut self.again,
            "hints" => &mut self.hints,
            "whims" => &mut self.whims,
            _ => return Ok(false),
        };
        *known = value.parse().map_err(|_| wrong())?;
        Ok(true)
    }
}

impl std::fmt::Display for Fittings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lodging = LODGINGS.iter().find(|(known, _)| *known == self.lodging);
        write!(
            f,
            "cuts={} outlines={} reserved={} hasty={} informed={} short-sighted={} short-messages={} again={} hints={} whims={} lodging={}",
            self.cuts,
            self.outlines,
            self.reserved,
            self.hasty,
            self.informed,
            self.short_sighted,
            self.short_messages,
            self.again,
            self.hints,
            self.whims,
            lodging.map_or("?", |(_, name)| name),
        )
    }
}
