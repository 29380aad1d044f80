//! Who may call what: every rpc of the contract × every kind of caller, as a reviewed golden file.
//!
//! The rpcs come from the descriptors, so a new one is in the table without code here.
//! `UPDATE_GOLDEN=1 cargo test --test it callers` writes `callers/table.golden` anew: read what `git diff` shows
//! before it is committed.

mod open;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use keystile::token::{Brand, Token, os_rng};
use prost_reflect::DescriptorPool;
use prost_types::Timestamp;
use tonic::Code;

use crate::harness::App;
use crate::look_alikes;
use crate::raw::{Answer, Call, Connection, frame};

const HEADER: &str = "\
# What each kind of caller gets for an empty request to each rpc; see tests/it/callers.rs.
#
# OK and the reasons other than CALLER_… mean that the caller was let in: INVALID_REQUEST is what an empty
# request is, METHOD_NOT_SERVED what this version does not do yet.
";

/// One rpc of the contract.
struct Rpc {
    method: String,
    kind: &'static str,
}

impl Rpc {
    /// An empty request. A stream of the server's has no end.
    async fn call(&self, connection: &Connection, kind: &Kind) -> Answer {
        let call = kind.call(&self.method);
        if self.kind == "server stream" { connection.begin(call).await } else { connection.call(call).await }
    }
}

fn contract() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let rpcs = methods.map(|method| Rpc {
        method: format!("{}/{}", method.parent_service().full_name(), method.name()),
        kind: match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => "unary",
            (true, false) => "client stream",
            (false, true) => "server stream",
            (true, true) => "both stream",
        },
    });
    rpcs.collect()
}

/// A caller, by what it sends as `authorization`.
struct Kind {
    name: &'static str,
    authorization: Vec<String>,
}

impl Kind {
    fn token(name: &'static str, token: &str) -> Self {
        Self { name, authorization: vec![format!("Bearer {token}")] }
    }

    fn call(&self, method: &str) -> Call {
        self.authorization.iter().fold(Call::to(method), |call, value| call.header("authorization", value))
    }
}

/// A service by a clock that stands still, and every kind of caller.
struct Stage {
    app: App,
    connection: Connection,
    kinds: Vec<Kind>,
    secrets: Vec<String>,
}

impl Stage {
    async fn set() -> Self {
        let clock = ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap());
        let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
        let admin = app.admin_token.clone();
        let mut kinds = vec![
            Kind { name: "no token", authorization: Vec::new() },
            Kind { name: "empty token", authorization: vec!["Bearer ".to_owned()] },
            Kind { name: "token without a scheme", authorization: vec![admin.clone()] },
            Kind { name: "scheme Basic", authorization: vec![format!("Basic {admin}")] },
            Kind { name: "two headers", authorization: vec![format!("Bearer {admin}"); 2] },
            Kind::token("two tokens in one header", &format!("{admin}, Bearer {admin}")),
            Kind::token("garbage", "nothing-like-a-token"),
            Kind::token("broken checksum", &look_alikes::broken_checksum(&admin)),
            Kind::token("other secret", &look_alikes::other_secret(&admin)),
            Kind::token("unknown token", Token::generate(&Brand::default(), &mut os_rng()).expose()),
        ];
        kinds.extend(service_tokens(&app, &clock).await);
        let ordinary = pb::Key { user_id: 7, display_name: "ordinary".into(), ..Default::default() };
        let scopes = vec!["*".to_owned(), "keystile".to_owned()];
        let everything = pb::Key { scopes, ..ordinary.clone() };
        kinds.push(Kind::token("ordinary key", &app.create(ordinary).await.1));
        kinds.push(Kind::token("ordinary key with scope *", &app.create(everything).await.1));
        kinds.push(Kind { name: "lower-case scheme", authorization: vec![format!("bearer {admin}")] });
        kinds.push(Kind::token("keystile.admin", &admin));
        let bearers = kinds.iter().flat_map(|kind| &kind.authorization);
        let secrets = bearers.filter_map(|value| value.split(' ').nth(1)).filter(|token| token.len() > 8);
        let secrets = secrets.map(str::to_owned).collect();
        let connection = Connection::open(app.address()).await;
        Self { app, connection, kinds, secrets }
    }

    fn kind(&self, name: &str) -> &Kind {
        self.kinds.iter().find(|kind| kind.name == name).unwrap()
    }

    async fn call(&self, what: &str, call: Call) -> Answer {
        self.hold(what, self.connection.call(call).await)
    }

    fn hold(&self, what: &str, answer: Answer) -> Answer {
        answer.assert_decent(what, &self.secrets.iter().map(String::as_str).collect::<Vec<_>>());
        answer
    }
}

