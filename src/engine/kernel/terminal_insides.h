// SPDX-License-Identifier: LGPL-2.1-or-later
// Input of a terminal that nobody has read (drivers/tty/n_tty.c). Who reads it takes it, and of a line that is being
// typed nobody can even ask how long it is; so it is read where it lies.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct TerminalInput {
  std::string bytes;
  std::vector<bool> ends_line;   // of each of them; a zero that does stands for the end of a file (VEOF)
  bool has_been_pushed = false;  // the last that does ends no line, but stood there when lines began to be edited
  bool takes_next_literally = false;  // VLNEXT has been typed
  bool on_its_way = false;            // there is more, which the kernel has not handed on yet
};

// Of the terminal that we have open under this number: its slave. Fails where the kernel has no BTF or bpf(2), or
// lets nobody read in it (kernel_lockdown(7)).
Result<TerminalInput> look_at_input(int slave);

}  // namespace ks::engine
