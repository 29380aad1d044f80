//! Whom to trust: the authorities of a file, or those that the platform trusts.

use rustls::RootCertStore;

use super::files::{PemFile, TlsFileError};

/// The authorities in a file: every certificate of it.
///
/// # Errors
/// [`TlsFileError`]; also where one of several certificates cannot be used.
pub fn roots(file: &PemFile) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        roots.add(certificate).map_err(|error| TlsFileError::unusable(file.path(), error))?;
    }
    Ok(roots)
}

/// The authorities that this machine trusts; those that `SSL_CERT_FILE` or `SSL_CERT_DIR` name where they are set.
///
/// # Errors
/// [`TlsFileError::NoPlatformRoots`].
pub fn platform_roots() -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    // Some of a platform's certificates are always of a kind that nobody uses any more.
    let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 { Err(TlsFileError::NoPlatformRoots) } else { Ok(roots) }
}
