use std::fmt;

use md5::{Digest, Md5};

/// The random key by which the answer to `SHOW TRANSFER STATE` is known: a UUID of version 4 (RFC 9562 §5.4).
///
/// ```
/// use pgturnout::migrate::cockroach::TransferKey;
///
/// let key = TransferKey::from_random([0xff; 16]); // from a cryptographic random source, new for each move
/// assert_eq!(key.text(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TransferKey(String);

impl TransferKey {
    /// A key of random bytes. 122 bits of them count.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> TransferKey {
        let mut text = String::with_capacity(36);
        for (at, byte) in random.into_iter().enumerate() {
            let byte = match at {
                6 => byte & 0x0f | 0x40,
                8 => byte & 0x3f | 0x80,
                _ => byte,
            };
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 0x0f] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        TransferKey(text)
    }

    /// The key with this number, of all that can be made of one random secret, which it tells nothing of (MD5).
    #[must_use]
    pub fn derive(secret: &[u8], number: u64) -> TransferKey {
        let digest = Md5::new()
            .chain_update(b"transfer key")
            .chain_update(secret)
            .chain_update(number.to_be_bytes())
            .finalize();
        TransferKey::from_random(digest.into())
    }

    /// The key as it is sent and echoed: hexadecimal digits and hyphens.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TransferKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransferKey(..)")
    }
}
