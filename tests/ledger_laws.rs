//! Laws of the ledger that need no model: the splitting of arrivals and writes is invisible (L2), every call
//! sequence is answered and drains (L9, L10), a destination that does not drain stops its own sources only (L8).

use pgturnout::ledger::{Fate, Full, Ledger, LedgerLimits, Port, SourceEnd, Transmit};
use proptest::prelude::*;

const HEADER: usize = 5;

fn port(index: usize) -> Port {
    Port::new(u8::try_from(index).unwrap())
}

fn len(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

/// The next decision of a relay, in an order that no arrival changes.
#[derive(Debug, Clone)]
enum Step {
    Frame {
        from: usize,
        to: Option<usize>,
        size: usize,
    },
    Ours {
        to: usize,
        size: usize,
    },
}

/// How the bytes fall in one run.
#[derive(Debug, Clone)]
struct Splits {
    buffer: usize,
    /// Sizes of arrivals, writes and drops, in a circle.
    sizes: Vec<usize>,
}

/// Bytes that differ from place to place, so that a wrong order shows.
fn pattern(salt: usize, size: usize) -> Vec<u8> {
    (0..size)
        .map(|i| u8::try_from((salt * 37 + i * 11 + i / 7) % 256).unwrap())
        .collect()
}

/// Relays `steps` between four ports and returns what each port received.
fn relay(steps: &[Step], splits: &Splits) -> Vec<Vec<u8>> {
    const PORTS: usize = 4;
    let limits = LedgerLimits {
        segments_per_queue: 3,
        owned_bytes_per_queue: 50,
    };
    let mut ledger = Ledger::new(4, limits);
    let mut wires = vec![Vec::new(); PORTS];
    for (salt, step) in steps.iter().enumerate() {
        if let Step::Frame { from, size, .. } = step {
            wires[*from].extend(pattern(salt, *size));
        }
    }
    let mut buffers = vec![Vec::new(); PORTS];
    let mut received = vec![Vec::new(); PORTS];
    let mut sizes = splits.sizes.iter().copied().cycle();
    let mut next = 0;
    let mut idle = 0;
    while idle < PORTS * splits.sizes.len() + 2 {
        idle += 1;
        for p in 0..PORTS {
            let free = splits.buffer - buffers[p].len();
            let n = sizes.next().unwrap().min(free).min(wires[p].len());
            buffers[p].extend(wires[p].drain(..n));

            if let Some(step) = steps.get(next) {
                if decide(&mut ledger, step, next, &buffers) {
                    next += 1;
                    idle = 0;
                }
            }

            let available = sizes.next().unwrap().min(buffers[p].len());
            let n = ledger.take_discard(port(p), available);
            buffers[p].drain(..n);

            let most = sizes.next().unwrap();
            let sent: Vec<u8> = match ledger.poll_transmit(port(p)) {
                None => Vec::new(),
                Some(Transmit::Owned(bytes)) => bytes[..bytes.len().min(most)].to_vec(),
                Some(Transmit::Splice { from, max }) => {
                    let buffer = &mut buffers[from.index()];
                    let n = buffer.len().min(most).min(usize::try_from(max).unwrap());
                    buffer.drain(..n).collect()
                }
            };
            ledger.transmitted(port(p), len(sent.len())).unwrap();
            received[p].extend(&sent);
            if n + sent.len() > 0 {
                idle = 0;
            }
        }
    }
    assert_eq!(next, steps.len(), "stuck: {ledger:?}");
    assert!(buffers.iter().all(Vec::is_empty), "stuck: {ledger:?}");
    assert_eq!(ledger.retained(), 0);
    received
}

/// Takes the decision if its header has arrived and there is room.
fn decide(ledger: &mut Ledger, step: &Step, salt: usize, buffers: &[Vec<u8>]) -> bool {
    match *step {
        Step::Ours { to, size } => ledger.push(port(to), &pattern(salt, size)).is_ok(),
        Step::Frame { from, to, size } => {
            let start = usize::try_from(ledger.claimed(port(from))).unwrap();
            let fate = to.map_or(Fate::Discard, |to| Fate::To(port(to)));
            buffers[from].len() >= start + HEADER
                && ledger.claim(port(from), fate, len(size)).is_ok()
        }
    }
}

/// What every port must receive: its decisions, one after the other.
fn expected(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut streams = vec![Vec::new(); 4];
    for (salt, step) in steps.iter().enumerate() {
        match *step {
            Step::Frame {
                to: Some(to), size, ..
            }
            | Step::Ours { to, size } => streams[to].extend(pattern(salt, size)),
            Step::Frame { to: None, .. } => {}
        }
    }
    streams
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize, proptest::option::weighted(0.8, 0..4usize), HEADER..300usize)
            .prop_map(|(from, to, size)| Step::Frame { from, to, size }),
        1 => (0..4usize, 1..50usize).prop_map(|(to, size)| Step::Ours { to, size }),
    ]
}

fn splits() -> impl Strategy<Value = Splits> {
    (HEADER..64, proptest::collection::vec(1..64usize, 1..20))
        .prop_map(|(buffer, sizes)| Splits { buffer, sizes })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splits_do_not_show(steps in proptest::collection::vec(step(), 0..40), splits in splits()) {
        let whole = Splits { buffer: 16_384, sizes: vec![16_384] };
        let single = Splits { buffer: HEADER, sizes: vec![1] };
        for splits in [&splits, &whole, &single] {
            prop_assert_eq!(relay(&steps, splits), expected(&steps), "{:?}", splits);
        }
    }
}

