//! `authorize`, `filter-models` and `introspect`.

use std::fs;

use super::{Shell, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_an_exit_code() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "a").await;
    shell.ok(&["keys", "grant", &key, "--model=gpt-4o"]).await;
    let allowed = shell.run_with(&["authorize", "--model=gpt-4o"], &token).await;
    assert_eq!((allowed.code, allowed.out.lines().next()), (Some(0), Some("ALLOW")));
    let denied = shell.run_with(&["authorize", "--model=o3"], &token).await;
    assert_eq!((denied.code, denied.out.lines().next()), (Some(1), Some("DENY MODEL_NOT_ALLOWED")));
    let undecided = shell.run_with(&["authorize", "--min-revision=-1"], &token).await;
    assert_eq!((undecided.code, undecided.out.as_str()), (Some(2), ""));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_are_asked_at_once() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "a").await;
    shell.ok(&["keys", "grant", &key, "--model=gpt-4o"]).await;
    let line = |model: &str| format!("{{\"token\": \"{token}\", \"model\": \"{model}\"}}\n");
    let both = line("gpt-4o") + &line("o3");
    let denied = shell.run_with(&["authorize", "--batch=-"], &both).await;
    assert_eq!(denied.code, Some(1), "{denied:?}");
    let rows: Vec<Vec<&str>> = denied.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..3], ["1", "ALLOW", &key]);
    assert_eq!(rows[2][..4], ["2", "DENY", "MODEL_NOT_ALLOWED", &key]);
    fs::write(shell.path("questions"), line("gpt-4o")).unwrap();
    let file = format!("--batch={}", shell.path("questions"));
    let allowed = shell.json(&["authorize", &file]).await;
    assert_eq!(allowed["items"][0]["response"]["decision"], "ALLOW");
    let wrong = line("gpt-4o") + "{\"min_revision\": -1}\n";
    assert_eq!(shell.run_with(&["authorize", "--batch=-"], &wrong).await.code, Some(2));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_filtered_by_what_a_key_may_call() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "a").await;
    shell.ok(&["keys", "grant", &key, "--model=gpt-4o*"]).await;
    let some = shell.run_with(&["filter-models", "o3", "gpt-4o-mini", "gpt-4o"], &token).await;
    assert_eq!((some.code, some.out.as_str()), (Some(0), "gpt-4o-mini\ngpt-4o\n"));
    let none = shell.run_with(&["filter-models", "o3"], &token).await;
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert_eq!(none.told, "The key may call none of these models.\n");
    let denied = shell.run_with(&["filter-models", "o3"], "ks_nobody").await;
    assert_eq!((denied.code, denied.out.lines().next()), (Some(1), Some("DENY KEY_INVALID")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_a_token_sees_its_key() {
    let app = App::start().await;
    let shell = Shell::with(&app, &app.service_token("keystile.authorize").await);
    let (key, token) = named(&app, "mine").await;
    let usable = shell.run_with(&["introspect"], &token).await;
    assert_eq!((usable.code, usable.out.lines().next()), (Some(0), Some("USABLE")));
    assert_eq!((usable.row("key"), usable.row("name")), (key.clone(), "mine".to_owned()));
    Shell::of(&app).ok(&["keys", "revoke", &key]).await;
    let revoked = shell.run_with(&["introspect", "-o", "json"], &token).await;
    assert_eq!((revoked.code, revoked.json()["reason"].as_str()), (Some(1), Some("KEY_REVOKED")));
    app.stop().await;
}
