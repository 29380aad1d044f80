//! The program as it is run: environment, exit codes, streams.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

/// The program in an empty environment and without a home.
fn keystile(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystile"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What `check-config` shows of one setting.
fn setting(name: &str, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = keystile(&["check-config", "-o", "json", "--data-dir=/srv"]);
    let (code, shown, told) = run(command.args(args).envs(variables.iter().copied()));
    assert_eq!((code, told.as_str()), (Some(0), ""));
    let settings: Vec<serde_json::Value> = serde_json::from_str(&shown).unwrap();
    let row = settings.into_iter().find(|row| row["setting"] == name).unwrap();
    row["value"].as_str().unwrap().to_owned()
}

#[test]
fn switches_are_read_from_variables_too() {
    for (word, value) in
        [("true", "true"), ("1", "true"), ("yes", "true"), ("false", "false"), ("0", "false")]
    {
        assert_eq!(setting("auto-migrate", &[], &[("KEYSTILE_AUTO_MIGRATE", word)]), value, "{word}");
        assert_eq!(setting("no-auth", &[], &[("KEYSTILE_NO_AUTH", word)]), value, "{word}");
    }
    assert_eq!(setting("no-auth", &["--no-auth"], &[("KEYSTILE_NO_AUTH", "false")]), "true");
}

#[test]
fn empty_variables_and_those_of_kubernetes_are_nothing() {
    let variables = [
        ("KEYSTILE_LISTEN", ""),
        ("KEYSTILE_POOL_SIZE", ""),
        ("KEYSTILE_NO_AUTH", ""),
        ("KEYSTILE_OBSERVE", ""),
        ("KEYSTILE_PEPPERS_FILE", ""),
        ("KEYSTILE_DATABASE_URL", ""),
        ("KEYSTILE_DATABASE_URL_FILE", ""),
        ("DATABASE_URL", ""),
        ("KEYSTILE_PORT", "tcp://10.0.0.1:50051"),
        ("KEYSTILE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("KEYSTILE_SERVICE_HOST", "10.0.0.1"),
        ("KEYSTILE_SERVICE_PORT", "50051"),
    ];
    assert_eq!(setting("listen", &[], &variables), "127.0.0.1:50051");
    assert_eq!(setting("pool-size", &[], &variables), "16");
    assert_eq!(setting("database-url", &[], &variables), "none: a private PostgreSQL in /srv");
}

#[test]
fn a_setting_is_shown_with_what_another_one_makes_of_it() {
    assert_eq!(setting("data-dir", &[], &[]), "/srv");
    let url = [("KEYSTILE_DATABASE_URL", "postgres://h/d")];
    assert_eq!(setting("data-dir", &[], &url), "/srv (unused: there is a database-url)");
    assert_eq!(setting("tls-client-auth", &[], &[]), "none");
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let put = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (put("crt", made.cert.pem()), put("key", made.signing_key.serialize_pem()));
    let mutual = [
        ("KEYSTILE_TLS_CERT_FILE", cert.as_str()),
        ("KEYSTILE_TLS_KEY_FILE", &key),
        ("KEYSTILE_TLS_CLIENT_CA_FILE", &cert),
    ];
    assert_eq!(setting("tls-client-auth", &[], &mutual), "required");
    assert_eq!(setting("tls-client-auth", &["--tls-client-auth=optional"], &mutual), "optional");
}

#[test]
fn a_database_url_comes_from_its_variable_its_file_or_the_platforms_variable() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"postgres://me:sesame@host/keys\n").unwrap();
    let path = file.path().to_str().unwrap();
    for variables in [
        vec![("KEYSTILE_DATABASE_URL", "postgres://h/d"), ("DATABASE_URL", "mysql://h/d")],
        vec![("KEYSTILE_DATABASE_URL_FILE", path), ("DATABASE_URL", "mysql://h/d")],
        vec![("DATABASE_URL", "postgres://h/d")],
    ] {
        let shown = setting("database-url", &[], &variables);
        assert!(["postgres://h/d", "postgres://me:***@host/keys"].contains(&shown.as_str()), "{shown}");
    }
    // A flag wins over all of them.
    let args = ["--database-url=postgres://h/d"];
    for variable in ["KEYSTILE_DATABASE_URL", "DATABASE_URL"] {
        assert_eq!(setting("database-url", &args, &[(variable, "mysql://h/d")]), "postgres://h/d");
    }
}

