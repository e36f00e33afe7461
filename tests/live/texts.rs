//! What `scan` makes of a text against what the server makes of it (law L5).

use pgturnout::route::{Class, Encoding, Intent, Known, LexState, Rules, scan};

use crate::generator::{self, ENCODINGS};
use crate::support::client::{Client, Pace};
use crate::support::frame::{Frame, tags, values};
use crate::support::lab;
use crate::support::message;

/// Texts in UTF-8 for each setting of `standard_conforming_strings`, and in each other encoding.
const TEXTS: [u64; 2] = [20_000, 1_000];

/// Texts that are sent before any answer is read. They and their answers fit the sockets' buffers.
const BATCH: usize = 100;

/// One session's settings: what the server lexes by, and what `scan` is told.
struct Reading {
    scs: bool,
    encoding: usize,
    lex: LexState,
}

impl Reading {
    fn open(&self, port: u16) -> Client {
        let mut client = Client::open(port, Pace::Whole, "postgres", &[]);
        client.run(&format!(
            "set client_min_messages = warning; set escape_string_warning = off; set statement_timeout = '5s'; \
             set standard_conforming_strings = {}; set client_encoding = '{}'",
            if self.scs { "on" } else { "off" },
            ENCODINGS[self.encoding].0,
        ));
        client
    }

    /// A text by its number, which finds it again.
    fn text(&self, number: u64) -> Vec<u8> {
        let mut state = number * 2 + u64::from(self.scs) + 1_000_003 * self.encoding as u64;
        let mut below = |bound: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % bound
        };
        generator::text(&mut below, self.encoding)
    }

    /// What is said of it if all is known that can be, and if nothing is.
    fn intents(&self, text: &[u8]) -> [Intent; 2] {
        [self.lex, LexState::default()].map(|lex| scan(text, &lex, &Rules::default()))
    }
}

#[derive(Debug, Default)]
struct Counts {
    texts: usize,
    /// What `scan` could not read.
    doubtful: usize,
    reads: usize,
    /// What the server ran to its end.
    ran: usize,
    wrote: usize,
    /// What it ran, and `scan` could not read.
    ran_in_doubt: usize,
    /// Of how many texts the statements were counted on both sides: to their end, or up to where an error was.
    compared: [usize; 2],
}

/// Sends the texts together and returns the answers to each.
fn answers(client: &mut Client, texts: &[&[u8]]) -> Vec<Vec<Frame>> {
    let queries = texts
        .iter()
        .map(|text| message::tagged(b'Q', &[*text, &b"\0"[..]].concat()));
    client.send(&queries.collect::<Vec<_>>().concat());
    texts.iter().map(|_| client.ready(1)).collect()
}

/// One text, its intents, and its answer.
fn judge(
    text: &[u8],
    lex: &LexState,
    [intent, doubtful]: &[Intent; 2],
    frames: &[Frame],
    counts: &mut Counts,
) {
    let shown = text.escape_ascii();
    let warned = frames.iter().any(|frame| frame.tag == b'N');
    let inserted = |frame: &Frame| frame.tag == b'C' && frame.body.starts_with(b"INSERT");
    let wrote = warned || frames.iter().any(inserted);
    assert!(
        !(wrote && intent.class.is_read()),
        "a write taken for a read: \"{shown}\": {intent:?}"
    );
    assert!(
        !(wrote && doubtful.class.is_read()),
        "the same in doubt: \"{shown}\": {doubtful:?}"
    );
    let failed = tags(frames).contains('E');
    let completed = frames.iter().filter(|frame| frame.tag == b'C').count();
    counts.texts += 1;
    counts.reads += usize::from(intent.class.is_read());
    counts.ran += usize::from(!failed);
    counts.wrote += usize::from(wrote);
    if intent.class == Class::Unreadable {
        counts.doubtful += 1;
        counts.ran_in_doubt += usize::from(!failed);
        return;
    }
    let expected = usize::try_from(intent.statements).unwrap();
    assert!(
        completed == expected || failed && completed < expected,
        "{completed} statements of \"{shown}\": {intent:?} {frames:?}"
    );
    counts.compared[0] += usize::from(!failed);
    // What cannot be read as a whole fails before anything of it runs.
    if let Some(before) = before_error(text, frames).filter(|_| completed > 0) {
        let before = scan(before, lex, &Rules::default());
        if before.class != Class::Unreadable {
            counts.compared[1] += 1;
            let begun = usize::try_from(before.statements).unwrap();
            // The statement that fails may begin where its error is.
            assert!(
                begun == completed || begun == completed + 1,
                "{completed} statements ran of \"{shown}\", and {begun} begin before its error: {frames:?}"
            );
        }
    }
}

