//! A forwarder that cuts both streams into small pieces, as a network may.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Piece sizes, in turn: primes, so that no frame keeps its boundaries for long.
const PIECES: [usize; 8] = [1, 2, 3, 5, 7, 13, 31, 97];

/// Listens on a port of its own and forwards to `target`; ends with the test process.
pub(crate) fn start(target: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(listener, target);
    port
}

/// The same on a port that is open already.
pub(crate) fn serve(listener: TcpListener, target: u16) {
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            thread::spawn(move || forward_both(&client, target));
        }
    });
}

fn forward_both(client: &TcpStream, target: u16) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
        return;
    };
    // Without Nagle's algorithm, so that a piece is a packet.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| forward(client, &server));
        scope.spawn(|| forward(&server, client));
    });
}

/// Copies until either side ends, then hands the end on.
fn forward(mut from: &TcpStream, mut to: &TcpStream) {
    let mut copy = || -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut sizes = PIECES.iter().cycle();
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..n];
            while !rest.is_empty() {
                let piece = rest.len().min(*sizes.next().unwrap_or(&1));
                to.write_all(&rest[..piece])?;
                rest = &rest[piece..];
            }
        }
    };
    match copy() {
        Ok(()) => drop(to.shutdown(Shutdown::Write)),
        Err(_) => {
            drop(to.shutdown(Shutdown::Both));
            drop(from.shutdown(Shutdown::Both));
        }
    }
}
