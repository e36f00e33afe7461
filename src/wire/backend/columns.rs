use std::fmt;

use super::super::list::Codec;
use super::super::{Formats, Hidden, Reader, Writer};
use crate::error::Malformed;

/// One column of a RowDescription.
///
/// `Debug` shows the length of the name, which a query text may have chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// The name.
    pub name: &'a [u8],
    /// OID of the table it comes from, or 0.
    pub table: u32,
    /// Its number in that table, or 0.
    pub attribute: i16,
    /// OID of its type.
    pub type_oid: u32,
    /// Size of the type in bytes; negative if it varies (`pg_type.typlen`).
    pub type_size: i16,
    /// The type modifier (`pg_attribute.atttypmod`).
    pub type_modifier: i32,
    /// Format of the values: 0 is text, also where it is not known yet; 1 is binary.
    pub format: i16,
}

impl fmt::Debug for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column")
            .field("name", &Hidden(self.name))
            .field("table", &self.table)
            .field("attribute", &self.attribute)
            .field("type_oid", &self.type_oid)
            .field("type_size", &self.type_size)
            .field("type_modifier", &self.type_modifier)
            .field("format", &self.format)
            .finish()
    }
}

impl<'a> Codec<'a> for Column<'a> {
    /// An empty name and the 18 bytes of numbers.
    const MIN_LEN: usize = 19;

    fn read(reader: &mut Reader<'a>, _: &'static str) -> Result<Column<'a>, Malformed> {
        Ok(Column {
            name: reader.cstr("column name")?,
            table: reader.u32("column table")?,
            attribute: reader.i16("column attribute")?,
            type_oid: reader.u32("column type")?,
            type_size: reader.i16("column type size")?,
            type_modifier: reader.i32("column type modifier")?,
            format: reader.i16("column format")?,
        })
    }

    fn write(self, writer: &mut Writer<'_>, _: &'static str) {
        writer.cstr("column name", self.name);
        writer.u32("column table", self.table);
        writer.i16("column attribute", self.attribute);
        writer.u32("column type", self.type_oid);
        writer.i16("column type size", self.type_size);
        writer.i32("column type modifier", self.type_modifier);
        writer.i16("column format", self.format);
    }

    fn show(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self, f)
    }
}

/// The formats of a COPY stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFormats<'a> {
    /// Format of the whole stream: 0 is text, 1 is binary.
    pub overall: i8,
    /// Formats of the columns, all 0 in a text stream.
    pub columns: Formats<'a>,
}

impl<'a> CopyFormats<'a> {
    pub(super) fn from_body(
        message: &'static str,
        body: &'a [u8],
    ) -> Result<CopyFormats<'a>, Malformed> {
        let mut reader = Reader::new(message, body);
        let overall = i8::from_be_bytes(reader.array("overall format")?);
        let columns = Formats::read_counted(&mut reader, "column count", "column format")?;
        reader.finish()?;
        Ok(CopyFormats { overall, columns })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes("overall format", &self.overall.to_be_bytes());
        self.columns
            .write_counted(writer, "column count", "column format");
    }
}
