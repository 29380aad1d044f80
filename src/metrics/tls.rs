//! TLS of the listener: how long the certificate holds, and the handshakes that failed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use super::cells::Counter;
use super::page::{Group, Page};

/// Why handshakes fail, in the words of the log. Any other reason is the last one.
pub const HANDSHAKE_REASONS: [&str; 12] = [
    "not_tls",
    "left",
    "timed_out",
    "no_certificate",
    "unknown_issuer",
    "expired",
    "not_yet_valid",
    "wrong_name",
    "bad_certificate",
    "nothing_in_common",
    "refused_by_peer",
    "other",
];

/// The listener's.
#[derive(Debug, Default)]
pub struct TlsMetrics {
    /// Seconds since 1970; not there without TLS.
    expires_at: OnceLock<AtomicI64>,
    failures: [Counter; HANDSHAKE_REASONS.len()],
}

impl TlsMetrics {
    /// The certificate in force holds until then, in seconds since 1970.
    pub fn set_expiry(&self, expires_at: i64) {
        self.expires_at.get_or_init(AtomicI64::default).store(expires_at, Ordering::Relaxed);
    }

    /// Counts a handshake that failed.
    pub fn count_failure(&self, reason: &str) {
        let known = HANDSHAKE_REASONS.iter().zip(&self.failures).find(|(known, _)| **known == reason);
        if let Some(counter) = known.map(|(_, counter)| counter).or(self.failures.last()) {
            counter.increment();
        }
    }
}

impl Group for TlsMetrics {
    fn write(&self, page: &mut Page) {
        let expiry = self.expires_at.get().map(|expires_at| expires_at.load(Ordering::Relaxed));
        page.gauges(
            "keystile_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of the listener expires, since 1970",
            expiry.map(|expires_at| (Vec::new(), expires_at)),
        );
        page.counters(
            "keystile_tls_handshake_failures_total",
            "TLS handshakes that failed",
            HANDSHAKE_REASONS
                .into_iter()
                .zip(&self.failures)
                .map(|(reason, counter)| (vec![("reason", reason)], counter.get())),
        );
    }
}
