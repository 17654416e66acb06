// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "engine/context/open_file.h"
#include "engine/io_uring.pb.h"
#include "engine/kinds/io_uring/io_uring.h"
#include "engine/kinds/io_uring/ring.h"
#include "engine/kinds/kind.h"
#include "engine/target/process.h"

namespace ks::engine::io_uring {

namespace {

struct Ring {
  image::IoUring before;
  Params params{};
  RestoredProcess* process = nullptr;
  RemoteCalls* calls = nullptr;  // of who makes it
};

Result<RemoteCalls*> calls_of(RestoredProcess& process, pid_t tid) {
  if (!tid) return &process.leader();
  for (auto& thread : process.threads)
    if (thread.tid() == tid) return &thread.calls;
  return fail(fmt::format("the image has no thread {}", tid));
}

// The program has computed addresses from what it was told of the old one.
Result<> check_likeness(const image::IoUring& before, const Params& params) {
  if (layout_of(params) != before.layout()) return fail("this kernel lays out rings otherwise than the one before");
  if (before.features() & ~params.features) return fail("this kernel lacks features of the one before");
  if (params.sq_entries != before.submissions() || params.cq_entries != before.completions())
    return fail("this kernel gives a ring another size");
  if (rings_bytes(params) != before.rings().size() || requests_bytes(params) != before.requests().size())
    return fail("not a ring");
  return {};
}

// Whether memory is charged that is registered with a ring, and to whom, is decided when it is made (RLIMIT_MEMLOCK):
// by CAP_IPC_LOCK and the real user.
class Maker {
 public:
  explicit Maker(Ring& ring) : ring_(ring), calls_(*ring.calls) {}

  Result<uint64_t> set_up() {
    uint64_t tid = static_cast<uint64_t>(calls_.thread().tid());
    Status have =
        TRY(parse_status(TRY(read_record(proc_path(ring_.process->pid, fmt::format("task/{}/status", tid))))));
    uint64_t effective = have.cap_effective;
    if (!ring_.before.charged()) return call();
    TRY(raise_limit());
    TRY(in("setresuid", calls_(SYS_setresuid, ring_.before.user(), -1, -1)));
    TRY(set_capabilities(have, effective & ~(uint64_t{1} << CAP_IPC_LOCK)));
    auto number = TRY(call());
    TRY(set_capabilities(have, effective));
    TRY(in("setresuid", calls_(SYS_setresuid, have.uids[0], -1, -1)));
    return number;
  }

 private:
  // By later kernels the ring itself is charged too (seen on 6.18). The limit gets its value with all others.
  Result<> raise_limit() {
    rlimit limit{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    RemoteAddress scratch = ring_.process->scratch;
    auto set = [&]() -> Result<> {
      TRY(ring_.process->memory->write_value(scratch, limit));
      TRY(in("prlimit", calls_(SYS_prlimit64, 0, RLIMIT_MEMLOCK, scratch, 0)));
      return {};
    };
    if (set()) return {};
    TRY(in("prlimit", calls_(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, scratch)));
    limit.rlim_max = TRY(ring_.process->memory->read<rlimit>(scratch)).rlim_max;
    limit.rlim_cur = limit.rlim_max;
    return set();
  }

  Result<uint64_t> call() {
    RemoteAddress scratch = ring_.process->scratch;
    TRY(ring_.process->memory->write_value(scratch, ring_.params));
    auto number = TRY(in("io_uring_setup", calls_(SYS_io_uring_setup, ring_.params.sq_entries, scratch)));
    ring_.params = TRY(ring_.process->memory->read<Params>(scratch));
    return number;
  }

  Result<> set_capabilities(const Status& have, uint64_t effective) {
    struct {
      __user_cap_header_struct header;
      __user_cap_data_struct data[2];
    } request{.header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0}};
    for (int half = 0; half < 2; ++half)
      request.data[half] = {.effective = static_cast<__u32>(effective >> 32 * half),
                            .permitted = static_cast<__u32>(have.cap_permitted >> 32 * half),
                            .inheritable = static_cast<__u32>(have.cap_inheritable >> 32 * half)};
    RemoteAddress scratch = ring_.process->scratch;
    TRY(ring_.process->memory->write_value(scratch, request));
    TRY(in("capset", calls_(SYS_capset, scratch, scratch + sizeof request.header)));
    return {};
  }

