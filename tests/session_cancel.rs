//! What a cancel means: the request that runs, on the upstream that owes its reply, and nothing else.

mod session_support;

use pgturnout::session::{
    CancelEnd, CancelTarget, Config, Demand, Event, Lifecycle, LostReads, Optimistic, PeerId, Timer,
};
use pgturnout::startup::{ProtocolVersion, UpstreamTlsPolicy};
use session_support::frames::{backend, frontend};
use session_support::{Chunk, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

fn target(rig: &Rig) -> CancelTarget {
    rig.session.cancel_target().expect("something runs")
}

/// E1, C01: one that was long on its way must not hit the next request, be it the same text on the same upstream.
#[test]
fn a_cancel_is_for_one_request() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.session.is_current(&first));
        rig.reader("T D(1)");
        assert!(rig.session.is_current(&first), "rows do not end it");
        rig.reader("C(SELECT 1) Z(I)");
        assert!(!rig.session.is_current(&first), "nothing runs");
        rig.client("Q(select 1)");
        assert_eq!(target(rig).peer, first.peer);
        assert!(!rig.session.is_current(&first), "the next one runs");
        let second = target(rig);
        rig.reader(ROW);
        rig.client("Q(delete from t)");
        assert!(!rig.session.is_current(&second), "it runs elsewhere");
        assert_eq!(target(rig).peer, WRITER);
    });
}

/// Of requests in a row it is the one whose turn it is, and a batch is one up to its Sync.
#[test]
fn a_cancel_moves_on_with_the_replies() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,delete from t) B(,) E S P(,delete from u) B(,) E S");
        let first = target(rig);
        rig.writer("1 2 C(DELETE 1)");
        assert!(rig.session.is_current(&first));
        rig.writer("Z(I)");
        assert!(!rig.session.is_current(&first));
        let second = target(rig);
        rig.writer("E(42P01) Z(I)");
        assert!(!rig.session.is_current(&second));
        assert!(rig.session.cancel_target().is_none());
    });
}

/// The reader is lost while it runs, and the next request is not the one that was meant.
#[test]
fn a_cancel_dies_with_its_upstream() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        rig.reset(READER);
        rig.take(CLIENT);
        assert!(!rig.session.is_current(&first));
        rig.client("Q(select 1)");
        assert_eq!(target(rig).peer, WRITER);
        assert!(!rig.session.is_current(&first));
    });
}

/// E6: what we send on our own account is nobody's to cancel.
#[test]
fn nothing_of_ours_is_cancelled() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(set application_name = 'x')");
        rig.take(WRITER);
        rig.writer("C(SET) Z(I)");
        rig.take(CLIENT);
        rig.client("Q(select 1)");
        rig.see(READER, "Q(set application_name = 'x')");
        assert!(rig.session.cancel_target().is_none());
        assert!(rig.session.is_holding());
        rig.reader("C(SET) Z(I)");
        rig.see(READER, "Q(select 1)");
        assert_eq!(target(rig).peer, READER);
    });
}

/// C02: asking, however often and whenever, puts no byte on any connection.
#[test]
fn asking_for_a_target_sends_nothing() {
    each(config, |rig| {
        rig.both();
        for _ in 0..3 {
            assert!(rig.session.cancel_target().is_none());
            rig.silence();
        }
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        let first = target(rig);
        assert!(rig.session.is_current(&first) && !rig.session.is_holding());
        rig.silence();
    });
}

/// E5: the cancel goes as the session does, also where that was decided by a refusal.
#[test]
fn a_cancel_is_encrypted_as_the_session_is() {
    use UpstreamTlsPolicy::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
    // The policy, whether the login in clear is refused, what the server answers, and how it is cancelled.
    for (tls, refused, answer, cancel) in [
        (Disable, false, b"S", Disable),
        (Prefer, false, b"S", Require),
        (Prefer, false, b"N", Disable),
        (Require, false, b"S", Require),
        (VerifyCa, false, b"S", VerifyCa),
        (VerifyFull, false, b"S", VerifyFull),
        (Allow, false, b"S", Disable),
        (Allow, true, b"S", Require),
    ] {
        let configured = || {
            let mut config = config();
            config.upstreams[0].tls = tls;
            config
        };
        each(configured, |rig| {
            rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
            if refused {
                rig.writer("FATAL(28000)");
            }
            if rig.take(WRITER).ends_with(&[0x04, 0xd2, 0x16, 0x2f]) {
                rig.raw(WRITER, answer);
            }
            rig.writer("R");
            rig.writer(login(WRITER));
            rig.client("Q(delete from t)");
            assert_eq!(target(rig).tls, cancel);
        });
    }
}

