"""Convolutional networks and hybrids, written for reading, with timm's names.

Maps are (B, C, H, W). Inside a transformer the tokens stay in the map's row-major order, so that
dropout numbers them as Vitrine does; only attention gathers them.
"""

import torch
import torch.nn.functional as F
from torch import nn

from reference import models as ref
from reference.draws import Drops


def to_tokens(x):
    return x.flatten(2).transpose(1, 2)


def to_map(x, height, width):
    return x.transpose(1, 2).reshape(len(x), -1, height, width)


def multiple_of_8(width):
    """The nearest multiple of 8, at least 8 and not more than a tenth below."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def convolution(inputs, outputs, kernel, stride, groups=1, bias=False):
    """Padded by half the kernel, and not at all where kernels do not overlap."""
    pad = kernel // 2 if kernel > stride else 0
    return nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=bias)


class ConvNormAct(nn.Module):
    def __init__(self, inputs, outputs, kernel=1, stride=1, groups=1, act="silu"):
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel, stride, groups)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1)
        self.act = ref.ACTIVATIONS[act]()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Mv2(nn.Module):
    """Inverted residual with a linear output (Sandler et al. 2018)."""

    def __init__(self, inputs, outputs, stride, expand, drop_path, act="silu"):
        super().__init__()
        hidden = multiple_of_8(inputs * expand)
        self.conv1_1x1 = ConvNormAct(inputs, hidden, act=act)
        self.conv2_kxk = ConvNormAct(hidden, hidden, 3, stride, groups=hidden, act=act)
        self.conv3_1x1 = ConvNormAct(hidden, outputs, act="none")
        self.drop_path = drop_path
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.conv3_1x1(self.conv2_kxk(self.conv1_1x1(x)))
        return x + self.drop_path(y) if self.residual else y


class PatchAttention(nn.Module):
    """Tokens attend to those at the same place of all patches: patch * patch groups."""

    def __init__(self, dim, heads, height, width, patch, qkv_bias, drops):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = drops.elements("attn")
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = drops.elements("proj")
        number = torch.arange(height * width).view(height // patch, patch, width // patch, patch)
        self.groups = number.permute(1, 3, 0, 2).reshape(patch * patch, -1)
        self.probabilities = None

    def attention_drop(self, p):
        """p (B * groups, heads, places, places): the groups are the windows of an image."""
        return self.attn_drop(p.view(-1, len(self.groups), *p.shape[1:])).view(p.shape)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(x)[:, self.groups.flatten()].view(-1, self.groups.shape[1], 3 * dim)
        y, p = ref.self_attention(qkv, self.heads, self.attention_drop)
        self.probabilities = p.detach().view(batch, len(self.groups), *p.shape[1:])
        back = torch.argsort(self.groups.flatten())
        return self.proj_drop(self.proj(y.reshape(batch, tokens, dim)[:, back]))


class MobileVitBlock(nn.Module):
    """3x3 convolution, transformer over patches, 1x1, joined with the input, 3x3."""

    def __init__(self, channels, dim, depth, side, heads, mlp_ratio, patch, norm_eps, qkv_bias,
                 drops, place, act="silu"):
        super().__init__()
        self.size, self.even = (side, side), (-(-side // patch) * patch,) * 2
        self.conv_kxk = ConvNormAct(channels, channels, 3, act=act)
        self.conv_1x1 = nn.Conv2d(channels, dim, 1, bias=False)
        self.transformer = nn.Sequential(*[
            ref.Block(dim, PatchAttention(dim, heads, *self.even, patch, qkv_bias, drops),
                      int(dim * mlp_ratio), norm_eps, act, drops, place) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.conv_proj = ConvNormAct(dim, channels, act=act)
        self.conv_fusion = ConvNormAct(2 * channels, channels, 3, act=act)

    def resize(self, x, size):
        if x.shape[2:] == size:
            return x
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def forward(self, x):
        y = self.resize(self.conv_1x1(self.conv_kxk(x)), self.even)
        y = to_map(self.norm(self.transformer(to_tokens(y))), *self.even)
        y = self.conv_proj(self.resize(y, self.size))
        return self.conv_fusion(torch.cat([x, y], dim=1))


class Linear(nn.Module):
    """The last layer under the name head.fc."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(x)


