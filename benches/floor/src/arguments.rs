//! What a floor program is asked: its name and a few numbers, each with a default.
//! Pure: it opens nothing.

use std::path::PathBuf;

/// A floor's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// Which floor.
    pub program: String,
    /// Where its files go.
    pub dir: PathBuf,
    /// Bytes of one request, one read, one append.
    pub chunk: usize,
    /// 10^6 bytes to move.
    pub megabytes: u64,
    /// Requests or appends, where bytes do not set the end.
    pub operations: u64,
    /// Connections of the load.
    pub connections: usize,
    /// Requests of a connection that may wait for their answer.
    pub window: usize,
    /// Where the serving side listens; for the load that it starts.
    pub address: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            program: String::new(),
            dir: PathBuf::from("."),
            chunk: 1 << 20,
            megabytes: 1000,
            operations: 1000,
            connections: 1,
            window: 5,
            address: String::new(),
        }
    }
}

impl Arguments {
    /// Reads `program --name value ...`.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let program = words.next().ok_or("which floor?")?;
        let mut asked = Arguments { program, ..Arguments::default() };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
            match name.as_str() {
                "--dir" => asked.dir = PathBuf::from(&value),
                "--chunk" => asked.chunk = number()?.clamp(1, 64 << 20) as usize,
                "--megabytes" => asked.megabytes = number()?.max(1),
                "--operations" => asked.operations = number()?.max(1),
                "--connections" => asked.connections = number()?.clamp(1, 10_000) as usize,
                "--window" => asked.window = number()?.clamp(1, 10_000) as usize,
                "--address" => asked.address.clone_from(&value),
                _ => return Err(format!("there is no {name}")),
            }
        }
        Ok(asked)
    }

    /// Requests that move the megabytes in chunks.
    pub fn chunks(&self) -> u64 {
        (self.megabytes * 1_000_000).div_ceil(self.chunk as u64)
    }

    /// A load's arguments: the same, at `address`.
    pub fn of_load(&self, program: &str, address: &str) -> Vec<String> {
        let pairs = [
            ("--chunk", self.chunk.to_string()),
            ("--megabytes", self.megabytes.to_string()),
            ("--operations", self.operations.to_string()),
            ("--connections", self.connections.to_string()),
            ("--window", self.window.to_string()),
            ("--address", address.to_owned()),
        ];
        let words = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once(program.to_owned()).chain(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_asked_what_its_floor_was() {
        let words = "sink --chunk 16384 --megabytes 10 --window 3 --connections 2 --operations 7";
        let asked = Arguments::parse(words.split(' ').map(str::to_owned)).unwrap();
        assert_eq!((asked.chunk, asked.window, asked.chunks()), (16_384, 3, 611));
        let load = Arguments::parse(asked.of_load("push", "127.0.0.1:9").into_iter()).unwrap();
        let expected = Arguments { program: "push".into(), address: "127.0.0.1:9".into(), ..asked };
        assert_eq!(load, expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in ["", "sink --chunk", "sink --chunk x", "sink --colour red"] {
            assert!(
                Arguments::parse(words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned))
                    .is_err()
            );
        }
    }
}
