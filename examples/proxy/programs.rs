//! Programs that are asked about users: what a client has to prove, and what servers are logged in to with.
//!
//! What a program is told stands in its environment, not among its arguments, where the name that a stranger gives could pass
//! for an option.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::future::Future;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use pgturnout::auth::{Credential, ExternalAnswer, FoundUser, UpstreamUser};
use pgturnout::session::{Destination, PeerId};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::{Proxy, identity, users};

/// Programs that run at a time: whoever opens a connection has one run. The others wait, as long as a login may take.
const AT_ONCE: usize = 16;

/// What a program may print in bytes; more than a token or the line of a user has.
const OUTPUT_MAX: u64 = 16 * 1024;

/// The codes of Authentication messages that a token answers.
const CLEARTEXT_PASSWORD: i32 = 3;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;

/// The mechanism of RFC 7628.
const OAUTHBEARER: &[u8] = b"OAUTHBEARER";

/// The programs that there are.
pub(crate) struct Programs {
    users: Option<PathBuf>,
    credential: Option<PathBuf>,
    running: Semaphore,
}

/// What a server is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    More(Vec<u8>),
    Last(Vec<u8>),
}

impl Reply {
    pub(crate) fn as_answer(&self) -> ExternalAnswer<'_> {
        match self {
            Reply::More(data) => ExternalAnswer::More(data),
            Reply::Last(data) => ExternalAnswer::Last(data),
        }
    }
}

/// What was found out for a session.
pub(crate) enum Answer {
    User(Result<FoundUser, String>),
    Credential {
        peer: PeerId,
        question: u64,
        reply: Result<Reply, String>,
    },
}

type Asked = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What one session has asked and waits for. Dropped, its programs are killed.
#[derive(Default)]
pub(crate) struct Questions(VecDeque<Asked>);

impl Questions {
    /// Has a user looked up. Where servers know it by another name or with another secret, it is `listed`.
    pub(crate) fn find(&mut self, proxy: &Arc<Proxy>, user: Box<[u8]>, listed: bool) {
        let proxy = Arc::clone(proxy);
        self.0.push_back(Box::pin(async move {
            Answer::User(proxy.programs.find(&user, listed).await)
        }));
    }

    /// Has a server answered: `body` is that of its Authentication message, to be answered as `user`.
    pub(crate) fn answer(
        &mut self,
        proxy: &Arc<Proxy>,
        (peer, question): (PeerId, u64),
        (to, user): (Destination, Vec<u8>),
        body: &[u8],
    ) {
        let (proxy, asks) = (Arc::clone(proxy), Asks::of(body));
        self.0.push_back(Box::pin(async move {
            let reply = proxy.programs.reply(&proxy, to, &user, asks).await;
            Answer::Credential {
                peer,
                question,
                reply,
            }
        }));
    }

    /// The next answer that is there.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Answer> {
        for place in 0..self.0.len() {
            if let Poll::Ready(answer) = self.0[place].as_mut().poll(cx) {
                drop(self.0.remove(place));
                return Some(answer);
            }
        }
        None
    }
}

/// What a server asks, as far as a token answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Password,
    Bearer,
    /// It refuses the token, and says why when it has an answer (RFC 7628, section 3.2.3).
    Dummy,
    Else,
}

impl Asks {
    fn of(body: &[u8]) -> Asks {
        let Some((code, rest)) = body.split_first_chunk() else {
            return Asks::Else;
        };
        let mut mechanisms = rest.split(|byte| *byte == 0);
        match i32::from_be_bytes(*code) {
            CLEARTEXT_PASSWORD => Asks::Password,
            SASL if mechanisms.any(|name| name == OAUTHBEARER) => Asks::Bearer,
            SASL_CONTINUE => Asks::Dummy,
            _ => Asks::Else,
        }
    }
}

/// A SASLInitialResponse with the token (RFC 7628, section 3.1).
fn bearer(token: &[u8]) -> Vec<u8> {
    let response = [b"n,,\x01auth=Bearer ", token, b"\x01\x01"].concat();
    let length = u32::try_from(response.len()).unwrap_or(u32::MAX);
    [OAUTHBEARER, b"\0", &length.to_be_bytes(), &response].concat()
}

