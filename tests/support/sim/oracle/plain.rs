//! Which of the client's requests only read, in words that nobody can doubt: nothing that a transaction on a reader may refuse.

use pgturnout::limits;
use pgturnout::wire::{Frontend, Header, Target};

use super::super::world::World;

/// For each message that can fail, as the one server counts them, whether it belongs to a request of such reads that knows
/// nothing of what was before: a Query, or a batch that prepares without a name, and binds what it describes and runs. Of a session with data of
/// COPY, which nobody counts, nothing is known.
pub(super) fn reads(world: &World<'_>) -> Vec<bool> {
    match super::copies(world) {
        true => Vec::new(),
        false => of(&world.said),
    }
}

fn of(mut said: &[u8]) -> Vec<bool> {
    let mut out = Vec::new();
    let mut begun = 0;
    let mut batch = Request::default();
    while let Ok(Some(header)) = Header::parse(said) {
        let Some((body, behind)) = header.split(said) else {
            break;
        };
        said = behind;
        let flushes = header.tag == b'H' && body.is_empty();
        if !flushes && !b"QFPBDCEHS".contains(&header.tag) {
            continue;
        }
        batch.bytes += body.len() + Header::LEN;
        if flushes {
            continue;
        }
        let plain = batch.is_plain(header.tag, body);
        out.push(plain);
        if matches!(header.tag, b'Q' | b'F' | b'S') {
            let all = batch.fits() && out[begun..].iter().all(|plain| *plain);
            out[begun..].fill(all);
            begun = out.len();
            batch = Request::default();
        }
    }
    // What has no end may go on with anything.
    out[begun..].fill(false);
    out
}

/// What has come of a request.
#[derive(Default)]
struct Request<'a> {
    bytes: usize,
    parsed: bool,
    bound: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn is_plain(&mut self, tag: u8, body: &'a [u8]) -> bool {
        let alone = !self.parsed;
        match Frontend::parse(tag, body) {
            Ok(Frontend::Query(query)) => alone && is_plain(query.text),
            Ok(Frontend::Parse(parse)) => {
                self.parsed = true;
                parse.name.is_empty() && is_plain(parse.text)
            }
            Ok(Frontend::Bind(bind)) => {
                self.bound.push(bind.portal);
                self.parsed && bind.statement.is_empty()
            }
            Ok(Frontend::Describe(describe)) => match describe.kind {
                Target::Statement => self.parsed && describe.name.is_empty(),
                Target::Portal => self.bound.contains(&describe.name),
            },
            Ok(Frontend::Execute(execute)) => self.bound.contains(&execute.portal),
            Ok(Frontend::Sync) => true,
            Ok(_) | Err(_) => false,
        }
    }

    /// What is longer than the least read buffer may be refused for that.
    fn fits(&self) -> bool {
        self.bytes < limits::READ_BUFFER_MIN
    }
}

/// Settings by which clients tell a primary from a standby, which are not shown by a reader.
const OF_THE_SERVER: [&[u8]; 3] = [
    b"default_transaction_read_only",
    b"in_hot_standby",
    b"transaction_read_only",
];

/// Whether a text is one statement that reads a table, constants or a setting, without a call, a literal or a comment.
fn is_plain(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" \n_,*=.".contains(byte);
    let text = lower.strip_suffix(b";").unwrap_or(&lower);
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let first = words.next();
    let reads = matches!(first, Some(b"select" | b"table" | b"show"));
    let doubtful = |word: &[u8]| matches!(word, b"for" | b"into") || OF_THE_SERVER.contains(&word);
    reads && text.iter().all(plain) && !words.any(doubtful)
}
