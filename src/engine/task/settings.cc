// SPDX-License-Identifier: LGPL-2.1-or-later
// What a process has set for itself or had set for it: limits, prctl(2) switches, personality, and the like.
#include <linux/membarrier.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/text.h"
#include "engine/settings.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr int kGetMdwe = 66, kSetMdwe = 65;
constexpr uint64_t kNoiseFlags = 0x00180000;  // PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE: PR_SET_IO_FLUSHER

struct Control {
  const char* name;
  int get, set;
  int argument;       // of the get call; the set call takes it first where it is not kNone
  bool by_pointer;    // the value comes through a pointer
  int64_t of_new;     // what a new process has
  int64_t mask = -1;  // bits that count
};
constexpr int kNone = -1;

// PR_SET_MDWE comes last: it forbids what the others may need. (PR_SET_MEMORY_MERGE is the layout's: it changes
// areas.)
constexpr std::array kControls = {
    Control{"child subreaper", PR_GET_CHILD_SUBREAPER, PR_SET_CHILD_SUBREAPER, kNone, true, 0},
    Control{"transparent huge pages off", PR_GET_THP_DISABLE, PR_SET_THP_DISABLE, kNone, false, 0},
    Control{"time stamp counter", PR_GET_TSC, PR_SET_TSC, kNone, true, PR_TSC_ENABLE},
    Control{"memory error policy", PR_MCE_KILL_GET, PR_MCE_KILL, kNone, false, PR_MCE_KILL_DEFAULT},
    Control{"store bypass", PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL, 0, false, 0,
            PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE},
    Control{"indirect branches", PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL, 1, false, 0,
            PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE},
    Control{"first-level cache flush", PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL, 2, false, 0, PR_SPEC_ENABLE},
    Control{"memory deny write execute", kGetMdwe, kSetMdwe, kNone, false, 0},
};

Result<> dump_controls(DumpedProcess& process, image::Settings& out) {
  RemoteAddress scratch = process.foothold.scratch();
  std::vector<RemoteCall> calls;
  for (size_t i = 0; i < kControls.size(); ++i) {
    const Control& control = kControls[i];
    uint64_t argument =
        control.by_pointer ? scratch.value + i * sizeof(int) : as_argument(std::max(control.argument, 0));
    calls.push_back({SYS_prctl, {as_argument(control.get), argument}});
  }
  auto results = TRY(process.foothold.make_all(process.stopped.leader(), calls));
  using Pointed = std::array<int, kControls.size()>;
  auto pointed = TRY(process.stopped.memory->read<Pointed>(scratch));
  for (size_t i = 0; i < kControls.size(); ++i) {
    const Control& control = kControls[i];
    int64_t result = results[i];
    // A switch that this kernel or processor lacks cannot be on.
    if (result == -EINVAL || result == -ENODEV || result == -ENXIO) continue;
    if (is_error(result)) return fail_errno(control.name, static_cast<int>(-result));
    int64_t value = (control.by_pointer ? pointed[i] : result) & control.mask;
    if (value == control.of_new) continue;
    auto* written = out.add_controls();
    written->set_option(control.get);
    written->set_argument(control.argument);
    written->set_value(value);
  }
  return {};
}

Result<rlimit> read_limit(DumpedProcess& process, int which) {
  rlimit limit;
  if (::prlimit(process.stopped.pid, static_cast<__rlimit_resource>(which), nullptr, &limit) == 0) return limit;
  // Of another user's process only CAP_SYS_RESOURCE can read them, which a container's root may lack; anyone can
  // read his own.
  if (errno != EPERM) return fail_errno("prlimit");
  RemoteCalls& calls = *TRY(process.leader());
  TRY(in("prlimit", calls(SYS_prlimit64, 0, which, 0, process.foothold.scratch())));
  return process.stopped.memory->read<rlimit>(process.foothold.scratch());
}

Result<> dump_limits(DumpedProcess& process, image::Settings& out) {
  for (int which = 0; which < static_cast<int>(RLIM_NLIMITS); ++which) {
    rlimit limit = TRY(read_limit(process, which));
    auto* written = out.add_limits();
    written->set_soft(limit.rlim_cur);
    written->set_hard(limit.rlim_max);
  }
  return {};
}

