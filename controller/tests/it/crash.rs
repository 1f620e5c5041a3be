//! Power goes at every single operation on the disk: whatever was answered before is there afterwards.

use std::sync::Arc;
use std::time::Duration;

use firnline_controller::client::Controller;
use firnline_controller::error::CreateTopicError;

use crate::disk::{Disk, LOSSES};
use crate::scene::{append, broker, config, topic};

/// What the process was told before the power went.
#[derive(Debug, Default, Clone, PartialEq)]
struct Acknowledged {
    topics: Vec<String>,
    deleted: Vec<String>,
    producer_ids: i64,
    tier_end: i64,
}

/// Works until something fails; every answer is noted.
async fn work(disk: &Disk, process: u64, known: &mut Acknowledged) {
    let mut config = config(Arc::new(disk.clone()), process * 1000);
    config.snapshot_every_records = 12;
    let Ok(controller) = Controller::start(config).await else { return };
    if controller.register_broker(broker(u128::from(process) + 1)).await.is_err() {
        return;
    }
    for round in 0..8 {
        let name = format!("p{process}.t{round}");
        match controller.create_topics(vec![topic(&name, 1)], false).await.pop() {
            Some(Ok(_)) => known.topics.push(name),
            _ => return,
        }
        if note_tier(&controller, known).await.is_none() {
            return;
        }
        let Ok(block) = controller.allocate_producer_ids().await else { return };
        assert!(block.start >= known.producer_ids, "{block:?} was given out below {}", known.producer_ids);
        known.producer_ids = block.end;
        if round % 3 == 2 && note_deletion(&controller, known).await.is_none() {
            return;
        }
    }
    controller.shutdown().await;
}

async fn note_tier(controller: &Controller, known: &mut Acknowledged) -> Option<()> {
    let image = controller.image();
    let tiered = image.topics.by_name(known.topics.first()?)?.id;
    let epoch = image.topics.partition(tiered, 0)?.leader_epoch.0;
    let row = image.tier_row(tiered, 0)?;
    let row = controller.change_tiers(vec![(tiered, 0, append(&row, epoch))]).await.pop()?.ok()?;
    known.tier_end = row.end.0;
    Some(())
}

async fn note_deletion(controller: &Controller, known: &mut Acknowledged) -> Option<()> {
    let name = known.topics.last()?.clone();
    let id = controller.image().topics.by_name(&name)?.id;
    // From here on it may be gone, whatever the answer.
    known.topics.pop();
    controller.delete_topics(vec![id]).await.pop()?.ok()?;
    known.deleted.push(name);
    Some(())
}

/// A new process over what survived; answers whether it came up with everything.
async fn check(disk: Disk, known: &Acknowledged, what: &str) {
    let controller = Controller::start(config(Arc::new(disk), 1 << 40)).await;
    let controller = controller.unwrap_or_else(|error| panic!("{what}: {error}"));
    let image = controller.image();
    for name in &known.topics {
        assert!(image.topics.by_name(name).is_some(), "{what}: topic {name} was lost");
    }
    for name in &known.deleted {
        assert!(image.topics.by_name(name).is_none(), "{what}: topic {name} came back");
    }
    if let Some(tiered) = known.topics.first().and_then(|name| image.topics.by_name(name)) {
        let end = image.tier_row(tiered.id, 0).map_or(0, |row| row.end.0);
        assert!(end >= known.tier_end, "{what}: the committed end fell from {} to {end}", known.tier_end);
    }
    let block = controller.allocate_producer_ids().await.unwrap();
    assert!(block.start >= known.producer_ids, "{what}: {block:?} below {}", known.producer_ids);
    controller.shutdown().await;
}

#[tokio::test]
async fn power_lost_at_every_operation_loses_nothing_acknowledged() {
    let whole = Disk::default();
    work(&whole, 0, &mut Acknowledged::default()).await;
    let operations = whole.operations();
    assert!(operations > 60, "the work must touch the disk: {operations}");
    for at in 0..operations {
        let (disk, mut known) = (Disk::default(), Acknowledged::default());
        disk.lose_power_after(at);
        work(&disk, 0, &mut known).await;
        for loss in LOSSES {
            check(disk.after_power_loss(loss), &known, &format!("operation {at}, {loss:?}")).await;
        }
    }
}

#[tokio::test]
async fn power_lost_again_while_recovering_loses_nothing_either() {
    let (whole, mut known) = (Disk::default(), Acknowledged::default());
    whole.lose_power_after(70);
    work(&whole, 0, &mut known).await;
    for loss in LOSSES {
        for at in 0..40 {
            let (disk, mut known) = (whole.after_power_loss(loss), known.clone());
            disk.lose_power_after(at);
            work(&disk, 1, &mut known).await;
            for second in LOSSES {
                let what = format!("{loss:?}, then operation {at}, {second:?}");
                check(disk.after_power_loss(second), &known, &what).await;
            }
        }
    }
}

/// A second asker may be decided on what the first one proposed; if that never commits, neither may its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[allow(clippy::await_holding_lock, reason = "the disk is held on purpose while both requests are under way")]
async fn nothing_is_answered_that_rests_on_a_lost_proposal() {
    let disk = Disk::default();
    let controller = Controller::start(config(Arc::new(disk.clone()), 0)).await.unwrap();
    controller.register_broker(broker(1)).await.unwrap();
    disk.lose_power_after(0);
    let ask = || {
        let controller = controller.clone();
        tokio::spawn(async move { controller.create_topics(vec![topic("a", 1)], false).await.pop().unwrap() })
    };
    let held = disk.hold();
    let first = ask();
    // Long enough for the first to reach the disk and the second to be decided; if not, the test proves less.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = ask();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(held);
    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert!(matches!(answer, Err(CreateTopicError::Unavailable(_))), "{answer:?}");
    }
}
