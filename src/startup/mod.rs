//! The tagless packets that open a connection.
//!
//! Two machines, one for each side of a proxy. [`Negotiation`] reads what a client opens with: requests for
//! encryption, a CancelRequest, a StartupMessage. [`UpstreamTls`] asks a server for encryption and judges its answer.
//! Both are asked what to do about the bytes that are there, and hold none of them. [`ProxyProtocol`] reads what a
//! load balancer puts in front of all that.
//!
//! The rules are those of PostgreSQL (protocol chapter, "Start-up" and "SSL Session Encryption", and
//! `ProcessStartupPacket`), measured against PostgreSQL 15; where they are stricter, the item says so.

mod cancel_key;
mod cluster;
mod codes;
mod detect;
mod endpoint_id;
mod negotiation;
mod params;
mod proxy_header;
mod proxy_line;
mod refusal;
pub(crate) mod settings;
mod tlv;
mod upstream;
mod version;

pub use cancel_key::{CancelKey, CancelSecretLength};
pub use cluster::{ClusterIdent, NoCluster};
pub use detect::{Detected, detect};
pub use endpoint_id::EndpointId;
pub use negotiation::{ClientTls, Negotiation, Opened, Passage};
pub use params::{BuildError, Params, Replication, StartupParams, encode_startup};
pub use proxy_header::{
    BadProxyHeader, Introduced, LineFault, Origin, ProxiedTls, ProxyHeader, ProxyProtocol, TlvFault,
};
pub use refusal::{Refusal, Request};
pub use tlv::Tlvs;
pub use upstream::{
    TlsNegotiation, Upgrade, UpgradeFault, UpstreamTls, UpstreamTlsPolicy, Verification,
};
pub use version::ProtocolVersion;

/// Startup parameters by which a proxy tells CockroachDB's servers whom a session belongs to: from a client they would be
/// a way into somebody else's.
pub const RESERVED_PARAMETERS: &[&[u8]] =
    &[b"crdb:session_revival_token_base64", b"crdb:remote_addr"];

/// The name by which ALPN knows PostgreSQL's protocol (IANA, "TLS Application-Layer Protocol Negotiation Protocol IDs").
/// A handshake without an SSLRequest before it has to agree on it; in others it may.
pub const ALPN: &[u8] = b"postgresql";
