//! The cancel ring: instances of the proxy that hand each other's cancel requests on.
//!
//! The file is the same for all of them:
//!
//! ```text
//! # what keys are made with, at least 16 bytes; a second line is a secret that is accepted as well
//! secret 3f1c5a...
//! # every instance: its number, and where it takes the requests that others hand on
//! instance 1 10.0.0.1:6433
//! instance 2 10.0.0.2:6433
//! ```
//!
//! A request is handed on once at most: what comes over the ring is looked up and goes no further. Its bytes say which
//! line of the file to look at, and never where to connect to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgturnout::auth::Secret;
use pgturnout::cancel::{CancelRing, Owner};
use pgturnout::startup::{CancelKey, ClientTls, Negotiation, Opened};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::options::{HostPort, Port};
use crate::users::BadLine;
use crate::{Proxy, accept, cancel};

/// Connections of other instances at a time.
const CONNECTIONS: usize = 256;

/// How long a request may take to arrive.
const LIMIT: Duration = Duration::from_secs(10);

/// What the file says to one instance.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) keys: Arc<CancelRing>,
    instances: Arc<BTreeMap<u32, HostPort>>,
}

impl Ring {
    /// Reads a whole file, as the instance of this number.
    pub(crate) fn parse(text: &str, instance: u32) -> Result<Ring, BadLine> {
        let (mut secrets, mut instances) = (Vec::new(), BTreeMap::new());
        for (line, text) in (1..).zip(text.lines()) {
            let bad = |message| BadLine { line, message };
            let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            match (word, rest.trim()) {
                ("", _) => {}
                (comment, _) if comment.starts_with('#') => {}
                ("secret", secret) if secrets.len() < 2 => secrets.push((line, secret)),
                ("secret", _) => return Err(bad("there are two secrets already")),
                ("instance", rest) => {
                    let (number, address) = parse_instance(rest).map_err(bad)?;
                    if instances
                        .keys()
                        .any(|other| last_byte(*other) == last_byte(number))
                    {
                        return Err(bad("another instance's number ends in the same byte"));
                    }
                    instances.insert(number, address);
                }
                _ => return Err(bad("expected `secret TEXT` or `instance NUMBER HOST:PORT`")),
            }
        }
        let last = |message| BadLine {
            line: text.lines().count().max(1),
            message,
        };
        if !instances.contains_key(&instance) {
            return Err(last("there is no line of this instance"));
        }
        let mut secrets = secrets.into_iter().map(|(line, secret)| {
            let short = BadLine {
                line,
                message: "the secret is shorter than 16 bytes",
            };
            (Secret::new(secret), short)
        });
        let (secret, short) = secrets.next().ok_or_else(|| last("there is no secret"))?;
        let mut keys = CancelRing::new(instance, secret).map_err(|_| short)?;
        if let Some((secret, short)) = secrets.next() {
            keys = keys.accepting(secret).map_err(|_| short)?;
        }
        Ok(Ring {
            keys: Arc::new(keys),
            instances: Arc::new(instances),
        })
    }

    /// Where this instance takes what others hand on.
    pub(crate) fn own(&self) -> &HostPort {
        &self.instances[&self.keys.instance()]
    }

    /// The other instances that may have the session of a key: none, or one; two for a short key that is as old as
    /// the second secret or as new as the first.
    pub(crate) fn others(&self, key: &CancelKey) -> Vec<HostPort> {
        let owner = self.keys.owner(key);
        let may = |number: u32| match owner {
            Owner::Nobody => false,
            Owner::Instance(owner) => number == owner,
            Owner::Perhaps { current, previous } => {
                let byte = last_byte(number);
                current == byte || previous == Some(byte)
            }
        };
        let own = self.keys.instance();
        let others = self.instances.iter().filter(|(number, _)| **number != own);
        others
            .filter(|(number, _)| may(**number))
            .map(|(_, address)| address.clone())
            .collect()
    }
}

fn parse_instance(text: &str) -> Result<(u32, HostPort), &'static str> {
    let parts = text.split_once(' ').and_then(|(number, address)| {
        let address = HostPort::parse(address.trim(), Port::Fixed).ok()?;
        Some((number.parse().ok()?, address))
    });
    parts.ok_or("expected `instance NUMBER HOST:PORT`")
}

fn last_byte(instance: u32) -> u8 {
    let [.., last] = instance.to_be_bytes();
    last
}

/// Takes what other instances hand on, for ever.
pub(crate) async fn serve(proxy: Arc<Proxy>, listener: TcpListener) {
    let take = |stream| {
        let proxy = Arc::clone(&proxy);
        async move {
            let _ = take(proxy, stream).await;
        }
    };
    accept::each(listener, CONNECTIONS, take).await;
}

/// One request. The connection is closed when it is done with, which the instance that handed it on tells its client.
async fn take(proxy: Arc<Proxy>, mut stream: TcpStream) -> io::Result<()> {
    let key = tokio::time::timeout(LIMIT, read_key(&mut stream)).await??;
    if let Some(key) = key {
        cancel::own(proxy, key, stream.peer_addr()?.ip()).await;
    }
    Ok(())
}

