//! Lines on standard error.

use std::io::{self, Write as _};

use pgturnout::session::Event;

use crate::Proxy;

/// Writes one line at once, so that lines of several sessions do not mix. A standard error that cannot be written to
/// is no reason to stop serving.
pub(crate) fn line(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// What a session has to tell, if it is of interest outside.
pub(crate) fn event(proxy: &Proxy, number: u64, event: &Event) {
    match event {
        Event::Routed {
            request,
            peer,
            to,
            class,
            reason,
            outline,
        } if proxy.log_routes => {
            let text = outline.as_deref().unwrap_or_default();
            line(&format!(
                "route session={number} request={request} upstream={peer} at={} class={class} reason={:?} text={text:?}",
                proxy.name(*to),
                reason.to_string(),
            ));
        }
        Event::Pinned(pin) if proxy.log_routes => {
            line(&format!("pin session={number} why={:?}", pin.to_string()));
        }
        Event::UpstreamFailed { peer, to, why } => {
            line(&format!(
                "session {number}: the {peer} at {} cannot be used: {why}",
                proxy.name(*to)
            ));
        }
        Event::ReaderLost { failed_requests } => {
            line(&format!(
                "session {number}: the reader was lost; {failed_requests} requests failed"
            ));
        }
        Event::TimedOut(timer) => line(&format!("session {number}: timed out: {timer}")),
        _ => {}
    }
}
