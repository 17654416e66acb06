// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/obstacles_in_memory.h"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

namespace {

Result<bool> has_more_than_one_node() {
  auto nodes = read_file("/sys/devices/system/node/online");
  return nodes && trim(*nodes) != "0";
}

Result<> check_areas(Dumping& dumping, const StoppedProcess& process) {
  if (!TRY(has_more_than_one_node())) return {};
  std::string lines = TRY(read_file(process.proc("numa_maps")));
  for (auto line : split(lines, '\n')) {
    auto words = split_words(line);
    if (words.size() > 1 && words[1] != "default")
      dumping.refuse(process.pid, fmt::format("area {}", words[0]),
                     fmt::format("has the memory policy {}, which is not supported yet", words[1]));
  }
  return {};
}

}  // namespace

Result<> check_memory_policies(Dumping& dumping, DumpedProcess& process) {
  StoppedProcess& stopped = process.stopped;
  for (size_t i = 0; i < stopped.threads.size(); ++i)
    if (process.answers.threads[i].memory_policy != MPOL_DEFAULT)
      dumping.refuse(stopped.pid, fmt::format("thread {}", stopped.threads[i].tid()),
                     "has a memory policy (set_mempolicy), which is not supported yet");
  TRY(check_areas(dumping, stopped));
  return {};
}

}  // namespace ks::engine
