"""Makes golden_tiny, golden_odd and golden_masked.safetensors beside itself.

Each file is a model with random weights, none of them special, and what the
reference computes from it in double precision.  Needs torch and safetensors:
    python3 tests/data/make_golden.py"""
import os

import torch
from safetensors.torch import save_file

from mae_torch import Mae, adamw, schedule

TINY = dict(image_height=32, image_width=32, patch_size=8, in_chans=3, embed_dim=32,
            depth=2, num_heads=4, decoder_embed_dim=24, decoder_depth=1,
            decoder_num_heads=3, mlp_ratio=4, norm_pix_loss=1)
ODD = dict(image_height=24, image_width=36, patch_size=6, in_chans=1, embed_dim=36,
           depth=3, num_heads=3, decoder_embed_dim=20, decoder_depth=2,
           decoder_num_heads=5, mlp_ratio=2.5, norm_pix_loss=0)
MASKED = dict(image_height=16, image_width=24, patch_size=4, in_chans=1, embed_dim=16,
              depth=2, num_heads=2, decoder_embed_dim=12, decoder_depth=1,
              decoder_num_heads=3, mlp_ratio=2, norm_pix_loss=1, encoder_mask_tokens=1)
STEPS, WARMUP, TOTAL = 5, 2, 10


def golden(config, batch, ratio, seed):
    torch.manual_seed(seed)
    model = Mae(**config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    out = {k: v.clone() for k, v in model.state_dict().items()}
    shape = batch, config["in_chans"], config["image_height"], config["image_width"]
    images = torch.randn(shape)
    noises = torch.rand(STEPS, batch, model.rows * model.columns)
    base_lr = torch.tensor([1e-3 * 256 / batch])
    out.update({"golden.images": images, "golden.noise": noises[0].clone(),
                "golden.noises": noises, "golden.base_lr": base_lr})

    model.double()
    images, noises = images.double(), noises.double()
    loss, pred, mask = model(images, noises[0], ratio)
    loss.backward()
    with torch.no_grad():
        out.update({
            "golden.loss": loss.reshape(1), "golden.pred": pred, "golden.mask": mask,
            "golden.latent": model.encode(images, noises[0], ratio)[0],
            "golden.features": model.encode(images)[0],
            "golden.block0": model.encode(images, blocks=1, norm=False)[0],
            "golden.recon": model.reconstruct(images, noises[0], ratio)})
    named = [(n, p) for n, p in model.named_parameters() if p.grad is not None]
    out.update({f"grad.{n}": p.grad.clone() for n, p in named})

    peak = base_lr.double().item() * batch / 256
    optimiser = adamw(model, peak)
    losses, lrs = [], []
    for step in range(STEPS):
        lrs.append(schedule(step, WARMUP, TOTAL, peak))
        for group in optimiser.param_groups:
            group["lr"] = lrs[-1]
        optimiser.zero_grad()
        loss = model(images, noises[step], ratio)[0]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    out.update({f"adamw.{n}": p.detach() for n, p in named})
    out["golden.losses"], out["golden.lrs"] = torch.tensor(losses), torch.tensor(lrs)

    metadata = {f"mae.{k}": str(v) for k, v in config.items()}
    metadata.update({"format": "pt", "golden.mask_ratio": str(ratio)})
    return {k: v.float().contiguous() for k, v in out.items()}, metadata


if __name__ == "__main__":
    count = sum(p.numel() for p in Mae().parameters())
    assert count == 111907840, count
    folder = os.path.dirname(os.path.abspath(__file__))
    for name, config, batch, ratio, seed in (("tiny", TINY, 3, 0.75, 1),
                                             ("odd", ODD, 2, 0.6, 2),
                                             ("masked", MASKED, 3, 0.6, 3)):
        tensors, metadata = golden(config, batch, ratio, seed)
        save_file(tensors, os.path.join(folder, f"golden_{name}.safetensors"), metadata)
