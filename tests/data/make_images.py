"""Makes three files beside itself.  golden_resize.bin: what torchvision's Resize
(bicubic) and CenterCrop make of some images, which tests/test_preprocess.c
draws itself by the formulas of source() below.  golden_images.bin: encoded
images of many kinds, and what Pillow decodes them to.  golden_shrunk.bin: what
its draft mode makes of JPEGs at a fraction of their size.  Needs torchvision,
pillow and numpy:
    python3 tests/data/make_images.py

Pillow resizes across, then down; newer ones (12.3, 13.0) some tall images the
other way round, which rounds otherwise.  Two calls keep to the first order."""
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

FOLDER = os.path.dirname(os.path.abspath(__file__))
NOISE, PHOTO, HARD = 0, 1, 2
# kind, width, height, channels -> width, height, channels, crop ratio * 1000
RESIZES = [
    (PHOTO, 300, 200, 3, 96, 96, 3, 0), (PHOTO, 300, 200, 3, 224, 224, 1, 0),
    (PHOTO, 300, 200, 3, 7, 7, 3, 1000), (PHOTO, 200, 300, 4, 40, 56, 3, 875),
    (NOISE, 61, 47, 3, 32, 32, 3, 0), (NOISE, 47, 61, 3, 32, 32, 3, 1000),
    (HARD, 61, 47, 3, 48, 48, 3, 0), (HARD, 47, 61, 1, 20, 20, 1, 1000),
    (HARD, 13, 11, 3, 50, 50, 3, 900), (NOISE, 47, 33, 1, 32, 32, 3, 0),
    (NOISE, 50, 41, 4, 33, 33, 3, 0), (NOISE, 50, 41, 4, 33, 33, 1, 613),
    (NOISE, 38, 55, 3, 31, 31, 1, 750), (NOISE, 1, 1, 3, 8, 8, 3, 0),
    (NOISE, 1, 60, 1, 8, 8, 1, 1000), (NOISE, 60, 1, 3, 8, 8, 3, 0),
    (NOISE, 200, 3, 3, 16, 16, 3, 0), (HARD, 3, 200, 3, 16, 16, 3, 0),
    (NOISE, 16, 16, 3, 16, 16, 3, 1000), (NOISE, 21, 16, 3, 16, 16, 3, 1000),
    (NOISE, 19, 16, 3, 16, 16, 3, 1000), (NOISE, 32, 37, 3, 28, 28, 3, 0),
    (NOISE, 61, 47, 3, 40, 24, 3, 0), (NOISE, 61, 47, 3, 24, 40, 3, 1000),
    (NOISE, 30, 44, 1, 48, 17, 1, 700), (NOISE, 61, 47, 1, 225, 9, 1, 0),
    (NOISE, 61, 47, 1, 1, 1, 1, 0), (NOISE, 40, 40, 4, 20, 20, 4, 1000),
]


def source(kind, width, height, channels):
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32)
                            for n in (height, width, channels)), indexing="ij")
    noise = x * np.uint32(0x9E3779B1) ^ y * np.uint32(0x85EBCA77) ^ c * np.uint32(0xC2B2AE3D)
    noise = (noise ^ noise >> np.uint32(15)) * np.uint32(0x2C1B3C6D)
    noise = (noise ^ noise >> np.uint32(12)) * np.uint32(0x297A2D39) >> np.uint32(24)
    if kind == NOISE:
        out = noise
    elif kind == HARD:
        out = np.where(noise > 127, 255, 0)
    else:  # a slope, stripes, a bright disc, a little noise
        x, y, c = x.astype(int), y.astype(int), c.astype(int)
        wave = np.abs((5 * x + 3 * y + 40 * c) % 256 - 128)
        disc = (x - width // 3) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2
        out = np.minimum(x // 3 + 20 * c + wave // 2 + 90 * disc + noise // 16, 255)
    return out.astype(np.uint8)


def as_pillow(pixels):
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def resized_size(image, width, height, ratio):
    if not ratio:
        ratio = 224 / 256 if max(width, height) <= 224 else 1
    short, long = int(height / ratio), int(width / ratio)
    if width == height:
        return F.resize(image, short, InterpolationMode.BICUBIC).size
    if short * image.width >= long * image.height:
        return int(short * image.width / image.height), short
    return long, int(long * image.height / image.width)


def expected(pixels, width, height, chans, ratio):
    image = as_pillow(pixels)
    if chans < 4:
        image = image.convert("L" if chans == 1 else "RGB")
        planes = [image]
    else:  # Pillow would weigh colours by alpha
        planes = list(image.split())
    size = resized_size(image, width, height, ratio)
    out = []
    for plane in planes:
        plane = plane.resize((size[0], image.height), Image.BICUBIC)
        plane = plane.resize(size, Image.BICUBIC)
        out.append(F.pil_to_tensor(F.center_crop(plane, [height, width])).numpy())
    return np.concatenate(out)


def make_resizes():
    with open(os.path.join(FOLDER, "golden_resize.bin"), "wb") as file:
        for case in RESIZES:
            kind, w, h, channels, width, height, chans, permille = case
            out = expected(source(kind, w, h, channels), width, height, chans,
                           permille / 1000)
            assert out.shape == (chans, height, width)
            file.write(struct.pack("<8i", *case) + out.tobytes())


# ---------------------------------------------------------------- encoded ---

OK, BAD_FORMAT, UNSUPPORTED = 0, 7, 11  # mae_status
WIDTH, HEIGHT = 29, 21
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
         (1, 0, 2, 2), (0, 1, 1, 2)]  # x, y, steps across and down


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_rows(values, bits):
    """Unfiltered PNG rows of values [height, width, channels]."""
    out = b""
    for row in values.reshape(len(values), -1):
        if bits == 16:
            row = row.astype(">u2").tobytes()
        else:
            digits = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
            row = np.packbits(digits.astype(np.uint8).ravel()).tobytes()
        out += b"\0" + row
    return out


def png(values, colour, bits, palette=None, transparent=None, interlaced=False,
        size=None):
    height, width = size or values.shape[:2]
    rows = b""
    for x, y, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = values[y::dy, x::dx]
        if part.size:
            rows += packed_rows(part, bits)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head),
        chunk(b"tEXt", b"Comment\0to be skipped"),
        chunk(b"PLTE", palette) if palette else b"",
        chunk(b"tRNS", transparent) if transparent else b"",
        chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")])


