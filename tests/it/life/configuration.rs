//! Settings from everywhere, as the program takes them: flag, variable, file, default; and every fault at once.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

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

/// What `check-config` shows of one setting: its value, and where that comes from.
fn setting_and_source(name: &str, args: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let mut command = keystile(&["check-config", "-o", "json", "--data-dir=/srv"]);
    let (code, shown, told) = run(command.args(args).envs(variables.iter().copied()));
    assert_eq!((code, told.as_str()), (Some(0), ""));
    let settings: Vec<serde_json::Value> = serde_json::from_str(&shown).unwrap();
    let row = settings.into_iter().find(|row| row["setting"] == name).unwrap();
    let text = |key: &str| row[key].as_str().unwrap().to_owned();
    (text("value"), text("source"))
}

fn setting(name: &str, args: &[&str], variables: &[(&str, &str)]) -> String {
    setting_and_source(name, args, variables).0
}

/// A configuration file that lives as long as what is returned.
fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

#[test]
fn a_flag_wins_over_its_variable_a_variable_over_the_file_and_the_file_over_the_default() {
    for (name, default, in_file, variable, flag) in [
        ("listen", "127.0.0.1:50051", "\"127.0.0.1:3\"", "127.0.0.1:1", "127.0.0.1:2"),
        ("pool-size", "16", "19", "17", "18"),
        ("bcrypt-cost", "10", "13", "11", "12"),
        ("token-brand", "ks", "\"file\"", "acme", "corp"),
        ("bcrypt-queue", "256", "3", "1", "2"),
        ("observe", "none", "[\"ips\", \"models\"]", "ips", "models,rate_limits"),
        ("drain-delay", "5s", "\"1m\"", "2s", "3s"),
        ("database-wait", "10s", "\"0s\"", "2s", "3s"),
        ("log", "info", "\"debug\"", "warn", "error"),
        ("log-format", "json", "\"pretty\"", "pretty", "json"),
    ] {
        let key = name.replace('-', "_");
        let (_file, path) = file(&format!("# one line before\n{key} = {in_file}\n"));
        let variable_name = format!("KEYSTILE_{}", key.to_uppercase());
        let (config, flag_given) = (format!("--config={path}"), format!("--{name}={flag}"));
        let variables = [(variable_name.as_str(), variable)];
        let of_file = in_file.replace(['[', ']', '"', ' '], "");
        let expect = |args: &[&str], variables: &[(&str, &str)], value: &str, source: &str| {
            assert_eq!(setting_and_source(name, args, variables), (value.into(), source.into()));
        };
        expect(&[], &[], default, "default");
        expect(&[&config], &[], &of_file, &format!("{path}:2"));
        expect(&["--config", &path], &variables, variable, &variable_name);
        expect(&[], &[("KEYSTILE_CONFIG", &path), variables[0]], variable, &variable_name);
        expect(&[&config, &flag_given], &variables, flag, &format!("--{name}"));
    }
}

#[test]
fn every_fault_of_every_place_is_told_at_once_with_its_place() {
    let (_file, path) = file(
        "listen = \"here\"\npool_sise = 3\nno_auth = \"yes\"\nbcrypt_cost = \"10\"\ntoken_brand = 5\n\
         drain_delay = 5\nlog_format = \"xml\"\n[database]\nurl = \"x\"\n",
    );
    let mut command = keystile(&["check-config", "--config", &path, "--bcrypt-queue=-1"]);
    let (code, shown, told) = run(command
        .env("KEYSTILE_POOL_SIZE", "1")
        .env("KEYSTILE_DATABASE_URL", "postgres://me:sesame@host:port/keys"));
    assert_eq!((code, shown.as_str()), (Some(78), ""));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "error: 10 settings are wrong:", "{told}");
    for (fault, start) in [
        (":2: pool_sise: there is no such setting; did you mean pool_size?", &path),
        (":8: database: there are no tables", &path),
        (":1: listen: \"here\": must be an IP address and a port", &path),
        (":3: no_auth: must be true or false", &path),
        (":4: bcrypt_cost: must be a number, without quotes", &path),
        (":5: token_brand: must be a string, in quotes", &path),
        (":6: drain_delay: must be a string, in quotes", &path),
        (":7: log_format: \"xml\": must be one of pretty, json", &path),
        (": 1 is not in 2..=1000", &"KEYSTILE_POOL_SIZE".to_owned()),
        (": \"-1\": must be a number from 0 to 65536", &"--bcrypt-queue".to_owned()),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("  {start}{fault}"))), "{fault}: {told}");
    }
    assert!(!told.contains("sesame"), "{told}");
    let serve = run(keystile(&["serve", "--config", &path, "--bcrypt-queue=-1"])
        .env("KEYSTILE_POOL_SIZE", "1")
        .env("KEYSTILE_DATABASE_URL", "postgres://me:sesame@host:port/keys"));
    assert_eq!(serve, (code, shown, told), "serve says the same");
}

