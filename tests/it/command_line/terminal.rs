//! What differs on a terminal: questions, colours, and tables that fit.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Shell, named};
use crate::harness::App;

const COLUMNS: u16 = 60;

/// Runs a command on a terminal of 60 columns, types `typed`, and returns its exit code and all that it showed.
pub async fn on_terminal(
    shell: &Shell,
    args: &[&str],
    typed: &str,
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let side = || Stdio::from(terminal.try_clone().unwrap());
    let mut command = shell.command(args);
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
    command.stdin(side()).stdout(side()).stderr(side());
    let mut child = command.spawn().unwrap();
    // The command's ends of the terminal are the last ones: when it ends, so does what is read.
    drop((command, terminal));
    let mut master = File::from(master);
    master.write_all(typed.as_bytes()).unwrap();
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        let mut part = [0; 4096];
        // The end of a terminal is an error (EIO) on Linux.
        while let Ok(count @ 1..) = master.read(&mut part) {
            shown.extend_from_slice(&part[..count]);
        }
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    });
    let ended = tokio::task::spawn_blocking(move || (child.wait().unwrap().code(), reading.join().unwrap()));
    ended.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_asks_first() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (key, token) = named(&app, "a").await;
    let (code, shown) = on_terminal(&shell, &["keys", "delete", &key], "n\n", &[]).await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains(&format!("Delete key {key}? [y/N] ")), "{shown}");
    assert!(shown.contains("Nothing was changed."), "{shown}");
    assert!(shell.may(&token).await);
    let (code, shown) = on_terminal(&shell, &["keys", "delete", &key], "y\n", &[]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shell.may(&token).await);
    shell.ok(&["keys", "undelete", &key]).await;
    let (code, shown) = on_terminal(&shell, &["keys", "delete", "--yes", &key], "", &[]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains('?'), "{shown}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_an_owner_asks_with_the_number_of_its_keys() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    let (_, token) = named(&app, "a").await;
    let (code, shown) = on_terminal(&shell, &["owners", "disable", "4"], "\n", &[]).await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("Disable owner 4 and stop its key? [y/N] "), "{shown}");
    assert!(shell.may(&token).await);
    let (_, shown) = on_terminal(&shell, &["owners", "disable", "44"], "\n", &[]).await;
    assert!(shown.contains("Owner 44 has no keys yet."), "{shown}");
    let (code, _) = on_terminal(&shell, &["owners", "disable", "-y", "4"], "", &[]).await;
    assert_eq!(code, Some(0));
    assert!(!shell.may(&token).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_have_colours_and_tables_fit() {
    let app = App::start().await;
    let shell = Shell::of(&app);
    named(&app, "a name that is much too long for such a narrow terminal as this one is").await;
    let list = ["keys", "list", "--user-id=4"];
    let (_, shown) = on_terminal(&shell, &list, "", &[]).await;
    assert!(shown.contains("\u{1b}[32mACTIVE\u{1b}[0m"), "{shown}");
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (_, shown) = on_terminal(&shell, &list, "", &[plain]).await;
        assert!(!shown.contains('\u{1b}') && shown.contains("ACTIVE"), "{plain:?}: {shown}");
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= usize::from(COLUMNS)), "{shown}");
        assert!(shown.contains('…'), "{shown}");
    }
    let piped = shell.ok(&list).await.out;
    assert!(piped.contains("as this one is") && !piped.contains('\u{1b}'), "{piped}");
    app.stop().await;
}
