//! What a server sent: frames, and what of them may differ between two equal sessions.

use std::fmt;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// The first object id of a cluster that is not built in.
const FIRST_NORMAL_OID: u32 = 16_384;

impl Frame {
    /// Blanks what two sessions that did the same may see differently: keys, salts, process ids and the
    /// object ids of what they made.
    pub(crate) fn normalised(mut self) -> Frame {
        match self.tag {
            b'K' => self.body.clear(),
            b'R' if self.body.starts_with(&5_i32.to_be_bytes()) => self.body.truncate(4),
            b'A' => self.body.drain(..4).for_each(drop),
            b'S' if self.body.starts_with(b"application_name\0") => self.body.truncate(17),
            b'T' => self.blank_column_oids(),
            b't' => self.blank_parameter_oids(),
            _ => {}
        }
        self
    }

    fn blank_column_oids(&mut self) {
        let columns = u16::from_be_bytes([self.body[0], self.body[1]]);
        let mut at = 2;
        for _ in 0..columns {
            at += self.body[at..].iter().position(|&b| b == 0).unwrap() + 1;
            // Table, column number, then the type.
            blank_oid(&mut self.body[at..at + 4]);
            blank_oid(&mut self.body[at + 6..at + 10]);
            at += 18;
        }
    }

    fn blank_parameter_oids(&mut self) {
        for oid in self.body[2..].chunks_mut(4) {
            blank_oid(oid);
        }
    }

    /// The columns of a DataRow as text; NULL is `None`.
    pub(crate) fn columns(&self) -> Vec<Option<String>> {
        assert_eq!(self.tag, b'D', "{self:?}");
        let mut out = Vec::new();
        let mut at = 2;
        while at < self.body.len() {
            let length = i32::from_be_bytes(self.body[at..at + 4].try_into().unwrap());
            at += 4;
            if let Ok(length) = usize::try_from(length) {
                out.push(Some(
                    String::from_utf8(self.body[at..at + length].to_vec()).unwrap(),
                ));
                at += length;
            } else {
                out.push(None);
            }
        }
        out
    }

    /// A field of an ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, code: u8) -> Option<String> {
        assert!(matches!(self.tag, b'E' | b'N'), "{self:?}");
        self.body
            .split(|&b| b == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8(field[1..].to_vec()).unwrap())
    }
}

fn blank_oid(bytes: &mut [u8]) {
    if u32::from_be_bytes(bytes.try_into().unwrap()) >= FIRST_NORMAL_OID {
        bytes.copy_from_slice(&FIRST_NORMAL_OID.to_be_bytes());
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 300;
        let end = self.body.len().min(SHOWN);
        write!(
            f,
            "{} {:>6} {}",
            char::from(self.tag),
            self.body.len(),
            self.body[..end].escape_ascii()
        )?;
        if self.body.len() > SHOWN {
            f.write_str("…")?;
        }
        Ok(())
    }
}

/// A message name per tag: what a test says of a trace.
pub(crate) fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

/// The first column of every row.
pub(crate) fn values(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .filter(|frame| frame.tag == b'D')
        .map(|frame| {
            frame
                .columns()
                .into_iter()
                .next()
                .flatten()
                .unwrap_or_default()
        })
        .collect()
}

/// The SQLSTATE of every ErrorResponse.
pub(crate) fn errors(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .filter(|frame| frame.tag == b'E')
        .map(|frame| frame.field(b'C').unwrap())
        .collect()
}
