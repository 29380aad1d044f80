//! `--sync`: what was changed later in the older system, without reviving anything.

use keystile::admin::import::Import;
use keystile::policy::{AccessRule, Period};

use super::{Setup, counts, hash, plain};

/// A later change of everything that can be changed there.
const CHANGE: &str = "UPDATE api_keys SET name = 'new name', description = 'new', tags = '[\"new\"]', \
     permissions = '{\"read\": true}', scopes = '[\"llm:embeddings\"]', rate_limit_per_minute = 7, \
     allowed_models = '[\"gpt-4o\"]', allowed_endpoints = '[\"/v1/x\"]', allowed_ips = '[\"10.0.0.1\"]', \
     allowed_chatbots = '[\"bot\"]', expires_at = '2027-01-01', total_requests = 99, total_cost = 99, \
     updated_at = '2026-06-01'";

async fn imported() -> Setup {
    let setup = Setup::without_rows().await;
    setup.add_key(1, &[("updated_at", "'2026-05-01'")]).await;
    assert_eq!(counts(&setup.import().await), [1, 0, 0, 0]);
    setup
}

/// Replicas remember which tokens are nobody's.
#[tokio::test]
async fn whatever_an_import_brings_may_make_an_unknown_token_known() {
    let setup = imported().await;
    setup.source.sql(CHANGE).await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    let lines = "SELECT adds_tokens::text AS line FROM change_log WHERE subject = 'key'";
    assert_eq!(setup.target.lines(lines).await, ["true", "true"], "a new key, and one that was changed");
}

