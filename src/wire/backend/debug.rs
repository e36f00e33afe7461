use std::fmt;

use super::Backend;
use crate::wire::{Hidden, Printable};

impl fmt::Debug for Backend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Authentication(request) => show(self, f, request),
            Backend::BackendKeyData { process_id, secret } => f
                .debug_struct(self.name())
                .field("process_id", process_id)
                .field("secret", &Hidden(secret))
                .finish(),
            Backend::ParameterStatus { name, value } => f
                .debug_struct(self.name())
                .field("name", &Printable(name))
                .field("value", &Printable(value))
                .finish(),
            Backend::ReadyForQuery { status } => show(self, f, status),
            Backend::ErrorResponse(fields) | Backend::NoticeResponse(fields) => {
                show(self, f, fields)
            }
            Backend::NotificationResponse {
                process_id,
                channel,
                payload,
            } => f
                .debug_struct(self.name())
                .field("process_id", process_id)
                .field("channel", &Printable(channel))
                .field("payload", &Hidden(payload))
                .finish(),
            Backend::NegotiateProtocolVersion { newest, options } => f
                .debug_struct(self.name())
                .field("newest", newest)
                .field("options", options)
                .finish(),
            Backend::CommandComplete { tag } => show(self, f, &Printable(tag)),
            Backend::ParameterDescription { types } => show(self, f, types),
            Backend::RowDescription { columns } => show(self, f, columns),
            Backend::DataRow { values } => show(self, f, values),
            Backend::CopyInResponse(copy)
            | Backend::CopyOutResponse(copy)
            | Backend::CopyBothResponse(copy) => show(self, f, copy),
            Backend::FunctionCallResponse { value } => show(self, f, &value.map(Hidden)),
            Backend::EmptyQueryResponse
            | Backend::ParseComplete
            | Backend::BindComplete
            | Backend::CloseComplete
            | Backend::NoData
            | Backend::PortalSuspended
            | Backend::CopyDone => f.write_str(self.name()),
            Backend::CopyData { data } => show(self, f, &Hidden(data)),
            Backend::Unknown { tag, body } => f
                .debug_struct(self.name())
                .field("tag", &Printable(&[*tag]))
                .field("body", &Hidden(body))
                .finish(),
        }
    }
}

fn show(
    message: &Backend<'_>,
    f: &mut fmt::Formatter<'_>,
    content: &dyn fmt::Debug,
) -> fmt::Result {
    f.debug_tuple(message.name()).field(content).finish()
}
