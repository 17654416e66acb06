// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/blob_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "base/helper.h"
#include "engine/image/file_part.h"

namespace ks::engine {

namespace {

// Mapped, and unmapped again under the eyes of the other thread's CPU, which costs as much as many pages do.
constexpr size_t kPieceBytes = 4 << 20;
constexpr size_t kMostPieces = 3;
// A file of fewer is not worth a thread.
constexpr uint64_t kWorthAThread = kPieceBytes;
// A disk gets a request before we wait for it.
constexpr uint64_t kAhead = 4 * kPieceBytes;

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
  struct Piece {
    uint64_t offset;
    FilePart part;
  };

  // To read goes first: without it the other thread may have nothing to do. With enough in store it waits.
  void work() {
    std::unique_lock lock(mutex_);
    auto may_read = [&] { return !reading_ && read_ < file_.bytes && ready_.size() < kMostPieces; };
    auto over = [&] { return error_ || (!reading_ && read_ == file_.bytes && ready_.empty()); };
    while (true) {
      changed_.wait(lock, [&] { return over() || may_read() || !ready_.empty(); });
      if (over()) return;
      auto done = may_read() ? read(lock) : use(lock);
      if (!done && !error_) error_ = done.error();
      changed_.notify_all();
    }
  }

  // Descriptor and checksum belong to the one who reads.
  Result<> read(std::unique_lock<std::mutex>& lock) {
    reading_ = true;
    uint64_t offset = read_;
    lock.unlock();
    size_t size = std::min<uint64_t>(kPieceBytes, file_.bytes - offset);
    if (offset % kAhead == 0)
      ::posix_fadvise(fd_.get(), static_cast<off_t>(offset + kAhead), kAhead, POSIX_FADV_WILLNEED);
    auto part = FilePart::open(fd_.get(), offset, size, name_);
    if (part) digest_.add(part->bytes());
    lock.lock();
    reading_ = false;
    read_ += size;
    ready_.push_back({offset, TRY(std::move(part))});
    return {};
  }

  Result<> use(std::unique_lock<std::mutex>& lock) {
    Piece piece = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    auto used = use_(piece.offset, piece.part.bytes());
    piece.part = {};  // unmapped before others wait for us
    lock.lock();
    return used;
  }

  const std::string& name_;
  Fd fd_;
  const ImageFile& file_;
  const UseBytes& use_;
  Digest digest_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by the mutex.
  uint64_t read_ = 0;
  bool reading_ = false;
  std::deque<Piece> ready_;
  std::optional<Error> error_;
};

}  // namespace

Result<> read_blob(const ImageReader& image, const std::string& name, uint64_t bytes, const UseBytes& use) {
  ImageFile file = TRY(image.file(name));
  if (file.bytes != bytes) return fail(name + ": its size is not that of its content");
  return BlobReading(name, TRY(image.blob(name)), file, use).run();
}

}  // namespace ks::engine
