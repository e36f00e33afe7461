//! What the caller knows about functions, and the other choices of the scan.

use super::builtins::{LATER_READS, NOT_READS, OLDEST, READS};
use super::facts::{Facts, Known, Suspicion};
use super::intent::Deed;
use super::names::{self, Folded, Qualified};
use crate::limits;

/// The choices of a scan: function lists, the text limit, the oldest server.
///
/// A call is judged in this order: the deny list, the table of built-ins, the allow list, the server's
/// [`Facts`]; what none of them knows is [`Class::Unproven`](super::Class::Unproven). A built-in that is known not to be a read stays so whatever the allow
/// list says.
///
/// # What no text can show
///
/// A view, a row-level policy, a domain's check, a cast or operator of a user's type, and `w.f` where `f` is a
/// function of the row type `w`: each can run a function that the text does not name. So can a function in a user's
/// schema that has a built-in's name and fits its arguments better (`round(double precision, integer)`, where the
/// server has only `round(numeric, integer)`). [`Facts`] tell most of them, and [`Rules::SHADOWING_QUERY`] the last; the
/// others are for the standby to refuse. A sequence read as a table gives another row on a standby, because its log runs ahead of it;
/// the facts name sequences, too.
///
/// ```
/// use pgturnout::route::{scan, Class, LexState, Rules};
/// let mut rules = Rules::default();
/// rules.allow(b"app.price")?;
/// let lex = LexState::defaults();
/// assert_eq!(scan(b"select app.price(7)", &lex, &rules).class, Class::Read);
/// assert_eq!(scan(b"select app.charge(7)", &lex, &rules).class, Class::Unproven);
/// # Ok::<(), pgturnout::route::BadName>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rules {
    text_limit: usize,
    oldest_server: u8,
    begin_read_only: bool,
    hints: bool,
    allow: Vec<Qualified>,
    deny: Vec<Qualified>,
    known: Known,
}

/// Not a function name: `name`, `schema.name`, each plain or quoted, at most 63 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a function name: expected name or schema.name")]
pub struct BadName;

impl Default for Rules {
    /// No lists, [`limits::SCAN_TEXT_MAX`], servers from PostgreSQL 15 on, `BEGIN READ ONLY` to the writer, no hints.
    fn default() -> Rules {
        Rules {
            text_limit: limits::SCAN_TEXT_MAX,
            oldest_server: OLDEST,
            begin_read_only: false,
            hints: false,
            allow: Vec::new(),
            deny: Vec::new(),
            known: Known::default(),
        }
    }
}

impl Rules {
    /// The names to [`allow`](Rules::allow): every function outside the system schemas of which all overloads are
    /// marked stable or immutable. That mark is a promise of the function's author.
    pub const STABLE_QUERY: &'static str = "select pg_catalog.quote_ident(n.nspname) operator(pg_catalog.||) '.' \
        operator(pg_catalog.||) pg_catalog.quote_ident(p.proname) \
        from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace \
        where n.nspname operator(pg_catalog.<>) all ('{pg_catalog,information_schema}') \
        group by 1 having pg_catalog.bool_and(p.provolatile operator(pg_catalog.<>) 'v')";

    /// The names to [`deny`](Rules::deny): every volatile function outside the system schemas that has the name of a
    /// function in `pg_catalog`, so that a call of that name may mean it.
    pub const SHADOWING_QUERY: &'static str = "select pg_catalog.quote_ident(n.nspname) operator(pg_catalog.||) '.' \
        operator(pg_catalog.||) pg_catalog.quote_ident(p.proname) \
        from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace \
        where n.nspname operator(pg_catalog.<>) all ('{pg_catalog,information_schema}') \
        and p.provolatile operator(pg_catalog.=) 'v' \
        and exists (select from pg_catalog.pg_proc b where b.pronamespace operator(pg_catalog.=) \
        'pg_catalog'::pg_catalog.regnamespace and b.proname operator(pg_catalog.=) p.proname) group by 1";

