//! TLS, for every connection that speaks it: certificates and keys from files, whom to trust, what a certificate
//! says, and what went wrong in a handshake.
//!
//! - One provider of cryptography, ring, is named where a configuration is built; nothing is process-wide.
//! - TLS 1.2 and 1.3, with the ciphers that rustls holds to be safe.
//! - Files are named in what is told, their contents never: one of them is a private key.
//!
//! What does not belong here: sockets, settings, and who is let in.

mod certificate;
mod fault;
mod files;
mod postgres;
mod trust;

pub use certificate::{ClientName, InvalidClientName, client_names, expires_at};
pub use fault::{HandshakeFault, fault_in};
pub use files::{Identity, PemFile, TlsFileError};
pub use postgres::{DatabaseTls, DatabaseTlsError};
pub use trust::{platform_roots, roots};

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

/// ALPN's name for HTTP/2, which gRPC insists on.
pub const ALPN_H2: &[u8] = b"h2";

/// What ciphers and signatures are computed by.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The start of a server's configuration.
///
/// # Errors
/// A defect: the provider does not fit rustls.
pub fn server_builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

/// The start of a client's configuration.
///
/// # Errors
/// A defect: the provider does not fit rustls.
pub fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

/// The configuration of a gRPC client that trusts `roots`, and shows `identity` to a server that asks for it.
///
/// # Errors
/// A defect: the provider does not fit rustls.
pub fn grpc_client(roots: RootCertStore, identity: Option<&Identity>) -> Result<ClientConfig, rustls::Error> {
    let builder = client_builder()?.with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}
