// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/ring_layout.h"

#include <sys/utsname.h>

#include <array>
#include <optional>
#include <utility>

#include "base/text.h"

namespace ks::engine {

namespace {

constexpr const char* kRings = "io_rings";

struct Member {
  const char* name;
  const char* of_queue;  // of struct io_uring, which the member is; null: it is a number itself
  uint32_t io_sqring_offsets::* submissions;
  uint32_t io_cqring_offsets::* completions;
};
constexpr std::array kMembers = {
    Member{"sq", "head", &io_sqring_offsets::head, nullptr},
    Member{"sq", "tail", &io_sqring_offsets::tail, nullptr},
    Member{"sq_ring_mask", nullptr, &io_sqring_offsets::ring_mask, nullptr},
    Member{"sq_ring_entries", nullptr, &io_sqring_offsets::ring_entries, nullptr},
    Member{"sq_flags", nullptr, &io_sqring_offsets::flags, nullptr},
    Member{"sq_dropped", nullptr, &io_sqring_offsets::dropped, nullptr},
    Member{"cq", "head", nullptr, &io_cqring_offsets::head},
    Member{"cq", "tail", nullptr, &io_cqring_offsets::tail},
    Member{"cq_ring_mask", nullptr, nullptr, &io_cqring_offsets::ring_mask},
    Member{"cq_ring_entries", nullptr, nullptr, &io_cqring_offsets::ring_entries},
    Member{"cq_flags", nullptr, nullptr, &io_cqring_offsets::flags},
    Member{"cq_overflow", nullptr, nullptr, &io_cqring_offsets::overflow},
    Member{"cqes", nullptr, nullptr, &io_cqring_offsets::cqes},
};

Result<uint32_t> offset_of(const KernelTypes& types, const Member& member) {
  uint32_t at = TRY(types.offset(kRings, member.name));
  return member.of_queue ? at + TRY(types.offset("io_uring", member.of_queue)) : at;
}

// Behind the completions, in the next line of the cache (rings_size() in io_uring/io_uring.c, since Linux 5.19). How
// long that is shows in where the completions begin.
Result<uint32_t> array_offset(const KernelTypes& types, const io_uring_params& params) {
  constexpr uint64_t kLine = 64;
  uint64_t end = TRY(types.size(kRings)) + params.cq_entries * sizeof(io_uring_cqe);
  if (params.flags & IORING_SETUP_CQE32) end *= 2;
  return static_cast<uint32_t>((end + kLine - 1) / kLine * kLine);
}

// Only its name says that it is none.
bool is_end(std::string_view enumerator) { return enumerator.ends_with("_LAST"); }

Result<> check_enumeration(const KernelTypes& older, const KernelTypes& newer, std::string_view enumerator) {
  auto then = TRY(newer.enumeration_with(enumerator));
  for (const auto& [name, value] : TRY(older.enumeration_with(enumerator)))
    if (auto found = then.find(name); !is_end(name) && (found == then.end() || found->second != value))
      return fail("has no " + name);
  return {};
}

std::optional<std::pair<unsigned, unsigned>> parse_release(std::string_view release) {
  auto first = parse_number<unsigned>(take_until(release, '.'));
  auto second = parse_number<unsigned>(release.substr(0, release.find_first_not_of("0123456789")));
  if (!first || !second) return std::nullopt;
  return std::pair(*first, *second);
}

}  // namespace

std::string layout_of(const io_uring_params& params) {
  std::string layout(reinterpret_cast<const char*>(&params.sq_off), sizeof params.sq_off);
  layout.append(reinterpret_cast<const char*>(&params.cq_off), sizeof params.cq_off);
  return layout;
}

Result<std::string> expected_layout(const KernelTypes& types, const io_uring_params& params) {
  io_uring_params expected{};
  for (const Member& member : kMembers) {
    uint32_t at = TRY(offset_of(types, member));
    if (member.submissions)
      expected.sq_off.*member.submissions = at;
    else
      expected.cq_off.*member.completions = at;
  }
  if (!(params.flags & kNoArray)) expected.sq_off.array = TRY(array_offset(types, params));
  return layout_of(expected);
}

bool is_at_least(std::string_view release, std::string_view other) {
  auto one = parse_release(release), two = parse_release(other);
  return one && two && *one >= *two;
}

Result<> check_succession(const KernelTypes& older, const KernelTypes& newer) {
  bool alike = TRY(newer.size(kRings)) == TRY(older.size(kRings));
  for (const Member& member : kMembers) alike &= TRY(offset_of(newer, member)) == TRY(offset_of(older, member));
  if (!alike) return fail("lays out rings otherwise than this one");
  TRY(check_enumeration(older, newer, "IORING_OP_NOP"));
  return check_enumeration(older, newer, "IORING_REGISTER_BUFFERS");
}

Result<> check_rings_under(const std::string& release, const KernelTypes& types) {
  auto because = [&](const std::string& why) { return refuse("the next kernel (" + release + "): " + why); };
  utsname running{};
  if (::uname(&running)) return fail_errno("uname");
  auto succeeds = check_succession(TRY(KernelTypes::read()), types);
  if (!succeeds) return because(succeeds.error().what);
  // What a ring can do, programs are told by bits (IORING_FEAT_*, IORING_SETUP_*) that no type shows. They have only
  // ever become more.
  if (!is_at_least(release, running.release))
    return because(std::string("may lack what rings of ") + running.release + " can do");
  return {};
}

}  // namespace ks::engine
