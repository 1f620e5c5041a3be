//! What is seen of a broker from outside: log lines, `/metrics`, health, tier status.
//! It reads what other rooms count and changes nothing.

pub mod tier_status;
