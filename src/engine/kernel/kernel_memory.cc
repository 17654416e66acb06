// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/kernel_memory.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/iterator.h"

namespace ks::engine {

namespace {

using namespace bpf;

constexpr size_t kWord = sizeof(uint64_t);
constexpr size_t kMostWords = 32;  // at a time: a program's stack has 512 bytes

// The first ones that have been written.
Result<> take_words(const std::string& written, size_t count, std::vector<uint64_t>& into) {
  if (written.size() < count * kWord) return fail("the kernel does not tell of it");
  size_t before = into.size();
  into.resize(before + count);
  std::memcpy(&into[before], written.data(), count * kWord);
  return {};
}

std::vector<bpf_insn> reading_program(std::span<const uint64_t> addresses) {
  const int64_t at = -static_cast<int64_t>(addresses.size() * kWord);
  std::vector<bpf_insn> code = {
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_DW, BPF_REG_1, BPF_REG_6, kContextTask),
      leave_if_null(BPF_REG_1),
  };
  for (size_t i = 0; i < addresses.size(); ++i) {
    append(code, set_wide(BPF_REG_7, addresses[i]));
    append(code, read(at + static_cast<int64_t>(i * kWord), kWord, BPF_REG_7, 0));
    code.push_back(leave_unless(BPF_REG_0, 0));
  }
  finish(code, at, addresses.size() * kWord);
  return code;
}

std::vector<bpf_insn> following_program(uint64_t address) {
  const int64_t at = -static_cast<int64_t>(kMostWords * kWord);
  std::vector<bpf_insn> code = {
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_DW, BPF_REG_1, BPF_REG_6, kContextTask),
      leave_if_null(BPF_REG_1),
  };
  append(code, set_wide(BPF_REG_7, address));
  for (size_t i = 0; i < kMostWords; ++i) {  // beyond the last one lies nothing, which reads as 0
    append(code, read(at + static_cast<int64_t>(i * kWord), kWord, BPF_REG_7, 0));
    if (i == 0) code.push_back(leave_unless(BPF_REG_0, 0));
    code.push_back(load(BPF_DW, BPF_REG_7, BPF_REG_10, at + static_cast<int64_t>(i * kWord)));
  }
  finish(code, at, kMostWords * kWord);
  return code;
}

// Writes down where the only entry of the map seems to lie, and where it lies for each of the CPUs.
Result<std::vector<bpf_insn>> placing_program(const KernelTypes& types, int map, std::span<const uint32_t> cpus) {
  bpf_map_info facts{};
  uint32_t length = sizeof facts;
  if (::bpf_obj_get_info_by_fd(map, &facts, &length)) return fail_errno("BPF_OBJ_GET_INFO_BY_FD");
  const size_t bytes = (1 + cpus.size()) * kWord;
  const int64_t at = -static_cast<int64_t>(bytes), key = at - static_cast<int64_t>(kWord);
  std::vector<bpf_insn> code = {
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_DW, BPF_REG_7, BPF_REG_6, kContextMap),
      leave_if_null(BPF_REG_7),
      load(BPF_W, BPF_REG_1, BPF_REG_7, TRY(types.offset("bpf_map", "id"))),
      leave_unless(BPF_REG_1, static_cast<int32_t>(facts.id)),
  };
  append(code, read(at, kWord, BPF_REG_7, TRY(types.offset("bpf_array", "pptrs"))));
  code.push_back(leave_unless(BPF_REG_0, 0));
  append(code, {set(BPF_REG_1, 0), store(BPF_W, BPF_REG_1, key)});
  for (size_t i = 0; i < cpus.size(); ++i) {
    append(code, set_map(BPF_REG_1, map));
    append(code, {copy(BPF_REG_2, BPF_REG_10), add(BPF_REG_2, static_cast<int32_t>(key)),
                  set(BPF_REG_3, static_cast<int32_t>(cpus[i])), call(BPF_FUNC_map_lookup_percpu_elem),
                  leave_if_null(BPF_REG_0), store(BPF_DW, BPF_REG_0, at + static_cast<int64_t>((1 + i) * kWord))});
  }
  finish(code, at, bytes);
  return code;
}

}  // namespace

Result<std::vector<uint64_t>> read_kernel(const KernelTypes& types, std::span<const uint64_t> addresses) {
  std::vector<uint64_t> words;
  for (size_t from = 0; from < addresses.size(); from += kMostWords) {
    auto some = addresses.subspan(from, std::min(kMostWords, addresses.size() - from));
    auto iterator = TRY(Iterator::load(types, "task", reading_program(some)));
    TRY(take_words(TRY(iterator.run(::getpid())), some.size(), words));
  }
  return words;
}

Result<std::vector<uint64_t>> follow_kernel(const KernelTypes& types, uint64_t address) {
  auto iterator = TRY(Iterator::load(types, "task", following_program(address)));
  std::vector<uint64_t> words;
  TRY(take_words(TRY(iterator.run(::getpid())), kMostWords, words));
  if (auto end = std::ranges::find(words, 0u); end != words.end()) words.erase(end + 1, words.end());
  return words;
}

Result<std::vector<uint64_t>> offsets_of_cpus(const KernelTypes& types) {
  auto all = TRY(parse_cpus(TRY(read_file("/sys/devices/system/cpu/possible"))));
  Fd map(::bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "kernel_swap", sizeof(uint32_t), kWord, 1, nullptr));
  if (!map) return fail_errno("BPF_MAP_CREATE");
  std::vector<uint64_t> offsets;
  for (size_t from = 0; from < all.size(); from += kMostWords) {
    auto some = std::span(all).subspan(from, std::min(kMostWords, all.size() - from));
    auto iterator = TRY(Iterator::load(types, "bpf_map", TRY(placing_program(types, map.get(), some))));
    std::vector<uint64_t> places;
    TRY(take_words(TRY(iterator.run()), 1 + some.size(), places));
    for (uint64_t place : std::span(places).subspan(1)) offsets.push_back(place - places[0]);
  }
  return offsets;
}

Result<std::vector<uint32_t>> parse_cpus(std::string_view text) {
  constexpr uint32_t kMost = 1 << 16;
  std::vector<uint32_t> cpus;
  for (auto range : split(trim(text), ',')) {
    auto ends = split(range, '-');
    if (ends.empty()) return fail("not a list of CPUs: " + std::string(text));
    auto first = parse_number<uint32_t>(ends.front()), last = parse_number<uint32_t>(ends.back());
    if (!first || !last || ends.size() > 2 || *last < *first || *last >= kMost)
      return fail("not a list of CPUs: " + std::string(text));
    for (uint32_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
  }
  if (cpus.empty()) return fail("no CPUs");
  return cpus;
}

}  // namespace ks::engine
