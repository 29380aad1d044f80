//! The commands as clap sees them.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;

#[derive(Debug, Parser)]
enum ToCome {
    Migrate(Migrate),
    Bootstrap(Bootstrap),
}

fn commands_of(command: &clap::Command) -> Vec<clap::Command> {
    let below = command.get_subcommands().flat_map(commands_of);
    [command.clone()].into_iter().chain(below).collect()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
    ToCome::command().debug_assert();
}

#[test]
fn every_command_and_argument_has_help_and_every_leaf_examples() {
    for root in [Cli::command(), ToCome::command()] {
        for command in commands_of(&root).iter().skip(1) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            let is_leaf = command.get_subcommands().next().is_none();
            assert!(!is_leaf || command.get_after_help().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
            }
        }
    }
}

#[test]
fn no_flag_takes_a_token() {
    let flags: BTreeSet<_> = commands_of(&Cli::command())
        .iter()
        .flat_map(|command| {
            command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect::<Vec<_>>()
        })
        .filter(|flag| flag.contains("token"))
        .collect();
    let files_brands_and_counts = [
        "bootstrap-token-file",
        "estimated-tokens",
        "judged-token-file",
        "leaked-token-file",
        "no-token",
        "token-brand",
        "token-dir",
        "token-file",
        "token-out",
        "tokens-per-day",
        "tokens-per-hour",
        "tokens-per-minute",
    ];
    assert!(flags.iter().map(String::as_str).eq(files_brands_and_counts), "{flags:?}");
}

#[test]
fn an_import_has_its_arguments() {
    let parse = |args: &[&str]| {
        let args =
            ["keystile", "import", "enclava", "--source-url=postgres://r:sesame@h/d"].iter().chain(args);
        Cli::try_parse_from(args)
    };
    let Command::Import(import) = parse(&[]).unwrap().command else { panic!() };
    let Source::Enclava(import) = import.source;
    assert!(!import.dry_run && !import.sync && !import.keep_wildcards);
    assert_eq!(import.total_cost_unit.get(), 100);
    assert!(!format!("{import:?}").contains("sesame"));
    assert!(parse(&["--total-cost-unit=0.01"]).is_ok());
    assert!(parse(&["--total-cost-unit=0"]).is_err());
    assert!(Cli::try_parse_from(["keystile", "import", "enclava"]).is_err());
}

#[test]
fn migrate_and_bootstrap_have_their_arguments() {
    let ToCome::Migrate(migrate) = ToCome::try_parse_from(["keystile", "migrate", "--status"]).unwrap()
    else {
        panic!()
    };
    assert!(migrate.status);
    let ToCome::Bootstrap(bootstrap) =
        ToCome::try_parse_from(["keystile", "bootstrap", "--out=t", "--token-brand=acme"]).unwrap()
    else {
        panic!()
    };
    assert_eq!(bootstrap.out.as_deref(), Some(std::path::Path::new("t")));
    assert_eq!(bootstrap.tokens.brand.as_str(), "acme");
}

#[test]
fn a_foreseen_failure_is_worded_and_any_other_tells_its_causes() {
    let foreseen = anyhow::Error::from(Failure::new("No.").next("Ask again."));
    assert_eq!(worded(&foreseen), "No.\nAsk again.");
    let other = anyhow::anyhow!("disk full").context("cannot write");
    assert_eq!(worded(&other), "cannot write: disk full");
}
