"""Fixtures of single ops, computed by PyTorch in float64."""

import torch
import torch.nn.functional as F
import torchvision

from reference import models as ref
from reference.fixture import Fixture, Source, check_peak, grads, wants


def op_linear():
    f = Fixture("ops/linear", op="y = x w^T + b")
    for rows, n_in, n_out, bias in ((5, 17, 48, 1), (33, 48, 17, 0), (65, 96, 51, 1), (1, 3, 5, 1)):
        s = Source(f"linear {rows} {n_in} {n_out}")
        x, w, b = s.normal(rows, n_in), s.normal(n_out, n_in, std=n_in ** -0.5), s.normal(n_out)
        dy = s.normal(rows, n_out)
        wants(x, w, b)
        y = F.linear(x, w, b if bias else None)
        scalars = {"rows": rows, "in": n_in, "out": n_out, "bias": bias}
        if bias:
            dx, dw, db = grads(y, dy, x, w, b)
            f.case(scalars, x=x, w=w, b=b, dy=dy, y=y, dx=dx, dw=dw, db=db)
        else:
            dx, dw = grads(y, dy, x, w)
            f.case(scalars, x=x, w=w, dy=dy, y=y, dx=dx, dw=dw)
    return f


def op_layernorm():
    f = Fixture("ops/layernorm", op="layer norm over the last axis")
    for rows, cols, eps, mean in ((5, 17, 1e-6, 0), (33, 48, 1e-5, 2), (35, 96, 1e-5, 0),
                                  (3, 768, 1e-6, -1)):
        s = Source(f"layernorm {rows} {cols}")
        x = s.normal(rows, cols, std=1.5, mean=mean)
        w, b = s.uniform(cols, low=0.5, high=1.5), s.normal(cols)
        dy = s.normal(rows, cols)
        wants(x, w, b)
        y = F.layer_norm(x, (cols,), w, b, eps)
        dx, dw, db = grads(y, dy, x, w, b)
        var, mu = torch.var_mean(x.detach(), dim=1, correction=0)
        f.case({"rows": rows, "cols": cols, "eps": eps}, x=x, w=w, b=b, dy=dy, y=y, dx=dx, dw=dw,
               db=db, mean=mu, rstd=(var + eps) ** -0.5)
    return f


def op_gelu(form):
    f = Fixture(f"ops/gelu_{form}", op=f"GELU, {form} form")
    for rows, cols in ((5, 17), (33, 48)):
        s = Source(f"gelu {rows} {cols}")
        x, dy = s.normal(rows, cols, std=2.5), s.normal(rows, cols)
        x.view(-1)[:17] = torch.linspace(-8, 8, 17)
        wants(x)
        y = F.gelu(x, approximate="tanh" if form == "tanh" else "none")
        (dx,) = grads(y, dy, x)
        f.case({"rows": rows, "cols": cols}, x=x, dy=dy, y=y, dx=dx)
    return f


def op_cross_entropy():
    f = Fixture("ops/cross_entropy", op="softmax cross entropy, mean over rows")
    for rows, classes, smoothing in ((5, 10, 0.0), (5, 10, 0.1), (33, 17, 0.0), (33, 17, 0.1),
                                     (16, 100, 0.1)):
        s = Source(f"cross entropy {rows} {classes}")
        x, labels = s.normal(rows, classes, std=3), s.integers(classes, rows)
        wants(x)
        row_loss = F.cross_entropy(x, labels, label_smoothing=smoothing, reduction="none")
        loss = F.cross_entropy(x, labels, label_smoothing=smoothing)
        (dx,) = torch.autograd.grad(loss, x)
        f.case({"rows": rows, "classes": classes, "smoothing": smoothing}, x=x, labels=labels,
               y=row_loss, lse=x.logsumexp(dim=1), loss=loss.reshape(1), dx=dx)
    return f


def op_patch_embed():
    f = Fixture("ops/patch_embed", op="convolution, kernel = stride = patch, padded right, bottom")
    for batch, height, width, chans, patch, dim in ((2, 8, 8, 3, 4, 17), (1, 12, 6, 3, 2, 48),
                                                    (2, 10, 7, 3, 4, 24), (1, 6, 9, 1, 3, 16)):
        s = Source(f"patch embed {height} {width}")
        x = s.normal(batch, height, width, chans)
        w = s.normal(dim, chans, patch, patch, std=(chans * patch * patch) ** -0.5)
        b = s.normal(dim)
        wants(w, b)
        padded = F.pad(x.permute(0, 3, 1, 2), (0, -width % patch, 0, -height % patch))
        y = F.conv2d(padded, w, b, patch).flatten(2).transpose(1, 2)
        dy = s.normal(*y.shape)
        dw, db = grads(y, dy, w, b)
        patches = F.unfold(padded, patch, stride=patch).transpose(1, 2)
        f.case({"batch": batch, "height": height, "width": width, "channels": chans,
                "patch": patch, "dim": dim}, x=x, w=w, b=b, dy=dy, patches=patches, y=y, dw=dw,
               db=db)
    return f


