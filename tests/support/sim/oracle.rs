//! The reference: the client's whole program given to one server, and what the client then would have seen.

use pgturnout::session::PeerId;
use pgturnout::startup::StartupParams;
use pgturnout::wire::{Backend, Header};

use super::checks::Check;
use super::client::Frame;
use super::fault::Damage;
use super::server::{Cluster, Executed, Login, Node, Server, ServerOptions};
use super::setup::{Setup, USER};
use super::world::World;

/// What one server makes of a client's program.
pub(crate) struct Direct {
    pub(crate) frames: Vec<Frame>,
    pub(crate) executed: Vec<Executed>,
    pub(crate) writes: Vec<String>,
    pub(crate) rows: Vec<String>,
}

/// A primary that has let the client in, and what it told it on the way.
fn let_in(setup: &Setup, cluster: &mut Cluster) -> (Server, Vec<Frame>) {
    let options = ServerOptions {
        version: setup.server_version,
        login: Login::Trust,
        ..ServerOptions::default()
    };
    let mut server = Server::new(Node::Primary, 1, options);
    let pairs = [
        (&b"user"[..], USER.as_bytes()),
        (b"database", b"app"),
        (b"application_name", b"simulator"),
    ];
    let params = StartupParams::build(setup.version(), pairs).expect("a packet");
    server.receive(params.raw());
    while server.step(cluster) {}
    let told = frames(&server.output());
    (server, told)
}

/// What a primary tells at the client's login.
pub(crate) fn login(setup: &Setup) -> Vec<Frame> {
    let_in(setup, &mut Cluster::new()).1
}

/// Plays what the client said to a primary of its own.
pub(crate) fn direct(setup: &Setup, said: &[u8]) -> Direct {
    let mut cluster = Cluster::new();
    let (mut server, _) = let_in(setup, &mut cluster);
    server.receive(said);
    // What it has not sent yet it may send at any time.
    server.receive(b"H\0\0\0\x04");
    let mut output = Vec::new();
    while server.step(&mut cluster) {
        output.extend(server.output());
    }
    output.extend(server.output());
    Direct {
        frames: frames(&output),
        executed: server.executed().to_vec(),
        writes: cluster
            .writes()
            .iter()
            .map(|write| write.text.clone())
            .collect(),
        rows: cluster.dump(),
    }
}

/// How many messages the client can count on, by what it has said.
pub(crate) fn owed(world: &World<'_>) -> usize {
    match world.damage {
        Damage::None => {
            let asked = direct_frames(&world.setup, up_to_flush(&world.said));
            seen_by(&asked, world).len()
        }
        Damage::Requests | Damage::Session | Damage::Anything => 0,
    }
}

fn direct_frames(setup: &Setup, said: &[u8]) -> Vec<Frame> {
    direct(setup, said).frames
}

/// Whether the client's program ends with a message that makes a server answer all of it.
pub(crate) fn is_all_asked(world: &World<'_>) -> bool {
    up_to_flush(&world.said).len() == world.said.len()
}

/// Whether the client sent copy data.
pub(crate) fn copies(world: &World<'_>) -> bool {
    tags_of(&world.said).any(|tag| matches!(tag, b'd' | b'c' | b'f'))
}

/// A client's program up to the last message that makes a server send what it has.
fn up_to_flush(said: &[u8]) -> &[u8] {
    // Who leaves waits for nothing that no Sync was sent for.
    let leaves = tags_of(said).any(|tag| tag == b'X');
    let asking: &[u8] = if leaves { b"QFS" } else { b"QFSH" };
    let (mut rest, mut end) = (said, 0);
    while let Ok(Some(header)) = Header::parse(rest) {
        let Some((_, behind)) = header.split(rest) else {
            break;
        };
        rest = behind;
        if asking.contains(&header.tag) {
            end = said.len() - rest.len();
        }
    }
    &said[..end]
}

