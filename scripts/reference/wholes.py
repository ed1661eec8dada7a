"""Fixtures of whole small models: logits, loss, gradients, ten training steps.

The truth is timm's model where timm can be right, else the dense one of models.py, both in float64.
"""

from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from reference import models as ref
from reference.fill import sharpening
from reference.fixture import Fixture, Source, check_peak, yaml

OPTIMISERS = {
    "sgd": "{ name: sgd, lr: 0.01, momentum: 0.9, nesterov: true, weight_decay: 5e-4,"
           " no_decay: [] }",
    "adam": "{ name: adam, lr: 1e-3, betas: [0.5, 0.999], eps: 1e-5 }",
    "adamw": "{ name: adamw, lr: 1e-3, betas: [0.9, 0.999], eps: 1e-5, weight_decay: 0.05,"
             " no_decay: [bias, norm, pos_embed, cls_token, rel_bias] }",
}
STEPS = 10  # eps as above: the key bias has no gradient but rounding, which Adam would blow up
FP32_MAPS = 6.1e-7  # so that another order of the same sums stays within 1e-6
FP32_LOSS = 3e-6  # a third of what the tests allow
SEEDS = {"unmasked": 0, "torchvision": 7, "strict": 2}


def make_optimiser(kind, model):
    named = trained(model)
    if kind == "sgd":
        return torch.optim.SGD([p for _, p in named], lr=0.01, momentum=0.9, nesterov=True,
                               weight_decay=5e-4)
    if kind == "adam":
        return torch.optim.Adam([p for _, p in named], lr=1e-3, betas=(0.5, 0.999),
                                eps=1e-5)
    free = [p for n, p in named if p.ndim == 1 or "relative_position_bias_table" in n
            or n in ("pos_embed", "cls_token")]
    rest = [p for _, p in named if not any(p is q for q in free)]
    return torch.optim.AdamW([{"params": rest, "weight_decay": 0.05},
                              {"params": free, "weight_decay": 0.0}], lr=1e-3, eps=1e-5)


def fill(model, name):
    """Random float32 values in every parameter."""
    s = Source(f"model {name}")
    for key, p in trained(model):
        if "norm" in key and key.endswith("weight"):
            value = s.uniform(*p.shape, low=0.5, high=1.5)
        elif key.endswith("bias"):
            value = s.normal(*p.shape, std=0.5)
        elif key.endswith("weight"):
            value = s.normal(*p.shape, std=p[0].numel() ** -0.5)
        else:  # the bias table does its part, so that scores stay small
            value = s.normal(*p.shape, std=1.3 if "table" in key else 1.0)
        p.data = value.float().to(p.dtype)


def train(model, kind, images, labels):
    """Losses before each of the steps on one batch."""
    optimiser, losses = make_optimiser(kind, model), []
    for _ in range(STEPS):
        loss = F.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def relative(a, b):
    return ((a.double() - b).norm() / b.norm()).item()


def channels_first(model):
    """The public models take (B, 3, H, W)."""
    model.register_forward_pre_hook(lambda _, args: (args[0].permute(0, 3, 1, 2),))
    return model


def timm_vit(c):
    prefix = c["pool"] == "token"
    act = partial(nn.GELU, approximate="tanh" if c["gelu"] == "tanh" else "none")
    model = VisionTransformer(
        c["image"], c["patch"], c["channels"], c["classes"], "token" if prefix else "avg", c["dim"],
        c["depth"], c["heads"][0], c["mlp_ratio"], c["qkv_bias"], class_token=prefix,
        no_embed_class=c["pos_embed"] == "sincos", act_layer=act,
        norm_layer=partial(nn.LayerNorm, eps=c["norm_eps"]))
    if c["pos_embed"] == "sincos":
        side = c["image"] // c["patch"]
        model.pos_embed.requires_grad_(False)
        model.pos_embed.data = ref.sincos_table(side, side, c["dim"])[None].float()
    return channels_first(model)


