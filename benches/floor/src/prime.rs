//! Writes a file and deletes it, so that the next writer gets pages that are this machine's own. A guest whose
//! hypervisor takes free pages back pays ten times for a page it has to be given again; every contestant is primed
//! alike. It measures nothing.

use std::fs::File;
use std::io::{self, Write as _};

use crate::arguments::Arguments;

/// Touches as many pages as `--megabytes` says.
pub fn pages(asked: &Arguments) -> io::Result<()> {
    let path = asked.dir.join("prime");
    let mut file = File::create(&path)?;
    let chunk = vec![1; asked.chunk];
    for _ in 0..asked.chunks() {
        file.write_all(&chunk)?;
    }
    std::fs::remove_file(&path)
}
