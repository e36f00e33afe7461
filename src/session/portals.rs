//! What the portals of a transaction run, as far as the session knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use super::effects::Prepared;
use super::requests::Batch;
use crate::route::Route;
use crate::wire::TransactionStatus;

/// The statements behind the portals of the transaction that runs.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Option<Portal>,
    named: BTreeMap<Box<[u8]>, Portal>,
    newest: Age,
}

#[derive(Debug)]
struct Portal {
    bound: Prepared,
    stands: Stands,
    age: Age,
}

/// How many portals were bound before and with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age(u64);

/// Whether a portal is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Surely,
    /// What may have ended it is on its way, or was undone by going back to a savepoint.
    Perhaps,
}

impl Portals {
    /// What a portal runs, if it is there.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Prepared> {
        self.entry(name).map(|portal| &portal.bound)
    }

    /// The same of one that is surely there.
    pub(super) fn stands(&self, name: &[u8]) -> Option<&Prepared> {
        let entry = self.entry(name);
        let stands = entry.filter(|portal| portal.stands == Stands::Surely);
        stands.map(|portal| &portal.bound)
    }

    fn entry(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name)
        }
    }

    /// Remembers a portal; whether it will be known what it runs. There may be no room, and a server refuses a name that another
    /// portal has: by that the other one stands, and so it does when the transaction goes back to a savepoint.
    pub(super) fn bind(&mut self, name: &[u8], bound: Prepared, limit: usize) -> bool {
        self.newest = Age(self.newest.0.saturating_add(1));
        let portal = Portal {
            bound: Arc::clone(&bound),
            stands: Stands::Surely,
            age: self.newest,
        };
        if name.is_empty() {
            self.unnamed = Some(portal);
            return true;
        }
        if self.named.len() >= limit && !self.named.contains_key(name) {
            return false;
        }
        let before = self.named.insert(name.into(), portal);
        before.is_none_or(|Portal { bound: before, .. }| {
            let matters = [&before, &bound].map(|either| !either.meta.effects.is_empty());
            Arc::ptr_eq(&before, &bound) || matters == [false; 2]
        })
    }

    /// A portal of this name may be bound to what nobody knows here; whether it will be known what it does.
    pub(super) fn bind_unknown(&mut self, name: &[u8]) -> bool {
        let named = self.named.get(name);
        let known = named.is_none_or(|before| before.bound.meta.effects.is_empty());
        self.close(name);
        known
    }

    pub(super) fn close(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    /// The unnamed portal may end.
    pub(super) fn doubt_unnamed(&mut self) {
        if let Some(portal) = &mut self.unnamed {
            portal.stands = Stands::Perhaps;
        }
    }

    /// Every portal may end.
    pub(super) fn doubt(&mut self) {
        self.doubt_unnamed();
        for portal in self.named.values_mut() {
            portal.stands = Stands::Perhaps;
        }
    }

    /// The portal that was bound last.
    pub(super) fn newest(&self) -> Age {
        self.newest
    }

    /// A transaction has ended, in which portals up to this one were bound.
    pub(super) fn ended(&mut self, newest: Age) {
        let is_later = |portal: &Portal| portal.age > newest;
        self.unnamed = self.unnamed.take().filter(is_later);
        self.named.retain(|_, portal| is_later(portal));
    }

    pub(super) fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }
}

impl<R: Route> Session<R> {
    /// An upstream rests: there are no portals, if that ends the client's transaction and is none of our own affairs beside it.
    pub(super) fn portals_are_over(&mut self) {
        let writer = self.leg(self.writer()).serving();
        let rests = writer.is_none_or(|writer| {
            writer.status == TransactionStatus::Idle && !writer.pipeline.has_client()
        });
        if rests && self.requests.batch == Batch::None && !self.has_reader_transaction() {
            self.memory.portals.clear();
        }
    }
}
