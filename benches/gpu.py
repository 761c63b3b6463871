#!/usr/bin/env python3
"""On a machine with an NVIDIA GPU: the GPU's tests, then a full-size training step, then PyTorch's.

    python3 benches/gpu.py [--python EXE] [--batch 8] [--size 224] [--minutes 10] [--dry-run]
    python3 benches/gpu.py count --driver DIR [--batch 8] [--size 224] [--precision bf16] [--chunk N]

The second needs no GPU: what a step asks of one, counted on the stand-in driver that
`tests/driver/build` put into DIR (see gpu_count.py). Of the first:

Builds with the `cuda` feature (nvcc on the path, or NVCC or CUDA_HOME set), runs the tests that need a
GPU, `rsna-tui bench` in bf16 and f16 in one pass where that fits and in chunks, and, where EXE has PyTorch
with CUDA and timm, the same step in PyTorch with AMP, eager and compiled. A table with date, card and
driver is added to RESULTS.md; safe to run again. What does not fit into the time or the memory is
told in the table instead. Standard library only.
"""
import argparse, datetime, json, os, shutil, statistics, subprocess, sys, time

import gpu_count
from vs_python import HERE, add_to_results, commit, last_json

ROOT = HERE.parent


class Clock:
    def __init__(self, minutes):
        self.end = time.monotonic() + 60 * minutes

    def run(self, command, **more):
        left = self.end - time.monotonic()
        if left < 5:
            return None
        print("$", " ".join(command), flush=True)
        try:
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left, **more)
        except subprocess.TimeoutExpired:
            return None


def why_not(done):
    """The last words of a command that failed, in one line."""
    if done is None:
        return "no time left"
    said = [l for l in (done.stderr + done.stdout).splitlines() if l.strip()]
    return said[-1][:160] if said else f"exit code {done.returncode}"


def card():
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    query = [smi, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    out = subprocess.run(query, capture_output=True, text=True)
    return out.stdout.strip().splitlines()[0] if out.returncode == 0 and out.stdout.strip() else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default="python3", help="a Python with PyTorch and timm")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--dry-run", action="store_true", help="go on without a GPU, write nothing")
    args = parser.parse_args()
    gpu = card()
    if gpu is None and not args.dry_run:
        raise SystemExit("benches/gpu.py: nvidia-smi shows no GPU here")
    clock = Clock(args.minutes)
    lines = []

    cargo = ["cargo", "test", "--release", "--locked", "--features", "cuda", "--test"]
    for test, env in [("gpu", {}), ("golden", {"RSNA_TUI_TEST_DEVICE": "cuda"})]:
        done = clock.run([*cargo, test, "--", "--nocapture"], env={**os.environ, **env})
        found = [l for l in (done.stdout if done else "").splitlines() if l.startswith("test result")]
        lines.append(f"tests/{test}.rs: " + (found[-1] if found else why_not(done)))
        skipped = (done.stderr if done else "").count("skipped")
        if skipped:
            lines[-1] += f" ({skipped} times 'skipped')"
        print(lines[-1], flush=True)

    program = ["cargo", "run", "--release", "--locked", "--features", "cuda", "--", "bench", "--json"]
    program += ["--set", f"train.batch_size={args.batch}", "--set", f"data.image_size={args.size}"]
    rows = []
    for precision in ["bf16", "f16"]:
        for chunk in [0, 105]:
            name = f"ours, {precision}, " + ("chosen chunk" if chunk == 0 else f"chunks of {chunk}")
            flags = ["--set", f"train.precision={precision}", "--set", f"train.chunk_size={chunk}"]
            flags += ["--device", "auto" if args.dry_run else "cuda"]
            done = clock.run([*program, *flags])
            if done is None or done.returncode != 0:
                rows.append((name, None, None, why_not(done)))
                continue
            found = last_json(done.stdout)
            step = found["step_s"]
            parts = ", ".join(f"{k} {v:.0f}" for k, v in found["parts_ms"].items())
            note = f"{found['chunk']} images at once; ms: {parts}; {100 * found['product_share']:.0f} % of the product rate"
            rows.append((name, step["median"], found["peak_MiB"], note))
            print(rows[-1], flush=True)

    script = str(HERE / "gpu_pytorch.py")
    for mode in ["eager", "compile"]:
        for precision in ["bf16", "f16"]:
            name = f"PyTorch AMP, {precision}, {mode}"
            done = clock.run([args.python, script, mode, precision, str(args.batch), str(args.size)])
            if done is None or done.returncode != 0:
                rows.append((name, None, None, why_not(done)))
                continue
            found = last_json(done.stdout)
            rows.append((name, statistics.median(found["seconds"]), found["peak_MiB"], found["versions"]))
            print(rows[-1], flush=True)

    images = args.batch * 105
    table = ["", f"## A training step on a GPU, {datetime.date.today()}", ""]
    table += [f"{gpu}; {args.batch} × 105 images of {args.size} × {args.size}, commit {commit()}.", ""]
    table += [f"- {line}" for line in lines]
    table += ["", "| | s a step | images/s | peak MiB | |", "|---|---|---|---|---|"]
    for name, seconds, peak, note in rows:
        figures = f"{seconds:.3f} | {images / seconds:.0f} | {peak}" if seconds else "– | – | –"
        table.append(f"| {name} | {figures} | {note} |")
    if args.dry_run:
        print("\n".join(table))
    else:
        add_to_results(table)


def count():
    parser = argparse.ArgumentParser(description=gpu_count.__doc__.split("\n")[0])
    parser.add_argument("command", choices=["count"])
    parser.add_argument("--driver", required=True, help="where tests/driver/build put its libraries")
    parser.add_argument("--program", default=str(ROOT / "target/debug/rsna-tui"), help="built with the cuda feature")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f16", "f32"])
    parser.add_argument("--chunk", type=int, default=0, help="images at once; 0: as many as fit")
    parser.add_argument("--memory", type=int, default=81559, help="the card's, MiB")
    limits = {"nargs": "*", "default": [], "metavar": "NAME=N", "help": "fail where a count is above: launches=2800"}
    parser.add_argument("--at-most", **limits)
    gpu_count.count(parser.parse_args())


if __name__ == "__main__":
    count() if sys.argv[1:2] == ["count"] else main()
