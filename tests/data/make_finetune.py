"""Makes golden_classifier_ops.safetensors, golden_finetune_token.safetensors and
golden_finetune_pool.safetensors beside itself: classifiers with random weights,
none of them special, and what the reference makes of them in double precision;
and the operations they need beside the MAE's, as torch and timm have them.
Needs torch, torchvision, timm, pillow, numpy and safetensors:
    python3 tests/data/make_finetune.py"""
import os
import sys

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import drop_path
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.utils import ModelEmaV2

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mae_torch import Classifier, cross_entropy, layer_groups, schedule, smoothed
from make_augment import uniform
from make_mix import Numbers, mixup

FOLDER = os.path.dirname(os.path.abspath(__file__))
TOKEN = dict(image_height=16, image_width=16, patch_size=4, in_chans=3, embed_dim=16,
             depth=3, num_heads=2, mlp_ratio=2, num_classes=10, global_pool=0)
POOL = dict(image_height=12, image_width=20, patch_size=4, in_chans=1, embed_dim=20,
            depth=2, num_heads=5, mlp_ratio=2.5, num_classes=7, global_pool=1)
STEPS, WARMUP, TOTAL, BATCH, SMOOTHING = 5, 2, 10, 4, 0.1
WEIGHT_DECAY, LAYER_DECAY, EMA = 0.5, 0.65, 0.9  # much, so that all of it shows
DROP_PATH, MIXUP, CUTMIX = 0.3, 0.8, 1.0


def save(name, tensors, metadata=None):
    save_file({k: v.detach().float().contiguous().reshape(v.shape or (1,)).clone()
               for k, v in tensors.items()}, os.path.join(FOLDER, name), metadata)


# ------------------------------------------------------------- operations --
def gradients(out, prefix, y, inputs):
    """y, a gradient for it, and what that gives each input."""
    dy = torch.randn_like(y)
    y.backward(dy)
    out.update({f"{prefix}.y": y, f"{prefix}.dy": dy})
    out.update({f"{prefix}.d{k}": v.grad for k, v in inputs.items()})
    out.update({f"{prefix}.{k}": v for k, v in inputs.items()})


def random(*shape):
    return torch.randn(shape, dtype=torch.float64).float().double().requires_grad_()


def operations():
    torch.manual_seed(3)
    out = {}
    x = random(3, 7, 18)
    gradients(out, "token", x[:, 0], {"x": x})
    x = random(3, 7, 18)
    gradients(out, "pool", x[:, 1:].mean(1), {"x": x})

    labels = torch.randint(11, (5,))
    soft = torch.randn(5, 11).softmax(1).double()
    for name, targets, loss in (
            ("hard", smoothed(labels, 11, 0.0), lambda x: F.cross_entropy(x, labels)),
            ("smooth", smoothed(labels, 11, 0.1),
             lambda x: LabelSmoothingCrossEntropy(0.1)(x, labels)),
            ("soft", soft, lambda x: SoftTargetCrossEntropy()(x, soft))):
        logits = (3 * random(5, 11)).detach().requires_grad_()
        gradients(out, name, loss(logits), {"logits": logits})
        out[f"{name}.target"] = targets

    x, residual = random(6, 3, 18), random(6, 3, 18)
    seed = torch.random.get_rng_state()
    y = residual + drop_path(x, 0.25, training=True)
    torch.random.set_rng_state(seed)
    scale = drop_path(torch.ones(6, 1, dtype=torch.float64), 0.25, training=True)[:, 0]
    assert 0 < (scale == 0).sum() < 6, scale
    gradients(out, "drop", y, {"x": x, "residual": residual})
    out["drop.scale"] = scale
    return out


