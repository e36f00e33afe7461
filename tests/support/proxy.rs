//! The proxy example as a process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, process, thread};

use super::client::eventually;
use super::cluster::Cluster;

pub(crate) struct Proxy {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
}

/// Where its standard error goes.
enum Stderr {
    /// To a file, for [`Proxy::log`].
    Kept,
    /// Into a pipe that stays open and is never emptied.
    Unread,
}

/// The program: `PGTURNOUT_PROXY`, or the example, built now so that it is never an old one.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = env::var_os("PGTURNOUT_PROXY") {
            return PathBuf::from(path);
        }
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--example", "proxy", "--manifest-path"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .status()
            .unwrap();
        assert!(status.success(), "the example does not build");
        // Test binaries are in deps/, beside examples/.
        let deps = env::current_exe().unwrap();
        deps.ancestors().nth(2).unwrap().join("examples/proxy")
    })
}

impl Proxy {
    /// Starts the proxy on a free port and waits until it listens.
    pub(crate) fn start(cluster: &Cluster, arguments: &[&str]) -> Proxy {
        Proxy::launch(cluster, arguments, Stderr::Kept)
    }

    /// As `start`, with a standard error that nobody reads.
    pub(crate) fn start_unread(cluster: &Cluster, arguments: &[&str]) -> Proxy {
        Proxy::launch(cluster, arguments, Stderr::Unread)
    }

    fn launch(cluster: &Cluster, arguments: &[&str], stderr: Stderr) -> Proxy {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let log = env::temp_dir().join(format!(
            "pgturnout-{}-proxy-{}.log",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let file = File::create(&log).unwrap();
        let mut child = cluster
            .companion(program())
            .args(["--listen", "127.0.0.1:0", "--log-routes"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(match stderr {
                Stderr::Kept => file.into(),
                Stderr::Unread => Stdio::piped(),
            })
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .trim()
            .strip_prefix("listening on 127.0.0.1:")
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| {
                panic!(
                    "the proxy said {line:?} and\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                )
            });
        Proxy { child, port, log }
    }

    /// What it wrote on standard error: routes, and why it gave up.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Whether it writes this on standard error: a line of a request may come after the answer.
    pub(crate) fn says(&self, what: &str) -> bool {
        eventually(|| self.log().contains(what))
    }

    /// Resident memory in KiB, where the system tells.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Asks it to finish, as a supervisor does.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        // Longer than the ten seconds that open requests get.
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the proxy does not exit:\n{}", self.log());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            let state = self.child.try_wait();
            eprintln!("the proxy: {state:?}, its log:\n{}", self.log());
        }
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_file(&self.log));
    }
}
