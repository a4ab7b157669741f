"""How a scene's images look: levels, patterns, distractors, occlusion, blur and noise."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.data.sampling import Streams, count_boxes, nth_boxes
from whitebox_loc.data.scenes import Level, Scene, level_range
from whitebox_loc.data.shapes import shape_mask

_DECORATIONS = (
    "texture", "noise", "blur", "distractors", "background_gradient", "background_texture",
    "occlusion",
)  # fmt: skip


def is_plain(scene: Scene) -> bool:
    """Return whether shapes have one brightness, and so has everything around them."""
    return not any(_present(getattr(scene, name)) for name in _DECORATIONS)


def draw_levels(scene: Scene, n: int, streams: Streams) -> tuple[Array, Array]:
    """Return the brightness of shape and background of each image, float32 (n,) each."""
    front = _amounts(scene.foreground, n, streams, "foreground").astype(np.float32)
    back = _amounts(scene.background, n, streams, "background").astype(np.float32)
    if scene.inverted:
        # Everything is drawn between the two levels, so it is enough to invert them.
        swapped = streams.open("inverted").random(n) < scene.inverted
        front, back = (np.where(swapped, 1 - level, level) for level in (front, back))
    return front, back


class Artist:
    """Draws any appearance, part by part and in order."""

    def __init__(self, scene: Scene, streams: Streams, n: int, most: int = 1) -> None:
        self.scene, self.most = scene, most
        self.stripes = _Stripes(scene.texture, n * most, streams, "texture", "texture depth")
        self.backdrop = _Backdrop(scene, n, streams)
        self.distractors, self.counts = _draw_distractors(scene, n, streams)
        self.occluders = _Occluders(scene.occlusion, n * most, streams)
        self.blurs = _amounts(scene.blur, n, streams, "blur width")
        self.grain = streams.open("noise") if _present(scene.noise) else None
        self.noises = _amounts(scene.noise, n, streams, "noise depth").astype(np.float32)

    def draw(self, part: slice, boxes: Array, labels: Array, front: Array, back: Array) -> Array:
        """Return images of boxes (n, most, 4), labels (n, most), as float32 in 0..1."""
        flat = self.backdrop.draw(part, front, back)
        for i, corners in enumerate(boxes.tolist()):
            index, canvas = part.start + i, flat[i]
            places = [
                (slice(top, bottom), slice(left, right)) for top, left, bottom, right in corners
            ]
            # What is behind the shapes, before distractors, which never show inside a box.
            behind = [canvas[place].copy() for place in places]
            for y0, x0, y1, x1 in self.distractors[index, : self.counts[index]].tolist():
                canvas[y0:y1, x0:x1] = (front[i] + back[i]) / 2
            for j, (place, before) in enumerate(zip(places, behind, strict=True)):
                if before.size:
                    shape = index * self.most + j
                    mask = self._visible(shape, labels[i, j], *before.shape)
                    surface = self.stripes.surface(shape, before.shape, front[i], back[i])
                    canvas[place] = np.where(mask, surface, before)
        return self._expose(part, flat)

    def _visible(self, index: int, label: int, height: int, width: int) -> Array:
        mask = shape_mask(self.scene.shapes[label], height, width)
        hidden = self.occluders.mask(index, height, width)
        return mask if hidden is None else mask & ~hidden

    def _expose(self, part: slice, flat: Array) -> Array:
        """Blur, copy to all channels, add noise and clip."""
        flat = _blurred(flat, self.blurs[part])
        images = np.repeat(flat[..., None], self.scene.channels, axis=-1)
        if self.grain is not None:
            grain = self.grain.standard_normal(images.shape, dtype=np.float32)
            grain *= self.noises[part, None, None, None]
            images += grain
        return np.clip(images, 0, 1, out=images)


class _Stripes:
    """The shape's texture: a wave of random direction, pitch and phase for each image."""

    def __init__(self, depth: Level, n: int, streams: Streams, name: str, amount: str) -> None:
        self.waves = streams.open(name).random((n, 3)) if _present(depth) else None
        self.depths = _amounts(depth, n, streams, amount)

    def dark(self, index: int, shape: tuple[int, ...]) -> Array:
        """Return the pattern of an image, in 0..1."""
        assert self.waves is not None
        angle, pitch, phase = self.waves[index]
        # A stripe and its gap take 4 to 16 pixels, at any angle.
        cycles = 2 * np.pi / (4 + 12 * pitch)
        y = np.sin(np.pi * angle) * np.arange(shape[0])[:, None]
        x = np.cos(np.pi * angle) * np.arange(shape[1])[None, :]
        return (1 + np.cos(cycles * (y + x) + 2 * np.pi * phase)) / 2

    def surface(
        self, index: int, shape: tuple[int, ...], front: np.float32, back: np.float32
    ) -> Array | np.float32:
        """Return the shape's brightness, striped where the scene has a texture."""
        if self.waves is None:
            return front
        light = 1 - self.depths[index] * self.dark(index, shape)
        return (back + (front - back) * light).astype(np.float32)


