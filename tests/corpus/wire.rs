//! The few messages that the corpus needs, on blocking sockets.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The SQLSTATE of an ErrorResponse.
    pub(crate) fn code(&self) -> String {
        let mut fields = self.body.split(|byte| *byte == 0);
        let code = fields.find(|field| field.first() == Some(&b'C'));
        code.map_or_else(String::new, |field| {
            String::from_utf8_lossy(&field[1..]).into_owned()
        })
    }

    /// The columns of a DataRow.
    pub(crate) fn columns(&self) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        let mut at = 2;
        while at < self.body.len() {
            let length = i32::from_be_bytes(self.body[at..at + 4].try_into().unwrap());
            at += 4;
            out.push(usize::try_from(length).ok().map(|length| {
                at += length;
                self.body[at - length..at].to_vec()
            }));
        }
        out
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = i32::try_from(self.body.len() + 4).unwrap();
        [&[self.tag][..], &length.to_be_bytes(), &self.body].concat()
    }
}

/// One whole frame; `None` at the end of the stream.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut body).ok()?;
    Some(Frame {
        tag: header[0],
        body,
    })
}

/// The StartupMessage, after a refusal of whatever was asked before it; `None` for a cancel request.
pub(crate) fn read_startup(stream: &mut TcpStream) -> Option<Vec<u8>> {
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header).ok()?;
        let length = u32::from_be_bytes(header[..4].try_into().unwrap());
        let code = u32::from_be_bytes(header[4..].try_into().unwrap());
        if matches!(code, 80_877_103 | 80_877_104) {
            stream.write_all(b"N").ok()?;
            continue;
        }
        let mut message = header.to_vec();
        message.resize(usize::try_from(length).unwrap(), 0);
        stream.read_exact(&mut message[8..]).ok()?;
        return (code != 80_877_102).then_some(message);
    }
}

/// A session of the corpus's own, of a user of whom nothing is asked.
pub(crate) struct Session {
    stream: TcpStream,
}

impl Session {
    /// `None` if the server refuses the login.
    pub(crate) fn open(port: u16, startup: &[u8], patience: Duration) -> Option<Session> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(startup).ok()?;
        let mut session = Session { stream };
        session
            .answer()
            .ok()
            .filter(|frames| frames.iter().all(|frame| frame.tag != b'E'))?;
        Some(session)
    }

    /// Runs a text and returns the answer up to ReadyForQuery. An error means that the session is of no use any more.
    pub(crate) fn query(&mut self, text: &[u8]) -> io::Result<Vec<Frame>> {
        let body = [text, b"\0"].concat();
        self.stream.write_all(&Frame { tag: b'Q', body }.bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        loop {
            let frame = read_frame(&mut self.stream).ok_or(io::ErrorKind::UnexpectedEof)?;
            if frame.tag == b'G' {
                let body = b"no data here\0".to_vec();
                self.stream.write_all(&Frame { tag: b'f', body }.bytes())?;
            }
            let ready = frame.tag == b'Z';
            frames.push(frame);
            if ready {
                return Ok(frames);
            }
        }
    }

    /// The rows of a text that must not fail.
    pub(crate) fn rows(&mut self, text: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        let frames = self.query(text.as_bytes()).unwrap();
        if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
            panic!("{text}: {}", String::from_utf8_lossy(&error.body));
        }
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        rows.map(Frame::columns).collect()
    }
}

/// A StartupMessage of protocol 3.0.
pub(crate) fn startup(user: &str, database: &str) -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for word in ["user", user, "database", database, ""] {
        body.extend_from_slice(word.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes()[..], &body].concat()
}
