"""Small picture files of every kind, and what Pillow and torchvision make of them."""

import hashlib
import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]
HEIGHT, WIDTH = 29, 43


def scene(height=HEIGHT, width=WIDTH, seed=1):
    """A picture with smooth parts, edges and noise: (height, width, 3) bytes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [120 + 90 * np.sin((x * (c + 1) + 2 * y) / 9) for c in range(3)]
    image = np.stack(planes, -1)
    image[height // 4:height // 2, width // 3:width // 2] = (250, 20, 60)
    image += rng.normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples, bits):
    """Rows of samples (height, n) as PNG packs them, each after a filter byte of 0."""
    if bits == 16:
        rows = samples.astype(">u2").view(np.uint8)
    elif bits == 8:
        rows = samples.astype(np.uint8)
    else:
        planes = [(samples >> (bits - 1 - b)) & 1 for b in range(bits)]
        rows = np.packbits(np.stack(planes, -1).reshape(len(samples), -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


def png(samples, bits, colour, interlaced=False, extra=()):
    """samples (height, width, channels); Pillow writes only some of these kinds."""
    height, width, channels = samples.shape
    parts = [samples]
    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
    data = b"".join(packed(p.reshape(len(p), -1), bits) for p in parts if p.size)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + b"".join(chunk(kind, body) for kind, body in extra)
            + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def png_files():
    rgb = scene()
    grey = rgb[:, :, :1]
    alpha = rgb[:, :, 2:]
    deep = np.arange(HEIGHT * WIDTH * 4).reshape(HEIGHT, WIDTH, 4) * 52361 % 65536
    palette = b"".join(bytes((i * 7 % 256, 255 - i, i * i % 256)) for i in range(256))
    transparent = (b"tRNS", bytes(range(0, 240, 16)))
    exif = (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    files = {
        "rgb8": png(rgb, 8, 2), "rgb16": png(deep[:, :, :3], 16, 2),
        "rgb8_interlaced": png(rgb, 8, 2, True),
        "rgb8_trns": png(rgb, 8, 2, False, [(b"tRNS", bytes((0, 250, 0, 20, 0, 60)))]),
        "rgba8": png(np.concatenate([rgb, alpha], 2), 8, 6), "rgba16": png(deep, 16, 6),
        "rgba8_interlaced": png(np.concatenate([rgb, alpha], 2), 8, 6, True),
        "grey8": png(grey, 8, 0), "grey16": png(deep[:, :, :1], 16, 0),
        "grey8_trns": png(grey, 8, 0, False, [(b"tRNS", b"\0\x80")]),
        "grey_alpha8": png(rgb[:, :, :2], 8, 4), "grey_alpha16": png(deep[:, :, :2], 16, 4),
        "rgb8_exif6": png(rgb, 8, 2, False, [exif]),
        "one_pixel": png(rgb[:1, :1], 8, 2),
    }
    for bits in (1, 2, 4):
        files[f"grey{bits}"] = png(grey >> (8 - bits), bits, 0, bits == 2)
    for bits in (1, 2, 4, 8):
        table = (b"PLTE", palette[:3 << bits])
        extra = [table, transparent] if bits == 8 else [table]
        files[f"palette{bits}"] = png(grey >> (8 - bits), bits, 3, bits == 4, extra)
    return {f"{name}.png": data for name, data in files.items()}


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 85, **options})
    return out.getvalue()


def adobe_marker(data):
    """Where the Adobe segment begins, and its size."""
    at = data.index(b"\xff\xee")
    return at, 2 + struct.unpack_from(">H", data, at + 2)[0]


def jpeg_files():
    image = Image.fromarray(scene())
    ink = jpeg(Image.fromarray(np.dstack([scene(), scene(seed=2)[:, :, 0]]), "CMYK"))
    at, size = adobe_marker(ink)
    files = {
        "grey": jpeg(image.convert("L")), "444": jpeg(image, subsampling=0),
        "422": jpeg(image, subsampling=1), "420": jpeg(image, subsampling=2),
        "420_progressive": jpeg(image, subsampling=2, progressive=True, optimize=True),
        "restarts": jpeg(image, subsampling=2, restart_marker_blocks=2),
        "rgb": jpeg(image, keep_rgb=True), "low_quality": jpeg(image, quality=10),
        "cmyk": ink, "cmyk_without_adobe": ink[:at] + ink[at + size:],
        "ycck": ink[:at + size - 1] + b"\2" + ink[at + size:],
        "one_pixel": jpeg(image.crop((5, 5, 6, 6))),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        files[f"exif{orientation}"] = jpeg(image, quality=60, exif=exif)
    return {f"{name}.jpg": data for name, data in files.items()}


def decoded(data, name):
    image = Image.open(io.BytesIO(data))
    if name == "grey16.png":  # Pillow clips these at 255; the high byte is the picture
        values = np.array(image, dtype=np.int64) >> 8
        return np.repeat(values[:, :, None], 3, 2).astype(np.uint8)
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def line(words, image):
    image = np.ascontiguousarray(image)
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return f"{words} {image.shape[0]} {image.shape[1]} {digest}"


# (height, width) of sources; resizes to a short side, to both sides, centre crops, boxes
SOURCES = [(37, 53), (53, 37), (32, 32), (7, 90)]
SHORT = [16, 37, 64]
BOTH = [(20, 30), (53, 11), (64, 64), (37, 53), (1, 1)]
MIDDLE = [(16, 16), (17, 30), (40, 40), (64, 9)]
BOXES = [(0, 0, 7, 7, 16, 16), (3, 5, 4, 11, 24, 24), (1, 2, 6, 30, 5, 9), (0, 0, 1, 1, 4, 4)]


def rows_first(image, result):
    """Pillow's resize with the rows first, as all its versions to 12 did it. From 13 on it begins
    with the columns for some sizes: torchvision's result may then differ by one grey level."""
    width, height = result.size
    box = image.resize((width, image.size[1]), Image.Resampling.BILINEAR)
    box = box.resize((width, height), Image.Resampling.BILINEAR)
    apart = np.abs(np.array(box, dtype=int) - np.array(result, dtype=int)).max()
    assert apart <= 1, (image.size, result.size, apart)
    return box