/// What stands before the place of an error. Where characters have several bytes a place is not told in bytes.
fn before_error<'t>(text: &'t [u8], frames: &[Frame]) -> Option<&'t [u8]> {
    let error = frames.iter().find(|frame| frame.tag == b'E')?;
    let field = |code: u8| {
        let mut fields = error.body.split(|byte| *byte == 0);
        fields.find_map(|field| field.strip_prefix(&[code]))
    };
    let position: usize = std::str::from_utf8(field(b'P')?).ok()?.parse().ok()?;
    text.is_ascii()
        .then(|| text.get(..position.checked_sub(1)?))
        .flatten()
}

/// The texts that count as reads run alone, so that a look into the table shows what they did, whatever they said.
fn compare(
    client: &mut Client,
    reading: &Reading,
    numbers: std::ops::Range<u64>,
    counts: &mut Counts,
) {
    client.run("truncate texts");
    let texts: Vec<_> = numbers.map(|number| reading.text(number)).collect();
    let texts = texts
        .iter()
        .map(|text| (text.as_slice(), reading.intents(text)));
    let (reads, others): (Vec<_>, Vec<_>) =
        texts.partition(|(_, intents)| intents[0].class.is_read());
    for (are_reads, part) in [(true, reads), (false, others)] {
        for batch in part.chunks(BATCH) {
            let texts: Vec<_> = batch.iter().map(|(text, _)| *text).collect();
            for ((text, intents), frames) in batch.iter().zip(answers(client, &texts)) {
                judge(text, &reading.lex, intents, &frames, counts);
            }
        }
        assert!(
            !are_reads || client.value("select count(*) from texts") == "0",
            "a read left a row"
        );
    }
}

#[test]
fn mean_to_scan_what_they_mean_to_the_server() {
    let Some(cluster) = lab::cluster("texts::mean_to_scan_what_they_mean_to_the_server") else {
        return;
    };
    let mut client = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    client.run(
        "set client_min_messages = error; drop table if exists texts; create table texts (a int); \
         create or replace function bump() returns int language plpgsql as \
         $$ begin insert into texts values (2); raise warning 'bump'; return 1; end $$",
    );
    let mut total = Counts::default();
    for (encoding, (name, _)) in ENCODINGS.iter().enumerate() {
        for scs in [true, false] {
            let lex = LexState {
                standard_conforming_strings: Known::Is(scs),
                encoding: Encoding::from_name(name.as_bytes()),
                catalog_first: Known::Is(true),
            };
            let reading = Reading { scs, encoding, lex };
            let mut client = reading.open(cluster.primary());
            let end = TEXTS[usize::from(encoding > 0)];
            for start in (0..end).step_by(500) {
                compare(
                    &mut client,
                    &reading,
                    start..end.min(start + 500),
                    &mut total,
                );
            }
        }
    }
    // Of interest where the generator or the scanner changes: what is doubtful costs the reader its work.
    let share = |of: usize, all: usize| of * 100 / all.max(1);
    eprintln!(
        "doubtful: {} % of the texts, {} % of those that ran: {total:?}",
        share(total.doubtful, total.texts),
        share(total.ran_in_doubt, total.ran)
    );
    assert!(total.texts > 20_000, "{total:?}");
    let enough = total.ran > total.texts / 8
        && total.wrote > total.texts / 20
        && total.reads > total.texts / 20;
    assert!(enough, "the generator says too little: {total:?}");
    // A fifth is, and of each two hundred texts one up to its error.
    let compared = total.compared[0] > total.texts / 6 && total.compared[1] > total.texts / 400;
    assert!(compared, "too few texts are compared: {total:?}");
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
