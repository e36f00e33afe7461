//! Bytes in and bytes out: packets and messages as chapter 55 of PostgreSQL's manual has them.

/// What a server gathers before it writes to the socket.
const BUFFER: usize = 8192;

/// What a handshake between a client and a server consists of here, one of each.
pub(crate) const HELLO: &[u8] = b"\x16\x03\x01\0\x05hello";
pub(crate) const HELLO_BACK: &[u8] = b"\x16\x03\x03\0\x06hello!";

/// What encryption is here: nothing that is read by mistake makes sense. Twice is not at all.
pub(crate) fn veil(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte ^= 0xa5);
}

/// Bytes that came and are not consumed.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    at: usize,
    /// How many bytes were consumed before those.
    before: usize,
    /// Where in all that came the message began that was taken last.
    newest: Option<usize>,
    ended: bool,
    /// What comes is encrypted.
    veiled: bool,
}

impl Input {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.before += self.at;
            self.at = 0;
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if self.veiled {
            veil(&mut self.bytes[from..]);
        }
    }

    /// Takes the client's part of a handshake, behind which all is encrypted. `None` while some of it is missing.
    pub(super) fn handshake(&mut self) -> Option<bool> {
        let rest = self.rest();
        let n = rest.len().min(HELLO.len());
        if rest[..n] != HELLO[..n] {
            return Some(false);
        }
        if n < HELLO.len() {
            return None;
        }
        self.at += n;
        self.veiled = true;
        veil(&mut self.bytes[self.at..]);
        Some(true)
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing more will come.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn length_at(&self, at: usize) -> Option<i64> {
        let bytes = self.rest().get(at..at + 4)?;
        Some(i64::from(i32::from_be_bytes(bytes.try_into().unwrap())))
    }

    /// The tag of the next message, if its header is here.
    pub(super) fn peek(&self) -> Option<(u8, i64)> {
        Some((*self.rest().first()?, self.length_at(1)?))
    }

    /// The body of the next message, if all of it is here.
    pub(super) fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let (tag, length) = self.peek()?;
        let end = 1 + usize::try_from(length).ok()?;
        let body = self.rest().get(5..end)?.to_vec();
        self.newest = Some(self.before + self.at);
        self.at += end;
        Some((tag, body))
    }

    /// Where in all that came the next message begins, and its tag, if all of it is here.
    pub(super) fn whole_next(&self) -> Option<(usize, u8)> {
        let (tag, length) = self.peek()?;
        let end = 1 + usize::try_from(length).ok()?;
        (self.rest().len() >= end).then_some((self.before + self.at, tag))
    }

    /// Where in all that came the message began that was taken last.
    pub(super) fn newest(&self) -> Option<usize> {
        self.newest
    }

    /// The announced length of the next packet without a tag.
    pub(super) fn peek_packet(&self) -> Option<i64> {
        self.length_at(0)
    }

    pub(super) fn packet(&mut self) -> Option<Vec<u8>> {
        let end = usize::try_from(self.length_at(0)?).ok()?;
        let body = self.rest().get(4..end)?.to_vec();
        self.at += end;
        Some(body)
    }
}

/// Reads the fields of a body. `None` when it is too short.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.bytes(2)?.try_into().unwrap()))
    }

    /// How many there are of what follows: no count is negative.
    pub(super) fn count(&mut self) -> Option<usize> {
        let bytes = self.bytes(2)?;
        Some(usize::from(u16::from_be_bytes(bytes.try_into().unwrap())))
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.bytes(4)?.try_into().unwrap()))
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&b| b == 0)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message that a server has said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Where it begins in all that the server says.
    pub(crate) at: usize,
    pub(crate) tag: u8,
    /// Where the message begins, in all that the server was sent, that it answers; `None` for what nobody asked for.
    pub(crate) cause: Option<usize>,
    /// Whether it is a part of the login.
    pub(crate) of_login: bool,
    /// Whether it is the server's last word.
    pub(crate) fatal: bool,
}

/// What the server has to say: `gathered` is still in its buffer, `sent` is on the way.
#[derive(Default)]
pub(crate) struct Output {
    gathered: Vec<u8>,
    sent: Vec<u8>,
    /// Whether its texts are [`RUDE`], and those that are translated in another language.
    rude: bool,
    foreign: bool,
    /// What it sends is encrypted.
    veiled: bool,
    /// How many bytes it has said, and which messages nobody has asked about yet.
    said: usize,
    marks: Vec<Mark>,
    /// What it says now answers this.
    cause: Option<usize>,
    of_login: bool,
    /// How often it was ready for a query.
    readies: usize,
}

