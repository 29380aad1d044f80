//! The composition root: configuration, parts, listener, end.

mod database;
mod error;
mod first_token;
mod health;
mod parts;
mod purge;
mod running;

pub use database::{OpenDatabase, migrate, open_database};
pub use error::ServerError;
pub use first_token::{TOKEN_FILE, write as write_token};
pub use running::Running;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::BootstrapOutcome;
use crate::clock::Clock;
use crate::config::{Database, Serve, Tokens};
use crate::policy::CheckSet;
use crate::storage::changes::Actor;
use crate::token::{Token, os_rng};
use parts::Parts;

/// Serves until SIGTERM or SIGINT, then stops in order.
///
/// # Errors
/// [`ServerError`].
pub async fn serve(config: Serve) -> Result<(), ServerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    let mut running = Running::start(&config, Clock::System).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        error = running.ended() => {
            tracing::error!(error = %error, "serving ended by itself");
            return Err(error);
        }
    }
    running.stop().await
}

/// `keystile bootstrap`: makes the first administrator and returns his token; `None` where there is one
/// already.
///
/// # Errors
/// [`ServerError`].
pub async fn bootstrap(database: &Database, tokens: &Tokens) -> Result<Option<Token>, ServerError> {
    let open = open_database(database).await?;
    let work = async {
        let parts = Parts::on(&open.store, tokens, CheckSet::EMPTY, &Clock::System).await?;
        let token = Token::generate(&tokens.brand, &mut os_rng());
        match parts.admin.bootstrap(Actor::command("bootstrap"), &token).await? {
            BootstrapOutcome::Created(_) => Ok(Some(token)),
            // A spent token cannot be: it was made just now.
            BootstrapOutcome::AlreadyThere | BootstrapOutcome::TokenIsSpent => Ok(None),
        }
    };
    let made = work.await;
    open.close().await?;
    made
}
