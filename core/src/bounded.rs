//! Reads untrusted files: regular files only, up to a size limit, whatever length they claim.

use crate::print;
use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, Read},
    path::Path,
};

/// Opens a regular file for reading; follows symbolic links.
///
/// Errors: when the file cannot be opened or is not a regular file. Never waits for another process.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, File::options().read(true))
}

/// Checks that `path` is a regular file and not a link: a link in a received folder could lead to a file
/// that the user would not send.
pub fn plain_file(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file")),
    }
}

/// Like [`open`], with these `options`. Any path where another person or program may have put something
/// else must be opened by one of these two: opening a named pipe waits for its other end, and reading a
/// device may never end.
pub fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits() as i32);
    }
    let opened = match options.open(path) {
        Ok(file) => Ok((file.metadata()?.file_type(), file)),
        Err(error) => match std::fs::metadata(path).map(|found| found.file_type()) {
            // A file server holds a lease. Only regular files have leases, and they are released soon.
            #[cfg(unix)]
            Ok(kind) if kind.is_file() && error.kind() == io::ErrorKind::WouldBlock => {
                std::os::unix::fs::OpenOptionsExt::custom_flags(options, 0);
                options.open(path).map(|file| (kind, file))
            }
            // Opening a socket, or a pipe without a reader, fails with an obscure message.
            Ok(kind) if !kind.is_file() => return Err(irregular(kind)),
            _ => Err(error),
        },
    };
    match opened? {
        (kind, file) if kind.is_file() => Ok(file),
        (kind, _) => Err(irregular(kind)),
    }
}

/// The error for a file that is not regular.
pub fn irregular(kind: FileType) -> io::Error {
    let found = kind_of(kind);
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {found}, expected a regular file"))
}

/// Describes the kind: `a folder`, `a named pipe` and so on.
fn kind_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe (FIFO)";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}

/// Reads a whole file of at most `most` bytes.
///
/// Errors: when the file cannot be read or has more than `most` bytes, whatever length it claims.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= most {
        return Ok(bytes);
    }
    let most = match most {
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n => format!("{n} bytes"),
    };
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most}")))
}

/// Like [`read`], for UTF-8 text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Quotes untrusted text in a message: at most `most` characters, on one line.
pub fn excerpt(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => print::clean(&text[..end]) + "…",
        None => print::clean(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
        std::fs::write(&path, vec![0; (1 << 20) + 1]).unwrap();
        assert!(read(&path, 1 << 20).unwrap_err().to_string().contains("1 MiB"));
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        use std::os::unix::{fs::symlink, net::UnixListener};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(made.success());
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        symlink("fifo", at("link")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        let cases = [
            ("fifo", "a named pipe"),
            ("link", "a named pipe"),
            ("socket", "a socket"),
            ("zero", "a device"),
            ("folder", "a folder"),
        ];
        for (name, found) in cases {
            for (read, write, append) in [
                (true, false, false),
                (false, true, false),
                (true, true, false),
                (false, false, true),
            ] {
                let mut options = File::options();
                options.read(read).write(write).append(append).create(append);
                let error = open_with(&at(name), &mut options).unwrap_err().to_string();
                assert!(error.contains(found) && error.contains("a regular file"), "{error}");
            }
        }
        std::fs::write(at("file"), "text").unwrap();
        symlink("file", at("to file")).unwrap();
        assert_eq!(read_text(&at("to file"), 9).unwrap(), "text");
        assert_eq!(open(&at("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_excerpt_is_short_and_steers_no_terminal() {
        assert_eq!(excerpt("a\x1b[2Jb\n", 20), "a [2Jb ");
        assert_eq!(excerpt("äöü", 2), "äö…");
    }
}
