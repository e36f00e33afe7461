//! The keywords that the scanner knows, and what each means to it.

/// A keyword that some form of statement looks at by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub(super) enum Word {
    All, Analyze, And, As, Atomic, Authorization, Begin, Binary, By, Case, Catalog, Chain, Character,
    Characteristics, Collation, Committed, Constraints, Current, Cursor, Cycle, Default, Deferrable, Delete,
    Distinct, End, Escape, False, Filter, For, From, Function, Global, Group, Grouping, Groups, Hold, Insert, Interval, Into, Is,
    Isolation, Join, Key, Level, Local, Materialized, Merge, Names, No, None, Not, Off, On, Only, Operator, Or,
    Order, Ordinality, Over, Partition, Plans, Prepare, Prepared, Procedure, Program, Range, Read, Recursive,
    Repeatable, Replace, Role, Rollup, Rows, Savepoint, Schema, Search, Second, Select, Sequences, Serializable, Session,
    Set, Sets, Share, Snapshot, Stdout, Table, Tablesample, Temp, Time, To, Transaction, True, Uncommitted, Unlogged, Update, Using,
    Values, Varying, Verbose, With, Within, Without, Work, Write, Xml, Zone,
    /// A keyword behind which an operator or a type is looked up by name: `IN`, `LIKE`, `CAST`, …
    NamedOp,
    /// A keyword that no form looks at.
    Other,
    /// No keyword of the table: a name, or an unreserved keyword without a meaning here.
    Name,
}

/// What a keyword starts when it is the first word of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Query,
    Explain,
    Copy,
    Show,
    Set,
    Reset,
    Begin,
    Start,
    Commit,
    Rollback,
    Savepoint,
    Release,
    Prepare,
    Execute,
    Deallocate,
    Discard,
    Listen,
    Unlisten,
    Declare,
    Cursor,
    Close,
    Load,
    Create,
    Alter,
    Dml,
    /// `DO`, `CALL`: code that the text does not show.
    Code,
    Notify,
    /// `VACUUM`, `ANALYZE`, `LOCK` and their like.
    Maintain,
    /// Any other statement, all of them writes.
    Write,
    /// No statement starts with it.
    None,
}

/// What an unquoted word means directly before an opening parenthesis in an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paren {
    /// A function may have that name: a name, an unreserved keyword, one of the type and function keywords.
    Call,
    /// No function can have that name: reserved, or with a grammar of its own (`COALESCE`, `numeric`).
    Group,
    /// As `Group`, and `FOR` separates its arguments.
    Substring,
    /// As `Group` from PostgreSQL 16 on; a function's name before.
    Since16,
    /// As `Group` from PostgreSQL 17 on; a function's name before.
    Since17,
    /// `TREAT(x AS f)`, which calls `f(x)`.
    Treat,
    /// An infix keyword after an operand, else a function's name: `a LIKE (b)`, `t JOIN (u …)`.
    Operand,
    /// A clause after a closing parenthesis, else a function's name: `count(*) OVER (…)`.
    Clause,
}

/// One word of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keyword {
    pub(super) word: Word,
    pub(super) head: Head,
    pub(super) paren: Paren,
}

impl Keyword {
    /// What every other word is.
    pub(super) const NAME: Keyword = Keyword {
        word: Word::Name,
        head: Head::None,
        paren: Paren::Call,
    };
}

/// A word of the table has at most this many bytes; `CURRENT_TIMESTAMP`, the one longer keyword, is looked at apart.
const KEY_LEN: usize = 16;

/// The bit that makes ASCII letters lower case, in every byte of a key. No two other bytes that a word can contain
/// (digits, `_`, `$`, non-ASCII) fall together with it, and the padding becomes the same everywhere.
const FOLD: u128 = u128::from_be_bytes([0x20; KEY_LEN]);

/// The keyword that `name` is, whatever its case. Only ASCII letters fold.
pub(super) fn lookup(name: &[u8]) -> Keyword {
    if name.len() > KEY_LEN {
        let long = name.eq_ignore_ascii_case(b"current_timestamp");
        return if long {
            Keyword {
                paren: Paren::Group,
                ..Keyword::NAME
            }
        } else {
            Keyword::NAME
        };
    }
    let mut word = [0_u8; KEY_LEN];
    for (to, from) in word.iter_mut().zip(name) {
        *to = *from;
    }
    let key = u128::from_be_bytes(word) | FOLD;
    let [first, ..] = key.to_be_bytes();
    let same_letter = usize::from(first)
        .checked_sub(usize::from(b'a'))
        .and_then(|at| LETTERS.get(at));
    let rows = same_letter
        .and_then(|(from, to)| TABLE.get(*from..*to))
        .unwrap_or_default();
    rows.iter()
        .find(|row| row.0 == key)
        .map_or(Keyword::NAME, |row| row.1)
}

