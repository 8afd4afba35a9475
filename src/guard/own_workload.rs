//! The name of the workload that this process runs in.
//!
//! The control interface does not tell it. But Ankaios mounts a folder into the container whose path
//! on the vehicle contains it: `/tmp/ankaios/agent_A_io/fleetconnector.<id>/control_interface`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ankaios_model::is_name;

/// The name of the workload whose control interface is in this folder, if that can be found out.
pub(crate) fn own_workload(control_interface: &Path) -> Option<String> {
    let folder = fs::canonicalize(control_interface).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let source = mounted(&mounts, &folder);
    workload_of(source.as_deref().unwrap_or(&folder))
}

/// What is mounted at `folder`, as a path in its file system.
fn mounted(mounts: &str, folder: &Path) -> Option<PathBuf> {
    let source = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let (source, target) = (fields.next()?, fields.next()?);
        (unescaped(target) == folder.as_os_str().as_bytes()).then(|| unescaped(source))
    };
    // A later mount hides an earlier one.
    let source = String::from_utf8(mounts.lines().rev().find_map(source)?).ok()?;
    // Ankaios removes the folder when its server has restarted.
    Some(source.strip_suffix("//deleted").unwrap_or(&source).into())
}

/// The kernel writes a space and some other bytes as a backslash and three octal digits.
fn unescaped(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (byte, length) = code.map_or((b'\\', 0), |byte| (byte, 3));
        bytes.push(byte);
        rest = after.get(length..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The workload in a path `…/<workload>.<id>/control_interface`.
fn workload_of(folder: &Path) -> Option<String> {
    if folder.file_name()? != "control_interface" {
        return None;
    }
    let (name, id) = folder.parent()?.file_name()?.to_str()?.split_once('.')?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && is_name(name)).then(|| name.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const ID: &str = "5cd1c5f0ba3568cf6421be9ce0f6a83a670d8024f3cb2fc93d4bf6a873613611";
    const FOLDER: &str = "/run/ankaios/control_interface";

    fn name_in(mounts: &str) -> Option<String> {
        workload_of(&mounted(mounts, Path::new(FOLDER))?)
    }

    #[test]
    fn the_source_of_the_mount_has_the_name() {
        let line = |source: &str, target: &str| {
            format!("713 702 0:40 {source} {target} rw,nosuid - tmpfs tmpfs rw\n")
        };
        let folder = format!("/ankaios/agent_A_io/fleet_connector.{ID}/control_interface");
        let other = line("/x", "/run/ankaios");
        let found = Some("fleet_connector".to_owned());
        assert_eq!(name_in(&(other.clone() + &line(&folder, FOLDER) + &other)), found);
        assert_eq!(name_in(&line(&format!("{folder}//deleted"), FOLDER)), found);
        assert_eq!(name_in(&line(&format!("/a\\040b\\134\\x{folder}"), FOLDER)), found);
        assert_eq!(name_in(&(line("/other", FOLDER) + &line(&folder, FOLDER))), found);
        for mounts in [
            String::new(),
            "\n713 702 0:40\n".to_owned(),
            line(&folder, "/run/ankaios"),
            line("/", FOLDER),
            line(&format!("/fleet_connector.{ID}"), FOLDER),
            line("/fleet_connector/control_interface", FOLDER),
            line("/fleet_connector.12/control_interface", FOLDER),
            line(&format!("/.{ID}/control_interface"), FOLDER),
            line(&format!("/a\\303\\244.{ID}/control_interface"), FOLDER),
            line("/\\377/control_interface", FOLDER),
            other,
        ] {
            assert_eq!(name_in(&mounts), None, "{mounts}");
        }
    }

    #[test]
    fn outside_of_a_container_the_path_has_the_name() {
        let temporary = TempDir::new().unwrap();
        let folder = temporary.path().join(format!("agent_A_io/x.{ID}/control_interface"));
        fs::create_dir_all(&folder).unwrap();
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert_eq!(own_workload(&link).as_deref(), Some("x"));
        assert_eq!(own_workload(temporary.path()), None);
        assert_eq!(own_workload(Path::new("/does/not/exist")), None);
    }
}
