//! `keystile import enclava` against real databases: the older system's tables in one, ours in the other.

mod batches;
mod command;
mod concurrent;
mod conflicts;
mod export;
mod faults;
mod owners;
mod python;
mod repeat;
mod sync;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use keystile::admin::enclava::{Options, RejectionKind};
use keystile::admin::import::{Import, ImportReport, import};
use keystile::cache::Propagation;
use keystile::policy::{Budget, Key, KeyId, KeyTotals};
use keystile::storage::enclava_source::{EnclavaSource, SourceError};
use keystile::storage::{Store, budgets, keys, usage};
use secrecy::SecretString;
use serde_json::Value;

use crate::harness::TestDatabase;

const EXPORT: &str = include_str!("../fixtures/enclava/enclava.sql");
const EXPECTATIONS: &str = include_str!("../fixtures/enclava/expectations.json");

/// Every table that an import writes, and the revision counter.
const TABLES: [&str; 10] = [
    "owners",
    "api_keys",
    "key_secrets",
    "key_digests",
    "key_usage",
    "budgets",
    "budget_periods",
    "revision_counter",
    "change_log",
    "audit_events",
];

/// The older system's database and ours.
struct Setup {
    source: TestDatabase,
    target: TestDatabase,
    store: Store,
}

impl Setup {
    /// The older system's export, and an empty database of ours.
    async fn new() -> Self {
        let setup = Self::without_rows().await;
        let (_tables, rows) = EXPORT.split_once("INSERT INTO").unwrap();
        setup.source.sql(&format!("INSERT INTO{rows}")).await;
        setup
    }

    /// The older system's tables, empty.
    async fn without_rows() -> Self {
        let (tables, _rows) = EXPORT.split_once("INSERT INTO").unwrap();
        let (source, target) = (TestDatabase::unmigrated().await, TestDatabase::new().await);
        source.sql(tables).await;
        let store = Store::new(&SecretString::from(target.url()), 8).unwrap();
        Self { source, target, store }
    }

    /// A key of owner 1 in the older system, as its column defaults have it; `more` are further columns.
    async fn add_key(&self, id: i64, more: &[(&str, &str)]) {
        let mut columns = BTreeMap::from([
            ("id", id.to_string()),
            ("name", format!("'key {id}'")),
            ("key_hash", format!("'{}'", hash(id))),
            ("key_prefix", format!("'en_{id:05}'")),
            ("user_id", "1".to_owned()),
            ("is_active", "true".to_owned()),
            ("permissions", "'{\"chat\": true}'".to_owned()),
            ("created_at", format!("'2026-01-01 00:00:00'::timestamp + {id} * interval '1 s'")),
        ]);
        columns.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let names: Vec<_> = columns.keys().copied().collect();
        let values: Vec<_> = columns.values().map(String::as_str).collect();
        let (names, values) = (names.join(", "), values.join(", "));
        self.source
            .sql(&format!(
                "INSERT INTO users VALUES (1, 'one@example.com', 'one', true) ON CONFLICT DO NOTHING; \
                 INSERT INTO api_keys ({names}) VALUES ({values})"
            ))
            .await;
    }

    async fn open(&self) -> EnclavaSource {
        open(&self.source).await.unwrap()
    }

    /// What an import did. That it has come everywhere is compared here: a dry run has nothing to say of it.
    async fn import_with(&self, wanted: Import) -> ImportReport {
        let mut report = import(&self.store, &mut self.open().await, wanted, &mut |_| {}).await.unwrap();
        if let Some(propagation) = report.propagation.take() {
            assert_eq!(propagation, Propagation::Complete);
        }
        report
    }

    async fn import(&self) -> ImportReport {
        self.import_with(plain()).await
    }

    async fn sync(&self) -> ImportReport {
        self.import_with(Import { sync: true, ..plain() }).await
    }

    /// All that an import could change.
    async fn dump(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut dump = BTreeMap::new();
        for table in TABLES {
            dump.insert(table, self.target.dump(table).await);
        }
        dump.insert("sequence", self.target.dump("(SELECT * FROM api_keys_key_id_seq)").await);
        dump
    }

    async fn key(&self, id: i64) -> Option<Key> {
        let id = KeyId::new(id).unwrap();
        self.store.read("test", move |session| Box::pin(keys::get(session, id))).await.unwrap()
    }

    async fn totals(&self, id: i64) -> KeyTotals {
        let id = KeyId::new(id).unwrap();
        let totals = self
            .store
            .read("test", move |session| Box::pin(async move { usage::totals(session, &[id]).await }));
        totals.await.unwrap()[0].1
    }

    async fn budgets(&self, id: i64) -> Vec<Budget> {
        let id = KeyId::new(id).unwrap();
        let budgets = self.store.read("test", move |session| {
            Box::pin(async move { budgets::of(session, Some(id), None, now()).await })
        });
        budgets.await.unwrap()
    }
}

async fn open(source: &TestDatabase) -> Result<EnclavaSource, SourceError> {
    EnclavaSource::open(&SecretString::from(source.url())).await
}

/// The time that the expectations are for.
fn now() -> DateTime<Utc> {
    static NOW: LazyLock<DateTime<Utc>> =
        LazyLock::new(|| expectations()["now"].as_str().unwrap().parse().unwrap());
    *NOW
}

fn expectations() -> Value {
    serde_json::from_str(EXPECTATIONS).unwrap()
}

fn plain() -> Import {
    Import { options: Options::default(), sync: false, dry_run: false, now: now() }
}

/// Another hash in bcrypt's form for each id; no test here proves a token of it.
fn hash(id: i64) -> String {
    format!("$2b$06$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc{id:07}KWmG")
}

fn rejected(report: &ImportReport) -> Vec<(i64, RejectionKind)> {
    report.rejections.iter().map(|rejection| (rejection.key_id, rejection.kind)).collect()
}

fn counts(report: &ImportReport) -> [u64; 4] {
    let rejected = u64::try_from(report.rejections.len()).unwrap();
    assert_eq!(report.rows, report.inserted + report.unchanged + report.applied + rejected);
    [report.inserted, report.unchanged, report.applied, rejected]
}
