//! `compression.type`: a batch whose codec is not the topic's is opened and compressed again before it is stored.
//! It changes nothing but the codec. Invariant: the records inside, byte for byte, are those that were sent.

use crate::batch::compress::{DecompressError, compress, decompress, decompress_limit};
use crate::batch::header::{BatchHeader, CRC_FROM, Codec, HEADER_BYTES, LOG_OVERHEAD, crc32c};
use crate::batch::validate::Invalid;
use crate::config::{LogConfig, TopicCompression};

/// The batch as the topic wants it stored; `None` if it is that already. Control batches stay as they are.
pub fn recoded(batch: &[u8], header: &BatchHeader, config: &LogConfig) -> Result<Option<Vec<u8>>, Invalid> {
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
    let body = compress(wanted, plain).map_err(|error| {
        Invalid::Compression(DecompressError::Malformed { codec: wanted, what: error.to_string() })
    })?;
    let size = HEADER_BYTES + body.len();
    if size > config.max_message_bytes as usize {
        return Err(Invalid::TooLarge { size, limit: config.max_message_bytes });
    }
    Ok(Some(with_body(batch, wanted, &body)))
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
    use crate::batch::record::RecordReader;
    use crate::batch::validate::{Origin, Rules, validate};

    fn batch(codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new().codec(codec).producer(7, 1, 3);
        (0..40).for_each(|at| {
            builder.push(1000 + at, Some(b"key"), Some(&[at as u8; 50]), &[(b"h", None)]);
        });
        builder.build().to_vec()
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
            let header = BatchHeader::parse(&original).expect("a header");
            let Some(stored) = recoded(&original, &header, &config).expect("recodes") else {
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
        let header = BatchHeader::parse(&original).expect("a header");
        let config = LogConfig {
            compression: TopicCompression::Always(Codec::None),
            max_message_bytes: original.len() as u32 + 10,
            ..LogConfig::default()
        };
        assert!(matches!(recoded(&original, &header, &config), Err(Invalid::TooLarge { .. })));
    }
}
