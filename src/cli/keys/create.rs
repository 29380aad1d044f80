//! `keystile keys create`

use std::mem;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use secrecy::SecretString;

use super::limits::Limits;
use super::new_token::{Answer, TokenOut};
use super::settings::Settings;
use super::{budget, render};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::json::to_json;
use crate::cli::output::Output;
use crate::cli::time::{Expiry, to_timestamp};
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

    /// When the key ends: a length as in 90d or 12h, or an instant as in 2030-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse)]
    expire: Option<Expiry>,

    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    limits: Limits,
    /// Budget: total=25.00, monthly=100,warning=80,model=gpt-4o*; may be repeated
    ///
    /// PERIOD=AMOUNT, with PERIOD one of total, daily, weekly, monthly, yearly; then, by commas, any of soft,
    /// warning=AMOUNT, model=PATTERN, default-estimate=AMOUNT, require-estimate, name=TEXT. Amounts are
    /// decimals of the account currency, with at most 6 decimals.
    #[arg(long = "budget", value_name = "BUDGET", value_parser = budget::parse)]
    budgets: Vec<pb::Budget>,

    /// A UUID of your own: repeated within 24 hours, the command answers with the same key, without its token
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Check everything, create nothing
    #[arg(long, visible_alias = "dry-run", conflicts_with = "token_out")]
    validate_only: bool,
    #[command(flatten)]
    token_out: TokenOut,
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

impl Create {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let request = self.to_request(Clock::System.now())?;
        let place = self.token_out.prepare()?;
        let created = client.keys().create_key(request).await;
        let mut created = created.map_err(|status| client.failure(&status))?.into_inner();
        let token = SecretString::from(mem::take(&mut created.token));
        let json = to_json("CreateKeyResponse", &created)?;
        let pb::CreateKeyResponse { key, propagation, .. } = created;
        let without_token = if self.validate_only {
            "The key would be created like this; nothing was created."
        } else {
            "This key was created before by the same request id; its token was told then, and never again."
        };
        place.take(Answer { key, token, json, done: "created", without_token }, output)?;
        render::note_propagation(output, propagation.as_ref());
        Ok(ExitCode::SUCCESS)
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
            rate_limits: self.limits.to_rate_limits(),
            expire_time: expire_time.map(to_timestamp),
            ..Default::default()
        };
        self.settings.set_on(&mut key)?;
        Ok(pb::CreateKeyRequest {
            key: Some(key),
            budgets: self.budgets.clone(),
            request_id: self.request_id.clone(),
            validate_only: self.validate_only,
            template: self.template()?,
        })
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

#[cfg(test)]
mod tests;
