//! NVIDIA's run-time compiler, opened by path. It needs no GPU, no driver and no header of its own.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, ensure};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

/// The compiler, and the builtins that it looks for by their bare name.
pub(crate) struct Nvrtc {
    library: Library,
    _builtins: Library,
}

/// What a file is compiled for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// Machine code of one GPU, with the assembler's remarks.
    Cubin,
    /// What a driver translates.
    Ptx,
}

type Program = *mut c_void;
type Status = c_int;
type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> Status;
type Read = unsafe extern "C" fn(Program, *mut c_char) -> Status;
type Create = unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> Status;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status;
type Destroy = unsafe extern "C" fn(*mut Program) -> Status;

impl Nvrtc {
    pub(crate) fn open(folder: &Path) -> Result<Nvrtc> {
        let open = |name: &str| {
            let path = folder.join(name);
            // SAFETY: the libraries were checked against their hash, and loading them runs nothing but their own set-up.
            unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }.with_context(|| format!("{} does not load", path.display()))
        };
        Ok(Nvrtc { _builtins: open("libnvrtc-builtins.so.13.0")?, library: open("libnvrtc.so.13")? })
    }

    /// Compiles a source that includes `headers`; returns the result and the log.
    pub(crate) fn compile(
        &self,
        name: &str,
        source: &str,
        headers: &[(String, String)],
        options: &[String],
        target: Target,
    ) -> Result<(Vec<u8>, String)> {
        let text = |text: &str| CString::new(text).context("a source holds a zero byte");
        let (source, file) = (text(source)?, text(name)?);
        let contents = headers.iter().map(|(_, content)| text(content)).collect::<Result<Vec<_>>>()?;
        let names = headers.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>>>()?;
        let options = options.iter().map(|option| text(option)).collect::<Result<Vec<_>>>()?;
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (contents, names, options) = (pointers(&contents), pointers(&names), pointers(&options));
        let mut program = ptr::null_mut();
        // SAFETY: all strings outlive the calls, the counts are those of the arrays, and the signatures are those of NVRTC 13.
        unsafe {
            let create: Symbol<Create> = self.library.get(b"nvrtcCreateProgram")?;
            let status = create(&mut program, source.as_ptr(), file.as_ptr(), headers.len() as c_int, contents.as_ptr(), names.as_ptr());
            ensure!(status == 0, "nvrtcCreateProgram: {status}");
            let compile: Symbol<Compile> = self.library.get(b"nvrtcCompileProgram")?;
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let log = self.read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
            ensure!(status == 0, "{name} does not compile:\n{log}");
            let result = match target {
                Target::Cubin => self.read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")?,
                Target::Ptx => self.read(program, "nvrtcGetPTXSize", "nvrtcGetPTX")?,
            };
            let destroy: Symbol<Destroy> = self.library.get(b"nvrtcDestroyProgram")?;
            destroy(&mut program);
            Ok((result, log))
        }
    }

    /// # Safety
    /// The names must be those of a getter of a size and of a getter of as many bytes.
    unsafe fn read(&self, program: Program, size: &str, bytes: &str) -> Result<Vec<u8>> {
        let mut length = 0;
        // SAFETY: as promised by the caller.
        unsafe {
            let size_of: Symbol<SizeOf> = self.library.get(size.as_bytes())?;
            ensure!(size_of(program, &mut length) == 0, "{size} fails");
            let mut result = vec![0; length];
            let read: Symbol<Read> = self.library.get(bytes.as_bytes())?;
            ensure!(read(program, result.as_mut_ptr().cast()) == 0, "{bytes} fails");
            Ok(result)
        }
    }
}
