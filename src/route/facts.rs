//! What a server says of its own functions, operators, views and types.

use super::intent::Deed;
use super::names::{Folded, Qualified};
use crate::limits;

/// What one server says of itself, read from its catalogue: which functions outside the system schemas are stable, and
/// which operators, relations and types run a function that a text which names them does not show.
///
/// The caller asks the writer [`Facts::SETUP`] and then [`Facts::QUERY`] in one session, whatever client it has, hands
/// in each row as text, and gives the whole to [`Rules::refresh`](super::Rules::refresh). That replaces the facts
/// before; asking again is for the caller to decide, after DDL or by time. A session keeps the rules that its
/// configuration had: new sessions get a configuration with the new ones, and a [`Cache`](super::Cache) of the caller's own
/// takes them by [`set_rules`](super::Cache::set_rules). The facts are of one database.
///
/// ```
/// use pgturnout::route::{scan, Class, Facts, LexState, Rules};
/// let mut facts = Facts::default();
/// for row in [
///     ["stable", "public", "price", "", ""],
///     ["volatile", "public", "charge", "", ""],
///     ["name", "public", "invoice_now", "public", "charge"],
/// ] {
///     facts.row(&row.map(|column| Some(column.as_bytes())))?;
/// }
/// let mut rules = Rules::default();
/// rules.refresh(&facts);
/// let class = |text: &[u8]| scan(text, &LexState::defaults(), &rules).class;
/// assert_eq!(class(b"select price(7)"), Class::Read);
/// assert_eq!(class(b"select charge(7)"), Class::Unproven);
/// assert_eq!(class(b"select * from invoice_now"), Class::Unproven);
/// # Ok::<(), pgturnout::route::BadFact>(())
/// ```
///
/// # What it does not know
///
/// - The mark of a function is its author's promise: one that is marked stable and calls `nextval` is called a read,
///   and the standby refuses it.
/// - A cast that applies by itself, and the input and output of a base type, run for a column whose type the text does
///   not name.
/// - A name counts whatever its schema and wherever it stands: a column that is named as such a view is doubted, too.
/// - What changed since: a new view is not known, nor that a function became volatile.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    functions: Vec<Function>,
    parts: Vec<Part>,
}

/// A function, or all of one name in one schema.
#[derive(Debug, Clone)]
struct Function {
    name: Qualified,
    volatility: Volatility,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Volatility {
    /// Every overload is stable or immutable.
    Stable,
    /// One at least is volatile.
    Volatile,
}

/// What runs a function without naming it.
#[derive(Debug, Clone)]
struct Part {
    what: What,
    name: Box<[u8]>,
    /// The function; `None` if the thing itself is another on each server.
    function: Option<Qualified>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Operator,
    /// A relation or a type, wherever it is named.
    Name,
    /// What may stand behind a dot: `row.f` calls `f(row)`.
    Attribute,
}

/// A row that [`Facts::QUERY`] does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFact {
    /// Not five columns.
    #[error("a row of facts has {0} columns and not 5")]
    Columns(usize),
    /// The first column is none of the known words.
    #[error("a row of facts is of no known kind")]
    Kind,
    /// A column that is NULL, longer than a name, or empty where a name must be; counted from 1.
    #[error("column {0} of a row of facts is no name")]
    Name(usize),
    /// More rows than [`limits::FACTS_MAX`]. The facts are not complete and must not be used.
    #[error("more than {} rows of facts", limits::FACTS_MAX)]
    TooMany,
}

impl Facts {
    /// Run it first, in the same session: it makes the names of [`Facts::QUERY`] mean the catalogue's objects and no
    /// other user's, which would run with the rights of the session; and it turns off compilation, which takes longer
    /// than the query.
    pub const SETUP: &'static str = "select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false), \
        pg_catalog.set_config('jit', 'off', false)";

    /// Asks for the facts: five columns of text, in any order of rows. It reads the catalogue alone, and takes rights
    /// that every user has, on any server from PostgreSQL 15 on; a standby gives the same answer.
    pub const QUERY: &'static str = include_str!("facts.sql");

