//! One connection and the fixed block that is read into.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BufMut as _;
use pgturnout::session::TlsInfo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A connection, encrypted or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Begun>>),
}

/// A connection of which some bytes were read already: the beginning of a handshake that nobody asked for.
pub(crate) struct Begun {
    read: Vec<u8>,
    stream: TcpStream,
}

impl Begun {
    pub(crate) fn new(read: Vec<u8>, stream: TcpStream) -> Begun {
        Begun { read, stream }
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = buf.remaining().min(self.read.len());
        buf.put_slice(&self.read[..count]);
        self.read.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Stream {
    /// A connection over TCP. Requests and replies are small and waited for: nothing is gained by delaying them. A
    /// peer whose machine vanished is noticed in idle sessions too, when the system's keepalive says so, as
    /// PostgreSQL and libpq have it.
    pub(crate) fn plain(stream: TcpStream) -> Stream {
        // These fail only on a connection that is gone, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_keepalive(true);
        Stream::Plain(stream)
    }

    /// Back to TCP, for a handshake that may happen once.
    pub(crate) fn into_plain(self) -> io::Result<TcpStream> {
        match self {
            Stream::Plain(stream) => Ok(stream),
            Stream::Tls(_) => Err(io::Error::other("encrypted already")),
        }
    }

    /// What is known of the handshake, if there was one.
    pub(crate) fn tls_info(&self) -> TlsInfo {
        let mut info = TlsInfo::default();
        let Stream::Tls(stream) = self else {
            return info;
        };
        let (_, state) = stream.get_ref();
        info.alpn = state.alpn_protocol().map(Box::from);
        let certificate = state.peer_certificates().and_then(<[_]>::first);
        info.peer_certificate = certificate.map(|der| der.as_ref().into());
        if let TlsStream::Server(server) = stream.as_ref() {
            info.server_name = server.get_ref().1.server_name().map(Box::from);
        }
        info
    }

    fn reader(&mut self) -> Pin<&mut (dyn AsyncRead + Unpin)> {
        match self {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match self {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().reader().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().writer().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writer().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writer().poll_shutdown(cx)
    }
}

/// How many empty blocks each thread keeps. A block is taken at every read and given back when nothing was read, so
/// a thread needs one, and a few more when sessions with half a message in their blocks become idle.
const SPARE_BLOCKS: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A block of memory with unread bytes in it. The block is there only while there are such bytes, or a read is
/// tried: thousands of idle connections share a handful of blocks.
pub(crate) struct ReadBuffer {
    size: usize,
    /// Never longer than `size`, so that it never moves.
    block: Option<Vec<u8>>,
    /// How much of it is consumed.
    start: usize,
}

impl ReadBuffer {
    /// An empty buffer that holds up to `size` bytes. All buffers of a process have the same size.
    pub(crate) fn new(size: usize) -> ReadBuffer {
        ReadBuffer {
            size,
            block: None,
            start: 0,
        }
    }

    /// The bytes not yet consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.block {
            Some(block) => &block[self.start..],
            None => &[],
        }
    }

    pub(crate) fn consume(&mut self, n: usize) {
        assert!(n <= self.bytes().len(), "more consumed than was there");
        self.start += n;
        if self.bytes().is_empty() {
            self.clear();
        }
    }

    /// Forgets the bytes.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        if let Some(mut block) = self.block.take() {
            block.clear();
            give_back(block);
        }
    }

    /// One read into the free part, of which there is none if the answer is `None`; 0 is the end of the stream.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Option<Poll<io::Result<usize>>> {
        let size = self.size;
        let block = self.block.get_or_insert_with(|| take_block(size));
        // Moving the rest to the front costs a copy: do it when less than half of the block can be read into.
        if self.start > 0 && size - block.len() < size / 2 {
            block.drain(..self.start);
            self.start = 0;
        }
        if block.len() == size {
            return None;
        }
        let free = size - block.len();
        let mut room = block.limit(free);
        let read = pin!(stream.read_buf(&mut room)).poll(cx);
        if self.bytes().is_empty() {
            self.clear();
        }
        Some(read)
    }
}

/// A block, whose memory costs nothing until something is read into it.
fn take_block(size: usize) -> Vec<u8> {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(size))
}

fn give_back(block: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_BLOCKS {
            spare.push(block);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bytes: &[u8], size: usize) -> ReadBuffer {
        let mut block = Vec::with_capacity(size);
        block.extend_from_slice(bytes);
        ReadBuffer {
            block: Some(block),
            ..ReadBuffer::new(size)
        }
    }

    #[test]
    fn a_block_is_given_back_when_it_is_empty_and_not_before() {
        let mut buffer = with(b"abc", 8);
        buffer.consume(2);
        assert_eq!(buffer.bytes(), b"c");
        buffer.consume(1);
        assert!(buffer.block.is_none());
        assert_eq!(buffer.bytes(), b"");
    }

    #[tokio::test]
    async fn a_peer_that_vanished_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        for stream in [near.unwrap(), far.unwrap().0] {
            let stream = Stream::plain(stream).into_plain().unwrap();
            assert!(SockRef::from(&stream).keepalive().unwrap());
        }
    }

    #[tokio::test]
    async fn a_read_takes_the_room_left_by_what_was_consumed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = Stream::plain(listener.accept().await.unwrap().0);
        io::Write::write_all(&mut far, b"abcdefghijkl").unwrap();

        let mut buffer = ReadBuffer::new(8);
        let mut fill = async |buffer: &mut ReadBuffer| {
            std::future::poll_fn(|cx| match buffer.poll_fill(cx, &mut stream) {
                Some(read) => read.map(Some),
                None => Poll::Ready(None),
            })
            .await
        };
        assert_eq!(fill(&mut buffer).await.unwrap().unwrap(), 8);
        assert!(fill(&mut buffer).await.is_none(), "the block is full");
        buffer.consume(5);
        assert_eq!(buffer.bytes(), b"fgh");
        assert_eq!(fill(&mut buffer).await.unwrap().unwrap(), 4);
        assert_eq!(buffer.bytes(), b"fghijkl");
        drop(far);
        assert_eq!(
            fill(&mut buffer).await.unwrap().unwrap(),
            0,
            "the end of the stream"
        );
    }
}
