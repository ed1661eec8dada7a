"""Fixtures of what convolutional networks use beside convolutions, by PyTorch in float64.

Kinks (of ReLU, of max pooling) would spoil the tests' finite differences: no number lies near one
but exact zeros, which the tests do not move.
"""

import torch
import torch.nn.functional as F

from reference.fixture import Fixture, Source, grads, wants

GAP = 0.5  # between any two numbers, or a number and a kink


def channels_first(x, height, width):
    """(B, H*W, C) -> (B, C, H, W)"""
    return x.transpose(1, 2).unflatten(2, (height, width))


def channels_last(x):
    return x.flatten(2).transpose(1, 2)


def op_batchnorm():
    f = Fixture("ops/batchnorm", op="batch norm over rows, momentum 0.1")
    for rows, cols, eps, mean, training in ((5, 17, 1e-5, 0, 1), (33, 48, 1e-3, 2, 1),
                                            (105, 20, 1e-5, -30, 1), (700, 5, 1e-5, 1000, 1),
                                            (33, 17, 1e-5, 3, 0), (21, 5, 1e-3, 1000, 0)):
        s = Source(f"batchnorm {rows} {cols} {mean}")
        x = s.normal(rows, cols, std=1.5) * s.uniform(cols, low=0.5, high=2) + mean
        x = x.float().double()
        w, b = s.uniform(cols, low=0.5, high=1.5), s.normal(cols)
        running_mean = s.normal(cols, mean=mean)
        running_var = s.uniform(cols, low=0.5, high=2)
        dy = s.normal(rows, cols, mean=0.5)
        new_mean, new_var = running_mean.clone(), running_var.clone()
        wants(x, w, b)
        y = F.batch_norm(x, new_mean, new_var, w, b, bool(training), 0.1, eps)
        dx, dw, db = grads(y, dy, x, w, b)
        var, mu = torch.var_mean(x.detach(), dim=0, correction=0)
        if not training:
            mu, var = running_mean, running_var
        f.case({"rows": rows, "cols": cols, "eps": eps, "training": training}, x=x, w=w, b=b,
               running_mean=running_mean, running_var=running_var, dy=dy, y=y, dx=dx, dw=dw, db=db,
               mean=mu, rstd=(var + eps) ** -0.5, running_mean_after=new_mean,
               running_var_after=new_var)
    return f


def op_activation(name, function):
    f = Fixture(f"ops/{name}", op=name)
    for rows, cols in ((5, 17), (33, 48)):
        s = Source(f"{name} {rows} {cols}")
        x, dy = s.normal(rows, cols, std=4), s.normal(rows, cols)
        x = (x + GAP * x.sign()).float().double()
        x.view(-1)[:61] = torch.linspace(-30, 30, 61)
        assert (x == 0).any() and x[x != 0].abs().min() >= GAP
        wants(x)
        y = function(x)
        (dx,) = grads(y, dy, x)
        f.case({"rows": rows, "cols": cols}, x=x, dy=dy, y=y, dx=dx)
    return f


POOLINGS = ((2, 7, 5, 17, 3, 2, 1), (2, 8, 6, 16, 2, 2, 0), (1, 5, 9, 20, 2, 2, 0),
            (1, 6, 7, 5, 3, 1, 1), (3, 1, 1, 4, 3, 2, 1), (1, 4, 6, 33, 5, 1, 2))


