// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/aio_rings.h"

#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

namespace ks::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 500ms;  // a disk is quicker; what waits for a peer may wait for ever

bool has_rings(const StoppedProcess& process) { return std::ranges::any_of(process.areas, is_aio_ring); }

bool any_in_flight(const Result<std::vector<AioContext>>& contexts) {
  return contexts && std::ranges::any_of(*contexts, [](const AioContext& context) { return context.in_flight != 0; });
}

// Of how many bytes the kernel makes a ring with so many slots: it fills whole pages.
uint64_t ring_bytes(uint32_t slots) { return sizeof(AioRingHeader) + uint64_t{slots} * sizeof(io_event); }

RemoteAddress event_at(const image::Area& area, uint64_t slot) {
  return {area.start() + sizeof(AioRingHeader) + slot * sizeof(io_event)};
}

// The slots of those that nobody has taken, in up to two stretches.
template <class Copy>
Result<> copy_events(const image::Area& area, uint32_t slots, uint32_t head, std::span<std::byte> events, Copy copy) {
  size_t before_end = std::min(events.size(), (slots - head) * sizeof(io_event));
  TRY(copy(event_at(area, head), events.first(before_end)));
  return copy(event_at(area, 0), events.subspan(before_end));
}

uint32_t slots_of(const image::Area& area) {
  return static_cast<uint32_t>((area.end() - area.start() - sizeof(AioRingHeader)) / sizeof(io_event));
}

class NewRing {
 public:
  NewRing(RestoredProcess& process, const image::Area& area) : process_(process), area_(area) {}

