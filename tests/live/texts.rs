//! What `scan` makes of a text against what the server makes of it (law L5).
//!
//! Random tokens hardly ever reach the states in which a lexer can go wrong, so these texts walk through those states:
//! literals of each kind and their continuations, dollar quotes, nested comments, operators.

use pgturnout::route::{Class, Encoding, Known, LexState, Rules, scan};

use crate::support::client::{Client, Pace};
use crate::support::frame::{Frame, values};
use crate::support::lab;

/// Texts per setting: seconds, and enough to see each of the faults that were planted in the lexer to try this test.
const TEXTS: usize = 6_000;

const WRITE: &str = " ; insert into texts values (1) ";

/// A generator of its own, so that a text is found again by its number.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    fn several(&mut self, most: usize, from: &[&'static str]) -> String {
        (0..self.below(most + 1)).map(|_| self.pick(from)).collect()
    }

    fn text(&mut self) -> String {
        match self.below(8) {
            0..4 => self.literals(),
            4 => self.dollars(),
            5 => self.comments(),
            6 => self.operators(),
            _ => self.soup(),
        }
    }

    /// Literals of every kind, continued or not, and behind them a write that is inside a literal or not, depending
    /// on what each backslash and each newline means.
    fn literals(&mut self) -> String {
        const KINDS: &[&str] = &[
            "", "", "E", "e", "E", "U&", "u&", "B", "x", "N", "n", "E ", "U& ",
        ];
        const INSIDE: &[&str] = &[
            "a", "0", "\\", "\\", "\\", "\\\\", "''", "\\'", "\"", "$$", "--", "/*",
        ];
        const GAPS: &[&str] = &[
            "\n",
            " \n\t",
            "--c\n",
            " --c\n",
            "\r",
            "\n--c\n--d\n",
            "\u{c}\n",
            " ",
            "",
            "/**/\n",
            "\n/**/",
            "\n\u{b}",
        ];
        const AFTER: &[&str] = &[" , ", " , ", " ", " as x ", " || ", ", 1 "];
        let mut text = format!("select {}'{}'", self.pick(KINDS), self.several(2, INSIDE));
        for _ in 0..self.below(3) {
            text = format!("{text}{}'{}'", self.pick(GAPS), self.several(2, INSIDE));
        }
        match self.below(4) {
            0 => text,
            1 => format!("{text}{WRITE}"),
            2 => format!("{text}{WRITE}--'"),
            _ => format!("{text}{}'{WRITE}--'", self.pick(AFTER)),
        }
    }

    fn dollars(&mut self) -> String {
        const BEFORE: &[&str] = &[
            "", "", "a", "1", "é", "×", "\"a\"", "'a'", "(1)", "1 as a", "$1", "\u{a0}",
        ];
        const TAGS: &[&str] = &[
            "$$", "$a$", "$a$", "$A$", "$é$", "$×$", "$1$", "$a1$", "$a", "$_$",
        ];
        let tag = self.pick(TAGS);
        let inside = match self.below(3) {
            0 => String::new(),
            1 => format!("{} x {tag}", self.several(3, TAGS)),
            _ => format!("{} x {}", self.several(3, TAGS), self.pick(TAGS)),
        };
        format!("select {}{tag}{inside}{WRITE}--{tag}", self.pick(BEFORE))
    }

    fn comments(&mut self) -> String {
        const PARTS: &[&str] = &[
            "/*", "/*", "*/", "*/", "/", "*", "--", "\n", "\r", "\u{c}", "\u{b}", "\u{85}",
            "\u{2028}", "x", "'", "/**/",
        ];
        format!(
            "{}select 1 {}{WRITE}{}",
            self.several(4, PARTS),
            self.several(6, PARTS),
            self.several(4, PARTS)
        )
    }

    fn operators(&mut self) -> String {
        const PARTS: &[&str] = &[
            "+", "-", "*", "/", "@", "#", "~", "|", "--", "/*", "*/", " ", "\n", "::", ":", ".",
        ];
        format!(
            "select 1 {}{WRITE}{} 1",
            self.several(4, PARTS),
            self.several(4, PARTS)
        )
    }

    /// Anything beside anything.
    fn soup(&mut self) -> String {
        const PARTS: &[&str] = &[
            "'a'",
            "e'\\''",
            "u&'a'",
            "u&\"a\"",
            "\"a\"",
            "\"\"\"\"",
            "$1",
            "1",
            "1.",
            ".5",
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
            "é",
            "(",
            ")",
            "[",
            "]",
            ",",
            ";",
            ".",
            "..",
            " ",
            " ",
            "\n",
            "select",
            " as ",
            " null ",
            " from texts ",
            " uescape '!' ",
            WRITE,
        ];
        format!("select {}", self.several(9, PARTS))
    }
}

