// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "engine/engine.h"
#include "engine/image/store.h"
#include "engine/kernel/features.h"
#include "engine/target/tree.h"

namespace ks::engine {

// Reads everything, writes it to `image` unless that is null, and leaves every process stopped and in its own
// state. What cannot be carried is in `verdict`, and makes it a refusal.
// `connections` are those of TCP whose peers are not to hear that the processes are killed.
Result<DumpReport> dump_tree(const Kernel& kernel, FrozenTree& tree, const DumpOptions& options, ImageWriter* image,
                             Verdict& verdict, std::vector<Fd>& connections);

inline constexpr const char* kTreeFile = "tree.ks";
inline constexpr const char* kOpenFilesFile = "open-files.ks";
inline constexpr std::string_view kTreeKind = "tree";
inline constexpr uint32_t kTreeVersion = 1;
std::string process_file(pid_t pid);  // "process-PID.ks"

}  // namespace ks::engine
