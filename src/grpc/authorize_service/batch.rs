//! BatchAuthorize: what memory answers is answered at once and in place; only the rest is waited for, side by side.

use std::time::Instant;

use tokio::task::{JoinSet, coop};
use tonic::Status;

use super::{AuthorizeApi, Decided, rpc_status};
use crate::grpc::error;
use crate::grpc::pb;
use crate::grpc::pb::batch_authorize_response::{Item, item};
use crate::{call, clock};

/// So many requests of a batch wait at once: they are loaded together, and half of what may wait for bcrypt.
const WIDTH: usize = 128;

impl AuthorizeApi {
    /// Decides requests, each by itself; answers in their order. No revision is waited for beyond `wait_end`.
    pub(super) async fn decide_all(
        &self,
        requests: Vec<pb::AuthorizeRequest>,
        wait_end: Instant,
    ) -> Result<pb::BatchAuthorizeResponse, Status> {
        let mut items = Vec::with_capacity(requests.len());
        let mut rest = Vec::new();
        for (position, request) in requests.into_iter().enumerate() {
            // A long batch lets the others of this thread have their turns.
            coop::consume_budget().await;
            let decided = self.authorizer.view().and_then(|view| self.decide_now(view, &request));
            if decided.is_none() {
                rest.push((position, request));
            }
            items.push(Item { result: decided.map(result) });
        }
        if !rest.is_empty() {
            self.wait_for(rest, wait_end, &mut items).await?;
        }
        Ok(pb::BatchAuthorizeResponse { items })
    }

    /// Decides what has to be waited for. The batch waits once for a store out of reach, and once for its revisions.
    async fn wait_for(
        &self,
        requests: Vec<(usize, pb::AuthorizeRequest)>,
        wait_end: Instant,
        items: &mut [Item],
    ) -> Result<(), Status> {
        let mut outage: Option<Status> = None;
        let mut waiting = requests.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < WIDTH
                && let Some((position, request)) = waiting.next()
            {
                if let Some(status) = &outage {
                    set(items, position, Err(status.clone()));
                    continue;
                }
                let api = self.clone();
                let deciding = async move {
                    let wait_max = wait_end.saturating_duration_since(clock::monotonic_now());
                    (position, api.decide(&request, wait_max).await)
                };
                running.spawn_on(call::inherit(deciding), &self.streams.background);
            }
            let Some(done) = running.join_next().await else { return Ok(()) };
            let (position, decided) = done.map_err(|error| error::defect(&error))?;
            if let Err(status) = &decided
                && error::is_outage(status)
            {
                outage.get_or_insert_with(|| status.clone());
            }
            set(items, position, decided);
        }
    }
}

fn set(items: &mut [Item], position: usize, decided: Decided) {
    if let Some(item) = items.get_mut(position) {
        item.result = Some(result(decided));
    }
}

fn result(decided: Decided) -> item::Result {
    match decided {
        Ok(response) => item::Result::Response(response),
        Err(status) => item::Result::Error(rpc_status(status)),
    }
}
