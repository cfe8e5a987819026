"""Makes the files of tests/data/import: small models with random weights,
saved by PyTorch, timm and transformers themselves, and in expected.safetensors
what those libraries compute from them in double precision.  Needs torch, timm,
transformers and safetensors:
    python3 tests/data/make_import.py"""
import argparse
import os
import sys

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (ViTConfig, ViTForImageClassification, ViTMAEConfig,
                          ViTMAEForPreTraining, ViTMAEModel, ViTModel)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mae_torch import Mae

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "import")
SIDE, PATCH, WIDTH, DEPTH, HEADS, HIDDEN, CLASSES = 16, 4, 16, 2, 2, 32, 3
DECODER = dict(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)
torch.manual_seed(11)
images = torch.randn(2, 3, SIDE, SIDE)
noise = torch.rand(2, (SIDE // PATCH) ** 2)
expected = {"images": images, "noise": noise}


def path(name):
    return os.path.join(FOLDER, name)


def shaken(model):
    """No parameter is left at a special value."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def keep(name, **tensors):
    expected.update({f"{name}.{k}": v.detach().reshape(v.shape or (1,)).float()
                     .contiguous().clone() for k, v in tensors.items()})


# ------------------------------------------------------ the official code --
def official(seed, **changes):
    torch.manual_seed(seed)
    config = dict(image_height=SIDE, image_width=SIDE, patch_size=PATCH, embed_dim=WIDTH,
                  depth=DEPTH, num_heads=HEADS, mlp_ratio=HIDDEN / WIDTH, **DECODER)
    return shaken(Mae(**{**config, **changes}))


def encoder(state):
    return {k: v for k, v in state.items() if not k.startswith(("decoder", "mask"))}


def expect_official(name, model, pixels=images):
    model = model.double()
    keep(name, tokens=model.encode(pixels.double())[0])
    return model


model = official(1)
state = {k: v.clone() for k, v in model.state_dict().items()}
torch.save({"model": state}, path("official.pth"))
torch.save({"model": encoder(state)}, path("official_encoder.pth"))
across = {k: v.t().contiguous().t() if v.dim() == 2 else v
          for k, v in state.items()}
torch.save({"model": encoder(across)}, path("across.pth"))
expect_official("official", model)
loss, pred, _ = model(images.double(), noise.double())
keep("official", loss=loss, pred=pred)

# Fine-tuned: the class token's norm and a head, or the pooled tokens' norm.
for name in ("cls", "pool"):
    model = official(2 if name == "cls" else 3)
    state = encoder({k: v.clone() for k, v in model.state_dict().items()})
    head = torch.nn.Linear(WIDTH, CLASSES)
    state.update({"head.weight": head.weight.data, "head.bias": head.bias.data})
    if name == "pool":
        state["fc_norm.weight"], state["fc_norm.bias"] = (
            state.pop("norm.weight"), state.pop("norm.bias"))
    torch.save({"model": state}, path(f"official_{name}.pth"))
    tokens = model.double().encode(images.double(), norm=name == "cls")[0]
    feature = (tokens[:, 0] if name == "cls" else
               model.norm(tokens[:, 1:].mean(1)))
    keep(f"official_{name}", feature=feature, logits=head.double()(feature))

# A state dict itself, with its _metadata, in half precision.
model = official(4).half()
torch.save(model.state_dict(), path("plain_f16.pth"))
expect_official("plain_f16", model)

# As trainers save them: a prefix, an optimiser, numbers; pickle protocol 4.
model = official(5).bfloat16()
trained = [p for p in model.parameters() if p.requires_grad]
adam = torch.optim.AdamW(trained[:2], foreach=False)
for parameter in trained[:2]:
    parameter.grad = torch.ones_like(parameter)
adam.step()
torch.save({"epoch": 3, "lr": 1e-3, "best": None, "note": "a", "sizes": (1, 2),
            "huge": 2 ** 80, "optimizer": adam.state_dict(),
            "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}},
           path("trainer_bf16.pt"), pickle_protocol=4)
expect_official("trainer_bf16", model)

# Patches 2 x 4, which no file of the official code tells.
wide = official(6, image_height=8, image_width=16)
torch.save({"model": encoder(wide.state_dict())}, path("wide.pth"))
expect_official("wide", wide, images[:, :, :8])

# Views: transposed, sliced, several on one storage; types that are no weights.
torch.manual_seed(7)
base = torch.randn(4, 6)
views = {"base": base, "transposed": base.t(), "columns": base[:, 1:4],
         "row": base[2], "scalar": base[3, 5], "none": base[:0], "double": base.double(),
         "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
         "parameter": torch.nn.Parameter(base[1:]), "steps": base[::2, ::3],
         "integer": torch.arange(4), "flag": torch.tensor([True])}
torch.save(views, path("views.pt"))
for name, view in views.items():
    if view.numel() and view.is_floating_point():
        keep(f"views.{name}", value=view)

# What is refused: the official code's own checkpoints, and the format of old.
small = {"patch_embed.proj.weight": torch.ones(2, 2)}
torch.save({"model": small, "args": argparse.Namespace(lr=1e-3)}, path("namespace.pth"))
torch.save({"model": small}, path("old.pth"), _use_new_zipfile_serialization=False)

# ------------------------------------------------------------------- timm --
def make_timm(seed, **changes):
    torch.manual_seed(seed)
    config = dict(img_size=SIDE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH,
                  num_heads=HEADS, mlp_ratio=HIDDEN / WIDTH, num_classes=0)
    return shaken(timm.create_model("vit_base_patch16_224", **{**config, **changes}))


for name, changes in (("timm_mae", dict()), ("timm_vit", dict(num_classes=CLASSES)),
                      ("timm_pool", dict(num_classes=CLASSES, global_pool="avg"))):
    model = make_timm(len(name), **changes)
    save_file(model.state_dict(), path(f"{name}.safetensors"))
    model = model.double()
    tokens = model.forward_features(images.double())
    feature = model.forward_head(tokens, pre_logits=True)
    keep(name, feature=feature)
    if name != "timm_pool":
        keep(name, tokens=tokens)
    if changes:
        keep(name, logits=model.forward_head(tokens))

# ----------------------------------------------------------- transformers --
SIZES = dict(image_size=SIDE, patch_size=PATCH, hidden_size=WIDTH, num_hidden_layers=DEPTH,
             num_attention_heads=HEADS, intermediate_size=HIDDEN)
MAE = dict(SIZES, decoder_hidden_size=8, decoder_num_hidden_layers=1,
           decoder_num_attention_heads=2, decoder_intermediate_size=16,
           norm_pix_loss=True, layer_norm_eps=1e-5)


def all_tokens(encoder_model):
    """No patch is masked, and the order stays."""
    encoder_model.config.mask_ratio = 0.0
    in_order = torch.arange(noise.shape[1]).expand(2, -1).double()
    return encoder_model(images.double(), noise=in_order).last_hidden_state


torch.manual_seed(21)
model = shaken(ViTMAEForPreTraining(ViTMAEConfig(**MAE)))
model.save_pretrained(path("hf_mae"))
torch.save(model.state_dict(), path("hf_state_dict.pth"))
model = model.double()
out = model(images.double(), noise=noise.double())
keep("hf_mae", loss=out.loss, pred=out.logits, tokens=all_tokens(model.vit))

torch.manual_seed(22)
model = shaken(ViTMAEModel(ViTMAEConfig(**MAE))).bfloat16()
model.save_pretrained(path("hf_encoder_bf16"))
keep("hf_encoder_bf16", tokens=all_tokens(model.double()))

torch.manual_seed(23)
model = shaken(ViTModel(ViTConfig(**SIZES)))
model.save_pretrained(path("hf_vit"))
keep("hf_vit", tokens=model.double()(images.double()).last_hidden_state)

torch.manual_seed(24)
model = shaken(ViTForImageClassification(ViTConfig(**SIZES, num_labels=CLASSES)))
model.save_pretrained(path("hf_classifier"))
model = model.double()
keep("hf_classifier", tokens=model.vit(images.double()).last_hidden_state,
     logits=model(images.double()).logits)

save_file(expected, path("expected.safetensors"))
for folder, _, names in os.walk(FOLDER):
    for name in names:
        os.chmod(os.path.join(folder, name), 0o644)
