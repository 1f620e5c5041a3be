//! Inputs near a known one, the same ones each time: what the corpus replay tries beside the corpus itself.
//! Not a fuzzer: it learns nothing from what it tries. Invariant: the same seed gives the same inputs.

/// Bytes that often stand at an edge.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// A source of inputs.
pub struct Mutants {
    state: u64,
}

impl Mutants {
    /// The inputs of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % below.max(1)
    }

    /// The next input near `input`, with a part of `other` at times.
    pub fn near(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.draw(4) {
            self.change(&mut out, other);
        }
        out
    }

    fn change(&mut self, out: &mut Vec<u8>, other: &[u8]) {
        let (at, len) = (self.draw(out.len()), 1 + self.draw(16));
        let end = (at + len).min(out.len());
        match self.draw(7) {
            _ if out.is_empty() => out.extend_from_slice(&other[..other.len().min(len)]),
            0 => out[at] ^= 1 << self.draw(8),
            1 => out[at] = EDGES[self.draw(EDGES.len())],
            2 => out[at..end].fill(EDGES[self.draw(EDGES.len())]),
            3 => drop(out.drain(at..end)),
            4 => drop(out.splice(at..at, out[at..end].to_vec())),
            5 => {
                let from = self.draw(other.len());
                drop(out.splice(at..end, other[from..(from + len).min(other.len())].to_vec()));
            }
            _ => out.truncate(at),
        }
    }
}
