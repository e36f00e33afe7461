use std::fmt;

#[cfg(feature = "scram")]
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Random bytes for one SCRAM login: as many as libpq takes.
///
/// They must be unpredictable and never used twice; a repeated nonce lets an old exchange be replayed to us.
pub struct ScramNonce(
    #[cfg_attr(
        not(feature = "scram"),
        expect(dead_code, reason = "only SCRAM needs a nonce")
    )]
    [u8; 18],
);

impl ScramNonce {
    /// A nonce of these random bytes. On the wire they are base64.
    #[must_use]
    pub const fn from_bytes(random: [u8; 18]) -> ScramNonce {
        ScramNonce(random)
    }

    /// The nonce with this number, of all that can be made of one random key. Different numbers give nonces that tell
    /// nothing of each other (HMAC-SHA-256 of the number, cut).
    #[cfg(feature = "scram")]
    #[must_use]
    pub fn derive(key: &[u8], number: u64) -> ScramNonce {
        let mut random = [0; 18];
        let code = super::scram_hash::keyed_code(key, &number.to_be_bytes());
        for (byte, made) in random.iter_mut().zip(code.expose()) {
            *byte = *made;
        }
        ScramNonce(random)
    }

    /// A nonce that nothing uses: without the feature `scram` no login needs one.
    #[cfg(not(feature = "scram"))]
    #[must_use]
    pub fn derive(_key: &[u8], _number: u64) -> ScramNonce {
        ScramNonce([0; 18])
    }

    /// The text on the wire.
    #[cfg(feature = "scram")]
    pub(super) fn text(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Debug for ScramNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramNonce(..)")
    }
}
