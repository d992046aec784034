//! `steadfast config`: look at the configuration.

use super::args::FileArgs;
use super::failure::Failure;
use super::settings::print_all;
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write as _;
use steadfast_runtime::configuration::{Configuration, Shown, default_file};

/// What the help ends with.
pub const HELP: &str = "\
Exit status: 0 if the configuration is right, 2 if it is not.

Examples:
  steadfast config check --config steadfast.toml
  steadfast config show --json
  steadfast config default > steadfast.toml";

/// `steadfast config`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub what: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with the configuration, a line for each problem
    Check(FileArgs),
    /// Print every setting that holds and where it comes from; secrets are hidden
    Show(ShowArgs),
    /// Print a file with every key, its default and its meaning
    Default,
}

/// `steadfast config show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Checks, shows or prints. The configuration has been checked by then.
///
/// # Errors
/// When a secret cannot be read, or standard output not written.
pub fn run(what: &ConfigCommand, configuration: &Configuration) -> Result<(), Failure> {
    match what {
        ConfigCommand::Check(_) => check(configuration),
        ConfigCommand::Show(args) if args.json => super::print(&as_json(configuration)),
        ConfigCommand::Show(_) => super::print(as_toml(&configuration.shown()).trim_end()),
        ConfigCommand::Default => super::print(default_file().trim_end()),
    }
}

fn check(configuration: &Configuration) -> Result<(), Failure> {
    configuration.check_secrets().map_err(|problems| print_all(&problems))?;
    match configuration.file() {
        Some(file) => super::print(&format!("{}: OK", file.display())),
        None => super::print("no configuration file; the environment and the defaults: OK"),
    }
}

fn as_json(configuration: &Configuration) -> String {
    let settings: Vec<_> = configuration
        .shown()
        .into_iter()
        .map(|one| json!({"key": one.key, "value": one.value, "source": one.source}))
        .collect();
    json!({"file": configuration.file(), "settings": settings}).to_string()
}

/// A file that says the same, with the source of each value behind it.
fn as_toml(shown: &[Shown]) -> String {
    let (mut text, mut current) = (String::new(), "");
    for one in shown {
        let (section, name) = one.key.rsplit_once('.').unwrap_or(("", one.key));
        if section != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{section}]");
            current = section;
        }
        let _ = match &one.value {
            None => writeln!(text, "# {name} is not set"),
            Some(_) if one.hidden => writeln!(text, "# {name} is set, and hidden: {}", one.source),
            Some(value) => writeln!(text, "{name} = {value} # {}", one.source),
        };
    }
    text
}
