//! A peer's connection: from the dial to the end of each direction.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pgturnout::session::TlsInfo;
use tokio::io::AsyncWrite as _;

use crate::peer_io::{ReadBuffer, Stream};

/// What there is of one peer.
pub(crate) enum Connection {
    None,
    Pending(Step, Setup),
    Open(Open),
}

/// What is waited for before a connection can be used, or used again.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Dial,
    Tls,
}

pub(crate) type Setup = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

pub(crate) struct Open {
    stream: Stream,
    flow: Flow,
    /// TLS may hold bytes that it took as written.
    unflushed: bool,
    outgoing: Outgoing,
}

/// What becomes of our direction.
enum Outgoing {
    Open,
    /// Everything is written, and the end of the stream is to be.
    Ending,
    Ended,
}

/// The directions that still work.
enum Flow {
    Both,
    /// A write failed. The peer may have said why before that, so what it sent is read first.
    Read,
    /// The peer ended its stream.
    Write,
    Neither,
}

/// What a read came to.
pub(crate) enum Heard {
    Bytes,
    /// Nothing now; the task is woken when there is something.
    Nothing,
    /// The end of the stream.
    End,
    /// The connection is broken, and nothing more can be read.
    Broken,
}

/// What a write came to.
pub(crate) enum Sent {
    /// This many bytes of it were taken.
    Bytes(usize),
    /// It failed. Whether the connection is broken is for the next read to say.
    Failed,
    /// The connection is broken, and had ended before in the other direction.
    Broken,
}

impl Connection {
    pub(crate) fn open(stream: Stream) -> Connection {
        Connection::Open(Open {
            stream,
            flow: Flow::Both,
            unflushed: false,
            outgoing: Outgoing::Open,
        })
    }

    pub(crate) fn pending(
        step: Step,
        setup: impl Future<Output = io::Result<Stream>> + Send + 'static,
    ) -> Connection {
        Connection::Pending(step, Box::pin(setup))
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Connection::Open(_))
    }

    /// What is known of its handshake, if there was one.
    pub(crate) fn tls_info(&self) -> TlsInfo {
        match self {
            Connection::Open(open) => open.stream.tls_info(),
            Connection::None | Connection::Pending(..) => TlsInfo::default(),
        }
    }

    /// Ends our direction: everything is written. The other one stays.
    pub(crate) fn finish(&mut self) {
        if let Connection::Open(open) = self {
            open.outgoing = Outgoing::Ending;
        }
    }

    /// Takes the connection away, to be encrypted or closed.
    pub(crate) fn take(&mut self) -> Option<Stream> {
        match std::mem::replace(self, Connection::None) {
            Connection::Open(open) => Some(open.stream),
            Connection::None | Connection::Pending(..) => None,
        }
    }

    /// Goes on with a dial or a handshake; says when it is done, and how it went.
    pub(crate) fn poll_setup(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Step, Result<(), String>)> {
        let Connection::Pending(step, setup) = self else {
            return None;
        };
        let step = *step;
        let Poll::Ready(outcome) = setup.as_mut().poll(cx) else {
            return None;
        };
        let (connection, outcome) = match outcome {
            Ok(stream) => (Connection::open(stream), Ok(())),
            Err(error) => (Connection::None, Err(error.to_string())),
        };
        *self = connection;
        Some((step, outcome))
    }

    /// One read, if it is wanted, possible, and there is room.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuffer,
        wanted: bool,
    ) -> Option<Heard> {
        let Connection::Open(open) = self else {
            return None;
        };
        let failed = match open.flow {
            Flow::Both => false,
            Flow::Read => true,
            Flow::Write | Flow::Neither => return None,
        };
        let read = if wanted {
            buffer.poll_fill(cx, &mut open.stream)
        } else {
            None
        };
        match read {
            Some(Poll::Ready(Ok(1..))) => Some(Heard::Bytes),
            Some(Poll::Ready(Ok(0))) if !failed => {
                open.flow = Flow::Write;
                Some(Heard::End)
            }
            Some(Poll::Pending) if !failed => Some(Heard::Nothing),
            None if !failed => None,
            Some(_) | None => {
                open.flow = Flow::Neither;
                Some(Heard::Broken)
            }
        }
    }

    /// One write. Its count is the truth: there is no writing of a whole message.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Option<Sent> {
        let Connection::Open(open) = self else {
            return None;
        };
        let ended = match open.flow {
            Flow::Both => false,
            Flow::Write => true,
            Flow::Read | Flow::Neither => return None,
        };
        match Pin::new(&mut open.stream).poll_write(cx, bytes) {
            Poll::Pending => None,
            Poll::Ready(Ok(n)) => {
                open.unflushed = matches!(open.stream, Stream::Tls(_));
                Some(Sent::Bytes(n))
            }
            Poll::Ready(Err(_)) if ended => {
                open.flow = Flow::Neither;
                Some(Sent::Broken)
            }
            Poll::Ready(Err(_)) => {
                open.flow = Flow::Read;
                Some(Sent::Failed)
            }
        }
    }

    /// Pushes on what TLS could not write at once, and the end of the stream behind it.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        let Connection::Open(open) = self else {
            return;
        };
        // An error shows at the next read or write.
        if open.unflushed {
            open.unflushed = Pin::new(&mut open.stream).poll_flush(cx).is_pending();
        }
        if matches!(open.outgoing, Outgoing::Ending)
            && Pin::new(&mut open.stream).poll_shutdown(cx).is_ready()
        {
            open.outgoing = Outgoing::Ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write as _;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Connection, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let far = listener.accept().await.unwrap().0.into_std().unwrap();
        far.set_nonblocking(false).unwrap();
        (Connection::open(Stream::plain(near)), far)
    }

    async fn read(connection: &mut Connection, buffer: &mut ReadBuffer) -> Heard {
        poll_fn(|cx| match connection.poll_read(cx, buffer, true) {
            Some(Heard::Nothing) | None => Poll::Pending,
            Some(heard) => Poll::Ready(heard),
        })
        .await
    }

    async fn write(connection: &mut Connection, bytes: &[u8]) -> Option<Sent> {
        poll_fn(|cx| Poll::Ready(connection.poll_write(cx, bytes))).await
    }

    #[tokio::test]
    async fn what_a_peer_said_before_it_broke_is_heard_first() {
        let (mut near, mut far) = pair().await;
        let mut buffer = ReadBuffer::new(64);
        far.write_all(b"why").unwrap();
        drop(far);
        // The first write goes to a peer that answers it with a reset, the next one fails.
        while matches!(write(&mut near, b"x").await, Some(Sent::Bytes(_))) {
            tokio::task::yield_now().await;
        }
        assert!(write(&mut near, b"x").await.is_none(), "written to again");
        assert!(matches!(read(&mut near, &mut buffer).await, Heard::Bytes));
        assert_eq!(buffer.bytes(), b"why");
        assert!(matches!(read(&mut near, &mut buffer).await, Heard::Broken));
    }

    #[tokio::test]
    async fn an_ended_stream_can_be_written_to_until_that_fails() {
        let (mut near, far) = pair().await;
        let mut buffer = ReadBuffer::new(64);
        far.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(read(&mut near, &mut buffer).await, Heard::End));
        assert!(matches!(write(&mut near, b"x").await, Some(Sent::Bytes(1))));
        drop(far);
        let end = loop {
            match write(&mut near, b"x").await {
                Some(Sent::Bytes(_)) | None => tokio::task::yield_now().await,
                Some(end) => break end,
            }
        };
        assert!(matches!(end, Sent::Broken));
    }
}