def png_cases():
    rng = np.random.default_rng(1)

    def values(bits, channels):
        return rng.integers(0, 1 << bits, (HEIGHT, WIDTH, channels))

    palette, alphas = rng.bytes(3 * 16), rng.bytes(9)
    for bits in (1, 2, 4, 8, 16):
        yield f"grey{bits}", png(values(bits, 1), 0, bits)
    for bits in (1, 2, 4, 8):
        yield f"palette{bits}", png(values(min(bits, 4), 1), 3, bits, palette[:3 << min(bits, 4)])
    yield "palette trns", png(values(4, 1), 3, 8, palette, alphas)
    yield "grey trns", png(values(4, 1), 0, 8, None, b"\0\5")
    yield "rgb trns", png(values(1, 3) * 200, 2, 8, None, b"\0\0\0\xc8\0\xc8")
    for bits in (8, 16):
        yield f"rgb{bits}", png(values(bits, 3), 2, bits)
        yield f"grey alpha{bits}", png(values(bits, 2), 4, bits)
        yield f"rgba{bits}", png(values(bits, 4), 6, bits)
    yield "interlaced", png(values(8, 3), 2, 8, interlaced=True)
    yield "interlaced grey1", png(values(1, 1), 0, 1, interlaced=True)
    yield "interlaced palette", png(values(2, 1), 3, 2, palette[:12], alphas[:3], True)
    yield "interlaced small", png(values(8, 4)[:1, :2], 6, 8, interlaced=True)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(channels):
    return as_pillow(source(PHOTO, 45, 31, channels))


def jpeg_cases():
    rgb, grey = photo(3), photo(1)
    cmyk = Image.merge("CMYK", [as_pillow(source(PHOTO, 45, 31, 4)[:, :, c:c + 1])
                                for c in range(4)])
    yield "baseline", saved(rgb, "JPEG", quality=85)
    yield "444", saved(rgb, "JPEG", quality=95, subsampling=0)
    yield "422", saved(rgb, "JPEG", quality=60, subsampling=1, optimize=True)
    yield "progressive", saved(rgb, "JPEG", progressive=True)
    yield "restarts", saved(rgb, "JPEG", restart_marker_blocks=2)
    yield "stored rgb", saved(rgb, "JPEG", keep_rgb=True)
    yield "grey", saved(grey, "JPEG")
    odd = saved(rgb, "JPEG")
    at = odd.index(b"\xff\xda")
    yield "stray bytes", odd[:at] + b"\0\0\0" + odd[at:]
    yield "grey progr", saved(grey, "JPEG", progressive=True)
    inks = saved(cmyk, "JPEG")
    at = inks.index(b"Adobe") + 11
    assert inks[at] == 0
    yield "cmyk", inks
    yield "ycck", inks[:at] + b"\2" + inks[at + 1:]  # other colours, a sound file


