// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

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
  std::vector<uint64_t> ends;  // of each run, in the file
  uint64_t total = 0;
  for (const PageRun& run : runs) ends.push_back(total += run.end - run.start);
  // What may not be written to, only who traces the process can write: the caller.
  TRY(read_blob(image, name, total,
                [&](Reader who, uint64_t offset, std::span<const std::byte> bytes) -> Result<size_t> {
                  auto at = static_cast<size_t>(std::ranges::upper_bound(ends, offset) - ends.begin());
                  size_t done = 0;
                  for (; done < bytes.size(); ++at) {
                    uint64_t behind = ends[at] - (offset + done);
                    auto part = bytes.subspan(done, std::min<uint64_t>(bytes.size() - done, behind));
                    RemoteAddress there{runs[at].end - behind};
                    if (who == Reader::caller) TRY(to.write(there, part));
                    size_t put = who == Reader::caller ? part.size() : to.write_where_allowed(there, part);
                    done += put;
                    if (put < part.size()) break;
                  }
                  return done;
                }));
  return total;
}

}  // namespace ks::engine
