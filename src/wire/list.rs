use std::fmt;

use super::{Column, Hidden, Reader, Writer};
use crate::error::{Fault, Malformed};

/// A repeated part of a message: the elements as they are on the wire, decoded one by one while iterating.
///
/// Nothing is allocated and no count is trusted: parsing walks the elements once, so that iterating cannot fail. To
/// encode a message, a list is made of a slice of elements with [`new`](List::new).
///
/// ```
/// use pgturnout::wire::Values;
///
/// let values = Values::new(&[Some(b"42"), None]);
/// assert_eq!(values.len(), 2);
/// assert_eq!(values.iter().last(), Some(None));
/// ```
#[derive(Clone, Copy)]
pub struct List<'a, T> {
    source: Source<'a, T>,
}

#[derive(Clone, Copy)]
enum Source<'a, T> {
    /// `count` elements, known to be well-formed.
    Wire {
        count: usize,
        bytes: &'a [u8],
    },
    Elements(&'a [T]),
}

/// Type OIDs of parameters; 0 leaves a type to the server.
pub type ParamTypes<'a> = List<'a, u32>;
/// Format codes: 0 is text, 1 is binary. None stands for all text, one for all, otherwise one each.
pub type Formats<'a> = List<'a, i16>;
/// Parameter or column values; `None` is NULL.
pub type Values<'a> = List<'a, Option<&'a [u8]>>;
/// Names, without their NUL.
pub type Names<'a> = List<'a, &'a [u8]>;
/// The columns of a [`RowDescription`](super::Backend::RowDescription).
pub type Columns<'a> = List<'a, Column<'a>>;

/// What a [`List`] can hold. It is implemented for the element types of the protocol and by no one else.
pub trait Element<'a>: Codec<'a> {}

impl<'a, T: Codec<'a>> Element<'a> for T {}

/// How an element is read, written and shown.
pub trait Codec<'a>: Copy + PartialEq {
    /// Bytes that the shortest element takes.
    const MIN_LEN: usize;
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, Malformed>;
    fn write(self, writer: &mut Writer<'_>, field: &'static str);
    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// The list of these elements, to be encoded.
    pub const fn new(elements: &'a [T]) -> List<'a, T> {
        List {
            source: Source::Elements(elements),
        }
    }

    /// How many elements there are.
    pub const fn len(&self) -> usize {
        match self.source {
            Source::Wire { count, .. } => count,
            Source::Elements(elements) => elements.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, in order.
    pub const fn iter(&self) -> Iter<'a, T> {
        let source = match self.source {
            Source::Wire { count, bytes } => IterSource::Wire {
                left: count,
                reader: Reader::new("list", bytes),
            },
            Source::Elements(elements) => IterSource::Elements(elements),
        };
        Iter { source }
    }

    /// Reads `count` elements. The count is compared with what is left before anything else.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        field: &'static str,
        count: usize,
    ) -> Result<List<'a, T>, Malformed> {
        let least = count.saturating_mul(T::MIN_LEN);
        if least > reader.remaining() {
            return Err(reader.missing(field, least));
        }
        let start = reader.clone();
        for _ in 0..count {
            T::read(reader, field)?;
        }
        let bytes = reader.since(&start);
        let source = Source::Wire { count, bytes };
        Ok(List { source })
    }

    /// Reads an unsigned 16-bit count and that many elements.
    pub(super) fn read_counted(
        reader: &mut Reader<'a>,
        count: &'static str,
        field: &'static str,
    ) -> Result<List<'a, T>, Malformed> {
        let count = reader.u16(count)?;
        List::read(reader, field, usize::from(count))
    }

    /// Reads elements up to the zero byte that ends them, and that byte.
    pub(super) fn read_terminated(
        reader: &mut Reader<'a>,
        field: &'static str,
    ) -> Result<List<'a, T>, Malformed> {
        let start = reader.clone();
        let mut count = 0_usize;
        loop {
            let mut ahead = reader.clone();
            let bytes = reader.since(&start);
            match ahead.u8(field) {
                Err(_) => return Err(reader.fault(field, Fault::NoTerminator)),
                Ok(0) => {
                    *reader = ahead;
                    let source = Source::Wire { count, bytes };
                    return Ok(List { source });
                }
                Ok(_) => T::read(reader, field)?,
            };
            count = count.saturating_add(1);
        }
    }

    /// Writes the elements alone.
    pub(super) fn write(&self, writer: &mut Writer<'_>, field: &'static str) {
        match self.source {
            Source::Wire { bytes, .. } => writer.bytes(field, bytes),
            Source::Elements(elements) => {
                for element in elements {
                    element.write(writer, field);
                }
            }
        }
    }

    /// Writes an unsigned 16-bit count and the elements.
    pub(super) fn write_counted(
        &self,
        writer: &mut Writer<'_>,
        count: &'static str,
        field: &'static str,
    ) {
        writer.count(count, self.len());
        self.write(writer, field);
    }
}