/// E7: a server that gives no key cannot be cancelled; its client has one of ours nevertheless, which does nothing.
#[test]
fn without_a_key_of_the_servers_there_is_no_target() {
    each(config, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.writer("R Z(I)");
        rig.take(CLIENT);
        rig.client("Q(delete from t)");
        assert!(rig.session.cancel_target().is_none());
        assert!(rig.session.client_key().is_some());
    });
}

/// The key names the instance, in the width that the client speaks, and the process id is the writer's.
#[cfg(feature = "scram")]
#[test]
fn a_key_can_name_the_instance() {
    use pgturnout::auth::Secret;
    use pgturnout::cancel::{CancelRing, Owner};
    use pgturnout::startup::CancelKey;

    let ring = || CancelRing::new(0x0001_0203, Secret::new(vec![9; 32])).unwrap();
    let configured = || {
        let mut config = config();
        config.cancel_ring = Some(std::sync::Arc::new(ring()));
        config
    };
    let other = CancelRing::new(77, Secret::new(vec![9; 32])).unwrap();
    let three = Owner::Perhaps {
        current: 3,
        previous: None,
    };
    for (version, owner) in [
        (ProtocolVersion::V3_0, three),
        (ProtocolVersion::V3_2, Owner::Instance(0x0001_0203)),
    ] {
        each(configured, |rig| {
            rig.raw(CLIENT, &startup(version));
            rig.writer("R");
            rig.writer(login(WRITER));
            let sent = rig.take(CLIENT);
            let key = rig.session.client_key().unwrap();
            assert_eq!((other.owner(key), key.process_id()), (owner, 4711));
            let mut announced = 4711_i32.to_be_bytes().to_vec();
            announced.extend(key.secret());
            let told = sent.windows(announced.len()).any(|at| at == announced);
            assert!(told, "the client has another key");
            assert!(ring().may_be_own(key) && !other.may_be_own(key));
            let forged = CancelKey::new(4711, &vec![1; key.secret().len()]).unwrap();
            assert_ne!(key, &forged);
        });
    }
}

/// C01: what comes behind the request that a cancel is for waits until the cancel is over; what is said meanwhile passes.
#[test]
fn nothing_is_sent_where_a_cancel_is_under_way() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        assert!(rig.session.is_cancelling(READER) && !rig.session.is_cancelling(WRITER));
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.client("Q(select 2)");
        rig.see(READER, "");
        assert!(!rig.session.is_current(&first));
        rig.cancel_ended();
        rig.see(READER, "Q(select 2)");
        assert!(!rig.session.is_cancelling(READER));
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
    });
    // The other upstream is none of its business.
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader("E(57014) Z(I)");
        rig.client("Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
    });
}

/// C01: nor is anything of ours, as the settings that a reader is to take over, or what begins a move.
#[test]
fn nothing_of_ours_is_sent_where_a_cancel_is_under_way() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.take(READER);
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader(ROW);
        rig.client("Q(set application_name = 'x')");
        rig.writer("C(SET) Z(I)");
        rig.client("Q(select 2)");
        rig.see(READER, "");
        rig.cancel_ended();
        rig.see(READER, "Q(set application_name = 'x')");
    });
}

#[test]
fn a_cancel_that_comes_too_late_does_not_begin() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        rig.reader(ROW);
        assert!(!rig.cancel_begins(&first), "nothing runs");
        rig.client("Q(select 2)");
        assert!(!rig.cancel_begins(&first), "another request runs");
        assert!(!rig.session.is_cancelling(READER));
        rig.see(READER, "Q(select 1) Q(select 2)");
    });
}

/// A cancel whose connection never ends holds nobody for ever.
#[test]
fn a_cancel_has_its_time() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader(ROW);
        rig.client("Q(select 2)");
        rig.see(READER, "Q(select 1)");
        rig.expire(Timer::Cancel(READER));
        rig.see(READER, "Q(select 2)");
        let told = Event::TimedOut(Timer::Cancel(READER));
        assert!(rig.events.contains(&told));
        rig.cancel_ended();
        assert!(!rig.session.is_cancelling(READER));
    });
}

#[test]
fn one_cancel_waits_for_the_other() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        assert!(!rig.cancel_begins(&first), "one is under way");
        assert!(rig.session.cancel_target().is_none());
        assert!(rig.session.is_holding(), "ask again");
        rig.cancel_ended();
        assert!(!rig.session.is_holding());
        assert!(rig.cancel_begins(&target(rig)), "it runs still");
    });
}

