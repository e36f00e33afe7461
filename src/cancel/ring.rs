use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::limits::CANCEL_RING_SECRET_MIN;
use crate::secret::{Secret, constant_time_eq};
use crate::startup::CancelKey;

/// How wide a key's secret is: as the client's protocol version has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWidth {
    /// 4 bytes, the width of protocol 3.0.
    V3_0,
    /// 53 bytes, for protocol 3.2, which allows up to 256.
    V3_2,
}

/// Whose a cancel key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: it was not made with a secret of the ring.
    Nobody,
    /// This instance's: the key proves it.
    Instance(u32),
    /// Of an instance whose number ends in this byte, if of any: 4 bytes have no room for a proof.
    Perhaps {
        /// By the current secret.
        current: u8,
        /// By the previous one, if there is one: a key may be as old.
        previous: Option<u8>,
    },
}

/// Makes cancel keys from which every instance of a fleet can tell whose they are, without shared state.
///
/// All instances have the same secret, and each a number. Which instance a CancelRequest arrives at does not matter: it
/// looks a key of its own up in its [`CancelMap`](super::CancelMap) and hands any other to the instance that it names,
/// which looks it up in turn. **A key that names an instance is no permission**: only the table of that instance, where
/// all its bytes are compared, knows whether a session has it. Hand a request on once only, to an address from the
/// configuration, never to one from the key.
///
/// # Protocol 3.2
///
/// The secret is a format byte (1), the instance, 16 random bytes, and an HMAC-SHA-256 over the process id and all of
/// that. Forging one that is handed on takes the ring's secret; guessing one that cancels takes the random bytes too.
/// A wrong one costs an HMAC (two while a previous secret is accepted) and goes nowhere.
///
/// # Protocol 3.0
///
/// Four bytes: the last byte of the instance's number, hidden by an HMAC over the process id and the other three, which
/// are random. What that is worth:
///
/// - Every 4-byte secret names some instance, so a forged one is handed on like a real one. It costs one hop and fails in
///   the table.
/// - Who does not have the ring's secret guesses the key of a session with a known process id with a chance of 2⁻³² in
///   each try, as with four random bytes. Who has it, 2⁻²⁴.
/// - Two sessions of an instance that have the same process id at the same time (of two writers) have the same key with a
///   chance of 2⁻²⁴. [`CancelMap::enter`](super::CancelMap::enter) refuses the second, which then cannot be cancelled.
/// - Instances whose numbers end in the same byte are told apart by asking each.
///
/// # Rotation
///
/// Two secrets are accepted at once. To change one in a running fleet: first let every instance accept the new one
/// ([`accepting`](CancelRing::accepting)), then make it the current one everywhere, with the old one accepted, and drop
/// that when the sessions are gone whose keys were made with it. From then on such a key is found at its own instance
/// only.
pub struct CancelRing {
    instance: u32,
    current: Secret,
    previous: Option<Secret>,
}

/// A secret that could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret of a cancel ring has {len} bytes; at least {} are needed",
    CANCEL_RING_SECRET_MIN
)]
pub struct ShortSecret {
    /// How long it is, in bytes.
    pub len: usize,
}

const FORMAT: u8 = 1;
/// The bytes that the code of a long secret covers: format, instance, random bytes.
const HEAD: usize = 21;

impl CancelRing {
    /// The ring of one instance, with the secret that all instances share.
    ///
    /// # Errors
    ///
    /// If the secret has less than [`CANCEL_RING_SECRET_MIN`] bytes.
    pub fn new(instance: u32, secret: Secret) -> Result<CancelRing, ShortSecret> {
        Ok(CancelRing {
            instance,
            current: long_enough(secret)?,
            previous: None,
        })
    }

    /// The same, which also takes keys made with another secret: an older one, or one that is to come.
    ///
    /// # Errors
    ///
    /// If the secret has less than [`CANCEL_RING_SECRET_MIN`] bytes.
    pub fn accepting(self, previous: Secret) -> Result<CancelRing, ShortSecret> {
        Ok(CancelRing {
            previous: Some(long_enough(previous)?),
            ..self
        })
    }

    /// This instance's number.
    #[must_use]
    pub fn instance(&self) -> u32 {
        self.instance
    }

