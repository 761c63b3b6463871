//! A file written in pieces that takes its place once complete, or not at all.

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
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

/// Gives a new file the owner and mode of the regular file that it will replace, as far as this process
/// may.
fn keep_rights(path: &Path, file: &File) {
    #[cfg(unix)]
    if let Ok(before) = fs::symlink_metadata(path).and_then(|before| match before.is_file() {
        true => Ok(before),
        false => Err(io::ErrorKind::NotFound.into()),
    }) {
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
