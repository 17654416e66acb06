// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/context/clocks.h"
#include "engine/context/dumping.h"
#include "engine/context/mounts.h"
#include "engine/context/pages.h"
#include "engine/kernel/landlock.h"
#include "engine/kinds/table.h"
#include "engine/target/family.h"
#include "engine/task/aio_rings.h"
#include "engine/task/born_inside.h"
#include "engine/task/control_groups.h"
#include "engine/task/descent.h"
#include "engine/task/inheritance.h"
#include "engine/task/io_rings.h"
#include "engine/task/message_queues.h"
#include "engine/task/namespaces.h"
#include "engine/task/obstacles.h"
#include "engine/task/pid_namespaces.h"
#include "engine/task/room.h"
#include "engine/task/sharing.h"
#include "engine/task/system_v.h"
#include "engine/tree.pb.h"

namespace ks::engine {

namespace {

std::set<pid_t> pids_of(const std::vector<StoppedProcess>& processes) {
  std::set<pid_t> pids;
  for (const auto& process : processes) pids.insert(process.pid);
  return pids;
}

bool all_settled(Dumping& dumping, const StoppedProcess& process) {
  bool settled = true;
  for (const StoppedThread& thread : process.threads) {
    if (thread.unsettled.empty()) continue;
    dumping.refuse(process.pid, fmt::format("thread {}", thread.tid()), thread.unsettled);
    settled = false;
  }
  return settled;
}

Result<> collect_descriptors(Dumping& dumping, OpenFileTable& table, const StoppedProcess& process) {
  auto& descriptors = dumping.descriptors[process.pid];
  for (const auto& [number, file, close_on_exec, locks] : TRY(table.add(process))) {
    descriptors.push_back({.number = number, .file = file, .close_on_exec = close_on_exec});
    for (const auto& line : locks) dumping.locks.push_back({process.pid, number, file, line});
  }
  return {};
}

// All that a process is, but for its pages: they wait until our foothold is gone from its memory, and until all
// clocks have been read, which would count the time that they take.
Result<> dump_process(Dumping& dumping, StoppedProcess& process) {
  auto foothold = Foothold::establish(process);
  if (!foothold && foothold.error().refusal) {
    dumping.refuse(process.pid, "process", foothold.error().what);
    return {};
  }
  DumpedProcess dumped{.stopped = process, .foothold = TRY(std::move(foothold))};
  auto answers = interview(dumping.kernel, dumped.foothold, process);
  if (!answers && answers.error().refusal) {
    dumping.refuse(process.pid, "process", answers.error().what);
    return {};
  }
  dumped.answers = TRY(std::move(answers));
  for (const TaskRoom* room : all_task_rooms()) {
    auto done = room->dump(dumping, dumped, *room);
    if (!done && done.error().refusal)
      dumping.refuse(process.pid, std::string(room->name), done.error().what);
    else
      TRY(in(room->name, std::move(done)));
  }
  TRY(dumped.foothold.abandon());
  if (!dumping.image || !dumping.verdict.ready()) return {};
  return dumping.image->put(process_file(process.pid), dumped.envelopes);
}

Result<image::Tree> dump_family(Dumping& dumping) {
  image::Tree tree;
  TRY(describe_family(dumping, tree));
  // After all timers have been read: what has expired lies in the past of these.
  Clocks clocks = TRY(read_clocks(dumping.clock_offsets));
  tree.set_monotonic(clocks.monotonic);
  tree.set_boottime(clocks.boottime);
  tree.set_realtime(clocks.realtime);
  for (const auto& mount : dumping.mounts.mounts) {
    auto* out = tree.add_mounts();
    out->set_where(mount.where);
    out->set_type(mount.type);
  }
  if (dumping.image) TRY(dumping.image->put(kTreeFile, seal(kTreeKind, kTreeVersion, tree)));
  return tree;
}

// All that is to be written of one process, split where areas with shared pages begin and end.
std::vector<PagesToWrite> pages_of(const DumpedPages& own, const RemoteMemory& memory) {
  std::vector<PagesToWrite> pages;
  auto area = own.maybe_shared.begin();
  for (const PageRun& run : own.runs)
    for (uint64_t at = run.start, end = 0; at < run.end; at = end) {
      while (area != own.maybe_shared.end() && area->end() <= at) ++area;
      bool shared = area != own.maybe_shared.end() && area->start() <= at;
      end = area == own.maybe_shared.end() ? run.end : std::min(run.end, shared ? area->end() : area->start());
      pages.push_back({&memory, {at, end}, shared});
    }
  return pages;
}

// What several processes have is written once.
Result<> dump_memory(Dumping& dumping, const image::Tree& tree) {
  image::Inheritance inheritance;
  GivenPages given = TRY(find_inheritance(dumping, TRY(cloners_of(tree)), inheritance));
  std::map<pid_t, const RemoteMemory*> memory;
  for (const auto& process : dumping.processes)
    if (process.memory) memory[process.pid] = &*process.memory;
  auto write = [&](const std::string& name, std::span<const PagesToWrite> pages) -> Result<> {
    for (const auto& [from, run, shared] : pages) dumping.memory_bytes += run.end - run.start;
    return dumping.image ? write_pages(*dumping.image, name, pages) : Result<>();
  };
  for (const auto& [pid, sources] : given) {
    std::vector<PagesToWrite> pages;
    for (const auto& [holder, run] : sources) pages.push_back({memory.at(holder), run, true});
    TRY(in(fmt::format("pid {}", pid), write(inherited_pages_file(pid), pages)));
  }
  for (const auto& [pid, own] : dumping.pages) {
    if (own.runs.empty()) continue;
    TRY(in(fmt::format("pid {}", pid), write(pages_file(pid), pages_of(own, *memory.at(pid)))));
  }
  if (!dumping.image) return {};
  return dumping.image->put(kInheritanceFile, seal(kInheritanceKind, kInheritanceVersion, inheritance));
}

DumpReport report_on(const Dumping& dumping) {
  DumpReport report{.memory_bytes = dumping.memory_bytes};
  auto occupy = [&](pid_t pid) {
    report.highest_pid = std::max(report.highest_pid, pid);
    report.lowest_pid = report.lowest_pid ? std::min(report.lowest_pid, pid) : pid;
  };
  for (const auto& process : dumping.processes) {
    report.pids.push_back(process.pid);
    report.threads += process.threads.size();
    occupy(process.pid);
    for (const auto& thread : process.threads) occupy(thread.tid());
  }
  std::ranges::for_each(lost_leaders(family_of(dumping.processes)), occupy);
  std::ranges::for_each(dumping.remembered, occupy);
  report.remembered.assign(dumping.remembered.begin(), dumping.remembered.end());
  return report;
}

}  // namespace

std::string process_file(pid_t pid) { return fmt::format("process-{}.ks", pid); }

Result<DumpReport> dump_tree(const Kernel& kernel, FrozenTree& tree, const DumpOptions& options, ImageWriter* image,
                             Verdict& verdict, std::vector<Fd>& connections) {
  verdict = {};
  Dumping dumping{.kernel = kernel,
                  .options = options,
                  .processes = tree.processes(),
                  .verdict = verdict,
                  .image = image,
                  .outside = OutsideHolders(pids_of(tree.processes()))};
  auto living = std::ranges::find(tree.processes(), false, &StoppedProcess::zombie);
  if (living != tree.processes().end()) {
    dumping.clock_offsets = TRY(read_offsets(living->pid));
    dumping.mounts = TRY(view_mounts(living->pid));
    dumping.own_mounts = TRY(view_mounts(::getpid()));
  }
  TRY(find_sharing(dumping));
  auto namespaces = TRY(survey_namespaces(dumping));
  auto system_v = TRY(survey_system_v(dumping, namespaces));
  TRY(survey_pid_namespaces(dumping));
  TRY(check_born_inside(dumping, namespaces, system_v));
  auto control_groups = TRY(survey_control_groups(dumping, tree.cgroup()));
  TRY(check_children(dumping));
  auto restricted = is_anybody_in_landlock_domain();
  dumping.somebody_is_restricted = restricted.value_or(false);
  if (!restricted && living != tree.processes().end())
    dumping.remark(
        living->pid, "process",
        "is not seen to have given up rights by Landlock, which would come back: " + restricted.error().what);
  std::vector<StoppedProcess*> callable;
  for (auto& process : tree.processes()) {
    bool can_call = TRY(in(fmt::format("pid {}", process.pid), check_process(dumping, process)));
    if (process.zombie) continue;
    can_call &= all_settled(dumping, process);
    if (can_call) callable.push_back(&process);
  }
  // Before the files that requests in flight may still change.
  TRY(survey_aio(dumping));
  TRY(survey_rings(dumping, callable));
  OpenFileTable table(dumping);
  for (auto& process : tree.processes())
    if (!process.zombie) TRY(in(fmt::format("pid {}", process.pid), collect_descriptors(dumping, table, process)));
  TRY(add_files_in_flight(dumping, table));
  TRY(dump_open_files(dumping, table));
  TRY(check_message_queues(dumping));
  for (StoppedProcess* process : callable)
    TRY(in(fmt::format("pid {}", process->pid), dump_process(dumping, *process)));
  image::Tree family = TRY(dump_family(dumping));
  if (!verdict.ready()) return refuse(to_string(verdict.reasons.front()));
  TRY(dump_memory(dumping, family));
  if (image) {
    TRY(image->put(kNamespacesFile, seal(kNamespacesKind, kNamespacesVersion, namespaces)));
    TRY(image->put(kSystemVFile, seal(kSystemVKind, kSystemVVersion, system_v)));
    TRY(image->put(kControlGroupsFile, seal(kControlGroupsKind, kControlGroupsVersion, control_groups)));
    TRY(image->put(kOpenFilesFile, dumping.file_envelopes));
    dumping.memory_bytes += TRY(dumping.carried_files.dump(*image));
    TRY(dumping.mapped_files.dump(*image));
  }
  connections = std::move(dumping.connections);
  return report_on(dumping);
}

}  // namespace ks::engine
