//! The audit log: reading it, and what plugins add to it.

use super::{Admin, AdminError};
use crate::storage::audit::{self, AuditEvent, AuditFilter, EventPosition, PluginEvent};
use crate::storage::changes::Actor;

/// Which events to list.
#[derive(Clone, Debug)]
pub struct ListAuditEvents {
    /// Which.
    pub filter: AuditFilter,
    /// Where the page before ended.
    pub after: Option<EventPosition>,
    /// At most so many.
    pub limit: u16,
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// Newest first.
    pub events: Vec<AuditEvent>,
    /// There may be more: the next page comes after this.
    pub next: Option<EventPosition>,
}

impl Admin {
    /// Lists a page of the audit log, newest first.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn list_audit_events(&self, request: ListAuditEvents) -> Result<AuditPage, AdminError> {
        let ListAuditEvents { filter, after, limit } = request;
        let read = self.store.snapshot("audit.list", move |session| {
            Box::pin(async move { audit::list(session, &filter, after, usize::from(limit)).await })
        });
        let listed = read.await?;
        Ok(AuditPage { events: listed.events, next: listed.next })
    }

    /// Takes down what a plugin tells, and returns the event's id.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn record_plugin_event(&self, actor: Actor, event: PluginEvent) -> Result<i64, AdminError> {
        self.store
            .write("audit.record_plugin_event", move |session| {
                Box::pin(async move {
                    let action = "plugins.record_event";
                    Ok(audit::insert_plugin_event(session, &actor, action, &event).await?)
                })
            })
            .await
    }
}
