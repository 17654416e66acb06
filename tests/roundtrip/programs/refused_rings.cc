// SPDX-License-Identifier: LGPL-2.1-or-later
// One thing about rings of io_uring(7) that a dump has to refuse, by argument. Prints the PID of the process to dump,
// and finds its thing as good as before in the end.
#include <sys/eventfd.h>

#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "ring.h"

using Verify = std::function<void()>;

static pid_t target = 0;  // what to dump, if not this process

static std::shared_ptr<Ring> new_ring(uint32_t flags = 0) {
  if (!can_have(flags)) skip("no such rings");
  return std::make_shared<Ring>(4, flags);
}
static int enroll(const Ring& ring, unsigned what, const void* argument, unsigned count) {
  return static_cast<int>(syscall(SYS_io_uring_register, ring.fd(), what, argument, count));
}
static Verify serves(const std::shared_ptr<Ring>& ring) {
  return [=] { ring->serve(10); };
}

static const std::map<std::string, std::function<Verify()>> kThings = {
    {"at_work",  // a thread of the kernel waits for it
     [] {
       auto ring = new_ring();
       int ends[2];
       static char buffer[8];
       CHECK(pipe(ends) == 0);
       ring->prepare_read(ends[0], buffer, 5, 0, 1);
       ring->last().flags = IOSQE_ASYNC;
       ring->submit();
       int there = ends[1];
       return Verify([=] {
         CHECK(ring->waiting() == 0 && write(there, "hello", 5) == 5);
         ring->take(1, 5);
         CHECK(memcmp(buffer, "hello", 5) == 0);
       });
     }},
    {"closed",
     [] {
       auto ring = new_ring();
       close(ring->fd());
       return Verify([=] { CHECK(ring->waiting() == 0); });
     }},
    {"eventfd_closed",
     [] {
       auto ring = new_ring();
       int event = eventfd(0, 0);
       CHECK(event >= 0 && enroll(*ring, IORING_REGISTER_EVENTFD, &event, 1) == 0);
       close(event);
       return serves(ring);
     }},
    {"far",  // each request would cost a call in that thread
     [] {
       if (!can_have(IORING_SETUP_SINGLE_ISSUER)) skip("no rings of one thread");
       auto ring = std::make_shared<Ring>(1, IORING_SETUP_SINGLE_ISSUER);
       ring->serve(600'000);
       return serves(ring);
     }},
    {"from_outside",
     [] {
       auto ring = new_ring();
       target = fork_to([=] {
         wait_until_told();
         ring->serve(10);
       });
       return Verify([] {
         int status;
         CHECK(waitpid(target, &status, 0) == target && status == 0);
       });
     }},
    {"in_flight",
     [] {
       auto ring = new_ring();
       int event = eventfd(0, 0);
       ring->prepare_poll(event, 5);
       ring->submit();
       return Verify([=] {
         CHECK(event >= 0 && ring->waiting() == 0 && eventfd_write(event, 1) == 0);
         ring->take(5, POLLIN);
       });
     }},
    {"in_part",  // of its requests the second page is not mapped any more
     [] {
       auto ring = std::make_shared<Ring>(128);
       CHECK(munmap(reinterpret_cast<char*>(ring->requests()) + kPage, kPage) == 0);
       return serves(ring);
     }},
    {"linked",
     [] {
       auto ring = new_ring();
       int event = eventfd(0, 0);
       ring->prepare_poll(event, 5);
       ring->last().flags = IOSQE_IO_LINK;
       ring->prepare(IORING_OP_NOP, 6);
       ring->submit();
       return Verify([=] {
         CHECK(event >= 0 && ring->waiting() == 0 && eventfd_write(event, 1) == 0);
         ring->take(5, POLLIN);
         ring->take(6, 0);
       });
     }},
    {"of_a_thread_gone",
     [] {
       std::shared_ptr<Ring> ring;
       std::thread([&] { ring = new_ring(IORING_SETUP_SINGLE_ISSUER); }).join();
       return Verify([=] { CHECK(ring->waiting() == 0); });
     }},
    {"overflown",
     [] {
       auto ring = new_ring();
       for (uint64_t i = 0; i < 9; ++i) {
         ring->prepare(IORING_OP_NOP, i);
         ring->submit();
       }
       return Verify([=] {
         for (uint64_t i = 0; i < 9; ++i) ring->take(i, 0);
       });
     }},
    {"registered_files",
     [] {
       auto ring = new_ring();
       int event = eventfd(0, 0);
       CHECK(event >= 0 && enroll(*ring, IORING_REGISTER_FILES, &event, 1) == 0);
       return serves(ring);
     }},
    {"registered_for_a_thread",
     [] {
       auto ring = new_ring();
       io_uring_rsrc_update update{.offset = ~0u, .resv = 0, .data = static_cast<uint64_t>(ring->fd())};
       CHECK(enroll(*ring, IORING_REGISTER_RING_FDS, &update, 1) == 1);
       return serves(ring);
     }},
    {"several_completions",
     [] {
       auto ring = new_ring();
       int event = eventfd(0, 0);
       ring->prepare_poll(event, 5);
       ring->last().len = IORING_POLL_ADD_MULTI;
       ring->submit();
       for (eventfd_t i = 0; i < 3; ++i) {
         CHECK(event >= 0 && eventfd_write(event, 1) == 0 && ring->enter(0, 1) == 0);
         ring->take_any();
       }
       ring->prepare(IORING_OP_POLL_REMOVE, 6).addr = 5;
       ring->submit(2);
       while (ring->waiting()) ring->take_any();
       return serves(ring);
     }},
    {"with_thread_of_kernel",
     [] {
       auto ring = new_ring(IORING_SETUP_SQPOLL);
       return Verify([=] {
         ring->prepare(IORING_OP_NOP, 7);
         ring->flush();
         CHECK(ring->wake() >= 0);
         while (!ring->waiting()) usleep(1000);
         ring->take(7, 0);
       });
     }},
    {"written_to",
     [] {
       auto ring = new_ring();
       ring->damage();
       return Verify([=] {
         ring->repair();
         ring->serve(5);
       });
     }},
};

int main(int count, char** arguments) {
  CHECK(count == 2);
  auto thing = kThings.find(arguments[1]);
  CHECK(thing != kThings.end());
  Verify verify = thing->second();
  dprintf(STDOUT_FILENO, "target %d\n", target ? target : getpid());
  ready();
  verify();
  return 0;
}
