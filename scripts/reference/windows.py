"""Fixtures of window attention, from packed qkv to before the projection.

The dense computation of models.py, held against torchvision and timm wherever they mean the same.
"""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torchvision.models.swin_transformer import shifted_window_attention

from reference import models as ref
from reference.fixture import Fixture, Source, check_peak, grads, wants


def torchvision_window(x, w, b, table, height, width, heads, window, shift):
    """torchvision's own function with an identity for the output projection."""
    dim = x.shape[-1]
    index = ref.relative_index(window, window).flatten()
    bias = table[index].view(window ** 2, window ** 2, heads).permute(2, 0, 1)[None]
    return shifted_window_attention(
        x.view(-1, height, width, dim), w, torch.eye(dim, dtype=x.dtype), bias, [window, window],
        heads, [shift, shift], qkv_bias=b).flatten(1, 2)


def timm_window(x, w, b, table, height, width, heads, window, shift, keep):
    """timm's block from after its norm to before its projection."""
    dim = x.shape[-1]
    block = SwinTransformerBlock(dim, (height, width), heads, window_size=window,
                                 shift_size=shift, always_partition=keep).double()
    block.attn.qkv.weight.data, block.attn.qkv.bias.data = w, b
    block.attn.relative_position_bias_table.data = table
    block.attn.proj.weight.data = torch.eye(dim, dtype=x.dtype)
    block.attn.proj.bias.data.zero_()
    return block._attn(x.view(-1, height, width, dim)).detach().flatten(1, 2)


def public_windows(x, w, b, table, wh, ww, height, width, heads, window, shift, mode):
    """What torchvision and timm compute, for the cases in which they mean the same thing.

    timm shifts before it pads, so it counts only where its (clamped) window divides the map. Its
    always_partition keeps the window and the shift as the unmasked mode does.
    """
    place = (height, width, heads, window, shift)
    kept = (wh, ww) == (window, window)
    divides = height % wh == 0 and width % ww == 0
    one = window >= height or window >= width
    if mode == "torchvision" or (kept and divides and not (one and mode == "unmasked")) or (
            mode == "unmasked" and not one):
        yield torchvision_window(x, w, b, table, *place)
    if divides and (mode == "strict" or kept):
        yield timm_window(x, w, b, table, *place, mode == "unmasked")


def window_case(f, batch, height, width, window, shift, mode, heads, head_dim, bias=1):
    dim = heads * head_dim
    s = Source(f"window {height} {width} {window} {heads} {head_dim}")
    wh, ww = ref.clamp_window(height, width, window, mode)
    x = s.normal(batch, height * width, dim)
    w = s.normal(3 * dim, dim, std=dim ** -0.5)
    w[:2 * dim] *= 1.5
    w = w.float().double()
    b = s.normal(3 * dim)
    dy = s.normal(batch, height * width, dim)
    table = s.normal((2 * wh - 1) * (2 * ww - 1), heads)
    pad = b.clone() if bias else torch.zeros_like(b)
    qkv = F.linear(x, w, pad)
    place = (height, width, heads, window, shift, mode)
    where = f"{mode} {height}x{width} window {window} shift {shift}"
    exact, _ = ref.window_attention(qkv, pad, table, *place)
    for other in public_windows(x, w, pad, table, wh, ww, *place):
        assert (exact - other).abs().max() < 1e-12, where

    qkv = qkv.float().double()
    wants(table, pad, qkv)
    y, p = ref.window_attention(qkv, pad, table, *place)
    dtable, dqkv, dpad = grads(y, dy, table, qkv, pad)
    top = check_peak(p, where)
    token, region = ref.window_slots(height, width, window, shift, mode)
    apart = (region[:, :, None] != region[:, None, :])[:, None].expand_as(p[0])
    assert p.detach()[:, apart].sum() < 1e-20, where
    padding = (token < 0)[:, None, None, :].expand_as(p[0])
    if mode == "strict":
        assert (p.detach()[:, padding] == 0).all() and (dpad == 0).all(), where
    f.case({"batch": batch, "height": height, "width": width, "dim": dim, "heads": heads,
            "window": window, "shift": shift, "mode": mode, "window_h": wh, "window_w": ww,
            "windows": len(token), "bias": bias, "peak": f"{top:.3f}"},
           qkv=qkv, pad=pad, table=table, dy=dy, y=y, p=p, dqkv=dqkv, dpad=dpad, dtable=dtable)


def op_window_attention():
    """Modes that compute the same thing on a map are given once, under the first of their names."""
    even = Fixture("ops/window_even", op="window attention, map a multiple of the window")
    for row in ((1, 8, 8, 4, 0, "unmasked", 3, 8), (1, 8, 8, 4, 2, "unmasked", 3, 8),
                (1, 16, 16, 4, 2, "unmasked", 1, 8), (1, 8, 16, 4, 0, "strict", 1, 8),
                (1, 8, 8, 4, 2, "strict", 1, 16), (1, 8, 8, 4, 2, "torchvision", 1, 16),
                (1, 14, 14, 7, 3, "strict", 1, 8), (1, 7, 7, 7, 0, "unmasked", 2, 8),
                (2, 7, 7, 7, 3, "unmasked", 1, 8), (1, 7, 7, 7, 3, "strict", 2, 8),
                (1, 4, 8, 4, 2, "strict", 2, 17), (1, 4, 8, 4, 2, "torchvision", 2, 17)):
        window_case(even, *row)
    odd4 = Fixture("ops/window_odd4", op="window attention, window 4 does not divide the map")
    for mode in ("unmasked", "strict"):
        for shift in (0, 2):
            window_case(odd4, 1, 7, 7, 4, shift, mode, 2, 8)
            window_case(odd4, 1, 5, 10, 4, shift, mode, 3, 5)
        window_case(odd4, 1, 14, 14, 4, 2, mode, 1, 8)
    window_case(odd4, 1, 14, 14, 4, 0, "unmasked", 1, 8)
    window_case(odd4, 2, 7, 7, 4, 2, "torchvision", 1, 16)
    window_case(odd4, 1, 7, 7, 4, 2, "unmasked", 1, 16, bias=0)
    odd7 = Fixture("ops/window_odd7", op="window attention, window 7 does not divide the map")
    for mode in ("unmasked", "strict"):
        window_case(odd7, 1, 16, 16, 7, 3, mode, 1, 8)
        window_case(odd7, 1, 8, 8, 7, 3, mode, 1, 12)
    window_case(odd7, 1, 8, 8, 7, 0, "unmasked", 1, 12)
    for mode in ref.MODES:
        window_case(odd7, 1, 4, 4, 7, 3, mode, 2, 8)
    window_case(odd7, 2, 4, 4, 7, 0, "unmasked", 1, 8)
    window_case(odd7, 1, 2, 2, 7, 3, "unmasked", 1, 24)
    rect = Fixture("ops/window_rect", op="window attention, rectangular maps")
    for mode in ref.MODES:
        window_case(rect, 1, 4, 16, 7, 3, mode, 1, 8)
        window_case(rect, 1, 9, 3, 4, 2, mode, 1, 24)
        window_case(rect, 1, 1, 5, 4, 2, mode, 3, 8)
    return [even, odd4, odd7, rect]
