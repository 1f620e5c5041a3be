//! Record batches (Kafka's format, magic 2): read in place, checked, built, opened only when needed.
//! It knows no log and no file; offsets and epochs are only written where the caller says.

pub mod builder;
pub mod compress;
pub mod control;
pub mod header;
pub mod record;
pub mod stamps;
pub mod validate;

pub use builder::BatchBuilder;
pub use header::{BatchError, BatchHeader, Codec, TimestampType};
pub use record::{Record, RecordReader};
pub use validate::{Invalid, Rules, Validated, validate};
