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

/// What was seen so far: in the worlds of one seed with how often, of many seeds with in how many of them.
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

    /// What was seen in another seed's worlds, which is one more for each situation.
    pub(crate) fn add_seed(&mut self, seed: Seen) {
        for pair in seed.pairs.into_keys() {
            *self.pairs.entry(pair).or_default() += 1;
        }
        for fault in seed.faults.into_keys() {
            *self.faults.entry(fault).or_default() += 1;
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
    match tags_of(peer).contains(&tag) {
        true => tag,
        false => b'?',
    }
}

/// Of so many seeds at most so many see what is listed as seldom. Listed is what fewer than ten see, as the plays that go
/// through lists of faults and messages come to each a few times; what six times as many see is met some other way by now, and
/// its absence would say something.
const SELDOM: (u64, u64) = (20_000, 60);

/// Situations that are not expected, under the reason of each.
///
/// A line at the margin is `never: reason` or `seldom: reason`; what never happens may not be seen, and what is seldom may
/// be missed but not be common ([`SELDOM`]). The lines below it, behind spaces, are `peers phases whats`, with commas between
/// those of one list: a message is named by its tag and a fault by its kind behind a `!`; `*` stands for all messages and `!*`
/// for all faults, and what follows a `/` is left out of what is before it. A line `@name = a,b` has `@name` stand for a list.
#[derive(Default)]
pub(crate) struct Unexpected<'a> {
    groups: Vec<Group<'a>>,
    lists: BTreeMap<&'a str, &'a str>,
}

struct Group<'a> {
    is_never: bool,
    reason: &'a str,
    lines: Vec<[&'a str; 3]>,
}

impl<'a> Unexpected<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Unexpected<'a>, String> {
        let mut unexpected = Unexpected::default();
        for (at, line) in text.lines().enumerate() {
            let is_empty = line.trim().is_empty() || line.starts_with('#');
            if !is_empty && unexpected.take(line).is_none() {
                return Err(format!("line {}: {line:?}", at + 1));
            }
        }
        Ok(unexpected)
    }

    fn take(&mut self, line: &'a str) -> Option<()> {
        if line.starts_with('@') {
            let (name, list) = line.split_once(" = ")?;
            return match self.lists.insert(name, list) {
                None => Some(()),
                Some(_) => None,
            };
        }
        if line.starts_with(' ') {
            let words: Vec<&str> = line.split_whitespace().collect();
            let situations: [&str; 3] = words.try_into().ok()?;
            let [peers, phases, whats] = situations;
            let is_peer = |name: &str| fault::peer_named(name).is_ok();
            let is_known = self.are_all(peers, is_peer)
                && self.are_all(phases, |name| Phase::named(name).is_ok())
                && whats.split('/').all(|list| self.are_all(list, is_what));
            self.groups.last_mut()?.lines.push(situations);
            return is_known.then_some(());
        }
        let (word, reason) = line.split_once(": ")?;
        self.groups.push(Group {
            is_never: match word {
                "never" => true,
                "seldom" => false,
                _ => return None,
            },
            reason,
            lines: Vec::new(),
        });
        Some(())
    }

    fn are_all(&self, list: &str, is: impl Fn(&str) -> bool) -> bool {
        self.members(list).all(is)
    }

    fn members<'b>(&'b self, list: &'b str) -> impl Iterator<Item = &'b str> {
        list.split(',').flat_map(|word| {
            let list = self.lists.get(word).copied().unwrap_or(word);
            list.split(',')
        })
    }

    /// Why a situation is not expected.
    fn group(&self, peer: PeerId, phase: Phase, what: &str) -> Option<&Group<'a>> {
        let (peer, phase) = (fault::word_for(peer), phase.to_string());
        let among = |list: &str, one: &str| self.members(list).any(|known| known == one);
        let all = if what.starts_with('!') { "!*" } else { "*" };
        self.groups.iter().find(|group| {
            group.lines.iter().any(|[peers, phases, whats]| {
                let (whats, but) = whats.split_once('/').unwrap_or((whats, ""));
                among(peers, &peer)
                    && among(phases, &phase)
                    && (among(whats, what) || among(whats, all))
                    && !among(but, what)
            })
        })
    }

    /// What is wrong with so many of so many seeds that see it.
    fn judge(
        &self,
        peer: PeerId,
        phase: Phase,
        what: &str,
        (seen, seeds): (u64, u64),
    ) -> Option<String> {
        let name = format!("{} {phase} {what}", fault::word_for(peer));
        let most = SELDOM.1 * seeds / SELDOM.0;
        match self.group(peer, phase, what) {
            None if seen == 0 => Some(format!("{name} was not seen")),
            Some(group) if group.is_never && seen > 0 => Some(format!(
                "{name} was seen by {seen} seeds, though never: {}",
                group.reason
            )),
            Some(group) if seen > most => Some(format!(
                "{name} was seen by {seen} seeds, though seldom: {}; more than {most} are no longer seldom",
                group.reason
            )),
            None | Some(_) => None,
        }
    }
}

