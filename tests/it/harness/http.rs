//! HTTP as plain as the operations port speaks it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

/// `GET path` at `127.0.0.1:port`.
pub async fn get(address: &str, path: &str) -> HttpAnswer {
    request(address, "GET", path).await
}

/// Any method.
pub async fn request(address: &str, method: &str, path: &str) -> HttpAnswer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    HttpAnswer { status, head: head.to_lowercase(), body: body.to_owned() }
}
