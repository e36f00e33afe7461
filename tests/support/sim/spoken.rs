//! What peers say to each other, in words: for whoever reads what has happened.

use pgturnout::session::PeerId;
use pgturnout::wire::Header;

use super::client::Frame;
use super::oracle;

/// Bytes on their way to a peer: messages by their names, where they are whole ones, or as they are.
pub(crate) fn said(to: PeerId, bytes: &[u8]) -> String {
    let words = match (whole(bytes), to) {
        (None, _) => return short(&bytes.escape_ascii().to_string(), bytes.len()),
        (Some(frames), PeerId::CLIENT) => spoken(&frames, answer),
        (Some(frames), _) => spoken(&frames, request),
    };
    short(&words, bytes.len())
}

/// The same of what the proxy keeps for itself: a client is the only one who asks.
pub(crate) fn kept(from: PeerId, bytes: &[u8]) -> String {
    match from {
        PeerId::CLIENT => said(PeerId::WRITER, bytes),
        _ => said(PeerId::CLIENT, bytes),
    }
}

/// What a line of the log says to somebody who does not know how a driver numbers its peers.
pub(crate) fn named(line: &str) -> String {
    PeerId::ALL.iter().fold(line.to_owned(), |line, peer| {
        line.replace(&format!("{peer:?}"), &peer.to_string())
    })
}

fn spoken(frames: &[Frame], word: fn(&Frame) -> String) -> String {
    let words: Vec<String> = frames.iter().map(word).collect();
    words.join(" ")
}

fn short(text: &str, bytes: usize) -> String {
    match text.char_indices().nth(240) {
        Some((at, _)) => format!("{}… ({bytes} bytes)", &text[..at]),
        None => text.to_owned(),
    }
}

/// The messages that these bytes are, if they are whole and of kinds that there are.
fn whole(mut bytes: &[u8]) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::parse(bytes).ok()??;
        let (body, rest) = header.split(bytes)?;
        frames.push(Frame {
            tag: header.tag,
            body: body.to_vec(),
        });
        bytes = rest;
    }
    let known = frames.iter().all(|frame| frame.tag.is_ascii_alphanumeric());
    (known && !frames.is_empty()).then_some(frames)
}

/// A message of a server's. Its settings and its key are the same in every login.
fn answer(frame: &Frame) -> String {
    let text = |at: usize| {
        let parts = frame.body.split(|byte| *byte == 0);
        let part = parts.clone().nth(at).unwrap_or_default();
        part.escape_ascii().to_string()
    };
    match frame.tag {
        b'S' => format!("S({}={})", text(0), text(1)),
        b'E' | b'N' => {
            let fields = frame.body.split(|byte| *byte == 0);
            let message = fields.filter_map(|field| field.strip_prefix(b"M")).next();
            let message = message.unwrap_or_default().escape_ascii().to_string();
            format!("{}: \"{message}\"", oracle::show(frame))
        }
        b'T' => "T".to_owned(),
        _ => oracle::show(frame),
    }
}

/// A message of a client's, as the protocol's chapter names it.
fn request(frame: &Frame) -> String {
    let strings: Vec<String> = frame
        .body
        .split(|byte| *byte == 0)
        .map(|part| match part.get(..80) {
            None => format!("\"{}\"", part.escape_ascii()),
            Some(begin) => format!("\"{}…\"", begin.escape_ascii()),
        })
        .collect();
    let first = |count: usize| {
        strings
            .iter()
            .take(count)
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    match frame.tag {
        b'Q' => format!("Query {}", first(1)),
        b'P' => format!("Parse {}", first(2)),
        b'B' => format!("Bind {}", first(2)),
        b'E' => format!("Execute {}", first(1)),
        b'D' => format!("Describe {}", first(1)),
        b'C' => format!("Close {}", first(1)),
        b'S' => "Sync".to_owned(),
        b'H' => "Flush".to_owned(),
        b'X' => "Terminate".to_owned(),
        b'c' => "CopyDone".to_owned(),
        b'f' => "CopyFail".to_owned(),
        b'd' => format!("CopyData of {} bytes", frame.body.len()),
        b'F' => "FunctionCall".to_owned(),
        b'p' => "an answer to an authentication request".to_owned(),
        tag => format!("{}({})", char::from(tag), frame.body.escape_ascii()),
    }
}
