//! What one upstream still owes: the replies to everything that was sent to it, in order.
//!
//! The table of what a server answers to which message, malformed ones, errors and COPY included, is the one that
//! PostgreSQL itself follows (protocol chapter, "Message Flow"; measured on 15.18):
//!
//! | sent | owed | an error in it |
//! |---|---|---|
//! | Query, FunctionCall | everything up to ReadyForQuery | ErrorResponse, then ReadyForQuery |
//! | Parse, Bind, Close | one Complete | ErrorResponse, then silence up to the next Sync |
//! | Describe | RowDescription or NoData, for a statement after ParameterDescription | the same |
//! | Execute | rows, then one of CommandComplete, EmptyQueryResponse, PortalSuspended | the same |
//! | Sync | ReadyForQuery | ErrorResponse, then ReadyForQuery |
//! | Flush, CopyData | nothing | |
//! | anything but Sync while skipping to Sync | nothing | |
//! | Sync, Flush during copy-in | nothing, whatever their bodies | |
//! | any other message during copy-in | the end of the connection | ErrorResponse, then a FATAL one |
//!
//! Whether a Sync that was sent close to a failing copy-in is answered depends on what the server had read when it
//! failed. Such a Sync is counted as *uncertain*: its ReadyForQuery is expected but not waited for, and a
//! [fence](Kind::Fence) settles it.

use std::collections::VecDeque;

use crate::wire::tags::backend as tag;

/// For whom a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The client sent the request and gets the reply.
    Client,
    /// We sent the request; the reply is swallowed.
    Injected,
}

/// What kind of request a reply is owed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A simple Query.
    Query,
    /// A FunctionCall.
    FunctionCall,
    /// A Parse.
    Parse,
    /// A Bind.
    Bind,
    /// A Describe of a statement: two replies, the second ends it.
    DescribeStatement,
    /// A Describe of a portal.
    DescribePortal,
    /// An Execute.
    Execute,
    /// A Close.
    Close,
    /// A Sync.
    Sync,
    /// A CopyDone or CopyFail: owes nothing, marks where a copy-in ends in what was sent.
    CopyEnd,
    /// A message that the server answers with an error and by skipping to Sync, such as a Flush with a body.
    Refused,
    /// A Close of a name that nobody uses: its reply proves that everything before it was answered.
    Fence,
}

impl Kind {
    /// Whether others of its batch have to come before anything runs.
    fn only_prepares(self) -> bool {
        match self {
            Kind::Parse
            | Kind::Bind
            | Kind::DescribeStatement
            | Kind::DescribePortal
            | Kind::Close => true,
            Kind::Query
            | Kind::FunctionCall
            | Kind::Execute
            | Kind::Sync
            | Kind::CopyEnd
            | Kind::Refused
            | Kind::Fence => false,
        }
    }

    /// Whether ReadyForQuery is the end of its answer.
    pub fn ends_with_ready(self) -> bool {
        matches!(self, Kind::Query | Kind::FunctionCall | Kind::Sync)
    }
}

/// One request and what the session wants to remember until it is answered.
#[derive(Debug)]
pub struct Owed<N> {
    /// What was sent.
    pub kind: Kind,
    /// For whom the reply is.
    pub owner: Owner,
    /// The session's own note.
    pub note: N,
    /// Where it ends in what the upstream is sent, in bytes.
    pub end: u64,
}

/// A reply that no request in flight explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {} message answers nothing that was asked", char::from(self.tag).escape_default())]
pub struct Unexpected {
    /// The message's tag.
    pub tag: u8,
}

/// What a reply means.
#[derive(Debug)]
pub struct Reply<N> {
    /// For whom the message is.
    pub owner: Owner,
    /// The request that it completes, if it completes one.
    pub done: Option<Owed<N>>,
}

/// How far the forwarding side is in a copy-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyIn {
    /// The client has not ended its data: what it sends now is swallowed by the copy.
    Sending,
    /// CopyDone or CopyFail was sent, or what no copy survives; the server has not answered yet.
    Ended,
}

/// What the server does with requests that are sent to it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    /// It answers them.
    Requests,
    /// It skips them up to the next Sync.
    Nothing,
    /// It takes copy data for the request at the head of the queue; `swallowed` Syncs were sent since it began.
    Copy { phase: CopyIn, swallowed: u32 },
}

