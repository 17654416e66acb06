// SPDX-License-Identifier: LGPL-2.1-or-later
// io_uring(7): two rings in memory that kernel and program share. How far a ring has come, each of them knows for
// itself, and its memory shows it. What only the kernel knows is read where it lies (kernel/io_uring.h).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "engine/io_uring.pb.h"
#include "engine/kernel/io_uring.h"
#include "engine/kernel/pagemap.h"
#include "engine/kernel/ring_layout.h"
#include "engine/kinds/io_uring/io_uring.h"
#include "engine/kinds/io_uring/ring.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace io_uring {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kLongest(10), kWorthSaying(1);

struct SetupFlag {
  uint32_t bit;
  std::string_view obstacle;  // empty: none
};
constexpr std::array kSetupFlags = {
    SetupFlag{IORING_SETUP_IOPOLL, "polls for completions (IORING_SETUP_IOPOLL)"},
    SetupFlag{IORING_SETUP_SQPOLL, "has a thread of the kernel (IORING_SETUP_SQPOLL)"},
    SetupFlag{IORING_SETUP_CQSIZE, ""},
    SetupFlag{IORING_SETUP_CLAMP, ""},
    SetupFlag{IORING_SETUP_ATTACH_WQ, ""},
    SetupFlag{IORING_SETUP_R_DISABLED, ""},
    SetupFlag{IORING_SETUP_SUBMIT_ALL, ""},
    SetupFlag{IORING_SETUP_COOP_TASKRUN, ""},
    SetupFlag{IORING_SETUP_TASKRUN_FLAG, ""},
    SetupFlag{IORING_SETUP_SQE128, ""},
    SetupFlag{IORING_SETUP_CQE32, ""},
    SetupFlag{IORING_SETUP_SINGLE_ISSUER, ""},
    SetupFlag{IORING_SETUP_DEFER_TASKRUN, ""},
    SetupFlag{1u << 14, "lies in memory of the program (IORING_SETUP_NO_MMAP)"},
    SetupFlag{kNoArray, ""},
};

Result<> check_setup(uint32_t setup) {
  for (const auto& [bit, obstacle] : kSetupFlags) {
    if (setup & bit && !obstacle.empty()) return refuse(std::string(obstacle) + ", which is not supported yet");
    setup &= ~bit;
  }
  if (setup) return refuse(fmt::format("has unknown flags (IORING_SETUP_... {:#x})", setup));
  return {};
}

Params params_for(const RingInsides& ring) {
  Params params{};
  params.sq_entries = ring.submissions;
  params.cq_entries = ring.completions;
  params.flags = new_setup(ring.setup);
  if (ring.completions != 2 * ring.submissions) params.flags |= IORING_SETUP_CQSIZE;  // or it has been resized
  return params;
}

// One like it, of ours.
Result<Fd> make_twin(const RingInsides& ring, Params& params) {
  params = params_for(ring);
  auto twin = set_up(params);
  if (!twin && twin.error().code == EPERM)
    return refuse("rings are forbidden on this machine by now (kernel.io_uring_disabled)");
  Fd made = TRY(std::move(twin));
  if (params.sq_entries != ring.submissions || params.cq_entries != ring.completions)
    return refuse("has a size that no new ring is given");
  return made;
}

Result<> check_memory(const RingInsides& ring, const RingMemory& memory, const Params& params) {
  const auto& submissions = params.sq_off;
  const auto& completions = params.cq_off;
  if (memory.read(submissions.dropped) || memory.read(completions.overflow))
    return refuse("has dropped requests or completions");
  bool as_known = memory.read(submissions.head) == ring.taken && memory.read(completions.tail) == ring.given &&
                  memory.read(submissions.flags) == 0 && memory.read(submissions.ring_entries) == ring.submissions &&
                  memory.read(completions.ring_entries) == ring.completions &&
                  memory.read(submissions.ring_mask) == ring.submissions - 1 &&
                  memory.read(completions.ring_mask) == ring.completions - 1;
  if (!as_known) return refuse("is not as the kernel knows it");  // the program can write to it
  return {};
}

// How long it would take to make as many requests, measured with a new ring.
Result<Seconds> measure(const Advance& plan, int twin, const Params& params) {
  constexpr uint32_t kAtOnce = 64, kRounds = 256;  // some milliseconds
  constexpr Seconds kRemoteCall(30e-6);
  uint32_t some = std::min(params.sq_entries, kAtOnce) * kRounds;
  if (plan.all <= some) return Seconds(0);
  RingMemory memory = TRY(RingMemory::map(twin, params));
  auto begun = Clock::now();
  TRY(advance(memory, params, {.all = some}, enter_by_ourselves(twin)));
  Seconds taken = (Clock::now() - begun) * (static_cast<double>(plan.all) / some);
  if (params.flags & IORING_SETUP_SINGLE_ISSUER) taken += kRemoteCall * (plan.all / params.sq_entries);
  return taken;
}

