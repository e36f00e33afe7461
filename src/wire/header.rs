use crate::error::{Fault, Malformed};
use crate::limits::{LENGTH_WORD_MAX, LENGTH_WORD_MIN};

/// The five bytes that begin every frame after the opening: a tag and a length word.
///
/// ```
/// use pgturnout::wire::Header;
///
/// let input = b"Z\0\0\0\x05I";
/// let header = Header::parse(input)?.expect("five bytes are there");
/// assert_eq!(header, Header { tag: b'Z', frame_len: 6 });
/// assert_eq!(header.body_len(), 1);
/// assert_eq!(header.split(input), Some((&b"I"[..], &b""[..])));
/// # Ok::<(), pgturnout::error::Malformed>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message type, one of [`tags`](super::tags).
    pub tag: u8,
    /// Length of the whole frame in bytes: the length word, which counts itself, and one more for the tag.
    pub frame_len: u32,
}

impl Header {
    /// Length of a header in bytes.
    pub const LEN: usize = 5;

    /// Largest [`frame_len`](Header::frame_len) that the format allows.
    pub const FRAME_LEN_MAX: u32 = LENGTH_WORD_MAX.saturating_add(1);

    /// Reads the header at the start of `input`, or `None` while it has fewer than five bytes.
    ///
    /// # Errors
    /// As soon as the five bytes are there: a length word below 4, which does not count itself, or above 2³¹ − 1,
    /// which is negative to PostgreSQL. Such a stream has lost its frame boundaries; nothing behind it means anything.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<Option<Header>, Malformed> {
        Header::parse_within(input, Header::FRAME_LEN_MAX)
    }

    /// Like [`parse`](Header::parse), and refuses a frame of more than `limit` bytes, tag and length word included.
    ///
    /// # Errors
    /// As [`parse`](Header::parse), and for a longer frame, without waiting for any of it.
    #[inline]
    pub fn parse_within(input: &[u8], limit: u32) -> Result<Option<Header>, Malformed> {
        let Some(&[tag, a, b, c, d]) = input.first_chunk() else {
            return Ok(None);
        };
        let word = u32::from_be_bytes([a, b, c, d]);
        if word < LENGTH_WORD_MIN {
            let least = LENGTH_WORD_MIN;
            return Err(bad_length(Fault::LengthTooSmall { least }));
        }
        let limit = limit.min(Header::FRAME_LEN_MAX);
        let frame_len = word.saturating_add(1);
        if frame_len > limit {
            let limit = limit.saturating_sub(1);
            return Err(bad_length(Fault::LengthTooLarge { limit }));
        }
        Ok(Some(Header { tag, frame_len }))
    }

    /// Length of the body in bytes: the frame without its header.
    pub const fn body_len(&self) -> u32 {
        self.frame_len.saturating_sub(5)
    }

    /// Cuts `input`, which begins with this header, into the body and what follows the frame.
    ///
    /// `None` while the frame is not complete.
    #[inline]
    pub fn split<'a>(&self, input: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let frame_len = usize::try_from(self.frame_len).ok()?;
        let (frame, rest) = input.split_at_checked(frame_len)?;
        let body = frame.get(Header::LEN..)?;
        Some((body, rest))
    }
}

/// The error for a length word, which follows the tag.
const fn bad_length(fault: Fault) -> Malformed {
    Malformed {
        message: "header",
        field: "length",
        offset: 1,
        fault,
    }
}
