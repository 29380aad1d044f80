//! Certificates and private keys in PEM files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};
use secrecy::zeroize::Zeroizing;

/// Far more than any certificates here have; keeps a wrong path from filling the memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why a file cannot be used. Names it, and never says what is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no certificate.
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(PathBuf),
    /// It holds no private key.
    #[error("{0} holds no private key in PEM (an encrypted one cannot be read)")]
    NoKey(PathBuf),
    /// A certificate or key of it is broken, or of a kind that is not known.
    #[error("{path} cannot be used: {what}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// They do not belong together.
    #[error("the key in {key} is not that of the certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// The platform has none.
    #[error(
        "this machine has no certificates of authorities to trust: install ca-certificates, or name a file"
    )]
    NoPlatformRoots,
    /// A defect.
    #[error("TLS cannot be set up: {0}")]
    Defect(#[from] Error),
}

impl TlsFileError {
    /// Whether it is about the file at `path`, and that alone.
    #[must_use]
    pub fn names(&self, path: &Path) -> bool {
        match self {
            Self::Unreadable { path: of, .. }
            | Self::Unusable { path: of, .. }
            | Self::NoCertificate(of)
            | Self::NoKey(of) => of == path,
            Self::Mismatch { .. } | Self::NoPlatformRoots | Self::Defect(_) => false,
        }
    }

    pub(super) fn unusable(path: &Path, what: impl fmt::Display) -> Self {
        Self::Unusable { path: path.to_owned(), what: what.to_string() }
    }
}

/// A file as it was read. Two are equal if their bytes are.
#[derive(Clone)]
pub struct PemFile {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl PartialEq for PemFile {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl PemFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TlsFileError::Unreadable`].
    pub fn read(path: &Path) -> Result<Self, TlsFileError> {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Self { path: path.to_owned(), bytes }),
            Err(source) => Err(TlsFileError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its certificates, in order; at least one.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => {
                Err(TlsFileError::NoCertificate(self.path.clone()))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(TlsFileError::unusable(&self.path, error)),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsFileError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| TlsFileError::NoKey(self.path.clone()))
    }
}

/// A certificate with those that lead from it to an authority, and its private key.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.0.cert.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsFileError> {
        Self::of(&PemFile::read(certificate)?, &PemFile::read(key)?)
    }

    /// The identity in two files: the certificate first in its file, and the key that fits it.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn of(certificate: &PemFile, key: &PemFile) -> Result<Self, TlsFileError> {
        let chain = certificate.certificates()?;
        // Fails on a certificate that is none before it is said not to fit the key.
        super::expires_at(&chain).map_err(|what| TlsFileError::unusable(&certificate.path, what))?;
        match CertifiedKey::from_der(chain, key.key()?, &super::provider()) {
            Ok(certified) => Ok(Self(Arc::new(certified))),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsFileError::Mismatch { certificate: certificate.path.clone(), key: key.path.clone() })
            }
            Err(Error::InvalidCertificate(error)) => Err(TlsFileError::unusable(&certificate.path, error)),
            Err(error) => Err(TlsFileError::unusable(&key.path, error)),
        }
    }

    /// The certificate, then those that lead to an authority.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }

    /// What rustls asks for a certificate: a server's or a client's.
    #[must_use]
    pub fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }
}