    /// Says that a function is a read. `name` is written as in SQL; without a schema it means the function of that
    /// name in every schema, with one only a call that names the schema.
    ///
    /// # Errors
    ///
    /// [`BadName`] if it is no name.
    pub fn allow(&mut self, name: &[u8]) -> Result<(), BadName> {
        insert(
            &mut self.allow,
            names::parse_qualified(name).ok_or(BadName)?,
        );
        Ok(())
    }

    /// Says that a function must run on the writer. Without a schema it means every schema; with one, also a call
    /// that names no schema, because it may resolve there.
    ///
    /// # Errors
    ///
    /// [`BadName`] if it is no name.
    pub fn deny(&mut self, name: &[u8]) -> Result<(), BadName> {
        insert(&mut self.deny, names::parse_qualified(name).ok_or(BadName)?);
        Ok(())
    }

    /// Replaces what the rules know of a server by these facts. What was allowed or denied by hand stays and comes
    /// first; call this after that, because the lists also judge the functions that views and operators run.
    pub fn refresh(&mut self, facts: &Facts) {
        self.known = Known::new(facts, |known, function| self.suspect(known, function));
    }

    /// Why whatever runs a function unseen is no read; `None` if it is one.
    fn suspect(&self, known: &Known, function: &Qualified) -> Option<Suspicion> {
        let (schema, name) = (function.0.as_deref(), &*function.1);
        if find(&self.deny, schema, name) || find(&self.deny, None, name) {
            return Some(Suspicion::Does(Deed::Denied));
        }
        let verdict = match schema {
            Some(b"pg_catalog") => self.catalogued(name),
            Some(b"information_schema") => information_schema(name).then_some(Verdict::Builtin),
            Some(_) | None => None,
        };
        if let Some(Verdict::Not(deed)) = verdict {
            return Some(Suspicion::Does(deed));
        }
        let is_read = verdict.is_some()
            || find(&self.allow, schema, name)
            || find(&self.allow, None, name)
            || known.is_stable(schema, name);
        (!is_read).then_some(Suspicion::Unknown)
    }

    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// The longest text that is scanned; a longer one is [`Class::Unreadable`](super::Class::Unreadable).
    #[must_use]
    pub fn text_limit(&self) -> usize {
        self.text_limit
    }

    /// Sets the longest text that is scanned, in bytes.
    #[must_use]
    pub fn with_text_limit(mut self, bytes: usize) -> Rules {
        self.text_limit = bytes;
        self
    }

    /// Sets the major version of the oldest server in use: a name that became a built-in later counts as unknown.
    /// Servers before PostgreSQL 15 are not covered by the table: there, a name that PostgreSQL 15 introduced may be
    /// a user's.
    #[must_use]
    pub fn with_oldest_server(mut self, major: u8) -> Rules {
        self.oldest_server = major;
        self
    }

    /// Sets whether `BEGIN READ ONLY`, short of SERIALIZABLE, is [`Class::Read`](super::Class::Read), so that the
    /// whole transaction runs on a reader.
    #[must_use]
    pub fn with_begin_read_only(mut self, is_read: bool) -> Rules {
        self.begin_read_only = is_read;
        self
    }

    /// Sets whether a text may say where it goes, by the comment that it begins with: `/* pgturnout: writer */`
    /// has a read run on the writer, and `/* pgturnout: reader */` counts what is only [unproven](super::Class::Unproven)
    /// as a read. What is known to be no read stays with the writer. See [`hint`](super::hint()).
    ///
    /// The word of whoever writes the text: with hints to readers, have readers that refuse writes, and remember that they do
    /// not refuse advisory locks and messages to other servers.
    #[must_use]
    pub fn with_hints(mut self, counted: bool) -> Rules {
        self.hints = counted;
        self
    }

    pub(super) fn hints(&self) -> bool {
        self.hints
    }

    pub(crate) fn begin_read_only(&self) -> bool {
        self.begin_read_only
    }

