//! Lines on standard error, written by a thread of their own.
//!
//! Whoever reads standard error may be slow, or not read at all, and no session waits for that. Lines queue up; when
//! the queue is full further ones are dropped, and how many is told when there is room again.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pgturnout::session::{Destination, Event, MoveTarget, OutOfSync};

use crate::Proxy;
use crate::options::HostPort;
use crate::topology::Places;

/// Bytes of lines that wait to be written: some 8,000 lines of `--log-routes`, what a busy proxy has to say in a
/// tenth of a second.
const QUEUE: usize = 1 << 20;

/// Where lines go.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// The writer has something to do.
    work: Condvar,
    /// The writer has nothing to do.
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    text: String,
    dropped: u64,
    /// Some of what was queued is being written.
    writing: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.dropped == 0
    }
}

impl Shared {
    /// The queue, which a panic elsewhere leaves as it should be.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued, for ever. That it cannot be written is no reason to stop serving.
    fn write_to(&self, mut out: impl Write) {
        loop {
            let mut queue = self
                .work
                .wait_while(self.lock(), |queue| queue.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let (mut text, dropped) = (std::mem::take(&mut queue.text), queue.dropped);
            queue.dropped = 0;
            queue.writing = true;
            drop(queue);
            if dropped > 0 {
                text.push_str(&format!("log: {dropped} lines were dropped here\n"));
            }
            let _ = out.write_all(text.as_bytes());
            self.lock().writing = false;
            self.idle.notify_all();
        }
    }
}

impl Log {
    /// Starts the thread that writes the lines.
    pub(crate) fn start(out: impl Write + Send + 'static) -> Log {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        thread::spawn(move || writer.write_to(out));
        Log(shared)
    }

    /// Queues a line, at once and whole, so that lines of several sessions do not mix.
    pub(crate) fn line(&self, text: &str) {
        let mut queue = self.0.lock();
        // Once a line is dropped so are those behind it, until what was dropped is told: there is one gap, at its place.
        if queue.dropped > 0 || queue.text.len() + text.len() >= QUEUE {
            queue.dropped += 1;
        } else {
            queue.text.push_str(text);
            queue.text.push('\n');
        }
        drop(queue);
        self.0.work.notify_one();
    }

