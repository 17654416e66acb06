// SPDX-License-Identifier: LGPL-2.1-or-later
// A ring of io_uring(7), by its system calls.
#pragma once

#include <linux/io_uring.h>

#include <atomic>
#include <vector>

#include "program.h"

// As liburing does it: the places of what both sides count are computed once, and what has been prepared is counted
// by us alone.
class Ring {
 public:
  explicit Ring(uint32_t entries, uint32_t flags = 0, uint32_t completions = 0) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = completions;
    fd_ = static_cast<int>(syscall(SYS_io_uring_setup, entries, &params));
    if (fd_ < 0) skip("no io_uring");
    has_array_ = !(flags & kNoArray);
    entries_ = params.sq_entries;
    completions_ = params.cq_entries;
    wide_ = flags & IORING_SETUP_SQE128 ? 2 : 1;
    long_ = flags & IORING_SETUP_CQE32 ? 2 : 1;
    size_t bytes = has_array_ ? params.sq_off.array + entries_ * sizeof(uint32_t)
                              : params.cq_off.cqes + completions_ * long_ * sizeof(io_uring_cqe);
    char* rings = map(bytes, IORING_OFF_SQ_RING);
    requests_ = reinterpret_cast<io_uring_sqe*>(map(wide_ * entries_ * sizeof(io_uring_sqe), IORING_OFF_SQES));
    auto word = [&](uint32_t offset) { return reinterpret_cast<uint32_t*>(rings + offset); };
    head_ = word(params.sq_off.head);
    tail_ = word(params.sq_off.tail);
    array_ = word(params.sq_off.array);
    completion_head_ = word(params.cq_off.head);
    completion_tail_ = word(params.cq_off.tail);
    list_ = reinterpret_cast<io_uring_cqe*>(rings + params.cq_off.cqes);
    for (uint32_t i = 0; has_array_ && i < entries_; ++i) array_[i] = i;
  }

  static constexpr uint32_t kNoArray = 1u << 16;  // IORING_SETUP_NO_SQARRAY, since 6.6

  int fd() const { return fd_; }
  uint32_t entries() const { return entries_; }
  io_uring_sqe* requests() { return requests_; }

  io_uring_sqe& prepare(uint8_t operation, uint64_t data) {
    CHECK(prepared_ - load(head_) < entries_);
    io_uring_sqe& request = requests_[(prepared_++ & (entries_ - 1)) * wide_];
    request = {};
    request.opcode = operation;
    request.user_data = data;
    return request;
  }
  void prepare_read(int file, void* into, uint32_t bytes, uint64_t at, uint64_t data) {
    io_uring_sqe& request = prepare(IORING_OP_READ, data);
    request.fd = file;
    request.addr = reinterpret_cast<uint64_t>(into);
    request.len = bytes;
    request.off = at;
  }
  io_uring_sqe& last() { return requests_[((prepared_ - 1) & (entries_ - 1)) * wide_]; }
  // What has been prepared and not been submitted yet.
  void flush() { std::atomic_ref(*tail_).store(prepared_); }
  void submit(uint32_t wait = 0) {
    flush();
    uint32_t count = prepared_ - load(head_);
    CHECK(enter(count, wait) == count);
  }
  long enter(uint32_t count, uint32_t wait) {
    return syscall(SYS_io_uring_enter, fd_, count, wait, IORING_ENTER_GETEVENTS, nullptr, 0);
  }
  long wake() const { return syscall(SYS_io_uring_enter, fd_, 0, 0, IORING_ENTER_SQ_WAKEUP, nullptr, 0); }
  uint32_t waiting() const { return load(completion_tail_) - load(completion_head_); }
  io_uring_cqe take_any() {
    while (!waiting()) CHECK(enter(0, 1) == 0);
    uint32_t head = load(completion_head_);
    io_uring_cqe completion;
    memcpy(&completion, &list_[(head & (completions_ - 1)) * long_], sizeof completion);
    std::atomic_ref(*completion_head_).store(head + 1);
    return completion;
  }
  void take(uint64_t data, int32_t result) {
    io_uring_cqe completion = take_any();
    CHECK(completion.user_data == data && completion.res == result);
  }
  void prepare_poll(int fd, uint64_t data) {
    io_uring_sqe& request = prepare(IORING_OP_POLL_ADD, data);
    request.fd = fd;
    request.poll32_events = POLLIN;
  }
  void serve(uint32_t requests) {
    for (uint32_t i = 0; i < requests; ++i) {
      prepare(IORING_OP_NOP, i);
      submit(1);
      take(i, 0);
    }
  }
  void damage() { ++*head_; }  // which is the kernel's
  void repair() { --*head_; }
  std::vector<uint32_t> places() const {
    return {load(head_), load(tail_), load(completion_head_), load(completion_tail_)};
  }

 private:
  char* map(size_t bytes, off_t offset) const {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, offset);
    CHECK(at != MAP_FAILED);
    return static_cast<char*>(at);
  }
  static uint32_t load(uint32_t* word) { return std::atomic_ref(*word).load(); }

  int fd_ = -1;
  bool has_array_ = true;
  uint32_t entries_ = 0, completions_ = 0, wide_ = 1, long_ = 1, prepared_ = 0;
  uint32_t *head_, *tail_, *array_, *completion_head_, *completion_tail_;
  io_uring_sqe* requests_;
  io_uring_cqe* list_;
};

inline bool can_have(uint32_t flags) {
  io_uring_params params{};
  params.flags = flags;
  int fd = static_cast<int>(syscall(SYS_io_uring_setup, 1, &params));
  if (fd >= 0) close(fd);
  return fd >= 0;
}
