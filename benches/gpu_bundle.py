"""What is to be run on an NVIDIA GPU, as a folder to take to a box without Rust or a network:
`benches/gpu.py bundle`.

Builds the program and its GPU tests with the `cuda` feature, on any machine (.ci/toolkit brings nvcc),
strips them, and puts them into the folder with the golden cases, PyTorch's side and `run`, which does
all there is to do on the card: see gpu_run.py. At most 64 MiB.
"""
import json, pathlib, shutil, subprocess, tarfile, tempfile

from vs_python import HERE, commit

ROOT = HERE.parent
LIMIT = 64 << 20


def environment(toolkit):
    """The variables that the toolkit's env.sh sets."""
    script = f'. "{toolkit}/env.sh" && env -0'
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    return dict(pair.split("=", 1) for pair in out.split("\0") if "=" in pair)


def build(env):
    """The program and its tests, by name."""
    common = ["--release", "--locked", "--features", "cuda", "--message-format", "json-render-diagnostics"]
    found = {}
    for command in (["cargo", "build", "--bin", "rsna-tui"], ["cargo", "test", "--no-run", "--test", "it"]):
        done = subprocess.run([*command, *common], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            made = json.loads(line)
            if made.get("executable") and made["target"]["name"] in ["rsna-tui", "it"]:
                found[made["target"]["name"]] = pathlib.Path(made["executable"])
    return found


def bundle(args):
    out = args.dir
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"benches/gpu.py: {out} is not empty; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "fetch", "--locked"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        toolkit = args.toolkit or scratch / "toolkit"
        if not (toolkit / "env.sh").exists():
            subprocess.run([ROOT / ".ci/toolkit", toolkit], check=True)
        archs = args.archs.split(",")
        for arch in archs:
            env = dict(environment(toolkit.resolve()), CUDA_COMPUTE_CAP=arch)
            stripped = scratch / arch
            stripped.mkdir()
            for name, path in build(env).items():
                subprocess.run(["strip", "-o", stripped / name, path], check=True)
            with tarfile.open(out / f"sm_{arch}.tar.xz", "w:xz", preset=9) as archive:
                for path in sorted(stripped.iterdir()):
                    archive.add(path, path.name)
    golden = out / "golden"
    golden.mkdir()
    for folder in [ROOT / "tests/golden", ROOT / "../shared/golden"]:
        for path in folder.glob("*.*") if folder.is_dir() else []:
            if path.suffix in [".json", ".safetensors"] and not (golden / path.name).exists():
                shutil.copyfile(path, golden / path.name)
    for name, to in [("gpu_pytorch.py", "gpu_pytorch.py"), ("gpu_run.py", "run")]:
        shutil.copy(HERE / name, out / to)
    (out / "run").chmod(0o755)
    (out / "about.json").write_text(json.dumps({"commit": commit(), "archs": archs}))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / (1 << 20):.1f} MiB")
    if size > LIMIT:
        raise SystemExit(f"benches/gpu.py: more than {LIMIT >> 20} MiB")
