//! The functions that SCRAM-SHA-256 is made of: HMAC, H and Hi of RFC 5802 section 2.2.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::saslprep::saslprep;
use super::scram_keys::Key;
use crate::secret::wipe;

type HmacSha256 = Hmac<Sha256>;

/// A password being hashed: Hi of RFC 5802, in steps.
pub(super) struct Deriving {
    mac: HmacSha256,
    /// The MAC of the last iteration.
    last: Key,
    /// The exclusive or of all iterations so far.
    salted_password: Key,
    left: u32,
}

/// What a password makes of a salt and an iteration count.
pub(super) struct KeyPair {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
}

/// How far the hashing is after a step.
pub(super) enum Derived {
    More(Deriving),
    Done(KeyPair),
}

impl Deriving {
    /// Nothing but the first iteration is done here.
    pub(super) fn new(password: &[u8], salt: &[u8], iterations: u32) -> Deriving {
        let mac = keyed(saslprep(password).bytes());
        // U1 is the MAC of the salt and the number of the block, of which there is one.
        let first = mac.clone().chain_update(salt).chain_update([0, 0, 0, 1]);
        let first = Key::from(first);
        Deriving {
            left: iterations.saturating_sub(1),
            mac,
            salted_password: first.duplicate(),
            last: first,
        }
    }

    /// Works off at most `iterations` iterations, but at least one.
    pub(super) fn work(mut self, iterations: u32) -> Derived {
        let step = iterations.max(1).min(self.left);
        for _ in 0..step {
            self.last = Key::from(self.mac.clone().chain_update(self.last.expose()));
            self.salted_password.xor(&self.last);
        }
        self.left = self.left.saturating_sub(step);
        if self.left > 0 {
            return Derived::More(self);
        }
        let salted = keyed(self.salted_password.expose());
        Derived::Done(KeyPair {
            client_key: Key::from(salted.clone().chain_update(b"Client Key")),
            server_key: Key::from(salted.chain_update(b"Server Key")),
        })
    }
}

/// StoredKey = H(ClientKey).
pub(super) fn stored_key(client_key: &Key) -> Key {
    Key::from(Sha256::new().chain_update(client_key.expose()))
}

/// HMAC(key, message).
pub(super) fn signature(key: &Key, message: &[u8]) -> Key {
    Key::from(keyed(key.expose()).chain_update(message))
}

/// HMAC-SHA-256 of `text` under `key`.
pub(super) fn keyed_code(key: &[u8], text: &[u8]) -> Key {
    Key::from(keyed(key).chain_update(text))
}

/// An HMAC with this key, which RFC 2104 hashes first if it is longer than a block.
fn keyed(key: &[u8]) -> HmacSha256 {
    let hashed;
    let key = if key.len() > 64 {
        hashed = Key::from(Sha256::new().chain_update(key));
        &hashed.expose()[..]
    } else {
        key
    };
    let mut block = [0u8; 64];
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    let mac = HmacSha256::new(&block.into());
    wipe(&mut block);
    mac
}

impl From<HmacSha256> for Key {
    fn from(mac: HmacSha256) -> Key {
        Key::new(mac.finalize().into_bytes().into())
    }
}

impl From<Sha256> for Key {
    fn from(hash: Sha256) -> Key {
        Key::new(hash.finalize().into())
    }
}