/// A call with numbers that nobody would pass.
#[derive(Debug, Clone)]
enum Call {
    Claim(u8, Option<u8>, u64, u64),
    Push(u8, u16),
    Transmitted(u8, u64),
    TakeDiscard(u8, usize),
    SourceEnded(u8, u64),
    DestinationEnded(u8),
    Reset(u8),
}

fn call() -> impl Strategy<Value = Call> {
    let ports = || prop_oneof![8 => 0..4u8, 1 => any::<u8>()];
    let number = || prop_oneof![4 => 0..40u64, 1 => any::<u64>(), 1 => Just(u64::MAX)];
    prop_oneof![
        6 => (ports(), proptest::option::of(ports()), number(), number())
            .prop_map(|(from, to, total, last)| Call::Claim(from, to, total, last)),
        3 => (ports(), 0..100u16).prop_map(|(to, size)| Call::Push(to, size)),
        4 => (ports(), number()).prop_map(|(to, n)| Call::Transmitted(to, n)),
        2 => (ports(), any::<usize>()).prop_map(|(from, n)| Call::TakeDiscard(from, n)),
        2 => (ports(), number()).prop_map(|(from, n)| Call::SourceEnded(from, n)),
        1 => ports().prop_map(Call::DestinationEnded),
        1 => ports().prop_map(Call::Reset),
    ]
}

fn perform(ledger: &mut Ledger, call: &Call) {
    match *call {
        Call::Claim(from, to, total, last) => {
            let fate = to.map_or(Fate::Discard, |to| Fate::To(Port::new(to)));
            let before = ledger.claimed(Port::new(from));
            match ledger.claim_run(Port::new(from), fate, total, last) {
                Ok(()) if total == 0 => assert_eq!(ledger.claimed(Port::new(from)), before),
                Ok(()) => assert_eq!(ledger.claimed(Port::new(from)), before + total),
                Err(Full) => assert_eq!(ledger.claimed(Port::new(from)), before),
            }
        }
        Call::Push(to, size) => {
            let before = ledger.retained();
            if ledger.push(Port::new(to), &vec![7; usize::from(size)]) == Err(Full) {
                assert_eq!(ledger.retained(), before);
            }
        }
        Call::Transmitted(to, n) => {
            let offered = offered(ledger, Port::new(to));
            let reported = ledger.transmitted(Port::new(to), n);
            assert_eq!(reported.is_err(), n > offered);
        }
        Call::TakeDiscard(from, available) => {
            assert!(ledger.take_discard(Port::new(from), available) <= available);
        }
        Call::SourceEnded(from, arrived) => {
            let from = Port::new(from);
            let before = ledger.claimed(from);
            match ledger.source_ended(from, arrived) {
                SourceEnd::Whole => assert_eq!(ledger.claimed(from), before),
                SourceEnd::RolledBack { bytes, .. } => {
                    assert_eq!(ledger.claimed(from), before - bytes);
                }
                SourceEnd::Torn { to } => assert_eq!(ledger.poll_transmit(to), None),
            }
            assert!(ledger.claimed(from) <= arrived, "claims that cannot arrive");
        }
        Call::DestinationEnded(to) => {
            ledger.destination_ended(Port::new(to));
            assert!(ledger.is_drained_to(Port::new(to)));
        }
        Call::Reset(port) => {
            let _ = ledger.reset(Port::new(port));
        }
    }
}

fn offered(ledger: &Ledger, to: Port) -> u64 {
    match ledger.poll_transmit(to) {
        None => 0,
        Some(Transmit::Owned(bytes)) => len(bytes.len()),
        Some(Transmit::Splice { max, .. }) => max,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_are_answered_and_drain(calls in proptest::collection::vec(call(), 0..80)) {
        let limits = LedgerLimits { segments_per_queue: 4, owned_bytes_per_queue: 90 };
        let mut ledger = Ledger::new(4, limits);
        for call in &calls {
            perform(&mut ledger, call);
            prop_assert!(ledger.retained() <= 4 * 90);
        }
        // Each round does the oldest entry at least, and an owned one takes two at most.
        for _ in 0..2 * 4 * (4 + 4) {
            for p in 0..4 {
                let offered = offered(&ledger, port(p));
                ledger.transmitted(port(p), offered).unwrap();
                ledger.take_discard(port(p), usize::MAX);
            }
        }
        for p in 0..4 {
            prop_assert!(ledger.is_drained_from(port(p)) && ledger.is_drained_to(port(p)), "{:?}", ledger);
            prop_assert_eq!(ledger.reset(port(p)), Ok(()));
        }
        prop_assert_eq!(ledger.retained(), 0);
    }
}

/// L8: port 1 never drains. What port 0 sends stops at the driver's buffer, what we push at its limit; ports
/// 2 and 3 go on.
#[test]
fn a_destination_that_does_not_drain_stops_its_own_sources_only() {
    const BUFFER: u64 = 64;
    let limits = LedgerLimits {
        segments_per_queue: 8,
        owned_bytes_per_queue: 100,
    };
    let mut ledger = Ledger::new(4, limits);
    let (mut frames, mut passed) = (0, 0);
    for _ in 0..1000 {
        // The next header of port 0 is in the buffer only while the claims before it leave room for it.
        if ledger.claimed(port(0)) + len(HEADER) <= BUFFER {
            ledger.claim(port(0), Fate::To(port(1)), 10).unwrap();
            frames += 1;
        }
        let _ = ledger.push(port(1), &[0; 30]);
        ledger.claim(port(2), Fate::To(port(3)), 10).unwrap();
        passed += offered(&ledger, port(3));
        ledger.transmitted(port(3), 10).unwrap();
    }
    assert_eq!(frames, 6, "60 bytes leave no room for a header in 64");
    assert_eq!(ledger.retained(), 90);
    assert_eq!(passed, 10_000);
}
