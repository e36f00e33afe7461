//! When requests begin and end, for whoever measures: the session has no clock.

use std::collections::VecDeque;

use super::leg::{LegId, PerLeg};
use super::{Event, RequestEvents, Session};
use crate::route::Route;
use crate::track::pipeline::Owner;
use crate::wire::TransactionStatus;
use crate::wire::tags::{backend, frontend};

/// The requests whose ReadyForQuery is to come, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// The request that is sent message by message and has no Sync yet.
    open: Option<u64>,
    /// Those of each upstream, oldest first; `None` for a Sync that ends nothing.
    owed: PerLeg<VecDeque<Option<u64>>>,
    /// The newest request that began. One that a reader refuses goes on elsewhere, and does not begin again.
    begun: Option<u64>,
    /// The newest request of which an answer began.
    answering: Option<u64>,
}

impl Spans {
    fn of(&mut self, leg: LegId) -> &mut VecDeque<Option<u64>> {
        self.owed.get_mut(leg)
    }

    /// The request that an upstream answers now.
    fn current(&mut self, leg: LegId) -> Option<u64> {
        let open = self.open;
        self.of(leg).front().copied().unwrap_or(open)
    }
}

impl<R: Route> Session<R> {
    fn owed_ready(&self, leg: LegId) -> usize {
        self.leg(leg)
            .serving()
            .map_or(0, |serving| serving.pipeline.client_ready_owed())
    }

    /// A message of the client's was forwarded.
    pub(super) fn request_sent(&mut self, leg: LegId, frame: u8) {
        if self.config.request_events == RequestEvents::Off {
            return;
        }
        let begins = matches!(
            frame,
            frontend::QUERY
                | frontend::FUNCTION_CALL
                | frontend::PARSE
                | frontend::BIND
                | frontend::DESCRIBE
                | frontend::EXECUTE
                | frontend::CLOSE
        );
        if begins && self.spans.open.is_none() {
            let (request, peer) = (self.requests.newest(), leg.peer());
            self.spans.open = Some(request);
            if self.spans.begun != Some(request) {
                self.spans.begun = Some(request);
                self.notify(Event::RequestBegan { request, peer });
            }
        }
        let ends = matches!(
            frame,
            frontend::QUERY | frontend::FUNCTION_CALL | frontend::SYNC
        );
        // What the server skips, or a copy swallows, has no ReadyForQuery of its own.
        let (known, owed) = (self.spans.of(leg).len(), self.owed_ready(leg));
        if ends && known < owed {
            let request = self.spans.open.take();
            self.spans.of(leg).push_back(request);
        } else if frame == frontend::SYNC && owed > 0 {
            // Its ReadyForQuery ends a request that a skipped Query seemed to end. What came between was skipped too.
            self.spans.open = None;
        }
    }

    /// A message for the client belongs to the request that an upstream answers; `ended` when it is the ReadyForQuery of
    /// that request.
    pub(super) fn request_answered(&mut self, leg: LegId, owner: Owner, frame: u8, body: &[u8]) {
        if self.config.request_events == RequestEvents::Off || owner == Owner::Injected {
            return;
        }
        let peer = leg.peer();
        if let Some(request) = self.spans.current(leg) {
            if self.spans.answering != Some(request) {
                self.spans.answering = Some(request);
                self.notify(Event::ResponseBegan { request, peer });
            }
        }
        let status = body.first().copied().and_then(TransactionStatus::from_byte);
        if frame == backend::READY_FOR_QUERY {
            if let Some(Some(request)) = self.spans.of(leg).pop_front() {
                self.notify(Event::ResponseEnded {
                    request,
                    peer,
                    status,
                });
            }
        }
        // Syncs that a copy has swallowed stand behind the request that copies.
        let owed = self.owed_ready(leg);
        let behind = usize::from(frame != backend::READY_FOR_QUERY);
        while self.spans.of(leg).len() > owed.max(behind) {
            self.spans.of(leg).remove(behind);
        }
    }

    /// A message of an answer that refuses a tried request: the request goes on elsewhere.
    pub(super) fn request_refused(&mut self, leg: LegId, frame: u8) {
        if frame == backend::READY_FOR_QUERY {
            self.spans.of(leg).pop_front();
        }
    }

    /// An upstream is lost that has refused all that it owed: that goes on elsewhere.
    pub(super) fn refused_lost(&mut self, leg: LegId) {
        self.spans.of(leg).clear();
    }

    /// An upstream is lost, and what it owed is answered by us.
    pub(super) fn requests_lost(&mut self, leg: LegId, batch_too: bool) {
        if self.config.request_events == RequestEvents::Off {
            return;
        }
        let mut lost: Vec<Option<u64>> = self.spans.of(leg).drain(..).collect();
        if batch_too {
            lost.push(self.spans.open.take());
        }
        for request in lost.into_iter().flatten() {
            self.notify(Event::ResponseEnded {
                request,
                peer: leg.peer(),
                status: None,
            });
        }
    }
}
