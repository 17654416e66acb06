// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/vdso.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/file.h"
#include "engine/kernel/proc.h"

namespace ks::engine {
namespace {

using Bytes = std::vector<std::byte>;

uint64_t own_address() { return getauxval(AT_SYSINFO_EHDR); }

Bytes own_image() {
  auto areas = parse_maps(read_file("/proc/self/maps").value()).value();
  auto vdso = std::ranges::find(areas, "[vdso]", &Vma::path);
  auto* start = reinterpret_cast<const std::byte*>(own_address());
  return Bytes(start, start + vdso->size());
}

const VdsoSymbol* find(const Vdso& vdso, std::string_view name) {
  auto found = std::ranges::find(vdso.functions, name, &VdsoSymbol::name);
  return found == vdso.functions.end() ? nullptr : &*found;
}

Vdso without(Vdso vdso, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) std::erase_if(vdso.functions, [&](auto& f) { return f.name == name; });
  return vdso;
}

// The text of this process's vDSO as plain memory elsewhere, as after a restore. Untouched functions crash
// there, since the kernel's data is not beside them.
class Relocated {
 public:
  explicit Relocated(const Vdso& now) : before_(parse_vdso(own_image()).value()) {
    Bytes image = own_image();
    size_ = image.size();
    text_ = static_cast<std::byte*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::ranges::copy(image, text_);
    auto patches = redirect_vdso(before_, now, own_address());
    EXPECT_TRUE(patches) << patches.error().what;
    for (const VdsoPatch& patch : *patches) std::ranges::copy(patch.bytes, text_ + patch.offset);
    mprotect(text_, size_, PROT_READ | PROT_EXEC);
  }
  ~Relocated() { munmap(text_, size_); }
  template <class Function>
  Function* function(std::string_view name) const {
    const VdsoSymbol* symbol = find(before_, name);
    return symbol ? reinterpret_cast<Function*>(text_ + symbol->offset) : nullptr;
  }
  std::span<const std::byte> text() const { return {text_, size_}; }

 private:
  Vdso before_;
  std::byte* text_;
  size_t size_;
};

int64_t nanoseconds(const timespec& t) { return t.tv_sec * 1'000'000'000 + t.tv_nsec; }

void expect_working(const Relocated& vdso) {
  auto* gettime = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_gettime");
  auto* getres = vdso.function<int(clockid_t, timespec*)>("__vdso_clock_getres");
  auto* gettimeofday_ = vdso.function<int(timeval*, void*)>("__vdso_gettimeofday");
  auto* time_ = vdso.function<time_t(time_t*)>("__vdso_time");
  auto* getcpu_ = vdso.function<long(unsigned*, unsigned*, void*)>("__vdso_getcpu");
  ASSERT_TRUE(gettime && gettimeofday_ && time_ && getcpu_);

  for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_THREAD_CPUTIME_ID}) {
    timespec before, through, after;
    clock_gettime(clock, &before);
    ASSERT_EQ(gettime(clock, &through), 0);
    clock_gettime(clock, &after);
    EXPECT_LE(nanoseconds(before), nanoseconds(through));
    EXPECT_LE(nanoseconds(through), nanoseconds(after));
  }
  timespec unknown;
  EXPECT_EQ(gettime(12345, &unknown), -EINVAL);
  timeval now;
  ASSERT_EQ(gettimeofday_(&now, nullptr), 0);
  time_t stored = 0, seconds = time_(&stored);
  EXPECT_EQ(stored, seconds);
  EXPECT_LE(std::abs(seconds - now.tv_sec), 2);
  unsigned cpu = ~0u, node = ~0u;
  ASSERT_EQ(getcpu_(&cpu, &node, nullptr), 0);
  EXPECT_LT(cpu, CPU_SETSIZE);
  if (getres) {
    timespec plain, through;
    clock_getres(CLOCK_MONOTONIC, &plain);
    ASSERT_EQ(getres(CLOCK_MONOTONIC, &through), 0);
    EXPECT_EQ(nanoseconds(plain), nanoseconds(through));
  }
}

using GetRandom = ssize_t(void* buffer, size_t size, unsigned flags, void* state, size_t state_size);

void expect_random(GetRandom* getrandom) {
  unsigned char bytes[32] = {};
  ASSERT_EQ(getrandom(bytes, sizeof bytes, 0, nullptr, 0), ssize_t{sizeof bytes});
  EXPECT_TRUE(std::ranges::any_of(bytes, [](auto byte) { return byte != 0; }));
  EXPECT_EQ(getrandom(bytes, sizeof bytes, 0xffff, nullptr, 0), -EINVAL);
}

