//! Tables for people: columns without lines, readable by `awk`, and on a terminal as wide as it is.
//!
//! On a terminal a row stays one line: what can be cut is, with `…`. What is piped on is never cut.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

use super::output::{Look, Tone, plain};

/// A cell that is cut is still so wide.
const CUT_WIDTH_MIN: u16 = 8;
/// Between columns.
pub(super) const PADDING: u16 = 2;

/// Stand for the beginning and end of a tone while widths are measured: invisible, and taken out of content.
const MARKS: [(Tone, char); 4] =
    [(Tone::Good, '\u{2061}'), (Tone::Bad, '\u{2062}'), (Tone::Over, '\u{2063}'), (Tone::Gone, '\u{2064}')];
const MARK_END: char = '\u{2060}';

/// A column: its header, and whether its cells may be cut where the terminal is too narrow.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Never cut: ids, states, times.
    Whole(&'static str),
    /// Cut where there is no room: names, lists.
    Cut(&'static str),
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// In a tone.
    #[must_use]
    pub fn toned(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self { text: text.into(), tone }
    }

    fn marked(&self, look: Look) -> String {
        let text = plain(&self.text).replace(is_mark, "\u{fffd}");
        let mark = MARKS.iter().find(|(tone, _)| Some(*tone) == self.tone && look.colour);
        mark.map(|(_, mark)| format!("{mark}{text}{MARK_END}")).unwrap_or(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

/// A table with a header and a row a thing.
#[must_use]
pub fn columns(look: Look, header: &[Column], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut table = Table::new();
    let names = header.iter().map(|column| match column {
        Column::Whole(name) | Column::Cut(name) => *name,
    });
    table.set_header(one_line(names.map(str::to_owned), look));
    for row in rows {
        table.add_row(one_line(row.iter().map(|cell| cell.marked(look)), look));
    }
    if let Some(width) = look.width {
        fit(&mut table, header, width);
    }
    finish(table)
}

/// One thing, a row a property. Properties without a value are left out.
#[must_use]
pub fn properties(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    properties_in(Look::default(), rows.into_iter().map(|(name, value)| (name, Cell::from(value))))
}

/// [`properties`] for a terminal: a long value goes on in the next line, below itself.
#[must_use]
pub fn properties_in<N: Into<String>>(look: Look, rows: impl IntoIterator<Item = (N, Cell)>) -> String {
    let mut table = Table::new();
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.text.is_empty()) {
        table.add_row([name.into(), value.marked(look)]);
    }
    if let Some(width) = look.width {
        fit(&mut table, &[Column::Whole(""), Column::Cut("")], width);
    }
    finish(table)
}

/// A row that is cut rather than broken, where there is a width that it has to fit.
fn one_line(cells: impl Iterator<Item = String>, look: Look) -> Row {
    let mut row = Row::from(cells.collect::<Vec<_>>());
    if look.width.is_some() {
        row.max_height(1);
    }
    row
}

/// Arranges a table for a terminal, where it would be wider than that.
fn fit(table: &mut Table, header: &[Column], width: u16) {
    let contents = table.column_max_content_widths();
    let natural = contents.iter().fold(0_u16, |sum, content| sum.saturating_add(*content + PADDING));
    // The padding behind the last column is not shown.
    if natural <= width.saturating_add(PADDING) {
        return;
    }
    table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_truncation_indicator("…");
    for ((column, kind), content) in table.column_iter_mut().zip(header).zip(contents) {
        column.set_constraint(match kind {
            Column::Whole(_) => ColumnConstraint::ContentWidth,
            Column::Cut(_) => {
                ColumnConstraint::LowerBoundary(Width::Fixed(CUT_WIDTH_MIN.min(content) + PADDING))
            }
        });
    }
}

fn finish(mut table: Table) -> String {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, PADDING));
    }
    let text = table.trim_fmt();
    if !text.contains(is_mark) {
        return text;
    }
    text.lines().map(painted).collect::<Vec<_>>().join("\n")
}

