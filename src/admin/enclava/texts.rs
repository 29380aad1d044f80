//! Name, description and tags: labels for people. Nothing here may cost a working key, so faults are repaired.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::{Notes, quoted};
use super::{Rejection, RejectionKind, SourceRow, WarningKind};
use crate::policy::{Description, DisplayName, TAGS_MAX, Tag};

/// Bounds of the two texts, in characters; their types hold them, repairing needs to know them.
const DISPLAY_NAME_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 500;

/// The name, repaired where it has to be; `key <id>` when nothing of it is left.
pub(super) fn display_name(row: &SourceRow, notes: &mut Notes) -> Result<DisplayName, Rejection> {
    let fault = match DisplayName::parse(row.name.as_str()) {
        Ok(name) => return Ok(name),
        Err(fault) => fault,
    };
    let mut repaired = repair(&row.name, DISPLAY_NAME_CHARS_MAX);
    if repaired.is_empty() {
        repaired = format!("key {}", row.id);
    }
    let what = format!("{fault}; the key is taken as {}", quoted(&repaired));
    let name = DisplayName::parse(repaired)
        .map_err(|fault| notes.reject(RejectionKind::TextInvalid, "name", fault))?;
    notes.warn(WarningKind::TextRepaired, "name", what);
    Ok(name)
}

/// The description, repaired where it has to be; empty for NULL.
pub(super) fn description(row: &SourceRow, notes: &mut Notes) -> Result<Description, Rejection> {
    let Some(text) = row.description.as_deref() else {
        return Ok(Description::default());
    };
    let fault = match Description::parse(text) {
        Ok(description) => return Ok(description),
        Err(fault) => fault,
    };
    let description = Description::parse(repair(text, DESCRIPTION_CHARS_MAX))
        .map_err(|fault| notes.reject(RejectionKind::TextInvalid, "description", fault))?;
    let what = "control characters became spaces, and what was too long is cut";
    notes.warn(WarningKind::TextRepaired, "description", format_args!("{fault}; {what}"));
    Ok(description)
}

/// Control characters as spaces, cut to `chars_max`, without spaces at the ends.
fn repair(text: &str, chars_max: usize) -> String {
    let plain: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let cut: String = plain.trim().chars().take(chars_max).collect();
    cut.trim_end().to_owned()
}

/// The tags that are valid ones, up to the bound; the rest is dropped with a warning each.
pub(super) fn tags(row: &SourceRow, notes: &mut Notes) -> BTreeSet<Tag> {
    let mut tags = BTreeSet::new();
    let values = match &row.tags {
        None | Some(Value::Null) => return tags,
        Some(Value::Array(values)) => values,
        Some(_) => {
            notes.warn(WarningKind::TagDropped, "tags", "not a list of texts, so no tag is taken");
            return tags;
        }
    };
    for value in values {
        let Some(text) = value.as_str() else {
            notes.warn(WarningKind::TagDropped, "tags", "a value that is not a text is dropped");
            continue;
        };
        match Tag::parse(text) {
            Ok(tag) if tags.len() < TAGS_MAX || tags.contains(&tag) => {
                tags.insert(tag);
            }
            Ok(_) => {
                let what = format_args!("{} is dropped: a key has at most {TAGS_MAX}", quoted(text));
                notes.warn(WarningKind::TagDropped, "tags", what);
            }
            Err(fault) => {
                let what = format_args!("{} is dropped: a tag {fault}", quoted(text));
                notes.warn(WarningKind::TagDropped, "tags", what);
            }
        }
    }
    tags
}