  Ring& ring_;
  RemoteCalls& calls_;
};

// By the one who had it, since the kernel may let nobody else use it.
Result<MadeRing> set_up_in(Ring& ring) {
  ring.params.sq_entries = ring.before.submissions();
  ring.params.cq_entries = ring.before.completions();
  ring.params.flags = ring.before.setup();
  MadeRing made{.ours = {}, .maker = ring.process->pid};
  made.number = TRY(Maker(ring).set_up());
  TRY(check_likeness(ring.before, ring.params));
  made.ours = TRY(fetch_descriptor(made.maker, static_cast<int>(made.number)));
  if (::fcntl(made.ours.get(), F_SETFL, static_cast<int>(ring.before.flags()))) return fail_errno("F_SETFL");
  return made;
}

Enter enter_by(const Ring& ring, const MadeRing& made) {
  if (!ring.before.tid()) return enter_by_ourselves(made.ours.get());
  return [&](uint32_t count) -> Result<uint32_t> {
    return static_cast<uint32_t>(
        TRY(in("io_uring_enter", (*ring.calls)(SYS_io_uring_enter, made.number, count, 0, 0, 0, 0))));
  };
}

Result<> bring_there(const Ring& ring, const MadeRing& made) {
  const image::IoUring& before = ring.before;
  auto plan = plan_advance(before.taken(), before.given());
  if (!plan) return fail("not a ring");
  RingMemory memory = TRY(RingMemory::map(made.ours.get(), ring.params));
  TRY(advance(memory, ring.params, *plan, enter_by(ring, made)));
  if (memory.read(ring.params.sq_off.head) != before.taken() ||
      memory.read(ring.params.cq_off.tail) != before.given())
    return fail("a ring is not where its requests have brought it");
  std::memcpy(memory.requests().data(), before.requests().data(), before.requests().size());
  std::memcpy(memory.rings().data(), before.rings().data(), before.rings().size());
  return {};
}

}  // namespace

uint32_t new_setup(uint32_t setup) { return setup & ~uint32_t{IORING_SETUP_ATTACH_WQ}; }

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  std::vector<Ring> rings(envelopes.size());
  MadeRings made;
  for (size_t i = 0; i < rings.size(); ++i) {
    Ring& ring = rings[i];
    TRY(parse_body(envelopes[i], ring.before));
    ring.process = TRY(restoring.process(ring.before.pid()));
    ring.calls = TRY(calls_of(*ring.process, ring.before.tid()));
    made.emplace(ring.before.id(), TRY(in(fmt::format("pid {}", ring.process->pid), set_up_in(ring))));
  }
  TRY(map_rings(restoring, made));
  for (const Ring& ring : rings) TRY(bring_there(ring, made.at(ring.before.id())));
  Fds files;
  for (auto& [id, ring] : made) {
    TRY(in("close", TRY(restoring.process(ring.maker))->leader()(SYS_close, ring.number)));
    files.emplace(id, std::move(ring.ours));
  }
  return files;
}

Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    image::IoUring ring;
    TRY(parse_body(envelope, ring));
    if (!ring.has_eventfd()) continue;
    RestoredProcess& process = *TRY(restoring.process(ring.pid()));
    RemoteCalls& calls = *TRY(calls_of(process, ring.tid()));
    TRY(process.memory->write_value(process.scratch, ring.eventfd().eventfd()));
    TRY(in(
        "IORING_REGISTER_EVENTFD",
        calls(SYS_io_uring_register, ring.eventfd().ring(),
              ring.eventfd().async() ? IORING_REGISTER_EVENTFD_ASYNC : IORING_REGISTER_EVENTFD, process.scratch, 1)));
  }
  return {};
}

}  // namespace ks::engine::io_uring
