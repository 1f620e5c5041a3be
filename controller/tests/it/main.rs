//! The controller from outside: through its handle, on a real disk and on one that loses power.

mod crash;
mod disk;
mod restart;
mod scene;
mod verbs;
