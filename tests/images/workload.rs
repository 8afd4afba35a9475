//! A workload for the tests: prints a line per second until it is stopped;
//! with `once` as argument only the first one.

use std::thread::sleep;
use std::time::Duration;

fn main() {
    let once = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "once");
    for number in 1_u64.. {
        println!("tick {number}");
        if once {
            return;
        }
        sleep(Duration::from_secs(1));
    }
}
