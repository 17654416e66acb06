// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/io_uring.h"

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>

#include "base/fd.h"

namespace ks::engine {
namespace {

class Ring {
 public:
  explicit Ring(uint32_t entries, uint32_t flags = 0) {
    params_.flags = flags;
    fd_ = Fd(static_cast<int>(::syscall(SYS_io_uring_setup, entries, &params_)));
    if (!fd_) return;
    rings_ = static_cast<std::byte*>(map(bytes(), IORING_OFF_SQ_RING));
    requests_ = static_cast<io_uring_sqe*>(map(params_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
  }
  ~Ring() {
    ::munmap(rings_, bytes());
    ::munmap(requests_, params_.sq_entries * sizeof(io_uring_sqe));
  }
  Ring(const Ring&) = delete;

  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  const void* rings() const { return rings_; }
  const void* requests() const { return requests_; }

  void submit(const io_uring_sqe& request) {
    uint32_t tail = at(params_.sq_off.tail), index = tail & (params_.sq_entries - 1);
    requests_[index] = request;
    std::atomic_ref(*reinterpret_cast<uint32_t*>(rings_ + params_.sq_off.array + index * sizeof index)).store(index);
    at(params_.sq_off.tail) = tail + 1;
    ASSERT_EQ(::syscall(SYS_io_uring_enter, fd(), 1, 0, 0, nullptr, 0), 1);
  }
  void take_all() { at(params_.cq_off.head) = at(params_.cq_off.tail).load(); }

 private:
  size_t bytes() const { return params_.sq_off.array + params_.sq_entries * sizeof(uint32_t); }
  void* map(size_t length, off_t offset) const {
    return ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd(), offset);
  }
  std::atomic_ref<uint32_t> at(size_t offset) {
    return std::atomic_ref(*reinterpret_cast<uint32_t*>(rings_ + offset));
  }

  io_uring_params params_{};
  Fd fd_;
  std::byte* rings_ = nullptr;
  io_uring_sqe* requests_ = nullptr;
};

io_uring_sqe poll_of(int fd) {
  io_uring_sqe request{};
  request.opcode = IORING_OP_POLL_ADD;
  request.fd = fd;
  request.poll32_events = POLLIN;
  return request;
}

Result<RingInsides> look_into(const Ring& ring) {
  int fd = ring.fd();
  auto rings = look_into_rings(std::span(&fd, 1));
  if (!rings) return std::unexpected(rings.error());
  return rings->at(fd);
}

TEST(Rings, AreFoundWithWhatIsInFlight) {
  Ring ring(8), other(5, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP);
  if (!ring) GTEST_SKIP() << "no io_uring";
  auto fresh = look_into(ring);
  if (!fresh) GTEST_SKIP() << fresh.error().what;
  EXPECT_EQ(fresh->submissions, 8u);
  EXPECT_EQ(fresh->completions, 16u);
  EXPECT_EQ(fresh->taken, 0u);
  EXPECT_EQ(fresh->in_flight, 0u);
  EXPECT_EQ(fresh->submitter, 0u);
  EXPECT_EQ(fresh->more, "");

  Fd event(::eventfd(0, 0));
  for (int i = 0; i < 1000; ++i) {
    ring.submit({});
    ring.take_all();
  }
  EXPECT_EQ(look_into(ring)->in_flight, 0u);
  for (int i = 0; i < 7; ++i) ring.submit(poll_of(event.get()));
  auto busy = look_into(ring).value();
  EXPECT_EQ(busy.taken, 1007u);
  EXPECT_EQ(busy.given, 1000u);
  EXPECT_EQ(busy.in_flight, 7u);
  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  ring.submit({});  // what is over is told to the thread on its way
  auto over = look_into(ring).value();
  EXPECT_EQ(over.taken, 1008u);
  EXPECT_EQ(over.given, 1008u);
  EXPECT_EQ(over.in_flight, 0u);
  EXPECT_FALSE(over.overflown);
}

TEST(Rings, OfManyRequestsAreCounted) {
  constexpr int kMany = 300;  // more than are read at a time
  Ring ring(4096);
  if (!ring) GTEST_SKIP() << "no io_uring";
  if (auto fresh = look_into(ring); !fresh) GTEST_SKIP() << fresh.error().what;
  Fd event(::eventfd(0, 0));
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kMany; ++i) ring.submit(poll_of(event.get()));
    EXPECT_EQ(look_into(ring)->in_flight, uint64_t{kMany});
    ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
    ring.submit({});
    EXPECT_EQ(look_into(ring)->in_flight, 0u);
    eventfd_t count = 0;
    ASSERT_EQ(::eventfd_read(event.get(), &count), 0);
  }
}

TEST(Rings, TellOfCompletionsWithoutRoom) {
  Ring ring(1);
  if (!ring) GTEST_SKIP() << "no io_uring";
  if (auto fresh = look_into(ring); !fresh) GTEST_SKIP() << fresh.error().what;
  for (int i = 0; i < 2; ++i) ring.submit({});
  EXPECT_FALSE(look_into(ring)->overflown);
  ring.submit({});
  EXPECT_TRUE(look_into(ring)->overflown);
}

TEST(Rings, TellWhatTheyHaveBeyond) {
  Ring ring(4), other(4);
  if (!ring) GTEST_SKIP() << "no io_uring";
  if (auto fresh = look_into(ring); !fresh) GTEST_SKIP() << fresh.error().what;
  Fd event(::eventfd(0, 0));
  std::array<int, 1> fds = {event.get()};
  auto enroll = [&](unsigned what, const void* argument, unsigned count) {
    return ::syscall(SYS_io_uring_register, ring.fd(), what, argument, count);
  };
  ASSERT_EQ(enroll(IORING_REGISTER_FILES, fds.data(), 1), 0);
  EXPECT_EQ(look_into(ring)->more, "registered files");
  ASSERT_EQ(enroll(IORING_UNREGISTER_FILES, nullptr, 0), 0);
  EXPECT_EQ(look_into(ring)->more, "");
  ASSERT_GE(enroll(IORING_REGISTER_PERSONALITY, nullptr, 0), 0);
  EXPECT_EQ(look_into(ring)->more, "personalities");
  EXPECT_EQ(look_into(other)->more, "");
}

TEST(Rings, AreFoundInAreasAndThreads) {
  Ring ring(4, IORING_SETUP_SINGLE_ISSUER), plain(4);
  if (!ring) GTEST_SKIP() << "no io_uring of one thread";
  auto insides = look_into(ring);
  if (!insides) GTEST_SKIP() << insides.error().what;
  auto areas = files_of_areas(::getpid()).value();
  EXPECT_EQ(areas.at(reinterpret_cast<uint64_t>(ring.rings())), insides->file);
  EXPECT_EQ(areas.at(reinterpret_cast<uint64_t>(ring.requests())), insides->file);
  EXPECT_NE(areas.at(reinterpret_cast<uint64_t>(plain.rings())), insides->file);
  EXPECT_EQ(task_of(::gettid()).value(), insides->submitter);

  pid_t pid = ::getpid();
  EXPECT_TRUE(with_registered_rings(std::span(&pid, 1))->empty());
  io_uring_rsrc_update update{.offset = ~0u, .resv = 0, .data = static_cast<uint64_t>(ring.fd())};
  ASSERT_EQ(::syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_RING_FDS, &update, 1), 1);
  EXPECT_EQ(with_registered_rings(std::span(&pid, 1))->size(), 1u);
  update.data = 0;
  ASSERT_EQ(::syscall(SYS_io_uring_register, ring.fd(), IORING_UNREGISTER_RING_FDS, &update, 1), 1);
  EXPECT_TRUE(with_registered_rings(std::span(&pid, 1))->empty());
}

}  // namespace
}  // namespace ks::engine
