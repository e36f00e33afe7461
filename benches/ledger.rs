//! Frames through the ledger, alone: no copy, no socket, no protocol. `cargo bench --bench ledger`.
//!
//! Each line is one shape of traffic; the result is checked, so that a run is also a test.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::time::Instant;

use pgturnout::ledger::{Fate, Ledger, LedgerLimits, Port, Transmit};

const CLIENT: Port = Port::new(0);
const SERVERS: [Port; 2] = [Port::new(1), Port::new(2)];
const FRAMES: u64 = 1_000_000;
/// What one read of a driver brings, and what one write takes.
const BUFFER: u64 = 16 * 1024;

fn main() {
    println!("{:>10} {:>10} {:>14}", "frame", "servers", "frames/s");
    for frame_len in [59, 500, 8 * 1024, 1024 * 1024] {
        for servers in [1, 2] {
            let frames = FRAMES.min((1 << 36) / frame_len);
            let start = Instant::now();
            let sent = relay(frame_len, servers, frames);
            let rate = u128::from(frames) * 1_000_000_000 / start.elapsed().as_nanos().max(1);
            assert_eq!(sent, frames * frame_len);
            println!("{frame_len:>10} {servers:>10} {rate:>14}");
        }
    }
}

/// Sends frames of the servers in turn to the client, and returns how many bytes the client got.
fn relay(frame_len: u64, servers: usize, frames: u64) -> u64 {
    let mut ledger = Ledger::new(3, LedgerLimits::default());
    let (mut claimed, mut sent) = (0, 0);
    let mut turn = SERVERS[..servers].iter().cycle();
    while claimed < frames || !ledger.is_drained_to(CLIENT) {
        let from = *turn.next().unwrap();
        while claimed < frames && ledger.claimed(from) < BUFFER {
            ledger.claim(from, Fate::To(CLIENT), frame_len).unwrap();
            claimed += 1;
        }
        while let Some(Transmit::Splice { max, .. }) = ledger.poll_transmit(CLIENT) {
            let n = max.min(BUFFER);
            ledger.transmitted(CLIENT, n).unwrap();
            sent += n;
        }
    }
    sent
}
