//! From the first packet to the first ReadyForQuery.

use std::sync::Arc;

use super::super::text::hex;
use super::cluster::Cluster;
use super::fault::Fault;
use super::gss::{GSS_DONE, GSS_HELLO, GSS_MORE, gss_token, refused_by_gss};
use super::impostor::{self, Impostor};
use super::session::{Io, Session};
use super::settings::Settings;
use super::switches::switches;
use super::transfer;
use super::wire::{Fields, HELLO, Input, Output, text};
use super::{Login, Node, PASSWORD, ServerOptions, ServerPhase, TlsAnswer};

const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSSENC: i32 = 80_877_104;
const V3_0: i32 = 0x0003_0000;
const V3_2: i32 = 0x0003_0002;
/// How long a startup packet may be, with its length word: `MAX_STARTUP_PACKET_LENGTH` is what follows that.
const PACKET: std::ops::RangeInclusive<i64> = 8..=10_004;

const SALT: [u8; 4] = *b"salt";

#[derive(Default)]
pub(super) struct Opening {
    /// Agreed to TLS, whose handshake is not done.
    securing: bool,
    /// The handshake is done.
    secured: bool,
    /// TLS or encryption by GSSAPI has been asked for.
    asked: bool,
    waiting: Option<Waiting>,
    /// Process id and secret of a CancelRequest.
    pub(super) cancels: Option<(i32, Vec<u8>)>,
    /// What was learned of secrets that are of this login only, in every notation.
    pub(super) learned: Vec<String>,
}

/// A startup packet whose password is yet to come.
struct Waiting {
    start: Start,
    question: Question,
}

enum Question {
    Password,
    Md5,
    /// Whatever the password is, it will do.
    AnyPassword,
    /// It waits for nothing, and never says a word.
    Nothing,
    GssFirst,
    GssSecond,
    #[cfg(feature = "scram")]
    ScramFirst,
    #[cfg(feature = "scram")]
    ScramFinal(super::scram::Exchange),
}

struct Start {
    user: Arc<str>,
    /// Names and values.
    parameters: Vec<(String, String)>,
    long_key: bool,
}

impl Start {
    /// Nobody of this name exists.
    fn is_of_nobody(&self) -> bool {
        self.user.starts_with("nobody")
    }

    /// The user's name is that of the database, where no other is named.
    fn database(&self) -> &str {
        let named = self.parameters.iter().rfind(|(name, _)| name == "database");
        match named {
            Some((_, database)) if !database.is_empty() => database,
            _ => &self.user,
        }
    }

    /// What follows AuthenticationOk at once when there is no such role or database.
    fn check_names(&self) -> Result<(), Fault> {
        if self.is_of_nobody() {
            let text = format!("role \"{}\" does not exist", self.user);
            return Err(Fault::new("28000", text));
        }
        let database = self.database();
        if database.starts_with("nowhere") {
            let text = format!("database \"{database}\" does not exist");
            return Err(Fault::new("3D000", text));
        }
        Ok(())
    }
}

pub(super) enum Next {
    Go,
    Session(Box<Session>),
    /// With this SQLSTATE.
    Refused(String),
    Close,
}

/// Who the server is.
pub(super) struct Place<'a> {
    pub(super) node: Node,
    pub(super) backend: u32,
    pub(super) options: &'a ServerOptions,
}

/// The secret of a backend: 4 bytes, or 32 in protocol 3.2.
pub(super) fn secret(backend: u32, long: bool) -> Vec<u8> {
    let word = backend.wrapping_mul(0x9E37_79B9).to_be_bytes();
    word.repeat(if long { 8 } else { 1 })
}

impl Opening {
    pub(super) fn secured(&mut self) {
        self.securing = false;
        self.secured = true;
    }

    /// Whether nothing has come yet.
    fn is_new(&self) -> bool {
        !self.asked && !self.secured && self.waiting.is_none()
    }

    pub(super) fn phase(&self) -> ServerPhase {
        match self.waiting {
            Some(_) => ServerPhase::Authenticating,
            None => ServerPhase::Opening,
        }
    }

