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

}  // namespace

struct BlobReader::State {
  State(std::string name, Fd fd, ImageFile file)
      : name_(std::move(name)), fd_(std::move(fd)), file_(std::move(file)) {
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    if (file_.bytes >= kWorthAThread) start_thread();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Result<std::span<const std::byte>> next(size_t most) {
    if (used_ == current_.bytes().size()) TRY(turn());
    auto part = current_.bytes().subspan(used_);
    part = part.first(std::min(part.size(), most));
    used_ += part.size();
    return part;
  }

  Result<> finish() {
    if (taken_ != file_.bytes || used_ != current_.bytes().size())
      return fail(name_ + ": its size is not that of its content");
    if (digest_.finish() != file_.digest) return fail(name_ + ": damaged (checksum differs)");
    return {};
  }

 private:
  // Where there may be no more threads (TasksMax= of a unit), the caller reads.
  void start_thread() {
    try {
      thread_ = std::thread([this] { read_ahead(); });
    } catch (const std::system_error&) {
    }
  }

  // The digest is the thread's until it has read all.
  Result<FilePart> read() {
    size_t size = std::min<uint64_t>(kPieceBytes, file_.bytes - read_);
    if (size == 0) return fail(name_ + ": its size is not that of its content");
    if (read_ % kAhead == 0)
      ::posix_fadvise(fd_.get(), static_cast<off_t>(read_ + kAhead), kAhead, POSIX_FADV_WILLNEED);
    FilePart piece = TRY(FilePart::open(fd_.get(), read_, size, name_));
    digest_.add(piece.bytes());
    read_ += size;
    return piece;
  }

  void read_ahead() {
    become_helper();

    std::unique_lock lock(mutex_);
    while (!ending_ && read_ < file_.bytes && !error_) {
      changed_.wait(lock, [&] { return ending_ || ready_.size() < kMostPieces; });
      if (ending_) return;
      lock.unlock();
      auto piece = read();
      lock.lock();
      if (!piece)
        error_ = piece.error();
      else
        ready_.push_back(*std::move(piece));
      changed_.notify_all();
    }
  }

  // The next piece becomes the current one.
  Result<> turn() {
    used_ = 0;
    if (!thread_.joinable()) {
      current_ = TRY(read());
    } else {
      std::unique_lock lock(mutex_);
      if (taken_ == file_.bytes) return fail(name_ + ": its size is not that of its content");
      changed_.wait(lock, [&] { return !ready_.empty() || error_; });
      if (ready_.empty()) return std::unexpected(*error_);
      current_ = std::move(ready_.front());
      ready_.pop_front();
      changed_.notify_all();
    }
    taken_ += current_.bytes().size();
    return {};
  }

  std::string name_;
  Fd fd_;
  ImageFile file_;
  Digest digest_;
  uint64_t read_ = 0, taken_ = 0;
  FilePart current_;
  size_t used_ = 0;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by the mutex.
  std::deque<FilePart> ready_;
  std::optional<Error> error_;
  bool ending_ = false;
};

BlobReader::BlobReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlobReader::BlobReader(BlobReader&&) noexcept = default;
BlobReader& BlobReader::operator=(BlobReader&&) noexcept = default;
BlobReader::~BlobReader() = default;

Result<BlobReader> BlobReader::open(const ImageReader& image, const std::string& name) {
  ImageFile file = TRY(image.file(name));
  return BlobReader(std::make_unique<State>(name, TRY(image.blob(name)), std::move(file)));
}

Result<std::span<const std::byte>> BlobReader::next(size_t most) { return state_->next(most); }
Result<> BlobReader::finish() { return state_->finish(); }

}  // namespace ks::engine
