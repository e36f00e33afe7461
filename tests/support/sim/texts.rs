//! SQL texts that walk through the states of PostgreSQL's lexer: a prefix, a literal, name, comment or operator of
//! each kind, its continuation, and behind it a write that is inside of it or not, depending on what every single
//! backslash, newline and dollar means. Random tokens hardly ever get there.
//!
//! Nothing else happens in them: they read nothing but `texts`, write nothing but rows into it, change no setting and
//! leave no transaction open, so that a server can run any of them in any order.

/// A source of choices: a number below the bound.
pub(crate) type Below<'a> = &'a mut dyn FnMut(usize) -> usize;

/// Client encodings, with characters of each: those whose last byte looks like a backslash, a letter or a digit, those
/// that look like white space or a quote to the eye, plain ones. What no conversion knows makes the server refuse the
/// text, which costs nothing.
pub(crate) const ENCODINGS: &[(&str, &[&[u8]])] = &[
    (
        "UTF8",
        &[
            "é".as_bytes(),
            "×".as_bytes(),
            "表".as_bytes(),
            "😀".as_bytes(),
            "\u{a0}".as_bytes(),
            "\u{85}".as_bytes(),
            "\u{2028}".as_bytes(),
            "\u{2019}".as_bytes(),
            "\u{ff07}".as_bytes(),
            "\u{feff}".as_bytes(),
        ],
    ),
    (
        "SJIS",
        &[b"\x95\x5c", b"\x83\x5c", b"\x8b\x7c", b"\x82\xa0", b"\xb1"],
    ),
    (
        "SHIFT_JIS_2004",
        &[b"\x81\x5c", b"\x95\x5c", b"\x82\xa0", b"\xb1"],
    ),
    (
        "BIG5",
        &[b"\xa5\x5c", b"\xb3\x5c", b"\xa4\x7c", b"\xa4\xa4"],
    ),
    ("GBK", &[b"\x81\x5c", b"\x95\x5c", b"\x81\x7c", b"\xb0\xa1"]),
    (
        "GB18030",
        &[b"\x81\x5c", b"\x81\x30\x81\x36", b"\xa8\xa2", b"\xb0\xa1"],
    ),
    ("UHC", &[b"\x81\x41", b"\x81\x7a", b"\xb0\xa1"]),
    ("JOHAB", &[b"\x88\x5c", b"\x88\x61", b"\xd9\x31"]),
    ("EUC_JP", &[b"\xa5\xa5", b"\x8e\xb1", b"\x8f\xb0\xa1"]),
    ("EUC_KR", &[b"\xb0\xa1", b"\xc7\xd1"]),
    ("LATIN1", &[b"\xe9", b"\xd7", b"\xa0", b"\x85", b"\xff"]),
    ("WIN1252", &[b"\x92", b"\x91", b"\xe9", b"\xa0"]),
    (
        "SQL_ASCII",
        &["é".as_bytes(), "表".as_bytes(), "\u{a0}".as_bytes()],
    ),
];

/// Stands in a piece for a character of the encoding.
const CHARACTER: u8 = 1;

/// Bytes that are a character in few encodings or in none, leads of two bytes among them: does a quote behind one
/// still end a literal?
const STRAY: &[u8] = &[0x80, 0x81, 0x95, 0xa5, 0xc3, 0xe0, 0xff, 0x7f, 0x02];

/// Statements that write, each in one of the ways that its class is known by.
const WRITES: &[&str] = &[
    " ; insert into texts values (1) ",
    " ; insert into texts values (1) ",
    ";insert/**/into texts values (1);",
    " ; with c as (insert into texts values (1) returning 1) select * from c ",
    " ; select bump() ",
    " , bump() ",
    " ; values (bump()) ",
    " ; explain analyze insert into texts values (1) ",
];

/// Pieces for one place: those that a server mostly accepts, and those that it mostly does not.
type Pieces = (&'static [&'static str], &'static [&'static str]);

const PREFIXES: Pieces = (
    &[""],
    &[
        "1 ",
        "a",
        "a$",
        "_",
        "1",
        "0x",
        "0b",
        "0o",
        "1.",
        ".5",
        "1e",
        "1_",
        "$1",
        "$1a",
        "\"a\"",
        "'a'",
        "(1)",
        "1 as a",
        "1 as \"a\"",
        "\u{1}",
        "\u{1}$",
        "+",
        "-",
        "/",
        "@",
        ":",
        "1::",
        "x.",
    ],
);

