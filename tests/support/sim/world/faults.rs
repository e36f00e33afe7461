//! What goes wrong, and what comes from outside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgturnout::session::{Action, Demand, Destination, Lifecycle, PeerId, Seed, Session, Timer};
use pgturnout::startup::CancelKey;

use super::super::checks::Check;
use super::super::deadlines;
use super::super::door;
use super::super::fault::{Aside, Damage, Fault};
use super::super::reads;
use super::super::server::Server;
use super::super::transfers;
use super::World;
use super::link::{Agrees, End, State};

/// What somebody else says when they notify.
pub(crate) const OUTSIDE: &str = "from outside";

impl World<'_> {
    /// A fault strikes: from now on the client may notice it.
    pub(crate) fn strikes(&mut self, fault: &Fault) {
        self.seen.fault(fault);
        let legal = matches!(fault, Fault::Lie(PeerId::CLIENT, bytes) if self.is_legal(bytes));
        match fault {
            // What time does depends on what was waited for.
            Fault::Clock(_) | Fault::Deadline => {}
            Fault::Lie(_, bytes) if legal => {
                let at = self.links[0].between(&self.arrived[0]);
                self.says_between(bytes, at);
            }
            _ => {
                let late = transfers::strikes_late(self, fault);
                self.damage = self.damage.max(fault.damage()).max(late);
            }
        }
        match fault {
            Fault::Lie(..) if legal => {}
            Fault::Lie(peer, _) | Fault::Garble(peer, _) => {
                self.ahead |= *peer == PeerId::CLIENT && !self.client.is_ready();
                self.liars[peer.index()] = true;
            }
            Fault::Misuse(_, misuse) => self.misused |= misuse.is_a_lie(),
            _ => {}
        }
        self.strikes.push(fault.clone());
    }

    /// A moment has passed: faults that were waiting for it strike.
    pub(super) fn beat(&mut self) {
        self.watch_move();
        let mut at = 0;
        while let Some((peer, phase, beats, _)) = self.aims.get_mut(at) {
            if !self.seen.is_in(*peer, *phase) {
                at += 1;
            } else if *beats > 0 {
                *beats -= 1;
                at += 1;
            } else {
                let (_, _, _, fault) = self.aims.remove(at);
                self.log(|| format!("    fault {fault}"));
                self.fault(&fault);
            }
        }
    }

    /// Something goes wrong, now or when what it is about comes up.
    pub(super) fn fault(&mut self, fault: &Fault) {
        self.watch_move();
        if self.does_strike(fault) {
            self.strikes(fault);
            self.strike(fault);
        }
    }

    /// Whether a fault means anything now. One that waits for something, as a dial, is made ready for it.
    fn does_strike(&mut self, fault: &Fault) -> bool {
        match fault {
            Fault::RefuseDial(peer) => self.links[peer.index()].refuses = true,
            Fault::HangDial(peer) => self.links[peer.index()].hangs = true,
            Fault::FailTls(peer) => self.links[peer.index()].tls_fails = true,
            Fault::OtherProtocol(peer) => self.links[peer.index()].agrees = Agrees::OnAnother,
            Fault::NoProtocol(peer) => self.links[peer.index()].agrees = Agrees::OnNone,
            Fault::HangTls(peer) => self.links[peer.index()].tls_hangs = true,
            Fault::ForgetPassword(peer) => self.forgets_password[peer.index()] = true,
            Fault::RefuseLogin(peer, state) => {
                self.refuses_login[peer.index()] = Some(state.clone());
            }
            Fault::AnswerTls(peer, answer) => self.tls_answers[peer.index()] = Some(*answer),
            Fault::Pose(peer, impostor) => self.poses[peer.index()] = Some(*impostor),
            Fault::ForgetSettings(peer) => self.forgets_settings[peer.index()] = true,
            Fault::Transfer(peer, flaw) => transfers::arm(self, *peer, *flaw),
            Fault::Move(_) => return true,
            Fault::CallOff => return self.session.migration().is_some(),
            Fault::Readers(_) => return true,
            Fault::Reset(peer)
            | Fault::Stall(peer)
            | Fault::Mute(peer)
            | Fault::Trickle(peer)
            | Fault::Garble(peer, _)
            | Fault::Lie(peer, _) => return self.links[peer.index()].state == State::Open,
            Fault::Eof(peer) | Fault::Cut(peer, _) => {
                let link = &self.links[peer.index()];
                return link.state == State::Open && link.end == End::Open;
            }
            Fault::Shutdown(peer, _) => {
                let server = self.servers[peer.index()].as_ref();
                return server.is_some_and(|server| !server.is_closed());
            }
            Fault::Async(peer, Aside::Notification) => return *peer == PeerId::WRITER,
            Fault::FailNext(peer, _) | Fault::Async(peer, _) => {
                let server = self.servers[peer.index()].as_ref();
                return server.is_some_and(Server::is_let_in);
            }
            Fault::Misuse(peer, misuse) => return self.is_misuse(*peer, *misuse),
            Fault::Cancel => return self.session.client_key().is_some(),
            Fault::StrayCancel => return true,
            Fault::ShutDownProxy | Fault::Expel => {
                return matches!(self.session.lifecycle(), Lifecycle::Live);
            }
            Fault::Promote | Fault::Demote | Fault::Lock => return true,
            Fault::Deadline => return self.session.poll_timeout().is_some(),
            Fault::Clock(_) => return true,
            Fault::Replay(_) | Fault::ReplayAt(..) => return self.cluster.behind() > 0,
            Fault::Vacuum(_) => return true,
        }
        false
    }

    fn strike(&mut self, fault: &Fault) {
        match fault {
            // These strike when what they wait for comes.
            Fault::RefuseDial(_)
            | Fault::HangDial(_)
            | Fault::FailTls(_)
            | Fault::OtherProtocol(_)
            | Fault::NoProtocol(_)
            | Fault::HangTls(_)
            | Fault::ForgetPassword(_)
            | Fault::AnswerTls(..)
            | Fault::Pose(..)
            | Fault::ForgetSettings(_)
            | Fault::Transfer(..)
            | Fault::RefuseLogin(..) => {}
            Fault::Move(journey) => self.moves(journey),
            Fault::CallOff => self.calls_off(),
            Fault::Readers(known) => self.knows_readers(known),
            Fault::Reset(peer) => self.reset(*peer),
            Fault::Eof(peer) => {
                self.links[peer.index()].end = End::Eof;
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.eof();
                }
            }
            Fault::Stall(peer) => self.links[peer.index()].stalled = true,
            Fault::Mute(peer) => self.links[peer.index()].mute = true,
            Fault::Trickle(peer) => self.links[peer.index()].trickles = true,
            Fault::Shutdown(peer, state) => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.terminate_with(state);
                }
            }
            Fault::FailNext(peer, state) => {
                if let Some(server) = &mut self.servers[peer.index()] {
                    server.fail_next(state);
                }
            }
            Fault::Lie(peer, bytes) => {
                self.links[peer.index()].interrupts(bytes, &self.arrived[peer.index()]);
            }
            Fault::Cut(peer, left) => {
                let link = &mut self.links[peer.index()];
                let keep = link.wire.len().min(*left);
                link.wire.truncate(keep);
                link.cut = Some(left - keep);
                if *left == keep {
                    link.end = End::Eof;
                }
            }
            Fault::Garble(peer, at) => self.links[peer.index()].garbles = Some(*at),
            Fault::Async(peer, aside) => self.aside(*peer, *aside),
            Fault::Cancel => self.cancel(),
            Fault::StrayCancel => self.stray_cancel(),
            Fault::ShutDownProxy | Fault::Expel => self.shut_down(*fault == Fault::Expel),
            Fault::Promote => self.cluster.promote(),
            Fault::Demote => self.cluster.demote(),
            Fault::Lock => self.cluster.lock_outside("t"),
            Fault::Clock(millis) => self.pass(Duration::from_millis(*millis)),
            Fault::Deadline => self.deadline(),
            Fault::Replay(count) => self.cluster.replay(*count),
            Fault::ReplayAt(place, count) => {
                let node = self.setup.node_at(Destination(*place));
                self.cluster.replay_at(node, *count);
            }
            Fault::Vacuum(count) => self.cluster.upkeep(*count),
            Fault::Misuse(peer, misuse) => self.misuse(*peer, *misuse),
        }
    }

    /// The proxy is shut down, or puts its client out.
    fn shut_down(&mut self, expels: bool) {
        let now = self.now;
        if !self.clocks.was_shut_down() {
            self.door.expelled = expels;
        }
        self.clocks.shut_down(now);
        let ahead = self.links[0].buffer.len();
        let offset = self.from_client.passed() + ahead;
        self.shut_down_at.get_or_insert(offset);
        self.meter.measure(|| match expels {
            true => self.session.expel(now, door::expulsion()),
            false => self.session.shutdown(now),
        });
        self.digest();
    }

    pub(super) fn reset(&mut self, peer: PeerId) {
        let now = self.now;
        let link = &mut self.links[peer.index()];
        link.wire.clear();
        link.end = End::Told;
        link.stalled = true;
        link.broken = true;
        if let Some(server) = &mut self.servers[peer.index()] {
            server.eof();
        }
        if peer == PeerId::READER {
            reads::reader_is_lost(self);
        }
        self.meter.measure(|| self.session.handle_reset(now, peer));
        self.digest();
    }

    fn aside(&mut self, peer: PeerId, aside: Aside) {
        if aside == Aside::Notification {
            self.notifications += self.cluster.notify_outside("c", OUTSIDE);
            return;
        }
        if let Some(server) = &mut self.servers[peer.index()] {
            match aside {
                Aside::Notice => server.notice(),
                Aside::Parameter => server.report_parameter(),
                Aside::Notification => {}
            }
            let output = server.output();
            self.writer_asides += usize::from(peer == PeerId::WRITER && !output.is_empty());
            self.links[peer.index()].sends(&output);
        }
    }

    /// Another connection of the client's asks to cancel: the driver finds the session by its key, and follows it. A
    /// request that waits for its upstream is asked about again later.
    fn cancel(&mut self) {
        let Some(key) = self.session.client_key().cloned() else {
            return;
        };
        let asked = self.asks_to_cancel(key.process_id(), key.secret());
        if asked.as_ref() != Some(&key) {
            self.broken(Check::CancelHome, "a CancelRequest is read as another");
        }
        self.cancel_comes();
        self.cancel_when_known();
    }

    /// Somebody asks to cancel with a key that differs from the client's in one bit, or, before the client has one, with any:
    /// that is nobody's.
    fn stray_cancel(&mut self) {
        let key = self.session.client_key().cloned();
        let (process_id, mut secret) = match &key {
            Some(key) => (key.process_id(), key.secret().to_vec()),
            None => (1, b"none".to_vec()),
        };
        if let (Some(_), Some(last)) = (&key, secret.last_mut()) {
            *last ^= 1;
        }
        let asked = self.asks_to_cancel(process_id, &secret);
        let is_read = asked
            .as_ref()
            .is_some_and(|asked| asked.process_id() == process_id && asked.secret() == secret);
        if !is_read || asked == key {
            self.broken(
                Check::CancelHome,
                "a stray CancelRequest is read as the client's, or as another",
            );
        }
    }

    /// What a session makes of a connection that says nothing but a CancelRequest.
    /// Whoever asks is told nothing, and no server hears of it.
    fn asks_to_cancel(&mut self, process_id: i32, secret: &[u8]) -> Option<CancelKey> {
        let seed = Seed::new([0; Seed::LEN]);
        let config = Arc::clone(&self.config);
        let mut session = Session::new(config, pgturnout::route::Split, seed, self.now);
        let length = u32::try_from(12 + secret.len()).ok()?;
        let code = 80_877_102_u32;
        let packet = [
            &length.to_be_bytes()[..],
            &code.to_be_bytes(),
            &process_id.to_be_bytes(),
            secret,
        ]
        .concat();
        while session.handle_input(self.now, PeerId::CLIENT, &packet) == Demand::Again {}
        let (mut asked, mut spoke) = (None, session.poll_transmit(PeerId::CLIENT).is_some());
        while let Some(action) = session.poll_action() {
            match action {
                Action::Cancel(key) => asked = Some(key),
                Action::Close {
                    peer: PeerId::CLIENT,
                    ..
                } => {}
                _ => spoke = true,
            }
        }
        if spoke {
            self.broken(
                Check::CancelHome,
                "a CancelRequest is answered, or does more than ask",
            );
        }
        asked
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // Nobody is hurt when these pass.
        while let Some((at, Timer::Cancel(_) | Timer::Redial(_))) = self.session.poll_timeout()
            && at < end
        {
            self.pass_to(at);
        }
        self.pass_to(end);
        self.beside(|other| other.pass(time));
    }

    fn pass_to(&mut self, now: Instant) {
        if let Some((at, timer)) = self.session.poll_timeout()
            && at <= now
            && !matches!(timer, Timer::Cancel(_) | Timer::Redial(_))
        {
            self.damage = self.damage.max(Damage::Session);
        }
        deadlines::due_at(self, now);
        self.now = now;
        self.meter.measure(|| self.session.handle_timeout(now));
        self.cancels_pass();
        deadlines::time_passed(self);
        self.digest();
    }

    /// The time up to the next deadline passes.
    pub(crate) fn deadline(&mut self) {
        if let Some((at, _)) = self.session.poll_timeout() {
            self.pass(at.saturating_duration_since(self.now));
        }
    }
}
