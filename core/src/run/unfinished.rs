//! A file written in pieces that takes its place once complete, or not at all.

use crate::bounded;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// The file, under a temporary name beside its place until finished. Dropping it before that deletes
/// it.
pub struct Unfinished {
    out: BufWriter<File>,
    path: PathBuf,
    temporary: PathBuf,
}

impl Unfinished {
    /// Creates it. Errors: when `path` has no file name, or no file can be created beside it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        // Remove an existing file or link instead of writing through it.
        let _ = fs::remove_file(&temporary);
        let out = File::create_new(&temporary)?;
        keep_rights(path, &out);
        Ok(Self { out: BufWriter::new(out), path: path.into(), temporary })
    }

    /// Syncs the file and moves it into place.
    pub fn finish(self) -> io::Result<()> {
        self.finish_keeping(&[])
    }

    /// Like [`Self::finish`], but keeps the file that is in its place as the first of `older`, that one as
    /// the second, and so on.
    pub fn finish_keeping(mut self, older: &[PathBuf]) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        let names: Vec<&PathBuf> = std::iter::once(&self.path).chain(older).collect();
        for pair in names.windows(2).rev() {
            match fs::rename(pair[0], pair[1]) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs::rename(&self.temporary, &self.path)?;
        // The file is complete and in place; not every file system can sync a folder.
        if let Some(dir) = self.path.parent().filter(|d| !d.as_os_str().is_empty()) {
            let _ = File::open(dir).and_then(|dir| dir.sync_all());
        }
        Ok(())
    }
}

/// Gives a new file the owner and mode of the regular file that it will replace, as far as this process
/// may.
fn keep_rights(path: &Path, file: &File) {
    #[cfg(unix)]
    if let Some(before) = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
        if fchown(file, Some(before.uid()), Some(before.gid())).is_err() {
            let _ = fchown(file, None, Some(before.gid()));
        }
        let _ = file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777));
    }
    #[cfg(not(unix))]
    let _ = (path, file);
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a successful rename there is nothing left to remove.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Writes a file completely or not at all: writes a temporary file beside it, fsyncs and renames it,
/// and fsyncs the folder.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_keeping(path, bytes, &[])
}

/// Like [`write_atomically`], but keeps the previous file as the first of `older`, that one as the
/// second, and so on.
pub fn write_keeping(path: &Path, bytes: &[u8], older: &[PathBuf]) -> io::Result<()> {
    let mut file = Unfinished::create(path)?;
    file.write_all(bytes)?;
    file.finish_keeping(older)
}

/// Appends a complete line or nothing. Errors: when the file cannot be opened or written.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = bounded::open_with(path, File::options().create(true).append(true))?;
    let length = file.metadata()?.len();
    file.write_all(format!("{line}\n").as_bytes()).inspect_err(|_| {
        let _ = file.set_len(length);
    })
}
