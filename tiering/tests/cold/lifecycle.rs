//! Offload, retention and deletion of a real log, with crashes, lost answers and outages at every step.
