//! A ClickHouse binary made of `libchdb.so`: opens the library and runs `clickhouse local` with our own
//! arguments.

use std::env;
use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use libloading::Library;

/// Names the library to open.
const LIBRARY_VARIABLE: &str = "POSTHOUSE_LIBCHDB";

/// The engine's result handle, opaque to us.
#[repr(C)]
struct ChdbResult {
    _opaque: [u8; 0],
}

type QueryCommandLine = unsafe extern "C" fn(argc: c_int, argv: *mut *mut c_char) -> *mut ChdbResult;
type ResultError = unsafe extern "C" fn(*mut ChdbResult) -> *const c_char;
type ResultBuffer = unsafe extern "C" fn(*mut ChdbResult) -> *const c_char;
type ResultLength = unsafe extern "C" fn(*mut ChdbResult) -> usize;

fn main() -> ExitCode {
    match run(env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clickhouse-launcher: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command line to its end and prints what it returned.
fn run(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let path = env::var_os(LIBRARY_VARIABLE)
        .with_context(|| format!("{LIBRARY_VARIABLE} is not set: it must name libchdb.so"))?;
    // The engine takes the first argument for the program's name; options follow at once.
    let mut arguments = std::iter::once(OsString::from("clickhouse"))
        .chain(arguments)
        .map(|argument| CString::new(argument.into_vec()).context("an argument holds a zero byte"))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .map(CString::into_raw)
        .collect::<Vec<_>>();
    let count = c_int::try_from(arguments.len()).context("too many arguments")?;
    arguments.push(std::ptr::null_mut());

    // SAFETY: libchdb's initialisers run here, before this process has any other thread.
    let library =
        unsafe { Library::new(&path) }.with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: the four types are those of chdb.h, and the library is never closed (see the end of this
    // function).
    let (query, error, buffer, length) = unsafe {
        (
            *library.get::<QueryCommandLine>(c"chdb_query_cmdline")?,
            *library.get::<ResultError>(c"chdb_result_error")?,
            *library.get::<ResultBuffer>(c"chdb_result_buffer")?,
            *library.get::<ResultLength>(c"chdb_result_length")?,
        )
    };
    // Closing would run the engine's destructors under threads that are still alive; the process ends soon
    // anyway.
    std::mem::forget(library);

    // SAFETY: argv holds `count` zero-terminated strings and a null at the end; they are leaked, so they
    // outlive the call.
    let result = unsafe { query(count, arguments.as_mut_ptr()) };
    if result.is_null() {
        bail!("the engine gave no result");
    }
    // SAFETY: `result` is the live handle just returned.
    let message = unsafe { error(result) };
    if !message.is_null() {
        // SAFETY: the engine returns a zero-terminated string that lives as long as the result, which is
        // never freed.
        let message = unsafe { CStr::from_ptr(message) };
        bail!("{}", message.to_string_lossy());
    }
    // SAFETY: as above; the buffer is only read when its length is not zero.
    let (buffer, length) = unsafe { (buffer(result), length(result)) };
    if length > 0 && !buffer.is_null() {
        // SAFETY: the engine says that `length` bytes stand at `buffer`, and the result is never freed.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
        io::stdout().write_all(bytes).context("cannot write the result to stdout")?;
    }
    Ok(())
}
