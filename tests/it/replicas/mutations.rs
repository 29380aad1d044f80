//! Every mutation of the contract is waited for; a new one cannot be forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use keystile::grpc::pb;
use prost_reflect::DescriptorPool;

use super::{Replicas, key};
use crate::harness::App;

/// The methods whose answers say how far a change has come.
fn mutations() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
    let services = pool.services().collect::<Vec<_>>();
    let methods = services.iter().flat_map(|service| service.methods());
    let mutations = methods.filter(|method| method.output().get_field_by_name("propagation").is_some());
    mutations.map(|method| method.name().to_owned()).collect()
}

/// Calls every mutation once, and says how far each has come.
async fn call_all(app: &App, key_id: i64) -> Vec<(&'static str, pb::Propagation)> {
    let (mut keys, mut budgets) = (app.keys(), app.budgets());
    let grants = || Some(pb::Grants { tags: vec!["t".into()], ..Default::default() });
    let mut told = Vec::new();
    macro_rules! call {
        ($name:literal, $method:ident, $request:expr) => {
            call!($name, keys, $method, $request);
        };
        ($name:literal, $service:ident, $method:ident, $request:expr) => {
            let answer =
                $service.$method($request).await.unwrap_or_else(|error| panic!("{}: {error:?}", $name));
            told.push(($name, answer.into_inner().propagation.expect($name)));
        };
    }
    let key = pb::Key { user_id: 1, display_name: "new".into(), ..Default::default() };
    call!("CreateKey", create_key, pb::CreateKeyRequest { key: Some(key), ..Default::default() });
    let update = pb::UpdateKeyRequest {
        key: Some(pb::Key { key_id, display_name: "other".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        ..Default::default()
    };
    call!("UpdateKey", update_key, update);
    call!("RotateKey", rotate_key, pb::RotateKeyRequest { key_id, ..Default::default() });
    call!("AddGrants", add_grants, pb::AddGrantsRequest { key_id, grants: grants(), ..Default::default() });
    let remove = pb::RemoveGrantsRequest { key_id, grants: grants(), ..Default::default() };
    call!("RemoveGrants", remove_grants, remove);
    let expire_in = pb::set_expiration_request::Expiration::Days(7);
    let set = pb::SetExpirationRequest { key_id, expiration: Some(expire_in), ..Default::default() };
    call!("SetExpiration", set_expiration, set);
    let extend = pb::ExtendExpirationRequest { key_id, days: 7, ..Default::default() };
    call!("ExtendExpiration", extend_expiration, extend);
    let clear = pb::ClearExpirationRequest { key_id, ..Default::default() };
    call!("ClearExpiration", clear_expiration, clear);
    call!("RevokeKey", revoke_key, pb::RevokeKeyRequest { key_id, ..Default::default() });
    call!("ReactivateKey", reactivate_key, pb::ReactivateKeyRequest { key_id, ..Default::default() });
    call!("DeleteKey", delete_key, pb::DeleteKeyRequest { key_id, ..Default::default() });
    call!("UndeleteKey", undelete_key, pb::UndeleteKeyRequest { key_id, ..Default::default() });
    call!("DisableOwner", disable_owner, pb::DisableOwnerRequest { user_id: 1, ..Default::default() });
    call!("EnableOwner", enable_owner, pb::EnableOwnerRequest { user_id: 1, ..Default::default() });
    let rate_limits = Some(pb::RateLimits::default());
    let limits = pb::SetOwnerLimitsRequest { user_id: 1, rate_limits, ..Default::default() };
    call!("SetOwnerLimits", set_owner_limits, limits);
    let budget = pb::Budget {
        subject: Some(pb::budget::Subject::UserId(1)),
        limit_micros: Some(1),
        period: pb::budget::Period::Total.into(),
        ..Default::default()
    };
    let create = pb::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
    call!("CreateBudget", budgets, create_budget, create);
    let listed = budgets.list_budgets(pb::ListBudgetsRequest::default()).await.unwrap().into_inner();
    let mut budget = listed.budgets[0].clone();
    let budget_id = budget.budget_id;
    budget.limit_micros = Some(2);
    let update = pb::UpdateBudgetRequest { budget: Some(budget), ..Default::default() };
    call!("UpdateBudget", budgets, update_budget, update);
    app.database.sql(&format!("INSERT INTO budget_periods VALUES ({budget_id}, 'epoch', 1, 0)")).await;
    let reset = pb::ResetBudgetRequest { budget_id, ..Default::default() };
    call!("ResetBudget", budgets, reset_budget, reset);
    let delete = pb::DeleteBudgetRequest { budget_id, ..Default::default() };
    call!("DeleteBudget", budgets, delete_budget, delete);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mutation_is_complete_while_a_replica_may_not_have_it() {
    let replicas = Replicas::with(["--propagation-wait=50ms"]).await;
    let key_id = key(&replicas.first).await;
    let (proxy, second) = replicas.behind_proxy(["--max-staleness=5m"]).await;
    proxy.stall();
    let told = call_all(&replicas.first, key_id).await;
    let names: BTreeSet<String> = told.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, mutations(), "each is called here");
    for (name, propagation) in told {
        assert!(!propagation.complete, "{name}");
        let after = Duration::try_from(propagation.certain_after.unwrap()).unwrap();
        assert!(after > Duration::from_secs(200) && after <= Duration::from_secs(330), "{name}: {after:?}");
    }
    proxy.resume();
    second.stop().await;
    replicas.first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_which_changes_may_make_an_unknown_token_known() {
    let replicas = Replicas::with([]).await;
    let key_id = key(&replicas.first).await;
    call_all(&replicas.first, key_id).await;
    let query = "SELECT DISTINCT action AS line FROM audit_events JOIN change_log USING (revision) \
                 WHERE adds_tokens ORDER BY 1";
    let adding = replicas.database.lines(query).await;
    assert_eq!(adding, ["keys.create", "keys.rotate", "keys.undelete"]);
    replicas.first.stop().await;
}
