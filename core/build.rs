//! With the `cuda` feature: compiles the kernels in `src/net/ops/kernels` to PTX. The program embeds the PTX,
//! and the driver compiles it for the GPU.
//!
//! Looks for nvcc in `$RSNA_TUI_NVCC`, `$NVCC`, `$CUDA_HOME/bin`, then on the path. (candle compiles its
//! kernels with `$NVCC`; the first variable is for ours only.) The PTX runs on GPUs of compute
//! capability `$CUDA_COMPUTE_CAP` (the same as candle's kernels) and newer; the default is 8.0.

use std::{env, fs, path::PathBuf, process::Command};

/// Folder of the kernels: `.cu` files, which all include `common.cuh`.
const KERNELS: &str = "src/net/ops/kernels";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in ["RSNA_TUI_NVCC", "NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed={KERNELS}");
    let nvcc = nvcc();
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    // candle turns 90 into 90a for its kernels, and other GPUs reject that: keep ours at 90.
    let cap = env::var("CUDA_COMPUTE_CAP").unwrap_or_default().replace('.', "");
    let cap = if cap.is_empty() { "80".into() } else { cap };
    let mut modules = String::new();
    for family in families() {
        let source = format!("{KERNELS}/{family}.cu");
        modules += &format!("(\"{family}\", include_str!(\"{family}.ptx\")),\n");
        let done = Command::new(&nvcc)
            .args(["--ptx", "-O3", "--std=c++17", "-Xcompiler", "-fPIC"])
            .arg(format!("-arch=compute_{cap}"))
            .args(["--output-directory", &out, &source])
            .output();
        match done {
            Ok(done) if done.status.success() => {}
            Ok(done) => panic!(
                "nvcc could not compile {source}:\n{}{}",
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            ),
            Err(error) => panic!(
                "the cuda feature compiles kernels with nvcc of the CUDA toolkit, and {} cannot be \
                 run ({error}): install the toolkit, or say where nvcc is in NVCC or CUDA_HOME",
                nvcc.display()
            ),
        }
    }
    let list = PathBuf::from(&out).join("modules.rs");
    fs::write(list, format!("[{modules}]")).expect("cargo's folder for results can be written");
    println!("cargo:rustc-env=RSNA_TUI_CUDA={}", version(&nvcc));
    println!("cargo:rustc-env=RSNA_TUI_CUDA_CAP={cap}");
}

/// Names of the kernel files without `.cu`, sorted.
fn families() -> Vec<String> {
    let files = fs::read_dir(KERNELS).expect("the kernels' folder is part of the source");
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut families: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".cu")?.into())).collect();
    families.sort();
    families
}

fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("RSNA_TUI_NVCC").or_else(|| env::var_os("NVCC")) {
        return nvcc.into();
    }
    match env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc")) {
        Some(nvcc) if nvcc.is_file() => nvcc,
        _ => "nvcc".into(),
    }
}

/// CUDA's version as the driver counts it, 13000 for 13.0: an older driver rejects the PTX.
fn version(nvcc: &PathBuf) -> u32 {
    let said = Command::new(nvcc).arg("--version").output();
    let said = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let number = said.split("release ").nth(1).and_then(|rest| rest.split(',').next());
    let mut parts = number.unwrap_or("0.0").split('.').map(|p| p.trim().parse().unwrap_or(0));
    parts.next().unwrap_or(0) * 1000 + parts.next().unwrap_or(0) * 10
}
