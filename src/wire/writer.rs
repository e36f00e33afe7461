use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::error::{Misfit, TooLong};
use crate::limits::{LENGTH_WORD_MAX, LENGTH_WORD_MIN};

/// The encoder of one frame: it leaves room for the length word and fills it in at the end.
///
/// The first value that does not fit is remembered, nothing is written after it, and [`finish`](Writer::finish)
/// reports it. A writer that did not finish, for that or any other reason, takes back all that it wrote.
///
/// ```
/// use bytes::BytesMut;
/// use pgturnout::wire::Writer;
///
/// let mut out = BytesMut::new();
/// let mut writer = Writer::message(&mut out, "Query", b'Q');
/// writer.cstr("text", b"select 1");
/// writer.finish()?;
/// assert_eq!(&out[..], b"Q\0\0\0\x0dselect 1\0");
///
/// let mut writer = Writer::message(&mut out, "Query", b'Q');
/// writer.cstr("text", b"select 1\0; drop table t");
/// assert!(writer.finish().is_err());
/// assert_eq!(out.len(), 14);
/// # Ok::<(), pgturnout::error::TooLong>(())
/// ```
#[must_use = "a writer that does not finish takes back what it wrote"]
pub struct Writer<'b> {
    message: &'static str,
    out: &'b mut BytesMut,
    /// Where the frame begins in `out`, and so where it is cut off again.
    frame: usize,
    /// Where the length word is; what it counts begins here.
    length: usize,
    /// Most bytes from `length` on.
    limit: usize,
    state: State,
}

enum State {
    Open,
    Refused(TooLong),
    Finished,
}

impl<'b> Writer<'b> {
    /// Begins a frame with a tag at the end of `out`; `message` is the name that errors carry.
    pub fn message(out: &'b mut BytesMut, message: &'static str, tag: u8) -> Writer<'b> {
        let frame = out.len();
        out.put_u8(tag);
        Writer::begin(out, message, frame)
    }

    /// Begins a packet without a tag, as the first ones of a client connection are.
    pub fn packet(out: &'b mut BytesMut, message: &'static str) -> Writer<'b> {
        let frame = out.len();
        Writer::begin(out, message, frame)
    }

    fn begin(out: &'b mut BytesMut, message: &'static str, frame: usize) -> Writer<'b> {
        let length = out.len();
        out.put_u32(0);
        Writer {
            message,
            out,
            frame,
            length,
            limit: usize::try_from(LENGTH_WORD_MAX).unwrap_or(usize::MAX),
            state: State::Open,
        }
    }

    /// Writes one byte.
    pub fn u8(&mut self, field: &'static str, value: u8) {
        self.bytes(field, &[value]);
    }

    /// Writes a signed 16-bit integer, as all integers in network byte order.
    pub fn i16(&mut self, field: &'static str, value: i16) {
        self.bytes(field, &value.to_be_bytes());
    }

    /// Writes an unsigned 16-bit integer.
    pub fn u16(&mut self, field: &'static str, value: u16) {
        self.bytes(field, &value.to_be_bytes());
    }

    /// Writes a signed 32-bit integer.
    pub fn i32(&mut self, field: &'static str, value: i32) {
        self.bytes(field, &value.to_be_bytes());
    }

    /// Writes an unsigned 32-bit integer.
    pub fn u32(&mut self, field: &'static str, value: u32) {
        self.bytes(field, &value.to_be_bytes());
    }

    /// Writes a signed 64-bit integer.
    pub fn i64(&mut self, field: &'static str, value: i64) {
        self.bytes(field, &value.to_be_bytes());
    }

    /// Writes an unsigned 64-bit integer.
    pub fn u64(&mut self, field: &'static str, value: u64) {
        self.bytes(field, &value.to_be_bytes());
    }

    /// Writes the bytes as they are.
    ///
    /// Refused ([`Misfit::Frame`]) if the frame would outgrow its length word, before anything is copied.
    pub fn bytes(&mut self, field: &'static str, bytes: &[u8]) {
        match self.state {
            State::Open => {}
            State::Refused(_) | State::Finished => return,
        }
        let written = self.out.len().saturating_sub(self.length);
        if bytes.len() > self.limit.saturating_sub(written) {
            return self.refuse(field, Misfit::Frame);
        }
        self.out.extend_from_slice(bytes);
    }

    /// Writes a string and its NUL.
    ///
    /// Refused ([`Misfit::InnerNul`]) if it holds one already.
    pub fn cstr(&mut self, field: &'static str, text: &[u8]) {
        if text.contains(&0) {
            return self.refuse(field, Misfit::InnerNul);
        }
        self.bytes(field, text);
        self.u8(field, 0);
    }

    /// Writes a value with its 32-bit length, or the length −1 for `None`, which is NULL.
    pub fn value(&mut self, field: &'static str, value: Option<&[u8]>) {
        let Some(bytes) = value else {
            return self.i32(field, -1);
        };
        let Ok(len) = i32::try_from(bytes.len()) else {
            return self.refuse(field, Misfit::Frame);
        };
        self.i32(field, len);
        self.bytes(field, bytes);
    }

    /// Writes an unsigned 16-bit count.
    ///
    /// Refused ([`Misfit::Count`]) above 65,535.
    pub fn count(&mut self, field: &'static str, count: usize) {
        match u16::try_from(count) {
            Ok(word) => self.u16(field, word),
            Err(_) => self.refuse(field, Misfit::Count { count }),
        }
    }

    /// Writes a 32-bit count, which is signed on the wire.
    ///
    /// Refused ([`Misfit::Count`]) above 2³¹ − 1.
    pub fn count32(&mut self, field: &'static str, count: usize) {
        match i32::try_from(count) {
            Ok(word) => self.i32(field, word),
            Err(_) => self.refuse(field, Misfit::Count { count }),
        }
    }

    /// Refuses the frame: `field` does not fit. The first refusal is the one that is reported.
    pub fn refuse(&mut self, field: &'static str, misfit: Misfit) {
        match self.state {
            State::Open => {
                let message = self.message;
                self.state = State::Refused(TooLong {
                    message,
                    field,
                    misfit,
                });
            }
            State::Refused(_) | State::Finished => {}
        }
    }

    /// Fills in the length word: the frame is complete.
    ///
    /// # Errors
    /// The first value that did not fit. The output is then as it was before this writer.
    pub fn finish(mut self) -> Result<(), TooLong> {
        match self.state {
            State::Refused(refusal) => return Err(refusal),
            State::Open | State::Finished => {}
        }
        let len = self.out.len().saturating_sub(self.length);
        let word = u32::try_from(len)
            .unwrap_or(LENGTH_WORD_MAX)
            .max(LENGTH_WORD_MIN);
        let slot = self
            .out
            .get_mut(self.length..)
            .and_then(<[u8]>::first_chunk_mut);
        if let Some(slot) = slot {
            *slot = word.to_be_bytes();
        }
        self.state = State::Finished;
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        match self.state {
            State::Finished => {}
            State::Open | State::Refused(_) => self.out.truncate(self.frame),
        }
    }
}

