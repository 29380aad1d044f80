//! `--watch` and `--follow`: shown again and again, until Ctrl-C.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;

use super::{Shell, named};
use crate::harness::{App, Process};

/// How long a line is waited for: only a test that would fail waits so long.
const LINE_MAX: Duration = Duration::from_secs(60);

/// A command that goes on, and its lines as they come.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    fn start(shell: &Shell, args: &[&str]) -> Self {
        let mut command = shell.command(args);
        command.arg("--watch-every=20ms");
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line that fits.
    fn line(&self, fits: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(LINE_MAX).expect("a line that fits");
            if fits(&line) {
                return line;
            }
        }
    }

    /// Ctrl-C, the exit code, and what was told on stderr, where that is piped.
    fn interrupt_for_notes(mut self) -> (Option<i32>, String) {
        let mut stderr = self.child.stderr.take().unwrap();
        let code = self.interrupt();
        let mut told = String::new();
        stderr.read_to_string(&mut told).unwrap();
        (code, told)
    }

    /// Ctrl-C, and the exit code.
    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_list_shows_what_changes_until_it_is_interrupted() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "watched").await;
    for args in [&["keys", "list", "--watch"][..], &["keys", "get", &key, "--watch", "-o", "json"]] {
        let watching = Watching::start(&shell, args);
        watching.line(|line| line.contains("ACTIVE") && !line.contains("admin"));
        shell.ok(&["keys", "revoke", &key]).await;
        watching.line(|line| line.contains("REVOKED"));
        assert_eq!(watching.interrupt(), Some(0), "{args:?}");
        shell.ok(&["keys", "reactivate", &key]).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watched_health_tells_that_a_server_went_away() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let watching = Watching::start(&shell, &["health", "--watch"]);
    watching.line(|line| line == "SERVING");
    app.stop().await;
    watching.line(|line| line == "UNREACHABLE");
    assert_eq!(watching.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_watching() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let mut command = shell.command(&["health", "--watch", "--watch-every=5ms"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_audit_log_shows_each_new_event_once() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, _) = named(&app, "a").await;
    let following = Watching::start(&shell, &["audit", "list", "--follow", "-o", "json"]);
    following.line(|line| line.contains("keys.create"));
    let mut shown = 0;
    for command in ["revoke", "reactivate", "delete", "undelete"] {
        shell.ok(&["keys", command, &key]).await;
        let action = format!("\"keys.{command}\"");
        let line = following.line(|line| line.contains(&action));
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(event["event_id"].as_i64().unwrap() > shown, "events come in order, each once");
        shown = event["event_id"].as_i64().unwrap();
    }
    assert_eq!(following.interrupt(), Some(0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_begins_with_the_last_events_however_far_back_they_are() {
    let app = App::start().await;
    let rare = "INSERT INTO audit_events (event_at, actor, action, resource, peer_address, request_id, revision, \
                refused_reason) SELECT now() - n * interval '1 second', 'key/7', \
                CASE WHEN n > 10000 THEN 'rare' ELSE 'usual' END, '', '', 'r' || n, 0, '' \
                FROM generate_series(1, 10012) n";
    app.database.sql(rare).await;
    let shell = Shell::of(&app);
    let args = ["audit", "list", "--follow", "--actor=key/7", "--action=rare", "-o", "json"];
    let following = Watching::start(&shell, &args);
    let first = following.line(|line| line.contains("rare"));
    assert!(first.contains("\"r10010\""), "ten of twelve, oldest first: {first}");
    let new = "INSERT INTO audit_events (actor, action, resource, peer_address, request_id, revision, refused_reason) \
               VALUES ('key/7', 'rare', '', '', 'new', 0, '')";
    app.database.sql(new).await;
    following.line(|line| line.contains("\"new\""));
    assert_eq!(following.interrupt(), Some(0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watched_keys_are_shown_as_they_change_and_none_is_left_out_when_the_server_restarts() {
    let app = App::start().await;
    let url = app.database.url();
    let settings = [("KEYSTILE_DATABASE_URL", url.as_str()), ("KEYSTILE_ALLOW_DATA_LOSS", "true")];
    let mut server = block_in_place(|| Process::serve(&settings));
    let shell = Shell { address: server.address.clone(), ..Shell::of(&app) };
    let from = app.database.number("SELECT revision FROM revision_counter").await;
    let after = format!("--after-revision={from}");
    let mut command = shell.command(&["keys", "watch", &after, "-o", "json"]);
    command.stderr(Stdio::piped());
    let watching = Watching::of(command);
    let (first, _) = named(&app, "first").await;
    let shown = |line: String| {
        let change: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(change["change"], "KEY_CHANGED");
        (change["revision"].as_i64().unwrap(), change["key"]["key_id"].to_string())
    };
    assert_eq!(shown(watching.line(|_| true)), (from + 1, first));
    server.kill();
    let (missed, _) = named(&app, "missed").await;
    let address = server.address.clone();
    let again = [settings[0], settings[1], ("KEYSTILE_LISTEN", address.as_str())];
    let _server = block_in_place(|| Process::serve(&again));
    assert_eq!(shown(watching.line(|_| true)), (from + 2, missed));
    let (code, told) = watching.interrupt_for_notes();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("goes on after revision {}", from + 1)), "{told}");

    let people = Watching::of(shell.command(&["keys", "watch", &after]));
    assert!(people.line(|_| true).starts_with("REVISION  "));
    assert!(people.line(|_| true).ends_with("ACTIVE          first"));
    assert!(people.line(|_| true).ends_with("ACTIVE          missed"));
    assert_eq!(people.interrupt(), Some(0));
    let refused = shell.refused(&["keys", "watch", &format!("--after-revision={}", from + 9)]).await;
    assert!(refused.contains("has not come yet") && refused.contains("keystile keys list"), "{refused}");
    app.stop().await;
}
