//! Taking YAML apart, strictly: every node that is not what it must be is a fault with its place, and reading
//! goes on, so that all faults are told at once.

use std::collections::{BTreeMap, BTreeSet};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, ScanError, YamlData};

use super::fault::{Fault, Place};
use super::source::Source;

/// A node of YAML with its place.
pub type Node<'y> = MarkedYaml<'y>;

/// One file being read.
pub struct Reading<'s> {
    source: &'s str,
    faults: Vec<Fault>,
}

impl<'s> Reading<'s> {
    /// The documents of a file, or why it is no YAML.
    pub fn documents(source: &'s Source) -> (Self, Vec<Node<'s>>) {
        let mut reading = Self { source: &source.name, faults: Vec::new() };
        let documents = Node::load_from_str(&source.text).unwrap_or_else(|error| {
            reading.refuse(&error);
            Vec::new()
        });
        (reading, documents)
    }

    /// What was wrong, from the top of the file down.
    pub fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by(|one, other| one.place.cmp(&other.place));
        self.faults
    }

    /// Where a node stands.
    pub fn place(&self, node: &Node<'_>) -> Place {
        let start = node.span.start;
        Place { source: self.source.to_owned(), line: start.line(), column: start.col() + 1 }
    }

    /// Notes that something about a node is wrong.
    pub fn fault(&mut self, node: &Node<'_>, what: impl Into<String>) {
        self.faults.push(Fault { place: self.place(node), what: what.into() });
    }

    fn refuse(&mut self, error: &ScanError) {
        let mark = error.marker();
        let place = Place { source: self.source.to_owned(), line: mark.line(), column: mark.col() + 1 };
        self.faults.push(Fault { place, what: format!("this is no YAML: {}", error.info()) });
    }

    /// `result`, or a fault with its words after the field's name.
    pub fn take<T, E: std::fmt::Display>(
        &mut self,
        node: &Node<'_>,
        field: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.fault(node, format!("{field} {error}"))).ok()
    }

    /// Text. A number, a date or nothing is not taken for text: how it was written would be lost.
    pub fn text<'n>(&mut self, node: &'n Node<'_>, field: &str) -> Option<&'n str> {
        let scalar = match &node.data {
            YamlData::Value(Scalar::String(text)) => return Some(text),
            YamlData::Value(Scalar::Null) => "is empty: leave it out, or write ''",
            YamlData::Value(_) => "must be text: put it in quotes",
            _ => "must be text",
        };
        self.fault(node, format!("{field} {scalar}"));
        None
    }

    /// The text, if it is one, without a fault if it is not.
    pub fn word<'n>(node: &'n Node<'_>) -> Option<&'n str> {
        match &node.data {
            YamlData::Value(Scalar::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number within these bounds.
    pub fn integer(&mut self, node: &Node<'_>, field: &str, min: i64, max: i64) -> Option<i64> {
        match &node.data {
            YamlData::Value(Scalar::Integer(number)) if (min..=max).contains(number) => Some(*number),
            _ => {
                let bounds =
                    if max == i64::MAX { format!("from {min} on") } else { format!("{min} to {max}") };
                self.fault(node, format!("{field} must be a whole number, {bounds}"));
                None
            }
        }
    }

    /// A list.
    pub fn list<'n, 'y>(&mut self, node: &'n Node<'y>, field: &str) -> Option<&'n [Node<'y>]> {
        match &node.data {
            YamlData::Sequence(items) => Some(items),
            _ => {
                self.fault(node, format!("{field} must be a list"));
                None
            }
        }
    }

    /// A list of at most `max` texts, each parsed to its canonical spelling.
    pub fn set<T: ToString, E: std::fmt::Display>(
        &mut self,
        node: &Node<'_>,
        field: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<BTreeSet<String>> {
        let items = self.list(node, field)?;
        if items.len() > max {
            self.fault(node, format!("{field} must have at most {max} members, not {}", items.len()));
            return None;
        }
        let mut set = BTreeSet::new();
        for item in items {
            let member = format!("a member of {field}");
            let parsed = self.text(item, &member).map(&parse);
            set.extend(parsed.and_then(|parsed| self.take(item, &member, parsed)).map(|it| it.to_string()));
        }
        Some(set)
    }

    /// A mapping with these keys and no others.
    pub fn mapping<'n, 'y>(
        &mut self,
        node: &'n Node<'y>,
        what: &str,
        known: &[&str],
    ) -> Option<Vec<(&'n str, &'n Node<'y>)>> {
        let YamlData::Mapping(mapping) = &node.data else {
            self.fault(node, format!("{what} must be a mapping of {}", known.join(", ")));
            return None;
        };
        let mut fields = Vec::new();
        for (key, value) in mapping {
            match Self::word(key) {
                Some(name) if known.contains(&name) => fields.push((name, value)),
                Some(name) => {
                    self.fault(key, format!("{what} has no field {name}; it has {}", known.join(", ")));
                }
                None => self.fault(key, format!("{what} has no such field; it has {}", known.join(", "))),
            }
        }
        Some(fields)
    }

    /// A mapping of texts to texts.
    pub fn texts(&mut self, node: &Node<'_>, field: &str) -> Option<BTreeMap<String, String>> {
        let YamlData::Mapping(mapping) = &node.data else {
            self.fault(node, format!("{field} must be a mapping of text to text"));
            return None;
        };
        let mut texts = BTreeMap::new();
        for (key, value) in mapping {
            let name = self.text(key, &format!("a name in {field}"));
            let text = self.text(value, &format!("a value in {field}"));
            texts.extend(name.zip(text).map(|(name, text)| (name.to_owned(), text.to_owned())));
        }
        Some(texts)
    }
}
