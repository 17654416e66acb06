// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/namespaces.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/namespace_state.h"
#include "engine/kernel/namespace.h"
#include "engine/kernel/user_namespace.h"

namespace ks::engine {

namespace {

class Survey {
 public:
  explicit Survey(Dumping& dumping) : dumping_(dumping) {}

  Result<image::Namespaces> make() {
    for (const auto& process : dumping_.processes) {
      if (process.zombie) continue;
      auto* member = out_.add_members();
      member->set_pid(process.pid);
      for (auto [name, flag] : kNamespaceTypes)  // PID namespaces come with the tree of processes
        if (flag == CLONE_NEWPID)
          continue;
        else if (uint32_t id = TRY(in(fmt::format("{} namespace", name), find(process, name))))
          member->add_namespaces(id);
      dumping_.users.put(process.pid, user_namespace_);
      TRY(check_children(process));
      TRY(check_threads(process));
      if (user_namespace_) TRY(check_ids(process));
    }
    return std::move(out_);
  }

 private:
  void refuse(const StoppedProcess& process, std::string_view name, std::string text) {
    dumping_.refuse(process.pid, fmt::format("{} namespace", name), std::move(text));
  }

  Result<std::string> own(std::string_view name) {
    auto [known, is_new] = own_.try_emplace(name);
    if (is_new) known->second = TRY(namespace_of(::getpid(), name));
    return known->second;
  }

  // Its id, 0 for the system's.
  Result<uint32_t> find(const StoppedProcess& process, std::string_view name) {
    std::string its = TRY(namespace_of(process.pid, name));
    if (name == "user") user_namespace_ = 0;
    bool of_first = its == of_first_.try_emplace(name, its).first->second;
    if ((name == "mnt" || name == "cgroup") && !of_first) {
      refuse(process, name, "differs from that of the unit's other processes");
      return 0;
    }
    if (its == TRY(own(name))) return 0;
    Fd fd = TRY(open_namespace(process.pid, name));
    uint32_t id = TRY(know(process, name, fd.get(), dumping_.options.foreign_namespaces && of_first));
    if (name == "user") user_namespace_ = id;
    return id;
  }

  // Likewise, of one that a process is in, or that is above.
  Result<uint32_t> know(const StoppedProcess& process, std::string_view name, int fd, bool sandbox) {
    std::string its = TRY(namespace_name(fd, name));
    if (its == TRY(own(name))) return 0;
    auto [known, is_new] = known_.try_emplace(its, 0);
    if (!is_new) return known->second;
    image::Namespaces::Namespace entry;
    entry.set_type(std::string(name));
    entry.set_sandbox(sandbox);
    auto described = describe(process, name, fd, entry);
    if (!described && described.error().refusal) {
      refuse(process, name, described.error().what);
      return 0;
    }
    TRY(std::move(described));
    known->second = static_cast<uint32_t>(out_.namespaces_size()) + 1;
    entry.set_id(known->second);
    if (name == "user") {
      dumping_.users.add(known->second, entry.owner());
      dumping_.user_namespaces[its] = known->second;
    }
    *out_.add_namespaces() = std::move(entry);
    return known->second;
  }

  Result<> describe(const StoppedProcess& process, std::string_view name, int fd,
                    image::Namespaces::Namespace& entry) {
    if ((name == "mnt" || name == "cgroup") && !entry.sandbox())
      return ks::refuse("is not that of the system, which is not supported yet");
    Fd owner = TRY(owning_user_namespace(fd));
    bool ours = TRY(namespace_name(owner.get(), "user")) == TRY(own("user"));
    if (!ours) {
      uint32_t above = TRY(know(process, "user", owner.get(), false));
      if (!above) return ks::refuse("belongs to a user namespace that is not supported");
      entry.set_owner(above);
    }
    if (name == "user") return describe_user(fd, entry);
    // What there is in a new one depends on whom it belongs to.
    auto make_fresh = [&](int flag) {
      return make_namespace(flag, std::string(name).c_str(), ours ? -1 : owner.get());
    };
    if (name == "uts") {
      auto names = TRY(host_names(fd));
      entry.set_host(names.host);
      entry.set_domain(names.domain);
    } else if (name == "ipc") {
      auto surplus = TRY(surplus_of_ipc(fd, TRY(make_fresh(CLONE_NEWIPC)).get()));
      if (!surplus.empty()) return ks::refuse("has something that a new one would not have: " + surplus);
    } else if (name == "net") {
      auto network = TRY(examine_network(fd, [&] { return make_fresh(CLONE_NEWNET); }));
      if (!network.surplus.empty())
        return ks::refuse("has something that a new one would not have: " + network.surplus);
      entry.set_loopback(network.loopback_up);
      entry.set_loopback_assigned(network.loopback_assigned);
    }
    return {};
  }

  Result<> describe_user(int fd, image::Namespaces::Namespace& entry) {
    auto maps = TRY(read_maps(fd));
    entry.set_users(maps.users);
    entry.set_groups(maps.groups);
    entry.set_setgroups(maps.setgroups);
    entry.set_made_by_user(TRY(owner_of_user_namespace(fd)));
    if (auto limit = TRY(limit_of_user_namespace(fd)); !limit.empty())
      return ks::refuse("has a limit of its own, which is not supported yet: " + limit);
    return {};
  }

  Result<> check_children(const StoppedProcess& process) {
    std::string its = TRY(namespace_of(process.pid, "time"));
    if (its != of_first_.try_emplace("time", its).first->second)
      refuse(process, "time", "differs from that of the unit's other processes");
    if (TRY(namespace_of(process.pid, "time_for_children")) != its)
      refuse(process, "time", "is to be another for its children");
    return {};
  }

  // (Threads always share their user, PID and time namespaces.)
  Result<> check_threads(const StoppedProcess& process) {
    if (process.threads.size() < 2) return {};
    std::map<std::string, std::string> of_process;
    for (const char* name : {"mnt", "uts", "ipc", "net", "cgroup", "pid_for_children", "time_for_children"})
      if (auto its = namespace_of(process.pid, name)) of_process[name] = *its;  // or one that has no process yet
    for (const auto& thread : process.threads) {
      Fd own = TRY(open_file(process.proc(fmt::format("task/{}/ns", thread.tid())), O_PATH));
      for (const auto& [name, wanted] : of_process)
        if (auto its = read_link_at(own.get(), name); !its || *its != wanted)
          dumping_.refuse(process.pid, fmt::format("thread {}", thread.tid()),
                          fmt::format("lives in another {} namespace than its process, which is not supported yet",
                                      name.substr(0, name.find('_'))));
    }
    return {};
  }

  // A process takes its IDs before it enters the namespace, where not all of them need exist; its threads are cloned
  // there.
  Result<> check_ids(const StoppedProcess& process) {
    for (const auto& thread : process.threads) {
      auto status = TRY(parse_status(TRY(read_record(process.proc(fmt::format("task/{}/status", thread.tid()))))));
      if (status.uids != process.status.uids || status.gids != process.status.gids ||
          status.groups != process.status.groups)
        dumping_.refuse(process.pid, fmt::format("thread {}", thread.tid()),
                        "has another user or group than its process, in a user namespace; that is not supported yet");
    }
    return {};
  }

  Dumping& dumping_;
  std::map<std::string_view, std::string> of_first_, own_;  // by type
  image::Namespaces out_;
  std::map<std::string, uint32_t> known_;  // 0: refused
  uint32_t user_namespace_ = 0;            // of the process that is looked at
};

}  // namespace

Result<image::Namespaces> survey_namespaces(Dumping& dumping) { return Survey(dumping).make(); }

}  // namespace ks::engine
