//! Where the caller's token comes from: a file, the environment, or the embedded server of this machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use http::Uri;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::config::LISTEN;
use crate::config::database::DATA_DIR;
use crate::config::environment::value_of;
use crate::embedded;
use crate::server::TOKEN_FILE as ADMIN_TOKEN_FILE;

/// The variable with the token.
pub const TOKEN: &str = "KEYSTILE_TOKEN";
/// The variable with the token's file.
pub const TOKEN_FILE: &str = "KEYSTILE_TOKEN_FILE";
/// More than any token has (72 bytes); keeps a wrong path from filling the memory.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// Where a server with a private PostgreSQL listens, where nothing else is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// A server with a private PostgreSQL: the only one that the token in its data directory is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its data directory.
    pub data_dir: PathBuf,
}

/// What the environment says about the caller's token.
#[derive(Default)]
pub struct Given {
    token: Option<OsString>,
    token_file: Option<OsString>,
    private: Option<Private>,
}

/// The token that an embedded server leaves in its data directory.
pub enum Embedded {
    /// It, and where it was.
    Found(SecretString, PathBuf),
    /// There is one, that this user may not read.
    Closed(PathBuf),
    /// There is none, or it is not this server's.
    Absent,
}

impl Given {
    /// As the environment of this process says, and `private`, where a configuration says more.
    pub fn by_environment(private: Option<&Private>) -> Self {
        let private = private.cloned().or_else(Private::by_environment);
        Self { token: value_of(TOKEN), token_file: value_of(TOKEN_FILE), private }
    }

    /// The token that is given, `token_file` being the file that a flag or its variable names.
    ///
    /// # Errors
    /// [`Failure`], when it cannot be read, or when there are two.
    pub fn token(&self, token_file: Option<&Path>) -> anyhow::Result<Option<SecretString>> {
        if let Some(path) = token_file {
            let by_variable = self.token_file.as_ref().is_some_and(|file| file == path.as_os_str());
            if by_variable && self.token.is_some() {
                let failure = Failure::new(format!("{TOKEN} and {TOKEN_FILE} are both set."));
                return Err(failure.next("Keep one of the two.").into());
            }
            return read_token_file(path).map(Some);
        }
        let Some(token) = self.token.clone() else { return Ok(None) };
        let token = token.into_string().ok().map(Zeroizing::new);
        let token = token.with_context(|| format!("{TOKEN} holds something that is no token"))?;
        Ok(Some(SecretString::from(token.trim())))
    }

    /// The file of the token that is for `server`.
    fn token_file_of(&self, server: &Uri) -> Option<PathBuf> {
        let private = self.private.as_ref().filter(|private| private.is_at(server))?;
        Some(private.data_dir.join(ADMIN_TOKEN_FILE))
    }

    /// Whether `server` may be one on this machine that has not made its token yet.
    pub fn may_come(&self, server: &Uri) -> bool {
        self.token_file_of(server).is_some_and(|path| !path.exists())
    }

    /// The embedded server's token, where `server` is that one.
    pub fn embedded(&self, server: &Uri) -> Embedded {
        let Some(path) = self.token_file_of(server) else { return Embedded::Absent };
        match read_token_file(&path) {
            Ok(token) => Embedded::Found(token, path),
            Err(_) if is_closed(&path) => Embedded::Closed(path),
            // Then there is no token, and the server says what it thinks of it.
            Err(_) => Embedded::Absent,
        }
    }
}

impl Private {
    /// `None`: there is no telling where its data directory is, or where it listens.
    fn by_environment() -> Option<Self> {
        let data_dir = value_of(DATA_DIR).map(PathBuf::from).or_else(|| embedded::default_data_dir().ok())?;
        let listen = match value_of(LISTEN) {
            Some(listen) => listen.to_str()?.parse().ok()?,
            None => DEFAULT_LISTEN,
        };
        Some(Self { listen, data_dir })
    }

    /// Whether `server` is this one: `http://`, and its address and port. A name (`localhost`) may lead to another
    /// address, where anybody may listen; and TLS is spoken by a server that somebody has set up otherwise.
    fn is_at(&self, server: &Uri) -> bool {
        let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let address = reachable(self.listen);
        server.scheme_str() == Some("http")
            && server.port_u16() == Some(address.port())
            && address.ip().is_loopback()
            && host.parse() == Ok(address.ip())
    }
}

