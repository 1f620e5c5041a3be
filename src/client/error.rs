//! Why a call of our own client failed, in words for the person at the terminal.
//! An error code of the broker keeps Kafka's name, so that it can be looked up.

use std::io;

use thiserror::Error;

use crate::wire::message::ResponseError;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot reach a broker at {address}: {source}")]
    Unreachable {
        /// As given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or the broker took too long.
    #[error("the connection to {address} broke: {source}")]
    Broken {
        /// As given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// What came back is not Kafka's protocol.
    #[error("{address} does not speak Kafka's protocol: {why}")]
    NotKafka {
        /// As given.
        address: String,
        /// What gave it away.
        why: String,
    },
    /// The broker serves no version of this API that we speak.
    #[error("the broker at {address} serves no version of {api} that this client speaks")]
    Version {
        /// As given.
        address: String,
        /// API number, or its name.
        api: String,
    },
    /// The broker refused.
    #[error("{}{}", name(*.code), message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// Kafka's error code.
        code: i16,
        /// What the broker says about it.
        message: Option<String>,
    },
}

impl ClientError {
    /// `Ok` for code 0.
    pub fn check(code: i16, message: Option<&str>) -> Result<(), ClientError> {
        if code == 0 {
            return Ok(());
        }
        Err(ClientError::Refused {
            code,
            message: message.filter(|text| !text.is_empty()).map(str::to_owned),
        })
    }
}

/// Kafka's name of an error code, e.g. `TOPIC_ALREADY_EXISTS`.
pub fn name(code: i16) -> String {
    let known = ResponseError::try_from_code(code).map(|error| format!("{error:?}"));
    // An unknown code is a variant that carries its number.
    let Some(known) = known.filter(|known| !known.contains('(')) else { return format!("error {code}") };
    let mut name = String::new();
    for letter in known.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_kafkas_names() {
        assert_eq!(name(36), "TOPIC_ALREADY_EXISTS");
        assert_eq!(name(9999), "error 9999");
        let refused = ClientError::check(40, Some("Unknown topic config name: x")).unwrap_err();
        assert_eq!(refused.to_string(), "INVALID_CONFIG: Unknown topic config name: x");
        assert_eq!(ClientError::check(3, None).unwrap_err().to_string(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert!(ClientError::check(0, None).is_ok());
    }
}
