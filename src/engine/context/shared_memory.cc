// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "base/file.h"
#include "engine/kernel/pagemap.h"
#include "engine/shared_memory.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kKind = "shared-memory";
constexpr uint32_t kVersion = 1;
constexpr const char* kFileName = "shared-memory.ks";
constexpr size_t kPiece = 1 << 20;

std::string content_name(uint32_t id) { return fmt::format("shared-{}", id); }

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

Result<uint64_t> dump_segment(ImageWriter& image, uint32_t id, const std::string& link,
                              image::SharedMemoryList::Segment& out) {
  Fd fd = TRY(open_file(link, O_RDONLY));  // a description of our own: moving its position disturbs nobody
  struct stat stat{};
  if (::fstat(fd.get(), &stat)) return fail_errno(link);
  out.set_id(id);
  out.set_bytes(static_cast<uint64_t>(stat.st_size));
  auto runs = TRY(find_data(fd.get(), out.bytes()));
  if (runs.empty()) return 0;
  BlobWriter blob = TRY(image.blob(content_name(id)));
  for (const PageRun& run : runs) {
    auto* written = out.add_runs();
    written->set_start(run.start);
    written->set_end(run.end);
    for (uint64_t at = run.start; at < run.end;) {
      auto room = blob.room();
      auto piece = room.first(std::min<uint64_t>(room.size(), run.end - at));
      TRY(read_exactly_at(fd.get(), piece, at, link));
      TRY(blob.filled(piece.size()));
      at += piece.size();
    }
  }
  uint64_t bytes = blob.size();
  TRY(image.finish(std::move(blob)));
  return bytes;
}

Result<Fd> make_segment(const ImageReader& image, const image::SharedMemoryList::Segment& segment) {
  // The mapping itself goes; the file behind it is what processes will map.
  void* at = ::mmap(nullptr, segment.bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return fail_errno(fmt::format("{} bytes of shared memory", segment.bytes()));
  uint64_t start = reinterpret_cast<uint64_t>(at);
  uint64_t end = start + (segment.bytes() + kPageSize - 1) / kPageSize * kPageSize;
  auto fd = open_file(fmt::format("/proc/self/map_files/{:x}-{:x}", start, end), O_RDWR);
  ::munmap(at, segment.bytes());
  if (!fd || segment.runs_size() == 0) return fd;

  std::string name = content_name(segment.id());
  ImageFile expected = TRY(image.file(name));
  Fd blob = TRY(image.blob(name));
  Digest digest;
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPiece);
  for (const auto& run : segment.runs())
    for (uint64_t offset = run.start(); offset < run.end(); offset += kPiece) {
      std::span piece(buffer.get(), std::min<uint64_t>(kPiece, run.end() - offset));
      TRY(read_exactly(blob.get(), piece, name));
      digest.add(piece);
      if (::pwrite(fd->get(), piece.data(), piece.size(), static_cast<off_t>(offset)) !=
          static_cast<ssize_t>(piece.size()))
        return fail_errno("filling shared memory");
    }
  if (digest.finish() != expected.digest) return fail(name + ": damaged (checksum differs)");
  return fd;
}

}  // namespace

Result<uint32_t> SharedMemory::add(const std::string& link) {
  struct stat stat{};
  if (::stat(link.c_str(), &stat)) return fail_errno(link);
  auto [at, fresh] = by_inode_.try_emplace({stat.st_dev, stat.st_ino}, static_cast<uint32_t>(links_.size()));
  if (fresh) links_.push_back(link);
  return at->second;
}

Result<uint64_t> SharedMemory::dump(ImageWriter& image) const {
  image::SharedMemoryList list;
  uint64_t bytes = 0;
  for (uint32_t id = 0; id < links_.size(); ++id)
    bytes += TRY(dump_segment(image, id, links_[id], *list.add_segments()));
  TRY(image.put(kFileName, seal(kKind, kVersion, list)));
  return bytes;
}

Result<std::map<uint32_t, Fd>> make_shared_memory(const ImageReader& image) {
  Envelope envelope = TRY(in(kFileName, open_envelope(TRY(image.read(kFileName)), kKind, kVersion)));
  image::SharedMemoryList list;
  TRY(parse_body(envelope, list));
  std::map<uint32_t, Fd> made;
  for (const auto& segment : list.segments()) made.emplace(segment.id(), TRY(make_segment(image, segment)));
  return made;
}

}  // namespace ks::engine
