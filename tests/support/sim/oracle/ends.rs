//! Which of the client's messages only end a transaction, or give back a name: nothing that a session may refuse.

use std::collections::{BTreeMap, BTreeSet};

use pgturnout::wire::{Frontend, Header, Target};

use super::super::visible;
use super::super::world::World;

/// For each message that can fail, as the one server counts them, whether it only does that. Of a session with data
/// of COPY, which nobody counts, nothing is known.
pub(super) fn of_transactions(world: &World<'_>) -> Vec<bool> {
    match super::copies(world) {
        true => Vec::new(),
        false => of(&world.said),
    }
}

/// A name stands for an end while all that it has stood for was one: who has failed to replace it does not matter then.
type Named = BTreeMap<Vec<u8>, bool>;

fn of(mut said: &[u8]) -> Vec<bool> {
    let (mut statements, mut portals) = (Named::new(), Named::new());
    let mut out = Vec::new();
    let mut parsed = Vec::new();
    let (mut begun, mut bound) = (0, 0_usize);
    let mut different = BTreeSet::new();
    while let Ok(Some(header)) = Header::parse(said) {
        let Some((body, behind)) = header.split(said) else {
            break;
        };
        said = behind;
        if matches!(header.tag, b'Q' | b'F' | b'S' | b'H') {
            // With something else beside it, or a portal left behind, an end may have no place where that has none.
            let left = std::mem::take(&mut bound) + different.len().saturating_sub(1);
            different.clear();
            let all = alone(&mut out[begun..], left);
            // What may have been refused may not be there to be run.
            for name in parsed.drain(..) {
                *statements.entry(name).or_insert(true) &= all;
            }
            portals.clear();
        }
        if header.tag == b'H' && body.is_empty() {
            begun = out.len();
            continue;
        }
        if !b"QFPBDCEHS".contains(&header.tag) {
            continue;
        }
        let is = |names: &Named, name: &[u8]| names.get(name).copied().unwrap_or(false);
        out.push(match Frontend::parse(header.tag, body) {
            Ok(Frontend::Query(query)) => is_end(query.text),
            Ok(Frontend::Parse(parse)) => {
                let ends = is_end(parse.text);
                different.insert(parse.text);
                parsed.push(parse.name.to_vec());
                *statements.entry(parse.name.to_vec()).or_insert(true) &= ends;
                ends
            }
            Ok(Frontend::Bind(bind)) => {
                let ends = is(&statements, bind.statement);
                if !parsed.iter().any(|name| name == bind.statement) {
                    different.insert(bind.statement);
                }
                *portals.entry(bind.portal.to_vec()).or_insert(true) &= ends;
                bound += 1;
                ends
            }
            Ok(Frontend::Execute(execute)) => {
                bound = bound.saturating_sub(1);
                is(&portals, execute.portal)
            }
            Ok(Frontend::Describe(describe)) => match describe.kind {
                Target::Statement => is(&statements, describe.name),
                Target::Portal => is(&portals, describe.name),
            },
            Ok(Frontend::Close(_)) => true,
            Ok(_) | Err(_) => false,
        });
        if matches!(header.tag, b'Q' | b'F' | b'S') {
            begun = out.len();
        }
    }
    alone(&mut out[begun..], bound + different.len().saturating_sub(1));
    out
}

/// Of what stands in one batch, with so many portals that are not run in it or ends beside the first, all are ends, or none counts
/// as one.
fn alone(batch: &mut [bool], besides: usize) -> bool {
    let all = besides == 0 && batch.iter().all(|ends| *ends);
    batch.fill(all);
    all
}

/// Whether a text is a COMMIT or a ROLLBACK, and nothing else.
pub(super) fn is_end(text: &[u8]) -> bool {
    let Some(code) = visible::visible(text, true) else {
        return false;
    };
    let [statement] = visible::statements(&code)[..] else {
        return false;
    };
    let lower = statement.to_ascii_lowercase();
    let mut words: Vec<&[u8]> = lower.split(u8::is_ascii_whitespace).collect();
    words.retain(|word| !word.is_empty());
    let Some((first, mut rest)) = words.split_first() else {
        return false;
    };
    if let [b"work" | b"transaction", behind @ ..] = rest {
        rest = behind;
    }
    let chains = matches!(rest, [] | [b"and", b"chain"] | [b"and", b"no", b"chain"]);
    matches!(*first, b"commit" | b"end" | b"rollback" | b"abort") && chains
}