    pub(super) fn oldest_server(&self) -> u8 {
        self.oldest_server
    }

    /// Judges a call.
    pub(super) fn judge(&self, schema: Schema<'_>, name: &Folded) -> Verdict {
        if self.denied(schema, name) {
            return Verdict::Not(Deed::Denied);
        }
        let (by_schema, bytes) = match schema {
            Schema::Named(schema) => (Some(schema.as_bytes()), name.as_bytes()),
            Schema::None | Schema::Unreadable => (None, name.as_bytes()),
        };
        match self.builtin(schema, name) {
            Some(Verdict::Builtin) if self.known.is_volatile(by_schema, bytes) => {}
            Some(verdict) => return verdict,
            None => {}
        }
        if self.allowed(schema, name) || self.known.is_stable(by_schema, bytes) {
            Verdict::Allowed
        } else {
            Verdict::Unknown
        }
    }

    fn builtin(&self, schema: Schema<'_>, name: &Folded) -> Option<Verdict> {
        match schema {
            Schema::None => self.catalogued(name.as_bytes()),
            Schema::Named(schema) if schema.as_bytes() == b"pg_catalog" => {
                self.catalogued(name.as_bytes())
            }
            Schema::Named(schema) if schema.as_bytes() == b"information_schema" => {
                information_schema(name.as_bytes()).then_some(Verdict::Builtin)
            }
            Schema::Named(_) | Schema::Unreadable => None,
        }
    }

    /// What the tables say of a function of `pg_catalog`.
    fn catalogued(&self, name: &[u8]) -> Option<Verdict> {
        let read = || {
            READS
                .binary_search_by(|known| known.as_bytes().cmp(name))
                .is_ok()
        };
        let not_read = || {
            NOT_READS
                .binary_search_by(|row| row.0.as_bytes().cmp(name))
                .ok()
        };
        let later = || {
            LATER_READS
                .binary_search_by(|row| row.0.as_bytes().cmp(name))
                .ok()
        };
        if read() {
            Some(Verdict::Builtin)
        } else if let Some((_, deed)) = not_read().and_then(|at| NOT_READS.get(at)) {
            Some(Verdict::Not(*deed))
        } else {
            let (_, since) = later().and_then(|at| LATER_READS.get(at))?;
            (*since <= self.oldest_server).then_some(Verdict::Builtin)
        }
    }

    fn allowed(&self, schema: Schema<'_>, name: &Folded) -> bool {
        let any = find(&self.allow, None, name.as_bytes());
        match schema {
            Schema::None | Schema::Unreadable => any,
            Schema::Named(schema) => {
                any || find(&self.allow, Some(schema.as_bytes()), name.as_bytes())
            }
        }
    }

    fn denied(&self, schema: Schema<'_>, name: &Folded) -> bool {
        if self.deny.is_empty() {
            return false;
        }
        let name = name.as_bytes();
        match schema {
            Schema::Named(schema) => {
                find(&self.deny, None, name) || find(&self.deny, Some(schema.as_bytes()), name)
            }
            Schema::None | Schema::Unreadable => {
                let from = self.deny.partition_point(|entry| *entry.1 < *name);
                self.deny.get(from).is_some_and(|entry| *entry.1 == *name)
            }
        }
    }
}

fn key(entry: &Qualified) -> (&[u8], Option<&[u8]>) {
    (&entry.1, entry.0.as_deref())
}

/// Inserts into a list that is ordered by name, then schema.
fn insert(list: &mut Vec<Qualified>, entry: Qualified) {
    if let Err(at) = list.binary_search_by(|have| key(have).cmp(&key(&entry))) {
        list.insert(at, entry);
    }
}

fn find(list: &[Qualified], schema: Option<&[u8]>, name: &[u8]) -> bool {
    !list.is_empty()
        && list
            .binary_search_by(|have| key(have).cmp(&(name, schema)))
            .is_ok()
}

