"""A Dockerfile carried out without a container engine: its steps in a folder, its entrypoint as process 1 below it.

`build` reads the instructions and runs each as an engine would, by chroot. FROM an image of Docker's cannot be had: the
folder is Debian bookworm by debootstrap instead, with its Python 3.11 as a virtual environment in /usr/local, where `python`
and `pip` are in the image. `Image.command` is the entrypoint in new mount, pid and IPC namespaces, with the capabilities
that Docker leaves to a container. An instruction that is not known is an error.
"""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_DEBIAN, _MIRROR = "bookworm", "http://deb.debian.org/debian"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What `docker run` leaves of root's rights; --cap-add adds to it.
_CAPABILITIES = """
    chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap
"""
# The machine's way to the network, which the image's own files do not know.
_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs", "/etc/pip.conf")
_NETWORK_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL")
_INSIDE = """
set -eu
tree=$1 fuse=$2 volume=$3; shift 3
mount --make-rprivate /
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount -t sysfs -o ro sysfs "$tree/sys"
mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
for name in null zero full random urandom; do
    : >"$tree/dev/$name"; mount --bind "/dev/$name" "$tree/dev/$name"
done
if [ "$fuse" = 1 ]; then mknod -m 666 "$tree/dev/fuse" c 10 229; fi
mkdir -p "$tree$volume"
mount --bind "$volume" "$tree$volume"
exec "$@"
"""


@dataclass(slots=True)
class Image:
    """What a Dockerfile makes: a tree, and how to start in it."""

    tree: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    folder: str = "/"
    user: str = "root"
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def command(
        self, volume: Path, *arguments: str, device: bool = True, sys_admin: bool = True, user: str | None = None
    ) -> list[str]:
        """As `docker run [--device /dev/fuse] [--cap-add SYS_ADMIN] [--user USER] -v VOLUME:VOLUME -w VOLUME IMAGE ...`."""
        kept = [*_CAPABILITIES.split(), *(["sys_admin"] if sys_admin else [])]
        bounded = ["setpriv", "--bounding-set", ",".join(["-all", *(f"+{each}" for each in kept)])]
        rooted = ["chroot", f"--userspec={user or self.user}", str(self.tree), "/usr/bin/env", "-i"]
        rooted += ["-C", str(volume)]
        variables = [f"{name}={value}" for name, value in self._environment(user or self.user).items()]
        started = [*self.entrypoint, *(arguments or self.arguments)]
        unshared = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "sh", "-c", _INSIDE, "sh"]
        return [*unshared, str(self.tree), str(int(device)), str(volume), *bounded, *rooted, *variables, *started]

    def _environment(self, user: str) -> dict[str, str]:
        lines = (self.tree / "etc" / "passwd").read_text().splitlines()
        homes = {name: words[5] for words in (line.split(":") for line in lines) for name in (words[0], words[2])}
        return {**self.environment, "HOME": homes.get(user.partition(":")[0], "/")}


def build(dockerfile: Path, context: Path, tree: Path) -> Image:
    """Carry out `dockerfile` below `tree`."""
    image = Image(tree)
    for name, rest in instructions(dockerfile.read_text()):
        match name:
            case "FROM":
                assert rest.startswith("python:3"), rest
                _from(tree)
            case "RUN":
                _run(image, rest)
            case "COPY":
                _copy(context, tree, rest.split())
            case "ENV":
                image.environment.update(dict(word.split("=", 1) for word in shlex.split(rest)))
            case "WORKDIR":
                image.folder = rest
                (tree / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                image.user = rest
            case "ENTRYPOINT":
                image.entrypoint = tuple(json.loads(rest))
            case "CMD":
                image.arguments = tuple(json.loads(rest))
            case _:
                message = f"{dockerfile}: {name} is not known here"
                raise AssertionError(message)
    return image


def instructions(text: str) -> list[tuple[str, str]]:
    """(NAME, rest) of each instruction; lines that end in a backslash go on, comments are dropped."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def _from(tree: Path) -> None:
    packages = "--include=python3,python3-venv,ca-certificates"
    _quietly(["debootstrap", "--variant=minbase", packages, _DEBIAN, str(tree), _MIRROR])
    _quietly(["chroot", str(tree), "python3", "-m", "venv", "/usr/local"])
    mtab = tree / "etc" / "mtab"  # an engine makes it
    mtab.unlink(missing_ok=True)
    mtab.symlink_to("/proc/mounts")


def _run(image: Image, line: str) -> None:
    networked = {name: os.environ[name] for name in _NETWORK_VARIABLES if name in os.environ}
    script = ["set -e"]
    for path in filter(os.path.exists, _NETWORK):
        target = shlex.quote(f"{image.tree}{path}")
        make = f"mkdir -p {target}" if Path(path).is_dir() else f"touch {target}"
        script += [f"[ -e {target} ] || {make}", f"mount --bind {path} {target}"]
    script += [f"mount -t proc proc {shlex.quote(str(image.tree))}/proc", 'exec chroot "$@"']
    variables = [f"{name}={value}" for name, value in {**networked, **image.environment}.items()]
    inside = [
        str(image.tree),
        "/usr/bin/env",
        "-i",
        "DEBIAN_FRONTEND=noninteractive",
        *variables,
        "/bin/sh",
        "-c",
        line,
    ]
    _quietly(["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script), "sh", *inside])


def _copy(context: Path, tree: Path, words: Sequence[str]) -> None:
    *sources, to = words
    target = tree / to.lstrip("/")
    for source in (context / word for word in sources):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder = target if to.endswith("/") else target.parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / source.name if to.endswith("/") else target)


def _quietly(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{shlex.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
