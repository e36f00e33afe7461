//! What of a set-up changes nothing that a client sees: how bytes are cut, what is shown, what is known of functions, how
//! long phases may take, where reads run; and what few clients meet: names that are not theirs to use, and short messages.

use std::sync::Arc;
use std::time::Duration;

use pgturnout::limits;
use pgturnout::route::{Balance, Rules};
use pgturnout::session::{
    Config, DefaultIsolation, LostReads, OutOfSync, RelayedPassword, RouteTexts,
};

use super::choices::Choices;
use super::introduction::{SAYINGS, Says};
use super::journey::{LODGINGS, Lodging};
use super::senseless::FOLLOWS;
use super::setup::WINDOW;
use super::world::{PACES, Pace};

/// A parameter that some clients name in their `options`, and that may be one of the proxy's own.
const RESERVED: &[u8] = b"Statement_Timeout";

/// How long a message may be that is held where there is room: as many parameters as there can be, and their values.
pub(crate) const ROOM: usize = 512 << 10;

/// What the proxy keeps of a user whom it checks itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Password,
    /// What servers store for MD5.
    Digest,
    /// An empty password, which is none.
    Blank,
    /// That somebody else answers for it.
    Outside,
    Nothing,
}

const KEPT: [(Kept, &str); 5] = [
    (Kept::Password, "password"),
    (Kept::Digest, "digest"),
    (Kept::Blank, "blank"),
    (Kept::Outside, "outside"),
    (Kept::Nothing, "nothing"),
];

impl Kept {
    /// Whether nobody can prove to be that user.
    pub(crate) fn is_no_proof(self) -> bool {
        matches!(self, Kept::Blank | Kept::Outside | Kept::Nothing)
    }
}

