//! AuditService: in the contract, not served by this version.

use tonic::{Request, Response, Status};

use super::error::method_not_served;
use super::pb;
use super::pb::audit_service_server::AuditService;

/// The service.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditApi;

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_events(
        &self,
        _request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        Err(method_not_served("ListAuditEvents"))
    }

    async fn record_plugin_event(
        &self,
        _request: Request<pb::RecordPluginEventRequest>,
    ) -> Result<Response<pb::RecordPluginEventResponse>, Status> {
        Err(method_not_served("RecordPluginEvent"))
    }
}
