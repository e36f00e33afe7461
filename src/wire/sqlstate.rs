//! The SQLSTATE codes that this crate sends or looks at (PostgreSQL manual, appendix A).

use std::fmt;

use super::Printable;

/// A five-byte error code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// The first two bytes, which name the class of the error.
    pub const fn class(&self) -> [u8; 2] {
        let [a, b, _, _, _] = self.0;
        [a, b]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.0).fmt(f)
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({self})")
    }
}

/// warning
pub const WARNING: SqlState = SqlState(*b"01000");
/// connection_exception
pub const CONNECTION_EXCEPTION: SqlState = SqlState(*b"08000");
/// sqlclient_unable_to_establish_sqlconnection
pub const UNABLE_TO_CONNECT: SqlState = SqlState(*b"08001");
/// sqlserver_rejected_establishment_of_sqlconnection
pub const CONNECTION_REJECTED: SqlState = SqlState(*b"08004");
/// connection_failure
pub const CONNECTION_FAILURE: SqlState = SqlState(*b"08006");
/// transaction_resolution_unknown: whether it was committed
pub const TRANSACTION_RESOLUTION_UNKNOWN: SqlState = SqlState(*b"08007");
/// protocol_violation
pub const PROTOCOL_VIOLATION: SqlState = SqlState(*b"08P01");
/// feature_not_supported
pub const FEATURE_NOT_SUPPORTED: SqlState = SqlState(*b"0A000");
/// invalid_parameter_value
pub const INVALID_PARAMETER_VALUE: SqlState = SqlState(*b"22023");
/// active_sql_transaction
pub const ACTIVE_SQL_TRANSACTION: SqlState = SqlState(*b"25001");
/// read_only_sql_transaction: what a standby answers to a write
pub const READ_ONLY_SQL_TRANSACTION: SqlState = SqlState(*b"25006");
/// in_failed_sql_transaction
pub const IN_FAILED_SQL_TRANSACTION: SqlState = SqlState(*b"25P02");
/// invalid_sql_statement_name: no such prepared statement
pub const INVALID_SQL_STATEMENT_NAME: SqlState = SqlState(*b"26000");
/// invalid_authorization_specification
pub const INVALID_AUTHORIZATION: SqlState = SqlState(*b"28000");
/// invalid_password
pub const INVALID_PASSWORD: SqlState = SqlState(*b"28P01");
/// invalid_catalog_name: no such database
pub const INVALID_CATALOG_NAME: SqlState = SqlState(*b"3D000");
/// serialization_failure
pub const SERIALIZATION_FAILURE: SqlState = SqlState(*b"40001");
/// insufficient_privilege
pub const INSUFFICIENT_PRIVILEGE: SqlState = SqlState(*b"42501");
/// duplicate_prepared_statement
pub const DUPLICATE_PREPARED_STATEMENT: SqlState = SqlState(*b"42P05");
/// too_many_connections
pub const TOO_MANY_CONNECTIONS: SqlState = SqlState(*b"53300");
/// program_limit_exceeded
pub const PROGRAM_LIMIT_EXCEEDED: SqlState = SqlState(*b"54000");
/// object_not_in_prerequisite_state
pub const OBJECT_NOT_IN_PREREQUISITE_STATE: SqlState = SqlState(*b"55000");
/// query_canceled
pub const QUERY_CANCELED: SqlState = SqlState(*b"57014");
/// admin_shutdown
pub const ADMIN_SHUTDOWN: SqlState = SqlState(*b"57P01");
/// crash_shutdown
pub const CRASH_SHUTDOWN: SqlState = SqlState(*b"57P02");
/// cannot_connect_now
pub const CANNOT_CONNECT_NOW: SqlState = SqlState(*b"57P03");
/// internal_error
pub const INTERNAL_ERROR: SqlState = SqlState(*b"XX000");
