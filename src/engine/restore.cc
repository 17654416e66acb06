// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <ranges>
#include <set>

#include "base/file.h"
#include "base/raise_limit.h"
#include "engine/context/clocks.h"
#include "engine/context/mapped_files.h"
#include "engine/context/mounts.h"
#include "engine/context/restoring.h"
#include "engine/descriptors.pb.h"
#include "engine/dump.h"
#include "engine/kinds/table.h"
#include "engine/memory.pb.h"
#include "engine/target/process.h"
#include "engine/task/confinement.h"
#include "engine/task/control_groups.h"
#include "engine/task/controlling_terminal.h"
#include "engine/task/credentials.h"
#include "engine/task/descent.h"
#include "engine/task/inheritance.h"
#include "engine/task/keyrings.h"
#include "engine/task/namespaces.h"
#include "engine/task/pid_namespaces.h"
#include "engine/task/room.h"
#include "engine/task/seed.h"
#include "engine/task/system_v.h"
#include "engine/task/thaw.h"
#include "engine/tree.pb.h"
#include "engine/vdso.pb.h"

namespace ks::engine {

namespace {

// The processes made so far. Unless they have been let go, they end with it.
class Nursery {
 public:
  Nursery() = default;
  Nursery(const Nursery&) = delete;
  ~Nursery() {
    for (auto& process : processes)
      if (!process.threads.empty()) ::kill(process.pid, SIGKILL);
    // Children first: the first process of a PID namespace ends only after all others there.
    for (auto& process : std::views::reverse(processes)) {
      (void)await_ends_of(process.threads);
      for (auto& thread : process.threads) thread.hold.forget();
    }
  }

  std::deque<RestoredProcess> processes;  // in the order of the image
};

struct LoadedImage {
  image::Tree tree;
  image::SystemV system_v;
  image::Namespaces namespaces;
  image::ControlGroups control_groups;
  std::vector<std::map<std::string, Envelope>> rooms;  // by process
};

Result<LoadedImage> load(const ImageReader& image) {
  LoadedImage loaded;
  Envelope tree = TRY(in(kTreeFile, open_envelope(TRY(image.read(kTreeFile)), kTreeKind, kTreeVersion)));
  TRY(parse_body(tree, loaded.tree));
  Envelope namespaces =
      TRY(in(kNamespacesFile, open_envelope(TRY(image.read(kNamespacesFile)), kNamespacesKind, kNamespacesVersion)));
  TRY(parse_body(namespaces, loaded.namespaces));
  Envelope groups = TRY(in(kControlGroupsFile, open_envelope(TRY(image.read(kControlGroupsFile)), kControlGroupsKind,
                                                             kControlGroupsVersion)));
  TRY(parse_body(groups, loaded.control_groups));
  Envelope system_v =
      TRY(in(kSystemVFile, open_envelope(TRY(image.read(kSystemVFile)), kSystemVKind, kSystemVVersion)));
  TRY(parse_body(system_v, loaded.system_v));
  if (loaded.tree.processes().empty()) return fail("the image holds no process");
  for (const auto& process : loaded.tree.processes()) {
    std::string name = process_file(process.pid());
    auto& rooms = loaded.rooms.emplace_back();
    for (auto& envelope : TRY(in(name, open_envelopes(TRY(image.read(name)))))) {
      std::string kind = envelope.kind;
      auto known = std::ranges::find(all_task_rooms(), kind, [](const TaskRoom* room) { return room->name; });
      if (known == all_task_rooms().end()) return fail(name + ": holds an unknown part: " + kind);
      rooms[kind] = std::move(envelope);
    }
  }
  return loaded;
}

template <class Message>
Result<Message> body_of(const std::map<std::string, Envelope>& rooms, const char* room) {
  auto found = rooms.find(room);
  if (found == rooms.end()) return fail("the image has no " + std::string(room));
  Message message;
  TRY(parse_body(found->second, message));
  return message;
}

Result<Parking> find_parking(const LoadedImage& loaded) {
  std::vector<AddressRange> used;
  for (size_t i = 0; i < loaded.rooms.size(); ++i) {
    const auto& process = loaded.tree.processes(static_cast<int>(i));
    if (process.memory_of() && process.memory_of() != process.pid()) continue;
    const auto& rooms = loaded.rooms[i];
    auto memory = TRY(body_of<image::Memory>(rooms, "memory"));
    for (const auto& area : memory.areas()) used.push_back({area.start(), area.end(), area.grows_down()});
    auto vdso = TRY(body_of<image::VdsoState>(rooms, "vdso"));
    for (const auto& area : vdso.areas()) used.push_back({area.start(), area.end()});
  }
  for (const auto& area : TRY(parse_maps(TRY(read_file("/proc/self/maps")))))
    used.push_back({area.start, area.end, area.path == "[stack]"});
  return choose_parking(std::move(used));
}

Result<> check_protection_keys(const Kernel& kernel, const LoadedImage& loaded) {
  if (kernel.protection_keys) return {};
  for (const auto& rooms : loaded.rooms) {
    if (!rooms.contains("memory")) continue;  // it shares that of another
    auto memory = TRY(body_of<image::Memory>(rooms, "memory"));
    auto has_key = [](const auto& area) { return area.protection_key() != 0; };
    if (!memory.protection_keys().empty() || std::ranges::any_of(memory.areas(), has_key))
      return fail("memory has protection keys, which this processor or kernel does not have");
  }
  return {};
}

Result<std::set<uint32_t>> descriptor_numbers(const LoadedImage& loaded) {
  std::set<uint32_t> numbers;
  for (const auto& rooms : loaded.rooms) {
    auto table = TRY(body_of<image::Descriptors>(rooms, "descriptors"));
    for (const auto& descriptor : table.descriptors()) numbers.insert(descriptor.number());
  }
  return numbers;
}

Result<> open_channel(Restoring& restoring, const DescriptorRange& range) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends)) return fail_errno("socketpair");
  Fd low(ends[0]);
  restoring.sender = Fd(ends[1]);
  restoring.receiver = Fd(::fcntl(low.get(), F_DUPFD_CLOEXEC, range.first));
  if (!restoring.receiver) return fail_errno("socketpair");
  return {};
}

