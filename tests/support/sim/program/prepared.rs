//! Plays of statements that are prepared, lost and prepared again.

use super::super::setup::Setup;
use super::Program;

impl Program<'_, '_> {
    pub(super) fn prepared_otherwise(&mut self, nth: usize, setup: &mut Setup) {
        match nth {
            _ => self.query("select 1"),
        }
    }
}
