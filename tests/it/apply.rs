//! `keystile keys apply`, the program itself: what it shows, what it changes, and that it changes nothing twice.

mod between;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keystile::grpc::pb;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::between::Between;
use crate::harness::{App, Process, denial};

/// Files, a service, and the program on both.
struct Scene {
    app: App,
    dir: TempDir,
}

struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Scene {
    async fn new() -> Self {
        Self { app: App::start().await, dir: TempDir::new().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn tokens(&self) -> PathBuf {
        self.dir.path().join("tokens")
    }

    async fn apply(&self, args: &[&str]) -> Outcome {
        self.apply_at(&self.app.address().to_string(), args).await
    }

    /// `keystile keys apply -f keys.yaml …` in the directory of the files.
    async fn apply_at(&self, server: &str, args: &[&str]) -> Outcome {
        let mut command = Process::command();
        command.current_dir(self.dir.path()).args(["keys", "apply", "-f", "keys.yaml"]).args(args);
        command.env("KEYSTILE_SERVER", server).env("KEYSTILE_TOKEN", &self.app.admin_token);
        // The service runs in this process, and goes on.
        let output = tokio::task::spawn_blocking(|| Process::run(command)).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// All that changes leave a trace in. (Counts of uses come and go by themselves.)
    async fn state(&self) -> Vec<String> {
        let mut state = self.app.database.dump("api_keys").await;
        state.extend(self.app.database.dump("change_log").await);
        state
    }

    async fn create(&self, name: &str) -> pb::Key {
        let key = pb::Key {
            user_id: 4,
            display_name: name.into(),
            description: "before".into(),
            tags: vec!["kept".into(), "old".into()],
            ..Default::default()
        };
        self.app.create(key).await.0
    }

    async fn get(&self, key_id: i64) -> pb::Key {
        let get = pb::GetKeyRequest { key_id, ..Default::default() };
        self.app.keys().get_key(get).await.unwrap().into_inner().key.unwrap()
    }
}

const FILE: &str = "keys:
- user_id: 4
  name: new one
  template: default
  tags: []
  models: ['gpt-4o*']
  expire_time: 2099-01-01T00:00:00Z
- user_id: 4
  name: web
  description: after
  tags: [kept, new]
  metadata: {team: shop}
  permissions: [read]
  scopes: [chat.*]
  models: [o3]
  endpoints: ['POST,GET /v1/files/*']
  ips: ['::ffff:10.0.0.1', 10.1.0.0/16]
  chatbots: []
  rate_limits: {requests: {per_minute: 5}}
  observe: [ips]
  expire_time: 2098-01-01T00:00:00Z
  state: active
- user_id: 4
  name: leaked
  state: revoked
  revoke_reason: in a log
- {user_id: 4, name: gone, state: absent}
- {user_id: 4, name: never there, state: absent}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_made_so_and_a_second_run_changes_nothing() {
    let scene = Scene::new().await;
    let (web, leaked) = (scene.create("web").await, scene.create("leaked").await);
    let (gone, other) = (scene.create("gone").await, scene.create("other").await);
    let revoke = pb::RevokeKeyRequest { key_id: web.key_id, ..Default::default() };
    scene.app.keys().revoke_key(revoke).await.unwrap();
    scene.write("keys.yaml", FILE);

    let before = scene.state().await;
    let dry = scene.apply(&["--dry-run"]).await;
    assert_eq!(dry.code, Some(1), "{}", dry.err);
    let summary = "1 to create, 1 to change, 1 to revoke, 1 to delete, 1 unchanged\n";
    assert!(dry.out.ends_with(summary), "{}", dry.out);
    assert!(dry.err.contains("by --token-dir"), "{}", dry.err);
    assert!(dry.out.contains(
        "    ~ description  \"before\" → \"after\"\n    - tags         old\n    + tags         new\n"
    ));
    assert!(!dry.out.contains('\u{1b}'), "no colour off a terminal");
    let no_terminal = scene.apply(&["--token-dir=tokens"]).await;
    assert_eq!(no_terminal.code, Some(2));
    assert!(no_terminal.err.contains("no terminal to ask on"), "{}", no_terminal.err);
    let no_place = scene.apply(&["--yes"]).await;
    assert_eq!(no_place.code, Some(2));
    assert!(no_place.err.contains("by --token-dir"), "{}", no_place.err);
    assert_eq!(scene.state().await, before, "nothing was changed so far");

    let made = scene.apply(&["--yes", "--token-dir=tokens"]).await;
    assert_eq!(made.code, Some(0), "{}{}", made.out, made.err);
    let path = scene.tokens().join("4-new%20one.token");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&path).unwrap().trim().to_owned();
    assert!(!made.out.contains(&token) && !made.err.contains(&token));
    let asked = pb::AuthorizeRequest { model: "gpt-4o-mini".into(), ..Default::default() };
    assert_eq!(denial(&scene.app.ask(&token, asked).await), None);

    let web = scene.get(web.key_id).await;
    assert_eq!((web.state(), web.description.as_str()), (pb::key::State::Active, "after"));
    assert_eq!(web.ips.unwrap().patterns, ["10.0.0.1", "10.1.0.0/16"]);
    assert_eq!(scene.get(leaked.key_id).await.revoke_reason, "in a log");
    assert_eq!(scene.get(gone.key_id).await.state(), pb::key::State::Deleted);
    assert_eq!(scene.get(other.key_id).await, other, "keys that no entry means are left alone");
    let new =
        scene.app.database.json("SELECT tags, scopes FROM api_keys WHERE display_name = 'new one'").await;
    assert_eq!(new[0]["tags"], json!([]), "what is given as empty is empty, whatever the template has");
    assert!(new[0]["scopes"].as_array().unwrap().contains(&json!("chat.completions")));

    let after = scene.state().await;
    for args in [["--yes", "--token-dir=tokens"], ["--dry-run", "--output=table"]] {
        let again = scene.apply(&args).await;
        assert_eq!(again.code, Some(0), "{}{}", again.out, again.err);
        assert_eq!(again.out, "0 to create, 0 to change, 0 to revoke, 0 to delete, 5 unchanged\n");
    }
    assert_eq!(scene.state().await, after);
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_are_told_at_once_and_nothing_is_done() {
    let scene = Scene::new().await;
    scene.create("twice").await;
    scene.create("twice").await;
    scene.write(
        "keys.yaml",
        "keys:\n- {user_id: 4, name: new, modles: any}\n- {user_id: 4, name: b, ips: [10.0.0.1/8]}\n",
    );
    let before = scene.state().await;
    let refused = scene.apply(&["--yes", "--token-dir=tokens"]).await;
    assert_eq!(refused.code, Some(2));
    for words in [
        "error: 2 faults:",
        "keys.yaml:2:27: a key has no field modles",
        "keys.yaml:3:31: a member of ips must",
    ] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }

    scene.write(
        "keys.yaml",
        "keys:\n- {user_id: 4, name: new}\n- {user_id: 4, name: twice}\n- {key_id: 99}\n",
    );
    let refused = scene.apply(&["--yes", "--token-dir=tokens"]).await;
    assert_eq!(refused.code, Some(2));
    let words = ["error: 2 faults:", "say which one by key_id: 2, 3", "there is no key 99"];
    assert!(words.iter().all(|words| refused.err.contains(words)), "{}", refused.err);

    scene.write("keys.yaml", "keys:\n- {user_id: 4, name: new}\n");
    fs::create_dir(scene.tokens()).unwrap();
    fs::write(scene.tokens().join("4-new.token"), "old").unwrap();
    let refused = scene.apply(&["--yes", "--token-dir=tokens"]).await;
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("is there already"), "{}", refused.err);
    assert_eq!(scene.state().await, before);
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_changed_since_it_was_shown_is_left_alone_and_the_others_are_changed() {
    let scene = Scene::new().await;
    let (raced, calm) = (scene.create("raced").await, scene.create("calm").await);
    let file = "keys:\n- {user_id: 4, name: raced, description: mine}\n- {user_id: 4, name: calm, description: mine}\n";
    scene.write("keys.yaml", file);
    // Somebody else is quicker than the second call.
    let grant = pb::AddGrantsRequest {
        key_id: raced.key_id,
        grants: Some(pb::Grants { tags: vec!["theirs".into()], ..Default::default() }),
        ..Default::default()
    };
    let between = Between::start(&scene.app).await;
    let mut keys = scene.app.keys();
    between.after("ListKeys", async move { keys.add_grants(grant).await.map(|_| ()) });

    let output = scene.apply_at(&between.address, &["--yes", "-o", "json"]).await;
    assert_eq!(output.code, Some(2), "{}{}", output.out, output.err);
    assert!(output.err.contains("has changed meanwhile. Nothing of it was changed."), "{}", output.err);
    let result: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&result["keys"][0]["done"], &result["keys"][1]["done"]), (&json!(false), &json!(true)));
    assert_eq!(result["failed"], 1);
    let raced = scene.get(raced.key_id).await;
    assert_eq!((raced.description.as_str(), raced.tags.contains(&"theirs".to_owned())), ("before", true));
    assert_eq!(scene.get(calm.key_id).await.description, "mine");

    let again = scene.apply(&["--yes"]).await;
    assert_eq!(again.code, Some(0), "{}{}", again.out, again.err);
    assert_eq!(scene.get(raced.key_id).await.description, "mine");
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_no_second_key_and_the_key_gets_a_token_that_works() {
    let scene = Scene::new().await;
    scene.write("keys.yaml", "keys:\n- {user_id: 4, name: ci}\n");
    let between = Between::start(&scene.app).await;
    between.lose_answer_of("CreateKey");
    let made = scene.apply_at(&between.address, &["--yes", "--token-dir=tokens"]).await;
    assert_eq!(made.code, Some(0), "{}{}", made.out, made.err);
    assert_eq!(between.calls("CreateKey"), 2);
    assert_eq!(scene.app.database.number("SELECT count(*) FROM api_keys WHERE user_id = 4").await, 1);
    let token = fs::read_to_string(scene.tokens().join("4-ci.token")).unwrap();
    assert_eq!(scene.app.reason(token.trim()).await, None);
    scene.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_from_stdin_and_directories_too() {
    let scene = Scene::new().await;
    scene.create("a").await;
    scene.write("keys.yaml", "keys: [{user_id: 4, name: a, description: x}]\n");
    fs::create_dir(scene.dir.path().join("more")).unwrap();
    scene.write("more/b.yml", "keys: [{user_id: 4, name: a, description: y}]\n");
    let twice = scene.apply(&["-f", "more", "--dry-run"]).await;
    assert!(twice.err.contains("more/b.yml:1:8: this key stands at keys.yaml:1:8 already"), "{}", twice.err);
    let empty = scene.apply(&["-f", "-", "--dry-run", "-o", "json"]).await;
    assert_eq!(empty.code, Some(1), "{}", empty.err);
    let plan: Value = serde_json::from_str(&empty.out).unwrap();
    let change = json!({ "field": "description", "from": "before", "to": "x" });
    assert_eq!(
        (&plan["keys"][0]["action"], &plan["keys"][0]["fields"]),
        (&json!("change"), &json!([change]))
    );
    assert!(Path::new(plan["keys"][0]["place"].as_str().unwrap()).starts_with("keys.yaml:1:8"));
    scene.app.stop().await;
}
