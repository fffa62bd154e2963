"""Tiny raw files of every source that is not simulated, laid out as the source publishes them.

Each function fills a folder that serves as `data.mirror`. A new source needs a function and a line in `RAW_FILES`.
"""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

STFC_SIDE = 256
"""Part of the source's definition."""
EMPS_SHAPES = ((75, 115), (97, 131), (64, 64), (130, 70), (60, 100))
FOLDER_SHAPE = (70, 90)


def draw_pair(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a wave with Gaussian noise and without, in [0, 1]; float32 (side, side)."""
    rows, columns = np.mgrid[:side, :side]
    wave_rows, wave_columns = rng.uniform(0.2, 0.8, 2)
    clean = 0.5 + 0.3 * np.sin(wave_rows * rows) * np.cos(wave_columns * columns)
    noisy = clean + rng.normal(0, 0.1, clean.shape)
    return noisy.clip(0, 1).astype(np.float32), clean.astype(np.float32)


def draw_particles(rng: np.random.Generator, shape: tuple[int, int], *, is_bright: bool) -> tuple[np.ndarray, ...]:
    """Draw noisy discs and a burnt-in scale bar, uint8, and the number of the disc of each pixel, uint16."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    particles = np.zeros(shape, np.uint16)
    for number in range(1, 7):
        row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(4, 10)
        particles[np.hypot(rows - row, columns - column) < radius] = number
    inside, outside = (200, 60) if is_bright else (60, 200)
    image = np.where(particles > 0, inside, outside) + rng.normal(0, 20, shape)
    image[-6:-3, 5:30] = 255
    return image.clip(1, 255).astype(np.uint8), particles


def write_em_graphene_sim(folder: Path) -> None:
    """Write three pairs for training and two for the test, in the four HDF5 files of the STFC."""
    for number, (split, num_images) in enumerate({"train": 3, "test": 2}.items()):
        rng = np.random.default_rng(number)
        pairs = [draw_pair(rng, STFC_SIDE) for _ in range(num_images)]
        (folder / split).mkdir(parents=True)
        for kind, images in zip(("noise", "clean"), zip(*pairs, strict=True), strict=True):
            with h5py.File(folder / split / f"graphene_img_{kind}.h5", "w") as file:
                file["images"] = np.stack(images)[..., None]


def write_emps(folder: Path) -> None:
    """Write images of several sizes with numbered particles; the official test images are missing, as for most."""
    names = [f"{index:010x}" for index in range(6)]
    for kind in ("images", "segmaps"):
        (folder / kind).mkdir(parents=True)
    (folder / "train.csv").write_text("\n".join(names) + "\n")
    (folder / "test.csv").write_text("ffffffffff\n")
    for index, name in enumerate(names):
        shape = EMPS_SHAPES[index % len(EMPS_SHAPES)]
        image, particles = draw_particles(np.random.default_rng(index), shape, is_bright=index % 2 == 0)
        Image.fromarray(np.repeat(image[..., None], 3, axis=-1)).save(folder / "images" / f"{name}.png")
        Image.fromarray(particles).save(folder / "segmaps" / f"{name}.png")


def write_micrographs(folder: Path, *, has_truth: bool = False, has_masks: bool = False) -> None:
    """Write four micrographs of a user, with truth or labels under the same names where they are asked for."""
    folders = {"noisy": True, "clean": has_truth, "mask": has_masks}
    for name in (name for name, is_wanted in folders.items() if is_wanted):
        (folder / name).mkdir(parents=True)
    for index in range(4):
        rng = np.random.default_rng(index)
        image, particles = draw_particles(rng, FOLDER_SHAPE, is_bright=True)
        images = {
            "noisy": image,
            "clean": np.where(particles > 0, 200, 60).astype(np.uint8),
            "mask": (particles > 0).astype(np.uint8),
        }
        for name in (name for name, is_wanted in folders.items() if is_wanted):
            Image.fromarray(images[name]).save(folder / name / f"scan_{index}.tif")


RAW_FILES: dict[str, Callable[[Path], None] | None] = {
    "graphene": None,  # simulated by the download task
    "crystals": None,
    "em_graphene_sim": write_em_graphene_sim,
    "emps": write_emps,
    "folder": write_micrographs,
}
"""What fills the mirror of a source."""
