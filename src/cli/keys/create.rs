//! `keystile keys create`

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use super::access::Access;
use super::limits::Limits;
use super::{budget, name_and_value, render};
use crate::cli::client::ClientArgs;
use crate::cli::failure::Failure;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::time::{Expiry, to_timestamp};
use crate::cli::token_file::TokenFile;
use crate::clock::Clock;
use crate::grpc::pb;
use crate::grpc::pb::create_key_request::Template as PbTemplate;

const EXAMPLES: &str = "\
Examples:
  keystile keys create --user-id 4 --name ci --template default --expire 90d
  keystile keys create --user-id 4 --name lab --template restricted --model 'gpt-4o*'
  keystile keys create --user-id 4 --name bot --template chatbot --chatbot-id 7 --chatbot-name Help
  keystile keys create --user-id 4 --name team --budget monthly=100.00,warning=80.00
  keystile keys create --user-id 0 --name gate --scope keystile.authorize --token-out gate.token
  keystile keys create --user-id 4 --name app -o json | jq -r .token";

/// Creates a key and shows its token, once
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Create {
    /// Owner of the key; 0 is the operator, whose keys may hold the scopes keystile.*
    #[arg(long, value_name = "ID")]
    user_id: i64,
    /// Name of the key, 1 to 100 characters
    #[arg(long, value_name = "TEXT")]
    name: String,

    /// Where everything comes from that is not given; without one it stays empty, and rules are any
    #[arg(long, value_name = "TEMPLATE", value_enum)]
    template: Option<Template>,
    /// The chatbot of --template chatbot
    #[arg(long, value_name = "ID", required_if_eq("template", "chatbot"), requires = "template")]
    chatbot_id: Option<String>,
    /// The chatbot's name, for the description
    #[arg(long, value_name = "TEXT", required_if_eq("template", "chatbot"), requires = "template")]
    chatbot_name: Option<String>,

    /// What the key is for, at most 500 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Metadata that every decision returns; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,
    /// When the key ends: a length as in 90d or 12h, or an instant as in 2030-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse)]
    expire: Option<Expiry>,

    #[command(flatten)]
    access: Access,
    /// Granted scope: chat.completions, chat.*; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", help_heading = "What the key may do")]
    scopes: Vec<String>,
    /// Granted permission; may be repeated
    #[arg(long = "permission", value_name = "NAME", help_heading = "What the key may do")]
    permissions: Vec<String>,
    /// Checks to report but not enforce for this key, by commas
    #[arg(
        long,
        value_name = "CHECKS",
        value_enum,
        value_delimiter = ',',
        help_heading = "What the key may do"
    )]
    observe: Vec<Observed>,

    #[command(flatten)]
    limits: Limits,
    /// Budget: total=25.00, monthly=100,warning=80,model=gpt-4o*; may be repeated
    ///
    /// PERIOD=AMOUNT, with PERIOD one of total, daily, weekly, monthly, yearly; then, by commas, any of soft,
    /// warning=AMOUNT, model=PATTERN, default-estimate=AMOUNT, require-estimate, name=TEXT. Amounts are
    /// decimals of the account currency, with at most 6 decimals.
    #[arg(long = "budget", value_name = "BUDGET", value_parser = budget::parse)]
    budgets: Vec<pb::Budget>,

    /// Check everything, create nothing
    #[arg(long)]
    validate_only: bool,
    /// New file for the token, for this user alone (0600), instead of showing it
    #[arg(long, value_name = "FILE", conflicts_with = "validate_only")]
    token_out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Chat, embeddings and the model list; 60 requests a minute, 3600 an hour, 86400 a day
    Default,
    /// Chat alone; 30, 1800, 43200
    Restricted,
    /// One chatbot; 100, 6000, 144000
    Chatbot,
}

/// The checks by the names that configuration has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Observed {
    Ips,
    Endpoints,
    Scopes,
    Permissions,
    Models,
    Chatbots,
    RateLimits,
    Budgets,
}

impl Create {
    pub async fn run(&self, client: &ClientArgs, output: &mut Output) -> anyhow::Result<ExitCode> {
        let request = self.to_request(Clock::System.now())?;
        let client = client.connect(output).await?;
        // Made before the key: a token that cannot be kept must not be made.
        let file = self.token_out.as_deref().map(TokenFile::create).transpose()?;
        let created = client.keys().create_key(request).await;
        let mut created = created.map_err(|status| client.failure(&status))?.into_inner();
        let token = SecretString::from(mem::take(&mut created.token));
        let key_id = created.key.as_ref().map_or(0, |key| key.key_id);
        let token = match file {
            Some(file) => {
                file.write(&token).map_err(|error| token_lost(key_id, &error.to_string()))?;
                None
            }
            None if self.validate_only => None,
            None => Some(token),
        };
        let shown = self.show(output, &created, token.as_ref());
        match shown {
            Err(error) if token.is_some() => Err(token_lost(key_id, &error.to_string()).into()),
            Ok(()) if token.is_some() && output.is_closed() => {
                Err(token_lost(key_id, "nobody reads the output").into())
            }
            shown => shown.map(|()| ExitCode::SUCCESS),
        }
    }

