//! Which situations were seen: what arrived from whom in which phase, and which fault struck then.

use std::collections::BTreeMap;

use pgturnout::session::PeerId;
use pgturnout::wire::Header;

use super::event::Fault;
use super::world::World;

/// What a peer was doing, as its messages tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Before its first message with a tag: the opening, TLS.
    Opening,
    Login,
    /// Nothing is owed.
    Idle,
    /// A request is being answered.
    Busy,
    CopyIn,
    CopyOut,
}

pub(crate) const PHASES: [Phase; 6] = [
    Phase::Opening,
    Phase::Login,
    Phase::Idle,
    Phase::Busy,
    Phase::CopyIn,
    Phase::CopyOut,
];

/// Reads frames out of what passes.
#[derive(Debug)]
struct Watch {
    phase: Phase,
    /// Bytes of the frame that is passing that are still to come.
    left: usize,
    header: Vec<u8>,
    tagless: bool,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            phase: Phase::Opening,
            left: 0,
            header: Vec::new(),
            tagless: true,
        }
    }
}

/// What was seen so far, in all worlds, with how often.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pairs: BTreeMap<(usize, Phase, u8), u64>,
    pub(crate) faults: BTreeMap<(&'static str, &'static str, Phase), u64>,
    watches: [Watch; PeerId::COUNT],
    /// ReadyForQuery that the client is owed.
    owed: usize,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Seen) {
        for (pair, count) in other.pairs {
            *self.pairs.entry(pair).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }

    /// A new world begins.
    pub(crate) fn begin(&mut self) {
        self.watches = Default::default();
        self.owed = 0;
    }

    /// A peer has a new connection.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.watches[peer.index()] = Watch::default();
    }

    /// The session took these bytes of a peer.
    pub(crate) fn arrived(&mut self, peer: PeerId, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let watch = &mut self.watches[peer.index()];
            if watch.left > 0 {
                let n = watch.left.min(bytes.len());
                watch.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            if watch.tagless {
                let answer = peer.is_upstream()
                    && watch.header.is_empty()
                    && matches!(bytes[0], b'S' | b'N')
                    && bytes.len() == 1;
                if answer {
                    self.note(peer, bytes[0]);
                    return;
                }
                if peer.is_upstream() {
                    watch.tagless = false;
                    watch.phase = Phase::Login;
                    continue;
                }
            }
            let need = if watch.tagless { 4 } else { Header::LEN };
            let n = (need - watch.header.len()).min(bytes.len());
            watch.header.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if watch.header.len() == need {
                self.frame_begins(peer);
            }
        }
    }

    fn frame_begins(&mut self, peer: PeerId) {
        let watch = &mut self.watches[peer.index()];
        let header = std::mem::take(&mut watch.header);
        let length = header
            .last_chunk::<4>()
            .map_or(4, |word| u32::from_be_bytes(*word) as usize);
        watch.left = length.saturating_sub(4);
        if watch.tagless {
            let startup = length != 8 && length != 16;
            self.note(peer, 0);
            if startup {
                let watch = &mut self.watches[peer.index()];
                watch.tagless = false;
                watch.phase = Phase::Login;
            }
            return;
        }
        let tag = match header[0] {
            0 => b'?',
            tag => tag,
        };
        self.note(peer, tag);
        self.move_on(peer, tag);
    }

    fn note(&mut self, peer: PeerId, tag: u8) {
        let phase = self.watches[peer.index()].phase;
        let tag = known(peer, tag);
        *self.pairs.entry((peer.index(), phase, tag)).or_default() += 1;
    }

    fn move_on(&mut self, peer: PeerId, tag: u8) {
        if !peer.is_upstream() {
            let client = &mut self.watches[0];
            if matches!(client.phase, Phase::Login) && tag == b'p' {
                return;
            }
            client.phase = match tag {
                b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F' | b'H' => Phase::Busy,
                _ => client.phase,
            };
            return;
        }
        let watch = &mut self.watches[peer.index()];
        watch.phase = match (watch.phase, tag) {
            (Phase::Login, b'Z') | (_, b'Z') => Phase::Idle,
            (Phase::Login, _) | (_, b'N' | b'A' | b'S') => watch.phase,
            (_, b'G') => Phase::CopyIn,
            (_, b'H') => Phase::CopyOut,
            (_, _) => Phase::Busy,
        };
        let phase = watch.phase;
        let client = &mut self.watches[0];
        if client.phase != Phase::Opening {
            match (tag, phase) {
                (b'Z', _) => client.phase = Phase::Idle,
                (b'G', _) => client.phase = Phase::CopyIn,
                (b'H', _) => client.phase = Phase::CopyOut,
                _ => {}
            }
        }
    }

    /// Something goes wrong now, at this peer or at all of them.
    pub(crate) fn fault(&mut self, fault: &Fault) {
        let peer = fault.peer().unwrap_or(PeerId::CLIENT);
        let phase = self.watches[peer.index()].phase;
        let name = match peer {
            PeerId::CLIENT => "client",
            PeerId::WRITER => "writer",
            _ => "reader",
        };
        *self.faults.entry((fault.kind(), name, phase)).or_default() += 1;
    }
}

