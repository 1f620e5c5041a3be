//! Every verb of the handle once, from another thread too, and many askers at the same time.

use std::sync::Arc;

use firnline_controller::client::Controller;
use firnline_controller::decide::partitions::NewPartitions;
use firnline_controller::error::{
    AlterConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError, RegisterError, TierRefused,
    Unavailable,
};
use firnline_controller::id::TopicId;
use firnline_controller::record::kinds::Resource;
use firnline_tiering::cold::tier::Refused;

use crate::disk::Disk;
use crate::restart::records;
use crate::scene::{append, broker, create, start, topic};

async fn started() -> (Disk, Controller) {
    let disk = Disk::default();
    let controller = start(Arc::new(disk.clone()), 0).await.expect("started");
    controller.register_broker(broker(1)).await.expect("registered");
    (disk, controller)
}

#[tokio::test]
async fn a_request_is_judged_topic_by_topic() {
    let (_, controller) = started().await;
    let asked = vec![
        topic("a", 1),
        topic("twice", 1),
        topic("..", 1),
        topic("twice", 2),
        topic("b", 9_999),
        topic("c", 1),
    ];
    let answers = controller.create_topics(asked, false).await;
    assert!(answers[0].is_ok() && answers[4].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(CreateTopicError::InvalidRequest(_))), "{answers:?}");
    assert!(matches!(answers[2], Err(CreateTopicError::InvalidName(_))), "{answers:?}");
    assert!(matches!(answers[3], Err(CreateTopicError::InvalidRequest(_))), "{answers:?}");
    assert!(
        matches!(answers[5], Err(CreateTopicError::TooManyPartitions { asked: 10_001, .. })),
        "{answers:?}"
    );
    assert_eq!(controller.image().topics.len(), 2, "the image shows it before the answer comes");
}

#[tokio::test]
async fn a_rehearsal_changes_nothing() {
    let (disk, controller) = started().await;
    let a = create(&controller, "a", 1).await;
    let (before, writes) = (records(&controller), disk.operations());
    let answers = controller.create_topics(vec![topic("b", 3), topic("b.c", 1), topic("b_c", 1)], true).await;
    assert_eq!(answers[0].as_ref().map(|created| created.partitions), Ok(3));
    assert!(matches!(answers[2], Err(CreateTopicError::Collides { .. })), "{answers:?}");
    let grown = controller
        .create_partitions(vec![NewPartitions { topic: a, count: 7, assignments: vec![] }], true)
        .await;
    assert_eq!(grown, [Ok(7)]);
    assert_eq!((records(&controller), disk.operations()), (before, writes));
}

#[tokio::test]
async fn unknown_topics_are_refused_by_every_verb() {
    let (_, controller) = started().await;
    let id = TopicId(uuid::Uuid::from_u128(404));
    assert_eq!(controller.delete_topics(vec![id]).await, [Err(DeleteTopicError::UnknownTopic(id))]);
    let grow = NewPartitions { topic: id, count: 7, assignments: vec![] };
    assert_eq!(
        controller.create_partitions(vec![grow], false).await,
        [Err(CreatePartitionsError::UnknownTopic(id))]
    );
    let set = vec![("retention.ms".to_owned(), Some("1".to_owned()))];
    let refused = controller.alter_configs(Resource::Topic(id), set).await;
    assert_eq!(refused, Err(AlterConfigsError::UnknownTopic(id)));
    let a = create(&controller, "a", 1).await;
    let row = controller.image().tier_row(a, 0).unwrap();
    let refused = controller.change_tiers(vec![(id, 0, append(&row, 0)), (a, 1, append(&row, 0))]).await;
    assert_eq!(
        refused,
        [Err(TierRefused::UnknownPartition(id, 0)), Err(TierRefused::UnknownPartition(a, 1))]
    );
    let twice = controller.delete_topics(vec![a, a]).await;
    assert_eq!(twice, [Ok(()), Err(DeleteTopicError::Duplicate(a))]);
}