// Given back at the end.
class RaisedLimit {
 public:
  explicit RaisedLimit(__rlimit_resource which) : which_(which) { ::getrlimit(which, &before_); }
  ~RaisedLimit() { ::setrlimit(which_, &before_); }
  RaisedLimit(const RaisedLimit&) = delete;

  // Returns what we have then.
  rlim_t raise(rlim_t wanted) { return raise_limit(which_, wanted); }

 private:
  __rlimit_resource which_;
  rlimit before_{};
};

constexpr size_t kSpareDescriptors = 64;

// While engine and restored threads take turns, one CPU for all of them is 6 to 9 times as fast as two: no
// interrupt has to wake another. The threads get theirs back with the rest of their scheduling.
class OneCpu {
 public:
  OneCpu() {
    if (::sched_getaffinity(0, sizeof before_, &before_)) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(::sched_getcpu(), &one);
    pinned_ = ::sched_setaffinity(0, sizeof one, &one) == 0;
  }
  ~OneCpu() {
    if (pinned_) ::sched_setaffinity(0, sizeof before_, &before_);
  }
  OneCpu(const OneCpu&) = delete;

 private:
  cpu_set_t before_;
  bool pinned_ = false;
};

// Where there is a user namespace, not everybody may choose a number, and none must be given to others meanwhile.
Result<> reserve_ids(Restoring& restoring, const std::set<pid_t>& ids) {
  bool any = std::ranges::any_of(restoring.namespaces.entries,
                                 [](const auto& entry) { return entry.second.flag == CLONE_NEWUSER; });
  for (pid_t id : ids)
    if (any && id > 0) TRY(restoring.reserved.reserve(id));
  return {};
}

Result<> furnish(Restoring& restoring, RestoredProcess& process, std::span<const TaskRoom* const> rooms) {
  for (const TaskRoom* room : rooms)
    TRY(in(fmt::format("pid {}", process.pid), in(room->name, room->restore(restoring, process, *room))));
  return {};
}

}  // namespace

