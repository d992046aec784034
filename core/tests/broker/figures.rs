//! What a broker counts, and its state in numbers.

use crate::retention::keeping;
use crate::world::{World, epoch_start, open_session, open_stream, publish, replicate, sender};
use crate::{B, CLIENT};
use steadfast_core::broker::Config;
use steadfast_core::broker::figures::FollowerFigures;
use steadfast_core::broker::retention::Retention;
use steadfast_core::link::LinkId;
use steadfast_core::message::{Message, Start};
use steadfast_core::stats::{Sample, Traffic};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::trace::{Limit, Rejection};

const SUBSCRIBER: LinkId = LinkId::accepted(3);

#[test]
fn a_primary_counts_what_publishers_followers_and_subscribers_did() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(SUBSCRIBER, &open_stream(Start::Latest));
    world.receive(CLIENT, &publish(1));
    world.receive(CLIENT, &publish(1));
    world.run(20);
    let waiting = world.broker.figures(Instant::default());
    assert_eq!(waiting.commit + 1, waiting.log_end, "one record waits for b");
    assert!(waiting.uncommitted_bytes > 0);
    assert_eq!((waiting.followers[0].lag_records, waiting.followers[0].in_sync), (1, true));
    assert!(waiting.followers[0].lag_bytes > 0 && waiting.followers[0].in_flight_bytes > 0);

    world.ack(B, "b", 2);
    let stats = world.broker.stats_mut();
    let samples: Vec<_> = stats.take_samples().collect();
    let waited = samples.iter().any(|sample| *sample == Sample::Commit(Duration::from_millis(20)));
    assert!(waited, "{samples:?}");
    assert!(samples.iter().any(|sample| matches!(sample, Sample::Delivery(_))), "{samples:?}");
    let body = stats.published.bytes;
    assert!(body > 0);
    assert_eq!(stats.published, Traffic { batches: 1, records: 1, bytes: body });
    assert_eq!(stats.delivered, stats.published);
    assert_eq!(stats.replicated_out, stats.published);
    assert_eq!(stats.repeated, 1);
    assert_eq!(stats.publisher_acks, 2, "one for the repetition, as far as it was committed");
    assert_eq!(stats.epochs_led, 1);
    let topics: Vec<_> = stats.topics.iter().map(|(topic, of)| (topic.to_string(), of.delivered)).collect();
    assert_eq!(topics, [("t".to_owned(), stats.delivered)]);
    assert!(stats.sent.count > 4 && stats.received.count >= 6, "{:?} {:?}", stats.sent, stats.received);
    assert!(stats.coordination.connected && stats.coordination.calls as usize == world.calls);

    let figures = world.broker.figures(Instant::default());
    assert!(figures.leads && figures.serving);
    assert_eq!((figures.in_sync, figures.live, figures.publishers, figures.streams), (2, 2, 1, 1));
    assert_eq!((figures.commit, figures.uncommitted_bytes, figures.slow_streams), (figures.log_end, 0, 0));
    let Some(FollowerFigures { node, attached: true, lag_records: 0, lag_bytes: 0, .. }) =
        figures.followers.first()
    else {
        panic!("{figures:?}")
    };
    assert_eq!(node, &sender("b", 2).member.node);
}

/// What a backup and a primary hold is told as it is.
#[test]
fn figures_agree_with_what_is_held() {
    let config = keeping(Retention { bytes: None, records: Some(8), age: None });
    let mut primary = World::primary_with(B, config);
    primary.receive(CLIENT, &open_session(1));
    for sequence in 1..=40 {
        primary.receive(CLIENT, &publish(sequence));
        primary.ack(B, "b", 2);
    }
    assert!(primary.broker.replica().log().start() > 0);
    let (mut backup, link) = World::backup(true);
    backup.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    for world in [primary, backup] {
        let figures = world.broker.figures(Instant::default());
        let (replica, state) = (world.broker.replica(), world.state());
        let log = replica.log();
        assert_eq!(
            (figures.log_start, figures.log_end, figures.commit),
            (log.start(), log.end(), replica.commit())
        );
        assert_eq!((figures.log_bytes, figures.log_limit), (log.bytes(), Config::default().log_bytes));
        assert_eq!((figures.epoch, figures.lineage), (state.epoch, state.history.lineage));
        assert_eq!((figures.in_sync, figures.min_in_sync, figures.live), (2, 1, 2));
        assert_eq!(figures.sessions, replica.sessions().base().len());
        assert_eq!(figures.leads, world.broker.leads().is_some());
    }
}

#[test]
fn refusals_and_hostile_frames_are_counted_and_a_stream_without_credit_is_slow() {
    let mut world = World::primary(Config { log_bytes: 1_500, ..Config::default() });
    world.receive(CLIENT, &open_session(1));
    let mut stream = open_stream(Start::Latest);
    if let Message::OpenStream(request) = &mut stream {
        request.credit = 0;
    }
    world.receive(SUBSCRIBER, &stream);
    for sequence in 1..=8 {
        world.receive(CLIENT, &publish(sequence));
    }
    world.receive(CLIENT, &Message::CloseStream { stream: 9 });
    world.receive(CLIENT, &Message::CoordinationClose);
    let stats = world.broker.stats();
    assert!(stats.busy(Limit::LogBytes) > 0);
    assert_eq!(stats.rejected(Rejection::Unexpected), 1);
    let figures = world.broker.figures(Instant::default());
    assert_eq!((figures.slow_streams, figures.stream_lag), (1, stats.published.records));
    assert!(figures.stream_lag > 0);
}
