//! Reads the topics out of a consumer's subscription (ConsumerProtocolSubscription): version 0 is the prefix of all
//! versions, so nothing newer needs to be known. The bytes themselves pass through the coordinator untouched.
//!
//! ```text
//! i16 version | i32 count, { string topic } | bytes user data | (later versions add at the end)
//! ```

use bytes::Bytes;

use crate::coordinator::group::field::{FieldError, Fields};

/// The topics of a subscription.
pub fn topics(subscription: &Bytes) -> Result<Vec<String>, FieldError> {
    let mut fields = Fields::new(subscription.clone());
    let version = fields.i16()?;
    if version < 0 {
        return Err(FieldError::Length(i64::from(version)));
    }
    let count = fields.count(2)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(fields.string()?);
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topics_of_version_3_are_read_from_its_prefix() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\0\0\0\0\0\0\0\0\0\0\0\x05\xff\xff";
        assert_eq!(topics(&Bytes::from_static(bytes)), Ok(vec!["a".to_owned(), "bc".to_owned()]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = topics(&Bytes::from(bytes));
        }
    }
}
