"""`emdenoise simulate-part`: a part of the training images, so that several jobs can simulate at once."""

from pathlib import Path

from emdenoise.config.loading import load_config
from emdenoise.errors import SettingsError, explain_os_errors
from emdenoise.files.locks import lock_folder
from emdenoise.progress import Progress
from emdenoise.tasks import Changes, Outcome


def simulate_part(
    *,
    parameters_file: Path,
    raw_data_dir: Path,
    part_number: int,
    num_parts: int,
    changes: Changes = None,
    progress: Progress,
) -> Outcome:
    """Simulate a part of the training images, which `download` then need not simulate; many parts at once."""
    from emdenoise.sources import SOURCES

    config = load_config(parameters_file, changes)
    simulate = SOURCES[config.data.source].simulate_part
    if simulate is None:
        known = " or ".join(name for name, source in SOURCES.items() if source.simulate_part is not None)
        raise SettingsError(
            f"{parameters_file.name}: source {config.data.source} is not simulated; take {known}, or run the download "
            "task."
        )
    with explain_os_errors(raw_data_dir):
        raw_data_dir.mkdir(parents=True, exist_ok=True)
    # Others may simulate other parts meanwhile; nobody may download.
    with lock_folder(raw_data_dir, is_written=False):
        return Outcome(simulate(config, raw_data_dir, part_number, num_parts, progress))
