#!/usr/bin/env python3
"""All that there is to do with this program on an NVIDIA GPU, in under nine minutes, without Rust.

    ./run [--out DIR] [--python EXE] [--minutes 9] [--batch 8] [--size 224] [--rehearse]

Lies in a folder that `benches/gpu.py bundle` made. Runs, in the order of what matters most: selftest, GPU
tests, golden cases, a full-size training step in bf16, f16 and f32, PyTorch's at the same work, compute-sanitizer, the
slowest kernels, a demo run. Every result is in DIR (default: results, beside this file) as soon as
it is there: each command's output, results.json, and RESULTS.md to paste from. A step that fails or takes
too long does not stop the others; the exit code is 1 where one failed. --rehearse goes on without a GPU.
Python's standard library only; EXE (default: python3) is one with PyTorch and timm.
"""
import argparse, csv, datetime, json, os, pathlib, shutil, statistics, subprocess, sys, tarfile, time

HERE = pathlib.Path(__file__).resolve().parent
# Less work for a rehearsal on the stand-in driver, where the CPU computes.
SHORT_DEMO = ["--folds", "0", "--set", "train.epochs=1", "--set", "data.slices_per_vertebra=1", "--set", "data.image_size=32"]
SHORT = ["--steps", "1", "--set", "data.slices_per_vertebra=1"]


