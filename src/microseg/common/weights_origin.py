"""What the folder data/encoder_weights holds: the stage that brings weights writes it, the training reads it.

Always origin.json, which says where they came from, and beside it, but for none, the file `weights`, as it came,
or the folder `model`, a copy of a trained model.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from microseg.common.errors import InputError
from microseg.common.files import write_json

ORIGIN_FILE, WEIGHTS_FILE, MODEL_FOLDER = "origin.json", "weights", "model"


@dataclass(frozen=True)
class Origin:
    """Where weights came from; all but the first two are empty for none."""

    kind: Literal["none", "imagenet", "micronet", "imagenet-micronet", "file", "model"]
    encoder: str
    """The value of train.encoder."""
    name: str = ""
    version: str = ""
    address: str | None = None
    """Where the file was fetched from; None for what was not fetched."""
    sha256: str = ""
    """Digest of the file, or, for a model, of the list of its files as the program sha256sum prints it."""
    bytes: int = 0
    licence: str = ""

    @property
    def on_the_card(self) -> dict[str, Any]:
        """What the model card says of it."""
        return {"kind": "none"} if self.kind == "none" else asdict(self)


def write_origin(folder: Path, origin: Origin) -> None:
    """Write where the weights in a folder came from."""
    write_json(folder / ORIGIN_FILE, asdict(origin))


def read_origin(folder: Path) -> Origin:
    """Read what `write_origin` wrote; InputError where it is missing or broken."""
    path = folder / ORIGIN_FILE
    try:
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage encoder_weights") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not an origin of weights ({error}); rerun the stage encoder_weights") from error
