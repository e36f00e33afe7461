//! What each server is for now, and whether it may be dialled: what an operator changes at the console.

use pgturnout::session::{Destination, Role};

/// Every server of the proxy, in the order of its [`Destination`].
#[derive(Clone, Debug)]
pub(crate) struct Topology(Vec<Member>);

#[derive(Clone, Copy, Debug)]
struct Member {
    role: Role,
    service: Service,
}

/// Whether a server may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Open,
    /// Nobody dials it. Sessions that are there stay.
    Drained,
    /// The same, and no session there begins a transaction.
    Paused,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Service::Open => "open",
            Service::Drained => "drained",
            Service::Paused => "paused",
        })
    }
}

/// A server cannot take the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// It is that server.
    Same,
    /// It is the writer, and the other is none.
    Writer,
    /// Nobody may dial it.
    Closed,
}

impl Topology {
    pub(crate) fn new(roles: impl Iterator<Item = Role>) -> Topology {
        let service = Service::Open;
        Topology(roles.map(|role| Member { role, service }).collect())
    }

    /// What a server is for.
    pub(crate) fn role(&self, of: Destination) -> Role {
        self.0.get(of.0).map_or(Role::Spare, |member| member.role)
    }

    pub(crate) fn service(&self, of: Destination) -> Service {
        let member = self.0.get(of.0);
        member.map_or(Service::Drained, |member| member.service)
    }

    pub(crate) fn serve(&mut self, at: Destination, service: Service) {
        if let Some(member) = self.0.get_mut(at.0) {
            member.service = service;
        }
    }

    /// The server that takes writes.
    pub(crate) fn writer(&self) -> Destination {
        let writer = |member: &Member| member.role == Role::Writer;
        Destination(self.0.iter().position(writer).unwrap_or(0))
    }

    /// A reader that may be dialled, but this one.
    pub(crate) fn reader_besides(&self, other: Destination) -> Option<Destination> {
        let all = (0..self.0.len()).map(Destination);
        let is_reader = |at: &Destination| self.role_of_new(*at) == Role::Reader;
        all.filter(is_reader).find(|at| *at != other)
    }

    /// What a server is for to sessions that begin now: a reader that nobody may dial is none. The writer stays it, and is
    /// waited for.
    pub(crate) fn role_of_new(&self, of: Destination) -> Role {
        match (self.role(of), self.service(of)) {
            (Role::Reader, Service::Drained | Service::Paused) => Role::Spare,
            (role, _) => role,
        }
    }

    /// Undoes [`replace`](Topology::replace): these were what the two servers were for.
    pub(crate) fn put_back(&mut self, were: [(Destination, Role); 2]) {
        for (at, role) in were {
            if let Some(member) = self.0.get_mut(at.0) {
                member.role = role;
            }
        }
    }

    /// Gives a server what another is for; that one is a spare afterwards.
    pub(crate) fn replace(&mut self, old: Destination, new: Destination) -> Result<(), NoPlace> {
        let role = self.role(old);
        if old == new {
            return Err(NoPlace::Same);
        }
        if self.service(new) != Service::Open {
            return Err(NoPlace::Closed);
        }
        match (role, self.role(new)) {
            (Role::Spare, _) => return Ok(()),
            (Role::Reader, Role::Writer) => return Err(NoPlace::Writer),
            (Role::Writer | Role::Reader, _) => {}
        }
        for (at, role) in [(new, role), (old, Role::Spare)] {
            if let Some(member) = self.0.get_mut(at.0) {
                member.role = role;
            }
        }
        Ok(())
    }
}

/// Where the destinations of one session are among the proxy's servers: where they are configured, but for the writer, if
/// the session waited for it while another took its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    swapped: Option<(Destination, Destination)>,
}

impl Places {
    /// The server that the session's destination means, and the other way round.
    pub(crate) fn at(self, to: Destination) -> Destination {
        match self.swapped {
            Some((one, other)) if to == one => other,
            Some((one, other)) if to == other => one,
            Some(_) | None => to,
        }
    }

    /// Whether servers are exchanged.
    pub(crate) fn are_swapped(self) -> bool {
        self.swapped.is_some()
    }

    /// Exchanges two servers.
    pub(crate) fn swap(&mut self, one: Destination, other: Destination) {
        self.swapped = (one != other).then_some((one, other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Destination = Destination(0);
    const B: Destination = Destination(1);
    const C: Destination = Destination(2);

    fn topology() -> Topology {
        Topology::new([Role::Writer, Role::Reader, Role::Spare].into_iter())
    }

    #[test]
    fn a_server_takes_the_place_of_another() {
        let mut three = topology();
        assert_eq!(three.replace(A, B), Ok(()));
        assert_eq!(three.writer(), B);
        let roles = [A, B, C].map(|of| three.role(of));
        assert_eq!(roles, [Role::Spare, Role::Writer, Role::Spare]);
        assert_eq!(three.replace(A, C), Ok(()), "a spare has no place to give");
        assert_eq!(three.role(C), Role::Spare);
    }

    #[test]
    fn a_place_can_be_given_back() {
        let mut three = topology();
        let were = [A, B].map(|of| (of, three.role(of)));
        three.replace(A, B).unwrap();
        three.put_back(were);
        let roles = [A, B, C].map(|of| three.role(of));
        assert_eq!(roles, [Role::Writer, Role::Reader, Role::Spare]);
    }

    #[test]
    fn what_would_leave_no_writer_or_reach_nobody_is_refused() {
        let mut three = topology();
        assert_eq!(three.replace(A, A), Err(NoPlace::Same));
        assert_eq!(three.replace(B, A), Err(NoPlace::Writer));
        three.serve(C, Service::Drained);
        assert_eq!(three.replace(A, C), Err(NoPlace::Closed));
        assert_eq!(three.writer(), A);
    }

    #[test]
    fn a_drained_reader_is_none_to_new_sessions_and_a_drained_writer_stays_it() {
        let mut three = topology();
        three.serve(A, Service::Paused);
        three.serve(B, Service::Drained);
        let roles = [A, B].map(|of| three.role_of_new(of));
        assert_eq!(roles, [Role::Writer, Role::Spare]);
        three.serve(B, Service::Open);
        assert_eq!(three.role_of_new(B), Role::Reader);
    }

    #[test]
    fn another_reader_is_one_that_may_be_dialled() {
        let roles = [Role::Writer, Role::Reader, Role::Reader];
        let mut three = Topology::new(roles.into_iter());
        assert_eq!(three.reader_besides(A), Some(B));
        assert_eq!(three.reader_besides(B), Some(C));
        three.serve(C, Service::Drained);
        assert_eq!(three.reader_besides(B), None);
        assert_eq!(topology().reader_besides(B), None, "a spare is none");
    }

    #[test]
    fn a_swap_is_its_own_way_back() {
        let mut places = Places::default();
        assert_eq!(places.at(A), A);
        places.swap(A, B);
        assert_eq!([A, B, C].map(|to| places.at(to)), [B, A, C]);
        assert_eq!([A, B, C].map(|to| places.at(places.at(to))), [A, B, C]);
        places.swap(A, A);
        assert_eq!(places.at(A), A);
    }
}