def op_max_pool():
    f = Fixture("ops/max_pool", op="max pooling, the first of equal values wins")
    for batch, height, width, dim, kernel, stride, pad in POOLINGS:
        s = Source(f"max pool {height} {width} {kernel}")
        n = batch * height * width * dim
        x = (torch.from_numpy(s.rng.permutation(n)).double() - n // 2) * GAP
        x[s.uniform(n) < 0.4] = 0
        x = x.view(batch, height * width, dim)
        wants(x)
        maps = channels_first(x, height, width)
        y, index = F.max_pool2d(maps, kernel, stride, pad, return_indices=True)
        padded = F.pad(maps.detach(), (pad,) * 4, value=-torch.inf)
        windows = padded.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
        equal = (windows == y.detach()[..., None]).sum(dim=-1)
        assert height == 1 or (equal > 1).any()
        y = channels_last(y)
        dy = s.normal(*y.shape)
        (dx,) = grads(y, dy, x)
        f.case({"batch": batch, "height": height, "width": width, "dim": dim, "kernel": kernel,
                "stride": stride, "pad": pad}, x=x, dy=dy, y=y, index=channels_last(index), dx=dx)
    return f


def op_average_pool():
    f = Fixture("ops/average_pool", op="mean pooling, places outside count as 0")
    for batch, height, width, dim, kernel, stride, pad in POOLINGS:
        s = Source(f"average pool {height} {width} {kernel}")
        x = s.normal(batch, height * width, dim)
        wants(x)
        y = channels_last(F.avg_pool2d(channels_first(x, height, width), kernel, stride, pad))
        dy = s.normal(*y.shape)
        (dx,) = grads(y, dy, x)
        f.case({"batch": batch, "height": height, "width": width, "dim": dim, "kernel": kernel,
                "stride": stride, "pad": pad}, x=x, dy=dy, y=y, dx=dx)
    return f


def op_resize(kind):
    f = Fixture(f"ops/resize_{kind}", op=f"{kind} resize, corners not aligned")
    for batch, height, width, dim, to_height, to_width in (
            (1, 7, 7, 17, 8, 8), (1, 8, 8, 16, 7, 7), (2, 4, 4, 5, 8, 8), (1, 5, 7, 20, 10, 9),
            (1, 9, 10, 3, 4, 3), (2, 1, 3, 4, 5, 1), (1, 6, 5, 4, 6, 5)):
        s = Source(f"resize {kind} {height} {width} {to_height}")
        x = s.normal(batch, height * width, dim)
        wants(x)
        options = {"align_corners": False} if kind == "bilinear" else {}
        y = channels_last(F.interpolate(channels_first(x, height, width), (to_height, to_width),
                                        mode=kind, **options))
        dy = s.normal(*y.shape)
        (dx,) = grads(y, dy, x)
        f.case({"batch": batch, "height": height, "width": width, "dim": dim,
                "to_height": to_height, "to_width": to_width}, x=x, dy=dy, y=y, dx=dx)
    return f


def op_concat():
    f = Fixture("ops/concat", op="channels of a, then of b")
    for batch, tokens, dim_a, dim_b in ((2, 5, 17, 16), (1, 9, 48, 3), (3, 1, 1, 33)):
        s = Source(f"concat {tokens} {dim_a} {dim_b}")
        a, b = s.normal(batch, tokens, dim_a), s.normal(batch, tokens, dim_b)
        dy = s.normal(batch, tokens, dim_a + dim_b)
        wants(a, b)
        y = torch.cat([a, b], dim=2)
        da, db = grads(y, dy, a, b)
        f.case({"batch": batch, "tokens": tokens, "dim_a": dim_a, "dim_b": dim_b}, a=a, b=b, dy=dy,
               y=y, da=da, db=db)
    return f


def op_sequence_pool():
    f = Fixture("ops/sequence_pool", op="mean of the tokens weighed by a softmax of scores")
    for batch, tokens, dim in ((2, 17, 17), (5, 16, 48), (1, 1, 24), (2, 65, 20)):
        s = Source(f"sequence pool {tokens} {dim}")
        x, scores = s.normal(batch, tokens, dim), s.normal(batch, tokens, 1, std=2)
        dy = s.normal(batch, dim)
        wants(x, scores)
        p = scores.softmax(dim=1)
        y = (p.transpose(1, 2) @ x).squeeze(1)
        dx, dscores = grads(y, dy, x, scores)
        f.case({"batch": batch, "tokens": tokens, "dim": dim}, x=x, scores=scores, dy=dy, y=y, p=p,
               dx=dx, dscores=dscores)
    return f


def all_map_ops():
    return [op_batchnorm(), op_activation("silu", F.silu), op_activation("relu", F.relu),
            op_activation("leaky_relu", lambda x: F.leaky_relu(x, 0.1)),
            op_activation("mish", F.mish), op_max_pool(), op_average_pool(),
            op_resize("bilinear"), op_resize("nearest"), op_concat(), op_sequence_pool()]
