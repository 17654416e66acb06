// SPDX-License-Identifier: LGPL-2.1-or-later
// What the rooms share while a target is dumped.
#pragma once

#include <unistd.h>

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "engine/context/carried_files.h"
#include "engine/context/clocks.h"
#include "engine/context/fresh_sockets.h"
#include "engine/context/interview.h"
#include "engine/context/mapped_files.h"
#include "engine/context/mounts.h"
#include "engine/context/open_file.h"
#include "engine/context/outside.h"
#include "engine/context/received_message.h"
#include "engine/context/system_v_survey.h"
#include "engine/context/verdict.h"
#include "engine/image/store.h"
#include "engine/kernel/aio.h"
#include "engine/kernel/features.h"
#include "engine/kernel/pagemap.h"
#include "engine/keyrings.pb.h"
#include "engine/memory.pb.h"
#include "engine/target/births.h"
#include "engine/target/foothold.h"
#include "engine/target/nested_pids.h"
#include "engine/target/process.h"
#include "engine/target/user_spaces.h"

namespace ks::engine {

// A process on its way into the image: calls can be made in it, and rooms add their envelopes.
struct DumpedProcess {
  StoppedProcess& stopped;
  Foothold foothold;
  ProcessAnswers answers{};
  std::string envelopes{};

  Result<RemoteCalls*> leader() { return foothold.on(stopped.leader()); }
  template <class Message>
  void put(std::string_view kind, uint32_t version, const Message& body) {
    envelopes += seal(kind, version, body);
  }
};

// Private memory of a process, to be written when the foothold is gone.
struct DumpedPages {
  std::vector<PageRun> runs;
  std::vector<image::Area> maybe_shared;  // areas with pages that other processes may have too
};

struct DumpedDescriptor {
  int number = -1;
  uint32_t file = 0;  // id of the open file behind it
  bool close_on_exec = false;
};

// A line "lock:" of /proc/PID/fdinfo. Record locks are told to the process that holds them, others to all that have
// the file.
struct DumpedLock {
  pid_t pid = 0;
  int fd = -1;
  uint32_t file = 0;
  std::string line;
};

// A terminal of which the target has both ends; 0: nobody's.
struct TerminalUse {
  pid_t session = 0, foreground = 0;
};

// What maps(5) tells of the file behind an area: device, inode, path, and whether the area is shared, and may be
// written to then.
using AreaFile = std::tuple<uint32_t, uint32_t, uint64_t, std::string, bool, bool>;

// The session keyring of a process, and as whom it may read what is in it.
struct KeyringView {
  int32_t keyring = 0;
  std::array<uid_t, 4> uids{};
  std::array<gid_t, 4> gids{};
  std::vector<gid_t> groups;
  uint64_t capabilities = 0;
  auto operator<=>(const KeyringView&) const = default;
};

struct Dumping {
  const Kernel& kernel;
  const DumpOptions& options;
  std::vector<StoppedProcess>& processes;
  Verdict& verdict;
  ImageWriter* image;  // null while examining
  OutsideHolders outside;
  ClockOffsets clock_offsets;  // of the target
  MountView mounts;            // of the target,
  MountView own_mounts;        // and ours: systemd opens some files of a service before it enters its sandbox
  MappedFiles mapped_files;
  CarriedFiles carried_files{
      outside, options.largest_deleted_file,
      [this](const std::string& path, uint64_t file_system) { return vanishes(path, file_system); }};
  std::map<pid_t, std::vector<DumpedDescriptor>> descriptors;  // by number
  NestedPids nested;
  UserSpaces users;
  std::map<std::string, uint32_t> user_namespaces;  // ids by name
  std::map<pid_t, Inside> inside;                   // who is to be born in a user namespace
  std::map<pid_t, pid_t> forked_by;                 // of processes that a thread other than the leader has forked
  std::vector<std::set<pid_t>> sharing_descriptors, sharing_directories;  // processes that share theirs
  // Of processes that share theirs: the first one of them.
  std::map<pid_t, pid_t> memory_of, handlers_of;
  std::vector<DumpedLock> locks;
  std::map<pid_t, DumpedPages> pages;
  std::optional<int32_t> session_keyring;           // of all processes that have one of their own
  std::map<KeyringView, image::Keyrings> keyrings;  // without anything that stands in the way
  std::map<dev_t, TerminalUse> terminals;           // by the device of the slave
  SystemVSurvey system_v;
  std::map<pid_t, Result<std::vector<AioContext>>> aio_contexts;  // of those that have a ring in their memory
  std::map<std::pair<pid_t, uint64_t>, uint32_t> ring_areas;      // of io_uring, by start: id of the open file
  std::set<std::pair<uint32_t, std::string>> open_queues;         // of POSIX messages, by namespace of IPC
  std::span<const OpenFile> open_files;                           // by id
  std::map<uint32_t, std::vector<ReceivedMessage>> queues;        // of UNIX sockets, by id
  bool messages_counted = false;                                  // and so are known to be all
  bool somebody_is_restricted = false;                            // on this machine, by Landlock
  std::set<pid_t> remembered;  // PIDs of which only sockets still tell (SO_PEERCRED)
  std::string file_envelopes;  // of the open files, all rooms
  FreshSockets fresh_sockets;
  std::map<AreaFile, uint32_t> area_files;
  uint64_t memory_bytes = 0;
  std::vector<Fd> connections;  // whose peers are not to hear that the processes are killed

  // Number under which a process has an open file, -1 where it has not.
  int number_of(pid_t pid, uint32_t file) const;
  // The open file under a number, null where there is none.
  const OpenFile* file_at(pid_t pid, int number) const;

  // Its memory is that of a process before it.
  bool shares_memory(pid_t pid) const {
    auto first = memory_of.find(pid);
    return first != memory_of.end() && first->second != pid;
  }

  // In a directory whose contents are put there again by name (DumpOptions::refilled).
  bool is_refilled(const std::string& path) const;
  // Whether what has this path is gone with the next boot.
  bool vanishes(const std::string& path, uint64_t file_system) const;
  // Below a directory in which others make theirs anew (DumpOptions::made_anew).
  bool is_made_anew(const std::string& path) const;

  // One open file's record.
  template <class Message>
  void put_file(std::string_view kind, uint32_t version, const Message& body) {
    file_envelopes += seal(kind, version, body);
  }

  // The file that a magic link of /proc leads to, as an executable or a mapping has it.
  Result<uint32_t> mapped_file(const std::string& link, bool shared, bool writable,
                               const SegmentUse* segment = nullptr);
  // The one behind an area.
  Result<uint32_t> mapped_file(const StoppedProcess& process, const Vma& area);

  // The dump goes on, to find everything that stands in the way, but will not be committed.
  void refuse(pid_t pid, std::string object, std::string text) {
    verdict.reasons.push_back({of_service(pid), std::move(object), std::move(text)});
  }
  // Carried otherwise than it was, as the options ask for, or not under every kernel.
  void remark(pid_t pid, std::string object, std::string text) {
    verdict.remarks.push_back({of_service(pid), std::move(object), std::move(text)});
  }

 private:
  bool is_within(const std::string& path, const std::vector<std::string>& directories) const;
  // Files in flight are open in nobody but ourselves.
  static pid_t of_service(pid_t pid) { return pid == ::getpid() ? 0 : pid; }
};

}  // namespace ks::engine
