//! `keystile authorize --batch`: many questions at once, a JSON object a line.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::json::{from_json, to_json};
use crate::cli::output::{Format, Output, Tone};
use crate::cli::table::{Cell, Column, columns};
use crate::cli::{DENIED, FAILED};
use crate::grpc::convert::authorize::judged_key;
use crate::grpc::pb;
use crate::grpc::pb::authorize_response::{Decision, Reason};
use crate::grpc::pb::batch_authorize_response::item::Result as ItemResult;

/// The most questions of a call.
const CALL_MAX: usize = 1000;

/// Asks every question of `file` (`-`: stdin), and answers by the exit code: 2 where one could not be decided, else
/// 1 where one is denied, else 0.
///
/// # Errors
/// [`Failure`], for a file or line that cannot be read; a call that is refused.
pub async fn ask(file: &Path, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
    let requests = read(file)?;
    let mut answer = pb::BatchAuthorizeResponse::default();
    for requests in requests.chunks(CALL_MAX) {
        let request = pb::BatchAuthorizeRequest { requests: requests.to_vec() };
        let part = client.authorize().batch_authorize(request).await;
        answer.items.extend(part.map_err(|status| client.failure(&status))?.into_inner().items);
    }
    match output.format() {
        Format::Json => output.show_json(&to_json("BatchAuthorizeResponse", &answer)?)?,
        Format::Table => {
            let header = [
                Column::Whole("LINE"),
                Column::Whole("DECISION"),
                Column::Whole("REASON"),
                Column::Whole("KEY"),
                Column::Cut("MESSAGE"),
            ];
            let rows = answer.items.iter().zip(1_usize..).map(|(item, line)| row(line, item));
            output.show(&columns(output.look(), &header, rows))?;
        }
    }
    Ok(exit_code(&answer))
}

fn read(file: &Path) -> Result<Vec<pb::AuthorizeRequest>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(file).map(|all| bytes = all)
    };
    let name = file.display();
    read.map_err(|error| Failure::new(format!("Cannot read questions from {name}: {error}.")))?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::new(format!("{name} is no text.")))?;
    let lines = text.lines().zip(1_usize..).filter(|(line, _)| !line.trim().is_empty());
    let requests = lines.map(|(line, number)| {
        // The line may hold a token: what is wrong is told, what is there is not.
        from_json::<pb::AuthorizeRequest>("AuthorizeRequest", line).map_err(|error| {
            let failure = Failure::new(format!("Line {number} of {name} is no question: {error}."));
            failure.next(r#"A line is like {"token": "ks_…", "model": "gpt-4o"}."#)
        })
    });
    requests.collect()
}

fn row(line: usize, item: &pb::batch_authorize_response::Item) -> Vec<Cell> {
    let (decision, reason, key, message) = match &item.result {
        Some(ItemResult::Response(answer)) => {
            let decision = match answer.decision() {
                Decision::Allow => Cell::toned("ALLOW", Some(Tone::Good)),
                Decision::Deny => Cell::toned("DENY", Some(Tone::Bad)),
                Decision::Unspecified => Cell::default(),
            };
            let reason = match answer.reason() {
                Reason::Unspecified => String::new(),
                reason => reason.as_str_name().to_owned(),
            };
            let key = judged_key(answer).map(|key| key.key_id.to_string()).unwrap_or_default();
            (decision, reason, key, answer.message.clone())
        }
        Some(ItemResult::Error(error)) => {
            (Cell::toned("ERROR", Some(Tone::Over)), String::new(), String::new(), error.message.clone())
        }
        None => (Cell::default(), String::new(), String::new(), String::new()),
    };
    vec![Cell::from(line.to_string()), decision, reason.into(), key.into(), message.into()]
}

fn exit_code(answer: &pb::BatchAuthorizeResponse) -> ExitCode {
    let decisions = || {
        answer.items.iter().map(|item| match &item.result {
            Some(ItemResult::Response(answer)) => Some(answer.decision()),
            Some(ItemResult::Error(_)) | None => None,
        })
    };
    if decisions().any(|decision| !matches!(decision, Some(Decision::Allow | Decision::Deny))) {
        return ExitCode::from(FAILED);
    }
    let all = decisions().all(|decision| decision == Some(Decision::Allow));
    if all { ExitCode::SUCCESS } else { ExitCode::from(DENIED) }
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_question_is_a_line_of_json_by_the_names_of_the_contract() {
        let text = "{\"token\":\"ks_a\",\"model\":\"gpt-4o\",\"not_applicable\":[\"CHATBOT\"]}\n\n{\"dry_run\":true}\n";
        let requests = read(file(text).path()).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].token, Bytes::from_static(b"ks_a"));
        assert_eq!(requests[0].not_applicable, [3]);
        assert!(requests[1].dry_run);
    }

    #[test]
    fn a_line_that_is_no_question_is_named_without_what_it_holds() {
        let told =
            read(file("{}\n{\"token\":\"ks_sesame\",\"modle\":\"x\"}").path()).unwrap_err().to_string();
        assert!(told.starts_with("Line 2 of ") && told.contains("modle"), "{told}");
        assert!(!told.contains("sesame"), "{told}");
        assert!(read(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn the_worst_answer_decides() {
        let answer = |decision: Decision| {
            let response = pb::AuthorizeResponse { decision: decision.into(), ..Default::default() };
            pb::batch_authorize_response::Item { result: Some(ItemResult::Response(response)) }
        };
        let error = pb::batch_authorize_response::Item {
            result: Some(ItemResult::Error(tonic_types::pb::Status::default())),
        };
        let code = |items: &[pb::batch_authorize_response::Item]| {
            format!("{:?}", exit_code(&pb::BatchAuthorizeResponse { items: items.to_vec() }))
        };
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        let (allow, deny) = (answer(Decision::Allow), answer(Decision::Deny));
        assert_eq!(code(&[allow.clone(), allow.clone()]), is(0));
        assert_eq!(code(&[allow.clone(), deny.clone()]), is(1));
        assert_eq!(code(&[deny, error, allow]), is(2));
        assert_eq!(code(&[answer(Decision::Unspecified)]), is(2));
    }
}