    /// A key of this instance. `random` must be unpredictable, and another for each session.
    #[must_use]
    pub fn key(&self, process_id: i32, width: KeyWidth, random: &[u8; 16]) -> Option<CancelKey> {
        let secret = match width {
            KeyWidth::V3_0 => {
                let [a, b, c, ..] = *random;
                let [.., instance] = self.instance.to_be_bytes();
                let hidden = instance ^ mask(&self.current, process_id, [a, b, c]);
                vec![hidden, a, b, c]
            }
            KeyWidth::V3_2 => {
                let mut secret = vec![FORMAT];
                secret.extend_from_slice(&self.instance.to_be_bytes());
                secret.extend_from_slice(random);
                let code = code(&self.current, process_id, &secret);
                secret.extend_from_slice(&code);
                secret
            }
        };
        let secret = Secret::new(secret);
        CancelKey::new(process_id, secret.expose()).ok()
    }

    /// Whose a key is.
    #[must_use]
    pub fn owner(&self, key: &CancelKey) -> Owner {
        if let [hidden, a, b, c] = *key.secret() {
            let by = |secret: &Secret| hidden ^ mask(secret, key.process_id(), [a, b, c]);
            return Owner::Perhaps {
                current: by(&self.current),
                previous: self.previous.as_ref().map(by),
            };
        }
        let Some((head @ [FORMAT, instance @ ..], proof)) =
            key.secret().split_first_chunk::<HEAD>()
        else {
            return Owner::Nobody;
        };
        let proves =
            |secret: &Secret| constant_time_eq(proof, &code(secret, key.process_id(), head));
        match instance.first_chunk() {
            Some(number) if proves(&self.current) || self.previous.as_ref().is_some_and(proves) => {
                Owner::Instance(u32::from_be_bytes(*number))
            }
            Some(_) | None => Owner::Nobody,
        }
    }

    /// Whether a key may be this instance's: look it up here first.
    #[must_use]
    pub fn may_be_own(&self, key: &CancelKey) -> bool {
        let [.., own] = self.instance.to_be_bytes();
        match self.owner(key) {
            Owner::Nobody => false,
            Owner::Instance(instance) => instance == self.instance,
            Owner::Perhaps { current, previous } => current == own || previous == Some(own),
        }
    }
}

impl fmt::Debug for CancelRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelRing")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

fn long_enough(secret: Secret) -> Result<Secret, ShortSecret> {
    let len = secret.expose().len();
    if len < CANCEL_RING_SECRET_MIN {
        Err(ShortSecret { len })
    } else {
        Ok(secret)
    }
}

/// What hides the instance in a short secret.
fn mask(secret: &Secret, process_id: i32, random: [u8; 3]) -> u8 {
    let [first, ..] = keyed(secret, b"pgturnout cancel 3.0", process_id, &random);
    first
}

/// What proves a long one.
fn code(secret: &Secret, process_id: i32, head: &[u8]) -> [u8; 32] {
    keyed(secret, b"pgturnout cancel 3.2", process_id, head)
}

