//! A TCP proxy before PostgreSQL, for databases that hang rather than fail.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::TestDatabase;

/// What moves. Connections are numbered from 1.
#[derive(Clone, Copy, Debug)]
struct Flow {
    is_open: bool,
    /// Connections up to this one hang for ever.
    forgotten: u64,
}

/// The proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// The database's URL through it.
    pub url: String,
    flow: watch::Sender<Flow>,
    last: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that lets everything pass.
    pub async fn before(database: &TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = database.socket().await;
        let (flow, flows) = watch::channel(Flow { is_open: true, forgotten: 0 });
        let (count, last) = watch::channel(0);
        let task = tokio::spawn(accept(listener, socket, flows, count));
        Self { url: database.url_at(address), flow, last, task }
    }

    /// From now on nothing moves, also on new connections, though they are taken.
    pub fn stall(&self) {
        self.flow.send_modify(|flow| flow.is_open = false);
    }

    /// Everything moves again.
    pub fn resume(&self) {
        self.flow.send_modify(|flow| flow.is_open = true);
    }

    /// Today's connections hang for ever, as when a machine vanished without a word; new ones work.
    pub fn forget_connections(&self) {
        let last = *self.last.borrow();
        self.flow.send_modify(|flow| flow.forgotten = last);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    socket: String,
    flow: watch::Receiver<Flow>,
    count: watch::Sender<u64>,
) {
    // Aborts all of them with this task.
    let mut connections = JoinSet::new();
    loop {
        let (client, _): (TcpStream, SocketAddr) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        count.send_modify(|count| *count += 1);
        let number = *count.borrow();
        let (flow, socket) = (flow.clone(), socket.clone());
        connections.spawn(async move {
            let server = UnixStream::connect(socket).await.unwrap();
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            // Either side may go at any time: that is what is being tested.
            let _ended = tokio::join!(
                pump(client_reads, server_writes, number, flow.clone()),
                pump(server_reads, client_writes, number, flow)
            );
        });
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    mut flow: watch::Receiver<Flow>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        if flow.wait_for(|flow| flow.is_open && number > flow.forgotten).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}
