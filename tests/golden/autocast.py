"""Makes the golden cases of mixed precision, autocast.safetensors, with PyTorch's own autocast on the CPU:
python autocast.py (PyTorch 2.5, timm 1.0.11, safetensors). See README.md for the formulas.

Each case is `{bf16|f16|f64}.{gamma}.…`: the encoder `tiny` with all layer scales at gamma, on the first
4 images of `input.1.64`. `features`; `grad.…`, the gradients of the sum of features times `autocast.grad`;
`stage`, what the first stage adds to the residual stream: at a gamma of 1e-6 a stream in bf16 or f16
would round it away."""

import timm
import torch
from safetensors.torch import save_file
from timm.models.convnext import ConvNeXt

from ols import images, parameter, unit

TYPES = {"f64": None, "bf16": torch.bfloat16, "f16": torch.float16}
KEPT = ("stem.", "stages.0.", "stages.1.", "head.")
# What the loss is scaled by, as a GradScaler does: f16's smallest number is 6e-8.
SCALE = {"f64": 1, "bf16": 1, "f16": 2**7}


def case(kind, gamma):
    dtype = TYPES[kind]
    net = ConvNeXt(6, 0, depths=(1, 1, 2, 1), dims=(16, 32, 64, 128), conv_mlp=True)
    for name, p in net.named_parameters():
        value = parameter(f"encoder.{name}", p.shape)
        p.data = torch.full_like(value, gamma) if name.endswith(".gamma") else value
        p.data = p.data if dtype is None else p.data.float()
    x = images(4, 64)
    if dtype is None:
        net = net.double()
    else:
        x = x.float()
    ends = []
    for layer in (net.stem, net.stages[0]):
        layer.register_forward_hook(lambda _, __, out: ends.append(out.detach()))
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        features = net(x)
    loss = (features.to(torch.float64) * torch.from_numpy(unit("autocast.grad", features.shape))).sum()
    (SCALE[kind] * loss).backward()
    out = {"features": features.detach().float(), "stage": (ends[1] - ends[0]).permute(0, 2, 3, 1).float()}
    for name, p in net.named_parameters():
        if name.startswith(KEPT):
            out[f"grad.encoder.{name}"] = (p.grad / SCALE[kind]).float()
    return out


if __name__ == "__main__":
    out = {}
    for gamma in ["1e-6", "0.1"]:
        for kind in TYPES:
            for key, value in case(kind, float(gamma)).items():
                out[f"{kind}.{gamma}.{key}"] = value.contiguous()
    save_file(out, "autocast.safetensors", {"timm": timm.__version__, "torch": torch.__version__})
