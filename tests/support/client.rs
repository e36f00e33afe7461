//! A blocking client that sends what it is told to and keeps what it gets.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;
use super::frame::Frame;
use super::message;
use super::socket::Socket;

/// Past this a missing answer counts as a hang. Generous: a loaded machine is no bug.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Protocol 3.0, which every server and driver speaks.
pub(crate) const V3_0: u32 = 0x0003_0000;
/// Protocol 3.2, since PostgreSQL 18.
pub(crate) const V3_2: u32 = 0x0003_0002;

/// Waits for what must become true, and tells whether it did.
pub(crate) fn eventually(mut what: impl FnMut() -> bool) -> bool {
    let pause = Duration::from_millis(20);
    (0..PATIENCE.as_millis() / pause.as_millis()).any(|_| {
        let is = what();
        if !is {
            thread::sleep(pause);
        }
        is
    })
}

/// How the bytes of one `send` reach the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    Whole,
    /// One system call and, without Nagle's algorithm, one packet for each byte.
    Bytewise,
}

pub(crate) struct Client {
    stream: Socket,
    pace: Pace,
    /// Process id and secret of BackendKeyData.
    pub(crate) key: Option<(i32, Vec<u8>)>,
    /// All frames up to the first ReadyForQuery.
    pub(crate) login: Vec<Frame>,
}

impl Client {
    pub(crate) fn connect(port: u16, pace: Pace) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream: Socket::Plain(stream),
            pace,
            key: None,
            login: Vec::new(),
        }
    }

    /// Goes on over TLS, with a handshake that offers these protocols by ALPN.
    pub(crate) fn secure(self, cluster: &Cluster, alpn: &[&str]) -> io::Result<Client> {
        let stream = self.stream.secure(cluster.get("CA"), alpn)?;
        Ok(Client { stream, ..self })
    }

    /// The protocol that ALPN agreed on.
    pub(crate) fn alpn(&self) -> Option<String> {
        self.stream.alpn()
    }

    /// Logs in to database `app` as a user of whom nothing is asked.
    pub(crate) fn open(port: u16, pace: Pace, user: &str, parameters: &[(&str, &str)]) -> Client {
        let mut client = Client::connect(port, pace);
        let mut all = vec![("user", user), ("database", "app")];
        all.extend_from_slice(parameters);
        client.send(&message::startup(V3_0, &all));
        client.finish_login(None);
        client
    }

    /// Reads up to ReadyForQuery, answering the one question that needs no arithmetic.
    pub(crate) fn finish_login(&mut self, secret: Option<&str>) {
        loop {
            let frame = self.frame().expect("the connection ended during the login");
            match frame.tag {
                b'K' => {
                    let id = i32::from_be_bytes(frame.body[..4].try_into().unwrap());
                    self.key = Some((id, frame.body[4..].to_vec()));
                }
                b'R' if frame.body.starts_with(&3_i32.to_be_bytes()) => {
                    self.send(&message::password(secret.expect("no password to send")));
                }
                b'E' => panic!("login refused: {frame:?}"),
                _ => {}
            }
            let ready = frame.tag == b'Z';
            self.login.push(frame);
            if ready {
                return;
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.pace {
            Pace::Whole => self.stream.write_all(bytes).unwrap(),
            Pace::Bytewise => {
                for byte in bytes {
                    self.stream.write_all(&[*byte]).unwrap();
                }
            }
        }
    }

    /// Ends the sending direction alone.
    pub(crate) fn half_close(&mut self) {
        self.stream.tcp().shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// `None` when the peer closed.
    pub(crate) fn try_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    /// The next frame, or `None` when the peer closed at a frame boundary.
    ///
    /// # Panics
    ///
    /// On a close in the middle of a frame, and when nothing comes.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let mut header = [0; 5];
        let mut filled = 0;
        while filled < header.len() {
            match self.stream.read(&mut header[filled..]) {
                Ok(0) if filled == 0 => return None,
                // Over TLS: without the farewell that TLS has.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && filled == 0 => {
                    return None;
                }
                Ok(0) => panic!("the connection ended inside a header"),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && filled == 0 => {
                    return None;
                }
                Err(error) => panic!("reading from {}: {error}", message::peer(self.stream.tcp())),
            }
        }
        let length = i32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        self.stream
            .read_exact(&mut body)
            .unwrap_or_else(|error| panic!("a frame {} was cut: {error}", char::from(header[0])));
        Some(Frame {
            tag: header[0],
            body,
        })
    }

    /// Frames up to and with the `count`th ReadyForQuery.
    pub(crate) fn ready(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut seen = 0;
        while seen < count {
            let frame = self
                .frame()
                .unwrap_or_else(|| panic!("closed before ReadyForQuery: {frames:#?}"));
            seen += usize::from(frame.tag == b'Z');
            frames.push(frame);
        }
        frames
    }

    /// Frames up to and with the first whose tag is one of `tags`.
    pub(crate) fn until(&mut self, tags: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self
                .frame()
                .unwrap_or_else(|| panic!("closed before any of {tags:?}: {frames:#?}"));
            let found = tags.contains(&frame.tag);
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    /// Whether what has come and is not read yet ends in these bytes. Not over TLS.
    pub(crate) fn has_heard(&self, end: &[u8]) -> bool {
        let mut heard = [0; 4096];
        let tcp = self.stream.tcp();
        tcp.set_nonblocking(true).unwrap();
        let length = tcp.peek(&mut heard).unwrap_or(0);
        tcp.set_nonblocking(false).unwrap();
        heard[..length].ends_with(end)
    }

    /// Frames up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.frame()).collect()
    }

    pub(crate) fn query(&mut self, sql: &str) -> Vec<Frame> {
        self.send(&message::query(sql));
        self.ready(1)
    }

    /// The first column of the first row.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        let frames = self.query(sql);
        super::frame::values(&frames)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no row from {sql}: {frames:#?}"))
    }

    /// Runs statements that must not fail.
    pub(crate) fn run(&mut self, sql: &str) {
        let frames = self.query(sql);
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{frames:#?}");
    }
}
