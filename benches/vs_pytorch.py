#!/usr/bin/env python3
"""Runs the PyTorch peer's training benchmarks and ours in turn, and adds the ratios to RESULTS.md.

    python3 benches/vs_pytorch.py --peer DIR [--python EXE] [--rounds 5] [--threads 2] [--note TEXT]

DIR holds the peer's bench_torch.py; EXE is a Python with PyTorch 2.5 and timm. Run it with nothing
else running: A B A B, medians and the spread of each side. Standard library only.
"""
import argparse, datetime, json, os, pathlib, statistics, subprocess

from vs_python import HERE, add_to_results, commit, cpu, last_json

CASES = {
    "enc": ("--bs 8 --size 224", ["fwd", "fwd_bwd", "fwd_bwd_inputs"], "encoder, 224 × 224, ms an image"),
    "lstm": ("--bs 8", ["fwd", "fwd_bwd"], "both LSTMs, 8 × 105, ms"),
    "step": ("--bs 2 --size 64", ["step"], "step of 2 × 105 images of 64 × 64, s"),
}


def ours(what, flags, threads):
    run = ["cargo", "bench", "--quiet", "--bench", "compute", "--", what, *flags.split()]
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    out = subprocess.run(run, cwd=HERE.parent, env=env, capture_output=True, text=True, check=True)
    return last_json(out.stdout)


def peer(args, what, flags):
    env = dict(os.environ, PYTHONPATH=str(args.peer.resolve()))
    script = str((args.peer / "bench_torch.py").resolve())
    run = [args.python, script, what, "fp32", *flags.split(), "--threads", str(args.threads)]
    out = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
    found = last_json(out.stdout)
    wall = lambda part: next(v for k, v in part.items() if k.startswith("wall_") and "min" not in k)
    flat = {k: wall(v) for k, v in found.items() if isinstance(v, dict)}
    return {**flat, "peak_rss_MiB": found["peak_rss_MiB"]}


def describe(values):
    digits = 2 if max(values) < 10 else 0 if min(values) > 1000 else 1
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", type=pathlib.Path, required=True)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    rows = []
    for what, (flags, keys, name) in CASES.items():
        ours(what, flags, args.threads)  # builds, and warms up
        ours_all, peer_all = [], []
        for _ in range(args.rounds):
            peer_all.append(peer(args, what, flags))
            ours_all.append(ours(what, flags, args.threads))
            print(what, peer_all[-1], ours_all[-1], flush=True)
        for key in [*keys, "peak_rss_MiB"]:
            # The peer has one backward pass.
            of_peer = "fwd_bwd" if key == "fwd_bwd_inputs" else key
            a, b = [r[of_peer] for r in peer_all], [r[key] for r in ours_all]
            ratio = statistics.median(b) / statistics.median(a)
            part = {"fwd": "forward", "fwd_bwd": "forward + backward", "fwd_bwd_inputs": "… keeping layers' inputs only", "step": "", "peak_rss_MiB": "peak RSS, MiB"}[key]
            rows.append(f"| {name.rsplit(', ', 1)[0] if 'RSS' in part else name}{', ' if part else ''}{part} | {describe(a)} | {describe(b)} | {ratio:.2f} |")
    add_to_results([
        "",
        f"## Training core against PyTorch, {datetime.date.today()}",
        "",
        f"{cpu()}, {args.threads} threads, f32, commit {commit()}, {args.rounds} rounds in turn, medians (lowest–highest). {args.note}".rstrip(),
        "",
        "| | PyTorch | ours | ours / PyTorch |",
        "|---|---|---|---|",
        *rows,
    ])


if __name__ == "__main__":
    main()
