"""The notebook's PyTorch model on both ends: loads DIR/ours.safetensors strictly and writes the logits of
DIR/images.safetensors to DIR/of_ours.safetensors; writes a state dict of its own, DIR/theirs.pth and, as
DataParallel names it in a training checkpoint, DIR/parallel.pth, with its logits in
DIR/of_theirs.safetensors. Usage: network.py FOLDER_OF_REF_COMMON DIR nano|micro LSTM_HIDDEN HEAD_HIDDEN"""

import sys

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, sys.argv[1])
from ref_common import FULL, TINY, TimmModelType2

directory, kind, hidden, mid = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
images = load_file(f"{directory}/images.safetensors")["images"]
config = {**(FULL if kind == "nano" else TINY), "hidden": hidden, "mid": mid}
model = TimmModelType2(config, images.shape[-1]).eval()


def logits(name):
    with torch.no_grad():
        slices, studies = model(images)
    out = {"slices": slices.flatten(), "studies": studies.flatten()}
    save_file(out, f"{directory}/{name}.safetensors")


model.load_state_dict(load_file(f"{directory}/ours.safetensors"))
logits("of_ours")

# Other values: what was trained, changed a little, and running statistics that are not the first ones.
torch.manual_seed(0)
with torch.no_grad():
    for p in list(model.parameters()) + [b for b in model.buffers() if b.dtype.is_floating_point]:
        p.mul_(1 + 0.2 * torch.rand_like(p)).add_(0.01 * torch.rand_like(p))
torch.save(model.state_dict(), f"{directory}/theirs.pth")
parallel = torch.nn.DataParallel(model)
optimizer = torch.optim.AdamW(parallel.parameters())
optimizer.zero_grad()
checkpoint = {"epoch": 3, "model": parallel.state_dict(), "optimizer": optimizer.state_dict()}
torch.save(checkpoint, f"{directory}/parallel.pth")
logits("of_theirs")
