//! What a server does with the messages of a client that is logged in.

use super::cluster::Cluster;
use super::wire::{Fields, Input, Output};
use super::{Executed, Node, ServerPhase};

pub(super) struct Session {
    node: Node,
    backend: u32,
    version: u32,
    executed: Vec<Executed>,
}

pub(super) enum Next {
    Wait,
    Go,
    Close,
}

impl Session {
    pub(super) fn new(node: Node, backend: u32, version: u32) -> Session {
        Session {
            node,
            backend,
            version,
            executed: Vec::new(),
        }
    }

    pub(super) fn has_long_key(&self) -> bool {
        false
    }

    pub(super) fn cancel(&mut self) {}

    pub(super) fn phase(&self) -> ServerPhase {
        ServerPhase::Idle
    }

    pub(super) fn executed(&self) -> &[Executed] {
        &self.executed
    }

    pub(super) fn step(&mut self, input: &mut Input, out: &mut Output, _: &mut Cluster) -> Next {
        let Some((tag, body)) = input.message() else {
            return if input.ended() {
                Next::Close
            } else {
                Next::Wait
            };
        };
        match tag {
            b'Q' => {
                let text = Fields(&body).text().unwrap_or_default();
                if text == b"select 1" {
                    out.columns(&[("?column?", 23)]);
                    out.row([Some("1")].into_iter());
                    out.complete("SELECT 1");
                } else {
                    out.report(b'E', "ERROR", "42601", "syntax error");
                }
                out.ready(b'I');
            }
            b'S' => out.ready(b'I'),
            b'X' => return Next::Close,
            _ => {
                out.fatal("08P01", "invalid frontend message type");
                return Next::Close;
            }
        }
        Next::Go
    }
}
