#!/usr/bin/env python3
"""The notebook's training step in PyTorch on a GPU, for gpu.py: one line of JSON.

    python3 benches/gpu_pytorch.py eager|compile bf16|f16 [BATCH [SIZE]]

The whole batch in one pass, as the notebook does it; with gradient checkpointing off. CUDA is waited
for before the clock is read.
"""
import json, sys, time

import timm
import torch
from torch import nn

T = 7 * 15


class Classifier(nn.Module):
    """ConvNeXt-nano on 6 channels, two bidirectional LSTMs, a head on each slice and one on the study."""

    def __init__(self, hidden=256, middle=256):
        super().__init__()
        self.encoder = timm.create_model("convnext_nano", in_chans=6, num_classes=0, pretrained=False)
        width = self.encoder.num_features
        lstm = lambda: nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True)
        head = lambda: nn.Sequential(
            nn.Linear(2 * hidden, middle), nn.BatchNorm1d(middle), nn.Dropout(0.3), nn.LeakyReLU(0.1), nn.Linear(middle, 1)
        )
        self.lstm, self.head, self.lstm2, self.head2 = lstm(), head(), lstm(), head()

    def forward(self, images):
        b = images.shape[0]
        features = self.encoder(images.flatten(0, 1)).view(b, T, -1)
        slices = self.lstm(features)[0].reshape(b * T, -1)
        return self.head(slices), self.head2(self.lstm2(features)[0][:, 0])


def criterion(logits, targets):
    logits, targets = logits.float().view(-1), targets.view(-1)
    weight = 1.0 + (targets > 0).float()
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * weight).sum() / weight.sum()


def main():
    mode, precision = sys.argv[1], sys.argv[2]
    batch = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    size = int(sys.argv[4]) if len(sys.argv) > 4 else 224
    torch.manual_seed(0)
    model = Classifier().cuda().to(memory_format=torch.channels_last).train()
    if mode == "compile":
        model.encoder = torch.compile(model.encoder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=23e-5, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "f16")
    dtype = torch.float16 if precision == "f16" else torch.bfloat16
    # Bytes in pinned memory, as ours travel.
    pixels = torch.randint(0, 256, (batch, T, 6, size, size), dtype=torch.uint8).pin_memory()
    targets = torch.zeros(batch, T, device="cuda")
    targets[0, 15:30] = 1

    def step():
        optimizer.zero_grad(set_to_none=True)
        images = pixels.cuda(non_blocking=True).float() / 255
        with torch.autocast("cuda", dtype=dtype):
            slices, studies = model(images)
        loss = (15 * criterion(slices, targets) + criterion(studies, targets.max(1).values)) / 16
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    for _ in range(3):
        step()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    versions = f"torch {torch.__version__}, timm {timm.__version__}"
    peak = torch.cuda.max_memory_allocated() >> 20
    print(json.dumps({"mode": mode, "precision": precision, "seconds": seconds, "peak_MiB": peak, "versions": versions}))


if __name__ == "__main__":
    main()
