//! From arguments and environment to a command, with all that is wrong with them at once.
//!
//! clap stops at the first value that it cannot take. Here that value is noted, taken out of the way, and the
//! arguments are parsed again until nothing more is wrong; then the configuration's own checks add theirs. Every fault
//! names the place that the value came from: flag, variable, or line of the configuration file.

use std::ffi::{OsStr, OsString};

use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;
use super::client::VARIABLES;
use crate::config::effective::source_of;
use crate::config::environment::value_of;
use crate::config::sources::{self, Sources};
use crate::config::{Effective, Fault, Faults, problem_of};

/// Why there is no command.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for, or the arguments make no command.
    Clap(clap::Error),
    /// Arguments are wrong of a command that calls a server.
    Arguments(Faults),
    /// Settings are wrong.
    Settings(Faults),
}

/// Parses `args`, the program's name first, with the configuration file and the environment of this process.
///
/// # Errors
/// [`Stop`].
pub fn parse(args: &[OsString]) -> Result<Cli, Stop> {
    let root = Cli::command();
    let path = sources::chosen(&root, args);
    let leaf = sources::descend(&root, &path).filter(|leaf| sources::has_file(leaf));
    let (mut command, sources, mut faults) = sources::apply(root.clone(), args);
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
    let stop = |faults| if leaf.is_some() { Stop::Settings(faults) } else { Stop::Arguments(faults) };
    if let Some(error) = refused_argument {
        // What matched has a value of the wrong type. Of a single fault clap itself tells more.
        return Err(match Faults::check(faults) {
            Err(faults) if faults.iter().count() == 1 => Stop::Clap(error),
            Err(faults) if faults.iter().all(|fault| fault.setting().starts_with("--")) => {
                Stop::Arguments(faults)
            }
            Err(faults) => stop(faults),
            Ok(()) => Stop::Clap(error),
        });
    }
    let mut cli = Cli::from_arg_matches(&matches).map_err(Stop::Clap)?;
    if let Err(more) = cli.command.validate() {
        let origin = leaf.zip(matches_of(&matches, &path));
        faults.extend(more.into_iter().map(|fault| match origin {
            Some((leaf, matches)) => at_its_place(fault, leaf, matches, &sources),
            None => fault,
        }));
    }
    Faults::check(faults).map_err(stop)?;
    if let (Some(serve), Some((leaf, matches))) =
        (cli.command.serve_mut(), leaf.zip(matches_of(&matches, &path)))
    {
        let warnings = sources::unknown_variables(&root, &VARIABLES);
        serve.effective = Effective::of(leaf, matches, &sources, warnings);
    }
    Ok(cli)
}

/// What the command at the end of `path` matched.
fn matches_of<'m>(matches: &'m ArgMatches, path: &[String]) -> Option<&'m ArgMatches> {
    path.iter().try_fold(matches, |matches, name| matches.subcommand_matches(name))
}

/// A fault that names a setting by its variable, by where its value came from.
fn at_its_place(fault: Fault, leaf: &Command, matches: &ArgMatches, sources: &Sources) -> Fault {
    let is_it = |arg: &&Arg| arg.get_env().is_some_and(|variable| variable == fault.setting());
    let Some(arg) = leaf.get_arguments().find(is_it) else { return fault };
    match source_of(arg, matches, sources).as_str() {
        "default" => fault,
        place if place.contains(':') => {
            let key = arg.get_long().unwrap_or_default().replace('-', "_");
            fault.of(format!("{place}: {key}"))
        }
        place => fault.of(place),
    }
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
        let came_from_variable =
            |variable: &&OsStr| value_of(variable).is_some_and(|set| set.to_string_lossy() == value);
        let variable = known.get_env().filter(came_from_variable);
        let problem = problem_of(error, &value);
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
