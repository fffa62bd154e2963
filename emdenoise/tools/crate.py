"""`emdenoise crate`: describes a result as an RO-Crate for archives."""

from pathlib import Path

from emdenoise.files.atomic import open_scratch
from emdenoise.files.locks import lock_file
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.archive import write_archive


def crate(*, result_dir: Path, crate_file: Path, progress: Progress) -> Outcome:
    """Describe a result as an RO-Crate for archives: what was done, by which program, from what to what."""
    from emdenoise.tools.research_object import write_crate

    with lock_file(crate_file), open_scratch(crate_file) as folder:
        write_crate(result_dir, folder)
        write_archive(folder, crate_file)
    return Outcome(f"The RO-Crate is {crate_file}; unpacked, `emdenoise verify` takes it for a result.")
