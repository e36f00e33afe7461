//! Where a stream of frames stands, and whom the frame that is passing belongs to.

use pgturnout::wire::Header;

/// Follows a stream whose every frame must be of one party, `P`.
#[derive(Debug)]
pub(crate) struct Cursor<P> {
    header: Vec<u8>,
    /// Bytes of the body still to come.
    left: usize,
    of: Option<P>,
}

impl<P> Default for Cursor<P> {
    fn default() -> Cursor<P> {
        Cursor {
            header: Vec::new(),
            left: 0,
            of: None,
        }
    }
}

impl<P: Copy + PartialEq + std::fmt::Debug> Cursor<P> {
    /// The rest of the frame that is passing is somebody else's now.
    pub(crate) fn hand_over(&mut self, party: P) {
        self.of = Some(party);
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
                    self.left = (u32::from_be_bytes(word) as usize).saturating_sub(4);
                    self.header.clear();
                }
                n
            };
            bytes = &bytes[n..];
        }
        Ok(())
    }
}
