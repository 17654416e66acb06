// SPDX-License-Identifier: LGPL-2.1-or-later
// Rings of io_uring(7): fresh, mapped and not; used, with counters of its own as liburing keeps them; with
// completions that nobody has taken and requests that nobody has submitted; one that has gone round many times; one
// for a thread alone; one in an epoll, under a second number, and in a child; and one for whose completion a thread
// waits.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <thread>

#include "ring.h"

static int file = -1;

static bool is_ready(int epoll) {
  epoll_event event;
  return epoll_wait(epoll, &event, 1, 0) == 1;
}

// What may be registered of memory is decided by who has made the ring.
static constexpr size_t kMayLock = 400;  // pages; later kernels charge the rings themselves too
static void become_limited() {
  rlimit limit{.rlim_cur = kMayLock * kPage, .rlim_max = kMayLock * kPage};
  CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
  CHECK(setresgid(4243, 4243, 4243) == 0 && setresuid(4242, 4242, 4242) == 0);
}
static bool may_register(const Ring& ring, size_t pages) {
  iovec buffer{.iov_base = map_memory(pages * kPage), .iov_len = pages * kPage};
  long done = syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_BUFFERS, &buffer, 1);
  CHECK(done == 0 || errno == ENOMEM);
  if (done == 0) CHECK(syscall(SYS_io_uring_register, ring.fd(), IORING_UNREGISTER_BUFFERS, nullptr, 0) == 0);
  return done == 0;
}

