//! The first administrator's token: where it comes from.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::ServerError;
use crate::admin::{Admin, BootstrapOutcome};
use crate::config::Serve;
use crate::storage::changes::Actor;
use crate::token::{Brand, Presented, Token, os_rng};

/// Where the embedded mode writes the token, in the data directory.
pub const TOKEN_FILE: &str = "admin.token";

/// Sees to it that there is an administrator, as far as the configuration says how.
///
/// # Errors
/// [`ServerError`].
pub(super) async fn ensure(admin: &Admin, config: &Serve, is_embedded: bool) -> Result<(), ServerError> {
    if config.no_auth || admin.has_administrator().await? {
        return Ok(());
    }
    if let Some(path) = &config.bootstrap_token_file {
        let token = read(path, &config.tokens.brand)?;
        if !take_in(admin, &token, path).await? {
            tracing::error!(
                file = %path.display(),
                "there is no administrator, and the token of the file cannot become one's: it belongs to a key \
                 that was revoked or has expired. Supply another, or run `keystile bootstrap`"
            );
        }
        return Ok(());
    }
    if !is_embedded {
        tracing::warn!("there is no administrator yet: run `keystile bootstrap`");
        return Ok(());
    }
    let path = config.database.data_dir.join(TOKEN_FILE);
    let token = match read(&path, &config.tokens.brand) {
        Ok(token) => token,
        Err(ServerError::TokenFile { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            generate(&path, &config.tokens.brand)?
        }
        Err(error) => return Err(error),
    };
    if !take_in(admin, &token, &path).await? {
        tracing::warn!(file = %path.display(), "the last administrator's token is spent: a new one replaces it");
        let removed = fs::remove_file(&path);
        removed.map_err(|source| ServerError::TokenFile { path: path.clone(), action: "written", source })?;
        take_in(admin, &generate(&path, &config.tokens.brand)?, &path).await?;
    }
    Ok(())
}

/// A new token, in its file before it is any key's: a crash in between leaves a token that the next start
/// takes in.
fn generate(path: &Path, brand: &Brand) -> Result<Token, ServerError> {
    let token = Token::generate(brand, &mut os_rng());
    write(path, &token)?;
    Ok(token)
}

/// Makes a token the first administrator's; `false` where it is spent.
async fn take_in(admin: &Admin, token: &Token, path: &Path) -> Result<bool, ServerError> {
    match admin.bootstrap(Actor::command("bootstrap"), token).await? {
        BootstrapOutcome::Created(key_id) => {
            tracing::info!(key.id = %key_id, file = %path.display(), "the first administrator was made");
            Ok(true)
        }
        BootstrapOutcome::AlreadyThere => {
            tracing::info!("another replica made the first administrator");
            Ok(true)
        }
        BootstrapOutcome::TokenIsSpent => Ok(false),
    }
}

/// Reads a token from a file; space around it is ignored.
fn read(path: &Path, brand: &Brand) -> Result<Token, ServerError> {
    let file_error = |source| ServerError::TokenFile { path: path.to_owned(), action: "read", source };
    let text = Zeroizing::new(fs::read(path).map_err(file_error)?);
    let presented = Presented::classify(text.trim_ascii(), brand);
    presented.map(|token| token.to_token()).map_err(|_| ServerError::TokenFileContent(path.to_owned()))
}

/// Writes a token into a new file that only its owner can read.
///
/// # Errors
/// [`ServerError::TokenFile`]; also where the file exists.
pub fn write(path: &Path, token: &Token) -> Result<(), ServerError> {
    let attempt = || {
        let part: PathBuf = path.with_extension("token.part");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        writeln!(file, "{}", token.expose())?;
        file.sync_all()?;
        // Unlike a rename, a hard link never replaces a file.
        let linked = fs::hard_link(&part, path);
        fs::remove_file(&part)?;
        linked
    };
    attempt().map_err(|source| ServerError::TokenFile { path: path.to_owned(), action: "written", source })
}
