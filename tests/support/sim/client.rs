//! The client: it opens the connection, proves its password, says its program, and keeps what it is told.

use bytes::BytesMut;
use pgturnout::auth::{Channel, Credential, Handshake, Replay, ScramNonce};
use pgturnout::startup::StartupParams;
use pgturnout::wire::{Backend, Header};

use super::introduction::packet;
use super::server::{HELLO, HELLO_BACK, gss_token, veil};
use super::setup::{Offer, Setup};

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The untranslated severity of an error or a notice, read without the crate's help.
    pub(crate) fn severity(&self) -> Option<&[u8]> {
        let mut rest = match self.tag {
            b'E' | b'N' => &self.body[..],
            _ => return None,
        };
        while let Some((code, behind)) = rest.split_first() {
            let end = behind.iter().position(|byte| *byte == 0)?;
            if *code == b'V' {
                return Some(&behind[..end]);
            }
            rest = &behind[end + 1..];
        }
        None
    }
}

enum Phase {
    /// It waits for the answer to its SSLRequest.
    Asked,
    Securing,
    /// It shakes hands with the server itself.
    Greeting,
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
    /// Whether it has begun a handshake with the server itself, and what it says is encrypted since.
    greets: bool,
    veiled: bool,
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
            greets: false,
            veiled: false,
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
        } else if setup.client_begins_tls && setup.client_tls == Offer::Passthrough {
            client.greet()
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
        let version = self.setup.version();
        let packet = packet(version.code(), &self.setup.parameters());
        // Logins on behalf of others are never for replication, nor with a packet that is too long; what the server answers
        // is the same.
        let params = StartupParams::build(version, self.setup.user_and_options());
        let params = params.expect("a packet");
        // The client of a relay trusts the proxy with whatever the server asks.
        let methods = Setup::methods();
        let nonce = ScramNonce::from_bytes([9; 18]);
        let mut replay = Replay::new(
            &params,
            Credential::password(self.setup.password()),
            methods,
            Channel::VerifiedTls,
            nonce,
        );
        replay.start(&mut BytesMut::new()).expect("a new login");
        self.phase = Phase::Login(Box::new(replay));
        packet
    }

    /// Begins a handshake with the server.
    fn greet(&mut self) -> Vec<u8> {
        self.phase = Phase::Greeting;
        self.greets = true;
        HELLO.to_vec()
    }

    /// The server's part of the handshake: what it says behind it.
    fn greeted(&mut self) -> Vec<u8> {
        let n = self.unread.len().min(HELLO_BACK.len());
        if self.unread[..n] != HELLO_BACK[..n] {
            self.phase = Phase::Lost;
            return Vec::new();
        }
        if n < HELLO_BACK.len() {
            return Vec::new();
        }
        self.unread.drain(..n);
        veil(&mut self.unread);
        self.veiled = true;
        self.start()
    }

    /// Whether it encrypts with the server itself, or is about to.
    pub(crate) fn greets(&self) -> bool {
        self.greets
    }

    /// What goes out of what it says.
    fn sends(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.veiled {
            veil(&mut bytes);
        }
        bytes
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
        match self.phase {
            Phase::Asked | Phase::Securing | Phase::Greeting | Phase::Login(_) => true,
            Phase::Ready | Phase::Wild | Phase::Lost => false,
        }
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
            Phase::Ready | Phase::Wild => self.sends(bytes.to_vec()),
            Phase::Asked | Phase::Securing | Phase::Greeting | Phase::Login(_) => {
                self.waiting.extend_from_slice(bytes);
                Vec::new()
            }
            Phase::Lost => Vec::new(),
        }
    }

    /// Reads what it was sent, and answers.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let from = self.unread.len();
        self.unread.extend_from_slice(bytes);
        if self.veiled {
            veil(&mut self.unread[from..]);
        }
        let mut out = Vec::new();
        if matches!(self.phase, Phase::Asked) && !self.unread.is_empty() {
            match self.unread.remove(0) {
                b'S' if self.setup.client_tls != Offer::Passthrough => {
                    self.phase = Phase::Securing;
                }
                // What comes with it is no part of a handshake yet.
                b'S' if self.unread.is_empty() => return self.greet(),
                b'S' => self.phase = Phase::Lost,
                b'N' if self.setup.client_insists => self.phase = Phase::Lost,
                b'N' => out = self.start(),
                b'E' => {
                    self.unread.insert(0, b'E');
                    self.phase = Phase::Wild;
                }
                _ if self.setup.client_tls == Offer::Passthrough => self.phase = Phase::Lost,
                other => self.nonsense = Some(format!("{other:#x} answers an SSLRequest")),
            }
        }
        if matches!(self.phase, Phase::Greeting) {
            out = self.greeted();
        }
        while let Some(frame) = self.next_frame() {
            self.take(frame, &mut out);
        }
        self.sends(out)
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if matches!(self.phase, Phase::Asked | Phase::Securing | Phase::Greeting) {
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
        if matches!(self.phase, Phase::Login(_)) && is_of_gss(&frame) {
            let (code, data) = frame.body.split_at(4);
            let code = i32::from(code[3]);
            if let Some(token) = gss_token(code, data, self.setup.password()) {
                let length = u32::try_from(token.len() + 4).expect("short");
                out.extend([&b"p"[..], &length.to_be_bytes(), &token].concat());
            }
            self.login.push(frame);
            return;
        }
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

/// Whether a server asks for a token, or hands out its last.
fn is_of_gss(frame: &Frame) -> bool {
    frame.tag == b'R' && matches!(frame.body[..], [0, 0, 0, 7 | 8, ..])
}
