//! What the portals of a transaction run, as far as the session knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use super::effects::Prepared;
use super::leg::LegId;
use super::requests::Batch;
use crate::route::Route;
use crate::track::savepoints::Savepoints;
use crate::wire::TransactionStatus;

/// The statements behind the portals of the transaction that runs.
#[derive(Debug)]
pub(super) struct Portals {
    unnamed: Place,
    named: BTreeMap<Box<[u8]>, Place>,
    /// Of names that there was no room for.
    unknown: Replaced,
    newest: Age,
    /// The newest of before the request that comes.
    before: Age,
    /// Each with the portal that was bound last before it.
    savepoints: Savepoints,
}

/// What is known by one name.
#[derive(Debug, Default)]
struct Place {
    portal: Option<Portal>,
    replaced: Replaced,
}

/// Whether there may be a portal that is taken for another one, or for none: a Bind or a Close that fails, or that is skipped behind
/// what fails, leaves what stood before it, and that stands still when the transaction goes back to a savepoint. So does a Bind by a
/// name that another portal has: that is refused.
#[derive(Clone, Copy, Debug, Default)]
enum Replaced {
    /// None that it matters of, as neither does more than read.
    #[default]
    Nothing,
    /// One that it does, and nothing has failed.
    Some,
    /// One of those up to this one, if it is.
    Perhaps(Age),
}

impl Replaced {
    /// Another has the name, or none.
    fn replaced(&mut self) {
        if let Replaced::Nothing = self {
            *self = Replaced::Some;
        }
    }

    /// Something has failed, when this portal was the newest.
    fn failed(&mut self, newest: Age) {
        match self {
            Replaced::Nothing => {}
            Replaced::Some | Replaced::Perhaps(_) => *self = Replaced::Perhaps(newest),
        }
    }

    /// What holds of names of which either does.
    fn or(self, other: Replaced) -> Replaced {
        match (self, other) {
            (Replaced::Perhaps(one), Replaced::Perhaps(two)) if one.all < two.all => {
                Replaced::Perhaps(two)
            }
            (Replaced::Perhaps(newest), _) | (_, Replaced::Perhaps(newest)) => {
                Replaced::Perhaps(newest)
            }
            (Replaced::Some, _) | (_, Replaced::Some) => Replaced::Some,
            (Replaced::Nothing, Replaced::Nothing) => Replaced::Nothing,
        }
    }
}

#[derive(Debug)]
struct Portal {
    bound: Prepared,
    stands: Stands,
    age: Age,
}

/// How many portals were bound so far, and how many that have names: of those a savepoint mostly finds no new one behind the
/// savepoint before, and takes no place beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Age {
    all: usize,
    named: usize,
}

/// Whether a portal is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Surely,
    /// What may have ended it is on its way, or was undone by going back to a savepoint.
    Perhaps,
}

