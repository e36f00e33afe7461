//! The model PostgreSQL of the simulator, by itself: what it answers to scripts of messages.

#[path = "support/model_script.rs"]
mod model_script;
#[path = "support/modelled.rs"]
mod modelled;
#[path = "support/sim/mod.rs"]
mod sim;

use std::{env, fs};

use model_script::{Script, play, scripts};
use modelled::Modelled;

use sim::server::{Cluster, Node, Server, ServerOptions};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// The startup packet of a user.
fn startup() -> Vec<u8> {
    message(0, b"\0\x03\0\0user\0alice\0\0")[1..].to_vec()
}

fn tags(bytes: &[u8]) -> String {
    let (mut out, mut rest) = (String::new(), bytes);
    while let [tag, a, b, c, d, ..] = rest {
        out.push(char::from(*tag));
        rest = &rest[1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize..];
    }
    out
}

#[test]
fn a_query_is_answered() {
    let mut cluster = Cluster::new();
    let mut server = Server::new(Node::Primary, 1, ServerOptions::default());
    server.receive(&startup());
    assert!(server.step(&mut cluster));
    let login = tags(&server.output());
    assert!(login.starts_with('R') && login.ends_with("KZ"), "{login}");
    server.receive(&message(b'Q', b"select 1\0"));
    assert!(server.step(&mut cluster));
    assert_eq!(tags(&server.output()), "TDCZ");
    assert!(!server.step(&mut cluster));
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
            let answers = play(&mut Modelled::new(node, version), script, &[]);
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
