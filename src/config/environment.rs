//! What all environment variables have in common, applied to a command before it parses.
//!
//! - An empty variable counts as unset: deployment templates often cannot leave one out.
//! - A secret may lie in a file: `KEYSTILE_DATABASE_URL_FILE` is read when `KEYSTILE_DATABASE_URL` is unset.
//!   Both set is a fault, because one of them would be silently ignored.
//! - `DATABASE_URL`, which many platforms set, is read when neither is set.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::{env, fs};

use clap::builder::Resettable;
use clap::{Arg, Command};

use super::Fault;

/// A variable whose value may also lie in a file, and the variable that stands in for both.
struct Secret {
    variable: &'static str,
    file_variable: &'static str,
    fallback: Option<&'static str>,
}

const SECRETS: [Secret; 2] = [
    Secret {
        variable: super::database::DATABASE_URL,
        file_variable: "KEYSTILE_DATABASE_URL_FILE",
        fallback: Some("DATABASE_URL"),
    },
    Secret {
        variable: "KEYSTILE_IMPORT_SOURCE_URL",
        file_variable: "KEYSTILE_IMPORT_SOURCE_URL_FILE",
        fallback: None,
    },
];

/// Makes `command` and its subcommands read their variables as this module says. Returns what cannot be
/// read; the settings concerned are then left unset.
#[must_use]
pub fn apply(command: Command) -> (Command, Vec<Fault>) {
    let mut faults = Vec::new();
    let command = apply_to(command, &mut faults);
    faults.dedup();
    (command, faults)
}

fn apply_to(command: Command, faults: &mut Vec<Fault>) -> Command {
    command.mut_args(|arg| read(arg, faults)).mut_subcommands(|command| apply_to(command, faults))
}

fn read(arg: Arg, faults: &mut Vec<Fault>) -> Arg {
    let Some(variable) = arg.get_env().map(OsStr::to_os_string) else { return arg };
    match SECRETS.iter().find(|secret| variable == secret.variable) {
        Some(secret) => read_secret(arg, secret, faults),
        None => unset_if_empty(arg),
    }
}

fn unset_if_empty(arg: Arg) -> Arg {
    let empty = arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    if empty { arg.env(Resettable::Reset) } else { arg }
}

fn read_secret(arg: Arg, secret: &Secret, faults: &mut Vec<Fault>) -> Arg {
    let fallback = secret.fallback.filter(|variable| value_of(variable).is_some());
    match (value_of(secret.variable), value_of(secret.file_variable), fallback) {
        (Some(_), Some(_), _) => {
            let problem = format!("{} is set too; keep one of the two", secret.variable);
            faults.push(Fault::new(secret.file_variable, problem));
            arg
        }
        (Some(_), None, _) => arg,
        (None, Some(path), _) => match read_first_line(Path::new(&path)) {
            Ok(value) => arg.env(Resettable::Reset).default_value(value).hide_default_value(true),
            Err(problem) => {
                faults.push(Fault::new(secret.file_variable, problem));
                arg.env(Resettable::Reset)
            }
        },
        (None, None, Some(fallback)) => arg.env(fallback),
        (None, None, None) => unset_if_empty(arg),
    }
}

/// A variable's value; `None` when it is unset or empty.
pub fn value_of(variable: impl AsRef<OsStr>) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

fn read_first_line(path: &Path) -> Result<String, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty", path.display())),
        line if line.lines().count() > 1 => Err(format!("{} has more than one line", path.display())),
        line => Ok(line.to_owned()),
    }
}
