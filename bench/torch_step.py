"""Times PyTorch's training step, the peer of bench/train_step.c, with the same
options and output: forward, backward and AdamW in f32, eager."""
import argparse
import os
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "data"))
from mae_torch import Mae, adamw  # noqa: E402

CONFIGS = {
    "vit_b16": {},
    "demo": dict(image_height=28, image_width=28, in_chans=1, patch_size=4,
                 embed_dim=128, depth=4, num_heads=4, decoder_embed_dim=64,
                 decoder_depth=1, decoder_num_heads=4),
}

parser = argparse.ArgumentParser()
parser.add_argument("--config", choices=CONFIGS, default="vit_b16")
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--interactive", action="store_true")
options = parser.parse_args()
if options.threads:
    torch.set_num_threads(options.threads)

config = CONFIGS[options.config]
model = Mae(**config)
# The fused AdamW is PyTorch's fastest on a CPU.
optimiser = adamw(model, 1e-5, fused=True)
side = config.get("image_height", 224)
images = torch.randn(options.batch, config.get("in_chans", 3), side, side)


def step():
    noise = torch.rand(options.batch, model.rows * model.columns)
    loss = model(images, noise)[0]
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


step()  # warm up
print(f"torch {torch.__version__} threads {torch.get_num_threads()}", flush=True)
for _ in range(options.steps):
    if options.interactive and not sys.stdin.readline():
        break
    start = time.monotonic()
    step()
    print(f"step {time.monotonic() - start:.6f}", flush=True)
