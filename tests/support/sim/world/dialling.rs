//! How dials end: who is found where a peer was dialled.

use pgturnout::session::{ConnectFailed, PeerId};

use super::super::cursor::Cursor;
use super::super::fates;
use super::super::fault::Fault;
use super::super::retries::{self, Absence};
use super::super::server::{Judgement, Node, Server, ServerOptions};
use super::super::setup::{Method, Tls};
use super::super::wants::Wanted;
use super::World;
use super::caller::Asked;
use super::happened::Happened;
use super::link::State;

impl World<'_> {
    /// A dial is answered.
    pub(super) fn dial_ends(&mut self, peer: PeerId) {
        let now = self.now;
        self.connected[peer.index()] = now;
        let link = &mut self.links[peer.index()];
        link.hangs = false;
        let refuses = std::mem::take(&mut link.refuses);
        let absence = retries::absence(self, peer);
        if refuses {
            self.strikes(&Fault::RefuseDial(peer));
        }
        if refuses || absence == Some(Absence::Unreachable) {
            self.meter.measure(|| {
                let failed = ConnectFailed("connection refused".to_owned());
                self.session.handle_connected(now, peer, Err(failed));
            });
            return;
        }
        self.links[peer.index()].state = State::Open;
        self.backends += 1;
        self.meets_another(peer);
        let node = self.node_of(peer);
        let options = self.met(peer, node, absence);
        self.takes_writes[peer.index()] = !self.cluster.recovers(node);
        let mut server = Server::new(node, self.backends, options);
        if self.setup.judges() {
            server.judge(Judgement::Watches(self.setup.shown(), 0));
        }
        self.servers[peer.index()] = Some(server);
        self.record(peer, Happened::Connected);
        fates::connected(self, peer);
        self.cancels.begins_anew(peer);
        self.torn.begins_anew(peer);
        self.seen.connected(peer);
        self.arrived[peer.index()] = Cursor::default();
        self.answered[peer.index()] = false;
        self.passed[peer.index()] = 0;
        self.asked[peer.index()] = Asked::default();
        self.wanted[peer.index()] = Wanted::default();
        self.injected[peer.index()].clear();
        self.meter
            .measure(|| self.session.handle_connected(now, peer, Ok(())));
    }

    /// What a server is like that is dialled now, with what strikes whoever dials it.
    fn met(&mut self, peer: PeerId, node: Node, absence: Option<Absence>) -> ServerOptions {
        let mut options = self.setup.server();
        options.end_to_end = self.is_opaque();
        options.end_point = options.end_point.filter(|_| !self.is_opaque());
        if let Some(version) = self.duties.spare_version(&self.config, &self.setup, peer) {
            options.version = version;
            options.lodging = self.setup.fittings.lodging;
        }
        if self.forgets_settings[peer.index()] {
            options.forgetful = true;
            self.strikes(&Fault::ForgetSettings(peer));
        }
        // Who takes no sessions now is the primary.
        let stands_in = peer == PeerId::WRITER && node != Node::Primary;
        if let Some(state) = self.refuses_login[peer.index()].clone()
            && !(stands_in && state == "57P03")
        {
            options.refuse_login = Some(state.clone());
            self.strikes(&Fault::RefuseLogin(peer, state));
        }
        if let Some(Absence::Refuses(state)) = absence {
            options.refuse_login = Some(state.to_owned());
        }
        if self.forgets_password[peer.index()] && self.setup.login != Method::Trust {
            options.other_password = true;
            self.strikes(&Fault::ForgetPassword(peer));
        }
        if let Some(answer) = self.tls_answers[peer.index()]
            && (self.setup.upstream_tls != Tls::Disable || self.is_opaque())
        {
            options.tls = answer;
            self.strikes(&Fault::AnswerTls(peer, answer));
        }
        self.posing[peer.index()] = None;
        if let Some(impostor) = self.poses[peer.index()]
            && impostor.tells_on(options.login)
        {
            options.impostor = Some(impostor);
            self.posing[peer.index()] = Some(impostor);
            self.strikes(&Fault::Pose(peer, impostor));
        }
        options
    }

    /// What is where a peer was dialled.
    pub(crate) fn node_of(&self, peer: PeerId) -> Node {
        self.duties.node(&self.setup, peer)
    }

    /// Where standbys replay apart, the reader's next connection is to one that has replayed nothing yet, unless somebody sees
    /// already how far it is.
    fn meets_another(&mut self, peer: PeerId) {
        let node = self.node_of(peer);
        let stands = |other: &PeerId| {
            *other != peer && self.servers[other.index()].is_some() && self.node_of(*other) == node
        };
        let seen = PeerId::ALL.iter().any(stands);
        if peer == PeerId::READER && self.setup.has_standbys_apart() && !seen {
            self.cluster.begin_anew(node);
        }
    }
}
