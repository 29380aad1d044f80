//! Where settings come from: a flag wins over its variable, a variable over the configuration file, the file over the
//! default.
//!
//! Flags and variables are clap's own business. The rest is applied to a command before it parses: what the file and
//! the files of secrets say becomes the default of the argument concerned. Only arguments with a variable are settings.
//!
//! - An empty variable counts as unset: deployment templates often cannot leave one out.
//! - A secret (an argument that hides the value of its variable) may lie in a file of its own:
//!   `KEYSTILE_DATABASE_URL_FILE`, or the key `database_url_file`. Given in both ways is a fault, because one of them
//!   would be silently ignored.
//! - `DATABASE_URL`, which many platforms set, is read where nothing else names a database.

use std::any::TypeId;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command};

use super::Fault;
use super::environment::value_of;
use super::fault::{problem_of, similar};
use super::file::{Entry, File, Value};
use crate::token::BcryptCost;

/// The flag that names the configuration file.
const CONFIG: &str = "config";
const CONFIG_VARIABLE: &str = "KEYSTILE_CONFIG";
/// The variable that stands in for the database's URL.
pub(super) const FALLBACK_VARIABLE: &str = "DATABASE_URL";

/// What was found beside flags and variables.
#[derive(Debug, Default)]
pub struct Sources {
    /// By flag, where the default of its argument comes from.
    places: HashMap<String, String>,
}

impl Sources {
    /// Where the setting of `flag` comes from that was neither given by flag nor by its own variable:
    /// `keystile.toml:12`, `KEYSTILE_DATABASE_URL_FILE`.
    #[must_use]
    pub fn place(&self, flag: &str) -> Option<&str> {
        self.places.get(flag).map(String::as_str)
    }
}

/// Makes the command that `args` (the program's name first) choose read its settings from everywhere. Returns also
/// what is wrong; the settings concerned are then left unset.
#[must_use]
pub fn apply(command: Command, args: &[OsString]) -> (Command, Sources, Vec<Fault>) {
    let path = chosen(&command, args);
    let mut reader = Reader { file: File::default(), sources: Sources::default(), faults: Vec::new() };
    if let Some(leaf) = descend(&command, &path)
        && has_file(leaf)
        && let Some((file, named_by)) = file_of(args)
    {
        match File::read(&file, &named_by) {
            Ok(file) => reader.take_file(file, &command, leaf),
            Err(faults) => reader.faults.extend(faults),
        }
    }
    let command = apply_along(command, &path, &mut reader);
    (command, reader.sources, reader.faults)
}

/// Whether a command reads the configuration file: those that run on settings do, those that call a server do not.
#[must_use]
pub fn has_file(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(CONFIG))
}

/// The names of the commands, from the outermost on, that `args` choose.
#[must_use]
pub fn chosen(command: &Command, args: &[OsString]) -> Vec<String> {
    let mut path = Vec::new();
    let mut here = command;
    for arg in args.iter().skip(1).filter_map(|arg| arg.to_str()) {
        if let Some(below) = here.find_subcommand(arg) {
            path.push(below.get_name().to_owned());
            here = below;
        }
    }
    path
}

/// The command at the end of `path`; `None` for the program itself.
#[must_use]
pub fn descend<'c>(command: &'c Command, path: &[String]) -> Option<&'c Command> {
    let (first, rest) = path.split_first()?;
    let below = command.find_subcommand(first)?;
    if rest.is_empty() { Some(below) } else { descend(below, rest) }
}

/// The configuration file, and what names it.
fn file_of(args: &[OsString]) -> Option<(PathBuf, String)> {
    let flag = format!("--{CONFIG}");
    let before_end = args.iter().take_while(|arg| *arg != "--");
    let mut after_flag = before_end.clone().skip_while(|arg| **arg != *flag).skip(1);
    let joined = || {
        let text = |arg: &OsString| Some(arg.to_str()?.strip_prefix(&flag)?.strip_prefix('=')?.into());
        before_end.clone().find_map(text)
    };
    let by_flag = after_flag.next().cloned().or_else(joined);
    let by_variable = || Some((value_of(CONFIG_VARIABLE)?, CONFIG_VARIABLE.to_owned()));
    let (path, named_by) = by_flag.map(|path| (path, flag.clone())).or_else(by_variable)?;
    Some((PathBuf::from(path), named_by))
}

fn apply_along(command: Command, path: &[String], reader: &mut Reader) -> Command {
    let command = command.mut_args(|arg| reader.read(arg));
    match path.split_first() {
        Some((first, rest)) => command.mut_subcommand(first, |command| apply_along(command, rest, reader)),
        None => command,
    }
}

/// The key of a flag: `pool_size` for `pool-size`.
fn key_of(flag: &str) -> String {
    flag.replace('-', "_")
}

fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn is_number(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    let numbers = [
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<NonZeroUsize>(),
        TypeId::of::<f64>(),
        TypeId::of::<BcryptCost>(),
    ];
    numbers.iter().any(|number| parsed == *number)
}

/// The keys that a command's settings have in a file.
fn keys(command: &Command) -> Vec<String> {
    let settings = command.get_arguments().filter(|arg| arg.get_env().is_some());
    let keys = settings.filter_map(|arg| {
        let key = key_of(arg.get_long().filter(|flag| *flag != CONFIG)?);
        let file = is_secret(arg).then(|| format!("{key}_file"));
        Some([Some(key), file])
    });
    keys.flatten().flatten().collect()
}

/// The keys of every command that reads a file: one file may serve them all.
fn keys_of_all(root: &Command) -> Vec<String> {
    let own = if has_file(root) { keys(root) } else { Vec::new() };
    own.into_iter().chain(root.get_subcommands().flat_map(keys_of_all)).collect()
}

/// Reads the settings of one command.
struct Reader {
    /// What of the file is for this command.
    file: File,
    sources: Sources,
    faults: Vec<Fault>,
}

impl Reader {
    /// Takes the lines of a file for `leaf`; those of the other commands are nobody's fault.
    fn take_file(&mut self, file: File, root: &Command, leaf: &Command) {
        let own = keys(leaf);
        let known = keys_of_all(root);
        let mut unknown = Vec::new();
        for (key, entry) in file.entries {
            if own.contains(&key) {
                self.file.entries.insert(key, entry);
            } else if !known.contains(&key) {
                let problem = no_such_key(&key, &entry, &known);
                unknown.push((entry.line, Fault::new(format!("{}: {key}", entry.place), problem)));
            }
        }
        unknown.sort_by_key(|(line, _)| *line);
        self.faults.extend(unknown.into_iter().map(|(_, fault)| fault));
    }

    fn read(&mut self, arg: Arg) -> Arg {
        let (Some(variable), Some(flag)) = (arg.get_env(), arg.get_long()) else { return arg };
        let (variable, flag) = (variable.to_string_lossy().into_owned(), flag.to_owned());
        if value_of(&variable).is_some() {
            if is_secret(&arg) && value_of(format!("{variable}_FILE")).is_some() {
                let problem = format!("{variable} is set too; keep one of the two");
                self.faults.push(Fault::new(format!("{variable}_FILE"), problem));
            }
            self.check_file_entry(&arg, &flag);
            return arg;
        }
        let arg = arg.env(Resettable::Reset);
        let found = match self.secret_by_variable(&arg, &variable) {
            Some(found) => {
                self.check_file_entry(&arg, &flag);
                found
            }
            None => self.entry(&arg, &flag),
        };
        match found {
            Some((value, place)) => {
                self.sources.places.insert(flag, place);
                // clap hides only defaults of what takes a value; a switch shows none anyway.
                let hides = !is_switch(&arg);
                arg.required(false).default_value(value).hide_default_value(hides)
            }
            None if variable == super::database::DATABASE_URL && value_of(FALLBACK_VARIABLE).is_some() => {
                arg.env(FALLBACK_VARIABLE)
            }
            // For `--help`, and for whoever asks where it may come from.
            None => unset(arg, &variable),
        }
    }

    /// The secret in the file that a variable names. `Some(None)`: it cannot be read.
    fn secret_by_variable(&mut self, arg: &Arg, variable: &str) -> Option<Option<(String, String)>> {
        let place = format!("{variable}_FILE");
        let path = value_of(&place).filter(|_| is_secret(arg))?;
        Some(self.secret_in(Path::new(&path), place))
    }

    fn secret_in(&mut self, path: &Path, place: String) -> Option<(String, String)> {
        match read_first_line(path) {
            Ok(value) => Some((value, place)),
            Err(problem) => {
                self.faults.push(Fault::new(place, problem));
                None
            }
        }
    }

    /// What is wrong in the file is told also where something else wins over it.
    fn check_file_entry(&mut self, arg: &Arg, flag: &str) {
        self.entry(arg, flag);
    }

    /// What the configuration file says about a setting, and where.
    fn entry(&mut self, arg: &Arg, flag: &str) -> Option<(String, String)> {
        let key = key_of(flag);
        let file_key = format!("{key}_file");
        let entry = self.file.entries.remove(&key);
        let Some(file_entry) = self.file.entries.remove(&file_key).filter(|_| is_secret(arg)) else {
            return self.checked(arg, flag, &key, entry?);
        };
        let place = format!("{}: {file_key}", file_entry.place);
        match (entry, file_entry.value) {
            (Some(_), _) => {
                self.faults.push(Fault::new(place, format!("{key} is set too; keep one of the two")))
            }
            (None, Value::Text(path)) => return self.secret_in(Path::new(&path), place),
            (None, _) => self.faults.push(Fault::new(place, "must be a string: the path of a file")),
        }
        None
    }

