#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the includes of src/ with the table of layers in ARCHITECTURE.md."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine/kinds", "engine/task")
# All that the layer above the engine may see of it.
FACE = {"engine/engine.h", "engine/context/verdict.h"}


def read_layers(text):
    """[{folders of the lowest layer}, ...]"""
    table = text.split("<!-- layers:")[1].split("<!-- end of layers -->")[0]
    return [set(re.findall(r"`([a-z_/]+)`", row.split("|")[1])) for row in table.splitlines() if row.startswith("| `")]


def layer_of(path, layers):
    """The number of the layer with the longest folder that holds the path, or None."""
    best = max(((len(folder), number) for number, layer in enumerate(layers) for folder in layer
                if path.startswith(folder + "/")), default=None)
    return best[1] if best else None


def room_of(path):
    for folder in ROOMS:
        if path.startswith(folder + "/"):
            rest = path[len(folder) + 1:]
            return folder + "/" + rest.split("/")[0] if "/" in rest else None
    return None


def complaints(path, text, layers):
    own, own_room = layer_of(path, layers), room_of(path)
    if own is None:
        yield f"{path}: in no layer of ARCHITECTURE.md"
        return
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'#include "([^"]+)"', line)
        if not found or found[1].endswith(".pb.h"):
            continue
        target = found[1]
        other = layer_of(target, layers)
        if other is None:
            continue  # generated, or a library's
        if other > own:
            yield f"{path}:{number}: {target} lies in a higher layer"
        if own == len(layers) - 1 and target.startswith("engine/") and target not in FACE:
            yield f"{path}:{number}: {target} is the engine's own; its face is engine/engine.h"
        room = room_of(target)
        if room and own_room and room != own_room:
            yield f"{path}:{number}: {target} is another room's"


def main():
    layers = read_layers((ROOT / "ARCHITECTURE.md").read_text())
    # A check that sees nothing would never complain.
    assert layers[0] == {"base"} and len(layers) == 8, layers
    assert list(complaints("base/x.cc", '#include "engine/engine.h"\n', layers))
    found = [complaint for source in sorted((ROOT / "src").rglob("*")) if source.suffix in (".cc", ".h")
             for complaint in complaints(str(source.relative_to(ROOT / "src")), source.read_text(), layers)]
    print("\n".join(found) or f"layers: {len(layers)}, no include goes upward")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
