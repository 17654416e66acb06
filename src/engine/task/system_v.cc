// SPDX-License-Identifier: LGPL-2.1-or-later
// Whose a System V object is. In a namespace that the target has for itself all are its own. In the system's the
// kernel knows who was the last to use one, and of memory who has made it; that decides, as long as one of them
// lives. What only the dead have used, or nobody, may be that of a process of the user who has made it, and is so if
// no other process of that user has been there since.
#include "engine/task/system_v.h"

#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/namespace.h"

namespace ks::engine {

namespace {

constexpr uint32_t kKernelThread = 0x00200000;  // PF_KTHREAD
// Of the clocks that are compared: one tells whole seconds, the other when the system was booted.
constexpr int64_t kTolerance = 2;

struct Stranger {
  pid_t pid = 0;
  int64_t since = 0;
  std::array<uid_t, 4> uids{};
};

bool has_user(const std::array<uid_t, 4>& uids, uid_t uid) { return std::ranges::find(uids, uid) != uids.end(); }

class Survey {
 public:
  Survey(Dumping& dumping, const image::Namespaces& namespaces) : dumping_(dumping), namespaces_(namespaces) {}

  Result<image::SystemV> make() {
    boot_ = TRY(boot_time());
    for (const auto& process : dumping_.processes)
      if (!process.zombie) dumping_.system_v.name_space[process.pid] = name_space_of(process.pid);
    std::map<uint32_t, pid_t> members;
    for (const auto& [pid, name_space] : dumping_.system_v.name_space) members.emplace(name_space, pid);
    for (const auto& [name_space, member] : members)
      if (name_space == 0)
        TRY(list(0, member));
      else
        TRY(inside(TRY(open_namespace(member, "ipc")).get(), CLONE_NEWIPC,
                   [&, id = name_space, pid = member] { return list(id, pid); }));
    TRY(check_undo_lists());
    return std::move(out_);
  }

 private:
  enum class Owner { target, others, unknown, both };

  uint32_t name_space_of(pid_t pid) const {
    for (const auto& member : namespaces_.members()) {
      if (member.pid() != pid) continue;
      for (uint32_t id : member.namespaces())
        for (const auto& entry : namespaces_.namespaces())
          if (entry.id() == id && entry.type() == "ipc") return id;
    }
    return 0;
  }

  // A PID whose process is younger than the last use is somebody else's by now.
  bool was_there(const StoppedProcess& process, int64_t when) const {
    return start_of(process.stat, boot_) <= when + kTolerance;
  }

  const StoppedProcess* process(pid_t pid) const {
    auto found = std::ranges::find(dumping_.processes, pid, &StoppedProcess::pid);
    return found == dumping_.processes.end() ? nullptr : &*found;
  }

  // The PID if it is still that of the one who has used the object.
  pid_t member_of(pid_t pid, const SystemVObject& object) const {
    const auto* member = process(pid);
    return member && !member->zombie && was_there(*member, object.used) ? pid : 0;
  }

  const std::vector<Stranger>& strangers() {
    if (strangers_) return *strangers_;
    strangers_.emplace();
    auto names = list_directory("/proc");
    for (const auto& name : names ? *names : std::vector<std::string>()) {
      auto pid = parse_number<pid_t>(name);
      if (!pid || process(*pid) || *pid == ::getpid()) continue;
      auto stat = read_file(proc_path(*pid, "stat")), status = read_file(proc_path(*pid, "status"));
      if (!stat || !status) continue;  // ended meanwhile
      auto facts = parse_stat(*stat);
      auto users = parse_status(*status);
      if (facts && users && !(facts->flags & kKernelThread))
        strangers_->push_back({*pid, start_of(*facts, boot_), users->uids});
    }
    return *strangers_;
  }

  // Who has the very object in hand, as far as the kernel tells.
  Owner judge(const SystemVObject& object, pid_t& whose) {
    bool others = false, own = false;
    for (pid_t user : object.users) {
      if (user <= 0) continue;
      if (const auto* member = process(user); member && was_there(*member, object.used)) {
        if (!own) whose = user;
        own = true;
      } else if (auto found = std::ranges::find(strangers(), user, &Stranger::pid);
                 found != strangers().end() && found->since <= object.used + kTolerance) {
        stranger_ = user;
        others = true;
      }
    }
    if (own) return others ? Owner::both : Owner::target;
    if (others) return Owner::others;
    uid_t creator = object.permissions.cuid;
    auto suspect = std::ranges::find_if(dumping_.processes, [&](const StoppedProcess& member) {
      return has_user(member.status.uids, creator) && was_there(member, object.changed);
    });
    if (suspect == dumping_.processes.end()) return Owner::others;
    whose = suspect->pid;
    bool shared = std::ranges::any_of(strangers(), [&](const Stranger& other) {
      return has_user(other.uids, creator) && other.since <= object.changed + kTolerance;
    });
    return shared ? Owner::unknown : Owner::target;
  }

  // Of processes of the target that live in the namespace.
  uint64_t attachments(uint32_t name_space, int id) const {
    uint64_t count = 0;
    for (const auto& member : dumping_.processes) {
      if (dumping_.shares_memory(member.pid)) continue;
      for (const Vma& area : member.areas)
        if (area.shared && area.inode == static_cast<uint64_t>(id) && area.path.starts_with("/SYSV") &&
            dumping_.system_v.name_space.at(member.pid) == name_space)
          ++count;
    }
    return count;
  }

  Result<std::optional<pid_t>> find_intruder(pid_t member) const {
    auto its = TRY(namespace_of(member, "ipc"));
    for (const auto& name : TRY(list_directory("/proc"))) {
      auto pid = parse_number<pid_t>(name);
      if (!pid || process(*pid)) continue;
      if (auto other = namespace_of(*pid, "ipc"); other && *other == its) return *pid;
    }
    return std::nullopt;
  }

