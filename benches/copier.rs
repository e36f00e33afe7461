//! The floor of what a proxy can cost: it copies bytes both ways and looks at none of them.
//!
//! `copier --listen ADDR --to ADDR` serves until it is killed; `benches/cpu.sh` measures the proxy against it.
//! Without arguments it copies a little through itself and checks what arrives.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::thread;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// As much as the proxy reads at once.
const BUFFER: usize = 64 * 1024;

#[allow(clippy::disallowed_methods, reason = "a program has arguments")]
fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--listen", listen, "--to", to] => {
            let to = to.parse().map_err(io::Error::other)?;
            let runtime = tokio::runtime::Runtime::new()?;
            let listener = runtime.block_on(TcpListener::bind(listen))?;
            println!("listening on {}", listener.local_addr()?);
            runtime.block_on(serve(listener, to))
        }
        // What cargo passes to benchmarks and tests.
        [] | ["--bench" | "--test", ..] => check(),
        _ => Err(io::Error::other("usage: copier --listen ADDR --to ADDR")),
    }
}

async fn serve(listener: TcpListener, to: SocketAddr) -> io::Result<()> {
    loop {
        let (mut client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut server = TcpStream::connect(to).await?;
            server.set_nodelay(true)?;
            copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await
        });
    }
}

/// A server that answers what it was told, the copier before it, and a client that compares.
fn check() -> io::Result<()> {
    let far = std::net::TcpListener::bind("127.0.0.1:0")?;
    let to = far.local_addr()?;
    let server = thread::spawn(move || {
        let (mut stream, _) = far.accept()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        stream.write_all(&all)
    });
    let runtime = tokio::runtime::Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(serve(listener, to));

    let said: Vec<u8> = (0..=u8::MAX).cycle().take(3 * BUFFER).collect();
    let mut client = std::net::TcpStream::connect(address)?;
    client.write_all(&said)?;
    client.shutdown(Shutdown::Write)?;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard)?;
    assert!(heard == said, "the copier changed what it copied");
    server.join().expect("the server panicked")
}
