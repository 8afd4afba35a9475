//! The program: the runtime, signals and the exit code. The rest is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tokio::runtime::Builder;

fn main() -> ExitCode {
    ank_fleet::program::complete();
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            service_kit::process::eprint("ank-fleet", &error);
            return ExitCode::FAILURE;
        }
    };
    let stop = match service_kit::process::stop_on_signals(&runtime) {
        Ok(stop) => stop,
        Err(error) => {
            service_kit::process::eprint("ank-fleet", &error);
            return ExitCode::FAILURE;
        }
    };
    let args: Vec<_> = std::env::args_os().collect();
    let code = runtime.block_on(ank_fleet::program::run(&args, stop));
    runtime.shutdown_background();
    ExitCode::from(code)
}
