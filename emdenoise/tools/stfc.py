"""`emdenoise export-stfc`: writes training and test images as the STFC codes read them."""

from pathlib import Path

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome

DESCRIPTION_FILE = "stfc.json"


@hold_folders(reads=("data_dir",), writes=("stfc_dir",))
def export_stfc(*, data_dir: Path, stfc_dir: Path, progress: Progress) -> Outcome:
    """Write training and test images in the file layout of the STFC codes, so that both see the same images."""
    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.errors import explain_os_errors
    from emdenoise.files.atomic import hash_file, open_scratch, write_json
    from emdenoise.results.preconditions import check_data
    from emdenoise.results.task_record import read_record
    from emdenoise.sources import SOURCES
    from emdenoise.sources.em_graphene_sim import FILES, write_pairs

    record = read_record(data_dir, "preprocess")
    config = check_settings(record.settings, RunConfig, "the settings in records/preprocess.json")
    inputs = check_data(config, data_dir, "train.h5", "test.h5")
    with open_scratch(stfc_dir / DESCRIPTION_FILE) as folder:
        num_images = []
        for split in ("train", "test"):
            with RecordFile(data_dir / f"{split}.h5") as records:
                write_pairs(folder, split, records, progress)
                num_images.append(len(records))
        with explain_os_errors(stfc_dir / DESCRIPTION_FILE):
            (stfc_dir / DESCRIPTION_FILE).unlink(missing_ok=True)  # it must not vouch for files that it does not know
        for name in FILES:
            with explain_os_errors(stfc_dir / name):
                (stfc_dir / name).parent.mkdir(exist_ok=True)
                (folder / name).replace(stfc_dir / name)
    description = {
        "source": config.data.source,
        "window_of_mean": SOURCES[config.data.source].find_window(config),
        "inputs": inputs,
        "files": {name: hash_file(stfc_dir / name) for name in FILES},
    }
    write_json(stfc_dir / DESCRIPTION_FILE, description)
    num_train, num_test = num_images
    return Outcome(f"Wrote {num_train} pairs for training and {num_test} for the test to {stfc_dir}.")
