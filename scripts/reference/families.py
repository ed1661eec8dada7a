"""Fixtures of small networks with convolutions: logits, loss and attention of an evaluation; logits,
loss, gradients and running statistics of a training pass; ten training steps.

The truth is timm's network where timm has it, else the rewrite of convs.py, both in float64.
"""

import torch
import torch.nn.functional as F

from reference import zoo
from reference.fill import fill, recorded_attention
from reference.fixture import Fixture, Source, check_peak, yaml
from reference.wholes import OPTIMISERS, STEPS, make_optimiser, relative, trained

LARGEST_MAP = 4096  # weights of one layer's attention that are stored


def statistics(net):
    return [(n, b) for n, b in net.named_buffers() if n.endswith(("_mean", "_var"))]


def passes(net, images, labels):
    """Evaluation and training pass: name -> tensor."""
    found = {}
    with torch.no_grad():
        found["logits"] = net.eval()(images)
        found["loss"] = F.cross_entropy(found["logits"], labels).reshape(1)
    found["train.logits"] = net.train()(images)
    loss = F.cross_entropy(found["train.logits"], labels)
    loss.backward()
    found["train.loss"] = loss.reshape(1)
    found |= {f"grad.{n}": p.grad.clone() for n, p in trained(net)}
    found |= {f"moved.{n}": b.clone() for n, b in statistics(net)}
    return {n: v.detach() for n, v in found.items()}


