// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "base/helper.h"
#include "engine/image/store.h"

namespace ks::engine {

namespace {

// Fits the second-level cache between being filled, the checksum and the write.
constexpr size_t kPieceBytes = 1 << 20;
// One being filled, one being written, one waiting.
constexpr size_t kMostPieces = 3;
constexpr size_t kAlignment = 4096;  // O_DIRECT wants no more on any disk in use

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

struct Piece {
  std::unique_ptr<std::byte, Free> memory;
  size_t filled = 0;
  uint64_t offset = 0;
};

Piece make_piece() {
  Piece piece;
  piece.memory.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, kPieceBytes)));
  if (!piece.memory) throw std::bad_alloc();
  return piece;
}

}  // namespace

struct BlobWriter::State {
  State(std::string name, Fd fd);
  ~State();

  std::span<std::byte> room();
  Result<> filled(size_t bytes);
  Result<> flush();

  std::string name;
  Fd fd;
  Digest digest;
  uint64_t size = 0;

 private:
  Result<> write(const Piece& piece);
  bool start_thread();
  void write_waiting();
  Result<Piece> next_piece();
  void write_through_cache();

  bool direct_ = false;  // of the writing thread while it runs
  std::optional<Piece> current_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by the mutex.
  std::deque<Piece> waiting_;
  std::vector<Piece> spare_;
  bool writing_ = false, ending_ = false;
  std::optional<Error> error_;
  size_t made_ = 0;  // pieces
};

// Written past the page cache, memory reaches a disk several times as fast as by write and fsync. Opening
// with O_DIRECT would leave an empty file behind where a file system refuses it.
BlobWriter::State::State(std::string name, Fd fd)
    : name(std::move(name)), fd(std::move(fd)), direct_(::fcntl(this->fd.get(), F_SETFL, O_DIRECT) == 0) {}

BlobWriter::State::~State() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BlobWriter::State::write_through_cache() {
  ::fcntl(fd.get(), F_SETFL, 0);
  direct_ = false;
}

Result<> BlobWriter::State::write(const Piece& piece) {
  for (size_t done = 0; done < piece.filled;) {
    size_t left = piece.filled - done;
    // At the end of the file, or after a short write.
    if (direct_ && left % kAlignment != 0) write_through_cache();
    ssize_t wrote = ::pwrite(fd.get(), piece.memory.get() + done, left, static_cast<off_t>(piece.offset + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EINVAL && direct_) {
      write_through_cache();
      continue;
    }
    if (wrote <= 0) return fail_errno(name, wrote < 0 ? errno : ENOSPC);
    done += static_cast<size_t>(wrote);
  }
  return {};
}

void BlobWriter::State::write_waiting() {
  become_helper();

  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Piece piece = std::move(waiting_.front());
    waiting_.pop_front();
    writing_ = true;
    lock.unlock();
    auto written = write(piece);
    lock.lock();
    writing_ = false;
    if (!written && !error_) error_ = written.error();
    spare_.push_back(std::move(piece));
    changed_.notify_all();
  }
}

// Where there may be no more threads (TasksMax= of a unit), the caller writes.
bool BlobWriter::State::start_thread() {
  if (thread_.joinable()) return true;
  try {
    thread_ = std::thread([this] { write_waiting(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

// Waits for one to become free.
Result<Piece> BlobWriter::State::next_piece() {
  std::unique_lock lock(mutex_);
  if (spare_.empty() && made_ < kMostPieces) {
    ++made_;
    return make_piece();
  }
  changed_.wait(lock, [&] { return !spare_.empty(); });
  if (error_) return std::unexpected(*error_);
  Piece piece = std::move(spare_.back());
  spare_.pop_back();
  return piece;
}

std::span<std::byte> BlobWriter::State::room() {
  if (!current_) {
    ++made_;
    current_ = make_piece();
    current_->offset = size;
  }
  return {current_->memory.get() + current_->filled, kPieceBytes - current_->filled};
}

Result<> BlobWriter::State::filled(size_t bytes) {
  if (bytes == 0) return {};
  digest.add(room().first(bytes));
  size += bytes;
  current_->filled += bytes;
  if (current_->filled < kPieceBytes) return {};
  if (!start_thread()) {
    TRY(write(*current_));
    current_->filled = 0;
    current_->offset = size;
    return {};
  }
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(*current_));
    current_.reset();
  }
  changed_.notify_all();
  Piece next = TRY(next_piece());
  next.filled = 0;
  next.offset = size;
  current_ = std::move(next);
  return {};
}

Result<> BlobWriter::State::flush() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_.empty() && !writing_; });
    if (error_) return std::unexpected(*error_);
  }
  if (current_ && current_->filled > 0) TRY(write(*current_));
  current_.reset();
  return {};
}

BlobWriter::BlobWriter(std::string name, Fd fd) : state_(std::make_unique<State>(std::move(name), std::move(fd))) {}
BlobWriter::BlobWriter(BlobWriter&&) noexcept = default;
BlobWriter& BlobWriter::operator=(BlobWriter&&) noexcept = default;
BlobWriter::~BlobWriter() = default;

std::span<std::byte> BlobWriter::room() { return state_->room(); }
Result<> BlobWriter::filled(size_t bytes) { return state_->filled(bytes); }

Result<> BlobWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    auto room = state_->room();
    auto part = bytes.first(std::min(room.size(), bytes.size()));
    std::memcpy(room.data(), part.data(), part.size());
    TRY(state_->filled(part.size()));
    bytes = bytes.subspan(part.size());
  }
  return {};
}

uint64_t BlobWriter::size() const { return state_->size; }
const std::string& BlobWriter::name() const { return state_->name; }
std::string BlobWriter::digest() const { return state_->digest.finish(); }

Result<Fd> BlobWriter::flush() {
  TRY(state_->flush());
  return std::move(state_->fd);
}

}  // namespace ks::engine
