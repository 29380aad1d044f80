//! Where a key's new token goes: into a new file, or to the end of what is shown. It is told once.
//!
//! The file is made before the token: one that cannot be kept must not be made. A token that is lost all the
//! same (a full disk, a reader that has gone away) is a failure that names its key.

use std::io;
use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::render;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output};
use crate::cli::token_file::TokenFile;
use crate::grpc::pb;

/// Where the token goes.
#[derive(Args, Clone, Debug)]
pub struct TokenOut {
    /// New file for the token, for this user alone (0600), instead of showing it
    #[arg(long, value_name = "FILE")]
    pub token_out: Option<PathBuf>,
}

/// A place for a token, ready to take it.
#[derive(Debug)]
pub struct Place {
    file: Option<(TokenFile, PathBuf)>,
}

/// What has come with a new token, or without one.
pub struct Answer {
    /// The key.
    pub key: Option<pb::Key>,
    /// Its token; empty where there is none to tell.
    pub token: SecretString,
    /// The answer for programs; `token` is put into it or taken out.
    pub json: Value,
    /// What was done, in a word: created, rotated.
    pub done: &'static str,
    /// What to say where there is no token.
    pub without_token: &'static str,
}

impl TokenOut {
    /// Makes the file, where one is named.
    ///
    /// # Errors
    /// [`Failure`], when it cannot be made, or is there already.
    pub fn prepare(&self) -> Result<Place, Failure> {
        let Some(path) = &self.token_out else { return Ok(Place { file: None }) };
        Ok(Place { file: Some((TokenFile::create(path)?, path.clone())) })
    }
}

impl Place {
    /// Keeps the token and shows the answer.
    ///
    /// # Errors
    /// [`Failure`], when the token is lost.
    pub fn take(self, answer: Answer, output: &mut Output) -> anyhow::Result<()> {
        let is_told = !answer.token.expose_secret().is_empty();
        let lost = |why: &dyn std::fmt::Display| token_lost(&answer, why);
        let note = match self.file {
            _ if !is_told => answer.without_token.to_owned(),
            None => "The token is the last line; it is shown here and never again.".to_owned(),
            Some((file, path)) => {
                file.write(&answer.token).map_err(|error| lost(&error))?;
                show(&answer, None, output)?;
                output.note(&format!("The token is in {}.", path.display()));
                return Ok(());
            }
        };
        let token = is_told.then_some(&answer.token);
        match show(&answer, token, output) {
            Err(error) if is_told => return Err(lost(&error).into()),
            Ok(()) if is_told && output.is_closed() => return Err(lost(&"nobody reads the output").into()),
            shown => shown?,
        }
        if output.format() == Format::Table || !is_told {
            output.note(&note);
        }
        Ok(())
    }
}

fn show(answer: &Answer, token: Option<&SecretString>, output: &mut Output) -> io::Result<()> {
    if output.format() == Format::Json {
        let mut json = answer.json.clone();
        if let Some(fields) = json.as_object_mut() {
            match token {
                Some(token) => fields.insert("token".into(), token.expose_secret().into()),
                None => fields.remove("token"),
            };
        }
        return output.show_json(&json);
    }
    let look = output.look();
    let mut text = answer.key.as_ref().map(|key| render::details(key, look)).unwrap_or_default();
    if let Some(token) = token {
        text.push_str(&format!("\n\n{}", token.expose_secret()));
    }
    output.show(&text)
}

fn token_lost(answer: &Answer, why: &dyn std::fmt::Display) -> Failure {
    let (key_id, done) = (answer.key.as_ref().map_or(0, |key| key.key_id), answer.done);
    let next = match done {
        "rotated" => format!("Rotate it again: `keystile keys rotate {key_id}`."),
        _ => format!("Revoke it with `keystile keys revoke {key_id}`, and create another."),
    };
    Failure::new(format!("Key {key_id} was {done}, but its token was lost: {why}.")).next(next)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::cli::output::Written;

    fn answer(token: &str) -> Answer {
        Answer {
            key: Some(pb::Key { key_id: 17, ..Default::default() }),
            token: SecretString::from(token),
            json: json!({ "revision": 3, "token": "" }),
            done: "created",
            without_token: "There is no new token.",
        }
    }

    fn taken(path: Option<PathBuf>, token: &str, format: Format) -> (String, String) {
        let (out, err) = (Written::default(), Written::default());
        let mut output = Output::to(format, out.clone(), err.clone());
        let place = TokenOut { token_out: path }.prepare().unwrap();
        place.take(answer(token), &mut output).unwrap();
        (out.text(), err.text())
    }

    #[test]
    fn a_token_is_shown_once_or_goes_to_its_file() {
        let (out, err) = taken(None, "ks_sesame", Format::Table);
        assert!(out.ends_with("\n\nks_sesame\n"), "{out}");
        assert!(err.contains("never again"), "{err}");
        let (out, err) = taken(None, "ks_sesame", Format::Json);
        assert!(out.contains("\"token\": \"ks_sesame\"") && err.is_empty(), "{out}{err}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for format in [Format::Table, Format::Json] {
            let (out, err) = taken(Some(path.clone()), "ks_sesame", format);
            assert!(
                !out.contains("sesame") && !out.contains("token") && !err.contains("sesame"),
                "{out}{err}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), "ks_sesame\n");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn without_a_token_that_is_said_and_no_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let (out, err) = taken(Some(path.clone()), "", Format::Json);
        assert_eq!(err, "There is no new token.\n");
        assert!(!out.contains("token"), "{out}");
        assert!(!path.exists());
    }

    #[test]
    fn a_lost_token_names_its_key() {
        let told = token_lost(&answer("t"), &"disk full").to_string();
        assert_eq!(
            told,
            "Key 17 was created, but its token was lost: disk full.\nRevoke it with `keystile keys revoke 17`, and \
             create another."
        );
    }
}
