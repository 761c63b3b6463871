//! Write errors: whether to retry, and how to word them.

use std::io::{self, ErrorKind};

/// When writing to a file server continues.
const SERVER: &str = "when the file server answers again";

/// Whether an error may go away, by itself or once somebody acts. Only errors that no retry can fix are
/// final: a write that is not permitted or makes no sense. A disk, a file server or a machine that ran
/// out of something recovers.
pub fn passes(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        const FINAL: [Errno; 4] = [Errno::BADF, Errno::FAULT, Errno::LOOP, Errno::NOTTY];
        if FINAL.iter().any(|errno| Some(errno.raw_os_error()) == error.raw_os_error()) {
            return false;
        }
    }
    !matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::InvalidFilename
            | ErrorKind::CrossesDevices
            | ErrorKind::Unsupported
            // An error of this program.
            | ErrorKind::Other
    )
}

/// Describes the error, with the system's number if it has one.
pub fn what(error: &io::Error) -> String {
    match (words(error), error.raw_os_error()) {
        (Some((what, _)), Some(number)) => format!("{what} (os error {number})"),
        // It brings its own message.
        _ => error.to_string(),
    }
}

/// Says when writing continues: the end of a sentence.
pub fn goes_on(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "when there is room",
        ErrorKind::ReadOnlyFilesystem => "when the file system can be written again",
        _ => words(error).map_or("when that has passed", |(_, goes_on)| goes_on),
    }
}

/// Says what to do about an error that ended a run: the end of a sentence.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space or choose another --runs-dir"
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "put the run's folder back where it was, and resume the run"
        }
        _ if passes(error) => "mend that and resume the run, or choose another --runs-dir",
        _ => "choose another --runs-dir",
    }
}

/// Returns words for an error, and the condition for writing to continue.
fn words(error: &io::Error) -> Option<(&'static str, &'static str)> {
    Some(match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            ("its folder was renamed or deleted", "when the folder is back")
        }
        ErrorKind::FileTooLarge => (
            "the file would be larger than the limit on file sizes (ulimit -f)",
            "when the limit is raised, as with prlimit --fsize",
        ),
        ErrorKind::StaleNetworkFileHandle => ("stale NFS handle", SERVER),
        ErrorKind::TimedOut => ("the file server does not answer in time", SERVER),
        ErrorKind::NotConnected => ("the mount has lost its connection", SERVER),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            ("the file server cannot be reached", SERVER)
        }
        _ => return by_number(error),
    })
}

/// Like [`words`], for errors that Rust has no kind for.
#[cfg(unix)]
fn by_number(error: &io::Error) -> Option<(&'static str, &'static str)> {
    use rustix::io::Errno;
    let files = "when files are closed or the limit is raised";
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => ("too many open files in this process (ulimit -n)", files),
        Errno::NFILE => ("too many open files on this machine", files),
        Errno::IO => (
            "input/output error of the disk or the file server",
            "when the disk or the file server works again",
        ),
        Errno::NODEV | Errno::NXIO => ("the disk is gone", "when the disk is back"),
        Errno::NOLINK | Errno::HOSTDOWN => ("the file server cannot be reached", SERVER),
        _ => return None,
    })
}

#[cfg(not(unix))]
fn by_number(_: &io::Error) -> Option<(&'static str, &'static str)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn what_a_machine_runs_out_of_passes_and_what_is_not_allowed_does_not() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        for (errno, word) in [
            (Errno::NOSPC, "No space left"),
            (Errno::DQUOT, "uota"),
            (Errno::ROFS, "Read-only"),
            (Errno::FBIG, "ulimit -f"),
            (Errno::STALE, "stale NFS handle"),
            (Errno::IO, "input/output error"),
            (Errno::TIMEDOUT, "does not answer in time"),
            (Errno::NOTCONN, "lost its connection"),
            (Errno::MFILE, "too many open files in this process"),
            (Errno::NFILE, "too many open files on this machine"),
            (Errno::NOLINK, "cannot be reached"),
            (Errno::HOSTDOWN, "cannot be reached"),
            (Errno::HOSTUNREACH, "cannot be reached"),
            (Errno::NETDOWN, "cannot be reached"),
            (Errno::CONNRESET, "reset"),
            (Errno::CONNREFUSED, "refused"),
            (Errno::INTR, "nterrupted"),
            (Errno::AGAIN, "unavailable"),
            (Errno::BUSY, "busy"),
            (Errno::NOMEM, "memory"),
            (Errno::NOLCK, "lock"),
            (Errno::NODEV, "the disk is gone"),
            (Errno::NOENT, "renamed or deleted"),
            (Errno::NOTDIR, "renamed or deleted"),
        ] {
            let error = error(errno);
            assert!(passes(&error), "{error}");
            assert!(what(&error).contains(word), "{}", what(&error));
            let number = format!("(os error {})", errno.raw_os_error());
            assert!(what(&error).contains(&number), "{}", what(&error));
            let room = matches!(errno, Errno::NOSPC | Errno::DQUOT);
            assert_eq!(goes_on(&error).contains("room"), room, "{error}");
            assert_eq!(advice(&error).contains("free some space"), room, "{error}");
        }
        for errno in [
            Errno::ACCESS,
            Errno::PERM,
            Errno::INVAL,
            Errno::ISDIR,
            Errno::NAMETOOLONG,
            Errno::BADF,
        ] {
            assert!(!passes(&error(errno)), "{}", error(errno));
            assert!(!advice(&error(errno)).contains("free some space"));
        }
        assert!(!passes(&io::Error::other("no place for a sum")));
    }
}
