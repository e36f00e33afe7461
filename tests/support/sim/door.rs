//! The front door: sessions that their reader serves alone, users whom the caller looks up, what its policy says to
//! logins, and clients that it puts out.

use std::sync::{Arc, Mutex, PoisonError};

use pgturnout::session::{
    Action, CloseCause, ConnectionFacts, Denial, Event, LoginFacts, LoginOutcome, PeerId, Policy,
    StatementFacts, Verdict,
};
use pgturnout::startup::StartupParams;
use pgturnout::wire::Backend;

use super::checks::Check;
use super::client::Frame;
use super::fault::{Damage, Fault};
use super::introduction::Says;
use super::oracle;
use super::server::Node;
use super::setup::{Caller, Finder, Logins, Method, Setup, Start, of_tenant};
use super::verdict::{Judge, Misled};
use super::world::World;

/// What a client is told that is put out, and one whose login is denied.
const EXPELLED: &str = "the rules have changed";
const DENIED: &str = "nobody is let in today";

/// What is remembered of who comes in, and who is put out.
#[derive(Default)]
pub(crate) struct Door {
    /// The user who is being looked up, and whether one was.
    pub(crate) asked: Option<Vec<u8>>,
    pub(crate) answered: bool,
    /// Whether the session was ended by an expulsion first.
    pub(crate) expelled: bool,
    /// What the policy was told of logins.
    heard: Arc<Mutex<Vec<LoginOutcome>>>,
    /// What it was shown that cannot be.
    misled: Misled,
}

/// The caller's policy.
struct Doorman {
    judge: Option<Judge>,
    logins: Logins,
    tenants: bool,
    heard: Arc<Mutex<Vec<LoginOutcome>>>,
}

impl Policy for Doorman {
    fn login(&mut self, login: &LoginFacts<'_>) -> Verdict {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(login.outcome);
        match self.logins {
            Logins::Denied => Verdict::Deny(Denial::new(DENIED)),
            Logins::Unasked | Logins::Allowed => Verdict::Allow,
        }
    }

    fn upstream_startup(
        &mut self,
        connection: &ConnectionFacts<'_>,
    ) -> Result<Option<StartupParams>, Denial> {
        let Some(own) = connection.startup.filter(|_| self.tenants) else {
            return Ok(None);
        };
        let pairs = of_tenant(own.iter().collect());
        let other = StartupParams::build(own.version(), pairs);
        other.map(Some).map_err(|_| Denial::new(DENIED))
    }

    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        match &mut self.judge {
            Some(judge) => judge.statement(facts),
            None => Verdict::Allow,
        }
    }
}

impl Door {
    /// The policy of a session, if it has one.
    pub(crate) fn policy(&self, setup: &Setup) -> Option<Box<dyn Policy>> {
        let asked = setup.judged || setup.logins != Logins::Unasked || setup.has_tenants();
        asked.then(|| {
            Box::new(Doorman {
                judge: setup
                    .judged
                    .then(|| Judge::new(setup.strict, Arc::clone(&self.misled))),
                logins: setup.logins,
                tenants: setup.has_tenants(),
                heard: Arc::clone(&self.heard),
            }) as Box<dyn Policy>
        })
    }

