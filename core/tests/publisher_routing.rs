//! How a client finds its primary, keeps it and leaves it, shown by a publisher.

mod client_harness;

use client_harness::{HISTORY, Harness, address, endpoint, refusal, route};
use steadfast_core::id::{GroupId, Nonce, PublisherId};
use steadfast_core::limits::Timing;
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::message::{History, Lookup, Message, Refusal, Route};
use steadfast_core::publisher::{Boot, Config, Publisher};
use steadfast_core::time::Duration;
use steadfast_core::trace::{Detachment, Rejection, Trace};

fn boot(seed: u64, replicas: &[&str]) -> Boot {
    Boot {
        seed,
        publisher: PublisherId(5),
        nonce: Nonce(6),
        discovery: replicas.iter().map(|replica| address(replica)).collect(),
        group: 0,
        outbox: None,
        config: Config::default(),
    }
}

fn client_of(replicas: &[&str]) -> Harness<Publisher> {
    Harness::new(|now| Publisher::new(now, boot(1, replicas)))
}

fn client() -> Harness<Publisher> {
    client_of(&["discovery-0"])
}

fn detachments(client: &Harness<Publisher>) -> Vec<Detachment> {
    client
        .traces
        .iter()
        .filter_map(|trace| match trace {
            Trace::Detached { cause, .. } => Some(*cause),
            _ => None,
        })
        .collect()
}

fn lookups(client: &mut Harness<Publisher>, link: LinkId) -> Vec<bool> {
    let sent = client.take_sent(link);
    sent.iter()
        .map(|message| match message {
            Message::Lookup(Lookup { group: 0, watch: true, fresh }) => *fresh,
            other => panic!("discovery was told {other:?}"),
        })
        .collect()
}

#[test]
fn the_first_replica_is_chosen_at_random_and_the_next_ones_in_turn() {
    let replicas = ["discovery-0", "discovery-1", "discovery-2"];
    let mut first = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut client = Harness::new(|now| Publisher::new(now, boot(seed, &replicas)));
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (link, address) = client.dialled();
            seen.push(address);
            client.refused(link);
        }
        assert_eq!(seen[0], seen[3], "after the last comes the first");
        first.insert(seen[0].clone());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }
    assert_eq!(first.len(), 3);
}

#[test]
fn a_replica_that_does_not_answer_is_left() {
    let mut client = client_of(&["discovery-0", "discovery-1"]);
    let (never_up, first) = client.dialled();
    client.advance(600);
    assert_eq!(client.closed, [never_up]);
    let (silent, second) = client.dialled();
    assert_ne!(first, second);
    client.up(silent);
    assert_eq!(lookups(&mut client, silent), [false]);
    client.advance(260);
    assert!(client.closed.contains(&silent), "the look-up was not answered");
    let (link, third) = client.dialled();
    assert_eq!(third, first);
    client.up(link);
    assert_eq!(lookups(&mut client, link), [false], "the look-up is asked again");
}

#[test]
fn an_idle_replica_that_falls_silent_is_left_though_the_primary_lives() {
    let mut client = client_of(&["discovery-0", "discovery-1"]);
    let (discovery, primary) = client.attach();
    client.advance_alive(400, &[discovery, primary]);
    assert!(client.closed.is_empty());
    client.advance_alive(600, &[primary]);
    assert_eq!(client.closed, [discovery]);
    assert_eq!(detachments(&client), []);
}

#[test]
fn one_look_up_is_in_flight() {
    let mut client = client();
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    let (first, _) = client.dialled();
    client.refused(first);
    assert_eq!(lookups(&mut client, discovery), [false], "a failure asks again");
    for _ in 0..3 {
        let (link, _) = client.dialled();
        client.refused(link);
    }
    assert_eq!(lookups(&mut client, discovery), Vec::<bool>::new(), "and not twice");
}