async fn service_tokens(app: &App, clock: &ManualClock) -> Vec<Kind> {
    let service = |scope: &str| pb::Key {
        display_name: "service".into(),
        scopes: vec![scope.to_owned()],
        ..Default::default()
    };
    let only = |ip: &str| {
        let mode = pb::access_rule::Mode::Only.into();
        Some(pb::AccessRule { mode, patterns: vec![ip.to_owned()] })
    };
    let revoked = app.create(service("keystile.admin")).await;
    let revoke = pb::RevokeKeyRequest { key_id: revoked.0.key_id, ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap();
    let expire_time = clock.now() + TimeDelta::hours(1);
    let expire_time = Some(Timestamp { seconds: expire_time.timestamp(), nanos: 0 });
    let expiring = app.create(pb::Key { expire_time, ..service("keystile.admin") }).await.1;
    let elsewhere = app.create(pb::Key { ips: only("10.0.0.1"), ..service("keystile.admin") }).await.1;
    let here = app.create(pb::Key { ips: only("127.0.0.0/8"), ..service("keystile.admin") }).await.1;
    let observed = pb::Key {
        ips: only("10.0.0.1"),
        observe: vec![pb::key::Check::Ips.into(), pb::key::Check::Scopes.into()],
        ..service("keystile.admin")
    };
    let observed = app.create(observed).await.1;
    // The very instant is already too late.
    clock.advance(TimeDelta::hours(1));
    vec![
        Kind::token("revoked", &revoked.1),
        Kind::token("expired", &expiring),
        Kind::token("not from this address", &elsewhere),
        Kind::token("not from this address, observed", &observed),
        Kind::token("from this address", &here),
        Kind::token("no scope", &app.create(service("chat.completions")).await.1),
        Kind::token("keystile.authorize", &app.service_token("keystile.authorize").await),
        Kind::token("keystile.read", &app.service_token("keystile.read").await),
        Kind::token("keystile.*", &app.service_token("keystile.*").await),
    ]
}

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/callers/table.golden")
}

fn golden() -> String {
    std::fs::read_to_string(golden_path()).expect("UPDATE_GOLDEN=1 writes the golden file")
}