class Bench:
    def __init__(self, args):
        self.args = args
        self.end = time.monotonic() + 60 * args.minutes
        self.out = pathlib.Path(args.out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.about = json.loads((HERE / "about.json").read_text())
        self.results = {"commit": self.about["commit"], "date": str(datetime.date.today()), "steps": []}
        self.env = dict(os.environ, RSNA_TUI_GOLDEN=str(HERE / "golden"), RUST_BACKTRACE="1")
        self.failed = False

    def left(self):
        return self.end - time.monotonic()

    def command(self, name, command, limit, env=None):
        """Runs a command; its output goes to a file at once. Returns (what it printed, why it failed or None)."""
        log = self.out / f"{name.replace(' ', '_').replace(',', '')}.log"
        limit = min(limit, self.left())
        if limit < 3:
            return "", "no time left"
        print(f"{name}: {' '.join(map(str, command))} (at most {limit:.0f} s)", flush=True)
        with log.open("w") as file:
            try:
                done = subprocess.run(
                    list(map(str, command)), cwd=self.out, stdin=subprocess.DEVNULL, stdout=file,
                    stderr=subprocess.STDOUT, timeout=limit, env={**self.env, **(env or {})},
                )
                why = None if done.returncode == 0 else f"exit code {done.returncode}"
            except subprocess.TimeoutExpired:
                why = f"not done after {limit:.0f} s"
            except OSError as error:
                why = f"cannot be started: {error}"
        said = log.read_text(errors="replace")
        if why:
            words = [line for line in said.splitlines() if line.strip()]
            why = f"{why}: {words[-1][:160]}" if words else why
        return said, why

    def step(self, name, function):
        """Runs one step and keeps what it gave."""
        start = time.monotonic()
        try:
            figures, why = function(name)
        except Exception as error:  # Whatever it is, the next step may still tell something.
            figures, why = {}, f"{type(error).__name__}: {error}"
        self.failed |= why is not None and not why.startswith("skipped")
        seconds = round(time.monotonic() - start, 1)
        self.results["steps"].append({"name": name, "seconds": seconds, "failed": why, **figures})
        print(f"{name}: {why or 'done'} {json.dumps(figures)} in {seconds} s", flush=True)
        self.write()

    def write(self):
        write(self.out / "results.json", json.dumps(self.results, indent=1) + "\n")
        write(self.out / "RESULTS.md", self.table())

    # What is run.

    def card(self, _):
        query = "name,driver_version,memory.total,clocks.max.sm,compute_cap,power.limit"
        said, why = self.command("card", ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], 15)
        fields = [field.strip() for field in said.splitlines()[0].split(",")] if not why else []
        figures = dict(zip(["card", "driver", "memory", "clock", "capability", "power"], fields))
        self.results.update(figures)
        arch = max((a for a in self.about["archs"] if int(a) <= capability(figures)), default=self.about["archs"][0])
        with tarfile.open(HERE / f"sm_{arch}.tar.xz") as archive:
            archive.extractall(self.out / "bin")
        figures["build"] = f"sm_{arch}"
        return figures, why

    def binary(self, name):
        return self.out / "bin" / name

    def tests(self, test, limit, *flags):
        def run(name):
            said, why = self.command(
                name, [self.binary("it"), test, "--nocapture", *flags], limit, {"RSNA_TUI_TEST_DEVICE": "cuda"}
            )
            found = [line for line in said.splitlines() if line.startswith("test result")]
            skipped = said.count("skipped")
            figures = {"result": found[-1][:100] if found else "", "skipped": skipped}
            return figures, why or (f"{skipped} tests were skipped" if skipped else None)
        return run

    def selftest(self, name):
        device = "auto" if self.args.rehearse else "cuda"
        said, why = self.command(name, [self.binary("rsna-tui"), "selftest", "--device", device], 60)
        lines = said.splitlines()
        figures = {word: [line for line in lines if line.startswith(word)] for word in ("WRONG", "SLOW")}
        return {"result": lines[-1] if lines else "", **figures}, why

    def ours(self, precision, chunk, *more):
        def run(name):
            sets = [f"train.batch_size={self.args.batch}", f"data.image_size={self.args.size}"]
            sets += [f"train.precision={precision}", f"train.chunk_size={chunk}", *more]
            flags = [flag for one in sets for flag in ("--set", one)]
            flags += SHORT if self.args.rehearse else ["--device", "cuda"]
            said, why = self.command(name, [self.binary("rsna-tui"), "bench", "--json", *flags], 45)
            if why:
                return {}, why
            found = last_json(said)
            return {"step_s": found["step_s"]["median"], "peak_MiB": found["peak_MiB"], "bench": found}, None
        return run

    def pytorch(self, mode, precision):
        def run(name):
            script = [self.args.python, HERE / "gpu_pytorch.py", mode, precision, self.args.batch, self.args.size]
            said, why = self.command(name, script, 75)
            if why:
                return {}, why
            found = last_json(said)
            return {"step_s": statistics.median(found["seconds"]), "peak_MiB": found["peak_MiB"], "bench": found}, None
        return run

    def sanitizer(self, tool):
        def run(name):
            exe = find("compute-sanitizer")
            if exe is None:
                return {}, "skipped: no compute-sanitizer"
            sets = ["train.batch_size=2", "data.slices_per_vertebra=1", "data.image_size=64", "train.precision=bf16"]
            flags = ["--tool", tool, "--error-exitcode", "9", self.binary("rsna-tui"), "bench", "--device", "cuda"]
            flags += ["--steps", "1"] + [flag for one in sets for flag in ("--set", one)]
            said, why = self.command(name, [exe, *flags], 45)
            found = [line for line in said.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
            return {"summary": found[-1][-80:] if found else ""}, why
        return run

    def kernels(self, name):
        exe = find("ncu")
        if exe is None:
            return {}, "skipped: no ncu"
        flags = ["--clock-control", "none", "--metrics", "gpu__time_duration.sum", "--csv", self.binary("rsna-tui")]
        flags += ["bench", "--device", "cuda", "--steps", "1", "--set", "train.batch_size=2", "--set", "train.precision=bf16"]
        said, why = self.command(name, [exe, *flags], 80)
        return {"slowest": slowest(said)}, why

    def demo(self, name):
        flags = ["--demo", "--no-tui", "--run", f"demo-{int(time.time())}"]
        flags += SHORT_DEMO if self.args.rehearse else ["--device", "cuda"]
        said, why = self.command(name, [self.binary("rsna-tui"), *flags], 90)
        return {"last": said.splitlines()[-1][:120] if said.strip() else ""}, why

    def table(self):
        r, images = self.results, self.args.batch * 105
        card = f"{r.get('card', 'no card')}, driver {r.get('driver', '–')}, {r.get('memory', '–')}"
        lines = [f"## A training step on a GPU, {r['date']}", "", f"{card}; {self.args.batch} × 105 images of {self.args.size} × {self.args.size}, commit {r['commit']}.", ""]
        timed = [s for s in r["steps"] if "step_s" in s]
        lines += [f"- {s['name']}: {s['failed'] or s.get('result') or s.get('summary') or 'done'}" for s in r["steps"] if s not in timed]
        lines += ["", "| | s a step | images/s | peak MiB |", "|---|---|---|---|"]
        lines += [f"| {s['name']} | {s['step_s']:.4f} | {images / s['step_s']:.0f} | {s['peak_MiB']} |" for s in timed]
        return "\n".join(lines) + "\n"


def write(path, text):
    """Replaces a file as a whole: the box may go away at any time."""
    beside = path.with_suffix(".part")
    beside.write_text(text)
    beside.replace(path)


def capability(figures):
    major, _, minor = figures.get("capability", "8.0").partition(".")
    return 10 * int(major) + int(minor or 0)


def last_json(said):
    return json.loads([line for line in said.splitlines() if line.startswith("{")][-1])


def find(tool):
    """A tool of the CUDA toolkit, which is often not on the path."""
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    return shutil.which(tool) or next(filter(None, (shutil.which(f"{home}/bin/{tool}") for home in homes if home)), None)


def slowest(said):
    """The five kernels that took most, ms each, from ncu's CSV."""
    rows = csv.DictReader(line for line in said.splitlines() if line.startswith('"'))
    total = {}
    for row in rows:
        if row.get("Metric Name") == "gpu__time_duration.sum":
            factor = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}.get(row["Metric Unit"].replace("second", "s"), 1e-6)
            total[row["Kernel Name"]] = total.get(row["Kernel Name"], 0.0) + factor * float(row["Metric Value"].replace(",", ""))
    top = sorted(total.items(), key=lambda one: -one[1])[:5]
    return {name.split("(")[0]: round(ms, 3) for name, ms in top}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=str(HERE / "results"), help="where results go")
    parser.add_argument("--python", default="python3", help="a Python with PyTorch and timm")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rehearse", action="store_true", help="go on without a GPU")
    bench = Bench(parser.parse_args())
    bench.step("card", bench.card)
    if "card" not in bench.results and not bench.args.rehearse:
        raise SystemExit("run: nvidia-smi shows no GPU here; --rehearse goes on without one")
    # PyTorch compiles beside our tests: neither is timed.
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(bench.out / "inductor")}
    bench.env.update(cache)
    warm = [bench.args.python, str(HERE / "gpu_pytorch.py"), "compile", "bf16", "1", str(bench.args.size)]
    with open(os.devnull, "w") as nothing:
        warming = subprocess.Popen(warm, stdout=nothing, stderr=nothing, env=bench.env, cwd=bench.out)
    bench.step("selftest", bench.selftest)
    bench.step("GPU tests", bench.tests("gpu::", 140, "--test-threads", "1", "--skip", "selftest"))
    bench.step("golden cases", bench.tests("golden::tiny" if bench.args.rehearse else "golden::", 60))
    try:
        warming.wait(timeout=max(1, min(60, bench.left())))
    except subprocess.TimeoutExpired:
        warming.kill()
    bench.step("ours, bf16", bench.ours("bf16", 0))
    bench.step("PyTorch, bf16, compiled", bench.pytorch("compile", "bf16"))
    bench.step("PyTorch, bf16, eager", bench.pytorch("eager", "bf16"))
    bench.step("ours, bf16, chunks of 105", bench.ours("bf16", 105))
    bench.step("ours, f16", bench.ours("f16", 0))
    bench.step("ours, f32 with TF32", bench.ours("f32", 0, "train.tf32=true"))
    bench.step("memcheck", bench.sanitizer("memcheck"))
    bench.step("racecheck", bench.sanitizer("racecheck"))
    bench.step("demo run", bench.demo)
    bench.step("slowest kernels", bench.kernels)
    print((bench.out / "RESULTS.md").read_text())
    sys.exit(bench.failed)


if __name__ == "__main__":
    main()
