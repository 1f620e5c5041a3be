//! How a command fails: what, why, what to do next, and the exit code.
//! Every message a person sees when something did not work passes through here, in one form.

use std::fmt;
use std::process::ExitCode;

use crate::client::error::ClientError;

/// Exit codes, fixed for scripts. 2 is clap's, for arguments it cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The operation was tried and failed, or was refused.
    Failed = 1,
    /// The configuration cannot be.
    Configuration = 3,
    /// No broker, or no admin port, where one was expected.
    Unreachable = 4,
}

/// A command that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What did not work, and where.
    pub what: String,
    /// Why; may have several lines.
    pub why: String,
    /// What to do next; empty when the reason says it.
    pub next: String,
    /// For scripts.
    pub exit: Exit,
}

impl Failure {
    /// A failed operation.
    pub fn new(what: impl Into<String>, why: impl fmt::Display) -> Failure {
        Failure { what: what.into(), why: why.to_string(), next: String::new(), exit: Exit::Failed }
    }

    /// With the next step.
    pub fn next(mut self, step: impl Into<String>) -> Failure {
        self.next = step.into();
        self
    }

    /// With another exit code.
    pub fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// A call to a broker that failed while `what` was done.
    pub fn of_call(what: impl Into<String>, error: &ClientError) -> Failure {
        let failure = Failure::new(what, error);
        match error {
            ClientError::Unreachable { .. } => failure
                .next("start a broker with `firn server --dev`, or name another one with --bootstrap-server")
                .exit(Exit::Unreachable),
            ClientError::NotKafka { .. } => {
                failure.next("check the port: 9092 serves clients, 9404 and 9644 HTTP")
            }
            _ => failure,
        }
    }

    /// The code for the shell.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for line in self.why.lines() {
            write!(f, "\n  {line}")?;
        }
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let source = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = ClientError::Unreachable { address: "127.0.0.1:9092".into(), source };
        let failure = Failure::of_call("topic orders was not created", &error);
        assert_eq!(
            failure.to_string(),
            "error: topic orders was not created\n  \
             cannot reach a broker at 127.0.0.1:9092: connection refused\n  \
             next: start a broker with `firn server --dev`, or name another one with --bootstrap-server"
        );
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(Failure::new("a", "b\nc").to_string(), "error: a\n  b\n  c");
    }
}
