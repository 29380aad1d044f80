//! The certificate that the listener shows and the authorities that it trusts, read anew when their files change.
//!
//! - Files are compared by their content: a symbolic link that leads elsewhere (Kubernetes) is a change, a touched
//!   file is none.
//! - New handshakes use what is new; connections that are open go on.
//! - What cannot be used (a key that does not fit yet, half a file) leaves the last good one in force, and is told
//!   once, if it is so at three looks on end: certificate and key are seldom replaced in one instant.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::config::{ClientAuth, Tls, TlsFiles};
use crate::metrics::TlsMetrics;
use crate::policy::KeyId;
use crate::tls::{self, ALPN_H2, ClientName, HandshakeFault, Identity, PemFile, TlsFileError};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What cannot be used is told at so many looks on end: two seconds after the first.
const LOOKS_BEFORE_TOLD: u8 = 3;
/// A certificate that expires within so long is warned of.
const EXPIRES_SOON: TimeDelta = TimeDelta::days(7);
const WARN_AGAIN: TimeDelta = TimeDelta::days(1);

/// The files as they were read.
#[derive(Clone, Debug, PartialEq)]
struct Contents {
    certificate: PemFile,
    key: PemFile,
    client_authorities: Option<PemFile>,
}

/// What new handshakes use.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    expires_at: DateTime<Utc>,
}

/// Certificates of the listener.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    callers: HashMap<ClientName, KeyId>,
    /// What `current` was made of.
    first: Contents,
    current: RwLock<Current>,
    metrics: Arc<TlsMetrics>,
}

impl Certificates {
    /// Reads them, and tells `metrics` of them; `None` where TLS is off.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn load(settings: &Tls, metrics: &Arc<TlsMetrics>) -> Result<Option<Self>, TlsFileError> {
        let Some(files) = settings.files() else { return Ok(None) };
        let first = Contents::read(&files)?;
        let current = first.parse(&files)?;
        let client_auth = files.clients.as_ref().map(|(_, auth)| tracing::field::debug(auth));
        tracing::info!(expires_at = %current.expires_at, client_auth, "gRPC is served by TLS");
        metrics.set_expiry(current.expires_at.timestamp());
        let (current, metrics) = (RwLock::new(current), Arc::clone(metrics));
        let callers = settings.client_callers.iter().map(|caller| (caller.name.clone(), caller.key_id));
        Ok(Some(Self { callers: callers.collect(), files, first, current, metrics }))
    }

    /// What a handshake that begins now uses.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// When the certificate in force expires, or one that it is shown with.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).expires_at
    }

    /// A handshake failed.
    pub(super) fn count_failure(&self, fault: &HandshakeFault) {
        self.metrics.count_failure(fault.label());
    }

    /// The key that a verified client certificate stands for.
    ///
    /// # Errors
    /// The certificate's names, where they stand for no key, or for more than one; `Ok(None)` where no certificate
    /// stands for any key.
    pub(super) fn caller(&self, certificate: &CertificateDer<'_>) -> Result<Option<KeyId>, Vec<ClientName>> {
        if self.callers.is_empty() {
            return Ok(None);
        }
        let names = tls::client_names(certificate);
        let mut keys = names.iter().filter_map(|name| self.callers.get(name));
        match keys.next() {
            Some(first) if keys.all(|other| other == first) => Ok(Some(*first)),
            _ => Err(names),
        }
    }

    /// Follows the files until `stop` ends.
    pub async fn follow(self: Arc<Self>, clock: Clock, stop: impl Future<Output = ()> + Send) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        let mut follower = Follower { in_force: self.first.clone(), faulty: None, warned_at: None };
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = &mut stop => return,
            }
            follower.warn_of_expiry(self.expires_at(), clock.now());
            // A volume over the network may hang; the service must not hang with it, and its end neither.
            let files = self.files.clone();
            let read = tokio::select! {
                read = tokio::task::spawn_blocking(move || Contents::read(&files)) => read,
                () = &mut stop => return,
            };
            match read {
                Ok(read) => follower.look(&self, read),
                Err(error) => tracing::error!(error = %error, "looking at the files of TLS failed"),
            }
        }
    }

    fn put_in_force(&self, current: Current) {
        let expires_at = current.expires_at;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        self.metrics.set_expiry(expires_at.timestamp());
        tracing::info!(%expires_at, "new connections use the changed certificate");
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsFileError> {
        Ok(Self {
            certificate: PemFile::read(&files.certificate)?,
            key: PemFile::read(&files.key)?,
            client_authorities: files.clients.as_ref().map(|(path, _)| PemFile::read(path)).transpose()?,
        })
    }

    fn parse(&self, files: &TlsFiles) -> Result<Current, TlsFileError> {
        let identity = Identity::of(&self.certificate, &self.key)?;
        let expires_at = tls::expires_at(identity.chain()).map_err(rustls::Error::General)?;
        let builder = tls::server_builder()?;
        let builder = match (&self.client_authorities, &files.clients) {
            (Some(authorities), Some((_, auth))) => {
                let roots = Arc::new(tls::roots(authorities)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider());
                let verifier = match auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(identity.resolver());
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        // No connection rests on what an earlier one has proven: authorities may have changed since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Current { config: Arc::new(config), expires_at })
    }
}

/// What the following of files remembers from look to look.
struct Follower {
    in_force: Contents,
    /// Why the files could not be used at the last look, and at how many looks on end that was so.
    faulty: Option<(String, u8)>,
    warned_at: Option<DateTime<Utc>>,
}

impl Follower {
    fn look(&mut self, certificates: &Certificates, read: Result<Contents, TlsFileError>) {
        let parsed = read.and_then(|contents| {
            if contents == self.in_force {
                return Ok(None);
            }
            let current = contents.parse(&certificates.files)?;
            Ok(Some((contents, current)))
        });
        match parsed {
            Ok(changed) => {
                self.faulty = None;
                if let Some((contents, current)) = changed {
                    certificates.put_in_force(current);
                    self.in_force = contents;
                    self.warned_at = None;
                }
            }
            Err(error) => self.tell(error.to_string()),
        }
    }

    /// Another look has found files that cannot be used. Told once, and not before they had time to become a pair.
    fn tell(&mut self, fault: String) {
        let looks = match &self.faulty {
            Some((last, looks)) if *last == fault => *looks,
            _ => 0,
        };
        if looks.saturating_add(1) == LOOKS_BEFORE_TOLD {
            tracing::error!(
                error = fault,
                "the files of TLS have changed and cannot be used; the last good ones stay in force"
            );
        }
        self.faulty = Some((fault, looks.saturating_add(1)));
    }

    fn warn_of_expiry(&mut self, expires_at: DateTime<Utc>, now: DateTime<Utc>) {
        let is_due = self.warned_at.is_none_or(|warned_at| now - warned_at >= WARN_AGAIN);
        if expires_at - now >= EXPIRES_SOON || !is_due {
            return;
        }
        self.warned_at = Some(now);
        if expires_at <= now {
            tracing::error!(expires_at = %expires_at, "the certificate has expired: clients refuse it");
        } else {
            tracing::warn!(expires_at = %expires_at, "the certificate expires soon: renew it");
        }
    }
}
