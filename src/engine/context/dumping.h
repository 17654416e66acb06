// SPDX-License-Identifier: LGPL-2.1-or-later
// What the rooms share while a target is dumped.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/context/mapped_files.h"
#include "engine/context/mounts.h"
#include "engine/context/outside.h"
#include "engine/context/shared_memory.h"
#include "engine/context/verdict.h"
#include "engine/image/store.h"
#include "engine/kernel/features.h"
#include "engine/kernel/pagemap.h"
#include "engine/target/foothold.h"
#include "engine/target/process.h"

namespace ks::engine {

// A process on its way into the image: calls can be made in it, and rooms add their envelopes.
struct DumpedProcess {
  StoppedProcess& stopped;
  Foothold foothold;
  std::string envelopes;
  std::vector<PageRun> page_runs;  // what is still to be written when the foothold is gone

  Result<RemoteCalls*> leader() { return foothold.on(stopped.leader()); }
  template <class Message>
  void put(std::string_view kind, uint32_t version, const Message& body) {
    envelopes += seal(kind, version, body);
  }
};

struct DumpedDescriptor {
  int number = -1;
  uint32_t file = 0;  // id of the open file behind it
  bool close_on_exec = false;
};

struct Dumping {
  const Kernel& kernel;
  const DumpOptions& options;
  std::vector<StoppedProcess>& processes;
  Verdict& verdict;
  ImageWriter* image;  // null while examining
  OutsideHolders outside;
  MountView mounts;
  MappedFiles mapped_files;
  SharedMemory shared_memory;
  std::map<pid_t, std::vector<DumpedDescriptor>> descriptors;  // by number
  std::string file_envelopes;                                  // of the open files, all rooms
  uint64_t memory_bytes = 0;

  // One open file's record.
  template <class Message>
  void put_file(std::string_view kind, uint32_t version, const Message& body) {
    file_envelopes += seal(kind, version, body);
  }

  // The dump goes on, to find everything that stands in the way, but will not be committed.
  void refuse(pid_t pid, std::string object, std::string text) {
    verdict.reasons.push_back({pid, std::move(object), std::move(text)});
  }
};

}  // namespace ks::engine
