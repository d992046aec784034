//! `docs/wire.md` is what clients in other languages are written from: its examples are the golden
//! bytes, and it has a section for every message that a client meets, with every field.

use crate::golden;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The examples: their golden file's name, and their parts in hex.
fn examples(page: &str) -> BTreeMap<String, Vec<String>> {
    let blocks = page.split("\n```hex ").skip(1).map(|block| block.split("\n```").next().unwrap());
    blocks
        .map(|block| {
            let (name, lines) = block.split_once('\n').unwrap();
            let mut parts = Vec::new();
            for line in lines.lines() {
                if line.starts_with("-- part ") {
                    assert_eq!(line, format!("-- part {}", parts.len() + 1), "{name}");
                    parts.push(String::new());
                } else {
                    let bytes = line.split('#').next().unwrap().split_whitespace();
                    parts.last_mut().expect("a part begins first").extend(bytes);
                }
            }
            (name.to_owned(), parts)
        })
        .collect()
}

#[test]
fn examples_are_the_golden_bytes() {
    let examples = examples(&read("docs/wire.md"));
    let names: Vec<_> = examples.keys().map(String::as_str).collect();
    assert_eq!(names, ["deliver", "lookup", "publish", "route"]);
    for (name, parts) in examples {
        assert_eq!(parts, golden::file(&name).lines().collect::<Vec<_>>(), "{name}");
    }
}

/// The fields of a message or of its `oneof`s, by the message's name.
fn schema() -> BTreeMap<String, Vec<String>> {
    let mut messages = BTreeMap::new();
    let schema = read("proto/steadfast.proto");
    for definition in schema.split("\nmessage ").skip(1) {
        let (name, rest) = definition.split_once(" {").unwrap();
        let body = rest.split("\n}").next().unwrap();
        let fields = body.lines().filter(|line| !line.trim_start().starts_with("//"));
        let fields = fields.filter_map(|line| line.split_once(" = ")?.0.split_whitespace().last());
        // An empty message closes on its own line, and has no line with a field.
        let fields = if rest.starts_with('}') { Vec::new() } else { fields.map(str::to_owned).collect() };
        messages.insert(name.to_owned(), fields);
    }
    messages
}

/// The first cells of a section's tables.
fn first_cells(section: &str) -> String {
    section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

/// The names between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn to_camel_case(field: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    field.split('_').map(capital).collect()
}

#[test]
fn every_message_of_a_client_is_described_with_every_field() {
    let (page, schema) = (read("docs/wire.md"), schema());
    let (introduction, _) = page.split_once("\n## ").unwrap();
    let among_servers = quoted(introduction);
    let sections: BTreeMap<_, _> =
        page.split("\n### ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let mut described = 0;
    for message in schema["Envelope"].iter().filter(|field| *field != "version") {
        let name = to_camel_case(message);
        if among_servers.contains(name.as_str()) || name.starts_with("Coordination") {
            continue;
        }
        let section = sections.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no section"));
        let cells = first_cells(section.split("\n## ").next().unwrap());
        let said = quoted(&cells);
        // The reasons of a refusal have a table of their own.
        for field in &schema[&name] {
            let reason = name == "Refusal" && field != "stream";
            assert!(reason || said.contains(field.as_str()), "{name}: {field}");
        }
        described += 1;
    }
    assert!(described >= 14, "only {described} messages were looked at");
}

#[test]
fn every_reason_of_a_refusal_is_described_with_every_field() {
    let (page, schema) = (read("docs/wire.md"), schema());
    let (_, table) = page.split_once("\n## Refusals\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows: BTreeMap<_, _> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    let reasons: Vec<_> = schema["Refusal"].iter().filter(|field| *field != "stream").collect();
    assert!(reasons.len() >= 9, "only {} reasons were found", reasons.len());
    for name in reasons.into_iter().map(|field| to_camel_case(field)) {
        let row = rows.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no row"));
        let said = quoted(row.split('|').next().unwrap());
        assert!(
            schema[&name].iter().all(|field| said.contains(field.as_str())),
            "{name}: {:?}",
            schema[&name]
        );
    }
}
