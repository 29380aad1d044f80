//! Name, description, tags.

use serde_json::json;

use super::{converted, taken};
use crate::admin::enclava::WarningKind;
use crate::policy::{TAGS_MAX, Tag};

#[test]
fn a_name_that_cannot_be_kept_is_repaired_and_the_key_is_taken() {
    let long = "é".repeat(101);
    let cases = [
        (long.as_str(), "é".repeat(100)),
        ("two\nlines\u{7f}", "two lines".to_owned()),
        ("", "key 7".to_owned()),
        ("\n\t", "key 7".to_owned()),
    ];
    for (name, expected) in cases {
        let (key, warnings) = taken(|row| row.name = name.to_owned());
        assert_eq!(key.display_name.as_str(), expected);
        assert_eq!(warnings, [WarningKind::TextRepaired], "{name:?}");
    }
    let (key, warnings) = taken(|row| row.name = "é".repeat(100));
    assert_eq!((key.display_name.as_str(), warnings), ("é".repeat(100).as_str(), vec![]));
}

#[test]
fn a_description_is_kept_or_repaired_and_null_is_empty() {
    let description = |text: Option<&str>| {
        let (key, warnings) = taken(|row| row.description = text.map(str::to_owned));
        (key.description.as_str().to_owned(), warnings)
    };
    assert_eq!(description(None), (String::new(), vec![]));
    assert_eq!(description(Some("")), (String::new(), vec![]));
    assert_eq!(description(Some("a\r\nb")), ("a  b".to_owned(), vec![WarningKind::TextRepaired]));
    assert_eq!(description(Some(&"x".repeat(500))), ("x".repeat(500), vec![]));
    assert_eq!(description(Some(&"x".repeat(501))), ("x".repeat(500), vec![WarningKind::TextRepaired]));
}

#[test]
fn tags_that_are_none_are_dropped_one_by_one() {
    let tags = |tags| {
        let (key, warnings) = taken(|row| row.tags = tags);
        (key.tags.iter().map(|tag: &Tag| tag.as_str().to_owned()).collect::<Vec<_>>(), warnings)
    };
    assert_eq!(tags(None), (vec![], vec![]));
    assert_eq!(tags(Some(json!(null))), (vec![], vec![]));
    assert_eq!(tags(Some(json!([]))), (vec![], vec![]));
    assert_eq!(tags(Some(json!(["b", "a", "b"]))), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    let (kept, warnings) = tags(Some(json!(["ok", "", "a\u{0}b", 7, "x".repeat(65)])));
    assert_eq!((kept, warnings), (vec!["ok".to_owned()], vec![WarningKind::TagDropped; 4]));
    assert_eq!(tags(Some(json!({"a": 1}))), (vec![], vec![WarningKind::TagDropped]));
}

#[test]
fn tags_beyond_the_bound_are_dropped_and_named() {
    let many: Vec<String> = (0..TAGS_MAX + 2).map(|at| format!("tag-{at:03}")).collect();
    let converted = converted(|row| row.tags = Some(json!(many))).expect("the row is taken");
    assert_eq!(converted.key.tags.len(), TAGS_MAX);
    let sentences: Vec<_> = converted.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), 2);
    assert_eq!(sentences[1], "key 7: tags: \"tag-051\" is dropped: a key has at most 50");
}