/// Where a server that listens at `listen` is reached from its own machine.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Whether a file is there, for others.
fn is_closed(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn read_token_file(path: &Path) -> anyhow::Result<SecretString> {
    let refused = |why: String| Failure::new(format!("Cannot read a token from {}: {why}.", path.display()));
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let read = file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| refused(error.to_string()))?;
    match text.trim() {
        "" => Err(refused("it is empty".to_owned()).into()),
        token => Ok(SecretString::from(token)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use secrecy::ExposeSecret;

    use super::*;

    fn file(token: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(token.as_bytes()).unwrap();
        file
    }

    fn given(token: Option<&str>, token_file: Option<&Path>) -> Given {
        Given {
            token: token.map(OsString::from),
            token_file: token_file.map(|path| path.as_os_str().to_owned()),
            private: None,
        }
    }

    fn private(listen: &str, data_dir: &Path) -> Given {
        let private = Private { listen: listen.parse().unwrap(), data_dir: data_dir.to_owned() };
        Given { private: Some(private), ..Given::default() }
    }

    fn embedded(given: &Given, server: &str) -> Option<String> {
        match given.embedded(&server.parse().unwrap()) {
            Embedded::Found(token, _) => Some(token.expose_secret().to_owned()),
            Embedded::Closed(_) | Embedded::Absent => None,
        }
    }

    #[test]
    fn a_file_wins_over_the_variable_and_one_of_the_two_variables_is_enough() {
        let flag = file("flag");
        let token = |given: Given, path: Option<&Path>| {
            given.token(path).map(|token| token.map(|token| token.expose_secret().to_owned()))
        };
        let by_flag = token(given(Some("variable"), None), Some(flag.path()));
        assert_eq!(by_flag.unwrap().as_deref(), Some("flag"));
        let by_variable = token(given(Some(" variable\n"), None), None);
        assert_eq!(by_variable.unwrap().as_deref(), Some("variable"));
        assert_eq!(token(given(None, None), None).unwrap(), None);
        let both = token(given(Some("variable"), Some(flag.path())), Some(flag.path()));
        assert!(both.unwrap_err().to_string().contains("both set"));
    }

    #[test]
    fn the_embedded_servers_token_goes_to_that_server_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ADMIN_TOKEN_FILE), "admin").unwrap();
        let found = |listen: &str, server: &str| embedded(&private(listen, dir.path()), server);
        for (listen, server) in [
            ("127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("127.0.0.1:6000", "http://127.0.0.1:6000"),
            ("0.0.0.0:50051", "http://127.0.0.1:50051"),
            ("[::]:50051", "http://[::1]:50051"),
        ] {
            assert_eq!(found(listen, server).as_deref(), Some("admin"), "{server}");
        }
        for server in [
            "https://127.0.0.1:50051",
            "http://127.0.0.1:50052",
            "http://127.0.0.2:50051",
            "http://localhost:50051",
            "http://[::1]:50051",
            "http://10.0.0.7:50051",
            "http://localhost.example:50051",
        ] {
            assert_eq!(found("127.0.0.1:50051", server), None, "{server}");
        }
        assert_eq!(found("10.0.0.7:50051", "http://10.0.0.7:50051"), None, "it would leave the machine");
        let at = |server: &str| server.parse().unwrap();
        let missing = private("127.0.0.1:1", Path::new("/nowhere"));
        assert!(missing.may_come(&at("http://127.0.0.1:1")));
        assert!(!missing.may_come(&at("http://127.0.0.1:2")));
        assert!(!private("127.0.0.1:1", dir.path()).may_come(&at("http://127.0.0.1:1")));
        assert_eq!(embedded(&missing, "http://127.0.0.1:1"), None);
        assert_eq!(embedded(&Given::default(), "http://127.0.0.1:50051"), None);
    }

    #[test]
    fn a_token_file_holds_one_token() {
        let empty = read_token_file(file("").path()).unwrap_err().to_string();
        assert!(empty.contains("it is empty"), "{empty}");
        assert_eq!(read_token_file(file(" ks_abc\r\n").path()).unwrap().expose_secret(), "ks_abc");
        let missing = read_token_file(Path::new("/nowhere/token")).unwrap_err().to_string();
        assert!(missing.starts_with("Cannot read a token from /nowhere/token: No such file"), "{missing}");
    }
}