/// The requests of one upstream that are not fully answered, oldest first.
#[derive(Debug)]
pub struct Pipeline<N> {
    owed: VecDeque<Owed<N>>,
    taking: Taking,
    uncertain: u32,
    injected: usize,
    /// Requests of the client in the queue that end with ReadyForQuery.
    client_ready: usize,
}

impl<N> Default for Pipeline<N> {
    fn default() -> Self {
        Pipeline {
            owed: VecDeque::new(),
            taking: Taking::Requests,
            uncertain: 0,
            injected: 0,
            client_ready: 0,
        }
    }
}

impl<N> Pipeline<N> {
    /// An upstream that owes nothing.
    pub fn new() -> Self {
        Pipeline::default()
    }

    /// How many requests are in flight.
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether no request is in flight.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether the upstream owes nothing and would answer the next request: nothing in flight, no skipping, no
    /// copy, no doubt about a ReadyForQuery.
    pub fn is_settled(&self) -> bool {
        self.owed.is_empty() && self.taking == Taking::Requests && self.uncertain == 0
    }

    /// Whether what is owed comes to its end only when the client sends another Sync: there was none behind it, or a copy has
    /// taken it.
    pub fn awaits_sync(&self) -> bool {
        // Neither the end of a copy nor a fence keeps what stands before it from its end.
        let mut newest_first = self.owed.iter().rev().map(|owed| owed.kind);
        let last = newest_first.find(|kind| !matches!(kind, Kind::CopyEnd | Kind::Fence));
        last.is_some_and(|kind| !kind.ends_with_ready())
    }

    /// Whether nothing more can come for the client unless something more is sent.
    pub fn is_quiet(&self) -> bool {
        !self.has_client() && self.taking == Taking::Requests && self.uncertain == 0
    }

    /// Whether only a fence can tell if a further ReadyForQuery comes.
    pub fn needs_fence(&self) -> bool {
        self.owed.is_empty() && self.taking == Taking::Requests && self.uncertain > 0
    }

    /// Whether the server skips what is sent, up to the next Sync.
    pub fn is_skipping(&self) -> bool {
        self.taking == Taking::Nothing
    }

    /// Whether the server may come to skip what is sent now, up to the next Sync: a message of the client's that it has not answered
    /// has none behind it. Queries that follow it in its batch are skipped, too.
    pub fn may_skip(&self) -> bool {
        let newest_first = self.owed.iter().rev();
        let mut batch = newest_first.take_while(|owed| owed.kind != Kind::Sync);
        batch.any(|owed| match owed.kind {
            Kind::Parse
            | Kind::Bind
            | Kind::DescribeStatement
            | Kind::DescribePortal
            | Kind::Execute
            | Kind::Close
            | Kind::Refused => owed.owner == Owner::Client,
            Kind::Query | Kind::FunctionCall | Kind::Sync | Kind::CopyEnd | Kind::Fence => false,
        })
    }

    /// Whether the server skips a Query of the client's, if what we sent before it in its batch fails.
    pub fn may_skip_query(&self) -> bool {
        let mut ours = false;
        self.injected > 0
            && self.owed.iter().any(|owed| {
                let before = std::mem::replace(&mut ours, is_repair(owed));
                before && owed.owner == Owner::Client && owed.kind == Kind::Query
            })
    }

    /// Whether what is answered next was sent for a Query of the client's, in one batch with it.
    pub fn serves_query(&self) -> bool {
        let mut ends = self.owed.iter().skip_while(|owed| is_repair(owed));
        let first = ends.next();
        self.owed.front().is_some_and(is_repair)
            && first.is_some_and(|owed| owed.owner == Owner::Client && owed.kind == Kind::Query)
    }

    /// Whether the server reads copy data.
    pub fn is_copying_in(&self) -> bool {
        matches!(
            self.taking,
            Taking::Copy {
                phase: CopyIn::Sending,
                ..
            }
        )
    }

    /// Whether something that we sent on our own account is in flight.
    pub fn has_injected(&self) -> bool {
        self.injected > 0
    }

    /// Whether a request of the client is in flight.
    pub fn has_client(&self) -> bool {
        self.owed.len() > self.injected
    }

    /// Where the oldest request of the client in flight ends ([`Owed::end`]).
    pub fn client_end(&self) -> Option<u64> {
        let mut oldest_first = self.owed.iter();
        let oldest = oldest_first.find(|owed| owed.owner == Owner::Client);
        oldest.map(|owed| owed.end)
    }

