//! The model PostgreSQL of the simulator, by itself: what it answers to scripts of messages.

#[path = "support/login.rs"]
mod login;
#[path = "model/logins.rs"]
mod logins;
#[path = "support/model_script.rs"]
mod model_script;
#[path = "support/modelled.rs"]
mod modelled;
#[allow(
    dead_code,
    unused_imports,
    reason = "the simulation uses all of it, and this a part"
)]
#[path = "support/sim/mod.rs"]
mod sim;

use std::{env, fs};

use model_script::{LOCKED_OUT, NOT_LOCKED_OUT, Script, Trace, encode, frames, play, scripts};
use modelled::Modelled;

use logins::shown;
use sim::server::{Cluster, Lag, Node, Server, ServerOptions, ServerPhase};

/// Several sessions on one cluster.
struct Rig {
    cluster: Cluster,
    sessions: Vec<(Server, Trace)>,
}

impl Rig {
    /// Sessions that are logged in, one on each node given.
    fn new(nodes: &[Node]) -> Rig {
        let mut rig = Rig {
            cluster: Cluster::new(),
            sessions: Vec::new(),
        };
        for (at, node) in nodes.iter().enumerate() {
            let backend = u32::try_from(at + 1).unwrap();
            let server = Server::new(*node, backend, ServerOptions::default());
            rig.sessions.push((server, Trace::default()));
            rig.send(at, &startup(0x0003_0000));
            assert!(rig.hear(at).ends_with("Z(I)"));
        }
        rig
    }

    fn server(&mut self, at: usize) -> &mut Server {
        &mut self.sessions[at].0
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        self.server(at).receive(bytes);
    }

    /// What a session says as long as it has something to do.
    fn hear(&mut self, at: usize) -> String {
        let (server, trace) = &mut self.sessions[at];
        while server.step(&mut self.cluster) {}
        frames(&mut server.output(), trace);
        trace.line()
    }

    fn say(&mut self, at: usize, line: &str) -> String {
        self.send(at, &encode(line));
        self.hear(at)
    }

