//! Changes to prepared statements that were sent and not answered yet: in their order, and by name, so that what a
//! name means costs the same however many there are.

use std::collections::{BTreeMap, VecDeque};

use super::prepared::{Change, Ticket};

/// The changes that are on their way, oldest first.
#[derive(Debug)]
pub(super) struct Pending<M> {
    changes: VecDeque<(Ticket, Change<M>)>,
    names: BTreeMap<Box<[u8]>, OfName>,
    /// Those that concern every name but the empty one.
    of_all: VecDeque<Ticket>,
    /// How often a change was looked at for its name.
    #[cfg(test)]
    looked: std::cell::Cell<u64>,
}

/// The changes of one name, in their order.
#[derive(Debug, Default)]
struct OfName {
    clients: VecDeque<Ticket>,
    ours: VecDeque<Ticket>,
    /// How many of the client's define the name.
    defines: usize,
}

/// What is on its way for a name, of whichever side and for every name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Concerning {
    pub(super) newest: Ticket,
    pub(super) count: usize,
    pub(super) oldest_of_ours: Option<Ticket>,
}

impl<M> Pending<M> {
    pub(super) fn new() -> Pending<M> {
        Pending {
            changes: VecDeque::new(),
            names: BTreeMap::new(),
            of_all: VecDeque::new(),
            #[cfg(test)]
            looked: std::cell::Cell::new(0),
        }
    }

    /// Adds a change with a ticket newer than all before.
    pub(super) fn push(&mut self, ticket: Ticket, change: Change<M>) {
        match change.name() {
            None => self.of_all.push_back(ticket),
            Some(name) => {
                if !self.names.contains_key(name) {
                    self.names.insert(name.into(), OfName::default());
                }
                if let Some(of_name) = self.names.get_mut(name) {
                    of_name.side(&change).push_back(ticket);
                    let defines = usize::from(change.definition().is_some());
                    of_name.defines = of_name.defines.saturating_add(defines);
                }
            }
        }
        self.changes.push_back((ticket, change));
    }

    /// Takes a change out; they are answered in their order, or nearly.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Change<M>> {
        let (_, change) = self.changes.remove(self.place(ticket)?)?;
        let Some(name) = change.name() else {
            remove(&mut self.of_all, ticket);
            return Some(change);
        };
        if let Some(of_name) = self.names.get_mut(name) {
            remove(of_name.side(&change), ticket);
            let defines = usize::from(change.definition().is_some());
            of_name.defines = of_name.defines.saturating_sub(defines);
            if of_name.clients.is_empty() && of_name.ours.is_empty() {
                self.names.remove(name);
            }
        }
        Some(change)
    }

    /// What concerns a name; `None` if nothing does.
    pub(super) fn concerning(&self, name: &[u8]) -> Option<Concerning> {
        let of_name = self.names.get(name);
        let ours = of_name.map(|of_name| &of_name.ours);
        let clients = of_name.map(|of_name| &of_name.clients);
        let all = [clients, ours, self.of_all(name)];
        let newest = all.iter().flatten().filter_map(|tickets| tickets.back());
        let counts = all.iter().flatten().map(|tickets| tickets.len());
        Some(Concerning {
            newest: *newest.max()?,
            count: counts.fold(0, usize::saturating_add),
            oldest_of_ours: ours.and_then(|ours| ours.front()).copied(),
        })
    }

    /// The newest change that the client made to a name, and whether one before it defines the name.
    pub(super) fn newest_of_client(&self, name: &[u8]) -> Option<(&Change<M>, bool)> {
        let of_name = self.names.get(name);
        let own = of_name.and_then(|of_name| of_name.clients.back());
        let of_all = self.of_all(name).and_then(|of_all| of_all.back());
        let newest = self.change(*own.max(of_all)?)?;
        let defines = of_name.map_or(0, |of_name| of_name.defines);
        let itself = usize::from(newest.definition().is_some());
        Some((newest, defines > itself))
    }

    /// Whether the newest change of a name is our Close of it on an upstream.
    pub(super) fn newest_is_clear(&self, name: &[u8], leg: usize) -> bool {
        let newest = self.concerning(name).map(|concerning| concerning.newest);
        let newest = newest.and_then(|newest| self.change(newest));
        matches!(newest, Some(Change::Clear { leg: at, .. }) if *at == leg)
    }

    fn of_all(&self, name: &[u8]) -> Option<&VecDeque<Ticket>> {
        (!name.is_empty()).then_some(&self.of_all)
    }

    fn change(&self, ticket: Ticket) -> Option<&Change<M>> {
        #[cfg(test)]
        self.looked.set(self.looked.get() + 1);
        self.changes
            .get(self.place(ticket)?)
            .map(|(_, change)| change)
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        self.changes
            .binary_search_by_key(&ticket, |(pending, _)| *pending)
            .ok()
    }
}

