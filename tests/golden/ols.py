"""Makes the golden cases of ConvNeXt's overlapping stems, ols.safetensors, with timm:
python ols.py (PyTorch 2, timm 1.0.31, safetensors). See README.md for the formulas."""

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.models.convnext import ConvNeXt

U64 = np.uint64


def splitmix(name, n):
    """The first n of a name's splitmix64 outputs."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    z = U64(h) + np.arange(1, n + 1, dtype=U64) * U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


def unit(name, shape):
    """A name's numbers in -1..1."""
    z = splitmix(name, int(np.prod(shape))) >> U64(40)
    return (z.astype(np.float64) * 2 / 2**24 - 1).reshape(shape)


def parameter(name, shape):
    """A state-dict entry."""
    leaf = name.rsplit(".", 1)[-1]
    matrix = leaf == "weight" and len(shape) > 1
    offset, scale = {"gamma": (0.5, 0.3), "weight": (1, 0.2), "bias": (0, 0.1)}[leaf]
    if matrix:
        offset, scale = 0, np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy((offset + scale * unit(name, shape)).astype(np.float32)).double()


def images(n, size):
    """The first n images of the golden input `input.1.{size}`."""
    shape = (n, 6, size, size)
    s, c, y, x = np.indices(shape)
    h8 = (splitmix(f"input.1.{size}", np.prod(shape)) >> U64(56)).astype(np.int64).reshape(shape)
    v = (h8 * (1 + s * 7 % 16) >> 5) + (x * (1 + s % 5) + y * (s % 3) + 37 * c + s // 15 * 11 & 127)
    return torch.from_numpy(np.minimum(v, 255).astype(np.float32) / np.float32(255)).double()


if __name__ == "__main__":
    out = {}
    for kind in ["overlap_tiered", "overlap"]:
        net = ConvNeXt(6, 0, depths=(1, 1, 2, 1), dims=(16, 32, 64, 128), conv_mlp=True, stem_type=kind)
        net = net.double()
        for name, p in net.named_parameters():
            p.data = parameter(f"encoder.{name}", p.shape)
        features = net(images(8, 64))
        (features * torch.from_numpy(unit("ols.grad", features.shape))).sum().backward()
        out[f"{kind}.features"] = features.detach().float()
        for name, p in net.named_parameters():
            if name.startswith(("stem.", "stages.0.", "head.")):
                out[f"{kind}.grad.encoder.{name}"] = p.grad.float().contiguous()
    save_file(out, "ols.safetensors", {"timm": timm.__version__, "torch": torch.__version__})
