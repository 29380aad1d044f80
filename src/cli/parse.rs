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
    let mut all_values_fit = true;
    let matches = loop {
        let error = match command.clone().try_get_matches_from(args) {
            Ok(matches) => break matches,
            Err(error) => error,
        };
        let Some(refused) = Refused::of(&error, &command) else { return Err(Stop::Clap(error)) };
        faults.push(refused.fault());
        all_values_fit &= refused.variable.is_some();
        command = take_out_of_the_way(command, &refused);
    };
    // After a refused value of an argument, what matched has a value of the wrong type.
    let cli = if all_values_fit { Some(Cli::from_arg_matches(&matches).map_err(Stop::Clap)?) } else { None };
    if let Some(Err(more)) = cli.as_ref().map(|cli| cli.command.validate()) {
        faults.extend(more);
    }
    match (cli, Faults::check(faults)) {
        (Some(cli), Ok(())) => Ok(cli),
        (_, Err(faults)) => Err(Stop::Faults(faults)),
        // Not reached: where values do not fit there is a fault.
        (None, Ok(())) => Err(Stop::Clap(Cli::command().error(ErrorKind::ValueValidation, "invalid value"))),
    }
}

/// A value that its argument refuses.
struct Refused {
    /// As clap names it: `--listen <ADDRESS:PORT>`.
    argument: String,
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
        let known = find(command, &argument)?;
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
        Some(Self { argument, variable: variable.map(|name| name.to_string_lossy().into_owned()), problem })
    }

    fn fault(&self) -> Fault {
        let argument = || self.argument.split(' ').next().unwrap_or(&self.argument).to_owned();
        Fault::new(self.variable.clone().unwrap_or_else(argument), &self.problem)
    }
}

fn find<'c>(command: &'c Command, argument: &str) -> Option<&'c Arg> {
    let here = command.get_arguments().find(|arg| arg.to_string() == argument);
    here.or_else(|| command.get_subcommands().find_map(|command| find(command, argument)))
}

fn take_out_of_the_way(command: Command, refused: &Refused) -> Command {
    let free = |arg: Arg| {
        if arg.to_string() != refused.argument {
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
