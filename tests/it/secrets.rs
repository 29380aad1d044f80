//! No token, digest, hash or pepper in anything that the service writes: its log at the lowest level, its output,
//! its metrics, its errors, its traces, and its audit log.

use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keystile::grpc::pb;
use keystile::grpc::pb::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use tonic::Status;

use crate::harness::{Process, TestDatabase, get, new_token};
use crate::logs::Service;
use crate::raw::{Call, Connection, frame};
use crate::traces::Collector;

const EXPORT: &str = include_str!("../fixtures/enclava/enclava.sql");
const EXPECTATIONS: &str = include_str!("../fixtures/enclava/expectations.json");

/// Something that nobody may see, in every way that a program writes bytes.
struct Secret {
    what: String,
    spellings: Vec<String>,
}

impl Secret {
    fn text(what: &str, text: &str) -> Self {
        let mut secret = Self::bytes(what, text.as_bytes());
        secret.spellings.push(text.to_owned());
        // A part is as good as the whole: the first characters are a prefix, which is no secret.
        secret.spellings.push(text[text.len() - 16..].to_owned());
        secret
    }

    fn bytes(what: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
        let spellings = vec![
            hex.to_uppercase(),
            hex,
            STANDARD.encode(bytes).trim_end_matches('=').to_owned(),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            decimal.join(", "),
            decimal.join(","),
            format!("{:?}", String::from_utf8_lossy(bytes)),
            bytes.escape_ascii().to_string(),
        ];
        Self { what: what.to_owned(), spellings }
    }
}

/// What was written, by where.
#[derive(Default)]
struct Written(Vec<(String, String)>);

impl Written {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn add_status(&mut self, status: &Status) {
        let details = String::from_utf8_lossy(status.details()).into_owned();
        self.add("an error", format!("{status:?} {} {details}", status.message()));
        self.add("an error's details", STANDARD.encode(status.details()));
    }

    /// Which secrets stand where.
    fn leaks(&self, secrets: &[Secret]) -> Vec<String> {
        let starts = Starts::of(secrets);
        let found = self.0.iter().flat_map(|(place, text)| {
            starts.found_in(text).into_iter().map(move |what| {
                let around: String = text.chars().take(300).collect();
                format!("{what} in {place}: {around}")
            })
        });
        found.collect()
    }
}

/// So many bytes of a spelling are looked up at once: there are thousands of spellings, and megabytes of log.
const START: usize = 12;

/// Spellings by how they start.
struct Starts<'s>(HashMap<&'s [u8], Vec<(&'s str, &'s [u8])>>);

impl<'s> Starts<'s> {
    fn of(secrets: &'s [Secret]) -> Self {
        let mut starts = HashMap::<_, Vec<_>>::new();
        for secret in secrets {
            for spelling in &secret.spellings {
                let start = &spelling.as_bytes()[..START];
                starts.entry(start).or_default().push((secret.what.as_str(), spelling.as_bytes()));
            }
        }
        Self(starts)
    }

    fn found_in(&self, text: &str) -> BTreeSet<&'s str> {
        let text = text.as_bytes();
        let mut found = BTreeSet::new();
        for (at, start) in text.windows(START).enumerate() {
            let candidates = self.0.get(start).into_iter().flatten();
            found.extend(candidates.filter(|(_, it)| text[at..].starts_with(it)).map(|(what, _)| *what));
        }
        found
    }
}

/// All that is secret in a database.
async fn secrets_of(database: &TestDatabase) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for hash in database.lines("SELECT key_hash AS line FROM key_secrets").await {
        secrets.push(Secret::text("a hash", &hash));
    }
    let binary = [("a digest", "SELECT digest FROM key_digests"), ("a pepper", "SELECT secret FROM peppers")];
    for (what, query) in binary {
        let query = format!("SELECT encode(it, 'base64') AS line FROM ({query}) AS t(it)");
        for encoded in database.lines(&query).await {
            secrets.push(Secret::bytes(what, &STANDARD.decode(encoded.replace('\n', "")).unwrap()));
        }
    }
    assert!(secrets.len() > 100, "an import of 200 keys: {}", secrets.len());
    secrets
}

