//! What a certificate says: until when it holds, and whose it is.

use std::fmt;

use chrono::{DateTime, Utc};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A name that a client's certificate is for: one of its subject alternative names. The common name never counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientName {
    /// A URI, byte for byte: `spiffe://cluster.local/ns/chat/sa/gateway`.
    Uri(String),
    /// A DNS name, in lower case: `gateway.internal`.
    Dns(String),
}

/// A text that is no [`ClientName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a URI like spiffe://cluster.local/ns/chat/sa/gateway, or a DNS name like gateway.internal, without `*`"
)]
pub struct InvalidClientName;

impl ClientName {
    /// Reads what a setting calls a client: with a colon a URI, else a DNS name.
    ///
    /// # Errors
    /// [`InvalidClientName`].
    pub fn parse(text: &str) -> Result<Self, InvalidClientName> {
        let is_printable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_printable {
            return Err(InvalidClientName);
        }
        if let Some((scheme, rest)) = text.split_once(':') {
            let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
            let is_uri = is_scheme && !rest.is_empty();
            return if is_uri { Ok(Self::Uri(text.to_owned())) } else { Err(InvalidClientName) };
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let is_dns = text.split('.').all(is_label);
        if is_dns { Ok(Self::Dns(text.to_ascii_lowercase())) } else { Err(InvalidClientName) }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Uri(name) | Self::Dns(name)) = self;
        f.write_str(name)
    }
}

/// The URIs and DNS names among a certificate's subject alternative names; none where it cannot be read.
#[must_use]
pub fn client_names(certificate: &CertificateDer<'_>) -> Vec<ClientName> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate.get::<SubjectAltName>() else {
        return Vec::new();
    };
    let names = names.into_iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(ClientName::Uri(uri.to_string())),
        GeneralName::DnsName(name) => Some(ClientName::Dns(name.to_string().to_ascii_lowercase())),
        _ => None,
    });
    names.collect()
}

/// When the first of these certificates expires: the handshake fails from then on.
///
/// # Errors
/// Why one of them cannot be read, in words.
pub fn expires_at(chain: &[CertificateDer<'_>]) -> Result<DateTime<Utc>, String> {
    let mut first = DateTime::<Utc>::MAX_UTC;
    for certificate in chain {
        let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let not_after = certificate.tbs_certificate.validity.not_after;
        first = first.min(not_after.to_system_time().into());
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_by_a_uri_or_a_dns_name() {
        let spiffe = "spiffe://cluster.local/ns/Chat/sa/gateway";
        assert_eq!(ClientName::parse(spiffe), Ok(ClientName::Uri(spiffe.to_owned())));
        assert_eq!(ClientName::parse("urn:gateway"), Ok(ClientName::Uri("urn:gateway".to_owned())));
        assert_eq!(ClientName::parse("Gateway.Internal"), Ok(ClientName::Dns("gateway.internal".to_owned())));
        for none in
            ["", "*.internal", "a..b", ".a", "a.", "a b", "a/b", ":x", "1x:y", "spiffe:", "g\u{e9}.x", "*"]
        {
            assert_eq!(ClientName::parse(none), Err(InvalidClientName), "{none}");
        }
    }

    #[test]
    fn names_are_read_from_the_subject_alternative_names_only() {
        let names = ["Gateway.internal".to_owned(), "10.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin.internal");
        let uri = "spiffe://cluster.local/ns/chat/sa/gateway".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        params.not_after = rcgen::date_time_ymd(2042, 1, 2);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let expected = ["Gateway.internal", "spiffe://cluster.local/ns/chat/sa/gateway"];
        let expected = expected.map(|name| ClientName::parse(name).unwrap());
        assert_eq!(client_names(certificate.der()), expected);
        let expiry = expires_at(&[certificate.der().clone()]).unwrap();
        assert_eq!(expiry.to_rfc3339(), "2042-01-02T00:00:00+00:00");
        assert!(client_names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
        assert!(expires_at(&[CertificateDer::from(vec![1, 2, 3])]).is_err());
    }
}
