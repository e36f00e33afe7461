//! Who asks for the metrics: as much of HTTP as that takes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Proxy, accept, metrics};

/// How many may ask at once; others wait to be accepted. One scraper is usual, two while it is replaced.
const CONNECTIONS: usize = 8;

/// How long one of them may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes. Scrapers send some hundreds.
const HEAD: usize = 8 << 10;

/// What scrapers call this text format.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers one request on each connection, for ever.
pub(crate) async fn serve(proxy: Arc<Proxy>, listener: TcpListener) {
    let answer = |stream| {
        let proxy = Arc::clone(&proxy);
        async move {
            let _ = tokio::time::timeout(LIMIT, answer(&proxy, stream)).await;
        }
    };
    accept::each(listener, CONNECTIONS, answer).await;
}

async fn answer(proxy: &Proxy, mut stream: TcpStream) -> io::Result<()> {
    let response = match read_head(&mut stream).await? {
        Some(head) => respond(proxy, &head).await,
        None => plain("431 Request Header Fields Too Large", ""),
    };
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with something unread would take the answer back.
    while stream.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}

/// The lines of a request up to the empty one; `None` if they are too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&part[..count]);
        if head.len() > HEAD {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

async fn respond(proxy: &Proxy, head: &[u8]) -> String {
    match asks_for(head) {
        Ok(()) => {
            metrics::refresh(proxy).await;
            match proxy.metrics.text() {
                Ok(text) => response("200 OK", "", TEXT, &text),
                Err(_) => plain("500 Internal Server Error", ""),
            }
        }
        Err(refusal) => refusal,
    }
}

/// Whether a request is for the metrics, or what it gets instead.
fn asks_for(head: &[u8]) -> Result<(), String> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err(plain("400 Bad Request", ""));
    };
    if !version.starts_with(b"HTTP/1.") {
        return Err(plain("400 Bad Request", ""));
    }
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    if path != b"/metrics" {
        return Err(plain("404 Not Found", ""));
    }
    if *method != b"GET" {
        return Err(plain("405 Method Not Allowed", "Allow: GET\r\n"));
    }
    Ok(())
}

fn plain(status: &str, fields: &str) -> String {
    response(
        status,
        fields,
        "text/plain; charset=utf-8",
        &format!("{status}\n"),
    )
}

fn response(status: &str, fields: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n{fields}\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_other_things_are_refused() {
        for (head, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", None),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", None),
            ("GET / HTTP/1.1\r\n\r\n", Some("404")),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", Some("404")),
            ("POST /metrics HTTP/1.1\r\n\r\n", Some("405")),
            ("GET /metrics\r\n\r\n", Some("400")),
            ("PRI * HTTP/2.0\r\n\r\n", Some("400")),
            ("\r\n\r\n", Some("400")),
        ] {
            let refusal = asks_for(head.as_bytes()).err();
            let found = refusal.as_deref().map(|text| &text[9..12]);
            assert_eq!(found, status, "{head:?}");
        }
    }

    async fn asked(bytes: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        tokio::spawn(async move {
            let _ = client.write_all(&bytes).await;
        });
        read_head(&mut listener.accept().await.unwrap().0).await
    }

    #[tokio::test]
    async fn a_head_is_read_to_its_end_and_no_further_than_its_limit() {
        let of = |length: usize| {
            let mut head = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
            head.resize(length - 4, b'x');
            [head.as_slice(), b"\r\n\r\n"].concat()
        };
        assert_eq!(
            asked(of(HEAD)).await.unwrap().map(|head| head.len()),
            Some(HEAD)
        );
        assert_eq!(asked(of(HEAD + 1)).await.unwrap(), None);
        assert!(asked(b"GET /metrics".to_vec()).await.is_err());
    }
}
