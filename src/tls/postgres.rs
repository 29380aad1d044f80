//! TLS with PostgreSQL, by the words that libpq has for it in a URL.
//!
//! | `sslmode` | Encrypted | The server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer`, or none | where the server offers it; in the clear where that fails | any |
//! | `require` | yes | any; with `sslrootcert` as by `verify-ca` |
//! | `verify-ca` | yes | from a trusted authority |
//! | `verify-full` | yes | from a trusted authority, and for the host's name |
//!
//! `sslrootcert` names the file of the trusted authorities; `system`, or none, means those of this machine, where
//! libpq without it looks for `~/.postgresql/root.crt`. `sslcert` and `sslkey` are the client's own. `allow` is
//! refused: it asks for the clear first. A socket of the file system is never encrypted, as with libpq.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::verify_server_cert_signed_by_trust_anchor,
};

use super::{Identity, PemFile, TlsFileError, platform_roots, roots};

/// How PostgreSQL 17 and newer are told what is spoken.
const ALPN_POSTGRESQL: &[u8] = b"postgresql";
/// Stands for the authorities of this machine.
const SYSTEM: &str = "system";

/// Why a URL's words on TLS cannot be followed. Never repeats the URL: it holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseTlsError {
    /// `sslmode` is none.
    #[error("sslmode must be disable, prefer, require, verify-ca or verify-full")]
    Mode,
    /// One without the other.
    #[error("sslcert and sslkey belong together: give both, or none")]
    HalfAnIdentity,
    /// A value is not percent-encoded text.
    #[error("{0} is not percent-encoded text")]
    Encoding(&'static str),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] TlsFileError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How to speak TLS with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseTls {
    mode: Mode,
    root_certificates: Option<String>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl DatabaseTls {
    /// Takes the words on TLS out of a URL (`postgres://…?sslmode=verify-full&sslrootcert=/etc/ca.pem`). Returns
    /// the URL without them, and what they mean.
    ///
    /// # Errors
    /// [`DatabaseTlsError`]; files are not looked at.
    pub fn split(url: &str) -> Result<(String, Self), DatabaseTlsError> {
        // As the driver reads it: what stands before the first `@` is user and password, `?` or not.
        let host = url.find('@').unwrap_or(0);
        let (host, start) = (url.get(host..).unwrap_or_default(), url.get(..host).unwrap_or_default());
        let (base, query) = host.split_once('?').unwrap_or((host, ""));
        let base = format!("{start}{base}");
        let mut rest: Vec<&str> = Vec::new();
        let [mut mode, mut root, mut certificate, mut key] = [const { None }; 4];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => mode = Some(decoded("sslmode", value)?),
                "sslrootcert" => root = Some(decoded("sslrootcert", value)?),
                "sslcert" => certificate = Some(decoded("sslcert", value)?),
                "sslkey" => key = Some(decoded("sslkey", value)?),
                _ => rest.push(pair),
            }
        }
        let mode = match mode.as_deref() {
            Some("disable") => Mode::Disable,
            None | Some("prefer") => Mode::Prefer,
            Some("require") if root.is_some() => Mode::VerifyCa,
            Some("require") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some(_) => return Err(DatabaseTlsError::Mode),
        };
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(DatabaseTlsError::HalfAnIdentity),
        };
        let url = if rest.is_empty() { base } else { format!("{base}?{}", rest.join("&")) };
        Ok((url, Self { mode, root_certificates: root, identity }))
    }

    /// Whether nothing is to be encrypted.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.mode == Mode::Disable
    }

    /// Whether the clear will do, where the server does not speak TLS or the handshake fails.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.mode == Mode::Prefer
    }

    /// The configuration of the connections; reads the files.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn client_config(&self) -> Result<ClientConfig, TlsFileError> {
        let algorithms = super::provider().signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = match self.mode {
            Mode::Disable | Mode::Prefer | Mode::Require => Arc::new(Trusting { roots: None, algorithms }),
            Mode::VerifyCa => Arc::new(Trusting { roots: Some(self.roots()?), algorithms }),
            Mode::VerifyFull => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, super::provider()).build();
                verifier.map_err(|error| Error::General(error.to_string()))?
            }
        };
        let builder = super::client_builder()?.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            Some((certificate, key)) => {
                builder.with_client_cert_resolver(Identity::read(certificate, key)?.resolver())
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, TlsFileError> {
        match self.root_certificates.as_deref() {
            None | Some(SYSTEM) => platform_roots(),
            Some(path) => roots(&PemFile::read(path.as_ref())?),
        }
    }
}

/// Takes any certificate (without roots), or any of a trusted authority, whatever its name: the modes of libpq that
/// ask for less than `verify-full`. That the server has the certificate's key is verified all the same.
#[derive(Debug)]
struct Trusting {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Percent-decodes a value.
fn decoded(name: &'static str, value: &str) -> Result<String, DatabaseTlsError> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2).ok_or(DatabaseTlsError::Encoding(name))?;
        let digits =
            str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|it| it.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or(DatabaseTlsError::Encoding(name))?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| DatabaseTlsError::Encoding(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(url: &str) -> (String, DatabaseTls) {
        DatabaseTls::split(url).unwrap()
    }

    #[test]
    fn words_on_tls_are_taken_out_of_a_url() {
        let url =
            "postgres://me:s%40@h:5/d?application_name=x&sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem";
        let (rest, tls) = split(&format!("{url}&connect_timeout=3"));
        assert_eq!(rest, "postgres://me:s%40@h:5/d?application_name=x&connect_timeout=3");
        let root_certificates = Some("/etc/ca.pem".to_owned());
        assert_eq!(tls, DatabaseTls { mode: Mode::VerifyFull, root_certificates, identity: None });
        assert_eq!(split("postgres://h/d?sslmode=disable").0, "postgres://h/d");
        let (rest, tls) = split("postgres://me:a?b@h/d?sslmode=require");
        assert_eq!((rest.as_str(), tls.mode), ("postgres://me:a?b@h/d", Mode::Require));
        assert!(split("postgres://h/d").1.is_optional());
        assert!(split("postgres://h/d?sslmode=disable").1.is_disabled());
        assert_eq!(split("postgres://h/d?sslmode=require").1.mode, Mode::Require);
        assert_eq!(split("postgres://h/d?sslmode=require&sslrootcert=system").1.mode, Mode::VerifyCa);
    }

    #[test]
    fn words_that_cannot_be_followed_are_refused_without_the_url() {
        for (query, word) in [
            ("sslmode=allow", "sslmode must be"),
            ("sslmode=REQUIRE", "sslmode must be"),
            ("sslmode", "sslmode must be"),
            ("sslcert=/c.pem", "belong together"),
            ("sslmode=%zz", "percent-encoded"),
            ("sslrootcert=%+1", "percent-encoded"),
            ("sslrootcert=%2", "percent-encoded"),
            ("sslkey=%ff", "percent-encoded"),
        ] {
            let error = DatabaseTls::split(&format!("postgres://me:sesame@h/d?{query}")).unwrap_err();
            let words = error.to_string();
            assert!(words.contains(word) && !words.contains("sesame"), "{query}: {words}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let (_, tls) = split("postgres://h/d?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem");
        let words = tls.client_config().unwrap_err().to_string();
        assert!(words.starts_with("cannot read /nowhere/ca.pem: No such file"), "{words}");
    }
}
