//! All running sessions: whom a cancel key belongs to, and whom to tell about a shutdown.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use pgturnout::session::CancelTarget;
use pgturnout::startup::CancelKey;
use tokio::sync::{mpsc, oneshot};

/// A question or an order from outside to the task of one session.
pub(crate) enum Ask {
    /// Where to send a cancel request for it. Asked by whoever knows the session's key.
    CancelTarget(oneshot::Sender<Option<CancelTarget>>),
    /// Finish what is in flight, then end.
    Shutdown,
    /// Add to the proxy's numbers what was counted since the last time; dropping the sender says that it is done.
    Publish(mpsc::Sender<()>),
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
    fn post(&self, ask: Ask) {
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

#[derive(Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// By the session's number.
    sessions: BTreeMap<u64, Arc<Mailbox>>,
    /// By the process id in the key. Two sessions may show the same one if their writers differ or one is just ending.
    keys: BTreeMap<i32, Vec<(u64, CancelKey)>>,
}

impl Registry {
    /// Enters a session, until the returned value is dropped.
    pub(crate) fn enter(self: &Arc<Self>, number: u64) -> (Entry, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::default());
        self.tables().sessions.insert(number, Arc::clone(&mailbox));
        let entry = Entry {
            registry: Arc::clone(self),
            number,
            process_id: None,
        };
        (entry, mailbox)
    }

    /// Asks the session that owns this key where its request runs.
    pub(crate) async fn cancel_target(&self, key: &CancelKey) -> Option<CancelTarget> {
        let (answer, target) = oneshot::channel();
        // A session that ends without an answer drops the question, and that is the answer.
        self.owner(key)?.post(Ask::CancelTarget(answer));
        target.await.ok()?
    }

    fn owner(&self, key: &CancelKey) -> Option<Arc<Mailbox>> {
        let tables = self.tables();
        let candidates = tables.keys.get(&key.process_id())?;
        let (number, _) = candidates.iter().find(|(_, own)| own == key)?;
        tables.sessions.get(number).cloned()
    }

    /// Tells every session to end.
    pub(crate) fn shut_down(&self) {
        for mailbox in self.tables().sessions.values() {
            mailbox.post(Ask::Shutdown);
        }
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
    process_id: Option<i32>,
}

impl Entry {
    /// Makes the session known by the key that its client was given.
    pub(crate) fn publish(&mut self, key: &CancelKey) {
        self.process_id = Some(key.process_id());
        let mut tables = self.registry.tables();
        let same_process = tables.keys.entry(key.process_id()).or_default();
        same_process.push((self.number, key.clone()));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut tables = self.registry.tables();
        tables.sessions.remove(&self.number);
        let Some(process_id) = self.process_id else {
            return;
        };
        if let Some(same_process) = tables.keys.get_mut(&process_id) {
            same_process.retain(|(number, _)| *number != self.number);
            if same_process.is_empty() {
                tables.keys.remove(&process_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgturnout::session::{Destination, PeerId};
    use std::task::Poll;

    fn key(process_id: i32, secret: u8) -> CancelKey {
        CancelKey::new(process_id, &[secret; 4]).unwrap()
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
        let (mut entry, mailbox) = registry.enter(number);
        entry.publish(own);
        tokio::spawn(async move {
            if let Ask::CancelTarget(answer) = heard(&mailbox).await {
                let (peer, to, key) = (PeerId::WRITER, Destination(to), key(1, 1));
                let _ = answer.send(Some(CancelTarget { peer, to, key }));
            }
        });
        entry
    }

    async fn found(registry: &Registry, key: &CancelKey) -> Option<usize> {
        registry.cancel_target(key).await.map(|target| target.to.0)
    }

    #[tokio::test]
    async fn a_key_finds_its_own_session_as_long_as_that_lives() {
        let registry = Arc::new(Registry::default());
        let first = session(&registry, 1, &key(7, 1), 10);
        let second = session(&registry, 2, &key(7, 2), 20);
        assert_eq!(found(&registry, &key(7, 1)).await, Some(10));
        assert_eq!(found(&registry, &key(7, 2)).await, Some(20));
        assert_eq!(found(&registry, &key(7, 3)).await, None, "another secret");
        assert_eq!(found(&registry, &key(8, 1)).await, None, "another process");
        drop((first, second));
        assert_eq!(found(&registry, &key(7, 1)).await, None, "it has ended");
        let tables = registry.tables();
        assert!(tables.sessions.is_empty() && tables.keys.is_empty());
    }

    #[tokio::test]
    async fn a_session_that_ends_before_it_answers_has_answered() {
        let registry = Arc::new(Registry::default());
        let (mut entry, mailbox) = registry.enter(1);
        entry.publish(&key(7, 1));
        let asking = Arc::clone(&registry);
        let asked = tokio::spawn(async move { found(&asking, &key(7, 1)).await });
        tokio::task::yield_now().await;
        drop((entry, mailbox));
        assert_eq!(asked.await.unwrap(), None);
    }

    #[tokio::test]
    async fn whoever_publishes_is_waited_for_and_no_longer_than_allowed() {
        let registry = Arc::new(Registry::default());
        registry.publish(Duration::from_secs(60)).await;
        let (_entry, mailbox) = registry.enter(1);
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
        let registry = Arc::new(Registry::default());
        let (_first, one) = registry.enter(1);
        let (_second, two) = registry.enter(2);
        let early = tokio::spawn(async move { heard(&one).await });
        tokio::task::yield_now().await;
        registry.shut_down();
        assert!(matches!(early.await.unwrap(), Ask::Shutdown), "waited for");
        assert!(matches!(heard(&two).await, Ask::Shutdown), "come before");
    }
}
