// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/file.h"

namespace ks::engine {

namespace {
constexpr size_t kPiece = 1 << 20;  // fits the second-level cache between reading, checksum and filling
}

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
  ImageFile expected = TRY(image.file(name));
  Fd blob = TRY(image.blob(name));
  Digest digest;
  uint64_t total = 0;
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPiece);
  for (const PageRun& run : runs)
    for (uint64_t at = run.start; at < run.end; at += kPiece) {
      std::span piece(buffer.get(), std::min<uint64_t>(kPiece, run.end - at));
      TRY(read_exactly(blob.get(), piece, name));
      digest.add(piece);
      TRY(to.write({at}, piece));
      total += piece.size();
    }
  if (total != expected.bytes) return fail(name + ": its size is not that of its pages");
  if (digest.finish() != expected.digest) return fail(name + ": damaged (checksum differs)");
  return total;
}

}  // namespace ks::engine