const KINDS: Pieces = (
    &["", "", "E", "e", "N"],
    &[
        "n", "U&", "u&", "B", "b", "X", "x", "E ", "U& ", "U", "U&\n", "b\n", "n\n", "e--\n",
    ],
);

const INSIDE: Pieces = (
    &[
        "a", "0", "\\", "\\", "\\\\", "''", "\\'", "\"", "$$", "--", "/*", "\u{1}",
    ],
    &[
        "*/", "\\0", "\\x", "\\u", "\n", "\\\n", ";", "\u{1}\\", "\\\u{1}", "",
    ],
);

/// Between two pieces of one literal, or of two.
const GAPS: Pieces = (
    &[
        "\n",
        " \n\t",
        "--c\n",
        " --c\n",
        "\r",
        "\n--c\n--d\n",
        "\u{c}\n",
        "--'\n",
        "\n \u{c}\r",
        " , ",
        " || ",
    ],
    &[
        "--\n", "--c\r", "\n--c", " ", "", "/**/\n", "\n/**/", "\n\u{b}", "\u{b}\n", "\u{85}",
        "\n--'\n", "\u{1}\n", "\\\n",
    ],
);

/// Behind a literal, so that another may follow.
const AFTER: Pieces = (
    &[" , ", " , ", " || ", ", 1 , ", " as x , ", "::text , "],
    &[" ", "", " uescape '!' , ", " as \"x\" , ", "\n,"],
);

const TAGS: Pieces = (
    &["$$", "$$", "$a$", "$a$", "$A$", "$\u{1}$", "$a1$", "$_$"],
    &["$1$", "$a", "$", "$a b$", "$a-$", "$\u{1}"],
);

const COMMENTS: Pieces = (
    &[
        "/*", "*/", "/**/", "--", "--\u{c}", "\n", "x\n", "/*/", "**/", "'", "\"", "--'\n",
    ],
    &[
        "/", "*", "\r", "\u{c}", "\u{b}", "\u{85}", "\u{2028}", "x", "\\\n", "$$", "\u{1}", ";",
    ],
);

const OPERATORS: Pieces = (
    &[
        "+", "- ", "*", "/ ", "--;\n", "--'\n", "/*;*/", " 1 ", "\n", "|| ", "::text ", "< ",
        " + 1 ",
    ],
    &[
        "@", "#", "~", "|", "--", "/*", "*/", "-", "/", ":", ".", "=>", ":=", "..", "?", "!", "`",
        "%", "^", "&", "[", "]", "'a'",
    ],
);

/// Whole tokens and torn ones, one beside the other.
const TOKENS: Pieces = (
    &[
        " 'a' ",
        " e'\\'' ",
        " \"a\" ",
        " 1 ",
        " .5 ",
        " null ",
        " , ",
        " , ",
        " from texts ",
        " + ",
        "::text ",
        ";",
        " case when true then 1 end ",
        " union all select 1 ",
        " array[1] ",
        " $$a$$ ",
        " n'a' ",
        " as a ",
        " (1) ",
    ],
    &[
        "u&'a'",
        "u&\"a\"",
        "\"\"\"\"",
        "$1",
        "1.",
        "1e5",
        "1e",
        "0x",
        "0x1F",
        "1_0",
        "0b1",
        "1a",
        "_",
        "a",
        "a$",
        "\u{1}",
        "(",
        ")",
        "[",
        "]",
        ".",
        "..",
        "\n",
        "select",
        " uescape '!' ",
        " uescape '\\' ",
        "\u{b}",
        "\\",
        "{",
        "b'1'",
        " where true ",
    ],
);

/// Behind a write, to end in a comment what a wrong reading would have open.
const CLOSERS: &[&str] = &["'", "'", "\"", "$$", "$a$", "*/", "\\'", "''", "\n'", ""];

/// How a statement begins and what must end it.
const STARTS: &[(&str, &str)] = &[
    ("select ", ""),
    ("select ", ""),
    ("select ", ""),
    ("select ", ""),
    ("SELECT all ", ""),
    ("values (", ")"),
    ("select (", ")"),
    ("explain select ", ""),
    ("with c as (select 1) select ", ""),
    ("select 1; select ", ""),
    (";; select ", ";"),
    ("/* ' */ select ", ""),
    ("--'\nselect ", ""),
    ("\u{1} select ", ""),
];

