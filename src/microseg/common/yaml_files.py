"""YAML as DVC reads it."""

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from microseg.common.errors import InputError


def read_yaml(path: Path, missing: str) -> object:
    """Return what a YAML file holds.

    DVC reads params.yaml with this library too: 1e-4 is a number for both, and a key given twice an error. For
    PyYAML, which knows YAML 1.1 only, 1e-4 would be a text.

    Raises:
        InputError: there is no such file, which is said in the words of `missing`, or it is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: {missing}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
