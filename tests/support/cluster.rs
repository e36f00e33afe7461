//! The servers: one primary and one standby for all tests of a binary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs, process};

pub(crate) struct Cluster {
    dir: PathBuf,
    env: BTreeMap<String, String>,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/cluster.sh")
}

impl Cluster {
    /// The cluster that all tests of this process use; `None` when there is no PostgreSQL here.
    ///
    /// `PGTURNOUT_CLUSTER` names a running one. Otherwise one is started, and the script's watchdog removes
    /// it when this process is gone, however that happens.
    pub(crate) fn shared() -> Option<&'static Cluster> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED
            .get_or_init(|| match env::var_os("PGTURNOUT_CLUSTER") {
                Some(dir) => Some(Cluster::read(PathBuf::from(dir))),
                None => Cluster::start("shared"),
            })
            .as_ref()
    }

    /// A cluster of another version, which all tests of this process use: `PGTURNOUT_OTHER_PG_BIN` names its programs.
    pub(crate) fn other() -> Option<&'static Cluster> {
        static OTHER: OnceLock<Option<Cluster>> = OnceLock::new();
        OTHER
            .get_or_init(|| {
                let programs = env::var_os("PGTURNOUT_OTHER_PG_BIN")?;
                Some(Cluster::launch("other", &["--bin".into(), programs]))
            })
            .as_ref()
    }

    /// One more cluster, for a test that breaks it.
    pub(crate) fn start(name: &str) -> Option<Cluster> {
        postgres_is_here().then(|| Cluster::launch(name, &[]))
    }

    /// The same with a line more in the configuration of both servers.
    pub(crate) fn start_set(name: &str, line: &str) -> Option<Cluster> {
        let line = ["--set".into(), line.into()];
        postgres_is_here().then(|| Cluster::launch(name, &line))
    }

    /// The same with a second standby.
    pub(crate) fn start_with_two(name: &str) -> Option<Cluster> {
        let two = ["--standbys".into(), "2".into()];
        postgres_is_here().then(|| Cluster::launch(name, &two))
    }

    fn launch(name: &str, more: &[OsString]) -> Cluster {
        let dir = env::temp_dir().join(format!("pgturnout-{}-{name}", process::id()));
        let mut command = Command::new("bash");
        command.arg(script()).arg("start").arg(&dir);
        command.args(["--owner", &process::id().to_string()]);
        let status = command.args(more).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "the cluster did not start");
        Cluster::read(dir)
    }

    fn read(dir: PathBuf) -> Cluster {
        let text = fs::read_to_string(dir.join("env")).unwrap();
        let env = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect();
        Cluster { dir, env }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        &self.env[name]
    }

    pub(crate) fn primary(&self) -> u16 {
        self.get("PRIMARY_PORT").parse().unwrap()
    }

    pub(crate) fn standby(&self) -> u16 {
        self.get("STANDBY_PORT").parse().unwrap()
    }

    pub(crate) fn second_standby(&self) -> u16 {
        self.get("STANDBY2_PORT").parse().unwrap()
    }

    /// Such as 150018.
    pub(crate) fn version(&self) -> u32 {
        self.get("PGVERSION").parse().unwrap()
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.get("TLS") == "on"
    }

    /// Stops or starts the standby.
    pub(crate) fn standby_do(&self, action: &str) {
        self.standby_does(&[action]);
    }

    /// Stops or starts the second standby.
    pub(crate) fn second_standby_do(&self, action: &str) {
        self.standby_does(&[action, "2"]);
    }

    fn standby_does(&self, action: &[&str]) {
        let status = Command::new("bash")
            .arg(script())
            .arg("standby")
            .arg(&self.dir)
            .args(action)
            .status()
            .unwrap();
        assert!(status.success(), "the standby did not {action:?}");
    }

    /// A command that ends with the cluster, if nobody ends it earlier.
    pub(crate) fn companion(&self, program: &Path) -> Command {
        let mut command = Command::new("bash");
        command.arg(script()).arg("run").arg(&self.dir).arg(program);
        command
    }

    /// What a server's log says of sessions with this application name: the statements it ran, without what the proxy asks a
    /// reader before its first read.
    pub(crate) fn statements(&self, server: &str, application: &str) -> Vec<String> {
        let path = Path::new(self.get("DATA")).join(format!("{server}.log"));
        let log = fs::read(&path).unwrap();
        let log = String::from_utf8_lossy(&log);
        let who = format!("u_trust@app/{application} ");
        log.lines()
            .filter(|line| line.contains(&who))
            .filter_map(|line| {
                let (_, rest) = line.split_once("LOG:  ")?;
                let (kind, statement) = rest.split_once(": ")?;
                (kind == "statement" || kind.starts_with("execute ")).then(|| statement.to_owned())
            })
            .filter(|statement| statement != "select 1 as pgturnout")
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if env::var_os("PGTURNOUT_CLUSTER").as_deref() == Some(self.dir.as_os_str()) {
            return;
        }
        let _ = Command::new("bash")
            .arg(script())
            .arg("stop")
            .arg(&self.dir)
            .status();
    }
}

/// Whether PostgreSQL's programs are there. Without them the live tests say so and do nothing, except where
/// everything must run.
fn postgres_is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        let found = Command::new("bash")
            .arg(script())
            .arg("find")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        assert!(
            found || env::var_os("CI") != Some(OsString::from("true")),
            "CI=true and no PostgreSQL: see tests/support/get-postgres.sh"
        );
        found
    })
}
