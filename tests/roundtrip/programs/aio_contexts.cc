// SPDX-License-Identifier: LGPL-2.1-or-later
// Contexts of asynchronous I/O (io_setup(2)): fresh, with events that nobody has taken, with such that reach over the
// end of the ring, and full; one with many, and one for whose first event a thread waits. Events are taken by a call
// and as libaio takes them, from the ring itself.
#include <linux/aio_abi.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <thread>
#include <vector>

#include "program.h"

struct Ring {
  uint32_t id, slots;
  volatile uint32_t head, tail;
  uint32_t magic, compatible, incompatible, bytes;

  const io_event& event(uint32_t slot) const { return reinterpret_cast<const io_event*>(this + 1)[slot]; }
};

static int file = -1;
static char buffer[16];

static Ring& ring_of(aio_context_t context) { return *reinterpret_cast<Ring*>(context); }

static aio_context_t set_up(unsigned requests) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, requests, &context)) skip("no asynchronous I/O");
  CHECK(ring_of(context).magic == 0xa10a10a1);
  return context;
}

// A read that ends at once, or -1 with EAGAIN where the ring is full.
static long submit(aio_context_t context, uint64_t data, int signalled = -1) {
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<uint32_t>(file);
  request.aio_buf = reinterpret_cast<uint64_t>(buffer);
  request.aio_nbytes = data % 8;
  request.aio_data = data;
  if (signalled >= 0) {
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = static_cast<uint32_t>(signalled);
  }
  iocb* list[] = {&request};
  return syscall(SYS_io_submit, context, 1, list);
}
static void submit_range(aio_context_t context, uint64_t first, uint64_t last) {
  for (uint64_t data = first; data < last; ++data) CHECK(submit(context, data) == 1);
}

static bool is_event(const io_event& event, uint64_t data) {
  return event.data == data && event.res == static_cast<int64_t>(data % 8) && event.res2 == 0 && event.obj != 0;
}
static void take_from_ring(aio_context_t context, uint64_t first, uint64_t last) {
  Ring& ring = ring_of(context);
  for (uint64_t data = first; data < last; ++data) {
    CHECK(ring.head != ring.tail && is_event(ring.event(ring.head), data));
    ring.head = (ring.head + 1) % ring.slots;
  }
}
static void take_by_call(aio_context_t context, uint64_t first, uint64_t last) {
  std::vector<io_event> events(last - first + 1);
  timespec none{};
  size_t got = 0;
  while (got < last - first) {  // up to the end of the ring at a time
    long more = syscall(SYS_io_getevents, context, 0, events.size() - got, &events[got], &none);
    CHECK(more > 0);
    got += static_cast<size_t>(more);
  }
  CHECK(got == last - first);
  for (size_t i = 0; i < got; ++i) CHECK(is_event(events[i], first + i));
}
static void expect_empty(aio_context_t context) {
  io_event event;
  timespec none{};
  CHECK(ring_of(context).head == ring_of(context).tail);
  CHECK(syscall(SYS_io_getevents, context, 0, 1, &event, &none) == 0);
}
static uint64_t fill(aio_context_t context, uint64_t first) {
  uint64_t data = first;
  while (submit(context, data) == 1) ++data;
  CHECK(errno == EAGAIN);
  return data;
}

static aio_context_t shared;
static int use_shared(void*) {
  timespec time{0, kMillisecond};
  while (!told()) syscall(SYS_nanosleep, &time, nullptr);  // libc's would use the TLS of both
  submit_range(shared, 2, 5);
  _exit(0);
}

