//! A server that behaves: it answers what it hears as PostgreSQL would, knowing no SQL but a few first words.

use super::contains;
use super::login::{auth, frame, key, parameter, ready};
use pgturnout::wire::{Authentication, Backend, Header, TransactionStatus};

/// One connection of such a server.
#[derive(Default)]
pub(crate) struct Server {
    /// How much of what it received it has answered.
    answered: usize,
    mode: Mode,
    in_transaction: bool,
    failed: bool,
    ran_a_write: bool,
}

/// Every text that writes names this table.
const WRITTEN: &[u8] = b"w_t";

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Opening,
    Serving,
    /// Skips to the next Sync.
    Skipping,
    CopyingIn,
    Gone,
}

const SSL_REQUEST: &[u8] = &[4, 210, 22, 47];

impl Server {
    /// Answers what has come since the last call. `received` is everything that ever came.
    pub(crate) fn answer(&mut self, received: &[u8], tls: u8) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(rest) = received.get(self.answered..) {
            let used = match self.mode {
                Mode::Opening => self.open(rest, tls, &mut out),
                Mode::Gone => 0,
                Mode::Serving | Mode::Skipping | Mode::CopyingIn => self.serve(rest, &mut out),
            };
            if used == 0 {
                break;
            }
            self.answered += used;
        }
        out
    }

    /// Whether it was asked to prepare or run a write, and did not skip it because of an error before.
    pub(crate) fn ran_a_write(&self) -> bool {
        self.ran_a_write
    }

    fn open(&mut self, rest: &[u8], tls: u8, out: &mut Vec<u8>) -> usize {
        let Some(word) = rest.first_chunk() else {
            return 0;
        };
        let length = u32::from_be_bytes(*word) as usize;
        let Some(packet) = rest.get(4..length) else {
            return 0;
        };
        if packet == SSL_REQUEST {
            out.push(tls);
            return length;
        }
        out.extend(auth(Authentication::Ok));
        out.extend(parameter(b"client_encoding", b"UTF8"));
        out.extend(parameter(b"standard_conforming_strings", b"on"));
        out.extend(key(b"1234"));
        out.extend(ready(TransactionStatus::Idle));
        self.mode = Mode::Serving;
        length
    }

    fn serve(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let Ok(Some(header)) = Header::parse(rest) else {
            return 0;
        };
        let Some((body, _)) = header.split(rest) else {
            return 0;
        };
        let skipping = self.mode == Mode::Skipping;
        self.ran_a_write |=
            !skipping && matches!(header.tag, b'P' | b'Q') && contains(body, WRITTEN);
        match header.tag {
            b'X' => self.mode = Mode::Gone,
            b'd' => {}
            b'c' | b'f' if self.mode == Mode::CopyingIn => {
                self.mode = Mode::Serving;
                match header.tag {
                    b'c' => complete(b"COPY 1", out),
                    _ => self.fail(out),
                }
                self.ready(out);
            }
            b'H' | b'S' if self.mode == Mode::CopyingIn => {}
            _ if self.mode == Mode::CopyingIn => {
                self.mode = Mode::Serving;
                self.fail(out);
                self.ready(out);
            }
            b'S' => {
                self.mode = Mode::Serving;
                self.ready(out);
            }
            _ if skipping => {}
            b'Q' => self.query(body, out),
            b'P' | b'B' if contains(body, b"error") => {
                self.fail(out);
                self.mode = Mode::Skipping;
            }
            b'H' if !body.is_empty() => {
                self.fail(out);
                self.mode = Mode::Skipping;
            }
            b'P' => out.extend(frame(Backend::ParseComplete)),
            b'B' => out.extend(frame(Backend::BindComplete)),
            b'D' => {
                if body.first() == Some(&b'S') {
                    out.extend_from_slice(b"t\0\0\0\x06\0\0");
                }
                out.extend(frame(Backend::NoData));
            }
            b'E' => {
                row(out);
                complete(b"SELECT 1", out);
            }
            b'C' => out.extend(frame(Backend::CloseComplete)),
            b'F' => {
                out.extend_from_slice(b"V\0\0\0\x08\xff\xff\xff\xff");
                self.ready(out);
            }
            _ => {}
        }
        header.frame_len as usize
    }

    fn query(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let text = body.to_ascii_lowercase();
        if contains(&text, b"error") {
            self.fail(out);
        } else if contains(&text, b"from stdin") {
            out.extend_from_slice(b"G\0\0\0\x07\0\0\0");
            self.mode = Mode::CopyingIn;
            return;
        } else if text.starts_with(b"begin") {
            self.in_transaction = true;
            complete(b"BEGIN", out);
        } else if text.starts_with(b"commit") || text.starts_with(b"rollback") {
            (self.in_transaction, self.failed) = (false, false);
            complete(b"COMMIT", out);
        } else if text.starts_with(b"select") {
            row(out);
            complete(b"SELECT 1", out);
        } else if text == b"\0" {
            out.extend(frame(Backend::EmptyQueryResponse));
        } else {
            complete(b"SET", out);
        }
        self.ready(out);
    }

    fn fail(&mut self, out: &mut Vec<u8>) {
        self.failed = self.in_transaction;
        let fields: [(u8, &[u8]); 4] = [
            (b'S', b"ERROR"),
            (b'V', b"ERROR"),
            (b'C', b"22012"),
            (b'M', b"division by zero"),
        ];
        out.extend(super::login::error(&fields));
    }

    fn ready(&self, out: &mut Vec<u8>) {
        out.extend(ready(match (self.in_transaction, self.failed) {
            (_, true) => TransactionStatus::Failed,
            (true, false) => TransactionStatus::InTransaction,
            (false, false) => TransactionStatus::Idle,
        }));
    }
}

fn row(out: &mut Vec<u8>) {
    out.extend_from_slice(b"D\0\0\0\x0b\0\x01\0\0\0\x01x");
}

fn complete(tag: &[u8], out: &mut Vec<u8>) {
    out.extend(frame(Backend::CommandComplete { tag }));
}
