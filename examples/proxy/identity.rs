//! Who clients are to the proxy and to the servers, and what they prove it with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pgturnout::auth::{AuthError, Credential, Likeness, UpstreamUser, UpstreamUsers, Users};
use pgturnout::limits::{SCRAM_ITERATIONS_MAX, SCRAM_SALT_MAX};
use pgturnout::startup::UpstreamTlsPolicy;

use crate::cli::{Setting, UsageError};
use crate::options::{Accept, Given, bad_line, blame, unreadable};
use crate::users;

/// All that is said of users.
pub(crate) struct Identities {
    pub(crate) users: Users,
    pub(crate) upstream: UpstreamUsers,
    /// What to ask for the users that clients say they are.
    pub(crate) users_command: Option<PathBuf>,
    /// What those are asked like whom it does not know.
    pub(crate) unknown: Vec<Likeness>,
    /// What decides what users who do not exist are asked; nothing if chance does.
    pub(crate) mock_secret: Option<PathBuf>,
    /// What to ask for the tokens of those who have no secret for the servers.
    pub(crate) credential_command: Option<PathBuf>,
}

/// What users have of whom nobody knows anything: verifiers as PostgreSQL makes them, unless it is said otherwise behind
/// the word, with the iterations and then the bytes of the salt.
fn likeness(words: &str) -> Option<Likeness> {
    let mut parts = words.split(':');
    let word = parts.next()?;
    let mut number = |default: u32, most: u32| match parts.next() {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|n| (1..=most).contains(n)),
    };
    let likeness = match word {
        "password" => Likeness::Password,
        "md5" => Likeness::Md5Digest,
        "scram" => Likeness::ScramVerifier {
            iterations: number(4_096, SCRAM_ITERATIONS_MAX)?,
            salt_len: number(16, u32::try_from(SCRAM_SALT_MAX).ok()?)? as usize,
        },
        _ => return None,
    };
    parts.next().is_none().then_some(likeness)
}

fn unknown(given: &Given) -> Result<Vec<Likeness>, UsageError> {
    let expected = format!(
        "expected password, md5 or scram[:ITERATIONS[:SALT]], \
         with at most {SCRAM_ITERATIONS_MAX} iterations and {SCRAM_SALT_MAX} bytes of salt"
    );
    let settings = given.all("unknown-user");
    settings
        .map(|setting| likeness(&setting.value).ok_or_else(|| blame(setting, expected.as_str())))
        .collect()
}

/// What clients have to prove by name, with where it stands.
type Secrets<'a> = BTreeMap<Vec<u8>, (Vec<u8>, &'a Setting, usize)>;

impl Identities {
    pub(crate) fn new(given: &Given) -> Result<Identities, UsageError> {
        let secrets = secrets(given)?;
        let credential_command = given.path("credential-command");
        let mut upstream = UpstreamUsers::default();
        if credential_command.is_some() {
            for name in secrets.keys() {
                upstream.insert(name, UpstreamUser::new(name, Credential::External));
            }
        }
        if let Some(setting) = given.one("upstream-users-file") {
            add_upstream(&mut upstream, setting, credential_command.is_some())?;
        }
        Ok(Identities {
            users: listed(secrets)?,
            upstream,
            users_command: given.path("users-command"),
            unknown: unknown(given)?,
            mock_secret: given.path("mock-secret-file"),
            credential_command,
        })
    }

    /// Refuses what would be ignored, and tokens in clear.
    pub(crate) fn check(
        &self,
        given: &Given,
        accept: &Option<Vec<Accept>>,
        tls: UpstreamTlsPolicy,
    ) -> Result<(), UsageError> {
        let refuse = |name: &str, message: &str| match given.one(name) {
            Some(setting) => Err(blame(setting, message)),
            None => Ok(()),
        };
        if accept.is_none() {
            for name in ["upstream-users-file", "users-command", "credential-command"] {
                refuse(name, "unused: --auth is relay")?;
            }
        }
        if self.users_command.is_none() {
            refuse("unknown-user", "unused: there is no --users-command")?;
        }
        if self.users_command.is_some() {
            for name in ["user", "users-file"] {
                refuse(name, "unused: --users-command is given")?;
            }
        }
        if !tls.requires_tls() {
            let message = "tokens are not sent in clear: needs --upstream-tls require, verify-ca or verify-full";
            refuse("credential-command", message)?;
        }
        Ok(())
    }
}

