"""Makes parallel.pth with PyTorch alone: python pth.py. A narrow network under the notebook's names, as
DataParallel writes them, within a training checkpoint. The i-th value of a weight is
((i + 31 · length of its name) mod 251 - 125) / 128. One weight lies column by column, one is of 64 bits, one
of 16, and two are views of one storage."""

from collections import OrderedDict
from math import prod

import torch

DIMS, DEPTHS, HIDDEN, MID = (4, 8, 12, 16), (1, 1, 2, 1), 3, 5
shapes = OrderedDict()


def values(name, shape):
    i = torch.arange(prod(shape)) + 31 * len(name)
    return ((i % 251 - 125) / 128).reshape(shape)


def affine(name, *shape):
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]


affine("encoder.stem.0", DIMS[0], 6, 4, 4)
affine("encoder.stem.1", DIMS[0])
for s, (c, depth) in enumerate(zip(DIMS, DEPTHS)):
    if s:
        affine(f"encoder.stages.{s}.downsample.0", DIMS[s - 1])
        affine(f"encoder.stages.{s}.downsample.1", c, DIMS[s - 1], 2, 2)
    for block in (f"encoder.stages.{s}.blocks.{b}" for b in range(depth)):
        shapes[f"{block}.gamma"] = (c,)
        affine(f"{block}.conv_dw", c, 1, 7, 7)
        affine(f"{block}.norm", c)
        affine(f"{block}.mlp.fc1", 4 * c, c, 1, 1)
        affine(f"{block}.mlp.fc2", c, 4 * c, 1, 1)
affine("encoder.head.norm", DIMS[3])
for lstm, head in [("lstm", "head"), ("lstm2", "head2")]:
    for layer in range(2):
        for end in ["", "_reverse"]:
            end, width = f"l{layer}{end}", 2 * HIDDEN if layer else DIMS[3]
            shapes |= {f"{lstm}.weight_ih_{end}": (4 * HIDDEN, width)}
            shapes |= {f"{lstm}.weight_hh_{end}": (4 * HIDDEN, HIDDEN)}
            shapes |= {f"{lstm}.bias_ih_{end}": (4 * HIDDEN,), f"{lstm}.bias_hh_{end}": (4 * HIDDEN,)}
    affine(f"{head}.0", MID, 2 * HIDDEN)
    affine(f"{head}.1", MID)
    shapes |= {f"{head}.1.running_mean": (MID,), f"{head}.1.running_var": (MID,)}
    affine(f"{head}.4", 1, MID)

state = OrderedDict((f"module.{name}", values(name, shape)) for name, shape in shapes.items())
for head in ["head", "head2"]:
    state[f"module.{head}.1.num_batches_tracked"] = torch.tensor(7)
fc1 = "module.encoder.stages.0.blocks.0.mlp.fc1"
state["module.head.0.weight"] = state["module.head.0.weight"].t().contiguous().t()
state["module.head2.4.bias"] = state["module.head2.4.bias"].double()
state["module.head2.4.weight"] = state["module.head2.4.weight"].bfloat16()
both = torch.cat([state[f"{fc1}.bias"], state["module.encoder.stem.1.bias"]])
state[f"{fc1}.bias"], state["module.encoder.stem.1.bias"] = both[:16], both[16:]
moments = {0: {"step": torch.tensor(9.0), "exp_avg": torch.zeros(4)}}
optimizer = {"state": moments, "param_groups": [{"lr": 23e-5, "betas": (0.9, 0.999), "params": [0]}]}
torch.save({"epoch": 3, "state_dict": state, "optimizer": optimizer}, "parallel.pth")