/// The first line, which is all that a program prints whose answer is a word.
fn first_line(output: &[u8]) -> Result<&[u8], String> {
    let line = output.split(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default().trim_ascii_end();
    if line.is_empty() || line.contains(&0) {
        return Err("--credential-command printed no token".to_owned());
    }
    Ok(line)
}

/// The user among those that a program has printed.
fn found(output: &[u8], name: &[u8]) -> Result<Credential, String> {
    let users = users::parse(output).map_err(|bad| {
        let (line, message) = (bad.line, bad.message);
        format!("--users-command, line {line} of its output: {message}")
    })?;
    match users.into_iter().find(|user| user.name == name) {
        Some(user) => identity::loaded(name, &user.secret)
            .map_err(|error| format!("--users-command: {error}")),
        None => {
            identity::hash_for_nobody(name);
            Ok(Credential::None)
        }
    }
}

impl Programs {
    pub(crate) fn new(users: Option<PathBuf>, credential: Option<PathBuf>) -> Programs {
        Programs {
            users,
            credential,
            running: Semaphore::new(AT_ONCE),
        }
    }

    async fn find(&self, user: &[u8], listed: bool) -> Result<FoundUser, String> {
        let program = self.users.as_deref().ok_or("there is no --users-command")?;
        let output = self.run(program, &[("PGTURNOUT_USER", user)]).await;
        let output = output.map_err(|why| format!("--users-command {why}"))?;
        // A verifier is hashed for, which may take as long as a server's own check.
        let name = user.to_vec();
        let found = tokio::task::spawn_blocking(move || found(&output, &name)).await;
        Ok(FoundUser {
            credential: found.map_err(|error| error.to_string())??,
            upstream: match self.credential {
                Some(_) if !listed => Some(UpstreamUser::new(user, Credential::External)),
                Some(_) | None => None,
            },
        })
    }

    async fn reply(
        &self,
        proxy: &Proxy,
        to: Destination,
        user: &[u8],
        asks: Asks,
    ) -> Result<Reply, String> {
        let bearing = match asks {
            Asks::Password => false,
            Asks::Bearer => true,
            Asks::Dummy => return Ok(Reply::More(b"\x01".to_vec())),
            Asks::Else => return Err("it asks for what a token does not answer".to_owned()),
        };
        let missing = "there is no --credential-command";
        let program = self.credential.as_deref().ok_or(missing)?;
        let (host, port) = (&proxy.name(to).host, proxy.name(to).port.to_string());
        let told = [
            ("PGTURNOUT_USER", user),
            ("PGTURNOUT_HOST", host.as_bytes()),
            ("PGTURNOUT_PORT", port.as_bytes()),
        ];
        let output = self.run(program, &told).await;
        let output = output.map_err(|why| format!("--credential-command {why}"))?;
        let token = first_line(&output)?;
        Ok(Reply::Last(match bearing {
            true => bearer(token),
            false => [token, b"\0"].concat(),
        }))
    }

    /// What a program prints. Why there is nothing of it says nothing of what it printed.
    async fn run(&self, program: &Path, told: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
        let permit = self.running.acquire().await;
        let _permit = permit.map_err(|error| error.to_string())?;
        let told = told
            .iter()
            .map(|(name, value)| (name, OsStr::from_bytes(value)));
        let mut child = Command::new(program)
            .envs(told)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot be run: {error}"))?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let read = stdout.take(OUTPUT_MAX + 1).read_to_end(&mut output).await;
            read.map_err(|error| format!("cannot be read: {error}"))?;
        }
        if output.len() as u64 > OUTPUT_MAX {
            return Err("printed too much".to_owned());
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        match status.success() {
            true => Ok(output),
            false => Err(format!("failed: {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_answers_two_questions_and_the_refusal_of_one() {
        for (body, asks) in [
            (&b"\0\0\0\x03"[..], Asks::Password),
            (b"\0\0\0\x0aSCRAM-SHA-256\0OAUTHBEARER\0\0", Asks::Bearer),
            (b"\0\0\0\x0b{\"status\":\"invalid_token\"}", Asks::Dummy),
            (b"\0\0\0\x0aSCRAM-SHA-256\0OAUTHBEARERS\0\0", Asks::Else),
            (b"\0\0\0\x05salt", Asks::Else),
            (b"\0\0\0\x07", Asks::Else),
            (b"\0\0\0", Asks::Else),
        ] {
            assert_eq!(Asks::of(body), asks, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_bearer_token_is_sent_as_the_rfc_has_it() {
        let expected = b"OAUTHBEARER\0\0\0\0\x17n,,\x01auth=Bearer abc.d\x01\x01";
        assert_eq!(bearer(b"abc.d"), expected);
    }

    #[test]
    fn a_token_is_a_line() {
        assert_eq!(first_line(b"abc \r\nmore"), Ok(&b"abc"[..]));
        for nothing in [&b""[..], b"\nabc", b"a\0b"] {
            assert!(first_line(nothing).is_err());
        }
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let kind = |output: &str, name: &str| {
            let found = found(output.as_bytes(), name.as_bytes());
            found.map(|credential| format!("{credential:?}"))
        };
        let alice = "# of a directory\nalice:hunter2\n\"bob\" \"SCRAM-SHA-256$hunter2\"\n";
        assert_eq!(
            kind("alice:x", "alice").unwrap(),
            "Credential::Password(..)"
        );
        assert_eq!(kind("alice:x", "Alice").unwrap(), "Credential::None(..)");
        assert_eq!(kind("", "alice").unwrap(), "Credential::None(..)");
        // An empty password is none, and neither is what a server would store of it.
        let stored = "ZLuasIkXZj0o2fqXcPLYzzpuBYpt3tJtvx/2hUNTwXo=:F4IbwS68ORUj5EQrkiAz/2EVcQ4SbxB346aV8BbbDbk=";
        for (salt, expected) in [("c2FsdA==", "None"), ("c2FsdHk=", "ScramVerifier")] {
            let line = format!("alice:SCRAM-SHA-256$1:{salt}${stored}");
            let found = kind(&line, "alice").unwrap();
            assert_eq!(found, format!("Credential::{expected}(..)"), "{line}");
        }
        for (output, name) in [(alice, "bob"), ("alice\n", "alice")] {
            let why = kind(output, name).unwrap_err();
            assert!(
                !why.contains("hunter2") && why.starts_with("--users-command"),
                "{why}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_program_prints_is_bounded_and_its_failure_is_told() {
        let programs = Programs::new(None, None);
        let sh = Path::new("sh");
        // A shell without arguments reads its standard input, which is empty.
        assert_eq!(programs.run(sh, &[]).await, Ok(Vec::new()));
        let why = programs.run(Path::new("/no/such/program"), &[]).await;
        assert!(why.unwrap_err().starts_with("cannot be run: "));
        let why = programs.run(Path::new("false"), &[]).await.unwrap_err();
        assert!(why.starts_with("failed: "), "{why}");
        let why = programs.run(Path::new("yes"), &[]).await;
        assert_eq!(why, Err("printed too much".to_owned()));
    }
}