def timm_swin(c):
    return channels_first(SwinTransformer(
        c["image"], c["patch"], c["channels"], c["classes"], embed_dim=c["dim"], depths=c["depths"],
        num_heads=c["heads"], window_size=c["window"], mlp_ratio=c["mlp_ratio"], drop_path_rate=0))


def torchvision_swin(c, state):
    """torchvision's Swin with parameters given under timm's names."""
    model = torchvision.models.SwinTransformer(
        [c["patch"]] * 2, c["dim"], c["depths"], c["heads"], [c["window"]] * 2,
        mlp_ratio=c["mlp_ratio"], stochastic_depth_prob=0, num_classes=c["classes"]).double()
    renamed = {}
    for key, value in state.items():
        part = key.split(".")
        if key.startswith("patch_embed"):
            part[:2] = ["features", "0", "0" if part[1] == "proj" else "2"]
        elif key.startswith("layers"):
            into = 2 * int(part[1]) + (part[2] == "blocks")
            part[:3] = ["features", str(into)]
        elif key.startswith("head"):
            part = ["head", part[-1]]
        renamed[".".join(part).replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")] = value
    own = {k: v for k, v in model.state_dict().items() if k.endswith("relative_position_index")}
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = c["norm_eps"]
    model.load_state_dict({**own, **renamed})
    return channels_first(model)


def dense_model(c):
    keys = ("image", "channels", "classes", "patch", "dim", "mlp_ratio", "norm_eps", "qkv_bias",
            "gelu")
    given = {k: c[k] for k in keys}
    if c["family"] == "vit":
        return ref.Vit(depth=c["depth"], heads=c["heads"][0], pos_embed=c["pos_embed"],
                       pool=c["pool"], **given)
    return ref.Swin(depths=c["depths"], heads=c["heads"], window=c["window"],
                    mode=c["window_mode"], **given)


def trained(model):
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def map_rounding(config, dense, images, maps):
    """What PyTorch's own float32 run of the same network misses the stored maps by."""
    rough = dense_model(config)
    rough.load_state_dict(dense.state_dict())
    with torch.no_grad():
        dense(images)
        rough(images.float())
    found = dict(rough.named_modules())
    return max((found[key].probabilities[:1].double() - module.probabilities[:1]).abs().max().item()
               for key, module in dense.named_modules()
               if key.startswith(maps) and hasattr(module, "probabilities"))


def model_fixture(name, config, build, source, maps, seed=0):
    """seed: of the weights, such that neither the maps nor ten steps blow up rounding. build makes the model that is the truth; the dense one must agree with it. maps: first part
    of the names of the blocks whose attention maps of image 0 are stored."""
    model, single, dense = build(config).double(), build(config), dense_model(config).double()
    s = Source(f"images {config['image']}")
    images = s.normal(4, config["image"], config["image"], 3, std=0.5)
    labels = s.integers(10, 4)
    fill(model, config["family"] + str(config["image"]) + str(config["dim"]) + seed * "+")
    if config.get("pos_embed") == "sincos":
        dense.positions = dense.positions.float()
    dense.load_state_dict({k: v for k, v in model.state_dict().items()
                           if k in dict(dense.named_parameters())})
    # Small scores, because float32 has coarse steps at large ones; none so small that it hides.
    with torch.no_grad(), sharpening(dense, floor=0.6):
        dense(images)
    rounding = map_rounding(config, dense, images, maps)
    assert rounding < FP32_MAPS, f"{name}: float32 misses the maps by {rounding:.1e}"
    shared = {k: v.clone() for k, v in dense.state_dict().items()}
    model.load_state_dict(shared, strict=False)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    f = Fixture(f"models/{name}", source=source, batch=4, model=yaml(config))
    for key, value in config.items():
        f.meta[key] = yaml(value)

    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in trained(model)}
    F.cross_entropy(dense(images), labels).backward()
    for key, p in dense.named_parameters():
        assert (p.grad - gradients[key]).norm() < 1e-11 * max(1, gradients[key].norm()), (name, key)
    if config.get("window_mode") == "torchvision" or name == "swin_odd":
        other = torchvision_swin(config, shared)(images)
        assert (other - logits).abs().max() < 1e-11, name
    f.put("images", images)
    f.put("labels", labels)
    f.put("logits", logits)
    f.put("loss", loss.reshape(1))
    for key, module in dense.named_modules():
        if not hasattr(module, "probabilities"):
            continue
        p = module.probabilities
        check_peak(p, f"{name} {key}", p.sum(dim=-1) > 0.5)
        if key.startswith(maps):
            f.put(f"attn.{key.removesuffix('.attn')}", p[:1])
    if config.get("pos_embed") == "sincos":
        f.put("positions", dense.positions)
    for key, p in trained(model):
        f.put(f"param.{key}", p)
    for key, _ in trained(model):
        f.put(f"grad.{key}", gradients[key])

    single.load_state_dict(state)
    single_logits = single(images.float())
    F.cross_entropy(single_logits, labels).backward()
    f.meta["fp32_logits"] = f"{relative(single_logits, logits):.1e}"
    f.meta["fp32_attn"] = f"{rounding:.1e}"
    f.meta["fp32_grad"] = "{:.1e}".format(
        max(relative(p.grad, gradients[n]) for n, p in trained(single)))
    for kind, text in OPTIMISERS.items():
        model.load_state_dict(state)
        single.load_state_dict(state)
        losses = train(model, kind, images, labels)
        rough = train(single, kind, images.float(), labels)
        f.meta[f"{kind}.optim"] = text
        apart = max(abs(a / b - 1) for a, b in zip(rough, losses))
        assert apart < FP32_LOSS, f"{name}: float32 misses the losses of {kind} by {apart:.1e}"
        f.meta[f"{kind}.fp32_loss"] = f"{apart:.1e}"
        f.put(f"{kind}.loss", losses)
        noise = torch.zeros(2, dtype=torch.float64)
        for (key, p), (_, q) in zip(trained(model), trained(single)):
            after, rounded = ([v.norm().item(), (v - state[key]).norm().item()] for v in (p, q))
            f.put(f"{kind}.after.{key}", after)
            moved = (torch.tensor(rounded).double() / torch.tensor(after).double() - 1).abs()
            noise = torch.maximum(noise, moved)
        f.meta[f"{kind}.fp32_after"] = "{:.1e} {:.1e}".format(*noise.tolist())
    return f