  Result<> make() {
    uint64_t length = area_.end() - area_.start();
    // So that the kernel makes it elsewhere, which it could not be moved from otherwise.
    uint64_t reserved = TRY(calls()(SYS_mmap, area_.start(), length, PROT_NONE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    if (reserved != area_.start()) return fail("the place of a ring of asynchronous I/O is taken");
    auto ring = TRY(set_up(area_.ring().requests()));
    // Its size depends on the number of CPUs too.
    if (!ring) ring = TRY(set_up(std::max(area_.ring().requests(), requests_for(length))));
    if (!ring)
      return fail("a ring of asynchronous I/O has another size on this machine, whose number of CPUs is another");
    TRY(in("mremap", calls()(SYS_mremap, *ring, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, area_.start())));
    return {};
  }

  Result<> advance(const RingPlan& plan) {
    TRY(prepare_requests());
    uint32_t done = 0, slots = slots_of(area_), tail = 0;
    while (done < plan.taken + plan.left) {
      bool takes = done < plan.taken;
      // What the kernel gives out is in part reserved for CPUs, so not all at once.
      uint32_t most = takes ? std::min(plan.taken - done, slots / 2) : plan.taken + plan.left - done;
      auto submitted = static_cast<uint32_t>(
          TRY(in("io_submit",
                 calls()(SYS_io_submit, area_.start(), std::min(most, kRequestsAtOnce), process_.scratch + kList))));
      done += submitted;
      tail = (tail + submitted) % slots;
      if (takes) TRY(set_head(tail));
    }
    TRY(in("close", calls()(SYS_close, file_)));
    auto header = TRY(process_.memory->read<AioRingHeader>({area_.start()}));
    if (header.tail != tail) return fail("a ring of asynchronous I/O is not where its requests have brought it");
    return {};
  }

  Result<> set_head(uint32_t head) {
    return process_.memory->write_value(RemoteAddress{area_.start() + offsetof(AioRingHeader, head)}, head);
  }

 private:
  static constexpr uint32_t kRequestsAtOnce = 4096;
  static constexpr uint64_t kList = sizeof(iocb);  // in the scratch area, behind the request
  static_assert(kList + kRequestsAtOnce * sizeof(uint64_t) <= Parking::kScratchSize);

  RemoteCalls& calls() { return process_.leader(); }

  // Nothing: it has another size.
  Result<std::optional<uint64_t>> set_up(uint32_t requests) {
    TRY(process_.memory->write_value(process_.scratch, uint64_t{0}));
    auto made = calls()(SYS_io_setup, requests, process_.scratch);
    if (!made && made.error().code == EAGAIN)
      return fail(fmt::format("io_setup: the machine allows no {} requests more (fs.aio-max-nr)", requests));
    TRY(in("io_setup", std::move(made)));
    auto ring = TRY(process_.memory->read<uint64_t>(process_.scratch));
    auto header = TRY(process_.memory->read<AioRingHeader>({ring}));
    if (header.slots == slots_of(area_)) return std::optional(ring);
    TRY(in("io_destroy", calls()(SYS_io_destroy, ring)));
    return std::optional<uint64_t>();
  }

  // All are the same one: to read nothing from an eventfd, which fails at once.
  Result<> prepare_requests() {
    file_ = TRY(in("eventfd", calls()(SYS_eventfd2, 0, EFD_CLOEXEC)));
    iocb request{};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(file_);
    TRY(process_.memory->write_value(process_.scratch, request));
    std::vector<uint64_t> list(kRequestsAtOnce, process_.scratch.value);
    return process_.memory->write(process_.scratch + kList, std::as_bytes(std::span(list)));
  }

  RestoredProcess& process_;
  const image::Area& area_;
  uint64_t file_ = 0;  // its number in the process
};

}  // namespace

bool is_aio_ring(const Vma& area) { return area.path.starts_with("/[aio]"); }

Result<> survey_aio(Dumping& dumping) {
  auto enough = std::chrono::steady_clock::now() + kPatience;
  for (const auto& process : dumping.processes) {
    if (process.zombie || dumping.shares_memory(process.pid) || !has_rings(process)) continue;
    auto contexts = aio_contexts_of(process.pid);
    while (any_in_flight(contexts) && std::chrono::steady_clock::now() < enough) {
      std::this_thread::sleep_for(1ms);
      contexts = aio_contexts_of(process.pid);
    }
    std::set<uint64_t> seen;
    for (const Vma& area : process.areas)
      if (is_aio_ring(area)) seen.insert(area.start);
    if (contexts)
      for (const AioContext& context : *contexts)
        if (!seen.contains(context.ring))
          dumping.refuse(process.pid, fmt::format("asynchronous I/O context {:x}", context.ring),
                         "has no ring any more: the process has unmapped it");
    dumping.aio_contexts.emplace(process.pid, std::move(contexts));
  }
  return {};
}

Result<> describe_ring(const Dumping& dumping, const StoppedProcess& process, const Vma& area, image::Area& out) {
  const auto& contexts = dumping.aio_contexts.at(process.pid);
  if (!contexts) return refuse("a ring of asynchronous I/O, which cannot be looked into: " + contexts.error().what);
  auto context = std::ranges::find(*contexts, area.start, &AioContext::ring);
  if (context == contexts->end())
    return refuse("a ring of asynchronous I/O without a context, as fork(2) leaves it to a child");
  if (context->in_flight)
    return refuse_for_now(fmt::format("a ring of asynchronous I/O with {} requests in flight", context->in_flight));
  auto header = TRY(process.memory->read<AioRingHeader>({area.start}));
  auto plan = plan_ring(context->slots, header.head, context->tail);
  // The program can write to it.
  if (!plan || header.magic != AioRingHeader::kMagic || header.bytes != sizeof header ||
      header.slots != context->slots || header.tail != context->tail || ring_bytes(context->slots) != area.size())
    return refuse("a ring of asynchronous I/O that is not as the kernel knows it");
  auto* ring = out.mutable_ring();
  ring->set_requests(context->requests);
  ring->set_head(header.head);
  ring->set_tail(header.tail);
  std::string events(plan->left * sizeof(io_event), '\0');
  TRY(copy_events(out, context->slots, header.head, std::as_writable_bytes(std::span(events)),
                  [&](RemoteAddress from, std::span<std::byte> into) { return process.memory->read(from, into); }));
  ring->set_events(std::move(events));
  out.set_source(image::Area::AIO_RING);
  return {};
}

Result<> restore_ring(RestoredProcess& process, const image::Area& area) {
  const auto& ring = area.ring();
  uint32_t slots = slots_of(area);
  auto plan = plan_ring(slots, ring.head(), ring.tail());
  if (!plan || ring_bytes(slots) != area.end() - area.start() ||
      ring.events().size() != plan->left * sizeof(io_event))
    return fail("not a ring of asynchronous I/O");
  NewRing made(process, area);
  TRY(made.make());
  TRY(made.advance(*plan));
  std::string events = ring.events();
  return copy_events(area, slots, ring.head(), std::as_writable_bytes(std::span(events)),
                     [&](RemoteAddress to, std::span<std::byte> from) { return process.memory->write(to, from); });
}

std::optional<RingPlan> plan_ring(uint32_t slots, uint32_t head, uint32_t tail) {
  if (head >= slots || tail >= slots) return std::nullopt;
  uint32_t left = (tail + slots - head) % slots;
  // Those that are left are events of the new ring too: if it has begun anew since, it has to go round once.
  uint32_t all = tail < left ? tail + slots : tail;
  return RingPlan{.taken = all - left, .left = left};
}

uint32_t requests_for(uint64_t bytes) {
  // The kernel doubles them, adds two, and fills the last page (fs/aio.c, ioctx_alloc and aio_setup_ring).
  constexpr uint64_t kPerPage = kPageSize / sizeof(io_event);
  uint64_t pages = bytes / kPageSize;
  if (pages <= 1) return 1;
  return static_cast<uint32_t>((pages - 1) * kPerPage / 2 - 1);
}

}  // namespace ks::engine
