//! Arrays of text in PostgreSQL's binary format (`array_recv`, `array_send`).

use bytes::{BufMut, BytesMut};

use crate::error::{Fault, Malformed};
use crate::limits::PROBE_ENTRIES_MAX;
use crate::wire::Reader;

/// OID of the type `text`.
const TEXT: u32 = 25;
/// OID of the type `text[]`.
pub(super) const TEXT_ARRAY: u32 = 1009;

/// Appends an array of one dimension.
pub(super) fn write<'t>(elements: impl ExactSizeIterator<Item = &'t [u8]>, out: &mut BytesMut) {
    let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
    out.put_u32(u32::from(count > 0));
    out.put_u32(0);
    out.put_u32(TEXT);
    if count > 0 {
        out.put_u32(count);
        out.put_u32(1);
    }
    for element in elements {
        out.put_u32(u32::try_from(element.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(element);
    }
}

/// One element; `None` is NULL.
pub(super) type Cell<'a> = Option<&'a [u8]>;

/// The elements of an array of one dimension.
pub(super) fn read<'a>(field: &'static str, value: &'a [u8]) -> Result<Vec<Cell<'a>>, Malformed> {
    let mut reader = Reader::new("probe", value);
    let elements = match header(&mut reader, field)? {
        Shape::Empty => Vec::new(),
        Shape::List(count) => (0..count)
            .map(|_| reader.value(field))
            .collect::<Result<_, _>>()?,
        Shape::Table { .. } => return Err(bad(&reader, field)),
    };
    reader.finish()?;
    Ok(elements)
}

/// The rows of an array of two dimensions with `N` columns.
pub(super) fn read_table<'a, const N: usize>(
    field: &'static str,
    value: &'a [u8],
) -> Result<Vec<[Cell<'a>; N]>, Malformed> {
    let mut reader = Reader::new("probe", value);
    let rows = match header(&mut reader, field)? {
        Shape::Empty => Vec::new(),
        Shape::Table { rows, columns } if columns == N => {
            let mut table = Vec::with_capacity(rows);
            for _ in 0..rows {
                let mut row = [None; N];
                for cell in &mut row {
                    *cell = reader.value(field)?;
                }
                table.push(row);
            }
            table
        }
        Shape::List(_) | Shape::Table { .. } => return Err(bad(&reader, field)),
    };
    reader.finish()?;
    Ok(rows)
}

enum Shape {
    Empty,
    List(usize),
    Table { rows: usize, columns: usize },
}

/// Reads what stands before the elements. No count is believed that the bytes behind it cannot hold.
fn header(reader: &mut Reader<'_>, field: &'static str) -> Result<Shape, Malformed> {
    let dimensions = reader.u32(field)?;
    let _has_null = reader.u32(field)?;
    if reader.u32(field)? != TEXT {
        return Err(bad(reader, field));
    }
    let shape = match dimensions {
        0 => Shape::Empty,
        1 => Shape::List(dimension(reader, field)?),
        2 => Shape::Table {
            rows: dimension(reader, field)?,
            columns: dimension(reader, field)?,
        },
        _ => return Err(bad(reader, field)),
    };
    let count = match shape {
        Shape::Empty => 0,
        Shape::List(count) => count,
        Shape::Table { rows, columns } => rows.saturating_mul(columns),
    };
    if count.saturating_mul(4) > reader.remaining() {
        return Err(Malformed {
            fault: Fault::Missing {
                needed: count.saturating_mul(4).saturating_sub(reader.remaining()),
            },
            ..bad(reader, field)
        });
    }
    Ok(shape)
}

/// The length of a dimension; its lower bound does not matter.
fn dimension(reader: &mut Reader<'_>, field: &'static str) -> Result<usize, Malformed> {
    let len = usize::try_from(reader.u32(field)?).unwrap_or(usize::MAX);
    let _lower_bound = reader.u32(field)?;
    if len > PROBE_ENTRIES_MAX {
        let limit = u32::try_from(PROBE_ENTRIES_MAX).unwrap_or(u32::MAX);
        let fault = Fault::LengthTooLarge { limit };
        return Err(Malformed {
            fault,
            ..bad(reader, field)
        });
    }
    Ok(len)
}

fn bad(reader: &Reader<'_>, field: &'static str) -> Malformed {
    Malformed {
        message: "probe",
        field,
        offset: reader.offset(),
        fault: Fault::BadValue,
    }
}

/// What a list of OIDs says in PostgreSQL's text format: `{23,16400}`.
pub(super) fn read_oids(field: &'static str, text: &[u8]) -> Result<Vec<u32>, Malformed> {
    let fault = || bad(&Reader::new("probe", &[]), field);
    let inner = text
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .ok_or_else(fault)?;
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    inner
        .split(|byte| *byte == b',')
        .map(|digits| number(digits).ok_or_else(fault))
        .collect()
}

/// A number in decimal digits.
pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(elements: &[&[u8]]) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(elements.iter().copied(), &mut out);
        out.to_vec()
    }

    #[test]
    fn an_array_is_written_as_postgresql_sends_it() {
        assert_eq!(written(&[]), b"\0\0\0\0\0\0\0\0\0\0\0\x19");
        let expected = b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x02\0\0\0\x01\0\0\0\x01a\0\0\0\0";
        assert_eq!(written(&[b"a", b""]), expected);
    }

    #[test]
    fn what_is_written_is_read() {
        for elements in [&[][..], &[&b""[..]], &[b"a", b"{\"b,", b"\0"]] {
            let bytes = written(elements);
            let read = read("x", &bytes).unwrap();
            let expected: Vec<_> = elements.iter().map(|element| Some(*element)).collect();
            assert_eq!(read, expected);
            for len in 0..bytes.len() {
                assert!(super::read("x", &bytes[..len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn a_table_has_its_columns() {
        let bytes = b"\0\0\0\x02\0\0\0\x01\0\0\0\x19\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\
            \0\0\0\x01a\xff\xff\xff\xff\0\0\0\0\0\0\0\x01b";
        let table = read_table::<2>("x", bytes).unwrap();
        assert_eq!(table, [[Some(&b"a"[..]), None], [Some(b""), Some(b"b")]]);
        assert!(read_table::<1>("x", bytes).is_err());
        assert!(read_table::<4>("x", bytes).is_err());
        assert!(read("x", bytes).is_err());
        for len in 0..bytes.len() {
            assert!(read_table::<2>("x", &bytes[..len]).is_err(), "{len}");
        }
    }

    /// A count that nothing stands behind costs nothing.
    #[test]
    fn no_count_is_believed() {
        let mut bytes = written(&[b"a"]);
        bytes[15] = 2;
        assert!(matches!(
            read("x", &bytes).unwrap_err().fault,
            Fault::Missing { needed: 3 }
        ));
        bytes[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(
            read("x", &bytes).unwrap_err().fault,
            Fault::LengthTooLarge { .. }
        ));
        let mut other = written(&[b"a"]);
        other[11] = 23;
        assert_eq!(read("x", &other).unwrap_err().fault, Fault::BadValue);
    }

    #[test]
    fn lists_of_oids_are_text() {
        assert_eq!(read_oids("x", b"{}"), Ok(vec![]));
        assert_eq!(read_oids("x", b"{0,4294967295}"), Ok(vec![0, u32::MAX]));
        for bad in [
            &b""[..],
            b"{",
            b"{1",
            b"{1,}",
            b"{-1}",
            b"{+1}",
            b"{a}",
            b"{4294967296}",
            b"{1 }",
        ] {
            assert!(read_oids("x", bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn so_many_entries_are_read() {
        for (count, fits) in [(PROBE_ENTRIES_MAX, true), (PROBE_ENTRIES_MAX + 1, false)] {
            let bytes = written(&vec![&b"x"[..]; count]);
            assert_eq!(read("x", &bytes).is_ok(), fits, "{count}");
        }
    }
}
