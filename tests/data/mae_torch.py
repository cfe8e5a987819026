"""A PyTorch reference of the MAE, equal in numbers to the authors' released
code, extended to images that are not square and to any number of channels.

It makes the golden files of the tests (make_golden.py) and is the peer of the
benchmark (bench/peer_torch.py).  Parameters have the official names."""
import math

import torch
from torch import nn
import torch.nn.functional as F


def position_table(rows, columns, width):
    """[1, 1 + rows * columns, width]; the first half encodes the column."""
    def encode(position, n):
        omega = 1 / 10000 ** (torch.arange(n // 2, dtype=torch.float64) / (n // 2))
        angle = position.reshape(-1, 1).double() * omega
        return torch.cat([angle.sin(), angle.cos()], 1)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    table = torch.cat([encode(x, width // 2), encode(y, width // 2)], 1)
    return torch.cat([torch.zeros(1, width), table.float()])[None]


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, t, d))


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, mlp_ratio):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x, drop_path=(1, 1)):
        """drop_path: what each branch is multiplied by, for an image each."""
        x = x + drop_path[0] * self.attn(self.norm1(x))
        return x + drop_path[1] * self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, chans, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(chans, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Mae(nn.Module):
    def __init__(self, image_height=224, image_width=224, patch_size=16, in_chans=3,
                 embed_dim=768, depth=12, num_heads=12, decoder_embed_dim=512,
                 decoder_depth=8, decoder_num_heads=16, mlp_ratio=4, norm_pix_loss=1,
                 encoder_mask_tokens=0):
        super().__init__()
        rows, columns = image_height // patch_size, image_width // patch_size
        self.patch_size, self.in_chans = patch_size, in_chans
        self.rows, self.columns, self.norm_pix_loss = rows, columns, norm_pix_loss
        self.encoder_mask_tokens = encoder_mask_tokens
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(position_table(rows, columns, embed_dim), False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        self.decoder_pos_embed = nn.Parameter(
            position_table(rows, columns, decoder_embed_dim), False)
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_embed_dim, decoder_num_heads, mlp_ratio)
            for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_embed_dim, patch_size ** 2 * in_chans)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        weight = self.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.data.view(len(weight), -1))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        if encoder_mask_tokens:
            self.encoder_mask_token = nn.Parameter(0.02 * torch.randn(1, 1, embed_dim))

    def patchify(self, images):
        b, p = len(images), self.patch_size
        x = images.reshape(b, self.in_chans, self.rows, p, self.columns, p)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(b, self.rows * self.columns, -1)

    def unpatchify(self, patches):
        b, p = len(patches), self.patch_size
        x = patches.reshape(b, self.rows, self.columns, p, p, self.in_chans)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(
            b, self.in_chans, self.rows * p, self.columns * p)

    def encode(self, images, noise=None, ratio=0.75, blocks=None, norm=True,
               mask_tokens=0):
        """Tokens, and with noise also mask and ids_restore; without it no
        patch is masked.  mask_tokens: masked patches stay, as that token."""
        x, positions = self.patch_embed(images), self.pos_embed[:, 1:]
        mask = restore = None
        if noise is not None:
            length = x.shape[1]
            kept = int(length * (1 - ratio))
            shuffle = noise.argsort(dim=1)
            restore = shuffle.argsort(dim=1)
            mask = (restore >= kept).to(x.dtype)
        if mask_tokens:
            x = torch.where(mask[..., None] > 0, self.encoder_mask_token, x)
        x = x + positions
        if noise is not None and not mask_tokens:
            x = x.gather(1, shuffle[:, :kept, None].expand(-1, -1, x.shape[2]))
        token = self.cls_token + self.pos_embed[:, :1]
        x = torch.cat([token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks[:blocks]:
            x = block(x)
        return (self.norm(x) if norm else x), mask, restore

    def decode(self, latent, restore):
        x = self.decoder_embed(latent)
        if not self.encoder_mask_tokens:
            removed = restore.shape[1] + 1 - x.shape[1]
            tokens = torch.cat([x[:, 1:], self.mask_token.expand(len(x), removed, -1)], 1)
            tokens = tokens.gather(1, restore[..., None].expand(-1, -1, x.shape[2]))
            x = torch.cat([x[:, :1], tokens], 1)
        x = x + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def target(self, images):
        """Patches as the loss sees them, with their mean and deviation."""
        x = self.patchify(images)
        if not self.norm_pix_loss:
            return x, 0, 1
        mean = x.mean(-1, keepdim=True)
        std = (x.var(-1, keepdim=True) + 1e-6) ** 0.5
        return (x - mean) / std, mean, std

    def forward(self, images, noise, ratio=0.75):
        latent, mask, restore = self.encode(images, noise, ratio,
                                            mask_tokens=self.encoder_mask_tokens)
        pred = self.decode(latent, restore)
        error = ((pred - self.target(images)[0]) ** 2).mean(-1)
        return (error * mask).sum() / mask.sum(), pred, mask

    def reconstruct(self, images, noise, ratio=0.75):
        _, pred, mask = self(images, noise, ratio)
        _, mean, std = self.target(images)
        mask = mask[..., None]
        patches = self.patchify(images) * (1 - mask) + (pred * std + mean) * mask
        return self.unpatchify(patches)


class Classifier(nn.Module):
    """The ViT of the official fine-tuning: no mask, positions are trained."""

    def __init__(self, image_height=224, image_width=224, patch_size=16, in_chans=3,
                 embed_dim=768, depth=12, num_heads=12, mlp_ratio=4, num_classes=1000,
                 global_pool=1):
        super().__init__()
        rows, columns = image_height // patch_size, image_width // patch_size
        self.global_pool = global_pool
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(position_table(rows, columns, embed_dim))
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_size)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        norm = nn.LayerNorm(embed_dim, eps=1e-6)
        if global_pool:
            self.fc_norm = norm
        else:
            self.norm = norm
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, images, drop_path=None):
        """Logits.  drop_path [2 * depth, B]: the scales of all branches."""
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x) if drop_path is None else block(
                x, drop_path[2 * i:2 * i + 2, :, None, None])
        x = self.fc_norm(x[:, 1:].mean(1)) if self.global_pool else self.norm(x)[:, 0]
        return self.head(x)


