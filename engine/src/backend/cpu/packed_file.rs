//! The packed matrices of one model in a file of their own, so that only its first start packs them: later ones map the file and
//! compute with what lies in it. Whatever goes wrong with it, the model loads; the next start then packs again.

mod table;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use memmap2::{Advice, Mmap};
use rustix::fs::statvfs;
use tracing::{info, warn};

use crate::backend::cpu::matrix::Layout;
use crate::backend::cpu::slab::Slab;
use table::Table;

/// To be raised with every change to what is packed: to panels, formats, or the order of rows in the model's matrices.
const VERSION: u32 = 2;

/// Unfinished files of processes that were killed are removed after this time, when nobody can be writing them any more.
const PARTIAL_KEPT: Duration = Duration::from_secs(3600);

/// How long the end of a process waits for its file.
const PATIENCE: Duration = Duration::from_secs(10);

/// A matrix of the model.
#[derive(Clone)]
struct Entry {
    name: String,
    layout: Layout,
    words: Slab,
}

/// The file of one model, while the model is loaded.
pub(crate) struct PackedFile {
    path: PathBuf,
    /// Whose matrices they are, and how they were packed.
    key: String,
    matrices: Mutex<Matrices>,
}

struct Matrices {
    /// What the file has, by name.
    found: HashMap<String, Entry>,
    /// What the model has asked for.
    used: Vec<Entry>,
    /// Something of that was not in the file.
    incomplete: bool,
}

impl PackedFile {
    /// The file in `folder` for a model directory whose weights have this identity. It may not be there yet.
    pub(crate) fn open(folder: &Path, model: &Path, identity: &str, format: &str) -> PackedFile {
        let path = folder.join(file_name(model, format));
        let key = format!("{identity} {format} packed {VERSION} {}-endian", if cfg!(target_endian = "little") { "little" } else { "big" });
        let found = match read(&path, &key) {
            Ok(found) => found,
            Err(reason) => {
                warn!("packed weights in {} are of no use: {reason}; they are packed again", path.display());
                HashMap::new()
            }
        };
        if !found.is_empty() {
            info!("packed weights come from {}", path.display());
        }
        PackedFile { path, key, matrices: Mutex::new(Matrices { found, used: Vec::new(), incomplete: false }) }
    }

    /// The words of a matrix: those in the file, or those that `pack` makes.
    pub(super) fn find_or(&self, name: &str, layout: Layout, pack: impl FnOnce() -> Slab) -> Slab {
        let mut matrices = self.matrices.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = matrices.found.remove(name).filter(|entry| entry.layout == layout);
        matrices.incomplete |= entry.is_none();
        let entry = entry.unwrap_or_else(|| Entry { name: name.to_owned(), layout, words: pack() });
        let words = entry.words.clone();
        matrices.used.push(entry);
        words
    }

    /// Once the model is loaded: writes the file, beside whatever comes next, if it does not have everything already.
    pub(crate) fn save(&self) -> Option<Writing> {
        let mut matrices = self.matrices.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, _) = (std::mem::take(&mut matrices.used), std::mem::take(&mut matrices.found));
        if !matrices.incomplete {
            return None;
        }
        let (path, key) = (self.path.clone(), self.key.clone());
        let (end, ended) = mpsc::channel();
        let write = move || {
            match write(&path, key, &used) {
                Ok(()) => info!("packed weights are kept in {}", path.display()),
                Err(error) => warn!("cannot keep packed weights in {}: {error}; the next start packs them again", path.display()),
            }
            // Nobody may be waiting for it.
            let _ = end.send(());
        };
        match thread::Builder::new().name("packed".to_owned()).spawn(write) {
            Ok(_) => Some(Writing(ended)),
            Err(error) => {
                warn!("cannot keep packed weights: {error}");
                None
            }
        }
    }
}

/// The file is being written. Dropping this waits for the end of it, since a file that is never whole is never of use, but not for ever:
/// what a slow disk has not taken by then is given up with the process.
pub(crate) struct Writing(Receiver<()>);

impl Drop for Writing {
    fn drop(&mut self) {
        if self.0.recv_timeout(PATIENCE).is_err() {
            warn!("packed weights are not written yet, and are given up");
        }
    }
}

/// Named by the model's folder and format, so that a model whose weights have changed takes the place of its former self.
fn file_name(model: &Path, format: &str) -> OsString {
    let model = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let place = table::digest(model.as_os_str().as_encoded_bytes());
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{}-{format}.packed", &place[..8]));
    name
}

/// What a file has, or why that is of no use. A file that is not there has nothing.
fn read(path: &Path, key: &str) -> Result<HashMap<String, Entry>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    // SAFETY: the map is read-only, and files of this name are replaced and never changed.
    let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(|error| error.to_string())?);
    let table = Table::read(&map)?;
    if table.key != key {
        return Err("they are of other weights, or packed in another way".to_owned());
    }
    // Only a wish: the first steps will want all of it.
    let _ = map.advise(Advice::WillNeed);
    table.entries(&map)
}

fn write(path: &Path, key: String, entries: &[Entry]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    remove_abandoned(folder)?;
    let table = Table::of(key, entries);
    leave_room(folder, table.bytes)?;
    let partial = path.with_added_extension(format!("{}.partial", process::id()));
    let mut file = File::create_new(&partial)?;
    // From here on it is ours to remove.
    let partial = Partial(partial);
    file.write_all(&table.to_bytes())?;
    entries.iter().try_for_each(|entry| file.write_all(entry.words.as_bytes()))?;
    file.sync_all()?;
    fs::rename(&partial.0, path)?;
    File::open(folder)?.sync_all()
}

/// The databases and files of the service may lie on the same disk: at most half of what is free there is taken.
fn leave_room(folder: &Path, bytes: u64) -> io::Result<()> {
    let disk = statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes > free / 2 {
        return Err(io::Error::new(io::ErrorKind::StorageFull, format!("{bytes} bytes are more than half of the {free} that are free")));
    }
    Ok(())
}

fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > PARTIAL_KEPT && entry.path().extension().is_some_and(|extension| extension == "partial") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that is not whole yet. Dropping it removes what has not got its name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