fn tags_of(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let header = Header::parse(bytes).ok()??;
        bytes = header.split(bytes)?.1;
        Some(header.tag)
    })
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut out = Vec::new();
    while let Ok(Some(header)) = Header::parse(bytes) {
        let Some((body, rest)) = header.split(bytes) else {
            break;
        };
        out.push(Frame {
            tag: header.tag,
            body: body.to_vec(),
        });
        bytes = rest;
    }
    out
}

/// Compares what the client saw with what one server would have told it, as far as the faults allow.
pub(crate) fn compare(world: &mut World<'_>) {
    fatal_is_last(world);
    if world.damage >= Damage::Anything || !world.client.is_ready() && world.said.is_empty() {
        return;
    }
    if !world.client.is_ready() {
        never_let_in(world);
        return;
    }
    let direct = direct(&world.setup, &world.said);
    let ours = seen_by(&world.client.frames, world);
    let mut theirs = seen_by(&direct.frames, world);
    if ours.len() < theirs.len() {
        // A server sends what has gathered when its buffer is full, and nobody may count on it.
        let asked = direct_frames(&world.setup, up_to_flush(&world.said));
        let owed = seen_by(&asked, world).len();
        theirs.truncate(owed.max(ours.len()));
    }
    let ended = !matches!(
        world.session.lifecycle(),
        pgturnout::session::Lifecycle::Live
    );
    let ended = ended || world.links[PeerId::CLIENT.index()].has_ended();
    let tolerance = match ended {
        true => Tolerance::Prefix,
        false => Tolerance::Whole,
    };
    let verdict = match world.damage {
        Damage::None => same(&ours, &theirs),
        Damage::Requests | Damage::Session => request_by_request(&ours, &theirs, tolerance),
        Damage::Anything => Ok(Course::Same),
    };
    match verdict {
        Ok(Course::Same) => {}
        Ok(Course::Another) => return,
        Err(detail) => {
            let count = |words: &[String]| words.iter().filter(|word| is_ready(word)).count();
            let check = match count(&ours) == count(&theirs) {
                true => Check::Direct,
                false => Check::OneReady,
            };
            world.broken(check, detail);
            return;
        }
    }
    effects(world, &direct);
    sessions(world, &direct);
}

fn never_let_in(world: &mut World<'_>) {
    let may_fail = world.damage > Damage::None || !world.setup.lets_client_in();
    let alive = matches!(
        world.session.lifecycle(),
        pgturnout::session::Lifecycle::Live
    );
    if !may_fail || alive {
        let log: Vec<String> = world.client.login.iter().map(show).collect();
        world.broken(
            Check::Live,
            format!("the client was never let in: {}", log.join(" ")),
        );
    }
}

fn fatal_is_last(world: &mut World<'_>) {
    let frames = &world.client.frames;
    let fatal = frames.iter().position(|frame| {
        frame.tag == b'E'
            && matches!(Backend::parse(b'E', &frame.body), Ok(Backend::ErrorResponse(fields)) if fields.is_fatal())
    });
    if let Some(at) = fatal
        && at + 1 < frames.len()
    {
        let behind: Vec<String> = frames[at..].iter().map(show).collect();
        world.broken(Check::FatalLast, behind.join(" "));
    }
}

/// A trace as words; what differs between any two servers is left out.
pub(crate) fn seen_by(frames: &[Frame], world: &World<'_>) -> Vec<String> {
    let mut out = Vec::new();
    // Where the answer begins of what is asked in a failed transaction: a statement that only the reader has cannot be
    // restored there, so the server may refuse what it would have looked at.
    let mut failed = None;
    for frame in frames {
        let word = show(frame);
        if is_ready(&word) {
            if let Some(begin) = failed
                && word == "Z(E)"
            {
                refused(&mut out, begin);
            }
            failed = (word == "Z(E)").then_some(out.len() + 1);
        }
        if world.setup.lag && matches!(frame.tag, b'D' | b'd') {
            continue;
        }
        if word.starts_with("N(01000") {
            // The proxy's own warning, and what a server said because the scenario made it.
            continue;
        }
        let rows =
            word.starts_with("C(SELECT ") || word.starts_with("C(COPY ") || frame.tag == b's';
        if world.setup.lag && rows {
            out.push("C(rows)".to_owned());
            continue;
        }
        if frame.tag == b'S' && word.contains("default_transaction_read_only") {
            continue;
        }
        out.push(match word.as_str() {
            // Which server answers may be asked.
            "D(t)" | "D(f)" => "D(bool)".to_owned(),
            _ => word,
        });
    }
    out.truncate(failed.unwrap_or(out.len()));
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

/// A message in a word.
pub(crate) fn show(frame: &Frame) -> String {
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
        _ => format!("{tag}({})", frame.body.escape_ascii()),
    }
}

