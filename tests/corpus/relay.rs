//! Between `psql` and the primary.
//!
//! `psql` sends one request and waits for its answer, so one thread per connection is enough: a request goes on, its
//! answer comes back, and in between come the data of a `COPY`. From a Flush on, which it sends in pipelines alone, bytes
//! pass as they come.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::thread;

use crate::Setup;
use crate::tally::Tally;
use crate::trial::Trial;
use crate::wire::{Frame, read_frame, read_startup};

/// The two sides of a connection.
pub(crate) struct Relay {
    client: TcpStream,
    primary: TcpStream,
    /// The status of the last ReadyForQuery: `I`, `T`, `E`.
    pub(crate) status: u8,
}

impl Relay {
    /// Hands an answer on, up to ReadyForQuery, and keeps it.
    fn answer(&mut self) -> Option<Vec<Frame>> {
        let mut frames = Vec::new();
        loop {
            let frame = read_frame(&mut self.primary)?;
            self.client.write_all(&frame.bytes()).ok()?;
            if frame.tag == b'G' {
                self.copy_in()?;
            }
            let ready = frame.tag == b'Z';
            if ready {
                self.status = frame.body[0];
            }
            frames.push(frame);
            if ready {
                return Some(frames);
            }
        }
    }

    /// Passes what both sides send, to the end.
    fn pass(self) {
        let (mut client, mut primary) = (self.client, self.primary);
        let (Ok(mut from), Ok(mut to)) = (primary.try_clone(), client.try_clone()) else {
            return;
        };
        let back = thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let _ = io::copy(&mut client, &mut primary);
        let _ = primary.shutdown(Shutdown::Both);
        let _ = back.join();
    }

    fn copy_in(&mut self) -> Option<()> {
        loop {
            let frame = read_frame(&mut self.client)?;
            self.primary.write_all(&frame.bytes()).ok()?;
            if matches!(frame.tag, b'c' | b'f') {
                return Some(());
            }
        }
    }

    /// Asks the primary something in the client's session, of which the client sees nothing.
    pub(crate) fn ask(&mut self, text: &str) -> Option<Vec<Frame>> {
        let body = [text.as_bytes(), b"\0"].concat();
        self.primary
            .write_all(&Frame { tag: b'Q', body }.bytes())
            .ok()?;
        let mut frames = Vec::new();
        loop {
            let frame = read_frame(&mut self.primary)?;
            let ready = frame.tag == b'Z';
            frames.push(frame);
            if ready {
                return Some(frames);
            }
        }
    }
}

/// Serves one connection to its end.
pub(crate) fn serve(setup: &Setup, tally: &Mutex<Tally>, mut client: TcpStream) {
    client.set_nodelay(true).unwrap();
    let Some(startup) = read_startup(&mut client) else {
        return;
    };
    let mut primary = TcpStream::connect(("127.0.0.1", setup.port("PRIMARY_PORT"))).unwrap();
    primary.set_nodelay(true).unwrap();
    primary.write_all(&startup).unwrap();
    let mut relay = Relay {
        client,
        primary,
        status: b'I',
    };
    let Some(login) = relay.answer() else {
        return;
    };
    let mut trial = Trial::new(setup, startup);
    trial.learn(&login);
    while let Some(frame) = read_frame(&mut relay.client) {
        let ends_request = matches!(frame.tag, b'Q' | b'S' | b'F');
        let attempt = (frame.tag == b'Q').then(|| {
            let text = &frame.body[..frame.body.len() - 1];
            trial.before(text, &mut relay)
        });
        if relay.primary.write_all(&frame.bytes()).is_err() {
            return;
        }
        if frame.tag == b'H' {
            return relay.pass();
        }
        if !ends_request {
            continue;
        }
        let Some(answer) = relay.answer() else {
            return;
        };
        trial.learn(&answer);
        if let Some(attempt) = attempt {
            let outcome = trial.after(attempt, &answer);
            tally.lock().unwrap().count(&outcome);
        }
    }
}
