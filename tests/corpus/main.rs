//! Laws L5 over PostgreSQL's own regression tests: what `scan` makes of every statement, against what a hot standby
//! does with it.
//!
//! `psql` runs the tests' files, in the order of their schedule, through a relay that hands every byte on to the
//! primary. Before it hands a text on it runs it on the standby, which has replayed all that was committed, in a
//! session with the same user, role and settings, and then compares the two answers. `tests/suites/scan_corpus.sh`
//! sets it up; alone, this says `SKIPPED`.

#![allow(
    clippy::disallowed_methods,
    reason = "this starts processes and reads the environment: the bans are for the library"
)]

mod relay;
mod tally;
mod trial;
mod wire;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::{env, fs, thread};

use tally::Tally;

/// What the script tells.
pub(crate) struct Setup {
    /// The folder of the tests: `sql/`, `parallel_schedule`.
    regress: PathBuf,
    /// What `cluster.sh` wrote.
    cluster: BTreeMap<String, String>,
    /// The database that the tests run in.
    database: String,
    /// Where the report and the lists go.
    out: PathBuf,
    /// Names of the files to run; empty means all.
    only: Vec<String>,
}

impl Setup {
    fn read() -> Option<Setup> {
        let regress = PathBuf::from(env::var_os("PGTURNOUT_CORPUS")?);
        let cluster = PathBuf::from(env::var_os("PGTURNOUT_CLUSTER")?);
        let text = fs::read_to_string(cluster.join("env")).unwrap();
        let words = text.lines().filter_map(|line| line.split_once('='));
        let words =
            words.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()));
        let only = env::var("PGTURNOUT_CORPUS_FILES").unwrap_or_default();
        Some(Setup {
            regress,
            cluster: words.collect(),
            database: env::var("PGTURNOUT_CORPUS_DATABASE").unwrap(),
            out: PathBuf::from(env::var_os("PGTURNOUT_CORPUS_OUT").unwrap()),
            only: only.split_whitespace().map(str::to_owned).collect(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        &self.cluster[name]
    }

    pub(crate) fn port(&self, name: &str) -> u16 {
        self.get(name).parse().unwrap()
    }

    /// Such as 150018.
    pub(crate) fn version(&self) -> u32 {
        self.get("PGVERSION").parse().unwrap()
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// The tests in the order of the schedule.
    fn files(&self) -> Vec<String> {
        let schedule = fs::read_to_string(self.regress.join("parallel_schedule")).unwrap();
        let lines = schedule
            .lines()
            .filter_map(|line| line.strip_prefix("test: "));
        let names = lines.flat_map(|line| line.split_whitespace().map(str::to_owned));
        names
            .filter(|name| self.only.is_empty() || self.only.contains(name))
            .collect()
    }

    /// Runs one file as `pg_regress` does.
    fn psql(&self, name: &str, port: u16) {
        let file = self.regress.join("sql").join(format!("{name}.sql"));
        let file =
            fs::File::open(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let folder = |path: &Path| path.display().to_string();
        let status = Command::new(Path::new(self.get("PGBIN")).join("psql"))
            .args([
                "-X",
                "-a",
                "-q",
                "-d",
                &self.database,
                "-U",
                self.get("SUPERUSER"),
            ])
            .args(["-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"])
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(&self.regress)
            .env(
                "PGTZ",
                if self.version() < 180_000 {
                    "PST8PDT"
                } else {
                    "America/Los_Angeles"
                },
            )
            .env("PGDATESTYLE", "Postgres, MDY")
            .env("PGOPTIONS", "-c intervalstyle=postgres_verbose")
            .env("PG_ABS_SRCDIR", folder(&self.regress))
            .env("PG_ABS_BUILDDIR", folder(&self.regress))
            .env("PG_LIBDIR", folder(&self.regress))
            .env("PG_DLSUFFIX", ".so")
            .env("PGAPPNAME", format!("pg_regress/{name}"))
            .env("PGSSLMODE", "disable")
            .stdin(Stdio::from(file))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        // psql says 3 when the server ended the session, as some tests have it.
        assert!(status.code().is_some(), "psql was killed in {name}");
    }
}

#[test]
fn statements_of_the_regression_tests_are_read_as_a_standby_takes_them() {
    let Some(setup) = Setup::read() else {
        eprintln!("SKIPPED: see tests/suites/scan_corpus.sh");
        return;
    };
    let setup = Arc::new(setup);
    let tally = Arc::new(Mutex::new(Tally::new(&setup.out)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    {
        let (setup, tally) = (Arc::clone(&setup), Arc::clone(&tally));
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let (setup, tally) = (Arc::clone(&setup), Arc::clone(&tally));
                thread::spawn(move || relay::serve(&setup, &tally, client));
            }
        });
    }
    for name in setup.files() {
        let text = fs::read(setup.regress.join("sql").join(format!("{name}.sql"))).unwrap();
        tally.lock().unwrap().begin_file(&name, text);
        setup.psql(&name, port);
    }
    let report = tally.lock().unwrap().finish();
    fs::write(setup.out.join("report.txt"), &report).unwrap();
    println!("{report}");
    let tally = tally.lock().unwrap();
    assert_eq!(
        tally.wrong(),
        0,
        "statements that the standby refused are called reads: see wrong.txt"
    );
    assert!(
        tally.share() >= 95.0,
        "too few of what the standby answers alike go to a reader"
    );
    assert!(
        tally.proven_share() >= 95.0,
        "too few of what the standby answers alike are called reads"
    );
}