template <class Number>
Result<Number> read_number_file(const StoppedProcess& stopped, const char* name, int base = 10) {
  auto number = parse_number<Number>(trim(TRY(read_file(stopped.proc(name)))), base);
  if (!number) return fail(std::string(name) + ": not a number");
  return *number;
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Settings out;
  TRY(dump_limits(process, out));
  out.set_oom_score_adjustment(TRY(read_number_file<int>(stopped, "oom_score_adj")));
  // The kernel gives those who share memory one adjustment, but for the child of a vfork(2).
  if (dumping.shares_memory(stopped.pid)) {
    auto other = std::ranges::find(dumping.processes, dumping.memory_of.at(stopped.pid), &StoppedProcess::pid);
    if (TRY(read_number_file<int>(*other, "oom_score_adj")) != out.oom_score_adjustment())
      dumping.refuse(stopped.pid, "oom_score_adj",
                     fmt::format("is another than that of pid {}, with which it shares memory", other->pid));
  }
  out.set_coredump_filter(TRY(read_number_file<uint32_t>(stopped, "coredump_filter", 16)));
  out.set_personality(TRY(read_number_file<uint32_t>(stopped, "personality", 16)));
  auto login = read_number_file<uint32_t>(stopped, "loginuid");  // absent without audit
  out.set_login_uid(login ? *login : ~0u);
  if (stopped.stat.flags & kNoiseFlags) dumping.refuse(stopped.pid, "PR_SET_IO_FLUSHER", "is not supported");
  TRY(dump_controls(process, out));
  if (dumping.kernel.membarrier_query) {
    RemoteCalls& calls = *TRY(process.leader());
    out.set_membarrier(static_cast<uint32_t>(TRY(in("membarrier", calls(SYS_membarrier, 1 << 9, 0, 0)))));
  } else {
    // Who registered cannot be told before 6.3, and to be registered without need costs next to nothing.
    out.set_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_GLOBAL_EXPEDITED);
  }
  process.put(room.name, room.version, out);
  return {};
}

Result<> restore_limit(RestoredProcess& process, int which, const image::Settings::Limit& limit) {
  auto resource = static_cast<__rlimit_resource>(which);
  rlimit wanted{limit.soft(), limit.hard()}, have{};
  bool known = ::prlimit(process.pid, resource, nullptr, &have) == 0;
  if (known && have.rlim_cur == wanted.rlim_cur && have.rlim_max == wanted.rlim_max) return {};
  if (known && ::prlimit(process.pid, resource, &wanted, nullptr) == 0) return {};
  if (errno != EPERM) return fail_errno(fmt::format("limit {}", which));
  // As above; and anyone can lower his own.
  TRY(process.memory->write_value(process.scratch, wanted));
  TRY(in(fmt::format("limit {}", which), process.leader()(SYS_prlimit64, 0, which, process.scratch, 0)));
  return {};
}

Result<> restore_limits(RestoredProcess& process, const image::Settings& settings) {
  for (int which = 0; which < settings.limits_size(); ++which)
    if (which != RLIMIT_SIGPENDING) TRY(restore_limit(process, which, settings.limits(which)));
  return {};
}

Result<> restore_membarrier(RestoredProcess& process, uint32_t registered) {
  struct {
    uint32_t bit;
    int command;
  } constexpr registrations[] = {
      {MEMBARRIER_CMD_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED},
      {MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED},
      {MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
      {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
      {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
      {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ},
  };
  for (auto [bit, command] : registrations)
    if (registered & bit) TRY(in("membarrier", process.leader()(SYS_membarrier, command, 0, 0)));
  return {};
}

Result<> restore_control(RestoredProcess& process, const image::Settings::Control& to) {
  for (const Control& control : kControls) {
    if (control.get != to.option() || control.argument != to.argument()) continue;
    auto set =
        control.argument != kNone    ? process.leader()(SYS_prctl, control.set, control.argument, to.value(), 0, 0)
        : control.set == PR_MCE_KILL ? process.leader()(SYS_prctl, PR_MCE_KILL, PR_MCE_KILL_SET, to.value(), 0, 0)
                                     : process.leader()(SYS_prctl, control.set, to.value(), 0, 0, 0);
    TRY(in(control.name, std::move(set)));
    return {};
  }
  return fail(fmt::format("prctl option {} is unknown", to.option()));
}

Result<> restore(Restoring&, RestoredProcess& process, const TaskRoom& room) {
  auto settings = TRY(process.read<image::Settings>(room.name, room.version));
  auto file = [&](const char* name) { return proc_path(process.pid, name); };
  if (settings.personality()) TRY(in("personality", process.leader()(SYS_personality, settings.personality())));
  TRY(write_value(file("coredump_filter"), fmt::format("{:#x}", settings.coredump_filter())));
  if (TRY(read_file(file("oom_score_adj"))) != fmt::format("{}\n", settings.oom_score_adjustment()))
    TRY(write_value(file("oom_score_adj"), std::to_string(settings.oom_score_adjustment())));
  auto login = read_file(file("loginuid"));
  if (login && trim(*login) != std::to_string(settings.login_uid()))
    TRY(write_value(file("loginuid"), std::to_string(settings.login_uid())));
  TRY(restore_limits(process, settings));
  TRY(restore_membarrier(process, settings.membarrier()));
  for (const auto& control : settings.controls()) TRY(restore_control(process, control));
  return {};
}

}  // namespace

extern const TaskRoom kSettings;

Result<> limit_signals(RestoredProcess& process) {
  auto settings = TRY(process.read<image::Settings>(kSettings.name, kSettings.version));
  if (settings.limits_size() <= RLIMIT_SIGPENDING) return fail("the image has no limit of signals");
  return restore_limit(process, RLIMIT_SIGPENDING, settings.limits(RLIMIT_SIGPENDING));
}

const TaskRoom kSettings{.name = "settings", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