#[test]
fn every_fault_is_told_at_once_by_the_name_of_its_variable() {
    let mut command = keystile(&["check-config", "--bcrypt-cost=99"]);
    let (code, shown, told) = run(command
        .env("KEYSTILE_LISTEN", "here")
        .env("KEYSTILE_POOL_SIZE", "1")
        .env("KEYSTILE_NO_AUTH", "maybe")
        .env("KEYSTILE_LOG_FORMAT", "xml")
        .env("KEYSTILE_DATABASE_URL", "mysql://me:sesame@host/keys")
        .env("KEYSTILE_DATABASE_URL_FILE", "/nowhere"));
    assert_eq!((code, shown.as_str()), (Some(78), ""));
    assert!(told.starts_with("error: 6 settings are wrong:\n"), "{told}");
    for name in [
        "KEYSTILE_DATABASE_URL_FILE: KEYSTILE_DATABASE_URL is set too",
        "KEYSTILE_LISTEN: \"here\": must be an IP address",
        "KEYSTILE_NO_AUTH: \"maybe\"",
        "KEYSTILE_POOL_SIZE: 1 is not in 2..=1000",
        "KEYSTILE_LOG_FORMAT: \"xml\": must be one of pretty, json",
        "--bcrypt-cost: a bcrypt cost is 4 to 14, not 99",
    ] {
        assert!(told.contains(name), "{name}: {told}");
    }
    assert!(!told.contains("sesame"), "{told}");
}

#[test]
fn faults_of_one_value_and_of_several_are_told_together() {
    let mut command = keystile(&["check-config", "--data-dir=/srv"]);
    let (code, _, told) = run(command
        .env("KEYSTILE_LISTEN", "0.0.0.0:1")
        .env("KEYSTILE_NO_AUTH", "true")
        .env("KEYSTILE_POOL_SIZE", "many")
        .env("KEYSTILE_PEPPERS_FILE", "/nowhere"));
    assert_eq!(code, Some(78));
    assert!(told.starts_with("error: 3 settings are wrong:\n"), "{told}");
    for name in
        ["KEYSTILE_POOL_SIZE: ", "KEYSTILE_NO_AUTH: lets every caller", "KEYSTILE_PEPPERS_FILE: cannot read"]
    {
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[test]
fn without_a_server_every_client_command_says_so_and_fails() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let token_out = format!("--token-out={}", dir.path().join("token").display());
    for args in [
        vec!["health"],
        vec!["keys", "list"],
        vec!["keys", "get", "1"],
        vec!["keys", "revoke", "1", "2"],
        vec!["keys", "create", "--user-id=1", "--name=a", &token_out],
        vec!["keys", "grant", "1", "--tag=a"],
        vec!["keys", "update", "1", "--name=a"],
        vec!["keys", "rotate", "1", &token_out],
        vec!["keys", "delete", "1"],
        vec!["keys", "lookup"],
        vec!["keys", "list", "--watch"],
        vec!["owners", "disable", "1"],
        vec!["owners", "limits", "1", "--no-rate-limits"],
        vec!["audit", "list"],
        vec!["audit", "list", "--follow"],
        vec!["audit", "record", "--plugin-id=a", "--event-type=b"],
        vec!["authorize"],
        vec!["filter-models", "a"],
        vec!["introspect"],
    ] {
        let (code, shown, told) = run(keystile(&args).env("KEYSTILE_SERVER", address.to_string()));
        assert_eq!((code, shown.as_str()), (Some(2), ""), "{args:?}");
        let expected = format!("error: No server answers at http://{address}: Connection refused");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.contains("keystile serve"), "{told}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "a token file without a token");
}

#[test]
fn a_server_that_never_answers_is_given_up_on() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, _, told) = run(&mut keystile(&["keys", "list", "--timeout=50ms", "--server", &address]));
    assert_eq!(code, Some(2));
    assert!(told.starts_with("error: The server did not answer in time.\n"), "{told}");
}

#[test]
fn a_caller_has_one_token() {
    let mut command = keystile(&["keys", "list"]);
    let (code, _, told) = run(command.env("KEYSTILE_TOKEN", "a").env("KEYSTILE_TOKEN_FILE", "/nowhere"));
    assert_eq!(code, Some(2));
    assert_eq!(told, "error: KEYSTILE_TOKEN and KEYSTILE_TOKEN_FILE are both set.\nKeep one of the two.\n");
    let (code, _, told) = run(&mut keystile(&["keys", "list", "--token-file=/nowhere"]));
    assert_eq!(code, Some(2));
    assert!(told.starts_with("error: Cannot read a token from /nowhere: No such file"), "{told}");
}

/// A server of nothing but health, for as long as the runtime lives.
fn serve_health(runtime: &Runtime) -> SocketAddr {
    runtime.block_on(async {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("keystile.store", ServingStatus::NotServing).await;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            Server::builder().add_service(health).serve_with_incoming(TcpListenerStream::new(listener)),
        );
        address
    })
}

