// SPDX-License-Identifier: LGPL-2.1-or-later
// Pages between a process and the image: the bulk of every dump and restore.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "engine/image/store.h"
#include "engine/kernel/pagemap.h"
#include "engine/target/remote.h"

namespace ks::engine {

std::string pages_file(pid_t pid);            // "pages-PID"
std::string inherited_pages_file(pid_t pid);  // "inherited-PID": what others inherit from it, or from nobody (0)

// Pages in a process, at a time when it does not run.
struct PagesToWrite {
  const RemoteMemory* from;
  PageRun run;
  bool shared = false;  // maybe with other processes, and to remain so
};

// Nothing is written where there are no runs.
Result<> write_pages(ImageWriter& image, const std::string& name, std::span<const PagesToWrite> pages);
// Fails if the checksum is not that of the image. Returns the number of bytes.
Result<uint64_t> read_pages(const ImageReader& image, const std::string& name, std::span<const PageRun> runs,
                            const RemoteMemory& to);

}  // namespace ks::engine
