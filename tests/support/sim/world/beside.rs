//! A second client beside the first: a world of its own, with its own session and connections, on the same servers'
//! data. It works on other rows, so that each can be held against one server that it has for itself.

use super::super::fault::{Damage, Fault};
use super::World;

/// Numbers of the second client's server processes begin here.
pub(super) const FIRST_BACKEND: u32 = 1_000;

impl<'s> World<'s> {
    /// Puts a second client beside this one.
    pub(crate) fn with_neighbour(
        mut self: Box<Self>,
        mut neighbour: Box<World<'s>>,
    ) -> Box<World<'s>> {
        neighbour.backends = FIRST_BACKEND;
        neighbour.is_second = true;
        self.neighbour = Some(neighbour);
        self
    }

    /// Does something in the neighbour's world, with the data that both share. Whether there is one, and what came out.
    pub(super) fn beside<T>(&mut self, act: impl FnOnce(&mut World<'s>) -> T) -> Option<T> {
        let mut other = self.neighbour.take()?;
        std::mem::swap(&mut self.cluster, &mut other.cluster);
        if self.log.is_some() {
            other.log.get_or_insert_with(Vec::new);
        }
        let out = act(&mut other);
        if let (Some(log), Some(lines)) = (&mut self.log, &mut other.log) {
            log.extend(lines.drain(..).map(|line| format!("second client: {line}")));
        }
        std::mem::swap(&mut self.cluster, &mut other.cluster);
        if let Some(violation) = other.violation.take() {
            self.broken(
                violation.check,
                format!("the second client: {}", violation.detail),
            );
        }
        self.neighbour = Some(other);
        Some(out)
    }

    /// What struck everybody has struck the neighbour.
    pub(super) fn tell_neighbour(&mut self) {
        let of_all = |fault: &&Fault| {
            matches!(
                fault,
                Fault::Promote | Fault::Demote | Fault::Clock(_) | Fault::Deadline
            )
        };
        // What time does has come of itself.
        let is_time = |fault: &Fault| matches!(fault, Fault::Clock(_) | Fault::Deadline);
        let strikes: Vec<Fault> = self.strikes.iter().filter(of_all).cloned().collect();
        self.beside(|other| {
            let worst = strikes
                .iter()
                .filter(|fault| !is_time(fault))
                .map(Fault::damage)
                .max();
            other.damage = other.damage.max(worst.unwrap_or(Damage::None));
            other.strikes = strikes;
        });
    }

    /// The rows that this client works on, of all that there are.
    pub(crate) fn own_rows(&self, rows: Vec<String>) -> Vec<String> {
        rows.into_iter()
            .filter(|row| row.starts_with("u:") == self.is_second)
            .collect()
    }

    /// Whether a server process works for this client.
    pub(crate) fn is_own(&self, backend: u32) -> bool {
        (backend > FIRST_BACKEND) == self.is_second
    }
}