fn is_ready(word: &str) -> bool {
    word.starts_with("Z(")
}

fn same(ours: &[String], theirs: &[String]) -> Result<Course, String> {
    if ours == theirs {
        return Ok(Course::Same);
    }
    let at = ours
        .iter()
        .zip(theirs)
        .position(|(a, b)| a != b)
        .unwrap_or(ours.len().min(theirs.len()));
    Err(difference(ours, theirs, at))
}

fn difference(ours: &[String], theirs: &[String], at: usize) -> String {
    let from = at.saturating_sub(4);
    let part = |words: &[String]| {
        let end = words.len().min(at + 4);
        words.get(from..end).unwrap_or_default().join(" ")
    };
    format!(
        "message {at} differs: the client saw `{}`, one server says `{}`",
        part(ours),
        part(theirs)
    )
}

/// What can be said of what the client did after what was compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It had the effects that it has on one server.
    Same,
    /// A request failed, and others may depend on it.
    Another,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tolerance {
    /// All requests were answered.
    Whole,
    /// The session ended on the way.
    Prefix,
}

/// Whether an error is one that a lost or dying server is the reason for, not the client's own.
fn is_of_a_fault(word: &str) -> bool {
    let classes = ["E(08", "E(57", "E(53", "E(40"];
    classes.iter().any(|class| word.starts_with(class))
}

/// Compares answers up to each ReadyForQuery. A request may have failed on the way, with an error of another kind
/// than one server's; what it did then and what depends on it cannot be told any more.
fn request_by_request(
    ours: &[String],
    theirs: &[String],
    tolerance: Tolerance,
) -> Result<Course, String> {
    let split = |words: &[String]| -> Vec<Vec<String>> {
        words
            .split_inclusive(|word| is_ready(word))
            .map(<[String]>::to_vec)
            .collect()
    };
    let (ours, theirs) = (split(ours), split(theirs));
    for (at, answer) in ours.iter().enumerate() {
        let whole = answer.last().is_some_and(|word| is_ready(word));
        let Some(right) = theirs.get(at) else {
            // What the server had gathered comes with its last word.
            let ending = answer
                .last()
                .is_some_and(|word| word.starts_with("E(") && word.ends_with("FATAL)"));
            if ending && tolerance == Tolerance::Prefix {
                return Ok(Course::Another);
            }
            return Err(format!("an answer too many: {}", answer.join(" ")));
        };
        if answer == right {
            continue;
        }
        let common = answer.iter().zip(right).take_while(|(a, b)| a == b).count();
        let rest = &answer[common..];
        let fails = rest.first().is_some_and(|word| is_of_a_fault(word));
        if !whole && tolerance == Tolerance::Prefix {
            // The end: with an error, or in the middle of it all.
            if rest.is_empty() || fails {
                return Ok(Course::Another);
            }
        }
        // An error of a message that no Sync has followed yet: the client has to send one.
        let extended = right
            .iter()
            .any(|word| word.starts_with(['1', '2', '3', 't', 'n', 's']))
            || !right.last().is_some_and(|word| is_ready(word));
        if !whole && fails && rest.len() == 1 && extended && at + 1 == ours.len() {
            return Ok(Course::Another);
        }
        // We answer for a lost reader, which owned no transaction.
        let honest =
            !matches!(rest, [error, ready] if error.starts_with("E(08006 ") && ready != "Z(I)");
        // The end of a transaction may bring settings back, which the server reports.
        let said = rest.iter().filter(|word| !word.starts_with("S(")).count();
        if whole && fails && said == 2 && honest {
            // It failed for a reason of ours. What follows may depend on it.
            return Ok(Course::Another);
        }
        return Err(difference(answer, right, common));
    }
    if tolerance == Tolerance::Whole && ours.len() < theirs.len() {
        return Err(format!(
            "{} answers are missing, the first is `{}`",
            theirs.len() - ours.len(),
            theirs[ours.len()].join(" ")
        ));
    }
    Ok(Course::Same)
}

