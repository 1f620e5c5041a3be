//! One error for "this setting cannot be": used by the file reader, the environment, `--set` and the admin APIs.
//! Every text names the key and says what would be accepted; none prints a secret.

use thiserror::Error;

/// Why a setting is not accepted. All map to Kafka's INVALID_CONFIG.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No such key. `hint` is empty or ` (did you mean ...?)`.
    #[error("Unknown {scope} config name: {key}{hint}")]
    Unknown {
        /// `topic` or `broker`.
        scope: &'static str,
        /// As written.
        key: String,
        /// Suggestion, ready to print.
        hint: String,
    },
    /// The value does not fit the key.
    #[error("Invalid value {value} for configuration {key}: {expected}")]
    Invalid {
        /// Key name.
        key: String,
        /// As written, or `[hidden]`.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// A key that promises what is not built yet.
    #[error("{key} is refused: {missing}")]
    Refused {
        /// Key name.
        key: String,
        /// What is missing.
        missing: String,
    },
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// The key cannot be changed while the broker runs.
    #[error("Cannot update {key} while the broker runs: it is read at start only")]
    ReadOnly {
        /// Key name.
        key: String,
    },
}
