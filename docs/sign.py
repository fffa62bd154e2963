"""Record the signatures of the simulated data of the committed parameters files, as the reference for `download`.

Run after a change of the recipe: ``python docs/sign.py``. The content hash is exact on the type of machine that
made it; the block means hold within a tolerance elsewhere.
"""

import json
import tempfile
from pathlib import Path

from emdenoise.config.loading import load_config
from emdenoise.dataset.record import SPLITS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.progress import SilentProgress
from emdenoise.sources.graphene import REFERENCE_SIGNATURES, download_graphene, hash_recipe
from emdenoise.sources.signatures import sign

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "emdenoise" / "sources" / REFERENCE_SIGNATURES
LEFT_OUT = ("large.parameters.yaml",)
"""Parameters files whose images fill a disk."""


def main() -> None:
    """Simulate each recipe once and write all signatures."""
    signatures: dict[str, dict[str, object]] = {}
    REFERENCE.write_text("{}\n")
    for parameters in sorted((ROOT / "workspace" / "parameters").glob("*.parameters.yaml")):
        config = load_config(parameters)
        recipe = hash_recipe(config)
        if config.data.source != "graphene" or recipe in signatures or parameters.name in LEFT_OUT:
            continue
        with tempfile.TemporaryDirectory() as folder:
            download_graphene(config, Path(folder), SilentProgress())
            signatures[recipe] = {}
            for split in SPLITS:
                with RecordFile(Path(folder) / "graphene" / recipe[:16] / f"{split}.h5") as records:
                    signatures[recipe][split] = sign(records).to_json()
    REFERENCE.write_text(json.dumps(signatures) + "\n")


if __name__ == "__main__":
    main()