    /// Takes one row of the answer.
    ///
    /// # Errors
    ///
    /// [`BadFact`] if it is none; the row is not taken.
    pub fn row(&mut self, columns: &[Option<&[u8]>]) -> Result<(), BadFact> {
        let [kind, schema, name, by_schema, by_name] = columns else {
            return Err(BadFact::Columns(columns.len()));
        };
        let column = |column: &Option<&[u8]>, number: usize| {
            let text = column.ok_or(BadFact::Name(number))?;
            if text.len() > super::names::LONGEST || text.contains(&0) {
                return Err(BadFact::Name(number));
            }
            Ok(Box::<[u8]>::from(text))
        };
        let kind = kind.ok_or(BadFact::Kind)?;
        let (schema, name) = (column(schema, 2)?, column(name, 3)?);
        let (by_schema, by_name) = (column(by_schema, 4)?, column(by_name, 5)?);
        if name.is_empty() {
            return Err(BadFact::Name(3));
        }
        if self.len() >= limits::FACTS_MAX {
            return Err(BadFact::TooMany);
        }
        let function = (!by_name.is_empty()).then_some((Some(by_schema), by_name));
        let what = match kind {
            b"stable" => return self.function(schema, name, Volatility::Stable),
            b"volatile" => return self.function(schema, name, Volatility::Volatile),
            b"operator" => What::Operator,
            b"name" => What::Name,
            b"attribute" => What::Attribute,
            _ => return Err(BadFact::Kind),
        };
        self.parts.push(Part {
            what,
            name,
            function,
        });
        Ok(())
    }

    fn function(
        &mut self,
        schema: Box<[u8]>,
        name: Box<[u8]>,
        volatility: Volatility,
    ) -> Result<(), BadFact> {
        if schema.is_empty() {
            return Err(BadFact::Name(2));
        }
        self.functions.push(Function {
            name: (Some(schema), name),
            volatility,
        });
        Ok(())
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.functions.len().saturating_add(self.parts.len())
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Facts as a scan asks for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// By name, then schema.
    functions: Vec<Function>,
    /// By name.
    operators: Vec<Doubtful>,
    names: Vec<Doubtful>,
    /// A bit for each shape that one of the names has.
    shapes: [u64; 4],
    /// Whether an operator that keywords stand for is among the operators.
    keywords: bool,
    /// Whether one of the names could be written in a way that is not read here: beyond ASCII, cut off, with a quote.
    odd: bool,
}

/// A name that stands for code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Doubtful {
    name: Box<[u8]>,
    place: Place,
    why: Suspicion,
}

/// Where a name stands for code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Anywhere,
    BehindDot,
}

/// What is to be said of whatever runs a function unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suspicion {
    /// It is known what the function does.
    Does(Deed),
    /// It is not.
    Unknown,
}

/// Operators that keywords mean: `IN`, `LIKE`, `SIMILAR TO`, `BETWEEN`, `CASE … WHEN`, `ORDER BY`.
const KEYWORDED: &[&[u8]] = &[
    b"!~~", b"!~~*", b"<", b"<=", b"<>", b"=", b">", b">=", b"~", b"~~", b"~~*",
];

/// The longest operator that a server has.
const LONGEST_OPERATOR: usize = super::names::LONGEST;

impl Known {
    /// Sorts facts, with each function that something runs unseen judged by `judge`: `None` means a read.
    pub(super) fn new(
        facts: &Facts,
        judge: impl Fn(&Known, &Qualified) -> Option<Suspicion>,
    ) -> Known {
        let mut known = Known {
            functions: facts.functions.clone(),
            ..Known::default()
        };
        known
            .functions
            .sort_by(|one, other| key(&one.name).cmp(&key(&other.name)));
        let (mut operators, mut names) = (Vec::new(), Vec::new());
        for part in &facts.parts {
            let why = match &part.function {
                Some(function) => judge(&known, function),
                None => Some(Suspicion::Does(Deed::ServerState)),
            };
            if let Some(why) = why {
                let (list, place) = match part.what {
                    What::Operator => (&mut operators, Place::Anywhere),
                    What::Name => (&mut names, Place::Anywhere),
                    What::Attribute => (&mut names, Place::BehindDot),
                };
                let name = part.name.clone();
                list.push(Doubtful { name, place, why });
            }
        }
        for list in [&mut operators, &mut names] {
            list.sort_unstable();
            list.dedup();
        }
        known.keywords = operators
            .iter()
            .any(|operator| KEYWORDED.contains(&&*operator.name));
        for doubtful in &names {
            let name = &doubtful.name;
            let (word, bit) = shape(name);
            if let Some(word) = known.shapes.get_mut(word) {
                *word |= bit;
            }
            known.odd |= !name.is_ascii()
                || name.contains(&b'"')
                || name.len() >= super::names::LONGEST.saturating_sub(3);
        }
        known.operators = operators;
        known.names = names;
        known
    }

