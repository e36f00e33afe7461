//! All running sessions: whom a cancel key belongs to, and whom to tell about a shutdown.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use pgturnout::cancel::{CancelMap, NotEntered, Place, SourceCheck};
use pgturnout::limits::CANCEL_KEYS_MAX;
use pgturnout::session::{Activity, CancelEnd, CancelTarget, CancelTicket, Denial, Destination};
use pgturnout::startup::{CancelKey, StartupParams};
use pgturnout::track::Pin;
use tokio::sync::{mpsc, oneshot};

use crate::console::Manner;
use crate::introduce::Whence;

/// Which request a cancel is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The one that runs now.
    Current,
    /// The one of this number, if it is not over.
    Epoch(u64),
}

/// What a cancel that comes now has to hit.
#[derive(Debug)]
pub(crate) enum Aim {
    /// Nothing runs, or another cancel waits for the same request.
    Nothing,
    Now(CancelTarget),
    /// The request has yet to get to its upstream: the target comes when it has, if it does.
    Later(oneshot::Receiver<CancelTarget>),
}

/// A question or an order from outside to the task of one session.
pub(crate) enum Ask {
    /// Where to send a cancel request for it. Asked by whoever knows the session's key.
    Aim(Meant, oneshot::Sender<Aim>),
    /// Whether a cancel for this target may be sent now; then nothing more is written there until it is over.
    CancelBegins(CancelTarget, oneshot::Sender<Option<CancelTicket>>),
    /// It is over. Whether there is to be another.
    CancelEnded(CancelTicket, oneshot::Sender<CancelEnd>),
    /// Finish what is in flight, then end.
    Shutdown,
    /// What is denied has changed: see whether you are.
    Recheck,
    /// What servers are for has changed: see what that means to you.
    Changed,
    /// Say what you are doing.
    Describe(oneshot::Sender<Standing>),
    /// Move to another server.
    Move(Order),
    /// End, with this for the client.
    Expel(Denial),
    /// Add to the proxy's numbers what was counted since the last time; dropping the sender says that it is done.
    Publish(mpsc::Sender<()>),
}

/// What a session is doing, for an operator.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) number: u64,
    pub(crate) client: IpAddr,
    pub(crate) startup: Option<StartupParams>,
    pub(crate) state: State,
    /// Where it is served, as far as it is.
    pub(crate) writer: Option<Destination>,
    pub(crate) reader: Option<Destination>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) age: Duration,
}

/// What there is to say of it in a word or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its login waits for a server that is drained.
    Waiting,
    /// It is kept from its next transaction.
    Paused,
    /// It moves.
    Moving,
    /// An operator's.
    Console,
    Session(Activity),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Waiting => f.write_str("waiting for a server"),
            State::Paused => f.write_str("paused"),
            State::Moving => f.write_str("moving"),
            State::Console => f.write_str("console"),
            State::Session(activity) => write!(f, "{activity}"),
        }
    }
}

/// Where a session is to move, and whom to tell what came of it.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) leg: MovedLeg,
    pub(crate) to: Destination,
    pub(crate) manner: Arc<Manner>,
    /// How long the whole of it may take.
    pub(crate) limit: Duration,
    /// A session that ends first drops it.
    pub(crate) answer: oneshot::Sender<Moved>,
}

/// Which of a session's servers is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MovedLeg {
    Writer,
    Reader,
}

/// What a move was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something about the session, or about this time.
    Session,
    /// The new server, which nobody could move to.
    Target,
}

/// What came of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The client was held for so long.
    Done { held: Duration },
    /// It is where it was.
    Refused { why: String, fault: Fault },
    /// It is where it was, and trying again is of no use.
    Impossible { why: String },
    /// It has ended for it.
    Lost { why: String },
}

/// What a session's task was asked and has not looked at yet. A channel would do, for a kilobyte per session.
#[derive(Default)]
pub(crate) struct Mailbox(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    asks: VecDeque<Ask>,
    reader: Option<Waker>,
}

impl Mailbox {
    pub(crate) fn post(&self, ask: Ask) {
        let mut mail = locked(&self.0);
        mail.asks.push_back(ask);
        if let Some(reader) = mail.reader.take() {
            reader.wake();
        }
    }

    /// What came first; if nothing has come, the task is woken when something does.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Option<Ask> {
        let mut mail = locked(&self.0);
        let ask = mail.asks.pop_front();
        let known = mail.reader.as_ref();
        if ask.is_none() && !known.is_some_and(|reader| reader.will_wake(cx.waker())) {
            mail.reader = Some(cx.waker().clone());
        }
        ask
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds one of these locks can leave its data half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Registry(Mutex<Tables>);

struct Tables {
    /// By the session's number.
    sessions: BTreeMap<u64, Arc<Mailbox>>,
    keys: CancelMap<Arc<Mailbox>>,
}

/// There is no session with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSession;

/// Who asks for a cancel, as far as that can be known.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) key: CancelKey,
    pub(crate) address: IpAddr,
}