def webp_cases():
    rgb, rgba = photo(3), photo(4)
    yield "lossless", saved(rgb, "WEBP", lossless=True), 0
    yield "lossless a", saved(rgba, "WEBP", lossless=True, exact=True), 0
    yield "lossy", saved(rgb, "WEBP", quality=80), 2
    yield "lossy alpha", saved(rgba, "WEBP", quality=70), 2
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: not applied
    yield "exif", saved(rgb, "WEBP", lossless=True, exif=exif), 0


def refused_cases():
    one = np.zeros((1, 1, 1), int)
    yield "png bomb", png(one, 0, 8, size=(65500, 65500)), BAD_FORMAT
    yield "png wide", png(one, 0, 8, size=(1, 2**31 - 1)), BAD_FORMAT
    yield "png zero", png(one, 0, 8, size=(0, 5)), BAD_FORMAT
    yield "png no plte", png(one, 3, 8), BAD_FORMAT
    yield "png short", png(one, 0, 8, size=(2, 1)), BAD_FORMAT
    jpeg = saved(photo(1), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    yield "jpeg bomb", jpeg[:at] + b"\xff\xdc" * 2 + jpeg[at + 4:], BAD_FORMAT
    yield "jpeg zero", jpeg[:at] + b"\0" * 4 + jpeg[at + 4:], BAD_FORMAT
    yield "jpeg 12 bits", jpeg[:at - 1] + b"\x0c" + jpeg[at:], BAD_FORMAT
    # Half of the scan is missing, then a proper end.
    yield "jpeg cut", jpeg[:(at + len(jpeg)) // 2] + b"\xff\xd9", BAD_FORMAT
    webp = saved(photo(3), "WEBP", lossless=True)
    at = webp.index(b"VP8L") + 9
    yield "webp bomb", webp[:at] + b"\xff\xff\xff\x0f" + webp[at + 4:], BAD_FORMAT
    yield "webp moving", saved(photo(3), "WEBP", save_all=True,
                               append_images=[photo(3).rotate(90)]), UNSUPPORTED


def decoded(data):
    """As Pillow decodes it; its 16-bit grey, and transparency, by our rules."""
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.mode == "I;16":
        return (np.asarray(image) >> 8).astype(np.uint8)[:, :, None]
    if "transparency" in image.info or image.mode in ("LA", "RGBA", "PA"):
        image = image.convert("RGBA")
    elif image.mode in ("1", "L"):
        image = image.convert("L")
    else:
        image = image.convert("RGB")
    out = np.asarray(image)
    return out if out.ndim == 3 else out[:, :, None]


def make_images():
    cases = [("png " + n, d, 0) for n, d in png_cases()]
    cases += [("jpeg " + n, d, 2) for n, d in jpeg_cases()]
    cases += [("webp " + n, d, t) for n, d, t in webp_cases()]
    with open(os.path.join(FOLDER, "golden_images.bin"), "wb") as file:
        def put(name, status, tolerance, shape, data):
            assert len(name) < 24
            file.write(struct.pack("<24s6i", name.encode(), status, tolerance,
                                   shape[1], shape[0], shape[2], len(data)) + data)
        for name, data, tolerance in cases:
            pixels = decoded(data)
            put(name, OK, tolerance, pixels.shape, data)
            file.write(pixels.tobytes())
        shades = np.arange(16).reshape(2, 8, 1)
        put("png grey4 trns", OK, 0, (2, 8, 4), png(shades, 0, 4, None, b"\0\5"))
        # Pillow compares 5 with shades already brought to 8 bits.
        file.write(np.dstack([shades * 17] * 3 + [255 * (shades != 5)])
                   .astype(np.uint8).tobytes())
        for name, data, status in refused_cases():
            put(name, status, 0, (0, 0, 0), data)


# ----------------------------------------------------------------- shrunk ---

def shrunk(data, shrink):
    image = Image.open(io.BytesIO(data))
    size = tuple(-(-side // shrink) for side in image.size)
    image.draft(image.mode, tuple(side // shrink for side in image.size))
    assert image.size == size, (image.size, size)
    out = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    return out.reshape(size[1], size[0], -1)


def make_shrunk():
    with open(os.path.join(FOLDER, "golden_shrunk.bin"), "wb") as file:
        for name, data in jpeg_cases():
            for shrink in (2, 4, 8):
                if name != "stray bytes":
                    pixels = shrunk(data, shrink)
                    file.write(struct.pack("<24s6i", name.encode(), shrink, 2, pixels.shape[1],
                                           pixels.shape[0], pixels.shape[2], len(data)) + data)
                    file.write(pixels.tobytes())


if __name__ == "__main__":
    make_resizes()
    make_images()
    make_shrunk()
