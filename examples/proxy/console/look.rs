//! Whether a server can take another's place: looked at before it does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgturnout::session::{Accept, Destination, Role};
use pgturnout::wire::{SqlState, sqlstate};

use super::manner::Manner;
use super::table::Failure;
use crate::ask::Server;
use crate::reading::Whom;
use crate::{Proxy, cancel};

/// How long a server may take to answer, its login included.
const PATIENCE: Duration = Duration::from_secs(5);

const UNREACHABLE: SqlState = SqlState(*b"08001");

/// What a server says of itself. Both servers that the proxy knows have these.
const QUERY: &str = "select pg_catalog.pg_is_in_recovery(), \
    pg_catalog.current_setting('server_version_num')";

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Somebody listens there. What it is for is for the first session to find out.
    Reached,
    /// It said that it can take the place.
    Fit,
}

/// A server, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Itself {
    standby: bool,
    major: u32,
}

/// Looks at a server before it takes the place of another.
pub(super) async fn look(
    proxy: &Arc<Proxy>,
    (from, to): (Destination, Destination),
    role: Role,
    manner: &Manner,
) -> Result<Seen, Failure> {
    let Some(whom) = &proxy.reading.monitor else {
        let policy = proxy.current().config.upstreams[to.0].tls;
        let reached = in_time(async { cancel::connect(proxy, to, policy).await.map(drop) }).await;
        return match reached {
            Ok(()) => Ok(Seen::Reached),
            Err(why) => Err(unreachable(proxy, to, &why)),
        };
    };
    let new = ask(proxy, to, whom).await;
    let new = new.map_err(|why| unreachable(proxy, to, &why))?;
    // The old one may have gone: then it has no say.
    let old = ask(proxy, from, whom).await.ok();
    judge(new, old, role, manner).map_err(|(why, hint)| {
        let message = format!(
            "{} cannot take the place of {}",
            proxy.name(to),
            proxy.name(from)
        );
        let state = sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE;
        Failure::new(state, message)
            .with_detail(why)
            .with_hint(hint)
    })?;
    Ok(Seen::Fit)
}

fn judge(
    new: Itself,
    old: Option<Itself>,
    role: Role,
    manner: &Manner,
) -> Result<(), (String, &'static str)> {
    if role == Role::Writer && new.standby && !manner.accepts(Accept::Standby) {
        let why = "It is a standby, and takes no writes.".to_owned();
        return Err((why, "Promote it first."));
    }
    match old {
        Some(old) if old.major > new.major && !manner.accepts(Accept::OlderMajor) => {
            let why = format!("It is of version {}, older than {}.", new.major, old.major);
            Err((
                why,
                "MIGRATE … WITH (accept = older_major) puts up with that.",
            ))
        }
        Some(_) | None => Ok(()),
    }
}

fn unreachable(proxy: &Proxy, to: Destination, why: &io::Error) -> Failure {
    let message = format!("{} cannot be reached", proxy.name(to));
    Failure::new(UNREACHABLE, message)
        .with_detail(why.to_string())
        .with_hint("Nothing is changed.")
}

async fn ask(proxy: &Arc<Proxy>, to: Destination, whom: &Whom) -> io::Result<Itself> {
    let asked = async {
        let mut server = Server::log_in(proxy, to, whom).await?;
        server.ask(QUERY).await
    };
    let rows = in_time(asked).await?;
    let text = |at: usize| {
        let value = rows.first().and_then(|row| row.get(at)).cloned().flatten();
        String::from_utf8(value.unwrap_or_default()).unwrap_or_default()
    };
    let version: u32 = text(1)
        .parse()
        .map_err(|_| io::Error::other("it does not say its version"))?;
    Ok(Itself {
        standby: text(0) == "t",
        major: version / 10_000,
    })
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_for_who_can_fill_it() {
        let server = |standby, major| Itself { standby, major };
        let strict = Manner::default();
        let mut lenient = Manner::default();
        lenient.set("accept", "standby, older_major").unwrap();
        for (new, old, role, fits) in [
            (
                server(false, 15),
                Some(server(false, 15)),
                Role::Writer,
                true,
            ),
            (
                server(false, 18),
                Some(server(false, 15)),
                Role::Writer,
                true,
            ),
            (server(false, 15), None, Role::Writer, true),
            (
                server(true, 15),
                Some(server(false, 15)),
                Role::Writer,
                false,
            ),
            (server(true, 15), None, Role::Writer, false),
            (server(true, 15), Some(server(true, 15)), Role::Reader, true),
            (
                server(false, 15),
                Some(server(false, 18)),
                Role::Writer,
                false,
            ),
        ] {
            let judged = judge(new, old, role, &strict);
            assert_eq!(judged.is_ok(), fits, "{new:?} {old:?} {role:?}");
            assert_eq!(judge(new, old, role, &lenient), Ok(()));
        }
    }
}
