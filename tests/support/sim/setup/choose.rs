//! Set-ups by chance, of those that a proxy may have.

use super::super::choices::Choices;
use super::super::fittings::{Fittings, Kept};
use super::{Caller, Finder, Method, Offer, Setup, Start, Tls};

impl Setup {
    pub(crate) fn choose(choices: &mut Choices<'_>) -> Setup {
        let upstream_tls =
            choices.weighted(&[(6, Tls::Disable), (1, Tls::Allow), (2, Tls::Require)]);
        let servers_have_tls = match upstream_tls {
            Tls::Require => !choices.percent(8),
            Tls::Disable | Tls::Allow => choices.percent(30),
        };
        let encrypted = servers_have_tls && upstream_tls != Tls::Disable;
        let login = choices.weighted(&[
            (10, Method::Trust),
            (2, Method::Scram),
            (2, Method::Md5),
            (1, Method::Cleartext),
        ]);
        let upstream_direct = upstream_tls == Tls::Require && choices.percent(25);
        let terminate = choices.percent(25);
        let verifier = cfg!(feature = "scram") && login == Method::Scram && choices.percent(50);
        let caller = match terminate || verifier {
            true => Caller::Nobody,
            false => Caller::choose(choices),
        };
        let setup = Setup {
            split: !choices.percent(8),
            gate_is_reader: choices.percent(20),
            reader_at_login: choices.percent(40),
            fail_without_reader: choices.percent(15),
            client_tls: choices.weighted(&[
                (6, Offer::Disable),
                (2, Offer::Allow),
                (1, Offer::Require),
                (2, Offer::Passthrough),
            ]),
            client_asks_tls: choices.percent(30),
            client_begins_tls: choices.percent(12),
            client_insists: choices.percent(25),
            upstream_tls,
            upstream_direct,
            servers_have_tls,
            servers_want_tls: upstream_tls == Tls::Allow && servers_have_tls && choices.percent(50),
            login: match login {
                // We send a password as it is over TLS only.
                Method::Cleartext if !encrypted => Method::Md5,
                other => other,
            },
            terminate,
            verifier,
            caller,
            ring: choices.percent(20),
            minor: choices.weighted(&[(3, 0), (1, 2)]),
            start: Start::choose(terminate, choices),
            clients: choices.weighted(&[(5, 1), (1, 2)]),
            readers: choices.weighted(&[(3, 1), (1, 2)]),
            rude: choices.percent(25),
            lag: choices.percent(12),
            tight: choices.percent(25),
            server_version: match upstream_direct {
                true => choices.weighted(&[(1, 15), (5, 18)]),
                false => choices.one(&[15, 18]),
            },
            ..Setup::plain()
        };
        // Not a choice of its own, so that what follows is chosen as before.
        let bound = encrypted && setup.reader_at_login;
        Setup { bound, ..setup }.sound()
    }

    /// The same without what no proxy may be set up with: to check clients whose encryption is not its own.
    pub(crate) fn sound(self) -> Setup {
        // Tokens are nothing to the proxy: somebody else answers for it, or it logs in nowhere of its own accord.
        let handed_on = !self.split || self.caller != Caller::Nobody;
        let login = match self.login {
            Method::Gss if !handed_on => Method::Trust,
            other => other,
        };
        let checks = self.client_tls != Offer::Passthrough && login != Method::Gss;
        let terminate = self.terminate && checks;
        // Whom the proxy does not check it cannot look up or know by another name.
        let finder = match terminate {
            true => self.finder,
            false => Finder::Listed,
        };
        let renamed = self.renamed && terminate && self.caller == Caller::Nobody;
        let verifier = self.verifier && login != Method::Gss;
        let kept = match self.fittings.kept {
            _ if !terminate || login == Method::Trust || verifier => Kept::Password,
            // It serves for nothing else.
            Kept::Digest if login != Method::Md5 => Kept::Password,
            other => other,
        };
        Setup {
            login,
            verifier,
            terminate,
            finder,
            renamed,
            fittings: Fittings {
                kept,
                ..self.fittings
            },
            ..self
        }
    }
}

impl Caller {
    fn choose(choices: &mut Choices<'_>) -> Caller {
        choices.weighted(&[
            (10, Caller::Nobody),
            (2, Caller::Prompt),
            (1, Caller::Late),
            (1, Caller::Silent),
            (1, Caller::Wrong),
            (1, Caller::Sorry),
        ])
    }
}

impl Start {
    fn choose(terminate: bool, choices: &mut Choices<'_>) -> Start {
        // Who is checked by the proxy is checked for everything.
        let strangers = if terminate { 3 } else { 1 };
        choices.weighted(&[
            (20, Start::Plain),
            (3, Start::Options),
            (2, Start::Extension),
            (strangers, Start::Nobody),
            (strangers, Start::Nowhere),
            (strangers, Start::WrongPassword),
            (2, Start::Replication),
        ])
    }
}
