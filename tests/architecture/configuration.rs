//! `docs/configuration.md` and `deploy/keystile.toml` are made from the code: what clap knows of `keystile serve`.
//!
//! `UPDATE=1 cargo test --test architecture configuration` writes them anew.

use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory, Parser};
use keystile::config::Serve;

use crate::tree;

const REFERENCE: &str = "docs/configuration.md";
const EXAMPLE: &str = "deploy/keystile.toml";

const INTRODUCTION: &str = "\
# Configuration

Every setting of `keystile serve`. `keystile check-config` takes the same, shows what each came to be and from where,
and tells every fault at once, each with its place. `migrate`, `bootstrap` and `import` take those of the database, the
tokens and the log.

- A flag wins over its variable, a variable over the file that `--config` names, the file over the default. An empty
  variable counts as unset.
- The file is [TOML](https://toml.io): a key for each setting, named as its flag with `_` for `-`. Switches are `true`
  or `false`, numbers are written without quotes, everything else with. A list may be an array. There are no tables.
  [deploy/keystile.toml](../deploy/keystile.toml) has every key, as a comment.
- A secret may lie in a file of its own, which the variable with `_FILE` behind it names, or the key with `_file`:
  other users of the machine can see flags. `DATABASE_URL` is read where nothing else names a database.
- Paths are relative to the working directory.
- A key that does not exist is a fault; a variable `KEYSTILE_…` that does not exist is a warning. What Kubernetes
  injects for a Service called `keystile` (`KEYSTILE_PORT…`, `KEYSTILE_SERVICE_…`) is nobody's setting.
- What is shown or logged has no secrets: of a database's URL everything but its password and parameters.
";

const NOTE: &str = "\
<!-- Made from the code: `UPDATE=1 cargo test --test architecture configuration` writes it anew. -->
";

/// What the program can be told.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    _serve: Serve,
}

/// One setting.
struct Setting {
    section: String,
    flag: String,
    variable: String,
    key: String,
    is_secret: bool,
    /// What a value is called; `None` for a switch.
    value: Option<String>,
    /// The default as it would be written; `None` where there is none, or it depends on the machine.
    default: Option<String>,
    /// The default in words.
    default_words: String,
    /// Paragraphs, without the words about the default.
    help: Vec<String>,
    is_number: bool,
}

impl Setting {
    fn of(arg: &Arg) -> Self {
        let flag = arg.get_long().unwrap().to_owned();
        let help = arg.get_help().unwrap().to_string();
        let (help, words) = match help.split_once("[default: ") {
            Some((help, words)) => (help.trim().to_owned(), Some(words.trim_end_matches(']').to_owned())),
            None => (help, None),
        };
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        let default = match arg.get_default_values() {
            _ if is_switch => Some("false".to_owned()),
            [value] if !arg.is_hide_default_value_set() => Some(value.to_str().unwrap().to_owned()),
            _ => None,
        };
        // The long help begins with the short one.
        let long = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
        let more = long.split("\n\n").skip(1).map(|paragraph| paragraph.replace('\n', " "));
        let quoted = default.as_ref().filter(|value| !value.is_empty()).map(|value| format!("`{value}`"));
        Self {
            section: arg.get_help_heading().unwrap_or("Service").to_owned(),
            variable: arg.get_env().unwrap().to_str().unwrap().to_owned(),
            key: flag.replace('-', "_"),
            is_secret: arg.is_hide_env_values_set(),
            value: (!is_switch).then(|| arg.get_value_names().unwrap()[0].to_string()),
            default_words: words.or(quoted).unwrap_or_else(|| "none".to_owned()),
            is_number: default.as_deref().is_some_and(|value| value.parse::<f64>().is_ok())
                || arg.get_value_names().is_some_and(|names| names[0] == "N"),
            default,
            help: [help.replace('\n', " ")].into_iter().chain(more).collect(),
            flag,
        }
    }

