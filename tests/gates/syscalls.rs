//! System calls per request on the serving core's thread of the real binary.

use super::baseline::Counts;
use super::client::Client;
use super::load::{Load, run, set_up};
use super::process::Process;
use super::trace::{Calls, Trace, name};

const WARM: usize = 20;
const COUNTED: usize = 300;

pub fn count(counts: &mut Counts) -> Result<(), String> {
    let process = Process::start(|_| Vec::new())?;
    let mut client = Client::connect(process.address);
    set_up(&mut client);
    let core = process.core().ok_or("the serving core's thread has no name in /proc")?;
    let trace = Trace::of(core)?;
    for load in Load::ALL {
        run(&mut client, load, WARM);
        let before = trace.so_far();
        run(&mut client, load, COUNTED);
        let after = trace.so_far();
        let total = |calls: &Calls| calls.values().sum::<u64>();
        let made = total(&after) - total(&before);
        assert!(made >= COUNTED as u64, "{made} calls cannot serve {COUNTED} requests: the trace is blind");
        counts.put(load.name(), "syscalls", made as f64 / COUNTED as f64);
        let detail = by_name(&before, &after);
        println!("{:<18} {detail}", load.name());
        counts.explain(load.name(), "syscalls", detail);
    }
    Ok(())
}

fn by_name(before: &Calls, after: &Calls) -> String {
    let each = after.iter().filter_map(|(number, calls)| {
        let new = calls - before.get(number).copied().unwrap_or(0);
        (new > 0).then(|| format!("{} {:.2}", name(*number), new as f64 / COUNTED as f64))
    });
    format!("({})", each.collect::<Vec<_>>().join(", "))
}
