//! By which settings a server reads the text of a statement when it is prepared, and which texts that makes a difference to.

use super::prepared::Definition;

/// In what a text may mean something else once a setting has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// In its bytes: the client encoding, and the rules for backslashes in strings.
    Bytes,
    /// In its string constants, which become values of their types at Parse: a date by `DateStyle`.
    Constants,
    /// In a comparison with NULL.
    Nulls,
}

/// Whether servers tell when a setting changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Reported,
    Unseen,
}

/// The settings by which a server reads a text, in lower case. Names are looked up anew by PostgreSQL itself where
/// `search_path` has changed (`plancache.c`).
const SETTINGS: [(&[u8], Reading, Told); 11] = [
    (b"client_encoding", Reading::Bytes, Told::Reported),
    (
        b"standard_conforming_strings",
        Reading::Bytes,
        Told::Reported,
    ),
    (b"backslash_quote", Reading::Bytes, Told::Unseen),
    (b"datestyle", Reading::Constants, Told::Reported),
    (b"intervalstyle", Reading::Constants, Told::Reported),
    (b"timezone", Reading::Constants, Told::Reported),
    (b"timezone_abbreviations", Reading::Constants, Told::Unseen),
    (b"array_nulls", Reading::Constants, Told::Unseen),
    (b"lc_monetary", Reading::Constants, Told::Unseen),
    (b"xmloption", Reading::Constants, Told::Unseen),
    (b"transform_null_equals", Reading::Nulls, Told::Unseen),
];

impl Reading {
    /// All there are.
    pub const ALL: [Reading; 3] = [Reading::Bytes, Reading::Constants, Reading::Nulls];

    /// What a setting has a say in, in whatever case its name is written.
    pub fn by(name: &[u8]) -> Option<Reading> {
        find(name).map(|(reading, _)| reading)
    }

    /// The same, if no server tells when it changes.
    pub fn unseen_by(name: &[u8]) -> Option<Reading> {
        match find(name)? {
            (reading, Told::Unseen) => Some(reading),
            (_, Told::Reported) => None,
        }
    }
}

fn find(name: &[u8]) -> Option<(Reading, Told)> {
    let mut all = SETTINGS.iter();
    let found = all.find(|(setting, ..)| setting.eq_ignore_ascii_case(name));
    found.map(|(_, reading, told)| (*reading, *told))
}

/// The newest version of a statement when each kind of reading changed last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    bytes: u64,
    constants: u64,
    nulls: u64,
}

impl Changed {
    pub(super) fn of(&self, reading: Reading) -> u64 {
        match reading {
            Reading::Bytes => self.bytes,
            Reading::Constants => self.constants,
            Reading::Nulls => self.nulls,
        }
    }

    /// It has changed again behind this version.
    pub(super) fn behind(&mut self, reading: Reading, version: u64) {
        let last = match reading {
            Reading::Bytes => &mut self.bytes,
            Reading::Constants => &mut self.constants,
            Reading::Nulls => &mut self.nulls,
        };
        *last = version.max(*last);
    }
}

impl<M> Definition<M> {
    /// Whether name and text are the same however that is read.
    pub(super) fn reads_alike(&self, reading: Reading) -> bool {
        let mut fields = self.body.split(|byte| *byte == 0);
        let name = fields.next().unwrap_or_default();
        let text = fields.next().unwrap_or_default();
        match reading {
            Reading::Bytes => name.is_ascii() && is_plain(text) && self.query.is_ascii(),
            Reading::Constants => !has_strings(text) && !has_strings(&self.query),
            Reading::Nulls => !has_null(text) && !has_null(&self.query),
        }
    }
}

/// Whether a text is read alike in every client encoding and by whatever rules for strings. A server refuses `U&'…'` by some.
fn is_plain(text: &[u8]) -> bool {
    let escapes = text.windows(2).any(|two| two.eq_ignore_ascii_case(b"u&"));
    text.is_ascii() && !text.contains(&b'\\') && !escapes
}

/// Whether it may have a string constant, in quotes or in dollars; `$1` is a parameter.
fn has_strings(text: &[u8]) -> bool {
    let dollars = |two: &[u8]| matches!(two, [b'$', next] if !next.is_ascii_digit());
    text.contains(&b'\'') || text.windows(2).any(dollars)
}

fn has_null(text: &[u8]) -> bool {
    text.windows(4)
        .any(|four| four.eq_ignore_ascii_case(b"null"))
}
