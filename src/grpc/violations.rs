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

/// Faults found so far. At most [`VIOLATIONS_MAX`] are kept: more would not fit into trailers.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<Violation>,
    left_out: usize,
}

/// More are counted, but not named: an HTTP/2 header list is bounded.
pub const VIOLATIONS_MAX: usize = 20;

impl Violations {
    /// Notes a fault.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.found.len() < VIOLATIONS_MAX {
            self.found.push(Violation { field: field.into(), description: description.into() });
        } else {
            self.left_out += 1;
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

    /// One sentence for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        let named: Vec<String> =
            self.found.iter().map(|fault| format!("{}: {}", fault.field, fault.description)).collect();
        let mut summary = named.join("; ");
        if self.left_out > 0 {
            summary.push_str(&format!("; and {} more", self.left_out));
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
