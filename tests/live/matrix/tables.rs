//! What is expected of every opening and every login.

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expect {
    /// The read runs on the standby, the write on the primary.
    Split,
    /// Both run on the primary.
    Writer,
    /// There is no session, and this is why.
    No(&'static Why),
    /// The first with a driver that tells the server, unasked, that it can bind SCRAM to TLS.
    IfOffersBinding(&'static Expect, &'static Expect),
    /// The first with a driver that can bind SCRAM to TLS.
    IfBinds(&'static Expect, &'static Expect),
    /// The first from PostgreSQL 18 on.
    From18(&'static Expect, &'static Expect),
    /// The proxy refuses to start like that.
    Never,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) struct Why {
    /// The SQLSTATE, if the server's side says it; libpq does not tell its users.
    pub(super) state: &'static str,
    /// One of these is in what the driver says: the server's words, or a driver's own.
    pub(super) words: &'static [&'static str],
}

use Expect::{Never, Split, Writer};

pub(super) const fn no(why: &'static Why) -> Expect {
    Expect::No(why)
}

/// The client asked for TLS, and was told that there is none.
pub(super) const NO_TLS: Expect = no(&Why {
    state: "",
    words: &[
        "server does not support SSL",
        "rejected SSL upgrade",
        "does not support SSL connections",
        "server does not support TLS",
    ],
});
/// The proxy asks for TLS, and the client did not.
pub(super) const NEEDS_TLS: Expect = no(&Why {
    state: "28000",
    words: &["this connection requires TLS"],
});
/// The server's own refusal, of a user who may not come in clear.
pub(super) const NO_ENTRY: Expect = no(&Why {
    state: "28000",
    words: &["no pg_hba.conf entry"],
});
/// The server asks for the password in clear, the proxy has it in clear, and the client's own connection is encrypted.
pub(super) const IN_CLEAR: Expect = no(&Why {
    state: "08006",
    words: &[
        "a password in clear over an unencrypted connection",
        // From drivers that do not show details.
        "could not log in to the primary server",
    ],
});
/// The driver says that it could have bound SCRAM to TLS, and the server would take that for an attack.
pub(super) const NO_BINDING: Expect = no(&Why {
    state: "28000",
    words: &["could bind SCRAM to TLS"],
});
pub(super) const UNRELAYABLE: Expect = Expect::IfOffersBinding(&NO_BINDING, &Split);
/// Nothing that is allowed can be had in clear.
pub(super) const NO_METHOD: Expect = no(&Why {
    state: "28000",
    words: &["no method of authentication is allowed over this connection"],
});
pub(super) const NO_CERTIFICATE: Expect = no(&Why {
    state: "28000",
    words: &["certificate authentication failed"],
});
pub(super) const BOUND: Expect = Expect::IfBinds(
    &Split,
    &no(&Why {
        state: "",
        words: &[
            "unsupported SASL",
            "unsupported authentication method",
            "unsupported by client SCRAM mechanisms",
        ],
    }),
);

/// The proxy begins TLS toward the servers with the handshake, which versions before 17 do not know.
pub(super) const DIRECT: Expect = Expect::From18(
    &Split,
    &no(&Why {
        state: "08006",
        words: &["could not log in to the primary server"],
    }),
);

/// What is stored serves for another method than the one that is allowed.
pub(super) const DOOMED: Expect = no(&Why {
    state: "28P01",
    words: &["password authentication failed for user"],
});
/// The client is let in, and has shown nothing that opens the servers.
pub(super) const NO_KEYS: Expect = no(&Why {
    state: "08006",
    words: &["could not log in to the primary server"],
});

/// How the proxy takes TLS from clients, and whether the client asks for it.
pub(super) const COLUMNS: [(&str, bool); 8] = [
    ("disable", false),
    ("disable", true),
    ("allow", false),
    ("allow", true),
    ("require", false),
    ("require", true),
    ("passthrough", false),
    ("passthrough", true),
];