    /// Where what the client's oldest requests in flight ask for ends: of a batch, the first message that runs something or
    /// closes it, or the last one that was sent.
    pub fn client_unit_end(&self) -> Option<u64> {
        let mut end = None;
        for owed in &self.owed {
            if owed.owner == Owner::Client {
                end = Some(owed.end);
                if !owed.kind.only_prepares() {
                    break;
                }
            }
        }
        end
    }

    /// How many ReadyForQuery messages the client is certainly still owed for what was sent.
    pub fn client_ready_owed(&self) -> usize {
        self.client_ready
    }

    /// For whom the reply is that comes next, if one is owed.
    pub fn head(&self) -> Option<&Owed<N>> {
        self.owed.front()
    }

    /// The request that the next reply belongs to, to change its note.
    pub fn head_mut(&mut self) -> Option<&mut Owed<N>> {
        self.owed.front_mut()
    }

    /// The requests in flight, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Owed<N>> {
        self.owed.iter()
    }

    /// Takes note of a request that was just sent, and of where it ends in what the upstream is sent, in bytes. Returns it when
    /// the server will not answer it, because it skips or because a copy swallows it.
    pub fn sent(&mut self, kind: Kind, owner: Owner, note: N, end: u64) -> Option<Owed<N>> {
        let owed = Owed {
            kind,
            owner,
            note,
            end,
        };
        match (self.taking, kind) {
            (Taking::Nothing, Kind::Sync) => {
                self.taking = Taking::Requests;
                self.enqueue(owed);
                None
            }
            (Taking::Nothing, _) => Some(owed),
            (
                Taking::Copy {
                    phase: CopyIn::Sending,
                    swallowed,
                },
                Kind::Sync,
            ) => {
                self.taking = Taking::Copy {
                    phase: CopyIn::Sending,
                    swallowed: swallowed.saturating_add(1),
                };
                Some(owed)
            }
            (
                Taking::Copy {
                    phase: CopyIn::Sending,
                    swallowed,
                },
                Kind::CopyEnd,
            ) => {
                self.taking = Taking::Copy {
                    phase: CopyIn::Ended,
                    swallowed,
                };
                Some(owed)
            }
            (
                Taking::Copy {
                    phase: CopyIn::Sending,
                    ..
                },
                Kind::Refused,
            ) => Some(owed),
            (Taking::Requests, Kind::CopyEnd) if self.owed.is_empty() => Some(owed),
            (Taking::Copy { swallowed, .. }, _) => {
                // It is answered only if the copy has failed before, and what follows it likewise.
                self.taking = Taking::Copy {
                    phase: CopyIn::Ended,
                    swallowed,
                };
                self.enqueue(owed);
                None
            }
            (Taking::Requests, _) => {
                self.enqueue(owed);
                None
            }
        }
    }

    fn enqueue(&mut self, owed: Owed<N>) {
        if owed.owner == Owner::Injected {
            self.injected = self.injected.saturating_add(1);
        }
        if owes_client_ready(&owed) {
            self.client_ready = self.client_ready.saturating_add(1);
        }
        self.owed.push_back(owed);
    }

    /// Takes the oldest request, and the markers behind it of copies that never began: the server ignores their
    /// CopyDone.
    fn dequeue(&mut self) -> Option<Owed<N>> {
        let owed = self.owed.pop_front()?;
        self.uncount(&owed);
        while self
            .owed
            .front()
            .is_some_and(|next| next.kind == Kind::CopyEnd)
        {
            self.owed.pop_front();
        }
        Some(owed)
    }

    /// Takes a request that leaves the queue out of the counts.
    fn uncount(&mut self, owed: &Owed<N>) {
        if owed.owner == Owner::Injected {
            self.injected = self.injected.saturating_sub(1);
        }
        if owes_client_ready(owed) {
            self.client_ready = self.client_ready.saturating_sub(1);
        }
    }

    /// Takes a reply other than ErrorResponse and the asynchronous messages.
    ///
    /// # Errors
    /// [`Unexpected`] when the message answers nothing that is in flight; nothing has changed then.
    pub fn reply(&mut self, reply: u8) -> Result<Reply<N>, Unexpected> {
        if reply == tag::READY_FOR_QUERY {
            return self.ready();
        }
        let unexpected = Unexpected { tag: reply };
        let head = self.owed.front().ok_or(unexpected)?;
        let owner = head.owner;
        let progress = progress(head.kind, reply).ok_or(unexpected)?;
        // Every Sync that was sent before the request that is being answered has had its answer.
        self.uncertain = 0;
        match progress {
            Progress::More => Ok(Reply { owner, done: None }),
            Progress::CopyIn => {
                self.begin_copy_in();
                Ok(Reply { owner, done: None })
            }
            Progress::Statement => {
                self.end_copy();
                Ok(Reply { owner, done: None })
            }
            Progress::Done => {
                self.end_copy();
                let done = self.dequeue();
                Ok(Reply { owner, done })
            }
        }
    }

    fn ready(&mut self) -> Result<Reply<N>, Unexpected> {
        match self.owed.front() {
            // A Query has other answers before its ReadyForQuery: one that comes first is an uncertain Sync's.
            Some(head)
                if head.kind.ends_with_ready()
                    && (self.uncertain == 0 || head.kind == Kind::Sync) =>
            {
                let owner = head.owner;
                self.end_copy();
                let done = self.dequeue();
                Ok(Reply { owner, done })
            }
            _ if self.uncertain > 0 => {
                self.uncertain = self.uncertain.saturating_sub(1);
                if self.taking == Taking::Nothing {
                    self.taking = Taking::Requests;
                }
                Ok(Reply {
                    owner: Owner::Client,
                    done: None,
                })
            }
            _ => Err(Unexpected {
                tag: tag::READY_FOR_QUERY,
            }),
        }
    }

    fn end_copy(&mut self) {
        if matches!(self.taking, Taking::Copy { .. }) {
            self.taking = Taking::Requests;
        }
    }

    /// The server began to read copy data: Syncs that were sent before the data's end are swallowed by it.
    fn begin_copy_in(&mut self) {
        let mut swallowed: u32 = 0;
        let mut phase = CopyIn::Sending;
        // Behind the request that copies.
        while let Some(next) = self.owed.get(1).map(|owed| owed.kind) {
            let ignored = matches!(next, Kind::Sync | Kind::Refused);
            if ignored || next == Kind::CopyEnd {
                if let Some(taken) = self.owed.remove(1) {
                    self.uncount(&taken);
                }
            }
            if next == Kind::Sync {
                swallowed = swallowed.saturating_add(1);
            }
            if !ignored {
                phase = CopyIn::Ended;
                break;
            }
        }
        self.taking = Taking::Copy { phase, swallowed };
    }

    /// Takes an ErrorResponse: to whom it goes, and the requests that will never be answered because of it.
    /// `None` for an error that nothing in flight explains (a server that is about to close the connection).
    pub fn error(&mut self) -> Option<(Owner, Vec<Owed<N>>)> {
        let head = self.owed.front_mut()?;
        let owner = head.owner;
        self.uncertain = 0;
        if let Taking::Copy { swallowed, .. } = self.taking {
            self.uncertain = swallowed;
            self.taking = Taking::Requests;
        }
        if head.kind.ends_with_ready() {
            // All that is left of its answer is what a Sync's is.
            head.kind = Kind::Sync;
            return Some((owner, Vec::new()));
        }
        let mut dropped = Vec::new();
        while self
            .owed
            .front()
            .is_some_and(|owed| owed.kind != Kind::Sync)
        {
            dropped.extend(self.dequeue());
        }
        if self.owed.is_empty() {
            self.taking = Taking::Nothing;
        }
        Some((owner, dropped))
    }

    /// Takes everything that is in flight, for an upstream that is gone.
    pub fn abandon(&mut self) -> Vec<Owed<N>> {
        self.taking = Taking::Requests;
        self.uncertain = 0;
        self.injected = 0;
        self.client_ready = 0;
        self.owed.drain(..).collect()
    }
}

