//! Doing the same for many logs on a few threads, which come and go with the work.
//! It knows no log. Invariant: answers come in the list's order, and in a simulation the work is done in it too.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that work on a list together.
pub(super) struct Hands {
    /// Everything has one order, in a simulation: one thread does it all.
    pub in_order: bool,
}

impl Hands {
    /// Does `each` for all of `list` on at most `most` threads. A panic in one comes out here.
    pub fn share<T: Sync, R: Send>(&self, most: usize, list: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let most = most.min(list.len());
        if self.in_order || most <= 1 {
            return list.iter().map(each).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(one) = list.get(at) else { return done };
                done.push((at, each(one)));
            }
        };
        let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..most).map(|_| scope.spawn(work)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        done.sort_unstable_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_lists_order() {
        let list: Vec<usize> = (0..1000).collect();
        for (in_order, most) in [(true, 16), (false, 16), (false, 1), (false, 5000)] {
            let doubled = Hands { in_order }.share(most, &list, |one| one * 2);
            assert!(doubled.iter().enumerate().all(|(at, two)| *two == at * 2), "{in_order} {most}");
        }
        assert!(Hands { in_order: false }.share(4, &[] as &[u8], |_| ()).is_empty());
    }
}
