//! What the system allows this process, at start: descriptors, raised to the hard limit and divided.
//! It refuses nothing: a broker with too few of them runs, and says so. Invariant: segment files take at most half, so
//! that clients, the quorum and the bucket always find some.

use firnline_tiering::hot::file::Files;
use firnline_tiering::hot::syscall::raise_open_files;

/// Below this a broker of ordinary size meets the limit one day.
const FEW: u64 = 8192;

/// Raises the limit of descriptors and bounds those of segments. Does nothing where files cost none.
pub fn divide_descriptors(files: &dyn Files) {
    let Some(handles) = files.handles() else { return };
    match raise_open_files() {
        Ok(limit) => {
            let segments = segments_of(limit);
            handles.set_limit(segments);
            if limit < FEW {
                tracing::warn!(
                    limit,
                    segments,
                    "few descriptors: raise the hard limit (ulimit -Hn, LimitNOFILE) for more clients and partitions"
                );
            } else {
                tracing::info!(limit, segments, "descriptors");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the limit of descriptors is unknown: segment files are not bounded")
        }
    }
}

/// Open segment files under a limit.
fn segments_of(limit: u64) -> usize {
    usize::try_from(limit / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_take_half_at_most() {
        assert_eq!(segments_of(1024), 512);
        assert_eq!(segments_of(1), 0);
    }
}
