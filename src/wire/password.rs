//! The four messages that share the tag `p`: which one a body is follows from the authentication request before it.
//!
//! | request | answer | read with |
//! | --- | --- | --- |
//! | CleartextPassword, Md5Password | PasswordMessage | [`parse_password`] |
//! | Sasl | SASLInitialResponse | [`parse_sasl_initial`] |
//! | SaslContinue | SASLResponse | [`parse_sasl_response`] |
//! | Gss, Sspi, GssContinue | GSSResponse | [`parse_gss`] |
//!
//! `Debug` of each shows lengths only.

use std::fmt;

use bytes::BytesMut;

use super::tags::frontend::PASSWORD;
use super::{Hidden, Printable, Reader, Writer};
use crate::error::{Malformed, TooLong};

/// A password, as it is or hashed, whichever was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordMessage<'a> {
    /// The password.
    pub password: &'a [u8],
}

/// The choice of a SASL mechanism, and its first data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism.
    pub mechanism: &'a [u8],
    /// Its first data; `None` if the client has none, which differs from empty data.
    pub data: Option<&'a [u8]>,
}

/// Further data of a SASL mechanism.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslResponse<'a> {
    /// The data.
    pub data: &'a [u8],
}

/// A GSSAPI or SSPI token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GssResponse<'a> {
    /// The token.
    pub data: &'a [u8],
}

/// Reads the body of a PasswordMessage: one string and nothing behind its NUL.
///
/// # Errors
/// No NUL, or bytes behind it.
pub fn parse_password(body: &[u8]) -> Result<PasswordMessage<'_>, Malformed> {
    let mut reader = Reader::new("PasswordMessage", body);
    let password = reader.cstr("password")?;
    reader.finish()?;
    Ok(PasswordMessage { password })
}

/// Reads the body of a SASLInitialResponse: the length of the data is −1 for none, or that of the rest exactly.
///
/// # Errors
/// A missing or left-over byte, or another negative length.
pub fn parse_sasl_initial(body: &[u8]) -> Result<SaslInitialResponse<'_>, Malformed> {
    let mut reader = Reader::new("SASLInitialResponse", body);
    let mechanism = reader.cstr("mechanism")?;
    let data = reader.value("data")?;
    reader.finish()?;
    Ok(SaslInitialResponse { mechanism, data })
}

/// Reads the body of a SASLResponse, all of which is data.
///
/// # Errors
/// None: the format refuses nothing.
pub fn parse_sasl_response(body: &[u8]) -> Result<SaslResponse<'_>, Malformed> {
    Ok(SaslResponse { data: body })
}

/// Reads the body of a GSSResponse, all of which is the token.
///
/// # Errors
/// None: the format refuses nothing.
pub fn parse_gss(body: &[u8]) -> Result<GssResponse<'_>, Malformed> {
    Ok(GssResponse { data: body })
}

impl PasswordMessage<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// A NUL in the password; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, "PasswordMessage", PASSWORD);
        writer.cstr("password", self.password);
        writer.finish()
    }
}

impl SaslInitialResponse<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// A NUL in the mechanism's name, or too much data; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, "SASLInitialResponse", PASSWORD);
        writer.cstr("mechanism", self.mechanism);
        writer.value("data", self.data);
        writer.finish()
    }
}

impl SaslResponse<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Too much data; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, "SASLResponse", PASSWORD);
        writer.bytes("data", self.data);
        writer.finish()
    }
}

impl GssResponse<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// Too large a token; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, "GSSResponse", PASSWORD);
        writer.bytes("data", self.data);
        writer.finish()
    }
}

impl fmt::Debug for PasswordMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordMessage")
            .field("password", &Hidden(self.password))
            .finish()
    }
}

impl fmt::Debug for SaslInitialResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslInitialResponse")
            .field("mechanism", &Printable(self.mechanism))
            .field("data", &self.data.map(Hidden))
            .finish()
    }
}

impl fmt::Debug for SaslResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslResponse")
            .field("data", &Hidden(self.data))
            .finish()
    }
}

impl fmt::Debug for GssResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GssResponse")
            .field("data", &Hidden(self.data))
            .finish()
    }
}
