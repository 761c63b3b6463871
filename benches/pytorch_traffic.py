#!/usr/bin/env python3
"""Counts the bytes that PyTorch's operations read and write for the encoder, forward and backward.

    python3 benches/pytorch_traffic.py

Needs PyTorch and timm, no GPU: the operations are those that CPU autocast in bf16 dispatches for timm's
convnext_nano at 224 × 224, channels last. Every operand counts once a time it is read or written; views
are free. On CUDA autocast computes LayerNorm in f32, with casts that this does not see.
"""
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that move nothing.
FREE = {
    "view", "t", "permute", "transpose", "expand", "_unsafe_view", "detach", "unsqueeze", "squeeze", "slice",
    "select", "as_strided", "alias", "reshape", "empty", "empty_like",
}


def size(tree):
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors)


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.read = self.written = self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ not in FREE:
            self.read += size((args, kwargs))
            self.written += size(out)
            self.operations += 1
        return out


def count(images):
    model = timm.create_model("convnext_nano", in_chans=6, num_classes=0).to(memory_format=torch.channels_last)
    pixels = torch.rand(images, 6, 224, 224).to(memory_format=torch.channels_last)
    with Count() as counted:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = model(pixels)
        features.float().sum().backward()
    return counted


# The difference is without the weights' own traffic.
one, three = count(1), count(3)
read, written = (three.read - one.read) / 2e6, (three.written - one.written) / 2e6
print(f"MB an image: {read + written:.0f} ({read:.0f} read, {written:.0f} written), {three.operations} operations")
