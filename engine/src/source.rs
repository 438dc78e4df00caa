//! The files of a model, from a directory or from the binary itself.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::time::UNIX_EPOCH;

use memmap2::Mmap;

use crate::error::LoadError;
use crate::options::ModelSource;
use crate::shape::byte_tokenizer;

/// Configurations, templates and vocabularies are far below this; anything above is hostile.
const SMALL_FILE_BYTES_MAX: u64 = 256 << 20;

/// The content of one file, however it was obtained.
pub(crate) enum FileBytes {
    Static(&'static [u8]),
    Read(Vec<u8>),
    Mapped(Mmap),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Static(bytes) => bytes,
            FileBytes::Read(bytes) => bytes,
            FileBytes::Mapped(map) => map,
        }
    }
}

impl ModelSource {
    /// A small file, read whole; None where the model does not have it.
    pub(crate) fn read(&self, name: &str) -> Result<Option<FileBytes>, LoadError> {
        self.open(name, |path| {
            let length = fs::metadata(path)?.len();
            if length > SMALL_FILE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{length} bytes")));
            }
            fs::read(path).map(FileBytes::Read)
        })
    }

    /// A large file, mapped.
    pub(crate) fn map(&self, name: &str) -> Result<Option<FileBytes>, LoadError> {
        self.open(name, |path| {
            let file = File::open(path)?;
            // SAFETY: the map is read-only and lives only while the model is loaded. A file that is cut short
            // meanwhile raises SIGBUS, as in every program that maps its model.
            let map = unsafe { Mmap::map(&file)? };
            Ok(FileBytes::Mapped(map))
        })
    }

    /// When a file was last changed, in nanoseconds; None where the model is no folder.
    pub(crate) fn modified(&self, name: &str) -> Option<u128> {
        let ModelSource::Directory(directory) = self else { return None };
        let modified = fs::metadata(directory.join(name)).and_then(|metadata| metadata.modified()).ok()?;
        Some(modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
    }

    /// A file that every model has.
    pub(crate) fn require(&self, name: &str) -> Result<FileBytes, LoadError> {
        self.read(name)?.ok_or_else(|| LoadError::Missing(name.to_owned()))
    }

    fn open(&self, name: &str, read: impl Fn(&Path) -> io::Result<FileBytes>) -> Result<Option<FileBytes>, LoadError> {
        match self {
            ModelSource::Embedded(files) => {
                let found = files.iter().find(|(file, _)| *file == name);
                Ok(found.map(|(_, bytes)| FileBytes::Static(bytes)))
            }
            ModelSource::Random { config } => match name {
                "config.json" => Ok(Some(FileBytes::Read(config.clone().into_bytes()))),
                "tokenizer.json" => byte_tokenizer().map(|bytes| Some(FileBytes::Read(bytes))),
                _ => Ok(None),
            },
            ModelSource::Directory(directory) => {
                let path = directory.join(name);
                match read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(LoadError::Io { path, source }),
                }
            }
        }
    }
}
