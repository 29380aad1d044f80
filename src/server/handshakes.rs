//! The log of handshakes that failed, of certificates that nobody knows, and of connections that were one too many. Whoever can reach the port can make
//! them, so there is at most one line a second of a kind, which counts those that it stands for.
//!
//! Addresses of clients are told at debug only.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::tls::{ClientName, HandshakeFault};

const LINE_EVERY: Duration = Duration::from_secs(1);
/// More names than a certificate of a caller has.
const NAMES_MAX: usize = 8;

/// Remembers what it has told lately.
#[derive(Debug, Default)]
pub(super) struct HandshakeLog(Mutex<HashMap<&'static str, Lately>>);

#[derive(Clone, Copy, Debug)]
struct Lately {
    told_at: Instant,
    untold: u64,
}

impl HandshakeLog {
    /// A handshake failed.
    pub(super) fn failed(&self, fault: &HandshakeFault, peer: SocketAddr) {
        let reason = fault.label();
        tracing::debug!(reason, error = %fault, peer = %peer, "a TLS handshake failed");
        // Whoever connects and goes is a probe of the port.
        if *fault == HandshakeFault::Left {
            return;
        }
        let Some(untold) = self.may_tell(reason, clock::monotonic_now()) else { return };
        match fault {
            HandshakeFault::NotTls | HandshakeFault::TimedOut => {
                tracing::info!(reason, error = %fault, untold, "a TLS handshake failed");
            }
            _ => tracing::warn!(reason, error = %fault, untold, "a TLS handshake failed"),
        }
    }

    /// A verified certificate stands for no caller.
    pub(super) fn unknown_client(&self, names: &[ClientName], peer: SocketAddr) {
        let names: Vec<String> = names.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        let names = names.join(", ");
        tracing::debug!(names, peer = %peer, "a client certificate stands for no key");
        if let Some(untold) = self.may_tell("unknown_client", clock::monotonic_now()) {
            tracing::info!(
                names,
                untold,
                "a client certificate stands for no key, or for several: its calls need a token, or one of its \
                 names in KEYSTILE_TLS_CLIENT_CALLER"
            );
        }
    }

    /// A connection was closed at once because there are as many as there may be.
    pub(super) fn full(&self, max: usize) {
        if let Some(untold) = self.may_tell("full", clock::monotonic_now()) {
            tracing::warn!(
                max,
                untold,
                "a connection was closed at once: there are as many as KEYSTILE_MAX_CONNECTIONS allows"
            );
        }
    }

    /// How many were not told since the last that was; `None` where this one is not to be told either.
    fn may_tell(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get_mut(kind) {
            Some(lately) if now.saturating_duration_since(lately.told_at) < LINE_EVERY => {
                lately.untold += 1;
                None
            }
            lately => {
                let untold = lately.map_or(0, |lately| lately.untold);
                kinds.insert(kind, Lately { told_at: now, untold: 0 });
                Some(untold)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;
    use crate::metrics::HANDSHAKE_REASONS;

    #[test]
    fn the_reasons_of_the_metric_are_those_of_the_log() {
        let none = String::new;
        let faults = [
            HandshakeFault::NotTls,
            HandshakeFault::Left,
            HandshakeFault::TimedOut,
            HandshakeFault::NoCertificate,
            HandshakeFault::UnknownIssuer,
            HandshakeFault::Expired,
            HandshakeFault::NotYetValid,
            HandshakeFault::WrongName,
            HandshakeFault::BadCertificate(none()),
            HandshakeFault::NothingInCommon(none()),
            HandshakeFault::Refused(AlertDescription::UnknownCA),
            HandshakeFault::Other(none()),
        ];
        assert_eq!(faults.map(|fault| fault.label()), HANDSHAKE_REASONS);
    }

    #[test]
    fn a_kind_is_told_once_a_second_with_those_that_were_not() {
        let log = HandshakeLog::default();
        let start = clock::monotonic_now();
        let after = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(log.may_tell("expired", start), Some(0));
        assert_eq!(log.may_tell("expired", after(1)), None);
        assert_eq!(log.may_tell("expired", after(999)), None);
        assert_eq!(log.may_tell("not_tls", after(2)), Some(0));
        assert_eq!(log.may_tell("expired", after(1000)), Some(2));
        assert_eq!(log.may_tell("expired", after(1001)), None);
    }
}
