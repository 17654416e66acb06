// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/ring_layout.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <span>

#include "base/fd.h"
#include "small_kernel.h"

namespace ks::engine {
namespace {

KernelTypes types_of(const RingTypes& types) {
  std::string section = types.text();
  return KernelTypes::parse(std::as_bytes(std::span(section))).value();
}

std::string trouble(const RingTypes& older, const RingTypes& newer) {
  auto done = check_succession(types_of(older), types_of(newer));
  return done ? "" : done.error().what;
}

TEST(RingLayout, IsWhatTheKernelTells) {
  auto types = KernelTypes::read();
  if (!types) GTEST_SKIP() << types.error().what;
  int asked = 0;
  for (uint32_t flags : {uint32_t{0}, uint32_t{IORING_SETUP_CQE32}, uint32_t{IORING_SETUP_SQE128}, kNoArray,
                         uint32_t{IORING_SETUP_CQSIZE}, kNoArray | IORING_SETUP_CQE32})
    for (uint32_t entries : {1, 2, 8, 100, 4096}) {
      io_uring_params params{};
      params.flags = flags;
      params.cq_entries = flags & IORING_SETUP_CQSIZE ? 4 * entries : 0;
      Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, entries, &params)));
      if (!ring) continue;
      ++asked;
      EXPECT_EQ(expected_layout(*types, params).value(), layout_of(params)) << flags << " " << entries;
    }
  if (!asked) GTEST_SKIP() << "no io_uring";
}

TEST(RingLayout, HasToStayAsItIs) {
  EXPECT_EQ(trouble({}, {}), "");
  EXPECT_EQ(trouble({}, {.flags_at = 48}), "lays out rings otherwise than this one");
  EXPECT_EQ(trouble({}, {.bytes = 128}), "lays out rings otherwise than this one");
  RingTypes more;
  more.operations.emplace_back("IORING_OP_WRITEV");
  EXPECT_EQ(trouble({}, more), "");
  EXPECT_EQ(trouble(more, {}), "has no IORING_OP_WRITEV");
  EXPECT_EQ(trouble({}, {.operations = {"IORING_OP_READV", "IORING_OP_NOP"}}), "has no IORING_OP_NOP");
}

TEST(RingLayout, AKernelIsOlderByItsSeries) {
  EXPECT_TRUE(is_at_least("6.12.95+deb12-cloud-amd64", "6.1.0-56-cloud-amd64"));
  EXPECT_TRUE(is_at_least("6.12.3", "6.12.95"));
  EXPECT_TRUE(is_at_least("7.0-rc1", "6.18.5"));
  EXPECT_FALSE(is_at_least("6.1.0", "6.12.0"));
  EXPECT_FALSE(is_at_least("6.18.5", "7.0.1"));
  EXPECT_FALSE(is_at_least("", "6.1"));
  EXPECT_FALSE(is_at_least("next", "6.1"));
  EXPECT_FALSE(is_at_least("6.", "6.1"));
}

TEST(RingLayout, StaysUnderTheSameKernelAndALaterOne) {
  auto types = KernelTypes::read();
  if (!types || !types->size("io_rings")) GTEST_SKIP() << "no types of rings";
  utsname running{};
  ASSERT_EQ(::uname(&running), 0);
  for (const char* release : {static_cast<const char*>(running.release), "99.0.1"}) {
    auto kept = check_rings_under(release, *types);
    EXPECT_TRUE(kept) << kept.error().what;
  }
  auto kept = check_rings_under("5.0.1", *types);
  ASSERT_FALSE(kept);
  EXPECT_TRUE(kept.error().refusal);
  EXPECT_EQ(kept.error().what,
            fmt::format("the next kernel (5.0.1): may lack what rings of {} can do", running.release));
}

}  // namespace
}  // namespace ks::engine
