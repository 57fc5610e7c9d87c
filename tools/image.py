"""Run the Dockerfile's steps in a chroot of its Debian release, where no container engine is.

    python -m tools.image FOLDER

This is not `docker build`: layers and registry are not tried. It needs root, debootstrap and
Debian's packages. `python:3.13-slim-trixie` is stood in for by Debian's own Python 3.13, as a
virtual environment in /usr/local, where the image has its Python too.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


ROOT = Path(__file__).resolve().parents[1]
BASE = re.compile(r"python:(?P<python>3\.\d+)-slim-(?P<suite>[a-z]+)$")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
# Steps that ask servers other than the package indexes; they are named, and not run.
ELSEWHERE = ("freqtrade install-ui",)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile with their arguments, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, arguments = line.strip().partition(" ")
            yield name.upper(), " ".join(arguments.split())


def context(ignore: str, files: list[str]) -> list[str]:
    """Return which files `docker build` would see, by the lines of a .dockerignore."""
    rules = [line for line in ignore.splitlines() if line and not line.startswith("#")]

    def kept(name: str) -> bool:
        keep = True
        parts = PurePosixPath(name).parts
        ways = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        for rule in rules:
            pattern = rule.removeprefix("!")
            plain = pattern.removeprefix("**/")
            looked_at = [*ways, *(parts if plain != pattern else ())]
            if any(fnmatch.fnmatchcase(way, plain) for way in looked_at):
                keep = rule.startswith("!")
        return keep

    return [name for name in files if kept(name)]


@dataclass
class Image:
    """Hold a root folder and what the instructions so far have set.

    :param folder: becomes the root; emptied by nothing here.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the root, as the user and in the folder of now."""
        setting = {"PATH": PATH, "HOME": f"/home/{self.user}", **self.environment}
        if self.user == "root":
            setting["HOME"] = "/root"
        variables = [f"{name}={value}" for name, value in setting.items()]
        user = [] if self.user == "root" else [f"--userspec={self.user}"]
        return subprocess.run(
            [
                *("chroot", *user, str(self.folder), "/usr/bin/env", "-i", *variables),
                *("sh", "-c", f"cd {self.workdir} && {command}"),
            ],
            check=check,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def apply(self, name: str, arguments: str) -> None:
        """Carry out one instruction.

        :raises ValueError: it is one that this script does not know.
        """
        if name == "FROM":
            self._base(arguments)
        elif name == "ENV":
            self.environment |= dict(part.split("=", 1) for part in arguments.split())
        elif name == "USER":
            self.user = arguments
        elif name == "WORKDIR":
            self.workdir = arguments
            (self.folder / arguments.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            *sources, target = arguments.split()
            self._copy(sources, target)
        elif name == "RUN":
            self.run(arguments)
        elif name == "ENTRYPOINT":
            self.entrypoint = json.loads(arguments)
        elif name != "CMD":
            raise ValueError(
                f"{name}: expected FROM, ENV, USER, WORKDIR, COPY, RUN, ENTRYPOINT, CMD"
            )

    def _base(self, image: str) -> None:
        base = BASE.match(image)
        if base is None:
            raise ValueError(f"FROM {image}: expected python:3.X-slim-SUITE")
        if not (self.folder / "bin").exists():
            packages = "python3,python3-venv,ca-certificates"
            command = ["debootstrap", "--variant=minbase", f"--include={packages}", base["suite"]]
            subprocess.run([*command, str(self.folder)], check=True, stdout=subprocess.DEVNULL)
        # Machines behind a proxy of their own trust more than Debian's certificates.
        shutil.copy(CERTIFICATES, self.folder / CERTIFICATES.relative_to("/"))
        shutil.copy("/etc/resolv.conf", self.folder / "etc")
        self.environment["PIP_CERT"] = str(CERTIFICATES)
        found = self.run("python3 -m venv /usr/local && python3 --version").stdout
        if not found.startswith(f"Python {base['python']}."):
            raise ValueError(f"{base['suite']} has {found.strip()}, not Python {base['python']}")

    def _copy(self, sources: list[str], target: str) -> None:
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        seen = context((ROOT / ".dockerignore").read_text(encoding="utf-8"), files.splitlines())
        for source in sources:
            found = [name for name in seen if name == source or name.startswith(f"{source}/")]
            if not found:
                raise ValueError(f"COPY {source}: .dockerignore leaves nothing of it")
            for name in found:
                relative = PurePosixPath(name).relative_to(source)
                inside = Path(target.lstrip("/"))
                place = self.folder / inside / (relative if relative.parts else Path(name).name)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, place)


def build(folder: Path, log: Callable[[str], None] = print) -> Image:
    """Carry out the Dockerfile in a folder.

    :param log: called with one line for each step.
    :raises ValueError: an instruction is not known here.
    :raises subprocess.CalledProcessError: a step failed; its output is in `stdout`.
    """
    image = Image(folder)
    for name, arguments in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        if name == "RUN" and arguments in ELSEWHERE:
            log(f"not run  {name} {arguments}")
            continue
        started = time.monotonic()
        image.apply(name, arguments)
        log(f"{time.monotonic() - started:5.0f} s  {name} {arguments[:80]}")
    return image


def main() -> None:
    """Build, then start the image's entry point as its user."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1]).resolve()
    try:
        image = build(folder)
        who = image.run("id -u").stdout.strip()
        listed = image.run(f"{' '.join(image.entrypoint)} list-freqaimodels -c config.example.json")
    except subprocess.CalledProcessError as failed:
        raise SystemExit(f"{failed.stdout}\n{failed}") from failed
    size = subprocess.run(["du", "-sm", str(folder)], check=True, capture_output=True, text=True)
    print(listed.stdout)
    print(f"user {who}, {size.stdout.split()[0]} MB")
    if who == "0" or not re.search(r"LSTMRegressor\b.*\bOK\b", listed.stdout):
        raise SystemExit("The image runs as root, or does not load LSTMRegressor.")


if __name__ == "__main__":
    main()