#[test]
fn without_a_primary_discovery_is_asked_again_after_a_while() {
    let mut client = client();
    let discovery = client.meet_discovery();
    let nobody = Route { history: None, ..route(0, None) };
    for at_the_most in [50, 100, 200] {
        client.receive(discovery, &Message::Route(nobody.clone()));
        client.advance(49);
        assert_eq!(lookups(&mut client, discovery), Vec::<bool>::new());
        client.advance(at_the_most + 10);
        assert_eq!(lookups(&mut client, discovery), [false]);
    }
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    assert_eq!(client.dialled().1, "a");
}

#[test]
fn a_replica_whose_word_leads_nowhere_is_left() {
    let mut client = client_of(&["discovery-0", "discovery-1"]);
    let discovery = client.meet_discovery();
    let mut waited = 0;
    while !client.closed.contains(&discovery) {
        client.receive(discovery, &Message::Route(route(1, Some("a"))));
        client.advance(50);
        while let Some((link, _)) = client.dials.pop_front() {
            client.refused(link);
        }
        waited += 50;
        assert!(waited <= 1_100, "it goes on naming a dead primary");
    }
    assert!(waited >= 900);
}

/// R26: a link is no service. What a replica that is cut off goes on naming may accept links, and do nothing.
#[test]
fn a_replica_whose_primary_accepts_links_and_does_nothing_is_left() {
    let mut client = client_of(&["discovery-0", "discovery-1"]);
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    let mut waited = 0;
    while !client.closed.contains(&discovery) {
        while let Some((link, _)) = client.dials.pop_front() {
            client.up(link);
        }
        client.advance_alive(50, &[discovery]);
        if !lookups(&mut client, discovery).is_empty() {
            client.receive(discovery, &Message::Route(route(1, Some("a"))));
        }
        waited += 50;
        assert!(waited <= 1_500, "it goes on naming a primary that does nothing");
    }
    assert!(waited >= 900);
}

/// How often it asks in three seconds, of a replica that knows no primary and says so at once.
fn questions(client: &mut Harness<Publisher>) -> usize {
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(0, None)));
    let mut asked = 0;
    for _ in 0..300 {
        client.advance_alive(10, &[discovery]);
        let now = lookups(client, discovery).len();
        asked += now;
        (0..now).for_each(|_| client.receive(discovery, &Message::Route(route(0, None))));
    }
    asked
}

#[test]
fn while_there_is_no_primary_it_asks_less_and_less_often() {
    let asked = questions(&mut client());
    assert!((6..20).contains(&asked), "{asked} questions in three seconds");
}

#[test]
fn a_heartbeat_that_is_longer_than_any_backoff_is_waited_for() {
    let timing = Timing { heartbeat: Duration::from_secs(1), ..Timing::default() };
    let config = Config { timing, ..Config::default() };
    let boot = Boot { config, ..boot(1, &["discovery-0"]) };
    let asked = questions(&mut Harness::new(|now| Publisher::new(now, boot)));
    assert!((1..4).contains(&asked), "{asked} questions in three seconds");
}

/// R28: the number names another process's session in the next history.
#[test]
fn a_session_that_was_in_the_way_is_not_continued_in_another_history() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    let asked = |client: &mut Harness<Publisher>, link| {
        let sent = client.take_sent(link);
        let [Message::OpenSession(open)] = &sent[..] else { panic!("{sent:?}") };
        (open.history.lineage, open.incarnation)
    };
    assert_eq!(asked(&mut client, primary), (1, 0));
    client.receive(primary, &refusal(Refusal::Fenced { publisher: PublisherId(5), incarnation: 4 }));
    assert_eq!(asked(&mut client, primary), (1, 4));
    client.lost(primary);
    let next = Some(History { lineage: 2, ..HISTORY });
    client.receive(discovery, &Message::Route(Route { history: next, ..route(2, Some("b")) }));
    let (primary, _) = client.dialled();
    client.up(primary);
    assert_eq!(asked(&mut client, primary), (2, 0));
}

