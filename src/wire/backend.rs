use bytes::BytesMut;

use super::frontend::empty;
use super::tags::backend as tags;
use super::{Authentication, Columns, Fields, Names, ParamTypes, Reader, Values, Writer};
use crate::error::{Fault, Malformed, Misfit, TooLong};
use crate::limits::{CANCEL_SECRET_MAX, CANCEL_SECRET_MIN};

mod columns;
mod debug;

pub use columns::{Column, CopyFormats};

/// A message from the server, as a view of its body.
///
/// `Debug` shows lengths in place of secrets, values and whatever quotes a query text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backend<'a> {
    /// A request of the login, or its end.
    Authentication(Authentication<'a>),
    /// What a CancelRequest for this session must carry.
    BackendKeyData {
        /// The server process.
        process_id: i32,
        /// 4 bytes in protocol 3.0, 4 to 256 from 3.2 on.
        secret: &'a [u8],
    },
    /// The value of a setting that the client is told about.
    ParameterStatus {
        /// The setting.
        name: &'a [u8],
        /// Its value from now on.
        value: &'a [u8],
    },
    /// The server is ready for the next request.
    ReadyForQuery {
        /// Where the session's transaction stands.
        status: TransactionStatus,
    },
    /// An error.
    ErrorResponse(Fields<'a>),
    /// A notice.
    NoticeResponse(Fields<'a>),
    /// A NOTIFY.
    NotificationResponse {
        /// The server process that notified.
        process_id: i32,
        /// The channel.
        channel: &'a [u8],
        /// The payload.
        payload: &'a [u8],
    },
    /// The server speaks an older minor version than was asked for, or does not know some options.
    NegotiateProtocolVersion {
        /// The newest version that the server speaks of the major version asked for: a whole version word,
        /// 0x0003_0002 for 3.2.
        newest: i32,
        /// The options that the server does not know.
        options: Names<'a>,
    },
    /// A statement is complete.
    CommandComplete {
        /// What it was and how many rows it met, such as `INSERT 0 1`.
        tag: &'a [u8],
    },
    /// An empty query text was executed.
    EmptyQueryResponse,
    /// Parse succeeded.
    ParseComplete,
    /// Bind succeeded.
    BindComplete,
    /// Close succeeded.
    CloseComplete,
    /// What was described returns no rows.
    NoData,
    /// The parameter types of a statement.
    ParameterDescription {
        /// One per parameter.
        types: ParamTypes<'a>,
    },
    /// The columns of the rows to come.
    RowDescription {
        /// One per column.
        columns: Columns<'a>,
    },
    /// One row.
    DataRow {
        /// One per column.
        values: Values<'a>,
    },
    /// Execute reached its row limit.
    PortalSuspended,
    /// The server waits for a COPY stream.
    CopyInResponse(CopyFormats<'a>),
    /// A COPY stream follows.
    CopyOutResponse(CopyFormats<'a>),
    /// COPY streams in both directions, as in replication.
    CopyBothResponse(CopyFormats<'a>),
    /// A piece of a COPY stream; in replication see [`replication`](super::replication).
    CopyData {
        /// The piece: one row in COPY OUT, but nothing says so.
        data: &'a [u8],
    },
    /// The end of a COPY stream.
    CopyDone,
    /// The result of a FunctionCall.
    FunctionCallResponse {
        /// The result; `None` is NULL.
        value: Option<&'a [u8]>,
    },
    /// A message that this crate does not know. Encoding it writes a frame of any tag.
    Unknown {
        /// The tag.
        tag: u8,
        /// The whole body.
        body: &'a [u8],
    },
}

impl<'a> Backend<'a> {
    /// Reads the message with this tag out of its exact body.
    ///
    /// # Errors
    /// A missing or left-over byte, or a value that the format does not define.
    pub fn parse(tag: u8, body: &'a [u8]) -> Result<Backend<'a>, Malformed> {
        match tag {
            tags::AUTHENTICATION => Authentication::from_body(body).map(Backend::Authentication),
            tags::BACKEND_KEY_DATA => parse_key_data(body),
            tags::PARAMETER_STATUS => parse_parameter_status(body),
            tags::READY_FOR_QUERY => parse_ready(body),
            tags::ERROR_RESPONSE => {
                Fields::from_body("ErrorResponse", body).map(Backend::ErrorResponse)
            }
            tags::NOTICE_RESPONSE => {
                Fields::from_body("NoticeResponse", body).map(Backend::NoticeResponse)
            }
            tags::NOTIFICATION_RESPONSE => parse_notification(body),
            tags::NEGOTIATE_PROTOCOL_VERSION => parse_negotiate(body),
            tags::COMMAND_COMPLETE => parse_command_complete(body),
            tags::EMPTY_QUERY_RESPONSE => {
                empty("EmptyQueryResponse", body, Backend::EmptyQueryResponse)
            }
            tags::PARSE_COMPLETE => empty("ParseComplete", body, Backend::ParseComplete),
            tags::BIND_COMPLETE => empty("BindComplete", body, Backend::BindComplete),
            tags::CLOSE_COMPLETE => empty("CloseComplete", body, Backend::CloseComplete),
            tags::NO_DATA => empty("NoData", body, Backend::NoData),
            tags::PARAMETER_DESCRIPTION => parse_parameter_description(body),
            tags::ROW_DESCRIPTION => parse_row_description(body),
            tags::DATA_ROW => parse_data_row(body),
            tags::PORTAL_SUSPENDED => empty("PortalSuspended", body, Backend::PortalSuspended),
            tags::COPY_IN_RESPONSE => {
                CopyFormats::from_body("CopyInResponse", body).map(Backend::CopyInResponse)
            }
            tags::COPY_OUT_RESPONSE => {
                CopyFormats::from_body("CopyOutResponse", body).map(Backend::CopyOutResponse)
            }
            tags::COPY_BOTH_RESPONSE => {
                CopyFormats::from_body("CopyBothResponse", body).map(Backend::CopyBothResponse)
            }
            tags::COPY_DATA => Ok(Backend::CopyData { data: body }),
            tags::COPY_DONE => empty("CopyDone", body, Backend::CopyDone),
            tags::FUNCTION_CALL_RESPONSE => parse_function_result(body),
            tag => Ok(Backend::Unknown { tag, body }),
        }
    }

    /// The tag of this message.
    pub const fn tag(&self) -> u8 {
        match *self {
            Backend::Authentication(_) => tags::AUTHENTICATION,
            Backend::BackendKeyData { .. } => tags::BACKEND_KEY_DATA,
            Backend::ParameterStatus { .. } => tags::PARAMETER_STATUS,
            Backend::ReadyForQuery { .. } => tags::READY_FOR_QUERY,
            Backend::ErrorResponse(_) => tags::ERROR_RESPONSE,
            Backend::NoticeResponse(_) => tags::NOTICE_RESPONSE,
            Backend::NotificationResponse { .. } => tags::NOTIFICATION_RESPONSE,
            Backend::NegotiateProtocolVersion { .. } => tags::NEGOTIATE_PROTOCOL_VERSION,
            Backend::CommandComplete { .. } => tags::COMMAND_COMPLETE,
            Backend::EmptyQueryResponse => tags::EMPTY_QUERY_RESPONSE,
            Backend::ParseComplete => tags::PARSE_COMPLETE,
            Backend::BindComplete => tags::BIND_COMPLETE,
            Backend::CloseComplete => tags::CLOSE_COMPLETE,
            Backend::NoData => tags::NO_DATA,
            Backend::ParameterDescription { .. } => tags::PARAMETER_DESCRIPTION,
            Backend::RowDescription { .. } => tags::ROW_DESCRIPTION,
            Backend::DataRow { .. } => tags::DATA_ROW,
            Backend::PortalSuspended => tags::PORTAL_SUSPENDED,
            Backend::CopyInResponse(_) => tags::COPY_IN_RESPONSE,
            Backend::CopyOutResponse(_) => tags::COPY_OUT_RESPONSE,
            Backend::CopyBothResponse(_) => tags::COPY_BOTH_RESPONSE,
            Backend::CopyData { .. } => tags::COPY_DATA,
            Backend::CopyDone => tags::COPY_DONE,
            Backend::FunctionCallResponse { .. } => tags::FUNCTION_CALL_RESPONSE,
            Backend::Unknown { tag, .. } => tag,
        }
    }

    /// The name of this message in the protocol chapter.
    pub const fn name(&self) -> &'static str {
        match *self {
            Backend::Authentication(_) => "Authentication",
            Backend::BackendKeyData { .. } => "BackendKeyData",
            Backend::ParameterStatus { .. } => "ParameterStatus",
            Backend::ReadyForQuery { .. } => "ReadyForQuery",
            Backend::ErrorResponse(_) => "ErrorResponse",
            Backend::NoticeResponse(_) => "NoticeResponse",
            Backend::NotificationResponse { .. } => "NotificationResponse",
            Backend::NegotiateProtocolVersion { .. } => "NegotiateProtocolVersion",
            Backend::CommandComplete { .. } => "CommandComplete",
            Backend::EmptyQueryResponse => "EmptyQueryResponse",
            Backend::ParseComplete => "ParseComplete",
            Backend::BindComplete => "BindComplete",
            Backend::CloseComplete => "CloseComplete",
            Backend::NoData => "NoData",
            Backend::ParameterDescription { .. } => "ParameterDescription",
            Backend::RowDescription { .. } => "RowDescription",
            Backend::DataRow { .. } => "DataRow",
            Backend::PortalSuspended => "PortalSuspended",
            Backend::CopyInResponse(_) => "CopyInResponse",
            Backend::CopyOutResponse(_) => "CopyOutResponse",
            Backend::CopyBothResponse(_) => "CopyBothResponse",
            Backend::CopyData { .. } => "CopyData",
            Backend::CopyDone => "CopyDone",
            Backend::FunctionCallResponse { .. } => "FunctionCallResponse",
            Backend::Unknown { .. } => "Unknown",
        }
    }

    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// A value that does not fit the format; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, self.name(), self.tag());
        self.write(&mut writer);
        writer.finish()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match *self {
            Backend::Authentication(request) => request.write(writer),
            Backend::BackendKeyData { process_id, secret } => {
                if !secret_len_is_valid(secret) {
                    let len = secret.len();
                    writer.refuse("secret", Misfit::Length { len });
                }
                writer.i32("process id", process_id);
                writer.bytes("secret", secret);
            }
            Backend::ParameterStatus { name, value } => {
                writer.cstr("name", name);
                writer.cstr("value", value);
            }
            Backend::ReadyForQuery { status } => writer.u8("status", status.byte()),
            Backend::ErrorResponse(fields) | Backend::NoticeResponse(fields) => {
                fields.write(writer);
            }
            Backend::NotificationResponse {
                process_id,
                channel,
                payload,
            } => {
                writer.i32("process id", process_id);
                writer.cstr("channel", channel);
                writer.cstr("payload", payload);
            }
            Backend::NegotiateProtocolVersion { newest, options } => {
                writer.i32("newest version", newest);
                writer.count32("option count", options.len());
                options.write(writer, "option");
            }
            Backend::CommandComplete { tag } => writer.cstr("tag", tag),
            Backend::ParameterDescription { types } => {
                types.write_counted(writer, "type count", "type");
            }
            Backend::RowDescription { columns } => {
                columns.write_counted(writer, "column count", "column");
            }
            Backend::DataRow { values } => values.write_counted(writer, "value count", "value"),
            Backend::CopyInResponse(copy)
            | Backend::CopyOutResponse(copy)
            | Backend::CopyBothResponse(copy) => copy.write(writer),
            Backend::FunctionCallResponse { value } => writer.value("value", value),
            Backend::EmptyQueryResponse
            | Backend::ParseComplete
            | Backend::BindComplete
            | Backend::CloseComplete
            | Backend::NoData
            | Backend::PortalSuspended
            | Backend::CopyDone => {}
            Backend::CopyData { data: body } | Backend::Unknown { body, .. } => {
                writer.bytes("body", body);
            }
        }
    }
}

/// Where a session's transaction stands, as ReadyForQuery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionStatus {
    /// No transaction block is open.
    Idle,
    /// A transaction block is open.
    InTransaction,
    /// A transaction block is open and has failed: only its end is accepted.
    Failed,
}

impl TransactionStatus {
    /// The byte that stands for it.
    pub const fn byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        }
    }

    /// What this byte stands for.
    pub const fn from_byte(byte: u8) -> Option<TransactionStatus> {
        match byte {
            b'I' => Some(TransactionStatus::Idle),
            b'T' => Some(TransactionStatus::InTransaction),
            b'E' => Some(TransactionStatus::Failed),
            _ => None,
        }
    }
}

fn secret_len_is_valid(secret: &[u8]) -> bool {
    (CANCEL_SECRET_MIN..=CANCEL_SECRET_MAX).contains(&secret.len())
}

fn parse_key_data(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("BackendKeyData", body);
    let process_id = reader.i32("process id")?;
    if reader.remaining() < CANCEL_SECRET_MIN {
        return Err(reader.missing("secret", CANCEL_SECRET_MIN));
    }
    let secret = reader.bytes("secret", reader.remaining().min(CANCEL_SECRET_MAX))?;
    reader.finish()?;
    Ok(Backend::BackendKeyData { process_id, secret })
}

fn parse_parameter_status(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("ParameterStatus", body);
    let name = reader.cstr("name")?;
    let value = reader.cstr("value")?;
    reader.finish()?;
    Ok(Backend::ParameterStatus { name, value })
}

fn parse_ready(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("ReadyForQuery", body);
    let unread = reader.clone();
    let Some(status) = TransactionStatus::from_byte(reader.u8("status")?) else {
        return Err(unread.fault("status", Fault::BadValue));
    };
    reader.finish()?;
    Ok(Backend::ReadyForQuery { status })
}

fn parse_notification(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("NotificationResponse", body);
    let process_id = reader.i32("process id")?;
    let channel = reader.cstr("channel")?;
    let payload = reader.cstr("payload")?;
    reader.finish()?;
    Ok(Backend::NotificationResponse {
        process_id,
        channel,
        payload,
    })
}

fn parse_negotiate(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("NegotiateProtocolVersion", body);
    let newest = reader.i32("newest version")?;
    let unread = reader.clone();
    let Ok(count) = usize::try_from(reader.i32("option count")?) else {
        return Err(unread.fault("option count", Fault::BadValue));
    };
    let options = Names::read(&mut reader, "option", count)?;
    reader.finish()?;
    Ok(Backend::NegotiateProtocolVersion { newest, options })
}

fn parse_command_complete(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("CommandComplete", body);
    let tag = reader.cstr("tag")?;
    reader.finish()?;
    Ok(Backend::CommandComplete { tag })
}

fn parse_parameter_description(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("ParameterDescription", body);
    let types = ParamTypes::read_counted(&mut reader, "type count", "type")?;
    reader.finish()?;
    Ok(Backend::ParameterDescription { types })
}

fn parse_row_description(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("RowDescription", body);
    let columns = Columns::read_counted(&mut reader, "column count", "column")?;
    reader.finish()?;
    Ok(Backend::RowDescription { columns })
}

fn parse_data_row(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("DataRow", body);
    let values = Values::read_counted(&mut reader, "value count", "value")?;
    reader.finish()?;
    Ok(Backend::DataRow { values })
}

fn parse_function_result(body: &[u8]) -> Result<Backend<'_>, Malformed> {
    let mut reader = Reader::new("FunctionCallResponse", body);
    let value = reader.value("value")?;
    reader.finish()?;
    Ok(Backend::FunctionCallResponse { value })
}