    /// An entry whose value its setting takes.
    fn checked(&mut self, arg: &Arg, flag: &str, key: &str, entry: Entry) -> Option<(String, String)> {
        let text = match (is_switch(arg), is_number(arg), entry.value) {
            (true, _, Value::Switch(on)) => Ok(on.to_string()),
            (true, ..) => Err("must be true or false".to_owned()),
            (_, true, Value::Number(number)) => refusal(arg, flag, &number).map_or(Ok(number), Err),
            (_, true, _) => Err("must be a number, without quotes".to_owned()),
            (_, _, Value::Text(text)) => refusal(arg, flag, &text).map_or(Ok(text), Err),
            (_, _, Value::Other(what)) => Err(format!("must be a string, not {what}")),
            (..) => Err("must be a string, in quotes".to_owned()),
        };
        match text {
            Ok(text) => Some((text, entry.place)),
            Err(problem) => {
                self.faults.push(Fault::new(format!("{}: {key}", entry.place), problem));
                None
            }
        }
    }
}

/// Its own variable, unless that is set to nothing.
fn unset(arg: Arg, variable: &str) -> Arg {
    let is_empty = std::env::var_os(variable).is_some();
    if is_empty { arg } else { arg.env(variable.to_owned()) }
}

fn no_such_key(key: &str, entry: &Entry, known: &[String]) -> String {
    if matches!(entry.value, Value::Other("a table")) {
        return "there are no tables: every key stands by itself, named as its flag".to_owned();
    }
    match similar(key, known.iter().map(String::as_str)) {
        Some(known) => format!("there is no such setting; did you mean {known}?"),
        None => "there is no such setting".to_owned(),
    }
}

/// Why a setting does not take `value`.
fn refusal(arg: &Arg, flag: &str, value: &str) -> Option<String> {
    // Alone, without what it would want of others: only its value is of interest.
    let parser = arg.get_value_parser().clone();
    let alone = Arg::new("alone").long(flag.to_owned()).action(ArgAction::Set).value_parser(parser);
    let command = Command::new("alone").no_binary_name(true).arg(alone);
    let error = command.try_get_matches_from([format!("--{flag}={value}")]).err()?;
    Some(problem_of(&error, value))
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

/// Variables of this process that look like settings and are none, each with what it might be meant for. Kubernetes
/// injects variables for a Service called `keystile…`: those are nobody's setting.
#[must_use]
pub fn unknown_variables(root: &Command, also_known: &[&str]) -> Vec<String> {
    let mut known: Vec<String> = also_known.iter().map(ToString::to_string).collect();
    collect_variables(root, &mut known);
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let mut unknown: Vec<String> = variables
        .filter(|(name, value)| name.starts_with("KEYSTILE_") && !is_injected(name, value))
        .map(|(name, _)| name)
        .filter(|name| !known.contains(name))
        .collect();
    unknown.sort();
    // What all of them begin with makes none of them similar.
    let rest = |name: &str| name.trim_start_matches("KEYSTILE_").to_owned();
    let rests: Vec<String> = known.iter().map(|name| rest(name)).collect();
    let told = unknown.iter().map(|name| match similar(&rest(name), rests.iter().map(String::as_str)) {
        Some(known) => format!("{name} is no setting; did you mean KEYSTILE_{known}?"),
        None => format!("{name} is no setting"),
    });
    told.collect()
}

fn collect_variables(command: &Command, known: &mut Vec<String>) {
    for arg in command.get_arguments() {
        let Some(variable) = arg.get_env().and_then(OsStr::to_str) else { continue };
        known.push(variable.to_owned());
        if is_secret(arg) {
            known.push(format!("{variable}_FILE"));
        }
    }
    command.get_subcommands().for_each(|command| collect_variables(command, known));
}

/// `KEYSTILE_SERVICE_HOST`, `KEYSTILE_PORT_50051_TCP`; of a Service with a longer name also `KEYSTILE_X_PORT`.
fn is_injected(name: &str, value: &OsStr) -> bool {
    let has_port_number =
        || name.split("_PORT_").skip(1).any(|after| after.starts_with(|first: char| first.is_ascii_digit()));
    let is_address =
        || value.to_str().is_some_and(|value| value.starts_with("tcp://") || value.starts_with("udp://"));
    ["KEYSTILE_PORT", "KEYSTILE_SERVICE_"].iter().any(|prefix| name.starts_with(prefix))
        || ["_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|word| name.contains(word))
        || has_port_number()
        || (name.ends_with("_PORT") && is_address())
}
