//! Who checks a client: the gate through the proxy, or the proxy; with psql, whose libpq binds SCRAM to TLS where it can.
//!
//! Unless a test says otherwise, the proxy's configuration holds no password: verifiers, as the servers store them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::client::{Client, Pace, V3_0};
use crate::support::cluster::Cluster;
use crate::support::proxy::Proxy;
use crate::support::{lab, message};

/// What the servers store of a user.
fn stored(cluster: &Cluster, user: &str) -> String {
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    admin.value(&format!(
        "select rolpassword from pg_authid where rolname = '{user}'"
    ))
}

/// A users file that is removed at the end.
struct UsersFile(PathBuf);

impl UsersFile {
    fn new(test: &str, text: &str) -> UsersFile {
        let path = std::env::temp_dir().join(format!(
            "pgturnout-{}-users-{}",
            std::process::id(),
            test.replace(':', "_")
        ));
        fs::write(&path, text).unwrap();
        UsersFile(path)
    }

    /// Of these users what the servers store.
    fn stored(test: &str, cluster: &Cluster, users: &[&str]) -> UsersFile {
        let lines = users
            .iter()
            .map(|user| format!("{user}:{}\n", stored(cluster, user)));
        let text: String = lines.collect();
        assert!(!text.contains("-secret"), "no password anywhere");
        UsersFile::new(test, &text)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for UsersFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn start(cluster: &'static Cluster, users: &UsersFile, more: &[&str]) -> Proxy {
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--users-file", users.path()]);
    arguments.extend(more);
    Proxy::start(cluster, &arguments)
}

/// What psql prints, or what it complains of. It reads once and writes once, and says where each ran.
fn psql(cluster: &Cluster, port: u16, user: &str, more: &str) -> Result<String, String> {
    psql_with(cluster, port, user, &format!("{user}-secret"), more)
}

fn psql_with(
    cluster: &Cluster,
    port: u16,
    user: &str,
    password: &str,
    more: &str,
) -> Result<String, String> {
    let target = format!("host=127.0.0.1 port={port} dbname=app user={user} {more}");
    let output = Command::new(psql_program(cluster))
        .args(["-XAtq", "-d", &target])
        .args(["-c", "select pg_is_in_recovery()"])
        .args([
            "-c",
            "begin",
            "-c",
            "select pg_is_in_recovery()",
            "-c",
            "commit",
        ])
        .env("PGPASSWORD", password)
        .env_remove("PGSSLMODE")
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

/// The servers' own psql, unless it was built without TLS and there is one with it.
pub(crate) fn psql_program(cluster: &Cluster) -> PathBuf {
    let own = Path::new(cluster.get("PGBIN")).join("psql");
    if cluster.has_tls() {
        return own;
    }
    other_psql().unwrap_or(own)
}

/// A psql that was built with TLS, wherever a distribution has put it.
fn other_psql() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = folders.flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders
        .chain(path)
        .map(|folder| folder.join("psql"))
        .find(|program| {
            // Nobody listens there: what it complains of is that, or that it does not know TLS.
            let tried = Command::new(program)
                .args(["-d", "host=127.0.0.1 port=1 sslmode=require"])
                .output();
            tried.is_ok_and(|tried| {
                !String::from_utf8_lossy(&tried.stderr).contains("SSL support is not compiled in")
            })
        })
}

/// The read ran on the standby, the transaction on the primary.
const BOTH: &str = "t f";

fn with_tls(test: &str) -> Option<&'static Cluster> {
    let cluster = lab::cluster(test)?;
    if !cluster.has_tls() {
        lab::skip(test, "this server is built without TLS");
        return None;
    }
    Some(cluster)
}

/// Clients can encrypt, whatever the servers can.
fn clients_with_tls(test: &str) -> Option<&'static Cluster> {
    let cluster = lab::cluster(test)?;
    if cluster.get("CERT").is_empty() || !(cluster.has_tls() || other_psql().is_some()) {
        lab::skip(test, "no psql with TLS, or no openssl");
        return None;
    }
    Some(cluster)
}

fn tls_of_the_proxy(cluster: &Cluster) -> [&str; 6] {
    [
        "--client-tls",
        "require",
        "--tls-cert",
        cluster.get("CERT"),
        "--tls-key",
        cluster.get("KEY"),
    ]
}

