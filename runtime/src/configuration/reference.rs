//! The default file and the reference page, from the definition of the settings.

use super::file::USUAL_PLACES;
use super::keys::{FILE_VARIABLE, Key, SECRETS, keys, sections};
use super::settings::Settings;
use std::fmt::Write as _;

/// Keys that have a command line flag, and the flag.
pub const FLAGS: [(&str, &str); 28] = [
    ("cluster.name", "--cluster"),
    ("cluster.discovery", "--discovery"),
    ("coordination.zookeeper", "--zookeeper"),
    ("coordination.embedded", "--coordination"),
    ("coordination.session_timeout", "--session-timeout"),
    ("coordination.connect_timeout", "--connect-timeout"),
    ("broker.name", "--name"),
    ("broker.listen", "--listen"),
    ("broker.advertise", "--advertise"),
    ("broker.log_limit", "--log-limit"),
    ("broker.retention.bytes", "--retention-bytes"),
    ("broker.retention.records", "--retention-records"),
    ("broker.retention.age", "--retention-age"),
    ("broker.on_total_loss", "--on-total-loss"),
    ("broker.compression", "--compression"),
    ("broker.record", "--record"),
    ("discovery.listen", "--listen"),
    ("discovery.advertise", "--advertise"),
    ("discovery.min_in_sync", "--min-in-sync"),
    ("recovery.suspicion", "--suspicion"),
    ("transport.kind", "--transport"),
    ("metrics.url", "--metrics-url"),
    ("metrics.org", "--metrics-org"),
    ("metrics.bucket", "--metrics-bucket"),
    ("metrics.token_file", "--metrics-token-file"),
    ("metrics.interval", "--metrics-interval"),
    ("logging.level", "--log"),
    ("logging.format", "--log-json"),
];

/// A configuration file with every key in a comment, with its default and its description.
pub fn default_file() -> String {
    confique::toml::template::<Settings>(confique::toml::FormatOptions::default())
}

/// The reference page, in Markdown.
pub fn reference() -> String {
    let mut page = introduction();
    for section in sections() {
        let _ = write!(page, "\n## `[{}]`\n\n{}\n\n", section.path, prose(section.doc));
        page.push_str("| Key | Default | Environment variable, flag | Meaning |\n|---|---|---|---|\n");
        for key in keys().iter().filter(|key| key.section() == section.path) {
            page.push_str(&row(key));
        }
    }
    page.push_str("\n## Secrets\n\n");
    page.push_str(
        "Never on the command line, never in this file, never in what `steadfast config show` prints.\n\n",
    );
    page.push_str("| Secret | Environment variable | or a file, named by |\n|---|---|---|\n");
    for secret in SECRETS {
        let _ = writeln!(page, "| {} | `{}` | `{}` |", secret.doc, secret.variable, secret.file_key);
    }
    page
}

fn introduction() -> String {
    let [here, system] = USUAL_PLACES;
    format!(
        "\
# Configuration

This page is made from the definition that the program reads its settings with:
`UPDATE_DOCS=1 cargo test -p steadfast-runtime reference` writes it anew.

A setting is taken from the first of these that has it:

1. a command line flag,
2. an environment variable (an empty one counts as none),
3. the configuration file,
4. the default.

The file is the one named by `--config FILE`, or by `{FILE_VARIABLE}`, or `./{here}`, or `{system}`: the first of
these, and no other. Without any the defaults hold. [steadfast.toml](steadfast.toml) is an example.

* `steadfast config default` prints a file with every key, its default and its meaning.
* `steadfast config check` says what is wrong with a configuration, a line for each problem.
* `steadfast config show` prints what holds, and where each value comes from; `--json` as one JSON object.

Times are texts such as `\"250ms\"`, `\"2s\"`, `\"1m\"`, `\"1h\"` (for ages also `\"7d\"`), sizes such as `\"64KiB\"`, `\"512MiB\"`,
`\"1GiB\"`. A bare number counts seconds or bytes. An address is `\"HOST:PORT\"`, an IPv6 host in brackets. A list is a
TOML list of texts, or one text with commas, as in a variable. An unknown key is an error; an unknown variable whose
name begins with `STEADFAST_` is a warning, since platforms set such variables by themselves.
"
    )
}

fn row(key: &Key) -> String {
    let default = key.default_value().map_or_else(String::new, |default| format!("`{default}`"));
    let flag = FLAGS.iter().find(|(path, _)| *path == key.path);
    let flag = flag.map_or_else(String::new, |(_, flag)| format!(", `{flag}`"));
    format!("| `{}` | {default} | `{}`{flag} | {} |\n", key.name(), key.variable, prose(key.doc))
}

fn prose(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
