//! Compiles the kernels for the CPU, launches them as on a GPU, and checks their memory accesses.

use half::{bf16, f16};
use libloading::Library;
use rand::Rng;
use rsna_tui::net::ops::launch::Launch;
use rsna_tui::rng::{Key, Purpose};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::process::Command;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::{env, fs, path::PathBuf};

/// Names of the kernel files, sorted.
static FAMILIES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = fs::read_dir(source("").parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut families: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".cu")?.into())).collect();
    families.sort();
    families
});
const SUFFIXES: [&str; 3] = ["_f32", "_f16", "_bf16"];

fn source(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("core/src/net/ops/kernels/{family}.cu"))
}

/// Names of a family's kernels: the text between `__global__ void` and the parameters, once per type if
/// a macro appends a suffix.
fn scan(family: &str) -> Vec<String> {
    let text = fs::read_to_string(source(family)).unwrap();
    let mut names = vec![];
    for part in text.split("extern \"C\" __global__ void ").skip(1) {
        let part = match part.strip_prefix("__launch_bounds__(") {
            Some(rest) => rest.split_once(") ").unwrap().1,
            None => part,
        };
        let name = part.split('(').next().unwrap().trim();
        match name.strip_suffix("##SUFFIX") {
            Some(name) => names.extend(SUFFIXES.map(|suffix| format!("{name}{suffix}"))),
            None => names.push(name.to_string()),
        }
    }
    names
}

/// Maps each kernel to its family.
pub static KERNELS: LazyLock<HashMap<String, usize>> = LazyLock::new(|| {
    let each = FAMILIES.iter().enumerate();
    each.flat_map(|(i, family)| scan(family).into_iter().map(move |name| (name, i))).collect()
});

/// Whether there is a compiler; if not, prints that in spite of the tests' capture.
pub fn compiler() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        let found = Command::new(cxx()).arg("--version").output().is_ok();
        if !found {
            let _ = writeln!(std::io::stderr(), "skipped: no C++ compiler");
        }
        found
    });
    *FOUND
}

fn cxx() -> String {
    env::var("CXX").unwrap_or_else(|_| "c++".into())
}

fn build(family: &str) -> Library {
    let folder = tempfile::tempdir().unwrap();
    let header = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/kernels/emulate.h");
    let mut text = format!("#include {:?}\n#include {:?}\n", header, source(family));
    for name in scan(family) {
        text += &format!(
            "extern \"C\" const char* run_{name}(const unsigned* grid, const unsigned* block, \
             unsigned shared, int reverse, void** args) {{ return emulation::run(grid, block, \
             shared, reverse, args, [] {{ emulation::call({name}); }}); }}\n"
        );
    }
    let (from, to) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
    fs::write(&from, text).unwrap();
    // Misalignment and out-of-bounds indices trap.
    let flags = "-std=c++17 -O1 -shared -fPIC -ffp-contract=off -U_FORTIFY_SOURCE \
                 -fsanitize=alignment,bounds -fsanitize-undefined-trap-on-error";
    let output =
        Command::new(cxx()).args(flags.split(' ')).arg(&from).arg("-o").arg(&to).output().unwrap();
    assert!(output.status.success(), "{family}: {}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library just compiled does nothing on loading.
    unsafe { Library::new(&to) }.unwrap()
}

/// Compiles each family once. The emulated threads are global state, hence the lock.
fn library(family: usize) -> &'static Mutex<Library> {
    static BUILT: LazyLock<Vec<OnceLock<Mutex<Library>>>> =
        LazyLock::new(|| FAMILIES.iter().map(|_| OnceLock::new()).collect());
    BUILT[family].get_or_init(|| Mutex::new(build(&FAMILIES[family])))
}

/// Bytes of 0xff (NaN in every float type) before and after a buffer.
const GUARD: usize = 4096;

/// Device memory between guards.
pub struct Buffer {
    memory: Vec<Cell<u64>>,
    start: usize,
    bytes: usize,
}