    fn show(
        &self,
        output: &mut Output,
        created: &pb::CreateKeyResponse,
        token: Option<&SecretString>,
    ) -> anyhow::Result<()> {
        if output.format() == Format::Json {
            let mut json = to_json("CreateKeyResponse", created)?;
            if let Some(fields) = json.as_object_mut() {
                match token {
                    Some(token) => fields.insert("token".into(), token.expose_secret().into()),
                    None => fields.remove("token"),
                };
            }
            output.show_json(&json)?;
            return Ok(());
        }
        let mut text = created.key.as_ref().map(render::details).unwrap_or_default();
        if let Some(token) = token {
            text.push_str(&format!("\n\n{}", token.expose_secret()));
        }
        output.show(&text)?;
        match &self.token_out {
            _ if self.validate_only => {
                output.note("The key would be created like this; nothing was created.")
            }
            Some(path) => output.note(&format!("The token is in {}.", path.display())),
            None => output.note("The token is the last line; it is shown here and never again."),
        }
        render::note_propagation(output, created.propagation.as_ref());
        Ok(())
    }

    fn to_request(&self, now: DateTime<Utc>) -> anyhow::Result<pb::CreateKeyRequest> {
        let expire_time = match self.expire {
            None => None,
            Some(expiry) => {
                let instant = expiry.after(now);
                Some(instant.ok_or_else(|| Failure::new("--expire is beyond the end of the calendar."))?)
            }
        };
        let mut key = pb::Key {
            user_id: self.user_id,
            display_name: self.name.clone(),
            description: self.description.clone(),
            tags: self.tags.clone(),
            metadata: self.metadata()?,
            permissions: self.permissions.clone(),
            scopes: self.scopes.clone(),
            rate_limits: self.limits.to_rate_limits(),
            observe: self.observe.iter().map(|observed| pb::key::Check::from(*observed).into()).collect(),
            expire_time: expire_time.map(to_timestamp),
            ..Default::default()
        };
        self.access.set_on(&mut key);
        Ok(pb::CreateKeyRequest {
            key: Some(key),
            budgets: self.budgets.clone(),
            request_id: String::new(),
            validate_only: self.validate_only,
            template: self.template()?,
        })
    }

    fn metadata(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let metadata: BTreeMap<_, _> = self.metadata.iter().cloned().collect();
        if metadata.len() < self.metadata.len() {
            return Err(Failure::new("--metadata gives one name twice.").into());
        }
        Ok(metadata)
    }

    fn template(&self) -> anyhow::Result<Option<PbTemplate>> {
        let chatbot_given = self.chatbot_id.is_some() || self.chatbot_name.is_some();
        if chatbot_given && self.template != Some(Template::Chatbot) {
            let failure = Failure::new("--chatbot-id and --chatbot-name belong to --template chatbot.");
            return Err(failure.next("A chatbot that the key may call is given by --chatbot.").into());
        }
        Ok(self.template.map(|template| match template {
            Template::Default => PbTemplate::DefaultKey(pb::DefaultKeyTemplate {}),
            // Models and endpoints are given on the key itself, where they win over the template's.
            Template::Restricted => PbTemplate::RestrictedKey(pb::RestrictedKeyTemplate::default()),
            Template::Chatbot => PbTemplate::ChatbotKey(pb::ChatbotKeyTemplate {
                chatbot_id: self.chatbot_id.clone().unwrap_or_default(),
                chatbot_name: self.chatbot_name.clone().unwrap_or_default(),
            }),
        }))
    }
}

fn token_lost(key_id: i64, why: &str) -> Failure {
    let failure = Failure::new(format!("Key {key_id} was created, but its token was lost: {why}."));
    failure.next(format!("Revoke it with `keystile keys revoke {key_id}`, and create another."))
}

impl From<Observed> for pb::key::Check {
    fn from(observed: Observed) -> Self {
        match observed {
            Observed::Ips => Self::Ips,
            Observed::Endpoints => Self::Endpoints,
            Observed::Scopes => Self::Scopes,
            Observed::Permissions => Self::Permissions,
            Observed::Models => Self::Models,
            Observed::Chatbots => Self::Chatbots,
            Observed::RateLimits => Self::RateLimits,
            Observed::Budgets => Self::Budgets,
        }
    }
}

#[cfg(test)]
mod tests;
