//! A migration that older programs do not survive says so to them.

use crate::tree;

/// What older programs may still use, or still do.
const CONTRACTS: [&str; 5] = ["DROP TABLE", "DROP COLUMN", "RENAME ", "SET NOT NULL", "DROP FUNCTION"];
/// What tells them.
const MARKER: &str = "UPDATE schema_compatibility";

fn contracts_in_silence(up: &str) -> bool {
    let code: String =
        up.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let words = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let contracts = CONTRACTS.iter().any(|contract| words.contains(contract)) || alters_a_column(&words);
    contracts && !words.contains(MARKER)
}

/// How PostgreSQL stores a column is no matter for programs; anything else about it may be.
fn alters_a_column(words: &str) -> bool {
    let altered = words.split("ALTER COLUMN ").skip(1);
    altered.map(|rest| rest.split(' ').skip(1).take(2)).any(|change| !change.eq(["SET", "STORAGE"]))
}

#[test]
fn a_migration_that_takes_something_away_tells_older_programs() {
    let ups: Vec<String> =
        tree::paths("migrations").into_iter().filter(|path| path.ends_with("up.sql")).collect();
    assert!(ups.len() > 3, "{ups:?}");
    let silent: Vec<&String> =
        ups.iter().filter(|path| contracts_in_silence(&tree::file(path).text)).collect();
    assert!(
        silent.is_empty(),
        "raise schema_compatibility.oldest_migration, see migrations/README.md: {silent:?}"
    );
}

#[test]
fn what_takes_something_away_is_recognised() {
    assert!(contracts_in_silence("ALTER TABLE keys\n    DROP COLUMN name;"));
    assert!(contracts_in_silence("ALTER TABLE keys ALTER COLUMN name SET NOT NULL;"));
    assert!(contracts_in_silence(
        "ALTER TABLE keys ALTER COLUMN name TYPE text, ALTER COLUMN a SET STORAGE PLAIN;"
    ));
    assert!(!contracts_in_silence("ALTER TABLE keys ALTER COLUMN name SET STORAGE PLAIN;"));
    assert!(!contracts_in_silence("-- nothing to DROP TABLE\nCREATE INDEX a ON b (c);"));
    assert!(!contracts_in_silence(&format!("DROP TABLE a;\n{MARKER} SET oldest_migration = '1';")));
}
