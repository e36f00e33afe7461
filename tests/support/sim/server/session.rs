//! What a server does with the messages of a client that is logged in.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::journey::Lodging;
use super::super::verdict;
use super::cluster::{Cluster, SEQUENCES, Tables};
use super::copy::CopyIn;
use super::encoding::decode;
use super::extended::Prepared;
use super::fault::Fault;
use super::portal::{Plan, Portal};
use super::settings::Settings;
use super::simple::Simple;
use super::transfer::Flaw;
use super::trouble::{Judgement, Planned};
use super::tx::{Block, Tx};
use super::wire::{Fields, Input, Output};
use super::{Executed, Node, ServerPhase};

/// What a statement may reach outside of its session.
pub(super) struct Io<'a> {
    pub(super) out: &'a mut Output,
    pub(super) cluster: &'a mut Cluster,
}

pub(super) struct Session {
    pub(super) node: Node,
    /// Whether `set_config` only does as if.
    pub(super) forgetful: bool,
    /// In what its server differs from the others.
    pub(super) lodging: Lodging,
    pub(super) database: Arc<str>,
    /// Whether it hands itself out, what its next answer about that is like, and what the last was like.
    pub(super) transfers: bool,
    pub(super) flaw: Option<Flaw>,
    pub(super) spoilt: Option<Flaw>,
    /// A named statement was looked at and no transaction has begun since, so that it does not hand itself out.
    pub(super) looked_at: bool,
    /// Whether the server is a standby.
    pub(super) recovers: bool,
    pub(super) backend: u32,
    pub(super) version: u32,
    long_key: bool,
    /// Who logged in.
    pub(super) user: Arc<str>,
    pub(super) settings: Settings,
    pub(super) tx: Tx,
    /// In the order of names.
    pub(super) prepared: Vec<Prepared>,
    names: Option<Arc<Vec<Arc<str>>>>,
    /// The prepared statements that EXECUTE is running, the outermost first.
    pub(super) executing: Vec<Arc<str>>,
    /// The names of the portals that are running, the outermost first.
    pub(super) running: Vec<Arc<str>>,
    pub(super) portals: Vec<Portal>,
    pub(super) temporary: Tables,
    /// What `currval` and `lastval` give.
    pub(super) values: CurrentValues,
    /// The client's statement that runs.
    pub(super) text: Arc<str>,
    /// Whether the statement is among the writes already.
    pub(super) logged: bool,
    /// The time of `pg_sleep` has passed.
    pub(super) slept: bool,
    executed: Vec<Executed>,
    pending: Option<Pending>,
    /// Whether what is pending waits, for time or a lock.
    waits: bool,
    cancelled: bool,
    planned: Planned,
    skipping: bool,
    /// Extended messages have come, and no Sync.
    pub(super) batch: bool,
}

/// What goes on when something comes: a lock, time, data of COPY.
pub(super) enum Pending {
    Simple(Simple, Option<CopyIn>),
    /// The portal, which is not in the list meanwhile, and the limit of rows.
    Execute(Portal, usize, Option<CopyIn>),
    /// The tag and body of Parse or Bind.
    Message(u8, Vec<u8>),
    /// Of a statement whose parameters are described.
    Describe(Arc<Plan>),
}

impl Pending {
    fn copy(&mut self) -> Option<&mut CopyIn> {
        match self {
            Pending::Simple(_, copy) | Pending::Execute(_, _, copy) => copy.as_mut(),
            Pending::Message(..) | Pending::Describe(_) => None,
        }
    }
}

/// What a session knows of sequences.
#[derive(Clone, Default)]
pub(super) struct CurrentValues {
    /// The value of each that it has taken or set.
    pub(super) of: [Option<i64>; SEQUENCES.len()],
    /// From which it last took a value.
    pub(super) last: Option<usize>,
}

pub(super) enum Next {
    Wait,
    Go,
    Close,
}

/// How a message was done with.
pub(super) type Done = Result<Option<Pending>, Fault>;