/// The text that the choices lead to, in the encoding at this place of [`ENCODINGS`].
pub(crate) fn text(below: Below<'_>, encoding: usize) -> Vec<u8> {
    let (_, characters) = ENCODINGS[encoding];
    let mut walk = Walk {
        below,
        characters,
        out: Vec::new(),
    };
    walk.text();
    walk.out
}

struct Walk<'a> {
    below: Below<'a>,
    characters: &'static [&'static [u8]],
    out: Vec<u8>,
}

impl Walk<'_> {
    fn below(&mut self, bound: usize) -> usize {
        (self.below)(bound)
    }

    fn add(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if byte != CHARACTER {
                self.out.push(byte);
            } else if self.below(16) == 15 {
                let at = self.below(STRAY.len());
                self.out.push(STRAY[at]);
            } else {
                let at = self.below(self.characters.len());
                self.out.extend_from_slice(self.characters[at]);
            }
        }
    }

    /// One of these: in three cases of four a usual one.
    fn one(&mut self, (usual, odd): Pieces) -> &'static str {
        let of = if self.below(4) == 3 { odd } else { usual };
        let piece = of[self.below(of.len())];
        self.add(piece);
        piece
    }

    fn any(&mut self, of: &[&str]) {
        let at = self.below(of.len());
        self.add(of[at]);
    }

    fn several(&mut self, most: usize, of: Pieces) {
        for _ in 0..self.below(most + 1) {
            self.one(of);
        }
    }

    fn text(&mut self) {
        let at = self.below(STARTS.len());
        let (start, end) = STARTS[at];
        self.add(start);
        match self.below(8) {
            0..3 => self.literals(),
            3 => self.names(),
            4 => self.dollars(),
            5 => self.comments(),
            6 => self.operators(),
            _ => self.tokens(),
        }
        self.add(end);
    }

    /// A write that stands alone, behind the opening of another literal or name, or before the end of one.
    fn tail(&mut self, quote: &str) {
        match self.below(5) {
            0 => {}
            1 => self.any(WRITES),
            2 => {
                self.any(WRITES);
                self.add("--");
                self.any(CLOSERS);
            }
            _ => {
                self.one(AFTER);
                self.add(quote);
                self.any(WRITES);
                self.add("--");
                self.add(quote);
            }
        }
    }

    /// Literals of every kind, continued or not.
    fn literals(&mut self) {
        self.one(PREFIXES);
        let kind = self.one(KINDS);
        self.quoted("'");
        for _ in 0..self.below(3) {
            self.one(GAPS);
            self.quoted("'");
        }
        // Without it a backslash in such a literal is mostly an error.
        if kind.ends_with('&') && self.below(2) == 1 {
            self.add(" uescape '!' ");
        }
        self.tail("'");
    }

    /// Quoted names, which know no backslash and no continuation.
    fn names(&mut self) {
        self.one(PREFIXES);
        self.any(&["1 as ", "1 as ", "1 as U&", "", "U&", "u&", "E", "x."]);
        self.quoted("\"");
        if self.below(2) == 1 {
            self.one(GAPS);
            self.quoted("\"");
        }
        self.tail("\"");
    }

    fn quoted(&mut self, quote: &str) {
        self.add(quote);
        self.several(2, INSIDE);
        self.add(quote);
    }

    fn dollars(&mut self) {
        self.one(PREFIXES);
        let tag = self.one(TAGS);
        match self.below(3) {
            0 => {}
            1 => {
                self.several(3, TAGS);
                self.add(" x ");
                self.add(tag);
            }
            _ => {
                self.several(3, TAGS);
                self.add(" x ");
                self.one(TAGS);
            }
        }
        self.any(WRITES);
        self.add("--");
        self.add(tag);
    }

    fn comments(&mut self) {
        self.add("1 ");
        self.several(6, COMMENTS);
        self.any(WRITES);
        self.several(4, COMMENTS);
    }

    fn operators(&mut self) {
        self.add("1 ");
        self.several(4, OPERATORS);
        self.any(WRITES);
        self.several(4, OPERATORS);
        self.add(" 1");
    }

    fn tokens(&mut self) {
        self.several(6, TOKENS);
        if self.below(2) == 1 {
            self.any(WRITES);
        }
        self.several(3, TOKENS);
    }
}