/// Whether a message, a fault, or all of either are named like this.
fn is_what(name: &str) -> bool {
    let is_tag = |tag: &u8| shown(*tag) == name;
    match name.strip_prefix('!') {
        None => name == "*" || FRONTEND.iter().chain(BACKEND).any(is_tag),
        Some("*") => true,
        Some(kind) => fault::every()
            .iter()
            .any(|fault| fault.counted_as() == kind),
    }
}

/// The columns of a table of phases.
fn head(what: &str, peer: &str) -> String {
    let mut out = format!("{what:24} {peer:6}");
    for (_, name) in PHASES {
        let name = name.strip_prefix("move-").unwrap_or(name);
        out.push_str(&format!(" {name:>8}"));
    }
    out.push('\n');
    out
}

fn tags_of(peer: PeerId) -> &'static [u8] {
    match peer {
        PeerId::CLIENT => FRONTEND,
        _ => BACKEND,
    }
}

fn shown(tag: u8) -> String {
    match tag {
        0 => "packet".to_owned(),
        tag => char::from(tag).to_string(),
    }
}

impl Seen {
    /// Situations that none of so many seeds saw although nothing says why, and ones that were seen although something says
    /// not, or more often than it says.
    pub(crate) fn gaps(&self, unexpected: &Unexpected<'_>, seeds: u64) -> Vec<String> {
        let mut out = Vec::new();
        for peer in PeerId::ALL {
            for (phase, _) in PHASES {
                for &tag in tags_of(peer) {
                    let seen = self.pairs.get(&(peer.index(), phase, tag));
                    let seen = (seen.copied().unwrap_or(0), seeds);
                    out.extend(unexpected.judge(peer, phase, &shown(tag), seen));
                }
                for fault in fault::every() {
                    if fault.peer().unwrap_or(PeerId::CLIENT) == peer {
                        let name = fault.counted_as();
                        let seen = self.faults.get(&(name.clone(), peer.index(), phase));
                        let seen = (seen.copied().unwrap_or(0), seeds);
                        out.extend(unexpected.judge(peer, phase, &format!("!{name}"), seen));
                    }
                }
            }
        }
        out
    }

    /// Every message, of every peer and in every phase, with in how many seeds it came.
    pub(crate) fn message_table(&self) -> String {
        let mut out = head("message", "of");
        for peer in PeerId::ALL {
            for &tag in tags_of(peer) {
                out.push_str(&format!("{:24} {:6}", shown(tag), fault::word_for(peer)));
                for (phase, _) in PHASES {
                    let count = self.pairs.get(&(peer.index(), phase, tag));
                    out.push_str(&format!(" {:>8}", count.unwrap_or(&0)));
                }
                out.push('\n');
            }
        }
        out
    }

    /// Every kind of fault, at every peer and in every phase, with in how many seeds it struck.
    pub(crate) fn fault_table(&self) -> String {
        let mut out = head("fault", "at");
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
