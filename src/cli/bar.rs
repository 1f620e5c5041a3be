//! A partition's log as one bar, oldest left: in the bucket only, cached on disk, cached in memory, on the local disk.
//! It draws what it is given. Invariant: a bar is exactly as wide as asked, and whatever is not empty shows.

use crate::telemetry::tier_status::PartitionStatus;

/// Letters of a bar, oldest bytes first.
const BUCKET: char = '░';
const CACHED: char = '▒';
const MEMORY: char = '▓';
const LOCAL: char = '█';

/// What the letters mean.
pub const LEGEND: &str = "░ bucket only   ▒ cached on disk   ▓ cached in memory   █ local disk";

/// The bar of one partition, `width` letters, or blanks for an empty log.
pub fn bar(partition: &PartitionStatus, width: usize) -> String {
    let only = partition.bucket_only_bytes;
    let memory = partition.cached_memory_bytes.min(only);
    let cached = partition.cached_disk_bytes.min(only - memory);
    let parts = [
        (BUCKET, only - memory - cached),
        (CACHED, cached),
        (MEMORY, memory),
        (LOCAL, partition.local_bytes),
    ];
    let counts = share(parts.map(|(_, bytes)| bytes), width);
    let letters = parts.iter().zip(counts).map(|((letter, _), count)| letter.to_string().repeat(count));
    let drawn: String = letters.collect();
    if drawn.is_empty() { " ".repeat(width) } else { drawn }
}

/// Shares `width` out by weight; every weight above zero gets at least one, the rest goes to the largest remainders.
fn share<const N: usize>(weights: [u64; N], width: usize) -> [usize; N] {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if total == 0 {
        return [0; N];
    }
    let exact = weights.map(|weight| u128::from(weight) * width as u128);
    let mut counts = [0; N];
    for (count, (exact, weight)) in counts.iter_mut().zip(exact.iter().zip(weights)) {
        *count = ((exact / total) as usize).max(usize::from(weight > 0));
    }
    let mut by_remainder: Vec<usize> = (0..N).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(exact[*at] % total));
    for at in by_remainder.into_iter().cycle().take(N * width) {
        let sum: usize = counts.iter().sum();
        match sum.cmp(&width) {
            std::cmp::Ordering::Less if weights[at] > 0 => counts[at] += 1,
            std::cmp::Ordering::Greater => {
                // Somebody tiny was rounded up: the widest pays.
                if let Some(widest) = counts.iter_mut().max_by_key(|count| **count) {
                    *widest -= 1;
                }
            }
            std::cmp::Ordering::Equal => break,
            std::cmp::Ordering::Less => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition(only: u64, disk: u64, memory: u64, local: u64) -> PartitionStatus {
        PartitionStatus {
            bucket_only_bytes: only,
            cached_disk_bytes: disk,
            cached_memory_bytes: memory,
            local_bytes: local,
            ..PartitionStatus::default()
        }
    }

    #[test]
    fn bars_show_shares() {
        assert_eq!(bar(&partition(80, 0, 0, 20), 10), "░░░░░░░░██");
        assert_eq!(bar(&partition(80, 20, 20, 20), 10), "░░░░▒▒▓▓██");
        assert_eq!(bar(&partition(0, 0, 0, 5), 4), "████");
        assert_eq!(bar(&partition(0, 0, 0, 0), 4), "    ");
        assert_eq!(bar(&partition(1_000_000, 0, 0, 1), 4), "░░░█");
    }

    proptest! {
        #[test]
        fn a_bar_is_as_wide_as_asked(only: u32, disk: u32, memory: u32, local: u32, width in 4usize..60) {
            let drawn = bar(&partition(only.into(), disk.into(), memory.into(), local.into()), width);
            prop_assert_eq!(drawn.chars().count(), width);
            prop_assert_eq!(drawn.contains('█'), local > 0);
        }
    }
}