/// The command tags of the statements that ran, or `None` if one failed.
fn completed(frames: &[Frame]) -> Option<Vec<&[u8]>> {
    let failed = frames.iter().any(|frame| frame.tag == b'E');
    let tags = frames
        .iter()
        .filter(|frame| frame.tag == b'C')
        .map(|frame| frame.body.as_slice());
    (!failed).then(|| tags.collect())
}

fn compare(client: &mut Client, lex: &LexState, seed: u64) -> usize {
    let rules = Rules::default();
    let mut random = Random(seed);
    let mut ran = 0;
    for _ in 0..TEXTS {
        let text = random.text();
        client.run("begin");
        let frames = client.query(&text);
        client.run("rollback");
        let intent = scan(text.as_bytes(), lex, &rules);
        let wrote = frames
            .iter()
            .any(|frame| frame.tag == b'C' && frame.body.starts_with(b"INSERT"));
        assert!(
            !(wrote && intent.class.is_read()),
            "a write taken for a read: {text:?}: {intent:?}"
        );
        if let Some(tags) = completed(&frames).filter(|_| intent.class != Class::Unreadable) {
            assert_eq!(
                tags.len(),
                usize::try_from(intent.statements).unwrap(),
                "{text:?}: {intent:?}"
            );
            ran += 1;
        }
    }
    ran
}

#[test]
fn mean_to_scan_what_they_mean_to_the_server() {
    let Some(cluster) = lab::cluster("texts::mean_to_scan_what_they_mean_to_the_server") else {
        return;
    };
    let mut client = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    client.run(
        "set client_min_messages = error; drop table if exists texts; create table texts (a int)",
    );
    for (scs, seed) in [("on", 1), ("off", 2)] {
        client.run(&format!(
            "set standard_conforming_strings = {scs}; set statement_timeout = '5s'"
        ));
        let lex = LexState {
            standard_conforming_strings: Known::Is(scs == "on"),
            encoding: Encoding::Utf8,
            catalog_first: Known::Is(true),
        };
        let ran = compare(&mut client, &lex, seed);
        assert!(
            ran > TEXTS / 20,
            "only {ran} texts ran: the generator says too little"
        );
    }
}

/// The table of built-ins against the catalog of this server: a name that counts as a read must not be volatile
/// here, save for the names that were looked at and found harmless.
#[test]
fn name_no_volatile_function_that_counts_as_a_read() {
    /// As in `tests/support/builtins.sh`.
    const HARMLESS: &str = "array_sample array_shuffle clock_timestamp current_query gen_random_uuid random \
        random_normal timeofday uuidv4 uuidv7 pg_sleep pg_sleep_for pg_sleep_until pg_is_in_recovery \
        pg_is_wal_replay_paused pg_get_wal_replay_pause_state pg_last_wal_receive_lsn pg_last_wal_replay_lsn \
        pg_last_xact_replay_timestamp pg_stat_get_recovery_prefetch pg_control_checkpoint pg_control_init \
        pg_control_recovery pg_control_system pg_jit_available pg_collation_actual_version \
        pg_database_collation_actual_version pg_database_size pg_indexes_size pg_relation_size pg_table_size \
        pg_tablespace_size pg_total_relation_size pg_partition_ancestors pg_partition_tree";
    let Some(cluster) = lab::cluster("texts::name_no_volatile_function_that_counts_as_a_read")
    else {
        return;
    };
    let mut client = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    let frames = client.query(
        "select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace and oid < 16384 \
         and (provolatile = 'v' or prokind = 'p')",
    );
    let names = values(&frames);
    assert!(names.len() > 200, "{} names", names.len());
    for name in names
        .iter()
        .filter(|name| !HARMLESS.split_whitespace().any(|known| known == *name))
    {
        let text = format!("select pg_catalog.\"{name}\"()");
        let intent = scan(
            text.as_bytes(),
            &LexState::defaults(),
            &Rules::default().with_oldest_server(99),
        );
        assert!(
            !intent.class.is_read(),
            "{name} is volatile on PostgreSQL {}",
            cluster.version()
        );
    }
}
