// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/aio.h"

#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/fd.h"
#include "engine/kernel/kernel_memory.h"

namespace ks::engine {
namespace {

using namespace std::chrono_literals;

const AioRingHeader& ring_of(aio_context_t context) { return *reinterpret_cast<const AioRingHeader*>(context); }

void submit(aio_context_t context, int fd, uint16_t operation, uint64_t argument) {
  iocb request{};
  request.aio_lio_opcode = operation;
  request.aio_fildes = static_cast<uint32_t>(fd);
  request.aio_buf = argument;
  iocb* list[] = {&request};
  ASSERT_EQ(::syscall(SYS_io_submit, context, 1, list), 1);
}

uint64_t in_flight(aio_context_t context) {
  auto contexts = aio_contexts_of(::getpid());
  if (!contexts) return ~0ull;
  for (const auto& known : *contexts)
    if (known.ring == context) return known.in_flight;
  return ~0ull;
}

TEST(AioContexts, AreFoundWithWhatIsInFlight) {
  if (auto none = aio_contexts_of(::getpid()); !none) GTEST_SKIP() << none.error().what;
  EXPECT_TRUE(aio_contexts_of(::getpid())->empty());
  aio_context_t first = 0, second = 0;
  if (::syscall(SYS_io_setup, 5, &first) || ::syscall(SYS_io_setup, 700, &second))
    GTEST_SKIP() << "no asynchronous I/O";
  auto contexts = aio_contexts_of(::getpid()).value();
  ASSERT_EQ(contexts.size(), 2u);
  EXPECT_EQ(contexts[0].ring, first);
  EXPECT_EQ(contexts[0].requests, 5u);
  EXPECT_EQ(contexts[0].slots, ring_of(first).slots);
  EXPECT_EQ(contexts[1].ring, second);
  EXPECT_EQ(contexts[1].requests, 700u);
  EXPECT_EQ(contexts[1].slots, ring_of(second).slots);

  Fd event(::eventfd(0, 0));
  for (int i = 0; i < 300; ++i) {
    submit(first, event.get(), IOCB_CMD_PREAD, 0);  // of nothing: ends at once
    const_cast<AioRingHeader&>(ring_of(first)).head = ring_of(first).tail;
  }
  EXPECT_EQ(in_flight(first), 0u);
  EXPECT_EQ(aio_contexts_of(::getpid()).value()[0].tail, ring_of(first).tail);
  for (int i = 0; i < 3; ++i) submit(first, event.get(), IOCB_CMD_POLL, POLLIN);
  EXPECT_EQ(in_flight(first), 3u);
  EXPECT_EQ(in_flight(second), 0u);
  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  for (int i = 0; i < 1000 && in_flight(first); ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(in_flight(first), 0u);

  EXPECT_EQ(::syscall(SYS_io_destroy, first), 0);
  EXPECT_EQ(aio_contexts_of(::getpid())->size(), 1u);
  EXPECT_EQ(::syscall(SYS_io_destroy, second), 0);
}

TEST(KernelMemory, ListsOfCpus) {
  EXPECT_EQ(parse_cpus("0\n").value(), std::vector<uint32_t>{0});
  EXPECT_EQ(parse_cpus("0-2,5,7-8\n").value(), (std::vector<uint32_t>{0, 1, 2, 5, 7, 8}));
  for (const char* wrong : {"", "\n", "0,,1", "-", "2-1", "0-1-2", "0-4294967295", "a"})
    EXPECT_FALSE(parse_cpus(wrong)) << wrong;
}

TEST(KernelMemory, IsNotReadWhereNothingLies) {
  auto types = KernelTypes::read();
  if (!types || !read_kernel(*types, {})) GTEST_SKIP() << "the kernel cannot be looked into";
  uint64_t nowhere[] = {8};
  EXPECT_FALSE(read_kernel(*types, nowhere));
  auto offsets = offsets_of_cpus(*types);
  if (!offsets) GTEST_SKIP() << offsets.error().what;
  EXPECT_FALSE(offsets->empty());
}

}  // namespace
}  // namespace ks::engine
