//! A scenario in a thread of its own, on a short stack, with panics caught and somebody to see that it ends.

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use super::checks::{Check, Violation};

/// The stack on which sessions are simulated, in bytes: they have to do with little. What is not optimized takes twice as
/// much, ours and the model's alike: 64 KiB overflow, 128 KiB were enough for a thousand seeds. What a fuzzer has
/// instrumented takes a multiple of it.
#[allow(unexpected_cfgs, reason = "cargo-fuzz sets it")]
pub(crate) const STACK: usize = if cfg!(fuzzing) {
    1 << 20
} else if cfg!(debug_assertions) {
    192 << 10
} else {
    64 << 10
};

/// A scenario takes a thousandth of it. Nothing ends when it is over: somebody is told where it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays in a thread of that name. What becomes of a stack that overflows nobody can catch, but the thread's name is
/// printed then; of what does not end, the name is printed after a minute.
pub(crate) fn play<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T, Violation> + Send,
) -> Result<T, Violation> {
    let watched = Watched::new(name);
    let result = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || caught(work))
            .expect("a thread")
            .join()
    });
    drop(watched);
    result.expect("panics are caught")
}

thread_local! {
    /// What a panic of this thread says, and where it is, while somebody wants to know.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes a panic for what it is: a law that is broken. It is not printed, here or by a fuzzer, which would end with it.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let wanted = PANIC.with_borrow_mut(|panic| {
                panic
                    .as_mut()
                    .map(|text| *text = info.to_string())
                    .is_some()
            });
            if !wanted {
                before(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(work));
    let text = PANIC.take().unwrap_or_default();
    result.unwrap_or_else(|_| Err(Violation::new(Check::Total, text.replace('\n', " "))))
}

/// Who plays at the moment, and since when.
#[derive(Default)]
struct Watch {
    next: u64,
    playing: Vec<(u64, String, Instant)>,
}

static WATCH: Mutex<Watch> = Mutex::new(Watch {
    next: 0,
    playing: Vec::new(),
});

/// Stands in the list of those who play until it is dropped.
struct Watched(u64);

impl Watched {
    #[allow(clippy::disallowed_methods, reason = "a test that hangs says where")]
    fn new(name: &str) -> Watched {
        static WATCHER: Once = Once::new();
        WATCHER.call_once(|| {
            let watcher = std::thread::Builder::new().name("watcher".to_owned());
            watcher.spawn(watch).expect("a thread");
        });
        let mut watch = WATCH.lock().expect("nobody panics with it");
        watch.next += 1;
        let number = watch.next;
        watch
            .playing
            .push((number, name.to_owned(), Instant::now()));
        Watched(number)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watch = WATCH.lock().expect("nobody panics with it");
        watch.playing.retain(|(number, ..)| *number != self.0);
    }
}

#[allow(clippy::disallowed_methods, reason = "a test that hangs says where")]
fn watch() {
    loop {
        std::thread::sleep(PATIENCE);
        let lines = late(
            &WATCH.lock().expect("nobody panics with it"),
            Instant::now(),
        );
        // What is printed is kept for the end of a test, which is not to come. If it cannot be said, nobody hears.
        let _ = std::io::stderr().write_all(lines.as_bytes());
    }
}

/// A line for each that has been at it for too long.
fn late(watch: &Watch, now: Instant) -> String {
    let mut lines = String::new();
    for (_, name, since) in &watch.playing {
        let took = now.saturating_duration_since(*since);
        if took >= PATIENCE {
            lines.push_str(&format!(
                "{name} has not ended after {} s\n",
                took.as_secs()
            ));
        }
    }
    lines
}

/// What is said of a scenario that hangs, and of one that does not.
#[allow(clippy::disallowed_methods, reason = "any instant will do for a start")]
pub(crate) fn words_about_hangs() -> String {
    let start = Instant::now();
    let seconds = |count| start + Duration::from_secs(count);
    let watch = Watch {
        next: 3,
        playing: vec![
            (1, "seed 17".to_owned(), start),
            (2, "seed 18".to_owned(), seconds(50)),
        ],
    };
    late(&watch, seconds(75))
}
