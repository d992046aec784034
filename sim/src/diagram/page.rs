//! The diagram's page: a fixed text with the run as data in it.

use super::{Diagram, Message};
use crate::cluster::Failure;
use crate::plan::Plan;
use crate::plan::run::Outcome;
use serde_json::{Value, json};

/// Everything but the run.
const PAGE: &str = include_str!("page.html");
/// Nanoseconds in a microsecond: the page's unit of time.
const MICRO: u64 = 1_000;

impl Diagram {
    /// One HTML file that shows the diagram, and above it the plan and what came of it. The same run
    /// gives the same bytes.
    pub fn page(&self, plan: &Plan, outcome: &Outcome) -> String {
        let result = outcome.result.as_ref().map_or_else(Err, |()| Ok("every property held"));
        self.show(&plan.to_string(), result, outcome.time)
    }

    /// One HTML file that shows the diagram, which ends at this time in nanoseconds, and above it a text
    /// and what came of the run.
    pub(crate) fn show(&self, text: &str, result: Result<&str, &Failure>, end: u64) -> String {
        let verdict = result.map_or_else(ToString::to_string, str::to_owned);
        let class = if result.is_ok() { "good" } else { "bad" };
        // In the order of the page: what a text holds is never taken for a place.
        let parts = [
            ("{{class}}", class.to_owned()),
            ("{{verdict}}", escaped(&verdict)),
            ("{{plan}}", escaped(text)),
            ("{{run}}", self.data(result.err(), end).to_string().replace('<', "\\u003c")),
        ];
        let mut rest = PAGE;
        let mut page = String::new();
        for (place, text) in parts {
            let (before, after) = rest.split_once(place).expect("the page has a place for it");
            page.push_str(before);
            page.push_str(&text);
            rest = after;
        }
        page + rest
    }

    fn data(&self, failure: Option<&Failure>, end: u64) -> Value {
        let column = |process| self.names.iter().position(|(it, _)| *it == process);
        let messages = |quiet: u8, messages: &super::Latest<Message>| -> Vec<Value> {
            let row = |it: &Message| {
                let (from, to) = (column(it.from), column(it.to));
                json!([it.at / MICRO, from, it.taken.map(|at| at / MICRO), to, it.kind, it.text, quiet])
            };
            messages.items.iter().map(row).collect()
        };
        let marks = self.marks.items.iter();
        let marks = marks.map(|it| json!([it.at / MICRO, column(it.process), it.sort.name(), it.text]));
        let parts = self.parts.iter();
        let parts = parts.map(|(at, process, part)| json!([at / MICRO, column(*process), part]));
        let both = [messages(0, &self.messages), messages(1, &self.quiet)].concat();
        json!({
            "names": self.names.iter().map(|(_, name)| name).collect::<Vec<_>>(),
            "marks": marks.collect::<Vec<_>>(),
            "messages": both,
            "parts": parts.collect::<Vec<_>>(),
            "dropped": self.marks.dropped + self.messages.dropped + self.quiet.dropped,
            "end": end / MICRO,
            "failed": failure.map(|failure| failure.at / MICRO),
        })
    }
}

/// As text of an HTML element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::plan::run::depict;

    const PLAN: &str = "duration 2s\nbrokers 2\ndiscoveries 1\npublisher p1\nsubscriber s1 >\n\
        @200ms publish p1 a.b 5 every 10ms\n@1s crash primary for 500ms\n";

    fn page() -> String {
        let plan: Plan = PLAN.parse().expect("a plan");
        let (outcome, diagram) = depict(&plan);
        diagram.page(&plan, &outcome)
    }

    /// Every element that is opened is closed, in order.
    fn assert_well_formed(page: &str) {
        let mut open = Vec::new();
        let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a document");
        while let Some((_, tag)) = rest.split_once('<') {
            let (tag, after) = tag.split_once('>').expect("a tag ends");
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                let name = tag.split_whitespace().next().expect("a tag has a name");
                open.push(name);
                if name == "script" {
                    let end = rest.find("</script>").expect("a script ends");
                    rest = &rest[end..];
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_page_shows_the_plan_the_processes_and_what_happened_and_is_the_same_each_time() {
        let page = page();
        assert_well_formed(&page);
        assert!(page.contains("subscriber s1 &gt;") && page.contains("every property held"));
        let data =
            page.split_once("id=\"run\">").expect("the run").1.split_once("</script>").expect("its end").0;
        let data: serde_json::Value = serde_json::from_str(data).expect("data");
        assert_eq!(data["names"], serde_json::json!(["d1", "b1", "b2", "p1", "s1"]));
        let has = |sort: &str, text: &str| {
            let mut marks = data["marks"].as_array().expect("marks").iter();
            marks.any(|mark| mark[2] == sort && mark[3].as_str().is_some_and(|it| it.contains(text)))
        };
        assert!(has("fault", "crashes") && has("role", "becomes primary e2") && has("commit", "commit 1"));
        assert!(has("event", "acknowledged") && has("session", "connected"));
        let messages = data["messages"].as_array().expect("messages");
        let publishes = messages.iter().filter(|it| it[4] == "Publish" && it[2].is_u64());
        assert!(publishes.count() >= 5, "each is sent and taken");
        assert!(messages.iter().any(|it| it[6] == 1), "quiet ones are there, too");
        let late =
            |it: &&serde_json::Value| it[2].as_u64().is_some_and(|taken| taken < it[0].as_u64().unwrap_or(0));
        assert_eq!(messages.iter().find(late), None, "nothing is taken before it was sent");
        assert_eq!(page, super::tests::page());
    }

    #[test]
    fn a_page_names_the_violation() {
        let plan: Plan = PLAN.parse().expect("a plan");
        let (mut outcome, diagram) = depict(&plan);
        let violation = crate::check::Violation { property: "Liveness", detail: "<b> & more".to_owned() };
        outcome.result = Err(crate::cluster::Failure { at: 1_000_000, step: 7, violation });
        let page = diagram.page(&plan, &outcome);
        assert_well_formed(&page);
        assert!(page.contains("step 7 at 1 ms") && page.contains("&lt;b&gt; &amp; more"));
        assert!(page.contains("\"failed\":1000"));
    }
}
