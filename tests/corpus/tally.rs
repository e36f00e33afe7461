//! What came out, counted and listed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use pgturnout::route::{Class, Effect, Intent, PinKind, Why};

use crate::trial::{Outcome, Verdict};

/// The two ways of reading: without and with the server's facts.
const WAYS: [&str; 2] = ["built-in table alone", "with the server's facts"];

#[derive(Default)]
struct Way {
    /// Statements by what the standby made of them and whether they are called reads.
    counts: BTreeMap<(Verdict, bool), usize>,
    /// Of what the standby answers alike and is called no read: by reason.
    reasons: BTreeMap<String, usize>,
    /// Refused and called a read, by SQLSTATE, where the router would have asked the primary anyway: in a transaction
    /// or a session with temporary objects.
    bound: BTreeMap<String, usize>,
    /// Refused and called a read.
    wrong: usize,
    /// Of what the standby answers alike and is called no read: what calls a function marked volatile.
    marked: usize,
    /// Of what the standby answers alike and is called no read: what optimistic reads try on a reader.
    tried: usize,
    /// What optimistic reads try outside transactions and bound sessions, and the standby refuses, by SQLSTATE: 25006
    /// has it run on the primary.
    tried_refused: BTreeMap<String, usize>,
    /// What optimistic reads try outside transactions and bound sessions, and the standby answers otherwise.
    tried_otherwise: usize,
}

pub(crate) struct Tally {
    ways: [Way; 2],
    files: usize,
    file: String,
    source: Vec<u8>,
    /// Statements that psql made of its own commands.
    psqls: usize,
    wrong: File,
    otherwise: File,
    missed: File,
    bound: File,
}

impl Tally {
    pub(crate) fn new(out: &Path) -> Tally {
        let create = |name: &str| File::create(out.join(name)).unwrap();
        Tally {
            ways: Default::default(),
            files: 0,
            file: String::new(),
            source: Vec::new(),
            psqls: 0,
            wrong: create("wrong.txt"),
            otherwise: create("otherwise.txt"),
            missed: create("missed.txt"),
            bound: create("bound.txt"),
        }
    }

    pub(crate) fn begin_file(&mut self, name: &str, source: Vec<u8>) {
        self.files += 1;
        name.clone_into(&mut self.file);
        self.source = source;
    }

    /// Whether a text is one of the file's own, which psql sends as they are written up to the first variable.
    fn is_of_file(&self, text: &[u8]) -> bool {
        let text = text.trim_ascii();
        let end = text
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(text.len());
        let start = &text[..end.min(24)];
        self.source
            .windows(start.len().max(1))
            .any(|window| window == start)
    }

    pub(crate) fn count(&mut self, outcome: &Outcome) {
        if !self.is_of_file(&outcome.text) {
            self.psqls += 1;
            return;
        }
        for at in [0, 1] {
            self.count_way(at, outcome);
        }
    }

    fn count_way(&mut self, at: usize, outcome: &Outcome) {
        let intent = &outcome.intents[at];
        let is_read = intent.class.is_read();
        *self.ways[at]
            .counts
            .entry((outcome.verdict, is_read))
            .or_default() += 1;
        let line = |reason: &str| {
            let text = String::from_utf8_lossy(&outcome.text).replace('\n', " ");
            format!(
                "{}\t{}\t{reason}\t{}\t{text}\n",
                WAYS[at], self.file, outcome.code
            )
        };
        let way = &mut self.ways[at];
        if outcome.verdict == Verdict::Refused && is_read {
            let is_bound = outcome.in_transaction || outcome.pinned;
            // Other codes tell of what the primary alone has: uncommitted or temporary objects, locks.
            let by_nature = ["25006", "0A000", "55000", "XX000", ""];
            let by_nature = by_nature.contains(&outcome.code.as_str());
            if is_bound && !by_nature {
                *way.bound.entry(outcome.code.clone()).or_default() += 1;
                self.bound.write_all(line("").as_bytes()).unwrap();
            } else {
                way.wrong += 1;
                self.wrong
                    .write_all(line(if is_bound { "bound" } else { "" }).as_bytes())
                    .unwrap();
            }
        }
        let is_bound = outcome.in_transaction || outcome.pinned;
        let bound = if is_bound { "bound" } else { "" };
        if outcome.verdict == Verdict::Otherwise && is_read {
            self.otherwise.write_all(line(bound).as_bytes()).unwrap();
        }
        if is_tried(intent) {
            way.count_tried(outcome, is_bound);
            if outcome.verdict == Verdict::Otherwise && !is_bound {
                self.otherwise.write_all(line("tried").as_bytes()).unwrap();
            }
        }
        if outcome.verdict == Verdict::Alike && !is_read {
            let reason = if at == 1 && outcome.marked {
                way.marked += 1;
                "a function marked volatile".to_owned()
            } else {
                reason(intent, &outcome.text)
            };
            *way.reasons.entry(reason.clone()).or_default() += 1;
            self.missed.write_all(line(&reason).as_bytes()).unwrap();
        }
    }

