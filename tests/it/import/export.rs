//! The whole export: every key arrives as the export's text says, and the logs tell so.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, SecondsFormat, Utc};
use keystile::admin::enclava::WarningKind;
use keystile::policy::{AccessRule, Budget, Key, KeyState, KeyTotals, Period};
use serde_json::{Value, json};

use super::{Setup, counts, expectations, now};

fn rule<P: Display>(rule: &AccessRule<P>) -> Value {
    match rule {
        AccessRule::Any => Value::Null,
        AccessRule::Only(patterns) => {
            let mut patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            patterns.sort();
            json!(patterns)
        }
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn budget(budget: &Budget) -> Value {
    assert!(budget.terms.is_hard && budget.terms.models == AccessRule::Any && budget.reserved.get() == 0);
    json!({
        "period": match budget.terms.period {
            Period::Total => "TOTAL",
            Period::Monthly => "MONTHLY",
            other => panic!("{other:?}"),
        },
        "limit_micros": budget.terms.limit.get(),
        "spent_micros": budget.spent.get(),
    })
}

/// A stored key in the words of the expectations.
pub(super) fn described(key: &Key, totals: KeyTotals, budgets: &[Budget], warnings: &[WarningKind]) -> Value {
    assert!(budgets.len() <= 1);
    let policy = &key.policy;
    json!({
        "user_id": key.user_id.get(),
        "state": match policy.state(now()) {
            KeyState::Active => "ACTIVE",
            KeyState::Revoked => "REVOKED",
            KeyState::OwnerDisabled => "OWNER_DISABLED",
            KeyState::Expired => "EXPIRED",
            KeyState::Deleted => "DELETED",
        },
        "revoked": policy.revoked,
        "owner_disabled": policy.owner_disabled,
        "display_name": key.display_name.as_str(),
        "description": key.description.as_str(),
        "tags": key.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(),
        "key_prefix": key.key_prefix,
        "scopes": policy.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "permissions": policy.permissions.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
        "models": rule(&policy.models),
        "endpoints": rule(&policy.endpoints),
        "ips": rule(&policy.ips),
        "chatbots": rule(&policy.chatbots),
        "requests_per_minute": key.rate_limits.requests.per_minute,
        "requests_per_hour": key.rate_limits.requests.per_hour,
        "requests_per_day": key.rate_limits.requests.per_day,
        "budget": budgets.first().map(budget),
        "total_requests": totals.total_requests,
        "total_tokens": totals.total_tokens,
        "total_cost_micros": totals.total_cost_micros,
        "create_time": time(key.create_time),
        "update_time": time(key.update_time),
        "last_used_time": totals.last_used_time.map(time),
        "expire_time": policy.expire_time.map(time),
        "revoke_time": key.revoke_time.map(time),
        "warnings": warnings.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn every_key_of_the_export_arrives_as_its_text_says() {
    let setup = Setup::new().await;
    let report = setup.import().await;
    assert_eq!(counts(&report), [200, 0, 0, 0], "{:?}", report.rejections);
    assert_eq!(report.owners_disabled.iter().map(|user_id| user_id.get()).collect::<Vec<_>>(), [25]);
    let mut warnings: BTreeMap<i64, Vec<WarningKind>> = BTreeMap::new();
    for warning in report.warnings {
        warnings.entry(warning.key_id).or_default().push(warning.kind);
    }
    let expectations = expectations();
    let expected = expectations["keys"].as_array().unwrap();
    assert_eq!(expected.len(), 200);
    for expected in expected {
        let id = expected["key_id"].as_i64().unwrap();
        let key = setup.key(id).await.unwrap();
        let warnings = warnings.remove(&id).unwrap_or_default();
        let found = described(&key, setup.totals(id).await, &setup.budgets(id).await, &warnings);
        assert_eq!(found, expected["import"], "key {id}");
        let reason = if key.policy.revoked { "inactive in the older system" } else { "" };
        assert_eq!(key.revoke_reason.as_str(), reason);
        assert!(key.metadata.as_map().is_empty() && key.delete_time.is_none());
    }
    assert!(warnings.is_empty());
}

#[tokio::test]
async fn hashes_and_prefixes_are_kept_as_they_are() {
    let setup = Setup::new().await;
    setup.import().await;
    let hashes = "SELECT id AS key_id, key_hash, key_prefix FROM api_keys";
    let source = setup.source.dump(&format!("({hashes})")).await;
    let kept = "SELECT key_id, key_hash, key_prefix FROM key_secrets WHERE is_current AND imported";
    assert_eq!(source.len(), 200);
    assert_eq!(setup.target.dump(&format!("({kept})")).await, source);
    assert_eq!(setup.target.number("SELECT count(*) FROM key_digests").await, 0);
}

#[tokio::test]
async fn every_change_has_its_own_revision_and_lines_in_both_logs() {
    let setup = Setup::new().await;
    setup.import().await;
    let number = async |sql: &str| setup.target.number(sql).await;
    // 200 keys and one owner.
    assert_eq!(number("SELECT revision FROM revision_counter").await, 201);
    assert_eq!(number("SELECT count(*) FROM change_log WHERE revision BETWEEN 1 AND 201").await, 201);
    let stamped = "SELECT count(*) FROM change_log JOIN api_keys USING (revision) \
                   WHERE subject = 'key' AND subject_id = key_id";
    assert_eq!(number(stamped).await, 200);
    let stamped = "SELECT count(*) FROM change_log JOIN owners USING (revision) \
                   WHERE subject = 'owner' AND subject_id = user_id AND disabled_at IS NOT NULL";
    assert_eq!(number(stamped).await, 1);
    let stamped = "SELECT count(*) FROM budgets JOIN api_keys USING (key_id, revision)";
    assert_eq!(number(stamped).await, 20);
    let audited = "SELECT count(*) FROM audit_events JOIN change_log USING (revision) \
                   WHERE actor = 'command/import' AND before IS NULL AND action = 'keys.import' \
                   AND resource = 'keys/' || subject_id AND (after->>'key_id')::bigint = subject_id";
    assert_eq!(number(audited).await, 200);
    assert_eq!(number("SELECT count(*) FROM audit_events WHERE action = 'owners.disable'").await, 1);
    assert_eq!(number("SELECT count(*) FROM audit_events WHERE after::text LIKE '%$2%'").await, 0);
}

#[tokio::test]
async fn another_postgresql_schema_of_the_same_rows_gives_the_same_keys() {
    let (plain, other) = (Setup::new().await, Setup::new().await);
    other
        .source
        .sql(
            "SET timezone = 'UTC'; \
             ALTER TABLE api_keys ALTER id TYPE bigint, ALTER user_id TYPE bigint, \
             ALTER total_tokens TYPE bigint, ALTER total_requests TYPE bigint, ALTER total_cost TYPE bigint, \
             ALTER budget_limit_cents TYPE bigint, ALTER rate_limit_per_day TYPE bigint, \
             ALTER permissions TYPE jsonb, ALTER scopes TYPE jsonb, ALTER allowed_models TYPE jsonb, \
             ALTER allowed_ips TYPE jsonb, ALTER tags TYPE text, \
             ALTER created_at TYPE timestamptz, ALTER updated_at TYPE timestamptz, \
             ALTER expires_at TYPE timestamptz, ALTER last_used_at TYPE timestamptz",
        )
        .await;
    // What the server shows by default is not what is read.
    let name = other.source.url().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    other
        .source
        .sql(&format!(
            "ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'; \
             ALTER DATABASE {name} SET datestyle = 'German'"
        ))
        .await;
    assert_eq!(plain.import().await, other.import().await);
    for table in ["(SELECT * FROM api_keys)", "key_usage", "owners", "budget_periods"] {
        assert_eq!(plain.target.dump(table).await, other.target.dump(table).await, "{table}");
    }
}