/// A line with its marks turned into colours.
fn painted(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, tone, after)) = MARKS.iter().find_map(|(tone, mark)| {
        let (before, after) = rest.split_once(*mark)?;
        (!before.contains(is_mark)).then_some((before, *tone, after))
    }) {
        // A cell that was cut has lost its end: then the line ends it.
        let (marked, after) = after.split_once(MARK_END).unwrap_or((after, ""));
        text.push_str(before);
        text.push_str(&tone.paint(marked));
        rest = after;
    }
    text.push_str(rest);
    text
}

fn is_mark(c: char) -> bool {
    c == MARK_END || MARKS.iter().any(|(_, mark)| *mark == c)
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

    const PIPE: Look = Look { colour: false, width: None, blocks: false };

    fn row(cells: &[&str]) -> Vec<Cell> {
        cells.iter().map(|cell| Cell::from((*cell).to_owned())).collect()
    }

    #[test]
    fn columns_are_aligned_and_rows_end_without_spaces() {
        let header = [Column::Whole("KEY"), Column::Cut("NAME"), Column::Cut("TAGS")];
        let rows = [row(&["1", "a", "x"]), row(&["23", "", "é"])];
        assert_eq!(columns(PIPE, &header, rows), "KEY  NAME  TAGS\n1    a     x\n23         é");
    }

    #[test]
    fn a_table_is_cut_to_the_terminal_and_never_in_a_pipe() {
        let header = [Column::Whole("KEY"), Column::Cut("NAME"), Column::Whole("STATE")];
        let name = "a name that is quite long";
        let rows = || [row(&["1000017", name, "ACTIVE"]), row(&["2", "b", "REVOKED"])];
        let narrow = Look { width: Some(30), ..PIPE };
        let cut = columns(narrow, &header, rows());
        assert_eq!(cut.lines().count(), 3, "{cut}");
        assert!(cut.lines().all(|line| line.chars().count() <= 30), "{cut}");
        assert!(cut.contains("1000017") && cut.contains("ACTIVE") && cut.contains('…'), "{cut}");
        assert!(columns(PIPE, &header, rows()).contains(name));
        let wide = Look { width: Some(200), ..PIPE };
        assert_eq!(columns(wide, &header, rows()), columns(PIPE, &header, rows()));
    }

    #[test]
    fn a_long_property_goes_on_below_itself() {
        let scopes = "chat.completions, embeddings.create, models.list";
        let rows = [("key", Cell::from("17".to_owned())), ("scopes", Cell::from(scopes.to_owned()))];
        let text = properties_in(Look { width: Some(40), ..PIPE }, rows);
        assert_eq!(text, "key     17\nscopes  chat.completions,\n        embeddings.create, models.list");
    }

    #[test]
    fn tones_are_painted_without_moving_a_column() {
        let header = [Column::Whole("STATE"), Column::Cut("NAME")];
        let cells = |state: &str, tone| vec![Cell::toned(state, tone), Cell::from("a".to_owned())];
        let rows = || [cells("ACTIVE", Some(Tone::Good)), cells("OWNER_DISABLED", Some(Tone::Bad))];
        let colour = Look { colour: true, ..PIPE };
        let expected = columns(PIPE, &header, rows())
            .replace("ACTIVE", &Tone::Good.paint("ACTIVE"))
            .replace("OWNER_DISABLED", &Tone::Bad.paint("OWNER_DISABLED"));
        assert_eq!(columns(colour, &header, rows()), expected);
    }

    #[test]
    fn properties_without_a_value_are_left_out() {
        let rows = [("key", "17".to_owned()), ("description", String::new()), ("state", "ACTIVE".to_owned())];
        assert_eq!(properties(rows), "key    17\nstate  ACTIVE");
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        let header = [Column::Cut("NAME")];
        let hostile = [row(&["a\u{1b}[2J\nb\u{2061}c"])];
        assert_eq!(columns(PIPE, &header, hostile), "NAME\na\u{fffd}[2J\u{fffd}b\u{fffd}c");
    }

    #[test]
    fn long_lists_are_summarised() {
        assert_eq!(summary::<&str>(&[], 2), "");
        assert_eq!(summary(&["a", "b"], 2), "a, b");
        assert_eq!(summary(&["a", "b", "c"], 2), "a, b, c");
        assert_eq!(summary(&["a", "b", "c", "d"], 2), "a, b and 2 more");
    }
}