    /// Waits until everything is written, but no longer than this.
    pub(crate) fn finish(&self, limit: Duration) {
        let queue = self.0.lock();
        let busy = |queue: &mut Queue| queue.writing || !queue.is_empty();
        drop(self.0.idle.wait_timeout_while(queue, limit, busy));
    }
}

/// What a session has to tell, if it is of interest outside.
pub(crate) fn event(proxy: &Proxy, places: Places, number: u64, event: &Event) {
    let name = |to: &Destination| proxy.name(places.at(*to));
    let line = |text: String| proxy.log.line(&text);
    match event {
        Event::StatementDenied { request, state, .. } => line(format!(
            "denied session={number} request={request} sqlstate={state}"
        )),
        Event::Routed { .. } | Event::Pinned(_) | Event::RelayedWhole { .. }
            if proxy.log_routes =>
        {
            routed(proxy, places, number, event);
        }
        Event::ReaderLeft { to, why } => line(format!(
            "session {number}: the reader at {} is left: it {why}",
            name(to)
        )),
        Event::WriterRetried { to, retry } => line(format!(
            "session {number}: the writer at {} is dialled again, try {retry}",
            name(to)
        )),
        Event::OutOfSync { peer, why, then } => {
            let then = match then {
                OutOfSync::Error => "it ends with an error",
                OutOfSync::Close => "it is closed",
                OutOfSync::Passthrough => "it passes unread from here on",
            };
            line(format!(
                "session {number}: what the {peer} sends makes no sense ({why}): {then}"
            ));
        }
        Event::UpstreamFailed { peer, to, why } => {
            line(format!(
                "session {number}: the {peer} at {} cannot be used: {why}",
                name(to)
            ));
        }
        Event::TlsAfterRefusal { peer, to } => {
            let to = name(to);
            line(format!(
                "session {number}: the {peer} at {to} refused a login without TLS; trying with TLS"
            ));
        }
        Event::WriterIsStandby { to } => {
            let to = name(to);
            line(format!(
                "session {number}: the writer at {to} is a standby and refuses writes"
            ));
        }
        Event::ReadOnly { to } => {
            let to = name(to);
            line(format!("session {number}: served by {to} alone, read-only"));
        }
        Event::UnknownMessage { peer, tag } => line(format!(
            "session {number}: the {peer} sent a message of unknown type {tag}"
        )),
        Event::ReaderLost { failed_requests } => line(format!(
            "session {number}: the reader was lost; {failed_requests} requests failed"
        )),
        Event::UserNotFound { why } => line(format!(
            "session {number}: its user cannot be looked up: {why}"
        )),
        Event::Moved { .. } | Event::MoveFailed { .. } => moved(proxy, places, number, event),
        Event::KeysNotLearnt { why } => line(format!("session {number}: {why}")),
        Event::TimedOut(timer) => line(format!("session {number}: timed out: {timer}")),
        _ => {}
    }
}

/// Where a request goes and why, and what keeps those to come where.
fn routed(proxy: &Proxy, places: Places, number: u64, event: &Event) {
    let name = |to: &Destination| proxy.name(places.at(*to));
    let line = |text: String| proxy.log.line(&text);
    match event {
        Event::Routed {
            request,
            peer,
            to,
            class,
            reason,
            outline,
        } => {
            // Made for quotes: nothing in it has to be escaped any more.
            let text = outline.as_deref().unwrap_or_default();
            line(format!(
                "route session={number} request={request} upstream={peer} at={} class={class} reason={:?} text=\"{text}\"",
                name(to),
                reason.to_string(),
            ));
        }
        Event::Pinned(pin) => {
            line(format!("pin session={number} why={:?}", pin.to_string()));
        }
        Event::RelayedWhole { to, what } => {
            let to = name(to);
            line(format!(
                "whole session={number} at={to} why={:?}",
                what.to_string()
            ));
        }
        _ => {}
    }
}

/// What came of a move.
fn moved(proxy: &Proxy, places: Places, number: u64, event: &Event) {
    let name = |to: &Destination| proxy.name(places.at(*to));
    let line = |text: String| proxy.log.line(&text);
    match event {
        Event::Moved {
            target, took, held, ..
        } => {
            let (took, held) = (took.as_millis(), held.as_millis());
            line(format!(
                "session {number} moved to {} in {took} ms; its client was held for {held} ms",
                moved_to(*target, name)
            ));
        }
        Event::MoveFailed {
            target,
            phase,
            reason,
            ..
        } => line(format!(
            "session {number} did not move to {}: {phase}: {reason}",
            moved_to(*target, name)
        )),
        _ => {}
    }
}

/// The servers that a session moves to.
fn moved_to<'a>(target: MoveTarget, name: impl Fn(&Destination) -> &'a HostPort) -> String {
    match target {
        MoveTarget::Writer(to) | MoveTarget::Reader(to) => name(&to).to_string(),
        MoveTarget::Both { writer, reader } => format!("{} and {}", name(&writer), name(&reader)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Writes into `text`, each time after it has told so and was allowed to. Once nobody allows any more, at once.
    struct Slow {
        tries: Sender<()>,
        allowed: Receiver<()>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.tries.send(());
            let _ = self.allowed.recv();
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Rig {
        log: Log,
        tries: Receiver<()>,
        allow: Sender<()>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Rig {
        /// The first line is being written, and that does not go on.
        fn stuck() -> Rig {
            let (tell, tries) = channel();
            let (allow, allowed) = channel();
            let text = Arc::<Mutex<Vec<u8>>>::default();
            let rig = Rig {
                log: Log::start(Slow {
                    tries: tell,
                    allowed,
                    text: Arc::clone(&text),
                }),
                tries,
                allow,
                text,
            };
            rig.log.line("first");
            rig.tries.recv().unwrap();
            rig
        }

        /// What is written in the end.
        fn finish(self) -> String {
            drop(self.allow);
            self.log.finish(Duration::from_secs(60));
            let text = self.text.lock().unwrap();
            String::from_utf8(text.clone()).unwrap()
        }
    }

    #[test]
    fn what_was_queued_is_written_in_order() {
        let rig = Rig::stuck();
        rig.log.line("second");
        rig.log.line("third");
        assert_eq!(rig.finish(), "first\nsecond\nthird\n");
    }

    #[test]
    fn a_queue_that_is_full_drops_lines_and_tells_how_many() {
        let rig = Rig::stuck();
        let line = "x".repeat(1023);
        for _ in 0..QUEUE / 1024 {
            rig.log.line(&line);
        }
        for _ in 0..3 {
            rig.log.line("");
        }
        let queued = format!("{line}\n").repeat(QUEUE / 1024);
        let expected = format!("first\n{queued}log: 3 lines were dropped here\n");
        assert!(rig.finish() == expected, "not what was queued");
    }

    #[test]
    fn lines_come_again_once_the_gap_is_told() {
        let rig = Rig::stuck();
        rig.log.line(&"x".repeat(QUEUE));
        rig.log.line("short");
        rig.allow.send(()).unwrap();
        rig.tries.recv().unwrap();
        rig.log.line("last");
        assert_eq!(
            rig.finish(),
            "first\nlog: 2 lines were dropped here\nlast\n"
        );
    }

    #[test]
    fn nobody_waits_longer_than_allowed_for_what_nobody_reads() {
        let rig = Rig::stuck();
        rig.log.finish(Duration::from_millis(1));
        assert!(rig.text.lock().unwrap().is_empty());
    }
}
