//! Clients who are somebody else to the servers, users who are looked up at their login, and servers that take tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::auth::psql_program;
use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::lab;
use crate::support::message;
use crate::support::proxy::Proxy;

/// A file that is removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let name = format!("pgturnout-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        File(path)
    }

    /// A script of the shell.
    fn program(name: &str, text: &str) -> File {
        let file = File::new(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&file.0, fs::Permissions::from_mode(0o700)).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn start(cluster: &'static Cluster, more: &[&str]) -> Proxy {
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--auth", "terminate"]);
    arguments.extend(more);
    Proxy::start(cluster, &arguments)
}

/// Who the client is, and whether that server is a standby: for a read and for a transaction. Else what psql complains of.
fn ask(cluster: &Cluster, proxy: &Proxy, user: &str, password: &str) -> Result<String, String> {
    let target = format!("host=127.0.0.1 port={} dbname=app user={user}", proxy.port);
    let who = "select session_user, pg_is_in_recovery()";
    let output = Command::new(psql_program(cluster))
        .args(["-XAtq", "-d", &target])
        .args(["-c", who, "-c", "begin", "-c", who, "-c", "commit"])
        .env("PGPASSWORD", password)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', " ");
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[test]
fn a_client_is_another_user_upstream() {
    let Some(cluster) = lab::cluster("identity::upstream") else {
        return;
    };
    let text = "# alice is the servers' own\nalice:u_scram:u_scram-secret\n\"bob\" \"u_md5\" \"u_md5-secret\"\n";
    let others = File::new("upstream-users", text);
    let proxy = start(
        cluster,
        &[
            "--upstream-users-file",
            others.path(),
            "--user=alice:hers",
            "--user=bob:his",
            "--user=u_scram:u_scram-secret",
        ],
    );
    let ask = |user: &str, password: &str| ask(cluster, &proxy, user, password);
    assert_eq!(ask("alice", "hers").unwrap(), "u_scram|t u_scram|f");
    assert_eq!(ask("bob", "his").unwrap(), "u_md5|t u_md5|f");
    assert_eq!(
        ask("u_scram", "u_scram-secret").unwrap(),
        "u_scram|t u_scram|f"
    );
    // What the servers ask of their user is not what the client has to prove.
    let why = ask("alice", "u_scram-secret").unwrap_err();
    assert!(
        why.contains("password authentication failed for user \"alice\""),
        "{why}"
    );
}

/// A user whom nobody finds is asked like those who are found.
#[test]
fn a_user_whom_nobody_finds_is_asked_like_others() {
    let Some(cluster) = lab::cluster("identity::unknown") else {
        return;
    };
    let command = File::program("finds-nobody", "exit 0");
    for (unknown, code) in [("md5", 5), ("scram", 10), ("password", 10)] {
        let arguments = [
            "--accept=scram,md5",
            "--users-command",
            command.path(),
            "--unknown-user",
            unknown,
        ];
        let proxy = start(cluster, &arguments);
        let mut client = Client::connect(proxy.port, Pace::Whole);
        client.send(&message::startup(V3_0, &[("user", "nobody")]));
        let question = client.frame().unwrap();
        assert_eq!((question.tag, question.body[3]), (b'R', code), "{unknown}");
    }
}

/// All instances of a fleet give a name that nobody has the same salt, if they have the same secret; and each another one
/// otherwise.
#[test]
fn instances_agree_on_the_salts_of_nobody() {
    let Some(cluster) = lab::cluster("identity::salts") else {
        return;
    };
    let secret = File::new("mock-secret", "0123456789abcdef0123456789abcdef");
    let salt = |more: &[&str]| {
        let proxy = start(cluster, &[&["--accept=scram"], more].concat());
        let mut client = Client::connect(proxy.port, Pace::Whole);
        client.send(&message::startup(V3_0, &[("user", "nobody")]));
        client.frame().unwrap();
        let first = b"n,,n=,r=abcdefgh";
        let body = [b"SCRAM-SHA-256\0\0\0\0\x10".as_slice(), first].concat();
        client.send(&message::tagged(b'p', &body));
        let challenge = client.frame().unwrap();
        let challenge = String::from_utf8(challenge.body[4..].to_vec()).unwrap();
        let salt = challenge.split(',').find(|part| part.starts_with("s="));
        salt.unwrap_or_else(|| panic!("{challenge}")).to_owned()
    };
    let agreed = ["--mock-secret-file", secret.path()];
    assert_eq!(salt(&agreed), salt(&agreed));
    assert_ne!(salt(&agreed), salt(&[]));
}

#[test]
fn users_are_looked_up_at_each_login() {
    let Some(cluster) = lab::cluster("identity::lookup") else {
        return;
    };
    let directory = File::new("directory", "alice:hers\nu_scram:u_scram-secret\n");
    let script = format!(
        "[ \"$PGTURNOUT_USER\" != broken ] || exit 3\ngrep \"^$PGTURNOUT_USER:\" {} || true",
        directory.path()
    );
    let command = File::program("users-command", &script);
    let others = File::new("upstream-of-found", "alice:u_scram:u_scram-secret\n");
    let proxy = start(
        cluster,
        &[
            "--users-command",
            command.path(),
            "--upstream-users-file",
            others.path(),
        ],
    );
    let ask = |user: &str, password: &str| ask(cluster, &proxy, user, password);
    assert_eq!(
        ask("u_scram", "u_scram-secret").unwrap(),
        "u_scram|t u_scram|f"
    );
    assert_eq!(ask("alice", "hers").unwrap(), "u_scram|t u_scram|f");
    // No file was read again for this.
    directory.write("alice:changed\n");
    let wrong = ask("alice", "hers").unwrap_err();
    assert_eq!(ask("alice", "changed").unwrap(), "u_scram|t u_scram|f");
    let stranger = ask("u_scram", "u_scram-secret").unwrap_err();
    let words = |user: &str| format!("password authentication failed for user \"{user}\"");
    assert!(wrong.contains(&words("alice")), "{wrong}");
    assert_eq!(stranger.replace("u_scram", "alice"), wrong);
    let broken = ask("broken", "x").unwrap_err();
    assert!(
        broken.contains("the proxy cannot look up its users now"),
        "{broken}"
    );
    let why = "--users-command failed: exit status: 3";
    assert!(eventually(|| proxy.log().contains(why)));
    let log = proxy.log();
    assert!(!log.contains("hers") && !log.contains("-secret"), "{log}");
}

/// As the clouds have it: a password that is made for the occasion and asked for over TLS.
#[test]
fn a_token_is_asked_for_at_each_login_to_a_server() {
    let Some(cluster) = lab::cluster("identity::token") else {
        return;
    };
    if !cluster.has_tls() {
        return lab::skip("identity::token", "this server is built without TLS");
    }
    let calls = File::new("calls", "");
    let script = format!(
        "echo \"$PGTURNOUT_USER $PGTURNOUT_HOST:$PGTURNOUT_PORT\" >>{}\n[ \"$PGTURNOUT_USER\" != u_md5 ] || exit 4\necho \"$PGTURNOUT_USER-secret\"",
        calls.path()
    );
    let command = File::program("credential-command", &script);
    let others = File::new("upstream-of-tokens", "bob:u_clear\n");
    let proxy = start(
        cluster,
        &[
            "--credential-command",
            command.path(),
            "--upstream-users-file",
            others.path(),
            "--upstream-tls=require",
            "--user=u_clear:own",
            "--user=bob:his",
            "--user=u_scram:own",
            "--writer-down=read-only",
        ],
    );
    let ask = |user: &str, password: &str| ask(cluster, &proxy, user, password);
    assert_eq!(ask("u_clear", "own").unwrap(), "u_clear|t u_clear|f");
    assert_eq!(ask("bob", "his").unwrap(), "u_clear|t u_clear|f");
    let calls = fs::read_to_string(calls.path()).unwrap();
    let ports = [cluster.primary(), cluster.standby()];
    for port in ports {
        let line = format!("u_clear 127.0.0.1:{port}\n");
        assert_eq!(calls.matches(&line).count(), 2, "{calls}");
    }
    // A token is no answer to SCRAM, and no standby serves instead.
    let why = ask("u_scram", "own").unwrap_err();
    assert!(
        why.contains("could not log in to the primary server"),
        "{why}"
    );
    // What the caller says of it is for the log.
    assert!(!why.contains("a token does not answer"), "{why}");
    assert!(eventually(|| proxy
        .log()
        .contains("a token does not answer")));
    assert!(!proxy.log().contains("-secret"));
}
