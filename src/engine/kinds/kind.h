// SPDX-License-Identifier: LGPL-2.1-or-later
// A kind of open file. Each kind is one room: a folder with its schema, its code for both directions and its
// test, and one entry in all.cc.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/image/envelope.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

// One open file description; any number of descriptors may lead to it.
struct OpenFile {
  uint32_t id = 0;
  pid_t pid = 0;     // a process that has it,
  int fd = -1;       // and under which number
  std::string link;  // where /proc/PID/fd/N leads
  struct stat stat{};
  FdInfo info;

  // A duplicate of our own. It shares position and flags with the service's: change neither.
  Result<Fd> fetch() const;
  std::string object() const { return fmt::format("fd {} ({})", fd, link); }
  // Flags for open(2) or F_SETFL, without those that only mattered at opening.
  int flags() const;
};

struct Kind {
  std::string_view name;
  uint32_t version;
  bool (*owns)(const OpenFile&);
  // Puts one envelope per file, or refuses it. Must not consume anything.
  Result<> (*dump)(Dumping&, std::span<const OpenFile>);
  // The files again, by id.
  Result<Fds> (*make)(Restoring&, std::span<const Envelope>);
};

// In the order in which they are asked and made.
std::span<const Kind* const> all_kinds();

}  // namespace ks::engine
