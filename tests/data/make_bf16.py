"""Makes golden_bf16.safetensors beside itself: what the models of golden_tiny
and golden_odd.safetensors compute when linear layers multiply numbers rounded
to bf16, and so are GELU's argument and, for the backward pass, q, k and v.

The reference does all else in double precision, so that a sum in f32 is what
remains between it and the library; where a number falls so near to the middle
of two bf16 that the two round it apart, that shows too.  Beside it stand the
loss and the prediction of torch.autocast itself, which keeps more in bf16: the
outputs of linear layers, attention, and what is added up between blocks.
Needs torch and safetensors:
    python3 tests/data/make_bf16.py"""
import math
import os

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
import torch.nn.functional as F

from mae_torch import Attention, Mae, Mlp, PatchEmbed, adamw, schedule
from make_golden import ODD, STEPS, TINY, TOTAL, WARMUP

FOLDER = os.path.dirname(os.path.abspath(__file__))


def rounded(x):
    return x.float().bfloat16().double()


class Linear(torch.autograd.Function):
    """x w^T + b; the factors of each product are rounded."""

    @staticmethod
    def forward(ctx, x, w, b):
        x, w = rounded(x), rounded(w)
        ctx.save_for_backward(x, w)
        return x @ w.T + b

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        rounded_dy = rounded(dy)
        dw = rounded_dy.flatten(0, -2).T @ x.flatten(0, -2)
        return rounded_dy @ w, dw, dy.flatten(0, -2).sum(0)


class Activated(torch.autograd.Function):
    """Linear of gelu(x), x rounded, too."""

    @staticmethod
    def forward(ctx, x, w, b):
        x, w = rounded(x), rounded(w)
        ctx.save_for_backward(x, w)
        return rounded(F.gelu(x)) @ w.T + b

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        phi = (1 + torch.erf(x / math.sqrt(2))) / 2
        density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        rounded_dy = rounded(dy)
        dw = rounded_dy.flatten(0, -2).T @ rounded(F.gelu(x)).flatten(0, -2)
        dx = (rounded_dy @ w) * (phi + x * density)
        return dx, dw, dy.flatten(0, -2).sum(0)


class Attend(torch.autograd.Function):
    """Attention, which keeps q, k and v in bf16 for the backward pass."""

    @staticmethod
    def forward(ctx, q, k, v):
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        log_sum = scores.logsumexp(-1, keepdim=True)
        y = (scores - log_sum).exp() @ v
        ctx.save_for_backward(rounded(q), rounded(k), rounded(v), log_sum, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        q, k, v, log_sum, y = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        weights = (q @ k.transpose(-2, -1) * scale - log_sum).exp()
        dweights = dy @ v.transpose(-2, -1) - (dy * y).sum(-1, keepdim=True)
        dscores = weights * dweights * scale
        return (dscores @ k, dscores.transpose(-2, -1) @ q,
                weights.transpose(-2, -1) @ dy)


def attention(module, x):
    b, t, d = x.shape
    qkv = module.qkv(x).reshape(b, t, 3, module.heads, -1).permute(2, 0, 3, 1, 4)
    return module.proj(Attend.apply(*qkv).transpose(1, 2).reshape(b, t, d))


def mlp(module, x):
    return Activated.apply(module.fc1(x), module.fc2.weight, module.fc2.bias)


def embed(module, images):
    proj = module.proj
    patches = F.unfold(images, proj.kernel_size, stride=proj.stride)
    return Linear.apply(patches.transpose(1, 2), proj.weight.flatten(1), proj.bias)


def in_bf16(model):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.forward = lambda x, m=module: Linear.apply(x, m.weight, m.bias)
        elif isinstance(module, PatchEmbed):
            module.forward = lambda images, m=module: embed(m, images)
        elif isinstance(module, Attention):
            module.forward = lambda x, m=module: attention(m, x)
        elif isinstance(module, Mlp):
            module.forward = lambda x, m=module: mlp(m, x)
    return model.double()


def golden(name, config):
    with safe_open(os.path.join(FOLDER, f"golden_{name}.safetensors"), "pt") as f:
        tensors = {k: f.get_tensor(k) for k in f.keys()}
        ratio = float(f.metadata()["golden.mask_ratio"])
    model = Mae(**config)
    model.load_state_dict({k: tensors[k] for k in model.state_dict()})
    images, noises = tensors["golden.images"], tensors["golden.noises"]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        loss, pred, _ = model(images, noises[0], ratio)
    out = {"autocast_loss": loss.reshape(1), "autocast_pred": pred}

    in_bf16(model)
    images, noises = images.double(), noises.double()
    loss, pred, _ = model(images, noises[0], ratio)
    loss.backward()
    out.update({"loss": loss.reshape(1).detach(), "pred": pred.detach()})
    with torch.no_grad():
        out["features"] = model.encode(images)[0]
    out.update({f"grad.{n}": p.grad.clone() for n, p in model.named_parameters()
                if p.grad is not None})

    peak = tensors["golden.base_lr"].double().item() * len(images) / 256
    optimiser = adamw(model, peak)
    losses = []
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = schedule(step, WARMUP, TOTAL, peak)
        optimiser.zero_grad()
        loss = model(images, noises[step], ratio)[0]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    out["losses"] = torch.tensor(losses)
    return {f"{name}.{k}": v.float().contiguous() for k, v in out.items()}


if __name__ == "__main__":
    save_file(golden("tiny", TINY) | golden("odd", ODD),
              os.path.join(FOLDER, "golden_bf16.safetensors"), {"format": "pt"})