/// Whom the servers know as somebody else, and those whose tokens are asked for.
fn add_upstream(
    users: &mut UpstreamUsers,
    setting: &Setting,
    asks: bool,
) -> Result<(), UsageError> {
    let text = std::fs::read(&setting.value).map_err(|error| unreadable(setting, &error))?;
    for other in users::parse_upstream(&text).map_err(|bad| bad_line(setting, &bad))? {
        let wrong = |message: String| {
            let (file, line) = (&setting.value, other.line);
            blame(setting, format!("{file}:{line}: {message}"))
        };
        let credential = match &other.secret {
            Some(secret) => {
                let credential =
                    Credential::from_secret(secret).map_err(|error| wrong(error.to_string()))?;
                if credential.is_of_an_empty_password(&other.name) {
                    let message = "the password is empty, and no server lets anybody in with that";
                    return Err(wrong(message.to_owned()));
                }
                credential
            }
            None if asks => Credential::External,
            None => return Err(wrong("no secret, and no --credential-command".to_owned())),
        };
        users.insert(&other.client, UpstreamUser::new(&other.name, credential));
    }
    Ok(())
}

/// The users of the file, then those of `--user`, which win.
fn secrets(given: &Given) -> Result<Secrets<'_>, UsageError> {
    let mut secrets = Secrets::new();
    if let Some(setting) = given.one("users-file") {
        let text = std::fs::read(&setting.value).map_err(|error| unreadable(setting, &error))?;
        for user in users::parse(&text).map_err(|bad| bad_line(setting, &bad))? {
            secrets.insert(user.name, (user.secret, setting, user.line));
        }
    }
    let mut named = BTreeSet::new();
    for setting in given.all("user") {
        let pair = users::parse_pair(setting.value.as_bytes());
        let (name, secret) = pair.map_err(|message| blame(setting, message))?;
        if !named.insert(name.clone()) {
            let message = format!("{} is given twice", name.escape_ascii());
            return Err(blame(setting, message));
        }
        secrets.insert(name, (secret, setting, 0));
    }
    Ok(secrets)
}

fn listed(secrets: Secrets<'_>) -> Result<Users, UsageError> {
    let mut users = Users::default();
    for (name, (secret, setting, line)) in secrets {
        let wrong = |error: AuthError| match line {
            0 => blame(setting, format!("{}: {error}", name.escape_ascii())),
            line => blame(setting, format!("{}:{line}: {error}", setting.value)),
        };
        users.insert(&name, loaded(&name, &secret).map_err(wrong)?);
    }
    Ok(users)
}

/// A verifier that nobody has, with the iterations that PostgreSQL gives one.
const NOBODYS: &[u8] = b"SCRAM-SHA-256$4096:bm9ib2R5J3Mgc2FsdCEhIQ==$\
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Takes as long as it takes to see that a verifier is of no empty password: who asks for a name that does not exist waits as
/// long as for one that does.
pub(crate) fn hash_for_nobody(user: &[u8]) {
    if let Ok(nobodys) = Credential::from_secret(NOBODYS) {
        std::hint::black_box(nobodys.is_of_an_empty_password(user));
    }
}

/// What is listed of a user; nothing if it is an empty password, or was made of one, as with PostgreSQL.
pub(crate) fn loaded(user: &[u8], secret: &[u8]) -> Result<Credential, AuthError> {
    let credential = Credential::from_secret(secret)?;
    if credential.is_of_an_empty_password(user) {
        return Ok(Credential::None);
    }
    Ok(credential)
}
