//! Whoever asks a session what a cancel has to hit.

use pgturnout::route;
use pgturnout::session::{CancelTarget, Session};
use tokio::sync::oneshot;

use crate::registry::{Aim, Meant};
use crate::topology::Places;

/// Those who have asked and were not answered.
#[derive(Default)]
pub(crate) struct Askers {
    new: Vec<(Meant, oneshot::Sender<Aim>)>,
    /// Who waits for the request of this number to get to its upstream: one is enough.
    waits: Option<(u64, oneshot::Sender<CancelTarget>)>,
}

impl Askers {
    pub(crate) fn add(&mut self, meant: Meant, answer: oneshot::Sender<Aim>) {
        self.new.push((meant, answer));
    }

    /// Answers them all. What waits is told when it can be.
    pub(crate) fn answer(&mut self, session: &Session<route::Split>, places: &Places) {
        if self.new.is_empty() && self.waits.is_none() {
            return;
        }
        let target = session.cancel_target().map(|target| CancelTarget {
            to: places.at(target.to),
            ..target
        });
        let epoch = session.cancel_epoch();
        // Whoever asked may have gone.
        self.waits
            .take_if(|(meant, answer)| *meant != epoch || answer.is_closed());
        if target.is_some() || !session.is_holding() {
            if let (Some(target), Some((_, answer))) = (&target, self.waits.take()) {
                let _ = answer.send(target.clone());
            }
        }
        for (meant, answer) in std::mem::take(&mut self.new) {
            let is_meant = match meant {
                Meant::Current => true,
                Meant::Epoch(meant) => meant == epoch,
            };
            match &target {
                _ if !is_meant => drop(answer.send(Aim::Nothing)),
                Some(target) => drop(answer.send(Aim::Now(target.clone()))),
                None if session.is_holding() && self.waits.is_none() => self.wait(epoch, answer),
                None => drop(answer.send(Aim::Nothing)),
            }
        }
    }

    fn wait(&mut self, epoch: u64, answer: oneshot::Sender<Aim>) {
        let (tell, told) = oneshot::channel();
        if answer.send(Aim::Later(told)).is_ok() {
            self.waits = Some((epoch, tell));
        }
    }
}
