//! Reads a token that a command is about (not the caller's): from a file, or from stdin. Never from a flag.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use prost::bytes::Bytes;

use super::failure::Failure;
use super::output::Output;

/// More than a server takes in one message.
const TOKEN_BYTES_MAX: u64 = 4 << 20;

/// The token in `file`, or on stdin. `kind` is what it is called: judged, leaked.
///
/// # Errors
/// [`Failure`], when it cannot be read.
pub fn read_token(kind: &str, file: Option<&Path>, output: &mut Output) -> Result<Bytes, Failure> {
    let mut token = Vec::new();
    let failure = |from: &dyn std::fmt::Display, error: io::Error| {
        Failure::new(format!("Cannot read the {kind} token from {from}: {error}."))
    };
    match file {
        Some(path) => File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_end(&mut token))
            .map_err(|error| failure(&path.display(), error)),
        None if io::stdin().is_terminal() => {
            output.note(&format!("Reading the {kind} token from the terminal; end it with Enter."));
            let line = io::stdin().lock().take(TOKEN_BYTES_MAX).read_until(b'\n', &mut token);
            line.map_err(|error| failure(&"the terminal", error))
        }
        None => {
            let all = io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_end(&mut token);
            all.map_err(|error| failure(&"stdin", error))
        }
    }?;
    Ok(Bytes::copy_from_slice(without_newline(&token)))
}

/// A file and a terminal end a line; a token does not hold that.
fn without_newline(token: &[u8]) -> &[u8] {
    let token = token.strip_suffix(b"\n").unwrap_or(token);
    token.strip_suffix(b"\r").unwrap_or(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, Written};

    #[test]
    fn a_token_loses_one_newline_and_nothing_else() {
        for (read, token) in
            [("t\n", "t"), ("t\r\n", "t"), ("t", "t"), (" t \n\n", " t \n"), ("\n", ""), ("", "")]
        {
            assert_eq!(without_newline(read.as_bytes()), token.as_bytes(), "{read:?}");
        }
    }

    #[test]
    fn a_token_is_read_from_a_file_byte_by_byte() {
        let mut output = Output::to(Format::Table, Written::default(), Written::default());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"ks_\xff\n").unwrap();
        let token = read_token("judged", Some(file.path()), &mut output).unwrap();
        assert_eq!(token, Bytes::from_static(b"ks_\xff"));
        let missing = read_token("judged", Some(Path::new("/nowhere")), &mut output).unwrap_err().to_string();
        assert!(missing.starts_with("Cannot read the judged token from /nowhere: "), "{missing}");
    }
}
