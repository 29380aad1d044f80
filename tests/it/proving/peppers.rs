//! Peppers: rotated in order, or lost.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::{digests, runs};
use crate::harness::{App, TestDatabase, eventually, new_token};

/// A place for peppers files, and one administrator for the services that are started in turn.
struct Installation {
    database: TestDatabase,
    admin_token: String,
    dir: TempDir,
}

impl Installation {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { database: TestDatabase::new().await, admin_token: new_token(), dir }
    }

    /// The service with these peppers (id and the byte that its secret repeats), the first one current. The
    /// administrator's token is proven already.
    async fn start(&self, peppers: &[(&str, u8)]) -> App {
        let path: PathBuf = self.dir.path().join("peppers.toml");
        let lines =
            peppers.iter().map(|(id, byte)| format!("\"{id}\" = \"{}\"\n", STANDARD.encode([*byte; 32])));
        let text = format!("current = \"{}\"\n[peppers]\n{}", peppers[0].0, lines.collect::<String>());
        std::fs::write(&path, text).unwrap();
        let flag = format!("--peppers-file={}", path.display());
        let builder = App::builder().database(&self.database).admin_token(&self.admin_token);
        let app = builder.flags([&flag]).start().await;
        assert!(app.reason("nobody's token").await.is_some());
        app
    }
}

/// How often bcrypt runs while these tokens are used, which all work.
async fn bcrypts(app: &App, tokens: &[&str]) -> u64 {
    let before = runs(app);
    for token in tokens {
        assert_eq!(app.reason(token).await, None);
    }
    runs(app) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_pepper_bcrypt_proves_every_key_once_more() {
    let installation = Installation::new().await;
    let app = installation.start(&[("old", 1)]).await;
    let (key, token) = app.create_any().await;
    assert_eq!(bcrypts(&app, &[&token, &token]).await, 0, "own keys have their digest from birth");
    app.stop().await;

    let app = installation.start(&[("new", 2)]).await;
    assert_eq!(bcrypts(&app, &[&token]).await, 1);
    assert_eq!(bcrypts(&app, &[&token, &token]).await, 0, "its new digest is stored");
    assert_eq!(digests(&installation.database, key.key_id).await, 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pepper_that_was_lost_and_made_anew_under_the_same_id_locks_nobody_out() {
    let installation = Installation::new().await;
    let app = installation.start(&[("pepper", 1)]).await;
    let (_, token) = app.create_any().await;
    app.stop().await;

    let app = installation.start(&[("pepper", 2)]).await;
    assert_eq!(bcrypts(&app, &[&token]).await, 1);
    assert_eq!(bcrypts(&app, &[&token]).await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pepper_is_rotated_without_any_bcrypt() {
    let installation = Installation::new().await;
    let app = installation.start(&[("old", 1)]).await;
    let (first_key, first) = app.create_any().await;
    let (_, unseen) = app.create_any().await;
    app.stop().await;

    let app = installation.start(&[("old", 1), ("new", 2)]).await;
    let (second_key, second) = app.create_any().await;
    assert_eq!(bcrypts(&app, &[&first, &second]).await, 0, "the new one is accepted everywhere first");
    app.stop().await;

    let app = installation.start(&[("new", 2), ("old", 1)]).await;
    let (_, third) = app.create_any().await;
    assert_eq!(bcrypts(&app, &[&first, &second, &third]).await, 0, "then it becomes current");
    for key in [first_key, second_key] {
        eventually("whose token was seen has a digest under it", async || {
            digests(&installation.database, key.key_id).await == 2
        })
        .await;
    }
    app.stop().await;

    let app = installation.start(&[("new", 2)]).await;
    assert_eq!(bcrypts(&app, &[&first, &second, &third]).await, 0, "the old one can go");
    assert_eq!(bcrypts(&app, &[&unseen]).await, 1, "who was not seen meanwhile is proven once more");
    assert_eq!(bcrypts(&app, &[&unseen]).await, 0);
    app.stop().await;
}
