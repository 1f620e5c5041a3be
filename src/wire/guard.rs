//! Walks a request's body by its layout before anything decodes it: kafka-protocol reserves memory by counts it has
//! not checked, and five bytes abort the process. It keeps nothing and allocates nothing.
//! Its one invariant: a body that passed holds every length and count it claims, and no more elements than
//! [`MAX_ELEMENTS`].
use crate::wire::api_key::ApiKey;
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::schema::{self, Field, Kind};

/// Most array elements and tags in one request, over all its arrays. An element is decoded into a struct of at most
/// some 200 bytes, so that no request costs more than about 50 MB beside its frame.
pub const MAX_ELEMENTS: usize = 1 << 18;

/// Checks every length in `body`. Bytes behind the last field are left alone, as Kafka does.
///
/// # Errors
/// The first length that reaches past the end, or too many elements.
pub fn check(api_key: ApiKey, version: i16, body: &[u8]) -> Result<(), WireError> {
    let compact = api_key.flexible(version);
    let mut walk = Walk { at: Cursor::new(body), version, compact, elements: 0 };
    walk.fields(schema::body(api_key))
}

struct Walk<'a> {
    at: Cursor<'a>,
    version: i16,
    compact: bool,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), WireError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.present(version)) {
            self.kind(&field.kind)?;
        }
        if self.compact {
            let tags = self.at.skip_tagged_fields()?;
            self.count(tags)?;
        }
        Ok(())
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(bytes) => self.at.skip(*bytes),
            Kind::Text | Kind::Blob if self.compact => self.at.compact_range().map(|_| ()),
            Kind::Text => self.at.nullable_string_range().map(|_| ()),
            Kind::Blob => self.at.nullable_bytes_range().map(|_| ()),
            Kind::List(element) => self.list(element),
            Kind::Struct(fields) => self.fields(fields),
            Kind::Nullable(fields) => match self.at.i8()? {
                1 => self.fields(fields),
                _ => Ok(()),
            },
        }
    }

    fn list(&mut self, element: &Kind) -> Result<(), WireError> {
        let least = element.least(self.version, self.compact);
        let count = self.at.count(self.compact, least)?.unwrap_or(0);
        self.count(count)?;
        if let Kind::Fixed(bytes) = element {
            return self.at.skip(count * bytes);
        }
        for _ in 0..count {
            self.kind(element)?;
        }
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), WireError> {
        self.elements += more;
        if self.elements > MAX_ELEMENTS {
            return Err(WireError::TooManyElements { limit: MAX_ELEMENTS });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::api_key::{PRODUCE_SERVED_FROM, TABLE};
    use crate::wire::request::testing::{reencode, request};
    use allocation_counter::measure;
    use proptest::prelude::*;

    /// Where a length stands in a random body, and how it is written.
    #[derive(Debug, Clone, Copy)]
    struct Length {
        at: usize,
        width: usize,
        form: Form,
    }

    #[derive(Debug, Clone, Copy)]
    enum Form {
        Short,
        Int,
        Compact,
    }

    /// Writes a random body of a layout and notes every length in it.
    struct Random {
        seed: u64,
        version: i16,
        compact: bool,
        out: Vec<u8>,
        lengths: Vec<Length>,
    }

    impl Random {
        fn body(api_key: ApiKey, version: i16, seed: u64) -> Random {
            let compact = api_key.flexible(version);
            let mut random = Random { seed, version, compact, out: Vec::new(), lengths: Vec::new() };
            random.fields(schema::body(api_key));
            random
        }

        fn draw(&mut self, below: u64) -> u64 {
            self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.seed >> 33) % below
        }

        fn fields(&mut self, fields: &[Field]) {
            let version = self.version;
            for field in fields.iter().filter(|field| field.present(version)) {
                self.kind(&field.kind);
            }
            if self.compact {
                let tags = self.draw(3);
                self.length(tags as usize, Form::Compact, 0);
                for tag in 0..tags {
                    self.out.push(100 + tag as u8);
                    let size = self.draw(4) as usize;
                    self.length(size, Form::Compact, 0);
                    self.out.extend(vec![7; size]);
                }
            }
        }

        fn length(&mut self, value: usize, form: Form, null: usize) {
            let at = self.out.len();
            self.out.extend(written(value + null, form));
            self.lengths.push(Length { at, width: self.out.len() - at, form });
        }

        fn prefix(&mut self, value: usize, plain: Form) {
            if self.compact { self.length(value, Form::Compact, 1) } else { self.length(value, plain, 0) }
        }

        fn kind(&mut self, kind: &Kind) {
            match kind {
                // One byte is a boolean or a small enum: both are written back as they were read only for 0 and 1.
                Kind::Fixed(1) => {
                    let bit = self.draw(2) as u8;
                    self.out.push(bit);
                }
                Kind::Fixed(bytes) => {
                    for _ in 0..*bytes {
                        let byte = self.draw(128) as u8;
                        self.out.push(byte);
                    }
                }
                Kind::Text | Kind::Blob => {
                    let size = self.draw(6) as usize;
                    self.prefix(size, if matches!(kind, Kind::Text) { Form::Short } else { Form::Int });
                    let letter = b'a' + self.draw(26) as u8;
                    self.out.extend(vec![letter; size]);
                }
                Kind::List(element) => {
                    let count = self.draw(4) as usize;
                    self.prefix(count, Form::Int);
                    (0..count).for_each(|_| self.kind(element));
                }
                Kind::Struct(fields) => self.fields(fields),
                Kind::Nullable(fields) => {
                    let null = self.draw(2) == 0;
                    self.out.push(if null { 0xff } else { 1 });
                    if !null {
                        self.fields(fields);
                    }
                }
            }
        }

        /// The body with one length raised to `value`, as written (plus one where compact).
        fn raised(&self, length: Length, value: usize) -> Vec<u8> {
            let mut raised = self.out[..length.at].to_vec();
            raised.extend(written(value, length.form));
            raised.extend(&self.out[length.at + length.width..]);
            raised
        }
    }

    fn written(value: usize, form: Form) -> Vec<u8> {
        match form {
            Form::Short => (value as i16).to_be_bytes().to_vec(),
            Form::Int => (value as i32).to_be_bytes().to_vec(),
            Form::Compact => {
                let mut writer = crate::wire::writer::Writer::new(true, 5);
                writer.uvarint(value as u32);
                writer.out.to_vec()
            }
        }
    }

    fn advertised() -> impl Iterator<Item = (ApiKey, i16)> {
        TABLE.iter().flat_map(|api| (api.min..=api.max).map(|version| (api.key, version)))
    }

    /// Whether a body becomes a request: all do but Produce 0-2, which are refused after the guard.
    fn served(api_key: ApiKey, version: i16) -> bool {
        api_key != ApiKey::Produce || version >= PRODUCE_SERVED_FROM
    }

    #[test]
    fn random_bodies_of_every_version_pass_and_decode_to_what_they_were() {
        for (api_key, version) in advertised() {
            for seed in 0..50 {
                let random = Random::body(api_key, version, seed);
                assert_eq!(check(api_key, version, &random.out), Ok(()), "{api_key} {version} seed {seed}");
                if !served(api_key, version) {
                    continue;
                }
                let decoded = request(api_key, version, &random.out);
                let decoded = decoded.unwrap_or_else(|error| panic!("{api_key} {version} {seed}: {error}"));
                if let Some(again) = reencode(&decoded.body, version) {
                    assert_eq!(again, random.out, "{api_key} {version} seed {seed}");
                }
            }
        }
    }

    #[test]
    fn every_length_raised_above_what_remains_is_refused_without_allocating() {
        let mut raised = 0;
        for (api_key, version) in advertised() {
            for seed in 0..50 {
                let random = Random::body(api_key, version, seed);
                for length in &random.lengths {
                    let remaining = random.out.len() - length.at - length.width;
                    let most = match length.form {
                        Form::Short => i16::MAX as usize,
                        Form::Int => i32::MAX as usize,
                        Form::Compact => u32::MAX as usize,
                    };
                    for value in [remaining + 2, most / 2, most] {
                        let body = random.raised(*length, value);
                        let mut verdict = Ok(());
                        let allocated = measure(|| verdict = check(api_key, version, &body));
                        let what = format!("{api_key} {version} seed {seed} {length:?} as {value}");
                        assert!(verdict.is_err(), "{what} passed");
                        assert_eq!(allocated.count_total, 0, "{what} allocated");
                        assert!(request(api_key, version, &body).is_err(), "{what} decoded");
                        raised += 1;
                    }
                }
            }
        }
        assert!(raised > 50_000, "only {raised} lengths were tried");
    }

    #[test]
    fn the_five_byte_metadata_body_that_aborts_the_codec_is_refused() {
        let verdict = check(ApiKey::Metadata, 0, &[0x03, 0x3c, 0x0c, 0x00, 0xb6]);
        assert!(matches!(verdict, Err(WireError::Truncated { .. })), "{verdict:?}");
    }

    #[test]
    fn elements_are_bounded_over_all_arrays() {
        let count = MAX_ELEMENTS + 1;
        let mut body = (count as i32).to_be_bytes().to_vec();
        body.extend(vec![0; 2 * count + 1]);
        let verdict = check(ApiKey::DescribeGroups, 3, &body);
        assert_eq!(verdict, Err(WireError::TooManyElements { limit: MAX_ELEMENTS }));
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic_nor_decode_into_more_than_they_hold(
            row in 0..TABLE.len(), body in proptest::collection::vec(any::<u8>(), 0..400), pick in any::<u16>(),
        ) {
            let api = TABLE[row];
            let version = api.min + (pick as i16).rem_euclid(api.max - api.min + 1);
            let allocated = measure(|| { let _ = request(api.key, version, &body); });
            prop_assert!(allocated.bytes_max < 64 * 1024 + 400 * body.len() as u64, "{} bytes", allocated.bytes_max);
        }

        #[test]
        fn broken_bodies_never_panic(
            row in 0..TABLE.len(), seed in any::<u64>(), pick in any::<u16>(), at in any::<usize>(), byte in any::<u8>(),
        ) {
            let api = TABLE[row];
            let version = api.min + (pick as i16).rem_euclid(api.max - api.min + 1);
            let mut body = Random::body(api.key, version, seed).out;
            if body.is_empty() { return Ok(()); }
            let at = at % body.len();
            body[at] = byte;
            let _ = request(api.key, version, &body);
            body.truncate(at);
            let _ = request(api.key, version, &body);
        }
    }
}
