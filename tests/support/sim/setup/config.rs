//! What the proxy of a set-up is configured with.

use std::sync::Arc;

#[cfg(feature = "scram")]
use pgturnout::auth::Secret;
use pgturnout::auth::{AdmitPolicy, Channel, Credential, Methods};
#[cfg(feature = "scram")]
use pgturnout::cancel::CancelRing;
use pgturnout::migrate::Dialect;
use pgturnout::session::{
    ClientAuth, Config, Gate, Metadata, Moves, Optimistic, ReadOnlyTransactions, ReadYourWrites,
    ReaderFailure, ReaderOpen, RequestEvents, Role, Split, Upstream, UserSource, WriterFailure,
};
use pgturnout::startup::{ClientTls, TlsNegotiation, UpstreamTlsPolicy};

use super::super::fittings::Kept;
use super::super::needles;
use super::super::server::{self, PASSWORD};
use super::{
    Caller, Finder, Fresh, KEPT_READS, LAG_ALLOWED, Method, Offer, Setup, Spare, Tls, USER, WINDOW,
};

impl Setup {
    pub(crate) fn methods() -> Methods {
        Methods::NONE
            .allow_trust()
            .allow_cleartext(Channel::Tls)
            .allow_md5(Channel::Clear)
            .allow_scram()
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        let mut config = Config::new(self.upstreams());
        if self.spare != Spare::None {
            config.moves = Moves::On;
        }
        if self.transfers {
            config.dialect = Dialect::Cockroach;
        }
        self.apply_reads(&mut config);
        if self.short_startup {
            config.limits.startup_body = pgturnout::limits::STARTUP_BODY_LEAST;
        }
        if self.read_only {
            config.writer_failure = WriterFailure::ReadOnly;
        }
        self.apply_client(&mut config);
        #[cfg(feature = "scram")]
        if self.ring {
            let secret = Secret::new(needles::RING_SECRET.to_vec());
            let ring = CancelRing::new(7, secret).expect("a secret that is long enough");
            config.cancel_ring = Some(Arc::new(ring));
        }
        self.fittings.apply(&mut config);
        if self.tight {
            tighten(&mut config);
        }
        config.check().expect("a sound configuration");
        Arc::new(config)
    }

    fn upstreams(&self) -> Vec<Upstream> {
        let upstream = |name: &str, role| Upstream {
            name: name.to_owned(),
            role,
            tls: match self.upstream_tls {
                Tls::Disable => UpstreamTlsPolicy::Disable,
                Tls::Allow if self.servers_want_tls => UpstreamTlsPolicy::Allow,
                Tls::Allow => UpstreamTlsPolicy::Prefer,
                Tls::Require => UpstreamTlsPolicy::VerifyFull,
            },
            tls_negotiation: match self.is_direct() {
                true => TlsNegotiation::Direct,
                false => TlsNegotiation::Postgres,
            },
            methods: Some(Setup::methods().allow_external(Channel::Clear)),
        };
        let mut upstreams = vec![upstream("primary", Role::Writer)];
        for number in 0..self.readers {
            upstreams.push(upstream(&format!("standby{number}"), Role::Reader));
        }
        if self.spare != Spare::None {
            upstreams.push(upstream("spare", Role::Spare));
        }
        upstreams
    }

    /// Where reads go, and when.
    fn apply_reads(&self, config: &mut Config) {
        config.reader_choice.max_lag_bytes = Some(LAG_ALLOWED);
        config.split = if self.split { Split::On } else { Split::Off };
        if self.reader_at_login {
            config.request_events = RequestEvents::On;
            // The parser needs more stack than a simulated session has.
            if !cfg!(feature = "inspect") {
                config.metadata = Metadata::On;
            }
        }
        config.gate = match self.gate_is_reader {
            true => Gate::Reader,
            false => Gate::Writer,
        };
        config.reader_open = match self.reader_at_login {
            true => ReaderOpen::AtLogin,
            false => ReaderOpen::OnFirstRead,
        };
        config.reader_failure = match self.fail_without_reader {
            true => ReaderFailure::FailClient,
            false => ReaderFailure::UseWriter,
        };
        config.read_your_writes = match self.fresh {
            Fresh::Off => ReadYourWrites::Off,
            Fresh::For => ReadYourWrites::For(WINDOW),
            Fresh::Reads => ReadYourWrites::Reads(KEPT_READS),
            Fresh::Replayed => ReadYourWrites::Replayed,
        };
        config.optimistic = match self.optimistic {
            true => Optimistic::On,
            false => Optimistic::Off,
        };
        if self.read_transactions {
            config.read_only_transactions = ReadOnlyTransactions::Reader;
        }
    }

    /// How a client is let in.
    fn apply_client(&self, config: &mut Config) {
        if self.finder != Finder::Listed {
            config.user_source = UserSource::Caller;
        } else if self.renamed {
            let user = self.other_user();
            config.upstream_users.insert(USER.as_bytes(), user);
        }
        config.client_tls = match self.client_tls {
            Offer::Disable => ClientTls::Disable,
            Offer::Allow => ClientTls::Allow,
            Offer::Require => ClientTls::Require,
            Offer::Passthrough => ClientTls::Passthrough,
        };
        if self.login != Method::Trust {
            config.users.insert(USER.as_bytes(), self.listed());
        }
        if self.terminate {
            let policy = AdmitPolicy::new(*needles::MOCK_SECRET).iterations(1);
            config.authentication = ClientAuth::Terminate(match self.login {
                Method::Trust => policy.allow_trust(Channel::Clear),
                Method::Cleartext => policy.allow_cleartext().allow_md5(Channel::Clear),
                Method::Md5 => policy.allow_md5(Channel::Clear),
                Method::Scram | Method::Gss => policy.allow_scram().allow_md5(Channel::Clear),
            });
        }
    }

    pub(super) fn listed(&self) -> Credential {
        #[cfg(feature = "scram")]
        if self.verifier {
            let stored = server::stored_verifier();
            return Credential::from_secret(stored.as_bytes()).expect("a verifier");
        }
        match (self.caller, self.fittings.kept) {
            (Caller::Nobody, Kept::Password) => Credential::password(PASSWORD),
            (Caller::Nobody, Kept::Digest) => {
                let digest = server::stored_digest(USER);
                Credential::from_secret(digest.as_bytes()).expect("a digest")
            }
            (Caller::Nobody, Kept::Blank) => Credential::password(""),
            (Caller::Nobody, Kept::Nothing) => Credential::None,
            (Caller::Nobody, Kept::Outside) | (_, _) => Credential::External,
        }
    }
}

/// The least that a session works with: what it remembers falls out early, and queues fill.
fn tighten(config: &mut Config) {
    let limits = &mut config.limits;
    limits.read_buffer = pgturnout::limits::READ_BUFFER_MIN;
    limits.requests_in_flight = pgturnout::limits::REQUESTS_IN_FLIGHT_MIN;
    limits.reader_requests_in_flight = 4;
    limits.ledger.segments_per_queue = pgturnout::limits::LEDGER_SEGMENTS_MIN;
    limits.ledger.owned_bytes_per_queue = pgturnout::limits::LEDGER_OWNED_MIN;
    limits.statements.names = 5;
    limits.statements.bytes = 320;
    limits.statements.on_reader = 2;
    limits.statements.body = 256;
    limits.journal.entries = 4;
    limits.journal.bytes = 512;
    limits.journal.savepoints = 2;
    limits.portals = 2;
    limits.texts.texts = 4;
    limits.texts.bytes = 512;
}