/// Tags of messages of clients: 0 stands for a packet without one, `?` for a tag that nobody knows.
const FRONTEND: &[u8] = b"\0QPBDECFSHXdcfp?";
const BACKEND: &[u8] = b"RSKZTDC123nsItENAGHVdcv?";

fn known(peer: PeerId, tag: u8) -> u8 {
    let tags = match peer {
        PeerId::CLIENT => FRONTEND,
        _ => BACKEND,
    };
    match tags.contains(&tag) {
        true => tag,
        false => b'?',
    }
}

/// Situations that are not expected, with the reason of each: lines `peer phase tags: never: reason` or `peer phase
/// tags: seldom: reason`, where `*` stands for all phases or tags. What is seldom may be seen, what never happens may
/// not.
pub(crate) struct Unexpected<'a> {
    lines: Vec<(&'a str, &'a str, &'a str, &'a str)>,
}

impl<'a> Unexpected<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Unexpected<'a>, String> {
        let mut lines = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let parts = line.split_once(": ").and_then(|(pair, reason)| {
                let mut words = pair.split_whitespace();
                let found = (words.next()?, words.next()?, words.next()?, reason);
                words.next().is_none().then_some(found)
            });
            lines.push(parts.ok_or_else(|| format!("line {}: {line:?}", at + 1))?);
        }
        Ok(Unexpected { lines })
    }

    /// Why a situation is not expected.
    fn reason(&self, peer: PeerId, phase: Phase, tag: u8) -> Option<&str> {
        let (peer, phase, tag) = (peer.to_string(), format!("{phase:?}"), shown(tag));
        let line = self.lines.iter().find(|(of, during, tags, _)| {
            *of == peer
                && (*during == "*" || *during == phase)
                && (*tags == "*" || tags.split(',').any(|one| one == tag))
        });
        line.map(|(_, _, _, reason)| *reason)
    }
}

fn shown(tag: u8) -> String {
    match tag {
        0 => "packet".to_owned(),
        tag => char::from(tag).to_string(),
    }
}

impl Seen {
    /// Situations that were not seen although nothing says why, and ones that were although something says not.
    pub(crate) fn gaps(&self, unexpected: &Unexpected<'_>) -> Vec<String> {
        let mut out = Vec::new();
        for peer in PeerId::ALL {
            let tags = match peer {
                PeerId::CLIENT => FRONTEND,
                _ => BACKEND,
            };
            for phase in PHASES {
                for &tag in tags {
                    let seen = self.pairs.contains_key(&(peer.index(), phase, tag));
                    let name = format!("{peer} {phase:?} {}", shown(tag));
                    match unexpected.reason(peer, phase, tag) {
                        None if !seen => out.push(format!("{name} was not seen")),
                        Some(why) if seen && why.starts_with("never: ") => {
                            out.push(format!("{name} was seen, though {why}"));
                        }
                        None | Some(_) => {}
                    }
                }
            }
        }
        out
    }

    /// Every kind of fault, at every peer and in every phase that it was seen in, with how often.
    pub(crate) fn fault_table(&self) -> String {
        let mut out = String::new();
        for ((kind, peer, phase), count) in &self.faults {
            out.push_str(&format!("{kind:16} {peer:6} {phase:8?} {count}\n"));
        }
        out
    }
}
