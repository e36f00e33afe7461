//! What the portals of a transaction run, as far as the session knows them.

use std::collections::BTreeMap;

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
}

#[derive(Debug)]
struct Portal {
    bound: Prepared,
    stands: Stands,
}

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

    /// Remembers a portal; whether there was room.
    pub(super) fn bind(&mut self, name: &[u8], bound: Prepared, limit: usize) -> bool {
        let portal = Portal {
            bound,
            stands: Stands::Surely,
        };
        if name.is_empty() {
            self.unnamed = Some(portal);
            return true;
        }
        if self.named.len() >= limit && !self.named.contains_key(name) {
            return false;
        }
        self.named.insert(name.into(), portal);
        true
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
