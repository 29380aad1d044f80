//! Tables for people: columns without lines, readable at any width and by `awk`.

use comfy_table::{Table, presets};

use super::output::plain;

/// A table with a header and a row a thing.
#[must_use]
pub fn columns(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.set_header(header);
    fill(table, rows)
}

/// One thing, a row a property. Properties without a value are left out.
#[must_use]
pub fn properties(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    fill(Table::new(), rows.map(|(name, value)| vec![name.to_owned(), value]))
}

fn fill(mut table: Table, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// The first `shown` of `items`, and how many more there are: `a, b and 3 more`.
#[must_use]
pub fn summary<T: AsRef<str>>(items: &[T], shown: usize) -> String {
    // Naming one more takes no more room than counting it.
    let shown = if items.len() == shown + 1 { items.len() } else { shown };
    let mut text = items.iter().take(shown).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(shown) {
        0 => {}
        more => text.push_str(&format!(" and {more} more")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_end_without_spaces() {
        let rows = [vec!["1".into(), "a".into(), "x".into()], vec!["23".into(), String::new(), "é".into()]];
        assert_eq!(columns(&["KEY", "NAME", "TAGS"], rows), "KEY  NAME  TAGS\n1    a     x\n23         é");
    }

    #[test]
    fn properties_without_a_value_are_left_out() {
        let rows = [("key", "17".to_owned()), ("description", String::new()), ("state", "ACTIVE".to_owned())];
        assert_eq!(properties(rows), "key    17\nstate  ACTIVE");
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        assert_eq!(columns(&["NAME"], [vec!["a\u{1b}[2J\nb".into()]]), "NAME\na\u{fffd}[2J\u{fffd}b");
    }

    #[test]
    fn long_lists_are_summarised() {
        assert_eq!(summary::<&str>(&[], 2), "");
        assert_eq!(summary(&["a", "b"], 2), "a, b");
        assert_eq!(summary(&["a", "b", "c"], 2), "a, b, c");
        assert_eq!(summary(&["a", "b", "c", "d"], 2), "a, b and 2 more");
    }
}
