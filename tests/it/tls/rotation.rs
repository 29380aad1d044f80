//! Certificates and authorities that are replaced while the service runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tokio::task::JoinSet;
use tonic::service::interceptor::InterceptedService;

use super::authority::Authority;
use super::{SERVER_NAMES, Stage, grpc, grpc_once, shake_hands, shown_certificate};
use crate::harness::{Bearer, eventually, get};

const CLIENTS: usize = 24;
const CALLS_OF_A_CONNECTION: usize = 4;

/// What clients do and see, together.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    calls: AtomicUsize,
    reconnects: AtomicUsize,
    failures: std::sync::Mutex<BTreeSet<String>>,
}

impl Tally {
    /// Calls often, on a connection that stays and on ones that come and go.
    async fn client(self: Arc<Self>, address: String, config: rustls::ClientConfig, token: String) {
        let ask = async |channel: &tonic::transport::Channel| {
            let mut client = AuthorizeServiceClient::new(InterceptedService::new(
                channel.clone(),
                Bearer::new(Some(&token)),
            ));
            let question = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
            match client.authorize(question).await {
                Ok(_) => self.calls.fetch_add(1, Ordering::Relaxed),
                Err(status) => {
                    self.failures.lock().unwrap().insert(format!("{status:?}"));
                    0
                }
            }
        };
        let made = Arc::new(AtomicUsize::new(0));
        let lasting = grpc(&address, config.clone(), Arc::clone(&made)).await.unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            match grpc_once(&address, config.clone()).await {
                Ok(passing) => {
                    for _ in 0..CALLS_OF_A_CONNECTION {
                        ask(&passing).await;
                    }
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.failures.lock().unwrap().insert(format!("{error:?}"));
                }
            }
            ask(&lasting).await;
        }
        assert_eq!(made.load(Ordering::Relaxed), 1, "the connection that stays was never dropped");
    }

    async fn goes_on(&self, what: &str) {
        let (calls, reconnects) = (&self.calls, &self.reconnects);
        let goal = (calls.load(Ordering::Relaxed) + 500, reconnects.load(Ordering::Relaxed) + 2 * CLIENTS);
        let is_there =
            async || calls.load(Ordering::Relaxed) > goal.0 && reconnects.load(Ordering::Relaxed) > goal.1;
        eventually(what, is_there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_swapped_under_load_fails_no_call() {
    let stage = Stage::set().await;
    let server = stage.serve(&[]);
    let tally = Arc::new(Tally::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, token) = (server.address.clone(), stage.admin_token.clone());
        clients.spawn(Arc::clone(&tally).client(address, stage.client(None), token));
    }
    tally.goes_on("calls before").await;
    for round in 0..3 {
        let renewed = stage.servers.leaf(&SERVER_NAMES);
        stage.put_leaf("server", &renewed);
        let shows_it = async || shown_certificate(&server.address, stage.client(None)).await == renewed.der();
        eventually("new connections see the new certificate", shows_it).await;
        tally.goes_on(&format!("calls after swap {round}")).await;
    }
    tally.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(*tally.failures.lock().unwrap(), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_leave_the_last_good_ones_in_force() {
    let stage = Stage::set().await;
    let first = stage.servers.leaf(&SERVER_NAMES);
    stage.put_leaf("server", &first);
    let mut server = stage.serve(&[]);
    let address = server.address.clone();
    let shows = async || shown_certificate(&address, stage.client(None)).await;

    let other = stage.servers.leaf(&SERVER_NAMES);
    stage.put("server.key", &other.key_pem);
    let line = server.wait_for_log(|line| line.contains("the last good ones stay in force"));
    assert!(line.contains("ERROR") && line.contains("server.key") && line.contains("server.crt"), "{line}");
    assert_eq!(shows().await, first.der());

    stage.put("server.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let line = server.wait_for_log(|line| line.contains("the last good ones stay in force"));
    assert!(line.contains("server.crt cannot be used"), "{line}");
    std::fs::remove_file(stage.path("server.crt")).unwrap();
    let line = server.wait_for_log(|line| line.contains("the last good ones stay in force"));
    assert!(line.contains("cannot read") && line.contains("server.crt"), "{line}");
    assert_eq!(shows().await, first.der());

    stage.put("server.crt", &other.pem);
    server.wait_for_log(|line| line.contains("new connections use the changed"));
    assert_eq!(shows().await, other.der());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_warned_of() {
    let stage = Stage::set().await;
    let mut server = stage.serve(&[]);
    stage.put_leaf("server", &stage.servers.for_days(&SERVER_NAMES, 9));
    server.wait_for_log(|line| line.contains("new connections use the changed"));
    stage.put_leaf("server", &stage.servers.for_days(&SERVER_NAMES, 5));
    server.wait_for_log(|line| !line.contains("WARN") && line.contains("new connections use the changed"));
    let line = server.wait_for_log(|line| line.contains("the certificate expires soon: renew it"));
    assert!(line.contains("WARN") && line.contains("expires_at"), "{line}");
    stage.put_leaf("server", &stage.servers.expired(&SERVER_NAMES));
    let line = server.wait_for_log(|line| line.contains("the certificate has expired"));
    assert!(line.contains("ERROR"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_behind_a_symbolic_link_is_swapped_as_kubernetes_does() {
    let stage = Stage::set().await;
    let volume = stage.path("volume");
    let put = |version: &str| {
        let leaf = stage.servers.leaf(&SERVER_NAMES);
        let folder = volume.join(version);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("tls.crt"), &leaf.pem).unwrap();
        std::fs::write(folder.join("tls.key"), &leaf.key_pem).unwrap();
        std::os::unix::fs::symlink(version, volume.join("data.new")).unwrap();
        std::fs::rename(volume.join("data.new"), volume.join("data")).unwrap();
        leaf
    };
    put("1");
    let files =
        ["tls.crt", "tls.key"].map(|name| volume.join("data").join(name).to_str().unwrap().to_owned());
    let server = stage.serve(&[("KEYSTILE_TLS_CERT_FILE", &files[0]), ("KEYSTILE_TLS_KEY_FILE", &files[1])]);
    let second = put("2");
    let shows_it = async || shown_certificate(&server.address, stage.client(None)).await == second.der();
    eventually("new connections see the new certificate", shows_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_held_to_the_new_authority_of_clients() {
    let stage = Stage::set().await;
    let server = stage.serve_mutual(&[]);
    let (old, next) = (stage.clients.leaf(&["gateway.internal"]), Authority::new("next"));
    let new = next.leaf(&["gateway.internal"]);
    // In TLS 1.3 a client learns with its first bytes whether its certificate is accepted.
    let is_accepted = async |leaf| {
        let mut stream = shake_hands(&server.address, stage.client(Some(leaf))).await.unwrap();
        tokio::io::AsyncReadExt::read_u8(&mut stream).await.is_ok()
    };
    assert!(is_accepted(&old).await && !is_accepted(&new).await);
    stage.put("clients.pem", &format!("{}{}", stage.clients.pem, next.pem));
    eventually("both authorities are trusted", async || is_accepted(&new).await).await;
    assert!(is_accepted(&old).await);
    stage.put("clients.pem", &next.pem);
    eventually("the old one is not trusted any more", async || !is_accepted(&old).await).await;
    assert!(is_accepted(&new).await);
}

/// A pipe to which nobody writes stands for a volume whose server is gone: whoever reads it waits.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_hang_hold_neither_handshakes_nor_the_end_up() {
    let stage = Stage::set().await;
    let mut server = stage.serve(&[("KEYSTILE_DRAIN_TIMEOUT", "10m")]);
    let shown = shown_certificate(&server.address, stage.client(None)).await;
    let pipe = stage.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::fs::rename(&pipe, stage.path("server.crt")).unwrap();
    let mut writer = None;
    eventually("the pipe is read", async || {
        // Fails as long as nobody has opened the other end.
        writer =
            rustix::fs::open(stage.path("server.crt"), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
        writer.is_some()
    })
    .await;
    assert_eq!(shown_certificate(&server.address, stage.client(None)).await, shown);
    assert!(tokio::task::block_in_place(|| server.terminate()).success());
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_in_force_and_failed_handshakes_are_exported() {
    let stage = Stage::set().await;
    let mut server = stage.serve(&[]);
    let value = async |series: &str| {
        let page = get(&server.ops(), "/metrics").await.body;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse::<i64>().unwrap())
    };
    let expiry = "keystile_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(value(expiry).await, Some(4_070_908_800), "2099-01-01");
    let refused = "keystile_tls_handshake_failures_total{reason=\"refused_by_peer\"}";
    assert_eq!(value(refused).await, Some(0));
    let trusting_others = stage.clients.trusted_by_client(None);
    shake_hands(&server.address, trusting_others).await.unwrap_err();
    eventually("the failure is counted", async || value(refused).await == Some(1)).await;
    stage.put_leaf("server", &stage.servers.expired(&SERVER_NAMES));
    eventually("the new expiry is told", async || value(expiry).await == Some(1_609_459_200)).await;
    assert!(tokio::task::block_in_place(|| server.terminate()).success());
}
