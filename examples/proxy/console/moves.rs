//! Moving sessions: each as soon as its state allows, again if it was refused, until all are gone or time is up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pgturnout::session::{Activity, Destination, Role};
use pgturnout::wire::sqlstate;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::claims::{Share, Thing};
use super::command::Terms;
use super::look::{self, Seen};
use super::manner::Manner;
use super::run::{Became, Reporter, Work, no_place, no_session, stuck};
use super::seat::{Place, Seat};
use super::show;
use super::table::Failure;
use crate::Proxy;
use crate::registry::{Ask, Fault, Moved, MovedLeg, Order, Standing, State};
use crate::topology::{NoPlace, Service};

/// How many sessions move at a time: each costs the new server a login.
const AT_ONCE: usize = 32;

/// How long after a refusal the next try begins; twice as long each time.
const RETRY: Duration = Duration::from_millis(250);

/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// How often the operator hears how many are left, and sessions that came late are looked for.
const TELL: Duration = Duration::from_secs(1);

/// Moves one session.
pub(super) async fn one(
    work: &Work,
    number: u64,
    leg: MovedLeg,
    to: Destination,
    terms: &Terms,
) -> Result<String, Failure> {
    let proxy = &work.proxy;
    if proxy.topology().service(to) != Service::Open {
        return Err(no_place(proxy, to, NoPlace::Closed));
    }
    let standings = proxy.registry.standings(show::PATIENCE).await;
    let standing = standings.iter().find(|standing| standing.number == number);
    let Some(standing) = standing.filter(|standing| standing.state != State::Console) else {
        return Err(no_session(number));
    };
    if leg == MovedLeg::Reader && standing.writer == Some(to) {
        return Err(own_writer(proxy, number, to));
    }
    let mut things = vec![
        (Thing::Session(number), Share::Alone),
        (Thing::Server(to), Share::Together),
    ];
    let places = [standing.writer, standing.reader].into_iter().flatten();
    things.extend(places.map(|at| (Thing::Server(at), Share::Together)));
    let _ours = work.claim(&things)?;
    let pick = move |standing: &Standing| {
        let at = match leg {
            MovedLeg::Writer => standing.writer,
            MovedLeg::Reader => standing.reader,
        };
        (standing.number == number && at != Some(to)).then_some(leg)
    };
    let seat = Seat::new(work, to, to, Place::None);
    Moving::new(work, seat, to, terms).run(pick).await
}

fn own_writer(proxy: &Proxy, number: u64, to: Destination) -> Failure {
    let to = proxy.name(to);
    let message = format!("session {number} writes at {to}, and needs it for no reader");
    let state = sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE;
    Failure::new(state, message).with_hint("Its reads run there whenever it has no reader.")
}

/// Gives one server the place of another, and moves whoever is there.
pub(super) async fn all(
    work: &Work,
    from: Destination,
    to: Destination,
    terms: &Terms,
) -> Result<String, Failure> {
    let proxy = &work.proxy;
    let alone = [from, to].map(|at| (Thing::Server(at), Share::Alone));
    let _ours = work.claim(&alone)?;
    let mut trial = proxy.topology();
    let role = trial.role(from);
    trial
        .replace(from, to)
        .map_err(|why| no_place(proxy, to, why))?;
    let seen = look::look(proxy, (from, to), role, &terms.manner).await?;
    let place = match (role, seen) {
        (Role::Spare, _) => Place::None,
        // Only a session can tell more of it.
        (Role::Writer, Seen::Reached) => Place::Wanted,
        (Role::Writer | Role::Reader, Seen::Fit | Seen::Reached) => Place::Due,
    };
    let pick = move |standing: &Standing| match (standing.writer, standing.reader) {
        (Some(writer), _) if writer == from => Some(MovedLeg::Writer),
        (_, Some(reader)) if reader == from => Some(MovedLeg::Reader),
        (_, _) => None,
    };
    let seat = Seat::new(work, from, to, place);
    Moving::new(work, seat, to, terms).run(pick).await
}

/// What is known of a session that is to move.
struct Case {
    tries: u64,
    /// When it may be tried again; nothing if that is of no use.
    again: Option<Instant>,
    why: String,
}

/// Sessions on their way.
struct Moving<'a> {
    proxy: &'a Arc<Proxy>,
    seat: Seat<'a>,
    to: Destination,
    manner: Arc<Manner>,
    deadline: Instant,
    news: &'a Reporter,
    cases: BTreeMap<u64, Case>,
    /// What comes of those that move now; nothing if one has ended meanwhile.
    running: JoinSet<(u64, Option<Moved>)>,
    moved: u64,
    /// Those that need not be moved any more.
    over: BTreeSet<u64>,
}