int main(int count, char** arguments) {
  std::string how = count > 1 ? arguments[1] : "";
  // What each CPU holds in reserve is for requests from it alone.
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<size_t>(sched_getcpu()), &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
  file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(file >= 0 && write(file, "0123456789", 10) == 10);

  aio_context_t gone = set_up(3), fresh = set_up(1), begun = set_up(10), round = set_up(200), full = set_up(20),
                polled = set_up(2);
  CHECK(syscall(SYS_io_destroy, gone) == 0);
  submit_range(begun, 0, 5);
  take_from_ring(begun, 0, 3);
  uint32_t slots = ring_of(round).slots;
  for (uint64_t data = 0; data < slots - 5; data += 5) {
    submit_range(round, data, data + 5);
    take_from_ring(round, data, data + 5);
  }
  submit_range(round, 1000, 1040);
  CHECK(ring_of(round).tail < ring_of(round).head);
  submit_range(full, 0, 9);
  take_by_call(full, 0, 9);
  uint64_t last = fill(full, 9);
  CHECK(last - 9 >= 20);
  aio_context_t many = set_up(5000), waited = set_up(1);
  submit_range(many, 0, 9000);
  std::thread waiter;
  if (how == "waiting")
    waiter = std::thread([=] {
      io_event first;
      CHECK(syscall(SYS_io_getevents, waited, 1, 1, &first, nullptr) == 1 && is_event(first, 5));
    });
  pid_t sharer = 0;
  if (how == "shared") {
    constexpr size_t kStack = 65536;
    shared = set_up(5);
    submit_range(shared, 0, 2);
    sharer = clone(use_shared, map_memory(kStack) + kStack, CLONE_VM | SIGCHLD, nullptr);
    CHECK(sharer > 0);
  }
  int event = eventfd(0, EFD_NONBLOCK), signalled = eventfd(0, EFD_NONBLOCK);
  CHECK(event >= 0 && submit(polled, 3, signalled) == 1);
  aio_context_t contexts[] = {fresh, begun, round, full, many, waited, polled};
  std::vector<std::pair<uint32_t, uint32_t>> places;
  for (auto context : contexts) places.emplace_back(ring_of(context).head, ring_of(context).tail);
  ready();

  for (size_t i = 0; i < places.size(); ++i) {
    CHECK(ring_of(contexts[i]).head == places[i].first && ring_of(contexts[i]).tail == places[i].second);
    CHECK(ring_of(contexts[i]).magic == 0xa10a10a1 && ring_of(contexts[i]).bytes == sizeof(Ring));
  }
  expect_empty(fresh);
  submit_range(fresh, 50, 60);
  take_by_call(fresh, 50, 60);

  submit_range(begun, 5, 20);
  take_from_ring(begun, 3, 10);
  take_by_call(begun, 10, 20);
  expect_empty(begun);

  take_from_ring(round, 1000, 1025);
  submit_range(round, 1040, 1050);
  take_by_call(round, 1025, 1050);
  for (uint64_t data = 0; data < 3 * slots; data += 30) {
    submit_range(round, data, data + 30);
    take_from_ring(round, data, data + 30);
  }
  expect_empty(round);

  CHECK(submit(full, last) < 0 && errno == EAGAIN);
  take_by_call(full, 9, last);
  CHECK(fill(full, 0) >= 20);
  Ring& ring = ring_of(full);
  take_from_ring(full, 0, (ring.tail + ring.slots - ring.head) % ring.slots);
  expect_empty(full);

  take_from_ring(many, 0, 4500);
  take_by_call(many, 4500, 9000);
  expect_empty(many);

  CHECK(submit(waited, 5) == 1);
  if (waiter.joinable())
    waiter.join();
  else
    take_by_call(waited, 5, 6);
  expect_empty(waited);

  if (sharer) {
    int status;
    CHECK(waitpid(sharer, &status, 0) == sharer && status == 0);
    take_by_call(shared, 0, 5);
    expect_empty(shared);
  }

  // Ends later, and signals.
  eventfd_t signals = 0;
  CHECK(eventfd_read(signalled, &signals) == 0 && signals == 1);
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_POLL;
  request.aio_fildes = static_cast<uint32_t>(event);
  request.aio_buf = POLLIN;
  request.aio_data = 77;
  iocb* list[] = {&request};
  CHECK(syscall(SYS_io_submit, polled, 1, list) == 1);
  take_by_call(polled, 3, 4);
  expect_empty(polled);
  CHECK(eventfd_write(event, 1) == 0);
  io_event end;
  CHECK(syscall(SYS_io_getevents, polled, 1, 1, &end, nullptr) == 1 && end.data == 77 && end.res & POLLIN);

  aio_context_t another = set_up(5);
  submit_range(another, 0, 5);
  take_by_call(another, 0, 5);
  for (auto context : contexts) CHECK(syscall(SYS_io_destroy, context) == 0);
  CHECK(syscall(SYS_io_destroy, another) == 0);
  return 0;
}