class MobileVit(nn.Module):
    """dims and strides: the stem's and one a stage; the rest: one each of the last three stages."""

    def __init__(self, image, channels, classes, dims, strides, attn_dims, depths, heads, expand,
                 head_dim, mlp_ratio=2.0, patch=2, norm_eps=1e-5, qkv_bias=True, drops=Drops()):
        super().__init__()
        residuals, block = (1, 3, 1, 1, 1), 0
        blocks = sum(residuals) + 3
        self.stem = ConvNormAct(channels, dims[0], 3, strides[0])
        side, stages = -(-image // strides[0]), []
        for s, count in enumerate(residuals):
            side, parts = -(-side // strides[s + 1]), []
            for i in range(count):
                parts.append(Mv2(dims[s + (i > 0)], dims[s + 1], strides[s + 1] if i == 0 else 1,
                                 expand, drops.branch(block, blocks)))
                block += 1
            if s >= 2:
                parts.append(MobileVitBlock(
                    dims[s + 1], attn_dims[s - 2], depths[s - 2], side, heads, mlp_ratio, patch,
                    norm_eps, qkv_bias, drops, (block, blocks)))
                block += 1
            stages.append(nn.Sequential(*parts))
        self.stages = nn.Sequential(*stages)
        self.final_conv = ConvNormAct(dims[5], head_dim)
        self.head = Linear(head_dim, classes)

    def forward(self, images):
        x = self.final_conv(self.stages(self.stem(images.permute(0, 3, 1, 2))))
        return self.head(x.mean(dim=(2, 3)))


# -------- compact convolutional transformer

class Tokenizer(nn.Module):
    """Blocks of 3x3 convolution, ReLU and max pooling of 3 with stride 2."""

    def __init__(self, channels, dim, blocks, between=64):
        super().__init__()
        widths = [channels] + [between] * (blocks - 1) + [dim]
        self.conv_layers = nn.Sequential(*[
            nn.Sequential(nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
            for i, o in zip(widths, widths[1:])])

    def forward(self, x):
        return to_tokens(self.conv_layers(x))


class CctBlock(nn.Module):
    """The stream itself is normalised between attention and MLP."""

    def __init__(self, dim, heads, hidden, norm_eps, qkv_bias, gelu, drops, place):
        super().__init__()
        self.pre_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.self_attn = ref.SelfAttention(dim, heads, qkv_bias, drops)
        self.drop_path1 = drops.branch(*place)
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.linear1 = nn.Linear(dim, hidden)
        self.act = ref.ACTIVATIONS[gelu]()
        self.dropout1 = drops.elements("mlp")
        self.linear2 = nn.Linear(hidden, dim)
        self.dropout2 = drops.elements("mlp")
        self.drop_path2 = drops.branch(*place)

    def forward(self, x):
        x = self.norm1(x + self.drop_path1(self.self_attn(self.pre_norm(x))))
        y = self.linear2(self.dropout1(self.act(self.linear1(x))))
        return x + self.drop_path2(self.dropout2(y))


class CctClassifier(nn.Module):
    def __init__(self, side, dim, depth, heads, mlp_ratio, classes, norm_eps, qkv_bias, gelu,
                 pos_embed, pool, drops):
        super().__init__()
        self.positional_emb = self.positions = None
        if pos_embed == "learned":
            self.positional_emb = nn.Parameter(torch.zeros(1, side * side, dim))
        elif pos_embed == "sincos":
            self.positions = ref.sincos_table(side, side, dim)
        self.dropout = drops.elements("embed")
        self.blocks = nn.Sequential(*[
            CctBlock(dim, heads, int(dim * mlp_ratio), norm_eps, qkv_bias, gelu, drops, (i, depth))
            for i in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.attention_pool = ref.SequencePool(dim) if pool == "sequence" else None
        self.fc = nn.Linear(dim, classes)

    def forward(self, x):
        if self.positional_emb is not None:
            x = x + self.positional_emb
        elif self.positions is not None:
            x = x + self.positions.to(x.dtype)
        x = self.norm(self.blocks(self.dropout(x)))
        return self.fc(self.attention_pool(x) if self.attention_pool is not None else x.mean(dim=1))


class Cct(nn.Module):
    """Compact convolutional transformer (Hassani et al. 2021), the names of its first code."""

    def __init__(self, image=32, channels=3, classes=10, dim=128, depth=2, heads=2, mlp_ratio=1.0,
                 convs=2, norm_eps=1e-5, qkv_bias=False, gelu="erf", pos_embed="learned",
                 pool="sequence", drops=Drops()):
        super().__init__()
        self.tokenizer = Tokenizer(channels, dim, convs)
        side = image
        for _ in range(convs):
            side = (side + 1) // 2
        self.classifier = CctClassifier(side, dim, depth, heads, mlp_ratio, classes, norm_eps,
                                        qkv_bias, gelu, pos_embed, pool, drops)

    def forward(self, images):
        return self.classifier(self.tokenizer(images.permute(0, 3, 1, 2)))


# -------- hybrids: stages of any kind on a map

class Stage(nn.Module):
    """Modules in a row, named by their numbers."""

    def __init__(self, parts):
        super().__init__()
        for i, part in enumerate(parts):
            self.add_module(str(i), part)
        self.depth = len(parts)

    def forward(self, x):
        for i in range(self.depth):
            x = getattr(self, str(i))(x)
        return x


class Transition(nn.Module):
    """Patch merging, or a linear layer to another width."""

    def __init__(self, inputs, outputs, side, stride, norm_eps):
        super().__init__()
        self.side = side if stride == 2 else 0
        width = 4 * inputs if stride == 2 else inputs
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.reduction = nn.Linear(width, outputs, bias=False)

    def forward(self, x):
        if self.side:
            x = ref.merge_neighbours(x, self.side, self.side)
        return self.reduction(self.norm(x))


class TransformerStage(Stage):
    """Blocks on the tokens of a map: windows, or all tokens with positions."""

    def __init__(self, inputs, outputs, side, stride, heads, mlp_ratio, act, norm_eps, qkv_bias,
                 drops, places, window=None, mode=None, pos_embed="none"):
        inside = -(-side // stride)
        parts = []
        for i, place in enumerate(places):
            if window:
                attn = ref.WindowAttention(outputs, heads, inside, inside, window,
                                           window // 2 if i % 2 else 0, mode, qkv_bias, drops)
            else:
                attn = ref.SelfAttention(outputs, heads, qkv_bias, drops)
            parts.append(ref.Block(outputs, attn, int(outputs * mlp_ratio), norm_eps, act, drops,
                                   place))
        super().__init__(parts)
        self.side = inside
        self.downsample = nn.Identity()
        if stride == 2 or inputs != outputs:
            self.downsample = Transition(inputs, outputs, side, stride, norm_eps)
        self.pos_embed = self.positions = None
        if pos_embed == "learned":
            self.pos_embed = nn.Parameter(torch.zeros(1, inside * inside, outputs))
        elif pos_embed == "sincos":
            self.positions = ref.sincos_table(inside, inside, outputs)
        self.norm = nn.LayerNorm(outputs, eps=norm_eps)

    def forward(self, x):
        x = self.downsample(to_tokens(x))
        if self.pos_embed is not None:
            x = x + self.pos_embed
        elif self.positions is not None:
            x = x + self.positions.to(x.dtype)
        return to_map(self.norm(super().forward(x)), self.side, self.side)


class CspUnit(nn.Module):
    def __init__(self, dim, act):
        super().__init__()
        self.conv1 = ConvNormAct(dim, dim, act=act)
        self.conv2 = ConvNormAct(dim, dim, 3, act=act)

    def forward(self, x):
        return x + self.conv2(self.conv1(x))


class CspStage(nn.Module):
    """Cross stage partial stage (Wang et al. 2020)."""

    def __init__(self, inputs, outputs, depth, stride, act):
        super().__init__()
        half = outputs // 2
        self.down = ConvNormAct(inputs, outputs, 3, stride, act=act)
        self.split0 = ConvNormAct(outputs, half, act=act)
        self.split1 = ConvNormAct(outputs, half, act=act)
        self.units = nn.Sequential(*[CspUnit(half, act) for _ in range(depth)])
        self.transition = ConvNormAct(half, half, act=act)
        self.fuse = ConvNormAct(2 * half, outputs, act=act)

    def forward(self, x):
        x = self.down(x)
        y = self.transition(self.units(self.split1(x)))
        return self.fuse(torch.cat([y, self.split0(x)], dim=1))


class Stem(nn.Module):
    """Convolution, and batch norm `bn`, or a bias with layer norm `norm` or none."""

    def __init__(self, channels, dim, kernel, stride, norm, act, norm_eps):
        super().__init__()
        self.conv = convolution(channels, dim, kernel, stride, bias=norm != "batch")
        self.bn = nn.BatchNorm2d(dim) if norm == "batch" else nn.Identity()
        self.norm = nn.LayerNorm(dim, eps=norm_eps) if norm == "layer" else None
        self.act = ref.ACTIVATIONS[act]()

    def forward(self, x):
        x = self.bn(self.conv(x))
        if self.norm is not None:
            x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.act(x)


def after(side, kernel, stride):
    """The map behind a convolution."""
    return (side + (kernel // 2 * 2 if kernel > stride else 0) - kernel) // stride + 1


class Hybrid(nn.Module):
    """stem, stages and head as in an experiment file, every key given."""

    def __init__(self, image, channels, classes, stem, stages, head, norm_eps=1e-5, qkv_bias=True,
                 window_mode="strict", gelu="erf", drops=Drops()):
        super().__init__()
        self.shared = {"norm_eps": norm_eps, "qkv_bias": qkv_bias, "drops": drops}
        self.mode, self.gelu = window_mode, gelu
        counts = {"mv2": "depth", "swin": "depth", "vit": "depth", "mobilevit": None}
        blocks = sum(s["depth"] if counts[s["block"]] else 1 for s in stages
                     if s["block"] in counts)
        self.places = iter([(i, blocks) for i in range(blocks)])
        self.stem = Stem(channels, stem["dim"], stem["kernel"], stem["stride"], stem["norm"],
                         self.act(stem), norm_eps)
        dim, side = stem["dim"], after(image, stem["kernel"], stem["stride"])
        parts = []
        for s in stages:
            out = s.get("dim") or dim
            part, side = self.stage(s, dim, out, side)
            parts.append(part)
            dim = out
        self.stages = nn.Sequential(*parts)
        self.final_conv = ConvNormAct(dim, head["dim"], act=self.act(head)) if head["dim"] else None
        dim = head["dim"] or dim
        self.attention_pool = ref.SequencePool(dim) if head["pool"] == "sequence" else None
        self.head = Linear(dim, classes)

    def act(self, part):
        return self.gelu if part["act"] == "gelu" else part["act"]

    def stage(self, s, dim, out, side):
        """The stage and the side of its map."""
        kind, depth, act, stride = s["block"], s["depth"], self.act(s), s.get("stride", 1)
        first = [(dim, stride)] + [(out, 1)] * (depth - 1)
        if kind == "conv":
            return Stage([ConvNormAct(i, out, s["kernel"], step, act=act) for i, step in first]), \
                after(side, s["kernel"], stride)
        if kind == "mv2":
            drops = self.shared["drops"]
            return Stage([Mv2(i, out, step, s["expand"], drops.branch(*next(self.places)), act)
                          for i, step in first]), after(side, 3, stride)
        if kind == "csp":
            return CspStage(dim, out, depth, stride, act), after(side, 3, stride)
        if kind == "mobilevit":
            return Stage([MobileVitBlock(dim, s["attn_dim"] or dim, depth, side, s["heads"],
                                         s["mlp_ratio"], s["patch"], place=next(self.places),
                                         act=act, **self.shared)]), side
        more = {"window": s["window"], "mode": self.mode} if kind == "swin" else {
            "pos_embed": s["pos_embed"]}
        return TransformerStage(dim, out, side, stride, s["heads"], s["mlp_ratio"], act,
                                places=[next(self.places) for _ in range(depth)], **self.shared,
                                **more), -(-side // stride)

    def forward(self, images):
        x = self.stages(self.stem(images.permute(0, 3, 1, 2)))
        x = to_tokens(self.final_conv(x) if self.final_conv is not None else x)
        pooled = self.attention_pool(x) if self.attention_pool is not None else x.mean(dim=1)
        return self.head(pooled)