/// What was written, and in which order.
fn effects(world: &mut World<'_>, direct: &Direct) {
    let ours: Vec<String> = world
        .cluster
        .writes()
        .iter()
        .filter(|write| write.node == Node::Primary)
        .map(|write| write.text.clone())
        .collect();
    let fine = match world.damage {
        Damage::None => ours == direct.writes,
        Damage::Requests | Damage::Session => is_subsequence(&ours, &direct.writes),
        Damage::Anything => true,
    };
    if !fine {
        world.broken(
            Check::Twice,
            format!("written: {ours:?}; one server writes {:?}", direct.writes),
        );
    }
    if world.damage == Damage::None && world.cluster.dump() != direct.rows {
        world.broken(Check::Direct, "the tables differ in the end".to_owned());
    }
}

fn is_subsequence(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|word| rest.any(|other| other == word))
}

/// Each statement of the client's ran in the session that the client made.
fn sessions(world: &mut World<'_>, direct: &Direct) {
    if world.damage > Damage::None {
        return;
    }
    let mut wrong = None;
    let logs = world
        .retired
        .iter()
        .map(|(peer, server, texts)| (*peer, server, texts.clone()))
        .chain(PeerId::ALL.into_iter().filter_map(|peer| {
            let server = world.servers[peer.index()].as_ref()?;
            Some((peer, server, world.injected_texts[peer.index()].clone()))
        }));
    for (peer, server, mut injected) in logs {
        let mut rest = direct.executed.iter();
        for ran in server.executed() {
            if let Some(at) = injected
                .iter()
                .position(|text| *text == ran.text.as_bytes().escape_ascii().to_string())
            {
                // Ours: it brings the session up to the client's.
                injected.remove(at);
                continue;
            }
            let mut looked = rest.clone();
            let Some(same) =
                looked.find(|other| other.text == ran.text && other.parameters == ran.parameters)
            else {
                continue;
            };
            let outside = direct.executed.iter().any(|other| {
                other.text == ran.text
                    && other.parameters == ran.parameters
                    && !other.in_transaction
            });
            if same.in_transaction && !outside && peer == PeerId::READER {
                wrong = Some((
                    Check::Transaction,
                    format!("in a transaction, on the reader: {:?}", ran.text),
                ));
            }
            if let Some(what) = session_differs(same, ran) {
                // The same text may stand in the program again, in that session.
                if !looked.any(|other| {
                    other.text == ran.text
                        && other.parameters == ran.parameters
                        && session_differs(other, ran).is_none()
                }) {
                    wrong = Some((
                        Check::SameSession,
                        format!("on the {peer}: {:?} ran with {what}", ran.text),
                    ));
                }
                continue;
            }
            rest = looked;
        }
    }
    if let Some((check, detail)) = wrong {
        world.broken(check, detail);
    }
}

fn session_differs(direct: &Executed, ran: &Executed) -> Option<String> {
    if direct.role != ran.role {
        return Some(format!("role {:?} for {:?}", ran.role, direct.role));
    }
    for ((name, value), (other_name, other)) in ran.settings.iter().zip(direct.settings.iter()) {
        let depends_on_node = matches!(
            &**name,
            "in_hot_standby"
                | "transaction_read_only"
                | "default_transaction_read_only"
                // Of the transaction, not of the session.
                | "transaction_isolation"
                | "transaction_deferrable"
        );
        if name == other_name && value != other && !depends_on_node {
            return Some(format!("{name}={value:?} for {other:?}"));
        }
    }
    None
}