impl Registry {
    pub(crate) fn new(check: SourceCheck) -> Registry {
        Registry(Mutex::new(Tables {
            sessions: BTreeMap::new(),
            keys: CancelMap::new(CANCEL_KEYS_MAX, check),
        }))
    }

    /// Enters a session, until the returned value is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        number: u64,
        whence: impl Into<Whence>,
    ) -> (Entry, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::default());
        self.tables().sessions.insert(number, Arc::clone(&mailbox));
        let entry = Entry {
            registry: Arc::clone(self),
            number,
            whence: whence.into(),
            mailbox: Arc::clone(&mailbox),
            place: None,
        };
        (entry, mailbox)
    }

    /// Whether a session owns this key, and may be cancelled from there.
    pub(crate) fn knows(&self, asker: &Asker) -> bool {
        self.owner(asker).is_some()
    }

    /// Asks the session that owns this key what a cancel has to hit.
    pub(crate) async fn aim(&self, asker: &Asker) -> Aim {
        self.aim_at(asker, Meant::Current).await
    }

    /// The same for a request that a cancel was sent for already.
    pub(crate) async fn aim_again(&self, asker: &Asker, epoch: u64) -> Aim {
        self.aim_at(asker, Meant::Epoch(epoch)).await
    }

    async fn aim_at(&self, asker: &Asker, meant: Meant) -> Aim {
        let aim = self.ask(asker, |answer| Ask::Aim(meant, answer));
        aim.await.unwrap_or(Aim::Nothing)
    }

    /// Asks it whether a cancel for this target may be sent now.
    pub(crate) async fn cancel_begins(
        &self,
        asker: &Asker,
        target: &CancelTarget,
    ) -> Option<CancelTicket> {
        let may = self.ask(asker, |answer| Ask::CancelBegins(target.clone(), answer));
        may.await?
    }

    /// Tells it that the server has closed the connection of this cancel.
    pub(crate) async fn cancel_ended(&self, asker: &Asker, ticket: CancelTicket) -> CancelEnd {
        let end = self.ask(asker, |answer| Ask::CancelEnded(ticket, answer));
        end.await.unwrap_or(CancelEnd::Done)
    }

    /// Asks the session that owns this key. One that ends without an answer drops the question, and that is the answer: nobody
    /// else may keep its mailbox meanwhile.
    async fn ask<T>(
        &self,
        asker: &Asker,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Option<T> {
        let (answer, told) = oneshot::channel();
        self.owner(asker)?.post(ask(answer));
        told.await.ok()
    }

    fn owner(&self, asker: &Asker) -> Option<Arc<Mailbox>> {
        let tables = self.tables();
        let found = tables.keys.find(&asker.key, Some(asker.address))?;
        Some(Arc::clone(found.handle))
    }

    /// Tells every session something.
    pub(crate) fn tell_all(&self, mut ask: impl FnMut() -> Ask) {
        for mailbox in self.tables().sessions.values() {
            mailbox.post(ask());
        }
    }

    /// Tells a session something, if there is one with this number.
    pub(crate) fn tell(&self, number: u64, ask: Ask) -> Result<(), NoSession> {
        let tables = self.tables();
        let mailbox = tables.sessions.get(&number).ok_or(NoSession)?;
        mailbox.post(ask);
        Ok(())
    }

    /// What every session is doing, by its number. One that does not say so in time, or ends, is left out.
    pub(crate) async fn standings(&self, limit: Duration) -> Vec<Standing> {
        self.standings_and_silent(limit).await.0
    }

    /// The same, and the numbers of those that have not said so in time: of them nobody knows where they are.
    pub(crate) async fn standings_and_silent(&self, limit: Duration) -> (Vec<Standing>, Vec<u64>) {
        let mut answers = Vec::new();
        for (number, mailbox) in &self.tables().sessions {
            let (answer, standing) = oneshot::channel();
            answers.push((*number, standing));
            mailbox.post(Ask::Describe(answer));
        }
        let deadline = tokio::time::Instant::now() + limit;
        let (mut standings, mut silent) = (Vec::new(), Vec::new());
        for (number, answer) in answers {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(standing)) => standings.push(standing),
                // It ends.
                Ok(Err(_)) => {}
                Err(_) => silent.push(number),
            }
        }
        (standings, silent)
    }

    /// Has every session add what it counted to the proxy's numbers, and waits for that, but no longer than this.
    pub(crate) async fn publish(&self, limit: Duration) {
        let (asked, mut all_done) = mpsc::channel(1);
        for mailbox in self.tables().sessions.values() {
            mailbox.post(Ask::Publish(asked.clone()));
        }
        drop(asked);
        let _ = tokio::time::timeout(limit, all_done.recv()).await;
    }

    pub(crate) fn len(&self) -> usize {
        self.tables().sessions.len()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        locked(&self.0)
    }
}

