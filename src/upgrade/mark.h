// SPDX-License-Identifier: LGPL-2.1-or-later
// The mark: the section [X-KernelSwap] of a unit file or of one of its drop-ins. systemd ignores sections
// whose name starts with "X-" and tells nobody of them (systemd.unit(5)), so we read the files ourselves, in
// the order in which systemd applied them.
//
//   [X-KernelSwap]
//   Checkpoint=yes|no
//   ExternalSockets=refuse|reset
//   NetworkSettings=refuse|leave
//   LargestDeletedFile=BYTES|infinity
//   CarryPaths=PATH...
//   LeavePaths=PATH...
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

struct Mark {
  bool checkpoint = false;
  bool reset_external_sockets = false, leave_network_settings = false;
  std::optional<uint64_t> largest_deleted_file;       // bytes; nothing: as it is by default
  std::vector<std::string> carry_paths, leave_paths;  // below /run, without what systemd makes
  std::string file;  // the file that decided `checkpoint`; empty where none speaks of it
};

// What `text`, the content of `file`, adds to the mark. An unknown key, an unknown value and a section that
// was meant to be ours are errors that name file and line: a service believed to be marked would be lost
// silently.
Result<> apply_mark(Mark& mark, std::string_view text, const std::string& file);

// The unit's own file first, then its drop-ins, a later one overriding an earlier one.
Result<Mark> read_mark(const std::string& fragment, const std::vector<std::string>& drop_ins);

std::optional<bool> parse_boolean(std::string_view word);   // as systemd.syntax(7) has it
std::optional<uint64_t> parse_size(std::string_view text);  // "4711", "512M", "2G"; "infinity"

}  // namespace ks::upgrade
