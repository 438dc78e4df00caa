//! The state folder of a run: locked while in use, bound to one input, and removed when its work is done.

use std::{
    fs::{File, TryLockError},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// An open state folder; the lock ends with the process, however it ends.
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";
const FINGERPRINT: &str = "input.sha256";

impl StateFolder {
    /// Opens or makes the folder for an input. Refuses one that is in use, or that belongs to another input.
    pub fn open(path: &Path, input: &Path) -> anyhow::Result<Self> {
        let fingerprint = fingerprint(input)?;
        std::fs::create_dir_all(path).with_context(|| format!("cannot create the state folder `{}`", path.display()))?;
        let lock = lock(path)?;
        let recorded = path.join(FINGERPRINT);
        match std::fs::read_to_string(&recorded) {
            Ok(earlier) if earlier == fingerprint => {}
            Ok(_) => bail!(
                "`{}` has changed since the work in `{}` began. Put the old input back to go on, or remove that folder to start anew.",
                input.display(),
                path.display()
            ),
            Err(_) => write_whole(&recorded, &fingerprint)?,
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where the embedded services keep their data.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a run has put there, and the folder if nothing else is in it.
    pub fn discard(self) -> anyhow::Result<()> {
        let ours = |name: &str| name.starts_with("millrace.db") || name == LOCK || name == FINGERPRINT;
        // The fingerprint goes last: as long as it stands, a second run would find a batch that has ended and write the output again.
        let _ = std::fs::remove_dir_all(self.path.join("objects"));
        for entry in std::fs::read_dir(&self.path)?.flatten() {
            if entry.file_name().to_str().is_some_and(ours) {
                std::fs::remove_file(entry.path())?;
            }
        }
        // Not empty means that somebody keeps something of his own there.
        let _ = std::fs::remove_dir(&self.path);
        Ok(())
    }
}

/// Takes the lock of a folder, or says that somebody else has it.
pub fn lock(folder: &Path) -> anyhow::Result<File> {
    let file = File::create(folder.join(LOCK)).with_context(|| format!("cannot write into `{}`", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("`{}` is in use by another millrace process", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock `{}`", folder.display())),
    }
}

fn fingerprint(input: &Path) -> anyhow::Result<String> {
    let file = File::open(input).with_context(|| format!("cannot read `{}`", input.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = reader.read(&mut buffer).with_context(|| format!("cannot read `{}`", input.display()))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let partial = path.with_added_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_input_and_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (input, state) = (folder.path().join("in.jsonl"), folder.path().join("state"));
        std::fs::write(&input, "one").unwrap();
        let open = StateFolder::open(&state, &input).unwrap();
        assert!(StateFolder::open(&state, &input).err().unwrap().to_string().contains("in use"));
        drop(open);
        std::fs::write(&input, "two").unwrap();
        assert!(StateFolder::open(&state, &input).err().unwrap().to_string().contains("has changed"));
        std::fs::write(&input, "one").unwrap();
        StateFolder::open(&state, &input).unwrap().discard().unwrap();
        assert!(!state.exists());
    }
}
