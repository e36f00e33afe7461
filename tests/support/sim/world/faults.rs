//! What goes wrong, and what comes from outside.

use std::time::Duration;

use pgturnout::session::{PeerId, TlsInfo};

use super::super::checks;
use super::super::event::{Aside, Fault, Misuse};
use super::World;
use super::link::{End, State};

impl World<'_> {
    pub(super) fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Reset(peer) => self.reset(*peer),
            Fault::Eof(peer) => {
                let link = &mut self.links[peer.index()];
                if link.state == State::Open && link.end == End::Open {
                    link.end = End::Eof;
                    if let Some(server) = &mut self.servers[peer.index()] {
                        server.eof();
                    }
                }
            }
            Fault::Stall(peer) => self.links[peer.index()].stalled = true,
            Fault::RefuseDial(peer) => self.links[peer.index()].refuses = true,
            Fault::HangDial(peer) => self.links[peer.index()].hangs = true,
            Fault::FailTls(peer) => self.links[peer.index()].tls_fails = true,
            Fault::HangTls(peer) => self.links[peer.index()].tls_hangs = true,
            Fault::Shutdown(peer, state) => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.terminate_with(state);
                }
            }
            Fault::RefuseLogin(peer, state) => {
                self.refuses_login[peer.index()] = Some(state.clone());
            }
            Fault::ForgetPassword(peer) => self.forgets_password[peer.index()] = true,
            Fault::FailNext(peer, state) => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.fail_next(state);
                }
            }
            Fault::Lie(peer, bytes) => self.links[peer.index()].sends(bytes),
            Fault::Cut(peer, left) => {
                let link = &mut self.links[peer.index()];
                if link.state == State::Open && link.end == End::Open {
                    let keep = link.wire.len().min(*left);
                    link.wire.truncate(keep);
                    link.cut = Some(left - keep);
                    if *left == keep {
                        link.end = End::Eof;
                    }
                }
            }
            Fault::Async(peer, aside) => self.aside(*peer, *aside),
            Fault::Cancel => self.cancel(),
            Fault::ShutDownProxy => {
                let now = self.now;
                self.meter.measure(|| self.session.shutdown(now));
                self.digest();
            }
            Fault::Clock(millis) => self.pass(Duration::from_millis(*millis)),
            Fault::Deadline => self.deadline(),
            Fault::Replay(count) => self.cluster.replay(*count),
            Fault::Misuse(peer, misuse) => self.misuse(*peer, *misuse),
        }
    }

    pub(super) fn reset(&mut self, peer: PeerId) {
        let now = self.now;
        let link = &mut self.links[peer.index()];
        if link.state != State::Open {
            return;
        }
        link.wire.clear();
        link.end = End::Told;
        link.stalled = true;
        link.broken = true;
        if let Some(server) = &mut self.servers[peer.index()] {
            server.eof();
        }
        self.meter.measure(|| self.session.handle_reset(now, peer));
        self.digest();
    }

    pub(super) fn aside(&mut self, peer: PeerId, aside: Aside) {
        if let Some(server) = &mut self.servers[peer.index()] {
            match aside {
                Aside::Notice => server.notice(),
                Aside::Parameter => server.report_parameter(),
            }
            let output = server.output();
            self.writer_asides += usize::from(peer == PeerId::WRITER && !output.is_empty());
            self.links[peer.index()].sends(&output);
        }
    }

    /// Another connection of the client's asks to cancel: the driver looks up this session and follows it.
    pub(super) fn cancel(&mut self) {
        let Some(target) = self.session.cancel_target() else {
            return;
        };
        checks::cancelled(self, &target);
        if let Some(server) = &mut self.servers[target.peer.index()] {
            server.cancel();
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.meter.measure(|| self.session.handle_timeout(now));
        checks::time_passed(self);
        self.digest();
    }

    /// The time up to the next deadline passes.
    pub(super) fn deadline(&mut self) {
        if let Some((at, _)) = self.session.poll_timeout() {
            self.pass(at.saturating_duration_since(self.now));
        }
    }

    pub(super) fn misuse(&mut self, peer: PeerId, misuse: Misuse) {
        // What was asked for and not taken yet nobody can have done.
        self.act();
        let now = self.now;
        let state = self.links[peer.index()].state;
        match misuse {
            // These are owed.
            Misuse::Connected if state == State::Dialing => {}
            Misuse::Secured if state == State::Securing => {}
            Misuse::Transmitted => {
                self.meter
                    .measure(|| self.session.transmitted(now, peer, usize::MAX));
            }
            Misuse::Connected => self
                .meter
                .measure(|| self.session.handle_connected(now, peer, Ok(()))),
            Misuse::Secured => self.meter.measure(|| {
                self.session
                    .handle_secured(now, peer, Ok(TlsInfo::default()));
            }),
            Misuse::EofAgain => {
                for _ in 0..2 {
                    self.meter.measure(|| self.session.handle_eof(now, peer));
                }
            }
            Misuse::Backwards => {
                let earlier = self.start;
                self.meter.measure(|| self.session.handle_timeout(earlier));
            }
        }
        self.digest();
    }
}
