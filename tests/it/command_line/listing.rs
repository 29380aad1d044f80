//! `keys list`: filters, orders and ends.

use super::{Shell, named};
use crate::harness::App;

/// The names of the keys in a table, in its order, without the header and without the administrator.
async fn names(shell: &Shell, args: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["keys", "list", "--user-id=4"].into_iter().chain(args.iter().copied()).collect();
    let keys = shell.json(&args).await["keys"].clone();
    keys.as_array().unwrap().iter().map(|key| key["display_name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_and_order_reaches_the_server() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let create = ["keys", "create", "--user-id=4", "--name=chat", "--tag=x", "--metadata=team=search"];
    let create = [&create[..], &["--scope=chat.completions", "--model=gpt-4o*", "--expire=3d"]].concat();
    shell.ok(&create).await;
    let (spare, _) = named(&app, "spare").await;
    shell.ok(&["keys", "update", &spare, "--no-models"]).await;
    for filter in [
        &["--tag=x"][..],
        &["--name=CHA"],
        &["--metadata=team=search"],
        &["--scope=chat.completions"],
        &["--model=gpt-4o-mini"],
        &["--expires-before=7d"],
        &["--expires-after=1d", "--expires-before=7d"],
    ] {
        assert_eq!(names(&shell, filter).await, ["chat"], "{filter:?}");
    }
    for all in
        [&["--created-after=1h"][..], &["--state=active"], &["--last-used-before=1h"], &["--prefix=ks_"]]
    {
        assert_eq!(names(&shell, all).await, ["chat", "spare"], "{all:?}");
    }
    for none in [&["--created-before=1h"][..], &["--last-used-after=1h"], &["--state=revoked"]] {
        assert!(names(&shell, none).await.is_empty(), "{none:?}");
    }
    for order in ["key_id", "create_time", "update_time", "display_name", "expire_time", "last_used_time"] {
        let by = format!("--order-by={order}");
        assert_eq!(names(&shell, &[&by]).await.len(), 2, "{order}");
    }
    assert_eq!(names(&shell, &["--order-by=display_name", "--desc"]).await, ["spare", "chat"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_when_there_is_more_and_when_there_is_nothing() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    for name in ["a", "b", "c"] {
        named(&app, name).await;
    }
    let some = shell.ok(&["keys", "list", "--user-id=4", "--limit=2"]).await;
    assert_eq!(some.out.lines().count(), 3, "{some:?}");
    assert_eq!(some.told, "These are the first 2; there are more: --limit, or --all.\n");
    let all = shell.ok(&["keys", "list", "--user-id=4", "--all", "--wide"]).await;
    assert_eq!((all.out.lines().count(), all.told.as_str()), (4, ""));
    assert!(all.out.contains("ENDPOINTS"), "{all:?}");
    let none = shell.ok(&["keys", "list", "--user-id=5"]).await;
    assert_eq!((none.out.as_str(), none.told.as_str()), ("", "No keys fit.\n"));
    app.stop().await;
}
