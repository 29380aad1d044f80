//! TLS of the gRPC listener, who may connect by it, and health without it.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--tls-cert-file` | `KEYSTILE_TLS_CERT_FILE` | none: no TLS | PEM: the certificate, then those that lead to its authority |
//! | `--tls-key-file` | `KEYSTILE_TLS_KEY_FILE` | none | PEM: the certificate's key, not encrypted |
//! | `--tls-client-ca-file` | `KEYSTILE_TLS_CLIENT_CA_FILE` | none: clients need no certificate | PEM; only with a certificate |
//! | `--tls-client-auth` | `KEYSTILE_TLS_CLIENT_AUTH` | `required` | `required`, `optional`; only with a client CA |
//! | `--tls-client-caller` | `KEYSTILE_TLS_CLIENT_CALLER` | none | `SAN=KEY_ID`, by commas; only with a client CA |
//! | `--health-listen` | `KEYSTILE_HEALTH_LISTEN` | none | an IP address and a port, another than `--listen` |

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Fault;
use super::serve::listen_address;
use crate::policy::KeyId;
use crate::tls::{ClientName, Identity, PemFile, roots};

const CERT_FILE: &str = "KEYSTILE_TLS_CERT_FILE";
const KEY_FILE: &str = "KEYSTILE_TLS_KEY_FILE";
const CLIENT_CA_FILE: &str = "KEYSTILE_TLS_CLIENT_CA_FILE";
const CLIENT_AUTH: &str = "KEYSTILE_TLS_CLIENT_AUTH";
const CLIENT_CALLER: &str = "KEYSTILE_TLS_CLIENT_CALLER";
/// The variable that says where health alone is served.
pub const HEALTH_LISTEN: &str = "KEYSTILE_HEALTH_LISTEN";

/// Settings of TLS.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct Tls {
    /// File with the server's certificate in PEM; gRPC is served by TLS then
    ///
    /// The certificates that lead to its authority follow it in the file. All files of TLS are read again when
    /// they change.
    #[arg(long = "tls-cert-file", value_name = "FILE", env = CERT_FILE)]
    pub cert_file: Option<PathBuf>,

    /// File with the private key of --tls-cert-file in PEM
    #[arg(long = "tls-key-file", value_name = "FILE", env = KEY_FILE)]
    pub key_file: Option<PathBuf>,

    /// File with the authorities of client certificates in PEM; clients must show one then
    #[arg(long = "tls-client-ca-file", value_name = "FILE", env = CLIENT_CA_FILE)]
    pub client_ca_file: Option<PathBuf>,

    /// Whether clients must show a certificate, or may, where --tls-client-ca-file is set [default: required]
    #[arg(long = "tls-client-auth", value_name = "HOW", env = CLIENT_AUTH, value_enum)]
    pub client_auth: Option<ClientAuth>,

    /// Client certificates that call as a key, by commas: spiffe://cluster.local/ns/chat/sa/gateway=1000007
    ///
    /// SAN=KEY_ID, where SAN is a URI or DNS name among the subject alternative names of a verified client
    /// certificate, exactly. The key's state, expiry, addresses and scopes are checked at each call. A bearer
    /// token that is presented wins.
    #[arg(long = "tls-client-caller", value_name = "SAN=KEY_ID", env = CLIENT_CALLER, value_delimiter = ',',
          value_parser = client_caller)]
    pub client_callers: Vec<ClientCaller>,

    /// Address and port to serve health alone on, without TLS: for the probes of Kubernetes
    #[arg(long, value_name = "ADDRESS:PORT", env = HEALTH_LISTEN, value_parser = listen_address)]
    pub health_listen: Option<SocketAddr>,
}

/// Whether clients show a certificate. One that they show is verified either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientAuth {
    /// They must.
    Required,
    /// They may.
    Optional,
}

/// A client certificate that calls as a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCaller {
    /// A name that the certificate is for.
    pub name: ClientName,
    /// The key that it calls as.
    pub key_id: KeyId,
}

impl fmt::Display for ClientCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.key_id)
    }
}

/// The files of TLS, where it is on.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of client certificates, and whether one must be shown.
    pub clients: Option<(PathBuf, ClientAuth)>,
}

impl Tls {
    /// The files, where TLS is on.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.cert_file.clone()?, self.key_file.clone()?);
        Some(TlsFiles { certificate, key, clients: self.client_ca_file.clone().zip(self.client_auth()) })
    }

    /// Whether clients show a certificate; `None` where they are not asked for one.
    #[must_use]
    pub fn client_auth(&self) -> Option<ClientAuth> {
        self.client_ca_file.as_ref().map(|_| self.client_auth.unwrap_or(ClientAuth::Required))
    }

    pub(super) fn faults(&self, listen: SocketAddr) -> Vec<Fault> {
        let mut faults = Vec::new();
        match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                faults.extend(Identity::read(certificate, key).err().map(|error| {
                    let setting = if error.names(key) { KEY_FILE } else { CERT_FILE };
                    Fault::new(setting, error.to_string())
                }));
            }
            (Some(_), None) => faults.push(Fault::new(CERT_FILE, format!("needs {KEY_FILE}, its key"))),
            (None, Some(_)) => {
                faults.push(Fault::new(KEY_FILE, format!("needs {CERT_FILE}, the certificate of the key")));
            }
            (None, None) => {}
        }
        if let Some(path) = &self.client_ca_file {
            if self.cert_file.is_none() {
                let problem = format!("asks clients for certificates, which takes TLS: needs {CERT_FILE}");
                faults.push(Fault::new(CLIENT_CA_FILE, problem));
            }
            let unusable = PemFile::read(path).and_then(|file| roots(&file)).err();
            faults.extend(unusable.map(|error| Fault::new(CLIENT_CA_FILE, error.to_string())));
        } else {
            let without =
                format!("means nothing without {CLIENT_CA_FILE}, the authorities of the certificates");
            faults.extend(self.client_auth.map(|_| Fault::new(CLIENT_AUTH, without.clone())));
            if !self.client_callers.is_empty() {
                faults.push(Fault::new(CLIENT_CALLER, without));
            }
        }
        faults.extend(self.contradictory_callers());
        if self.health_listen == Some(listen) && listen.port() != 0 {
            let problem = format!("{listen} is where gRPC is served; give health a port of its own");
            faults.push(Fault::new(HEALTH_LISTEN, problem));
        }
        faults
    }

    /// Names that stand for more than one key.
    fn contradictory_callers(&self) -> Vec<Fault> {
        let mut keys: BTreeMap<String, KeyId> = BTreeMap::new();
        let mut faults = Vec::new();
        for ClientCaller { name, key_id } in &self.client_callers {
            let first = *keys.entry(name.to_string()).or_insert(*key_id);
            if first != *key_id {
                let problem =
                    format!("{name} stands for key {first} and for key {key_id}; keep one of the two");
                faults.push(Fault::new(CLIENT_CALLER, problem));
            }
        }
        faults
    }
}

fn client_caller(text: &str) -> Result<ClientCaller, String> {
    // A URI may hold `=` too.
    let (name, key) = text.trim().rsplit_once('=').ok_or_else(|| {
        format!("{text} must be SAN=KEY_ID, as in spiffe://cluster.local/ns/chat/sa/gateway=1000007")
    })?;
    let name = ClientName::parse(name).map_err(|error| format!("{name} {error}"))?;
    let key_id = key.parse().ok().and_then(KeyId::new);
    let key_id = key_id.ok_or_else(|| format!("{key} is no key: its id is a number from 1 on"))?;
    Ok(ClientCaller { name, key_id })
}

#[cfg(test)]
mod tests;