/// The connection that it was for is gone, and with it what a cancel could hit.
#[test]
fn a_cancel_ends_with_its_upstream() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reset(READER);
        assert!(!rig.session.is_cancelling(READER));
        rig.cancel_ended();
        rig.take(CLIENT);
        rig.client("Q(select 2)");
        rig.see(WRITER, "Q(select 2)");
    });
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.writer("C(DELETE 1) Z(I)");
        rig.client("X");
        assert!(rig.is_dead(), "there is nothing left that it could hit");
    });
}

/// A request that is held back because a cancel is under way runs nowhere yet: what would be sent for it now hits nothing, and
/// the request would run on when it is let go. Its cancel has to wait with it.
#[test]
fn a_cancel_for_a_request_that_is_held_back_has_to_wait() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader(ROW);
        rig.client("Q(select 2)");
        rig.see(READER, "Q(select 1)");
        assert!(
            rig.session.cancel_target().is_none(),
            "nothing of it was sent"
        );
        assert!(rig.session.is_holding());
    });
}

/// The end of a cancel whose time was over says nothing of the one that was begun behind it.
#[test]
fn a_late_end_is_not_that_of_the_next_cancel() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.expire(Timer::Cancel(READER));
        let second = target(rig);
        assert!(rig.cancel_begins(&second));
        rig.cancel_ended();
        assert!(
            rig.session.is_cancelling(READER),
            "the second is still under way"
        );
    });
}

/// However many cancels are begun, none of them holds the upstream longer than it may.
#[test]
fn cancels_do_not_prolong_each_other() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        let due = rig.session.poll_timeout();
        rig.now += std::time::Duration::from_secs(9);
        assert!(!rig.cancel_begins(&first));
        assert_eq!(rig.session.poll_timeout(), due);
    });
}

/// What a server is not sent because a cancel is under way it does not take too long for.
#[test]
fn a_server_is_not_blamed_for_what_a_cancel_holds_back() {
    let hurried = || {
        let mut config = config();
        config.timeouts.replay = config.timeouts.cancel / 2;
        config
    };
    each(hurried, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.take(READER);
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader(ROW);
        rig.client("Q(set application_name = 'x')");
        rig.writer("C(SET) Z(I)");
        rig.client("Q(select 2)");
        rig.expire(Timer::Restore(READER));
        rig.cancel_ended();
        rig.see(READER, "Q(set application_name = 'x')");
        assert!(rig.is_open(READER));
    });
}

/// Nor does the session of a client that has gone end before what it had sent.
#[test]
fn what_a_client_sent_before_it_left_outlives_a_cancel() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.take(WRITER);
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.writer("C(DELETE 1) Z(I)");
        rig.client("Q(insert into t values(1)) X");
        rig.see(WRITER, "");
        let (_, timer) = rig.session.poll_timeout().unwrap();
        rig.expire(timer);
        rig.see(WRITER, "Q(insert into t values(1))");
    });
}

/// Nor is a request cancelled of which the server has not got the last byte: the cancel would come before what it is for.
#[test]
fn a_cancel_does_not_overtake_its_own_request() {
    each(config, |rig| {
        rig.both();
        rig.takes(READER, false);
        rig.client("Q(select 1)");
        let begun = match rig.session.cancel_target() {
            Some(first) => rig.cancel_begins(&first),
            None => false,
        };
        assert!(!begun, "it would be sent before the request");
        rig.takes(READER, true);
        rig.see(READER, "Q(select 1)");
    });
}

/// Nor one of which the server has got a part, and would take no signal while it reads the rest.
#[test]
fn a_cancel_waits_for_the_last_byte_of_its_request() {
    each(config, |rig| {
        rig.both();
        rig.takes(READER, false);
        rig.client("Q(select 1)");
        rig.takes_only(READER, 4);
        assert!(rig.session.cancel_target().is_none(), "the rest is to come");
        assert!(rig.session.is_holding());
        rig.takes(READER, true);
        assert_eq!(target(rig).peer, READER);
        assert!(!rig.session.is_holding());
    });
}

/// Nor one that was sent ahead and has waited behind another, with a cancel for that one.
#[test]
fn a_cancel_does_not_overtake_what_waited_behind_another() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.takes(READER, false);
        rig.client("Q(select 2)");
        rig.reader(ROW);
        rig.cancel_ended();
        assert!(rig.session.cancel_target().is_none(), "it is unsent");
        assert!(rig.session.is_holding());
        rig.takes(READER, true);
        assert_eq!(target(rig).peer, READER);
    });
}

