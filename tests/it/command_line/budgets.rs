//! `budgets`.

use super::{Shell, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_created_changed_reset_and_deleted() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    let create = ["budgets", "create", "--key-id", &key, "--period=total", "--amount=100", "--warning=80.50"];
    let dry = shell.ok(&[&create[..], &["--dry-run"]].concat()).await;
    assert!(dry.told.contains("nothing was created") && !dry.out.contains("etag"), "{dry:?}");
    let created = shell.ok(&create).await;
    let id = created.row("budget");
    assert_eq!((created.row("of"), created.row("limit")), (format!("key {key}"), "100.00".to_owned()));
    assert_eq!((created.row("warns at"), created.row("at limit")), ("80.50".to_owned(), "denies".to_owned()));
    assert!(created.row("enforced").starts_with("not yet"), "{created:?}");
    assert!(shell.ok(&["keys", "get", &key]).await.row("budget").contains("0.00 of 100.00 total"));

    app.database.sql(&format!("INSERT INTO budget_periods VALUES ({id}, 'epoch', 30000000, 5)")).await;
    let got = shell.ok(&["budgets", "get", &id]).await;
    assert_eq!((got.row("spent"), got.row("reserved")), ("30.00".to_owned(), "0.000005".to_owned()));
    let etag = got.row("etag");
    let update = ["budgets", "update", &id, "--amount=200", "--soft", "--warning=none", "--etag", &etag];
    let updated = shell.ok(&update).await;
    assert_eq!((updated.row("limit"), updated.row("at limit")), ("200.00".to_owned(), "warns".to_owned()));
    assert!(!updated.out.contains("warns at"), "{updated:?}");
    assert!(shell.refused(&update).await.contains("read it again"));
    let reset = shell.ok(&["budgets", "reset", &id]).await;
    assert_eq!((reset.row("spent"), reset.row("reserved")), ("0.00".to_owned(), "0.000005".to_owned()));
    let deleted = shell.ok(&["budgets", "delete", &id, "--yes"]).await;
    assert!(deleted.told.contains(&format!("Budget {id} is deleted")), "{deleted:?}");
    assert!(shell.refused(&["budgets", "get", &id]).await.contains("`keystile budgets list`"));
    assert!(shell.refused(&["budgets", "update", &id]).await.contains("Nothing to change is given."));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_listed_of_all_of_a_key_or_of_an_owner() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    let create = async |of: &str, amount: &str| {
        shell.ok(&["budgets", "create", of, "--period=daily", "--amount", amount]).await;
    };
    create(&format!("--key-id={key}"), "1").await;
    create("--user-id=4", "2").await;
    create("--user-id=4", "3").await;
    let limits = async |args: &[&str]| {
        let budgets = shell.json(&[&["budgets", "list"], args].concat()).await["budgets"].clone();
        let budgets = budgets.as_array().unwrap().clone();
        budgets.iter().map(|budget| budget["limit_micros"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(limits(&[]).await, [1_000_000, 2_000_000, 3_000_000]);
    assert_eq!(limits(&["--key-id", &key]).await, [1_000_000]);
    assert_eq!(limits(&["--user-id=4", "--limit=1"]).await, [2_000_000]);
    let table = shell.ok(&["budgets", "list", "--user-id=4"]).await;
    assert_eq!(table.out.lines().count(), 3, "{table:?}");
    assert!(table.out.contains("owner 4"), "{table:?}");
    let none = shell.ok(&["budgets", "list", "--user-id=5"]).await;
    assert_eq!(none.told.trim(), "No budgets fit.");
    app.stop().await;
}
