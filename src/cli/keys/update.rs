//! `keystile keys update`
//!
//! The mask is made of the flags that are given. A list that is given replaces the whole list; a single rate
//! limit is changed alone.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::limits::LimitChanges;
use super::settings::Settings;
use super::{key_number, render};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile keys update 17 --name search --tag prod --tag search
  keystile keys update 17 --any-model --ip 10.0.0.0/8
  keystile keys update 17 --requests-per-minute 100 --tokens-per-day none
  keystile keys update 17 --clear tags,description
  keystile keys update 17 --scope chat.completions --etag \"$ETAG\" --dry-run";

/// Changes fields of a key; what is not given stays
///
/// A list that is given (--tag, --scope, --permission, --metadata, --observe, --model, --endpoint, --ip,
/// --chatbot) replaces the whole; `keys grant` and `keys ungrant` add to one and take from it. The end of a key
/// is changed by `keys expire` and `keys extend`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Update {
    /// The key
    #[arg(value_name = "KEY", value_parser = key_number)]
    key_id: i64,
    /// New owner of the key, whose limits and budgets count from then on
    #[arg(long, value_name = "ID")]
    user_id: Option<i64>,
    /// New name of the key, 1 to 100 characters
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    limits: LimitChanges,
    /// Fields to empty, by commas; rules are changed by --any-… and --no-…
    #[arg(long, value_name = "FIELDS", value_enum, value_delimiter = ',')]
    clear: Vec<Clear>,
    /// Change only what you have seen: the key's etag from `keys get`
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
    /// Check everything, change nothing
    #[arg(long, visible_alias = "dry-run")]
    validate_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clear {
    Description,
    Tags,
    Metadata,
    Scopes,
    Permissions,
    Observe,
    RateLimits,
}

impl Clear {
    /// The path of the field, which is its name.
    fn path(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Tags => "tags",
            Self::Metadata => "metadata",
            Self::Scopes => "scopes",
            Self::Permissions => "permissions",
            Self::Observe => "observe",
            Self::RateLimits => "rate_limits",
        }
    }
}

