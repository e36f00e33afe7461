//! The words that stand in the place of a version. All have the major version 1234, which no protocol will have.

/// CancelRequest.
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;
/// SSLRequest.
pub(super) const SSL_REQUEST: u32 = 80_877_103;
/// GSSENCRequest.
pub(super) const GSSENC_REQUEST: u32 = 80_877_104;
/// The length of an SSLRequest and of a GSSENCRequest, its own word included.
pub(super) const REQUEST_LENGTH: u32 = 8;
/// The major version of them all.
pub(super) const SPECIAL_MAJOR: u16 = 1234;
