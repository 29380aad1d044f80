//! BudgetService: keeps the budgets of keys and owners.

use tonic::{Request, Response, Status};

use super::convert::budgets::{
    budget, budget_mutation, read_budget_id, read_create_budget, read_list_budgets,
};
use super::convert::key_request::read_etag;
use super::convert::update_budget::read_update_budget;
use super::error;
use super::key_service::actor;
use super::page::fitting;
use super::page_token;
use super::pb;
use super::pb::budget_service_server::BudgetService;
use super::violations::Violations;
use crate::admin::{Admin, Etag};
use crate::policy::BudgetId;

/// The service.
#[derive(Clone, Debug)]
pub struct BudgetApi {
    admin: Admin,
}

impl BudgetApi {
    /// The service on the use cases of administration.
    #[must_use]
    pub fn new(admin: Admin) -> Self {
        Self { admin }
    }
}

/// Which budget, and what the caller has seen of it.
fn read_which(budget_id: i64, etag: String) -> Result<(BudgetId, Option<Etag>), Status> {
    let mut violations = Violations::default();
    let budget_id = read_budget_id(&mut violations, "budget_id", budget_id);
    let etag = read_etag(&mut violations, etag);
    Ok((violations.finish(budget_id)?, etag))
}

#[tonic::async_trait]
impl BudgetService for BudgetApi {
    async fn create_budget(
        &self,
        request: Request<pb::CreateBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        let actor = actor(&request);
        let create = read_create_budget(request.into_inner())?;
        let validate_only = create.validate_only;
        let created = self.admin.create_budget(actor, create).await.map_err(error::admin)?;
        let mut answer = budget_mutation(&created);
        if let Some(budget) = answer.budget.as_mut().filter(|_| validate_only) {
            // There is no such budget.
            (budget.budget_id, budget.etag) = (0, String::new());
            answer.propagation = None;
        }
        Ok(Response::new(answer))
    }

    async fn get_budget(
        &self,
        request: Request<pb::GetBudgetRequest>,
    ) -> Result<Response<pb::GetBudgetResponse>, Status> {
        let pb::GetBudgetRequest { budget_id } = request.into_inner();
        let (budget_id, _) = read_which(budget_id, String::new())?;
        let found = self.admin.get_budget(budget_id).await.map_err(error::admin)?;
        Ok(Response::new(pb::GetBudgetResponse { budget: Some(budget(&found)) }))
    }

    async fn list_budgets(
        &self,
        request: Request<pb::ListBudgetsRequest>,
    ) -> Result<Response<pb::ListBudgetsResponse>, Status> {
        let mut violations = Violations::default();
        let (list, request) = read_list_budgets(&mut violations, request.into_inner());
        let request = violations.finish(request)?;
        let page = self.admin.list_budgets(request).await.map_err(error::admin)?;
        let mut budgets: Vec<pb::Budget> = page.budgets.iter().map(budget).collect();
        let fitting = fitting(&budgets);
        let mut next = page.next_after;
        if fitting < budgets.len() {
            budgets.truncate(fitting);
            next = page.budgets.get(fitting - 1).map(|budget| budget.budget_id);
        }
        let token = next.map(|after| page_token::write(list, &after.get().to_be_bytes()));
        Ok(Response::new(pb::ListBudgetsResponse { budgets, next_page_token: token.unwrap_or_default() }))
    }

    async fn update_budget(
        &self,
        request: Request<pb::UpdateBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        let actor = actor(&request);
        let update = read_update_budget(request.into_inner())?;
        let changed = self.admin.update_budget(actor, update).await.map_err(error::admin)?;
        Ok(Response::new(budget_mutation(&changed)))
    }

    async fn delete_budget(
        &self,
        request: Request<pb::DeleteBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::DeleteBudgetRequest { budget_id, etag } = request.into_inner();
        let (budget_id, etag) = read_which(budget_id, etag)?;
        let changed = self.admin.delete_budget(actor, budget_id, etag).await.map_err(error::admin)?;
        Ok(Response::new(budget_mutation(&changed)))
    }

    async fn reset_budget(
        &self,
        request: Request<pb::ResetBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        let actor = actor(&request);
        let pb::ResetBudgetRequest { budget_id, etag } = request.into_inner();
        let (budget_id, etag) = read_which(budget_id, etag)?;
        let changed = self.admin.reset_budget(actor, budget_id, etag).await.map_err(error::admin)?;
        Ok(Response::new(budget_mutation(&changed)))
    }
}