/// Whether that is of what we have a server prepare, or drop, for a message of the client's.
pub fn is_repair<N>(owed: &Owed<N>) -> bool {
    owed.owner == Owner::Injected && matches!(owed.kind, Kind::Parse | Kind::Close)
}

fn owes_client_ready<N>(owed: &Owed<N>) -> bool {
    owed.owner == Owner::Client && owed.kind.ends_with_ready()
}

/// What a reply does to the request at the head.
enum Progress {
    /// More replies follow.
    More,
    /// One statement of a Query is complete; more replies follow.
    Statement,
    /// The server starts to read copy data.
    CopyIn,
    /// The request is answered.
    Done,
}

fn progress(kind: Kind, reply: u8) -> Option<Progress> {
    match kind {
        Kind::Query => query_progress(reply),
        Kind::Execute => execute_progress(reply),
        Kind::FunctionCall => (reply == tag::FUNCTION_CALL_RESPONSE).then_some(Progress::More),
        Kind::Parse => (reply == tag::PARSE_COMPLETE).then_some(Progress::Done),
        Kind::Bind => (reply == tag::BIND_COMPLETE).then_some(Progress::Done),
        Kind::Close | Kind::Fence => (reply == tag::CLOSE_COMPLETE).then_some(Progress::Done),
        Kind::DescribeStatement if reply == tag::PARAMETER_DESCRIPTION => Some(Progress::More),
        Kind::DescribeStatement | Kind::DescribePortal => {
            matches!(reply, tag::ROW_DESCRIPTION | tag::NO_DATA).then_some(Progress::Done)
        }
        Kind::Sync | Kind::CopyEnd | Kind::Refused => None,
    }
}

