"""Find a Chromium for the tests in the browser; as a program, install Debian's where there is none."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
ELSEWHERE = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
MISSING = "no Chromium found; install Chromium or Chrome, or set the variable CHROMIUM to its program"


def find() -> str | None:
    """Return the program to run: the variable CHROMIUM if it is set, else the first one found."""
    if "CHROMIUM" in os.environ:
        return shutil.which(os.environ["CHROMIUM"])
    on_path = (shutil.which(name) for name in NAMES)
    return next((found for found in (*on_path, *ELSEWHERE) if found and Path(found).exists()), None)


def install_commands(distribution: str, user: int | None, sudo: str | None) -> list[list[str]]:
    """Return the commands that install Chromium, none where only the user can do it."""
    # Ubuntu's package of that name is a link to another package system, which containers do not run.
    if distribution != "debian" or (user != 0 and sudo is None):
        return []
    prefix = ["env", "DEBIAN_FRONTEND=noninteractive"] if user == 0 else [sudo, "DEBIAN_FRONTEND=noninteractive"]
    # Without any font the pictures of a page show boxes.
    packages = ["chromium", "fonts-dejavu-core"]
    return [
        [*prefix, "apt-get", "update", "-qq"],
        [*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ]


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return platform.system()


def main() -> int:
    """Say which Chromium will be used, after installing one where that can be done."""
    if find() is None and "CHROMIUM" not in os.environ:
        user = os.getuid() if hasattr(os, "getuid") else None
        for command in install_commands(_distribution(), user, shutil.which("sudo")):
            subprocess.run(command, check=True)
    found = find()
    print(found or MISSING, file=sys.stdout if found else sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
