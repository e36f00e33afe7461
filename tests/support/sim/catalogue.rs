//! Which situations were seen: what arrived from whom in which phase, and which fault struck then.

use std::collections::BTreeMap;

use pgturnout::migrate;
use pgturnout::session::PeerId;
use pgturnout::wire::Header;

use super::fault::{self, Fault};

/// What a peer was doing, as its messages tell; or what the session was doing to move, whatever its peers did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// There is no connection.
    Absent,
    /// Before its first message with a tag: dialling, the opening, TLS.
    Opening,
    Login,
    /// Nothing is owed.
    Idle,
    /// A server has something to do and has not begun to answer.
    Asked,
    /// A request is being answered; a client's, that it was made.
    Busy,
    CopyIn,
    CopyOut,
    MoveDial,
    MoveLogIn,
    MoveWait,
    MoveDrain,
    MoveRead,
    MoveRestore,
    MoveVerify,
    MoveCutOver,
}

pub(crate) const PHASES: [(Phase, &str); 16] = [
    (Phase::Absent, "absent"),
    (Phase::Opening, "opening"),
    (Phase::Login, "login"),
    (Phase::Idle, "idle"),
    (Phase::Asked, "asked"),
    (Phase::Busy, "busy"),
    (Phase::CopyIn, "copy-in"),
    (Phase::CopyOut, "copy-out"),
    (Phase::MoveDial, "move-dial"),
    (Phase::MoveLogIn, "move-log-in"),
    (Phase::MoveWait, "move-wait"),
    (Phase::MoveDrain, "move-drain"),
    (Phase::MoveRead, "move-read"),
    (Phase::MoveRestore, "move-restore"),
    (Phase::MoveVerify, "move-verify"),
    (Phase::MoveCutOver, "move-cut-over"),
];

impl Phase {
    pub(crate) fn named(name: &str) -> Result<Phase, String> {
        let found = PHASES.iter().find(|(_, known)| *known == name);
        found
            .map(|(phase, _)| *phase)
            .ok_or_else(|| format!("{name:?} is no phase"))
    }