def smoothed(labels, classes, smoothing):
    """Targets with the same mass on every class beside the label's own."""
    targets = torch.full((len(labels), classes), smoothing / classes)
    return targets + F.one_hot(labels, classes) * (1 - smoothing)


def cross_entropy(logits, targets):
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def layer_groups(model, weight_decay, layer_decay):
    """The official layer-wise rates: groups with an lr_scale, the trained
    parameters alone; no decay on vectors, the class token and positions."""
    depth = len(model.blocks)

    def layer(name):
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith(("cls_token", "pos_embed", "patch_embed")) else depth + 1
    return [{"params": [p], "lr_scale": layer_decay ** (depth + 1 - layer(n)),
             "weight_decay": 0.0 if p.ndim == 1 or n in ("cls_token", "pos_embed")
             else weight_decay} for n, p in model.named_parameters() if p.requires_grad]


def adamw(model, lr, **options):
    """The official optimiser: no decay on biases and norms."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    plain = [p for n, p in trained if p.ndim == 1 or n.endswith(".bias")]
    decay = [p for n, p in trained if not (p.ndim == 1 or n.endswith(".bias"))]
    groups = [{"params": plain, "weight_decay": 0.0},
              {"params": decay, "weight_decay": 0.05}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8, **options)


def schedule(step, warmup, total, peak, least=0.0):
    if step < warmup:
        return peak * step / warmup
    part = (step - warmup) / (total - warmup)
    return least + (peak - least) * 0.5 * (1 + math.cos(math.pi * part))
