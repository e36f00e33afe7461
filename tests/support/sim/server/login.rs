//! From the first packet to the first ReadyForQuery.

use super::session::Session;
use super::wire::{Fields, Input, Output};
use super::{Node, ServerOptions, ServerPhase};

/// Protocol 3.0 and 3.2 as the startup packet has them.
const V3_0: i32 = 0x0003_0000;
const V3_2: i32 = 0x0003_0002;

#[derive(Default)]
pub(super) struct Opening {
    securing: bool,
}

pub(super) enum Next {
    Go,
    Session(Box<Session>),
    Close,
}

/// The secret of a backend: 4 bytes, or 32 in protocol 3.2.
pub(super) fn secret(backend: u32, long: bool) -> Vec<u8> {
    let word = backend.wrapping_mul(0x9E37_79B9).to_be_bytes();
    word.repeat(if long { 8 } else { 1 })
}

impl Opening {
    pub(super) fn secured(&mut self) {
        self.securing = false;
    }

    pub(super) fn phase(&self) -> ServerPhase {
        ServerPhase::Opening
    }

    pub(super) fn step(
        &mut self,
        input: &mut Input,
        out: &mut Output,
        options: &ServerOptions,
        node: Node,
        backend: u32,
    ) -> Option<Next> {
        let Some(packet) = input.packet() else {
            return input.ended().then_some(Next::Close);
        };
        let mut fields = Fields(&packet);
        let version = fields.i32()?;
        if !(V3_0..=V3_2).contains(&version) {
            out.fatal("0A000", "unsupported frontend protocol");
            return Some(Next::Close);
        }
        out.message(b'R', |out| out.extend_from_slice(&[0; 4]));
        out.message(b'K', |out| {
            out.extend_from_slice(&backend.to_be_bytes());
            out.extend_from_slice(&secret(backend, false));
        });
        out.ready(b'I');
        Some(Next::Session(Box::new(Session::new(
            node,
            backend,
            options.version,
        ))))
    }
}