/// Tokens of the older system's export.
fn imported_tokens() -> Vec<String> {
    let expectations: serde_json::Value = serde_json::from_str(EXPECTATIONS).unwrap();
    let keys = expectations["keys"].as_array().unwrap();
    keys.iter().filter_map(|key| key["token"].as_str()).map(str::to_owned).collect()
}

async fn import(written: &mut Written) -> TestDatabase {
    let (source, target) = (TestDatabase::unmigrated().await, TestDatabase::new().await);
    source.sql(EXPORT).await;
    // A row that is refused, and said so.
    source.sql("UPDATE api_keys SET expires_at = '0001-01-01 BC' WHERE id = 7").await;
    let mut command = Process::command();
    command.args(["import", "enclava"]).env("KEYSTILE_LOG", "trace").env("KEYSTILE_LOG_FORMAT", "json");
    command.env("KEYSTILE_IMPORT_SOURCE_URL", source.url()).env("KEYSTILE_DATABASE_URL", target.url());
    command.env("KEYSTILE_ALLOW_DATA_LOSS", "true").stdin(Stdio::null());
    let output = Process::run(command);
    written.add("stdout of import", String::from_utf8_lossy(&output.stdout));
    written.add("stderr of import", String::from_utf8_lossy(&output.stderr));
    target
}

/// Every call that is served, as it should be and as it should not.
async fn be_busy(service: &Service, tokens: &mut Vec<String>, written: &mut Written) {
    let (key_id, token) = service.create("busy").await;
    tokens.push(token.clone());
    let request = |token: &str| pb::AuthorizeRequest {
        token: token.to_owned().into(),
        model: token.to_owned().into(),
        ..Default::default()
    };
    for token in tokens.clone() {
        let mut near = token.clone();
        near.pop();
        near.push(if token.ends_with('a') { 'b' } else { 'a' });
        for token in [token, near] {
            let answer = service.authorize().authorize(request(&token)).await.unwrap();
            written.add("a decision's message", answer.into_inner().message);
        }
    }
    let requests = tokens.iter().take(20).map(|token| request(token)).collect();
    service.authorize().batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
    let filter = pb::FilterModelsRequest { token: token.clone().into(), ..Default::default() };
    service.authorize().filter_models(filter).await.unwrap();
    let introspect = pb::IntrospectKeyRequest { token: token.clone().into() };
    service.authorize().introspect_key(introspect).await.unwrap();
    let full = pb::GetKeyRequest { key_id, view: pb::key::View::Full.into() };
    service.keys().get_key(full).await.unwrap();
    service.keys().list_keys(pb::ListKeysRequest::default()).await.unwrap();
    let grants = || Some(pb::Grants { tags: vec!["t".into()], ..Default::default() });
    let add = pb::AddGrantsRequest { key_id, grants: grants(), ..Default::default() };
    service.keys().add_grants(add).await.unwrap();
    let remove = pb::RemoveGrantsRequest { key_id, grants: grants(), etag: token.clone() };
    written.add_status(&service.keys().remove_grants(remove).await.unwrap_err());
    let (disable, enable) = (
        pb::DisableOwnerRequest { user_id: 1, ..Default::default() },
        pb::EnableOwnerRequest { user_id: 1, ..Default::default() },
    );
    service.keys().disable_owner(disable).await.unwrap();
    service.keys().enable_owner(enable).await.unwrap();
    let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
    service.keys().revoke_key(revoke).await.unwrap();
}