// The thread that alone may use it; 0: any may.
Result<pid_t> submitter_of(const Dumping& dumping, const RingInsides& ring, const OpenFile& file) {
  if (!ring.submitter) return 0;
  for (const auto& process : dumping.processes)
    for (const StoppedThread& thread : process.threads)
      if (dumping.number_of(process.pid, file.id) >= 0 && TRY(task_of(thread.tid())) == ring.submitter)
        return thread.tid();
  return refuse("is for a thread alone that has ended or is not part of it");
}

pid_t process_of(const Dumping& dumping, pid_t tid) {
  for (const auto& process : dumping.processes)
    if (std::ranges::any_of(process.threads, [&](const StoppedThread& thread) { return thread.tid() == tid; }))
      return process.pid;
  return 0;
}

// In the process that makes the ring.
Result<> find_eventfd(const Dumping& dumping, const RingInsides& ring, const OpenFile& file, image::IoUring& out) {
  std::map<int, int> numbers;  // in the process, by our own
  std::vector<Fd> ours;
  std::vector<int> fds;
  for (const auto& descriptor : dumping.descriptors.at(out.pid())) {
    const OpenFile& other = dumping.open_files[descriptor.file];
    if (other.link != "anon_inode:[eventfd]") continue;
    fds.push_back(ours.emplace_back(TRY(other.fetch())).get());
    numbers[fds.back()] = descriptor.number;
  }
  out.mutable_eventfd()->set_ring(dumping.number_of(out.pid(), file.id));
  out.mutable_eventfd()->set_async(ring.eventfd_async);
  for (auto [fd, behind] : TRY(eventfds_behind(fds)))
    if (behind == ring.eventfd) {
      out.mutable_eventfd()->set_eventfd(numbers.at(fd));
      return {};
    }
  return refuse(fmt::format("tells an eventfd of completions that pid {} has not open", out.pid()));
}

// Nobody there can take a ring from us.
bool is_apart(const Dumping& dumping, pid_t pid) { return dumping.users.of(pid) || dumping.nested.home(pid); }

constexpr std::string_view kApart = "in a namespace of users or PIDs of its own, which is not supported yet";

Result<> check_holders(const Dumping& dumping, const OpenFile& file) {
  for (const auto& process : dumping.processes)
    if (!process.zombie && dumping.number_of(process.pid, file.id) >= 0 && is_apart(dumping, process.pid))
      return refuse(std::string(kApart));
  return {};
}

// What was said of the next kernel rests on what its types mean for a ring, which this one's are a proof of.
Result<> check_expectation(const Params& params) {
  if (TRY(expected_layout(TRY(KernelTypes::read()), params)) != layout_of(params))
    return refuse("lies in memory otherwise than is known");
  return {};
}

// The memory of a ring, and what may be mapped of it.
struct Extent {
  uint32_t id = 0;
  uint64_t rings = 0, requests = 0;  // 0: not known
};

uint64_t in_pages(uint64_t bytes) { return (bytes + kPageSize - 1) / kPageSize * kPageSize; }

Result<> dump_one(Dumping& dumping, const OpenFile& file, const RingInsides& ring, const Fd& mine, Extent& extent) {
  TRY(check_setup(ring.setup));
  TRY(check_holders(dumping, file));
  if (ring.in_flight) return refuse_for_now(fmt::format("has {} requests in flight", ring.in_flight));
  if (ring.overflown) return refuse_for_now("has completions for which there was no room");
  if (!ring.more.empty()) return refuse("has " + ring.more + ", which is not supported yet");
  Params params;
  Fd twin = TRY(make_twin(ring, params));
  if (dumping.options.next_kernel) TRY(check_expectation(params));
  extent.rings = in_pages(rings_bytes(params));
  extent.requests = in_pages(requests_bytes(params));
  RingMemory memory = TRY(RingMemory::map(mine.get(), params));
  TRY(check_memory(ring, memory, params));
  auto plan = plan_advance(ring.taken, ring.given);
  if (!plan) return refuse("has given several completions for one request, which is not supported yet");
  Seconds needed = TRY(measure(*plan, twin.get(), params));
  if (needed > kLongest)
    return refuse(
        fmt::format("has served {} requests, as many as a new one has to be given: that would take {:.0f} "
                    "seconds",
                    ring.taken, needed.count()));
  if (needed > kWorthSaying)
    dumping.remark(
        file.pid, file.object(),
        fmt::format("has served {} requests; to bring a new one there prolongs the pause by {:.0f} seconds",
                    ring.taken, needed.count()));

  image::IoUring out;
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_tid(TRY(submitter_of(dumping, ring, file)));
  out.set_pid(out.tid() ? process_of(dumping, out.tid()) : file.pid);
  if (ring.eventfd) TRY(find_eventfd(dumping, ring, file, out));
  out.set_submissions(ring.submissions);
  out.set_completions(ring.completions);
  out.set_setup(params.flags);
  out.set_features(params.features);
  out.set_layout(layout_of(params));
  out.set_charged(ring.charged.has_value());
  out.set_user(ring.charged.value_or(0));
  out.set_taken(ring.taken);
  out.set_given(ring.given);
  out.set_rings(memory.rings().data(), memory.rings().size());
  out.set_requests(memory.requests().data(), memory.requests().size());
  dumping.put_file(kName, kVersion, out);
  return {};
}