/// Where in the table the words of each letter are.
const LETTERS: [(usize, usize); 26] = letters();

const fn letters() -> [(usize, usize); 26] {
    let mut letters = [(0, 0); 26];
    let mut rest: &[Row] = TABLE;
    let mut at = 0_usize;
    while let Some(((key, _), tail)) = rest.split_first() {
        let [first, ..] = key.to_be_bytes();
        let mut left: &mut [(usize, usize)] = &mut letters;
        let mut letter = b'a';
        while let Some((slot, others)) = left.split_first_mut() {
            if letter == first {
                if slot.1 == 0 {
                    slot.0 = at;
                }
                slot.1 = at.wrapping_add(1);
            }
            letter = letter.wrapping_add(1);
            left = others;
        }
        at = at.wrapping_add(1);
        rest = tail;
    }
    letters
}

type Row = (u128, Keyword);

/// A row: the word as an integer.
#[allow(
    clippy::as_conversions,
    reason = "`u128::from` is not const, and a u8 always fits"
)]
const fn row(name: &[u8], word: Word, head: Head, paren: Paren) -> Row {
    let mut key = 0_u128;
    let mut rest = name;
    let mut left = KEY_LEN;
    while let Some(less) = left.checked_sub(1) {
        left = less;
        key = key.wrapping_shl(8);
        if let Some((first, tail)) = rest.split_first() {
            key |= *first as u128;
            rest = tail;
        }
    }
    (key | FOLD, Keyword { word, head, paren })
}