TEST(ParseVdso, KnowsItsOwn) {
  auto vdso = parse_vdso(own_image());
  ASSERT_TRUE(vdso) << vdso.error().what;
  EXPECT_EQ(vdso->build_id.size(), 40u);
  for (auto name : {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu"})
    EXPECT_TRUE(find(*vdso, name)) << name;
  EXPECT_FALSE(find(*vdso, "clock_gettime")) << "an alias";
  EXPECT_TRUE(std::ranges::is_sorted(vdso->functions, {}, &VdsoSymbol::offset));
}

// Either hash table must do.
TEST(ParseVdso, CountsSymbolsByEitherHashTable) {
  Vdso whole = parse_vdso(own_image()).value();
  for (Elf64_Sxword tag : {DT_HASH, DT_GNU_HASH}) {
    Bytes image = own_image();
    bool found = false;
    Elf64_Ehdr header;
    std::memcpy(&header, image.data(), sizeof header);
    for (int i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      std::memcpy(&segment, image.data() + header.e_phoff + i * sizeof segment, sizeof segment);
      if (segment.p_type != PT_DYNAMIC) continue;
      for (uint64_t at = segment.p_offset; at < segment.p_offset + segment.p_filesz; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn entry;
        std::memcpy(&entry, image.data() + at, sizeof entry);
        found |= entry.d_tag == tag;
        if (entry.d_tag != DT_HASH && entry.d_tag != DT_GNU_HASH) continue;
        if (entry.d_tag != tag) entry.d_tag = DT_DEBUG;
        std::memcpy(image.data() + at, &entry, sizeof entry);
      }
    }
    auto vdso = parse_vdso(image);
    EXPECT_EQ(vdso.has_value(), found);
    EXPECT_EQ(vdso ? vdso->functions.size() : whole.functions.size(), whole.functions.size());
  }
}

TEST(ParseVdso, DamageIsAnErrorAndNoMore) {
  Bytes image = own_image();
  EXPECT_FALSE(parse_vdso({}));
  for (size_t length = 0; length < image.size(); length += 7) (void)parse_vdso(std::span(image).first(length));
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    Bytes damaged = image;
    for (int i = 0; i < 3; ++i) damaged[random() % 0x800] = static_cast<std::byte>(random());
    (void)parse_vdso(damaged);
  }
}

TEST(RedirectVdso, EveryFunctionReachesTheNewOne) {
  Relocated vdso(parse_vdso(own_image()).value());
  expect_working(vdso);
  if (auto* getrandom = vdso.function<GetRandom>("__vdso_getrandom")) {
    expect_random(getrandom);
    unsigned char parameters[64] = {};
    EXPECT_EQ(getrandom(nullptr, 0, 0, parameters, ~size_t{0}), 0);
  }
}

TEST(RedirectVdso, AnOlderKernelsLackIsASystemCall) {
  Relocated vdso(without(parse_vdso(own_image()).value(), {"__vdso_getrandom", "__vdso_clock_getres"}));
  expect_working(vdso);
  if (auto* getrandom = vdso.function<GetRandom>("__vdso_getrandom")) {
    expect_random(getrandom);
    unsigned char parameters[64] = {};
    EXPECT_EQ(getrandom(nullptr, 0, 0, parameters, ~size_t{0}), -ENOSYS) << "there is no state to be had";
  }
}

TEST(RedirectVdso, SystemCallsAlone) {
  Relocated vdso(Vdso{});
  expect_working(vdso);
}

TEST(RedirectVdso, LeavesTheBuildIdAlone) {
  Relocated vdso(parse_vdso(own_image()).value());
  EXPECT_EQ(parse_vdso(vdso.text())->build_id, parse_vdso(own_image())->build_id);
}

Vdso made_of(std::vector<VdsoSymbol> functions) { return {.build_id = "00", .functions = std::move(functions)}; }

TEST(RedirectVdso, NamesMatchWithAndWithoutThePrefix) {
  auto patches = redirect_vdso(made_of({{"__vdso_time", 64, 64}}), made_of({{"time", 512, 64}}), 0x7fff00000000);
  ASSERT_TRUE(patches) << patches.error().what;
  ASSERT_EQ(patches->size(), 1u);
  EXPECT_EQ(patches->front().offset, 64u);
  Bytes jump = patches->front().bytes;
  ASSERT_EQ(jump.size(), 13u);
  uint64_t target = 0;
  std::memcpy(&target, jump.data() + 2, sizeof target);
  EXPECT_EQ(target, 0x7fff00000200u);
}

TEST(RedirectVdso, WhatStandsOnItsOwnStays) {
  auto patches = redirect_vdso(
      made_of({{"__vdso_sgx_enter_enclave", 64, 128}, {"__vdso_futex_robust_list64_try_unlock", 256, 32}}), Vdso{},
      0);
  ASSERT_TRUE(patches) << patches.error().what;
  EXPECT_TRUE(patches->empty());
}

TEST(RedirectVdso, RefusesWhatItCannotReplace) {
  EXPECT_EQ(redirect_vdso(made_of({{"__vdso_new", 64, 128}}), Vdso{}, 0).error().what,
            "vDSO: this kernel has no __vdso_new, and nothing can stand in for it");
  Vdso now = made_of({{"__vdso_time", 0, 64}});
  EXPECT_EQ(redirect_vdso(made_of({{"__vdso_time", 64, 12}}), now, 0).error().what,
            "vDSO: __vdso_time has 12 bytes, too few for the 13 that take its place");
  EXPECT_EQ(redirect_vdso(made_of({{"__vdso_time", 64, 64}, {"__vdso_time", 70, 64}}), now, 0).error().what,
            "vDSO: __vdso_time overlaps __vdso_time");
}

}  // namespace
}  // namespace ks::engine
