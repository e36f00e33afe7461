//! How much a session has to remember of its client's prepared statements at most, by what the client has said.

use std::collections::BTreeMap;

use pgturnout::track::prepared::key;
use pgturnout::wire::{Frontend, Header};

use super::world::World;

/// What is to be remembered of statements.
#[derive(Default)]
struct Named {
    /// Each name, and the longest that it was given to.
    names: BTreeMap<Vec<u8>, usize>,
    longest: usize,
    /// What has not been answered yet.
    in_flight: usize,
    bytes_in_flight: usize,
}

impl Named {
    /// A name is given to a statement of so many bytes.
    fn gives(&mut self, name: &[u8], bytes: usize, in_flight: bool) {
        let name = key(name);
        let bytes = 2 * name.len() + bytes;
        let longest = self.names.entry(name.to_vec()).or_default();
        *longest = bytes.max(*longest);
        self.longest = bytes.max(self.longest);
        if in_flight {
            self.in_flight += 1;
            self.bytes_in_flight += bytes;
        }
    }
}

/// Whether all that the client may have of statements has room in the session's memory, whatever of it is given back.
pub(crate) fn has_room(world: &World<'_>) -> bool {
    let limits = &world.config.limits.statements;
    let named = named(world);
    let bytes: usize = named.names.values().sum();
    named.names.len() + named.in_flight <= limits.names
        && bytes + named.bytes_in_flight <= limits.bytes
        && named.longest <= limits.body
}

fn named(world: &World<'_>) -> Named {
    let answered = world.client.ready;
    let (mut named, mut asked, mut rest) = (Named::default(), 0, &world.said[..]);
    while let Ok(Some(header)) = Header::parse(rest) {
        let Some((body, behind)) = header.split(rest) else {
            break;
        };
        rest = behind;
        let in_flight = asked >= answered;
        match Frontend::parse(header.tag, body) {
            Ok(Frontend::Parse(parse)) => {
                named.gives(parse.name, body.len(), in_flight);
                in_sql(parse.text, in_flight, &mut named);
            }
            Ok(Frontend::Query(query)) => in_sql(query.text, in_flight, &mut named),
            _ => {}
        }
        asked += usize::from(matches!(header.tag, b'Q' | b'F' | b'S'));
    }
    named
}

/// The names that a text gives in SQL.
fn in_sql(text: &[u8], in_flight: bool, named: &mut Named) {
    const WORD: &[u8] = b"prepare ";
    let windows = text.windows(WORD.len()).enumerate();
    for (at, _) in windows.filter(|(_, window)| window.eq_ignore_ascii_case(WORD)) {
        let behind = &text[at + WORD.len()..];
        let end = behind.iter().position(|byte| b" (;".contains(byte));
        let name = &behind[..end.unwrap_or(behind.len())];
        // The whole text may be remembered, too, and the types of parameters.
        named.gives(name, 2 * text.len() + 32, in_flight);
    }
}
