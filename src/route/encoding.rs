//! What a session's settings mean for the reading of its texts.

/// A fact about the session that may be unknown, which is never the same as its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known<T> {
    /// It holds this value for every statement still to be sent.
    Is(T),
    /// Not established, or something in flight may change it.
    #[default]
    Unknown,
}

impl<T: PartialEq> Known<T> {
    /// Whether it is known to be `value`.
    pub fn is(&self, value: &T) -> bool {
        match self {
            Known::Is(known) => known == value,
            Known::Unknown => false,
        }
    }
}

/// What the client encoding means for a lexer of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// Every byte of a multibyte character has its high bit set: `EUC_*`, `LATIN*`, `ISO_8859_*`, `WIN*`, `KOI8*`,
    /// `MULE_INTERNAL`, `SQL_ASCII`.
    Safe,
    /// A trail byte can look like ASCII, a quote or a backslash included: `SJIS`, `SHIFT_JIS_2004`, `BIG5`, `GBK`,
    /// `GB18030`, `JOHAB`, `UHC`.
    Unsafe,
    /// Not established, or no name that PostgreSQL knows.
    #[default]
    Unknown,
}

impl Encoding {
    /// The encoding of that name or alias, compared as the server does: ASCII letters and digits only, in any case.
    ///
    /// ```
    /// use pgturnout::route::Encoding;
    /// assert_eq!(Encoding::from_name(b"utf-8"), Encoding::Utf8);
    /// assert_eq!(Encoding::from_name(b"Shift_JIS"), Encoding::Unsafe);
    /// ```
    #[must_use]
    pub fn from_name(name: &[u8]) -> Encoding {
        /// The longest of PostgreSQL's own names has 13 letters and digits.
        const LONGEST: usize = 13;
        let mut folded = [0_u8; LONGEST];
        let mut room = folded.iter_mut();
        for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            match room.next() {
                Some(slot) => *slot = byte.to_ascii_lowercase(),
                None => return Encoding::Unknown,
            }
        }
        let left = room.len();
        let name = folded
            .get(..LONGEST.saturating_sub(left))
            .unwrap_or_default();
        let any = |names: &str| names.split(' ').any(|known| known.as_bytes() == name);
        if any("utf8 unicode") {
            Encoding::Utf8
        } else if any(SAFE) {
            Encoding::Safe
        } else if any(UNSAFE) {
            Encoding::Unsafe
        } else {
            Encoding::Unknown
        }
    }
}

/// Names and aliases of `src/common/encnames.c` whose characters never contain an ASCII byte beside themselves.
const SAFE: &str = "sqlascii abc alt euccn eucjis2004 eucjp euckr euctw iso88591 iso885910 iso885913 iso885914 \
    iso885915 iso885916 iso88592 iso88593 iso88594 iso88595 iso88596 iso88597 iso88598 iso88599 \
    koi8 koi8r koi8u latin1 latin10 latin2 latin3 latin4 latin5 latin6 latin7 latin8 latin9 \
    muleinternal tcvn tcvn5712 vscii win win1250 win1251 win1252 win1253 win1254 win1255 win1256 \
    win1257 win1258 win866 win874 windows1250 windows1251 windows1252 windows1253 windows1254 \
    windows1255 windows1256 windows1257 windows1258 windows866 windows874";

/// The others of the same file.
const UNSAFE: &str = "big5 gb18030 gbk johab mskanji shiftjis shiftjis2004 sjis uhc win932 win936 win949 win950 \
    windows932 windows936 windows949 windows950";

/// What the session's settings make of a text, at the moment when the server will lex it.
///
/// The server lexes the whole of a text before it executes any of it, so one state covers one text. A fact is
/// [`Known::Is`] only while nothing unproven is in flight: ParameterStatus comes just before ReadyForQuery, later
/// than a pipelined text is lexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LexState {
    /// `standard_conforming_strings`: whether a backslash in a plain literal is an ordinary character.
    pub standard_conforming_strings: Known<bool>,
    /// `client_encoding`.
    pub encoding: Encoding,
    /// Whether `pg_catalog` is searched before every other schema, so that a built-in name means the built-in: no
    /// `search_path` that lists `pg_catalog` after another schema. `pg_temp` must not be listed either, because
    /// naming the current schema would create it.
    pub catalog_first: Known<bool>,
}

impl LexState {
    /// What a new session of a server with default settings has.
    #[must_use]
    pub fn defaults() -> LexState {
        LexState {
            standard_conforming_strings: Known::Is(true),
            encoding: Encoding::Utf8,
            catalog_first: Known::Is(true),
        }
    }
}
