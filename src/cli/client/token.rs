//! Where the caller's token comes from: a file, the environment, or the embedded server of this machine.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use http::Uri;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::cli::failure::Failure;
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

/// What the environment says about the caller's token.
#[derive(Default)]
pub struct Given {
    token: Option<OsString>,
    token_file: Option<OsString>,
    admin_token_file: Option<PathBuf>,
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
    /// As the environment of this process says.
    pub fn by_environment() -> Self {
        let data_dir = value_of(DATA_DIR).map(PathBuf::from).or_else(|| embedded::default_data_dir().ok());
        Self {
            token: value_of(TOKEN),
            token_file: value_of(TOKEN_FILE),
            admin_token_file: data_dir.map(|data_dir| data_dir.join(ADMIN_TOKEN_FILE)),
        }
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

    /// Whether `server` may be one on this machine that has not made its token yet.
    pub fn may_come(&self, server: &Uri) -> bool {
        is_loopback(server) && self.admin_token_file.as_ref().is_some_and(|path| !path.exists())
    }

    /// The embedded server's token, where `server` is on this machine.
    pub fn embedded(&self, server: &Uri) -> Embedded {
        let Some(path) = self.admin_token_file.as_ref().filter(|_| is_loopback(server)) else {
            return Embedded::Absent;
        };
        match read_token_file(path) {
            Ok(token) => Embedded::Found(token, path.clone()),
            Err(_) if is_closed(path) => Embedded::Closed(path.clone()),
            // Then there is no token, and the server says what it thinks of it.
            Err(_) => Embedded::Absent,
        }
    }
}

/// Whether a server is on this machine.
fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
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

    fn given(token: Option<&str>, token_file: Option<&Path>, admin: Option<&Path>) -> Given {
        Given {
            token: token.map(OsString::from),
            token_file: token_file.map(|path| path.as_os_str().to_owned()),
            admin_token_file: admin.map(Path::to_owned),
        }
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
        let by_flag = token(given(Some("variable"), None, None), Some(flag.path()));
        assert_eq!(by_flag.unwrap().as_deref(), Some("flag"));
        let by_variable = token(given(Some(" variable\n"), None, None), None);
        assert_eq!(by_variable.unwrap().as_deref(), Some("variable"));
        assert_eq!(token(given(None, None, None), None).unwrap(), None);
        let both = token(given(Some("variable"), Some(flag.path()), None), Some(flag.path()));
        assert!(both.unwrap_err().to_string().contains("both set"));
    }

    #[test]
    fn the_embedded_servers_token_goes_to_this_machine_only() {
        let admin = file("admin\n");
        let found = |server: &str| embedded(&given(None, None, Some(admin.path())), server);
        for server in
            ["http://127.0.0.1:50051", "http://127.0.0.1:6000", "http://localhost:1", "http://[::1]:1"]
        {
            assert_eq!(found(server).as_deref(), Some("admin"), "{server}");
        }
        for server in ["http://10.0.0.7:50051", "http://localhost.example:1", "http://[2001:db8::1]:1"] {
            assert_eq!(found(server), None, "{server}");
        }
        let missing = given(None, None, Some(Path::new("/nowhere/admin.token")));
        assert!(missing.may_come(&"http://localhost:1".parse().unwrap()));
        assert!(!missing.may_come(&"http://10.0.0.7:1".parse().unwrap()));
        assert!(!given(None, None, Some(admin.path())).may_come(&"http://localhost:1".parse().unwrap()));
        assert_eq!(embedded(&missing, "http://localhost:1"), None);
        assert_eq!(embedded(&Given::default(), "http://localhost:1"), None);
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
