// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/blob_reader.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
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
// What a disk is asked for before it is read, at least.
constexpr uint64_t kAhead = 16 << 20;

class BlobReading {
 public:
  BlobReading(const std::string& name, Fd fd, const ImageFile& file, const UseBytes& use)
      : name_(name), fd_(std::move(fd)), file_(file), use_(use) {
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }

  Result<> run() {
    std::thread helper;
    try {
      if (file_.bytes >= kWorthAThread) {
        helping_ = true;
        helper = std::thread([this] {
          become_helper();
          work(Reader::helper);
          std::lock_guard lock(mutex_);
          helping_ = false;
          changed_.notify_all();
        });
      }
    } catch (const std::system_error&) {
      helping_ = false;  // where there may be no more threads (TasksMax= of a unit), one does all
    }
    work(Reader::caller);
    take_what_is_left();
    if (helper.joinable()) helper.join();
    if (error_) return std::unexpected(*error_);
    if (digest_.finish() != file_.digest) return fail(name_ + ": damaged (checksum differs)");
    return {};
  }

 private:
  struct Part {
    uint64_t offset = 0;
    std::span<const std::byte> bytes;
  };

  // Each uses what it has read itself, while it is in its CPU's cache.
  void work(Reader who) {
    auto buffer = std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
    for (Result<> done; done;) {
      auto part = read({buffer.get(), kPieceBytes});
      if (part && part->bytes.empty()) return;
      done = part ? use(who, *part) : std::unexpected(part.error());
      if (!done) give_up(done.error());
      if (who == Reader::caller && done) take_one();
    }
  }

  Result<> use(Reader who, const Part& part) {
    size_t used = TRY(use_(who, part.offset, part.bytes));
    if (who == Reader::helper && used < part.bytes.size())
      leave_to_caller({part.offset + used, part.bytes.subspan(used)});
    return {};
  }

  // Returns when the caller has used it.
  void leave_to_caller(const Part& part) {
    std::unique_lock lock(mutex_);
    left_ = part;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !left_ || error_; });
  }

  void take_one() {
    std::unique_lock lock(mutex_);
    if (!left_ || error_) return;  // of the helper, which does not wait after an error
    Part part = *left_;
    lock.unlock();
    auto used = use_(Reader::caller, part.offset, part.bytes);
    if (!used) give_up(used.error());
    lock.lock();
    left_.reset();
    changed_.notify_all();
  }

  void take_what_is_left() {
    for (bool more = true; more;) {
      take_one();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return left_ || !helping_ || error_; });
      more = left_ && !error_;
    }
  }

  // Nothing: there is no more to do.
  Result<Part> read(std::span<std::byte> buffer) {
    Part part = claim(buffer);
    if (part.bytes.empty()) return part;
    bool cached = is_read_from_cache(buffer.first(part.bytes.size()), part.offset);
    if (!cached) cold_ = true;
    if (cold_) ask_for_what_follows(part.offset);
    if (!cached) TRY(read_exactly_at(fd_.get(), buffer.first(part.bytes.size()), part.offset, name_));
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return digested_ == part.offset || error_; });
    if (error_) return Part{};
    lock.unlock();
    digest_.add(part.bytes);  // one at a time, in the order of the file
    lock.lock();
    digested_ += part.bytes.size();
    changed_.notify_all();
    return part;
  }

  // To ask a disk for what is in memory already means to look at each page of it.
  bool is_read_from_cache(std::span<std::byte> bytes, uint64_t offset) const {
    iovec all{bytes.data(), bytes.size()};
    ssize_t got = ::preadv2(fd_.get(), &all, 1, static_cast<off_t>(offset), RWF_NOWAIT);
    return got == static_cast<ssize_t>(bytes.size());
  }

  // A disk gets requests before we wait for them.
  void ask_for_what_follows(uint64_t offset) {
    std::unique_lock lock(mutex_);
    if (offset + kAhead < asked_) return;
    auto from = static_cast<off_t>(std::max(asked_, offset));
    asked_ = offset + 2 * kAhead;
    auto bytes = static_cast<off_t>(asked_) - from;
    lock.unlock();
    ::posix_fadvise(fd_.get(), from, bytes, POSIX_FADV_WILLNEED);
  }

  Part claim(std::span<const std::byte> buffer) {
    std::lock_guard lock(mutex_);
    size_t size = error_ ? 0 : std::min<uint64_t>(buffer.size(), file_.bytes - claimed_);
    Part part{claimed_, buffer.first(size)};
    claimed_ += size;
    return part;
  }

  void give_up(const Error& error) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
    changed_.notify_all();
  }

  const std::string& name_;
  Fd fd_;
  const ImageFile& file_;
  const UseBytes& use_;
  std::atomic<bool> cold_ = false;  // not all is in memory
  Digest digest_;                   // of who has the part at digested_
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by the mutex.
  bool helping_ = false;
  std::optional<Part> left_;  // by the helper to the caller
  uint64_t claimed_ = 0;
  uint64_t asked_ = 0;
  uint64_t digested_ = 0;
  std::optional<Error> error_;
};

}  // namespace

Result<> read_blob(const ImageReader& image, const std::string& name, uint64_t bytes, const UseBytes& use) {
  ImageFile file = TRY(image.file(name));
  if (file.bytes != bytes) return fail(name + ": its size is not that of its content");
  return BlobReading(name, TRY(image.blob(name)), file, use).run();
}

}  // namespace ks::engine
