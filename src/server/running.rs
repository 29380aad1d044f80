//! The running service: listener, services, background tasks, and an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::database::{OpenDatabase, open_to_serve};
use super::parts::Parts;
use super::{ServerError, first_token, health, purge};
use crate::authorize::Authorizer;
use crate::clock::Clock;
use crate::config::Serve;
use crate::grpc::auth_layer::{AuthLayer, CallerAuth};
use crate::grpc::error_layer::ErrorLayer;
use crate::grpc::pb::FILE_DESCRIPTOR_SET;
use crate::grpc::pb::audit_service_server::AuditServiceServer;
use crate::grpc::pb::authorize_service_server::AuthorizeServiceServer;
use crate::grpc::pb::budget_service_server::BudgetServiceServer;
use crate::grpc::pb::key_service_server::KeyServiceServer;
use crate::grpc::{AuditApi, AuthorizeApi, BudgetApi, KeyApi};
use crate::storage::Store;

/// Calls that are being answered get so long to end.
const DRAIN_MAX: Duration = Duration::from_secs(10);
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A service that has started.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    authorizer: Authorizer,
    database: OpenDatabase,
    stop: watch::Sender<bool>,
    /// Sent when the last call is answered.
    drained: watch::Sender<bool>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    background: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the service and returns when it answers.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left running then.
    pub async fn start(config: &Serve, clock: Clock) -> Result<Self, ServerError> {
        config.validate()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServerError::Listen { address: config.listen, source })?;
        let database = open_to_serve(&config.database).await?;
        match assemble(config, &clock, &database).await {
            Ok(parts) => Self::on(listener, config, clock, database, parts).await,
            Err(error) => {
                if let Err(closing) = database.close().await {
                    tracing::warn!(error = %closing, "the database could not be closed");
                }
                Err(error)
            }
        }
    }

    async fn on(
        listener: TcpListener,
        config: &Serve,
        clock: Clock,
        database: OpenDatabase,
        parts: Parts,
    ) -> Result<Self, ServerError> {
        let address =
            listener.local_addr().map_err(|source| ServerError::Listen { address: config.listen, source })?;
        let (stop, stopped) = watch::channel(false);
        let (drained, last_answered) = watch::channel(false);
        let Parts { admin, authorizer } = parts;
        let (reporter, health_service) = health::reporter_of_open_store().await;
        let auth = if config.no_auth { CallerAuth::Open } else { CallerAuth::Tokens(authorizer.clone()) };
        let reflect = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The details of errors, so that clients by reflection can read them.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection_error =
            |error: tonic_reflection::server::Error| ServerError::Serving(error.to_string());
        let router = Server::builder()
            .layer(ErrorLayer)
            .layer(AuthLayer::new(auth))
            .add_service(health_service)
            .add_service(reflect().build_v1().map_err(reflection_error)?)
            .add_service(reflect().build_v1alpha().map_err(reflection_error)?)
            .add_service(AuthorizeServiceServer::new(AuthorizeApi::new(authorizer.clone())))
            .add_service(KeyServiceServer::new(KeyApi::new(admin.clone(), clock)))
            .add_service(BudgetServiceServer::new(BudgetApi))
            .add_service(AuditServiceServer::new(AuditApi));
        // Without it an answer may wait 40 ms for the client's delayed acknowledgement.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, until(stopped.clone())));
        let background = vec![
            tokio::spawn(flush_uses(authorizer.clone(), database.store.clone(), last_answered)),
            tokio::spawn(purge::run(admin.clone(), stopped.clone())),
            tokio::spawn(health::follow_store(reporter, database.store.clone(), stopped)),
        ];
        tracing::info!(address = %address, auth = !config.no_auth, "serving");
        Ok(Self { address, authorizer, database, stop, drained, serving, background })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The use case of the hot path, for looking at its counts.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Waits until serving, or the embedded database under it, ends by itself, which it should not. Whoever
    /// started the process starts it again: that recovers everything.
    pub async fn ended(&mut self) -> ServerError {
        let served = tokio::select! {
            served = &mut self.serving => served,
            error = self.database.ended() => return error,
        };
        match served {
            Ok(Ok(())) => ServerError::Serving("the listener closed".to_owned()),
            Ok(Err(error)) => ServerError::Serving(error.to_string()),
            Err(error) => ServerError::Serving(error.to_string()),
        }
    }

    /// Stops: no new calls, the calls under way get 10 seconds, then counts are flushed and the
    /// database is let go of.
    ///
    /// # Errors
    /// [`ServerError`]; it has stopped all the same.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        self.stop.send_replace(true);
        if timeout(DRAIN_MAX, &mut self.serving).await.is_err() {
            tracing::warn!(seconds = DRAIN_MAX.as_secs(), "calls were still under way; they are given up");
            self.serving.abort();
        }
        self.drained.send_replace(true);
        for task in self.background {
            if let Err(error) = task.await {
                tracing::error!(error = %error, "a background task failed");
            }
        }
        tracing::info!("stopped");
        self.database.close().await
    }
}

async fn assemble(config: &Serve, clock: &Clock, database: &OpenDatabase) -> Result<Parts, ServerError> {
    let parts = Parts::on(&database.store, &config.tokens, config.decisions.observe, clock).await?;
    first_token::ensure(&parts.admin, config, database.is_embedded()).await?;
    Ok(parts)
}

/// Ends when the service is to stop. A dropped sender means the same.
pub(super) async fn until(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("the service was dropped");
    }
}

/// Flushes the counts of ALLOWs once a second, and a last time at the end.
async fn flush_uses(authorizer: Authorizer, store: Store, stopped: watch::Receiver<bool>) {
    let mut tick = interval(FLUSH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(until(stopped));
    loop {
        let is_last = tokio::select! {
            _ = tick.tick() => false,
            () = &mut stop => true,
        };
        if let Err(error) = authorizer.uses().flush(&store).await {
            tracing::warn!(error = %error, "counts of uses could not be written; they are kept");
        }
        if is_last {
            return;
        }
    }
}
