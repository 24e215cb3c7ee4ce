"""The folder of a run: ``runs/<app>/<recipe>/<n>/``."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integrand.apps.training.files import write_json
from integrand.core.errors import InputError


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its files; every later command takes this folder.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(cls, root: Path, app: str, recipe: str) -> "RunFolder":
        """Make the next numbered folder, and prove that files can be written to it.

        Raises:
            InputError: the folder cannot be made or written.
        """
        parent = root / app / recipe
        try:
            parent.mkdir(parents=True, exist_ok=True)
            number = max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0) + 1
            while True:
                try:
                    (parent / str(number)).mkdir()
                    break
                except FileExistsError:  # another training took the number in the meantime
                    number += 1
            run = cls(parent / str(number))
            run.checkpoints.mkdir()
            run.figures.mkdir()
            probe = run.path / ".probe"
            probe.write_bytes(b"0" * 4096)
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"cannot write the run folder under {root} ({reason}): choose another place with --runs DIR, or make "
                "this one writable."
            ) from error
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open the folder of a run that was started.

        Raises:
            InputError: it does not exist or is not a run.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"there is no run folder {path}: `integrand train` prints the folder it makes.")
        if not path.is_dir() or not (path / "config.yaml").is_file() or not (path / "environment.json").is_file():
            places = ("*", "*/*", "*/*/*", "*/*/*/*") if path.is_dir() else ()  # runs/<app>/<recipe>/<n>, from above
            inner = sorted(p.parent for place in places for p in path.glob(f"{place}/environment.json"))
            hint = f" Did you mean {inner[-1]}?" if inner else " A run folder looks like runs/timeseries/weather/1."
            raise InputError(f"{path} is not a run folder: it holds no config.yaml and environment.json.{hint}")
        return cls(path)

    def require_space(self, needed: int) -> None:
        """Raise ``InputError`` unless ``needed`` bytes are free."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise InputError(
                f"the disk of {self.path} has {free / 1e6:.0f} MB free and this run needs about {needed / 1e6:.0f} MB: "
                "free some space, or choose another place with --runs DIR."
            )

    def require_data(self, dataset: str, split_hash: str) -> None:
        """Raise ``InputError`` unless the data, split and all, are those of the run."""
        then = self.read("environment.json")["split_hash"]
        if split_hash != then:
            raise InputError(
                f"the data {dataset!r} are not those of the run: split hash {split_hash}, then {then}. "
                "Restore the file the run was trained on."
            )

    def discard(self) -> None:
        """Remove the folder of a run that never began."""
        if not self.config.exists():
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def checkpoints(self) -> Path:
        """``best.ckpt`` and ``last.ckpt``."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Pictures, PNG."""
        return self.path / "figures"

    @property
    def config(self) -> Path:
        """The resolved options."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """What was logged."""
        return self.path / "metrics.csv"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.path / "report.html"

    def read(self, name: str) -> Any:
        """Read ``results.json`` or ``environment.json``.

        Raises:
            InputError: the run has not got that far, or the file is damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError as error:
            raise InputError(f"{self.path} has no {name}: the run did not finish; `--resume {self.path}`.") from error
        except ValueError as error:
            raise InputError(f"{path} is damaged: `integrand evaluate {self.path}` writes it anew.") from error

    def write(self, name: str, content: Any) -> None:
        """Write ``results.json`` or ``environment.json``."""
        write_json(self.path / name, content)
