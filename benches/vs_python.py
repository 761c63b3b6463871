#!/usr/bin/env python3
"""Runs the Python peer's augmentation benchmark and ours in turn, and adds the ratio to RESULTS.md.

    python3 benches/vs_python.py --peer DIR [--python EXE] [--rounds 5] [--note TEXT]

DIR holds the peer's bench_aug.py; EXE is a Python with albumentations 1.3.1 and OpenCV 4.10.
Run it with nothing else running: A B A B, medians. Standard library only.
"""
import argparse, datetime, json, os, pathlib, platform, statistics, subprocess, tempfile

HERE = pathlib.Path(__file__).resolve().parent


def last_json(text):
    return json.loads(text[text.index("{"):])


def ours():
    run = ["cargo", "bench", "--quiet", "--bench", "throughput"]
    out = subprocess.run(run, cwd=HERE.parent, capture_output=True, text=True, check=True)
    return last_json(out.stdout)


def peer(args, scratch):
    env = dict(os.environ, PYTHONPATH=str(args.peer.resolve()))
    run = [args.python, str((args.peer / "bench_aug.py").resolve())]
    out = subprocess.run(run, cwd=scratch, env=env, capture_output=True, text=True, check=True)
    return last_json(out.stdout)


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def commit():
    run = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(run, cwd=HERE, capture_output=True, text=True).stdout.strip()


def add_to_results(lines):
    results = HERE / "RESULTS.md"
    with results.open("a") as out:
        if not out.tell():
            out.write("# Measured\n\nRatios of medians, the two sides run in turn on one machine; an absolute time means little\nelsewhere. How: the head of each script in this folder.\n")
        out.write("\n".join(lines) + "\n")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", type=pathlib.Path, required=True)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    args = parser.parse_args()

    ours()  # builds, and warms up
    ours_all, peer_all = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for i in range(args.rounds):
            peer_all.append(peer(args, scratch))
            ours_all.append(ours())
            print(i + 1, peer_all[-1]["pipeline"]["wall_ms"], ours_all[-1], flush=True)
    peer_ms = statistics.median(r["pipeline"]["wall_ms"] for r in peer_all)
    load_ms = statistics.median(r["np_load_page_cache"]["wall_ms"] for r in peer_all)
    our = {key: statistics.median(r[key] for r in ours_all) for key in ours_all[0]}
    lines = [
        "",
        f"## Augmentation against Python, {datetime.date.today()}",
        "",
        f"{cpu()}, {os.cpu_count()} cores, commit {commit()}, {args.rounds} rounds in turn, medians. {args.note}".rstrip(),
        "",
        "| 224 × 224 × 6, one thread | Python | ours | ratio |",
        "|---|---|---|---|",
        f"| the notebook's pipeline, ms a slice | {peer_ms:.3f} | {our['pipeline_ms']:.3f} | {peer_ms / our['pipeline_ms']:.1f} |",
        f"| … slices a second | {1e3 / peer_ms:.0f} | {1e3 / our['pipeline_ms']:.0f} | |",
        f"| reading a study of 105 slices, page cache, ms | {105 * load_ms:.1f} | {our['study_read_ms']:.1f} | {105 * load_ms / our['study_read_ms']:.1f} |",
        f"| reading and augmenting a study, ms | {105 * (peer_ms + load_ms):.0f} | {our['study_ms']:.1f} | {105 * (peer_ms + load_ms) / our['study_ms']:.1f} |",
        "",
        f"Two workers: {our['study_ms_2_workers']:.1f} ms a study, {our['study_ms'] / our['study_ms_2_workers']:.2f} times one.",
    ]
    add_to_results(lines)


if __name__ == "__main__":
    main()
