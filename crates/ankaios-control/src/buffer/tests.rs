use ankaios_model::proto::ank_base::{
    CompleteStateResponse, LogEntriesResponse, LogEntry, LogsStopResponse,
};

use super::*;

/// A message with this number of log lines.
fn lines(count: usize) -> ResponseContent {
    let log_entries = vec![LogEntry::default(); count];
    ResponseContent::LogEntriesResponse(LogEntriesResponse { log_entries })
}

fn stop() -> ResponseContent {
    ResponseContent::LogsStopResponse(LogsStopResponse::default())
}

fn event() -> ResponseContent {
    ResponseContent::CompleteStateResponse(CompleteStateResponse::default())
}

fn used(buffers: &Buffers) -> usize {
    buffers.0.state().used
}

#[tokio::test]
async fn messages_come_in_order_and_then_the_end() {
    let (producer, mut consumer) = Buffers::default().add();
    producer.push(lines(1), 10, Moment::now());
    producer.push(stop(), 10, Moment::now());
    producer.end(None);
    assert_eq!(consumer.next().await, Item::Message(lines(1)));
    assert_eq!(consumer.next().await, Item::Message(stop()));
    assert_eq!(consumer.next().await, Item::End(None));
    assert_eq!(consumer.next().await, Item::End(None));
}

#[tokio::test]
async fn a_slow_consumer_loses_its_oldest_messages_and_is_told_how_many() {
    let (producer, mut consumer) = Buffers::default().add();
    (0..MAX_MESSAGES + 5).for_each(|number| producer.push(lines(number.min(7)), 1, Moment::now()));
    assert_eq!(consumer.next().await, Item::Dropped(1 + 2 + 3 + 4));
    assert_eq!(consumer.next().await, Item::Message(lines(5)));
    (0..MAX_MESSAGES).for_each(|_| producer.push(event(), 1, Moment::now()));
    assert!(matches!(consumer.next().await, Item::Dropped(2047..)));
}

#[tokio::test]
async fn the_end_of_a_log_is_never_dropped() {
    let (producer, mut consumer) = Buffers::default().add();
    producer.push(stop(), 1, Moment::now());
    (0..MAX_MESSAGES).for_each(|_| producer.push(lines(2), 1, Moment::now()));
    producer.push(stop(), 1, Moment::now());
    (0..MAX_MESSAGES).for_each(|_| producer.push(lines(2), MAX_BYTES, Moment::now()));
    let (mut dropped, mut stops, mut left) = (0, 0, 0);
    while let Some(item) = consumer.try_next() {
        match item {
            Item::Dropped(count) => dropped += count,
            Item::Message(message) if message == stop() => stops += 1,
            Item::Message(_) => left += 2,
            end @ Item::End(_) => panic!("{end:?}"),
        }
    }
    assert_eq!((stops, dropped + left), (2, 4 * MAX_MESSAGES as u64));
}

#[tokio::test]
async fn too_many_ends_of_logs_end_the_stream() {
    let buffers = Buffers::default();
    let (producer, mut consumer) = buffers.add();
    (0..10 * MAX_MESSAGES).for_each(|_| producer.push(stop(), 1, Moment::now()));
    assert!(used(&buffers) <= (MAX_MESSAGES + 1) * (ENTRY + 1));
    let items: Vec<_> = std::iter::from_fn(|| consumer.try_next()).take(3000).collect();
    assert_eq!(items.last(), Some(&Item::End(None)));
}

#[tokio::test]
async fn the_largest_buffer_loses_messages_and_a_fast_consumer_none() {
    let buffers = Buffers::default();
    let (slow, mut stalled) = buffers.add();
    let (fast, mut consumer) = buffers.add();
    (0..20).for_each(|_| slow.push(lines(1), MAX_BYTES / 10, Moment::now()));
    assert!(used(&buffers) <= MAX_BYTES);
    for _ in 0..20 {
        fast.push(lines(1), MAX_BYTES / 20, Moment::now());
        assert_eq!(consumer.next().await, Item::Message(lines(1)));
    }
    assert!(matches!(stalled.next().await, Item::Dropped(10..)));
    drop(stalled);
    assert_eq!(used(&buffers), MAX_BYTES / 20 + ENTRY, "it is in progress");
    drop(consumer);
    assert_eq!(used(&buffers), 0);
    slow.push(lines(1), 100, Moment::now());
    assert_eq!(used(&buffers), 0, "it has no consumer");
}