#[test]
fn health_answers_by_its_exit_code() {
    let runtime = Runtime::new().unwrap();
    let address = serve_health(&runtime).to_string();
    let probe = |args: &[&str]| run(keystile(&["health", "--server", &address]).args(args));
    assert_eq!(probe(&[]), (Some(0), "SERVING\n".into(), String::new()));
    let store = probe(&["--service=keystile.store", "-o", "json"]);
    let json = "{\n  \"service\": \"keystile.store\",\n  \"status\": \"NOT_SERVING\"\n}\n";
    assert_eq!(store, (Some(1), json.into(), String::new()));
    let (code, shown, told) = probe(&["--service=nothing"]);
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(told.starts_with("error: The server knows no service nothing.\n"), "{told}");
}

#[test]
fn what_a_server_does_not_have_is_told_in_a_sentence() {
    let runtime = Runtime::new().unwrap();
    let address = serve_health(&runtime).to_string();
    let (code, shown, told) = run(&mut keystile(&["keys", "list", "--server", &address]));
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(told.ends_with("Leave that out, or ask a newer server.\n"), "{told}");
}

#[test]
fn every_shell_gets_completions_that_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, script, told) = run(&mut keystile(&["completions", shell]));
        assert_eq!((code, told.as_str()), (Some(0), ""), "{shell}");
        for word in ["undelete", "filter-models", "token-out", "expires-before", "owner-disabled"] {
            // elvish and powershell know no values.
            let known = word != "owner-disabled" || !["elvish", "powershell"].contains(&shell);
            assert!(!known || script.contains(word), "{shell}: {word}");
        }
    }
    let (code, _, told) = run(&mut keystile(&["completions", "sh"]));
    assert_eq!(code, Some(2));
    assert!(told.contains("bash"), "{told}");
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let (_, script, _) = run(&mut keystile(&["completions", "bash"]));
    // Too long for an argument.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let script = format!("source {}", file.path().display());
    let completed = |words: &[&str]| {
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let last = words.len() - 1;
        let ask = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD={last}; \
             _keystile keystile \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(completed(&["keystile", "fil"]).trim(), "filter-models");
    assert_eq!(completed(&["keystile", "keys", "und"]).trim(), "undelete");
    assert_eq!(completed(&["keystile", "keys", "list", "--state", "own"]).trim(), "owner-disabled");
    assert!(completed(&["keystile", "keys", "rotate", "--tok"]).contains("--token-out"));
}

#[test]
fn every_command_has_a_manual_page() {
    let (code, page, told) = run(&mut keystile(&["man"]));
    assert_eq!((code, told.as_str()), (Some(0), ""));
    assert!(page.contains(".TH keystile 1") && page.contains("filter\\-models"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    let (code, shown, told) = run(&mut keystile(&["man", "--out", folder.to_str().unwrap()]));
    assert_eq!((code, shown.as_str()), (Some(0), ""));
    let pages = folder.read_dir().unwrap().count();
    assert!(told.starts_with(&format!("{pages} pages are in ")), "{told}");
    for (name, words) in [
        ("keystile", "SUBCOMMANDS"),
        ("keystile-keys-create", "\\-\\-token\\-out"),
        ("keystile-owners-limits", "\\-\\-no\\-rate\\-limits"),
        ("keystile-import-enclava", "\\-\\-source\\-url"),
    ] {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")) && page.contains(words), "{name}: {page}");
    }
    let (code, _, told) = run(&mut keystile(&["man", "--out", "/dev/null/man1"]));
    assert_eq!(code, Some(2));
    assert!(told.starts_with("error: cannot make /dev/null/man1"), "{told}");
}

#[test]
fn the_version_names_the_contract() {
    let (code, shown, _) = run(&mut keystile(&["version"]));
    assert_eq!(code, Some(0));
    assert_eq!(shown, concat!("keystile  ", env!("CARGO_PKG_VERSION"), "\ncontract  keystile.v1\n"));
    let (_, json, _) = run(&mut keystile(&["version", "-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (bash, man) = (vec!["completions", "bash"], vec!["man"]);
    for args in [vec!["check-config", "--data-dir=/srv"], vec!["--help"], bash, man] {
        let mut child = keystile(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn what_is_asked_for_goes_to_stdout_and_what_went_wrong_to_stderr() {
    let (code, shown, told) = run(&mut keystile(&["--version"]));
    let version = concat!("keystile ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((code, shown.as_str(), told.as_str()), (Some(0), version, ""));
    let (code, shown, told) = run(&mut keystile(&["keys", "create"]));
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(
        BufReader::new(told.as_bytes()).lines().next().unwrap().unwrap().starts_with("error: "),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'), "{told}");
}
