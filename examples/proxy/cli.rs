//! The command line: the table of flags, the parser, the help text.
//!
//! The table is the only list of names; the configuration file ([`crate::config`]) uses the same one.

use std::ffi::OsString;
use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;

/// One flag: `--name VALUE`, `--name=VALUE`, or a bare `--name` for a switch.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    help: &'static [&'static str],
}

/// What stands behind a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing: the flag is on when it is there.
    Nothing,
    /// One value, described by this word in the help.
    One(&'static str),
    /// A value each time it is given.
    Many(&'static str),
}

impl Flag {
    const fn new(name: &'static str, takes: Takes, help: &'static [&'static str]) -> Flag {
        Flag { name, takes, help }
    }

    pub(crate) fn find(name: &str) -> Option<&'static Flag> {
        let mut flags = GROUPS.iter().flat_map(|(_, flags)| flags.iter());
        flags.find(|flag| flag.name == name)
    }

    /// The left column of the help.
    fn usage(&self) -> String {
        match self.takes {
            Takes::Nothing => format!("--{}", self.name),
            Takes::One(value) => format!("--{} {value}", self.name),
            Takes::Many(value) => format!("--{} {value} ...", self.name),
        }
    }
}

type Group = (&'static str, &'static [Flag]);

const GROUPS: &[Group] = &[
    ("Where", WHERE),
    ("Who", WHO),
    ("How", HOW),
    ("Console", CONSOLE),
    ("TLS", TLS),
    ("Other", OTHER),
];

const WHERE: &[Flag] = &[
    Flag::new(
        "listen",
        Takes::One("ADDR"),
        &[
            "where clients connect, as HOST:PORT or [IPV6]:PORT;",
            "port 0 takes a free one (required)",
        ],
    ),
    Flag::new(
        "writer",
        Takes::One("HOST:PORT"),
        &["the primary (required)"],
    ),
    Flag::new(
        "reader",
        Takes::Many("HOST:PORT"),
        &[
            "a standby; each session uses one of those given",
            "(default: none, the writer serves everything)",
        ],
    ),
    Flag::new(
        "spare",
        Takes::Many("HOST:PORT"),
        &[
            "a server that serves nobody until the console moves",
            "sessions there; readers and the writer can be moved",
            "to, too",
        ],
    ),
    Flag::new(
        "dialect",
        Takes::One("DIALECT"),
        &[
            "whose servers they are, and how sessions move between",
            "them: postgres, or cockroach, by its own transfer",
            "(default: postgres)",
        ],
    ),
];

const WHO: &[Flag] = &[
    Flag::new(
        "user",
        Takes::Many("NAME:SECRET"),
        &[
            "what a user logs in with, to the other upstream and to",
            "the proxy: a password, md5... or SCRAM-SHA-256$...;",
            "other processes can see it: prefer --users-file",
        ],
    ),
    Flag::new(
        "users-file",
        Takes::One("FILE"),
        &[
            "lines NAME:SECRET or \"name\" \"secret\", # comments;",
            "--user wins over a line of the same name",
        ],
    ),
    Flag::new(
        "users-command",
        Takes::One("PROGRAM"),
        &[
            "run for each login to the proxy, with the name in",
            "PGTURNOUT_USER: prints lines of a users file, none of",
            "that name for a user who does not exist",
        ],
    ),
    Flag::new(
        "unknown-user",
        Takes::Many("password|md5|scram[:N[:N]]"),
        &[
            "what --users-command has of users: one whom it does",
            "not know is asked as if it had that; of scram, the",
            "iterations (4096) and bytes of salt (16); may be",
            "repeated (default: password)",
        ],
    ),
    Flag::new(
        "mock-secret-file",
        Takes::One("FILE"),
        &[
            "what users who do not exist are asked follows from its",
            "first 32 bytes: the same for all instances, and after",
            "a restart (default: random)",
        ],
    ),
    Flag::new(
        "upstream-users-file",
        Takes::One("FILE"),
        &[
            "whom the servers know by another name: lines",
            "CLIENT:NAME:SECRET or \"client\" \"name\" \"secret\"",
        ],
    ),
    Flag::new(
        "credential-command",
        Takes::One("PROGRAM"),
        &[
            "run for each login to a server, with PGTURNOUT_USER,",
            "_HOST and _PORT: prints the token that serves as a",
            "password there, or as the one of OAUTHBEARER",
        ],
    ),
    Flag::new(
        "auth",
        Takes::One("relay|terminate"),
        &[
            "who checks a client's login: the gate, through the",
            "proxy, or the proxy by its users (default: relay)",
        ],
    ),
    Flag::new(
        "accept",
        Takes::One("METHOD,..."),
        &[
            "how clients may log in to the proxy: scram, scram-plus",
            "(bound to TLS), md5, password (over TLS), cert, trust",
            "(default: scram, and cert with --client-ca)",
        ],
    ),
    Flag::new(
        "gate",
        Takes::One("writer|reader"),
        &[
            "the upstream that checks the client's login",
            "(default: writer)",
        ],
    ),
];

const CONSOLE: &[Flag] = &[
    Flag::new(
        "console-user",
        Takes::Many("NAME"),
        &[
            "who may use the console from this machine: connect",
            "with psql to the database pgturnout and say SHOW HELP",
            "(default: nobody, and there is no such database here)",
        ],
    ),
    Flag::new(
        "console-auth",
        Takes::One("secret|trust"),
        &[
            "what such a user has to prove: the secret that --user",
            "or --users-file lists, or nothing (default: secret)",
        ],
    ),
];

const HOW: &[Flag] = &[
    Flag::new(
        "reader-choice",
        Takes::One("HOW"),
        &[
            "which reader a session gets: seeded (any), least (with",
            "the fewest outstanding requests), latency (a fast one",
            "more often), sticky (the same for a user in a",
            "database) (default: seeded)",
        ],
    ),
    Flag::new(
        "monitor",
        Takes::One("USER@DATABASE"),
        &[
            "as whom the servers are asked how far they are, each",
            "second; a reader that cannot be asked is not used",
        ],
    ),
    Flag::new(
        "max-lag",
        Takes::One("BYTES"),
        &[
            "how far a reader's replay may be behind the primary's",
            "log; one further behind is not used (needs --monitor)",
        ],
    ),
    Flag::new(
        "facts",
        Takes::One("off|writer|FILE"),
        &[
            "what the servers' functions and views do, so that",
            "stable functions are reads: asked of the primary",
            "(needs --monitor), or as rows of five columns between",
            "tabs; again on SIGHUP (default: off)",
        ],
    ),
    Flag::new(
        "split",
        Takes::One("on|off"),
        &["send proven reads to the reader (default: on)"],
    ),
    Flag::new(
        "hints",
        Takes::One("on|off"),
        &[
            "believe the comment that a text begins with:",
            "/* pgturnout: writer */, or reader for what is not",
            "proven to be a read, nor known to be none",
            "(default: off)",
        ],
    ),
    Flag::new(
        "optimistic",
        Takes::One("on|off"),
        &[
            "try reads that are not proven on the reader, a",
            "physical standby, and run what it refuses on the",
            "writer (default: off)",
        ],
    ),
    Flag::new(
        "read-only-transactions",
        Takes::One("writer|reader"),
        &[
            "where a transaction runs that BEGIN says is READ ONLY",
            "(default: writer)",
        ],
    ),
    Flag::new(
        "read-your-writes",
        Takes::One("off|replayed|MS|reads:N"),
        &[
            "keep a session's reads on the writer after a write,",
            "until the reader has replayed it, for MS",
            "milliseconds, or N of them (default: off)",
        ],
    ),
    Flag::new(
        "lost-reads",
        Takes::One("fail|again"),
        &[
            "what becomes of a read whose reader is lost before",
            "anything of its answer was passed on: an error, or",
            "again on the writer (default: fail)",
        ],
    ),
    Flag::new(
        "default-isolation",
        Takes::One("asked|assumed"),
        &[
            "ask a reader before its first read if it serves the",
            "session: it does not where transactions are",
            "serializable by default (default: asked)",
        ],
    ),
    Flag::new(
        "cancel-source",
        Takes::One("any|same-address"),
        &[
            "where a session may be cancelled from: anywhere, or",
            "its own address (default: any)",
        ],
    ),
    Flag::new(
        "cancel-ring",
        Takes::One("FILE"),
        &[
            "instances that hand each other's cancels on: lines",
            "`secret TEXT`, once or (to change it) twice, and",
            "`instance NUMBER HOST:PORT`, where each listens for",
            "them; SIGHUP has it read again, and the users files",
        ],
    ),
    Flag::new(
        "cancel-instance",
        Takes::One("NUMBER"),
        &["which of these instances this one is"],
    ),
    Flag::new(
        "deny-statement",
        Takes::Many("WORDS"),
        &[
            "no client may run statements that begin so, as DROP or",
            "\"ALTER SYSTEM\"; the session goes on; may be repeated;",
            "replication, which nobody reads, is refused",
        ],
    ),
    Flag::new(
        "relayed-password",
        Takes::One("as-client|tls|any"),
        &[
            "over what a password in clear goes on that the gate",
            "asks a client for: over TLS, and in clear for clients",
            "that are in clear themselves; over TLS alone; over",
            "anything (default: as-client)",
        ],
    ),
    Flag::new(
        "writer-down",
        Takes::One("refuse|read-only"),
        &[
            "what a client gets whose writer cannot be had at its",
            "login: a refusal, or a session with a standby alone",
            "(default: refuse)",
        ],
    ),
    Flag::new(
        "writer-retry",
        Takes::One("off|TIMES:MS"),
        &[
            "dial a writer that cannot be had at a client's login",
            "again, so many times, so many milliseconds after each",
            "failure (default: off)",
        ],
    ),
    Flag::new(
        "out-of-sync",
        Takes::One("error|close|pass"),
        &[
            "what follows when a client or the primary breaks the",
            "boundaries of its messages: an error, a close without",
            "one, or a session that passes unread (default: error)",
        ],
    ),
    Flag::new(
        "throttle",
        Takes::One("on|off"),
        &[
            "hold back logins of a user from an address after wrong",
            "guesses, from one second up to an hour, until the",
            "first one that succeeds (default: off)",
        ],
    ),
    Flag::new(
        "deny-file",
        Takes::One("FILE"),
        &[
            "whom not to serve: lines `address 192.0.2.0/24`,",
            "`user NAME`, `database NAME`, then perhaps",
            "`until 2027-01-31`, then perhaps ` : REASON`; read",
            "again each minute and on SIGHUP, open sessions too;",
            "addresses alone with --client-tls passthrough",
        ],
    ),
    Flag::new(
        "allow-file",
        Takes::One("FILE"),
        &[
            "whom to serve, and nobody else: lines",
            "`address 192.0.2.0/24` or `endpoint aws:vpce-1` (that",
            "a --proxy-protocol header names), then perhaps",
            "`user NAME` or `database NAME`, `until 2027-01-31`,",
            "` : REASON`; read again as --deny-file, which is first",
        ],
    ),
    Flag::new(
        "proxy-protocol",
        Takes::One("off|optional|require"),
        &[
            "whether clients come with a header of the PROXY",
            "protocol, version 1 or 2, that says where they connect",
            "from (default: off)",
        ],
    ),
    Flag::new(
        "proxy-protocol-from",
        Takes::Many("NETWORKS"),
        &[
            "load balancers whose headers are believed, as",
            "10.0.0.0/8,::1; with require others are turned away,",
            "with optional they are taken for clients; `all` for",
            "everybody, where nobody else can connect",
        ],
    ),
    Flag::new(
        "log-routes",
        Takes::Nothing,
        &[
            "one line per request on standard error, its text",
            "without literals",
        ],
    ),
];

const TLS: &[Flag] = &[
    Flag::new(
        "client-tls",
        Takes::One("disable|allow|require|passthrough"),
        &[
            "TLS with clients; with passthrough they have it with",
            "the primary, which serves them alone, unread",
            "(default: disable)",
        ],
    ),
    Flag::new(
        "tls-cert",
        Takes::One("FILE"),
        &["the proxy's certificate chain, PEM"],
    ),
    Flag::new("tls-key", Takes::One("FILE"), &["its private key, PEM"]),
    Flag::new(
        "client-ca",
        Takes::One("FILE"),
        &[
            "the authorities of clients' certificates, PEM; their",
            "common name is a user (needs --auth terminate)",
        ],
    ),
    Flag::new(
        "upstream-tls",
        Takes::One("disable|allow|prefer|require|verify-ca|verify-full"),
        &[
            "TLS with upstreams; only verify-full checks who",
            "answers, verify-ca who signed for it, and allow asks",
            "for it only when a login in clear was refused",
            "(default: prefer)",
        ],
    ),
    Flag::new(
        "upstream-tls-negotiation",
        Takes::One("postgres|direct"),
        &[
            "how it begins; direct saves a round trip, and needs",
            "require or verify-… and PostgreSQL 17 or later",
            "(default: postgres)",
        ],
    ),
    Flag::new(
        "upstream-ca",
        Takes::One("FILE"),
        &["the authorities that verify-ca and verify-full trust"],
    ),
];

const OTHER: &[Flag] = &[
    Flag::new(
        "config",
        Takes::One("FILE.toml"),
        &[
            "read flags from a file: the names above as keys,",
            "lists where a flag repeats, true for a switch;",
            "the command line wins, flag by flag",
        ],
    ),
    Flag::new(
        "metrics",
        Takes::One("ADDR"),
        &[
            "serve GET /metrics in Prometheus' text format there;",
            "a port alone is one of 127.0.0.1 (default: nowhere).",
            "SIGUSR1 has a summary written to standard error",
        ],
    ),
    Flag::new("help", Takes::Nothing, &["print this and exit"]),
];

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    File { path: PathBuf, line: usize },
}

