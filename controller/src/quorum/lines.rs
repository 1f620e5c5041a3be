//! Connections held to other members so that their end is news: which to open, and what an end proves. Pure, given the
//! time; the connections are floor 4's (`transport.rs`). Invariant: a process is said to have gone only by its own
//! machine, at the very address at which it answered as this member.
//!
//! When a process ends, by whatever signal, its machine closes its sockets within milliseconds. What that proves:
//!
//! - A line that *breaks* proves nothing: something between may have dropped it, or the other side closed it for being
//!   idle. It is the reason to connect again at once.
//! - A connection that is *refused* then proves that nobody listens where this member answered by its own name (a hello
//!   names the identity it is for, so that no other process answers it) and where a line stood until now. A node binds
//!   its listener before it registers and keeps it until it stops: the process has gone, or is on its way.
//! - A connection that is *accepted* proves nothing. A new process may listen there already: its registration has
//!   another epoch, and says more than this could. A relay accepts for those behind it.
//! - *No answer* proves nothing: a packet was lost, the host is cut off, the backlog is full (Linux drops the packet
//!   then, it refuses nothing). The session and the beats tell.
//! - An address that is wrong never answered a hello, so nothing it does is looked at.
//!
//! What is left is a device between that refuses on behalf of a node that lives. It would have to break the line first;
//! and who is heard after the refusal lives on: see `liveness.rs` and `campaign.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::quorum::type_config::VoterId;
use crate::transport::{Address, LineEnd};

/// Between two tries that came to nothing.
const RETRY: Duration = Duration::from_millis(500);
/// A line that did not stand for so long is opened again after a pause: somebody may accept and close, over and over.
const SOUND: Duration = Duration::from_millis(250);

/// What to do for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// Ask who is there.
    Greet,
    /// Hold a line.
    Hold,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Whether the member itself answered.
    Greeted(bool),
    /// The line ended, or there was none.
    Held(LineEnd),
}

#[derive(Debug, Clone)]
struct Line {
    address: Address,
    /// The member has answered at this address.
    proven: bool,
    gone: Option<Instant>,
    underway: Option<Instant>,
    next: Instant,
}

/// The lines of one node.
#[derive(Debug, Default)]
pub struct Lines {
    known: BTreeMap<VoterId, Line>,
}

impl Lines {
    /// What is due for `member`, who takes calls at `address`. It is under way from now on.
    pub fn due(&mut self, member: VoterId, address: &Address, now: Instant) -> Option<Try> {
        let fresh =
            || Line { address: address.clone(), proven: false, gone: None, underway: None, next: now };
        let line = self.known.entry(member).or_insert_with(fresh);
        if line.address != *address {
            *line = fresh();
        }
        if line.underway.is_some() || now < line.next {
            return None;
        }
        line.underway = Some(now);
        Some(if line.proven && line.gone.is_none() { Try::Hold } else { Try::Greet })
    }

    /// What was begun at `began` has come to something. True if the member's process has gone, which is news.
    pub fn came(
        &mut self,
        member: VoterId,
        address: &Address,
        began: Instant,
        came: &Came,
        now: Instant,
    ) -> bool {
        let Some(line) = self.known.get_mut(&member) else { return false };
        if line.address != *address || line.underway != Some(began) {
            return false;
        }
        line.underway = None;
        line.next = now + RETRY;
        match came {
            Came::Greeted(true) => {
                (line.proven, line.gone, line.next) = (true, None, now);
                false
            }
            Came::Held(LineEnd::Broken) => {
                line.next = if now >= began + SOUND { now } else { now + SOUND };
                false
            }
            Came::Held(LineEnd::Refused) if line.gone.is_none() => {
                line.gone = Some(began);
                true
            }
            Came::Greeted(false) | Came::Held(_) => false,
        }
    }

    /// Since when it is known that a member's process has gone.
    pub fn gone(&self, member: VoterId) -> Option<Instant> {
        self.known.get(&member)?.gone
    }

    /// All whose process is known to have gone.
    pub fn all_gone(&self) -> impl Iterator<Item = (VoterId, Instant)> {
        self.known.iter().filter_map(|(member, line)| Some((*member, line.gone?)))
    }

    /// Forgets those that are members no more.
    pub fn keep(&mut self, is_member: impl Fn(VoterId) -> bool) {
        self.known.retain(|member, _| is_member(*member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: VoterId = 7;

    fn at(port: u16) -> Address {
        Address { host: "host".to_owned(), port }
    }

    /// Does what is due and says what it comes to.
    fn step(lines: &mut Lines, now: Instant, lasts: u64, expected: Try, came: Came) -> (Instant, bool) {
        let due = lines.due(MEMBER, &at(1), now);
        assert_eq!(due, Some(expected));
        assert_eq!(lines.due(MEMBER, &at(1), now), None, "it is under way");
        let then = now + Duration::from_millis(lasts);
        (then, lines.came(MEMBER, &at(1), now, &came, then))
    }

    const BROKEN: Came = Came::Held(LineEnd::Broken);
    const REFUSED: Came = Came::Held(LineEnd::Refused);

    #[tokio::test(start_paused = true)]
    async fn refused_after_a_line_that_stood_proves_that_the_process_has_gone() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let (now, _) = step(&mut lines, start, 1, Try::Greet, Came::Greeted(true));
        let (now, news) = step(&mut lines, now, 9_000, Try::Hold, BROKEN);
        assert!(!news && lines.gone(MEMBER).is_none(), "a line that breaks proves nothing");
        let probed = now;
        let (now, news) = step(&mut lines, now, 1, Try::Hold, REFUSED);
        assert!(news);
        assert_eq!(lines.all_gone().collect::<Vec<_>>(), [(MEMBER, probed)]);
        // It is asked who is there until the member itself answers, and only that ends it.
        let now = now + RETRY;
        let (now, news) = step(&mut lines, now, 1, Try::Greet, Came::Greeted(false));
        assert!(!news && lines.gone(MEMBER) == Some(probed));
        assert_eq!(lines.due(MEMBER, &at(1), now), None, "not at once");
        let (now, _) = step(&mut lines, now + RETRY, 1, Try::Greet, Came::Greeted(true));
        assert_eq!(lines.gone(MEMBER), None);
        step(&mut lines, now, 1, Try::Hold, BROKEN);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_never_answered_proves_nothing() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let (now, _) = step(&mut lines, start, 1, Try::Greet, Came::Greeted(false));
        let (now, _) = step(&mut lines, now + RETRY, 1, Try::Greet, Came::Greeted(true));
        // What answered at one address says nothing of another.
        assert_eq!(lines.due(MEMBER, &at(2), now), Some(Try::Greet));
        assert!(!lines.came(MEMBER, &at(1), now, &REFUSED, now), "an old try");
        assert_eq!(lines.all_gone().count(), 0);
        lines.keep(|_| false);
        assert_eq!(lines.due(MEMBER, &at(1), now), Some(Try::Greet), "forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_and_a_connection_that_is_accepted_prove_nothing() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        let (mut now, _) = step(&mut lines, start, 1, Try::Greet, Came::Greeted(true));
        for came in [Came::Held(LineEnd::Unknown("silence".to_owned())), BROKEN] {
            let (then, news) = step(&mut lines, now, 1, Try::Hold, came);
            assert!(!news && lines.gone(MEMBER).is_none());
            assert_eq!(lines.due(MEMBER, &at(1), then), None, "no hot loop");
            now = then + RETRY;
        }
    }
}
