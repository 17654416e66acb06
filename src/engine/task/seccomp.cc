// SPDX-License-Identifier: LGPL-2.1-or-later
// Seccomp filters, of each thread its own. They are loaded while they are suspended, and count from the moment the
// thread is let go. What all threads have they share, as SECCOMP_FILTER_FLAG_TSYNC demands of those who will use it.
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <cstring>
#include <map>

#include "engine/kernel/seccomp.h"
#include "engine/seccomp.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

std::string bytes_of(const SeccompFilter& filter) {
  return std::string(reinterpret_cast<const char*>(filter.code.data()), filter.code.size() * sizeof(sock_filter));
}

Result<> dump(Dumping&, DumpedProcess& process, const TaskRoom& room) {
  image::Seccomp out;
  std::map<std::pair<std::string, bool>, uint32_t> known;
  for (const StoppedThread& thread : process.stopped.threads) {
    auto* written = out.add_threads();
    written->set_tid(thread.tid());
    for (const SeccompFilter& filter : thread.filters) {
      auto [at, is_new] = known.try_emplace({bytes_of(filter), filter.log}, out.filters_size());
      if (is_new) {
        auto* added = out.add_filters();
        added->set_code(at->first.first);
        added->set_log(filter.log);
      }
      written->add_filters(at->second);
    }
  }
  process.put(room.name, room.version, out);
  return {};
}

Result<> load(RestoredProcess& process, RestoredThread& thread, const image::Seccomp::Filter& filter,
              unsigned flags) {
  size_t count = filter.code().size() / sizeof(sock_filter);
  if (count == 0 || count > BPF_MAXINSNS || count * sizeof(sock_filter) != filter.code().size())
    return fail("a seccomp filter of no possible size");
  RemoteAddress code = process.scratch + sizeof(sock_fprog);
  sock_fprog program{static_cast<uint16_t>(count), reinterpret_cast<sock_filter*>(code.value)};
  TRY(process.memory->write_value(process.scratch, program));
  TRY(process.memory->write(code, std::as_bytes(std::span(filter.code()))));
  // Without SPEC_ALLOW it could switch off speculation for good; how that was set comes back with the settings.
  flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW | (filter.log() ? SECCOMP_FILTER_FLAG_LOG : 0);
  auto loaded = TRY(in("seccomp", thread.calls(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, process.scratch)));
  if (loaded) return fail(fmt::format("a seccomp filter cannot be given to thread {}", loaded));
  return {};
}

Result<> restore(Restoring&, RestoredProcess& process, const TaskRoom& room) {
  auto seccomp = TRY(process.read<image::Seccomp>(room.name, room.version));
  if (seccomp.threads_size() != static_cast<int>(process.threads.size())) return fail("not one entry per thread");
  if (seccomp.filters().empty()) return {};
  const auto& first = seccomp.threads(0).filters();
  int shared = process.threads.size() > 1 ? first.size() : 0;
  for (int i = 0; i < seccomp.threads_size(); ++i) {
    const auto& thread = seccomp.threads(i);
    if (thread.tid() != process.threads[static_cast<size_t>(i)].tid()) return fail("filters of another thread");
    for (uint32_t filter : thread.filters())
      if (filter >= static_cast<uint32_t>(seccomp.filters_size())) return fail("no such filter");
    auto differs = std::ranges::mismatch(first, thread.filters()).in1;
    shared = std::min(shared, static_cast<int>(differs - first.begin()));
    TRY(process.threads[static_cast<size_t>(i)].hold.suspend_seccomp(true, true));
  }
  for (int i = 0; i < shared; ++i)
    TRY(load(process, process.threads.front(), seccomp.filters(static_cast<int>(first[i])),
             SECCOMP_FILTER_FLAG_TSYNC));
  for (int i = 0; i < seccomp.threads_size(); ++i)
    for (int own = shared; own < seccomp.threads(i).filters_size(); ++own)
      TRY(load(process, process.threads[static_cast<size_t>(i)],
               seccomp.filters(static_cast<int>(seccomp.threads(i).filters(own))), 0));
  return {};
}

}  // namespace

extern const TaskRoom kSeccomp;
const TaskRoom kSeccomp{.name = "seccomp", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
