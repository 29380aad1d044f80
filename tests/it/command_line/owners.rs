//! `owners`.

use serde_json::json;

use super::{Shell, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_disabled_and_enabled_with_all_its_keys() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (_, token) = named(&app, "a").await;
    let disabled = shell.ok(&["owners", "disable", "4"]).await;
    assert_eq!((disabled.row("state"), disabled.row("keys")), ("DISABLED".to_owned(), "1".to_owned()));
    assert_eq!(disabled.told, "");
    assert!(!shell.may(&token).await);
    let enabled = shell.ok(&["owners", "enable", "4"]).await;
    assert_eq!(enabled.row("state"), "ENABLED");
    assert!(shell.may(&token).await);
    let told = shell.refused(&["owners", "disable", "0"]).await;
    assert!(told.contains("revoke its keys one by one"), "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_an_owner_without_keys_says_that_none_was_stopped() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let disabled = shell.ok(&["owners", "disable", "44"]).await;
    assert_eq!(disabled.row("keys"), "0");
    assert!(disabled.told.starts_with("Owner 44 has no keys: none was stopped."), "{disabled:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_shown_and_listed() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    named(&app, "a").await;
    shell.ok(&["owners", "disable", "7"]).await;
    assert_eq!(shell.ok(&["owners", "get", "4"]).await.row("keys"), "1");
    let told = shell.refused(&["owners", "get", "99"]).await;
    assert!(told.contains("`keystile owners list`"), "{told}");
    let ids = async |args: &[&str]| {
        let owners = shell.json(&[&["owners", "list"], args].concat()).await["owners"].clone();
        let owners = owners.as_array().unwrap().clone();
        owners.iter().map(|owner| owner["user_id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]).await, [0, 4, 7]);
    assert_eq!(ids(&["--disabled"]).await, [7]);
    assert_eq!(ids(&["--enabled", "--all"]).await, [0, 4]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_an_owner_leaves_the_others() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let limits = async |args: &[&str]| {
        shell.json(&[&["owners", "limits", "4"], args].concat()).await["owner"]["rate_limits"].clone()
    };
    let first = limits(&["--requests-per-minute=60", "--tokens-per-day=5"]).await;
    assert_eq!(first, json!({ "requests": { "per_minute": 60 }, "tokens": { "per_day": 5 } }));
    let second =
        limits(&["--requests-per-minute=100", "--requests-per-hour=0", "--tokens-per-day=none"]).await;
    assert_eq!(second["requests"], json!({ "per_minute": 100, "per_hour": 0 }));
    assert!(second.get("tokens").is_none_or(|tokens| *tokens == json!({})), "{second}");
    limits(&["--no-rate-limits"]).await;
    assert!(!shell.ok(&["owners", "get", "4"]).await.out.contains("requests"));
    assert!(shell.refused(&["owners", "limits", "4"]).await.contains("No limit is given."));
    app.stop().await;
}
