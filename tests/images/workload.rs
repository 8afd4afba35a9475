//! A workload for the tests: prints one line per second until it is stopped. With the argument
//! `once` it prints only the first line.

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