impl Buffer {
    fn raw(bytes: usize, shift: usize) -> Self {
        let memory = vec![Cell::new(u64::MAX); (2 * GUARD + bytes + shift + 16).div_ceil(8)];
        let start = memory.as_ptr().addr().next_multiple_of(16) - memory.as_ptr().addr();
        Self { memory, start: start + GUARD + shift, bytes }
    }
    /// Allocates `n` unwritten values.
    pub fn unwritten<T>(n: usize) -> Self {
        Self::raw(n * size_of::<T>(), 0)
    }
    pub fn new<T: Copy>(values: &[T]) -> Self {
        Self::shifted(values, 0)
    }
    /// Copies `values` to a buffer that is `by` elements off the alignment of vectors.
    pub fn shifted<T: Copy>(values: &[T], by: usize) -> Self {
        let new = Self::raw(size_of_val(values), by * size_of::<T>());
        // SAFETY: the buffer has this length, and is aligned for anything of up to 8 bytes.
        unsafe { new.address().cast::<T>().copy_from(values.as_ptr(), values.len()) };
        new
    }
    pub fn to<T: Copy>(&self) -> Vec<T> {
        // SAFETY: as above; every bit pattern is a number.
        unsafe {
            std::slice::from_raw_parts(self.address().cast::<T>(), self.bytes / size_of::<T>())
        }
        .to_vec()
    }
    pub fn address(&self) -> *mut u8 {
        // `Cell`s may be written through a shared reference.
        (self.memory.as_ptr() as *mut u8).wrapping_add(self.start)
    }
    /// Resets the buffer to unwritten.
    pub fn erase(&self) {
        self.memory.iter().for_each(|cell| cell.set(u64::MAX));
    }
    fn check(&self, name: &str) {
        let bytes = self.memory.len() * 8;
        // SAFETY: this is the whole memory, and nothing writes to it now.
        let all = unsafe { std::slice::from_raw_parts(self.memory.as_ptr() as *const u8, bytes) };
        let (before, after) = (&all[..self.start], &all[self.start + self.bytes..]);
        let whole = before.iter().chain(after).all(|&b| b == 0xff);
        assert!(whole, "{name} wrote outside a buffer of {} bytes", self.bytes);
    }
}

#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Of(&'a Buffer),
    Null,
    Int(usize),
    Long(usize),
    Float(f32),
}

impl Arg<'_> {
    fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        match self {
            Arg::Of(b) => bytes = (b.address() as u64).to_ne_bytes(),
            Arg::Null => {}
            Arg::Int(i) => bytes[..4].copy_from_slice(&(i as i32).to_ne_bytes()),
            Arg::Long(i) => bytes = (i as i64).to_ne_bytes(),
            Arg::Float(x) => bytes[..4].copy_from_slice(&x.to_ne_bytes()),
        }
        bytes
    }
}

type Run =
    unsafe extern "C" fn(*const u32, *const u32, u32, c_int, *mut *mut c_void) -> *const c_char;

/// Launches a kernel, with the suffix of this type.
pub fn run(launch: Launch, ty: Type, args: &[Arg]) {
    let buffers: Vec<_> =
        args.iter().filter_map(|a| if let Arg::Of(b) = a { Some(*b) } else { None }).collect();
    run_with(launch, ty, args, &buffers);
}

