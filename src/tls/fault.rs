//! Why a handshake failed: kinds that a person can do something about.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What went wrong between the two sides, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// What the other side sent is no TLS.
    NotTls,
    /// It closed the connection.
    Left,
    /// It took too long.
    TimedOut,
    /// It showed no certificate, and has to.
    NoCertificate,
    /// Its certificate comes from an authority that is not trusted here.
    UnknownIssuer,
    /// Its certificate has expired.
    Expired,
    /// Its certificate is not valid yet.
    NotYetValid,
    /// Its certificate is for another name.
    WrongName,
    /// Its certificate is not acceptable for another reason.
    BadCertificate(String),
    /// The sides share no version, cipher or protocol.
    NothingInCommon(String),
    /// It refuses: it sent this alert.
    Refused(AlertDescription),
    /// Anything else.
    Other(String),
}

impl HandshakeFault {
    /// What an error of a TLS connection means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match fault_in(error) {
            Some(fault) => fault,
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Left,
                _ => Self::Other(error.to_string()),
            },
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error as Tls;
        match error {
            Tls::InvalidMessage(_) | Tls::PeerSentOversizedRecord => Self::NotTls,
            Tls::NoCertificatesPresented => Self::NoCertificate,
            Tls::InvalidCertificate(error) => Self::of_certificate(error),
            Tls::PeerIncompatible(_) | Tls::NoApplicationProtocol => Self::NothingInCommon(error.to_string()),
            Tls::AlertReceived(alert) => Self::Refused(*alert),
            _ => Self::Other(error.to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as Certificate;
        match error {
            Certificate::Expired | Certificate::ExpiredContext { .. } => Self::Expired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Self::NotYetValid,
            // An authority of the same name with another key signs what does not verify.
            Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownIssuer,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Self::WrongName,
            _ => Self::BadCertificate(error.to_string()),
        }
    }

    /// A short name that stays the same, for logs and metrics: `unknown_issuer`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Left => "left",
            Self::TimedOut => "timed_out",
            Self::NoCertificate => "no_certificate",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::BadCertificate(_) => "bad_certificate",
            Self::NothingInCommon(_) => "nothing_in_common",
            Self::Refused(_) => "refused_by_peer",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("what the other side sends is no TLS"),
            Self::Left => f.write_str("the other side closed the connection"),
            Self::TimedOut => f.write_str("the other side took too long"),
            Self::NoCertificate => f.write_str("the other side shows no certificate"),
            Self::UnknownIssuer => f.write_str("the certificate comes from an authority that is not trusted"),
            Self::Expired => f.write_str("the certificate has expired"),
            Self::NotYetValid => f.write_str("the certificate is not valid yet"),
            Self::WrongName => f.write_str("the certificate is for another name"),
            Self::BadCertificate(what) => write!(f, "the certificate is not acceptable: {what}"),
            Self::NothingInCommon(what) => write!(f, "the two sides have nothing in common: {what}"),
            Self::Refused(alert) => write!(f, "the other side refuses: {alert:?}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// The fault of TLS among an error's causes, if there is one.
#[must_use]
pub fn fault_in(error: &(dyn Error + 'static)) -> Option<HandshakeFault> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(HandshakeFault::of_tls(tls));
        }
        // The error inside of one of IO is not among its sources, only that one's sources are.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