impl Portals {
    /// With so many savepoints at most.
    pub(super) fn new(savepoints: usize) -> Portals {
        Portals {
            unnamed: Place::default(),
            named: BTreeMap::new(),
            unknown: Replaced::Nothing,
            newest: Age::default(),
            before: Age::default(),
            savepoints: Savepoints::new(savepoints),
        }
    }

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
        self.place(name).and_then(|place| place.portal.as_ref())
    }

    fn place(&self, name: &[u8]) -> Option<&Place> {
        match name.is_empty() {
            true => Some(&self.unnamed),
            false => self.named.get(name),
        }
    }

    /// The same; a place is made for a name if there is room for one more.
    fn place_mut(&mut self, name: &[u8], limit: usize) -> Option<&mut Place> {
        if name.is_empty() {
            return Some(&mut self.unnamed);
        }
        if self.named.len() >= limit && !self.named.contains_key(name) {
            self.forget_the_closed();
        }
        if self.named.len() >= limit && !self.named.contains_key(name) {
            return None;
        }
        let replaced = self.unknown;
        let place = self.named.entry(name.into());
        Some(place.or_insert(Place {
            portal: None,
            replaced,
        }))
    }

    /// Makes room: of a name that no portal has only the doubt is left.
    fn forget_the_closed(&mut self) {
        let unknown = &mut self.unknown;
        self.named.retain(|_, place| {
            if place.portal.is_none() {
                *unknown = unknown.or(place.replaced);
            }
            place.portal.is_some()
        });
    }

    /// Remembers a portal; whether there was room.
    pub(super) fn bind(&mut self, name: &[u8], bound: Prepared, limit: usize) -> bool {
        let matters = self.get(name).is_some_and(|before| {
            let does_more = |one: &Prepared| !one.meta.effects.is_empty();
            !Arc::ptr_eq(&bound, before) && (does_more(before) || does_more(&bound))
        });
        self.newest.all = self.newest.all.saturating_add(1);
        let named = usize::from(!name.is_empty());
        self.newest.named = self.newest.named.saturating_add(named);
        let portal = Portal {
            bound,
            stands: Stands::Surely,
            age: self.newest,
        };
        let Some(place) = self.place_mut(name, limit) else {
            return false;
        };
        if matters {
            place.replaced.replaced();
        }
        place.portal = Some(portal);
        true
    }

    /// Whether one that has a name does more than read.
    pub(super) fn do_more_than_read(&self) -> bool {
        let named = self.named.values();
        let mut portals = named.filter_map(|place| place.portal.as_ref());
        portals.any(|portal| !portal.bound.meta.effects.is_empty())
    }

    /// Something has failed.
    pub(super) fn failed(&mut self) {
        let newest = self.newest;
        self.unnamed.replaced.failed(newest);
        self.unknown.failed(newest);
        for place in self.named.values_mut() {
            place.replaced.failed(newest);
        }
    }

    /// A Query or a Sync is sent. Behind what fails before it nothing of its request is run, but the next request is: before it is
    /// known what has failed.
    pub(super) fn request_ends(&mut self) {
        self.before = self.newest;
    }

    /// Whether another portal may have this name than the one that is known, or than none, while of the requests before this one
    /// so many are not answered.
    pub(super) fn may_be_another(&self, name: &[u8], unanswered: usize) -> bool {
        let age = self.entry(name).map_or(0, |portal| portal.age.all);
        let replaced = self
            .place(name)
            .map_or(self.unknown, |place| place.replaced);
        match replaced {
            Replaced::Nothing => false,
            Replaced::Some => self.may_have_failed(age, unanswered),
            Replaced::Perhaps(newest) => age <= newest.all || self.may_have_failed(age, unanswered),
        }
    }

    /// Whether what was to replace one of that age may have failed, while so many requests are not answered.
    fn may_have_failed(&self, age: usize, unanswered: usize) -> bool {
        unanswered > 0 && age <= self.before.all
    }

    pub(super) fn close(&mut self, name: &[u8]) {
        let place = match name.is_empty() {
            true => Some(&mut self.unnamed),
            false => self.named.get_mut(name),
        };
        if let Some(place) = place {
            // What is bound next by that name may do more than this one.
            if place.portal.take().is_some() {
                place.replaced.replaced();
            }
        }
    }

    /// The unnamed portal may end.
    pub(super) fn doubt_unnamed(&mut self) {
        self.unnamed.doubt();
    }

    /// Every portal may end.
    pub(super) fn doubt(&mut self) {
        self.doubt_unnamed();
        self.named.values_mut().for_each(Place::doubt);
    }

    /// The portal that was bound last.
    pub(super) fn newest(&self) -> Age {
        self.newest
    }

    /// A transaction has ended, in which portals up to this one were bound.
    pub(super) fn ended(&mut self, newest: Age) {
        self.savepoints.clear();
        // What was bound behind it may have replaced something, too.
        let is_last = self.newest.all <= newest.all;
        if is_last {
            self.unknown = Replaced::Nothing;
        }
        self.unnamed.end(newest, is_last);
        self.named.retain(|_, place| {
            place.end(newest, is_last);
            place.is_known()
        });
    }

    /// A savepoint was set behind this portal.
    pub(super) fn savepoint(&mut self, name: &[u8], newest: Age) {
        self.savepoints.set(name, newest.named);
    }

    /// The transaction went back to a savepoint, when this portal was the newest: with what was bound since that was set.
    pub(super) fn went_back(&mut self, name: &[u8], newest: Age) {
        self.doubt_unnamed();
        let Some(mark) = self.savepoints.roll_back_to(name) else {
            return self.doubt();
        };
        let outlives = |age: Age| age.named <= mark || age.all > newest.all;
        self.named.retain(|_, place| {
            place.portal.take_if(|portal| !outlives(portal.age));
            place.is_known()
        });
    }

    /// A savepoint is gone: what was bound since stays.
    pub(super) fn released(&mut self, name: &[u8]) {
        self.savepoints.release(name);
    }

    pub(super) fn clear(&mut self) {
        self.savepoints.clear();
        self.unknown = Replaced::Nothing;
        self.unnamed = Place::default();
        self.named.clear();
    }
}

impl Place {
    /// Whether there is anything to know.
    fn is_known(&self) -> bool {
        self.portal.is_some() || !matches!(self.replaced, Replaced::Nothing)
    }

    fn doubt(&mut self) {
        if let Some(portal) = &mut self.portal {
            portal.stands = Stands::Perhaps;
        }
    }

    /// A transaction has ended in which portals up to this one were bound, and maybe none since.
    fn end(&mut self, newest: Age, is_last: bool) {
        self.portal.take_if(|portal| portal.age.all <= newest.all);
        if is_last {
            self.replaced = Replaced::Nothing;
        }
    }
}

impl<R: Route> Session<R> {
    /// Whether a portal of this name may run something else than what is known, or than nothing.
    pub(super) fn may_be_another_portal(&self, name: &[u8]) -> bool {
        let serving = LegId::ALL
            .into_iter()
            .filter_map(|leg| self.leg(leg).serving());
        let unanswered = serving.map(|serving| serving.pipeline.client_ready_owed());
        self.memory.portals.may_be_another(name, unanswered.sum())
    }

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