#[test]
fn what_takes_several_values_names_the_place_of_each() {
    let (_file, path) = file("no_auth = true\nlisten = \"0.0.0.0:1\"\npeppers_file = \"/nowhere\"\n");
    let (code, _, told) = run(keystile(&["check-config"]).env("KEYSTILE_CONFIG", &path));
    assert_eq!(code, Some(78));
    for fault in [":1: no_auth: lets every caller do everything", ":3: peppers_file: cannot read /nowhere"] {
        assert!(told.contains(&format!("  {path}{fault}")), "{told}");
    }
    let (_, _, told) = run(keystile(&["check-config", "--no-auth"]).env("KEYSTILE_LISTEN", "0.0.0.0:1"));
    assert!(told.contains("  --no-auth: lets every caller"), "{told}");
}

#[test]
fn a_file_that_is_no_toml_or_cannot_be_read_is_told() {
    let (_file, path) = file("listen = here\npool_size = 1\nlog = \"info\n");
    let (code, _, told) = run(&mut keystile(&["serve", "--config", &path]));
    assert_eq!(code, Some(78));
    for line in [1, 3] {
        assert!(told.contains(&format!("{path}:{line}: not TOML: ")), "{told}");
    }
    let (code, _, told) = run(&mut keystile(&["serve", "--config=/nowhere/k.toml"]));
    let expected =
        "error: 1 setting is wrong:\n  --config: cannot read /nowhere/k.toml: No such file or directory";
    assert_eq!(code, Some(78));
    assert!(told.starts_with(expected), "{told}");
    let (_, _, told) = run(keystile(&["serve"]).env("KEYSTILE_CONFIG", "/nowhere/k.toml"));
    assert!(told.contains("  KEYSTILE_CONFIG: cannot read"), "{told}");
    // Commands that call a server do not read it.
    let (code, _, told) =
        run(keystile(&["health", "--server=127.0.0.1:1"]).env("KEYSTILE_CONFIG", "/nowhere"));
    assert!(code == Some(2) && told.starts_with("error: No server answers"), "{told}");
}

#[test]
fn the_example_of_a_configuration_file_is_taken_with_every_key() {
    let example = include_str!("../../../deploy/keystile.toml");
    let lines =
        example.lines().filter_map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")));
    // Its other way to name a secret.
    let keys: Vec<&str> = lines.filter(|line| !line.starts_with("database_url_file")).collect();
    assert!(keys.len() > 15, "{keys:?}");
    let (_file, path) = file(&keys.join("\n"));
    let (code, _, told) = run(&mut keystile(&["check-config", "--config", &path]));
    let faults: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(code, Some(78), "the files that it names are not there: {told}");
    assert!(
        !faults.is_empty() && faults.iter().all(|fault| fault.contains("cannot read /etc/keystile/")),
        "{told}"
    );
}

#[test]
fn a_secret_in_a_file_of_its_own_is_named_by_the_configuration_file_too() {
    let (_secret, secret_path) = file("postgres://me:sesame@host/keys\n");
    let (_file, path) = file(&format!("database_url_file = \"{secret_path}\"\n"));
    let config = format!("--config={path}");
    let shown = setting_and_source("database-url", &[&config], &[("DATABASE_URL", "postgres://other/d")]);
    assert_eq!(shown, ("postgres://me:***@host/keys".into(), format!("{path}:1: database_url_file")));
    let variables = [("KEYSTILE_DATABASE_URL", "postgres://h/d")];
    assert_eq!(setting("database-url", &[&config], &variables), "postgres://h/d");
    let (_both, path) = file("database_url = \"postgres://h/d\"\ndatabase_url_file = \"/nowhere\"\n");
    let (code, _, told) = run(&mut keystile(&["check-config", "--config", &path]));
    assert_eq!(code, Some(78));
    assert!(told.contains(&format!("{path}:2: database_url_file: database_url is set too")), "{told}");
}

#[test]
fn variables_that_are_no_setting_are_warned_of_but_not_those_of_kubernetes_or_of_other_commands() {
    let (code, shown, told) = run(keystile(&["check-config"])
        .env("HOME", "/nowhere")
        .env("KEYSTILE_POOLSIZE", "sesame")
        .env("KEYSTILE_NONSENSE", "sesame")
        .env("KEYSTILE_PORT_50051_TCP_ADDR", "10.0.0.1")
        .env("KEYSTILE_SERVICE_HOST", "10.0.0.1")
        .env("KEYSTILE_OPS_SERVICE_PORT_METRICS", "9090")
        .env("KEYSTILE_OPS_PORT", "tcp://10.0.0.1:9090")
        .env("KEYSTILE_SERVER", "http://127.0.0.1:1")
        .env("KEYSTILE_TOKEN", "sesame")
        .env("KEYSTILE_IMPORT_SOURCE_URL_FILE", "/nowhere"));
    assert_eq!(code, Some(0));
    let warnings = "warning: KEYSTILE_NONSENSE is no setting\n\
                    warning: KEYSTILE_POOLSIZE is no setting; did you mean KEYSTILE_POOL_SIZE?\n";
    assert_eq!(told, warnings);
    assert!(!shown.contains("sesame"), "{shown}");
}
