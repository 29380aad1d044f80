//! Makes the cluster's files: in a directory of its own, which gets the name `pg/` when it is complete.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{self, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::account::Account;
use super::error::EmbeddedError;
use super::layout::{Layout, STAGING_PREFIX};
use super::log;
use super::programs::ServerPrograms;
use super::{DATABASE, ROLE};

/// How long one of the programs may take.
const PROGRAM_MAX: Duration = Duration::from_secs(120);

/// The major version of the cluster; `None` if there is no cluster yet.
pub(super) fn major(layout: &Layout) -> Result<Option<u32>, EmbeddedError> {
    let dir = layout.cluster_dir();
    let path = dir.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(EmbeddedError::NotACluster { dir }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EmbeddedError::io("read", &path)(error)),
    }
}

/// Makes the cluster with its database unless it exists. Call as the owner.
pub(super) async fn ensure(
    layout: &Layout,
    account: &Account,
    programs: &ServerPrograms,
    durable: bool,
) -> Result<(), EmbeddedError> {
    remove_unfinished(layout)?;
    if major(layout)?.is_some() {
        return Ok(());
    }
    let staging = layout.data_dir().join(format!("{STAGING_PREFIX}{}", process::id()));
    DirBuilder::new().mode(0o700).create(&staging).map_err(EmbeddedError::io("create", &staging))?;
    account.take(&staging)?;
    initialise(account, programs, &staging, durable).await?;
    create_database(account, programs, &staging).await?;

    let cluster_dir = layout.cluster_dir();
    fs::rename(&staging, &cluster_dir).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            EmbeddedError::NotACluster { dir: cluster_dir.clone() }
        }
        _ => EmbeddedError::io("name", &cluster_dir)(error),
    })?;
    // The new name must outlive a crash of the machine too.
    File::open(layout.data_dir())
        .and_then(|dir| dir.sync_all())
        .map_err(EmbeddedError::io("sync", layout.data_dir()))
}

/// Removes what a killed owner didn't finish. Its initdb may still be writing: then some is left over for the
/// next start, under a name that nobody else uses.
fn remove_unfinished(layout: &Layout) -> Result<(), EmbeddedError> {
    let entries = fs::read_dir(layout.data_dir()).map_err(EmbeddedError::io("read", layout.data_dir()))?;
    for entry in entries {
        let entry = entry.map_err(EmbeddedError::io("read", layout.data_dir()))?;
        if !entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an unfinished cluster wasn't removed");
        }
    }
    Ok(())
}

async fn initialise(
    account: &Account,
    programs: &ServerPrograms,
    dir: &Path,
    durable: bool,
) -> Result<(), EmbeddedError> {
    let mut command = account.command(&programs.initdb);
    command.arg("-D").arg(dir).args([
        "--username",
        ROLE,
        "--encoding=UTF8",
        // Sorts by bytes, the same on every machine.
        "--locale=C",
        "--data-checksums",
        // The directory of the socket decides who may come in.
        "--auth-local=trust",
        "--auth-host=reject",
        "--no-instructions",
    ]);
    if !durable {
        command.arg("--no-sync");
    }
    run(&programs.initdb, command, "").await
}

/// By a standalone backend: no server, no connection. It ends with a checkpoint.
async fn create_database(
    account: &Account,
    programs: &ServerPrograms,
    dir: &Path,
) -> Result<(), EmbeddedError> {
    let mut command = account.command(&programs.postgres);
    // Without exit_on_error a standalone backend reports success whatever happens.
    command.args(["--single", "-c", "exit_on_error=on", "-D"]).arg(dir).arg("template1");
    run(&programs.postgres, command, &format!("CREATE DATABASE {DATABASE}\n")).await
}

/// Runs a program to its end with this input; what it prints is told only if it fails.
async fn run(program: &Path, command: process::Command, input: &str) -> Result<(), EmbeddedError> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let work = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input.as_bytes()).await
            // It ended without reading: its status says why.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error);
        }
        child.wait_with_output().await
    };
    let failed = |status: String, output: String| EmbeddedError::ProgramFailed {
        program: program.to_owned(),
        status,
        output,
    };
    let output = tokio::time::timeout(PROGRAM_MAX, work)
        .await
        .map_err(|_| failed("it took too long".to_owned(), String::new()))?
        .map_err(EmbeddedError::io("run", program))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(failed(output.status.to_string(), log::tail(&String::from_utf8_lossy(&printed))))
}
