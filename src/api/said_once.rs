//! Says a thing once per client, so that a client that asks again and again does not fill the log.
//! It logs nothing itself. Invariant: it remembers a bounded number of clients, and beyond them says nothing.
use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Clients remembered.
const CLIENTS_MAX: usize = 1024;
/// Bytes of a client's name remembered.
const NAME_BYTES_MAX: usize = 64;

/// The clients that were told.
#[derive(Debug, Default)]
pub struct SaidOnce {
    told: Mutex<BTreeSet<String>>,
}

impl SaidOnce {
    /// Whether this client is to be told now: the first time it is seen.
    pub fn first(&self, client: &str) -> bool {
        let name = &client[..client.floor_char_boundary(NAME_BYTES_MAX)];
        let mut told = self.told.lock();
        told.len() < CLIENTS_MAX && !told.contains(name) && told.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_client_and_bounded() {
        let said = SaidOnce::default();
        assert!(said.first("a") && !said.first("a") && said.first("b"));
        let long = "ä".repeat(100);
        assert!(said.first(&long) && !said.first(&long));
        let told = (0..2 * CLIENTS_MAX).filter(|client| said.first(&client.to_string())).count();
        assert_eq!(told, CLIENTS_MAX - 3);
    }
}
