//! Where a stream of frames stands, and whom the frame that is passing belongs to.

use pgturnout::wire::Header;

/// Follows a stream whose every frame must be of one party, `P`.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<P> {
    header: Vec<u8>,
    /// Bytes of the body still to come.
    left: usize,
    of: Option<P>,
    /// The tags of the frames so far, and whose they were at their beginning.
    begun: Vec<(P, u8)>,
    /// Where in the stream each of them begins, and where it stands.
    starts: Vec<usize>,
    /// How long each of them is, in bytes, with its header.
    lengths: Vec<usize>,
    passed: usize,
}

impl<P> Default for Cursor<P> {
    fn default() -> Cursor<P> {
        Cursor {
            header: Vec::new(),
            left: 0,
            of: None,
            begun: Vec::new(),
            starts: Vec::new(),
            lengths: Vec::new(),
            passed: 0,
        }
    }
}

impl<P: Copy + PartialEq + std::fmt::Debug> Cursor<P> {
    /// The rest of the frame that is passing is somebody else's now.
    pub(crate) fn hand_over(&mut self, party: P) {
        self.of = Some(party);
    }

    /// How many bytes are missing of the frame that is passing, or of the next one's header.
    pub(crate) fn missing(&self) -> usize {
        match self.left {
            0 => Header::LEN - self.header.len(),
            left => left,
        }
    }

    /// Whether no frame is passing.
    pub(crate) fn is_between(&self) -> bool {
        self.left == 0 && self.header.is_empty()
    }

    /// Where in the stream the frame begins that is passing.
    pub(crate) fn unfinished(&self) -> Option<usize> {
        match (self.header.len(), self.left) {
            (0, 0) => None,
            (0, _) => self.starts.last().copied(),
            (header, _) => Some(self.passed - header),
        }
    }

    /// The frames so far: whose each was, and its tag.
    pub(crate) fn begun(&self) -> &[(P, u8)] {
        &self.begun
    }

    /// Where in the stream each frame begins.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// How long each frame is, in bytes, with its header.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// How many bytes have passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed
    }

    /// How many frames with one of these tags were a party's.
    pub(crate) fn count(&self, party: P, tags: &[u8]) -> usize {
        let of_it = |(of, tag): &&(P, u8)| *of == party && tags.contains(tag);
        self.begun.iter().filter(of_it).count()
    }

    /// Passes bytes of a party.
    ///
    /// # Errors
    /// They stand in the middle of a frame of another's.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], party: P) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.header.is_empty() && self.left == 0 {
                self.of = Some(party);
            } else if self.of != Some(party) {
                return Err(format!(
                    "a frame of {:?} is continued by {party:?}",
                    self.of
                ));
            }
            let n = if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                n
            } else {
                let n = (Header::LEN - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..n]);
                if let Some((_, word)) = self.header.split_first_chunk::<1>()
                    && let Ok(word) = <[u8; 4]>::try_from(word)
                {
                    self.begun.push((party, self.header[0]));
                    self.starts.push(self.passed + n - Header::LEN);
                    self.left = (u32::from_be_bytes(word) as usize).saturating_sub(4);
                    self.lengths.push(self.left + Header::LEN);
                    self.header.clear();
                }
                n
            };
            bytes = &bytes[n..];
            self.passed += n;
        }
        Ok(())
    }
}