#[test]
fn a_verifier_is_enough_for_a_relayed_login() {
    let Some(cluster) = lab::cluster("auth::relay_verifier") else {
        return;
    };
    let users = UsersFile::stored("auth::relay_verifier", cluster, &["u_scram"]);
    for more in [&[][..], &["--gate", "reader"]] {
        let proxy = start(
            cluster,
            &users,
            &[&["--upstream-tls", "disable"], more].concat(),
        );
        assert_eq!(psql(cluster, proxy.port, "u_scram", "").unwrap(), BOTH);
        let wrong = psql_with(cluster, proxy.port, "u_scram", "wrong", "").unwrap_err();
        assert!(wrong.contains("password authentication failed"), "{wrong}");
    }
}

/// What the client has proved at its login lets the session in at the next server, too.
#[tokio::test]
async fn a_verifier_is_enough_for_a_move() {
    let Some(cluster) = lab::cluster("auth::move_verifier") else {
        return;
    };
    let users = UsersFile::stored("auth::move_verifier", cluster, &["u_scram"]);
    let old = format!("127.0.0.1:{}", cluster.primary());
    let new = format!("localhost:{}", cluster.primary());
    let console = ["--console-user", "op", "--console-auth", "trust"];
    let common = [
        &console[..],
        &["--upstream-tls", "disable", "--spare", &new],
    ]
    .concat();
    for more in [&[][..], &["--auth", "terminate"]] {
        let proxy = start(cluster, &users, &[&common[..], more].concat());
        let config = format!(
            "host=127.0.0.1 port={} user=u_scram password=u_scram-secret dbname=app",
            proxy.port
        );
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute("set work_mem = '77MB'").await.unwrap();
        let own = "select pg_backend_pid(), current_setting('work_mem'), session_user::text";
        let before = client.query_one(own, &[]).await.unwrap();
        let mut console = Client::connect(proxy.port, Pace::Whole);
        let who = [("user", "op"), ("database", "pgturnout")];
        console.send(&message::startup(V3_0, &who));
        console.finish_login(None);
        let said = console.query(&format!("migrate all from '{old}' to '{new}' within 20"));
        let complete = said.iter().find(|frame| frame.tag == b'C');
        let complete = complete.unwrap_or_else(|| panic!("{more:?}: {said:?}"));
        assert_eq!(complete.body, b"MIGRATE 1\0");
        let behind = client.query_one(own, &[]).await.unwrap();
        assert_ne!(behind.get::<_, i32>(0), before.get::<_, i32>(0));
        for column in [1_usize, 2] {
            let (behind, before): (&str, &str) = (behind.get(column), before.get(column));
            assert_eq!(behind, before);
        }
        drop(client);
        connection.await.unwrap().unwrap();
    }
}

#[test]
fn a_verifier_of_another_salt_is_named() {
    let Some(cluster) = lab::cluster("auth::other_salt") else {
        return;
    };
    // Of the same password; every verifier has a salt of its own.
    let other = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let users = UsersFile::new("auth::other_salt", &format!("u_scram:{other}\n"));
    let proxy = start(cluster, &users, &["--upstream-tls", "disable"]);
    assert_eq!(psql(cluster, proxy.port, "u_scram", "").unwrap(), "f f");
    let told = "another salt or iteration count than the server's";
    assert!(proxy.says(told), "{}", proxy.log());
}

#[test]
fn a_verifier_is_enough_when_the_proxy_checks() {
    let Some(cluster) = lab::cluster("auth::terminate_verifier") else {
        return;
    };
    let users = UsersFile::stored("auth::terminate_verifier", cluster, &["u_scram"]);
    for more in [&[][..], &["--gate", "reader"]] {
        let proxy = start(cluster, &users, &[&["--auth", "terminate"], more].concat());
        assert_eq!(psql(cluster, proxy.port, "u_scram", "").unwrap(), BOTH);
        for (user, password) in [("u_scram", "wrong"), ("nobody", "u_scram-secret")] {
            let refused = psql_with(cluster, proxy.port, user, password, "").unwrap_err();
            let expected = format!("password authentication failed for user \"{user}\"");
            assert!(refused.contains(&expected), "{refused}");
        }
        assert!(!proxy.log().contains("cannot be used"), "{}", proxy.log());
    }
}

