//! Which cluster a client wants.

use pgturnout::startup::{ClusterIdent, NoCluster, ProtocolVersion, StartupParams};

use super::contains;
use super::feed::Feed;

const DATABASES: &[&str] = &[
    "app",
    "",
    "happy-koala-7.app",
    "other-koala-8.app",
    "a.b.c",
    ".",
];
const OPTIONS: &[&str] = &[
    "-c",
    "--cluster=happy-koala-7",
    "-ccluster=happy-koala-7",
    "cluster=happy-koala-7",
    "--cluster=other-koala-8",
    "-c geqo=off",
    "--cluster=",
    "\\",
    " ",
];
const HOSTS: &[&str] = &["happy-koala-7.example.com", "happy-koala-7", "", ".", "db"];

/// What servers get is what the client sent but for what named the cluster: parameters in their order and number, the
/// others byte for byte, all of it where the host name says it; asked again, nothing but the host name does.
pub(crate) fn cluster_ident(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut pairs = vec![(b"user".to_vec(), b"alice".to_vec())];
    for _ in 0..feed.below(5) {
        pairs.push(pair(&mut feed));
    }
    let host = (feed.below(2) == 1).then(|| feed.one(HOSTS).as_bytes());
    let borrowed = (pairs.iter()).map(|(name, value)| (name.as_slice(), value.as_slice()));
    let Ok(sent) = StartupParams::build(ProtocolVersion::V3_0, borrowed) else {
        return;
    };
    let (ident, left) = match ClusterIdent::of(&sent, host) {
        Ok(found) => found,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    assert_eq!(
        ClusterIdent::parse(ident.to_string().as_bytes()),
        Ok(ident.clone())
    );
    assert_eq!((left.version(), left.user()), (sent.version(), sent.user()));
    assert!(left.raw().len() <= sent.raw().len());
    assert_eq!(left.iter().count(), sent.iter().count());
    let mut changed = 0;
    for ((name, value), (same, rest)) in sent.iter().zip(left.iter()) {
        assert_eq!(name, same);
        if value != rest {
            changed += 1;
            assert!([&b"database"[..], b"options"].contains(&name));
            assert!(rest.len() < value.len());
            assert!(contains(value, ident.to_string().as_bytes()));
        }
    }
    if changed == 0 {
        // Nothing in the message says it, and it is the very same.
        assert_eq!(left, sent);
        assert!(host.is_some_and(|host| host.starts_with(ident.to_string().as_bytes())));
        return;
    }
    assert!(changed <= 2);
    // What is left names no cluster by an option any more, though the database's own name is whatever it is.
    let again = ClusterIdent::of(&left, None);
    assert_eq!(again.err(), Some(NoCluster::Missing), "{left:?}");
}

fn pair(feed: &mut Feed<'_>) -> (Vec<u8>, Vec<u8>) {
    let value = |feed: &mut Feed<'_>, of: &[&str]| match feed.below(4) {
        0 => feed.bytes(12).to_vec(),
        _ => feed.one(of).as_bytes().to_vec(),
    };
    match feed.below(3) {
        0 => (b"database".to_vec(), value(feed, DATABASES)),
        1 => {
            let mut text = Vec::new();
            for _ in 0..feed.below(4) {
                text.extend_from_slice(&value(feed, OPTIONS));
                text.push(b' ');
            }
            (b"options".to_vec(), text)
        }
        _ => (b"application_name".to_vec(), value(feed, HOSTS)),
    }
}
