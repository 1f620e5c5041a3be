//! Request layouts of the control plane, for the guard.
