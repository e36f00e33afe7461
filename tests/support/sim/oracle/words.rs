//! What the client saw, as words that can be compared.

use pgturnout::session::PeerId;
use pgturnout::wire::Backend;

use super::super::client::Frame;
use super::super::fault::Fault;
use super::super::reads;
use super::super::setup::Spare;
use super::super::world::{OUTSIDE, World};

/// A trace as words that are the same however its bytes are cut: whether a statement that only the reader has was there by
/// the time that its transaction failed depends on that.
pub(crate) fn seen_by(frames: &[Frame], world: &World<'_>) -> Vec<String> {
    let words = said_by(frames, world);
    let mut out: Vec<String> = Vec::new();
    // Where the answer begins of what is asked in a failed transaction.
    let mut failed = None;
    for word in words {
        if is_ready(&word) {
            if let Some(begin) = failed
                && word == "Z(E)"
            {
                refused(&mut out, begin);
            }
            failed = (word == "Z(E)").then_some(out.len() + 1);
        }
        out.push(word);
    }
    out.truncate(failed.unwrap_or(out.len()));
    out
}

/// Whether the reader may have statements that the writer has not. One that is asked for in a failed transaction cannot be
/// restored there, so it is refused without being looked at.
pub(super) fn has_of_the_reader(world: &World<'_>) -> bool {
    let asked = |tags| world.from_client.count(Some(PeerId::READER), tags) > 0;
    let prepares = |text: &[u8]| text.eq_ignore_ascii_case(b"prepare");
    asked(b"P") || asked(b"Q") && world.said.windows(7).any(prepares)
}

/// A trace as words; what differs between any two servers is left out.
pub(super) fn said_by(frames: &[Frame], world: &World<'_>) -> Vec<String> {
    let mut out = Vec::new();
    // A standby that was promoted goes its own way until the session notices.
    let lags = world.setup.lag && !reads::are_all_fresh(world);
    let outdated = lags || world.strikes.contains(&Fault::Promote);
    let mut access = r"S(default_transaction_read_only\x00off\x00)".to_owned();
    for frame in frames {
        let word = show(frame);
        if outdated && matches!(frame.tag, b'D' | b'd') {
            continue;
        }
        if word.starts_with("N(01000") {
            // The proxy's own warning, and what a server said because the scenario made it.
            continue;
        }
        let rows =
            word.starts_with("C(SELECT ") || word.starts_with("C(COPY ") || frame.tag == b's';
        if outdated && rows {
            out.push("C(rows)".to_owned());
            continue;
        }
        if frame.tag == b'A' && word.contains(OUTSIDE) {
            continue;
        }
        let of_the_version = ["search_path", "scram_iterations"];
        let moves = world.setup.spare != Spare::None;
        // Later versions count what follows something in its batch for a part of a transaction, and do not warn.
        let of_versions = matches!(world.setup.spare, Spare::Newer | Spare::Older);
        if of_versions && word == "N(25P01 WARNING)" {
            continue;
        }
        if frame.tag == b'S' && moves && of_the_version.iter().any(|name| word.contains(name)) {
            continue;
        }
        if frame.tag == b'S' && word.contains("in_hot_standby") {
            continue;
        }
        // What a server says of its own accord says again what it has said.
        if frame.tag == b'S' && word.contains("default_transaction_read_only") {
            if word == access {
                continue;
            }
            access.clone_from(&word);
        }
        out.push(match word.as_str() {
            // Which server answers may be asked.
            "D(t)" | "D(f)" => "D(bool)".to_owned(),
            _ => word,
        });
    }
    out
}

/// Makes one error of an answer that begins there, if it has any.
fn refused(words: &mut Vec<String>, begin: usize) {
    let answer = words.split_off(begin);
    let error = answer.into_iter().rev().find(|word| word.starts_with("E("));
    words.extend(error.map(
        |error| match is_of_a_fault(&error) && error != "E(08P01 ERROR)" {
            true => error,
            false => "E(25P02 ERROR)".to_owned(),
        },
    ));
}

/// Whether an error is one that a lost or dying server is the reason for, not the client's own.
fn is_of_a_fault(word: &str) -> bool {
    let classes = ["E(08", "E(57", "E(53", "E(40"];
    classes.iter().any(|class| word.starts_with(class))
}

/// A message in a word; a long one is known by its beginning, its length and a sum.
pub(crate) fn show(frame: &Frame) -> String {
    let word = word(frame);
    match word.char_indices().nth(200) {
        Some((at, _)) => {
            let sum = frame.body.iter().fold(0_u32, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
            });
            format!("{}…{}#{sum:x})", &word[..at.min(40)], word.len())
        }
        None => word,
    }
}

fn word(frame: &Frame) -> String {
    let tag = char::from(frame.tag);
    match Backend::parse(frame.tag, &frame.body) {
        Ok(Backend::ErrorResponse(fields) | Backend::NoticeResponse(fields)) => {
            let field = |code| {
                fields
                    .get(code)
                    .unwrap_or_default()
                    .escape_ascii()
                    .to_string()
            };
            format!("{tag}({} {})", field(b'C'), field(b'V'))
                .replace("N(01000 WARNING)", "N(01000)")
        }
        Ok(Backend::ReadyForQuery { status }) => format!("Z({})", char::from(status.byte())),
        Ok(Backend::CommandComplete { tag }) => format!("C({})", tag.escape_ascii()),
        Ok(Backend::DataRow { values }) => {
            let values: Vec<String> = values
                .iter()
                .map(|value| match value {
                    Some(value) => value.escape_ascii().to_string(),
                    None => "null".to_owned(),
                })
                .collect();
            format!("D({})", values.join(","))
        }
        // The process id differs from server to server.
        Ok(Backend::NotificationResponse {
            channel, payload, ..
        }) => format!("A({} {})", channel.escape_ascii(), payload.escape_ascii()),
        _ => format!("{tag}({})", frame.body.escape_ascii()),
    }
}

pub(super) fn is_ready(word: &str) -> bool {
    word.starts_with("Z(")
}
