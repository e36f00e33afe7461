//! Somebody beside the proxy who answers what servers ask in its logins.

use bytes::BytesMut;
use pgturnout::auth::{Channel, Credential, ExternalAnswer, Handshake, Replay, ScramNonce};
use pgturnout::session::PeerId;
use pgturnout::startup::StartupParams;
use pgturnout::wire::{Backend, Header};

use super::super::checks::Check;
use super::super::fault::Damage;
use super::super::needles::WRONG_PASSWORD;
use super::super::server::{PASSWORD, gss_token};
use super::super::setup::{Caller, Finder, Method, Setup};
use super::{State, World};

/// What is known of one connection's login.
#[derive(Default)]
pub(super) struct Asked {
    /// The server's question that is not answered yet, and its number.
    question: Option<(u64, Vec<u8>)>,
    login: Option<Box<Replay>>,
}

impl World<'_> {
    /// A server asks.
    pub(super) fn asks_the_caller(&mut self, peer: PeerId, number: u64, question: &[u8]) {
        let asked = &mut self.asked[peer.index()];
        if asked.question.is_some() {
            self.broken(Check::LoginOrder, format!("{peer}: two questions at once"));
            return;
        }
        asked.question = Some((number, question.to_vec()));
        match self.setup.caller {
            Caller::Nobody => self.broken(Check::Total, "there is nobody to ask"),
            Caller::Silent if self.faults_are_over => self.caller_answers(peer),
            Caller::Late | Caller::Silent => {}
            Caller::Prompt | Caller::Wrong | Caller::Sorry => self.caller_answers(peer),
        }
    }

    /// Whether a login waits for an answer.
    pub(crate) fn waits_for_the_caller(&self) -> bool {
        PeerId::ALL.into_iter().any(|peer| {
            let open = self.links[peer.index()].state == State::Open;
            open && self.asked[peer.index()].question.is_some()
        })
    }

    /// A user is to be looked up.
    pub(super) fn finds(&mut self, user: &[u8]) {
        self.door.asked = Some(user.to_vec());
        match self.setup.finder {
            Finder::Listed => self.broken(Check::Total, "there is nobody to ask for users"),
            Finder::Silent if self.faults_are_over => self.found(),
            Finder::Late | Finder::Silent => {}
            Finder::Prompt | Finder::Sorry => self.found(),
        }
    }

    fn found(&mut self) {
        let Some(user) = self.door.asked.take() else {
            return;
        };
        self.door.answered = true;
        let found = match self.setup.finder {
            Finder::Sorry => {
                self.damage = self.damage.max(Damage::Session);
                Err("the directory is away".to_owned())
            }
            Finder::Listed | Finder::Prompt | Finder::Late | Finder::Silent => {
                Ok(self.setup.found(&user))
            }
        };
        self.log(|| format!("    the caller has looked for a user: {}", found.is_ok()));
        let now = self.now;
        self.meter.measure(|| self.session.handle_user(now, found));
    }

    /// Nothing else happens: who takes their time answers. Whether anybody did.
    pub(super) fn late_answers(&mut self) -> bool {
        let due = match self.setup.caller {
            Caller::Late => true,
            Caller::Silent => self.faults_are_over,
            Caller::Nobody | Caller::Prompt | Caller::Wrong | Caller::Sorry => false,
        };
        let mut moved = false;
        let finds = match self.setup.finder {
            Finder::Late => true,
            Finder::Silent => self.faults_are_over,
            Finder::Listed | Finder::Prompt | Finder::Sorry => false,
        };
        if finds && self.door.asked.is_some() {
            self.found();
            self.digest();
            moved = true;
        }
        for peer in PeerId::ALL {
            if due && self.asked[peer.index()].question.is_some() {
                self.caller_answers(peer);
                self.digest();
                moved = true;
            }
        }
        moved
    }

    fn caller_answers(&mut self, peer: PeerId) {
        let Some((number, question)) = self.asked[peer.index()].question.take() else {
            return;
        };
        let worst = match peer == PeerId::READER {
            true => Damage::Requests,
            false => Damage::Session,
        };
        let answer = match self.setup.caller {
            Caller::Sorry => Err("nobody knows".to_owned()),
            Caller::Wrong => self.answer(peer, WRONG_PASSWORD, &question),
            Caller::Nobody | Caller::Prompt | Caller::Late | Caller::Silent => {
                self.answer(peer, PASSWORD, &question)
            }
        };
        if matches!(self.setup.caller, Caller::Sorry | Caller::Wrong) {
            self.damage = self.damage.max(worst);
        }
        let told = match &answer {
            // A password or its hash is all that a server wants.
            Ok(data) if matches!(question[..4], [0, 0, 0, 3 | 5]) => Ok(ExternalAnswer::Last(data)),
            Ok(data) if data.is_empty() => Ok(ExternalAnswer::Nothing),
            Ok(data) => Ok(ExternalAnswer::More(data)),
            Err(why) => Err(why.clone()),
        };
        self.log(|| format!("    the caller answers the {peer}: {told:?}"));
        let now = self.now;
        self.meter
            .measure(|| self.session.handle_authentication(now, peer, number, told));
    }

    /// What somebody with this password answers.
    fn answer(&mut self, peer: PeerId, password: &str, question: &[u8]) -> Result<Vec<u8>, String> {
        let channel = match self.links[peer.index()].secure {
            true => Channel::Tls,
            false => Channel::Clear,
        };
        let setup = &self.setup;
        let login = self.asked[peer.index()].login.get_or_insert_with(|| {
            let pairs = setup.user_and_options();
            let params = StartupParams::build(setup.version(), pairs).expect("a packet");
            let credential = Credential::password(password);
            let nonce = ScramNonce::from_bytes([7; 18]);
            let mut login = Replay::new(&params, credential, Setup::methods(), channel, nonce);
            login.start(&mut BytesMut::new()).expect("a new login");
            Box::new(login)
        });
        if let ([0, 0, 0, code @ (7 | 8)], data) = question.split_at(4)
            && self.setup.login == Method::Gss
        {
            return Ok(gss_token(i32::from(*code), data, password).unwrap_or_default());
        }
        let words = |error: pgturnout::auth::AuthError| error.to_string();
        let message = Backend::parse(b'R', question).map_err(|fault| fault.to_string())?;
        let mut reply = BytesMut::new();
        let mut result = login.handle(message, &mut reply).map_err(words)?;
        while let Handshake::Working = result {
            result = login.work(&mut reply).map_err(words)?;
        }
        Ok(reply.get(Header::LEN..).unwrap_or_default().to_vec())
    }
}
