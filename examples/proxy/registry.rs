//! All running sessions: whom a cancel key belongs to, and whom to tell about a shutdown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgturnout::session::CancelTarget;
use pgturnout::startup::CancelKey;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// A question or an order from outside to the task of one session.
pub(crate) enum Ask {
    /// Where to send a cancel request for it. Asked by whoever knows the session's key.
    CancelTarget(oneshot::Sender<Option<CancelTarget>>),
    /// Finish what is in flight, then end.
    Shutdown,
}

/// The receiving end of a session.
pub(crate) type Mailbox = UnboundedReceiver<Ask>;

#[derive(Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// By the session's number.
    sessions: BTreeMap<u64, UnboundedSender<Ask>>,
    /// By the process id in the key. Two sessions may show the same one if their writers differ or one is just ending.
    keys: BTreeMap<i32, Vec<(u64, CancelKey)>>,
}

impl Registry {
    /// Enters a session, until the returned value is dropped.
    pub(crate) fn enter(self: &Arc<Self>, number: u64) -> (Entry, Mailbox) {
        let (sender, mailbox) = unbounded_channel();
        self.tables().sessions.insert(number, sender);
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
        self.owner(key)?.send(Ask::CancelTarget(answer)).ok()?;
        target.await.ok()?
    }

    fn owner(&self, key: &CancelKey) -> Option<UnboundedSender<Ask>> {
        let tables = self.tables();
        let candidates = tables.keys.get(&key.process_id())?;
        let (number, _) = candidates.iter().find(|(_, own)| own == key)?;
        tables.sessions.get(number).cloned()
    }

    /// Tells every session to end.
    pub(crate) fn shut_down(&self) {
        for sender in self.tables().sessions.values() {
            // A session that has just ended needs no telling.
            let _ = sender.send(Ask::Shutdown);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tables().sessions.len()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No code that holds the lock can leave the tables half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
