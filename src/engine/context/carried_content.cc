// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/carried_content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/file.h"
#include "engine/kernel/pagemap.h"

namespace ks::engine {

namespace {

using File = image::CarriedFileList::File;
constexpr size_t kPiece = 1 << 20;

std::string content_name(uint32_t id) { return fmt::format("carried-{}", id); }

// Parts of a sparse file that hold data.
Result<std::vector<PageRun>> find_data(int fd, uint64_t size) {
  std::vector<PageRun> runs;
  for (uint64_t at = 0; at < size;) {
    off_t start = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (start < 0 && errno == ENXIO) break;
    if (start < 0) return fail_errno("SEEK_DATA");
    off_t end = ::lseek(fd, start, SEEK_HOLE);
    if (end < 0) return fail_errno("SEEK_HOLE");
    runs.push_back({static_cast<uint64_t>(start), static_cast<uint64_t>(end)});
    at = static_cast<uint64_t>(end);
  }
  return runs;
}

// hugetlbfs knows no holes: what reads as zeros is taken for one.
Result<std::vector<PageRun>> find_huge_data(int fd, uint64_t size, uint64_t page) {
  std::vector<PageRun> runs;
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPiece);
  for (uint64_t start = 0; start < size; start += page) {
    bool zero = true;
    for (uint64_t at = start; zero && at < start + page; at += kPiece) {
      std::span piece(buffer.get(), std::min<uint64_t>(kPiece, page));
      TRY(read_exactly_at(fd, piece, at, "huge page"));
      zero = piece[0] == std::byte{0} && std::memcmp(&piece[0], &piece[1], piece.size() - 1) == 0;
    }
    if (zero) continue;
    if (!runs.empty() && runs.back().end == start)
      runs.back().end += page;
    else
      runs.push_back({start, start + page});
  }
  return runs;
}

// hugetlbfs has no write(2).
class Window {
 public:
  static Result<Window> open(int fd, const PageRun& run) {
    void* at =
        ::mmap(nullptr, run.end - run.start, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(run.start));
    if (at == MAP_FAILED) return fail_errno("huge pages (are enough reserved in vm.nr_hugepages?)");
    return Window(at, run);
  }
  Window(Window&& other) noexcept : at_(std::exchange(other.at_, nullptr)), run_(other.run_) {}
  ~Window() {
    if (at_) ::munmap(at_, run_.end - run_.start);
  }
  std::byte* at(uint64_t offset) { return static_cast<std::byte*>(at_) + (offset - run_.start); }

 private:
  Window(void* at, const PageRun& run) : at_(at), run_(run) {}
  void* at_;
  PageRun run_;
};

Result<> write_exactly_at(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno("filling it");
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

}  // namespace

Result<uint64_t> write_content(ImageWriter& image, int fd, File& file) {
  auto runs =
      TRY(file.huge_page() ? find_huge_data(fd, file.bytes(), file.huge_page()) : find_data(fd, file.bytes()));
  if (runs.empty()) return 0;
  BlobWriter blob = TRY(image.blob(content_name(file.id())));
  for (const PageRun& run : runs) {
    auto* written = file.add_runs();
    written->set_start(run.start);
    written->set_end(run.end);
    for (uint64_t at = run.start; at < run.end;) {
      auto room = blob.room();
      auto piece = room.first(std::min<uint64_t>(room.size(), run.end - at));
      TRY(read_exactly_at(fd, piece, at, file.path()));
      TRY(blob.filled(piece.size()));
      at += piece.size();
    }
  }
  uint64_t bytes = blob.size();
  TRY(image.finish(std::move(blob)));
  return bytes;
}

Result<> read_content(const ImageReader& image, int fd, const File& file) {
  if (file.runs_size() == 0) return {};
  std::string name = content_name(file.id());
  ImageFile expected = TRY(image.file(name));
  Fd blob = TRY(image.blob(name));
  Digest digest;
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPiece);
  for (const auto& run : file.runs()) {
    std::optional<Window> window;
    if (file.huge_page()) window.emplace(TRY(Window::open(fd, {run.start(), run.end()})));
    for (uint64_t at = run.start(); at < run.end(); at += kPiece) {
      std::span piece(buffer.get(), std::min<uint64_t>(kPiece, run.end() - at));
      TRY(read_exactly(blob.get(), piece, name));
      digest.add(piece);
      if (window)
        std::memcpy(window->at(at), piece.data(), piece.size());
      else
        TRY(write_exactly_at(fd, piece, at));
    }
  }
  if (digest.finish() != expected.digest) return fail(name + ": damaged (checksum differs)");
  return {};
}

}  // namespace ks::engine