    pub(super) fn step(
        &mut self,
        input: &mut Input,
        out: &mut Output,
        cluster: &mut Cluster,
        place: &Place<'_>,
    ) -> Option<Next> {
        let options = place.options;
        if options.end_to_end && options.takes_handshakes() && self.is_new() {
            self.securing = input.rest().first() == Some(&HELLO[0]);
        }
        if self.securing {
            return match options.end_to_end.then(|| input.handshake()).flatten() {
                Some(true) => {
                    self.secured();
                    out.handshake();
                    Some(Next::Go)
                }
                Some(false) => Some(Next::Close),
                None => input.ended().then_some(Next::Close),
            };
        }
        let ended = input.ended();
        let result = if let Some(waiting) = self.waiting.take() {
            if matches!(waiting.question, Question::Nothing) {
                self.waiting = Some(waiting);
                return ended.then_some(Next::Close);
            }
            let Some((tag, length)) = input.peek() else {
                self.waiting = Some(waiting);
                return ended.then_some(Next::Close);
            };
            if tag != b'p' {
                Err(Fault::protocol("expected password response"))
            } else if length < 4 {
                return Some(Next::Close);
            } else {
                let Some((_, body)) = input.message() else {
                    self.waiting = Some(waiting);
                    return ended.then_some(Next::Close);
                };
                self.answer(waiting, &body, out, cluster, place)
            }
        } else {
            if input
                .peek_packet()
                .is_some_and(|length| !PACKET.contains(&length))
            {
                return Some(Next::Close);
            }
            let Some(packet) = input.packet() else {
                return ended.then_some(Next::Close);
            };
            self.packet(&packet, input.rest().is_empty(), out, cluster, place)
        };
        Some(match result {
            Ok(next) => next,
            Err(fault) => {
                out.fatal(&fault.code, &fault.message);
                Next::Close
            }
        })
    }

    fn packet(
        &mut self,
        packet: &[u8],
        alone: bool,
        out: &mut Output,
        cluster: &mut Cluster,
        place: &Place<'_>,
    ) -> Result<Next, Fault> {
        let mut fields = Fields(packet);
        let version = fields.i32().unwrap_or_default();
        match version {
            CANCEL => {
                let id = fields.i32().unwrap_or_default();
                self.cancels = Some((id, fields.0.to_vec()));
                return Ok(Next::Close);
            }
            SSL | GSSENC => return self.encryption(version, alone, out, place),
            _ => {}
        }
        if version >> 16 < V3_0 >> 16 {
            // In the words of protocol 2.
            out.bytes(b"EFATAL:  unsupported frontend protocol\n\0");
            return Ok(Next::Close);
        }
        if version >> 16 != V3_0 >> 16 {
            return Err(unsupported());
        }
        let start = startup(&mut fields, version, out, place.options)?;
        if place.options.wants_tls && !self.secured {
            return Err(Fault::new("28000", "no pg_hba.conf entry, no encryption"));
        }
        let mut start = start;
        let end_to_end = place.options.end_to_end;
        if place.options.transfers
            && transfer::revived(&start.user, &mut start.parameters, cluster, end_to_end)?
        {
            return finish(start, out, cluster, place);
        }
        let bound = place.options.end_point.is_some() && self.secured;
        match question(out, place, bound) {
            None => finish(start, out, cluster, place),
            Some(question) => {
                self.waiting = Some(Waiting { start, question });
                Ok(Next::Go)
            }
        }
    }