    /// What the standby refuses and is called a read with the server's facts.
    pub(crate) fn wrong(&self) -> usize {
        self.ways[1].wrong
    }

    /// Of what the standby answers alike, how much goes to a reader with the server's facts, in percent: called a read,
    /// or tried by optimistic reads.
    pub(crate) fn share(&self) -> f64 {
        self.ways[1].share(self.ways[1].tried, 0)
    }

    /// The same of what is called a read, of all that the server does not call volatile.
    pub(crate) fn proven_share(&self) -> f64 {
        self.ways[1].share(0, self.ways[1].marked)
    }

    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        let all: usize = self.ways[0].counts.values().sum();
        writeln!(
            out,
            "{} files, {all} statements, and {} more that psql made of its commands",
            self.files, self.psqls
        )
        .unwrap();
        for (name, way) in WAYS.iter().zip(&self.ways) {
            way.report(name, &mut out);
        }
        out
    }
}

impl Way {
    fn of(&self, verdict: Verdict, is_read: bool) -> usize {
        self.counts.get(&(verdict, is_read)).copied().unwrap_or(0)
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a percentage of counts far below 2^52"
    )]
    fn share(&self, tried: usize, left_out: usize) -> f64 {
        let (reads, others) = (
            self.of(Verdict::Alike, true),
            self.of(Verdict::Alike, false),
        );
        (reads + tried) as f64 * 100.0 / (reads + others - left_out).max(1) as f64
    }

    fn count_tried(&mut self, outcome: &Outcome, is_bound: bool) {
        match outcome.verdict {
            Verdict::Alike => self.tried += 1,
            Verdict::Refused if !is_bound => {
                *self.tried_refused.entry(outcome.code.clone()).or_default() += 1;
            }
            Verdict::Otherwise if !is_bound => self.tried_otherwise += 1,
            Verdict::Refused | Verdict::Otherwise | Verdict::Unsteady => {}
            Verdict::Fails | Verdict::Session => {}
        }
    }

    fn report(&self, name: &str, out: &mut String) {
        writeln!(out, "\n{name}").unwrap();
        for (verdict, what) in [
            (Verdict::Alike, "answered alike by the standby"),
            (Verdict::Refused, "refused by the standby alone"),
            (Verdict::Otherwise, "answered otherwise"),
            (Verdict::Unsteady, "answered otherwise each time"),
            (Verdict::Fails, "failed on the primary"),
            (Verdict::Session, "session state, not tried"),
        ] {
            let (reads, others) = (self.of(verdict, true), self.of(verdict, false));
            writeln!(
                out,
                "  {what:<32} {:>6}, called a read {reads:>6}",
                reads + others
            )
            .unwrap();
        }
        writeln!(out, "  refused and called a read: {}; and in transactions or sessions that are bound to the primary: {:?}", self.wrong, self.bound).unwrap();
        writeln!(
            out,
            "  of what is answered alike, called a read: {:.2} %, and without calls of functions that their author marked \
             volatile {:.2} %",
            self.share(0, 0),
            self.share(0, self.marked)
        )
        .unwrap();
        writeln!(
            out,
            "  of what is answered alike, called a read or tried by optimistic reads: {:.2} %; tried outside transactions and \
             bound sessions, and refused: {:?}, answered otherwise: {}",
            self.share(self.tried, 0),
            self.tried_refused,
            self.tried_otherwise
        )
        .unwrap();
        writeln!(
            out,
            "  what is answered alike and called no read, by reason:"
        )
        .unwrap();
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
        for (reason, count) in reasons.iter().take(25) {
            writeln!(out, "    {count:>5} {reason}").unwrap();
        }
    }
}

/// Whether optimistic reads try a text of this intent on a reader: it is unproven, one statement, and leaves nothing
/// behind in the session that we know of.
fn is_tried(intent: &Intent) -> bool {
    intent.class == Class::Unproven
        && intent.statements == 1
        && intent
            .effects
            .iter()
            .all(|happened| happened.effect == Effect::Pin(PinKind::UnknownCode))
}

/// Why a text is no read, with the word where that tells more.
fn reason(intent: &Intent, text: &[u8]) -> String {
    let at = intent.reason.offset;
    let word = text
        .get(at..at + intent.reason.token_len)
        .unwrap_or_default();
    let word = String::from_utf8_lossy(word).to_ascii_lowercase();
    match intent.reason.why {
        Why::UnknownFunction | Why::NameFact | Why::OperatorFact
            if intent.class == Class::Unproven =>
        {
            intent.reason.why.to_string()
        }
        why => format!("{why} {word}"),
    }
}