/// One session's place in the registry.
pub(crate) struct Entry {
    registry: Arc<Registry>,
    number: u64,
    whence: Whence,
    mailbox: Arc<Mailbox>,
    place: Option<Place>,
}

impl Entry {
    /// Where its client comes from.
    pub(crate) fn whence(&self) -> &Whence {
        &self.whence
    }

    /// Makes the session known by the key that its client was given.
    pub(crate) fn publish(&mut self, key: &CancelKey) -> Result<(), NotEntered> {
        let mut tables = self.registry.tables();
        let mailbox = Arc::clone(&self.mailbox);
        let place = tables
            .keys
            .enter(key.clone(), Some(self.whence.address), mailbox)?;
        self.place = Some(place);
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut tables = self.registry.tables();
        tables.sessions.remove(&self.number);
        if let Some(place) = self.place {
            tables.keys.leave(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgturnout::session::PeerId;
    use pgturnout::startup::UpstreamTlsPolicy;
    use std::task::Poll;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn key(process_id: i32, secret: u8) -> CancelKey {
        CancelKey::new(process_id, &[secret; 4]).unwrap()
    }

    fn registry() -> Arc<Registry> {
        Arc::new(Registry::new(SourceCheck::SameAddress))
    }

    /// The next ask of a session.
    async fn heard(mailbox: &Mailbox) -> Ask {
        std::future::poll_fn(|cx| match mailbox.poll(cx) {
            Some(ask) => Poll::Ready(ask),
            None => Poll::Pending,
        })
        .await
    }

    /// A session that names the upstream `to` when it is asked, once.
    fn session(registry: &Arc<Registry>, number: u64, own: &CancelKey, to: usize) -> Entry {
        let (mut entry, mailbox) = registry.enter(number, HOME);
        entry.publish(own).unwrap();
        tokio::spawn(async move {
            if let Ask::Aim(_, answer) = heard(&mailbox).await {
                let _ = answer.send(Aim::Now(CancelTarget {
                    peer: PeerId::WRITER,
                    to: Destination(to),
                    key: key(1, 1),
                    tls: UpstreamTlsPolicy::Disable,
                    epoch: 0,
                }));
            }
        });
        entry
    }

    async fn found(registry: &Registry, key: &CancelKey) -> Option<usize> {
        let asker = Asker {
            key: key.clone(),
            address: HOME,
        };
        match registry.aim(&asker).await {
            Aim::Now(target) => Some(target.to.0),
            Aim::Nothing | Aim::Later(..) => None,
        }
    }

    #[tokio::test]
    async fn a_key_finds_its_own_session_as_long_as_that_lives() {
        let registry = registry();
        let first = session(&registry, 1, &key(7, 1), 10);
        let second = session(&registry, 2, &key(7, 2), 20);
        assert_eq!(found(&registry, &key(7, 1)).await, Some(10));
        assert_eq!(found(&registry, &key(7, 2)).await, Some(20));
        assert_eq!(found(&registry, &key(7, 3)).await, None, "another secret");
        assert_eq!(found(&registry, &key(8, 1)).await, None, "another process");
        let away = Asker {
            key: key(7, 1),
            address: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        };
        assert!(!registry.knows(&away), "another address");
        drop((first, second));
        assert_eq!(found(&registry, &key(7, 1)).await, None, "it has ended");
        let tables = registry.tables();
        assert!(tables.sessions.is_empty() && tables.keys.is_empty());
    }

    #[tokio::test]
    async fn a_session_that_ends_before_it_answers_has_answered() {
        let registry = registry();
        let (mut entry, mailbox) = registry.enter(1, HOME);
        entry.publish(&key(7, 1)).unwrap();
        let asking = Arc::clone(&registry);
        let asked = tokio::spawn(async move { found(&asking, &key(7, 1)).await });
        tokio::task::yield_now().await;
        drop((entry, mailbox));
        assert_eq!(asked.await.unwrap(), None);
    }

    #[tokio::test]
    async fn whoever_publishes_is_waited_for_and_no_longer_than_allowed() {
        let registry = registry();
        registry.publish(Duration::from_secs(60)).await;
        let (_entry, mailbox) = registry.enter(1, HOME);
        let publishing = Arc::clone(&registry);
        let all = tokio::spawn(async move { publishing.publish(Duration::from_secs(60)).await });
        let asked = heard(&mailbox).await;
        tokio::task::yield_now().await;
        assert!(!all.is_finished());
        drop(asked);
        all.await.unwrap();
        registry.publish(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn a_shutdown_reaches_every_session() {
        let registry = registry();
        let (_first, one) = registry.enter(1, HOME);
        let (_second, two) = registry.enter(2, HOME);
        let early = tokio::spawn(async move { heard(&one).await });
        tokio::task::yield_now().await;
        registry.tell_all(|| Ask::Shutdown);
        assert!(matches!(early.await.unwrap(), Ask::Shutdown), "waited for");
        assert!(matches!(heard(&two).await, Ask::Shutdown), "come before");
    }
}
