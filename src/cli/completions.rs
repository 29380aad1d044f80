//! `keystile completions` and `keystile man`: what shells and manuals know of the commands, made from the same
//! definition as the commands themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::{Format, Output};

const NAME: &str = "keystile";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  keystile completions bash > ~/.local/share/bash-completion/completions/keystile
  keystile completions zsh > ~/.zfunc/_keystile
  keystile completions fish > ~/.config/fish/completions/keystile.fish";
const MAN_EXAMPLES: &str = "\
Examples:
  keystile man | man -l -
  keystile man --out ~/.local/share/man/man1 && man keystile-keys-create";

/// Writes the completions of a shell to stdout
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Writes the manual: its first page to stdout, or all pages into a folder
#[derive(Args, Clone, Debug)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManPages {
    /// Folder for all pages, keystile.1, keystile-keys.1, …; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Completions {
    /// Writes them.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn run(self, mut program: Command) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, NAME, &mut script);
        Output::of_process(Format::Table).show(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ManPages {
    /// Writes it.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn run(&self, mut program: Command) -> anyhow::Result<ExitCode> {
        // Gives every command what it inherits, and its full name.
        program.build();
        let output = &mut Output::of_process(Format::Table);
        let Some(folder) = &self.out else {
            output.show(&page(&program)?)?;
            return Ok(ExitCode::SUCCESS);
        };
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let written = write_pages(&program, NAME, folder)?;
        output.note(&format!("{written} pages are in {}.", folder.display()));
        Ok(ExitCode::SUCCESS)
    }
}

fn page(command: &Command) -> anyhow::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8(page)?)
}

/// The page of a command and those below it; how many there are.
fn write_pages(command: &Command, name: &str, folder: &Path) -> anyhow::Result<usize> {
    let path = folder.join(format!("{name}.1"));
    let named = command.clone().name(name.to_owned()).display_name(name.to_owned());
    fs::write(&path, page(&named)?).with_context(|| format!("cannot write {}", path.display()))?;
    let mut written: usize = 1;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        written += write_pages(below, &format!("{name}-{}", below.get_name()), folder)?;
    }
    Ok(written)
}
