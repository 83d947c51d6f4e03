"""Views of a cache: a lazy xarray Dataset, montages, the summary in notebooks."""

import base64
import html
import io
from collections import Counter
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from cache.errors import CacheError
from cache.pictures import own_settings
from cache.schema import UNLABELLED

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray

    from cache.reader import Cache

SHOWN = 100  # characters of an id or a path
THUMBNAILS = 6
THUMBNAIL_PIXELS = 96
SLICE_NOUNS = {"ct": "slice", "video": "frame"}


class _LazySamples:
    """A Cache as an array for Dask: entire samples are read and checked when they are computed."""

    def __init__(self, cache: "Cache") -> None:
        self.cache = cache
        self.shape = (len(cache), *cache.shape)
        self.dtype = np.dtype(np.float32)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        numbers = np.arange(len(self.cache))[key[0]]  # one number, where Dask indexes a single sample
        if numbers.ndim == 0:
            return self.cache[numbers][key[1:]]
        parts = [self.cache[number][key[1:]] for number in numbers]
        return np.stack(parts) if parts else np.empty((0, *self.cache.shape), np.float32)[(slice(0), *key[1:])]


def dataset(cache: "Cache") -> "xarray.Dataset":
    """`volume` (sample, depth, height, width) float32 in [0, 1], one Dask chunk a sample; label, sample_id, group.

    A cache of features has `features` (sample, depth, channel) instead, or (sample, angle, depth, channel) with angles
    in degrees. The coordinate `sample` is the id, as in `.sel(sample="TRN_0001")`.
    """
    import dask.array
    import xarray

    layout = cache.attributes.layout
    samples = _LazySamples(cache)
    values = dask.array.from_array(
        samples, chunks=(1, *cache.shape), name=False, meta=np.empty((0,) * samples.ndim, np.float32)
    )
    ids = np.array(cache.ids, object)
    angles = {"angle": np.array(cache.angles, np.float64)} if cache.angles else {}
    return xarray.Dataset(
        {
            layout.array: (layout.dimensions, values),
            "label": ("sample", cache.labels),
            "sample_id": ("sample", ids),
            "group": ("sample", np.array(cache.groups, object)),
        },
        coords={"sample": ids} | angles,
        attrs={"kind": cache.kind, "class_names": cache.class_names, "recipe": cache.recipe},
    )


@own_settings()
def montage(cache: "Cache", key: SupportsIndex | str, slices: int = 20) -> "matplotlib.figure.Figure":
    """A figure of one sample: `slices` evenly spaced slices of a volume, or features as an image."""
    if slices < 1:
        raise CacheError(f"slices {slices}; expected at least 1")
    values = cache[key]
    figure, caption = _slices(cache, values, slices) if cache.attributes.layout.bounded else _image(cache, values)
    entry = cache.entry(key)
    name, label = _shown(entry.id), _shown(cache.attributes.class_name(entry.label))
    title = f"{name} · {label} · {caption}".encode("latin-1", "backslashreplace").decode("latin-1")  # as fonts have it
    figure.suptitle(title, parse_math=False)
    return figure


def _figure(width: float, height: float) -> "matplotlib.figure.Figure":
    """A figure, size in inches, that notebooks can show without pyplot.

    It is drawn when it is saved, then too with Matplotlib's default settings.
    """
    from matplotlib.figure import Figure

    class Montage(Figure):
        @own_settings()
        def savefig(self, *args: Any, **options: Any) -> None:
            super().savefig(*args, **options)

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png", dpi=80)
            return picture.getvalue()

    return Montage(figsize=(width, height), layout="constrained")


def _image(cache: "Cache", values: np.ndarray) -> tuple["matplotlib.figure.Figure", str]:
    """Features, of the first angle, as an image of depth by channels; and its caption."""
    figure = _figure(8, 3.5)
    axes = figure.subplots()
    picture = axes.imshow(_first_set(values), aspect="auto", interpolation="nearest", cmap="viridis")
    axes.set(xlabel="channel", ylabel="depth")
    figure.colorbar(picture, ax=axes, label="feature")
    rotation = f", at {cache.angles[0]:g} degrees" if cache.angles else ""
    return figure, f"features{rotation}"


