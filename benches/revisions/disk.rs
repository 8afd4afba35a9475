//! What the disk takes for a change.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Writes and syncs what one change does: overlay and status of the revision, the status of the one
/// before, and their folder; then the status, the removal of an old revision, and the folder.
pub(crate) fn sync(folder: &Path) -> f64 {
    let content = [b'x'; 600];
    let write = |name: &str| {
        let path = folder.join(name);
        let mut file = File::create(folder.join("new")).unwrap();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        std::fs::rename(folder.join("new"), path).unwrap();
    };
    let start = Instant::now();
    write("a");
    write("b");
    write("c");
    File::open(folder).unwrap().sync_all().unwrap();
    write("b");
    std::fs::remove_file(folder.join("a")).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
    start.elapsed().as_secs_f64()
}