/// Every method of the contract with messages that put a token wherever a text may stand, with and without a
/// caller, and callers with wrong tokens.
async fn be_a_nuisance(service: &Service, tokens: &[String], written: &mut Written) {
    let connection = Connection::open(service.process.address.parse().unwrap()).await;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let token = tokens.last().unwrap();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("{}/{}", method.parent_service().full_name(), method.name());
        let mut texts = Vec::new();
        for field in method.input().fields().filter(|field| field.kind().as_message().is_none()) {
            let length = u8::try_from(token.len()).unwrap();
            texts.extend([u8::try_from(field.number() << 3 | 2).unwrap_or(2), length]);
            texts.extend(token.bytes());
        }
        for body in [frame(&texts), token.as_bytes().to_vec(), frame(token.as_bytes())] {
            for bearer in [&service.admin_token, token, &tokens[0], "nonsense"] {
                let answer = connection.call(Call::to(&path).bearer(bearer).body(body.clone())).await;
                written.add_status(&answer.status);
            }
        }
        let basic = Call::to(&path).header("authorization", format!("Basic {token}"));
        written.add_status(&connection.call(basic).await.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_written_holds_a_secret() {
    let mut written = Written::default();
    let database = import(&mut written).await;
    let mut tokens = imported_tokens();
    assert!(tokens.len() > 50, "{}", tokens.len());
    tokens.truncate(30);
    tokens.extend((0..3).map(|_| new_token()));
    let (collector, endpoint) = Collector::start().await;
    let settings = [("KEYSTILE_LOG", "trace"), ("KEYSTILE_OTLP_ENDPOINT", endpoint.as_str())];
    let service = Service::on(database.clone(), &settings);
    tokens.push(service.admin_token.clone());

    be_busy(&service, &mut tokens, &mut written).await;
    be_a_nuisance(&service, &tokens, &mut written).await;
    database.allow_connections(false).await;
    // One that has to be looked up in the store.
    tokens.push(new_token());
    let request =
        pb::AuthorizeRequest { token: tokens[tokens.len() - 1].clone().into(), ..Default::default() };
    written.add_status(&service.authorize().authorize(request).await.unwrap_err());
    database.allow_connections(true).await;

    written.add("metrics", get(&service.process.ops(), "/metrics").await.body);
    for line in service.process.terminate_for_log() {
        written.add("the log", line);
    }
    for line in database.dump("audit_events").await {
        written.add("the audit log", line);
    }
    assert!(collector.spans().len() > 100, "{}", collector.spans().len());
    for request in collector.requests() {
        written.add("a trace", format!("{request:?}"));
        written.add("a trace's bytes", String::from_utf8_lossy(&request.encode_to_vec()));
    }
    assert!(written.0.iter().filter(|(place, _)| place == "the log").count() > 5_000, "{}", written.0.len());

    let mut secrets = secrets_of(&database).await;
    secrets.extend(tokens.iter().map(|token| Secret::text("a token", token)));
    let leaks = written.leaks(&secrets);
    assert!(leaks.is_empty(), "{} leaks: {:#?}", leaks.len(), &leaks[..leaks.len().min(10)]);
}

/// The search itself: it finds what it looks for.
#[test]
fn a_secret_is_found_however_it_is_written() {
    let token = "ks_0123456789AB_abcdefghijklmnopqrstuvwxyzABCDEF05fmQ7";
    let digest: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
    let secrets = [Secret::text("a token", token), Secret::bytes("a digest", &digest)];
    let leaks = |text: &str| {
        let mut written = Written::default();
        written.add("here", text);
        written.leaks(&secrets).len()
    };
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        format!("Bearer {token}"),
        format!("…{}", &token[30..]),
        format!("{:?}", token.as_bytes()),
        format!("{:?}", prost::bytes::Bytes::from_static(token.as_bytes())),
        format!("x{}=", STANDARD.encode(token)),
        format!("\\\\x{hex}"),
        hex.to_uppercase(),
        format!("parameters [{digest:?}]"),
        URL_SAFE_NO_PAD.encode(digest),
    ] {
        assert_eq!(leaks(&text), 1, "{text}");
    }
    assert_eq!(leaks("ks_0123456789AB is a prefix, which anybody may see"), 0);
}
