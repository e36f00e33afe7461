//! What a session did to the database, and the sessions that its statements ran in.

use pgturnout::session::{Event, PeerId};

use super::super::checks::Check;
use super::super::fault::Fault;
use super::super::reads;
use super::super::server::{Executed, Node, Server};
use super::super::world::World;
use super::Direct;
use super::ends;
use super::judge::Extent;

/// What was written, in which order and how often: as on one server, and of a session that ended on the way at least
/// what was answered.
///
/// `unfailed` is what one server makes of the program if nothing fails there: of a Query that is cancelled in the middle
/// some was done, and undone.
pub(super) fn effects(
    world: &mut World<'_>,
    direct: &Direct,
    unfailed: &Direct,
    extent: Extent,
    answered: usize,
) {
    let ours: Vec<String> = world
        .cluster
        .writes()
        .iter()
        .filter(|write| write.node == Node::Primary || reads::writes_anywhere(world))
        .filter(|write| world.is_own(write.backend))
        .map(|write| write.text.clone())
        .collect();
    let due = match answered.checked_sub(1) {
        Some(last) => direct.ready.get(last).map_or(0, |progress| progress.writes),
        None => 0,
    };
    let fine = match extent {
        Extent::Whole if world.strikes.contains(&Fault::Cancel) => {
            // What fails by itself may be what a later text would have been read by.
            ours == direct.writes
                || is_subsequence(&direct.writes, &ours) && is_subsequence(&ours, &unfailed.writes)
        }
        Extent::Whole if super::is_all_asked(world) => ours == direct.writes,
        // What no Sync followed may not have left the proxy before the client did.
        Extent::Whole => direct.writes.starts_with(&ours) && ours.len() >= due,
        Extent::Beginning if unseen_failures(world) => {
            let answered = ours.get(..due) == direct.writes.get(..due);
            answered && is_subsequence(&ours[due..], &direct.writes[due..])
        }
        Extent::Beginning => direct.writes.starts_with(&ours) && ours.len() >= due,
    };
    if !fine {
        world.broken(
            Check::Twice,
            format!(
                "written: {ours:?}; one server writes {:?}, of which {due} were answered",
                direct.writes
            ),
        );
    }
    let rows = world.own_rows(world.cluster.dump());
    let one_place = extent == Extent::Whole && !reads::writes_anywhere(world);
    if one_place && rows != world.own_rows(direct.rows.clone()) {
        world.broken(Check::Direct, "the tables differ in the end".to_owned());
    }
}

/// Whether statements may have failed of which the client was not told any more.
fn unseen_failures(world: &World<'_>) -> bool {
    let fails = |fault: &Fault| matches!(fault, Fault::FailNext(..) | Fault::Cancel);
    world.strikes.iter().any(fails)
}

fn is_subsequence(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|word| rest.any(|other| other == word))
}

/// The servers that the session has had or has, and what was sent there of our own.
fn logs<'w>(world: &'w World<'_>) -> impl Iterator<Item = (PeerId, &'w Server, Vec<String>)> {
    world
        .retired
        .iter()
        .map(|(peer, server, texts)| (*peer, server, texts.clone()))
        .chain(PeerId::ALL.into_iter().filter_map(|peer| {
            let server = world.servers[peer.index()].as_ref()?;
            Some((peer, server, world.injected_texts[peer.index()].clone()))
        }))
}

/// Each statement of the client's ran in the session that the client made.
///
/// `unfailed` is what one server makes of the program if nothing fails there: a request that failed may have run on a
/// server all the same.
pub(super) fn sessions(world: &mut World<'_>, direct: &Direct, unfailed: &Direct) {
    let mut wrong = None;
    let of_a_loss = |event: &Event| matches!(event, Event::ReaderLost { .. });
    let lost = world.setup.read_transactions && world.told.iter().any(of_a_loss);
    for (peer, server, mut injected) in logs(world) {
        let mut rest = direct.executed.iter();
        for ran in server.executed() {
            if let Some(at) = injected
                .iter()
                .position(|text| *text == ran.text.as_bytes().escape_ascii().to_string())
            {
                // Ours: it brings the session up to the client's.
                injected.remove(at);
                continue;
            }
            let mut looked = rest.clone();
            let Some(same) =
                looked.find(|other| other.text == ran.text && other.parameters == ran.parameters)
            else {
                continue;
            };
            let mut all = direct.executed.iter().chain(&unfailed.executed);
            let outside = all.any(|other| {
                other.text == ran.text
                    && other.parameters == ran.parameters
                    && !other.in_transaction
            });
            // What is lost there may stand in the program again, behind it.
            let mut alike = direct.executed.iter().chain(&unfailed.executed);
            let reads = world.setup.read_transactions
                && alike.any(|other| {
                    other.text == ran.text
                        && other.parameters == ran.parameters
                        && other.setting("transaction_read_only") == Some("on")
                });
            if same.in_transaction && !outside && !reads && peer == PeerId::READER {
                wrong = Some((
                    Check::Transaction,
                    format!("in a transaction, on the reader: {:?}", ran.text),
                ));
            }
            if let Some(what) = session_differs(same, ran) {
                // Nothing but its end is there of a transaction that is lost with its reader.
                if lost && ends::is_end(ran.text.as_bytes()) {
                    rest = looked;
                    continue;
                }
                // The same text may stand in the program again, in that session.
                if !looked.chain(&unfailed.executed).any(|other| {
                    other.text == ran.text
                        && other.parameters == ran.parameters
                        && session_differs(other, ran).is_none()
                }) {
                    wrong = Some((
                        Check::SameSession,
                        format!("on the {peer}: {:?} ran with {what}", ran.text),
                    ));
                }
                continue;
            }
            rest = looked;
        }
    }
    if let Some((check, detail)) = wrong {
        world.broken(check, detail);
    }
}

fn session_differs(direct: &Executed, ran: &Executed) -> Option<String> {
    if direct.role != ran.role {
        return Some(format!("role {:?} for {:?}", ran.role, direct.role));
    }
    if direct.settings == ran.settings {
        return None;
    }
    for (name, _) in ran.settings.iter().chain(direct.settings.iter()) {
        let depends_on_node = matches!(
            &**name,
            "in_hot_standby"
                | "transaction_read_only"
                // Of the transaction, not of the session.
                | "transaction_isolation"
                | "transaction_deferrable"
                | "server_version"
                | "scram_iterations"
        );
        let value = |executed: &Executed| {
            let value = executed.setting(name).map(str::to_owned);
            // Of custom ones what a server shows for none.
            value.or_else(|| name.contains('.').then(String::new))
        };
        let (value, other) = (value(ran), value(direct));
        if value != other && !depends_on_node {
            return Some(format!("{name}={value:?} for {other:?}"));
        }
    }
    None
}
