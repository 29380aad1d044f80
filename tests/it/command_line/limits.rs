//! How rate limits stand: `keys get`, `owners get` and `introspect`.

use super::terminal::on_terminal;
use super::{Shell, named};
use crate::harness::{App, eventually};

const USED: &str = "[#######-------------]  2 of 6 used, whole again in ";
const OF_OWNER: &str = "[####----------------]  2 of 10 used, whole again in ";

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shown_with_a_bar_after_use() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "a").await;
    let unlimited = shell.ok(&["keys", "get", &key]).await;
    assert!(!unlimited.out.contains('['), "{unlimited:?}");

    shell.ok(&["keys", "update", &key, "--requests-per-day=6"]).await;
    shell.ok(&["owners", "limits", "4", "--requests-per-hour=10"]).await;
    let whole = shell.ok(&["keys", "get", &key]).await;
    assert_eq!(whole.row("requests / day"), "[--------------------]  0 of 6 used");
    assert!(!whole.out.contains("enforced"), "{whole:?}");
    for _ in 0..2 {
        let answer = shell.run_with(&["authorize"], &token).await;
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    // What the replica holds beyond what was used comes back.
    eventually("what is not used is back", async || {
        let (key, owner) = (shell.ok(&["keys", "get", &key]).await, shell.ok(&["owners", "get", "4"]).await);
        key.row("requests / day").starts_with(USED) && owner.row("requests / hour").starts_with(OF_OWNER)
    })
    .await;
    let shown = [shell.ok(&["keys", "get", &key]).await, shell.run_with(&["introspect"], &token).await];
    for ran in shown {
        assert!(ran.row("requests / day").starts_with(USED), "{ran:?}");
        assert!(ran.row("owner's requests / hour").starts_with(OF_OWNER), "{ran:?}");
        assert_eq!((ran.row("requests"), ran.told.as_str()), ("6 a day".to_owned(), ""));
    }
    let json = shell.json(&["keys", "get", &key]).await["rate_limits"].clone();
    let [of_key, of_owner] = json.as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!((&of_key["metric"], &of_key["subject"]), (&"REQUESTS".into(), &"KEY".into()));
    assert_eq!((&of_key["limit"], &of_key["remaining"]), (&6.into(), &4.into()));
    assert_eq!((&of_key["window"], &of_owner["subject"]), (&"86400s".into(), &"OWNER".into()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_are_of_blocks_where_a_terminal_has_them() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    shell.ok(&["keys", "update", &key, "--requests-per-minute=60"]).await;
    let get = ["keys", "get", &key];
    let (_, blocks) = on_terminal(&shell, &get, "", &[("LC_ALL", "C.UTF-8")]).await;
    assert!(blocks.contains("requests / minute  [░░░░░░░░░░░░░░░░░░░░]  0 of 60 used"), "{blocks}");
    for plain in [&[("LC_ALL", "C")][..], &[("LC_ALL", "C.UTF-8"), ("TERM", "dumb")]] {
        let (_, ascii) = on_terminal(&shell, &get, "", plain).await;
        assert!(ascii.contains("requests / minute  [--------------------]  0 of 60 used"), "{ascii}");
    }
    app.stop().await;
}