impl Update {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let answer = client.keys().update_key(self.to_request()?).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        if self.validate_only {
            output.note("The key would be changed to this; nothing was changed.");
        }
        render::show_mutation(&answer, output)
    }

    fn to_request(&self) -> anyhow::Result<pb::UpdateKeyRequest> {
        let mut key = pb::Key {
            key_id: self.key_id,
            user_id: self.user_id.unwrap_or_default(),
            display_name: self.name.clone().unwrap_or_default(),
            rate_limits: self.limits.is_given().then(|| self.limits.applied_to(None)),
            ..Default::default()
        };
        self.settings.set_on(&mut key)?;
        let mut paths = self.given(&key);
        for clear in &self.clear {
            if paths.iter().any(|path| path.starts_with(clear.path())) {
                let field = clear.path();
                return Err(Failure::new(format!("{field} is given, and named by --clear.")).into());
            }
        }
        paths.extend(self.clear.iter().map(|clear| clear.path()));
        if paths.is_empty() {
            let failure = Failure::new("Nothing to change is given.");
            return Err(failure.next("`keystile keys update --help` shows what can be.").into());
        }
        let paths = paths.into_iter().map(str::to_owned).collect();
        Ok(pb::UpdateKeyRequest {
            key: Some(key),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: self.etag.clone(),
            validate_only: self.validate_only,
        })
    }

    /// The paths of what flags have put on `key`.
    fn given(&self, key: &pb::Key) -> Vec<&'static str> {
        let fields = [
            ("user_id", self.user_id.is_some()),
            ("display_name", self.name.is_some()),
            ("description", self.settings.description.is_some()),
            ("tags", !key.tags.is_empty()),
            ("metadata", !key.metadata.is_empty()),
            ("permissions", !key.permissions.is_empty()),
            ("scopes", !key.scopes.is_empty()),
            ("models", key.models.is_some()),
            ("endpoints", key.endpoints.is_some()),
            ("ips", key.ips.is_some()),
            ("chatbots", key.chatbots.is_some()),
            ("observe", !key.observe.is_empty()),
        ];
        let given = fields.into_iter().filter(|(_, given)| *given).map(|(path, _)| path);
        given.chain(self.limits.paths()).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::grpc::pb::access_rule::Mode;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        update: Update,
    }

    fn update(args: &[&str]) -> Update {
        Program::try_parse_from(["update", "17"].iter().chain(args)).unwrap().update
    }

    fn request(args: &[&str]) -> pb::UpdateKeyRequest {
        update(args).to_request().unwrap()
    }

    fn paths(args: &[&str]) -> Vec<String> {
        request(args).update_mask.unwrap().paths
    }

    #[test]
    fn the_mask_names_what_is_given_and_nothing_else() {
        for (flag, path) in [
            ("--user-id=0", "user_id"),
            ("--name=a", "display_name"),
            ("--description=", "description"),
            ("--tag=a", "tags"),
            ("--metadata=a=1", "metadata"),
            ("--permission=a", "permissions"),
            ("--scope=a", "scopes"),
            ("--model=a", "models"),
            ("--no-models", "models"),
            ("--any-model", "models"),
            ("--endpoint=/a", "endpoints"),
            ("--ip=10.0.0.1", "ips"),
            ("--chatbot=a", "chatbots"),
            ("--tokens-per-day=1", "rate_limits.tokens.per_day"),
            ("--requests-per-minute=none", "rate_limits.requests.per_minute"),
            ("--no-rate-limits", "rate_limits"),
            ("--observe=ips", "observe"),
        ] {
            assert_eq!(paths(&[flag]), [path], "{flag}");
        }
        assert_eq!(
            paths(&["--tag=a", "--name=b", "--clear=scopes,metadata"]),
            ["display_name", "tags", "scopes", "metadata"]
        );
    }

    #[test]
    fn every_field_that_can_be_emptied_is_a_path() {
        let fields = "--clear=description,tags,metadata,scopes,permissions,observe,rate-limits";
        let emptied = request(&[fields, "--etag=e1", "--dry-run"]);
        assert_eq!(emptied.update_mask.unwrap().paths.len(), 7);
        assert!(emptied.key == Some(pb::Key { key_id: 17, ..Default::default() }));
        assert_eq!((emptied.etag.as_str(), emptied.validate_only), ("e1", true));
    }

    #[test]
    fn a_rule_is_any_or_only_what_is_given() {
        let key = request(&["--any-model", "--no-ips", "--chatbot=7"]).key.unwrap();
        assert_eq!(key.models.unwrap().mode(), Mode::Any);
        assert_eq!(key.ips.unwrap(), pb::AccessRule { mode: Mode::Only.into(), patterns: vec![] });
        assert_eq!(key.chatbots.unwrap().patterns, ["7"]);
        for pair in [["--any-model", "--no-models"], ["--any-ip", "--ip=10.0.0.1"]] {
            assert!(Program::try_parse_from(["update", "17"].iter().chain(&pair)).is_err(), "{pair:?}");
        }
    }

    #[test]
    fn a_single_limit_is_named_alone() {
        let request = request(&["--requests-per-minute=100", "--tokens-per-day=none"]);
        let limits = request.key.unwrap().rate_limits.unwrap();
        assert_eq!(limits.requests.unwrap().per_minute, Some(100));
        assert_eq!(limits.tokens, None);
        let paths = request.update_mask.unwrap().paths;
        assert_eq!(paths, ["rate_limits.requests.per_minute", "rate_limits.tokens.per_day"]);
    }

    #[test]
    fn nothing_and_what_contradicts_itself_are_refused() {
        let refused = |args: &[&str]| update(args).to_request().unwrap_err().to_string();
        assert!(refused(&[]).starts_with("Nothing to change is given."));
        assert!(refused(&["--etag=e", "--dry-run"]).starts_with("Nothing to change is given."));
        assert_eq!(refused(&["--tag=a", "--clear=tags"]), "tags is given, and named by --clear.");
    }
}
