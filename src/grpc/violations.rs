//! Every fault of a request at once, each with its field's path.

use std::fmt::Display;

use tonic::Status;

use super::error::invalid_request;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path, as in `key.models.patterns[2]`.
    pub field: String,
    /// What it must be.
    pub description: String,
}

/// Faults found so far. At most [`VIOLATIONS_MAX`] of together [`VIOLATIONS_BYTES_MAX`] are kept.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<Violation>,
    bytes: usize,
    left_out: usize,
}

/// More are counted, but not named.
pub const VIOLATIONS_MAX: usize = 20;

/// Paths and descriptions are together at most so long. They travel in trailers, in base64, and many clients
/// (grpc-java, for one) take a header list of 8 KiB at most: a longer one would hide the whole error.
pub const VIOLATIONS_BYTES_MAX: usize = 3_000;

/// The sentence for a person is about so long at most: it travels twice, once percent-encoded.
const SUMMARY_BYTES_MAX: usize = 600;

impl Violations {
    /// Notes a fault.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        let fault = Violation { field: field.into(), description: description.into() };
        let bytes = self.bytes.saturating_add(fault.field.len()).saturating_add(fault.description.len());
        let fits = self.found.len() < VIOLATIONS_MAX && bytes <= VIOLATIONS_BYTES_MAX;
        if self.found.is_empty() || (fits && self.left_out == 0) {
            self.bytes = bytes;
            self.found.push(fault);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// The value, or `None` and a fault.
    pub fn take<T, E: Display>(&mut self, field: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// The value, or `None` and a fault.
    pub fn require<T>(&mut self, field: impl Into<String>, value: Option<T>, description: &str) -> Option<T> {
        if value.is_none() {
            self.add(field, description);
        }
        value
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.found.iter()
    }

    /// One sentence for a person, with the first faults in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut summary = String::new();
        let mut unnamed = self.found.len().saturating_add(self.left_out);
        for fault in &self.found {
            let clause = format!("{}: {}", fault.field, fault.description);
            if !summary.is_empty() {
                if summary.len().saturating_add(clause.len()) > SUMMARY_BYTES_MAX {
                    break;
                }
                summary.push_str("; ");
            }
            summary.push_str(&clause);
            unnamed = unnamed.saturating_sub(1);
        }
        if unnamed > 0 {
            summary.push_str(&format!("; and {unnamed} more"));
        }
        summary
    }

    /// The value if there was no fault.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with every fault. A missing value without a fault is a defect.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Status> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            None if self.found.is_empty() => Err(super::error::defect(&"a value is missing without a fault")),
            _ => Err(invalid_request(&self)),
        }
    }
}