// Of the rings less may be mapped than there is; all else some kernels take otherwise than others: one maps of the
// requests nothing but all, one maps more than there is, one an offset within as none.
bool is_whole(const Vma& area, const Extent& extent) {
  uint64_t bytes = area.end - area.start;
  if (area.offset == IORING_OFF_SQES) return bytes == extent.requests;
  return (area.offset == IORING_OFF_SQ_RING || area.offset == IORING_OFF_CQ_RING) && bytes <= extent.rings;
}

// Which areas are memory of which ring.
Result<> find_areas(Dumping& dumping, const std::map<uint64_t, Extent>& extents) {
  for (const auto& process : dumping.processes) {
    auto is_ring = [](const Vma& area) { return area.path == kRingLink; };
    if (process.zombie || std::ranges::none_of(process.areas, is_ring)) continue;
    if (is_apart(dumping, process.pid)) dumping.refuse(process.pid, "memory of a ring", std::string(kApart));
    auto files = TRY(files_of_areas(process.pid));
    for (const Vma& area : process.areas) {
      auto file = is_ring(area) ? files.find(area.start) : files.end();
      auto ring = file == files.end() ? extents.end() : extents.find(file->second);
      if (ring == extents.end()) continue;
      const Extent& extent = ring->second;
      dumping.ring_areas[{process.pid, area.start}] = extent.id;
      if (extent.rings && !is_whole(area, extent))
        dumping.refuse(process.pid, fmt::format("area {:x}-{:x} {}", area.start, area.end, area.path),
                       "a part of a ring, or more than there is of it, which is not supported yet");
    }
  }
  return {};
}

bool owns(const OpenFile& file) { return file.link == kRingLink; }

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  const auto& next = dumping.options.next_kernel;
  auto taken = next ? next->takes_rings() : Result<>();
  std::vector<Fd> ours;
  std::vector<int> fds;
  for (const OpenFile& file : files) fds.push_back(ours.emplace_back(TRY(in(file.object(), file.fetch()))).get());
  auto rings = look_into_rings(fds);
  std::map<uint64_t, Extent> extents;
  for (size_t i = 0; i < files.size(); ++i) {
    const OpenFile& file = files[i];
    if (!taken) dumping.refuse(file.pid, file.object(), taken.error().what);
    if (!rings) {
      if (taken) dumping.refuse(file.pid, file.object(), "cannot be looked into: " + rings.error().what);
      continue;
    }
    const RingInsides& ring = rings->at(fds[i]);
    Extent& extent = extents[ring.file];
    extent.id = file.id;
    if (taken) TRY(is_done(dumping, file, dump_one(dumping, file, ring, ours[i], extent)));
  }
  if (!rings) return {};
  // A swap that has been begun is to the kernel that is meant.
  std::string where;
  if (!next)
    where =
        "comes back under kernels that lay out rings as this one does, which 6.1 does otherwise than 6.12 and later: "
        "elsewhere the service starts afresh";
  else if (taken && !dumping.image)
    where = fmt::format("can come back under {}, as the file of that tells, and under none whose file is not known",
                        next->facts()->release);
  if (!where.empty()) dumping.remark(files.front().pid, files.front().object(), where);
  return find_areas(dumping, extents);
}

}  // namespace

}  // namespace io_uring

extern const Kind kIoUring;
const Kind kIoUring{.name = io_uring::kName,
                    .version = io_uring::kVersion,
                    .owns = io_uring::owns,
                    .dump = io_uring::dump,
                    .make = io_uring::make,
                    .connect = io_uring::connect,
                    .of_processes = true,
                    .of_holder = true};

}  // namespace ks::engine
