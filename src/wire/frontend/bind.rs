use std::fmt;

use super::super::{Formats, Printable, Reader, Values, Writer};
use crate::error::Malformed;

/// Makes a portal of a prepared statement and its parameter values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement's name; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Formats of the values.
    pub formats: Formats<'a>,
    /// The values.
    pub values: Values<'a>,
    /// Formats of the columns of the result.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    pub(super) fn from_body(body: &'a [u8]) -> Result<Bind<'a>, Malformed> {
        let mut reader = Reader::new("Bind", body);
        let bind = Bind {
            portal: reader.cstr("portal")?,
            statement: reader.cstr("statement")?,
            formats: Formats::read_counted(&mut reader, "format count", "format")?,
            values: Values::read_counted(&mut reader, "value count", "value")?,
            result_formats: Formats::read_counted(
                &mut reader,
                "result format count",
                "result format",
            )?,
        };
        reader.finish()?;
        Ok(bind)
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.cstr("portal", self.portal);
        writer.cstr("statement", self.statement);
        self.formats.write_counted(writer, "format count", "format");
        self.values.write_counted(writer, "value count", "value");
        self.result_formats
            .write_counted(writer, "result format count", "result format");
    }
}

impl fmt::Debug for Bind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bind")
            .field("portal", &Printable(self.portal))
            .field("statement", &Printable(self.statement))
            .field("formats", &self.formats)
            .field("values", &self.values)
            .field("result_formats", &self.result_formats)
            .finish()
    }
}

/// Calls a function by its OID, an old interface that large objects still use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// OID of the function.
    pub function: u32,
    /// Formats of the arguments.
    pub formats: Formats<'a>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// Format of the result.
    pub result_format: i16,
}

impl<'a> FunctionCall<'a> {
    pub(super) fn from_body(body: &'a [u8]) -> Result<FunctionCall<'a>, Malformed> {
        let mut reader = Reader::new("FunctionCall", body);
        let call = FunctionCall {
            function: reader.u32("function")?,
            formats: Formats::read_counted(&mut reader, "format count", "format")?,
            arguments: Values::read_counted(&mut reader, "argument count", "argument")?,
            result_format: reader.i16("result format")?,
        };
        reader.finish()?;
        Ok(call)
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32("function", self.function);
        self.formats.write_counted(writer, "format count", "format");
        self.arguments
            .write_counted(writer, "argument count", "argument");
        writer.i16("result format", self.result_format);
    }
}

impl fmt::Debug for FunctionCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCall")
            .field("function", &self.function)
            .field("formats", &self.formats)
            .field("arguments", &self.arguments)
            .field("result_format", &self.result_format)
            .finish()
    }
}
