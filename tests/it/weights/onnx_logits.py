"""Checks DIR/network.onnx, runs it by onnxruntime on the images of DIR/images.safetensors, and on fewer and
on images of another size, and writes the logits to DIR/of_onnx.safetensors. Usage: onnx_logits.py DIR"""

import sys

import onnxruntime
from safetensors.numpy import load_file, save_file

directory = sys.argv[1]
try:
    import onnx

    onnx.checker.check_model(f"{directory}/network.onnx", full_check=True)
except ImportError:
    pass
session = onnxruntime.InferenceSession(f"{directory}/network.onnx", providers=["CPUExecutionProvider"])
out = {}
for name, images in load_file(f"{directory}/images.safetensors").items():
    slices, studies = session.run(["slice_logits", "study_logits"], {"images": images})
    assert slices.shape == images.shape[:2] and studies.shape == images.shape[:1]
    out |= {f"{name}.slices": slices, f"{name}.studies": studies}
save_file(out, f"{directory}/of_onnx.safetensors")
