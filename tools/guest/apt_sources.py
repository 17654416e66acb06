#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print the guest's sources.list, derived from where this machine gets its own Debian packages.

The guest is bookworm, or what GUEST_SUITE says, whatever release this machine
runs; so only the addresses and the signing key are taken over, and backports
come from the archive that the release itself comes from. The newest kernel
comes from the backports of trixie.
"""
import glob
import os
import re
import sys

SUITE = os.environ.get("GUEST_SUITE", "bookworm")
NEWEST_KERNELS = "trixie-backports"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def one_line_entries(text):
    """`deb [options] URI SUITE COMPONENT...`"""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            options, uri, suite, components = match.groups()
            yield uri, [suite], components.split(), options or ""


def deb822_entries(text):
    """Stanzas of `Key: value`; a continuation line begins with a blank."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        unfolded = re.sub(r"\n\s+", " ", "\n".join(lines))
        fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.*)$", unfolded, re.M))
        fields = {key.lower(): value.split() for key, value in fields.items()}
        if "deb" not in fields.get("types", []) or fields.get("enabled", ["yes"])[0] == "no":
            continue
        for uri in fields.get("uris", []):
            yield uri, fields.get("suites", []), fields.get("components", []), " ".join(fields.get("signed-by", []))


def entries():
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        try:
            yield from one_line_entries(open(path).read())
        except FileNotFoundError:
            pass
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        yield from deb822_entries(open(path).read())


def is_debian(uri, components, signed_by):
    """Third parties use Debian's suite names too, but not its layout and its key at once."""
    last = uri.rstrip("/").rsplit("/", 1)[-1]
    return "main" in components and ("debian-archive" in signed_by or last in ("debian", "debian-security"))


def main():
    archive = security = None
    for uri, suites, components, signed_by in entries():
        if not is_debian(uri, components, signed_by):
            continue
        if any(suite.endswith("-security") for suite in suites):
            security = security or uri
        if any(not suite.endswith("-security") for suite in suites):
            archive = archive or uri
    if archive is None:
        sys.exit("apt_sources.py: no Debian entry in /etc/apt/sources.list or sources.list.d")
    for suite in dict.fromkeys((SUITE, SUITE + "-updates", SUITE + "-backports", NEWEST_KERNELS)):
        print(f"deb [signed-by={KEYRING}] {archive} {suite} main")
    if security is not None:
        print(f"deb [signed-by={KEYRING}] {security} {SUITE}-security main")


main()