impl<'a> Moving<'a> {
    fn new(work: &'a Work, seat: Seat<'a>, to: Destination, terms: &Terms) -> Moving<'a> {
        Moving {
            proxy: &work.proxy,
            seat,
            to,
            manner: Arc::new(terms.manner.clone()),
            deadline: Instant::now() + terms.within,
            news: &work.news,
            cases: BTreeMap::new(),
            running: JoinSet::new(),
            moved: 0,
            over: BTreeSet::new(),
        }
    }

    /// Moves every session that this picks; the tag, with how many there were.
    async fn run(
        mut self,
        pick: impl Fn(&Standing) -> Option<MovedLeg>,
    ) -> Result<String, Failure> {
        let mut tell = Instant::now() + TELL;
        self.seat.take_if_due().await?;
        loop {
            let left = self.begin(&pick).await?;
            if left.is_empty() && self.running.is_empty() {
                self.seat.settle();
                return Ok(format!("MIGRATE {}", self.moved));
            }
            let now = Instant::now();
            let hopeless = self.running.is_empty() && left.iter().all(|one| self.is_hopeless(one));
            if now >= self.deadline || hopeless {
                return self.give_up(left).await;
            }
            if now >= tell {
                tell = now + TELL;
                self.tell(&left).await;
            }
            let wake = (now + RETRY).min(self.deadline);
            tokio::select! {
                Some(done) = self.running.join_next() => {
                    if let Ok((number, moved)) = done {
                        self.ended(number, moved).await?;
                    }
                    while let Some(Ok((number, moved))) = self.running.try_join_next() {
                        self.ended(number, moved).await?;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Whether it is of no use to try this session again.
    fn is_hopeless(&self, (number, _): &(u64, String)) -> bool {
        let case = self.cases.get(number);
        case.is_some_and(|case| case.again.is_none())
    }

    /// Begins what may begin; who is left to move, those that move now among them.
    async fn begin(
        &mut self,
        pick: impl Fn(&Standing) -> Option<MovedLeg>,
    ) -> Result<Vec<(u64, String)>, Failure> {
        let registry = &self.proxy.registry;
        let (standings, silent) = registry.standings_and_silent(show::PATIENCE).await;
        let now = Instant::now();
        let unknown = |number| (number, "it does not say where it is".to_owned());
        let mut left: Vec<(u64, String)> = silent.into_iter().map(unknown).collect();
        let mut due = Vec::new();
        for standing in &standings {
            let Some(leg) = pick(standing) else {
                continue;
            };
            let number = standing.number;
            let case = self.cases.get(&number);
            let why = match (standing.state, case) {
                // It finds the new server by itself.
                (State::Waiting, _) => continue,
                (State::Session(Activity::Opening), _) => "it is logging in".to_owned(),
                (state, None) => state.to_string(),
                (_, Some(case)) => case.why.clone(),
            };
            left.push((number, why));
            let is_due = match standing.state {
                State::Moving | State::Waiting | State::Console => false,
                State::Session(Activity::Opening) => false,
                State::Paused | State::Session(_) => {
                    case.is_none_or(|case| case.again.is_some_and(|again| again <= now))
                }
            };
            if is_due && now < self.deadline {
                due.push(Due {
                    tries: case.map_or(0, |case| case.tries),
                    pace: Pace::of(standing.state),
                    number,
                    leg,
                });
            }
        }
        due.sort_by_key(Due::turn);
        let room = AT_ONCE.saturating_sub(self.running.len());
        for one in due.into_iter().take(room) {
            self.start(one.number, one.leg, now);
        }
        let serves = |standing: &Standing| {
            let served = !matches!(
                standing.state,
                State::Session(Activity::Opening) | State::Waiting
            );
            served && standing.writer == Some(self.to)
        };
        if standings.iter().any(serves) {
            self.seat.serves().await?;
        } else if left.is_empty() && self.running.is_empty() {
            // Nobody is there to try it.
            self.seat.take().await?;
        }
        Ok(left)
    }

    fn start(&mut self, number: u64, leg: MovedLeg, now: Instant) {
        let case = self.cases.entry(number).or_insert(Case {
            tries: 0,
            again: Some(now),
            why: "it is being moved".to_owned(),
        });
        case.tries += 1;
        let doubled = RETRY.saturating_mul(1 << (case.tries - 1).min(8));
        // Until the answer is there it is not tried again.
        case.again = Some(self.deadline + doubled);
        let (answer, moved) = oneshot::channel();
        let order = Order {
            leg,
            to: self.to,
            manner: Arc::clone(&self.manner),
            limit: self.deadline - now,
            answer,
        };
        // A session that has ended meanwhile drops the order.
        let _ = self.proxy.registry.tell(number, Ask::Move(order));
        self.running
            .spawn(async move { (number, moved.await.ok()) });
    }

    async fn ended(&mut self, number: u64, moved: Option<Moved>) -> Result<(), Failure> {
        let Some(case) = self.cases.get_mut(&number) else {
            return Ok(());
        };
        let doubled = RETRY.saturating_mul(1 << (case.tries - 1).min(8));
        case.again = Some(Instant::now() + doubled.min(RETRY_MAX));
        let tries = case.tries;
        match moved {
            Some(Moved::Done { held }) => {
                self.moved += 1;
                self.over.insert(number);
                let more = Became::Held(held);
                self.news.became(number, "moved", tries, more).await;
                self.seat.serves().await?;
            }
            Some(Moved::Impossible { why }) => {
                case.again = None;
                case.why = why;
            }
            Some(Moved::Refused { why, fault }) => {
                if fault == Fault::Target {
                    self.seat.put_back(&why).await?;
                }
                let news = case.why != why;
                case.why.clone_from(&why);
                if news {
                    let more = Became::Because(&why);
                    self.news.became(number, "refused", tries, more).await;
                }
            }
            Some(Moved::Lost { why }) => {
                self.over.insert(number);
                let more = Became::Because(&why);
                self.news.became(number, "lost", tries, more).await;
            }
            None => {
                self.over.insert(number);
                let more = Became::Because("it has ended");
                self.news.became(number, "gone", tries, more).await;
            }
        }
        Ok(())
    }

    async fn tell(&self, left: &[(u64, String)]) {
        let mut text = format!("{} moved, {} left", self.moved, left.len());
        if let Some((number, why)) = left.first() {
            text.push_str(&format!("; session {number}: {why}"));
        }
        self.news.notice(text).await;
    }

    /// What is under way when time is up is given the moment that it takes to say so.
    async fn give_up(mut self, mut left: Vec<(u64, String)>) -> Result<String, Failure> {
        let moment = Instant::now() + show::PATIENCE;
        while let Ok(Some(Ok((number, moved)))) =
            tokio::time::timeout_at(moment, self.running.join_next()).await
        {
            self.ended(number, moved).await?;
        }
        left.retain(|(number, _)| !self.over.contains(number));
        if left.is_empty() {
            self.seat.settle();
            return Ok(format!("MIGRATE {}", self.moved));
        }
        self.seat.put_back("no session is served there").await?;
        for (number, why) in &mut left {
            let tries = match self.cases.get(number) {
                Some(case) => {
                    why.clone_from(&case.why);
                    case.tries
                }
                None => 0,
            };
            let more = Became::Because(why);
            self.news.became(*number, "stuck", tries, more).await;
        }
        let (to, count) = (self.proxy.name(self.to), left.len());
        let sessions = match count {
            1 => "1 session".to_owned(),
            more => format!("{more} sessions"),
        };
        let message = match Instant::now() < self.deadline {
            true => format!("{sessions} cannot be moved to {to}"),
            false => format!("{sessions} could not be moved to {to} in time"),
        };
        let number = left.first().map_or(0, |(number, _)| *number);
        let hint = format!(
            "{} TERMINATE SESSION {number} ends one that stays.",
            self.seat.hint()
        );
        Err(stuck(message, &left).with_hint(hint))
    }
}

/// A session that may be tried now.
struct Due {
    tries: u64,
    pace: Pace,
    number: u64,
    leg: MovedLeg,
}

/// How soon a session is likely to have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pace {
    /// It rests.
    AtOnce,
    /// It has something open, and takes its place for as long as a try may last.
    InTime,
}

impl Pace {
    fn of(state: State) -> Pace {
        match state {
            State::Paused | State::Session(Activity::Idle) => Pace::AtOnce,
            State::Moving | State::Waiting | State::Console | State::Session(_) => Pace::InTime,
        }
    }
}

impl Due {
    /// Who was tried least comes first, then who rests: sessions that stay busy do not keep the others from their turn.
    fn turn(&self) -> (u64, Pace, u64) {
        (self.tries, self.pace, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_stay_busy_do_not_keep_others_from_their_turn() {
        let due = |tries, state, number| Due {
            tries,
            pace: Pace::of(state),
            number,
            leg: MovedLeg::Writer,
        };
        let busy = State::Session(Activity::InTransaction);
        let rests = State::Session(Activity::Idle);
        let mut all: Vec<Due> = (1..=64).map(|number| due(1, busy, number)).collect();
        all.extend([
            due(0, busy, 65),
            due(0, rests, 66),
            due(1, State::Paused, 67),
        ]);
        all.sort_by_key(Due::turn);
        let order: Vec<u64> = all.iter().map(|one| one.number).take(4).collect();
        assert_eq!(order, [66, 65, 67, 1]);
    }
}
