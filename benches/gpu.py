#!/usr/bin/env python3
"""What a training step takes on an NVIDIA GPU, measured on one or counted without.

    python3 benches/gpu.py bundle DIR [--archs 80,90] [--toolkit DIR]
    python3 benches/gpu.py count --driver DIR [--batch 8] [--size 224] [--precision bf16] [--chunk N]

`bundle` makes a folder to take to a box with a GPU, where `DIR/run` tests and measures: see
gpu_bundle.py and gpu_run.py. `count` needs no GPU: what a step asks of one, counted on the stand-in
driver that `tests/driver/build` put into DIR: see gpu_count.py. Standard library only.
"""
import argparse, pathlib

import gpu_bundle, gpu_count
from vs_python import HERE

ROOT = HERE.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    bundle = commands.add_parser("bundle", help="build, and gather what runs on a box without Rust")
    bundle.add_argument("dir", type=pathlib.Path, metavar="DIR", help="a new or empty folder")
    bundle.add_argument("--archs", default="80,90", help="compute capabilities to build for")
    bundle.add_argument("--toolkit", type=pathlib.Path, help="where .ci/toolkit was run before")
    bundle.set_defaults(run=gpu_bundle.bundle)
    count = commands.add_parser("count", help="count what a step asks of a GPU, without one")
    count.add_argument("--driver", required=True, help="where tests/driver/build put its libraries")
    count.add_argument("--program", default=str(ROOT / "target/debug/rsna-tui"), help="built with the cuda feature")
    count.add_argument("--batch", type=int, default=8)
    count.add_argument("--size", type=int, default=224)
    count.add_argument("--precision", default="bf16", choices=["bf16", "f16", "f32"])
    count.add_argument("--chunk", type=int, default=0, help="images at once; 0: as many as fit")
    count.add_argument("--memory", type=int, default=81559, help="the card's, MiB")
    limits = {"nargs": "*", "default": [], "metavar": "NAME=N", "help": "fail where a count is above: launches=2850"}
    count.add_argument("--at-most", **limits)
    count.set_defaults(run=gpu_count.count)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
