use std::fmt;

use bytes::{BufMut, BytesMut};

use super::codes::CANCEL_REQUEST;
use crate::limits::{CANCEL_SECRET_MAX, CANCEL_SECRET_MIN};
use crate::secret::{constant_time_eq, wipe};

/// What a CancelRequest carries: the process id and the secret that BackendKeyData announced.
///
/// The secret has 4 bytes in protocol 3.0 and 4 to 256 in 3.2. `Debug` does not show it, `==` compares it in constant
/// time, and it is overwritten on drop.
#[derive(Clone)]
pub struct CancelKey {
    process_id: i32,
    secret: Box<[u8]>,
}

/// A secret that is shorter or longer than the protocol allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a cancel secret of {len} bytes; {} to {} are allowed",
    CANCEL_SECRET_MIN,
    CANCEL_SECRET_MAX
)]
pub struct CancelSecretLength {
    /// How long it is, in bytes.
    pub len: usize,
}

impl CancelKey {
    /// A key of these parts.
    ///
    /// # Errors
    ///
    /// If `secret` has less than [`CANCEL_SECRET_MIN`] or more than [`CANCEL_SECRET_MAX`] bytes.
    pub fn new(process_id: i32, secret: &[u8]) -> Result<CancelKey, CancelSecretLength> {
        if (CANCEL_SECRET_MIN..=CANCEL_SECRET_MAX).contains(&secret.len()) {
            Ok(CancelKey {
                process_id,
                secret: Box::from(secret),
            })
        } else {
            Err(CancelSecretLength { len: secret.len() })
        }
    }

    /// The process id; zero and negative ones are possible behind other poolers.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// The secret.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Appends the CancelRequest packet that asks for this session's query to be cancelled.
    pub fn encode(&self, out: &mut BytesMut) {
        // The secret has 256 bytes at most, so the conversion cannot fail.
        let length = u32::try_from(self.secret.len())
            .unwrap_or_default()
            .saturating_add(12);
        out.put_u32(length);
        out.put_u32(CANCEL_REQUEST);
        out.put_i32(self.process_id);
        out.put_slice(&self.secret);
    }
}

impl PartialEq for CancelKey {
    fn eq(&self, other: &CancelKey) -> bool {
        self.process_id == other.process_id && constant_time_eq(&self.secret, &other.secret)
    }
}

impl Eq for CancelKey {}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        wipe(&mut self.secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_the_lengths_of_the_protocol() {
        for len in [0, 3, 257] {
            assert_eq!(
                CancelKey::new(1, &vec![0; len]),
                Err(CancelSecretLength { len })
            );
        }
        for len in [4, 32, 256] {
            assert!(CancelKey::new(1, &vec![0; len]).is_ok());
        }
    }

    #[test]
    fn a_request_is_what_the_protocol_chapter_says() {
        let mut out = BytesMut::new();
        CancelKey::new(0x0102_0304, b"abcd")
            .unwrap()
            .encode(&mut out);
        assert_eq!(&out[..], b"\0\0\0\x10\x04\xd2\x16\x2e\x01\x02\x03\x04abcd");
    }

    #[test]
    fn equal_means_process_and_secret() {
        let key = CancelKey::new(1, b"abcd").unwrap();
        assert_eq!(key, key.clone());
        for (process_id, secret) in [(2, &b"abcd"[..]), (1, b"abce"), (1, b"abcd\0")] {
            assert_ne!(key, CancelKey::new(process_id, secret).unwrap());
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", CancelKey::new(7, b"abcd").unwrap());
        assert_eq!(shown, "CancelKey { process_id: 7, .. }");
    }
}