  Result<> list(uint32_t name_space, pid_t member) {
    auto objects = TRY(list_system_v());
    if (name_space && !objects.empty())
      if (auto intruder = TRY(find_intruder(member)))
        dumping_.refuse(member, "ipc namespace",
                        fmt::format("holds {}, and pid {}, which is not part of it, is there too",
                                    objects.front().label(), *intruder));
    for (auto& object : objects) TRY(take(name_space, member, object));
    return {};
  }

  Result<> take(uint32_t name_space, pid_t member, SystemVObject& object) {
    bool memory = object.type == SystemVType::memory;
    uint64_t attached = memory ? attachments(name_space, object.id) : 0;
    pid_t whose = member;
    Owner owner = name_space ? Owner::target : judge(object, whose);
    if (memory) {
      // What is attached goes with the memory of the processes.
      if (!attached && object.memory.shm_nattch == 0 && (owner == Owner::target || owner == Owner::both))
        TRY(take_memory(name_space, whose, object));
      else if (!attached && (owner == Owner::target || owner == Owner::both))
        dumping_.refuse(whose, object.label(), "is attached by a process that is not part of it");
      dumping_.system_v.segments[{name_space, object.id}] = {object, attached};
      if (attached) return {};
    }
    if (owner == Owner::both && !memory)
      dumping_.refuse(whose, object.label(), fmt::format("shared with pid {}, which is not part of it", stranger_));
    if (owner == Owner::unknown)
      dumping_.refuse(
          whose, object.label(),
          fmt::format("may be its own, being of user {}, of which there are other processes; if it is not "
                      "needed, remove it with ipcrm(1), and PrivateIPC=yes in the unit tells",
                      object.permissions.cuid));
    if (object.type == SystemVType::queue && owner == Owner::target) TRY(take_queue(name_space, object));
    if (object.type == SystemVType::semaphores) {
      if (owner == Owner::target) take_set(name_space, object);
      dumping_.system_v.sets[name_space].push_back({std::move(object), owner == Owner::target});
    }
    return {};
  }

  static void describe(uint32_t name_space, const SystemVObject& object, image::SystemV::Object& out) {
    put_identity(name_space, object, out);
    out.set_mode(object.permissions.mode & 0777);
    out.set_used(object.used);
  }

  // Its content can be read only while it is attached, which is left to a real dump.
  Result<> take_memory(uint32_t name_space, pid_t whose, const SystemVObject& object) {
    if (!dumping_.image) return {};
    AttachedSegment attached = TRY(AttachedSegment::attach(object));
    SegmentUse use{.object = &object, .name_space = name_space};
    auto carried =
        dumping_.carried_files.add(dumping_.mounts.root.get(), attached.link(), {.writable = true, .segment = &use});
    if (!carried && carried.error().refusal)
      dumping_.refuse(whose, object.label(), carried.error().what);
    else
      TRY(std::move(carried));
    dumping_.system_v.attached.push_back(std::move(attached));
    return {};
  }

  Result<> take_queue(uint32_t name_space, const SystemVObject& object) {
    auto& out = *out_.add_queues();
    describe(name_space, object, *out.mutable_object());
    out.set_most_bytes(object.queue.msg_qbytes);
    out.set_last_sender(member_of(object.users[0], object));
    out.set_last_receiver(member_of(object.users[1], object));
    for (auto& message : TRY(copy_messages(object))) {
      auto* copy = out.add_messages();
      copy->set_type(message.type);
      copy->set_text(std::move(message.text));
    }
    return {};
  }

  void take_set(uint32_t name_space, const SystemVObject& object) {
    auto& out = *out_.add_sets();
    describe(name_space, object, *out.mutable_object());
    for (uint16_t value : object.values) out.add_values(value);
    for (pid_t user : object.users) out.add_last_users(member_of(user, object));
    out.set_operated(object.set.sem_otime != 0);
  }

  // Threads share one list of adjustments, processes none (clone(2), CLONE_SYSVSEM); so they are made again.
  Result<> check_undo_lists() {
    auto compare = [](pid_t one, pid_t other) { return ::syscall(SYS_kcmp, one, other, KCMP_SYSVSEM, 0, 0); };
    std::vector<pid_t> with_list;
    for (const auto& member : dumping_.processes) {
      if (member.zombie) continue;
      if (TRY(has_adjustments(member.pid))) with_list.push_back(member.pid);
      for (const auto& thread : member.threads)
        if (thread.tid() != member.pid && compare(member.pid, thread.tid()) > 0)
          dumping_.refuse(
              member.pid, fmt::format("thread {}", thread.tid()),
              "does not share the adjustments of System V semaphores (SEM_UNDO) with its process, which is "
              "not supported yet");
    }
    std::ranges::sort(with_list, [&](pid_t one, pid_t other) { return compare(one, other) == 1; });
    for (size_t i = 1; i < with_list.size(); ++i)
      if (compare(with_list[i - 1], with_list[i]) == 0)
        dumping_.refuse(with_list[i], "process",
                        fmt::format("shares the adjustments of System V semaphores (SEM_UNDO) with pid {}, which is "
                                    "not supported yet",
                                    with_list[i - 1]));
    return {};
  }

  Dumping& dumping_;
  const image::Namespaces& namespaces_;
  image::SystemV out_;
  int64_t boot_ = 0;
  pid_t stranger_ = 0;
  std::optional<std::vector<Stranger>> strangers_;
};

}  // namespace

Result<image::SystemV> survey_system_v(Dumping& dumping, const image::Namespaces& namespaces) {
  return in("System V IPC", Survey(dumping, namespaces).make());
}

}  // namespace ks::engine
