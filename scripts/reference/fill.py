"""Random values for every parameter and buffer of a network, and what came of them."""

import contextlib

import torch
from torch import nn

from reference.fixture import Source

PEAK_LOW, PEAK_HIGH, STEP = 0.32, 0.38, 1.4


def attention_modules(net):
    """(name, module) of every attention, in no particular order."""
    return [(n, m) for n, m in net.named_modules()
            if hasattr(m, "qkv") and (hasattr(m, "attn_drop") or hasattr(m, "probabilities"))]


@contextlib.contextmanager
def recorded_attention(net):
    """Collects name -> probabilities (B, windows, heads, P, P) of the forward passes inside."""
    taken, handles = {}, []

    def of(name, module):
        def take(_, args, output):
            p = getattr(module, "probabilities", None)
            if p is None:  # timm's: what goes into attn_drop
                p = module.latest
            taken[name] = p.detach()
        return take

    for name, module in attention_modules(net):
        if not hasattr(module, "probabilities"):
            handles.append(module.attn_drop.register_forward_pre_hook(
                lambda _, args, module=module: setattr(module, "latest", args[0])))
        handles.append(module.register_forward_hook(of(name, module)))
    yield taken
    for handle in handles:
        handle.remove()


def peak(p):
    """Mean of the largest probability of a query; rows of padded queries are zero."""
    top = p.amax(dim=-1)
    return top[p.sum(dim=-1) > 0.5].mean().item()


def sharpen(module, rows, args, floor):
    """Scales queries and keys until attention is neither flat nor hard; by `floor` at least."""
    parts = [module.qkv.weight] + ([] if module.qkv.bias is None else [module.qkv.bias])
    start, factor, step, last = [p.data.clone() for p in parts], 1.0, STEP, 0
    with recorded_attention(module) as taken:
        for _ in range(40):
            for p, value in zip(parts, start):
                p.data = value.clone()
                p.data[:rows] = (value[:rows] * factor).float().to(value.dtype)
            module(*args)
            top = peak(taken[""])
            way = (top < PEAK_LOW) - (top > PEAK_HIGH)
            if way == 0 or (way < 0 and factor == floor):
                break
            step = step ** 0.5 if way == -last else step
            factor, last = max(factor * step ** way, floor), way


@contextlib.contextmanager
def sharpening(net, floor=0.0):
    """Inside, each attention is sharpened on what a forward pass hands it."""
    busy = []

    def before(module, args):
        if not busy:
            busy.append(module)
            sharpen(module, 2 * module.qkv.weight.shape[1], args, floor)
            busy.pop()

    handles = [m.register_forward_pre_hook(before) for _, m in attention_modules(net)]
    yield
    for handle in handles:
        handle.remove()


def fill(net, name, images, bias=0.5):
    """Every parameter and buffer, float32 values. Queries and keys are scaled on `images` so that
    the largest probability of a query averages about 0.32 to 0.38; running statistics are those of
    `images`, each moved at random. bias: the deviation of biases; large ones make the tokens of deep
    networks all alike, and differences between them drown in rounding."""
    s = Source(f"fill {name}")
    for key, p in net.named_parameters():
        if not p.requires_grad:
            continue
        if p.ndim == 1 and key.endswith("weight"):
            value = s.uniform(*p.shape, low=0.5, high=1.5)
        elif key.endswith("bias"):
            value = s.normal(*p.shape, std=bias)
        elif key.endswith("weight"):
            value = s.normal(*p.shape, std=p[0].numel() ** -0.5)
        else:
            value = s.normal(*p.shape)
        p.data = value.to(p.dtype)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    net.eval()
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad(), sharpening(net):
        net(images)
        for norm in norms:
            norm.eval().momentum = 0.1
            spread = norm.running_var.sqrt()
            norm.running_mean += (0.2 * spread * s.normal(*spread.shape)).to(spread.dtype)
            norm.running_var *= s.uniform(*spread.shape, low=0.7, high=1.4).to(spread.dtype)
            for buffer in (norm.running_mean, norm.running_var):
                buffer.copy_(buffer.float())
        if norms:  # what the attention of an evaluation sees has moved
            net(images)