    /// The functions of a name, in every schema or in one.
    fn functions(&self, schema: Option<&[u8]>, name: &[u8]) -> impl Iterator<Item = &Function> {
        let from = self
            .functions
            .partition_point(|function| *function.name.1 < *name);
        let same = self
            .functions
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(move |function| *function.name.1 == *name);
        same.filter(move |function| {
            schema.is_none_or(|schema| function.name.0.as_deref() == Some(schema))
        })
    }

    /// Whether a call may mean a volatile function of the user's.
    pub(super) fn is_volatile(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        self.functions(schema, name)
            .any(|function| function.volatility == Volatility::Volatile)
    }

    /// Whether a call can mean functions of the user's, and all of them are stable.
    pub(super) fn is_stable(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        let mut found = self.functions(schema, name).peekable();
        found.peek().is_some() && found.all(|function| function.volatility == Volatility::Stable)
    }

    /// Whether keywords such as `IN` and `ORDER BY` may run a doubtful operator.
    pub(super) fn doubts_keywords(&self) -> bool {
        self.keywords
    }

    pub(super) fn has_operators(&self) -> bool {
        !self.operators.is_empty()
    }

    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// What is to be said of a run of operator characters: where one operator ends and the next begins is the
    /// server's to say, so every part of it counts.
    pub(super) fn of_operators(&self, run: &[u8]) -> impl Iterator<Item = Suspicion> {
        let too_long = (run.len() > LONGEST_OPERATOR).then_some(Suspicion::Unknown);
        let run = if too_long.is_some() { &[] } else { run };
        let starts = (0..run.len()).flat_map(move |from| {
            let rest = run.get(from..).unwrap_or_default();
            (1..=rest.len()).filter_map(move |len| rest.get(..len))
        });
        too_long
            .into_iter()
            .chain(starts.flat_map(|part| find(&self.operators, part).map(|found| found.why)))
    }

    /// Whether a name as it is written may be one of those that stand for code; quick, and wrong only in saying yes.
    pub(super) fn may_be_doubtful(&self, text: &[u8]) -> bool {
        let (word, bit) = shape(text);
        self.shapes.get(word).is_some_and(|word| word & bit != 0)
    }

    /// What is to be said of a name.
    pub(super) fn of_name(&self, name: &Folded, place: Place) -> impl Iterator<Item = Suspicion> {
        let found = find(&self.names, name.as_bytes());
        found
            .filter(move |doubtful| doubtful.place == Place::Anywhere || doubtful.place == place)
            .map(|doubtful| doubtful.why)
    }

    /// Whether one of the names could be meant by one that is written in an odd way.
    pub(super) fn has_odd_names(&self) -> bool {
        self.odd
    }
}

fn find<'a>(list: &'a [Doubtful], name: &[u8]) -> impl Iterator<Item = &'a Doubtful> + use<'a> {
    let from = list.partition_point(|doubtful| *doubtful.name < *name);
    let rest = list.get(from..).unwrap_or_default();
    let count = rest
        .iter()
        .take_while(|doubtful| *doubtful.name == *name)
        .count();
    rest.iter().take(count)
}

fn key(name: &Qualified) -> (&[u8], Option<&[u8]>) {
    (&name.1, name.0.as_deref())
}

/// Where in the table of shapes a name is: by its length and its ends, whatever its case.
fn shape(name: &[u8]) -> (usize, u64) {
    let (first, last) = match name {
        [] => (0, 0),
        [only] => (*only, *only),
        [first, .., last] => (*first, *last),
    };
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let mixed = (first | 0x20)
        .wrapping_mul(7)
        .wrapping_add((last | 0x20).wrapping_mul(31))
        .wrapping_add(len.wrapping_mul(13));
    (usize::from(mixed >> 6), 1_u64 << (mixed & 63))
}