/// What waits behind the request that runs does not keep its cancel waiting: a server takes no more before it has run it.
#[test]
fn a_cancel_does_not_wait_for_the_requests_behind_its_own() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.takes(READER, false);
        rig.client("Q(select 2)");
        assert!(rig.cancel_begins(&target(rig)));
    });
}

/// A server has its whole time for what it was not sent before.
#[test]
fn what_a_cancel_held_back_has_its_time_from_there_on() {
    const TIME: std::time::Duration = std::time::Duration::from_secs(2);
    let hurried = || {
        let mut config = config();
        config.timeouts.replay = TIME;
        config
    };
    each(hurried, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.take(READER);
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.now += std::time::Duration::from_secs(9);
        rig.reader(ROW);
        rig.client("Q(set application_name = 'x')");
        rig.writer("C(SET) Z(I)");
        rig.client("Q(select 2)");
        rig.expire(Timer::Cancel(READER));
        let due = rig.now + TIME;
        assert_eq!(
            rig.session.poll_timeout(),
            Some((due, Timer::Restore(READER)))
        );
    });
}

/// A cancel that holds nothing back gives a client that has left no more time.
#[test]
fn a_cancel_that_holds_nothing_back_does_not_prolong_a_session() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t) X");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.expire(Timer::Drain);
        assert!(!matches!(rig.session.lifecycle(), Lifecycle::Live));
    });
}

/// A cancel may come while the server has only the first of a batch, which may wait for a lock. What is held back then is not
/// what it is meant for.
#[test]
fn a_cancel_does_not_cut_its_own_batch() {
    each(config, |rig| {
        rig.both();
        rig.takes(WRITER, false);
        rig.client("P(,delete from t) B(,) E B(,) E S");
        rig.takes_only(WRITER, frontend("P(,delete from t)").len());
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.takes(WRITER, true);
        rig.see(WRITER, "P(,delete from t) B(,) E");
        // It has been dropped, perhaps, where the rest was still being read.
        assert_eq!(rig.cancel_ended(), CancelEnd::Again);
        rig.see(WRITER, "B(,) E S");
        let again = target(rig);
        assert_eq!((again.peer, again.epoch), (WRITER, first.epoch));
        assert!(rig.cancel_begins(&again));
        rig.writer("1 2 C(DELETE 1) 2 E(57014) Z(I)");
        assert_eq!(rig.cancel_ended(), CancelEnd::Done);
        rig.see(CLIENT, "1 2 C(DELETE 1) 2 E(57014) Z(I)");
    });
}

/// The first one has ended what waited for a lock, if anything did: what is left has nothing to hit before the rest has come.
#[test]
fn a_second_cancel_waits_for_the_rest_of_the_batch() {
    each(config, |rig| {
        rig.both();
        rig.takes(WRITER, false);
        rig.client("P(,delete from t) B(,) E S");
        let parse = frontend("P(,delete from t)").len();
        rig.takes_only(WRITER, parse);
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        assert_eq!(rig.cancel_ended(), CancelEnd::Again);
        assert!(rig.session.cancel_target().is_none() && rig.session.is_holding());
        rig.takes(WRITER, true);
        let again = target(rig);
        assert!(rig.cancel_begins(&again));
        assert_eq!(rig.cancel_ended(), CancelEnd::Done);
    });
}

fn optimistic() -> Config {
    Config {
        optimistic: Optimistic::On,
        ..config()
    }
}

/// What the reader has refused runs on the writer next, and nothing of it on the reader.
#[test]
fn a_cancel_goes_where_a_refused_read_goes() {
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select f())");
        rig.see(READER, "Q(select f())");
        rig.reader("E(25006)");
        assert!(rig.session.cancel_target().is_none() && rig.session.is_holding());
        rig.reader("Z(I)");
        rig.see(WRITER, "Q(select f())");
        assert_eq!(target(rig).peer, WRITER);
    });
}

#[test]
fn a_cancel_follows_a_request_that_is_refused_under_it() {
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select f())");
        rig.see(READER, "Q(select f())");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader("E(25006) Z(I)");
        follows(rig, &first, "Q(select f())");
    });
    each(optimistic, |rig| {
        rig.both();
        rig.client("Q(select f())");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reader("E(25006)");
        assert_eq!(rig.cancel_ended(), CancelEnd::Again);
        rig.reader("Z(I)");
        assert_eq!(target(rig).epoch, first.epoch);
    });
}

