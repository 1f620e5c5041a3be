//! Progress bars of the demo: on a terminal they move, elsewhere each step is one line when it ends.
//! Bars go to standard error, results to standard output. Invariant: no bar is left on the screen.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total` bytes.
pub struct Bar(ProgressBar);

impl Bar {
    /// Starts it; it shows nothing where standard error is no terminal.
    pub fn new(what: &'static str, total: u64) -> Bar {
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template(
            "  {msg:<8} {wide_bar} {bytes:>10} of {total_bytes:<10} {elapsed:>4}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Bar(bar)
    }

    /// `bytes` more are done.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// `bytes` are done in all.
    pub fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
