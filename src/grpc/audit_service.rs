//! AuditService: lists the audit log, and takes down what plugins tell.

use tonic::{Request, Response, Status};

use super::convert::audit::{audit_event, position_bytes, read_list_events, read_plugin_event};
use super::error;
use super::key_service::actor;
use super::page::fitting;
use super::page_token;
use super::pb;
use super::pb::audit_service_server::AuditService;
use super::violations::Violations;
use crate::admin::Admin;

/// The service.
#[derive(Clone, Debug)]
pub struct AuditApi {
    admin: Admin,
}

impl AuditApi {
    /// The service on the use cases of administration.
    #[must_use]
    pub fn new(admin: Admin) -> Self {
        Self { admin }
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let mut violations = Violations::default();
        let (list, request) = read_list_events(&mut violations, request.into_inner());
        let request = violations.finish(request)?;
        let page = self.admin.list_audit_events(request).await.map_err(error::admin)?;
        let mut events: Vec<pb::AuditEvent> = page.events.iter().map(audit_event).collect();
        let fitting = fitting(&events);
        let mut next = page.next;
        if fitting < events.len() {
            events.truncate(fitting);
            next = page.events.get(fitting - 1).map(|event| event.position());
        }
        let token = next.map(|place| page_token::write(list, &position_bytes(place)));
        Ok(Response::new(pb::ListAuditEventsResponse { events, next_page_token: token.unwrap_or_default() }))
    }

    async fn record_plugin_event(
        &self,
        request: Request<pb::RecordPluginEventRequest>,
    ) -> Result<Response<pb::RecordPluginEventResponse>, Status> {
        let mut actor = actor(&request);
        let mut violations = Violations::default();
        let read = read_plugin_event(&mut violations, request.into_inner());
        let (event, request_id) = violations.finish(read)?;
        if !request_id.is_empty() {
            actor.request_id = request_id;
        }
        let event_id = self.admin.record_plugin_event(actor, event).await.map_err(error::admin)?;
        Ok(Response::new(pb::RecordPluginEventResponse { event_id }))
    }
}