Result<RestoreReport> restore_image(const Kernel& kernel, const std::string& directory,
                                    const RestoreOptions& options) {
  ImageReader image = TRY(ImageReader::open(directory));
  LoadedImage loaded = TRY(load(image));
  Restoring restoring{.kernel = kernel, .image = image};
  pid_t viewpoint = options.into ? options.into : ::getpid();
  restoring.root = TRY(open_file(proc_path(viewpoint, "root"), O_PATH | O_DIRECTORY));
  std::vector<Mount> mounts;
  for (const auto& mount : loaded.tree.mounts()) mounts.push_back({mount.where(), mount.type()});
  TRY(check_mounts(viewpoint, mounts));
  TRY(check_protection_keys(kernel, loaded));

  // Everything that can fail for want of a file or of memory comes before the first process.
  std::set<pid_t> taken = pids_of(loaded.tree);
  for (const auto& rooms : loaded.rooms)
    for (pid_t tid : TRY(thread_ids(rooms))) taken.insert(tid);
  restoring.namespaces = TRY(make_namespaces(loaded.namespaces, options.into));
  restoring.nested = TRY(nested_pids(loaded.tree));
  // Not before: a new user namespace has ours for ever.
  RaisedLimit signals(RLIMIT_SIGPENDING), queues(RLIMIT_MSGQUEUE);
  signals.raise(RLIM_INFINITY);
  queues.raise(RLIM_INFINITY);
  IpcGuard guard(restoring.namespaces, taken);
  restoring.guard = &guard;
  restoring.carried = TRY(remake_carried_files(image, restoring.root.get(), restoring.namespaces, guard));
  restoring.system_v = std::move(loaded.system_v);
  TRY(remake_system_v(restoring.system_v, restoring.namespaces, guard));
  restoring.mapped_files = TRY(open_mapped_files(image, restoring.root.get(), restoring.carried));
  // From here on the processes' clocks go on.
  restoring.clock_offsets =
      TRY(continuing_offsets({loaded.tree.monotonic(), loaded.tree.boottime(), loaded.tree.realtime()}));
  ImageFiles files = TRY(ImageFiles::open(TRY(image.read(kOpenFilesFile))));
  auto numbers = TRY(descriptor_numbers(loaded));
  auto count = static_cast<uint32_t>(files.count() + TRY(list_directory("/proc/self/fd")).size() + kSpareDescriptors);
  RaisedLimit limit(RLIMIT_NOFILE);
  rlim_t most = std::min<rlim_t>(limit.raise((numbers.empty() ? 0 : *numbers.rbegin()) + count + 1), 1u << 30);
  restoring.own_descriptors = TRY(choose_descriptors(numbers, count, static_cast<uint32_t>(most)));
  if (options.into) restoring.passed_sockets = TRY(PassedSockets::of(options.into, restoring.own_descriptors));
  TRY(files.make(restoring, false));
  TRY(open_channel(restoring, restoring.own_descriptors));
  if (std::ranges::any_of(loaded.rooms, is_confined)) TRY(prepare_to_confine(restoring));
  restoring.parking = TRY(find_parking(loaded));
  restoring.inheritance = TRY(read_inheritance(image));

  auto groups = TRY(MadeControlGroups::make(loaded.control_groups, viewpoint, options.cgroup));

  OneCpu one_cpu;
  restoring.reserved.spare(options.awaited);
  TRY(reserve_ids(restoring, taken));
  Nursery nursery;
  {
    Seed seed = TRY(Seed::plant(restoring, TRY(timens_offsets(restoring.clock_offsets)), taken));
    TRY(groups.enter(seed.pid()));
    for (const auto& rooms : loaded.rooms)
      if (TRY(give_session_keyring(seed, restoring.parking.scratch(), rooms))) break;
    auto at_birth = [&](const Cloner& cloner, RemoteCalls& calls, const RemoteMemory& memory) {
      return in("inheritance", prepare_to_be_inherited(restoring, cloner.pid, cloner.by, calls, memory));
    };
    auto disguise = [&](RestoredProcess& envoy) -> Result<> {
      auto as = std::ranges::find(loaded.tree.processes(), envoy.pid, &image::Tree::Process::pid);
      if (as == loaded.tree.processes().end()) return fail("the image has no such process");
      envoy.rooms = loaded.rooms[static_cast<size_t>(as - loaded.tree.processes().begin())];
      TRY(join_namespaces(restoring, envoy));
      TRY(restore_directories(restoring, envoy));
      return take_ids(envoy);
    };
    TRY(clone_family(nursery.processes, loaded.tree, seed, restoring, taken, at_birth, disguise));
  }
  for (size_t i = 0; i < nursery.processes.size(); ++i) nursery.processes[i].rooms = std::move(loaded.rooms[i]);
  for (auto& process : nursery.processes) restoring.processes[process.pid] = &process;
  TRY(settle_terminals(restoring, loaded.tree));
  // Files can lead to threads; and the last rooms start timers and spread threads over CPUs, so they wait until all
  // memory is filled.
  auto rooms = all_task_rooms();
  auto first = rooms.first(kFirstRooms), early = rooms.subspan(kFirstRooms, kEarlyRooms - kFirstRooms);
  auto middle = rooms.subspan(kEarlyRooms, rooms.size() - kEarlyRooms - kLateRooms), late = rooms.last(kLateRooms);
  for (auto& process : nursery.processes) TRY(furnish(restoring, process, first));
  for (auto& process : nursery.processes) TRY(furnish(restoring, process, early));
  TRY(finish_system_v(restoring.system_v, restoring.namespaces));
  TRY(settle_pid_namespaces(loaded.tree));
  TRY(groups.distribute(loaded.control_groups));
  TRY(files.make(restoring, true));
  for (auto& process : nursery.processes) TRY(furnish(restoring, process, middle));
  TRY(seal_carried_files(image, restoring.carried, restoring.namespaces));
  TRY(files.connect(restoring));
  for (auto& process : nursery.processes) TRY(furnish(restoring, process, late));
  for (auto& process : nursery.processes)
    TRY(in(fmt::format("pid {}", process.pid), resume_waits(restoring, process)));
  for (auto& process : nursery.processes)
    TRY(in(fmt::format("pid {}", process.pid), prepare_thaw(restoring, process)));

  RestoreReport report{.memory_bytes = restoring.memory_bytes, .unreachable = std::move(restoring.unreachable)};
  std::set<pid_t> pids;
  for (const auto& process : nursery.processes) pids.insert(process.pid);
  for (const auto& process : loaded.tree.processes()) {
    report.pids.push_back(process.pid());
    if (!pids.contains(process.parent())) report.roots.push_back(process.pid());
  }
  if (options.before_thaw) TRY(options.before_thaw());
  if (options.lift) options.lift();
  TRY(files.release(restoring));
  for (auto& process : nursery.processes) TRY(in(fmt::format("pid {}", process.pid), thaw(process)));
  guard.keep();
  groups.keep();
  return report;
}

}  // namespace ks::engine
