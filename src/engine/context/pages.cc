// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/pages.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "engine/image/blob_reader.h"

namespace ks::engine {

std::string pages_file(pid_t pid) { return fmt::format("pages-{}", pid); }
std::string inherited_pages_file(pid_t pid) { return fmt::format("inherited-{}", pid); }

Result<> write_pages(ImageWriter& image, const std::string& name, std::span<const PagesToWrite> pages) {
  if (pages.empty()) return {};
  BlobWriter blob = TRY(image.blob(name));
  for (const auto& [from, run, shared] : pages)
    for (uint64_t at = run.start; at < run.end;) {
      auto room = blob.room();
      auto piece = room.first(std::min<uint64_t>(room.size(), run.end - at));
      TRY(shared ? from->peek({at}, piece) : from->read({at}, piece));
      TRY(blob.filled(piece.size()));
      at += piece.size();
    }
  return image.finish(std::move(blob));
}

Result<uint64_t> read_pages(const ImageReader& image, const std::string& name, std::span<const PageRun> runs,
                            const RemoteMemory& to) {
  if (runs.empty()) return 0;
  BlobReader blob = TRY(BlobReader::open(image, name));
  uint64_t total = 0;
  for (const PageRun& run : runs)
    for (uint64_t at = run.start; at < run.end;) {
      auto piece = TRY(blob.next(run.end - at));
      TRY(to.write({at}, piece));
      at += piece.size();
      total += piece.size();
    }
  TRY(blob.finish());
  return total;
}

}  // namespace ks::engine