/// One flag with its value, as written.
pub(crate) struct Setting {
    pub(crate) flag: &'static Flag,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// Something is wrong with how the program was called. Says where and which flag; never repeats a secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    pub(crate) origin: Origin,
    /// Its name without dashes; empty when no flag is to blame.
    pub(crate) flag: String,
    pub(crate) message: String,
}

impl UsageError {
    pub(crate) fn new(origin: Origin, flag: &str, message: impl Into<String>) -> UsageError {
        UsageError {
            origin,
            flag: flag.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::CommandLine if self.flag.is_empty() => f.write_str(&self.message),
            Origin::CommandLine => write!(f, "--{}: {}", self.flag, self.message),
            Origin::File { path, line } => {
                write!(f, "{}:{line}: ", path.display())?;
                if !self.flag.is_empty() {
                    write!(f, "{}: ", self.flag)?;
                }
                f.write_str(&self.message)
            }
        }
    }
}

/// What the arguments ask for.
pub(crate) enum Command {
    Help,
    Run(Vec<Setting>),
}

/// Reads the arguments, the program's name not among them.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args = (1..).zip(args).peekable();
    let mut settings: Vec<Setting> = Vec::new();
    while let Some((place, arg)) = args.next() {
        let (name, inline) = split(place, arg, settings.last())?;
        let Some(flag) = Flag::find(&name) else {
            return Err(wrong(&name, "no such flag"));
        };
        if flag.name == "help" {
            return Ok(Command::Help);
        }
        let value = match (flag.takes, inline) {
            (Takes::Nothing, None) => "true".to_owned(),
            (Takes::Nothing, Some(_)) => return Err(wrong(&name, "takes no value")),
            (Takes::One(_) | Takes::Many(_), Some(value)) => value,
            (Takes::One(what) | Takes::Many(what), None) => args
                .next_if(|(_, next)| !next.as_encoded_bytes().starts_with(b"--"))
                .ok_or_else(|| wrong(&name, format!("needs a value: {what}")))?
                .1
                .into_string()
                .map_err(|_| wrong(&name, "the value is not UTF-8"))?,
        };
        let again = settings.iter().any(|other| other.flag.name == name);
        if again && !matches!(flag.takes, Takes::Many(_)) {
            return Err(wrong(&name, "given twice"));
        }
        settings.push(Setting {
            flag,
            value,
            origin: Origin::CommandLine,
        });
    }
    Ok(Command::Run(settings))
}

