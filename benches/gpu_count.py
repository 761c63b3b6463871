"""What a training step asks of a GPU, counted without one: `benches/gpu.py count`.

The program (built with the `cuda` feature) runs on the stand-in driver of tests/driver in its dry mode,
once for one timed step and once for two; the difference is one step's. The bytes of a launch are those
of the buffers that it is given. The bound on the time takes every launch at the memory's full bandwidth
and the products, together, at the peak rate where that takes longer.
"""
import json, os, pathlib, subprocess, tempfile

# From the makers' data sheets: GB/s of memory; TFLOP/s of dense products in bf16 or f16 with sums in
# f32; the same in TF32.
CARDS = {
    "A100 80 GB": (2039, 312, 156),
    "H100 SXM": (3350, 989, 494),
    "H200": (4800, 989, 494),
    "RTX 4090": (1008, 165, 82.6),
    "RTX 4060 8 GB": (272, 30.2, 15.1),
}
PRODUCT = "cublasGemmStridedBatchedEx"


def run(args, steps):
    """The dry run's counts over a warm-up and `steps` steps."""
    command = [str(pathlib.Path(args.program).resolve()), "bench", "--json", "--device", "cuda", "--steps", str(steps)]
    sets = {
        "train.batch_size": args.batch,
        "data.image_size": args.size,
        "train.precision": args.precision,
        "train.chunk_size": args.chunk,
    }
    for key, value in sets.items():
        command += ["--set", f"{key}={value}"]
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(pathlib.Path(args.driver).resolve()),
        "DRIVER_COUNT": "1",
        "DRIVER_MEMORY": str(args.memory),
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder)
    lines = [line for line in done.stderr.splitlines() if line.startswith('{"launches"')]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"benches/gpu.py count: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return json.loads(lines[-1]), json.loads(done.stdout.splitlines()[-1])


def difference(two, one):
    """Numbers of `two` less those of `one`, in dictionaries of dictionaries."""
    if isinstance(two, dict):
        each = {key: difference(value, one.get(key, 0 if not isinstance(value, dict) else {})) for key, value in two.items()}
        return {key: value for key, value in each.items() if value}
    return two - one


def count(args):
    (one, _), (two, bench) = run(args, 1), run(args, 2)
    step = difference(two, one)
    images = bench["images"]
    moved = step["read"] + step["written"]
    product = step["work"].get(PRODUCT, {})
    product_bytes = product.get("read", 0) + product.get("written", 0)
    bound = {}
    for card, (bandwidth, narrow, tf32) in CARDS.items():
        rate = tf32 if args.precision == "f32" else narrow
        product_ms = max(step["flops"] / rate / 1e9, product_bytes / bandwidth / 1e6)
        bound[card] = round((moved - product_bytes) / bandwidth / 1e6 + product_ms, 1)
    counted = {
        "launches": step["launches"],
        "host_waits": step["host_waits"],
        "bytes_per_image": round(moved / images),
        "flops": step["flops"],
        "peak_MiB": two["peak"] >> 20,
        "roofline_ms": bound,
        "chunk": bench["chunk"],
    }
    print(json.dumps(counted))
    print(f"\n{'launch':32} {'calls':>6} {'MB read':>10} {'MB written':>10}")
    by_bytes = lambda item: -item[1].get("read", 0) - item[1].get("written", 0)
    for name, c in sorted(step["work"].items(), key=by_bytes):
        print(f"{name:32} {c['calls']:6} {c.get('read', 0) / 1e6:10.1f} {c.get('written', 0) / 1e6:10.1f}")
    print(f"\n{'product, m x n x k':48} {'calls':>6} {'GFLOP':>10}")
    for shape, c in sorted(step["products"].items(), key=lambda item: -item[1]["flops"]):
        print(f"{shape:48} {c['calls']:6} {c['flops'] / 1e9:10.1f}")
    for limit in args.at_most:
        name, most = limit.split("=")
        if counted[name] > float(most):
            raise SystemExit(f"benches/gpu.py count: {name} is {counted[name]}, at most {most} is allowed")
