//! The MD5 password exchange: AuthenticationMD5Password and its answer.
//!
//! What the server stores, `"md5" || hex(md5(password || user))`, is all that the answer needs: whoever has the
//! stored digest can log in. It is therefore treated as the password that it is.

use std::fmt;

use md5::{Digest, Md5};

use crate::secret::{constant_time_eq, wipe};

/// An MD5 digest of password and user name as PostgreSQL stores it, without the leading `md5`.
///
/// Enough to log in, hence redacted in `Debug` and overwritten on drop.
pub struct Md5Digest(Box<[u8; 32]>);

/// What an answer or a stored digest starts with.
const PREFIX: &[u8; 3] = b"md5";

impl Md5Digest {
    /// Reads the form of `pg_authid.rolpassword`: `md5` and 32 lower-case hexadecimal digits. `None` for anything
    /// else, upper-case digits included, as PostgreSQL decides it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Md5Digest> {
        let digits = text.strip_prefix(PREFIX)?;
        let digits: &[u8; 32] = digits.try_into().ok()?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits
            .iter()
            .all(is_hex)
            .then(|| Md5Digest(Box::new(*digits)))
    }

    /// The answer to AuthenticationMD5Password: `"md5" || hex(md5(digest || salt))`, without the final NUL of
    /// PasswordMessage.
    #[must_use]
    pub fn answer(&self, salt: [u8; 4]) -> [u8; 35] {
        with_prefix(&hex_md5(&self.0[..], &salt))
    }

    /// A second one.
    pub(super) fn duplicate(&self) -> Md5Digest {
        Md5Digest(self.0.clone())
    }

    /// Whether both are the same, compared in constant time.
    pub(super) fn matches(&self, other: &Md5Digest) -> bool {
        constant_time_eq(&self.0[..], &other.0[..])
    }

    /// Whether `answer` is the right one for `salt`, compared in constant time.
    #[must_use]
    pub fn accepts(&self, salt: [u8; 4], answer: &[u8]) -> bool {
        constant_time_eq(&self.answer(salt), answer)
    }
}

impl fmt::Debug for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Digest(..)")
    }
}

impl Drop for Md5Digest {
    fn drop(&mut self) {
        wipe(&mut self.0[..]);
    }
}

/// What PostgreSQL stores for this password of this user.
///
/// `user` is the name as in the StartupMessage, byte for byte: the name is the salt.
#[must_use]
pub fn md5_digest(user: &[u8], password: &[u8]) -> Md5Digest {
    Md5Digest(Box::new(hex_md5(password, user)))
}

/// The answer to AuthenticationMD5Password of one who knows the password.
///
/// ```
/// let answer = pgturnout::auth::md5_password(b"pgpg", b"pgpg", [1, 2, 3, 4]);
/// assert_eq!(&answer, b"md5e8dcacd3b532f5316ad9df7ed202ca21");
/// ```
#[must_use]
pub fn md5_password(user: &[u8], password: &[u8], salt: [u8; 4]) -> [u8; 35] {
    md5_digest(user, password).answer(salt)
}

/// A salt, one for each number and key, which it tells nothing of.
pub(super) fn salt(key: &[u8], number: u64) -> [u8; 4] {
    let digest = Md5::new()
        .chain_update(key)
        .chain_update(number.to_be_bytes())
        .finalize();
    let mut salt = [0; 4];
    for (byte, made) in salt.iter_mut().zip(digest) {
        *byte = made;
    }
    salt
}

#[cfg(test)]
thread_local! {
    /// How many digests this thread has made.
    pub(super) static MADE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The MD5 of both parts in a row, in lower-case hexadecimal digits.
fn hex_md5(first: &[u8], second: &[u8]) -> [u8; 32] {
    #[cfg(test)]
    MADE.set(MADE.get() + 1);
    let digest = Md5::new()
        .chain_update(first)
        .chain_update(second)
        .finalize();
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
    }
    hex
}

/// The digit for a value below 16.
fn hex_digit(nibble: u8) -> u8 {
    let base = if nibble < 10 {
        b'0'
    } else {
        b'a'.wrapping_sub(10)
    };
    base.wrapping_add(nibble)
}

/// The digits behind `md5`.
fn with_prefix(digits: &[u8; 32]) -> [u8; 35] {
    let mut answer = [0; 35];
    for (slot, byte) in answer.iter_mut().zip(PREFIX.iter().chain(digits)) {
        *slot = *byte;
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_digest_answers_like_its_password() {
        let stored = Md5Digest::parse(&with_prefix(&md5_digest(b"u", b"p").0)).unwrap();
        assert_eq!(stored.answer([9; 4]), md5_password(b"u", b"p", [9; 4]));
        assert!(stored.accepts([9; 4], &md5_password(b"u", b"p", [9; 4])));
        assert!(!stored.accepts([9; 4], &md5_password(b"u", b"q", [9; 4])));
        assert!(!stored.accepts([8; 4], &md5_password(b"u", b"p", [9; 4])));
    }

    #[test]
    fn only_the_stored_form_is_a_digest() {
        let good = *b"md50123456789abcdef0123456789abcdef";
        assert!(Md5Digest::parse(&good).is_some());
        for bad in [
            &b"md50123456789ABCDEF0123456789abcdef"[..],
            b"md50123456789abcdef0123456789abcde",
            b"md50123456789abcdef0123456789abcdef0",
            b"MD50123456789abcdef0123456789abcdef",
            b"md5g123456789abcdef0123456789abcdef",
            b"md5",
            b"",
        ] {
            assert!(Md5Digest::parse(bad).is_none(), "{bad:?}");
        }
    }
}
