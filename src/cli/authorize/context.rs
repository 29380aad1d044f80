//! Flags of what a request is, beside the model: shared by the commands that ask for decisions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Args, ValueEnum};
use prost::bytes::Bytes;

use crate::grpc::pb::authorize_request::Dimension;

/// What a request is, beside its model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Question")]
pub struct Context {
    /// Path of the request
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub endpoint: OsString,
    /// HTTP method of the request, upper-case
    #[arg(long, value_name = "METHOD", default_value = "", hide_default_value = true)]
    pub method: OsString,
    /// Chatbot that would be called
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub chatbot: OsString,
    /// Address of the end user
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub client_ip: OsString,
    /// Scope that is needed; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Permission that is needed; may be repeated
    #[arg(long = "permission", value_name = "NAME")]
    pub permissions: Vec<String>,
    /// What the request has nothing of, by commas: model, endpoint, chatbot
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    not_applicable: Vec<NotApplicable>,
    /// Your id of the request, for usage and logs
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub request_id: String,
    /// Decide from state at least as new as this revision
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub min_revision: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NotApplicable {
    Model,
    Endpoint,
    Chatbot,
}

impl Context {
    /// What the request has nothing of.
    pub fn not_applicable(&self) -> Vec<i32> {
        self.not_applicable.iter().map(|it| Dimension::from(*it).into()).collect()
    }
}

impl From<NotApplicable> for Dimension {
    fn from(it: NotApplicable) -> Self {
        match it {
            NotApplicable::Model => Self::Model,
            NotApplicable::Endpoint => Self::Endpoint,
            NotApplicable::Chatbot => Self::Chatbot,
        }
    }
}

/// What an end user would send: any bytes, as they are.
pub fn bytes(text: &OsString) -> Bytes {
    Bytes::from(text.clone().into_vec())
}
