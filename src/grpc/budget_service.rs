//! BudgetService: in the contract, not served by this version.

use tonic::{Request, Response, Status};

use super::error::method_not_served;
use super::pb;
use super::pb::budget_service_server::BudgetService;

/// The service.
#[derive(Clone, Copy, Debug, Default)]
pub struct BudgetApi;

#[tonic::async_trait]
impl BudgetService for BudgetApi {
    async fn create_budget(
        &self,
        _request: Request<pb::CreateBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        Err(method_not_served("CreateBudget"))
    }

    async fn get_budget(
        &self,
        _request: Request<pb::GetBudgetRequest>,
    ) -> Result<Response<pb::GetBudgetResponse>, Status> {
        Err(method_not_served("GetBudget"))
    }

    async fn list_budgets(
        &self,
        _request: Request<pb::ListBudgetsRequest>,
    ) -> Result<Response<pb::ListBudgetsResponse>, Status> {
        Err(method_not_served("ListBudgets"))
    }

    async fn update_budget(
        &self,
        _request: Request<pb::UpdateBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        Err(method_not_served("UpdateBudget"))
    }

    async fn delete_budget(
        &self,
        _request: Request<pb::DeleteBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        Err(method_not_served("DeleteBudget"))
    }

    async fn reset_budget(
        &self,
        _request: Request<pb::ResetBudgetRequest>,
    ) -> Result<Response<pb::BudgetMutationResponse>, Status> {
        Err(method_not_served("ResetBudget"))
    }
}