/// The functions that `information_schema` brings, all immutable or stable; nobody else creates objects there.
fn information_schema(name: &[u8]) -> bool {
    let full = || b"information_schema.".iter().chain(name);
    READS
        .binary_search_by(|known| known.bytes().cmp(full().copied()))
        .is_ok()
}

/// The schema that a call names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Schema<'a> {
    None,
    Named(&'a Folded),
    /// A database and a schema, or a name with escapes.
    Unreadable,
}

/// What is known about a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A built-in read, if the name resolves to `pg_catalog`.
    Builtin,
    /// On the caller's allow list.
    Allowed,
    /// Not a read.
    Not(Deed),
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Class, Intent, LexState, Why, scan};

    fn of(sql: &[u8], rules: &Rules) -> Intent {
        scan(sql, &LexState::defaults(), rules)
    }

    #[test]
    fn tables_are_sorted_and_disjoint() {
        assert!(READS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(LATER_READS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NOT_READS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, _) in NOT_READS {
            assert!(READS.binary_search(name).is_err(), "{name}");
            assert!(LATER_READS.iter().all(|later| later.0 != *name), "{name}");
        }
        assert!(READS.contains(&"lower") && READS.contains(&"information_schema._pg_expandarray"));
    }

    #[test]
    fn lists_match_as_documented() {
        let mut rules = Rules::default();
        for name in [b"f".as_slice(), b"App.G", br#""My"."H""#, b"pg_notify"] {
            rules.allow(name).unwrap();
        }
        for (sql, class) in [
            ("select f(), F(), x.f()", Class::Read),
            ("select app.g(), APP.G(), \"app\".\"g\"()", Class::Read),
            ("select g()", Class::Unproven),
            ("select \"My\".\"H\"()", Class::Read),
            ("select my.h()", Class::Unproven),
            ("select pg_notify('a', 'b')", Class::Write),
        ] {
            assert_eq!(of(sql.as_bytes(), &rules).class, class, "{sql}");
        }
        // Some server encodings fold letters beyond ASCII, so only the quoted name is certain.
        rules.allow("\"é\"".as_bytes()).unwrap();
        assert_eq!(of("select \"é\"()".as_bytes(), &rules).class, Class::Read);
        assert_eq!(of("select é()".as_bytes(), &rules).class, Class::Unproven);
        rules.deny(b"app.g").unwrap();
        rules.deny(b"LOWER").unwrap();
        for sql in [
            "select app.g()",
            "select g()",
            "select lower('x')",
            "select pg_catalog.lower('x')",
        ] {
            assert_eq!(
                of(sql.as_bytes(), &rules).reason.why,
                Why::Function(Deed::Denied),
                "{sql}"
            );
        }
        assert_eq!(of(b"select other.g()", &rules).class, Class::Unproven);
    }

    #[test]
    fn bad_names_are_refused() {
        let mut rules = Rules::default();
        let long = vec![b'x'; 64];
        for name in [
            b"".as_slice(),
            b"a.b.c",
            b"a b",
            b"'a'",
            b"a.",
            b".a",
            b"\"\"",
            b"a\0",
            b"u&\"a\"",
            &long,
        ] {
            assert_eq!(rules.allow(name), Err(BadName), "{name:?}");
        }
    }

    #[test]
    fn a_newer_built_in_counts_once_every_server_has_it() {
        let sql = b"select uuidv7()";
        assert_eq!(of(sql, &Rules::default()).class, Class::Unproven);
        assert_eq!(
            of(sql, &Rules::default().with_oldest_server(17)).class,
            Class::Unproven
        );
        assert_eq!(
            of(sql, &Rules::default().with_oldest_server(18)).class,
            Class::Read
        );
        let sql = b"select json_array(1), json_arrayagg(x) from t";
        assert_eq!(of(sql, &Rules::default()).class, Class::Unproven);
        assert_eq!(
            of(sql, &Rules::default().with_oldest_server(16)).class,
            Class::Read
        );
    }
}