/// R28: an answer to what was asked in one history could be taken for one to what is asked in the next.
#[test]
fn a_link_with_an_unanswered_request_is_given_up_with_its_history() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    let next = Some(History { lineage: 2, ..HISTORY });
    client.receive(discovery, &Message::Route(Route { history: next, ..route(2, Some("a")) }));
    assert_eq!(client.closed, [], "the same process leads again");
    client.take_sent(primary);
    client.advance_alive(2_100, &[discovery, primary]);
    assert_eq!(client.take_sent(primary), []);
    assert_eq!(client.closed, [primary]);
    assert_eq!(client.dialled().1, "a");
}

#[test]
fn a_refusing_primary_is_dialled_with_backoff() {
    let mut client = client();
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    let mut dials = 0;
    for _ in 0..1_000 {
        client.advance(10);
        while let Some((link, address)) = client.dials.pop_front() {
            dials += 1;
            if address.as_str() == "a" { client.refused(link) } else { client.up(link) }
        }
        let asked = client.sent.iter().filter(|(_, message)| matches!(message, Message::Lookup(_))).count();
        if asked > 0 {
            let link = client.sent.back().expect("just counted").0;
            client.sent.clear();
            client.receive(link, &Message::Route(route(1, Some("a"))));
        }
    }
    assert!((20..100).contains(&dials), "{dials} dials in ten seconds");
}

#[test]
fn a_silent_primary_is_left_and_tried_again() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    client.take_sent(discovery);
    client.advance_alive(590, &[discovery]);
    assert_eq!(detachments(&client), []);
    client.advance_alive(20, &[discovery]);
    assert_eq!(detachments(&client), [Detachment::Silence]);
    assert_eq!(client.closed, [primary]);
    assert_eq!(lookups(&mut client, discovery), [false]);
    assert_eq!(client.dialled().1, "a", "the route still names it");
}

#[test]
fn any_frame_of_the_primary_is_a_sign_of_life() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    client.advance_alive(2_000, &[discovery, primary]);
    assert_eq!(detachments(&client), []);
    client.stall(10_000);
    client.receive(primary, &Message::Ping { token: 9 });
    assert_eq!(detachments(&client), [], "an own stall is not the primary's silence");
    assert!(client.sent.contains(&(primary, Message::Pong { token: 9 })));
}

#[test]
fn a_higher_epoch_moves_the_client_at_once() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    client.receive(discovery, &Message::Route(route(2, None)));
    assert_eq!(detachments(&client), [], "nobody else is known");
    client.receive(discovery, &Message::Route(route(2, Some("b"))));
    assert_eq!(detachments(&client), [Detachment::Rerouted]);
    assert_eq!(client.closed, [primary]);
    assert_eq!(client.dials.pop_front().map(|dial| dial.1), Some(address("b")));
}

#[test]
fn a_dial_under_way_is_given_up_for_a_better_route() {
    let mut client = client();
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    let (dead, _) = client.dialled();
    client.receive(discovery, &Message::Route(route(2, Some("b"))));
    assert_eq!(client.closed, [dead]);
    assert_eq!(client.dials.pop_front().map(|dial| dial.1), Some(address("b")));
}

#[test]
fn the_same_process_in_a_higher_epoch_keeps_its_link() {
    let mut client = client();
    let (discovery, _) = client.attach();
    client.receive(discovery, &Message::Route(route(3, Some("a"))));
    client.receive(discovery, &Message::Route(route(2, Some("b"))));
    assert_eq!(detachments(&client), []);
    assert!(client.dials.is_empty());
}

#[test]
fn another_name_in_the_same_epoch_moves_nobody() {
    let mut client = client();
    let (discovery, _) = client.attach();
    client.receive(discovery, &Message::Route(route(1, Some("b"))));
    assert_eq!(detachments(&client), []);
    assert!(client.dials.is_empty());
}

