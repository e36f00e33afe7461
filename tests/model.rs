//! The model PostgreSQL of the simulator, by itself: what it answers to scripts of messages.

#[path = "support/sim/mod.rs"]
mod sim;

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
