//! `keys create`, `get`, `update`, `rotate`, `grant`, `ungrant` and `lookup`.

use std::fs;

use serde_json::json;

use super::{Shell, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_is_given_and_nothing_else() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let create = ["keys", "create", "--user-id=4", "--name=a", "--template=default", "--no-ips"];
    let key = shell.json(&create).await["key"]["key_id"].to_string();
    let update = [
        "keys",
        "update",
        &key,
        "--name=b",
        "--tag=x",
        "--model=gpt-4o*",
        "--any-ip",
        "--requests-per-minute=7",
        "--requests-per-day=none",
        "--clear=permissions",
    ];
    let updated = shell.json(&update).await["key"].clone();
    assert_eq!(updated["display_name"], "b");
    assert_eq!(updated["tags"], json!(["x"]));
    assert_eq!(updated["models"], json!({ "mode": "ONLY", "patterns": ["gpt-4o*"] }));
    assert_eq!(updated["ips"], json!({ "mode": "ANY", "patterns": [] }));
    assert_eq!(updated["rate_limits"]["requests"], json!({ "per_minute": 7, "per_hour": 3600 }));
    assert_eq!(updated["permissions"], json!([]));
    assert_eq!(updated["scopes"], json!(["chat.completions", "embeddings.create", "models.list"]));

    let dry = shell.ok(&["keys", "update", &key, "--name=c", "--dry-run"]).await;
    assert_eq!(dry.row("name"), "c");
    assert_eq!(dry.told, "The key would be changed to this; nothing was changed.\n");
    assert_eq!(shell.ok(&["keys", "get", &key]).await.row("name"), "b");

    let etag = format!("--etag={}", updated["etag"].as_str().unwrap());
    shell.ok(&["keys", "update", &key, "--name=d", &etag]).await;
    let told = shell.refused(&["keys", "update", &key, "--name=e", &etag]).await;
    assert!(told.ends_with("read it again, and repeat the command with its new etag.\n"), "{told}");
    let moved = shell.json(&["keys", "update", &key, "--user-id=5"]).await;
    assert_eq!(moved["key"]["user_id"], 5);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_a_new_token_and_its_old_one_for_the_grace() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, first) = named(&app, "a").await;
    let out = format!("--token-out={}", shell.path("second.token"));
    let rotated = shell.ok(&["keys", "rotate", &key, "--grace=1h", &out]).await;
    assert!(rotated.told.contains("The old token works until "), "{rotated:?}");
    let second = fs::read_to_string(shell.path("second.token")).unwrap();
    assert!(shell.may(&first).await && shell.may(&second).await);

    let id = "--request-id=0f8fad5b-d9cb-469f-a165-70867728950e";
    let rotated = shell.ok(&["keys", "rotate", &key, id]).await;
    assert!(rotated.told.contains("The old token works no more."), "{rotated:?}");
    let third = rotated.out.lines().last().unwrap();
    assert!(!shell.may(&first).await && !shell.may(&second).await && shell.may(third).await);

    let out = format!("--token-out={}", shell.path("fourth.token"));
    let again = shell.ok(&["keys", "rotate", &key, id, &out]).await;
    assert!(again.told.contains("done before by the same request id"), "{again:?}");
    assert!(!fs::exists(shell.path("fourth.token")).unwrap(), "a token file without a token");
    assert!(shell.may(third).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_repeated_makes_one_key() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let create =
        ["keys", "create", "--user-id=4", "--name=a", "--request-id=0f8fad5b-d9cb-469f-a165-70867728950e"];
    let first = shell.json(&create).await;
    assert!(shell.may(first["token"].as_str().unwrap()).await);
    let again = shell.ok(&create).await;
    assert_eq!(again.row("key"), first["key"]["key_id"].to_string());
    assert!(again.told.contains("created before by the same request id"), "{again:?}");
    assert!(!again.out.contains(first["token"].as_str().unwrap()), "{again:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_added_and_taken_away() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    let granted = shell.ok(&["keys", "grant", &key, "--scope=chat.*", "--model=o3", "--tag=x"]).await;
    assert_eq!((granted.row("scopes"), granted.row("models")), ("chat.*".to_owned(), "o3".to_owned()));
    let taken = shell.ok(&["keys", "ungrant", &key, "--model=o3", "--tag=x"]).await;
    assert_eq!(taken.row("models"), "none");
    let told = shell.refused(&["keys", "ungrant", &key, "--ip=10.0.0.1"]).await;
    assert!(told.contains("`keystile keys grant`"), "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_token_leads_to_its_key() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "leaky").await;
    let found = shell.run_with(&["keys", "lookup"], &format!("{token}\n")).await;
    assert_eq!((found.code, found.row("key"), found.row("name")), (Some(0), key.clone(), "leaky".to_owned()));
    fs::write(shell.path("leaked"), &token).unwrap();
    let file = format!("--leaked-token-file={}", shell.path("leaked"));
    assert_eq!(shell.json(&["keys", "lookup", &file]).await["key"]["key_id"].to_string(), key);
    let unknown = shell.run_with(&["keys", "lookup"], "ks_nobody").await;
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""));
    assert!(unknown.told.contains("Look it up whole"), "{unknown:?}");
    app.stop().await;
}
