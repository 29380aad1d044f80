//! BudgetService: budgets of keys and owners, as administrators keep them.

mod changing;
mod creating;
mod refusals;
mod resetting;

use keystile::grpc::pb;
use keystile::grpc::pb::budget::{Enforcement, Period, Subject};
use prost_types::FieldMask;
use tonic::{Code, Status};

use crate::harness::{App, status_reason, violated_fields};

fn of_key(key_id: i64) -> pb::Budget {
    pb::Budget {
        subject: Some(Subject::KeyId(key_id)),
        limit_micros: Some(100),
        period: Period::Monthly.into(),
        ..Default::default()
    }
}

fn of_owner(user_id: i64) -> pb::Budget {
    pb::Budget { subject: Some(Subject::UserId(user_id)), ..of_key(0) }
}

/// One that says something in every field.
fn full(key_id: i64) -> pb::Budget {
    pb::Budget {
        display_name: "team".into(),
        enforcement: Enforcement::Soft.into(),
        warning_micros: Some(80),
        models: vec!["gpt-4o*".into(), "o3".into()],
        default_estimate_micros: 7,
        require_estimate: true,
        ..of_key(key_id)
    }
}

async fn create(app: &App, budget: pb::Budget) -> pb::Budget {
    let request = pb::CreateBudgetRequest { budget: Some(budget), ..Default::default() };
    app.budgets().create_budget(request).await.unwrap().into_inner().budget.unwrap()
}

async fn get(app: &App, budget_id: i64) -> Result<pb::Budget, Status> {
    let answer = app.budgets().get_budget(pb::GetBudgetRequest { budget_id }).await?;
    Ok(answer.into_inner().budget.unwrap())
}

fn update(budget: pb::Budget, paths: &[&str]) -> pb::UpdateBudgetRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    pb::UpdateBudgetRequest {
        budget: Some(budget),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    }
}

async fn updated(app: &App, request: pb::UpdateBudgetRequest) -> Result<pb::BudgetMutationResponse, Status> {
    Ok(app.budgets().update_budget(request).await?.into_inner())
}

async fn reset(app: &App, budget_id: i64, etag: &str) -> Result<pb::BudgetMutationResponse, Status> {
    let request = pb::ResetBudgetRequest { budget_id, etag: etag.into() };
    Ok(app.budgets().reset_budget(request).await?.into_inner())
}

async fn delete(app: &App, budget_id: i64, etag: &str) -> Result<pb::BudgetMutationResponse, Status> {
    let request = pb::DeleteBudgetRequest { budget_id, etag: etag.into() };
    Ok(app.budgets().delete_budget(request).await?.into_inner())
}

async fn key(app: &App, key_id: i64) -> pb::Key {
    let request = pb::GetKeyRequest { key_id, ..Default::default() };
    app.keys().get_key(request).await.unwrap().into_inner().key.unwrap()
}

async fn delete_key(app: &App, key_id: i64) {
    app.keys().delete_key(pb::DeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
}

async fn revision(app: &App) -> i64 {
    app.database.number("SELECT revision FROM revision_counter").await
}

/// What a change leaves as it is, if nothing else.
fn lasting(budget: pb::Budget) -> pb::Budget {
    pb::Budget { etag: String::new(), update_time: None, ..budget }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status_reason(&status))
}

fn faults<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status_reason(&status)), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    violated_fields(&status)
}

fn not_found() -> (Code, String) {
    (Code::NotFound, "BUDGET_NOT_FOUND".into())
}

fn stale() -> (Code, String) {
    (Code::Aborted, "ETAG_MISMATCH".into())
}
