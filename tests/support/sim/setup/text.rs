//! A set-up's text: `name=value`, one behind the other.

use super::{Caller, Finder, Fresh, Logins, Method, Offer, Setup, Spare, Start, Tls};

const SPARES: [(Spare, &str); 4] = [
    (Spare::None, "none"),
    (Spare::Like, "like"),
    (Spare::Newer, "newer"),
    (Spare::Older, "older"),
];
const CALLERS: [(Caller, &str); 6] = [
    (Caller::Nobody, "nobody"),
    (Caller::Prompt, "prompt"),
    (Caller::Late, "late"),
    (Caller::Silent, "silent"),
    (Caller::Wrong, "wrong"),
    (Caller::Sorry, "sorry"),
];
const FINDERS: [(Finder, &str); 5] = [
    (Finder::Listed, "listed"),
    (Finder::Prompt, "prompt"),
    (Finder::Late, "late"),
    (Finder::Silent, "silent"),
    (Finder::Sorry, "sorry"),
];
const LOGINS: [(Logins, &str); 3] = [
    (Logins::Unasked, "unasked"),
    (Logins::Allowed, "allowed"),
    (Logins::Denied, "denied"),
];
const FRESH: [(Fresh, &str); 4] = [
    (Fresh::Off, "off"),
    (Fresh::For, "for"),
    (Fresh::Reads, "reads"),
    (Fresh::Replayed, "replayed"),
];
const STARTS: [(Start, &str); 9] = [
    (Start::Plain, "plain"),
    (Start::Options, "options"),
    (Start::Temporary, "temporary"),
    (Start::Extension, "extension"),
    (Start::Nobody, "nobody"),
    (Start::Nowhere, "nowhere"),
    (Start::WrongPassword, "wrong-password"),
    (Start::Replication, "replication"),
    (Start::Long, "long"),
];
const OFFERS: [(Offer, &str); 4] = [
    (Offer::Disable, "disable"),
    (Offer::Allow, "allow"),
    (Offer::Require, "require"),
    (Offer::Passthrough, "passthrough"),
];
const TLS: [(Tls, &str); 3] = [
    (Tls::Disable, "disable"),
    (Tls::Allow, "allow"),
    (Tls::Require, "require"),
];
const METHODS: [(Method, &str); 5] = [
    (Method::Gss, "gss"),
    (Method::Trust, "trust"),
    (Method::Cleartext, "cleartext"),
    (Method::Md5, "md5"),
    (Method::Scram, "scram"),
];

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offer = OFFERS.iter().find(|(offer, _)| *offer == self.client_tls);
        let tls = TLS.iter().find(|(tls, _)| *tls == self.upstream_tls);
        let login = METHODS.iter().find(|(method, _)| *method == self.login);
        let caller = CALLERS.iter().find(|(caller, _)| *caller == self.caller);
        let start = STARTS.iter().find(|(start, _)| *start == self.start);
        let fresh = FRESH.iter().find(|(fresh, _)| *fresh == self.fresh);
        let finder = FINDERS.iter().find(|(finder, _)| *finder == self.finder);
        let logins = LOGINS.iter().find(|(logins, _)| *logins == self.logins);
        let spare = SPARES.iter().find(|(spare, _)| *spare == self.spare);
        write!(
            f,
            "split={} gate-is-reader={} reader-at-login={} fail-without-reader={} client-tls={} \
             client-asks-tls={} client-begins-tls={} client-insists={} upstream-tls={} \
             upstream-direct={} servers-have-tls={} servers-want-tls={} login={} terminate={} \
             verifier={} caller={} bound={} ring={} minor={} start={} clients={} \
             readers={} rude={} lag={} tight={} \
             server-version={} judged={} strict={} read-your-writes={} optimistic={} read-transactions={} wild={} \
             read-only={} finder={} renamed={} logins={} short-startup={} spare={} transfers={} {}",
            self.split,
            self.gate_is_reader,
            self.reader_at_login,
            self.fail_without_reader,
            offer.map_or("?", |(_, name)| name),
            self.client_asks_tls,
            self.client_begins_tls,
            self.client_insists,
            tls.map_or("?", |(_, name)| name),
            self.upstream_direct,
            self.servers_have_tls,
            self.servers_want_tls,
            login.map_or("?", |(_, name)| name),
            self.terminate,
            self.verifier,
            caller.map_or("?", |(_, name)| name),
            self.bound,
            self.ring,
            self.minor,
            start.map_or("?", |(_, name)| name),
            self.clients,
            self.readers,
            self.rude,
            self.lag,
            self.tight,
            self.server_version,
            self.judged,
            self.strict,
            fresh.map_or("?", |(_, name)| name),
            self.optimistic,
            self.read_transactions,
            self.wild,
            self.read_only,
            finder.map_or("?", |(_, name)| name),
            self.renamed,
            logins.map_or("?", |(_, name)| name),
            self.short_startup,
            spare.map_or("?", |(_, name)| name),
            self.transfers,
            self.fittings,
        )
    }
}

