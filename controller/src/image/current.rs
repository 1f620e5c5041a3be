//! The slot that holds this node's newest committed image, read without a lock from any thread.
//! Not where it is made (`quorum/state_machine.rs`). Invariant: its offset never falls.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::image::metadata::MetadataImage;

/// The newest image, and a feed that wakes those who wait for a newer one.
#[derive(Debug)]
pub struct Current {
    slot: ArcSwap<MetadataImage>,
    feed: watch::Sender<Arc<MetadataImage>>,
}

impl Current {
    /// Holds `image` until the first [`Current::publish`].
    pub fn new(image: Arc<MetadataImage>) -> Self {
        let (feed, _) = watch::channel(image.clone());
        Self { slot: ArcSwap::new(image), feed }
    }

    /// The newest image.
    pub fn load(&self) -> Arc<MetadataImage> {
        self.slot.load_full()
    }

    /// Sees every newest image; one that is slow skips those between.
    pub fn subscribe(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.feed.subscribe()
    }

    /// Replaces the image.
    pub fn publish(&self, image: Arc<MetadataImage>) {
        let before = self.slot.load().offset;
        assert!(image.offset >= before, "image falls from offset {before} to {}", image.offset);
        self.slot.store(image.clone());
        self.feed.send_replace(image);
    }
}
