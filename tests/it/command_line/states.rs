//! `keys revoke`, `reactivate`, `delete`, `undelete`, `expire` and `extend`.

use super::{Shell, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn states_are_changed_for_several_keys_at_once() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let ((a, first), (b, second)) = (named(&app, "a").await, named(&app, "b").await);
    let both = async || (shell.may(&first).await, shell.may(&second).await);
    for (command, state, may) in [
        ("revoke", "REVOKED", false),
        ("reactivate", "ACTIVE", true),
        ("delete", "DELETED", false),
        ("undelete", "ACTIVE", true),
    ] {
        let done = shell.ok(&["keys", command, &a, &b]).await;
        assert_eq!(done.out.matches(state).count(), 2, "{command}: {done:?}");
        assert_eq!(both().await, (may, may), "{command}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_already_is_told_with_its_reason() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    let first = shell.ok(&["keys", "revoke", &key, "--reason=leaked"]).await;
    assert!(!first.told.contains("already"), "{first:?}");
    let again = shell.ok(&["keys", "revoke", &key, "--reason=other"]).await;
    let told = format!("key {key} was revoked already; its reason stays: leaked");
    assert!(again.told.contains(&told), "{again:?}");
    let deleted = shell.ok(&["keys", "delete", &key]).await;
    assert!(deleted.out.contains("DELETED"), "{deleted:?}");
    assert!(shell.ok(&["keys", "get", &key]).await.row("purge due").starts_with("20"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_does_not_keep_the_others_from_being_tried() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "a").await;
    let ran = shell.run(&["keys", "delete", "999", &key, "-o", "json"]).await;
    assert_eq!(ran.code, Some(2));
    let named = shell.run(&["keys", "get", "alice"]).await;
    assert!(named.told.contains("`keystile keys list --name alice` finds it"), "{named:?}");
    assert!(ran.told.starts_with("key 999 does not exist.\n"), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["results"][0]["key"]["state"], "DELETED");
    assert_eq!(json["failed"][0]["key_id"], 999);
    assert_eq!(json["failed"][0]["reason"], "KEY_NOT_FOUND");
    assert!(!shell.may(&token).await);
    let told = shell.refused(&["keys", "grant", &key, "--tag=x"]).await;
    assert!(told.contains("`keystile keys undelete`"), "{told}");
    let told = shell.refused(&["keys", "revoke", &key, "1", "--etag=e"]).await;
    assert!(told.contains("--etag is of one key"), "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_key_is_set_moved_and_taken_away() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    let at = shell.ok(&["keys", "expire", &key, "--at=2100-01-31T00:00:00Z"]).await;
    assert_eq!(at.row("expires"), "2100-01-31 00:00:00Z");
    let extended = shell.ok(&["keys", "extend", &key, "--by=30d"]).await;
    assert_eq!(extended.row("expires"), "2100-03-02 00:00:00Z");
    let never = shell.ok(&["keys", "expire", &key, "--never"]).await;
    assert_eq!(never.row("expires"), "never");
    let soon = shell.ok(&["keys", "expire", &key, "--in=90"]).await;
    assert!(soon.row("expires").starts_with("20"), "{soon:?}");
    let (other, _) = named(&app, "b").await;
    shell.ok(&["keys", "expire", &key, &other, "--at=2100-01-31T00:00:00Z"]).await;
    let both = shell.json(&["keys", "extend", &key, &other, "--by=30d"]).await;
    for result in both["results"].as_array().unwrap() {
        assert_eq!(result["key"]["expire_time"], "2100-03-02T00:00:00Z", "{both}");
    }
    assert_eq!(both["results"].as_array().unwrap().len(), 2);
    let one_missing = shell.run(&["keys", "extend", "999", &key, "--by=1d"]).await;
    assert_eq!(one_missing.code, Some(2), "{one_missing:?}");
    assert!(one_missing.out.contains("2100-03-03"), "{one_missing:?}");
    app.stop().await;
}
