"""Networks from the resolved `model` mapping of an experiment (what `vitrine config` prints).

public(model) is timm's network where timm has it, with strides or sizes set; dense(model) is the
rewrite of models.py and convs.py, which has every family, window mode and dropout. Both take images
(B, H, W, C), and their parameters carry Vitrine's names.
"""

from functools import partial

from timm.models.byobnet import ByobNet, ByoModelCfg
from timm.models.mobilevit import _inverted_residual_block as inverted_residual
from timm.models.mobilevit import _mobilevit_block as mobilevit_block
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from reference import convs
from reference import models as ref
from reference.draws import Draws, Drops

def channels_first(net):
    """timm's networks take (B, C, H, W)."""
    net.register_forward_pre_hook(lambda _, args: (args[0].permute(0, 3, 1, 2),))
    return net


def heads_of(model):
    heads = model["heads"]
    return heads if isinstance(heads, list) else [heads]


def drops_of(model, draws=None):
    rate = {k: float(model.get(k, 0)) for k in
            ("embed_drop", "attn_drop", "proj_drop", "mlp_drop", "drop_path")}
    return Drops(rate["embed_drop"], rate["attn_drop"], rate["proj_drop"], rate["mlp_drop"],
                 rate["drop_path"], model.get("drop_path_mode", "sample"), draws)


# -------- rewrites

def common(model):
    return {"image": int(model["image"]), "channels": int(model["channels"]),
            "classes": int(model["classes"])}


def dense_vit(model, drops):
    return ref.Vit(patch=int(model["patch"]), dim=int(model["dim"]), depth=int(model["depth"]),
                   heads=heads_of(model)[0], mlp_ratio=float(model["mlp_ratio"]),
                   norm_eps=float(model["norm_eps"]), qkv_bias=model["qkv_bias"],
                   gelu=model["gelu"], pos_embed=model["pos_embed"], pool=model["pool"],
                   drops=drops, **common(model))


def dense_swin(model, drops):
    return ref.Swin(patch=int(model["patch"]), dim=int(model["dim"]), depths=model["depths"],
                    heads=heads_of(model), window=int(model["window"]), mode=model["window_mode"],
                    mlp_ratio=float(model["mlp_ratio"]), norm_eps=float(model["norm_eps"]),
                    qkv_bias=model["qkv_bias"], merge_bias=model["merge_bias"],
                    gelu=model["gelu"], patch_norm=model["patch_norm"],
                    pos_embed=model["pos_embed"], pool=model["pool"], drops=drops,
                    **common(model))


def dense_mobilevit(model, drops):
    return convs.MobileVit(dims=model["dims"], strides=model["strides"],
                           attn_dims=model["attn_dims"], depths=model["depths"],
                           heads=heads_of(model)[0], expand=float(model["expand"]),
                           head_dim=int(model["head_dim"]), mlp_ratio=float(model["mlp_ratio"]),
                           patch=int(model["patch"]), norm_eps=float(model["norm_eps"]),
                           qkv_bias=model["qkv_bias"], drops=drops, **common(model))


def dense_cct(model, drops):
    return convs.Cct(dim=int(model["dim"]), depth=int(model["depth"]), heads=heads_of(model)[0],
                     mlp_ratio=float(model["mlp_ratio"]), convs=int(model["convs"]),
                     norm_eps=float(model["norm_eps"]), qkv_bias=model["qkv_bias"],
                     gelu=model["gelu"], pos_embed=model["pos_embed"], pool=model["pool"],
                     drops=drops, **common(model))


def dense_hybrid(model, drops):
    return convs.Hybrid(stem=model["stem"], stages=model["stages"], head=model["head"],
                        norm_eps=float(model["norm_eps"]), qkv_bias=model["qkv_bias"],
                        window_mode=model["window_mode"], gelu=model["gelu"], drops=drops,
                        **common(model))


DENSE = {"vit": dense_vit, "swin": dense_swin, "mobilevit": dense_mobilevit, "cct": dense_cct,
         "hybrid": dense_hybrid}