def resized():
    bilinear = {"interpolation": InterpolationMode.BILINEAR, "antialias": True}
    rows = []
    for i, (height, width) in enumerate(SOURCES):
        image = Image.fromarray(scene(height, width, 10 + i))
        source = f"{height} {width}"
        rows += [line(f"short {source} {n} 0 0 0 0 0",
                      rows_first(image, F.resize(image, n, **bilinear)))
                 for n in SHORT]
        rows += [line(f"both {source} {h} {w} 0 0 0 0",
                      rows_first(image, F.resize(image, [h, w], **bilinear)))
                 for h, w in BOTH]
        rows += [line(f"middle {source} {h} {w} 0 0 0 0", F.center_crop(image, [h, w]))
                 for h, w in MIDDLE]
        rows += [line(f"box {source} {h} {w} {y} {x} {bh} {bw}",
                      rows_first(image.crop((x, y, x + bw, y + bh)),
                                 F.resized_crop(image, y, x, bh, bw, [h, w], **bilinear)))
                 for y, x, bh, bw, h, w in BOXES if y + bh <= height and x + bw <= width]
    return rows


def torchvision_box(size, scale, ratio, u, v):
    """What RandomResizedCrop takes when its uniform draws are u and v and its places 0."""
    uniform, randint, draws = torch.Tensor.uniform_, torch.randint, [u, v] * 10
    torch.Tensor.uniform_ = lambda self, a, b: self.double().fill_(a + (b - a) * draws.pop(0))
    torch.randint = lambda *args, **kwargs: torch.zeros(1)
    try:
        box = RandomResizedCrop.get_params(torch.zeros(3, *size), scale, ratio)
    finally:
        torch.Tensor.uniform_, torch.randint = uniform, randint
    return [int(n) for n in box]


def boxes():
    rows, rng = [], np.random.default_rng(3)
    for size in ((240, 320), (500, 333), (32, 32), (10, 300), (300, 10)):
        for scale, ratio in (((0.05, 1), (0.75, 1.3333)), ((0.5, 0.9), (0.3, 2.5))):
            for u, v in [(0.0, 0.5), (0.999, 0.999), *rng.integers(0, 2**24, (6, 2)) / 2**24]:
                top, left, height, width = torchvision_box(size, scale, ratio, u, v)
                rows.append(f"{size[0]} {size[1]} {scale[0]} {scale[1]} {ratio[0]} {ratio[1]} "
                            f"{float(u).hex()} {float(v).hex()} {top} {left} {height} {width}")
    return rows


def folder_files():
    """tests/fixtures/folder: two classes, files of several sizes and kinds, one of them broken."""
    files = {}
    for i in range(24):
        image = scene(12 + i % 5, 20 - i % 7, 100 + i)
        if i % 2:
            image[:, ::2] //= 4
        kind, suffix = [(png(image, 8, 2), "png"), (jpeg(Image.fromarray(image)), "jpg")][i // 2 % 2]
        files[f"folder/{['plain', 'striped'][i % 2]}/{i // 2:02}.{suffix}"] = kind
    files["folder/striped/broken.jpg"] = jpeg(Image.fromarray(scene()))[:-200]
    return files


def image_files():
    """tests/fixtures/images (pictures, and tables of what becomes of them) and folder."""
    files = {**png_files(), **jpeg_files()}
    tables = {
        "decoded.txt": [line(name, decoded(data, name)) for name, data in sorted(files.items())],
        "resized.txt": resized(),
        "boxes.txt": boxes(),
    }
    for i, (height, width) in enumerate(SOURCES):
        files[f"source{i}.png"] = png(scene(height, width, 10 + i), 8, 2)
    files |= {name: ("\n".join(rows) + "\n").encode() for name, rows in tables.items()}
    return {f"images/{name}": data for name, data in files.items()} | folder_files()
