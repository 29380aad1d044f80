//! A plan for people and for programs.
//!
//! `+` comes, `-` goes, `~` turns into something else. What stands in files and on servers is shown without
//! what could steer a terminal.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::field::{Field, Value};
use super::plan::{Action, Change, Kind, Plan, Planned, Step};
use super::wanted::Template;
use crate::cli::output::{Output, Tone, plain};

/// The column that values start in, after the mark: the longest name of a field and a space.
const NAME_WIDTH: usize = 12;

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `+`, `-` or `~`.
    pub mark: char,
    /// The field.
    pub field: &'static str,
    /// What of it.
    pub text: String,
}

/// The whole plan, with its summary as the last line.
pub fn text(plan: &Plan, output: &Output) -> String {
    let mut text = String::new();
    for entry in plan.entries.iter().filter(|entry| entry.kind() != Kind::Unchanged) {
        let head =
            format!("{} {} ({})", mark(entry.kind()), plain(&entry.title()), plain(&entry.place.to_string()));
        text.push_str(&painted(mark(entry.kind()), &head, output));
        text.push('\n');
        for line in lines(entry) {
            let shown = format!("    {} {:NAME_WIDTH$} {}", line.mark, line.field, plain(&line.text));
            text.push_str(&painted(line.mark, &shown, output));
            text.push('\n');
        }
    }
    text.push_str(&plan.summary());
    text
}

fn mark(kind: Kind) -> char {
    match kind {
        Kind::Create => '+',
        Kind::Revoke | Kind::Delete => '-',
        Kind::Change | Kind::Unchanged => '~',
    }
}

fn painted(mark: char, text: &str, output: &Output) -> String {
    match mark {
        '+' => output.paint(Tone::Good, text),
        '-' => output.paint(Tone::Bad, text),
        _ => text.to_owned(),
    }
}

/// What is done with one key, a line a field or more.
pub fn lines(entry: &Planned) -> Vec<Line> {
    match &entry.action {
        Action::Nothing(_) => Vec::new(),
        Action::Create { fields, template } => {
            let template =
                template.iter().map(|it| Line { mark: '+', field: "template", text: template_text(it) });
            let fields = fields.iter().filter(|(field, _)| **field != Field::Name);
            let fields =
                fields.map(|(field, value)| Line { mark: '+', field: field.name(), text: value.to_string() });
            template.chain(fields).collect()
        }
        Action::Change { key, changes, steps } => {
            let mut lines: Vec<Line> = changes.iter().flat_map(lines_of).collect();
            let state =
                |from: &str, to: String| Line { mark: '~', field: "state", text: format!("{from} → {to}") };
            for step in steps {
                match step {
                    Step::Delete => lines.push(state(key.state().as_str_name(), "DELETED".to_owned())),
                    Step::Revoke(reason) if reason.is_empty() => {
                        lines.push(state(key.state().as_str_name(), "REVOKED".to_owned()));
                    }
                    Step::Revoke(reason) => {
                        lines.push(state(key.state().as_str_name(), format!("REVOKED, {reason:?}")));
                    }
                    Step::Reactivate => {
                        lines.push(state(key.state().as_str_name(), "not revoked".to_owned()))
                    }
                    Step::Update(_) | Step::Expire(_) => {}
                }
            }
            lines
        }
    }
}

fn lines_of(change: &Change) -> Vec<Line> {
    let field = change.field.name();
    let line = |mark: char, text: String| Line { mark, field, text };
    match (&change.from, &change.to) {
        (Value::Set(from), Value::Set(to)) | (Value::Rule(Some(from)), Value::Rule(Some(to))) => {
            let joined = |set: BTreeSet<&String>| {
                (!set.is_empty()).then(|| set.into_iter().cloned().collect::<Vec<_>>().join(", "))
            };
            let gone = joined(from.difference(to).collect()).map(|text| line('-', text));
            let come = joined(to.difference(from).collect()).map(|text| line('+', text));
            gone.into_iter().chain(come).collect()
        }
        (Value::Map(_), Value::Map(_)) | (Value::Limits(_), Value::Limits(_)) => {
            let (from, to) = (change.from.pairs(), change.to.pairs());
            let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
            let each = names.into_iter().filter_map(|name| match (from.get(name), to.get(name)) {
                (Some(old), None) => Some(line('-', format!("{name}={old}"))),
                (None, Some(new)) => Some(line('+', format!("{name}={new}"))),
                (Some(old), Some(new)) if old != new => Some(line('~', format!("{name}={old} → {new}"))),
                _ => None,
            });
            each.collect()
        }
        (from, to) => vec![line('~', format!("{from} → {to}"))],
    }
}

fn template_text(template: &Template) -> String {
    match template {
        Template::Default => "default".to_owned(),
        Template::Restricted => "restricted".to_owned(),
        Template::Chatbot { id, name } => format!("chatbot {id:?}, {name:?}"),
    }
}

/// One entry of a plan for programs.
pub fn to_json(entry: &Planned) -> Json {
    let (action, fields) = match (&entry.action, entry.kind()) {
        (Action::Create { fields, .. }, _) => (
            "create",
            fields.iter().map(|(field, to)| json!({ "field": field.name(), "to": to.to_json() })).collect(),
        ),
        (Action::Change { changes, .. }, kind) => {
            let each = changes.iter().map(|Change { field, from, to }| {
                json!({ "field": field.name(), "from": from.to_json(), "to": to.to_json() })
            });
            let action = match kind {
                Kind::Revoke => "revoke",
                Kind::Delete => "delete",
                _ => "change",
            };
            (action, each.collect::<Vec<_>>())
        }
        (Action::Nothing(_), _) => ("none", Vec::new()),
    };
    let steps: Vec<&str> = match &entry.action {
        Action::Change { steps, .. } => steps.iter().map(step_name).collect(),
        _ => Vec::new(),
    };
    json!({
        "place": entry.place.to_string(),
        "key_id": entry.key_id(),
        "user_id": entry.user_id,
        "name": entry.name,
        "action": action,
        "steps": steps,
        "fields": fields,
    })
}

fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Delete => "delete",
        Step::Revoke(_) => "revoke",
        Step::Update(_) => "update",
        Step::Expire(Some(_)) => "set_expiration",
        Step::Expire(None) => "clear_expiration",
        Step::Reactivate => "reactivate",
    }
}

#[cfg(test)]
mod tests;