#[test]
fn every_kind_of_secret_lets_its_user_in() {
    let Some(cluster) = lab::cluster("auth::kinds") else {
        return;
    };
    let digest = stored(cluster, "u_md5");
    assert!(digest.starts_with("md5"), "{digest}");
    let text = format!("u_md5:{digest}\nu_scram:u_scram-secret\nu_trust:u_trust-secret\n");
    let users = UsersFile::new("auth::kinds", &text);
    let accept = ["--auth", "terminate", "--accept", "scram,md5"];
    let proxy = start(cluster, &users, &accept);
    for user in ["u_md5", "u_scram", "u_trust"] {
        assert_eq!(psql(cluster, proxy.port, user, "").unwrap(), BOTH, "{user}");
        let wrong = psql_with(cluster, proxy.port, user, "wrong", "").unwrap_err();
        assert!(wrong.contains("password authentication failed"), "{wrong}");
    }
}

/// An upstream that does not let us in is not the client's fault, and is told as it is.
#[test]
fn an_upstream_that_refuses_is_told() {
    let Some(cluster) = lab::cluster("auth::refused") else {
        return;
    };
    let users = UsersFile::new("auth::refused", "u_scram:another\nnobody:secret\n");
    let proxy = start(cluster, &users, &["--auth", "terminate"]);
    for (user, password) in [("u_scram", "another"), ("nobody", "secret")] {
        let refused = psql_with(cluster, proxy.port, user, password, "").unwrap_err();
        assert!(
            refused.contains("could not log in to the primary server"),
            "{refused}"
        );
    }
}

/// libpq binds its login to the proxy's certificate, over which nothing else need be known.
#[test]
fn the_clients_leg_is_bound() {
    let Some(cluster) = clients_with_tls("auth::client_bound") else {
        return;
    };
    let users = UsersFile::stored("auth::client_bound", cluster, &["u_scram"]);
    let more = [
        "--auth",
        "terminate",
        "--accept",
        "scram-plus",
        "--upstream-tls",
        "disable",
    ];
    let proxy = start(
        cluster,
        &users,
        &[&tls_of_the_proxy(cluster)[..], &more].concat(),
    );
    let ca = cluster.get("CA");
    let bound = format!("sslmode=verify-full sslrootcert={ca} channel_binding=require");
    assert_eq!(psql(cluster, proxy.port, "u_scram", &bound).unwrap(), BOTH);
    let unbound = "sslmode=require channel_binding=disable";
    assert!(psql(cluster, proxy.port, "u_scram", unbound).is_err());
}

/// libpq binds its login to the proxy's certificate, and the proxy its own to the servers'.
#[test]
fn both_legs_are_bound() {
    let Some(cluster) = with_tls("auth::bound") else {
        return;
    };
    let users = UsersFile::stored("auth::bound", cluster, &["u_scram", "u_tls"]);
    let ca = cluster.get("CA");
    for accept in ["scram", "scram-plus"] {
        let more = ["--auth", "terminate", "--accept", accept];
        let upstream = ["--upstream-tls", "verify-full", "--upstream-ca", ca];
        let more = [&tls_of_the_proxy(cluster)[..], &more, &upstream].concat();
        let proxy = start(cluster, &users, &more);
        for user in ["u_scram", "u_tls"] {
            for binding in ["require", "prefer", "disable"] {
                let options =
                    format!("sslmode=verify-full sslrootcert={ca} channel_binding={binding}");
                let seen = psql(cluster, proxy.port, user, &options);
                if (accept, binding) == ("scram-plus", "disable") {
                    assert!(seen.is_err());
                } else {
                    assert_eq!(seen.as_deref(), Ok(BOTH), "{user} {binding}");
                }
            }
            let wrong =
                psql_with(cluster, proxy.port, user, "wrong", "sslmode=require").unwrap_err();
            assert!(wrong.contains("password authentication failed"), "{wrong}");
        }
        // The proxy's certificate seen through somebody else's TLS is another one.
        assert!(psql(cluster, proxy.port, "u_scram", "sslmode=disable").is_err());
    }
}