/// The clearing of a screen, colours, a bell, line ends, the mark that turns a text around, and no UTF-8.
const RUDE: &[u8] =
    b"\x1b[2J\x1b]0;gotcha\x07\x1b[31m\r\n\x08\x7f\t\xe2\x80\xae\xe2\x81\xa6\xc2\x9b\xff\xfe\xc3(\xed\xa0\x80";

impl Output {
    pub(super) fn new(rude: bool, foreign: bool) -> Output {
        Output {
            rude,
            foreign,
            ..Output::default()
        }
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// What it says from now on answers the message that begins there.
    pub(super) fn answers(&mut self, cause: Option<usize>, of_login: bool) {
        self.cause = cause;
        self.of_login = of_login;
    }

    /// The messages that it has said since this was last asked.
    pub(super) fn marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    pub(super) fn flush(&mut self) {
        let all = self.gathered.len();
        self.send(all);
    }

    fn send(&mut self, count: usize) {
        let from = self.sent.len();
        self.sent.extend(self.gathered.drain(..count));
        if self.veiled {
            veil(&mut self.sent[from..]);
        }
    }

    /// Its part of a handshake, behind which all is encrypted.
    pub(super) fn handshake(&mut self) {
        self.bytes(HELLO_BACK);
        self.veiled = true;
    }

    pub(super) fn is_veiled(&self) -> bool {
        self.veiled
    }

    /// Bytes outside of any message.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.said += bytes.len();
        self.gathered.extend_from_slice(bytes);
        self.flush();
    }

    /// One message, whose body `write` appends.
    pub(super) fn message(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.gathered;
        out.push(tag);
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        write(out);
        let length = u32::try_from(out.len() - at).unwrap();
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        self.marks.push(Mark {
            at: self.said,
            tag,
            cause: self.cause,
            of_login: self.of_login,
            fatal: false,
        });
        self.said += out.len() + 1 - at;
        let whole = out.len() / BUFFER * BUFFER;
        self.send(whole);
    }

    pub(super) fn ready(&mut self, status: u8) {
        self.readies += 1;
        self.message(b'Z', |out| out.push(status));
        self.flush();
    }

    pub(super) fn readies(&self) -> usize {
        self.readies
    }

    pub(super) fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| text(out, tag));
    }

    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            text(out, name);
            text(out, value);
        });
    }

    /// An ErrorResponse or NoticeResponse: PostgreSQL sends either at once, with all that has gathered before it.
    pub(super) fn report(&mut self, tag: u8, severity: &str, code: &str, message: &str) {
        self.report_by(tag, severity, code, message, None);
    }

    /// The same with the routine that raised it.
    pub(super) fn report_by(
        &mut self,
        tag: u8,
        severity: &str,
        code: &str,
        message: &str,
        routine: Option<&str>,
    ) {
        let rude = if self.rude { RUDE } else { b"" };
        let (shown, prefix) = match self.foreign {
            true => (in_italian(severity), "in altre parole: "),
            false => (severity, ""),
        };
        self.message(tag, |out| {
            for (field, value) in [(b'S', shown), (b'V', severity), (b'C', code)] {
                out.push(field);
                text(out, value);
            }
            out.push(b'M');
            out.extend_from_slice(rude);
            out.extend_from_slice(prefix.as_bytes());
            text(out, message);
            if let Some(routine) = routine {
                out.push(b'R');
                text(out, routine);
            }
            out.push(0);
        });
        if let Some(mark) = self.marks.last_mut() {
            mark.fatal = tag == b'E' && severity == "FATAL";
        }
        self.flush();
    }

    pub(super) fn fatal(&mut self, code: &str, message: &str) {
        self.report(b'E', "FATAL", code, message);
    }
}

/// A severity as `lc_messages` has it translated: the words of PostgreSQL's own catalogue.
fn in_italian(severity: &str) -> &str {
    match severity {
        "NOTICE" => "NOTIFICA",
        "WARNING" => "ATTENZIONE",
        "ERROR" => "ERRORE",
        "FATAL" => "FATALE",
        "PANIC" => "PANICO",
        other => other,
    }
}

/// A string with its terminator.
pub(super) fn text(out: &mut Vec<u8>, value: &str) {
    out.extend_from_slice(value.as_bytes());
    out.push(0);
}