def all_models():
    vit = {"family": "vit", "image": 16, "channels": 3, "classes": 10, "patch": 4, "dim": 32,
           "depth": 2, "heads": [4], "mlp_ratio": 2, "norm_eps": 1e-6, "qkv_bias": True,
           "pos_embed": "learned", "pool": "token", "gelu": "erf"}
    for name, extra in (("vit", {}), ("vit_mean", {"pool": "mean"}),
                        ("vit_sincos", {"pos_embed": "sincos", "qkv_bias": False}),
                        ("vit_tanh", {"gelu": "tanh", "heads": [1], "depth": 1})):
        yield model_fixture(name, {**vit, **extra}, timm_vit, "timm", "blocks")

    swin = {"family": "swin", "image": 32, "channels": 3, "classes": 10, "patch": 2, "dim": 20,
            "depths": [2, 2], "heads": [2, 4], "mlp_ratio": 2, "window": 4, "window_mode": "strict",
            "norm_eps": 1e-5, "qkv_bias": True, "gelu": "erf"}
    maps = ("layers.0.blocks.1", "layers.1.blocks.0")
    yield model_fixture("swin_even", swin, timm_swin, "timm", maps)
    swin.update(image=28, dim=12)
    yield model_fixture("swin_odd", {**swin, "window_mode": "unmasked"}, dense_model, "dense", maps)
    yield model_fixture("swin_odd_strict", swin, dense_model, "dense", maps)
    swin.update(image=32, dim=8, depths=[2, 2, 2], heads=[1, 2, 4], mlp_ratio=1, window=7)
    for mode in ref.MODES:
        yield model_fixture(f"swin_cifar_{mode}", {**swin, "window_mode": mode}, dense_model,
                            "dense", ("layers.2.blocks.1",), seed=SEEDS[mode])