/// Takes `--name` or `--name=value` apart. What is neither is not repeated in the error: it may be a secret whose
/// flag was forgotten.
fn split(
    place: usize,
    arg: OsString,
    before: Option<&Setting>,
) -> Result<(String, Option<String>), UsageError> {
    if arg == "-h" {
        return Ok(("help".to_owned(), None));
    }
    let text = arg.to_str().and_then(|text| text.strip_prefix("--"));
    let Some(text) = text else {
        let message = format!("argument {place} is no flag (not shown: it may be a secret)");
        return Err(match before {
            Some(setting) => wrong(setting.flag.name, format!("behind it {message}")),
            None => wrong("", message),
        });
    };
    Ok(match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    })
}

fn wrong(flag: &str, message: impl Into<String>) -> UsageError {
    UsageError::new(Origin::CommandLine, flag, message)
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut out = String::from(INTRODUCTION);
    for (title, flags) in GROUPS {
        let _ = writeln!(out, "\n{title}:");
        for flag in *flags {
            let usage = flag.usage();
            // A name too wide for the column gets a line of its own.
            let mut left = if usage.len() > COLUMN {
                let _ = writeln!(out, "  {usage}");
                ""
            } else {
                &usage
            };
            for line in flag.help {
                let _ = writeln!(out, "  {left:COLUMN$}  {line}");
                left = "";
            }
        }
    }
    out.push_str(EXAMPLES);
    out
}

