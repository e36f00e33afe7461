//! pgjdbc, where Java is installed, and its openings and others by the byte, everywhere.

use std::process::Command;

use crate::support::client::{Client, Pace, V3_0};
use crate::support::cluster::Cluster;
use crate::support::frame::{Frame, errors, values};
use crate::support::lab;
use crate::support::message;

use super::tables::Expect::{self, Never, Split, Writer};
use super::tables::{NEEDS_TLS, Why, no};
use super::{Binding, Cell, Cells, Fronts, READ, Skills, WRITE, drivers, judge, run, script};

/// Bytes as pgjdbc sends them: what it asks for encryption first, then the login.
///
/// It goes on in clear where it is told `N`, as with `sslmode=prefer`; `tls` is a handshake without a question.
#[rustfmt::skip]
const OPENINGS: &[(&str, &[&str], [Expect; 4])] = &[
    // login   opening                          disable     allow     require    passthrough
    ("relay", &["startup"],                   [Split,      Split,    NEEDS_TLS, Split]),
    ("relay", &["ssl", "startup"],            [Split,      Split,    Split,     Writer]),
    ("relay", &["gss", "startup"],            [Split,      Split,    NEEDS_TLS, Split]),
    ("relay", &["gss", "ssl", "startup"],     [Split,      Split,    Split,     Writer]),
    ("relay", &["ssl", "gss", "startup"],     [Split,      REFUSED,  REFUSED,   REFUSED]),
    ("relay", &["ssl", "ssl", "startup"],     [REFUSED,    REFUSED,  REFUSED,   REFUSED]),
    ("relay", &["gss", "gss", "startup"],     [REFUSED,    REFUSED,  REFUSED,   REFUSED]),
    ("relay", &["tls", "startup"],            [CLOSED,     Split,    Split,     Expect::From18(&Writer, &CLOSED)]),
    ("trust", &["startup"],                   [Split,      Split,    NEEDS_TLS, Never]),
    ("trust", &["ssl", "startup"],            [Split,      Split,    Split,     Never]),
    ("trust", &["gss", "startup"],            [Split,      Split,    NEEDS_TLS, Never]),
    ("trust", &["gss", "ssl", "startup"],     [Split,      Split,    Split,     Never]),
    ("trust", &["tls", "startup"],            [CLOSED,     Split,    Split,     Never]),
];

/// A question that was answered before.
const REFUSED: Expect = no(&Why {
    state: "",
    words: &["0A000\\x00Munsupported frontend protocol"],
});
const CLOSED: Expect = no(&Why {
    state: "",
    words: &["closed"],
});

/// What comes of an opening.
fn open(cluster: &Cluster, port: u16, opening: &[&str]) -> String {
    let mut client = Client::connect(port, Pace::Whole);
    for step in opening {
        let (question, alpn) = match *step {
            "ssl" => (Some(message::ssl_request()), &[][..]),
            "gss" => (Some(message::gssenc_request()), &[][..]),
            "tls" => (None, &["postgresql"][..]),
            _ => break,
        };
        let answer = match question {
            Some(question) => {
                client.send(&question);
                client.try_byte()
            }
            None => Some(b'S'),
        };
        client = match answer {
            Some(b'N') => client,
            Some(b'S') => match client.secure(cluster, alpn) {
                Ok(client) => client,
                Err(error) => return format!("closed: {error}"),
            },
            Some(byte) => {
                let said: Vec<u8> = std::iter::from_fn(|| client.try_byte()).collect();
                return format!("{} {}", char::from(byte), said.escape_ascii());
            }
            None => return "closed".to_owned(),
        };
    }
    client.send(&message::startup(
        V3_0,
        &[
            ("user", "u_trust"),
            ("database", "app"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "Europe/Berlin"),
            ("extra_float_digits", "2"),
        ],
    ));
    let mut frames = Vec::new();
    while frames.last().is_none_or(|last: &Frame| last.tag != b'Z') {
        match client.frame() {
            Some(frame) => frames.push(frame),
            None if frames.is_empty() => return "closed".to_owned(),
            None => return errors(&frames).concat() + " " + &format!("{frames:?}"),
        }
    }
    let mut said = Vec::new();
    for sql in [
        "SET extra_float_digits = 3",
        "SET application_name = 'PostgreSQL JDBC Driver'",
        READ,
        WRITE,
    ] {
        client.send(&message::extended(sql, &[]));
        let frames = client.ready(1);
        assert_eq!(errors(&frames), [""; 0], "{sql}");
        said.extend(values(&frames));
    }
    said.join(" ")
}

#[test]
fn pgjdbc() {
    const TEST: &str = "matrix::pgjdbc";
    let Some(fronts) = Fronts::shared(TEST) else {
        return;
    };
    let path = match drivers("java") {
        Ok(path) => path,
        Err(reason) => return lab::skip(TEST, &reason),
    };
    let (_, key) = &fronts.certificate;
    let converted = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", key])
        .args(["-out", &format!("{key}.pk8")])
        .output()
        .unwrap();
    assert!(converted.status.success());
    let mut command = Command::new("java");
    command.arg("-cp").arg(path).arg(script("Matrix.java"));
    let skills = Skills {
        tls: true,
        states: true,
        binding: Binding::Unknown,
        options: &[],
    };
    let cells = Cells::of(&fronts, skills);
    judge("pgjdbc", skills, &cells, &run(command, &cells.cells));
}

#[test]
fn pgjdbc_by_the_byte() {
    let Some(fronts) = Fronts::shared("matrix::pgjdbc_by_the_byte") else {
        return;
    };
    let skills = Skills {
        tls: true,
        states: false,
        binding: Binding::Unknown,
        options: &[],
    };
    let (mut all, mut said) = (Cells::default(), Vec::new());
    for (login, opening, expected) in OPENINGS {
        let modes = ["disable", "allow", "require", "passthrough"];
        for (mode, expect) in modes.into_iter().zip(*expected) {
            let encrypts = opening.iter().any(|step| ["ssl", "tls"].contains(step));
            if matches!(expect, Never) {
                continue;
            }
            if mode == "passthrough" && encrypts && !fronts.cluster.has_tls() {
                *all.left_out
                    .entry("a server built without TLS")
                    .or_default() += 1;
                continue;
            }
            said.push(open(fronts.cluster, fronts.port(login, mode), opening));
            all.cells.push(Cell {
                what: format!("{login}, {mode}, {opening:?}"),
                conninfo: String::new(),
                expect: expect.with(skills, fronts.cluster),
            });
        }
    }
    judge("pgjdbc, by the byte", skills, &all, &said);
}
