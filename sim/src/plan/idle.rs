//! Items of a plan that can have no effect: allowed, because a plan that lacks other lines stays a plan, and
//! worth a word, because whoever has written one has meant something.

use super::{Action, Event, Plan, Target};

/// A line for each such item: the item, and why nothing comes of it.
pub fn idle(plan: &Plan) -> Vec<String> {
    let why = |event: &Event| reason(plan, event).map(|reason| format!("{event}: {reason}"));
    plan.events.iter().filter_map(why).collect()
}

fn reason(plan: &Plan, event: &Event) -> Option<String> {
    if event.at > plan.knobs.duration {
        return Some("this comes after the end of the plan's duration".to_owned());
    }
    let mut targets = match &event.action {
        Action::Trouble { with, .. } => with.clone(),
        Action::Shutdown { who, .. } | Action::Drain { who, .. } | Action::Close { who } => vec![*who],
        Action::SecondProcess { broker, .. } => vec![Target::Broker(*broker)],
        Action::CopyOutbox { publisher, to } if !plan.copies().iter().any(|(_, copy)| copy == to) => {
            return Some(format!(
                "p{publisher} has no outbox, or p{to} is no higher number than every publisher has"
            ));
        }
        Action::Publish { publisher, .. } | Action::CopyOutbox { publisher, .. } => {
            vec![Target::Publisher(*publisher)]
        }
        Action::ReadHeads { subscriber, .. } | Action::Pace { subscriber, .. } => {
            vec![Target::Subscriber(*subscriber)]
        }
        Action::RollingRestart { .. } | Action::TotalLoss { .. } => Vec::new(),
    };
    targets.retain(|target| !takes_part(plan, event, *target));
    match targets.first()? {
        Target::It => {
            Some("it stands for whom the event has waited for, and this one waits for nobody".to_owned())
        }
        absent => Some(format!("{absent} does not take part")),
    }
}

fn takes_part(plan: &Plan, event: &Event, target: Target) -> bool {
    match target {
        Target::Broker(number) => number <= plan.knobs.brokers,
        Target::Discovery(number) => number <= plan.knobs.discoveries,
        Target::Publisher(number) => {
            plan.publishers.iter().any(|publisher| publisher.number == number)
                || plan.copies().iter().any(|(_, copy)| *copy == number)
        }
        Target::Subscriber(number) => plan.subscribers.iter().any(|subscriber| subscriber.number == number),
        Target::Primary | Target::Backup | Target::Leader | Target::Follower => true,
        Target::It => event.on.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_have_no_effect_is_named_with_its_reason() {
        let text = "brokers 2\nduration 5s\npublisher p1\n@1s crash b5\n@1s cut b1 s2\n@1s publish p3 a 1 every 1s\n\
            @1s crash it\n@6s crash b1\n@1s on Proposed cut it b3\n@1s pace s1 never\n@1s copy-outbox p1 to p2\n";
        let plan: Plan = text.parse().expect("a plan");
        let reasons = [
            "b5 does not",
            "s2 does not",
            "p3 does not",
            "waits for nobody",
            "after the end",
            "b3 does not",
            "s1 does",
            "p1 has no outbox",
        ];
        let idle = idle(&plan);
        assert_eq!(idle.len(), reasons.len(), "{idle:?}");
        for (line, reason) in idle.iter().zip(reasons) {
            assert!(line.contains(reason), "{line:?} does not say {reason:?}");
        }
    }

    #[test]
    fn what_can_have_an_effect_is_not() {
        let text = "publisher p1 outbox\nsubscriber s1 >\n@1s crash b3\n@1s cut p1 primary\n@2s on Proposed crash it\n\
            @1s copy-outbox p1 to p9\n@2s crash p9\n";
        assert_eq!(idle(&text.parse().expect("a plan")), [""; 0]);
    }
}
