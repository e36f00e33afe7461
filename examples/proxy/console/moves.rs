//! Moving sessions: each as soon as its state allows, again if it was refused, until all are gone or time is up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pgturnout::session::{Activity, Destination};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::run::{Became, Reporter, no_place, no_session, stuck};
use super::show;
use super::table::Failure;
use crate::Proxy;
use crate::registry::{Ask, Moved, MovedLeg, Order, Standing, State};
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
    proxy: &Arc<Proxy>,
    number: u64,
    leg: MovedLeg,
    to: Destination,
    within: Duration,
    news: &Reporter,
) -> Result<String, Failure> {
    if proxy.topology().service(to) != Service::Open {
        return Err(no_place(proxy, to, NoPlace::Closed));
    }
    let standings = proxy.registry.standings(show::PATIENCE).await;
    let standing = standings.iter().find(|standing| standing.number == number);
    if standing.is_none_or(|standing| standing.state == State::Console) {
        return Err(no_session(number));
    }
    let pick = move |standing: &Standing| {
        let at = match leg {
            MovedLeg::Writer => standing.writer,
            MovedLeg::Reader => standing.reader,
        };
        (standing.number == number && at != Some(to)).then_some(leg)
    };
    Moving::new(proxy, to, within, news).run(pick).await
}

/// Gives one server the place of another, and moves whoever is there.
pub(super) async fn all(
    proxy: &Arc<Proxy>,
    from: Destination,
    to: Destination,
    within: Duration,
    news: &Reporter,
) -> Result<String, Failure> {
    let refused = |why| no_place(proxy, to, why);
    proxy.change(|topology| topology.replace(from, to).map_err(refused))?;
    let (old, new) = (proxy.name(from), proxy.name(to));
    proxy
        .log
        .line(&format!("console: {new} takes the place of {old}"));
    let pick = move |standing: &Standing| match (standing.writer, standing.reader) {
        (Some(writer), _) if writer == from => Some(MovedLeg::Writer),
        (_, Some(reader)) if reader == from => Some(MovedLeg::Reader),
        (_, _) => None,
    };
    Moving::new(proxy, to, within, news).run(pick).await
}

/// What is known of a session that is to move.
struct Case {
    tries: u64,
    again: Instant,
    why: String,
}

/// Sessions on their way.
struct Moving<'a> {
    proxy: &'a Arc<Proxy>,
    to: Destination,
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
    fn new(
        proxy: &'a Arc<Proxy>,
        to: Destination,
        within: Duration,
        news: &'a Reporter,
    ) -> Moving<'a> {
        Moving {
            proxy,
            to,
            deadline: Instant::now() + within,
            news,
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
        loop {
            let left = self.begin(&pick).await;
            if left.is_empty() && self.running.is_empty() {
                return Ok(format!("MIGRATE {}", self.moved));
            }
            let now = Instant::now();
            if now >= self.deadline {
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
                        self.ended(number, moved).await;
                    }
                    while let Some(Ok((number, moved))) = self.running.try_join_next() {
                        self.ended(number, moved).await;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Begins what may begin; who is left to move, those that move now among them.
    async fn begin(&mut self, pick: impl Fn(&Standing) -> Option<MovedLeg>) -> Vec<(u64, String)> {
        let registry = &self.proxy.registry;
        let (standings, silent) = registry.standings_and_silent(show::PATIENCE).await;
        let now = Instant::now();
        let unknown = |number| (number, "it does not say where it is".to_owned());
        let mut left: Vec<(u64, String)> = silent.into_iter().map(unknown).collect();
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
            let due = match standing.state {
                State::Moving | State::Waiting | State::Console => false,
                State::Session(Activity::Opening) => false,
                State::Paused | State::Session(_) => case.is_none_or(|case| case.again <= now),
            };
            if due && self.running.len() < AT_ONCE && now < self.deadline {
                self.start(number, leg, now);
            }
        }
        left
    }

    fn start(&mut self, number: u64, leg: MovedLeg, now: Instant) {
        let case = self.cases.entry(number).or_insert(Case {
            tries: 0,
            again: now,
            why: "it is being moved".to_owned(),
        });
        case.tries += 1;
        let doubled = RETRY.saturating_mul(1 << (case.tries - 1).min(8));
        // Until the answer is there it is not tried again.
        case.again = self.deadline + doubled;
        let (answer, moved) = oneshot::channel();
        let order = Order {
            leg,
            to: self.to,
            limit: self.deadline - now,
            answer,
        };
        // A session that has ended meanwhile drops the order.
        let _ = self.proxy.registry.tell(number, Ask::Move(order));
        self.running
            .spawn(async move { (number, moved.await.ok()) });
    }

    async fn ended(&mut self, number: u64, moved: Option<Moved>) {
        let Some(case) = self.cases.get_mut(&number) else {
            return;
        };
        let doubled = RETRY.saturating_mul(1 << (case.tries - 1).min(8));
        case.again = Instant::now() + doubled.min(RETRY_MAX);
        let tries = case.tries;
        match moved {
            Some(Moved::Done { held }) => {
                self.moved += 1;
                self.over.insert(number);
                let more = Became::Held(held);
                self.news.became(number, "moved", tries, more).await;
            }
            Some(Moved::Refused { why }) => {
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
            self.ended(number, moved).await;
        }
        left.retain(|(number, _)| !self.over.contains(number));
        if left.is_empty() {
            return Ok(format!("MIGRATE {}", self.moved));
        }
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
        let to = self.proxy.name(self.to);
        let message = format!("{} sessions could not be moved to {to} in time", left.len());
        let hint = "Those that moved stay there. The others go on where they are.";
        Err(stuck(message, &left).with_hint(hint))
    }
}
