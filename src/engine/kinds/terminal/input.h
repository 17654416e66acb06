// SPDX-License-Identifier: LGPL-2.1-or-later
// Input of a pseudo-terminal that nobody has read: what a line discipline has made of what was typed, line by line if
// it edits lines (ICANON, termios(3)), with one that is not ended yet.
#pragma once

#include <asm/termbits.h>

#include <cstddef>

#include "base/result.h"
#include "engine/terminal.pb.h"

namespace ks::engine::terminal {

// What a terminal holds. If it holds as much, there may be more in the buffers before it.
inline constexpr size_t kMostInput = 4094;

// A look changes nothing.
Result<> dump_input(int slave, const termios2& settings, image::Terminal& out);

// Into a terminal that holds none. Typed so that the line discipline makes the same of it; in the end it has the
// settings.
Result<> put_input(int master, int slave, const termios2& settings, const image::Terminal& terminal);

}  // namespace ks::engine::terminal
