"""Writes videos as GIF or MP4, and shows them in notebooks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from dfplan.errors import ConfigError, DataError, MissingPackageError, require_numbers
from dfplan.plotting.frames import FRAMES_PER_SECOND
from dfplan.plotting.output import Output, atomic_output, check_output
from dfplan.record import Record

MAX_BYTES = 3_000_000
"""Default maximum size of a video."""

ENDINGS = (".gif", ".mp4")
"""Endings of the formats that can be written."""

_PALETTE_SIZES = (128, 64, 32)
_PURPOSE = "Writing MP4 instead of GIF"


def write_video(
    path: Output,
    frames: Iterable[np.ndarray],
    *,
    max_bytes: int = MAX_BYTES,
    progress: bool = True,
    format: str | None = None,
) -> Path | Any:
    """Write frames as a video, completely or not at all, and return the path or file.

    Frames are uint8 [H, W, 3] each, at 20 per second. A GIF of more than ``max_bytes`` gets fewer
    colors, then fewer pixels. An MP4 that is too large is compressed more. The path's ending is
    ``.gif`` or ``.mp4``; or ``path`` is a file that is open for writing bytes. ``format`` replaces
    the ending; default for files: GIF. MP4 needs ``pip install 'dfplan[video]'``.

    Raises:
        ConfigError: unknown ending or format, a size that cannot be reached, a file that does not
            accept bytes, or the program that writes MP4 is missing.
        DataError: no frames, a frame of another type, or frames of different sizes.
        MissingPackageError: the package that writes MP4 is not installed.
        OSError: the video cannot be written; no partial file remains.
    """
    target, ending = check_video_path(path, format)
    require_numbers({"max_bytes": max_bytes}, integer=True, minimum=1)
    write = _write_gif if ending == ".gif" else _write_mp4
    pictures: list[Image.Image] = []
    for frame in tqdm(frames, desc="frames", unit="frame", disable=not progress):
        _require_frame(frame, pictures[0].size[::-1] if pictures else None)
        pictures.append(Image.fromarray(frame))
    if not pictures:
        raise DataError("A video needs at least one frame; got none.")
    with atomic_output(target, ending) as temporary:
        write(temporary, pictures, max_bytes)
    return target


@dataclass(frozen=True)
class Video(Record):
    """A video that plays in a notebook.

    Attributes:
        frames: uint8 [H, W, 3] each, at 20 per second.
    """

    frames: tuple[np.ndarray, ...]

    def save(self, path: Output, format: str | None = None) -> Path | Any:
        """Write the video; see :func:`write_video`."""
        return write_video(path, self.frames, progress=False, format=format)

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.save(buffer)
        code = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="video" src="data:image/gif;base64,{code}">'


def check_video_path(path: Output, format: str | None = None) -> tuple[Path | Any, str]:
    """Return where a video is written to, and its ending.

    Raises:
        ConfigError: ``path`` is not a path or a file, the ending is unknown, or the program that
            writes MP4 is missing.
        MissingPackageError: the package that writes MP4 is not installed.
    """
    target, ending = check_output(path, "video", ENDINGS, format)
    if ending != ".gif":
        _import_ffmpeg()
    return target, ending


def _require_frame(frame: np.ndarray, size: tuple[int, int] | None) -> None:
    """Raise :class:`DataError` unless ``frame`` is uint8 [H, W, 3] with this (height, width)."""
    shape, kind = np.shape(frame), getattr(frame, "dtype", type(frame).__name__)
    if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or size not in (None, shape[:2]):
        expected = "H, W" if size is None else f"{size[0]}, {size[1]}"
        raise DataError(
            f"Expected frames uint8 [{expected}, 3], all of one size; got {kind} {list(shape)}."
        )


def _write_gif(path: Path, pictures: Sequence[Image.Image], max_bytes: int) -> None:
    scaled = list(pictures)
    for attempt in range(12):
        palette_size = _PALETTE_SIZES[min(attempt, len(_PALETTE_SIZES) - 1)]
        if attempt >= len(_PALETTE_SIZES):
            size = (int(0.85 * scaled[0].width), int(0.85 * scaled[0].height))
            scaled = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
        # All frames share one palette; otherwise parts that do not move would flicker.
        sample = scaled[:: max(1, len(scaled) // 12)]
        sheet = Image.fromarray(np.concatenate([np.asarray(picture) for picture in sample]))
        palette = sheet.quantize(palette_size, dither=Image.Dither.NONE)
        frames = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in scaled]
        frames[0].save(
            path,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=1000 // FRAMES_PER_SECOND,
            loop=0,
        )
        if path.stat().st_size <= max_bytes:
            return
    raise ConfigError(
        f"A GIF of {len(pictures)} frames does not fit into {max_bytes} bytes. Raise max_bytes or "
        "write MP4."
    )


def _write_mp4(path: Path, pictures: Sequence[Image.Image], max_bytes: int) -> None:
    ffmpeg = _import_ffmpeg()
    width, height = (-(-side // 2) * 2 for side in pictures[0].size)  # MP4 needs even sizes
    if (width, height) != pictures[0].size:
        pictures = [each.crop((0, 0, width, height)) for each in pictures]
    for quality in range(23, 52, 4):
        writer = ffmpeg.write_frames(
            str(path),
            pictures[0].size,
            fps=FRAMES_PER_SECOND,
            codec="libx264",
            macro_block_size=2,
            quality=None,
            output_params=["-crf", str(quality), "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        writer.send(None)
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture))
        writer.close()
        if path.stat().st_size <= max_bytes:
            return
    raise ConfigError(
        f"An MP4 of {len(pictures)} frames does not fit into {max_bytes} bytes. Raise max_bytes."
    )


def _import_ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingPackageError(_PURPOSE, "imageio_ffmpeg", "video") from error
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise ConfigError(
            f"{_PURPOSE} needs the program ffmpeg, which is not installed. Install it, or set "
            "IMAGEIO_FFMPEG_EXE to its path."
        ) from error
    return imageio_ffmpeg