    fn count(&mut self, at: usize) -> String {
        let said = self.say(at, "Q(select count(*) from t)");
        said.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

fn startup(version: u32) -> Vec<u8> {
    let pairs = [("user", "alice"), ("database", "app")];
    model_script::startup(version, &pairs.map(|(a, b)| (a.to_owned(), b.to_owned())))
}

#[test]
fn the_standby_is_behind_until_it_replays() {
    let mut rig = Rig::new(&[Node::Primary, Node::Standby]);
    rig.cluster.set_lag(Lag::Manual);
    rig.say(
        0,
        "Q(insert into t values (4, 'd')) Q(begin; delete from t; rollback) Q(delete from t)",
    );
    assert_eq!(
        rig.cluster.behind(),
        2,
        "what is rolled back is not replayed"
    );
    assert_eq!((rig.count(0), rig.count(1)), ("D(0)".into(), "D(3)".into()));
    rig.cluster.replay(1);
    assert_eq!(rig.count(1), "D(4)");
    rig.cluster.replay(9);
    assert_eq!((rig.count(1), rig.cluster.behind()), ("D(0)".into(), 0));
    assert_eq!(rig.cluster.dump(), rig.cluster.dump_standby());
}

#[test]
fn standbys_replay_apart_what_sessions_see_and_what_they_do_not() {
    let mut rig = Rig::new(&[Node::Primary, Node::Standby, Node::Second]);
    rig.cluster.set_lag(Lag::Manual);
    rig.cluster.upkeep(1);
    rig.say(0, "Q(delete from t)");
    rig.cluster.replay_at(Node::Second, 2);
    rig.cluster.replay_at(Node::Standby, 1);
    assert_eq!((rig.count(1), rig.count(2)), ("D(3)".into(), "D(0)".into()));
    let stands = Node::ALL.map(|node| rig.cluster.stands_at(node));
    assert_eq!(stands, [Some(2), Some(1), Some(2)]);
    rig.cluster.begin_anew(Node::Second);
    assert_eq!((rig.count(1), rig.count(2)), ("D(3)".into(), "D(3)".into()));
    assert_eq!(rig.cluster.behind(), 2);
}

#[test]
fn a_reader_on_the_standby_keeps_its_snapshot() {
    let mut rig = Rig::new(&[Node::Primary, Node::Standby]);
    rig.say(1, "Q(begin isolation level repeatable read; select 1)");
    rig.say(1, "Q(select count(*) from t)");
    rig.say(0, "Q(delete from t)");
    assert_eq!(rig.count(1), "D(3)");
    rig.say(1, "Q(commit)");
    assert_eq!(rig.count(1), "D(0)");
}

#[test]
fn writes_and_refusals_are_kept_with_their_texts() {
    let mut rig = Rig::new(&[Node::Primary, Node::Standby]);
    rig.say(
        0,
        "Q(begin; insert into t values (4, 'd'); rollback) Q(select f_write(5))",
    );
    rig.say(0, "P(,delete from t where id = $1) B(,,1) E() S Q(create temp table x (id int); insert into x values (1))");
    rig.say(
        1,
        "Q(select f_write(6)) Q(select 1/0) Q(insert into t values (7, 'x'))",
    );
    let texts: Vec<&str> = rig
        .cluster
        .writes()
        .iter()
        .map(|write| write.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "insert into t values (4, 'd')",
            "select f_write(5)",
            "delete from t where id = $1"
        ]
    );
    let refused = rig.cluster.refusals();
    assert!(
        refused
            .iter()
            .all(|write| (write.node, write.backend) == (Node::Standby, 2))
    );
    let texts: Vec<&str> = refused.iter().map(|write| write.text.as_str()).collect();
    assert_eq!(
        texts,
        ["select f_write(6)", "insert into t values (7, 'x')"]
    );
}

#[test]
fn what_is_executed_is_kept_with_its_state() {
    let mut rig = Rig::new(&[Node::Primary]);
    rig.say(
        0,
        "Q(set work_mem = '8MB'; set role m_role; prepare p as select 1)",
    );
    rig.say(
        0,
        "P(q,select $1) B(,q,x) E() S Q(begin; set local work_mem = '9MB'; select 2) X",
    );
    let executed = rig.server(0).executed();
    let texts: Vec<&str> = executed.iter().map(|one| &*one.text).collect();
    assert_eq!(
        texts[3..],
        [
            "select $1",
            "begin",
            "set local work_mem = '9MB'",
            "select 2"
        ]
    );
    let work_mem = |at: usize| executed[at].setting("work_mem").unwrap_or_default();
    assert_eq!(
        [work_mem(0), work_mem(1), work_mem(3), work_mem(6)],
        ["4MB", "8MB", "8MB", "9MB"]
    );
    assert_eq!((&*executed[1].role, &*executed[2].role), ("none", "m_role"));
    assert_eq!(executed[3].parameters, [Some("x".to_owned())]);
    assert_eq!(executed[2].prepared.len(), 0);
    let names: Vec<&str> = executed[3].prepared.iter().map(|name| &**name).collect();
    assert_eq!(names, ["p", "q"]);
    let inside: Vec<bool> = executed.iter().map(|one| one.in_transaction).collect();
    assert_eq!(inside, [false, false, false, false, false, true, true]);
}

#[test]
fn a_cancel_ends_what_waits_and_nothing_else() {
    let mut rig = Rig::new(&[Node::Primary]);
    rig.server(0).cancel();
    assert!(rig.say(0, "Q(select 1)").starts_with("T("));
    rig.send(0, &encode("Q(select pg_sleep(5))"));
    let Rig { cluster, sessions } = &mut rig;
    assert!(sessions[0].0.step(cluster));
    assert_eq!(sessions[0].0.phase(), ServerPhase::Waiting);
    sessions[0].0.cancel();
    assert_eq!(rig.hear(0), "T(pg_sleep:2278:4) E(ERROR 57014) Z(I)");
    assert!(
        rig.say(0, "Q(select pg_sleep(5))")
            .ends_with("C(SELECT 1) Z(I)")
    );
}

#[test]
fn any_message_can_be_made_to_fail() {
    let answer = |plan: &[(usize, &str)], line: &str| {
        let mut rig = Rig::new(&[Node::Primary]);
        for (message, code) in plan {
            rig.server(0).fail_at(*message, code);
        }
        rig.say(0, line)
    };
    let batch = "P(,select 1) B(,) DP() E() CP() H S Q(begin)";
    for (at, before) in ["", "1 ", "1 2 ", "1 2 T(?column?:23:4) "]
        .iter()
        .enumerate()
    {
        assert_eq!(
            answer(&[(at, "53200")], batch),
            format!("{before}E(ERROR 53200) Z(I) C(BEGIN) Z(T)"),
            "message {at}"
        );
    }
    let rows = "1 2 T(?column?:23:4) D(1) C(SELECT 1)";
    // A Flush does not fail: the Sync behind it is the next.
    assert_eq!(
        answer(&[(5, "58030")], batch),
        format!("{rows} 3 E(ERROR 58030) Z(I) C(BEGIN) Z(T)")
    );
    assert_eq!(
        answer(&[(4, "any")], batch),
        format!("{rows} E(ERROR any) Z(I) C(BEGIN) Z(T)")
    );
    assert_eq!(
        answer(&[(1, "53100")], "Q(begin) Q(select 1) Q(rollback)"),
        "C(BEGIN) Z(T) E(ERROR 53100) Z(E) C(ROLLBACK) Z(I)"
    );
    assert_eq!(
        answer(&[(1, "53100"), (0, "40001")], "F(1317,abc) S"),
        "E(ERROR 40001) Z(I) E(ERROR 53100) Z(I)"
    );
    assert_eq!(
        answer(&[(1, "40001"), (2, "53100")], "Q(begin) S S"),
        "C(BEGIN) Z(T) E(ERROR 40001) Z(E) E(ERROR 53100) Z(E)"
    );
}

#[test]
fn failures_count_what_is_skipped_but_no_data_of_copy() {
    let mut rig = Rig::new(&[Node::Primary]);
    rig.server(0).fail_at(1, "40001");
    rig.server(0).fail_at(2, "53100");
    assert_eq!(
        rig.say(0, "B(,nothing) H P(,select 1) S Q(select 1)"),
        "E(ERROR 26000) E(ERROR 53100) Z(I) T(?column?:23:4) D(1) C(SELECT 1) Z(I)",
        "what is skipped cannot fail"
    );
    rig.server(0).fail_at(1, "40001");
    assert_eq!(
        rig.say(0, "Q(copy t from stdin) d(4\\td\\n) H S c Q(select 1)"),
        "G(0,2) C(COPY 1) Z(I) E(ERROR 40001) Z(I)"
    );
    rig.server(0).fail_at(1, "40001");
    assert_eq!(
        rig.say(
            0,
            "Q(copy t from stdin) d(wrong\\n) d(4\\td\\n) c Q(select 1)"
        ),
        "G(0,2) E(ERROR 22P02) Z(I) E(ERROR 40001) Z(I)"
    );
}

#[test]
fn failures_are_planned_before_the_login_and_are_no_refusals() {
    let mut cluster = Cluster::new();
    let mut server = Server::new(Node::Standby, 1, ServerOptions::default());
    server.fail_at(0, "25006");
    server.receive(&startup(0x0003_0000));
    server.receive(&encode("Q(select 1) X"));
    while server.step(&mut cluster) {}
    assert!(shown(server.output()).ends_with("Z(I) E(ERROR 25006) Z(I)"));
    assert!(cluster.refusals().is_empty());
}

#[test]
fn a_server_tells_whether_it_has_something_to_do() {
    let mut rig = Rig::new(&[Node::Primary]);
    assert!(!rig.server(0).has_unread());
    rig.send(0, b"Q\0");
    assert!(rig.hear(0).is_empty() && rig.server(0).has_unread());
    rig.send(0, b"\0\0\x05\0");
    assert!(rig.server(0).has_unread());
    assert_eq!(
        (rig.hear(0), rig.server(0).has_unread()),
        ("I Z(I)".into(), false)
    );
    rig.say(0, "Q(copy t from stdin)");
    assert!(rig.server(0).has_unread(), "it waits for data");
    rig.say(0, "c X");
    assert!(!rig.server(0).has_unread());
}

#[test]
fn a_session_that_is_terminated_rolls_back() {
    let mut rig = Rig::new(&[Node::Primary, Node::Primary]);
    rig.say(0, "Q(begin; delete from t)");
    rig.server(0).terminate_with("57P01");
    assert_eq!(rig.hear(0), "E(FATAL 57P01)");
    assert!(rig.server(0).is_closed());
    assert_eq!(rig.count(1), "D(3)");
    rig.say(1, "Q(begin; delete from t)");
    rig.server(1).eof();
    assert_eq!(
        (rig.hear(1), rig.server(1).phase()),
        (String::new(), ServerPhase::Closed)
    );
    assert_eq!(rig.cluster.dump().len(), 6);
}

#[test]
fn locks_are_waited_for() {
    let mut rig = Rig::new(&[Node::Primary, Node::Primary]);
    rig.say(0, "Q(begin; update t set v = 'x' where id = 1)");
    assert_eq!(rig.say(1, "Q(update t set v = v || 'y' where id = 1)"), "");
    assert_eq!(rig.server(1).phase(), ServerPhase::Waiting);
    rig.say(0, "Q(commit)");
    assert_eq!(rig.hear(1), "C(UPDATE 1) Z(I)");
    assert!(rig.cluster.dump().contains(&"t: 1, xy".to_owned()));
    rig.say(0, "Q(select pg_advisory_lock(1))");
    assert_eq!(
        rig.say(1, "Q(select pg_try_advisory_lock(1))")
            .split(' ')
            .nth(1),
        Some("D(f)")
    );
    assert_eq!(rig.say(1, "Q(select pg_advisory_lock(1))"), "");
    rig.server(0).eof();
    rig.hear(0);
    assert!(rig.hear(1).ends_with("C(SELECT 1) Z(I)"));
}

#[test]
fn a_deadlock_is_an_error() {
    let mut rig = Rig::new(&[Node::Primary, Node::Primary]);
    for (at, id) in [(0, 1), (1, 2)] {
        rig.say(
            at,
            &format!("Q(begin; update t set v = 'x' where id = {id})"),
        );
    }
    assert_eq!(rig.say(0, "Q(delete from t where id = 2)"), "");
    assert_eq!(
        rig.say(1, "Q(delete from t where id = 1)"),
        "E(ERROR 40P01) Z(E)"
    );
    assert_eq!(rig.hear(0), "C(DELETE 1) Z(T)");
}

#[test]
fn notifications_wait_for_the_end_of_a_transaction() {
    let mut rig = Rig::new(&[Node::Primary, Node::Primary]);
    rig.say(0, "Q(listen c)");
    rig.say(1, "Q(begin; notify c, 'x')");
    assert_eq!(rig.hear(0), "", "nothing before the commit");
    rig.say(1, "Q(commit)");
    assert_eq!(rig.hear(0), "A(c,x)");
    rig.say(0, "Q(begin)");
    rig.say(1, "Q(notify c, 'y')");
    assert_eq!(rig.hear(0), "", "nothing inside of a block");
    assert_eq!(
        rig.say(0, "Q(select 1; commit)"),
        "T(?column?:23:4) D(1) C(SELECT 1) C(COMMIT) A(c,y) Z(I)"
    );
}

#[test]
fn a_standby_that_is_promoted_takes_writes() {
    let mut rig = Rig::new(&[Node::Primary, Node::Standby, Node::Standby]);
    rig.cluster.set_lag(Lag::Manual);
    rig.say(0, "Q(insert into t values (4, 'd')) Q(select nextval('s'))");
    rig.say(2, "Q(begin; select 1)");
    rig.cluster.promote();
    assert_eq!(rig.hear(1), "", "nobody is told before he asks");
    assert_eq!(
        rig.say(
            1,
            "Q(insert into t values (5, 'e')) Q(select pg_is_in_recovery())"
        ),
        "C(INSERT 0 1) S(in_hot_standby=off) Z(I) T(pg_is_in_recovery:16:1) D(f) C(SELECT 1) Z(I)"
    );
    assert_eq!(
        rig.say(1, "Q(select nextval('s'))"),
        "T(nextval:20:8) D(2) C(SELECT 1) Z(I)"
    );
    assert_eq!(
        rig.say(2, "Q(show in_hot_standby; insert into t values (6, 'f'))"),
        "T(in_hot_standby:25:-1) D(off) C(SHOW) E(ERROR 25006) S(in_hot_standby=off) Z(E)",
        "what began in recovery only reads"
    );
    assert_eq!(
        rig.say(
            2,
            "Q(rollback; show in_hot_standby) Q(begin; delete from t; commit)"
        ),
        "C(ROLLBACK) T(in_hot_standby:25:-1) D(off) C(SHOW) Z(I) C(BEGIN) C(DELETE 5) C(COMMIT) Z(I)"
    );
    rig.say(0, "Q(insert into t values (7, 'g')) Q(select nextval('s'))");
    rig.cluster.replay(9);
    assert_eq!((rig.count(0), rig.count(1)), ("D(5)".into(), "D(0)".into()));
    assert_eq!(rig.cluster.behind(), 0, "nothing is sent any more");
    let nodes: Vec<(Node, u32)> = rig
        .cluster
        .writes()
        .iter()
        .map(|w| (w.node, w.backend))
        .collect();
    let (primary, standby) = (Node::Primary, Node::Standby);
    assert_eq!(
        nodes,
        [
            (primary, 1),
            (primary, 1),
            (standby, 2),
            (standby, 2),
            (standby, 3),
            (primary, 1),
            (primary, 1)
        ]
    );
}

#[test]
fn the_two_share_no_locks_and_no_listeners() {
    let mut rig = Rig::new(&[Node::Primary, Node::Standby]);
    rig.cluster.promote();
    rig.say(0, "Q(listen c) Q(begin; delete from t)");
    rig.say(1, "Q(listen c) Q(select 1)");
    assert_eq!(rig.say(1, "Q(delete from t)"), "C(DELETE 3) Z(I)");
    assert_eq!(rig.say(1, "Q(notify c, 'x')"), "C(NOTIFY) A(c,x) Z(I)");
    rig.say(1, "Q(begin; lock table t)");
    assert_eq!(
        rig.say(0, "Q(begin; lock table t; commit)"),
        "N(WARNING 25001) C(BEGIN) C(LOCK TABLE) C(COMMIT) Z(I)"
    );
    assert_eq!(rig.hear(0), "");
}

#[test]
fn a_primary_that_is_demoted_refuses_writes() {
    let mut rig = Rig::new(&[Node::Primary, Node::Primary]);
    rig.say(0, "Q(begin; savepoint a)");
    rig.cluster.demote();
    assert_eq!(
        rig.say(0, "Q(delete from t)"),
        "E(ERROR 25006) S(in_hot_standby=on) Z(E)"
    );
    assert_eq!(
        rig.say(0, "Q(rollback to a) Q(select nextval('s')) Q(rollback)"),
        "C(ROLLBACK) Z(T) T(nextval:20:8) E(ERROR 25006) Z(E) C(ROLLBACK) Z(I)"
    );
    assert_eq!(
        rig.say(1, "Q(begin read write)"),
        "E(ERROR 0A000) S(in_hot_standby=on) Z(I)"
    );
    let mut server = Server::new(Node::Primary, 9, ServerOptions::default());
    server.receive(&startup(0x0003_0000));
    while server.step(&mut rig.cluster) {}
    assert!(shown(server.output()).contains("S(in_hot_standby=on)"));
    server.receive(&encode("Q(select pg_is_in_recovery()) Q(listen c)"));
    while server.step(&mut rig.cluster) {}
    assert_eq!(
        shown(server.output()),
        "T(pg_is_in_recovery:16:1) D(t) C(SELECT 1) Z(I) E(ERROR 25006) Z(I)"
    );
    assert!(rig.cluster.writes().is_empty());
    assert!(
        rig.cluster
            .refusals()
            .iter()
            .all(|write| write.node == Node::Primary)
    );
}

#[test]
fn notifications_come_from_outside() {
    let mut rig = Rig::new(&[Node::Primary, Node::Primary, Node::Standby]);
    rig.say(0, "Q(listen c)");
    rig.cluster.notify_outside("c", "x");
    rig.cluster.notify_outside("d", "y");
    assert_eq!(rig.hear(0), "A(c,x)");
    assert_eq!((rig.hear(1), rig.hear(2)), (String::new(), String::new()));
    rig.say(0, "Q(begin)");
    rig.cluster.notify_outside("c", "");
    assert_eq!(rig.hear(0), "", "nothing inside of a block");
    assert_eq!(rig.say(0, "Q(commit)"), "C(COMMIT) A(c,) Z(I)");
}

#[test]
fn statements_wait_for_a_table_that_is_locked_outside() {
    for [before, line] in LOCKED_OUT {
        for ends in ["cancelled", "unlocked"] {
            let mut rig = Rig::new(&[Node::Primary, Node::Standby]);
            rig.say(0, before);
            rig.say(1, before);
            rig.cluster.lock_outside("u");
            rig.cluster.lock_outside("t");
            rig.say(0, line);
            assert_eq!(rig.server(0).phase(), ServerPhase::Waiting, "{line}");
            assert!(rig.server(0).has_unread());
            rig.hear(0);
            rig.say(1, line);
            assert_ne!(rig.server(1).phase(), ServerPhase::Waiting, "{line}");
            if ends == "cancelled" {
                rig.server(0).cancel();
                let said = rig.hear(0);
                assert!(said.contains("E(ERROR 57014)"), "{line}: {said}");
            } else {
                rig.cluster.unlock_outside();
                let said = rig.hear(0);
                assert!(!said.contains("57014"), "{line}: {said}");
            }
            assert_ne!(rig.server(0).phase(), ServerPhase::Waiting, "{line}");
        }
    }
}

#[test]
fn what_does_not_touch_a_locked_table_goes_on() {
    for [before, line] in NOT_LOCKED_OUT {
        let mut rig = Rig::new(&[Node::Primary]);
        rig.say(0, before);
        rig.cluster.lock_outside("t");
        let said = rig.say(0, line);
        assert!(
            said.ends_with(')') && !rig.server(0).has_unread(),
            "{line}: {said}"
        );
    }
}

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/model.txt");

const VERSIONS: [u32; 2] = [15, 18];

/// Plays a script wherever it is meant for; calls `each` with place, version, step and answer.
fn everywhere(script: &Script, mut each: impl FnMut(&str, u32, usize, &str)) {
    for place in &script.places {
        for version in VERSIONS {
            let node = match *place {
                "primary" => Node::Primary,
                _ => Node::Standby,
            };
            let answers = play(&mut Modelled::new(node, version), script, "app", &[]);
            for (at, answer) in answers[1..=script.steps.len()].iter().enumerate() {
                each(place, version, at, answer);
            }
        }
    }
}

/// The scripts have the answers that PostgreSQL gave; the live tests ask it again.
///
/// With `PGTURNOUT_WRITE_MODEL=1` the answers are written instead: for new scripts, which the live tests then prove.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "only a test's environment can ask it to write"
)]
fn scripts_are_answered_as_written() {
    let text = fs::read_to_string(SCRIPTS).unwrap();
    let mut all = scripts(&text);
    if env::var_os("PGTURNOUT_WRITE_MODEL").is_some() {
        let mut out = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .fold(String::new(), |all, line| all + line + "\n");
        for script in &mut all {
            script.steps.iter_mut().for_each(|step| step.forget());
            let mut answers = Vec::new();
            everywhere(script, |place, version, at, answer| {
                answers.push((place.to_owned(), version, at, answer.to_owned()));
            });
            for (place, version, at, answer) in answers {
                script.steps[at].record(&place, version, &answer);
            }
            out += &format!("\n== {}\n", script.head);
            script.steps.iter().for_each(|step| out += &step.lines());
        }
        fs::write(SCRIPTS, out).unwrap();
        return;
    }
    assert!(all.len() >= 150, "{} scripts", all.len());
    for script in &all {
        everywhere(script, |place, version, at, answer| {
            let step = &script.steps[at];
            let expected = step.answer(place, version);
            assert_eq!(
                Some(answer),
                expected,
                "{} on the {place}, version {version}\n> {}",
                script.name,
                step.send
            );
        });
    }
}

/// On a small stack, as the simulator runs it; deeper texts are refused.
#[test]
fn deep_texts_are_refused() {
    // Debug builds need several times the stack of the 64 KiB that a release build has to do with.
    let stack = if cfg!(debug_assertions) { 512 } else { 64 } * 1024;
    let run = || {
        let mut rig = Rig::new(&[Node::Primary]);
        let nested = |depth| format!("Q(select {}1{})", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(
            rig.say(0, &nested(6)),
            "T(?column?:23:4) D(1) C(SELECT 1) Z(I)"
        );
        for text in [
            nested(5000),
            format!("Q(select {} true)", "not ".repeat(5000)),
            format!("Q(select {}1)", "- ".repeat(5000)),
        ] {
            assert_eq!(rig.say(0, &text), "E(ERROR 54001) Z(I)");
        }
        let explains = format!("Q({}select 1)", "explain ".repeat(5000));
        assert_eq!(rig.say(0, &explains), "E(ERROR 42601) Z(I)");
    };
    let thread = std::thread::Builder::new().stack_size(stack).spawn(run);
    thread.unwrap().join().unwrap();
}
