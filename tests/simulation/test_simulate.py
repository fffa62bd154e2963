"""A simulated record depends on its recipe and its number alone, and what it says of itself is true."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import SimulationSettings
from emdenoise.dataset.intensity import IntensityScale
from emdenoise.dataset.record import DEFECT, LATTICE, VACUUM, Record
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import spread_electrons
from emdenoise.simulation.simulate import make_specimen, open_pool, simulate_specimen, simulate_split
from emdenoise.simulation.specimens import DEFECTS

SMALL = SimulationSettings(
    image_size_px=64, num_train=20, num_validation=4, num_test=6, images_per_specimen=2, store_wave=True
)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return RunConfig(simulation=SMALL)


@pytest.fixture(scope="module")
def records(config: RunConfig) -> list[Record]:
    return list(simulate_split(config, "train"))


def assert_equal(one: Record, other: Record) -> None:
    for field in fields(Record):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if field.name == "images":
            assert set(left) == set(right)
            for name in left:
                assert_equal_arrays(left[name], right[name], f"{name} of {one.name} differs")
        elif isinstance(left, np.ndarray):
            assert_equal_arrays(left, right, f"{field.name} of {one.name} differs")
        else:
            assert left == right, f"{field.name} of {one.name} differs"


def assert_equal_arrays(one: np.ndarray, other: np.ndarray, message: str) -> None:
    assert one.dtype == other.dtype
    assert np.array_equal(one, other), message


def is_equal(one: Record, other: Record) -> bool:
    return np.array_equal(one.noisy, other.noisy)


def test_record_17_is_the_same_record_alone_and_in_its_row(config: RunConfig, records: list[Record]) -> None:
    alone = simulate_specimen(config.simulation, config.data.seed, "train", 8)[1]
    assert alone.name == "train image 17"
    assert_equal(alone, records[17])


class BackwardsPool(Executor):
    """Works on the last task first."""

    def map(self, function: Callable[..., Any], *tasks: Any, chunksize: int = 1, **_: Any) -> Iterator[Any]:
        (numbers,) = tasks
        results = {number: function(number) for number in reversed(list(numbers))}
        return iter(results[number] for number in sorted(results))


def test_records_do_not_depend_on_the_order_of_work(config: RunConfig, records: list[Record]) -> None:
    for one, other in zip(simulate_split(config, "train", BackwardsPool()), records, strict=True):
        assert_equal(one, other)


def test_records_do_not_depend_on_threads(config: RunConfig, records: list[Record]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for one, other in zip(simulate_split(config, "train", pool), records, strict=True):
            assert_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
def test_records_do_not_depend_on_the_number_of_processes(
    config: RunConfig, records: list[Record], num_workers: int
) -> None:
    with open_pool(num_workers) as pool:
        for one, other in zip(simulate_split(config, "train", pool), records, strict=True):
            assert_equal(one, other)


def test_another_split_has_other_records(config: RunConfig, records: list[Record]) -> None:
    test = list(simulate_split(config, "test"))
    assert len(test) == 6
    assert not any(is_equal(one, other) for one in test for other in records)
    assert not {record.specimen for record in test} & {record.specimen for record in records}


def test_another_seed_has_other_records(config: RunConfig, records: list[Record]) -> None:
    changed = config.model_copy(update={"data": config.data.model_copy(update={"seed": 1})})
    other = list(simulate_split(changed, "test"))
    assert not any(is_equal(one, another) for one in other for another in records)


def test_test_images_do_not_change_with_the_number_of_training_images(config: RunConfig) -> None:
    more = config.model_copy(update={"simulation": SMALL.model_copy(update={"num_train": 30, "num_test": 4})})
    few, many = list(simulate_split(more, "test")), list(simulate_split(config, "test"))
    assert len(few) == 4
    for one, other in zip(few, many[:4], strict=True):
        assert_equal(one, other)


def test_an_odd_number_of_images_ends_within_a_specimen(config: RunConfig, records: list[Record]) -> None:
    odd = config.model_copy(update={"simulation": SMALL.model_copy(update={"num_train": 5})})
    found = list(simulate_split(odd, "train"))
    assert [record.name for record in found] == [f"train image {index}" for index in range(5)]
    assert_equal(found[4], records[4])


def test_images_of_one_specimen_share_the_atoms_and_differ_in_focus_and_noise(records: list[Record]) -> None:
    for first, second in zip(records[::2], records[1::2], strict=True):
        assert first.specimen == second.specimen
        assert first.class_id == second.class_id
        assert np.array_equal(first.atoms, second.atoms)
        assert np.array_equal(first.images["mask"], second.images["mask"])
        assert np.array_equal(first.images["wave"], second.images["wave"])
        for name in ("defocus_angstrom", "dose_e_per_angstrom2", "spherical_aberration_um", "beam_width_fraction"):
            assert first.attributes[name] != second.attributes[name]
        assert not np.array_equal(first.images["clean"], second.images["clean"])
        noises = [(record.noisy - record.images["clean"]).ravel() for record in (first, second)]
        assert abs(np.corrcoef(*noises)[0, 1]) < 0.3


def test_no_two_images_share_their_noise(records: list[Record]) -> None:
    assert len({record.noisy.tobytes() for record in records}) == len(records)


RANGES = {
    "pixel_size_angstrom": "pixel_size_angstrom",
    "spherical_aberration_um": "spherical_aberration_um",
    "focal_spread_angstrom": "focal_spread_angstrom",
    "dose_e_per_angstrom2": "dose_e_per_angstrom2",
    "beam_width_fraction": "beam_width_fraction",
    "dead_pixel_fraction": "dead_pixel_fraction",
    "readout_noise_electrons": "readout_noise_electrons",
}


@pytest.mark.parametrize(("attribute", "setting"), RANGES.items())
def test_the_drawn_conditions_lie_within_the_settings_and_fill_them(
    records: list[Record], attribute: str, setting: str
) -> None:
    low, high = getattr(SMALL, setting)
    values = [record.attributes[attribute] for record in records]
    assert low <= min(values) <= max(values) <= high
    assert max(values) - min(values) > 0.4 * (high - low)


def test_conditions_without_a_range_are_those_of_the_settings(records: list[Record]) -> None:
    for record in records:
        for name in ("voltage_kv", "convergence_semiangle_mrad", "detector_mtf_at_nyquist"):
            assert record.attributes[name] == getattr(SMALL, name)
        assert record.attributes["defocus_angstrom"] < 0, "an overfocus, as Cs is negative"
        for name in ("beam_row_fraction", "beam_column_fraction"):
            assert abs(record.attributes[name]) <= SMALL.beam_offset_fraction


def test_the_noise_has_the_variance_of_the_dose_that_the_record_names(config: RunConfig) -> None:
    """Var(noisy) = I/N + σ²/N² where the beam is even: counting and readout add."""
    even = SMALL.model_copy(
        update={
            "beam_width_fraction": (1e6, 1e6),
            "dead_pixel_fraction": (0.0, 0.0),
            "readout_noise_electrons": (3.0, 3.0),
            "image_size_px": 128,
            "images_per_specimen": 4,
        }
    )
    for record in simulate_specimen(even, 0, "train", 0):
        dose, pixel = record.attributes["dose_e_per_angstrom2"], record.attributes["pixel_size_angstrom"]
        window = IntensityScale(record.attributes["intensity_offset"], record.attributes["intensity_scale"])
        noisy, clean = (window.restore(image).astype(np.float64) for image in (record.noisy, record.images["clean"]))
        electrons = dose * pixel**2
        expected = clean.mean() / electrons + 9 / electrons**2
        assert (noisy - clean).var() == pytest.approx(expected, rel=0.08)
        assert (noisy - clean).mean() == pytest.approx(0, abs=5 * np.sqrt(expected) / 128)
        per_unit = record.attributes["electrons_per_unit_intensity"]
        assert per_unit == pytest.approx(electrons / record.attributes["intensity_scale"])


FLAT = {"defects": ("pristine",), "ripple_height_angstrom": (0.0, 0.0), "images_per_specimen": 1}


def test_clean_images_show_the_average_over_thermal_motion_and_not_one_instant() -> None:
    """In a perfect lattice all atoms look alike; at one instant their brightness would spread by a fifth of it."""
    from scipy.ndimage import map_coordinates

    settings = SMALL.model_copy(update={**FLAT, "image_size_px": 128})
    (record,) = simulate_specimen(settings, 0, "train", 0)
    clean = record.images["clean"].astype(np.float64)
    inner = record.atoms[((record.atoms > 8) & (record.atoms < 120)).all(axis=1)].astype(np.float64)
    brightness = map_coordinates(clean, inner.T, order=5)
    assert len(brightness) > 80
    assert brightness.std() < 0.03 * (brightness.mean() - clean.mean())


def test_atoms_are_at_their_mean_positions() -> None:
    (record,) = simulate_specimen(SMALL.model_copy(update=FLAT), 0, "train", 0)
    distances = cKDTree(record.atoms).query(record.atoms, k=2)[0][:, 1] * record.attributes["pixel_size_angstrom"]
    assert distances == pytest.approx(1.42, abs=0.001)


def test_heat_softens_the_clean_image_and_moves_no_atom() -> None:
    cold, warm = (
        simulate_specimen(SMALL.model_copy(update={"thermal_displacement_angstrom": heat}), 0, "train", 0)[0]
        for heat in (0.0, 0.12)
    )
    assert np.array_equal(cold.atoms, warm.atoms)
    assert warm.images["clean"].std() < 0.97 * cold.images["clean"].std()


def test_a_convergent_beam_softens_the_clean_image_and_a_blurring_detector_does_not() -> None:
    def simulate(**changes: float) -> Record:
        return simulate_specimen(SMALL.model_copy(update={**FLAT, **changes}), 0, "train", 0)[0]

    perfect, convergent, blurring = (
        simulate(),
        simulate(convergence_semiangle_mrad=5.0),
        simulate(detector_mtf_at_nyquist=0.2),
    )
    assert convergent.images["clean"].std() < 0.97 * perfect.images["clean"].std()
    assert np.array_equal(blurring.images["clean"], perfect.images["clean"])
    assert not np.array_equal(blurring.noisy, perfect.noisy)


def test_the_expected_noisy_image_is_the_clean_one_as_the_detector_spreads_it() -> None:
    """The beam is even: the mean of many images of one specimen differs from the truth by the transfer function."""
    conditions = {
        "detector_mtf_at_nyquist": 0.2,
        "images_per_specimen": 64,
        "dose_e_per_angstrom2": (8e4, 8e4),
        "beam_width_fraction": (1e6, 1e6),
        "dead_pixel_fraction": (0.0, 0.0),
        "spherical_aberration_um": (-5.0, -5.0),
        "defocus_scherzer": (1.0, 1.0),
        "focal_spread_angstrom": (10.0, 10.0),
    }
    records = simulate_specimen(SMALL.model_copy(update=conditions), 0, "train", 0)
    clean = records[0].images["clean"]
    mean = np.mean([record.noisy.astype(np.float64) for record in records], axis=0)
    expected = spread_electrons(clean, mtf_at_nyquist=0.2)
    noise = (records[0].noisy - expected).std() / 8
    assert (mean - expected).std() == pytest.approx(noise, rel=0.1)
    assert (mean - clean).std() > 2 * noise, "the blur is seen"


def test_vacuum_has_the_place_in_the_window_that_the_settings_say(config: RunConfig) -> None:
    low, high = SMALL.intensity_window
    for record in simulate_split(config, "validation"):
        assert record.images["clean"].mean() == pytest.approx((1 - low) / (high - low), abs=0.05)


def test_dead_pixels_are_as_many_as_the_record_says() -> None:
    settings = SMALL.model_copy(update={"dead_pixel_fraction": (0.05, 0.05), "readout_noise_electrons": (0.0, 0.0)})
    (record, _) = simulate_specimen(settings, 0, "train", 0)
    window = IntensityScale(record.attributes["intensity_offset"], record.attributes["intensity_scale"])
    dead = np.isclose(record.noisy, window.apply(np.zeros((1, 1), np.float32))).sum()
    assert dead >= round(0.05 * 64**2), "a pixel may also count nothing by chance"
    assert dead < 1.2 * 0.05 * 64**2


def test_images_have_the_form_of_the_canonical_record(records: list[Record]) -> None:
    for record in records:
        assert {name: (image.shape, image.dtype.name) for name, image in record.images.items()} == {
            "noisy": ((64, 64), "float32"),
            "clean": ((64, 64), "float32"),
            "mask": ((64, 64), "uint8"),
            "wave": ((64, 64), "complex64"),
        }
        assert np.isfinite(record.noisy).all()
        assert record.images["clean"].min() >= 0
        assert record.images["clean"].max() <= 1
        assert record.atoms.dtype == np.float32
        assert ((record.atoms > -0.5) & (record.atoms < 63.5)).all()
        assert set(np.unique(record.images["mask"])) <= {VACUUM, LATTICE, DEFECT}


def test_the_wave_has_modulus_one_in_vacuum() -> None:
    settings = SMALL.model_copy(update={"defects": ("pores",), "image_size_px": 128, "images_per_specimen": 1})
    found = 0
    for index in range(4):
        (record,) = simulate_specimen(settings, 0, "train", index)
        empty = record.images["mask"] == VACUUM
        if empty.sum() > 500:
            found += 1
            assert abs(record.images["wave"][empty]).mean() == pytest.approx(1, abs=0.01)
            assert abs(record.images["wave"]).mean() == pytest.approx(1, abs=0.01)
    assert found


def test_no_wave_is_kept_unless_asked_for() -> None:
    settings = SMALL.model_copy(update={"store_wave": False})
    assert all("wave" not in record.images for record in simulate_specimen(settings, 0, "train", 0))


@pytest.mark.parametrize("kind", DEFECTS)
def test_the_class_of_an_image_is_the_place_of_its_defect_in_the_full_list(kind: str) -> None:
    records = simulate_specimen(SMALL.model_copy(update={"defects": (kind,)}), 0, "train", 0)
    assert [record.class_id for record in records] == 2 * [list(DEFECTS).index(kind)]


def test_every_kind_of_defect_is_drawn_about_equally_often() -> None:
    kinds = [make_specimen(SMALL, 30.0, make_generator(0, "test", index))[0] for index in range(300)]
    counts = Counter(kinds)
    assert set(counts) == set(DEFECTS)
    assert all(abs(count - 50) < 4 * np.sqrt(50) for count in counts.values())


def test_atoms_are_bright_where_the_record_says_they_are(records: list[Record]) -> None:
    contrasts = []
    for record in records:
        rows, columns = np.round(record.atoms).astype(int).T
        if len(rows) > 20:  # a pore may fill this small picture
            clean = record.images["clean"]
            contrasts.append((clean[rows, columns].mean() - clean.mean()) / clean.std())
    assert len(contrasts) > 10
    assert min(contrasts) > 0.5


def test_the_coordinates_of_atoms_are_those_of_the_image_to_a_tenth_of_a_pixel() -> None:
    """Row before column and no half pixel: shifting the positions in any direction makes the atoms less bright."""
    from scipy.ndimage import map_coordinates

    settings = SMALL.model_copy(
        update={"defects": ("pristine",), "thermal_displacement_angstrom": 0.0, "ripple_height_angstrom": (0.0, 0.0)}
    )
    (record, _) = simulate_specimen(settings, 0, "train", 0)
    inner = record.atoms[((record.atoms > 3) & (record.atoms < 60)).all(axis=1)].astype(float)
    steps = np.linspace(-1, 1, 41)
    for axis in ([1.0, 0.0], [0.0, 1.0]):
        brightness = [
            map_coordinates(record.images["clean"], (inner + step * np.array(axis)).T, order=3).mean() for step in steps
        ]
        assert abs(steps[int(np.argmax(brightness))]) <= 0.1
