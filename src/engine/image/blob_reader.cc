// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/blob_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "base/file.h"
#include "base/helper.h"

namespace ks::engine {

namespace {

// To map the page cache instead saves a copy, and costs more: by its faults, and by telling the other CPU of each
// mapping's end. Of smaller pieces two threads would fill the same huge page at once, and both clear it before.
constexpr size_t kPieceBytes = 2 << 20;
// A file of fewer is not worth a thread.
constexpr uint64_t kWorthAThread = 4 << 20;
// A disk gets a request before we wait for it.
constexpr uint64_t kAhead = 16 << 20;

class BlobReading {
 public:
  BlobReading(const std::string& name, Fd fd, const ImageFile& file, const UseBytes& use)
      : name_(name), fd_(std::move(fd)), file_(file), use_(use) {
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }

  Result<> run() {
    std::thread other;
    try {
      if (file_.bytes >= kWorthAThread)
        other = std::thread([this] {
          become_helper();
          work();
        });
    } catch (const std::system_error&) {
      // Where there may be no more threads (TasksMax= of a unit), one does all.
    }
    work();
    if (other.joinable()) other.join();
    if (error_) return std::unexpected(*error_);
    if (digest_.finish() != file_.digest) return fail(name_ + ": damaged (checksum differs)");
    return {};
  }

 private:
  // Each uses what it has read itself, while it is in its CPU's cache.
  void work() {
    auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
    for (Result<> done; done;) {
      uint64_t offset = 0;
      auto bytes = read({buffer.get(), kPieceBytes}, offset);
      if (bytes && bytes->empty()) return;
      done = bytes ? use_(offset, *bytes) : std::unexpected(bytes.error());
      if (!done) give_up(done.error());
    }
  }

  // One at a time, in the order of the file, as the checksum demands. Nothing: there is no more to do.
  Result<std::span<const std::byte>> read(std::span<std::byte> buffer, uint64_t& offset) {
    std::lock_guard lock(mutex_);
    size_t size = error_ ? 0 : std::min<uint64_t>(buffer.size(), file_.bytes - read_);
    auto bytes = buffer.first(size);
    if (size == 0) return bytes;
    offset = read_;
    if (offset % kAhead == 0)
      ::posix_fadvise(fd_.get(), static_cast<off_t>(offset + kAhead), kAhead, POSIX_FADV_WILLNEED);
    TRY(read_exactly_at(fd_.get(), bytes, offset, name_));
    digest_.add(bytes);
    read_ += size;
    return bytes;
  }

  void give_up(const Error& error) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
  }

  const std::string& name_;
  Fd fd_;
  const ImageFile& file_;
  const UseBytes& use_;
  std::mutex mutex_;
  // Guarded by the mutex.
  Digest digest_;
  uint64_t read_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<> read_blob(const ImageReader& image, const std::string& name, uint64_t bytes, const UseBytes& use) {
  ImageFile file = TRY(image.file(name));
  if (file.bytes != bytes) return fail(name + ": its size is not that of its content");
  return BlobReading(name, TRY(image.blob(name)), file, use).run();
}

}  // namespace ks::engine
