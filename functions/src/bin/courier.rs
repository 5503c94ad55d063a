//! The courier as a Lambda function, started every minute by a schedule.

use std::process::ExitCode;

use functions::lambda;

fn main() -> ExitCode {
    lambda::courier::main()
}