/// A relayed login cannot be bound, and where the server offers it an unbound one must say that it could not.
#[test]
fn a_relay_over_tls_says_what_cannot_be() {
    let Some(cluster) = with_tls("auth::relay_tls") else {
        return;
    };
    let users = UsersFile::stored("auth::relay_tls", cluster, &["u_scram"]);
    let require = ["--upstream-tls", "require"];
    let proxy = start(
        cluster,
        &users,
        &[&tls_of_the_proxy(cluster)[..], &require].concat(),
    );
    let refused = psql(cluster, proxy.port, "u_scram", "sslmode=require").unwrap_err();
    assert!(refused.contains("could bind SCRAM to TLS"), "{refused}");
    assert!(refused.contains("channel_binding=disable"), "{refused}");
    let unbound = "sslmode=require channel_binding=disable";
    assert_eq!(psql(cluster, proxy.port, "u_scram", unbound).unwrap(), BOTH);
    // libpq itself refuses where it may not go without.
    let demanding = "sslmode=require channel_binding=require";
    assert!(psql(cluster, proxy.port, "u_scram", demanding).is_err());
}

/// Without TLS to the servers nothing is offered, and libpq's `y` is the truth.
#[test]
fn a_relay_over_tls_to_servers_in_clear() {
    let Some(cluster) = clients_with_tls("auth::relay_half_tls") else {
        return;
    };
    let users = UsersFile::stored("auth::relay_half_tls", cluster, &["u_scram"]);
    let disable = ["--upstream-tls", "disable"];
    let proxy = start(
        cluster,
        &users,
        &[&tls_of_the_proxy(cluster)[..], &disable].concat(),
    );
    assert_eq!(
        psql(cluster, proxy.port, "u_scram", "sslmode=require").unwrap(),
        BOTH
    );
}

/// Makes a certificate for this name, signed by the cluster's authority.
pub(crate) fn certificate(cluster: &Cluster, directory: &Path, name: &str) -> (String, String) {
    let ca = Path::new(cluster.get("CA"));
    let at = |file: &str| {
        directory
            .join(format!("{name}.{file}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let extensions = "basicConstraints=critical,CA:false\nextendedKeyUsage=clientAuth\n";
    fs::write(at("cnf"), extensions).unwrap();
    run(&[
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        &at("key"),
    ]);
    let subject = format!("/O=pgturnout/CN={name}");
    run(&[
        "req",
        "-new",
        "-sha256",
        "-key",
        &at("key"),
        "-subj",
        &subject,
        "-out",
        &at("csr"),
    ]);
    let authority = ca.to_str().unwrap();
    let key = ca.with_file_name("ca.key");
    run(&[
        "x509",
        "-req",
        "-sha256",
        "-days",
        "2",
        "-in",
        &at("csr"),
        "-CA",
        authority,
        "-CAkey",
        key.to_str().unwrap(),
        "-set_serial",
        "77",
        "-extfile",
        &at("cnf"),
        "-out",
        &at("pem"),
    ]);
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(at("key"), permissions).unwrap();
    (at("pem"), at("key"))
}

#[test]
fn a_certificate_is_proof_of_its_name() {
    let Some(cluster) = clients_with_tls("auth::certificate") else {
        return;
    };
    let directory = std::env::temp_dir().join(format!("pgturnout-{}-certs", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (cert, key) = certificate(cluster, &directory, "u_trust");
    // Where servers ask for a password the proxy has to have one: a certificate proves, and tells nothing.
    let text = format!("u_scram:{}\n", stored(cluster, "u_scram"));
    let users = UsersFile::new("auth::certificate", &text);
    let more = ["--auth", "terminate", "--client-ca", cluster.get("CA")];
    let proxy = start(
        cluster,
        &users,
        &[&tls_of_the_proxy(cluster)[..], &more].concat(),
    );
    let with = format!("sslmode=require sslcert={cert} sslkey={key}");
    assert_eq!(
        psql_with(cluster, proxy.port, "u_trust", "", &with).unwrap(),
        BOTH
    );
    // It is no proof of another name, which needs its password.
    let refused = psql_with(cluster, proxy.port, "u_scram", "wrong", &with).unwrap_err();
    assert!(
        refused.contains("password authentication failed"),
        "{refused}"
    );
    assert_eq!(psql(cluster, proxy.port, "u_scram", &with).unwrap(), BOTH);
    let without = psql_with(cluster, proxy.port, "u_trust", "any", "sslmode=require").unwrap_err();
    assert!(
        without.contains("password authentication failed"),
        "{without}"
    );
    fs::remove_dir_all(&directory).unwrap();
}
