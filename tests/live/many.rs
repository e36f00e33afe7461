//! Many clients at once: all are logged in before the first of them asks for anything, and all stay to the end.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, iter};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::support::client::{V3_0, eventually};
use crate::support::frame::{Frame, errors, tags, values};
use crate::support::lab::{self, Lab};
use crate::support::message::{query, startup, tagged};
use crate::support::proxy::Proxy;

/// More than any server would be given sessions for: servers of this test's own answer them.
const CROWD: usize = 2_000;

/// As many as real servers take beside the other tests: the cluster's `max_connections` is twice this.
const GROUP: usize = 250;

/// Open files that the crowd needs here: for each client its connection, and the far ends of two more. The proxy
/// needs as many. The rest is for tests that run at the same time.
const FILES: usize = 3 * CROWD + 1_000;

const ROUNDS: usize = 3;

/// Past this a missing answer counts as a hang, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn thousands_of_clients_of_servers_that_echo() {
    const TEST: &str = "many::crowd";
    let Some(cluster) = lab::cluster(TEST) else {
        return;
    };
    let files = open_files();
    if files < FILES {
        let reason = format!("it needs {FILES} open files, and `ulimit -n` says {files}");
        return lab::skip(TEST, &reason);
    }
    let runtime = Runtime::new().unwrap();
    let (writer, reader) = (
        Echo::start(&runtime, "writer"),
        Echo::start(&runtime, "reader"),
    );
    let mut proxy = Proxy::start(
        cluster,
        &[
            "--writer",
            &writer.address,
            "--reader",
            &reader.address,
            "--upstream-tls",
            "disable",
        ],
    );
    let script = |n: usize, round: usize| {
        let read = format!("select name from t where id = {n} and round = {round}");
        let write = format!("insert into t values ({n}, {round})");
        let answers = [format!("reader: {read}"), format!("writer: {write}")];
        ([query(&read), query(&write)], answers)
    };
    let sessions = || [&writer, &reader].map(|echo| echo.sessions.load(Ordering::SeqCst));
    runtime.block_on(serve_all(&mut proxy, CROWD, script, || {
        assert_eq!(
            sessions(),
            [CROWD; 2],
            "sessions at the writer, at the reader"
        );
    }));
    // The reader was asked once whether it serves the session.
    for (echo, each) in [(&writer, ROUNDS), (&reader, ROUNDS + 1)] {
        assert_eq!(echo.queries.load(Ordering::SeqCst), CROWD * each);
    }
}

#[test]
fn hundreds_of_clients_of_real_servers() {
    let Some(mut lab) = Lab::new("many::group") else {
        return;
    };
    let mut admin = lab.admin();
    admin.run("drop table if exists many_t; create table many_t (id int, round int)");
    let script = |n: usize, round: usize| {
        let read = format!("select '{n} {round} ' || pg_is_in_recovery()");
        let write = format!("insert into many_t values ({n}, {round}) returning id");
        let answers = [format!("{n} {round} true"), n.to_string()];
        ([query(&read), query(&write)], answers)
    };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(serve_all(&mut lab.proxy, GROUP, script, || ()));
    let written = "select count(distinct (id, round)) || ' of ' || count(*) from many_t";
    let rows = GROUP * ROUNDS;
    assert_eq!(admin.value(written), format!("{rows} of {rows}"));
}

/// Lets clients ask what the script says and compares the answers; then calls `all_here`, and stops the proxy while
/// all of them are still connected.
async fn serve_all<S>(proxy: &mut Proxy, count: usize, script: S, all_here: impl FnOnce())
where
    S: Fn(usize, usize) -> ([Vec<u8>; 2], [String; 2]) + Copy + Send + 'static,
{
    // The clients and this function.
    let together = Arc::new(Barrier::new(count + 1));
    let reached: Arc<[AtomicUsize; PHASES.len()]> = Arc::default();
    let port = proxy.port;
    let mut clients = JoinSet::new();
    for n in 0..count {
        let (together, reached) = (Arc::clone(&together), Arc::clone(&reached));
        let reach = move |phase: usize| reached[phase].fetch_add(1, Ordering::SeqCst);
        clients.spawn(async move {
            let mut client = Client::log_in(port).await;
            reach(0);
            together.wait().await;
            for round in 0..ROUNDS {
                let (questions, answers) = script(n, round);
                client.ask(questions, answers, round).await;
            }
            reach(1);
            together.wait().await;
            let farewell = client.rest().await;
            reach(2);
            farewell
        });
    }
    for phase in [0, 1] {
        tokio::select! {
            _ = together.wait() => {}
            // Nobody ends before the proxy does: this one has failed, and the others would wait for it.
            Some(ended) = clients.join_next() => give_up(proxy, &reached, &told(ended)),
            () = sleep(PATIENCE) => give_up(proxy, &reached, &format!("not all {}", PHASES[phase])),
        }
    }
    all_here();
    proxy.terminate();
    let all = timeout(PATIENCE, async {
        while let Some(ended) = clients.join_next().await {
            match ended {
                Ok(farewell) => assert_eq!(errors(&farewell), ["57P01"]),
                failed @ Err(_) => give_up(proxy, &reached, &told(failed)),
            }
        }
    });
    if all.await.is_err() {
        give_up(proxy, &reached, "not all were told of the end");
    }
    assert_eq!(proxy.wait().code(), Some(0), "{}", proxy.log());
}

/// What clients have done, in order.
const PHASES: [&str; 3] = ["are logged in", "have their answers", "saw the end"];

