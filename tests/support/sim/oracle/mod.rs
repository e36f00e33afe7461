//! The reference: the client's whole program given to one server, and what the client then would have seen.
//!
//! | file | what |
//! |---|---|
//! | `words` | what a client saw, as words that can be compared |
//! | `judge` | whether one server could have said it, with requests failing where faults explain it |
//! | `ends` | which of the client's messages only end a transaction |
//! | `plain` | which of them only read, so plainly that nobody may refuse it |
//! | `state` | what was written, and in which sessions statements ran |

mod ends;
mod judge;
mod plain;
mod state;
mod words;

use pgturnout::wire::Header;

use super::checks::Check;
use super::client::Frame;
use super::door;
use super::fault::Damage;
use super::introduction::packet;
use super::server::{Cluster, Executed, Judgement, Login, Node, Server, ServerOptions};
use super::setup::Setup;
use super::world::World;
pub(crate) use judge::compare;
pub(crate) use words::{seen_by, show};

/// What one server makes of a client's program.
pub(crate) struct Direct {
    pub(crate) frames: Vec<Frame>,
    pub(crate) executed: Vec<Executed>,
    pub(crate) writes: Vec<String>,
    pub(crate) rows: Vec<String>,
    /// How far the server was at each ReadyForQuery, and in the end.
    ready: Vec<Progress>,
    end: Progress,
    /// Whether each message that can fail came in a READ ONLY transaction block.
    read_only: Vec<bool>,
}

/// How far a server has got.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many messages have come that can fail.
    messages: usize,
    /// How many things it has done, data of COPY taken among them.
    steps: usize,
    writes: usize,
}

/// What goes wrong on the one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The message behind so many fails with this SQLSTATE instead of being run.
    Fails(usize, String),
    /// Behind so many steps the server is a standby.
    Demoted(usize),
}

/// A server that has let the client in, and what it told it on the way.
fn let_in(setup: &Setup, node: Node, cluster: &mut Cluster) -> (Server, Vec<Frame>) {
    let options = ServerOptions {
        version: setup.server_version,
        login: Login::Trust,
        parameters: setup.server_parameters(),
        foreign: setup.fittings.is_foreign(),
        ..ServerOptions::default()
    };
    let mut server = Server::new(node, 1, options);
    server.receive(&packet(
        setup.version().code(),
        &setup.upstream_parameters(),
    ));
    while server.step(cluster) {}
    let told = frames(&server.output());
    (server, told)
}

/// What the one server tells at the client's login.
pub(crate) fn login(world: &World<'_>) -> Vec<Frame> {
    let_in(&world.setup, door::node(world), &mut Cluster::new()).1
}

/// Plays what the client said to a server of its own, on which this goes wrong: a primary, or a standby where the
/// reader serves alone.
pub(crate) fn direct(world: &World<'_>, said: &[u8], failures: &[Failure]) -> Direct {
    let setup = &world.setup;
    let mut cluster = Cluster::new();
    let (mut server, _) = let_in(setup, door::node(world), &mut cluster);
    let mut demoted = None;
    for failure in failures {
        match failure {
            Failure::Fails(message, code) => server.fail_at(*message, code),
            Failure::Demoted(step) => demoted = Some(*step),
        }
    }
    if setup.judges() {
        server.judge(Judgement::Denies(setup.shown()));
    }
    server.receive(said);
    // What it has not sent yet it may send at any time.
    server.receive(b"H\0\0\0\x04");
    let mut output = Vec::new();
    let mut ready = Vec::new();
    let mut progress = Progress::default();
    let mut read_only = Vec::new();
    let mut goes_on = true;
    while goes_on {
        let within = server.is_in_read_only_block();
        if demoted == Some(progress.steps) {
            cluster.demote();
        }
        goes_on = server.step(&mut cluster);
        progress = Progress {
            messages: server.counted(),
            steps: progress.steps + 1,
            writes: cluster.writes().len(),
        };
        read_only.resize(progress.messages, within);
        let new = server.output();
        // Nothing is left behind in the server when it sends this.
        if let Some([b'Z', 0, 0, 0, 5, _]) = new.last_chunk() {
            ready.push(progress);
        }
        output.extend(new);
    }
    Direct {
        frames: frames(&output),
        executed: server.executed().to_vec(),
        writes: cluster
            .writes()
            .iter()
            .map(|write| write.text.clone())
            .collect(),
        rows: cluster.dump(),
        ready,
        end: progress,
        read_only,
    }
}

/// How many messages the client can count on, by what it has said.
pub(crate) fn owed(world: &World<'_>) -> usize {
    match world.damage {
        Damage::None => {
            let asked = direct(world, up_to_flush(&world.said), &[]).frames;
            seen_by(&asked, world).len()
        }
        Damage::Requests | Damage::Session | Damage::Anything => 0,
    }
}

/// Whether the client's program ends with a message that makes a server answer all of it.
pub(crate) fn is_all_asked(world: &World<'_>) -> bool {
    up_to_flush(&world.said).len() == world.said.len()
}

/// Whether each request that the client has made so far was answered.
pub(crate) fn is_all_answered(world: &World<'_>) -> bool {
    let asks = |tag: &u8| matches!(tag, b'Q' | b'F' | b'S');
    tags_of(&world.said).filter(asks).count() <= world.client.ready
}

/// Whether the client says that it leaves.
pub(crate) fn says_goodbye(world: &World<'_>) -> bool {
    tags_of(&world.said).any(|tag| tag == b'X')
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

fn never_let_in(world: &mut World<'_>) {
    let may_fail =
        world.damage > Damage::None && !door::must_serve(world) || !world.setup.lets_client_in();
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

/// Nothing follows a FATAL error.
pub(crate) fn fatal_is_last(world: &mut World<'_>) {
    let frames = &world.client.frames;
    let ends = |frame: &Frame| matches!(frame.severity(), Some(b"FATAL" | b"PANIC"));
    let fatal = frames
        .iter()
        .position(|frame| frame.tag == b'E' && ends(frame));
    // Nobody reads what a server that lies says in a session that passes whole.
    let unread = world.is_whole() && world.damage >= Damage::Anything;
    if let Some(at) = fatal
        && !unread
        && at + 1 < frames.len()
    {
        let behind: Vec<String> = frames[at..].iter().map(show).collect();
        world.broken(Check::FatalLast, behind.join(" "));
    }
}
