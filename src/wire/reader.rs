use std::ffi::CStr;
use std::fmt;

use crate::error::{Fault, Malformed};

/// The checked cursor: the only way bytes of a peer are read in this crate.
///
/// It borrows one exact body and cannot see past it. Each method names the field it reads, so that the error does
/// too. A method that fails reads nothing. No method allocates.
///
/// ```
/// use pgturnout::wire::Reader;
///
/// let mut reader = Reader::new("Example", b"\x00\x07name\0");
/// assert_eq!(reader.u16("number")?, 7);
/// assert_eq!(reader.cstr("name")?, b"name");
/// reader.finish()?;
/// # Ok::<(), pgturnout::error::Malformed>(())
/// ```
#[derive(Clone)]
pub struct Reader<'a> {
    message: &'static str,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `body`; `message` is the name that errors carry.
    pub const fn new(message: &'static str, body: &'a [u8]) -> Reader<'a> {
        Reader {
            message,
            len: body.len(),
            rest: body,
        }
    }

    /// How many bytes have been read, which is where the next field begins.
    pub const fn offset(&self) -> usize {
        self.len.saturating_sub(self.rest.len())
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The error that says that `field`, which begins at the cursor, has this `fault`.
    pub const fn fault(&self, field: &'static str, fault: Fault) -> Malformed {
        Malformed {
            message: self.message,
            field,
            offset: self.offset(),
            fault,
        }
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`Fault::Missing`] at the end of the body.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    /// Reads a signed 16-bit integer, as all integers in network byte order.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than 2 bytes left.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    /// Reads an unsigned 16-bit integer.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than 2 bytes left.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// Reads a signed 32-bit integer.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than 4 bytes left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    /// Reads an unsigned 32-bit integer.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than 4 bytes left.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// Reads a signed 64-bit integer.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than 8 bytes left.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    /// Reads an unsigned 64-bit integer.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than 8 bytes left.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    /// Reads `N` bytes by value.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than `N` bytes left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let Some((array, rest)) = self.rest.split_first_chunk() else {
            return Err(self.missing(field, N));
        };
        self.rest = rest;
        Ok(*array)
    }

    /// Reads `n` bytes.
    ///
    /// # Errors
    /// [`Fault::Missing`] with fewer than `n` bytes left.
    pub fn bytes(&mut self, field: &'static str, n: usize) -> Result<&'a [u8], Malformed> {
        let Some((bytes, rest)) = self.rest.split_at_checked(n) else {
            return Err(self.missing(field, n));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads a string up to its NUL, and the NUL, which is not part of the result.
    ///
    /// # Errors
    /// [`Fault::NoTerminator`] if no NUL follows.
    pub fn cstr(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let Ok(text) = CStr::from_bytes_until_nul(self.rest) else {
            return Err(self.fault(field, Fault::NoTerminator));
        };
        self.bytes(field, text.count_bytes().saturating_add(1))?;
        Ok(text.to_bytes())
    }

    /// Reads a value: a 32-bit length and that many bytes, or `None` for the length −1, which is NULL.
    ///
    /// # Errors
    /// [`Fault::BadValue`] for any other negative length, [`Fault::Missing`] if the body ends before the value does.
    pub fn value(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        let mut ahead = self.clone();
        let value = match ahead.i32(field)? {
            -1 => None,
            len => {
                let Ok(len) = usize::try_from(len) else {
                    return Err(self.fault(field, Fault::BadValue));
                };
                Some(ahead.bytes(field, len)?)
            }
        };
        *self = ahead;
        Ok(value)
    }

    /// Reads all that is left, which may be nothing.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Fault::Leftover`] if a byte has not been read.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(self.fault("end", Fault::Leftover { extra })),
        }
    }

    /// The error for a field of `len` bytes, or of at least that many, that the body has no room for.
    pub(super) fn missing(&self, field: &'static str, len: usize) -> Malformed {
        let needed = len.saturating_sub(self.rest.len());
        self.fault(field, Fault::Missing { needed })
    }

    /// The bytes read since `start`, which must be an earlier copy of this cursor.
    pub(super) fn since(&self, start: &Reader<'a>) -> &'a [u8] {
        let len = start.rest.len().saturating_sub(self.rest.len());
        start.rest.get(..len).unwrap_or_default()
    }
}

/// The body is not shown: it may hold a password.
impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("message", &self.message)
            .field("offset", &self.offset())
            .field("remaining", &self.remaining())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_in_network_byte_order_and_signed_where_they_say_so() {
        let body = [0xfe; 29];
        let mut reader = Reader::new("Test", &body);
        assert_eq!(reader.u8("a"), Ok(0xfe));
        assert_eq!(reader.i16("b"), Ok(-0x0102));
        assert_eq!(reader.u16("c"), Ok(0xfefe));
        assert_eq!(reader.i32("d"), Ok(-0x0101_0102));
        assert_eq!(reader.u32("e"), Ok(0xfefe_fefe));
        assert_eq!(reader.i64("f"), Ok(-0x0101_0101_0101_0102));
        assert_eq!(reader.u64("g"), Ok(0xfefe_fefe_fefe_fefe));
        assert_eq!((reader.offset(), reader.remaining()), (29, 0));
        assert_eq!(Reader::new("Test", &[1, 2]).u16("h"), Ok(0x0102));
    }

    #[test]
    fn what_fails_reads_nothing() {
        let mut reader = Reader::new("Test", b"\x01\xff\xff\xff\xfe");
        assert_eq!(reader.u8("first"), Ok(1));
        assert!(reader.u64("long").is_err());
        assert!(reader.cstr("text").is_err());
        assert!(reader.bytes("data", usize::MAX).is_err());
        assert!(reader.value("value").is_err());
        assert_eq!((reader.offset(), reader.remaining()), (1, 4));
        assert_eq!(reader.rest(), b"\xff\xff\xff\xfe");
        assert_eq!(reader.rest(), b"");
    }

    #[test]
    fn errors_say_what_is_missing_and_where() {
        let mut reader = Reader::new("Test", b"\0\0\0\x09abc");
        let error = reader.value("value").unwrap_err();
        assert_eq!(error.to_string(), "Test: value: 6 bytes missing (offset 4)");
        let error = reader.bytes("data", 10).unwrap_err();
        assert_eq!(error.to_string(), "Test: data: 3 bytes missing (offset 0)");
        let error = reader.clone().finish().unwrap_err();
        assert_eq!(error.to_string(), "Test: end: 7 bytes left over (offset 0)");
        reader.bytes("data", 4).unwrap();
        let error = reader.cstr("text").unwrap_err();
        assert_eq!(error.to_string(), "Test: text: no terminator (offset 4)");
    }

    #[test]
    fn a_string_ends_at_its_first_nul() {
        let mut reader = Reader::new("Test", b"ab\0\0c\0");
        assert_eq!(reader.cstr("text"), Ok(&b"ab"[..]));
        assert_eq!(reader.cstr("text"), Ok(&b""[..]));
        assert_eq!(reader.cstr("text"), Ok(&b"c"[..]));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn debug_shows_no_byte() {
        let reader = Reader::new("Test", b"n33dle");
        assert_eq!(
            format!("{reader:?}"),
            "Reader { message: \"Test\", offset: 0, remaining: 6 }"
        );
    }
}