/// Callers by outcome, in the order of the callers.
fn write_rpc(out: &mut String, rpc: &Rpc, outcomes: &[(&str, String)]) {
    writeln!(out, "\n{} ({})", rpc.method, rpc.kind).unwrap();
    let mut written = BTreeSet::new();
    for (_, outcome) in outcomes {
        if written.insert(outcome) {
            let same = outcomes.iter().filter(|(_, other)| other == outcome).map(|(name, _)| *name);
            writeln!(out, "    {outcome}: {}", same.collect::<Vec<_>>().join(" | ")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_caller_gets_at_every_rpc_what_the_table_says() {
    let stage = Stage::set().await;
    let open = App::builder().flags(["--no-auth"]).start().await;
    // Owner 0 is the one that an empty request for an owner names: here too it has a key.
    open.service_token("keystile.read").await;
    let open_connection = Connection::open(open.address()).await;
    let mut table = HEADER.to_owned();
    for rpc in contract() {
        let mut outcomes = Vec::new();
        for kind in &stage.kinds {
            let what = format!("{} by {}", rpc.method, kind.name);
            let answer = stage.hold(&what, rpc.call(&stage.connection, kind).await);
            outcomes.push((kind.name, answer.outcome()));
        }
        let no_auth = [("--no-auth, no token", "no token"), ("--no-auth, garbage", "garbage")];
        for (name, kind) in no_auth {
            let answer = rpc.call(&open_connection, stage.kind(kind)).await;
            answer.assert_decent(&rpc.method, &[]);
            outcomes.push((name, answer.outcome()));
        }
        write_rpc(&mut table, &rpc, &outcomes);
    }
    stage.app.stop().await;
    open.stop().await;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden_path(), &table).unwrap();
        return;
    }
    let golden = golden();
    let differing: Vec<_> = golden.lines().zip(table.lines()).filter(|(one, other)| one != other).collect();
    assert!(golden == table, "- golden, + now; the first that differ: {:#?}", differing.first());
}

#[test]
fn no_rpc_of_the_contract_is_missing_from_the_table() {
    let golden = golden();
    let listed: BTreeSet<&str> =
        golden.lines().filter_map(|line| line.split_once(" (")).map(|(m, _)| m).collect();
    let listed: BTreeSet<&str> = listed.into_iter().filter(|name| name.starts_with("keystile.")).collect();
    let contract = contract();
    assert!(contract.len() >= 39, "the descriptors are read");
    assert_eq!(listed, contract.iter().map(|rpc| rpc.method.as_str()).collect());
}

/// The table itself, held against the rule in words.
#[test]
fn the_table_keeps_to_the_rule() {
    for block in golden().split("\n\n").skip(1) {
        let lines: Vec<&str> = block.lines().skip(1).collect();
        let of = |caller: &str| {
            let is_in =
                |line: &&&str| line.split_once(": ").unwrap().1.split(" | ").any(|name| name == caller);
            let [line] = lines.iter().filter(is_in).collect::<Vec<_>>()[..] else {
                panic!("{caller}: {block}")
            };
            line.trim().split_once(':').unwrap().0
        };
        for missing in ["no token", "empty token", "token without a scheme", "scheme Basic", "two headers"] {
            assert_eq!(of(missing), "UNAUTHENTICATED CALLER_TOKEN_MISSING", "{block}");
        }
        for wrong in ["garbage", "broken checksum", "other secret", "unknown token", "revoked", "expired"] {
            assert_eq!(of(wrong), "UNAUTHENTICATED CALLER_TOKEN_INVALID", "{block}");
        }
        for lacking in ["no scope", "ordinary key", "ordinary key with scope *"] {
            assert_eq!(of(lacking), "PERMISSION_DENIED CALLER_SCOPE_MISSING", "{block}");
        }
        for elsewhere in ["not from this address", "not from this address, observed"] {
            assert_eq!(of(elsewhere), "PERMISSION_DENIED CALLER_ADDRESS_NOT_ALLOWED", "{block}");
        }
        let admin = of("keystile.admin");
        assert!(!admin.contains("CALLER_") && !admin.contains("DEFECT"), "{block}");
        for same in ["from this address", "keystile.*", "lower-case scheme", "--no-auth, no token"] {
            assert_eq!(of(same), admin, "{block}");
        }
        for narrow in ["keystile.authorize", "keystile.read"] {
            assert!(of(narrow) == admin || of(narrow) == of("no scope"), "{block}");
        }
        assert!(
            of("keystile.authorize") == of("no scope") || of("keystile.read") == of("no scope"),
            "{block}"
        );
    }
}

/// Who is not let in learns nothing about his request: not that it is unreadable, too long, or wrong.
#[tokio::test(flavor = "multi_thread")]
async fn callers_are_refused_before_their_request_is_read() {
    let stage = Stage::set().await;
    let bodies = [
        ("undecodable", frame(b"\xff\xff\xff")),
        ("truncated", frame(&[0; 100])[..10].to_vec()),
        ("too long", [&[0, 0xff, 0xff, 0xff, 0xff][..], &[0; 100]].concat()),
        ("wrong flag", vec![9, 0, 0, 0, 0]),
        ("nothing", Vec::new()),
    ];
    let refused = [
        ("no token", "UNAUTHENTICATED CALLER_TOKEN_MISSING"),
        ("other secret", "UNAUTHENTICATED CALLER_TOKEN_INVALID"),
        ("ordinary key", "PERMISSION_DENIED CALLER_SCOPE_MISSING"),
    ];
    for rpc in contract() {
        for (body_name, body) in &bodies {
            for (kind, outcome) in refused {
                let what = format!("{}, {body_name}, by {kind}", rpc.method);
                let call = stage.kind(kind).call(&rpc.method).body(body.clone());
                assert_eq!(stage.call(&what, call).await.outcome(), outcome, "{what}");
            }
        }
    }
    let keys = stage.app.database.number("SELECT count(*) FROM api_keys").await;
    let key = pb::Key { user_id: 7, display_name: "\0".into(), ..Default::default() };
    let mut create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    for display_name in ["\0", "valid"] {
        create.key.as_mut().unwrap().display_name = display_name.into();
        let call = stage.kind("keystile.read").call("keystile.v1.KeyService/CreateKey").message(&create);
        let outcome = stage.call("CreateKey by read", call).await.outcome();
        assert_eq!(outcome, "PERMISSION_DENIED CALLER_SCOPE_MISSING");
    }
    assert_eq!(stage.app.database.number("SELECT count(*) FROM api_keys").await, keys);
    stage.app.stop().await;
}

/// The one request that needs more than its method says.
#[tokio::test(flavor = "multi_thread")]
async fn the_hash_of_a_key_is_shown_to_administrators_only() {
    let stage = Stage::set().await;
    let (key, _) = stage.app.create_any().await;
    for (key_id, admins) in [(key.key_id, "OK"), (0, "INVALID_ARGUMENT INVALID_REQUEST")] {
        let get = pb::GetKeyRequest { key_id, view: pb::key::View::Full.into() };
        for (kind, outcome) in [
            ("keystile.authorize", "PERMISSION_DENIED CALLER_SCOPE_MISSING"),
            ("keystile.read", "PERMISSION_DENIED CALLER_SCOPE_MISSING"),
            ("keystile.admin", admins),
        ] {
            let call = stage.kind(kind).call("keystile.v1.KeyService/GetKey").message(&get);
            let answer = stage.call(kind, call).await;
            assert_eq!(answer.outcome(), outcome, "{kind}");
            if answer.status.code() == Code::Ok {
                let key = answer.read::<pb::GetKeyResponse>().key.unwrap();
                assert!(key.key_hash.starts_with("$2b$04$"));
            }
        }
    }
    stage.app.stop().await;
}