    /// As in the file.
    fn example(&self) -> String {
        let value = match (&self.default, self.value.as_deref()) {
            (Some(value), _) => value.clone(),
            (None, Some("N")) => "4".to_owned(),
            (None, Some("LENGTH")) => "5s".to_owned(),
            (None, Some("FILE")) => format!("/etc/keystile/{}", self.key.trim_end_matches("_file")),
            (None, Some("DIR")) => "/var/lib/keystile".to_owned(),
            (None, Some("CHECKS")) => "rate_limits,budgets".to_owned(),
            (None, Some("FORMAT")) => "json".to_owned(),
            (None, Some("HOW")) => "required".to_owned(),
            (None, Some("ADDRESS:PORT")) => "0.0.0.0:50052".to_owned(),
            (None, Some("SAN=KEY_ID")) => "spiffe://cluster.local/ns/chat/sa/gateway=1000007".to_owned(),
            (None, Some("URL")) if self.key == "otlp_endpoint" => "http://127.0.0.1:4317".to_owned(),
            (None, Some("URL")) => "postgres://keystile@db.internal:5432/keystile".to_owned(),
            (None, value) => panic!("{}: what would be an example of {value:?}?", self.key),
        };
        let is_plain = self.value.is_none() || self.is_number;
        if is_plain { format!("{} = {value}", self.key) } else { format!("{} = \"{value}\"", self.key) }
    }
}

/// The settings of a command, by section.
fn settings(command: &Command) -> Vec<(String, Vec<Setting>)> {
    let mut sections: Vec<(String, Vec<Setting>)> = Vec::new();
    for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
        let setting = Setting::of(arg);
        match sections.iter_mut().find(|(name, _)| *name == setting.section) {
            Some((_, settings)) => settings.push(setting),
            None => sections.push((setting.section.clone(), vec![setting])),
        }
    }
    sections
}

fn reference() -> String {
    let mut text = format!("{INTRODUCTION}\n{NOTE}");
    for (section, settings) in settings(&Program::command()) {
        text.push_str(&format!("\n## {section}\n"));
        for setting in settings {
            let Setting { flag, variable, key, default_words, .. } = &setting;
            let value = setting.value.as_ref().map(|value| format!(" <{value}>")).unwrap_or_default();
            text.push_str(&format!("\n### `--{flag}{value}`\n\n{}\n", setting.help.join("\n\n")));
            let file = |name: &str, suffix: &str| match setting.is_secret {
                true => format!("`{name}`, or `{name}{suffix}`"),
                false => format!("`{name}`"),
            };
            let key = if flag == "config" { "–".to_owned() } else { file(key, "_file") };
            let variable = file(variable, "_FILE");
            text.push_str(&format!(
                "\n| Variable | Key | Default |\n|---|---|---|\n| {variable} | {key} | {default_words} |\n"
            ));
        }
    }
    text
}

fn example() -> String {
    let mut text = String::from(
        "# Settings of Keystile, for `keystile serve --config keystile.toml`. Every key is here with its default, or an\n\
         # example where it has none; take the # away to set it. What they mean: docs/configuration.md.\n\
         # Made from the code: `UPDATE=1 cargo test --test architecture configuration` writes it anew.\n",
    );
    for (section, settings) in settings(&Program::command()) {
        text.push_str(&format!("\n## {section}\n"));
        for setting in settings.iter().filter(|setting| setting.flag != "config") {
            let default = match setting.default {
                Some(_) => String::new(),
                None => format!(" [default: {}]", setting.default_words),
            };
            text.push_str(&format!("\n# {}{default}\n# {}\n", setting.help[0], setting.example()));
            if setting.is_secret {
                text.push_str(&format!("# {}_file = \"/run/secrets/{}\"\n", setting.key, setting.key));
            }
        }
    }
    text
}

fn compare(path: &str, made: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), made).unwrap();
    }
    let is_same = tree::file(path).text == made;
    assert!(
        is_same,
        "{path} is not what the code says: UPDATE=1 cargo test --test architecture configuration"
    );
}

#[test]
fn the_configuration_reference_says_what_the_code_says() {
    compare(REFERENCE, &reference());
}

#[test]
fn the_example_of_a_configuration_file_has_every_key() {
    compare(EXAMPLE, &example());
}

#[test]
fn every_number_and_length_says_its_bounds() {
    for (_, settings) in settings(&Program::command()) {
        for setting in settings {
            let is_bounded = setting.is_number || setting.value.as_deref() == Some("LENGTH");
            let help = &setting.help[0];
            assert!(!is_bounded || help.contains(" to "), "{}: {help}", setting.flag);
        }
    }
}