impl Setup {
    /// The text of what is not as in [`Setup::plain`].
    pub(crate) fn peculiar(&self) -> String {
        let (all, plain) = (self.to_string(), Setup::plain().to_string());
        let pairs = all.split_whitespace().zip(plain.split_whitespace());
        let other: Vec<&str> = pairs.filter(|(a, b)| a != b).map(|(a, _)| a).collect();
        other.join(" ")
    }

    /// Reads what [`Display`](std::fmt::Display) writes; what is left out is as in [`Setup::plain`].
    pub(crate) fn parse(text: &str) -> Result<Setup, String> {
        let mut setup = Setup::plain();
        for pair in text.split_whitespace() {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is not name=value"))?;
            setup.set(name, value)?;
        }
        Ok(setup.sound())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "split" => self.split = parsed(value)?,
            "gate-is-reader" => self.gate_is_reader = parsed(value)?,
            "reader-at-login" => self.reader_at_login = parsed(value)?,
            "fail-without-reader" => self.fail_without_reader = parsed(value)?,
            "client-tls" => self.client_tls = named(&OFFERS, value)?,
            "client-insists" => self.client_insists = parsed(value)?,
            "client-begins-tls" => self.client_begins_tls = parsed(value)?,
            "client-asks-tls" => self.client_asks_tls = parsed(value)?,
            "upstream-tls" => self.upstream_tls = named(&TLS, value)?,
            "upstream-direct" => self.upstream_direct = parsed(value)?,
            "caller" => self.caller = named(&CALLERS, value)?,
            "servers-want-tls" => self.servers_want_tls = parsed(value)?,
            "servers-have-tls" => self.servers_have_tls = parsed(value)?,
            "login" => self.login = named(&METHODS, value)?,
            "terminate" => self.terminate = parsed(value)?,
            "verifier" => self.verifier = parsed(value)?,
            "bound" => self.bound = parsed(value)?,
            "ring" => self.ring = parsed(value)?,
            "minor" => self.minor = parsed(value)?,
            "start" => self.start = named(&STARTS, value)?,
            "clients" => self.clients = parsed(value)?,
            "readers" => self.readers = parsed(value)?,
            "rude" => self.rude = parsed(value)?,
            "lag" => self.lag = parsed(value)?,
            "tight" => self.tight = parsed(value)?,
            "server-version" => self.server_version = parsed(value)?,
            "judged" => self.judged = parsed(value)?,
            "strict" => self.strict = parsed(value)?,
            "read-your-writes" => self.fresh = named(&FRESH, value)?,
            "optimistic" => self.optimistic = parsed(value)?,
            "read-transactions" => self.read_transactions = parsed(value)?,
            "wild" => self.wild = parsed(value)?,
            "read-only" => self.read_only = parsed(value)?,
            "finder" => self.finder = named(&FINDERS, value)?,
            "renamed" => self.renamed = parsed(value)?,
            "short-startup" => self.short_startup = parsed(value)?,
            "logins" => self.logins = named(&LOGINS, value)?,
            "transfers" => self.transfers = parsed(value)?,
            "spare" => self.spare = named(&SPARES, value)?,
            other if self.fittings.set(other, value)? => {}
            other => return Err(format!("{other:?} is no part of a set-up")),
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value:?} is no value"))
}

fn named<T: Copy>(all: &[(T, &str)], name: &str) -> Result<T, String> {
    all.iter()
        .find(|(_, known)| *known == name)
        .map(|(what, _)| *what)
        .ok_or_else(|| format!("{name:?} is not known"))
}