#[tokio::test]
async fn one_large_message_is_not_dropped() {
    let (producer, mut consumer) = Buffers::default().add();
    producer.push(lines(1), 2 * MAX_BYTES, Moment::now());
    assert_eq!(consumer.next().await, Item::Message(lines(1)));
}

#[tokio::test]
async fn many_large_messages_at_a_time_are_too_many() {
    const STREAMS: usize = 256;
    let size = MAX_NEWEST / 16 / EVENT;
    let buffers = Buffers::default();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| buffers.add()).collect();
    for (producer, _) in &streams {
        producer.push(event(), size, Moment::now());
        assert!(used(&buffers) <= MAX_NEWEST + size * EVENT);
    }
    // Each consumer either gets its message or is told that it was dropped.
    let (mut taken, mut dropped) = (0, 0);
    for (producer, consumer) in &mut streams {
        match consumer.try_next() {
            Some(Item::Message(_)) => taken += 1,
            Some(Item::Dropped(1)) => dropped += 1,
            other => panic!("{other:?}"),
        }
        // What is in progress counts as well.
        producer.push(event(), size, Moment::now());
        assert!(used(&buffers) <= MAX_NEWEST + size * EVENT);
    }
    assert_eq!(taken + dropped, STREAMS);
    assert!((8..=17).contains(&taken), "{taken}");
    // One that is larger than the limit gets through.
    let (producer, mut consumer) = buffers.add();
    producer.push(event(), MAX_NEWEST, Moment::now());
    assert_eq!(consumer.try_next(), Some(Item::Message(event())));
}

/// Messages in progress cannot be dropped, so the next ones must be.
#[tokio::test]
async fn consumers_that_take_their_messages_at_once_do_not_exceed_the_limit() {
    let size = MAX_NEWEST / 16 / EVENT;
    let buffers = Buffers::default();
    let mut streams: Vec<_> = (0..100).map(|_| buffers.add()).collect();
    let mut taken = Vec::new();
    for (number, (producer, consumer)) in streams.iter_mut().enumerate() {
        producer.push(event(), size, Moment::now());
        match consumer.try_next() {
            Some(Item::Message(_)) => taken.push(number),
            Some(Item::Dropped(1)) => {}
            other => panic!("{other:?}"),
        }
        assert!(used(&buffers) <= MAX_NEWEST + size * EVENT, "{number}: {}", used(&buffers));
    }
    assert_eq!(taken.len(), 17);
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_memory_before_it_opens() {
    let buffers = Buffers::default();
    let (producer, mut consumer) = buffers.add();
    buffers.room().await;
    producer.push(event(), MAX_NEWEST, Moment::now());
    assert!(matches!(consumer.next().await, Item::Message(_)));
    tokio::time::timeout(10 * ROOM_CHECK, buffers.room()).await.unwrap_err();
    // The work on the message has ended.
    assert_eq!(consumer.try_next(), None);
    buffers.room().await;
}

#[tokio::test]
async fn whatever_is_dropped_is_counted() {
    let buffers = Buffers::default();
    let mut streams: Vec<_> = (0..16).map(|_| buffers.add()).collect();
    for (producer, _) in &streams {
        producer.push(event(), MAX_NEWEST / 4 / EVENT, Moment::now());
    }
    let mut told = 0;
    for (_, consumer) in &mut streams {
        while let Some(item) = consumer.try_next() {
            told += if let Item::Dropped(count) = item { count } else { 0 };
        }
    }
    assert!(told > 0);
    assert_eq!(buffers.0.metrics.dropped_events(), told);
}

#[tokio::test]
async fn a_message_has_the_time_of_its_arrival() {
    let (producer, mut consumer) = Buffers::default().add();
    let arrived = Moment { time: Moment::now().time - Duration::from_secs(5), ..Moment::now() };
    producer.push(lines(1), 1, arrived);
    consumer.next().await;
    assert_eq!(consumer.arrived(), arrived);
}