impl Session {
    pub(super) fn new(
        node: Node,
        backend: u32,
        version: u32,
        long_key: bool,
        user: Arc<str>,
        settings: Settings,
    ) -> Session {
        Session {
            node,
            forgetful: false,
            lodging: Lodging::Same,
            database: "".into(),
            transfers: false,
            flaw: None,
            spoilt: None,
            looked_at: false,
            recovers: node != Node::Primary,
            backend,
            version,
            long_key,
            user,
            settings,
            tx: Tx::new(),
            prepared: Vec::new(),
            names: None,
            executing: Vec::new(),
            running: Vec::new(),
            portals: Vec::new(),
            temporary: Tables::default(),
            values: CurrentValues::default(),
            text: "".into(),
            logged: false,
            slept: false,
            executed: Vec::new(),
            pending: None,
            waits: false,
            cancelled: false,
            planned: Planned::default(),
            skipping: false,
            batch: false,
        }
    }

    pub(super) fn has_long_key(&self) -> bool {
        self.long_key
    }

    /// The failures that are ahead of it.
    pub(super) fn planned(&mut self) -> &mut Planned {
        &mut self.planned
    }

    pub(super) fn judgement(&self) -> Judgement {
        self.planned.judgement()
    }

    pub(super) fn planned_so_far(&self) -> usize {
        self.planned.passed()
    }

    /// Whether a statement runs, waits, or takes data of COPY.
    pub(super) fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// Ends what waits, at the next step. Whether anything does.
    pub(super) fn cancel(&mut self) -> bool {
        self.cancelled = self.waits;
        self.waits
    }

    /// Whether the next message that runs a statement will: it is not skipped, and no copy takes it.
    pub(super) fn takes_statements(&self) -> bool {
        self.pending.is_none() && !self.skipping
    }

    pub(super) fn executed(&self) -> &[Executed] {
        &self.executed
    }

    pub(super) fn phase(&self) -> ServerPhase {
        match (&self.pending, self.tx.block) {
            (Some(_), _) if self.waits => ServerPhase::Waiting,
            (Some(_), _) => ServerPhase::CopyIn,
            _ if self.skipping => ServerPhase::Skipping,
            _ if self.batch => ServerPhase::Batch,
            (_, Block::Failed) => ServerPhase::Failed,
            (_, Block::Explicit) => ServerPhase::InTransaction,
            (_, Block::None | Block::Implicit) => ServerPhase::Idle,
        }
    }

    /// Learns whether its server is a standby.
    pub(super) fn learn_role(&mut self, cluster: &Cluster) {
        self.recovers = cluster.recovers(self.node);
        self.show_role();
    }

    pub(super) fn show_role(&mut self) {
        let shown = if self.recovers { "on" } else { "off" };
        if self.settings.get("in_hot_standby").as_deref() != Some(shown) {
            self.settings.force("in_hot_standby", shown);
        }
    }

    /// Sends what is new of settings and notifications, and ReadyForQuery.
    pub(super) fn ready(&mut self, io: &mut Io<'_>) {
        self.batch = false;
        if self.tx.block == Block::None {
            self.notified(io);
        }
        self.tell_settings(io);
        io.out.ready(match self.tx.block {
            Block::None => b'I',
            Block::Implicit | Block::Explicit => b'T',
            Block::Failed => b'E',
        });
    }

    /// The settings of which the client is told at the login.
    pub(super) fn tell_settings(&mut self, io: &mut Io<'_>) {
        self.settings
            .report(|name, value| io.out.parameter(name, value));
    }

    fn notified(&mut self, io: &mut Io<'_>) -> bool {
        let all = io.cluster.notifications(self.backend);
        for (from, channel, payload) in &all {
            io.out.message(b'A', |out| {
                out.extend_from_slice(&from.to_be_bytes());
                super::wire::text(out, channel);
                super::wire::text(out, payload);
            });
        }
        !all.is_empty()
    }

    /// A NoticeResponse, if the client wants to hear of it.
    pub(super) fn notice(&mut self, io: &mut Io<'_>, severity: &str, code: &str, message: &str) {
        let least = self.settings.get("client_min_messages");
        let silent = match least.as_deref() {
            Some("error") => true,
            Some("warning") => severity == "NOTICE",
            _ => false,
        };
        if !silent {
            io.out.report(b'N', severity, code, message);
        }
    }