/// Why a client's task ended.
fn told(ended: Result<Vec<Frame>, JoinError>) -> String {
    let error = match ended {
        Ok(frames) => return format!("a client ended early, with {frames:?}"),
        Err(error) => error,
    };
    let Ok(panic) = error.try_into_panic() else {
        return "a client was aborted".to_owned();
    };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a client failed: {}", text.unwrap_or("it does not say why"))
}

/// Says how far everybody came and what the proxy says of it.
fn give_up(proxy: &Proxy, reached: &[AtomicUsize; PHASES.len()], why: &str) -> ! {
    proxy.signal("USR1");
    let mut log = String::new();
    eventually(|| {
        log = proxy.log();
        log.contains("summary: clients")
    });
    let log: Vec<&str> = log
        .lines()
        .filter(|line| !line.starts_with("route "))
        .collect();
    let reached: Vec<String> = iter::zip(reached, PHASES)
        .map(|(count, phase)| format!("{} {phase}", count.load(Ordering::SeqCst)))
        .collect();
    panic!(
        "{why}; of the clients {}; the proxy's log but for routes:\n{}",
        reached.join(", "),
        log.join("\n")
    );
}

/// What this process may have open, and so every process that it starts.
fn open_files() -> usize {
    let output = Command::new("bash")
        .args(["-c", "ulimit -n"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    match said.trim() {
        "unlimited" => usize::MAX,
        number => number.parse().unwrap(),
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn log_in(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client(BufReader::new(stream));
        let parameters = [("user", "u_trust"), ("database", "app")];
        client.send(&startup(V3_0, &parameters)).await;
        let frames = client.ready().await;
        assert_eq!(errors(&frames), [""; 0]);
        client
    }

    /// Asks one by one, and in the last round all at once.
    async fn ask(&mut self, questions: [Vec<u8>; 2], answers: [String; 2], round: usize) {
        let mut frames = Vec::new();
        if round + 1 < ROUNDS {
            for question in questions {
                self.send(&question).await;
                frames.extend(self.ready().await);
            }
        } else {
            self.send(&questions.concat()).await;
            frames.extend(self.ready().await);
            frames.extend(self.ready().await);
        }
        assert_eq!(values(&frames), answers);
        assert_eq!(tags(&frames), "TDCZTDCZ");
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// Frames up to and with ReadyForQuery.
    async fn ready(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|last: &Frame| last.tag != b'Z') {
            match read_frame(&mut self.0).await {
                Ok(frame) => frames.push(frame),
                Err(error) => panic!("{error} behind {frames:?}"),
            }
        }
        frames
    }

    /// Frames up to the end of the connection.
    async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(frame) = read_frame(&mut self.0).await {
            frames.push(frame);
        }
        frames
    }
}

/// A server that lets everybody in and answers each Query with one row: its own name and the text.
struct Echo {
    address: String,
    /// Those that are open.
    sessions: Arc<AtomicUsize>,
    queries: Arc<AtomicUsize>,
}

impl Echo {
    fn start(runtime: &Runtime, name: &'static str) -> Echo {
        let listener = runtime.block_on(async { listen() });
        let echo = Echo {
            address: listener.local_addr().unwrap().to_string(),
            sessions: Arc::default(),
            queries: Arc::default(),
        };
        let (sessions, queries) = (Arc::clone(&echo.sessions), Arc::clone(&echo.queries));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (sessions, queries) = (Arc::clone(&sessions), Arc::clone(&queries));
                tokio::spawn(async move {
                    sessions.fetch_add(1, Ordering::SeqCst);
                    // It ends with the connection, which is for the client to judge.
                    let _ = echo_session(stream, name, &queries).await;
                    sessions.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        echo
    }
}

/// Listens with room for everybody who has yet to be accepted: whoever finds the queue full tries again a second later,
/// then two, then four, and the proxy gives up after ten.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.listen(u32::try_from(CROWD).unwrap()).unwrap()
}

async fn echo_session(stream: TcpStream, name: &str, queries: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let startup = stream.read_u32().await?;
    stream
        .read_exact(&mut vec![0; startup as usize - 4])
        .await?;
    let hello = [
        tagged(b'R', &0_i32.to_be_bytes()),
        tagged(b'S', b"client_encoding\0UTF8\0"),
        tagged(b'S', b"standard_conforming_strings\0on\0"),
        tagged(b'K', b"\0\0\0\x07\0\0\0\x07"),
        tagged(b'Z', b"I"),
    ];
    stream.get_mut().write_all(&hello.concat()).await?;
    loop {
        let frame = read_frame(&mut stream).await?;
        if frame.tag != b'Q' {
            return Ok(());
        }
        queries.fetch_add(1, Ordering::SeqCst);
        let text = frame.body.strip_suffix(b"\0").unwrap_or_default();
        let row = [name.as_bytes(), b": ", text].concat();
        let length = i32::try_from(row.len()).unwrap().to_be_bytes();
        let column = iter::once(0).chain(*b"\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        let answer = [
            tagged(b'T', &[vec![0, 1, b'c'], column.collect()].concat()),
            tagged(b'D', &[&[0, 1], &length[..], &row].concat()),
            tagged(b'C', b"ONE 1\0"),
            tagged(b'Z', b"I"),
        ];
        stream.get_mut().write_all(&answer.concat()).await?;
    }
}

async fn read_frame(stream: &mut BufReader<TcpStream>) -> io::Result<Frame> {
    let tag = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok(Frame { tag, body })
}
