//! A TCP proxy before PostgreSQL, for databases that hang, vanish or say less than they should.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keystile::embedded::ROLE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::TestDatabase;

/// PostgreSQL's NotificationResponse.
const NOTIFICATION: u8 = b'A';
/// PostgreSQL's ParseComplete.
const PREPARED: u8 = b'1';
/// How a client asks for notifications.
const LISTEN: &[u8] = b"LISTEN ";

/// What moves. Connections are numbered from 1.
#[derive(Clone, Debug)]
struct Flow {
    /// The database's socket.
    socket: String,
    is_open: bool,
    /// Connections up to this one hang for ever.
    forgotten: u64,
    /// Connections up to this one are ended.
    ended: u64,
    /// New ones are ended too.
    is_cut: bool,
    /// Notifications of the database are left out.
    is_silent: bool,
    /// Every other answer is late, by up to this much, but for connections that listen.
    late_by: Duration,
}

/// What has been seen on all connections.
#[derive(Debug, Default)]
struct Counts {
    left_out: AtomicU64,
    round_trips: AtomicU64,
    prepared: AtomicU64,
}

/// The proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// The database's URL through it.
    pub url: String,
    flow: watch::Sender<Flow>,
    last: watch::Receiver<u64>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that lets everything pass.
    pub async fn before(database: &TestDatabase) -> Self {
        Self::to(database.socket().await, database.name()).await
    }

    /// The same, before the database of this name behind a unix socket.
    pub async fn to(socket: String, database: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Flow {
            socket,
            is_open: true,
            forgotten: 0,
            ended: 0,
            is_cut: false,
            is_silent: false,
            late_by: Duration::ZERO,
        };
        let (flow, flows) = watch::channel(open);
        let (count, last) = watch::channel(0);
        let counts = Arc::default();
        let task = tokio::spawn(accept(listener, flows, count, Arc::clone(&counts)));
        Self { url: format!("postgres://{ROLE}@{address}/{database}"), flow, last, counts, task }
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

    /// Ends every connection, and new ones at once.
    pub fn cut(&self) {
        let last = *self.last.borrow();
        self.flow.send_modify(|flow| (flow.ended, flow.is_cut) = (last, true));
    }

    /// New connections work again.
    pub fn mend(&self) {
        self.flow.send_modify(|flow| flow.is_cut = false);
    }

    /// New connections lead to this socket.
    pub fn lead_to(&self, socket: &str) {
        self.flow.send_modify(|flow| socket.clone_into(&mut flow.socket));
    }

    /// From now on no notification of the database arrives; everything else does.
    pub fn silence(&self) {
        self.flow.send_modify(|flow| flow.is_silent = true);
    }

    /// From now on every other answer, by chance, is late by up to this much. Connections that listen for notifications
    /// are spared: what they tell overtakes what was asked before.
    pub fn delay(&self, late_by: Duration) {
        self.flow.send_modify(|flow| flow.late_by = late_by);
    }

    /// How many notifications did not arrive.
    pub fn left_out(&self) -> u64 {
        self.counts.left_out.load(Ordering::Relaxed)
    }

    /// How often a client has said something after it had been answered.
    pub fn round_trips(&self) -> u64 {
        self.counts.round_trips.load(Ordering::Relaxed)
    }

    /// How many statements were prepared.
    pub fn prepared(&self) -> u64 {
        self.counts.prepared.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    flow: watch::Receiver<Flow>,
    count: watch::Sender<u64>,
    counts: Arc<Counts>,
) {
    // Aborts all of them with this task.
    let mut connections = JoinSet::new();
    loop {
        let (client, _): (TcpStream, SocketAddr) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        count.send_modify(|count| *count += 1);
        let number = *count.borrow();
        let (mut flow, counts) = (flow.clone(), Arc::clone(&counts));
        if flow.borrow().is_cut {
            continue;
        }
        connections.spawn(async move {
            let socket = flow.borrow().socket.clone();
            // A database that is down refuses its clients.
            let Ok(server) = UnixStream::connect(socket).await else { return };
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            let connection = Connection {
                number,
                listens: AtomicBool::default(),
                is_answered: AtomicBool::default(),
                counts,
            };
            let asks = pump(client_reads, server_writes, &connection, flow.clone());
            let answers = pump_messages(server_reads, client_writes, &connection, flow.clone());
            // Either side may go at any time: that is what is being tested.
            tokio::select! {
                _ended = async { tokio::join!(asks, answers) } => {}
                _cut = flow.wait_for(|flow| number <= flow.ended) => {}
            }
        });
    }
}

/// What is known of a connection.
struct Connection {
    number: u64,
    /// Its client has asked for notifications.
    listens: AtomicBool,
    /// What its client said last was answered.
    is_answered: AtomicBool,
    counts: Arc<Counts>,
}

/// Waits until the bytes of a connection may move; `false`: never.
async fn may_move(flow: &mut watch::Receiver<Flow>, number: u64) -> bool {
    flow.wait_for(|flow| flow.is_open && number > flow.forgotten).await.is_ok()
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    connection: &Connection,
    mut flow: watch::Receiver<Flow>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        if buffer[..length].windows(LISTEN.len()).any(|window| window == LISTEN) {
            connection.listens.store(true, Ordering::Relaxed);
        }
        if !may_move(&mut flow, connection.number).await {
            return Ok(());
        }
        if connection.is_answered.swap(false, Ordering::Relaxed) {
            connection.counts.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// The same, message by message, from the server.
async fn pump_messages(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    connection: &Connection,
    mut flow: watch::Receiver<Flow>,
) -> std::io::Result<()> {
    let mut messages = Messages::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        messages.push(&buffer[..length]);
        let late_by = flow.borrow().late_by;
        if !late_by.is_zero() && !connection.listens.load(Ordering::Relaxed) && rand::random() {
            // Nothing is waited for: the delay is what is being tested.
            let _late = timeout(late_by.mul_f64(rand::random()), pending::<()>()).await;
        }
        if !may_move(&mut flow, connection.number).await {
            return Ok(());
        }
        connection.is_answered.store(true, Ordering::Relaxed);
        let mut passing = Vec::new();
        while let Some(message) = messages.next() {
            if message[0] == NOTIFICATION && flow.borrow().is_silent {
                connection.counts.left_out.fetch_add(1, Ordering::Relaxed);
            } else {
                if message[0] == PREPARED {
                    connection.counts.prepared.fetch_add(1, Ordering::Relaxed);
                }
                passing.extend(message);
            }
        }
        to.write_all(&passing).await?;
    }
}

/// What a server says, in whole messages: a byte that tells the kind, the length of the rest, the rest.
#[derive(Debug, Default)]
struct Messages {
    pending: Vec<u8>,
    is_past_start: bool,
}

impl Messages {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let kind = *self.pending.first()?;
        // A client that asked for TLS is told no by a single letter; nothing else begins with a notice.
        let length = if !self.is_past_start && kind == b'N' {
            1
        } else {
            let length: [u8; 4] = self.pending.get(1..5)?.try_into().unwrap();
            1 + usize::try_from(u32::from_be_bytes(length)).unwrap()
        };
        if self.pending.len() < length {
            return None;
        }
        self.is_past_start = true;
        Some(self.pending.drain(..length).collect())
    }
}

#[test]
fn messages_are_cut_out_of_bytes_that_come_in_any_portions() {
    let bytes = b"NR\0\0\0\x08\0\0\0\0N\0\0\0\x05xA\0\0\0\x09abcdeZ\0\0\0\x05I";
    for portion in 1..=bytes.len() {
        let mut messages = Messages::default();
        let mut found = Vec::new();
        for bytes in bytes.chunks(portion) {
            messages.push(bytes);
            found.extend(std::iter::from_fn(|| messages.next()));
        }
        let kinds: Vec<(u8, usize)> = found.iter().map(|message| (message[0], message.len())).collect();
        assert_eq!(kinds, [(b'N', 1), (b'R', 9), (b'N', 6), (b'A', 10), (b'Z', 6)]);
        assert_eq!(found.concat(), bytes);
    }
}
