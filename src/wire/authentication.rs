use std::fmt;

use super::{Hidden, Names, Reader, Writer};
use crate::error::{Malformed, Misfit};

/// An authentication request, or its end.
///
/// `Debug` shows the kind and lengths, never a salt, a nonce or a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Code 0: the server is satisfied.
    Ok,
    /// Code 2: Kerberos V5, which no supported server asks for.
    KerberosV5,
    /// Code 3: asks for the password as it is.
    CleartextPassword,
    /// Code 5: asks for the password hashed with MD5 and this salt.
    Md5Password {
        /// The salt.
        salt: [u8; 4],
    },
    /// Code 7: begins GSSAPI.
    Gss,
    /// Code 8: goes on with GSSAPI or SSPI.
    GssContinue {
        /// The token.
        data: &'a [u8],
    },
    /// Code 9: begins SSPI.
    Sspi,
    /// Code 10: begins SASL.
    Sasl {
        /// The mechanisms to choose from, in the server's order of preference.
        mechanisms: Names<'a>,
    },
    /// Code 11: a SASL challenge.
    SaslContinue {
        /// The mechanism's data.
        data: &'a [u8],
    },
    /// Code 12: the end of SASL.
    SaslFinal {
        /// The mechanism's data.
        data: &'a [u8],
    },
    /// A code that this crate does not know.
    Other {
        /// The code.
        code: i32,
        /// What follows it.
        data: &'a [u8],
    },
}

impl<'a> Authentication<'a> {
    pub(super) fn from_body(body: &'a [u8]) -> Result<Authentication<'a>, Malformed> {
        let mut reader = Reader::new("Authentication", body);
        let request = match reader.i32("code")? {
            0 => Authentication::Ok,
            2 => Authentication::KerberosV5,
            3 => Authentication::CleartextPassword,
            5 => Authentication::Md5Password {
                salt: reader.array("salt")?,
            },
            7 => Authentication::Gss,
            8 => Authentication::GssContinue {
                data: reader.rest(),
            },
            9 => Authentication::Sspi,
            10 => Authentication::Sasl {
                mechanisms: Names::read_terminated(&mut reader, "mechanism")?,
            },
            11 => Authentication::SaslContinue {
                data: reader.rest(),
            },
            12 => Authentication::SaslFinal {
                data: reader.rest(),
            },
            code => Authentication::Other {
                code,
                data: reader.rest(),
            },
        };
        reader.finish()?;
        Ok(request)
    }

    /// The code that stands for it.
    pub const fn code(&self) -> i32 {
        match *self {
            Authentication::Ok => 0,
            Authentication::KerberosV5 => 2,
            Authentication::CleartextPassword => 3,
            Authentication::Md5Password { .. } => 5,
            Authentication::Gss => 7,
            Authentication::GssContinue { .. } => 8,
            Authentication::Sspi => 9,
            Authentication::Sasl { .. } => 10,
            Authentication::SaslContinue { .. } => 11,
            Authentication::SaslFinal { .. } => 12,
            Authentication::Other { code, .. } => code,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.i32("code", self.code());
        match *self {
            Authentication::Ok
            | Authentication::KerberosV5
            | Authentication::CleartextPassword
            | Authentication::Gss
            | Authentication::Sspi => {}
            Authentication::Md5Password { salt } => writer.bytes("salt", &salt),
            Authentication::Sasl { mechanisms } => {
                if mechanisms.iter().any(<[u8]>::is_empty) {
                    writer.refuse("mechanism", Misfit::Terminator);
                }
                mechanisms.write(writer, "mechanism");
                writer.u8("mechanism", 0);
            }
            Authentication::GssContinue { data }
            | Authentication::SaslContinue { data }
            | Authentication::SaslFinal { data }
            | Authentication::Other { data, .. } => writer.bytes("data", data),
        }
    }
}

impl fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authentication::Ok => f.write_str("Ok"),
            Authentication::KerberosV5 => f.write_str("KerberosV5"),
            Authentication::CleartextPassword => f.write_str("CleartextPassword"),
            Authentication::Md5Password { .. } => f.write_str("Md5Password"),
            Authentication::Gss => f.write_str("Gss"),
            Authentication::GssContinue { data } => show("GssContinue", data, f),
            Authentication::Sspi => f.write_str("Sspi"),
            Authentication::Sasl { mechanisms } => {
                let names = mechanisms.iter().map(super::Printable);
                f.write_str("Sasl ")?;
                f.debug_list().entries(names).finish()
            }
            Authentication::SaslContinue { data } => show("SaslContinue", data, f),
            Authentication::SaslFinal { data } => show("SaslFinal", data, f),
            Authentication::Other { code, data } => f
                .debug_struct("Other")
                .field("code", code)
                .field("data", &Hidden(data))
                .finish(),
        }
    }
}

fn show(name: &str, data: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_tuple(name).field(&Hidden(data)).finish()
}