#[tokio::test]
async fn a_later_change_is_applied_once() {
    let setup = imported().await;
    let before = setup.key(1).await.unwrap();
    setup.source.sql(CHANGE).await;
    let dump = setup.dump().await;
    assert_eq!(counts(&setup.import().await), [0, 1, 0, 0], "not without --sync");
    let dry = setup.import_with(Import { sync: true, dry_run: true, ..plain() }).await;
    assert_eq!(setup.dump().await, dump);

    let report = setup.sync().await;
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert_eq!(report, dry);
    let key = setup.key(1).await.unwrap();
    assert_eq!((key.display_name.as_str(), key.description.as_str()), ("new name", "new"));
    assert_eq!(key.rate_limits.requests.per_minute, Some(7));
    let policy = &key.policy;
    let names = |rule: &AccessRule<keystile::policy::NamePattern>| match rule {
        AccessRule::Any => vec![],
        AccessRule::Only(names) => names.iter().map(|name| name.as_str().to_owned()).collect(),
    };
    assert_eq!((names(&policy.models), names(&policy.chatbots)), (vec!["gpt-4o".into()], vec!["bot".into()]));
    assert!(policy.endpoints != AccessRule::Any && policy.ips != AccessRule::Any);
    assert_eq!(policy.scopes.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["embeddings.create"]);
    assert_eq!(policy.permissions.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["read"]);
    assert_eq!(policy.expire_time, Some("2027-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(key.update_time, "2026-06-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    assert_eq!(key.create_time, before.create_time);
    assert!(key.revision > before.revision);
    // What is counted here from the import on is not overwritten.
    assert_eq!(setup.totals(1).await.total_requests, 0);
    let audited = "SELECT count(*) FROM audit_events JOIN change_log USING (revision) \
                   WHERE action = 'keys.import' AND before->>'display_name' = 'key 1' \
                   AND after->>'display_name' = 'new name' AND actor = 'command/import' AND subject_id = 1";
    assert_eq!(setup.target.number(audited).await, 1);

    let dump = setup.dump().await;
    assert_eq!(counts(&setup.sync().await), [0, 1, 0, 0]);
    assert_eq!(setup.dump().await, dump);
}

#[tokio::test]
async fn what_was_changed_here_later_stays() {
    let setup = imported().await;
    setup.target.sql("UPDATE api_keys SET display_name = 'mine', updated_at = '2026-06-02'").await;
    setup.source.sql(CHANGE).await;
    let dump = setup.dump().await;
    assert_eq!(counts(&setup.sync().await), [0, 1, 0, 0]);
    assert_eq!(setup.dump().await, dump);
}

#[tokio::test]
async fn a_revocation_is_taken_over_and_never_taken_back() {
    let setup = imported().await;
    setup.source.sql("UPDATE api_keys SET is_active = false, updated_at = '2026-06-01'").await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    let revoked = setup.key(1).await.unwrap();
    assert_eq!(revoked.revoke_time, Some("2026-06-01T00:00:00Z".parse().unwrap()));
    setup.source.sql("UPDATE api_keys SET is_active = true, name = 'back', updated_at = '2026-06-02'").await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    let key = setup.key(1).await.unwrap();
    assert_eq!((key.display_name.as_str(), key.policy.revoked), ("back", true));
    assert_eq!((key.revoke_time, key.revoke_reason), (revoked.revoke_time, revoked.revoke_reason));
}

#[tokio::test]
async fn a_revocation_and_an_expiry_of_ours_stay() {
    let setup = imported().await;
    setup
        .target
        .sql(
            "UPDATE api_keys SET revoked_at = '2026-05-02', revoke_reason = 'ours', expire_at = '2026-05-03'",
        )
        .await;
    setup.source.sql(CHANGE).await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    let key = setup.key(1).await.unwrap();
    assert_eq!(key.display_name.as_str(), "new name");
    assert_eq!((key.policy.revoked, key.revoke_reason.as_str()), (true, "ours"));
    assert_eq!(key.policy.expire_time, Some("2026-05-03T00:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn a_token_that_was_replaced_there_replaces_the_imported_one_with_its_digest() {
    let setup = imported().await;
    setup
        .target
        .sql(
            "INSERT INTO key_digests SELECT decode(repeat('ab', 32), 'hex'), 'p', secret_id FROM key_secrets",
        )
        .await;
    let new = hash(77);
    setup
        .source
        .sql(&format!(
            "UPDATE api_keys SET key_hash = '{new}', key_prefix = 'en_other', updated_at = '2026-06-01'"
        ))
        .await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    assert_eq!(setup.key(1).await.unwrap().key_prefix, "en_other");
    assert_eq!(setup.target.number("SELECT count(*) FROM key_digests").await, 0);
    let kept =
        format!("SELECT count(*) FROM key_secrets WHERE imported AND is_current AND key_hash = '{new}'");
    assert_eq!(setup.target.number(&kept).await, 1);
}

#[tokio::test]
async fn the_secret_stays_where_the_token_is_the_same_or_was_rotated_here() {
    let setup = imported().await;
    let secrets = setup.target.dump("key_secrets").await;
    setup.source.sql(CHANGE).await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    assert_eq!(setup.target.dump("key_secrets").await, secrets, "the same token");
    setup.target.sql("UPDATE key_secrets SET imported = false, key_prefix = 'ks_aaaaaaaaaaaa'").await;
    let secrets = setup.target.dump("key_secrets").await;
    let change = format!("UPDATE api_keys SET key_hash = '{}', updated_at = '2026-06-03'", hash(78));
    setup.source.sql(&change).await;
    assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
    assert_eq!(setup.target.dump("key_secrets").await, secrets, "a token of our own");
}

#[tokio::test]
async fn a_budget_comes_and_changes_and_never_goes() {
    let setup = imported().await;
    let change = async |set: &str, day: u32| {
        setup.source.sql(&format!("UPDATE api_keys SET {set}, updated_at = '2026-06-{day:02}'")).await;
        assert_eq!(counts(&setup.sync().await), [0, 0, 1, 0]);
        let budgets = setup.budgets(1).await;
        let budgets = budgets.iter().map(|it| (it.terms.period, it.terms.limit.get(), it.spent.get()));
        budgets.collect::<Vec<_>>()
    };
    let total = "is_unlimited = false, budget_type = 'total', total_cost = 5, budget_limit_cents";
    assert_eq!(change(&format!("{total} = 100"), 1).await, [(Period::Total, 1_000_000, 500)]);
    // The limit is taken over; what is spent is counted here.
    assert_eq!(change("total_cost = 900, budget_limit_cents = 50", 2).await, [(Period::Total, 500_000, 500)]);
    let stamped = "SELECT count(*) FROM budgets JOIN api_keys USING (key_id, revision)";
    assert_eq!(setup.target.number(stamped).await, 1);
    assert_eq!(change("is_unlimited = true", 3).await, [(Period::Total, 500_000, 500)]);
}