# ------------------------------------------------------------ fine-tuning --
def shaken(config, seed):
    torch.manual_seed(seed)
    model = Classifier(**config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.double()


def check_timm(config, model, images):
    """timm's model of the same weights gives the same logits."""
    other = timm.models.VisionTransformer(
        img_size=(config["image_height"], config["image_width"]),
        patch_size=config["patch_size"], in_chans=config["in_chans"],
        embed_dim=config["embed_dim"], depth=config["depth"],
        num_heads=config["num_heads"], mlp_ratio=config["mlp_ratio"],
        num_classes=config["num_classes"],
        global_pool="avg" if config["global_pool"] else "token").double()
    other.load_state_dict(model.state_dict())
    assert torch.allclose(other(images), model(images), atol=1e-12)


def freeze(model, trained_blocks):
    """None: train all; k: the last k blocks, the norm and the head; 0: the head."""
    first = len(model.blocks) - (trained_blocks or 0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = (
            trained_blocks is None or name.startswith("head.")
            or trained_blocks > 0 and (
                name.startswith(("norm.", "fc_norm."))
                or name.startswith("blocks.") and int(name.split(".")[1]) >= first))


def drop_scales(seed, first, depth, batch):
    """What the trainer draws for the images from number `first` on
    (src/train/classifier_batch.c)."""
    rates = [DROP_PATH * (k // 2) / (depth - 1) for k in range(2 * depth)]
    stream = int.from_bytes(b"drop", "big")
    return torch.tensor([[
        0 if uniform(seed, stream, (first + i) * 2 * depth + k) < rate else 1 / (1 - rate)
        for i in range(batch)] for k, rate in enumerate(rates)]).double()


def recipe_batches(config, seed, images, targets, labels):
    """The batches with all that the trainer does to them by its seed: drop
    path, and mixing and smoothing where there are labels."""
    out, cuts = [], set()
    rule = MIXUP, CUTMIX, 1, 0.5
    for step in range(STEPS):
        x, t = images[step].clone(), targets[step]
        if labels is not None:
            with Numbers(seed, step * BATCH).patch():
                cuts.add(mixup(rule)._params_per_batch()[1])
            with Numbers(seed, step * BATCH).patch():
                x, t = mixup(rule, label_smoothing=SMOOTHING,
                             num_classes=config["num_classes"])(x, labels[step])
        out.append((x, t.double(), drop_scales(seed, step * BATCH, config["depth"], BATCH)))
    assert labels is None or len(cuts) == 2, cuts
    assert any((scales == 0).any() for _, _, scales in out)
    return out


def train(model, batches, peak, trained_blocks):
    """Losses, rates, and the EMA of the weights."""
    freeze(model, trained_blocks)
    groups = layer_groups(model, WEIGHT_DECAY, LAYER_DECAY)
    optimiser = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.999), eps=1e-8)
    ema = ModelEmaV2(model, decay=EMA)
    losses, lrs = [], []
    for step, (images, targets, drop) in enumerate(batches):
        lrs.append(schedule(step, WARMUP, TOTAL, peak))
        for group in optimiser.param_groups:
            group["lr"] = lrs[-1] * group["lr_scale"]
        optimiser.zero_grad()
        loss = cross_entropy(model(images, drop), targets)
        loss.backward()
        optimiser.step()
        ema.update(model)
        losses.append(loss.item())
    return losses, lrs, ema.module


def trained(model):
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def finetune(config, seed, by_labels):
    """by_labels: the targets are of labels, smoothed, else any."""
    model, classes = shaken(config, seed), config["num_classes"]
    out = {k: v.clone() for k, v in model.state_dict().items()}
    start = dict(out)
    images = torch.randn(STEPS, BATCH, config["in_chans"], config["image_height"],
                         config["image_width"]).double()
    labels = None
    if by_labels:
        labels = torch.randint(classes, (STEPS, BATCH))
        out["golden.labels"] = labels
        targets = torch.stack([smoothed(l, classes, SMOOTHING) for l in labels])
    else:
        targets = torch.randn(STEPS, BATCH, classes).mul(2).softmax(2)
    targets = targets.float().double()
    base_lr = torch.tensor(2e-3 * 256 / BATCH)
    peak = base_lr.double().item() * BATCH / 256
    out.update({"golden.images": images.flatten(1), "golden.targets": targets,
                "golden.base_lr": base_lr})
    check_timm(config, model, images[0])

    scales = (torch.rand(2 * config["depth"], BATCH) < 0.75).double() / 0.75
    out["golden.drop_scales"] = scales
    for prefix, drop in (("plain", None), ("drop", scales.float().double())):
        model.zero_grad()
        logits = model(images[0], drop)
        loss = cross_entropy(logits, targets[0])
        loss.backward()
        out.update({f"{prefix}.logits": logits, f"{prefix}.loss": loss})
        out.update({f"{prefix}.grad.{n}": p.grad.clone()
                    for n, p in model.named_parameters()})

    plain = [(x, t, None) for x, t in zip(images, targets)]
    recipe = recipe_batches(config, seed, images, targets, labels)
    for name, batches, blocks in (("all", plain, None), ("last", plain, 1),
                                  ("head", plain, 0), ("recipe", recipe, None)):
        model.load_state_dict(start)
        losses, lrs, ema = train(model, batches, peak, blocks)
        out[f"{name}.losses"], out[f"{name}.lrs"] = torch.tensor(losses), torch.tensor(lrs)
        out.update({f"{name}.adamw.{n}": p.clone() for n, p in trained(model)})
        out.update({f"{name}.ema.{n}": p for n, p in ema.named_parameters()
                    if n in dict(trained(model))})

    metadata = {f"mae.{k}": str(v) for k, v in config.items()}
    metadata.update({
        "format": "pt", "mae.decoder_embed_dim": "0", "mae.decoder_depth": "0",
        "mae.decoder_num_heads": "0", "mae.norm_pix_loss": "1",
        "golden.smoothing": str(SMOOTHING if by_labels else 0),
        "golden.weight_decay": str(WEIGHT_DECAY), "golden.layer_decay": str(LAYER_DECAY),
        "golden.ema": str(EMA), "golden.seed": str(seed), "golden.drop_path": str(DROP_PATH),
        "golden.mixup": str(MIXUP if by_labels else 0),
        "golden.cutmix": str(CUTMIX if by_labels else 0)})
    return out, metadata


if __name__ == "__main__":
    save("golden_classifier_ops.safetensors", operations())
    for name, config, seed, by_labels in (("token", TOKEN, 4, True),
                                          ("pool", POOL, 5, False)):
        save(f"golden_finetune_{name}.safetensors", *finetune(config, seed, by_labels))
