//! `audit`.

use super::{Shell, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_found_by_who_what_and_which() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    shell.ok(&["keys", "revoke", &key, "--reason=leaked"]).await;
    let resource = format!("--resource=keys/{key}");
    let events = shell.json(&["audit", "list", &resource]).await["events"].clone();
    let actions: Vec<_> = events.as_array().unwrap().iter().map(|it| it["action"].clone()).collect();
    assert_eq!(actions, ["keys.revoke", "keys.create"], "newest first");
    let actor = format!("--actor={}", events[0]["actor"].as_str().unwrap());
    let table = shell.ok(&["audit", "list", &resource, &actor, "--action=keys.revoke", "--since=1h"]).await;
    assert_eq!(table.out.lines().count(), 2, "{table:?}");
    assert!(table.out.lines().next().unwrap().starts_with("EVENT  TIME"), "{table:?}");
    assert!(table.out.contains("keys.revoke"), "{table:?}");
    let none = shell.ok(&["audit", "list", "--until=1h"]).await;
    assert_eq!((none.out.as_str(), none.told.as_str()), ("", "No events fit.\n"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_attempts_and_events_of_plugins_are_listed() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let reader = Shell::with(&app, &app.service_token("keystile.read").await);
    let told = reader.refused(&["keys", "revoke", "1"]).await;
    assert!(told.contains("keystile.admin"), "{told}");
    // They are written together, a moment later.
    app.database.until("SELECT count(*) FROM audit_events WHERE refused_reason <> ''").await;
    let refused = shell.ok(&["audit", "list", "--refused"]).await;
    assert!(refused.out.contains("refused: CALLER_SCOPE_MISSING"), "{refused:?}");

    let record = ["audit", "record", "--plugin-id=billing", "--event-type=sync", "--action=write"];
    let recorded = shell.ok(&[&record[..], &["--error=no route", "--duration=120ms"]].concat()).await;
    let event = recorded.row("event");
    let events = shell.json(&["audit", "list", "--plugin-id=billing"]).await["events"].clone();
    assert_eq!(events[0]["event_id"].to_string(), event);
    assert_eq!(events[0]["plugin_event"]["error_message"], "no route");
    assert_eq!(events[0]["plugin_event"]["success"], false);
    let table = shell.ok(&["audit", "list", "--plugin-id=billing"]).await;
    assert!(table.out.contains("billing sync write, failed"), "{table:?}");
    app.stop().await;
}
