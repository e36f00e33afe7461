//! The protocol's shapes: frames and messages as borrowed views, and their encoders; no state.

mod authentication;
mod backend;
mod fields;
mod frontend;
mod header;
mod list;
pub mod password;
mod printable;
mod reader;
pub mod sqlstate;
pub mod tags;
mod writer;

pub use authentication::Authentication;
pub use backend::{Backend, Column, CopyFormats, TransactionStatus};
pub use fields::{Fields, Severity, error_response};
pub use frontend::{Bind, Close, Describe, Execute, Frontend, FunctionCall, Parse, Query, Target};
pub use header::Header;
pub use list::{Columns, Element, Formats, Iter, List, Names, ParamTypes, Values};
use printable::Hidden;
pub use printable::Printable;
pub use reader::Reader;
pub use sqlstate::SqlState;
pub use writer::Writer;
