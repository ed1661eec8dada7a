"""Reference models in PyTorch, written for reading: nothing here is fast.

scripts/make-fixtures and scripts/parity-train share them. Parameters carry timm's names, linear
weights are (out, in), activations are channels-last: images (B, H, W, 3), tokens (B, N, C).

Swin's window attention is computed densely from its definition: each window lists, slot by slot,
which token it holds (or none) and to which region of the shifted map the slot belongs. Three modes:

    unmasked     window and shift always kept. A slot without a token attends with the qkv bias as
                 its query, key and value (a zero row through the linear layer); nothing hides it.
    torchvision  the same, but no shift along an axis that one window covers.
    strict       the window shrinks to the map, no shift along an axis that one window covers, and
                 neither empty slots nor slots of another region are seen.

In the first two modes, another region costs -100 in the logit.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from reference.draws import Drops

MODES = ("unmasked", "torchvision", "strict")


def axis_shift(size, window, shift, mode):
    """The shift in use along an axis of the map, window as clamp_window gives it."""
    padded = -(-size // window) * window
    covered = padded if mode == "torchvision" else size
    return 0 if mode != "unmasked" and window >= covered else shift


def axis_slots(size, window, shift, mode):
    """One axis of the map cut into windows.

    Returns (token, region): two lists over the padded, shifted axis. token is -1 where the slot is
    padding; region counts the parts that were not neighbours before the cyclic shift.
    """
    padded = -(-size // window) * window
    shift = axis_shift(size, window, shift, mode)
    token, region = [], []
    for i in range(padded):
        source = (i + shift) % padded
        token.append(source if source < size else -1)
        if shift == 0 or i < padded - window:
            region.append(0)
        else:
            region.append(1 if i < padded - shift else 2)
    return token, region


def clamp_window(height, width, window, mode):
    """Window height and width in use on this map."""
    if mode == "strict":
        return min(window, height), min(window, width)
    return window, window


def window_slots(height, width, window, shift, mode):
    """(token, region), each (windows, slots): which token of the map a slot holds, or -1."""
    wh, ww = clamp_window(height, width, window, mode)
    row_token, row_region = axis_slots(height, wh, shift, mode)
    col_token, col_region = axis_slots(width, ww, shift, mode)
    token, region = [], []
    for top in range(0, len(row_token), wh):
        for left in range(0, len(col_token), ww):
            slots, parts = [], []
            for i in range(top, top + wh):
                for j in range(left, left + ww):
                    real = row_token[i] >= 0 and col_token[j] >= 0
                    slots.append(row_token[i] * width + col_token[j] if real else -1)
                    parts.append(3 * row_region[i] + col_region[j])
            token.append(slots)
            region.append(parts)
    return torch.tensor(token), torch.tensor(region)


def relative_index(wh, ww):
    """(slots, slots): row of the bias table for each pair (query, key)."""
    row = torch.arange(wh).repeat_interleave(ww)
    col = torch.arange(ww).repeat(wh)
    down = row[:, None] - row[None, :] + wh - 1
    right = col[:, None] - col[None, :] + ww - 1
    return down * (2 * ww - 1) + right


def window_attention(qkv, pad, table, height, width, heads, window, shift, mode,
                     drop=nn.Identity()):
    """Window attention up to, not including, the output projection.

    qkv (B, H*W, 3C) of the map's tokens, pad (3C) that of a padded token, table
    ((2wh-1)*(2ww-1), heads). Returns y (B, H*W, C) and the probabilities
    (B, windows, heads, slots, slots), whose rows are zero for padded queries.
    """
    batch, tokens, width3 = qkv.shape
    dim = width3 // 3
    wh, ww = clamp_window(height, width, window, mode)
    token, region = window_slots(height, width, window, shift, mode)
    windows, slots = token.shape
    held = torch.cat([qkv, pad.expand(batch, 1, width3)], dim=1)[:, token.flatten() % (tokens + 1)]
    held = held.view(batch, windows, slots, 3, heads, dim // heads)
    q, k, v = (held[:, :, :, i].transpose(2, 3) for i in range(3))
    logit = (q * (dim // heads) ** -0.5) @ k.transpose(-1, -2)
    bias = table[relative_index(wh, ww).flatten()].view(slots, slots, heads)
    logit = logit + bias.permute(2, 0, 1)
    apart = (region[:, :, None] != region[:, None, :])[:, None]
    if mode == "strict":
        hidden = apart | (token < 0)[:, None, None, :]
        hidden = hidden & (token >= 0)[:, None, :, None]
        logit = logit.masked_fill(hidden, -math.inf)
    else:
        logit = logit - 100.0 * apart.to(logit.dtype)
    p = torch.softmax(logit, dim=-1)
    out = (drop(p) @ v).transpose(2, 3).reshape(batch, windows * slots, dim)
    real = token.flatten() >= 0
    y = torch.zeros(batch, tokens, dim, dtype=qkv.dtype)
    y = y.index_copy(1, token.flatten()[real], out[:, real])
    return y, p * (token >= 0)[:, None, :, None].to(p.dtype)


def merge_neighbours(x, height, width):
    """(B, H*W, C) -> (B, ceil(H/2)*ceil(W/2), 4C), the four ordered (0,0) (1,0) (0,1) (1,1)."""
    batch, _, dim = x.shape
    x = F.pad(x.view(batch, height, width, dim), (0, 0, 0, width % 2, 0, height % 2))
    x = torch.cat([x[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))], dim=-1)
    return x.flatten(1, 2)


def self_attention(qkv, heads, drop=nn.Identity()):
    """qkv (B, N, 3C): q, k, v, then head, then dim. Returns y (B, N, C), p (B, heads, N, N)."""
    batch, tokens, width3 = qkv.shape
    dim = width3 // 3
    q, k, v = qkv.view(batch, tokens, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    p = torch.softmax((q * (dim // heads) ** -0.5) @ k.transpose(-1, -2), dim=-1)
    return (drop(p) @ v).transpose(1, 2).reshape(batch, tokens, dim), p


def sincos_table(height, width, dim, temperature=10000.0, dtype=torch.float64):
    """Fixed two-dimensional positions (H*W, dim), big_vision's layout: sin x, cos x, sin y, cos y.

    Frequencies are temperature^(-i / (dim/4 - 1)), i = 0 .. dim/4 - 1; x is the column, y the row.
    """
    omega = temperature ** -(torch.arange(dim // 4, dtype=dtype) / (dim // 4 - 1))
    y = torch.arange(height, dtype=dtype).repeat_interleave(width)[:, None] * omega
    x = torch.arange(width, dtype=dtype).repeat(height)[:, None] * omega
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)


ACTIVATIONS = {
    "erf": nn.GELU, "gelu": nn.GELU, "tanh": lambda: nn.GELU("tanh"), "silu": nn.SiLU,
    "relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.1), "mish": nn.Mish, "none": nn.Identity,
}


class Mlp(nn.Module):
    def __init__(self, dim, hidden, act, drops):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = ACTIVATIONS[act]()
        self.drop1 = drops.elements("mlp")
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = drops.elements("mlp")

    def forward(self, x):
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))


class PatchEmbed(nn.Module):
    def __init__(self, patch, channels, dim, norm_eps=None):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(channels, dim, patch, patch)
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(dim, eps=norm_eps)

    def forward(self, images):
        """(B, H, W, channels) -> tokens (B, N, dim) and the map's height and width."""
        height, width = images.shape[1:3]
        x = F.pad(images.permute(0, 3, 1, 2), (0, -width % self.patch, 0, -height % self.patch))
        x = self.proj(x)
        return self.norm(x.flatten(2).transpose(1, 2)), x.shape[2], x.shape[3]


