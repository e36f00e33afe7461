//! Whoever asks a session what a cancel has to hit.

use pgturnout::route;
use pgturnout::session::{CancelTarget, Session};
use tokio::sync::oneshot;

use crate::registry::Aim;
use crate::topology::Places;

/// Those who have asked and were not answered.
#[derive(Default)]
pub(crate) struct Askers {
    new: Vec<oneshot::Sender<Aim>>,
    /// Who waits for the request of this number to get to its upstream: one is enough.
    waits: Option<(u64, oneshot::Sender<CancelTarget>)>,
}

impl Askers {
    pub(crate) fn add(&mut self, answer: oneshot::Sender<Aim>) {
        self.new.push(answer);
    }

    /// Answers what can be answered.
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
        match target {
            None if session.is_holding() => {
                for answer in self.new.drain(..) {
                    let _ = answer.send(match &self.waits {
                        Some(_) => Aim::Nothing,
                        None => {
                            let (tell, told) = oneshot::channel();
                            self.waits = Some((epoch, tell));
                            Aim::Later(epoch, told)
                        }
                    });
                }
            }
            None => {
                self.waits = None;
                self.new.drain(..).for_each(|answer| {
                    let _ = answer.send(Aim::Nothing);
                });
            }
            Some(target) => {
                if let Some((_, answer)) = self.waits.take() {
                    let _ = answer.send(target.clone());
                }
                for answer in self.new.drain(..) {
                    let _ = answer.send(Aim::Now(target.clone()));
                }
            }
        }
    }
}
