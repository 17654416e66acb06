// SPDX-License-Identifier: LGPL-2.1-or-later
// What the rooms share while an image is restored.
#pragma once

#include <time.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/context/carried_files.h"
#include "engine/context/clocks.h"
#include "engine/context/descriptor_range.h"
#include "engine/context/passed_sockets.h"
#include "engine/image/store.h"
#include "engine/kernel/features.h"
#include "engine/kernel/pagemap.h"
#include "engine/kernel/proc.h"
#include "engine/memory.pb.h"
#include "engine/system_v.pb.h"
#include "engine/target/births.h"
#include "engine/target/nested_pids.h"
#include "engine/target/remote_calls.h"
#include "engine/target/reserved_ids.h"
#include "engine/target/user_spaces.h"

namespace ks::engine {

// Of image::Memory; 3: without rings of io_uring, 2: of asynchronous I/O, 1: and protection keys.
inline constexpr uint32_t kMemoryVersion = 4;

using Fds = std::map<uint32_t, Fd>;  // files of the image by id, as the engine's own descriptors

// Where the engine's own pages lie in every process that it makes, in a hole that is common to all images and to the
// engine: first the scratch area, then the new kernel's vDSO.
struct Parking {
  static constexpr uint64_t kScratchSize = 64 * 1024;
  uint64_t base = 0;
  RemoteAddress scratch() const { return {base}; }
  uint64_t vdso() const { return base + kScratchSize; }
};

// The areas of the new kernel's vDSO, as they lie parked.
struct ParkedVdso {
  std::vector<Vma> areas;  // [vvar], [vvar_vclock], [vdso]
  std::vector<std::byte> image;
  uint64_t syscall_offset = 0;  // of an instruction in the image

  const Vma& code() const;
  uint64_t size() const { return areas.back().end - areas.front().start; }
};

// An interrupted sleep, as clock_nanosleep(2) would take it up again.
struct RestoredSleep {
  int clock = 0, due_clock = 0;
  int64_t due = 0, left = 0;  // one of the two
  uint64_t remainder = 0;     // address, may be null
};

struct RestoredThread {
  SeizedThread hold;
  RemoteCalls calls;  // refers to `hold`: neither copied nor moved
  Registers registers{};
  uint64_t mask = 0;
  std::optional<RestoredSleep> sleep;

  RestoredThread(SeizedThread thread, const Registers& base, uint64_t instruction)
      : hold(std::move(thread)), calls(hold, base, instruction) {}
  RestoredThread(const RestoredThread&) = delete;
  pid_t tid() const { return hold.tid(); }
};

// The namespaces of an image that are not the system's, as descriptors of ours that processes inherit.
struct MadeNamespaces {
  struct Entry {
    Fd fd;
    int flag = 0;  // CLONE_NEW...
  };
  std::map<uint32_t, Entry> entries;  // by id
  std::map<pid_t, std::vector<uint32_t>> of_process;
  UserSpaces users;

  // What all processes have, which they inherit; all but user namespaces.
  std::set<uint32_t> common() const;
  // Done inside a namespace of IPC, the system's where `id` is 0.
  Result<> in_ipc(uint32_t id, const std::function<Result<>()>& work) const;
};

struct RestoredProcess {
  pid_t pid = 0;
  bool shares_descriptors = false, shares_directories = false;  // those of a process before it
  pid_t memory_of = 0;                                          // the first process that has its memory, maybe itself
  uint32_t user_namespace = 0;                                  // where not all PIDs may be chosen
  std::deque<RestoredThread> threads;                           // the leader first
  std::optional<RemoteMemory> memory;
  std::map<std::string, Envelope> rooms;  // what each room wrote
  RemoteAddress scratch;

  bool shares_memory() const { return memory_of != pid; }  // that of a process before it
  RemoteCalls& leader() { return threads.front().calls; }
  template <class Message>
  Result<Message> read(std::string_view room, uint32_t newest_version) const {
    auto found = rooms.find(std::string(room));
    if (found == rooms.end()) return fail("the image has no " + std::string(room));
    if (found->second.version > newest_version) return fail(std::string(room) + ": of a newer version");
    Message message;
    TRY(parse_body(found->second, message));
    return message;
  }
};

class Restoring {
 public:
  const Kernel& kernel;
  const ImageReader& image;
  Fd root;                     // where the paths of the image start
  ClockOffsets clock_offsets;  // with which the processes see their clocks go on
  Parking parking;
  ParkedVdso vdso;
  DescriptorRange own_descriptors;  // in the engine, and inherited by the processes until they have theirs
  Fds open_files, mapped_files;
  PassedSockets passed_sockets;
  RemadeFiles carried;
  std::map<dev_t, Fd> terminals;  // by the device of the slave, which they have open
  Fds doors;                      // of sockets, by id: the files that their names lead to
  Fds far_ends;                   // ends of connections, closed when what has come through them has been sent again
  std::set<uint32_t> late_files;  // made when the processes were there: they have not inherited them
  Fd sender, receiver;            // of a socket through which they get those
  Fd proc;  // where some processes are to be confined: /proc, in the processes too until they are thawed
  MadeNamespaces namespaces;
  ReservedIds reserved;  // TIDs of threads in user namespaces
  NestedPids nested;
  std::map<pid_t, Inside> inside;  // who is born in a user namespace
  std::map<pid_t, RestoredProcess*> processes;
  uint64_t memory_bytes = 0;
  std::vector<std::string> unreachable;  // see RestoreReport
  image::Inheritance inheritance;
  image::SystemV system_v;
  class IpcGuard* guard = nullptr;
  std::set<pid_t> continued;  // run on after a stop, which their parent has not been told yet

  Result<int> mapped_file(uint32_t id) const { return find(mapped_files, "mapped file", id); }
  Result<int> carried_file(uint32_t id) const { return find(carried.files, "carried file", id); }
  Result<int> open_file(uint32_t id) const { return find(open_files, "open file", id); }
  Result<RestoredProcess*> process(pid_t pid) const;
  // What a process inherits or has others inherit, null where that is nothing.
  const image::Inheritance::Member* heir(pid_t pid) const;

 private:
  static Result<int> find(const Fds& fds, std::string_view what, uint32_t id);
};

}  // namespace ks::engine