class WindowAttention(nn.Module):
    def __init__(self, dim, heads, height, width, window, shift, mode, qkv_bias, drops):
        super().__init__()
        self.place = (height, width, heads, window, shift, mode)
        wh, ww = clamp_window(height, width, window, mode)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * wh - 1) * (2 * ww - 1), heads))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = drops.elements("attn")
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = drops.elements("proj")
        self.probabilities = None

    def forward(self, x):
        pad = self.qkv.bias
        if pad is None:
            pad = x.new_zeros(3 * x.shape[-1])
        y, p = window_attention(self.qkv(x), pad, self.relative_position_bias_table, *self.place,
                                self.attn_drop)
        self.probabilities = p.detach()
        return self.proj_drop(self.proj(y))


class SelfAttention(nn.Module):
    def __init__(self, dim, heads, qkv_bias, drops):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = drops.elements("attn")
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = drops.elements("proj")
        self.probabilities = None

    def forward(self, x):
        y, p = self_attention(self.qkv(x), self.heads, self.attn_drop)
        self.probabilities = p.detach()
        return self.proj_drop(self.proj(y))


class Block(nn.Module):
    """Pre-norm block: attention and MLP, each added to its input. place: its number and that of all
    blocks, for the rate of drop path."""

    def __init__(self, dim, attn, hidden, norm_eps, act, drops, place):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = attn
        self.drop_path1 = drops.branch(*place)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, hidden, act, drops)
        self.drop_path2 = drops.branch(*place)

    def forward(self, x):
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class SequencePool(nn.Linear):
    """Mean over the tokens, weighed by a learned softmax."""

    def __init__(self, dim):
        super().__init__(dim, 1)

    def forward(self, x):
        return (torch.softmax(super().forward(x), dim=1) * x).sum(dim=1)


