//! The composition root: configuration, parts, listener, end.

mod background;
mod certificates;
mod database;
mod error;
mod first_token;
mod handshakes;
mod health;
mod health_listener;
mod late;
mod listener;
pub mod loops;
mod parts;
mod purge;
mod router;
mod running;
mod signals;
mod stage;
mod supervise;
mod transport;

pub use certificates::Certificates;
pub use database::{OpenDatabase, migrate, open_database};
pub use error::ServerError;
pub use first_token::{TOKEN_FILE, write as write_token};
pub use running::Running;
pub use signals::EndSignal;

use tokio::sync::oneshot;

use crate::admin::BootstrapOutcome;
use crate::clock::Clock;
use crate::config::{Database, Serve, Tokens};
use crate::grpc::telemetry_layer;
use crate::storage::changes::Actor;
use crate::token::{Token, os_rng};
use running::{Bound, Prepared};
use signals::Signals;

/// Serves until SIGTERM or SIGINT, then stops in order; a second signal ends it at once.
///
/// # Errors
/// [`ServerError`].
pub async fn serve(config: Serve) -> Result<(), ServerError> {
    let mut signals = Signals::listen()?;
    let mut bound = Bound::to(&config).await?;
    let prepared = match prepare(&config, &mut bound, &mut signals).await {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return unless_hurried(&mut signals, bound.abandon()).await,
        Err(error @ ServerError::Hurried(_)) => return Err(error),
        Err(error) => {
            if let Err(abandoning) = bound.abandon().await {
                tracing::warn!(error = %abandoning, "the service did not end in order");
            }
            return Err(error);
        }
    };
    let mut running = bound.open(&config, Clock::System, prepared);
    let died = tokio::select! {
        error = running.ended() => {
            tracing::error!(error = %error, "stopping: the service is not whole any more");
            Some(error)
        }
        signal = signals.next() => {
            tracing::info!(signal = %signal, "stopping");
            None
        }
    };
    let stopping = async {
        match died {
            None => running.stop().await,
            Some(error) => running.give_up().await.and(Err(error)),
        }
    };
    unless_hurried(&mut signals, stopping).await
}

/// Opens what is behind the methods; `None` where a signal came first, and then nothing of it is left: nobody is to
/// wait for a replica that is not there.
async fn prepare(
    config: &Serve,
    bound: &mut Bound,
    signals: &mut Signals,
) -> Result<Option<Prepared>, ServerError> {
    let (metrics, address) = (bound.metrics(), bound.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let mut preparing = std::pin::pin!(Prepared::by(config, &Clock::System, &metrics, address, stopped));
    let died = tokio::select! {
        prepared = &mut preparing => return prepared,
        error = bound.died() => Some(error),
        signal = signals.next() => {
            tracing::info!(signal = %signal, "stopping before it has started");
            None
        }
    };
    drop(stop);
    let letting_go = async {
        match preparing.await {
            Ok(None) => {}
            Ok(Some(prepared)) => prepared.let_go().await,
            Err(error) => tracing::warn!(error = %error, "the start failed when it was given up"),
        }
        died.map_or(Ok(None), Err)
    };
    unless_hurried(signals, letting_go).await
}

/// Stops in order, or at once when a further signal comes.
async fn unless_hurried<T>(
    signals: &mut Signals,
    stopping: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    tokio::select! {
        stopped = stopping => stopped,
        signal = signals.next() => {
            tracing::warn!(signal = %signal, "a second signal: ending at once");
            Err(ServerError::Hurried(signal))
        }
    }
}

/// `keystile bootstrap`: makes the first administrator and returns his token; `None` where there is one
/// already.
///
/// # Errors
/// [`ServerError`].
pub async fn bootstrap(database: &Database, tokens: &Tokens) -> Result<Option<Token>, ServerError> {
    let open = open_database(database).await?;
    let work = async {
        let admin = parts::admin(&open.store, tokens, &Clock::System, &telemetry_layer::metrics()).await?;
        let token = Token::generate(&tokens.brand, &mut os_rng());
        match admin.bootstrap(Actor::command("bootstrap"), &token).await? {
            BootstrapOutcome::Created(_) => Ok(Some(token)),
            // A spent token cannot be: it was made just now.
            BootstrapOutcome::AlreadyThere | BootstrapOutcome::TokenIsSpent => Ok(None),
        }
    };
    let made = work.await;
    open.close().await?;
    made
}
