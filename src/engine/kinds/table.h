// SPDX-License-Identifier: LGPL-2.1-or-later
// All open files of a target, each once however many descriptors and processes share it.
#pragma once

#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

class OpenFileTable {
 public:
  // The id of the open file behind a descriptor.
  Result<uint32_t> add(StoppedProcess& process, int fd);
  std::span<const OpenFile> files() const { return files_; }

 private:
  // Candidates for being one and the same: kcmp(2) decides.
  using Key = std::tuple<dev_t, ino_t, int>;
  std::vector<OpenFile> files_;
  std::map<Key, std::vector<uint32_t>> by_inode_;
};

// Each kind dumps its own; what none owns is refused.
Result<> dump_open_files(Dumping& dumping, const OpenFileTable& table);
// Every file of the image, by id, under descriptors of at least `floor`.
Result<Fds> make_open_files(Restoring& restoring, std::string_view envelopes, int floor);

}  // namespace ks::engine
