//! Plays of the ways in which SQL says the same.

use super::super::setup::Setup;
use super::Program;

impl Program<'_, '_> {
    pub(super) fn worded_otherwise(&mut self, nth: usize, setup: &mut Setup) {
        match nth {
            _ => self.query("select 1"),
        }
    }
}