/// HMAC-SHA-256 of all that. The purpose has a fixed length, so no two of its texts are the same.
fn keyed(secret: &Secret, purpose: &[u8; 20], process_id: i32, text: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(secret.expose()) {
        Ok(mac) => mac
            .chain_update(purpose)
            .chain_update(process_id.to_be_bytes())
            .chain_update(text)
            .finalize()
            .into_bytes()
            .into(),
        // HMAC takes keys of any length.
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; 16] = *b"0123456789abcdef";

    fn secret(byte: u8) -> Secret {
        Secret::new(vec![byte; CANCEL_RING_SECRET_MIN])
    }

    fn ring(instance: u32, byte: u8) -> CancelRing {
        CancelRing::new(instance, secret(byte)).unwrap()
    }

    fn long(ring: &CancelRing, process_id: i32) -> CancelKey {
        ring.key(process_id, KeyWidth::V3_2, &RANDOM).unwrap()
    }

    fn short(ring: &CancelRing, process_id: i32) -> CancelKey {
        ring.key(process_id, KeyWidth::V3_0, &RANDOM).unwrap()
    }

    #[test]
    fn every_instance_knows_whose_a_long_key_is() {
        for instance in [0, 1, 255, 256, u32::MAX] {
            let key = long(&ring(instance, 1), 4711);
            assert_eq!(key.secret().len(), 53);
            assert_eq!(ring(77, 1).owner(&key), Owner::Instance(instance));
            assert!(ring(instance, 1).may_be_own(&key));
            assert!(!ring(77, 1).may_be_own(&key));
        }
    }

    /// One bit of it, its process, its length or its secret changed, it is nobody's.
    #[test]
    fn a_long_key_cannot_be_changed() {
        let ring = ring(9, 1);
        let key = long(&ring, 4711);
        for at in 0..key.secret().len() {
            for bit in 0..8 {
                let mut changed = key.secret().to_vec();
                changed[at] ^= 1 << bit;
                let changed = CancelKey::new(4711, &changed).unwrap();
                assert_eq!(
                    ring.owner(&changed),
                    Owner::Nobody,
                    "bit {bit} of byte {at}"
                );
            }
        }
        for len in [5, 20, 21, 52] {
            let cut = CancelKey::new(4711, &key.secret()[..len]).unwrap();
            assert_eq!(ring.owner(&cut), Owner::Nobody, "{len} bytes");
        }
        let longer = [key.secret(), &[0]].concat();
        let other = CancelKey::new(4711, &longer).unwrap();
        assert_eq!(ring.owner(&other), Owner::Nobody);
        let other = CancelKey::new(4712, key.secret()).unwrap();
        assert_eq!(ring.owner(&other), Owner::Nobody);
        assert_eq!(self::ring(9, 2).owner(&key), Owner::Nobody);
    }

    #[test]
    fn a_short_key_names_the_last_byte() {
        for instance in [0, 1, 255, 256, 0x1234_5678] {
            let key = short(&ring(instance, 1), 4711);
            assert_eq!(key.secret().len(), 4);
            let current = instance.to_be_bytes()[3];
            let owner = Owner::Perhaps {
                current,
                previous: None,
            };
            assert_eq!(ring(77, 1).owner(&key), owner);
            assert!(ring(instance, 1).may_be_own(&key));
            assert!(ring(instance ^ 0x100, 1).may_be_own(&key));
            assert!(!ring(instance ^ 1, 1).may_be_own(&key));
        }
    }

    /// The instance is hidden: over many keys of one, its byte takes every value, none of them often.
    #[test]
    fn a_short_key_does_not_show_the_instance() {
        let ring = ring(9, 1);
        let mut seen = [0_u32; 256];
        for process_id in 0..8_192 {
            seen[usize::from(short(&ring, process_id).secret()[0])] += 1;
        }
        assert!(seen.iter().all(|count| (8..96).contains(count)), "{seen:?}");
    }

    #[test]
    fn two_secrets_are_accepted_at_once() {
        let (old, new) = (ring(9, 1), ring(9, 2));
        let both = ring(77, 2).accepting(secret(1)).unwrap();
        for ring in [&old, &new] {
            assert_eq!(both.owner(&long(ring, 4711)), Owner::Instance(9));
        }
        assert_eq!(both.owner(&long(&ring(9, 3), 4711)), Owner::Nobody);
        match both.owner(&short(&old, 4711)) {
            Owner::Perhaps {
                previous: Some(9), ..
            } => {}
            other => panic!("{other:?}"),
        }
        match both.owner(&short(&new, 4711)) {
            Owner::Perhaps {
                current: 9,
                previous: Some(_),
            } => {}
            other => panic!("{other:?}"),
        }
        let mine = ring(9, 2).accepting(secret(1)).unwrap();
        assert!(mine.may_be_own(&short(&old, 4711)) && mine.may_be_own(&short(&new, 4711)));
    }

    #[test]
    fn a_secret_has_16_bytes_at_least() {
        let of = |len: usize| CancelRing::new(1, Secret::new(vec![7; len]));
        assert_eq!(of(15).err(), Some(ShortSecret { len: 15 }));
        assert!(of(16).is_ok() && of(200).is_ok());
        let short = of(16).unwrap().accepting(Secret::new(vec![7; 15]));
        assert_eq!(short.err(), Some(ShortSecret { len: 15 }));
    }

    /// Made once with another implementation (Python's hmac), so that instances of two versions agree.
    #[test]
    fn keys_stay_as_they_are() {
        let hex = |key: CancelKey| -> String {
            key.secret()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        };
        let ring = ring(0x0102_0304, 7);
        assert_eq!(hex(short(&ring, 4711)), SHORT);
        assert_eq!(hex(long(&ring, 4711)), LONG);
    }

    const SHORT: &str = "b1303132";
    const LONG: &str = "0101020304303132333435363738396162636465664a02d4d23526cf07dc\
        a39b86fee42be14865c81baed5db16218b21537b24c72a";

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", ring(9, 7));
        assert_eq!(shown, "CancelRing { instance: 9, .. }");
    }
}
