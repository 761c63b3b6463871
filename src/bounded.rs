//! Files from elsewhere, read up to a bound: what they say of themselves is not believed.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A whole file of at most `most` bytes.
///
/// Errors: it cannot be read, or goes on behind `most`, whatever length it claims.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(too_long(most)),
        false => Ok(bytes),
    }
}

/// As [`read`], of text.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn too_long(most: u64) -> io::Error {
    let most = match most {
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n => format!("{n} bytes"),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most}"))
}

/// Text from elsewhere as a part of a message: at most `most` characters of it, in one line.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    let mut told: String =
        text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        told.push('…');
    }
    told
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
        #[cfg(unix)]
        assert!(read(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string().contains("1 MiB"));
    }

    #[test]
    fn an_excerpt_is_short_and_steers_no_terminal() {
        assert_eq!(excerpt("a\x1b[2Jb\n", 20), "a [2Jb ");
        assert_eq!(excerpt("äöü", 2), "äö…");
    }
}
