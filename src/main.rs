//! The `firn` binary: hands the process's arguments to the library and its exit code to the shell.
//! It holds no logic of its own.

fn main() -> std::process::ExitCode {
    firnline::cli::run::main()
}