    /// SSLRequest or GSSENCRequest.
    fn encryption(
        &mut self,
        request: i32,
        alone: bool,
        out: &mut Output,
        place: &Place<'_>,
    ) -> Result<Next, Fault> {
        if self.asked || place.options.tls == TlsAnswer::Old {
            return Err(unsupported());
        }
        self.asked |= request == SSL;
        let (answer, agreed): (&[u8], bool) = match place.options.tls {
            _ if request == GSSENC => (b"N", false),
            TlsAnswer::Yes => (b"S", true),
            TlsAnswer::Stuffed => (b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", true),
            TlsAnswer::Garbage => (b"?", false),
            TlsAnswer::No | TlsAnswer::Old => (b"N", false),
        };
        out.bytes(answer);
        if !alone {
            return Err(Fault::protocol(
                "received unencrypted data after the request",
            ));
        }
        self.securing = agreed;
        Ok(Next::Go)
    }

    fn answer(
        &mut self,
        waiting: Waiting,
        body: &[u8],
        out: &mut Output,
        cluster: &mut Cluster,
        place: &Place<'_>,
    ) -> Result<Next, Fault> {
        let Waiting { start, question } = waiting;
        let wrong = || {
            let text = format!("password authentication failed for user \"{}\"", start.user);
            Fault::new("28P01", text)
        };
        let hopeless = place.options.other_password || start.is_of_nobody();
        let given = body.strip_suffix(b"\0").unwrap_or(body);
        match question {
            Question::Password | Question::Md5 => {
                // One text, and nothing behind its end.
                if body.iter().position(|byte| *byte == 0) != Some(given.len()) {
                    return Err(Fault::protocol("invalid password packet size"));
                }
                if given.is_empty() {
                    return Err(Fault::new("28P01", "empty password returned by client"));
                }
                let expected = match question {
                    Question::Md5 => md5_of(&start.user),
                    _ => PASSWORD.to_owned(),
                };
                if hopeless || given != expected.as_bytes() {
                    return Err(wrong());
                }
                finish(start, out, cluster, place)
            }
            Question::GssFirst => self.gss_begins(start, body, out),
            Question::GssSecond => {
                let token = gss_token(8, GSS_MORE, PASSWORD);
                if hopeless || token.is_none_or(|token| token != body) {
                    return Err(refused_by_gss());
                }
                // Its last token comes with what follows, and is not answered.
                authentication(out, 8, GSS_DONE);
                finish(start, out, cluster, place)
            }
            Question::AnyPassword | Question::Nothing => finish(start, out, cluster, place),
            #[cfg(feature = "scram")]
            Question::ScramFirst => self.scram_begins(start, body, out, place),
            #[cfg(feature = "scram")]
            Question::ScramFinal(exchange) => {
                if let Some(proof) = super::scram::proof(body) {
                    self.learned
                        .extend(super::super::needles::notations(&proof));
                }
                let signature = match place.options.impostor {
                    Some(Impostor::NoProof) => None,
                    Some(Impostor::WrongSignature) => Some(exchange.forged()),
                    _ => {
                        let signature = exchange.finish(body)?.filter(|_| !hopeless);
                        Some(signature.ok_or_else(wrong)?)
                    }
                };
                if let Some(signature) = signature {
                    authentication(out, 12, signature.as_bytes());
                }
                finish(start, out, cluster, place)
            }
        }
    }

    fn gss_begins(&mut self, start: Start, body: &[u8], out: &mut Output) -> Result<Next, Fault> {
        if body != GSS_HELLO {
            return Err(refused_by_gss());
        }
        authentication(out, 8, GSS_MORE);
        out.flush();
        let question = Question::GssSecond;
        self.waiting = Some(Waiting { start, question });
        Ok(Next::Go)
    }

    #[cfg(feature = "scram")]
    fn scram_begins(
        &mut self,
        start: Start,
        body: &[u8],
        out: &mut Output,
        place: &Place<'_>,
    ) -> Result<Next, Fault> {
        let end_point = place.options.end_point.filter(|_| self.secured);
        let (exchange, challenge) =
            super::scram::Exchange::begin(body, place.options.impostor, end_point)?;
        self.learned.extend(exchange.nonce_of_client());
        authentication(out, 11, challenge.as_bytes());
        out.flush();
        let question = Question::ScramFinal(exchange);
        self.waiting = Some(Waiting { start, question });
        Ok(Next::Go)
    }
}

/// Asks what the client has to prove, if it has to.
fn question(out: &mut Output, place: &Place<'_>, bound: bool) -> Option<Question> {
    let login = match place.options.impostor {
        Some(Impostor::Silent) => return Some(Question::Nothing),
        Some(Impostor::UnknownMethod) => {
            authentication(out, impostor::unknown_method(place.backend), b"");
            out.flush();
            return Some(Question::Nothing);
        }
        Some(Impostor::Downgrade) => {
            authentication(out, 3, b"");
            out.flush();
            return Some(Question::AnyPassword);
        }
        Some(Impostor::Flood) => {
            impostor::flood_of_notices(out);
            place.options.login
        }
        Some(
            Impostor::WrongSignature
            | Impostor::NoProof
            | Impostor::ManyIterations
            | Impostor::BadNonce
            | Impostor::TooManyParameters,
        )
        | None => place.options.login,
    };
    let question = match login {
        Login::Trust => return None,
        Login::Gss => {
            authentication(out, 7, b"");
            Question::GssFirst
        }
        Login::Cleartext => {
            authentication(out, 3, b"");
            Question::Password
        }
        #[cfg(feature = "scram")]
        Login::Scram => {
            let offer: &[u8] = match bound {
                true => b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
                false => b"SCRAM-SHA-256\0\0",
            };
            authentication(out, 10, offer);
            Question::ScramFirst
        }
        #[cfg(not(feature = "scram"))]
        Login::Scram => {
            let _ = bound;
            authentication(out, 5, &SALT);
            Question::Md5
        }
        Login::Md5 => {
            authentication(out, 5, &SALT);
            Question::Md5
        }
    };
    out.flush();
    Some(question)
}

fn unsupported() -> Fault {
    Fault::new("0A000", "unsupported frontend protocol")
}

fn authentication(out: &mut Output, code: i32, data: &[u8]) {
    out.message(b'R', |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// `md5` and md5(md5(password, user), salt).
fn md5_of(user: &str) -> String {
    use md5::Digest as _;
    let inner = hex(&md5_stored(user));
    let outer = hex(&md5::Md5::digest([inner.as_bytes(), &SALT].concat()));
    format!("md5{outer}")
}

/// What a server stores for MD5: md5(password, user).
pub(super) fn md5_stored(user: &str) -> Vec<u8> {
    use md5::Digest as _;
    md5::Md5::digest(format!("{PASSWORD}{user}")).to_vec()
}

/// Reads a startup packet, and says which of its wishes are not known.
fn startup(
    fields: &mut Fields<'_>,
    version: i32,
    out: &mut Output,
    options: &ServerOptions,
) -> Result<Start, Fault> {
    let layout = || Fault::protocol("invalid startup packet layout");
    let string = |bytes: &[u8]| bytes.iter().map(|&b| char::from(b)).collect::<String>();
    let mut parameters = Vec::new();
    let mut unknown = Vec::new();
    loop {
        let name = fields.text().ok_or_else(layout)?;
        if name.is_empty() {
            break;
        }
        let value = fields.text().ok_or_else(layout)?;
        if name.starts_with(b"_pq_.") {
            unknown.push(string(name));
        } else {
            parameters.push((string(name), string(value)));
        }
    }
    if !fields.is_empty() {
        return Err(layout());
    }
    let newest = if options.version >= 18 { V3_2 } else { V3_0 };
    if version > newest || !unknown.is_empty() {
        out.message(b'v', |out| {
            out.extend_from_slice(&version.min(newest).to_be_bytes());
            out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
            for name in &unknown {
                text(out, name);
            }
        });
    }
    // Of several the last counts.
    let user = parameters.iter().rfind(|(name, _)| name == "user");
    let Some((_, user)) = user.filter(|(_, user)| !user.is_empty()) else {
        return Err(Fault::new(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        ));
    };
    Ok(Start {
        user: user.as_str().into(),
        long_key: version >= V3_2 && options.version >= 18,
        parameters,
    })
}

fn start_setting(
    settings: &mut Settings,
    user: &str,
    name: &str,
    value: &str,
) -> Result<(), Fault> {
    if name.eq_ignore_ascii_case("role") {
        super::run::may_be(user, user, value)?;
    }
    settings.start(name, value)
}

/// AuthenticationOk and everything up to ReadyForQuery.
fn finish(
    start: Start,
    out: &mut Output,
    cluster: &mut Cluster,
    place: &Place<'_>,
) -> Result<Next, Fault> {
    if let Some(code) = place.options.refuse_login.clone() {
        return Ok(Next::Refused(code));
    }
    authentication(out, 0, b"");
    start.check_names()?;
    let settings = settings_of(&start, cluster, place)?;
    let database = start.database().into();
    let version = place.options.version;
    let mut session = Session::new(
        place.node,
        place.backend,
        version,
        start.long_key,
        start.user,
        settings,
    );
    session.forgetful = place.options.forgetful;
    session.lodging = place.options.lodging;
    session.database = database;
    session.transfers = place.options.transfers;
    let mut io = Io { out, cluster };
    if place.options.triggers {
        io.out.parameter("standard_conforming_strings", "off");
    }
    session.tell_settings(&mut io);
    if place.options.impostor == Some(Impostor::TooManyParameters) {
        impostor::flood_of_settings(io.out);
    }
    io.out.message(b'K', |out| {
        out.extend_from_slice(&place.backend.to_be_bytes());
        out.extend_from_slice(&secret(place.backend, start.long_key));
    });
    session.ready(&mut io);
    Ok(Next::Session(Box::new(session)))
}

/// The settings that a session begins with.
fn settings_of(start: &Start, cluster: &Cluster, place: &Place<'_>) -> Result<Settings, Fault> {
    let mut settings = Settings::new(place.options.version, cluster.recovers(place.node));
    for (name, value) in &place.options.parameters {
        settings.force(name, value);
        if name == "default_transaction_isolation" {
            settings.force("transaction_isolation", value);
        }
    }
    settings.force("session_authorization", &start.user);
    let superuser = super::run::is_superuser(&start.user);
    settings.force("is_superuser", if superuser { "on" } else { "off" });
    let options = start.parameters.iter().rfind(|(name, _)| name == "options");
    if let Some((_, options)) = options {
        for (name, value) in switches(options)? {
            start_setting(&mut settings, &start.user, &name, &value)?;
        }
    }
    for (name, value) in &start.parameters {
        if !matches!(
            name.as_str(),
            "user" | "database" | "options" | "replication"
        ) {
            start_setting(&mut settings, &start.user, name, value)?;
        }
    }
    Ok(settings)
}