    /// Keeps what is executed, with the state it meets.
    pub(super) fn note_executed(&mut self, text: &Arc<str>, parameters: Vec<Option<String>>) {
        let prepared = &self.prepared;
        let names = self.names.get_or_insert_with(|| {
            Arc::new(prepared.iter().map(|one| Arc::clone(&one.name)).collect())
        });
        self.executed.push(Executed {
            text: Arc::clone(text),
            parameters,
            settings: self.settings.all(),
            role: self.settings.get("role").unwrap_or_default(),
            prepared: Arc::clone(names),
            in_transaction: self.tx.block == Block::Explicit,
        });
        self.text = Arc::clone(text);
        self.logged = false;
    }

    /// The names of prepared statements are other ones now.
    pub(super) fn is_in_read_only_block(&self) -> bool {
        self.is_failed() || self.tx.block == Block::Explicit && self.is_read_only()
    }

    pub(super) fn forget_names(&mut self) {
        self.names = None;
    }

    pub(super) fn step(
        &mut self,
        input: &mut Input,
        out: &mut Output,
        cluster: &mut Cluster,
    ) -> Next {
        self.learn_role(cluster);
        let mut io = Io { out, cluster };
        if let Some(mut pending) = self.pending.take() {
            if pending.copy().is_some() {
                return self.copy_step(pending, input, &mut io);
            }
            return self.resume(pending, &mut io);
        }
        let idle = !self.batch && self.tx.block == Block::None && !self.skipping;
        if idle && self.notified(&mut io) {
            io.out.flush();
            return Next::Go;
        }
        if let Some((tag, length)) = input.peek() {
            if !b"QFPBECDHSXdcf".contains(&tag) {
                io.out.fatal("08P01", "invalid frontend message type");
                return Next::Close;
            }
            if length < 4 {
                return Next::Close;
            }
        }
        let Some((tag, body)) = input.message() else {
            return if input.ended() {
                Next::Close
            } else {
                Next::Wait
            };
        };
        io.out.answers(input.newest(), false);
        self.message(tag, &body, &mut io)
    }

    fn resume(&mut self, pending: Pending, io: &mut Io<'_>) -> Next {
        let simple = matches!(pending, Pending::Simple(..));
        self.waits = false;
        if self.cancelled {
            self.cancelled = false;
            self.slept = false;
            io.cluster.stop_waiting(self.backend);
            let fault = Fault::new("57014", "canceling statement due to user request");
            return self.done(Err(fault), simple, io);
        }
        let done = match pending {
            Pending::Simple(simple, _) => self.run_simple(simple, io),
            Pending::Execute(portal, limit, _) => self.run_execute(portal, limit, io),
            Pending::Message(tag, body) => self.prepare_message(tag, &body, io),
            Pending::Describe(plan) => self.describe_rows(plan, io),
        };
        let waits_still = matches!(&done, Ok(Some(_))) && self.waits;
        let sleeping = self.slept;
        self.done(done, simple, io);
        if waits_still && !sleeping {
            Next::Wait
        } else {
            Next::Go
        }
    }

    fn copy_step(&mut self, mut pending: Pending, input: &mut Input, io: &mut Io<'_>) -> Next {
        let simple = matches!(pending, Pending::Simple(..));
        if let Some((tag, length)) = input.peek() {
            if !b"dcfHS".contains(&tag) {
                let text = "unexpected message type during COPY from stdin";
                io.out.report(b'E', "ERROR", "08P01", text);
                let text = "terminating connection because protocol synchronization was lost";
                io.out.fatal("08P01", text);
                return Next::Close;
            }
            if length < 4 {
                return Next::Close;
            }
        }
        let Some((tag, body)) = input.message() else {
            self.pending = Some(pending);
            return if input.ended() {
                Next::Close
            } else {
                Next::Wait
            };
        };
        io.out.answers(input.newest(), false);
        let copy = pending.copy().expect("only then it is called");
        let result = match tag {
            b'd' => copy.data(&body).map(|()| false),
            b'c' => copy.finish().map(|()| true),
            b'f' => Err(Fault::new("57014", "COPY from stdin failed")),
            // Flush and Sync are let pass.
            _ => Ok(false),
        };
        let done = match result {
            Ok(false) => Ok(Some(pending)),
            Ok(true) => self.copied(pending, io),
            Err(fault) => Err(fault),
        };
        self.done(done, simple, io)
    }

