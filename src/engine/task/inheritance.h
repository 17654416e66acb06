// SPDX-License-Identifier: LGPL-2.1-or-later
// Private pages that processes share since a fork(2) stay shared: they are written once, and a restore fills them
// in where all who share them inherit them.
#pragma once

#include <sys/types.h>

#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/memory.pb.h"
#include "engine/task/descent.h"

namespace ks::engine {

// Pages and the process that they are read from.
struct PageSource {
  pid_t pid = 0;
  PageRun run;
};
// Who gets which pages before its children are cloned.
using GivenPages = std::map<pid_t, std::vector<PageSource>>;

// Finds what is shared, and leaves in `dumping.pages` what each process does not inherit. `cloners` says who will
// clone whom. Everything must be stopped, and nothing of ours in its memory.
Result<GivenPages> find_inheritance(Dumping& dumping, std::span<const Cloner> cloners, image::Inheritance& out);

Result<image::Inheritance> read_inheritance(const ImageReader& image);

// In a process that has just been cloned by `cloner`, or the first of all (0): what it has inherited is cut down to
// what it and its children need, and the rest of what they need is added.
Result<> prepare_to_be_inherited(Restoring& restoring, pid_t pid, pid_t cloner, RemoteCalls& calls,
                                 const RemoteMemory& memory);

inline constexpr const char* kInheritanceFile = "inheritance.ks";
inline constexpr std::string_view kInheritanceKind = "inheritance";
inline constexpr uint32_t kInheritanceVersion = 1;

}  // namespace ks::engine