class _Backdrop:
    """What is behind everything: one level, or a ramp and stripes above it."""

    def __init__(self, scene: Scene, n: int, streams: Streams) -> None:
        self.size = scene.size
        ramp, stripes = scene.background_gradient, scene.background_texture
        self.angles = streams.open("gradient").random(n) if _present(ramp) else None
        self.slopes = _amounts(ramp, n, streams, "gradient depth")
        self.waves = (
            streams.open("background texture").random((n, 3)) if _present(stripes) else None
        )
        self.depths = _amounts(stripes, n, streams, "background texture depth")

    def draw(self, part: slice, front: Array, back: Array) -> Array:
        """Return the part's backgrounds, float32 (n, height, width)."""
        flat = np.empty((len(back), *self.size), np.float32)
        flat[:] = back[:, None, None]
        contrast = (front - back)[:, None, None]
        if self.angles is not None:
            flat += contrast * _ramps(2 * np.pi * self.angles[part], self.slopes[part], self.size)
        if self.waves is not None:
            flat += contrast * _waves(self.waves[part], self.depths[part], self.size)
        return flat


def _ramps(angles: Array, depths: Array, size: tuple[int, int]) -> Array:
    """Return planes from 0 to `depths` across the image, rising in the direction of `angles`."""
    rows, columns = ((np.arange(side) + 0.5) / side for side in size)
    down, across = np.sin(angles), np.cos(angles)
    # The least value is that of a corner of the image, a little outside of its pixels' middles.
    low = np.minimum(down, 0) + np.minimum(across, 0)
    scale = depths / (np.abs(down) + np.abs(across))
    by_row = scale[:, None] * (down[:, None] * rows - low[:, None])
    by_column = (scale * across)[:, None] * columns
    return by_row.astype(np.float32)[:, :, None] + by_column.astype(np.float32)[:, None, :]


def _waves(waves: Array, depths: Array, size: tuple[int, int]) -> Array:
    """Return stripes like those of `_Stripes`, in 0 to `depths`."""
    angle, pitch, phase = waves.T
    cycles = 2 * np.pi / (4 + 12 * pitch)
    y = (cycles * np.sin(np.pi * angle))[:, None] * np.arange(size[0]) + 2 * np.pi * phase[:, None]
    x = (cycles * np.cos(np.pi * angle))[:, None] * np.arange(size[1])
    half = (depths / 2)[:, None]
    # cos(y + x) = cos(y) cos(x) - sin(y) sin(x): sines of rows and columns, not of all pixels.
    rows = [(half * f(y)).astype(np.float32)[:, :, None] for f in (np.cos, np.sin)]
    columns = [f(x).astype(np.float32)[:, None, :] for f in (np.cos, np.sin)]
    stripes = rows[0] * columns[0]
    stripes -= rows[1] * columns[1]
    # Rounding may leave the range by a part in 10 million.
    return np.clip(
        stripes + half.astype(np.float32)[:, :, None], 0, depths.astype(np.float32)[:, None, None]
    )


class _Occluders:
    """A rectangle inside the box that shows what is behind the shape."""

    def __init__(self, share: Level, n: int, streams: Streams) -> None:
        self.places = streams.open("occlusion").random((n, 2)) if _present(share) else None
        self.shares = _amounts(share, n, streams, "occlusion share")

    def mask(self, index: int, height: int, width: int) -> Array | None:
        """Return the hidden pixels of the box, or None where nothing hides any."""
        if self.places is None:
            return None
        hidden = np.zeros((height, width), bool)
        spans = []
        for side, place in zip((height, width), self.places[index], strict=True):
            # One pixel of each row and column is left to see.
            length = min(side - 1, round(side * self.shares[index] ** 0.5))
            start = int(place * (side - length + 1))
            spans.append(slice(start, start + length))
        hidden[tuple(spans)] = True
        return hidden


def _blurred(flat: Array, widths: Array) -> Array:
    if not widths.any():
        return flat
    from scipy.ndimage import gaussian_filter

    if (widths == widths[0]).all():
        return gaussian_filter(flat, (0, widths[0], widths[0]), mode="nearest")
    pairs = zip(flat, widths, strict=True)
    return np.stack([gaussian_filter(one, width, mode="nearest") for one, width in pairs])


def _draw_distractors(scene: Scene, n: int, streams: Streams) -> tuple[Array, Array]:
    low, high = (int(number) for number in level_range(scene.distractors))
    if not high:
        return np.empty((n, 0, 4), np.int64), np.zeros(n, np.int64)
    counts = np.full(n, high, np.int64)
    if low < high:
        counts = streams.open("distractor count").integers(low, high + 1, n)
    side = max(1, min(scene.size) // 8)
    small = Scene(size=scene.size, heights=(1, side), widths=(1, side))
    numbers = streams.open("distractors").integers(count_boxes(small), size=(n, high))
    return nth_boxes(small, numbers), counts


def _amounts(amount: Level, n: int, streams: Streams, name: str) -> Array:
    """Return each image's own amount, float64 (n,), from a number or a range."""
    low, high = level_range(amount)
    if low == high:
        return np.full(n, low, np.float64)
    return streams.open(name).uniform(low, high, n)


def _present(amount: Level) -> bool:
    return level_range(amount)[1] > 0