impl OfName {
    fn side<M>(&mut self, change: &Change<M>) -> &mut VecDeque<Ticket> {
        if change.is_ours() {
            &mut self.ours
        } else {
            &mut self.clients
        }
    }
}

fn remove(tickets: &mut VecDeque<Ticket>, ticket: Ticket) {
    if let Ok(at) = tickets.binary_search(&ticket) {
        tickets.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::super::prepared::{StatementLimits, Statements, Text};
    use super::*;

    const NAMES: [&[u8]; 3] = [b"", b"a", b"b"];

    fn statements() -> Statements<()> {
        Statements::new(StatementLimits {
            names: usize::MAX,
            bytes: usize::MAX,
            on_reader: usize::MAX,
            body: usize::MAX,
        })
    }

    /// One of the changes that there can be, by chance.
    fn change(statements: &mut Statements<()>, chance: u64) -> Change<()> {
        let name: Box<[u8]> = NAMES[usize::try_from(chance % 3).unwrap()].into();
        let definition = statements.define(&name, b"", Text::Kept, ()).unwrap();
        let leg = 0;
        match chance / 3 % 6 {
            0 | 1 => Change::Define {
                leg,
                name,
                definition,
            },
            2 => Change::Restore {
                leg,
                name,
                definition,
            },
            3 => Change::Clear { leg, name },
            4 => Change::Forget { leg, name },
            _ => Change::ForgetAll { leg },
        }
    }

    fn concerns(change: &Change<()>, wanted: &[u8]) -> bool {
        match change.name() {
            Some(name) => name == wanted,
            None => !wanted.is_empty(),
        }
    }

    /// What is found by name is what a look at every change finds.
    #[test]
    fn an_index_and_a_search_agree() {
        let mut statements = statements();
        let mut pending = Pending::new();
        let mut tickets = Vec::new();
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let chance = state >> 33;
            if chance % 2 == 0 && tickets.len() < 12 {
                let ticket = statements.sent(Change::ForgetAll { leg: 0 });
                pending.push(ticket, change(&mut statements, chance / 2));
                tickets.push(ticket);
            } else if !tickets.is_empty() {
                // The oldest, or any.
                let any = usize::try_from(chance / 2 % 16).unwrap();
                let at = if any < tickets.len() { any } else { 0 };
                let ticket = tickets.remove(at);
                assert!(pending.take(ticket).is_some());
                assert!(pending.take(ticket).is_none());
            }
            for name in NAMES {
                let changes = pending.changes.iter();
                let all: Vec<_> = changes.filter(|(_, one)| concerns(one, name)).collect();
                let ours = all.iter().find(|(_, one)| one.is_ours());
                let concerning = all.last().map(|(newest, _)| Concerning {
                    newest: *newest,
                    count: all.len(),
                    oldest_of_ours: ours.map(|(ticket, _)| *ticket),
                });
                assert_eq!(pending.concerning(name), concerning);
                let mut clients = all.iter().rev().filter(|(_, one)| !one.is_ours());
                let newest = clients.next().map(|(_, one)| one);
                let before = clients.any(|(_, one)| one.definition().is_some());
                let found = pending.newest_of_client(name);
                assert_eq!(found.map(|(_, defines)| defines), newest.map(|_| before));
                assert!(match (found, newest) {
                    (Some((found, _)), Some(newest)) => std::ptr::eq(found, newest),
                    (found, newest) => found.is_none() && newest.is_none(),
                });
            }
        }
        for ticket in tickets {
            pending.take(ticket);
        }
        assert!(pending.names.is_empty() && pending.of_all.is_empty());
    }

    /// A pipeline may parse the unnamed statement thousands of times before the first answer.
    #[test]
    fn a_question_costs_the_same_however_much_is_pending() {
        for count in [1, 4_000] {
            let mut statements = statements();
            let mut pending = Pending::new();
            for _ in 0..count {
                for chance in 0..18 {
                    let ticket = statements.sent(Change::ForgetAll { leg: 0 });
                    pending.push(ticket, change(&mut statements, chance));
                }
            }
            for name in NAMES {
                pending.concerning(name);
                pending.newest_of_client(name);
            }
            assert_eq!(pending.looked.get(), 3, "one for each name");
        }
    }
}
