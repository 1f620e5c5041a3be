//! One file per API: a handler translates a request, asks the rooms below, and translates the answer back.
//! Nothing here touches a file, a socket or the bucket.

pub mod admin;
pub mod admission;
pub mod authorized;
pub mod context;
pub mod counters;
pub mod data;
pub mod dispatch;
pub mod error_code;
pub mod groups;
pub mod said_once;
pub mod session;
pub mod topics;
