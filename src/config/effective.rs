//! The settings as they came to be: each with its value and where that came from, to be shown and logged.
//!
//! Secrets are redacted: of a database's URL everything but the password is shown, of any other that it is given.

use std::fmt;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::sources::Sources;

/// The value of a setting that has none.
const NONE: &str = "none";

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes.
    pub name: String,
    /// Without secrets. `none` where there is neither value nor default; says what comes of that, or of another
    /// setting, where that is more.
    pub value: String,
    /// `--listen`, `KEYSTILE_LISTEN`, `keystile.toml:12`, or `default`.
    pub source: String,
}

/// All settings of a command, in the order of its sections, and what somebody should be warned of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The settings.
    pub settings: Vec<Setting>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

impl Effective {
    /// What `matches` came to be, for the settings of `command` as it was before [`super::sources::apply`].
    #[must_use]
    pub fn of(command: &Command, matches: &ArgMatches, sources: &Sources, warnings: Vec<String>) -> Self {
        let settings = command.get_arguments().filter(|arg| arg.get_env().is_some());
        let settings = settings.filter_map(|arg| {
            let name = arg.get_long()?.to_owned();
            Some(Setting { value: value_of(arg, matches), source: source_of(arg, matches, sources), name })
        });
        let mut effective = Self { settings: settings.collect(), warnings };
        effective.depend();
        effective
    }

    /// What a setting comes to may depend on another one.
    fn depend(&mut self) {
        let is_given = |setting: &&Setting| setting.value != NONE;
        let value = |name: &str| {
            self.settings
                .iter()
                .find(|setting| setting.name == name)
                .filter(is_given)
                .map(|it| it.value.clone())
        };
        let (url, data_dir, client_ca) =
            (value("database-url"), value("data-dir"), value("tls-client-ca-file"));
        for Setting { name, value, .. } in &mut self.settings {
            match name.as_str() {
                "database-url" if url.is_none() => {
                    let place = data_dir.as_deref().unwrap_or_default();
                    *value = format!("none: a private PostgreSQL in {place}");
                }
                "data-dir" if url.is_some() => value.push_str(" (unused: there is a database-url)"),
                "tls-client-auth" if client_ca.is_some() && value == NONE => "required".clone_into(value),
                _ => {}
            }
        }
    }
}

/// For one line of the log: `listen=127.0.0.1:50051 (default), …`.
impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, Setting { name, value, source }) in self.settings.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={value} ({source})")?;
        }
        Ok(())
    }
}

/// Where the value of `arg` came from.
#[must_use]
pub fn source_of(arg: &Arg, matches: &ArgMatches, sources: &Sources) -> String {
    let flag = arg.get_long().unwrap_or_default();
    let variable = || arg.get_env().map(|name| name.to_string_lossy().into_owned());
    match matches.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => format!("--{flag}"),
        Some(ValueSource::EnvVariable) => {
            let own = variable().filter(|name| super::environment::value_of(name).is_some());
            own.unwrap_or_else(|| super::sources::FALLBACK_VARIABLE.to_owned())
        }
        _ => sources.place(flag).unwrap_or("default").to_owned(),
    }
}

fn value_of(arg: &Arg, matches: &ArgMatches) -> String {
    let id = arg.get_id().as_str();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return matches.get_flag(id).to_string();
    }
    let values: Vec<String> =
        matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
    let value = values.join(",");
    match value.as_str() {
        "" => NONE.to_owned(),
        secret if arg.is_hide_env_values_set() => redacted(secret),
        _ => value,
    }
}

/// A secret as it may be shown: the URL of a database without its password and parameters, of anything else nothing.
#[must_use]
pub fn redacted(secret: &str) -> String {
    let parts = ["postgres://", "postgresql://"]
        .into_iter()
        .find_map(|scheme| Some((scheme, secret.strip_prefix(scheme)?)));
    let Some((scheme, rest)) = parts else { return "given".to_owned() };
    // The last `@`: a password may hold one. With a `?` before it, nobody can say where the password is.
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    if login.is_some_and(|login| login.contains('?')) {
        return format!("{scheme}***");
    }
    // Parameters may hold a password too.
    let (place, parameters) =
        place.split_once('?').map_or((place, ""), |(place, parameters)| (place, parameters));
    let login = login.map(|login| match login.split_once(':') {
        Some((user, _)) => format!("{user}:***@"),
        None => format!("{login}@"),
    });
    let parameters = if parameters.is_empty() { "" } else { "?***" };
    format!("{scheme}{}{place}{parameters}", login.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://me:sesame@db:5432/keys", "postgres://me:***@db:5432/keys"),
            ("postgresql://me@db/keys", "postgresql://me@db/keys"),
            ("postgres://db/keys", "postgres://db/keys"),
            ("postgres://db/keys?user=me&password=sesame", "postgres://db/keys?***"),
            ("postgres://me:ses/am@e:x@db/keys?a=b", "postgres://me:***@db/keys?***"),
            ("postgres://me:sesame@db/keys?options=a@b", "postgres://***"),
            ("postgres://db/keys?user=me&password=ses@me", "postgres://***"),
            ("postgres://db:5432/keys?password=se@same", "postgres://***"),
            ("host=db password=sesame", "given"),
            ("mysql://me:sesame@db", "given"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