/// Every keyword that some rule looks at, with every reserved and column-name keyword of PostgreSQL 15 to 18
/// (`pg_get_keywords()`), those of one first letter together.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(b"abort", Word::Other, Head::Rollback, Paren::Call),
    row(b"all", Word::All, Head::None, Paren::Group),
    row(b"alter", Word::Other, Head::Alter, Paren::Call),
    row(b"analyse", Word::Analyze, Head::Maintain, Paren::Group),
    row(b"analyze", Word::Analyze, Head::Maintain, Paren::Group),
    row(b"and", Word::And, Head::None, Paren::Group),
    row(b"any", Word::Other, Head::None, Paren::Group),
    row(b"array", Word::Other, Head::None, Paren::Group),
    row(b"as", Word::As, Head::None, Paren::Group),
    row(b"asc", Word::Other, Head::None, Paren::Group),
    row(b"asymmetric", Word::Other, Head::None, Paren::Group),
    row(b"atomic", Word::Atomic, Head::None, Paren::Call),
    row(b"authorization", Word::Authorization, Head::None, Paren::Call),
    row(b"begin", Word::Begin, Head::Begin, Paren::Call),
    row(b"between", Word::NamedOp, Head::None, Paren::Group),
    row(b"bigint", Word::Other, Head::None, Paren::Group),
    row(b"binary", Word::Binary, Head::None, Paren::Call),
    row(b"bit", Word::Character, Head::None, Paren::Group),
    row(b"boolean", Word::Other, Head::None, Paren::Group),
    row(b"both", Word::Other, Head::None, Paren::Group),
    row(b"by", Word::By, Head::None, Paren::Call),
    row(b"call", Word::Other, Head::Code, Paren::Call),
    row(b"case", Word::Case, Head::None, Paren::Group),
    row(b"cast", Word::NamedOp, Head::None, Paren::Group),
    row(b"catalog", Word::Catalog, Head::None, Paren::Call),
    row(b"chain", Word::Chain, Head::None, Paren::Call),
    row(b"char", Word::Character, Head::None, Paren::Group),
    row(b"character", Word::Character, Head::None, Paren::Group),
    row(b"characteristics", Word::Characteristics, Head::None, Paren::Call),
    row(b"check", Word::Other, Head::None, Paren::Group),
    row(b"checkpoint", Word::Other, Head::Maintain, Paren::Call),
    row(b"close", Word::Other, Head::Close, Paren::Call),
    row(b"cluster", Word::Other, Head::Maintain, Paren::Call),
    row(b"coalesce", Word::Other, Head::None, Paren::Group),
    row(b"collate", Word::Other, Head::None, Paren::Group),
    row(b"collation", Word::Collation, Head::None, Paren::Call),
    row(b"column", Word::Other, Head::None, Paren::Group),
    row(b"columns", Word::Other, Head::None, Paren::Operand),
    row(b"comment", Word::Other, Head::Write, Paren::Call),
    row(b"commit", Word::Other, Head::Commit, Paren::Call),
    row(b"committed", Word::Committed, Head::None, Paren::Call),
    row(b"constraint", Word::Other, Head::None, Paren::Group),
    row(b"constraints", Word::Constraints, Head::None, Paren::Call),
    row(b"content", Word::Other, Head::None, Paren::Call),
    row(b"copy", Word::Other, Head::Copy, Paren::Call),
    row(b"create", Word::Other, Head::Create, Paren::Group),
    row(b"cube", Word::Rollup, Head::None, Paren::Call),
    row(b"current", Word::Current, Head::None, Paren::Call),
    row(b"current_catalog", Word::Other, Head::None, Paren::Group),
    row(b"current_date", Word::Other, Head::None, Paren::Group),
    row(b"current_role", Word::Other, Head::None, Paren::Group),
    row(b"current_time", Word::Other, Head::None, Paren::Group),
    row(b"current_user", Word::Other, Head::None, Paren::Group),
    row(b"cursor", Word::Cursor, Head::None, Paren::Call),
    row(b"cycle", Word::Cycle, Head::None, Paren::Call),
    row(b"deallocate", Word::Other, Head::Deallocate, Paren::Call),
    row(b"dec", Word::Other, Head::None, Paren::Group),
    row(b"decimal", Word::Other, Head::None, Paren::Group),
    row(b"declare", Word::Other, Head::Declare, Paren::Call),
    row(b"default", Word::Default, Head::None, Paren::Group),
    row(b"deferrable", Word::Deferrable, Head::None, Paren::Group),
    row(b"delete", Word::Delete, Head::Dml, Paren::Call),
    row(b"desc", Word::Other, Head::None, Paren::Group),
    row(b"discard", Word::Other, Head::Discard, Paren::Call),
    row(b"distinct", Word::Distinct, Head::None, Paren::Group),
    row(b"do", Word::Other, Head::Code, Paren::Group),
    row(b"document", Word::Other, Head::None, Paren::Call),
    row(b"drop", Word::Other, Head::Write, Paren::Call),
    row(b"else", Word::Other, Head::None, Paren::Group),
    row(b"end", Word::End, Head::Commit, Paren::Group),
    row(b"escape", Word::Escape, Head::None, Paren::Call),
    row(b"except", Word::Other, Head::None, Paren::Group),
    row(b"execute", Word::Other, Head::Execute, Paren::Call),
    row(b"exists", Word::Other, Head::None, Paren::Group),
    row(b"explain", Word::Other, Head::Explain, Paren::Call),
    row(b"extract", Word::Other, Head::None, Paren::Group),
    row(b"false", Word::False, Head::None, Paren::Group),
    row(b"fetch", Word::Other, Head::Cursor, Paren::Group),
    row(b"filter", Word::Filter, Head::None, Paren::Clause),
    row(b"float", Word::Other, Head::None, Paren::Group),
    row(b"for", Word::For, Head::None, Paren::Group),
    row(b"foreign", Word::Other, Head::None, Paren::Group),
    row(b"from", Word::From, Head::None, Paren::Group),
    row(b"function", Word::Function, Head::None, Paren::Call),
    row(b"global", Word::Global, Head::None, Paren::Call),
    row(b"grant", Word::Other, Head::Write, Paren::Group),
    row(b"greatest", Word::Other, Head::None, Paren::Group),
    row(b"group", Word::Group, Head::None, Paren::Group),
    row(b"grouping", Word::Grouping, Head::None, Paren::Group),
    row(b"groups", Word::Groups, Head::None, Paren::Call),
    row(b"having", Word::Other, Head::None, Paren::Group),
    row(b"hold", Word::Hold, Head::None, Paren::Call),
    row(b"ilike", Word::NamedOp, Head::None, Paren::Operand),
    row(b"import", Word::Other, Head::Write, Paren::Call),
    row(b"in", Word::NamedOp, Head::None, Paren::Group),
    row(b"initially", Word::Other, Head::None, Paren::Group),
    row(b"inout", Word::Other, Head::None, Paren::Group),
    row(b"insert", Word::Insert, Head::Dml, Paren::Call),
    row(b"int", Word::Other, Head::None, Paren::Group),
    row(b"integer", Word::Other, Head::None, Paren::Group),
    row(b"intersect", Word::Other, Head::None, Paren::Group),
    row(b"interval", Word::Interval, Head::None, Paren::Group),
    row(b"into", Word::Into, Head::None, Paren::Group),
    row(b"is", Word::Is, Head::None, Paren::Call),
    row(b"isnull", Word::Other, Head::None, Paren::Operand),
    row(b"isolation", Word::Isolation, Head::None, Paren::Call),
    row(b"join", Word::Join, Head::None, Paren::Operand),
    row(b"json", Word::Other, Head::None, Paren::Since17),
    row(b"json_array", Word::Other, Head::None, Paren::Since16),
    row(b"json_arrayagg", Word::Other, Head::None, Paren::Since16),
    row(b"json_exists", Word::Other, Head::None, Paren::Since17),
    row(b"json_object", Word::Other, Head::None, Paren::Group),
    row(b"json_objectagg", Word::Other, Head::None, Paren::Since16),
    row(b"json_query", Word::Other, Head::None, Paren::Since17),
    row(b"json_scalar", Word::Other, Head::None, Paren::Since17),
    row(b"json_serialize", Word::Other, Head::None, Paren::Since17),
    row(b"json_table", Word::Other, Head::None, Paren::Since17),
    row(b"json_value", Word::Other, Head::None, Paren::Since17),
    row(b"key", Word::Key, Head::None, Paren::Call),
    row(b"lateral", Word::Other, Head::None, Paren::Group),
    row(b"leading", Word::Other, Head::None, Paren::Group),
    row(b"least", Word::Other, Head::None, Paren::Group),
    row(b"level", Word::Level, Head::None, Paren::Call),
    row(b"like", Word::NamedOp, Head::None, Paren::Operand),
    row(b"limit", Word::Other, Head::None, Paren::Group),
    row(b"listen", Word::Other, Head::Listen, Paren::Call),
    row(b"load", Word::Other, Head::Load, Paren::Call),
    row(b"local", Word::Local, Head::None, Paren::Call),
    row(b"localtime", Word::Other, Head::None, Paren::Group),
    row(b"localtimestamp", Word::Other, Head::None, Paren::Group),
    row(b"lock", Word::Other, Head::Maintain, Paren::Call),
    row(b"materialized", Word::Materialized, Head::None, Paren::Call),
    row(b"merge", Word::Merge, Head::Dml, Paren::Call),
    row(b"merge_action", Word::Other, Head::None, Paren::Since17),
    row(b"move", Word::Other, Head::Cursor, Paren::Call),
    row(b"names", Word::Names, Head::None, Paren::Call),
    row(b"national", Word::Other, Head::None, Paren::Group),
    row(b"natural", Word::NamedOp, Head::None, Paren::Call),
    row(b"nchar", Word::Character, Head::None, Paren::Group),
    row(b"no", Word::No, Head::None, Paren::Call),
    row(b"none", Word::None, Head::None, Paren::Group),
    row(b"normalize", Word::Other, Head::None, Paren::Group),
    row(b"not", Word::Not, Head::None, Paren::Group),
    row(b"notify", Word::Other, Head::Notify, Paren::Call),
    row(b"notnull", Word::Other, Head::None, Paren::Operand),
    row(b"null", Word::Other, Head::None, Paren::Group),
    row(b"nullif", Word::NamedOp, Head::None, Paren::Group),
    row(b"numeric", Word::Other, Head::None, Paren::Group),
    row(b"off", Word::Off, Head::None, Paren::Call),
    row(b"offset", Word::Other, Head::None, Paren::Group),
    row(b"on", Word::On, Head::None, Paren::Group),
    row(b"only", Word::Only, Head::None, Paren::Group),
    row(b"operator", Word::Operator, Head::None, Paren::Call),
    row(b"or", Word::Or, Head::None, Paren::Group),
    row(b"order", Word::Order, Head::None, Paren::Group),
    row(b"ordinality", Word::Ordinality, Head::None, Paren::Call),
    row(b"out", Word::Other, Head::None, Paren::Group),
    row(b"over", Word::Over, Head::None, Paren::Clause),
    row(b"overlaps", Word::NamedOp, Head::None, Paren::Operand),
    row(b"overlay", Word::Other, Head::None, Paren::Substring),
    row(b"partition", Word::Partition, Head::None, Paren::Call),
    row(b"passing", Word::Other, Head::None, Paren::Call),
    row(b"placing", Word::Other, Head::None, Paren::Group),
    row(b"plans", Word::Plans, Head::None, Paren::Call),
    row(b"position", Word::Other, Head::None, Paren::Group),
    row(b"precision", Word::Other, Head::None, Paren::Group),
    row(b"prepare", Word::Prepare, Head::Prepare, Paren::Call),
    row(b"prepared", Word::Prepared, Head::None, Paren::Call),
    row(b"primary", Word::Other, Head::None, Paren::Group),
    row(b"procedure", Word::Procedure, Head::None, Paren::Call),
    row(b"program", Word::Program, Head::None, Paren::Call),
    row(b"range", Word::Range, Head::None, Paren::Call),
    row(b"read", Word::Read, Head::None, Paren::Call),
    row(b"real", Word::Other, Head::None, Paren::Group),
    row(b"reassign", Word::Other, Head::Write, Paren::Call),
    row(b"recursive", Word::Recursive, Head::None, Paren::Call),
    row(b"ref", Word::Other, Head::None, Paren::Call),
    row(b"references", Word::Other, Head::None, Paren::Group),
    row(b"refresh", Word::Other, Head::Write, Paren::Call),
    row(b"reindex", Word::Other, Head::Maintain, Paren::Call),
    row(b"release", Word::Other, Head::Release, Paren::Call),
    row(b"repeatable", Word::Repeatable, Head::None, Paren::Clause),
    row(b"replace", Word::Replace, Head::None, Paren::Call),
    row(b"reset", Word::Other, Head::Reset, Paren::Call),
    row(b"returning", Word::Other, Head::None, Paren::Group),
    row(b"revoke", Word::Other, Head::Write, Paren::Call),
    row(b"role", Word::Role, Head::None, Paren::Call),
    row(b"rollback", Word::Other, Head::Rollback, Paren::Call),
    row(b"rollup", Word::Rollup, Head::None, Paren::Call),
    row(b"row", Word::Other, Head::None, Paren::Group),
    row(b"rows", Word::Rows, Head::None, Paren::Call),
    row(b"savepoint", Word::Savepoint, Head::Savepoint, Paren::Call),
    row(b"schema", Word::Schema, Head::None, Paren::Call),
    row(b"search", Word::Search, Head::None, Paren::Call),
    row(b"security", Word::Other, Head::Write, Paren::Call),
    row(b"second", Word::Second, Head::None, Paren::Call),
    row(b"select", Word::Select, Head::Query, Paren::Group),
    row(b"sequences", Word::Sequences, Head::None, Paren::Call),
    row(b"serializable", Word::Serializable, Head::None, Paren::Call),
    row(b"session", Word::Session, Head::None, Paren::Call),
    row(b"session_user", Word::Other, Head::None, Paren::Group),
    row(b"set", Word::Set, Head::Set, Paren::Call),
    row(b"setof", Word::Other, Head::None, Paren::Group),
    row(b"sets", Word::Sets, Head::None, Paren::Call),
    row(b"share", Word::Share, Head::None, Paren::Call),
    row(b"show", Word::Other, Head::Show, Paren::Call),
    row(b"similar", Word::NamedOp, Head::None, Paren::Call),
    row(b"smallint", Word::Other, Head::None, Paren::Group),
    row(b"snapshot", Word::Snapshot, Head::None, Paren::Call),
    row(b"some", Word::Other, Head::None, Paren::Group),
    row(b"start", Word::Other, Head::Start, Paren::Call),
    row(b"stdout", Word::Stdout, Head::None, Paren::Call),
    row(b"substring", Word::Other, Head::None, Paren::Substring),
    row(b"symmetric", Word::Other, Head::None, Paren::Group),
    row(b"system_user", Word::Other, Head::None, Paren::Group),
    row(b"table", Word::Table, Head::Query, Paren::Group),
    row(b"tablesample", Word::Tablesample, Head::None, Paren::Call),
    row(b"temp", Word::Temp, Head::None, Paren::Call),
    row(b"temporary", Word::Temp, Head::None, Paren::Call),
    row(b"then", Word::Other, Head::None, Paren::Group),
    row(b"time", Word::Time, Head::None, Paren::Group),
    row(b"timestamp", Word::Other, Head::None, Paren::Group),
    row(b"to", Word::To, Head::None, Paren::Group),
    row(b"trailing", Word::Other, Head::None, Paren::Group),
    row(b"transaction", Word::Transaction, Head::None, Paren::Call),
    row(b"treat", Word::Other, Head::None, Paren::Treat),
    row(b"trim", Word::Other, Head::None, Paren::Group),
    row(b"true", Word::True, Head::None, Paren::Group),
    row(b"truncate", Word::Other, Head::Write, Paren::Call),
    row(b"uncommitted", Word::Uncommitted, Head::None, Paren::Call),
    row(b"union", Word::Other, Head::None, Paren::Group),
    row(b"unique", Word::Other, Head::None, Paren::Group),
    row(b"unlisten", Word::Other, Head::Unlisten, Paren::Call),
    row(b"unlogged", Word::Unlogged, Head::None, Paren::Call),
    row(b"update", Word::Update, Head::Dml, Paren::Call),
    row(b"user", Word::Other, Head::None, Paren::Group),
    row(b"using", Word::Using, Head::None, Paren::Group),
    row(b"vacuum", Word::Other, Head::Maintain, Paren::Call),
    row(b"value", Word::Other, Head::None, Paren::Call),
    row(b"values", Word::Values, Head::Query, Paren::Group),
    row(b"varchar", Word::Other, Head::None, Paren::Group),
    row(b"variadic", Word::Other, Head::None, Paren::Group),
    row(b"varying", Word::Varying, Head::None, Paren::Call),
    row(b"verbose", Word::Verbose, Head::None, Paren::Call),
    row(b"version", Word::Other, Head::None, Paren::Call),
    row(b"when", Word::Other, Head::None, Paren::Group),
    row(b"where", Word::Other, Head::None, Paren::Group),
    row(b"window", Word::Other, Head::None, Paren::Group),
    row(b"with", Word::With, Head::Query, Paren::Group),
    row(b"within", Word::Within, Head::None, Paren::Call),
    row(b"without", Word::Without, Head::None, Paren::Call),
    row(b"work", Word::Work, Head::None, Paren::Call),
    row(b"write", Word::Write, Head::None, Paren::Call),
    row(b"xml", Word::Xml, Head::None, Paren::Call),
    row(b"xmlattributes", Word::Other, Head::None, Paren::Group),
    row(b"xmlconcat", Word::Other, Head::None, Paren::Group),
    row(b"xmlelement", Word::Other, Head::None, Paren::Group),
    row(b"xmlexists", Word::Other, Head::None, Paren::Group),
    row(b"xmlforest", Word::Other, Head::None, Paren::Group),
    row(b"xmlnamespaces", Word::Other, Head::None, Paren::Group),
    row(b"xmlparse", Word::Other, Head::None, Paren::Group),
    row(b"xmlpi", Word::Other, Head::None, Paren::Group),
    row(b"xmlroot", Word::Other, Head::None, Paren::Group),
    row(b"xmlserialize", Word::Other, Head::None, Paren::Group),
    row(b"xmltable", Word::Other, Head::None, Paren::Group),
    row(b"zone", Word::Zone, Head::None, Paren::Call),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_finds_itself_in_any_case() {
        for (key, keyword) in TABLE {
            let padded = key.to_be_bytes();
            let name: Vec<u8> = padded
                .into_iter()
                .filter(|b| *b != b' ')
                .map(|b| if b == 0x7f { b'_' } else { b })
                .collect();
            assert_eq!(lookup(&name), *keyword, "{name:?}");
            assert_eq!(lookup(&name.to_ascii_uppercase()), *keyword, "{name:?}");
        }
        let mut keys: Vec<u128> = TABLE.iter().map(|row| row.0).collect();
        keys.sort_unstable();
        assert!(
            keys.windows(2).all(|pair| pair[0] < pair[1]),
            "a word is there twice"
        );
    }

    #[test]
    fn only_ascii_folds_and_only_whole_words_match() {
        assert_eq!(lookup("ſelect".as_bytes()), Keyword::NAME);
        assert_eq!(lookup(b"selec"), Keyword::NAME);
        assert_eq!(lookup(b"selects"), Keyword::NAME);
        assert_eq!(lookup(b""), Keyword::NAME);
        assert_eq!(lookup(b"CURRENT_TIMESTAMP").paren, Paren::Group);
    }
}
