//! Floor 3 of the house: decides who leads, which topics exist and where each log's tier pointer stands.
//! Decisions are pure functions folded over records that a quorum made durable; it never opens a client's batch.
