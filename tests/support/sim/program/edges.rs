//! Plays of messages at their limits, and of how a session begins.

use super::super::setup::Setup;
use super::Program;

impl Program<'_, '_> {
    pub(super) fn at_the_edge(&mut self, nth: usize, setup: &mut Setup) {
        match nth {
            _ => self.query("select 1"),
        }
    }
}
