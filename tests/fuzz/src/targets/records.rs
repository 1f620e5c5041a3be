//! What the broker reads back from its own logs and files: group records, metadata entries, properties.
//! Invariant: what is understood is written back to bytes that mean the same.

use bytes::Bytes;
use firnline::config::properties;
use firnline::coordinator::group::records::Record;
use firnline_controller::record::bytes::Writer;
use firnline_controller::record::entry_codec;

/// A record of `__consumer_offsets`. Byte 0: the key's length; then key and value.
pub fn groups(data: &[u8]) {
    let Some((&len, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(len).min(rest.len()));
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    for value in [None, Some(&value)] {
        let Ok(Some(record)) = Record::decode(&key, value) else { continue };
        // Text may have grown past what the format holds: a replacement character takes three bytes.
        let Ok((key, value)) = record.encode() else { continue };
        let again = Record::decode(&key.into(), value.map(Bytes::from).as_ref());
        assert_eq!(again.expect("what we write can be read"), Some(record));
    }
}

/// An entry of the metadata quorum.
pub fn metadata(data: &[u8]) {
    let Ok(entry) = entry_codec::decode(data) else { return };
    let mut out = Writer::default();
    entry_codec::encode(&entry, &mut out);
    assert_eq!(entry_codec::decode(&out.finish()), Ok(entry));
}

/// A properties file.
pub fn properties(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(entries) = properties::parse(&text) else { return };
    let lines = text.split(['\n', '\r']).count();
    for entry in &entries {
        assert!(entry.line >= 1 && entry.line <= lines, "{entry:?} of {lines} lines");
    }
}