#[test]
fn a_known_primary_is_not_dialled_at_once_for_being_named_again() {
    let mut client = client();
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    let (link, _) = client.dialled();
    client.refused(link);
    client.receive(discovery, &Message::Route(route(2, Some("a"))));
    assert!(client.dials.is_empty());
    assert_eq!(client.dialled().1, "a");
}

#[test]
fn a_new_primary_does_not_inherit_the_backoff_of_the_old_one() {
    let mut client = client();
    let discovery = client.meet_discovery();
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    for _ in 0..5 {
        let (link, _) = client.dialled();
        client.refused(link);
        client.receive(discovery, &Message::Route(route(1, Some("a"))));
    }
    client.receive(discovery, &Message::Route(route(2, Some("b"))));
    let (link, _) = client.dialled();
    client.refused(link);
    client.advance(10);
    assert_eq!(client.dials.pop_front().map(|dial| dial.1), Some(address("b")));
}

#[test]
fn a_hint_counts_only_with_a_higher_epoch() {
    for (epoch, follows) in [(1, false), (2, true)] {
        let mut client = client();
        let (_, primary) = client.attach();
        let hint = Refusal::NotPrimary { primary: Some(endpoint("b")), epoch };
        client.receive(primary, &refusal(hint));
        assert_eq!(client.closed, [primary]);
        let at_once = client.dials.pop_front().map(|dial| dial.1);
        assert_eq!(at_once == Some(address("b")), follows, "epoch {epoch}");
        if !follows {
            assert_eq!(client.dialled().1, "a");
        }
    }
}

#[test]
fn a_hint_that_leads_nowhere_is_forgotten() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    let hint = Refusal::NotPrimary { primary: Some(endpoint("b")), epoch: 9 };
    client.receive(primary, &refusal(hint));
    let (hinted, _) = client.dialled();
    client.refused(hinted);
    assert_eq!(client.dialled().1, "a");
    client.receive(discovery, &Message::Route(route(2, Some("c"))));
    assert_eq!(client.dials.pop_front().map(|dial| dial.1), Some(address("c")));
}

#[test]
fn another_group_log_is_followed_only_after_a_fresh_answer() {
    let mut client = client();
    let (discovery, _) = client.attach();
    client.take_sent(discovery);
    let history = Some(History { group_id: GroupId(1), ..HISTORY });
    let other = Route { history, ..route(9, Some("b")) };
    client.receive(discovery, &Message::Route(other.clone()));
    assert_eq!(lookups(&mut client, discovery), [true]);
    assert_eq!(detachments(&client), []);
    client.receive(discovery, &Message::Route(other.clone()));
    assert_eq!(lookups(&mut client, discovery), Vec::<bool>::new(), "the question stands");
    client.receive(discovery, &Message::Route(route(1, Some("a"))));
    client.lost(discovery);
    let (discovery, _) = client.dialled();
    client.up(discovery);
    assert_eq!(lookups(&mut client, discovery), [true], "also with another replica");
    client.receive(discovery, &Message::Route(Route { fresh: true, epoch: 1, ..other }));
    assert_eq!(detachments(&client), [Detachment::Rerouted]);
    assert_eq!(client.dialled().1, "b");
}

#[test]
fn hostile_frames_are_dropped_and_counted() {
    let mut client = client();
    let (discovery, primary) = client.attach();
    for link in [discovery, primary] {
        client.receive_frame(link, Frame { parts: vec![vec![0xff; 9].into()] });
        client.receive(link, &Message::Lookup(Lookup { group: 0, watch: false, fresh: false }));
    }
    let rejected: Vec<_> = client
        .traces
        .iter()
        .filter_map(|trace| match trace {
            Trace::Rejected { link, reason } => Some((*link, *reason)),
            _ => None,
        })
        .collect();
    use Rejection::{Malformed, Unexpected};
    let expected =
        [(discovery, Malformed), (discovery, Unexpected), (primary, Malformed), (primary, Unexpected)];
    assert_eq!(rejected, expected);
    assert_eq!(detachments(&client), []);
}
