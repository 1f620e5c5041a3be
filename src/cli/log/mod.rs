//! `firn log`: files of a log, offline.
//! What is found is `firnline_tiering::inspect`'s; here it becomes text and JSON.

mod json;
mod lines;
pub mod run;
mod summary;
