//! The place that one server takes from another: when, and back again if nobody can be served there.

use pgturnout::session::{Destination, Role};

use super::run::{Work, no_place};
use super::table::Failure;

/// What there is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing: one session moves, or the old server is a spare.
    None,
    /// It is taken when a session has shown that the new server can serve, or when none is there to show it.
    Wanted,
    /// It is to be taken now.
    Due,
    /// It is taken, and goes back unless somebody is served there. These were what the two servers were for.
    Taken([(Destination, Role); 2]),
    /// It is taken for good.
    Settled,
}

/// A place, and who takes it. What is taken and not settled goes back when this is dropped.
pub(super) struct Seat<'a> {
    work: &'a Work,
    from: Destination,
    to: Destination,
    place: Place,
}

impl<'a> Seat<'a> {
    pub(super) fn new(
        work: &'a Work,
        from: Destination,
        to: Destination,
        place: Place,
    ) -> Seat<'a> {
        Seat {
            work,
            from,
            to,
            place,
        }
    }

    pub(super) async fn take_if_due(&mut self) -> Result<(), Failure> {
        match self.place {
            Place::Due => self.take().await,
            Place::None | Place::Wanted | Place::Taken(_) | Place::Settled => Ok(()),
        }
    }

    /// Takes it, if it is there to be taken.
    pub(super) async fn take(&mut self) -> Result<(), Failure> {
        match self.place {
            Place::Wanted | Place::Due => {}
            Place::None | Place::Taken(_) | Place::Settled => return Ok(()),
        }
        let (from, to, proxy) = (self.from, self.to, &self.work.proxy);
        let before = proxy.topology();
        let refused = |why| no_place(proxy, to, why);
        proxy.change(|topology| topology.replace(from, to).map_err(refused))?;
        self.place = Place::Taken([from, to].map(|at| (at, before.role(at))));
        let line = format!("{} takes the place of {}", proxy.name(to), proxy.name(from));
        proxy.log.line(&format!("console: {line}"));
        self.work.news.placed("replaced", line).await;
        Ok(())
    }

    /// A session is served there: it is taken, and for good.
    pub(super) async fn serves(&mut self) -> Result<(), Failure> {
        self.take().await?;
        self.settle();
        Ok(())
    }

    /// It does not go back.
    pub(super) fn settle(&mut self) {
        self.place = match self.place {
            Place::Taken(_) => Place::Settled,
            other @ (Place::None | Place::Wanted | Place::Due | Place::Settled) => other,
        };
    }

    /// Gives it back, if it is taken and not settled; a session may still show that the new server can serve.
    pub(super) async fn put_back(&mut self, why: &str) -> Result<(), Failure> {
        if let Place::Taken(were) = self.place {
            let line = self.restore(were)?;
            self.work
                .news
                .placed("put back", format!("{line}: {why}"))
                .await;
        }
        Ok(())
    }

    fn restore(&mut self, were: [(Destination, Role); 2]) -> Result<String, Failure> {
        let proxy = &self.work.proxy;
        self.place = Place::Wanted;
        proxy.change::<Failure>(|topology| {
            topology.put_back(were);
            Ok(())
        })?;
        let line = format!("{} has its place back", proxy.name(self.from));
        proxy.log.line(&format!("console: {line}"));
        Ok(line)
    }

    /// Where new sessions go now, for the hint of an error.
    pub(super) fn hint(&self) -> String {
        let proxy = &self.work.proxy;
        let (from, to) = (proxy.name(self.from), proxy.name(self.to));
        match self.place {
            Place::None => "It goes on where it is.".to_owned(),
            Place::Wanted | Place::Due => {
                format!("New sessions go to {from} as before: nobody is served by {to}.")
            }
            Place::Taken(_) | Place::Settled => {
                format!("New sessions go to {to}, and who has moved stays there.")
            }
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Place::Taken(were) = self.place {
            // What could be configured before can be again.
            let _ = self.restore(were);
        }
    }
}