#[tokio::test]
async fn configuration_is_set_replaced_and_removed() {
    let (disk, controller) = started().await;
    let a = create(&controller, "a", 1).await;
    let pair = |value: Option<&str>| vec![("retention.ms".to_owned(), value.map(str::to_owned))];
    for resource in [Resource::Topic(a), Resource::BrokerDefault] {
        controller.alter_configs(resource, pair(Some("1"))).await.unwrap();
        controller.alter_configs(resource, pair(Some("2"))).await.unwrap();
        assert_eq!(controller.image().configs.get(resource, "retention.ms").map(|value| &**value), Some("2"));
        let writes = disk.operations();
        controller.alter_configs(resource, pair(Some("2"))).await.unwrap();
        assert_eq!(disk.operations(), writes, "what is already so is not written again");
        controller.alter_configs(resource, pair(None)).await.unwrap();
        assert_eq!(controller.image().configs.of(resource), None);
    }
    let twice = [pair(Some("1")), pair(None)].concat();
    let refused = controller.alter_configs(Resource::BrokerDefault, twice).await;
    assert!(matches!(refused, Err(AlterConfigsError::InvalidRequest(_))), "{refused:?}");
}

#[tokio::test]
async fn tier_steps_of_one_request_build_on_each_other_and_a_stale_one_has_no_effect() {
    let (_, controller) = started().await;
    let a = create(&controller, "a", 1).await;
    let row = controller.image().tier_row(a, 0).unwrap();
    let first = append(&row, 0);
    let next = row.apply(&first).unwrap();
    let answers =
        controller.change_tiers(vec![(a, 0, first.clone()), (a, 0, append(&next, 0)), (a, 0, first)]).await;
    assert_eq!(answers[0].as_ref().map(|row| row.end.0), Ok(10));
    assert_eq!(answers[1].as_ref().map(|row| row.end.0), Ok(20));
    assert!(matches!(answers[2], Err(TierRefused::Refused(Refused::StaleVersion { .. }))), "{answers:?}");
    assert_eq!(controller.image().tier_row(a, 0).unwrap().end.0, 20);
}

#[tokio::test]
async fn a_broker_of_another_cluster_is_refused() {
    let (_, controller) = started().await;
    let mut other = broker(9);
    other.cluster_id = "another".into();
    let refused = controller.register_broker(other).await;
    assert!(matches!(refused, Err(RegisterError::OtherCluster { .. })), "{refused:?}");
    let mut mute = broker(9);
    mute.endpoints.clear();
    assert!(matches!(controller.register_broker(mute).await, Err(RegisterError::InvalidRequest(_))));
}

#[tokio::test]
async fn askers_that_wait_together_share_a_sync() {
    let (disk, controller) = started().await;
    let before = disk.operations();
    let asks = (0..200).map(|_| controller.allocate_producer_ids());
    let mut blocks: Vec<_> = futures::future::join_all(asks).await.into_iter().map(Result::unwrap).collect();
    blocks.sort_by_key(|block| block.start);
    assert!(blocks.iter().zip(0..).all(|(block, nth)| block.start == nth * 1000), "{blocks:?}");
    let writes = disk.operations() - before;
    assert!(writes <= 20, "200 requests that wait together cost {writes} disk operations");
}

/// Serving cores are runtimes of their own on threads of their own.
#[tokio::test]
async fn the_handle_works_from_another_runtime() {
    let (_, controller) = started().await;
    let handle = controller.clone();
    let (done, answered) = tokio::sync::oneshot::channel();
    let core = std::thread::Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut feed = handle.watch();
        let answer = runtime.block_on(handle.create_topics(vec![topic("from-a-core", 1)], false));
        assert!(feed.has_changed().expect("the controller runs"));
        assert!(feed.borrow_and_update().topics.by_name("from-a-core").is_some());
        done.send(answer).expect("awaited");
    });
    assert!(answered.await.expect("an answer")[0].is_ok());
    core.expect("a thread").join().expect("it ended well");
}

#[tokio::test]
async fn after_shutdown_every_verb_says_so() {
    let (_, controller) = started().await;
    let (pending, ()) =
        tokio::join!(controller.create_topics(vec![topic("last", 1)], false), controller.shutdown());
    assert!(pending[0].is_ok(), "what was asked before is answered: {pending:?}");
    let refused = controller.allocate_producer_ids().await;
    let stopped = firnline_controller::error::AllocateError::Unavailable(Unavailable::Stopped(
        "it takes no requests".into(),
    ));
    assert_eq!(refused, Err(stopped));
    assert!(controller.image().topics.by_name("last").is_some(), "the last image stays readable");
    controller.shutdown().await;
}

#[tokio::test]
async fn nothing_holds_an_image_after_shutdown() {
    let (_, controller) = started().await;
    create(&controller, "a", 1).await;
    let image = Arc::downgrade(&controller.image());
    controller.shutdown().await;
    drop(controller);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(image.upgrade().is_none(), "a stopped controller keeps its image in memory");
}