const RELAYED: [(RelayedPassword, &str); 3] = [
    (RelayedPassword::AsTheClient, "as-the-client"),
    (RelayedPassword::OverTls, "over-tls"),
    (RelayedPassword::Anyhow, "anyhow"),
];

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
    /// Messages are held that are longer than most buffers.
    pub(crate) roomy: bool,
    /// A read whose reader is lost before anything of its answer came runs on the writer.
    pub(crate) again: bool,
    /// Comments say where their texts are to run.
    pub(crate) hints: bool,
    /// The caller sends some of the reads to the writer.
    pub(crate) whims: bool,
    /// What the server is like that a session may move to.
    pub(crate) lodging: Lodging,
    /// How long a cancel takes.
    pub(crate) cancels: Pace,
    /// How often the writer is dialled again, and how often it cannot be had at first.
    pub(crate) retries: u32,
    pub(crate) absences: u32,
    /// Over what a server may have the password of a client that logs in to it.
    pub(crate) relayed: RelayedPassword,
    /// The caller's policy has servers told of another database and of other options than the client names.
    pub(crate) tenant: bool,
    /// What follows a stream that makes no sense.
    pub(crate) senseless: OutOfSync,
    /// What the client's StartupMessage says beside the rest.
    pub(crate) says: Says,
    /// What is kept of the user, and whether the client knows an empty password only.
    pub(crate) kept: Kept,
    pub(crate) blank: bool,
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
            roomy: false,
            again: false,
            hints: false,
            whims: false,
            lodging: Lodging::Same,
            cancels: Pace::Prompt,
            retries: 0,
            absences: 0,
            relayed: RelayedPassword::AsTheClient,
            tenant: false,
            senseless: OutOfSync::Error,
            says: Says::Nothing,
            kept: Kept::Password,
            blank: false,
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
            ..Fittings::default()
        }
    }

    /// Whether transactions are serializable by default, as every login there finds it and no server reports.
    pub(crate) fn is_serializable(&self) -> bool {
        self.cuts % 16 == 3
    }

    /// Whether servers speak another language.
    pub(crate) fn is_foreign(&self) -> bool {
        self.cuts % 16 == 5
    }

    /// Whether servers tell of a setting twice in a login.
    pub(crate) fn has_triggers(&self) -> bool {
        self.cuts % 16 == 11
    }

    /// Whether a reader is asked if it serves the session.
    pub(crate) fn asks(&self) -> bool {
        self.cuts % 3 != 0
    }

    pub(crate) fn apply(&self, config: &mut Config) {
        config.default_isolation = match self.asks() {
            true => DefaultIsolation::Asked,
            false => DefaultIsolation::Assumed,
        };
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
            timeouts.cancel = Duration::from_millis(2_750);
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
        choice.max_lag = (self.cuts % 5 < 3).then_some(WINDOW);
        if self.cuts % 7 == 0 {
            choice.max_lag_bytes = None;
        }
        if self.again {
            config.lost_reads = LostReads::Again;
        }
        config.out_of_sync = self.follows();
        config.relayed_password = self.relayed;
        config.writer_retry = self.writer_retry();
        if self.cuts % 3 == 1 {
            // Longer than anything else that waits for an upstream.
            config.timeouts.cancel = Duration::from_secs(25);
        }
        if self.short_messages {
            let least = u32::try_from(limits::READ_BUFFER_MIN).expect("short");
            config.limits.client_message = least;
            config.limits.server_message = least;
        }
        if self.roomy {
            config.limits.read_buffer = ROOM;
            config.limits.statements.body = ROOM;
            config.limits.ledger.owned_bytes_per_queue = 2 * ROOM;
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
        if name == "cancels" {
            let pace = PACES.iter().find(|(_, known)| *known == value);
            self.cancels = pace.ok_or_else(wrong)?.0;
            return Ok(true);
        }
        if name == "senseless" {
            let follows = FOLLOWS.iter().find(|(_, known)| *known == value);
            self.senseless = follows.ok_or_else(wrong)?.0;
            return Ok(true);
        }
        if name == "says" {
            let says = SAYINGS.iter().find(|(_, known)| *known == value);
            self.says = says.ok_or_else(wrong)?.0;
            return Ok(true);
        }
        if name == "kept" {
            let kept = KEPT.iter().find(|(_, known)| *known == value);
            self.kept = kept.ok_or_else(wrong)?.0;
            return Ok(true);
        }
        let number = match name {
            "retries" => Some(&mut self.retries),
            "absences" => Some(&mut self.absences),
            _ => None,
        };
        if let Some(number) = number {
            *number = value.parse().map_err(|_| wrong())?;
            return Ok(true);
        }
        if name == "relayed" {
            let relayed = RELAYED.iter().find(|(_, known)| *known == value);
            self.relayed = relayed.ok_or_else(wrong)?.0;
            return Ok(true);
        }
        let known = match name {
            "tenant" => &mut self.tenant,
            "outlines" => &mut self.outlines,
            "reserved" => &mut self.reserved,
            "hasty" => &mut self.hasty,
            "informed" => &mut self.informed,
            "short-sighted" => &mut self.short_sighted,
            "short-messages" => &mut self.short_messages,
            "roomy" => &mut self.roomy,
            "again" => &mut self.again,
            "hints" => &mut self.hints,
            "whims" => &mut self.whims,
            "blank" => &mut self.blank,
            _ => return Ok(false),
        };
        *known = value.parse().map_err(|_| wrong())?;
        Ok(true)
    }
}

impl std::fmt::Display for Fittings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let relayed = RELAYED.iter().find(|(known, _)| *known == self.relayed);
        let follows = FOLLOWS.iter().find(|(known, _)| *known == self.senseless);
        let pace = PACES.iter().find(|(pace, _)| *pace == self.cancels);
        let lodging = LODGINGS.iter().find(|(known, _)| *known == self.lodging);
        let says = SAYINGS.iter().find(|(known, _)| *known == self.says);
        let kept = KEPT.iter().find(|(known, _)| *known == self.kept);
        write!(
            f,
            "cuts={} outlines={} reserved={} hasty={} informed={} short-sighted={} short-messages={} roomy={} again={} hints={} whims={} cancels={} retries={} absences={} relayed={} tenant={} senseless={} lodging={} says={} kept={} blank={}",
            self.cuts,
            self.outlines,
            self.reserved,
            self.hasty,
            self.informed,
            self.short_sighted,
            self.short_messages,
            self.roomy,
            self.again,
            self.hints,
            self.whims,
            pace.map_or("?", |(_, name)| name),
            self.retries,
            self.absences,
            relayed.map_or("?", |(_, name)| name),
            self.tenant,
            follows.map_or("?", |(_, name)| name),
            lodging.map_or("?", |(_, name)| name),
            says.map_or("?", |(_, name)| name),
            kept.map_or("?", |(_, name)| name),
            self.blank,
        )
    }
}
