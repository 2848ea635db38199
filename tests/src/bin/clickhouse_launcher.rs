//! ClickHouse binary made of `libchdb.so`.
//!
//! It opens the library and runs `clickhouse local` with its own arguments.

#![allow(unsafe_code)]

use std::env;
use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use libloading::Library;

/// Environment variable with the path of the library.
const LIBRARY_VARIABLE: &str = "POSTHOUSE_LIBCHDB";

/// The library's result handle, an opaque type.
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

/// Runs one command line to its end and prints its result.
fn run(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let path = env::var_os(LIBRARY_VARIABLE)
        .with_context(|| format!("{LIBRARY_VARIABLE} is not set: it must name libchdb.so"))?;
    // The library takes the first argument as the program name; options follow directly.
    let mut arguments = std::iter::once(OsString::from("clickhouse"))
        .chain(arguments)
        .map(|argument| CString::new(argument.into_vec()).context("an argument holds a zero byte"))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .map(CString::into_raw)
        .collect::<Vec<_>>();
    let count = c_int::try_from(arguments.len()).context("too many arguments")?;
    arguments.push(std::ptr::null_mut());

    // SAFETY: libchdb's initializers run here, before this process has any other thread.
    let library =
        unsafe { Library::new(&path) }.with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: the four types match chdb.h, and the library is never closed (see below).
    let (query, error, buffer, length) = unsafe {
        (
            *library.get::<QueryCommandLine>(c"chdb_query_cmdline")?,
            *library.get::<ResultError>(c"chdb_result_error")?,
            *library.get::<ResultBuffer>(c"chdb_result_buffer")?,
            *library.get::<ResultLength>(c"chdb_result_length")?,
        )
    };
    // Closing would run the library's destructors under live threads. The process ends soon anyway.
    std::mem::forget(library);

    // SAFETY: argv holds `count` zero-terminated strings and a null at the end. They are leaked, so
    // they outlive the call.
    let result = unsafe { query(count, arguments.as_mut_ptr()) };
    if result.is_null() {
        bail!("the engine gave no result");
    }
    // SAFETY: `result` is the live handle just returned.
    let message = unsafe { error(result) };
    if !message.is_null() {
        // SAFETY: the library returns a zero-terminated string that lives as long as the result,
        // and the result is never freed.
        let message = unsafe { CStr::from_ptr(message) };
        bail!("{}", message.to_string_lossy());
    }
    // SAFETY: as above; the buffer is only read when its length is not zero.
    let (buffer, length) = unsafe { (buffer(result), length(result)) };
    if length > 0 && !buffer.is_null() {
        // SAFETY: the library guarantees `length` bytes at `buffer`, and the result is never freed.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
        io::stdout().write_all(bytes).context("cannot write the result to stdout")?;
    }
    Ok(())
}
