//! `compression.type`: a batch whose codec is not the topic's is opened and compressed again before it is stored.
//! It changes nothing but the codec, and the max timestamp where the header lied. Invariant: the records inside, byte
//! for byte, are those that were sent, and what is opened here is checked as an uncompressed batch is.

use crate::batch::compress::{DecompressError, compress_at, decompress, decompress_limit};
use crate::batch::header::{CRC_FROM, Codec, HEADER_BYTES, LOG_OVERHEAD, crc32c, set_max_timestamp};
use crate::batch::validate::{Invalid, Rules, Stamp, Validated, check_records};
use crate::config::{LogConfig, TopicCompression};

/// The batch as the topic wants it stored; `None` if it is that already. Control batches stay as they are.
/// `batch` was validated by `rules` and stamped.
pub fn recoded(
    batch: &[u8],
    validated: &Validated,
    rules: &Rules,
    config: &LogConfig,
) -> Result<Option<Vec<u8>>, Invalid> {
    let header = &validated.header;
    let TopicCompression::Always(wanted) = config.compression else { return Ok(None) };
    let codec = header.codec().map_err(|_| Invalid::UnknownCodec(header.attributes & 7))?;
    if codec == wanted || header.is_control() {
        return Ok(None);
    }
    let records = &batch[HEADER_BYTES..];
    let opened;
    let plain = if codec == Codec::None {
        records
    } else {
        opened = decompress(codec, records, decompress_limit(config.max_message_bytes))
            .map_err(Invalid::Compression)?;
        &opened[..]
    };
    // Until now a compressed batch was trusted by its header.
    let max_timestamp = if validated.opened { None } else { Some(check_records(plain, header, rules)?) };
    let body = compress_at(wanted, plain, config.compression_levels).map_err(|error| {
        Invalid::Compression(DecompressError::Malformed { codec: wanted, what: error.to_string() })
    })?;
    let size = HEADER_BYTES + body.len();
    if size > config.max_message_bytes as usize {
        return Err(Invalid::TooLarge { size, limit: config.max_message_bytes });
    }
    let mut recoded = with_body(batch, wanted, &body);
    if let Some(max_timestamp) = max_timestamp
        && validated.stamp == Stamp::Keep
        && max_timestamp != header.max_timestamp
    {
        set_max_timestamp(&mut recoded, max_timestamp);
    }
    Ok(Some(recoded))
}

fn with_body(batch: &[u8], codec: Codec, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&batch[..HEADER_BYTES]);
    out.extend_from_slice(body);
    let length = (out.len() - LOG_OVERHEAD) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) & !7 | codec.bits();
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc32c(&out[CRC_FROM..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::batch::header::BatchHeader;
    use crate::batch::record::RecordReader;
    use crate::batch::validate::{Origin, validate};

    fn batch(codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new().codec(codec).producer(7, 1, 3);
        (0..40).for_each(|at| {
            builder.push(1000 + at, Some(b"key"), Some(&[at as u8; 50]), &[(b"h", None)]);
        });
        builder.build().to_vec()
    }

    fn recode(original: &[u8], config: &LogConfig) -> Result<Option<Vec<u8>>, Invalid> {
        let rules = Rules::of(config, Origin::Client, 2000, 9);
        let validated = validate(original, &rules).expect("a valid batch");
        recoded(original, &validated, &rules, config)
    }

    #[test]
    fn every_codec_becomes_every_other() {
        let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        for (sent, wanted) in codecs.iter().flat_map(|a| codecs.map(|b| (*a, b))) {
            let config = LogConfig {
                compression: TopicCompression::Always(wanted),
                timestamp_before_max_ms: i64::MAX,
                validate_compressed: true,
                ..LogConfig::default()
            };
            let original = batch(sent);
            let Some(stored) = recode(&original, &config).expect("recodes") else {
                assert_eq!(sent, wanted);
                continue;
            };
            let rules = Rules::of(&config, Origin::Client, 2000, 9);
            let checked = validate(&stored, &rules).expect("a valid batch");
            assert_eq!(checked.header.codec(), Ok(wanted));
            assert_eq!((checked.header.base_sequence, checked.header.producer_id), (3, 7));
            let plain = decompress(wanted, &stored[HEADER_BYTES..], 1 << 20).expect("opens");
            let before = decompress(sent, &original[HEADER_BYTES..], 1 << 20).expect("opens");
            assert_eq!(plain, before);
            assert_eq!(RecordReader::new(&plain).count(), 40);
        }
    }

    #[test]
    fn a_batch_that_grows_past_the_limit_is_refused() {
        let original = batch(Codec::Zstd);
        let config = LogConfig {
            compression: TopicCompression::Always(Codec::None),
            max_message_bytes: original.len() as u32 + 10,
            ..LogConfig::default()
        };
        assert!(matches!(recode(&original, &config), Err(Invalid::TooLarge { .. })));
    }

    #[test]
    fn what_is_opened_is_checked_as_if_it_had_come_open() {
        let config = LogConfig { compression: TopicCompression::Always(Codec::Lz4), ..LogConfig::default() };
        // One record less than the header counts: trusted while it stays closed, refused once it is opened.
        let mut builder = BatchBuilder::new().codec(Codec::Zstd);
        (0..2).for_each(|at| _ = builder.push(1000 + at, None, Some(b"value"), &[]));
        let sealed = |change: fn(&mut Vec<u8>)| {
            let mut bytes = builder.clone().build().to_vec();
            change(&mut bytes);
            let crc = crc32c(&bytes[CRC_FROM..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            bytes
        };
        let more = sealed(|bytes| (bytes[26], bytes[60]) = (2, 3));
        assert!(matches!(recode(&more, &config), Err(Invalid::RecordCount { count: 3, found: 2, .. })));
        // A max timestamp that no record has is put right.
        let lie = sealed(|bytes| bytes[42] = 0xff);
        assert_ne!(BatchHeader::parse(&lie).expect("a header").max_timestamp, 1001);
        let stored = recode(&lie, &config).expect("recodes").expect("another codec");
        let header = BatchHeader::parse_whole(&stored).expect("a header");
        assert_eq!(header.max_timestamp, 1001);
        header.check_crc(&stored).expect("a fresh crc");
    }
}
