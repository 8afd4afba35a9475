//! Why the folder or a file of the store cannot be used, and what to do about it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::geteuid;

/// The permissions that the owner of a folder needs.
const FOLDER_MODE: u32 = 0o700;

/// The permissions that the owner of a file needs.
const FILE_MODE: u32 = 0o600;

/// Describes an error of `path`, which is the folder of the store or a file in it, and says what to
/// do. Looks at the disk.
pub(super) fn explain(folder: &Path, path: &Path, error: &io::Error) -> String {
    use ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match (error.kind(), &Nearest::of(path)) {
        (IsADirectory, _) => format!("{error}, but must be a file; remove it"),
        (AlreadyExists | NotADirectory | NotFound, Nearest::Dangling { link, target }) => format!(
            "{} is a link to {}, which does not exist; create that folder, or remove the link",
            link.display(),
            target.display()
        ),
        (_, Nearest::Dangling { link, .. } | Nearest::Loop(link)) => {
            format!("{} is a link that leads nowhere; remove it", link.display())
        }
        (AlreadyExists | NotADirectory, Nearest::File(file)) => {
            format!("{} is not a folder; remove it, or set STATE_DIR to a folder", file.display())
        }
        (NotADirectory, Nearest::Folder(found)) if found == path => {
            "it is a link, and the store follows no links in its folder; replace it by the folder \
             itself"
                .to_owned()
        }
        (PermissionDenied, Nearest::Folder(found) | Nearest::File(found)) => {
            // Nobody should give a folder such as /var/lib away.
            let advice = if found.starts_with(folder) {
                permission(folder, found)
            } else {
                format!(
                    "create it for the user as which the connector runs: install -d -m 700 -o {} {}",
                    geteuid().as_raw(),
                    folder.display()
                )
            };
            format!("{error}; {advice}")
        }
        (ReadOnlyFilesystem, Nearest::Folder(found)) if path == folder && found != path => {
            format!(
                "{error}; {} does not exist there: mount a disk that can be written, or set STATE_DIR \
             to a folder on one",
                path.display()
            )
        }
        (ReadOnlyFilesystem, _) => format!("{error}; mount the disk so that it can be written"),
        (StorageFull | QuotaExceeded, _) => format!("{error}; free space on its disk"),
        (NotFound, Nearest::Folder(found)) if path == folder && found != path => format!(
            "{error}; no folder can be created in {}: set STATE_DIR to another one",
            found.display()
        ),
        (NotFound, Nearest::Folder(found)) if path.parent() != Some(found) => {
            format!(
                "{error}; its folder was removed: restart the connector, which creates it again"
            )
        }
        _ => error.to_string(),
    }
}

/// The path itself, or the part of it that exists.
enum Nearest {
    /// A folder, or a link to one.
    Folder(PathBuf),
    /// Something else, or a link to it.
    File(PathBuf),
    /// A link to something that does not exist.
    Dangling {
        link: PathBuf,
        target: PathBuf,
    },
    /// A link that cannot be followed.
    Loop(PathBuf),
    Unknown,
}

impl Nearest {
    fn of(path: &Path) -> Self {
        for part in path.ancestors() {
            let part = if part.as_os_str().is_empty() { Path::new(".") } else { part };
            if fs::symlink_metadata(part).is_err() {
                continue;
            }
            return match fs::metadata(part) {
                Ok(metadata) if metadata.is_dir() => Self::Folder(part.to_owned()),
                Ok(_) => Self::File(part.to_owned()),
                Err(error) => match fs::read_link(part) {
                    Ok(target) if error.kind() == ErrorKind::NotFound => {
                        // A relative target begins where the link is.
                        let target = part.parent().unwrap_or(part).join(target);
                        Self::Dangling { link: part.to_owned(), target }
                    }
                    Ok(_) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                        Self::Loop(part.to_owned())
                    }
                    _ => Self::Unknown,
                },
            };
        }
        Self::Unknown
    }
}

/// What decides whether the connector may use a folder or a file.
struct Access {
    owner: u32,
    mode: u32,
    /// The mode that it needs.
    needed: u32,
    /// The user as which the connector runs.
    user: u32,
}

impl Access {
    fn of(metadata: &Metadata) -> Self {
        Self {
            owner: metadata.uid(),
            mode: metadata.permissions().mode() & 0o7777,
            needed: if metadata.is_dir() { FOLDER_MODE } else { FILE_MODE },
            user: geteuid().as_raw(),
        }
    }
}

/// What to do if a permission on this path, or on one of its folders, is missing.
fn permission(folder: &Path, path: &Path) -> String {
    let parts = path.ancestors().take_while(|part| part.starts_with(folder));
    let mut advice = parts.filter_map(|part| {
        let access = Access::of(&fs::metadata(part).ok()?);
        missing(folder, part, &access)
    });
    advice.next().unwrap_or_else(|| {
        format!(
            "let user {} read and write {}: a security module or the container denies it",
            geteuid().as_raw(),
            path.display()
        )
    })
}