/// Like [`run`], but the kernel may write only to `buffers`. Runs both orders of threads, which must
/// agree in every bit.
pub fn run_with(launch: Launch, ty: Type, args: &[Arg], buffers: &[&Buffer]) {
    let name = format!("{}{}", launch.kernel, if launch.typed { ty.suffix() } else { "" });
    assert!(launch.grid[1] <= 65535 && launch.grid[2] <= 65535, "{name}: {:?}", launch.grid);
    assert!(launch.shared <= 48 << 10, "{name}: {} bytes shared", launch.shared);
    let library = library(KERNELS[&name]).lock().unwrap_or_else(|e| e.into_inner());
    // SAFETY: the harness generated this function, with these parameters.
    let kernel = unsafe { library.get::<Run>(format!("run_{name}").as_bytes()) }.unwrap();
    let values: Vec<[u8; 8]> = args.iter().map(|a| a.bytes()).collect();
    let mut pointers: Vec<*mut c_void> = values.iter().map(|v| v.as_ptr() as *mut c_void).collect();
    let before: Vec<Vec<u64>> =
        buffers.iter().map(|b| b.memory.iter().map(Cell::get).collect()).collect();
    let mut results = vec![];
    for reverse in [0, 1] {
        for (buffer, before) in buffers.iter().zip(&before) {
            buffer.memory.iter().zip(before).for_each(|(cell, &b)| cell.set(b));
        }
        let (grid, block) = (launch.grid.as_ptr(), launch.block.as_ptr());
        // SAFETY: the arguments have the kernel's types; the guards check their lengths.
        let error = unsafe { kernel(grid, block, launch.shared, reverse, pointers.as_mut_ptr()) };
        if !error.is_null() {
            // SAFETY: the error is a string literal.
            panic!("{name}: {}", unsafe { CStr::from_ptr(error) }.to_string_lossy());
        }
        buffers.iter().for_each(|b| b.check(&name));
        results.push(buffers.iter().map(|b| b.to::<u8>()).collect::<Vec<_>>());
    }
    assert!(results[0] == results[1], "{name} depends on the order of its threads");
}

/// The element types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    F32,
    F16,
    Bf16,
}

impl Type {
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    pub fn suffix(self) -> &'static str {
        SUFFIXES[self as usize]
    }
    /// Largest allowed relative error of a result rounded to this type.
    pub fn bound(self) -> f64 {
        [1e-6, 5e-4, 4e-3][self as usize]
    }
    pub fn round(self, values: &[f64]) -> Vec<f64> {
        let round = |&x: &f64| match self {
            Self::F32 => f64::from(x as f32),
            Self::F16 => f64::from(f16::from_f32(x as f32)),
            Self::Bf16 => f64::from(bf16::from_f32(x as f32)),
        };
        values.iter().map(round).collect()
    }
    /// Creates a buffer of these values, `shift` elements off the alignment of vectors.
    pub fn buffer(self, values: &[f64], shift: usize) -> Buffer {
        let values = values.iter().map(|&x| x as f32);
        match self {
            Self::F32 => Buffer::shifted(&values.collect::<Vec<_>>(), shift),
            Self::F16 => Buffer::shifted(&values.map(f16::from_f32).collect::<Vec<_>>(), shift),
            Self::Bf16 => Buffer::shifted(&values.map(bf16::from_f32).collect::<Vec<_>>(), shift),
        }
    }
    pub fn unwritten(self, n: usize) -> Buffer {
        Buffer::raw(n * if self == Self::F32 { 4 } else { 2 }, 0)
    }
    pub fn values(self, buffer: &Buffer) -> Vec<f64> {
        match self {
            Self::F32 => buffer.to::<f32>().into_iter().map(f64::from).collect(),
            Self::F16 => buffer.to::<f16>().into_iter().map(f64::from).collect(),
            Self::Bf16 => buffer.to::<bf16>().into_iter().map(f64::from).collect(),
        }
    }
}

/// Draws values in -1..1.
pub fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Key::new(seed, Purpose::Init).rng();
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

static WORST: Mutex<Vec<(String, f64)>> = Mutex::new(vec![]);

/// Checks that |got - exact| / |exact| is at most `bound`.
pub fn compare(name: &str, exact: &[f64], got: &[f64], bound: f64) {
    assert_eq!(exact.len(), got.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let off = norm(&mut exact.iter().zip(got).map(|(a, b)| a - b));
    let error = off / norm(&mut exact.iter().copied()).max(f64::MIN_POSITIVE);
    assert!(error <= bound, "{name}: {error:.1e} off, {bound:.0e} allowed");
    let mut worst = WORST.lock().unwrap_or_else(|e| e.into_inner());
    match worst.iter_mut().find(|(n, _)| n == name) {
        Some((_, w)) => *w = w.max(error),
        None => worst.push((name.to_string(), error)),
    }
}

/// Prints the largest errors of a family's kernels, visible with `--nocapture`.
pub fn report(family: &str) {
    for (name, error) in WORST.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        if name.starts_with(family) {
            println!("{name:40} {error:.1e}");
        }
    }
}