/// Who logs in how.
///
/// `relay` is through the proxy, with upstreams in clear; `relay+tls` with TLS on that side too, `relay+direct` with TLS
/// that nobody is asked for, `relay+prefer` and `relay+allow` with TLS as that comes. The others are checked by the
/// proxy, with what they are named after. It lists passwords, with `:stored` what the servers store: of `u_md5` a digest,
/// of the others verifiers.
#[rustfmt::skip]
pub(super) const LOGINS: &[(&str, &str, [Expect; 8])] = &[
    //                          disable             allow                        require                   passthrough
    // login        user        clear     TLS       clear           TLS          clear      TLS            clear     TLS
    ("relay",      "u_trust", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay",      "u_clear", [Writer,   NO_TLS,   Writer,         IN_CLEAR,    NEEDS_TLS, IN_CLEAR,      Writer,   Writer]),
    ("relay",      "u_md5",   [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay",      "u_scram", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay",      "u_tls",   [NO_ENTRY, NO_TLS,   NO_ENTRY,       NO_ENTRY,    NEEDS_TLS, NO_ENTRY,      NO_ENTRY, Writer]),
    ("relay+tls",  "u_clear", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay+tls",  "u_scram", [Split,    NO_TLS,   Split,          UNRELAYABLE, NEEDS_TLS, UNRELAYABLE,   Split,    Writer]),
    ("relay+tls",  "u_tls",   [Split,    NO_TLS,   Split,          UNRELAYABLE, NEEDS_TLS, UNRELAYABLE,   Split,    Writer]),
    ("relay+direct", "u_md5", [DIRECT,  NO_TLS,   DIRECT,         DIRECT,      NEEDS_TLS, DIRECT,        DIRECT,   Writer]),
    ("relay+prefer", "u_clear", [Split,  NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay+prefer", "u_scram", [Split,  NO_TLS,   Split,          UNRELAYABLE, NEEDS_TLS, UNRELAYABLE,   Split,    Writer]),
    ("relay+prefer", "u_tls", [Split,    NO_TLS,   Split,          UNRELAYABLE, NEEDS_TLS, UNRELAYABLE,   Split,    Writer]),
    ("relay+allow", "u_clear", [Writer,  NO_TLS,   Writer,         IN_CLEAR,    NEEDS_TLS, IN_CLEAR,      Writer,   Writer]),
    ("relay+allow", "u_scram", [Split,   NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay+allow", "u_tls",  [Split,    NO_TLS,   Split,          UNRELAYABLE, NEEDS_TLS, UNRELAYABLE,   Split,    Writer]),
    ("relay:stored", "u_md5", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("relay:stored", "u_scram", [Split,  NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Split,    Writer]),
    ("scram:stored", "u_md5", [DOOMED,   NO_TLS,   DOOMED,         DOOMED,      NEEDS_TLS, DOOMED,        Never,    Never]),
    ("scram:stored", "u_scram", [Split,  NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("scram-plus:stored", "u_scram", [Never, Never, NO_METHOD,     BOUND,       NEEDS_TLS, BOUND,         Never,    Never]),
    ("md5:stored", "u_md5",   [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("md5:stored", "u_scram", [DOOMED,   NO_TLS,   DOOMED,         DOOMED,      NEEDS_TLS, DOOMED,        Never,    Never]),
    ("scram,md5:stored", "u_md5", [Split, NO_TLS,  Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("scram,md5:stored", "u_scram", [Split, NO_TLS, Split,         Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("password:stored", "u_md5", [Never, Never,    NO_METHOD,      Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("password:stored", "u_scram", [Never, Never,  NO_METHOD,      Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("cert:stored", "u_scram", [Never,   Never,    NO_CERTIFICATE, NO_KEYS,     NEEDS_TLS, NO_KEYS,       Never,    Never]),
    ("trust:stored", "u_md5", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("trust:stored", "u_scram", [NO_KEYS, NO_TLS,  NO_KEYS,        NO_KEYS,     NEEDS_TLS, NO_KEYS,       Never,    Never]),
    ("scram",      "u_scram", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("scram-plus", "u_scram", [Never,    Never,    NO_METHOD,      BOUND,       NEEDS_TLS, BOUND,         Never,    Never]),
    ("md5",        "u_scram", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("password",   "u_scram", [Never,    Never,    NO_METHOD,      Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("cert",       "u_scram", [Never,    Never,    NO_CERTIFICATE, Split,       NEEDS_TLS, Split,         Never,    Never]),
    ("trust",      "u_scram", [Split,    NO_TLS,   Split,          Split,       NEEDS_TLS, Split,         Never,    Never]),
];

/// libpq refuses: the server is older than asked for.
pub(super) const OLD_PROTOCOL: Expect = no(&Why {
    state: "",
    words: &["server only supports protocol version 3.0"],
});
/// libpq refuses: the login is another than asked for.
pub(super) const OTHER_METHOD: Expect = no(&Why {
    state: "",
    words: &["authentication method requirement"],
});
/// libpq refuses: it was to bind, and cannot.
pub(super) const UNBOUND: Expect = no(&Why {
    state: "",
    words: &[
        "channel binding",
        "none of the server's SASL authentication mechanisms are supported",
    ],
});
/// The server does not know handshakes that nobody asked for, or has no TLS, and closes.
pub(super) const NO_DIRECT: Expect = no(&Why {
    state: "",
    words: &[
        "SSL error",
        "SSL SYSCALL error",
        "server closed the connection",
    ],
});

/// What options of libpq come to. Those that a libpq does not know are left out with it.
#[rustfmt::skip]
pub(super) const OPTIONS: &[(&str, &str, &str, bool, &str, Expect)] = &[
    // login      mode         user       TLS    options
    ("relay",     "disable",     "u_scram", false, "max_protocol_version=3.0", Split),
    ("relay",     "disable",     "u_scram", false, "max_protocol_version=3.2", Split),
    ("relay",     "disable",     "u_scram", false, "max_protocol_version=latest", Split),
    ("relay",     "disable",     "u_scram", false, "min_protocol_version=3.2 max_protocol_version=latest", Expect::From18(&Split, &OLD_PROTOCOL)),
    ("relay",     "allow",       "u_scram", true,  "max_protocol_version=latest", Split),
    ("relay",     "allow",       "u_scram", true,  "max_protocol_version=3.2 sslnegotiation=direct", Split),
    ("relay",     "passthrough", "u_scram", true,  "max_protocol_version=latest", Writer),
    ("scram",     "disable",     "u_scram", false, "max_protocol_version=3.0", Split),
    ("scram",     "disable",     "u_scram", false, "max_protocol_version=3.2", Split),
    ("scram",     "disable",     "u_scram", false, "min_protocol_version=3.2 max_protocol_version=latest", Split),
    ("scram",     "require",     "u_scram", true,  "min_protocol_version=3.2 max_protocol_version=3.2", Split),
    ("relay",     "disable",     "u_scram", true,  "sslnegotiation=direct", NO_DIRECT),
    ("relay",     "allow",       "u_scram", true,  "sslnegotiation=direct", Split),
    ("relay",     "require",     "u_scram", true,  "sslnegotiation=direct", Split),
    ("relay",     "passthrough", "u_scram", true,  "sslnegotiation=direct", Expect::From18(&Writer, &NO_DIRECT)),
    ("relay",     "passthrough", "u_scram", true,  "sslnegotiation=direct channel_binding=require", Expect::From18(&Writer, &NO_DIRECT)),
    ("scram",     "require",     "u_scram", true,  "sslnegotiation=direct", Split),
    ("scram-plus", "require",    "u_scram", true,  "sslnegotiation=direct channel_binding=require", Split),
    ("cert",      "require",     "u_scram", true,  "sslnegotiation=direct", Split),
    ("relay",     "disable",     "u_scram", false, "sslmode=prefer", Split),
    ("relay",     "require",     "u_scram", false, "sslmode=prefer", Split),
    ("relay",     "require",     "u_scram", false, "sslmode=allow", Split),
    ("relay",     "passthrough", "u_scram", true,  "sslmode=prefer", Writer),
    ("relay",     "passthrough", "u_scram", true,  "sslmode=allow", Split),
    ("relay",     "disable",     "u_trust", false, "require_auth=none", Split),
    ("relay",     "disable",     "u_trust", false, "require_auth=!none", OTHER_METHOD),
    ("relay",     "disable",     "u_trust", false, "require_auth=scram-sha-256", OTHER_METHOD),
    ("relay",     "disable",     "u_clear", false, "require_auth=password", Writer),
    ("relay",     "disable",     "u_clear", false, "require_auth=!password", OTHER_METHOD),
    ("relay",     "disable",     "u_md5",   false, "require_auth=md5", Split),
    ("relay",     "disable",     "u_md5",   false, "require_auth=!md5", OTHER_METHOD),
    ("relay",     "disable",     "u_scram", false, "require_auth=scram-sha-256", Split),
    ("relay",     "disable",     "u_scram", false, "require_auth=!password,!md5,!none", Split),
    ("relay",     "disable",     "u_scram", false, "require_auth=password", OTHER_METHOD),
    ("relay",     "disable",     "u_scram", false, "require_auth=none", OTHER_METHOD),
    ("scram",     "require",     "u_scram", true,  "require_auth=scram-sha-256", Split),
    ("scram",     "require",     "u_scram", true,  "require_auth=password", OTHER_METHOD),
    ("scram",     "require",     "u_scram", true,  "require_auth=!scram-sha-256", OTHER_METHOD),
    ("md5",       "disable",     "u_scram", false, "require_auth=md5", Split),
    ("md5",       "disable",     "u_scram", false, "require_auth=scram-sha-256", OTHER_METHOD),
    ("password",  "require",     "u_scram", true,  "require_auth=password", Split),
    ("password",  "require",     "u_scram", true,  "require_auth=!password", OTHER_METHOD),
    ("trust",     "disable",     "u_scram", false, "require_auth=none", Split),
    ("trust",     "disable",     "u_scram", false, "require_auth=scram-sha-256", OTHER_METHOD),
    ("cert",      "require",     "u_scram", true,  "require_auth=none", Split),
    ("cert",      "require",     "u_scram", true,  "require_auth=scram-sha-256", OTHER_METHOD),
    ("scram",     "allow",       "u_scram", true,  "channel_binding=disable", Split),
    ("scram",     "allow",       "u_scram", true,  "channel_binding=prefer", Split),
    ("scram",     "allow",       "u_scram", true,  "channel_binding=require", Split),
    ("scram",     "allow",       "u_scram", false, "channel_binding=require", UNBOUND),
    ("scram-plus", "require",    "u_scram", true,  "channel_binding=prefer", Split),
    ("scram-plus", "require",    "u_scram", true,  "channel_binding=disable", UNBOUND),
    ("md5",       "require",     "u_scram", true,  "channel_binding=require", UNBOUND),
    ("trust",     "require",     "u_scram", true,  "channel_binding=require", UNBOUND),
    ("relay",     "require",     "u_scram", true,  "channel_binding=disable", Split),
    ("relay",     "require",     "u_scram", true,  "channel_binding=prefer", Split),
    ("relay",     "require",     "u_scram", true,  "channel_binding=require", UNBOUND),
    ("relay+tls", "require",     "u_scram", true,  "channel_binding=disable", Split),
    ("relay+tls", "require",     "u_scram", true,  "channel_binding=prefer", NO_BINDING),
    ("relay+tls", "require",     "u_scram", true,  "channel_binding=require", UNBOUND),
    ("relay",     "passthrough", "u_scram", true,  "channel_binding=disable", Writer),
    ("relay",     "passthrough", "u_scram", true,  "channel_binding=require", Writer),
];