/// What to do about this path, if its owner or its mode is not the right one.
fn missing(folder: &Path, path: &Path, access: &Access) -> Option<String> {
    let (folder, path, user) = (folder.display(), path.display(), access.user);
    if access.owner != user {
        let owner = access.owner;
        return Some(format!(
            "{path} belongs to user {owner}, and the connector runs as user {user}: if only the \
             connector uses {folder}, run chown -R {user} {folder}, otherwise set STATE_DIR to another \
             folder"
        ));
    }
    (access.mode & access.needed != access.needed).then(|| {
        let rights = if access.needed == FOLDER_MODE { "rwx" } else { "rw" };
        format!("the mode of {path} is {:04o}: run chmod u+{rights} {path}", access.mode)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::*;

    fn explained(path: &Path, errno: Errno) -> String {
        explain(path, path, &errno.into())
    }

    #[test]
    fn something_else_than_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        symlink("file", path("link")).unwrap();
        for (name, found) in
            [("file", "file"), ("file/a/b", "file"), ("link", "link"), ("link/a", "link")]
        {
            for errno in [Errno::EXIST, Errno::NOTDIR] {
                let expected = format!(
                    "{} is not a folder; remove it, or set STATE_DIR to a folder",
                    path(found).display()
                );
                assert_eq!(explained(&path(name), errno), expected, "{name}");
            }
        }
        symlink("nowhere", path("dangling")).unwrap();
        symlink("/nowhere/at/all", path("absolute")).unwrap();
        for (name, target) in [
            ("dangling", path("nowhere")),
            ("dangling/a", path("nowhere")),
            ("absolute", "/nowhere/at/all".into()),
        ] {
            for errno in [Errno::EXIST, Errno::NOENT] {
                let text = explained(&path(name), errno);
                let expected = format!("is a link to {}, which does not exist", target.display());
                assert!(text.contains(&expected), "{text}");
            }
        }
        symlink("loop", path("loop")).unwrap();
        for (name, errno) in
            [("loop", Errno::EXIST), ("loop/a", Errno::LOOP), ("dangling", Errno::LOOP)]
        {
            let text = explained(&path(name), errno);
            assert!(text.ends_with(" is a link that leads nowhere; remove it"), "{text}");
        }
        symlink(folder.path(), path("folder")).unwrap();
        let text = explained(&path("folder"), Errno::NOTDIR);
        assert!(text.starts_with("it is a link"), "{text}");
    }

    #[test]
    fn a_missing_permission_says_who_must_get_which() {
        let access = |owner, mode, needed| Access { owner, mode, needed, user: 0 };
        for (access, expected) in [
            (
                access(1000, 0o700, FOLDER_MODE),
                "/s/a belongs to user 1000, and the connector runs as user 0: if only the \
                 connector uses /s, run chown -R 0 /s, otherwise set STATE_DIR to another folder",
            ),
            (access(0, 0o500, FOLDER_MODE), "the mode of /s/a is 0500: run chmod u+rwx /s/a"),
            (access(0, 0o400, FILE_MODE), "the mode of /s/a is 0400: run chmod u+rw /s/a"),
        ] {
            let text = missing(Path::new("/s"), Path::new("/s/a"), &access).unwrap();
            assert!(text.starts_with(expected), "{text}");
        }
        for access in [access(0, 0o700, FOLDER_MODE), access(0, 0o600, FILE_MODE)] {
            assert_eq!(missing(Path::new("/s"), Path::new("/s/a"), &access), None);
        }
        // The part that exists is the one that denies it.
        let folder = tempfile::tempdir().unwrap();
        let (state, user) = (folder.path(), geteuid().as_raw());
        let denied = Errno::ACCESS.into();
        let text = explain(state, &state.join("lock"), &denied);
        let expected = format!(
            "Permission denied (os error 13); let user {user} read and write {}: ",
            state.display()
        );
        assert!(text.starts_with(&expected), "{text}");
        // A file that exists cannot be replaced in a folder without permissions.
        let revisions = state.join("revisions");
        fs::create_dir(&revisions).unwrap();
        fs::write(revisions.join("1.status"), "").unwrap();
        fs::set_permissions(&revisions, Permissions::from_mode(0o500)).unwrap();
        let text = explain(state, &revisions.join("1.status"), &denied);
        assert!(text.ends_with(&format!("run chmod u+rwx {}", revisions.display())), "{text}");
        // A folder above it is not to be given away.
        let state = state.join("a/b");
        for path in [state.clone(), state.join("lock")] {
            let text = explain(&state, &path, &denied);
            let expected = format!("install -d -m 700 -o {user} {}", state.display());
            assert!(text.ends_with(&expected), "{text}");
        }
    }

    #[test]
    fn other_errors_of_a_disk_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a");
        for (path, errno, expected) in [
            (folder.path(), Errno::ROFS, "mount the disk so that it can be written"),
            (&missing, Errno::ROFS, "mount a disk that can be written, or set STATE_DIR"),
            (&missing, Errno::NOSPC, "free space on its disk"),
            (&missing, Errno::DQUOT, "free space on its disk"),
            (&missing, Errno::NOENT, "no folder can be created in "),
            (folder.path(), Errno::ISDIR, "must be a file; remove it"),
        ] {
            let text = explained(path, errno);
            assert!(text.starts_with(&io::Error::from(errno).to_string()), "{text}");
            assert!(text.contains(expected), "{text}");
        }
        let text = explain(folder.path(), &missing, &Errno::ROFS.into());
        assert!(text.ends_with("; mount the disk so that it can be written"), "{text}");
        // The store was opened, and its folder is removed.
        let (store, error) = (folder.path(), Errno::NOENT.into());
        let text = explain(store, &store.join("revisions/1.yaml"), &error);
        assert!(text.contains("its folder was removed: restart the connector"), "{text}");
        let text = explain(&missing, &missing.join("revisions/1.yaml"), &error);
        assert!(text.contains("its folder was removed: restart the connector"), "{text}");
        assert_eq!(explain(store, &missing, &error), error.to_string(), "only the file");
        let text = explained(folder.path(), Errno::IO);
        assert_eq!(text, io::Error::from(Errno::IO).to_string());
    }
}
