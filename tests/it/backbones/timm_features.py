"""Writes, for each backbone named, what timm 1.0 makes of it: DIR/{name}.safetensors, a checkpoint of
random weights for 3 channels, and DIR/{name}.case.safetensors, its features of 6-channel images with
the stem that timm adapts. Usage: timm_features.py DIR NAME..."""

import sys

import timm
import torch
from safetensors.torch import save_file
from timm.models._manipulate import adapt_input_conv

torch.manual_seed(0)
images = torch.rand(2, 6, 64, 64)
for name in sys.argv[2:]:
    # A fresh network's layer scale is 1e-6: its blocks would not be seen.
    weights = timm.create_model(name).state_dict()
    for key, p in weights.items():
        if p.dim() > 1:
            p.normal_(0, p[0].numel() ** -0.5)
        else:
            low, high = {"gamma": (0.2, 0.8), "weight": (0.8, 1.2), "bias": (-0.1, 0.1)}[key.split(".")[-1]]
            p.uniform_(low, high)
    save_file(weights, f"{sys.argv[1]}/{name}.safetensors")
    weights["stem.0.weight"] = adapt_input_conv(6, weights["stem.0.weight"])
    net = timm.create_model(name, in_chans=6).eval()
    net.load_state_dict(weights)
    net.reset_classifier(0)
    with torch.no_grad():
        case = {"images": images.permute(0, 2, 3, 1).contiguous(), "features": net(images)}
    save_file(case, f"{sys.argv[1]}/{name}.case.safetensors")
