//! The `firn` binary: parses arguments and hands over to the library. It holds no logic of its own.
fn main() {}