fn query_progress(reply: u8) -> Option<Progress> {
    match reply {
        tag::ROW_DESCRIPTION
        | tag::DATA_ROW
        | tag::COPY_OUT_RESPONSE
        | tag::COPY_DATA
        | tag::COPY_DONE => Some(Progress::More),
        tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE => Some(Progress::Statement),
        tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE => Some(Progress::CopyIn),
        _ => None,
    }
}

fn execute_progress(reply: u8) -> Option<Progress> {
    match reply {
        tag::DATA_ROW | tag::COPY_OUT_RESPONSE | tag::COPY_DATA | tag::COPY_DONE => {
            Some(Progress::More)
        }
        tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => {
            Some(Progress::Done)
        }
        tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE => Some(Progress::CopyIn),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends messages of a client, by their tags (`D` is a Describe of a portal, `d` of a statement, `c` a CopyDone,
    /// `!` a malformed Flush); those that no server answers come back as text.
    fn send(pipeline: &mut Pipeline<char>, tags: &str) -> String {
        let kind = |tag| match tag {
            'Q' => Kind::Query,
            'F' => Kind::FunctionCall,
            'P' => Kind::Parse,
            'B' => Kind::Bind,
            'd' => Kind::DescribeStatement,
            'D' => Kind::DescribePortal,
            'E' => Kind::Execute,
            'C' => Kind::Close,
            'S' => Kind::Sync,
            'c' => Kind::CopyEnd,
            '!' => Kind::Refused,
            other => panic!("{other}"),
        };
        tags.chars()
            .filter_map(|tag| pipeline.sent(kind(tag), Owner::Client, tag, 0))
            .map(|owed| owed.note)
            .collect()
    }

    /// Takes replies by their tags; what they complete or drop comes back as text.
    fn take(pipeline: &mut Pipeline<char>, tags: &str) -> String {
        let mut out = String::new();
        for tag in tags.bytes() {
            if tag == tag::ERROR_RESPONSE {
                let (_, dropped) = pipeline.error().expect("an error that was asked for");
                out.extend(dropped.iter().map(|owed| owed.note));
            } else {
                out.extend(pipeline.reply(tag).unwrap().done.map(|owed| owed.note));
            }
        }
        out
    }

    /// security.md §1.D and the table at the top: sent, ignored at once, replies, completed or dropped.
    #[test]
    fn every_request_owes_what_the_server_answers() {
        let table = [
            ("Q", "", "TDDCZ", "Q"),
            ("Q", "", "IZ", "Q"),
            ("Q", "", "EZ", "Q"),
            ("Q", "", "CTDCEZ", "Q"),
            ("Q", "", "HddcCZ", "Q"),
            ("QQ", "", "CZTDCZ", "QQ"),
            ("F", "", "VZ", "F"),
            ("F", "", "EZ", "F"),
            ("S", "", "Z", "S"),
            ("S", "", "EZ", "S"),
            ("SS", "", "ZZ", "SS"),
            ("SQS", "", "ZTDCZZ", "SQS"),
            ("PdBDES", "", "1tT2TDCZ", "PdBDES"),
            ("PdBDES", "", "1tn2nsZ", "PdBDES"),
            ("PBEPBES", "", "12C12IZ", "PBEPBES"),
            ("CS", "", "3Z", "CS"),
            ("PBES", "", "EZ", "PBES"),
            ("PBES", "", "1EZ", "PBES"),
            ("PBES", "", "12DEZ", "PBES"),
            ("PBES", "", "12HdcCZ", "PBES"),
            // What a failed message makes the server skip owes nothing, a Query included.
            ("PQBES", "", "EZ", "PQBES"),
            ("!QS", "", "EZ", "!QS"),
            ("PBESPBES", "", "EZ12CZ", "PBESPBES"),
            ("PQS", "", "1TDCZZ", "PQS"),
            // Outside a copy its end is ignored.
            ("c", "c", "", ""),
            ("Qc", "", "CZ", "Q"),
        ];
        for (sent, ignored, replies, done) in table {
            let mut pipeline = Pipeline::new();
            assert_eq!(send(&mut pipeline, sent), ignored, "{sent}");
            assert_eq!(take(&mut pipeline, replies), done, "{sent}: {replies}");
            assert!(pipeline.is_settled(), "{sent}: {replies}: {pipeline:?}");
        }
    }

    #[test]
    fn a_server_that_skips_ignores_everything_up_to_sync() {
        let mut pipeline = Pipeline::new();
        send(&mut pipeline, "P");
        assert_eq!(take(&mut pipeline, "E"), "P");
        assert!(pipeline.is_skipping() && !pipeline.is_settled());
        assert_eq!(send(&mut pipeline, "QFPBdDECc!"), "QFPBdDECc!");
        assert_eq!(send(&mut pipeline, "SQ"), "");
        assert_eq!(take(&mut pipeline, "ZCZ"), "SQ");
        assert!(pipeline.is_settled());
    }

    #[test]
    fn a_copy_swallows_the_syncs_before_its_end() {
        for (before, after) in [
            ("PBE", "ScS"),
            ("PBES", "cS"),
            ("PBESS", "ScS"),
            ("PBEc", "S"),
        ] {
            let mut pipeline = Pipeline::new();
            send(&mut pipeline, before);
            take(&mut pipeline, "12G");
            send(&mut pipeline, after);
            assert_eq!(take(&mut pipeline, "CZ"), "ES", "{before} {after}");
            assert!(pipeline.is_settled(), "{before} {after}");
        }
        let mut pipeline = Pipeline::new();
        send(&mut pipeline, "QcQ");
        assert_eq!(take(&mut pipeline, "GCGCZ"), "Q");
        assert_eq!(take(&mut pipeline, "CZ"), "Q");
    }

    /// Y01: whether the Syncs in a failed copy are answered shows in what comes next.
    #[test]
    fn syncs_in_a_failed_copy_may_be_answered() {
        for answers in 0..=2 {
            let mut pipeline = Pipeline::new();
            send(&mut pipeline, "PBESS");
            take(&mut pipeline, "12G");
            assert_eq!(take(&mut pipeline, "E"), "E");
            send(&mut pipeline, "cSQ");
            assert_eq!(take(&mut pipeline, "Z"), "S");
            assert!(pipeline.uncertain > 0);
            assert_eq!(take(&mut pipeline, &"Z".repeat(answers)), "");
            assert_eq!(take(&mut pipeline, "C"), "");
            assert!(pipeline.uncertain == 0, "the Query is being answered");
            assert_eq!(take(&mut pipeline, "Z"), "Q");
            assert!(pipeline.is_settled());
        }
    }

    /// A server ends the connection over such a message, unless the copy had failed before it was read: then it is
    /// answered behind the copy, and so is the Sync behind it.
    #[test]
    fn a_message_that_no_copy_takes_is_answered_or_nothing_is() {
        for (before, after) in [("QPBES", ""), ("QPBE", "S"), ("QSPBES", ""), ("Q", "PBES")] {
            let mut pipeline = Pipeline::new();
            send(&mut pipeline, before);
            take(&mut pipeline, "G");
            assert_eq!(send(&mut pipeline, after), "");
            assert_eq!(take(&mut pipeline, "EZ12CZ"), "QPBES", "{before} {after}");
            assert!(pipeline.is_settled(), "{before} {after}");
        }
    }

    #[test]
    fn a_copy_ignores_a_malformed_flush() {
        for (before, after) in [("Q!c", ""), ("Q!", "c"), ("Q", "!c")] {
            let mut pipeline = Pipeline::new();
            send(&mut pipeline, before);
            take(&mut pipeline, "G");
            assert_eq!(send(&mut pipeline, after), after);
            assert_eq!(take(&mut pipeline, "CZ"), "Q", "{before} {after}");
            assert!(pipeline.is_settled(), "{before} {after}");
        }
    }

    /// What stands in a batch without an end may be skipped, and so may the Queries behind it.
    #[test]
    fn what_has_no_sync_behind_it_may_be_skipped() {
        for (sent, taken, may) in [
            ("", "", false),
            ("Q", "", false),
            ("P", "", true),
            ("PS", "", false),
            ("PQ", "", true),
            ("PQQ", "1CZ", false),
            ("PBQ", "1", true),
            ("PSB", "", true),
            ("PBQ", "E", false),
        ] {
            let mut pipeline = Pipeline::new();
            send(&mut pipeline, sent);
            take(&mut pipeline, taken);
            assert_eq!(pipeline.may_skip(), may, "{sent} {taken}");
        }
        let mut pipeline = Pipeline::new();
        pipeline.sent(Kind::Parse, Owner::Injected, 'P', 0);
        assert!(!pipeline.may_skip());
    }

    #[test]
    fn a_fence_settles_what_is_uncertain() {
        let mut pipeline = Pipeline::new();
        send(&mut pipeline, "PBES");
        take(&mut pipeline, "12GE");
        send(&mut pipeline, "S");
        take(&mut pipeline, "Z");
        assert!(pipeline.needs_fence() && !pipeline.is_settled());
        pipeline.sent(Kind::Fence, Owner::Injected, 'f', 0);
        assert!(!pipeline.needs_fence() && !pipeline.is_settled());
        let reply = pipeline.reply(tag::CLOSE_COMPLETE).unwrap();
        assert_eq!(reply.owner, Owner::Injected);
        assert!(pipeline.is_settled());
    }

    /// D5: what nobody asked for changes nothing.
    #[test]
    fn an_answer_to_nothing_is_unexpected() {
        for (sent, reply) in [
            ("", b'Z'),
            ("", b'C'),
            ("", b'1'),
            ("P", b'Z'),
            ("P", b'2'),
            ("E", b'T'),
            ("S", b'C'),
            ("Q", b'1'),
            ("Q", b's'),
            ("F", b'T'),
            ("!", b'Z'),
            ("d", b'D'),
            ("Q", b'R'),
            ("Q", b'K'),
        ] {
            let mut pipeline = Pipeline::new();
            send(&mut pipeline, sent);
            assert_eq!(
                pipeline.reply(reply).unwrap_err(),
                Unexpected { tag: reply },
                "{sent}"
            );
            assert_eq!(pipeline.len(), sent.len());
        }
        assert!(Pipeline::<char>::new().error().is_none());
    }

    #[test]
    fn our_own_requests_are_told_from_the_clients() {
        let mut pipeline = Pipeline::new();
        pipeline.sent(Kind::Parse, Owner::Injected, 'i', 0);
        assert!(pipeline.has_injected() && !pipeline.has_client() && pipeline.is_quiet());
        send(&mut pipeline, "BES");
        assert!(pipeline.has_client() && !pipeline.is_quiet());
        assert_eq!(pipeline.client_ready_owed(), 1);
        assert_eq!(pipeline.reply(b'1').unwrap().owner, Owner::Injected);
        assert!(!pipeline.has_injected());
        assert_eq!(pipeline.abandon().len(), 3);
        assert!(pipeline.is_settled() && !pipeline.has_client());
    }

    #[test]
    fn a_copy_swallows_a_sync_of_ours_too() {
        let mut pipeline = Pipeline::new();
        send(&mut pipeline, "Q");
        pipeline.sent(Kind::Sync, Owner::Injected, 'i', 0);
        assert!(pipeline.has_injected());
        take(&mut pipeline, "G");
        assert!(!pipeline.has_injected() && pipeline.has_client());
    }

    #[test]
    fn an_error_of_ours_drops_the_clients_messages_behind_it() {
        let mut pipeline = Pipeline::new();
        pipeline.sent(Kind::Parse, Owner::Injected, 'i', 0);
        send(&mut pipeline, "BES");
        let (owner, dropped) = pipeline.error().unwrap();
        assert_eq!(owner, Owner::Injected);
        let notes: String = dropped.iter().map(|owed| owed.note).collect();
        assert_eq!(notes, "iBE");
        assert!(!pipeline.has_injected());
        assert_eq!(take(&mut pipeline, "Z"), "S");
    }
}