    /// What the policy was shown that cannot be.
    fn misled(&self) -> Option<String> {
        let misled = self.misled.lock();
        misled.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn heard(&self) -> Vec<LoginOutcome> {
        let heard = self.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// With what a client is put out.
pub(crate) fn expulsion() -> Denial {
    Denial::new(EXPELLED)
}

/// Whether the session said that its reader serves it alone.
pub(crate) fn is_read_only(world: &World<'_>) -> bool {
    let told = |event: &Event| matches!(event, Event::ReadOnly { .. });
    world.told.iter().any(told)
}

/// Whether the standby that serves a session alone may take writes.
pub(crate) fn is_promoted(world: &World<'_>) -> bool {
    is_read_only(world) && world.strikes.contains(&Fault::Promote)
}

/// What stands for all the servers of a session.
pub(crate) fn node(world: &World<'_>) -> Node {
    match is_read_only(world) {
        true => Node::Standby,
        false => Node::Primary,
    }
}

/// Whether nothing has gone wrong but that the writer could not be had, and the client had not heard of it.
pub(crate) fn must_serve(world: &World<'_>) -> bool {
    let setup = &world.setup;
    // The word of a server that has asked or told the client something is passed on.
    let unheard = setup.terminate
        || setup.login == Method::Trust && setup.minor == 0 && setup.start == Start::Plain;
    let excused = |fault: &Fault| match fault {
        Fault::RefuseDial(PeerId::WRITER) => true,
        Fault::RefuseLogin(PeerId::WRITER, state) => state == "57P03" && unheard,
        other => other.damage() == Damage::None,
    };
    // A second one strikes the standby, on the writer's connection.
    let harmful = |fault: &&Fault| fault.damage() != Damage::None;
    setup.read_only
        && world.strikes.iter().filter(harmful).count() <= 1
        && !world.is_whole()
        && !setup.servers_want_tls
        && setup.finder != Finder::Sorry
        && !matches!(setup.caller, Caller::Wrong | Caller::Sorry)
        && world.strikes.iter().all(excused)
}

/// The session asks for something.
pub(crate) fn action(world: &mut World<'_>, action: &Action) {
    match action {
        Action::FindUser { user } => asks_for(world, user),
        Action::Connect { peer, .. } => {
            let finds = world.setup.finder != Finder::Listed && !world.lies(PeerId::CLIENT);
            if finds && !world.door.answered {
                let detail = format!("the {peer} is dialled for a user who was not looked up");
                world.broken(Check::LoginOrder, detail);
            }
            if *peer == PeerId::READER && is_read_only(world) {
                world.broken(Check::Direct, "a reader beside the one that serves alone");
            }
        }
        Action::Notify(event @ Event::ReadOnly { .. }) => {
            let failed = |event: &Event| matches!(event, Event::UpstreamFailed { peer, .. } if *peer == PeerId::WRITER);
            let late = world.told.contains(&Event::LoggedIn);
            let cause = world.setup.read_only && world.told.iter().any(failed);
            if is_read_only(world) || late || !cause {
                world.broken(Check::Told, format!("{event:?} out of place"));
            }
        }
        Action::Notify(Event::UnknownMessage { peer, .. }) if !world.lies(*peer) => {
            let detail = format!("a message that nobody knows, which the {peer} never sent");
            world.broken(Check::Told, detail);
        }
        _ => {}
    }
}

fn asks_for(world: &mut World<'_>, user: &[u8]) {
    let named = world.setup.user_and_options()[0].1;
    let wrong = !world.lies(PeerId::CLIENT) && user != named;
    if wrong || world.door.answered || world.door.asked.is_some() {
        let user = user.escape_ascii();
        world.broken(Check::LoginOrder, format!("{user} is looked up"));
    }
}

/// The session is over.
pub(crate) fn ended(world: &mut World<'_>) {
    if world.is_opaque() {
        return;
    }
    strange_messages_are_told(world);
    if world.damage >= Damage::Anything {
        return;
    }
    let dialled = [PeerId::WRITER, PeerId::READER]
        .iter()
        .any(|peer| world.was_dialled(*peer));
    // It may be told, and is served no further.
    let mut frames = world.client.login.iter().chain(&world.client.frames);
    let answered = frames.any(|frame| frame.tag != b'E');
    if world.setup.is_too_long() && (dialled || answered) {
        world.broken(
            Check::LoginOrder,
            "a StartupMessage that is too long is answered",
        );
    }
    let proven = |frame: &Frame| frame.tag == b'R' && frame.body == [0; 4];
    if world.client.is_ready() && !world.client.login.iter().any(proven) {
        world.broken(
            Check::LoginOrder,
            "a client was let in that has proven nothing",
        );
    }
    if let Some(detail) = world.door.misled() {
        world.broken(Check::Told, detail);
    }
    options_are_answered(world);
    misnamed_are_told(world);
    heard_of_the_login(world);
    strangers_are_alike(world);
    put_out(world);
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The SQLSTATE and the words of an error.
fn error(frame: &Frame) -> Option<(String, String)> {
    match Backend::parse(frame.tag, &frame.body) {
        Ok(Backend::ErrorResponse(fields)) => {
            let field = |code| shown(fields.get(code).unwrap_or_default());
            Some((field(b'C'), field(b'M')))
        }
        _ => None,
    }
}

/// Of a message on its way of which no type is known the driver was told.
fn strange_messages_are_told(world: &mut World<'_>) {
    if world.is_whole() || world.misused {
        return;
    }
    // The one that peers say; another may be a part of what was said out of place.
    let is_strange = |tag: u8| tag == 1;
    let of_client = world.from_client.begun().iter();
    let of_client = of_client
        .filter(|(to, _)| to.is_some())
        .map(|(_, tag)| (PeerId::CLIENT, *tag));
    let of_servers = world.to_client.begun().iter();
    let of_servers = of_servers.filter_map(|(of, tag)| Some(((*of)?, *tag)));
    let untold = of_client.chain(of_servers).find(|(from, tag)| {
        let (peer, tag) = (*from, *tag);
        is_strange(tag) && !world.told.contains(&Event::UnknownMessage { peer, tag })
    });
    if let Some((peer, tag)) = untold {
        let detail = format!("a message {tag:#x} of the {peer} is passed on, and nobody is told");
        world.broken(Check::Told, detail);
    }
}

/// A client that the proxy checks is told which of the protocol's options nobody knows, and of nothing else that it named.
fn options_are_answered(world: &mut World<'_>) {
    if !world.setup.terminate || world.client.login.is_empty() || world.setup.wild {
        return;
    }
    let options = &world.setup.user_and_options()[1..];
    let names: Vec<u8> = options
        .iter()
        .flat_map(|(name, _)| [name, &b"\0"[..]].concat())
        .collect();
    let told = world.client.login.iter().filter(|frame| frame.tag == b'v');
    let told: Vec<Vec<u8>> = told
        .map(|frame| frame.body.get(8..).unwrap_or_default().to_vec())
        .collect();
    let due = match world.client.login[0].tag {
        b'E' => return,
        _ if names.is_empty() => Vec::new(),
        _ => vec![names],
    };
    if told != due {
        let detail = format!("options {due:?} are not known, and the client is told of {told:?}");
        world.broken(Check::LoginOrder, detail);
    }
}

/// Who names what no server knows hears so of a server, and is let in up to there.
fn misnamed_are_told(world: &mut World<'_>) {
    let setup = &world.setup;
    let served = setup.fittings.says == Says::Misnamed && setup.is_heard_out();
    let answered = !matches!(setup.caller, Caller::Wrong | Caller::Sorry);
    if !served || !answered || setup.finder == Finder::Sorry || world.damage > Damage::None {
        return;
    }
    let last = world.client.login.last().and_then(error);
    if last.as_ref().is_none_or(|(code, _)| code != "42704") {
        let detail = format!("who names what no server knows was told {last:?} at last");
        world.broken(Check::LoginOrder, detail);
    }
}

/// The policy heard once how the login came out, before the client did; one that it denied heard nothing else.
fn heard_of_the_login(world: &mut World<'_>) {
    if world.setup.logins == Logins::Unasked && !world.setup.judged {
        return;
    }
    let heard = world.door.heard();
    let mut outcome = None;
    for frame in &world.client.login {
        let accepted = frame.tag == b'R' && matches!(frame.body[..], [0, 0, 0, 0 | 12, ..]);
        let refused = error(frame).is_some_and(|(code, words)| code == "28P01" && words != DENIED);
        if outcome.is_none() && accepted {
            outcome = Some("Accepted".to_owned());
        } else if outcome.is_none() && refused {
            outcome = Some("Refused(Some(28P01))".to_owned());
        }
    }
    let told: Vec<String> = heard
        .iter()
        .map(|outcome| match outcome {
            LoginOutcome::Accepted => "Accepted".to_owned(),
            LoginOutcome::Refused(state) => {
                let state = state.map(|state| shown(&state.0));
                format!(
                    "Refused({})",
                    state.map_or("None".to_owned(), |s| format!("Some({s})"))
                )
            }
        })
        .collect();
    if heard.len() > 1 || outcome.is_some() && outcome.as_ref() != told.first() {
        let detail = format!("the policy heard {told:?} of a login that was {outcome:?}");
        return world.broken(Check::Denied, detail);
    }
    if world.setup.logins == Logins::Denied && !heard.is_empty() {
        denied(world, outcome.is_some(), &told);
    }
}

/// Whether a fault or a deadline may have kept the client from hearing the last word.
pub(crate) fn was_disturbed(world: &World<'_>) -> bool {
    let mut strikes = world.strikes.iter();
    let mut told = world.told.iter();
    strikes.any(|fault| fault.peer() == Some(PeerId::CLIENT))
        || told.any(|event| matches!(event, Event::TimedOut(_)))
}

/// A login that was denied.
fn denied(world: &mut World<'_>, told: bool, outcome: &[String]) {
    // Who has had enough of the login still hears how it ended.
    let (login, frames) = (&world.client.login, &world.client.frames);
    let words = frames.last().or(login.last()).and_then(error);
    let gone = was_disturbed(world);
    let polite = words == Some(("28000".to_owned(), DENIED.to_owned()));
    let ready = world.told.iter().any(|event| {
        matches!(
            event,
            Event::LoggedIn | Event::UpstreamReady { .. } | Event::ClientProven { .. }
        )
    });
    let dialled = [PeerId::WRITER, PeerId::READER]
        .iter()
        .any(|peer| world.was_dialled(*peer));
    let checked = world.setup.terminate && dialled;
    if told || ready || checked || !polite && !gone {
        let heard: Vec<String> = world.client.login.iter().map(oracle::show).collect();
        let detail =
            format!("a login that was {outcome:?} was denied, and the client heard {heard:?}");
        world.broken(Check::Denied, detail);
    }
}

/// What a stranger hears who is not asked for a password, or may not say it in clear.
const MD5: [&str; 2] = ["R 5", "E 28P01 true"];

/// Whoever does not exist is asked and refused as with a wrong password.
fn strangers_are_alike(world: &mut World<'_>) {
    let cut = world
        .strikes
        .iter()
        .any(|fault| fault.damage() > Damage::None);
    let quiet = !cut && world.setup.finder != Finder::Sorry && world.setup.logins != Logins::Denied;
    // Without the TLS that is asked for nobody is checked.
    let setup = &world.setup;
    let unchecked = !setup.is_found_out()
        || !setup.has_tls_enough()
        || setup.is_too_long()
        || setup.names_reserved();
    if unchecked || !quiet || world.client.login.is_empty() {
        return;
    }
    let heard: Vec<String> = world
        .client
        .login
        .iter()
        .map(|frame| match error(frame) {
            Some((code, words)) => {
                let named = words.starts_with("password authentication failed for user");
                format!("E {code} {named}")
            }
            None => {
                let kind = frame.body.get(3).copied().unwrap_or_default();
                format!("{} {kind}", char::from(frame.tag))
            }
        })
        .filter(|word| !word.starts_with('v'))
        .collect();
    let asked: &[&str] = match world.setup.login {
        Method::Trust | Method::Gss => return,
        Method::Cleartext if heard == MD5 => return,
        Method::Cleartext => &["R 3"],
        Method::Md5 => &["R 5"],
        Method::Scram => &["R 10", "R 11"],
    };
    let mut due = asked.to_vec();
    due.push("E 28P01 true");
    let like_md5 = !cfg!(feature = "scram") && heard == MD5;
    if heard != due && !like_md5 {
        world.broken(
            Check::LoginOrder,
            format!("a stranger was told {heard:?}, not {due:?}"),
        );
    }
}

/// A client that was put out was told so, last; one that was not was told nothing of the kind.
fn put_out(world: &mut World<'_>) {
    let frames = world.client.login.iter().chain(&world.client.frames);
    let words = |frame: &Frame| error(frame).is_some_and(|(_, words)| words == EXPELLED);
    let told = frames.clone().filter(|frame| words(frame)).count();
    let last = frames.last().and_then(error);
    let causes: Vec<&CloseCause> = world.closes.iter().map(|(_, cause)| cause).collect();
    let expelled = causes
        .iter()
        .any(|cause| matches!(cause, CloseCause::Expelled(_)));
    let shut_down = causes.iter().any(|cause| **cause == CloseCause::Shutdown);
    if expelled != world.door.expelled && (expelled || shut_down) {
        return world.broken(Check::Told, format!("a client is put out: {causes:?}"));
    }
    // Who does not read hears nothing, and nothing can be told in another's stream.
    let deaf = world.is_whole() || !world.client.is_ready() || was_disturbed(world);
    let polite = last == Some(("57P01".to_owned(), EXPELLED.to_owned()));
    if expelled && !deaf && !(polite && told == 1) || !expelled && told > 0 {
        let detail = format!("a client that was put out was told {last:?} at last");
        return world.broken(Check::FatalLast, detail);
    }
    if expelled && !deaf {
        nothing_is_lost(world);
    }
}

/// What was in flight when a client was put out was answered.
fn nothing_is_lost(world: &mut World<'_>) {
    let begun = world.from_client.begun();
    let simple = begun.iter().all(|(_, tag)| b"QFX".contains(tag));
    let sent = begun
        .iter()
        .filter(|(to, tag)| to.is_some() && b"QF".contains(tag))
        .count();
    let answered = world.client.ready;
    let hurt = world
        .strikes
        .iter()
        .any(|fault| fault.damage() > Damage::Requests && *fault != Fault::Expel);
    // Where copies are made a Query may stand in the middle of one.
    if simple && !hurt && !world.setup.copies_requests() && sent > answered {
        let detail = format!("{sent} requests had left, {answered} were answered");
        world.broken(Check::FatalLast, detail);
    }
}
