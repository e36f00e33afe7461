//! Bytes that must not be shown and must not outlive their use.

use std::fmt;
use std::hint::black_box;

use bytes::BytesMut;

/// A password, a key or another text that must never be printed.
///
/// `Debug` shows neither content nor length, there is no `Display`, no `Clone` and no `==`; [`Secret::matches`]
/// compares in constant time. The bytes are overwritten when the value is dropped. That reaches the one allocation
/// that the `Secret` owns; a copy which the caller keeps, a register or a swapped page is out of its reach.
///
/// ```
/// use pgturnout::auth::Secret;
///
/// let password = Secret::new(b"correct horse".to_vec());
/// assert_eq!(format!("{password:?}"), "Secret(..)");
/// assert!(password.matches(b"correct horse"));
/// ```
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the bytes over. If the vector that they came in has room to spare, they are copied, and it is overwritten.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        let mut bytes = bytes.into();
        if bytes.len() == bytes.capacity() {
            return Secret(bytes.into_boxed_slice());
        }
        let secret = Secret::copy_of(&bytes);
        wipe(&mut bytes);
        secret
    }

    /// Copies the bytes.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Secret {
        Secret(Box::from(bytes))
    }

    /// The bytes themselves. Whoever prints, stores or sends them answers for it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether the bytes are equal to `other`. The time depends on the lengths alone.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        constant_time_eq(&self.0, other)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites `bytes` with zeros, in a way that the optimiser does not see as a dead store.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}

/// Appends bytes that may be secret: if the vector has to grow, what it held before is overwritten.
pub(crate) fn append(held: &mut Vec<u8>, bytes: &[u8]) {
    let needed = held.len().saturating_add(bytes.len());
    if needed > held.capacity() {
        let mut bigger = Vec::with_capacity(needed.max(held.len().saturating_mul(2)));
        bigger.extend_from_slice(held);
        wipe(held);
        *held = bigger;
    }
    held.extend_from_slice(bytes);
}

/// Empties a buffer that may have held a secret.
pub(crate) fn empty(bytes: &mut BytesMut) {
    wipe(bytes);
    bytes.clear();
}

/// Whether `a` and `b` are equal, in a time that depends on their lengths alone.
#[must_use]
pub(crate) fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a
        .iter()
        .zip(b)
        .fold(0u8, |seen, (x, y)| black_box(seen | (x ^ y)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_means_every_byte_and_the_length() {
        let secret = Secret::copy_of(b"abc");
        assert!(secret.matches(b"abc"));
        assert!(Secret::copy_of(b"").matches(b""));
        for other in [&b"abd"[..], b"bbc", b"aBc", b"ab", b"abcd", b""] {
            assert!(!secret.matches(other), "{other:?}");
        }
    }

    #[test]
    fn wiped_bytes_are_zero() {
        let mut bytes = *b"secret";
        wipe(&mut bytes);
        assert_eq!(bytes, [0; 6]);
    }

    #[test]
    fn debug_tells_neither_content_nor_length() {
        assert_eq!(
            format!("{:?}", Secret::copy_of(b"x")),
            format!("{:?}", Secret::new("a longer one"))
        );
    }
}