    /// What follows from how a message, or what was pending, was done with.
    fn done(&mut self, done: Done, simple: bool, io: &mut Io<'_>) -> Next {
        match done {
            Ok(Some(pending)) => self.pending = Some(pending),
            Ok(None) if simple => self.ready(io),
            Ok(None) => {}
            Err(fault) => {
                if fault.code == "25006" {
                    io.cluster.refused(self.node, self.backend, &self.text);
                }
                return self.fail(&fault, simple, io);
            }
        }
        Next::Go
    }

    /// An error, and what it does to the transaction and to the messages that follow.
    fn fail(&mut self, fault: &Fault, simple: bool, io: &mut Io<'_>) -> Next {
        let severity = if fault.fatal { "FATAL" } else { "ERROR" };
        let (code, message) = (&fault.code, &fault.message);
        io.out
            .report_by(b'E', severity, code, message, fault.routine);
        if fault.fatal {
            return Next::Close;
        }
        self.slept = false;
        self.abort(io.cluster);
        if simple {
            self.ready(io);
        } else {
            self.skipping = true;
        }
        Next::Go
    }

    fn message(&mut self, tag: u8, body: &[u8], io: &mut Io<'_>) -> Next {
        let planned = self.planned.due(tag, body);
        let denied = self.planned.judge(tag, body);
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return Next::Go;
        }
        if !matches!(tag, b'Q' | b'F' | b'S' | b'X' | b'd' | b'c' | b'f') {
            self.batch = true;
        }
        let planned = planned.or_else(|| self.planned.due_statement(tag));
        let planned = planned.or_else(|| denied.then(|| verdict::CODE.to_owned()));
        if let Some(code) = planned {
            self.skipping &= tag != b'S';
            // That much is done before anything can fail.
            if tag == b'Q' || tag == b'P' && body.first() == Some(&0) {
                self.drop_prepared("");
            }
            // Who begins again on another server has no portals there.
            if code == "08006" {
                self.portals.retain(|portal| portal.held);
            }
            let fault = Fault::new(code, "the statement fails for no fault of its own");
            return self.fail(&fault, matches!(tag, b'Q' | b'F' | b'S'), io);
        }
        if tag == b'Q'
            && self.transfers
            && let Some(next) = self.transfer(body, io)
        {
            return next;
        }
        let mut fields = Fields(body);
        let done = match tag {
            b'Q' => {
                let done = self.query(&mut fields, io);
                return self.done(done, true, io);
            }
            b'F' => {
                let done = self.function_call(&mut fields, io).map(|()| None);
                return self.done(done, true, io);
            }
            b'P' | b'B' => self.prepare_message(tag, body, io),
            b'D' => self.describe(&mut fields, io),
            b'C' => self.close(&mut fields, io).map(|()| None),
            b'E' => self.execute(&mut fields, io),
            b'H' if !body.is_empty() => Err(Fault::protocol("invalid message format")),
            b'H' => {
                io.out.flush();
                Ok(None)
            }
            b'S' if !body.is_empty() => {
                self.skipping = false;
                let fault = Fault::protocol("invalid message format");
                return self.done(Err(fault), true, io);
            }
            b'S' => {
                self.skipping = false;
                self.end_implicit_block();
                let done = self.finish_transaction(io).map(|()| None);
                return self.done(done, true, io);
            }
            b'X' => return Next::Close,
            // What is left of a COPY that failed.
            _ => Ok(None),
        };
        self.done(done, false, io)
    }

    /// A statement waits: it is tried again at the next step.
    pub(super) fn wait_with(&mut self, pending: Pending) -> Done {
        self.waits = true;
        Ok(Some(pending))
    }
}

impl Session {
    /// A string of a body, which is in the client's encoding.
    pub(super) fn heard<'b>(&self, bytes: &'b [u8]) -> Result<Cow<'b, str>, Fault> {
        decode(bytes, &self.encoding())
    }

    /// The encoding of what the client says and hears.
    pub(super) fn encoding(&self) -> Arc<str> {
        self.settings.get("client_encoding").unwrap_or_default()
    }
}

/// The text of a body's string, which must be UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes)
        .map_err(|_| Fault::new("22021", "invalid byte sequence for encoding \"UTF8\""))
}

pub(super) fn malformed() -> Fault {
    Fault::protocol("insufficient data left in message")
}