    /// That of the session while its move is in one of its own.
    fn of_move(phase: migrate::Phase) -> Phase {
        match phase {
            migrate::Phase::Dial => Phase::MoveDial,
            migrate::Phase::LogIn => Phase::MoveLogIn,
            migrate::Phase::Wait => Phase::MoveWait,
            migrate::Phase::Drain => Phase::MoveDrain,
            migrate::Phase::Read => Phase::MoveRead,
            migrate::Phase::Restore => Phase::MoveRestore,
            migrate::Phase::Verify => Phase::MoveVerify,
            migrate::Phase::CutOver => Phase::MoveCutOver,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let found = PHASES.iter().find(|(phase, _)| phase == self);
        f.pad(found.map_or("?", |(_, name)| name))
    }
}

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
    pub(crate) faults: BTreeMap<(String, usize, Phase), u64>,
    watches: [Watch; PeerId::COUNT],
    /// What the session does to move.
    moving: Option<Phase>,
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
        self.moving = None;
        for peer in PeerId::ALL.into_iter().filter(|peer| peer.is_upstream()) {
            self.closed(peer);
        }
    }

    /// The session's move is in this phase, or there is none.
    pub(crate) fn moves(&mut self, phase: Option<migrate::Phase>) {
        self.moving = phase.map(Phase::of_move);
    }

    /// Whether a peer is in a phase, or the session in one of a move's.
    pub(crate) fn is_in(&self, peer: PeerId, phase: Phase) -> bool {
        self.phase(peer) == phase || self.moving == Some(phase)
    }

    /// A peer is dialled or has a new connection.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.watches[peer.index()] = Watch::default();
    }

    pub(crate) fn closed(&mut self, peer: PeerId) {
        self.watches[peer.index()].phase = Phase::Absent;
    }

    /// Who was in one seat is in another.
    pub(crate) fn change(&mut self, one: PeerId, other: PeerId) {
        self.watches.swap(one.index(), other.index());
    }

    /// A server that had nothing to do was sent something, or has more.
    pub(crate) fn asked(&mut self, peer: PeerId) {
        let phase = &mut self.watches[peer.index()].phase;
        if *phase == Phase::Idle {
            *phase = Phase::Asked;
        }
    }

    pub(crate) fn phase(&self, peer: PeerId) -> Phase {
        self.watches[peer.index()].phase
    }

    /// The session took these bytes of a peer: the tags of messages that begin in them.
    pub(crate) fn arrived(&mut self, peer: PeerId, mut bytes: &[u8]) -> Vec<u8> {
        let mut tags = Vec::new();
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
                    return tags;
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
                tags.extend(self.frame_begins(peer));
            }
        }
        tags
    }

    fn frame_begins(&mut self, peer: PeerId) -> Option<u8> {
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
            return None;
        }
        let tag = match header[0] {
            0 => b'?',
            tag => tag,
        };
        self.note(peer, tag);
        self.move_on(peer, tag);
        Some(tag)
    }

    fn note(&mut self, peer: PeerId, tag: u8) {
        let tag = known(peer, tag);
        for phase in [Some(self.phase(peer)), self.moving].into_iter().flatten() {
            *self.pairs.entry((peer.index(), phase, tag)).or_default() += 1;
        }
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
        for phase in [Some(self.phase(peer)), self.moving].into_iter().flatten() {
            let key = (fault.counted_as(), peer.index(), phase);
            *self.faults.entry(key).or_default() += 1;
        }
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
/// not. Faults are listed in the same way, by the name of their kind in place of a tag and with a `!` before it.
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
    fn reason(&self, peer: PeerId, phase: Phase, what: &str) -> Option<&str> {
        let (peer, phase) = (fault::word_for(peer), phase.to_string());
        let among = |list: &str, one: &str| list.split(',').any(|known| known == one);
        let line = self.lines.iter().find(|(of, during, whats, _)| {
            (*of == "*" || among(of, &peer))
                && (*during == "*" || among(during, &phase))
                && (*whats == "*" && !what.starts_with('!') || among(whats, what))
        });
        line.map(|(_, _, _, reason)| *reason)
    }

    fn judge(&self, peer: PeerId, phase: Phase, what: &str, seen: bool) -> Option<String> {
        let name = format!("{} {phase} {what}", fault::word_for(peer));
        match self.reason(peer, phase, what) {
            None if !seen => Some(format!("{name} was not seen")),
            Some(why) if seen && why.starts_with("never: ") => {
                Some(format!("{name} was seen, though {why}"))
            }
            None | Some(_) => None,
        }
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
            for (phase, _) in PHASES {
                for &tag in tags {
                    let seen = self.pairs.contains_key(&(peer.index(), phase, tag));
                    out.extend(unexpected.judge(peer, phase, &shown(tag), seen));
                }
                for fault in fault::every() {
                    if fault.peer().unwrap_or(PeerId::CLIENT) == peer {
                        let name = fault.counted_as();
                        let key = (name.clone(), peer.index(), phase);
                        let seen = self.faults.contains_key(&key);
                        out.extend(unexpected.judge(peer, phase, &format!("!{name}"), seen));
                    }
                }
            }
        }
        out
    }

    /// Every kind of fault, at every peer and in every phase, with how often it struck.
    pub(crate) fn fault_table(&self) -> String {
        let mut out = format!("{:24} {:6}", "fault", "at");
        for (phase, _) in PHASES {
            let name = phase.to_string();
            out.push_str(&format!(
                " {:>8}",
                name.strip_prefix("move-").unwrap_or(&name)
            ));
        }
        out.push('\n');
        for fault in fault::every() {
            let (name, peer) = (fault.counted_as(), fault.peer().unwrap_or(PeerId::CLIENT));
            out.push_str(&format!("{name:24} {:6}", fault::word_for(peer)));
            for (phase, _) in PHASES {
                let count = self.faults.get(&(name.clone(), peer.index(), phase));
                out.push_str(&format!(" {:>8}", count.unwrap_or(&0)));
            }
            out.push('\n');
        }
        out
    }
}
