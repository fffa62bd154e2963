"""Images in STFC's file layout: the source of that layout reads back what this benchmark made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError, MissingInputError
from emdenoise.files.atomic import hash_file
from emdenoise.progress import SilentProgress
from emdenoise.tasks import download, preprocess
from emdenoise.tools.stfc import export_stfc

pytestmark = pytest.mark.usefixtures("no_pool")

FILES = [f"{part}/graphene_img_{kind}.h5" for part in ("train", "test") for kind in ("noise", "clean")]
Write = Callable[..., Path]


def prepare(parameters_file: Path, root: Path) -> Path:
    """Run the first two tasks; gives the data folder."""
    raw_dir, data_dir = root / "raw_data", root / "data"
    download(parameters_file=parameters_file, raw_data_dir=raw_dir, progress=SilentProgress())
    preprocess(parameters_file=parameters_file, raw_data_dir=raw_dir, data_dir=data_dir, progress=SilentProgress())
    return data_dir


def export(data_dir: Path, stfc_dir: Path) -> str:
    return export_stfc(data_dir=data_dir, stfc_dir=stfc_dir, progress=SilentProgress()).message


def read_pairs(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    with RecordFile(path) as records:
        return list(zip(records.read("noisy"), records.read("clean"), strict=True))


@pytest.fixture
def graphene(write_parameters: Write, tmp_path: Path) -> Path:
    """Simulate graphene at the lowest dose of the recipe, where noisy images reach farthest; gives the data folder."""
    simulation = {"image_size_px": 256, "margin_px": 0, "dose_e_per_angstrom2": [400.0, 400.0]}
    simulation |= {"pixel_size_angstrom": [0.14, 0.14], "num_train": 4, "num_validation": 1, "num_test": 2}
    return prepare(write_parameters("graphene.yaml", simulation=simulation), tmp_path / "graphene")


def test_the_source_of_that_layout_reads_back_the_same_images(
    graphene: Path, write_parameters: Write, tmp_path: Path
) -> None:
    message = export(graphene, tmp_path / "stfc")
    assert message == f"Wrote 4 pairs for training and 2 for the test to {tmp_path / 'stfc'}."
    for name in FILES:
        with h5py.File(tmp_path / "stfc" / name) as file:
            assert list(file) == ["images"]
            assert file["images"].dtype == np.float32
            assert file["images"].shape == (4 if name.startswith("train") else 2, 256, 256, 1)
    data = {"source": "em_graphene_sim", "mirror": str(tmp_path / "stfc")}
    theirs = prepare(write_parameters("theirs.yaml", data=data), tmp_path / "theirs")
    read = {split: read_pairs(theirs / f"{split}.h5") for split in ("train", "validation", "test")}
    assert [len(pairs) for pairs in read.values()] == [3, 1, 2]
    for found, split in (([*read["train"], *read["validation"]], "train"), (read["test"], "test")):
        expected = read_pairs(graphene / f"{split}.h5")
        assert {(noisy.tobytes(), clean.tobytes()) for noisy, clean in found} == {
            (noisy.tobytes(), clean.tobytes()) for noisy, clean in expected
        }
    assert np.array_equal(read["test"], read_pairs(graphene / "test.h5")), "in the same order"


def test_a_description_names_the_images_and_what_they_were_made_of(graphene: Path, tmp_path: Path) -> None:
    export(graphene, tmp_path / "stfc")
    content: dict[str, Any] = json.loads((tmp_path / "stfc" / "stfc.json").read_text())
    assert content["files"] == {name: hash_file(tmp_path / "stfc" / name) for name in FILES}
    record = json.loads((graphene / "records" / "preprocess.json").read_text())
    assert content["inputs"] == {name: record["outputs"][name] for name in ("train.h5", "test.h5")}
    assert content["window_of_mean"] == [0.6, 1.4]
    found = {path.relative_to(tmp_path / "stfc").as_posix() for path in (tmp_path / "stfc").rglob("*.*")}
    assert found == {*FILES, "stfc.json"}
    export(graphene, tmp_path / "stfc")
    assert json.loads((tmp_path / "stfc" / "stfc.json").read_text()) == content, "a second time it is the same"


def test_images_of_another_size_are_refused_and_leave_nothing(write_parameters: Write, tmp_path: Path) -> None:
    data_dir = prepare(write_parameters(), tmp_path)
    message = r"^train\.h5: images are 64 × 64 pixels; the layout of em_graphene_sim holds whole images of 256 × 256; "
    with pytest.raises(DataError, match=message + "choose such a source, or set simulation.image_size_px to 256, and"):
        export(data_dir, tmp_path / "stfc")
    assert not list((tmp_path / "stfc").rglob("*"))


def test_values_that_the_layout_does_not_hold_are_refused(write_parameters: Write, tmp_path: Path) -> None:
    simulation = {"image_size_px": 256, "margin_px": 0, "num_train": 1, "num_validation": 1, "num_test": 1}
    simulation |= {"intensity_window": [0.999, 1.001]}
    data_dir = prepare(write_parameters(simulation=simulation), tmp_path)
    message = (
        r"^train\.h5: noisy image 0 spans \[-\d+.*\]; expected values near \[0, 1\]; choose a simulation\.intensity"
    )
    with pytest.raises(DataError, match=message):
        export(data_dir, tmp_path / "stfc")


def test_without_images_the_task_to_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="run the preprocess task first"):
        export(tmp_path / "data", tmp_path / "stfc")