def dense(model, draws=None):
    """The rewrite; `draws` for its dropout."""
    drops = drops_of(model, draws)
    net = DENSE[model["family"]](model, drops)
    net.register_forward_pre_hook(lambda *_: drops.draws.begin())
    return net


# -------- timm's

def timm_vit(model):
    prefix = model["pool"] == "token"
    if model["pos_embed"] == "none" or model["pool"] == "sequence":
        return None
    net = VisionTransformer(
        model["image"], model["patch"], model["channels"], model["classes"],
        "token" if prefix else "avg", model["dim"], model["depth"], heads_of(model)[0],
        float(model["mlp_ratio"]), model["qkv_bias"], class_token=prefix,
        no_embed_class=model["pos_embed"] == "sincos",
        act_layer=partial(nn.GELU, approximate="tanh" if model["gelu"] == "tanh" else "none"),
        norm_layer=partial(nn.LayerNorm, eps=float(model["norm_eps"])))
    if model["pos_embed"] == "sincos":
        side = model["image"] // model["patch"]
        net.pos_embed.requires_grad_(False)
        net.pos_embed.data = ref.sincos_table(side, side, model["dim"])[None].float()
    return net


def timm_swin(model):
    """timm shifts before it pads, and has neither the other modes nor a bias in merging."""
    side = model["image"] // model["patch"]
    sides = [side >> s for s in range(len(model["depths"]))]
    divides = all(s % min(s, model["window"]) == 0 for s in sides) and side % (
        1 << len(model["depths"]) - 1) == 0 and model["image"] % model["patch"] == 0
    if not divides or model["window_mode"] != "strict" or model["merge_bias"] or (
            not model["patch_norm"] or model["pos_embed"] != "none" or model["pool"] != "mean"
            or model["gelu"] != "erf"):
        return None
    return SwinTransformer(
        model["image"], model["patch"], model["channels"], model["classes"],
        embed_dim=model["dim"], depths=model["depths"], num_heads=model["heads"],
        window_size=model["window"], mlp_ratio=float(model["mlp_ratio"]),
        qkv_bias=model["qkv_bias"], drop_path_rate=0,
        norm_layer=partial(nn.LayerNorm, eps=float(model["norm_eps"])))


def timm_mobilevit(model):
    """timm's own description of a network, with other numbers and strides in it."""
    fixed = {"qkv_bias": 1, "patch": 2, "mlp_ratio": 2, "norm_eps": 1e-5}
    rounded = any(dim % 8 for dim in model["dims"])  # timm's stages have multiples of 8
    if rounded or any(float(model[key]) != value for key, value in fixed.items()):
        return None
    dims, expand = model["dims"], float(model["expand"])
    blocks = [inverted_residual(d=count, c=c, s=step, br=expand)
              for count, c, step in zip((1, 3), dims[1:3], model["strides"][1:3])]
    for i in range(3):
        blocks.append(mobilevit_block(d=1, c=dims[3 + i], s=model["strides"][3 + i],
                                      transformer_dim=model["attn_dims"][i],
                                      transformer_depth=model["depths"][i], patch_size=2,
                                      br=expand))
    for stage in blocks[2:]:
        stage[1].block_kwargs["num_heads"] = heads_of(model)[0]
    net = ByobNet(ByoModelCfg(
        blocks=tuple(blocks), stem_chs=dims[0], stem_type="3x3", stem_pool="", downsample="",
        act_layer="silu", num_features=model["head_dim"]), model["classes"], model["channels"])
    net.stem.conv.stride = (model["strides"][0],) * 2
    return net


PUBLIC = {"vit": timm_vit, "swin": timm_swin, "mobilevit": timm_mobilevit}


def public(model):
    """(network, its name), or (None, "") where timm does not have it."""
    build = PUBLIC.get(model["family"])
    net = build(model) if build else None
    if net is None:
        return None, ""
    return channels_first(net), f"timm {type(net).__name__}"