int main(int count, char** arguments) {
  std::string how = count > 1 ? arguments[1] : "";
  file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(file >= 0 && write(file, "0123456789", 10) == 10);

  if (how == "limited") become_limited();
  Ring fresh(1), used(8), begun(4), round(16), watched(2), waited(2), sized(5, IORING_SETUP_CQSIZE, 100);
  io_uring_params unmapped_params{};
  int unmapped = static_cast<int>(syscall(SYS_io_uring_setup, 3, &unmapped_params));
  CHECK(unmapped >= 0);

  char buffer[16] = {};
  used.prepare_read(file, buffer, 4, 2, 7);
  used.submit(1);
  used.take(7, 4);
  CHECK(memcmp(buffer, "2345", 4) == 0);
  used.serve(5);
  for (uint64_t i = 0; i < 3; ++i) begun.prepare(IORING_OP_NOP, 10 + i);
  begun.submit(3);
  begun.take(10, 0);
  begun.prepare_read(file, buffer, 3, 0, 20);
  begun.flush();
  begun.prepare_read(file, buffer + 3, 2, 5, 21);
  round.serve(10'000);
  round.prepare(IORING_OP_NOP, 1).flags = IOSQE_CQE_SKIP_SUCCESS;
  round.submit();
  round.serve(10);
  int epoll = epoll_create1(0), second = dup(watched.fd());
  epoll_event event{.events = EPOLLIN, .data = {.u32 = 5}};
  CHECK(epoll >= 0 && second >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, watched.fd(), &event) == 0);
  CHECK(!is_ready(epoll));

  std::vector<Ring> unusual;
  for (uint32_t flags : {uint32_t{IORING_SETUP_SUBMIT_ALL}, uint32_t{IORING_SETUP_COOP_TASKRUN},
                         uint32_t{IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
                         uint32_t{IORING_SETUP_SQE128 | IORING_SETUP_CQE32}, uint32_t{IORING_SETUP_SINGLE_ISSUER},
                         uint32_t{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN}, Ring::kNoArray})
    if (can_have(flags)) unusual.emplace_back(4, flags);
  for (Ring& ring : unusual) ring.serve(11);
  Ring disabled(2, IORING_SETUP_R_DISABLED), telling(4), telling_late(4);
  int told_event = eventfd(0, EFD_NONBLOCK), told_late = eventfd(0, EFD_NONBLOCK);
  auto tell = [](const Ring& ring, unsigned way, int event) {
    CHECK(syscall(SYS_io_uring_register, ring.fd(), way, &event, 1) == 0);
  };
  tell(telling, IORING_REGISTER_EVENTFD, told_event);
  tell(telling_late, IORING_REGISTER_EVENTFD_ASYNC, told_late);
  telling.serve(3);
  telling_late.serve(3);

  std::atomic<bool> set_up = false;
  std::thread alone([&] {
    Ring mine(2, can_have(IORING_SETUP_SINGLE_ISSUER) ? IORING_SETUP_SINGLE_ISSUER : 0);
    mine.serve(3);
    auto before = mine.places();
    set_up = true;
    wait_until_told();
    CHECK(mine.places() == before);
    mine.serve(100);
  });
  while (!set_up) usleep(1000);

  std::thread waiter;
  if (how == "waiting")
    waiter = std::thread([&] {
      CHECK(waited.enter(0, 1) == 0);
      waited.take(1, 0);
    });
  pid_t child = 0;
  if (how == "shared") {
    child = fork_to([&] {
      wait_until_told();
      used.serve(4);
      waited.prepare(IORING_OP_NOP, 77);
      waited.submit(1);
    });
  }
  std::vector<Ring*> rings = {&fresh, &used, &begun, &round, &watched, &waited, &sized};
  for (Ring& ring : unusual) rings.push_back(&ring);
  std::vector<std::vector<uint32_t>> places;
  places.reserve(rings.size());
  for (const Ring* ring : rings) places.push_back(ring->places());
  ready();

  if (child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    waited.take(77, 0);
    alone.join();
    return 0;
  }
  for (size_t i = 0; i < rings.size(); ++i)
    if (rings[i] != &waited || how != "waiting") CHECK(rings[i]->places() == places[i]);
  fresh.serve(5);
  if (how == "limited") CHECK(may_register(fresh, 4) && !may_register(fresh, kMayLock + 1));
  if (how.empty()) CHECK(may_register(fresh, kMayLock + 1));
  memset(buffer, 0, sizeof buffer);
  used.prepare_read(file, buffer, 5, 3, 8);
  used.submit(1);
  used.take(8, 5);
  CHECK(memcmp(buffer, "34567", 5) == 0);
  used.serve(20);

  memset(buffer, 0, sizeof buffer);
  CHECK(begun.waiting() == 2);
  begun.submit(4);
  begun.take(11, 0);
  begun.take(12, 0);
  begun.take(20, 3);
  begun.take(21, 2);
  CHECK(memcmp(buffer, "01256", 5) == 0);
  begun.serve(10);

  round.serve(1000);
  sized.serve(250);
  CHECK(!is_ready(epoll));
  watched.prepare(IORING_OP_NOP, 3);
  watched.submit(1);
  CHECK(is_ready(epoll));
  watched.take(3, 0);
  CHECK(!is_ready(epoll));
  watched.prepare(IORING_OP_NOP, 4);
  watched.flush();
  CHECK(syscall(SYS_io_uring_enter, second, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) == 1);
  watched.take(4, 0);
  for (Ring& ring : unusual) ring.serve(30);
  eventfd_t told_count = 0;
  CHECK(eventfd_read(told_event, &told_count) == 0 && told_count == 3);
  CHECK(eventfd_read(told_late, &told_count) < 0 && errno == EAGAIN);
  telling.serve(2);
  telling_late.serve(2);
  CHECK(eventfd_read(told_event, &told_count) == 0 && told_count == 2);
  CHECK(eventfd_read(told_late, &told_count) < 0 && errno == EAGAIN);
  CHECK(disabled.enter(0, 0) < 0 && errno == EBADFD);
  CHECK(syscall(SYS_io_uring_register, disabled.fd(), IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  disabled.serve(5);
  alone.join();

  waited.prepare(IORING_OP_NOP, 1);
  waited.submit();
  if (waiter.joinable())
    waiter.join();
  else
    waited.take(1, 0);
  waited.serve(3);

  // Requests that end later, and a drain, which goes by what has been counted.
  int later = eventfd(0, EFD_NONBLOCK);
  used.prepare_poll(later, 50);
  used.prepare(IORING_OP_NOP, 51).flags = IOSQE_IO_DRAIN;
  used.submit();
  CHECK(later >= 0 && used.waiting() == 0 && eventfd_write(later, 1) == 0);
  used.take(50, POLLIN);
  used.take(51, 0);

  CHECK(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, unmapped, IORING_OFF_SQ_RING) != MAP_FAILED);
  Ring another(4);
  another.serve(4);
  return 0;
}