#[test]
fn a_cancel_follows_a_read_whose_reader_is_lost_under_it() {
    let configured = || Config {
        lost_reads: LostReads::Again,
        ..config()
    };
    each(configured, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reset(READER);
        follows(rig, &first, "Q(select 1)");
    });
}

/// The cancel has come to an upstream that does not run its request any more.
fn follows(rig: &mut Rig, first: &CancelTarget, request: &str) {
    assert_eq!(rig.cancel_ended(), CancelEnd::Again);
    rig.see(WRITER, request);
    let again = target(rig);
    assert_eq!((again.peer, again.epoch), (WRITER, first.epoch));
    assert!(rig.cancel_begins(&again));
    // The signal is sent before the statement ends by it.
    assert_eq!(rig.cancel_ended(), CancelEnd::Done);
    rig.writer("E(57014) Z(I)");
    rig.see(CLIENT, "E(57014) Z(I)");
}

/// What waits behind a cancel is sent once more when the time of a client that has left is over, and no further cancel takes that.
#[test]
fn cancels_do_not_keep_the_session_of_a_client_that_has_left() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.takes(WRITER, false);
        rig.client("Q(insert into t values (1)) X");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.expire(Timer::Drain);
        assert!(matches!(rig.session.lifecycle(), Lifecycle::Live));
        assert!(!rig.cancel_begins(&first), "it has had its time");
        rig.expire(Timer::Drain);
        assert!(!matches!(rig.session.lifecycle(), Lifecycle::Live));
    });
}

/// Whoever waits until a cancel can be sent learns from the number whether it is still for the same request.
#[test]
fn a_cancel_means_the_request_of_its_time() {
    each(config, |rig| {
        rig.both();
        let meant = rig.session.cancel_epoch();
        rig.client("Q(select 1)");
        assert_eq!(
            (rig.session.cancel_epoch(), target(rig).epoch),
            (meant, meant)
        );
        rig.reader(ROW);
        rig.client("Q(select 1)");
        assert!(target(rig).epoch != meant);
        assert_eq!(rig.session.cancel_epoch(), target(rig).epoch);
    });
}

/// A request that we have answered for its lost reader is none any more, for a cancel that is under way or waits.
#[test]
fn a_cancel_of_a_lost_read_is_not_for_the_next_request() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.reset(READER);
        assert!(rig.shown(CLIENT).ends_with("Z(I)"));
        assert!(rig.session.cancel_epoch() != first.epoch);
        rig.client("Q(delete from t)");
        assert_eq!(rig.cancel_ended(), CancelEnd::Done);
        assert!(target(rig).epoch != first.epoch);
    });
}

/// What may not begin is no target, and nothing waits for it: whoever asked would ask for ever.
#[test]
fn there_is_no_target_where_no_cancel_may_begin() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(delete from t)");
        rig.takes(WRITER, false);
        rig.client("Q(insert into t values (1)) X");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.expire(Timer::Drain);
        assert!(matches!(rig.session.lifecycle(), Lifecycle::Live));
        assert!(rig.session.cancel_target().is_none() && !rig.session.is_holding());
    });
}

/// Between the last of a refusal and the next look at what the client has sent, its request is nowhere.
#[test]
fn a_cancel_waits_for_a_request_that_is_to_be_decided_again() {
    let mut rig = Rig::new(optimistic(), Chunk::Whole);
    rig.both();
    rig.client("Q(select f())");
    rig.see(READER, "Q(select f())");
    rig.reader("E(25006)");
    let now = rig.now;
    let demand = rig.session.handle_input(now, READER, &backend("Z(I)"));
    assert_eq!(demand, Demand::Again);
    assert!(rig.session.cancel_target().is_none() && rig.session.is_holding());
}

/// A batch goes on behind a part of it that was answered: that is not what the cancel was for.
#[test]
fn nothing_follows_an_answered_part_of_a_batch() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,delete from t) B(,) E H");
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.writer("1 2 C(DELETE 1)");
        assert_eq!(rig.cancel_ended(), CancelEnd::Done);
    });
    // Also where it came while the server had the beginning alone.
    each(config, |rig| {
        rig.both();
        rig.takes(WRITER, false);
        rig.client("P(,delete from t) B(,) E H");
        rig.takes_only(WRITER, frontend("P(,delete from t)").len());
        let first = target(rig);
        assert!(rig.cancel_begins(&first));
        rig.takes(WRITER, true);
        rig.client("B(,) E H");
        rig.writer("1 2 C(DELETE 1)");
        assert_eq!(rig.cancel_ended(), CancelEnd::Done);
    });
}