def _first_set(values: np.ndarray) -> np.ndarray:
    """(depth, channels) of features with or without an axis of angles."""
    return values.reshape(-1, *values.shape[-2:])[0]


def _slices(cache: "Cache", volume: np.ndarray, slices: int) -> tuple["matplotlib.figure.Figure", str]:
    """`slices` evenly spaced slices in reading order, gray from 0 to 1, each with its number; and a caption."""
    planes = np.unique(np.linspace(0, len(volume) - 1, slices).round().astype(int))
    columns = min(len(planes), int(np.ceil(np.sqrt(len(planes) * 1.5))))
    rows = -(-len(planes) // columns)
    aspect = min(max(volume.shape[1] / volume.shape[2], 0.5), 4)
    figure = _figure(1.6 * columns, 1.6 * rows * aspect + 0.5)
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if number < len(planes):
            axes.imshow(volume[planes[number]], cmap="gray", vmin=0, vmax=1)
            place = {"transform": axes.transAxes, "va": "top", "in_layout": False}
            axes.text(0.03, 0.97, str(planes[number]), color="gold", fontsize=8, **place)
    return figure, f"{SLICE_NOUNS.get(cache.kind, 'slice')}s of {len(volume)}"


def summary_html(cache: "Cache") -> str:
    """The HTML of a cache in notebooks: kind, shape, labels, recipe and thumbnails. All text is escaped."""
    counts = Counter(cache.labels.tolist())
    rows: list[tuple[str, Any]] = [
        ("samples", f"{len(cache)} × {' × '.join(map(str, cache.shape))}, stored as {cache.attributes.dtype}"),
        ("labels", ", ".join(f"{_shown(name)} {counts[index]}" for index, name in enumerate(cache.class_names))),
        ("unlabelled", counts[UNLABELLED]),
        ("recipe", ", ".join(_shown(f"{name} {value}") for name, value in cache.recipe.items())),
    ]
    table = "".join(
        f'<tr><th style="text-align:left">{name}</th><td style="text-align:left">{html.escape(str(value))}</td></tr>'
        for name, value in rows
    )
    title = html.escape(_shown(f"{cache.kind} cache {cache.path}"))
    return f"<div><b>{title}</b><table>{table}</table><div>{_thumbnails(cache)}</div></div>"


def _thumbnails(cache: "Cache") -> str:
    """Evenly spaced samples as images, or the reason why none can be drawn."""
    chosen = np.unique(np.linspace(0, len(cache) - 1, min(THUMBNAILS, len(cache))).round().astype(int))
    try:
        with own_settings():
            return "".join(_thumbnail(cache, int(number)) for number in chosen)
    except CacheError as error:
        return html.escape(str(error))


def _thumbnail(cache: "Cache", number: int) -> str:
    """The middle slice of one sample, or its features, as HTML."""
    from matplotlib.image import imsave

    name = html.escape(_shown(cache.samples[number].id), quote=True)
    try:
        values = cache[number]
    except CacheError:
        return f'<figure style="display:inline-block;margin:4px"><figcaption>{name}: damaged</figcaption></figure>'
    picture = io.BytesIO()
    if cache.attributes.layout.bounded:
        imsave(picture, values[len(values) // 2], cmap="gray", vmin=0, vmax=1, format="png")
    else:
        imsave(picture, _first_set(values), cmap="viridis", format="png")
    data = base64.b64encode(picture.getvalue()).decode()
    return (
        '<figure style="display:inline-block;margin:4px">'
        f'<img width="{THUMBNAIL_PIXELS}" src="data:image/png;base64,{data}" alt="{name}">'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _shown(text: str) -> str:
    """`text` on one line, with unprintable characters escaped and the middle of a long text left out."""
    text = text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 2 :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
