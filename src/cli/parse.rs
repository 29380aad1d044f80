//! From arguments and environment to a command, with all that is wrong with them at once.
//!
//! clap stops at the first value that it cannot take. Here that value is noted, taken out of the way, and the
//! arguments are parsed again until nothing more is wrong; then the configuration's own checks add theirs.

use std::ffi::{OsStr, OsString};

use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};

use super::Cli;
use crate::config::{Fault, Faults, environment};

/// Why there is no command.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for, or the arguments make no command.
    Clap(clap::Error),
    /// Settings are wrong.
    Faults(Faults),
}

/// Parses `args`, the program's name first, and the environment of this process.
///
/// # Errors
/// [`Stop`].
pub fn parse(args: &[OsString]) -> Result<Cli, Stop> {
    let (mut command, mut faults) = environment::apply(Cli::command());
    let mut refused_argument = None;
    let matches = loop {
        let error = match command.clone().try_get_matches_from(args) {
            Ok(matches) => break matches,
            Err(error) => error,
        };
        let Some(refused) = Refused::of(&error, &command) else { return Err(Stop::Clap(error)) };
        faults.push(refused.fault());
        if refused.variable.is_none() {
            refused_argument = Some(error);
        }
        command = take_out_of_the_way(command, &refused);
    };
    if let Some(error) = refused_argument {
        // What matched has a value of the wrong type. Of a single fault clap itself tells more.
        return Err(match Faults::check(faults) {
            Err(faults) if faults.iter().count() > 1 => Stop::Faults(faults),
            _ => Stop::Clap(error),
        });
    }
    let cli = Cli::from_arg_matches(&matches).map_err(Stop::Clap)?;
    if let Err(more) = cli.command.validate() {
        faults.extend(more);
    }
    Faults::check(faults).map_err(Stop::Faults)?;
    Ok(cli)
}

/// A value that its argument refuses.
struct Refused {
    /// Without its dashes.
    flag: String,
    /// The variable that it came from; `None`: it was an argument.
    variable: Option<String>,
    problem: String,
}

impl Refused {
    fn of(error: &clap::Error, command: &Command) -> Option<Self> {
        if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
            return None;
        }
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            _ => None,
        };
        let (argument, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
        // clap writes `--listen <ADDRESS:PORT>`; arguments without a flag are left to clap's own words.
        let flag = argument.strip_prefix("--")?.split([' ', '=', '[']).next()?.to_owned();
        let known = find(command, &flag)?;
        let came_from_variable = |variable: &&OsStr| {
            environment::value_of(variable).is_some_and(|set| set.to_string_lossy() == value)
        };
        let variable = known.get_env().filter(came_from_variable);
        let problem = match (error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
            (Some(ContextValue::Strings(valid)), _) if !valid.is_empty() => {
                format!("must be one of {}", valid.join(", "))
            }
            (_, Some(source)) => source.to_string(),
            _ => "is not valid".to_owned(),
        };
        let problem = if problem.contains(&value) || value.is_empty() {
            problem
        } else {
            format!("{value:?}: {problem}")
        };
        Some(Self { flag, variable: variable.map(|name| name.to_string_lossy().into_owned()), problem })
    }

    fn fault(&self) -> Fault {
        Fault::new(self.variable.clone().unwrap_or_else(|| format!("--{}", self.flag)), &self.problem)
    }
}

fn find<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    let here = command.get_arguments().find(|arg| arg.get_long() == Some(flag));
    here.or_else(|| command.get_subcommands().find_map(|command| find(command, flag)))
}

fn take_out_of_the_way(command: Command, refused: &Refused) -> Command {
    let free = |arg: Arg| {
        if arg.get_long() != Some(refused.flag.as_str()) {
            arg
        } else if refused.variable.is_some() {
            arg.env(Resettable::Reset)
        } else {
            arg.value_parser(ValueParser::os_string())
        }
    };
    command.mut_args(free).mut_subcommands(|command| take_out_of_the_way(command, refused))
}

#[cfg(test)]
mod tests;