/// What was written is not shown: it may be a password.
impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("message", &self.message)
            .field("len", &self.out.len().saturating_sub(self.frame))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_that_the_length_word_can_count_fits() {
        for (len, fits) in [(6, true), (7, false)] {
            let mut out = BytesMut::from(&b"before"[..]);
            let mut writer = Writer::message(&mut out, "Test", b't');
            writer.limit = 10;
            writer.bytes("data", &b"1234567"[..len]);
            assert_eq!(writer.finish().is_ok(), fits, "{len}");
            assert_eq!(out.len(), 6 + if fits { 5 + len } else { 0 });
        }
    }

    #[test]
    fn the_first_refusal_is_reported_and_nothing_is_written_behind_it() {
        let mut out = BytesMut::new();
        let mut writer = Writer::message(&mut out, "Test", b't');
        writer.cstr("first", b"a\0");
        writer.count("second", 65_536);
        writer.u64("third", 7);
        assert_eq!(writer.out.len(), 5);
        let error = writer.finish().unwrap_err();
        assert_eq!(error.to_string(), "Test: first: a NUL inside a string");
        assert!(out.is_empty());
    }

    #[test]
    fn a_writer_that_is_dropped_takes_back_its_frame() {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut writer = Writer::packet(&mut out, "Test");
        writer.u32("code", 80_877_103);
        drop(writer);
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn a_packet_has_no_tag() {
        let mut out = BytesMut::new();
        let mut writer = Writer::packet(&mut out, "SSLRequest");
        writer.i32("code", 80_877_103);
        writer.finish().unwrap();
        assert_eq!(&out[..], b"\0\0\0\x08\x04\xd2\x16\x2f");
    }

    #[test]
    fn debug_shows_no_byte() {
        let mut out = BytesMut::new();
        let mut writer = Writer::message(&mut out, "PasswordMessage", b'p');
        writer.cstr("password", b"n33dle");
        let shown = format!("{writer:?}");
        assert_eq!(
            shown,
            "Writer { message: \"PasswordMessage\", len: 12, .. }"
        );
    }
}