/// The key of a CancelRequest, in clear; `None` if something else comes.
async fn read_key(stream: &mut TcpStream) -> io::Result<Option<CancelKey>> {
    let mut opening = Negotiation::new(ClientTls::Disable);
    let mut input = Vec::new();
    loop {
        match opening.handle(&input, false) {
            Ok(Opened::Need(_)) => {
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(None);
                }
            }
            Ok(Opened::Cancel { key, .. }) => return Ok(Some(key)),
            Ok(_) | Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgturnout::cancel::KeyWidth;

    const FILE: &str =
        "# a ring\nsecret first secret of all\n\ninstance 1 a:1\ninstance 2 [::1]:2\n";

    fn ring(text: &str, instance: u32) -> Ring {
        Ring::parse(text, instance).unwrap()
    }

    fn key(ring: &Ring, width: KeyWidth) -> CancelKey {
        ring.keys.key(4711, width, &[7; 16]).unwrap()
    }

    fn others(ring: &Ring, key: &CancelKey) -> Vec<String> {
        ring.others(key).iter().map(HostPort::to_string).collect()
    }

    #[test]
    fn a_key_leads_to_the_line_of_its_instance_and_never_to_oneself() {
        let (one, two) = (ring(FILE, 1), ring(FILE, 2));
        assert_eq!(two.own().to_string(), "[::1]:2");
        for width in [KeyWidth::V3_0, KeyWidth::V3_2] {
            let key = key(&two, width);
            assert_eq!(others(&one, &key), ["[::1]:2"]);
            assert_eq!(others(&two, &key), [""; 0]);
        }
        let alone = ring(&FILE.replace("instance 2", "instance 3"), 1);
        for width in [KeyWidth::V3_0, KeyWidth::V3_2] {
            assert_eq!(
                others(&alone, &key(&two, width)),
                [""; 0],
                "not in the file"
            );
        }
    }

    #[test]
    fn a_key_of_another_secret_leads_nowhere_if_it_is_long() {
        let (one, two) = (ring(FILE, 1), ring(FILE, 2));
        let foreign = ring(&FILE.replace("first", "other"), 2);
        assert_eq!(others(&one, &key(&foreign, KeyWidth::V3_2)), [""; 0]);
        let mut changed = key(&two, KeyWidth::V3_2).secret().to_vec();
        changed[6] ^= 1;
        let changed = CancelKey::new(4711, &changed).unwrap();
        assert_eq!(others(&one, &changed), [""; 0]);
    }

    #[test]
    fn a_second_secret_is_accepted_and_makes_no_keys() {
        let both = FILE.replace("\n\n", "\nsecret second secret of all\n");
        let (rotated, old) = (both.replace("secret first", "x"), FILE);
        let rotated = rotated.replace(
            "x secret of all\nsecret second secret of all",
            "secret second secret of all\nsecret first secret of all",
        );
        for (maker, finder) in [(old, &both), (&rotated, &both), (&both, &rotated)] {
            for width in [KeyWidth::V3_0, KeyWidth::V3_2] {
                let key = key(&ring(maker, 2), width);
                assert!(others(&ring(finder, 1), &key).contains(&"[::1]:2".to_owned()));
            }
        }
        let key = key(&ring(&rotated, 2), KeyWidth::V3_2);
        assert_eq!(others(&ring(old, 1), &key), [""; 0]);
    }

    #[test]
    fn errors_name_the_line_and_hold_no_secret() {
        let secret = "secret hunter2hunter2hunter2\n";
        for (text, line, message) in [
            ("instance 1 a:1\n", 1, "there is no secret"),
            (
                "secret hunter2\ninstance 1 a:1",
                1,
                "the secret is shorter than 16 bytes",
            ),
            (
                &format!("{secret}{secret}{secret}"),
                3,
                "there are two secrets already",
            ),
            (
                &format!("{secret}secret hunter2\ninstance 1 a:1"),
                2,
                "the secret is shorter than 16 bytes",
            ),
            (
                &format!("{secret}instance 2 a:1"),
                2,
                "there is no line of this instance",
            ),
            (
                &format!("{secret}instance 1 a"),
                2,
                "expected `instance NUMBER HOST:PORT`",
            ),
            (
                &format!("{secret}instance 1 a:0"),
                2,
                "expected `instance NUMBER HOST:PORT`",
            ),
            (
                &format!("{secret}instance a:1"),
                2,
                "expected `instance NUMBER HOST:PORT`",
            ),
            (
                &format!("{secret}instance 1 a:1\ninstance 257 a:2"),
                3,
                "another instance's number ends in the same byte",
            ),
            (
                "hunter2hunter2hunter2",
                1,
                "expected `secret TEXT` or `instance NUMBER HOST:PORT`",
            ),
        ] {
            let bad = Ring::parse(text, 1).unwrap_err();
            assert_eq!((bad.line, bad.message), (line, message), "{text:?}");
        }
        assert!(!format!("{:?}", ring(FILE, 1)).contains("of all"));
    }
}
