// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/ipc_guard.h"

#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/file.h"
#include "engine/target/fork_beside.h"

namespace ks::engine {

struct IpcGuard::Order {
  enum class Kind { about_to_make, made, not_made, keep_all } kind = Kind::keep_all;
  uint32_t name_space = 0;
  SystemVType type = SystemVType::memory;
  int id = -1;
  char name[NAME_MAX + 2] = {};  // of a POSIX message queue
  bool is_same(const Order& other) const {
    return type == other.type && name_space == other.name_space && id == other.id && !std::strcmp(name, other.name);
  }
};

namespace {

// Whether the one that was about to be made has been, the orders do not tell: nobody else has, as long as it is
// unused.
bool is_unused(SystemVType type, int id, pid_t maker) {
  shmid_ds memory{};
  msqid_ds queue{};
  semid_ds set{};
  switch (type) {
    case SystemVType::memory:
      return ::shmctl(id, IPC_STAT, &memory) == 0 && memory.shm_cpid == maker;
    case SystemVType::queue:
      return ::msgctl(id, IPC_STAT, &queue) == 0 && queue.msg_lspid == 0 && queue.msg_lrpid == 0;
    default:
      return ::semctl(id, 0, IPC_STAT, &set) == 0 && set.sem_otime == 0;
  }
}

// Its maker ends this process by a last order, or by its own end.
template <class Order>
[[noreturn]] void stand_guard(int orders, pid_t maker, const MadeNamespaces& namespaces) {
  int own = ::open("/proc/self/ns/ipc", O_RDONLY | O_CLOEXEC);
  std::vector<Order> made;
  Order order;
  while (::read(orders, &order, sizeof order) == sizeof order) {
    if (order.kind == Order::Kind::keep_all) ::_exit(0);
    std::erase_if(made, [&](const Order& known) { return known.is_same(order); });
    if (order.kind != Order::Kind::not_made) made.push_back(order);
  }
  for (const Order& object : made) {
    auto entry = namespaces.entries.find(object.name_space);
    int fd = object.name_space == 0 ? own : entry == namespaces.entries.end() ? -1 : entry->second.fd.get();
    if (::setns(fd, CLONE_NEWIPC)) continue;
    bool named = object.name[0];
    if (!named && object.kind == Order::Kind::about_to_make && !is_unused(object.type, object.id, maker)) continue;
    if (named)
      (void)::mq_unlink(object.name);
    else
      (void)remove_system_v(object.type, object.id);
  }
  ::_exit(0);
}

void close_others(int orders, const MadeNamespaces& namespaces) {
  std::set<int> kept = {orders};
  for (const auto& [id, entry] : namespaces.entries) kept.insert(entry.fd.get());
  close_all_but(kept);
}

}  // namespace

Result<> IpcGuard::start() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC)) return fail_errno("pipe");
  Fd reader(fds[0]), writer(fds[1]);
  pid_t maker = ::getpid();
  pid_ = TRY(fork_beside(taken_, [&] {
    ::setsid();  // what is sent to its maker's group is not meant for it
    close_others(reader.get(), namespaces_);
    stand_guard<Order>(reader.get(), maker, namespaces_);
  }));
  orders_ = std::move(writer);
  return {};
}

Result<> IpcGuard::carry_out(Order order, bool passing, const std::function<Result<>()>& make) {
  if (!pid_) TRY(start());
  auto tell = [&](Order::Kind kind) -> Result<> {
    order.kind = kind;
    return write_all(orders_.get(), std::as_bytes(std::span(&order, 1)), "the guard of IPC objects");
  };
  TRY(tell(Order::Kind::about_to_make));
  auto done = namespaces_.in_ipc(order.name_space, make);
  TRY(tell(done && !passing ? Order::Kind::made : Order::Kind::not_made));
  return done;
}

Result<> IpcGuard::make(uint32_t name_space, SystemVType type, int id, const std::function<Result<>()>& make) {
  return carry_out({.name_space = name_space, .type = type, .id = id}, false, make);
}

Result<> IpcGuard::make_named(uint32_t name_space, const std::string& name, bool passing,
                              const std::function<Result<>()>& make) {
  Order order{.name_space = name_space};
  if (name.size() >= sizeof order.name) return fail("a name that is too long");
  std::ranges::copy(name, order.name);
  return carry_out(order, passing, make);
}

void IpcGuard::keep() {
  if (!pid_) return;
  Order last;
  (void)write_all(orders_.get(), std::as_bytes(std::span(&last, 1)), "");
}

IpcGuard::~IpcGuard() {
  orders_ = Fd();
  while (pid_ && ::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace ks::engine
