// SPDX-License-Identifier: LGPL-2.1-or-later
// The manifest of a swap: its commit record. It is written last, so where it stands, every image it names is
// whole and on disk; where it is missing or damaged, there was no swap.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "upgrade/command.h"

namespace ks::upgrade {

inline constexpr int kManifestFormat = 3;

// A process by its PID and its start in clock ticks since boot (proc(5), stat, field 22): a PID alone may be
// reused.
struct ProcessId {
  pid_t pid = 0;
  uint64_t start = 0;
};

// What lay in a directory that is empty or gone when the unit is started again.
struct SavedPlace {
  std::string path;
  std::string name;  // of the copy, a directory
  std::string digest;
  uint64_t bytes = 0;
  bool of_systemd = false;  // which makes it anew at each start; the path is then as the unit sees it
  bool whole = false;       // else there may be more in it, of others
};

struct CarriedUnit {
  std::string name;
  std::string control_group;  // below /sys/fs/cgroup
  pid_t main_pid = 0;
  std::vector<ProcessId> processes;
  std::vector<pid_t> ids;  // every PID, TID, session and process group: not to be given to others
  // What systemd needs to know to start it in a new boot as a placeholder, or afresh.
  Command command;
  std::string type;  // of the service: "simple", "notify", ...
  std::string notify_access;
  std::string syslog_identifier;            // never empty: where the unit names none, what systemd would use
  uint64_t start_timeout_seconds = 0;       // 0: none
  bool has_more_at_start = false;           // than its command: others, or conditions
  bool placeholder_not_executable = false;  // the unit's ExecPaths= leave it out
  std::vector<SavedPlace> places;
  std::vector<std::string> sockets;  // .socket units that hand it theirs, when it is started
  std::vector<std::string> remarks;  // what comes back otherwise than it was
  std::vector<std::string> held;     // its sockets whose packets are held back: hold/held_socket.h
  // The image.
  std::string image_digest;  // of the image's own manifest
  uint64_t memory_bytes = 0;
  double frozen_seconds = 0;
  int64_t frozen_at = 0;  // microseconds since 1970
};

struct LeftOutUnit {
  std::string name;
  std::vector<std::string> reasons;
};

struct Manifest {
  std::string id;
  std::string boot_id;  // of the boot that wrote it, which never restores it
  std::string kernel;   // the old one
  int64_t created = 0;  // seconds since 1970
  std::vector<CarriedUnit> units;
  std::vector<LeftOutUnit> left_out;

  const CarriedUnit* find(std::string_view unit) const;
};

// JSON, and a last line with its checksum.
std::string to_text(const Manifest& manifest);
Result<Manifest> parse_manifest(std::string_view text);

}  // namespace ks::upgrade
