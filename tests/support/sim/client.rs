//! The client: it opens the connection, proves its password, says its program, and keeps what it is told.

use bytes::BytesMut;
use pgturnout::auth::{Channel, Credential, Handshake, Methods, Replay, ScramNonce};
use pgturnout::startup::StartupParams;
use pgturnout::wire::{Backend, Header};

use super::setup::Setup;

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

enum Phase {
    /// It waits for the answer to its SSLRequest.
    Asked,
    Securing,
    Login(Box<Replay>),
    Ready,
    /// It is not one of ours: it keeps what comes.
    Wild,
    /// Its login failed, or it makes no sense of what came.
    Lost,
}

pub(crate) struct Client {
    phase: Phase,
    setup: Setup,
    /// What it says when it is logged in.
    waiting: Vec<u8>,
    /// What it was sent and has not read: less than a frame.
    unread: Vec<u8>,
    pub(crate) login: Vec<Frame>,
    /// What it was told once it was logged in.
    pub(crate) frames: Vec<Frame>,
    pub(crate) ready: usize,
    pub(crate) nonsense: Option<String>,
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

impl Client {
    /// A client, and the first bytes that it sends.
    pub(crate) fn new(setup: &Setup) -> (Client, Vec<u8>) {
        let mut client = Client {
            phase: Phase::Asked,
            setup: setup.clone(),
            waiting: Vec::new(),
            unread: Vec::new(),
            login: Vec::new(),
            frames: Vec::new(),
            ready: 0,
            nonsense: None,
        };
        let first = if setup.wild {
            client.phase = Phase::Wild;
            Vec::new()
        } else if setup.client_begins_tls {
            client.phase = Phase::Securing;
            vec![0x16]
        } else if setup.client_asks_tls {
            SSL_REQUEST.to_vec()
        } else {
            client.start()
        };
        (client, first)
    }

    fn start(&mut self) -> Vec<u8> {
        let pairs = self.setup.parameters();
        let params = StartupParams::build(self.setup.version(), pairs).expect("a packet");
        // The client of a relay trusts the proxy with whatever the server asks.
        let methods = Methods::NONE
            .allow_trust()
            .allow_cleartext(Channel::Tls)
            .allow_md5(Channel::Clear)
            .allow_scram();
        let nonce = ScramNonce::from_bytes([9; 18]);
        let mut replay = Replay::new(
            &params,
            Credential::password(self.setup.password()),
            methods,
            Channel::VerifiedTls,
            nonce,
        );
        let mut out = BytesMut::new();
        replay.start(&mut out).expect("a new login");
        self.phase = Phase::Login(Box::new(replay));
        out.to_vec()
    }

    /// The TLS handshake with the proxy is done: what it says next.
    pub(crate) fn secured(&mut self) -> Vec<u8> {
        match self.phase {
            Phase::Securing => self.start(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Whether what it is sent is frames: the answer to an SSLRequest is none.
    pub(crate) fn reads_frames(&self) -> bool {
        matches!(self.phase, Phase::Login(_) | Phase::Ready)
    }

    /// Whether its login is still under way.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Asked | Phase::Securing | Phase::Login(_))
    }

    /// Whether it has had enough, and closes its connection.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.phase, Phase::Lost)
    }

    pub(crate) fn is_wild(&self) -> bool {
        matches!(self.phase, Phase::Wild)
    }

    /// Bytes less than a frame that it was sent.
    pub(crate) fn torn(&self) -> usize {
        self.unread.len()
    }

    /// Says this, now or when it is logged in: what goes out now.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self.phase {
            Phase::Ready | Phase::Wild => bytes.to_vec(),
            Phase::Asked | Phase::Securing | Phase::Login(_) => {
                self.waiting.extend_from_slice(bytes);
                Vec::new()
            }
            Phase::Lost => Vec::new(),
        }
    }

    /// Reads what it was sent, and answers.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let mut out = Vec::new();
        if matches!(self.phase, Phase::Asked) && !self.unread.is_empty() {
            match self.unread.remove(0) {
                b'S' => self.phase = Phase::Securing,
                b'N' => out = self.start(),
                b'E' => {
                    self.unread.insert(0, b'E');
                    self.phase = Phase::Wild;
                }
                other => self.nonsense = Some(format!("{other:#x} answers an SSLRequest")),
            }
        }
        while let Some(frame) = self.next_frame() {
            self.take(frame, &mut out);
        }
        out
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if matches!(self.phase, Phase::Asked | Phase::Securing) {
            return None;
        }
        let header = match Header::parse(&self.unread) {
            Ok(header) => header?,
            Err(fault) => {
                self.nonsense = Some(fault.to_string());
                self.unread.clear();
                return None;
            }
        };
        let body = header.split(&self.unread)?.0.to_vec();
        self.unread.drain(..body.len() + Header::LEN);
        Some(Frame {
            tag: header.tag,
            body,
        })
    }

    fn take(&mut self, frame: Frame, out: &mut Vec<u8>) {
        let Phase::Login(replay) = &mut self.phase else {
            self.ready += usize::from(frame.tag == b'Z');
            self.frames.push(frame);
            return;
        };
        let message = match Backend::parse(frame.tag, &frame.body) {
            Ok(message) => message,
            Err(fault) => {
                self.nonsense = Some(fault.to_string());
                return;
            }
        };
        let mut reply = BytesMut::new();
        let mut result = replay.handle(message, &mut reply);
        while let Ok(Handshake::Working) = result {
            result = replay.work(&mut reply);
        }
        match result {
            Ok(Handshake::Ready(_)) => {
                self.phase = Phase::Ready;
                out.append(&mut self.waiting);
            }
            Ok(_) => out.extend_from_slice(&reply),
            Err(_) => self.phase = Phase::Lost,
        }
        self.login.push(frame);
    }
}