def train(net, kind, images, labels):
    """Losses before each of the steps on one batch."""
    optimiser, losses = make_optimiser(kind, net), []
    for _ in range(STEPS):
        loss = F.cross_entropy(net.train()(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def make(model):
    """Both precisions of the network that is the truth, and what it is."""
    net, source = zoo.public(model)
    single, _ = zoo.public(model)
    if net is None:
        net, single, source = zoo.dense(model), zoo.dense(model), "rewrite"
    return net.double(), single, source


def worst_relative(rough, truth, prefixes):
    total = sum(v.norm() ** 2 for n, v in truth.items() if n.startswith("grad.")) ** 0.5
    return max(((rough[n].double() - v).norm() / (v.norm() if v.norm() > 1e-9 * total else total)
                ).item() for n, v in truth.items() if n.startswith(prefixes))


def family_fixture(name, kind, model, seed=0, batch=4):
    """seed: of the weights, such that ten steps do not blow up rounding."""
    net, single, source = make(model)
    side = model["image"]
    s = Source(f"images {name}")
    images = s.normal(batch, side, side, 3, std=0.5)
    labels = s.integers(10, batch)
    fill(net, f"fixture {name} {seed}", images)
    start = {n: v.clone() for n, v in net.state_dict().items()}
    f = Fixture(f"models/{name}", source=source, batch=batch, model=yaml(model), image=side)
    f.put("images", images)
    f.put("labels", labels)
    with torch.no_grad(), recorded_attention(net.eval()) as maps:
        net(images)
    truth = passes(net, images, labels)
    if source != "rewrite":
        other = zoo.dense(model).double()
        other.load_state_dict(start)
        again = passes(other, images, labels)
        assert set(again) == set(truth), name
        assert worst_relative(again, truth, tuple(truth)) < 1e-11, name
    single.load_state_dict(start)
    with torch.no_grad(), recorded_attention(single.eval()) as rough_maps:
        single(images.float())
    rough = passes(single, images.float(), labels)
    f.meta["fp32_logits"] = f"{worst_relative(rough, truth, ('logits', 'train.logits')):.1e}"
    f.meta["fp32_grad"] = f"{worst_relative(rough, truth, 'grad.'):.1e}"
    apart = 0.0
    for key, p in maps.items():
        check_peak(p, f"{name} {key}", p.sum(dim=-1) > 0.5)
        p, q = (x.view(batch, -1, *x.shape[-3:]) for x in (p, rough_maps[key]))
        if p[0].numel() <= LARGEST_MAP:
            f.put(f"attn.{key.rpartition('.')[0]}", p[:1])
            apart = max(apart, (q[0].double() - p[0]).abs().max().item())
    f.meta["fp32_attn"] = f"{apart:.1e}"
    for key, _ in trained(net):
        f.put(f"param.{key}", start[key])
    for key, _ in statistics(net):
        f.put(f"buffer.{key}", start[key])
    for key, value in truth.items():
        f.put(key, value)

    f.meta[f"{kind}.optim"] = OPTIMISERS[kind]
    net.load_state_dict(start)
    single.load_state_dict(start)
    losses, rounded = train(net, kind, images, labels), train(single, kind, images.float(), labels)
    f.meta[f"{kind}.fp32_loss"] = f"{max(abs(a / b - 1) for a, b in zip(rounded, losses)):.1e}"
    f.put(f"{kind}.loss", losses)
    noise = torch.zeros(2, dtype=torch.float64)
    theirs = dict(trained(single) + statistics(single))
    for key, value in trained(net) + statistics(net):
        after = [[v.double().norm().item(), (v.double() - start[key]).norm().item()]
                 for v in (value.detach(), theirs[key].detach())]
        f.put(f"{kind}.after.{key}", after[0])
        noise = torch.maximum(noise, (torch.tensor(after[1]) / torch.tensor(after[0]) - 1).abs())
    f.meta[f"{kind}.fp32_after"] = "{:.1e} {:.1e}".format(*noise.tolist())
    return f


def all_families():
    base = {"image": 16, "channels": 3, "classes": 10, "norm_eps": 1e-5, "qkv_bias": True}
    mobilevit = {"family": "mobilevit", **base, "dims": [8, 8, 8, 16, 8, 8],
                 "strides": [1, 1, 1, 2, 2, 1], "attn_dims": [12, 8, 16], "depths": [1, 2, 1],
                 "heads": [4], "expand": 1, "head_dim": 12, "mlp_ratio": 2, "patch": 2}
    yield family_fixture("mobilevit_even", "sgd", mobilevit, seed=8)
    mobilevit.update(image=14, strides=[1, 1, 2, 1, 2, 1], depths=[1, 1, 1], expand=2)
    yield family_fixture("mobilevit_odd", "sgd", mobilevit, seed=7)  # transformers on 7x7, 4x4, 4x4
    cct = {"family": "cct", **base, "qkv_bias": False, "dim": 16, "depth": 2, "heads": [2],
           "mlp_ratio": 2, "convs": 2, "gelu": "erf", "pos_embed": "learned", "pool": "sequence"}
    yield family_fixture("cct", "sgd", cct)
    cct.update(image=10, convs=1, qkv_bias=True, pos_embed="sincos", pool="mean", gelu="tanh")
    yield family_fixture("cct_sincos", "adamw", cct)

    hybrid = {"family": "hybrid", **base, "window_mode": "strict", "gelu": "erf"}
    conv = {"block": "conv", "dim": 10, "depth": 2, "stride": 2, "kernel": 3, "act": "leaky"}
    mv2 = {"block": "mv2", "dim": 12, "depth": 2, "stride": 1, "expand": 2, "act": "silu"}
    swin = {"block": "swin", "dim": 12, "depth": 2, "stride": 1, "heads": 3, "mlp_ratio": 2,
            "window": 3, "act": "gelu"}
    vit = {"block": "vit", "dim": 16, "depth": 2, "stride": 2, "heads": 2, "mlp_ratio": 2,
           "pos_embed": "learned", "act": "gelu"}
    yield family_fixture("hybrid_windows", "sgd", {
        **hybrid, "stem": {"dim": 8, "kernel": 3, "stride": 1, "norm": "batch", "act": "relu"},
        "stages": [conv, swin, vit], "head": {"dim": 0, "pool": "mean", "act": "silu"}})
    yield family_fixture("hybrid_csp", "sgd", {
        **hybrid, "stem": {"dim": 8, "kernel": 3, "stride": 1, "norm": "batch", "act": "mish"},
        "stages": [{"block": "csp", "dim": 16, "depth": 2, "stride": 2, "act": "mish"}, mv2,
                   {"block": "mobilevit", "depth": 1, "attn_dim": 15, "heads": 3, "mlp_ratio": 2,
                    "patch": 2, "act": "silu"}],
        "head": {"dim": 14, "pool": "sequence", "act": "relu"}}, seed=1)
    yield family_fixture("hybrid_patches", "adamw", {
        **hybrid, "window_mode": "unmasked",
        "stem": {"dim": 8, "kernel": 2, "stride": 2, "norm": "layer", "act": "none"},
        "stages": [{**vit, "stride": 1, "dim": 12, "heads": 3, "pos_embed": "sincos", "depth": 1},
                   {**swin, "stride": 2, "dim": 0, "act": "mish"}, {**mv2, "dim": 12, "depth": 1}],
        "head": {"dim": 0, "pool": "mean", "act": "silu"}})