class PatchMerging(nn.Module):
    def __init__(self, dim, height, width, norm_eps, merge_bias):
        super().__init__()
        self.size = (height, width)
        self.norm = nn.LayerNorm(4 * dim, eps=norm_eps)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=merge_bias)

    def forward(self, x):
        return self.reduction(self.norm(merge_neighbours(x, *self.size)))


class Stage(nn.Module):
    """timm's stage: the merging of the stage before stands at the start of this one."""

    def __init__(self, downsample, blocks):
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(self.downsample(x))


class SwinHead(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.fc = nn.Linear(dim, classes)


class Swin(nn.Module):
    def __init__(self, image=32, channels=3, classes=10, patch=2, dim=192, depths=(2, 6, 2),
                 heads=(3, 6, 12), window=7, mode="unmasked", mlp_ratio=1.0, norm_eps=1e-5,
                 qkv_bias=True, merge_bias=False, gelu="erf", patch_norm=True, pos_embed="none",
                 pool="mean", drops=Drops()):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"window mode '{mode}', expected one of {', '.join(MODES)}")
        self.patch_embed = PatchEmbed(patch, channels, dim, norm_eps if patch_norm else None)
        height = width = -(-image // patch)
        self.absolute_pos_embed = self.positions = None
        if pos_embed == "learned":
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, height * width, dim))
        elif pos_embed == "sincos":
            self.positions = sincos_table(height, width, dim)
        self.pos_drop = drops.elements("embed")
        stages, block = [], 0
        for s, depth in enumerate(depths):
            downsample = nn.Identity()
            if s > 0:
                downsample = PatchMerging(dim, height, width, norm_eps, merge_bias)
                dim, height, width = 2 * dim, (height + 1) // 2, (width + 1) // 2
            blocks = []
            for i in range(depth):
                shift = window // 2 if i % 2 else 0
                attn = WindowAttention(dim, heads[s], height, width, window, shift, mode, qkv_bias,
                                       drops)
                blocks.append(Block(dim, attn, int(dim * mlp_ratio), norm_eps, gelu, drops,
                                    (block, sum(depths))))
                block += 1
            stages.append(Stage(downsample, blocks))
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.attention_pool = SequencePool(dim) if pool == "sequence" else None
        self.head = SwinHead(dim, classes)

    def forward(self, images):
        x, _, _ = self.patch_embed(images)
        if self.absolute_pos_embed is not None:
            x = x + self.absolute_pos_embed
        elif self.positions is not None:
            x = x + self.positions.to(x.dtype)
        x = self.norm(self.layers(self.pos_drop(x)))
        return self.head.fc(x.mean(dim=1) if self.attention_pool is None else
                            self.attention_pool(x))


class Vit(nn.Module):
    def __init__(self, image=32, channels=3, classes=10, patch=4, dim=192, depth=12, heads=3,
                 mlp_ratio=4.0, norm_eps=1e-6, qkv_bias=True, gelu="erf", pos_embed="learned",
                 pool="token", drops=Drops()):
        super().__init__()
        side = -(-image // patch)
        prefix = 1 if pool == "token" else 0
        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if prefix else None
        self.pos_embed = None
        self.positions = None
        if pos_embed == "learned":
            self.pos_embed = nn.Parameter(torch.zeros(1, side * side + prefix, dim))
        elif pos_embed == "sincos":
            self.positions = sincos_table(side, side, dim)
        self.pos_drop = drops.elements("embed")
        self.blocks = nn.Sequential(*[
            Block(dim, SelfAttention(dim, heads, qkv_bias, drops), int(dim * mlp_ratio), norm_eps,
                  gelu, drops, (i, depth))
            for i in range(depth)])
        late = pool == "mean"
        self.norm = nn.Identity() if late else nn.LayerNorm(dim, eps=norm_eps)
        self.attention_pool = SequencePool(dim) if pool == "sequence" else None
        self.fc_norm = nn.LayerNorm(dim, eps=norm_eps) if late else nn.Identity()
        self.head = nn.Linear(dim, classes)

    def forward(self, images):
        x, _, _ = self.patch_embed(images)
        if self.positions is not None:
            x = x + self.positions.to(x.dtype)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        x = self.norm(self.blocks(self.pos_drop(x)))
        if self.attention_pool is not None:
            x = self.attention_pool(x)
        else:
            x = x[:, 0] if self.cls_token is not None else x.mean(dim=1)
        return self.head(self.fc_norm(x))
