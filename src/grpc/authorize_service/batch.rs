//! BatchAuthorize: what memory answers is answered at once and in place; only the rest is waited for, side by side.

use std::time::Instant;

use tokio::task::{JoinSet, coop};
use tonic::Status;

use super::line::{Line, Turn};
use super::{AuthorizeApi, Decided, Now, rpc_status};
use crate::authorize::Waiting;
use crate::grpc::error;
use crate::grpc::pb;
use crate::grpc::pb::batch_authorize_response::{Item, item};
use crate::{call, clock};

/// So many requests of a batch wait at once: they are loaded together, and half of what may wait for bcrypt.
const WIDTH: usize = 128;

/// A request that has to be waited for.
struct Late {
    position: usize,
    request: pb::AuthorizeRequest,
    waiting: Option<Waiting>,
    turn: Option<Turn>,
}

impl AuthorizeApi {
    /// Decides requests, each by itself; answers in their order. No revision is waited for beyond `wait_end`.
    pub(super) async fn decide_all(
        &self,
        requests: Vec<pb::AuthorizeRequest>,
        wait_end: Instant,
    ) -> Result<pb::BatchAuthorizeResponse, Status> {
        let mut items = Vec::with_capacity(requests.len());
        let mut rest = Vec::new();
        let mut line = Line::default();
        for (position, request) in requests.into_iter().enumerate() {
            // A long batch lets the others of this thread have their turns.
            coop::consume_budget().await;
            let view = self.authorizer.view().filter(|_| !line.has(&request.token));
            let now = view.map_or(Now::Waits(None), |view| self.decide_now(view, &request));
            let decided = match now {
                Now::Decided(decided) => Some(decided),
                Now::Waits(waiting) => {
                    let turn = waiting.is_none().then(|| line.join(&request.token));
                    rest.push(Late { position, request, waiting, turn });
                    None
                }
            };
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
        requests: Vec<Late>,
        wait_end: Instant,
        items: &mut [Item],
    ) -> Result<(), Status> {
        let mut outage: Option<Status> = None;
        let mut waiting = requests.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < WIDTH
                && let Some(Late { position, request, waiting, turn }) = waiting.next()
            {
                if let Some(status) = &outage {
                    set(items, position, Err(status.clone()));
                    continue;
                }
                let api = self.clone();
                let deciding = async move {
                    let deciding = async {
                        let wait_max = wait_end.saturating_duration_since(clock::monotonic_now());
                        api.decide_late(waiting, &request, wait_max).await
                    };
                    let decided = match turn {
                        Some(turn) => turn.decide(deciding).await,
                        None => deciding.await,
                    };
                    (position, decided)
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