impl<'a, T: Element<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Element<'a>> PartialEq for List<'a, T> {
    fn eq(&self, other: &List<'a, T>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a> + Eq> Eq for List<'a, T> {}

/// Values and names show their lengths only.
impl<'a, T: Element<'a>> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Shown<T>(T);
        impl<'a, T: Element<'a>> fmt::Debug for Shown<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.show(f)
            }
        }
        f.debug_list().entries(self.iter().map(Shown)).finish()
    }
}

/// The elements of a [`List`].
#[derive(Clone)]
pub struct Iter<'a, T> {
    source: IterSource<'a, T>,
}

#[derive(Clone)]
enum IterSource<'a, T> {
    Wire { left: usize, reader: Reader<'a> },
    Elements(&'a [T]),
}

impl<T> Iter<'_, T> {
    fn left(&self) -> usize {
        match &self.source {
            IterSource::Wire { left, .. } => *left,
            IterSource::Elements(elements) => elements.len(),
        }
    }
}

impl<'a, T: Element<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.source {
            IterSource::Wire { left, reader } => {
                *left = left.checked_sub(1)?;
                T::read(reader, "element").ok()
            }
            IterSource::Elements(elements) => {
                let (first, rest) = elements.split_first()?;
                *elements = rest;
                Some(*first)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left(), Some(self.left()))
    }
}

/// Shows how many elements are left.
impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.left()).finish()
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for Iter<'a, T> {}

impl<'a> Codec<'a> for i16 {
    const MIN_LEN: usize = 2;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<i16, Malformed> {
        reader.i16(field)
    }

    fn write(self, writer: &mut Writer<'_>, field: &'static str) {
        writer.i16(field, self);
    }

    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self, f)
    }
}

impl<'a> Codec<'a> for u32 {
    const MIN_LEN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<u32, Malformed> {
        reader.u32(field)
    }

    fn write(self, writer: &mut Writer<'_>, field: &'static str) {
        writer.u32(field, self);
    }

    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self, f)
    }
}

impl<'a> Codec<'a> for Option<&'a [u8]> {
    const MIN_LEN: usize = 4;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        reader.value(field)
    }

    fn write(self, writer: &mut Writer<'_>, field: &'static str) {
        writer.value(field, self);
    }

    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(bytes) => fmt::Debug::fmt(&Hidden(bytes), f),
            None => f.write_str("NULL"),
        }
    }
}

impl<'a> Codec<'a> for &'a [u8] {
    const MIN_LEN: usize = 1;

    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], Malformed> {
        reader.cstr(field)
    }

    fn write(self, writer: &mut Writer<'_>, field: &'static str) {
        writer.cstr(field, self);
    }

    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Hidden(self), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(body: &[u8]) -> Values<'_> {
        let mut reader = Reader::new("Test", body);
        let values = Values::read_counted(&mut reader, "count", "value").unwrap();
        reader.finish().unwrap();
        values
    }

    #[test]
    fn lists_are_equal_if_their_elements_are_wherever_they_come_from() {
        let wire = values(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
        assert_eq!(wire, Values::new(&[Some(b"a"), None]));
        assert_eq!(wire, values(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"));
        assert_ne!(wire, Values::new(&[Some(b"b"), None]));
        assert_ne!(wire, Values::new(&[Some(b"a"), Some(b"")]));
        assert_ne!(wire, Values::new(&[Some(b"a")]));
        assert_ne!(wire, Values::new(&[Some(b"a"), None, None]));
        assert_eq!(values(b"\0\0"), Values::new(&[]));
    }

    #[test]
    fn an_iterator_knows_how_many_are_left() {
        let wire = values(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
        for list in [wire, Values::new(&[Some(b"a"), None])] {
            let mut iter = list.iter();
            assert_eq!((list.len(), iter.len()), (2, 2));
            assert_eq!(iter.next(), Some(Some(&b"a"[..])));
            assert_eq!((iter.len(), iter.clone().count()), (1, 1));
            assert_eq!(iter.next(), Some(None));
            assert_eq!((iter.next(), iter.len()), (None, 0));
        }
    }

    #[test]
    fn a_terminated_list_counts_what_it_walked() {
        let mut reader = Reader::new("Test", b"a\0bc\0\0rest");
        let names = Names::read_terminated(&mut reader, "name").unwrap();
        assert_eq!(names, Names::new(&[b"a", b"bc"]));
        assert_eq!((names.len(), reader.rest()), (2, &b"rest"[..]));
    }

    #[test]
    fn debug_shows_numbers_and_lengths() {
        assert_eq!(format!("{:?}", Formats::new(&[0, -1])), "[0, -1]");
        assert_eq!(format!("{:?}", Names::new(&[b"name"])), "[<4 bytes>]");
        let values = Values::new(&[Some(b"secret"), None]);
        assert_eq!(format!("{values:?}"), "[<6 bytes>, NULL]");
        assert_eq!(format!("{:?}", values.iter()), "Iter { left: 2 }");
    }
}
