"""The networks of zoo.dense as PyTorch runs them fastest: attention through its fused kernel.

timm's networks do so by themselves. swin_cifar comes in two forms: `padded` cuts, pads and rolls
the map as every public code does; `unpadded` computes the linear layers on the map's own tokens and
fills padding in afterwards, as Vitrine does.
"""

import torch
import torch.nn.functional as F

from reference import convs
from reference import models as ref


def attend(qkv, heads, scale_mask=None):
    """qkv (B, N, 3C) -> (B, N, C)."""
    q, k, v = qkv.view(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=scale_mask)
    return y.transpose(1, 2).flatten(2)


class Windows(torch.nn.Module):
    """What both forms of ref.WindowAttention share: parameters, and the mask on the logits."""

    def __init__(self, attn):
        super().__init__()
        self.place = height, width, heads, window, shift, mode = attn.place
        wh, ww = ref.clamp_window(height, width, window, mode)
        self.relative_position_bias_table, self.qkv, self.proj = (
            attn.relative_position_bias_table, attn.qkv, attn.proj)
        self.height, self.width, self.heads, self.wh, self.ww = height, width, heads, wh, ww
        self.shift = (ref.axis_shift(height, wh, shift, mode),
                      ref.axis_shift(width, ww, shift, mode))
        token, region = ref.window_slots(height, width, window, shift, mode)
        apart = region[:, :, None] != region[:, None, :]
        mask = -100.0 * apart.float()
        if mode == "strict":
            hidden = (apart | (token < 0)[:, None, :]) & (token >= 0)[:, :, None]
            mask = torch.zeros(mask.shape).masked_fill(hidden, -torch.inf)
        self.register_buffer("mask", mask[:, None] if mask.any() else None, persistent=False)
        self.register_buffer("index", ref.relative_index(wh, ww).flatten(), persistent=False)

    def logit_bias(self, batch):
        """(B * windows, heads, slots, slots), or one for all of them."""
        slots = self.wh * self.ww
        bias = self.relative_position_bias_table[self.index].view(slots, slots, -1).permute(2, 0, 1)
        if self.mask is None:
            return bias
        return (bias + self.mask).repeat(batch, 1, 1, 1)


class PaddedWindows(Windows):
    def forward(self, x):
        batch, _, dim = x.shape
        height, width, wh, ww = self.height, self.width, self.wh, self.ww
        x = F.pad(x.view(batch, height, width, dim), (0, 0, 0, -width % ww, 0, -height % wh))
        rows, cols = x.shape[1] // wh, x.shape[2] // ww
        if any(self.shift):
            x = torch.roll(x, (-self.shift[0], -self.shift[1]), (1, 2))
        x = x.view(batch, rows, wh, cols, ww, dim).transpose(2, 3).reshape(-1, wh * ww, dim)
        x = self.proj(attend(self.qkv(x), self.heads, self.logit_bias(batch)))
        x = x.view(batch, rows, cols, wh, ww, dim).transpose(2, 3)
        x = x.reshape(batch, rows * wh, cols * ww, dim)
        if any(self.shift):
            x = torch.roll(x, self.shift, (1, 2))
        return x[:, :height, :width].reshape(batch, height * width, dim)


class UnpaddedWindows(Windows):
    def __init__(self, attn):
        super().__init__(attn)
        token, _ = ref.window_slots(*self.place[:2], *self.place[3:])
        tokens = self.height * self.width
        where = torch.full((tokens,), -1)
        where[token.flatten()[token.flatten() >= 0]] = torch.arange(token.numel())[
            token.flatten() >= 0]
        self.register_buffer("slot", token.flatten() % (tokens + 1), persistent=False)
        self.register_buffer("where", where, persistent=False)

    def forward(self, x):
        batch, _, dim = x.shape
        qkv = torch.cat([self.qkv(x), self.qkv.bias.expand(batch, 1, -1)], dim=1)
        qkv = qkv[:, self.slot].view(-1, self.wh * self.ww, 3 * dim)
        y = attend(qkv, self.heads, self.logit_bias(batch)).reshape(batch, -1, dim)
        return self.proj(y[:, self.where])


class Tokens(torch.nn.Module):
    def __init__(self, attn):
        super().__init__()
        self.qkv, self.proj, self.heads = attn.qkv, attn.proj, attn.heads

    def forward(self, x):
        return self.proj(attend(self.qkv(x), self.heads))


def speed_up(net, padded=True):
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ref.WindowAttention):
                setattr(module, name, (PaddedWindows if padded else UnpaddedWindows)(child))
            elif isinstance(child, ref.SelfAttention):
                setattr(module, name, Tokens(child))
            elif isinstance(child, convs.PatchAttention):
                raise NotImplementedError("attention within patches: use timm's network")


def leave_out_unread(block):
    """timm's last block before a class token is read: behind attention for that token alone."""
    block.attn.proj.register_forward_pre_hook(lambda _, args: (args[0][:, :1],))
    block.forward = lambda x: second(x[:, :1] + block.attn(block.norm1(x)))

    def second(x):
        return x + block.mlp(block.norm2(x))
