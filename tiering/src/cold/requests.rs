//! A count of every request to the bucket: requests cost money, and "one GET per chunk" is a promise.
//! Only counts; limits are the store's. Invariant: every try is counted, whatever came of it.

use crate::cold::store_error::Operation;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64),* }

        /// Requests made since the store was opened, every try counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Requests { $($(#[$doc])* pub $name: u64),* }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Requests {
                Requests { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters! {
    /// PUT of an object or a part.
    puts,
    /// GET.
    gets,
    /// HEAD.
    heads,
    /// DELETE.
    deletes,
    /// LIST.
    lists,
    /// Tries that failed, whatever came of the request.
    errors,
    /// Tries after the first.
    retries,
    /// Bytes sent in PUTs that succeeded.
    bytes_put,
    /// Bytes received in GETs that succeeded.
    bytes_got,
}

impl Counters {
    /// One try of a request.
    pub(crate) fn count(&self, op: Operation) {
        let counter = match op {
            Operation::Put => &self.puts,
            Operation::Get => &self.gets,
            Operation::Head => &self.heads,
            Operation::Delete => &self.deletes,
            Operation::List => &self.lists,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