def op_tokens():
    f = Fixture("ops/tokens", op="class token in front (if any), then positions added")
    for batch, tokens, dim, cls in ((2, 16, 17, 1), (3, 9, 48, 0), (1, 25, 24, 1)):
        s = Source(f"tokens {tokens} {dim}")
        x, c = s.normal(batch, tokens, dim), s.normal(1, 1, dim)
        pos, dy = s.normal(1, tokens + cls, dim), s.normal(batch, tokens + cls, dim)
        wants(x, c, pos)
        y = (torch.cat([c.expand(batch, -1, -1), x], dim=1) if cls else x) + pos
        scalars = {"batch": batch, "tokens": tokens, "dim": dim, "class_token": cls}
        if cls:
            dx, dc, dpos = grads(y, dy, x, c, pos)
            f.case(scalars, x=x, cls=c, pos=pos, dy=dy, y=y, dx=dx, dcls=dc, dpos=dpos)
        else:
            dx, dpos = grads(y, dy, x, pos)
            f.case(scalars, x=x, pos=pos, dy=dy, y=y, dx=dx, dpos=dpos)
    return f


def op_pool(kind):
    f = Fixture(f"ops/{kind}", op="mean over tokens" if kind == "mean_pool" else "token 0")
    for batch, tokens, dim in ((2, 17, 17), (5, 16, 48), (1, 1, 24)):
        s = Source(f"pool {tokens} {dim}")
        x, dy = s.normal(batch, tokens, dim), s.normal(batch, dim)
        wants(x)
        y = x.mean(dim=1) if kind == "mean_pool" else x[:, 0]
        (dx,) = grads(y, dy, x)
        f.case({"batch": batch, "tokens": tokens, "dim": dim}, x=x, dy=dy, y=y, dx=dx)
    return f


def op_attention():
    f = Fixture("ops/attention", op="multi-head attention on packed q, k, v (B, N, 3C)")
    for batch, tokens, heads, head_dim in ((2, 17, 1, 16), (1, 17, 3, 64), (1, 17, 4, 24),
                                           (1, 65, 3, 16), (1, 65, 1, 64), (3, 5, 4, 7)):
        s = Source(f"attention {tokens} {heads} {head_dim}")
        dim = heads * head_dim
        qkv = s.normal(batch, tokens, 3 * dim)
        qkv[..., :2 * dim] = (1.6 * qkv[..., :2 * dim]).float().double()
        dy = s.normal(batch, tokens, dim)
        wants(qkv)
        y, p = ref.self_attention(qkv, heads)
        q, k, v = qkv.view(batch, tokens, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
        torch_y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(y.shape)
        assert (y - torch_y).abs().max() < 1e-12
        (dqkv,) = grads(y, dy, qkv)
        top = check_peak(p, "attention")
        f.case({"batch": batch, "tokens": tokens, "heads": heads, "dim": dim,
                "peak": f"{top:.3f}"}, qkv=qkv, dy=dy, y=y, p=p, dqkv=dqkv)
    return f


def op_patch_merge():
    f = Fixture("ops/patch_merge", op="2x2 neighbours side by side, odd maps padded by one")
    for batch, height, width, dim in ((2, 4, 6, 17), (1, 7, 7, 16), (2, 5, 8, 12), (1, 1, 3, 5)):
        s = Source(f"merge {height} {width}")
        x = s.normal(batch, height * width, dim)
        wants(x)
        y = ref.merge_neighbours(x, height, width)
        tv = torchvision.models.swin_transformer._patch_merging_pad(
            x.view(batch, height, width, dim))
        assert torch.equal(y, tv.flatten(1, 2))
        dy = s.normal(*y.shape)
        (dx,) = grads(y, dy, x)
        f.case({"batch": batch, "height": height, "width": width, "dim": dim}, x=x, dy=dy, y=y,
               dx=dx)
    return f


def op_dropout():
    f = Fixture("ops/dropout", op="y = x * mask / (1 - rate), mask of 0 and 1 given")
    for batch, tokens, dim, rate in ((4, 5, 17, 0.1), (3, 16, 48, 0.5)):
        s = Source(f"dropout {tokens} {dim}")
        x, dy = s.normal(batch, tokens, dim), s.normal(batch, tokens, dim)
        mask = (s.uniform(batch, tokens, dim) >= rate).double()
        wants(x)
        y = x * mask / (1 - rate)
        (dx,) = grads(y, dy, x)
        f.case({"batch": batch, "tokens": tokens, "dim": dim, "rate": rate}, x=x, mask=mask,
               dy=dy, y=y, dx=dx)
    return f


def op_residual():
    f = Fixture("ops/residual", op="y = x + f * mask / (1 - rate), mask of 0 and 1 an image")
    for batch, tokens, dim, rate in ((2, 5, 17, 0.0), (5, 4, 17, 0.1), (6, 7, 48, 0.5)):
        s = Source(f"residual {tokens} {dim} {rate}")
        x, branch = s.normal(batch, tokens, dim), s.normal(batch, tokens, dim)
        dy = s.normal(batch, tokens, dim)
        mask = (s.uniform(batch) >= rate).double()
        if rate > 0:
            mask[0], mask[1] = 0, 1
        wants(x, branch)
        y = x + branch * mask[:, None, None] / (1 - rate)
        dx, df = grads(y, dy, x, branch)
        f.case({"batch": batch, "tokens": tokens, "dim": dim, "rate": rate}, x=x, f=branch,
               mask=mask, dy=dy, y=y, dx=dx, df=df)
    return f


def all_ops():
    return [op_linear(), op_layernorm(), op_gelu("erf"), op_gelu("tanh"), op_cross_entropy(),
            op_patch_embed(), op_tokens(), op_pool("mean_pool"), op_pool("token_select"),
            op_attention(), op_patch_merge(), op_dropout(), op_residual()]