/// The width of the help's left column: lines stay within 80 characters.
const COLUMN: usize = 22;

const INTRODUCTION: &str = "\
A PostgreSQL proxy: reads go to a standby, everything else to the primary.

Usage: proxy --listen ADDR --writer HOST:PORT [--reader HOST:PORT]... [FLAG]...

A client logs in at the gate upstream, through the proxy; nothing needs to be
configured for that. To log in a second time, at the other upstream, the proxy
needs the user's secret (unless that server trusts it): a password, or md5...
or SCRAM-SHA-256$... as the server stores it. The latter serves with what the
client's own proof shows. Without a secret the writer serves alone; with
--gate reader the login fails.
";

const EXAMPLES: &str = "
Examples:
  proxy --listen 127.0.0.1:6432 --writer db1:5432 --reader db2:5432 \\
        --users-file users.txt --log-routes
  proxy --listen 0.0.0.0:6432 --writer db1:5432 --reader db2:5432 \\
        --reader db3:5432 --client-tls require --tls-cert proxy.crt \\
        --tls-key proxy.key --upstream-tls disable
  proxy --config proxy.toml --split off

It prints `listening on ADDR` when it is ready. SIGTERM or SIGINT lets requests
in flight finish, for 10 seconds at most. A client takes up to three open files:
see `ulimit -n`.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
        match parse(args.iter().map(OsString::from)) {
            Ok(Command::Help) => Ok(vec![("help", String::new())]),
            Ok(Command::Run(settings)) => Ok(settings
                .into_iter()
                .map(|setting| (setting.flag.name, setting.value))
                .collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn both_spellings_of_a_value_and_repetition() {
        let given = run(&[
            "--reader",
            "a:1",
            "--reader=b:2",
            "--log-routes",
            "--user=x:p=q",
        ]);
        let expected = [
            ("reader", "a:1"),
            ("reader", "b:2"),
            ("log-routes", "true"),
            ("user", "x:p=q"),
        ];
        assert_eq!(
            given.unwrap(),
            expected.map(|(flag, value)| (flag, value.to_owned()))
        );
    }

    #[test]
    fn wrong_usage_names_the_flag() {
        for (args, message) in [
            (&["--wrong", "1"][..], "--wrong: no such flag"),
            (&["--usr=name:secret"], "--usr: no such flag"),
            (&["--writer"], "--writer: needs a value: HOST:PORT"),
            (
                &["--writer", "--split"],
                "--writer: needs a value: HOST:PORT",
            ),
            (&["--log-routes=yes"], "--log-routes: takes no value"),
            (
                &["--gate", "reader", "--gate=writer"],
                "--gate: given twice",
            ),
            (
                &["--user", "a:secret", "b:secret"],
                "--user: behind it argument 3 is no flag (not shown: it may be a secret)",
            ),
            (
                &["--split=on", "--log-routes", "secret"],
                "--log-routes: behind it argument 3 is no flag (not shown: it may be a secret)",
            ),
            (
                &["secret"],
                "argument 1 is no flag (not shown: it may be a secret)",
            ),
        ] {
            assert_eq!(run(args), Err(message.to_owned()), "{args:?}");
        }
    }

    #[test]
    fn help_wins_and_names_every_flag_within_80_columns() {
        assert_eq!(run(&["--split", "on", "-h"]).unwrap()[0].0, "help");
        assert_eq!(run(&["--help"]).unwrap()[0].0, "help");
        let text = help();
        for flag in GROUPS.iter().flat_map(|(_, flags)| flags.iter()) {
            assert!(text.contains(&flag.usage()), "{}", flag.name);
        }
        let widest = text.lines().map(str::len).max();
        assert!(widest <= Some(80), "{widest:?}");
    }
}
