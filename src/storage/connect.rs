//! One connection to PostgreSQL: in the clear or by TLS, as its URL says ([`DatabaseTls`]).

use std::error::Error;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls::{self, DatabaseTls};

/// Where a database is, and how to speak with it.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Connector {
    /// By a URL; reads the files that it names.
    ///
    /// # Errors
    /// Why it cannot be used, in words without secrets.
    pub(super) fn of_url(url: &str) -> Result<Self, String> {
        let (url, tls) = DatabaseTls::split(url).map_err(|error| error.to_string())?;
        let mut config: Config = url.parse().map_err(|error| worded(&error))?;
        let is_local = !config.get_hosts().is_empty()
            && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(match () {
            () if tls.is_disabled() || is_local => SslMode::Disable,
            () if tls.is_optional() => SslMode::Prefer,
            () => SslMode::Require,
        });
        let tls = tls.client_config().map_err(|error| error.to_string())?;
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectionError::BadConnection`] with every cause in words.
    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        match self.config.connect(self.tls.clone()).await {
            Ok((client, connection)) => {
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            // As libpq does: a handshake that fails is no reason not to connect where the clear will do.
            Err(error) if self.config.get_ssl_mode() == SslMode::Prefer && is_of_tls(&error) => {
                tracing::debug!(error = worded(&error), "TLS with the database failed; trying without");
                let mut config = self.config.clone();
                config.ssl_mode(SslMode::Disable);
                let (client, connection) = config.connect(NoTls).await.map_err(bad_connection)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            Err(error) => Err(bad_connection(error)),
        }
    }

    /// What the requests to cancel are encrypted by.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }
}

/// Whether a handshake failed. The driver tells by its words alone.
fn is_of_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake")
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err asks for")]
fn bad_connection(error: tokio_postgres::Error) -> ConnectionError {
    ConnectionError::BadConnection(worded(&error))
}

/// An error with its causes. The driver's own words leave the cause to its sources, and rustls's are for developers.
fn worded(error: &tokio_postgres::Error) -> String {
    if let Some(fault) = tls::fault_in(error) {
        return format!("TLS with the database failed: {fault}");
    }
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}
