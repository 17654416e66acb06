// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/controlling_terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>

namespace ks::engine {

namespace {

// As the kernel tells user space of devices: 12 bits of major number between 20 of the minor one.
dev_t device_of(int tty_nr) {
  auto number = static_cast<unsigned>(tty_nr);
  return makedev(number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xfff00));
}

const image::Tree::Process* find(const image::Tree& tree, pid_t pid) {
  auto found = std::ranges::find(tree.processes(), pid, [](const auto& process) { return process.pid(); });
  return found == tree.processes().end() ? nullptr : &*found;
}

bool has_group(const image::Tree& tree, pid_t group, pid_t session) {
  auto is_of = [&](const image::Tree::Process& process) {
    return process.group() == group && process.session() == session;
  };
  return std::ranges::any_of(tree.processes(), is_of) ||
         std::ranges::any_of(tree.zombies(), [&](const auto& zombie) { return is_of(zombie.process()); });
}

Result<int> terminal(const Restoring& restoring, uint64_t device) {
  auto found = restoring.terminals.find(device);
  if (found == restoring.terminals.end()) return fail("its controlling terminal is missing");
  return found->second.get();
}

}  // namespace

void describe_terminals(Dumping& dumping, image::Tree& tree) {
  auto refuse = [&](pid_t pid, std::string text) { dumping.refuse(pid, "controlling terminal", std::move(text)); };
  for (const auto& process : dumping.processes)
    if (process.stat.tty_nr && !process.zombie) {
      auto* out = const_cast<image::Tree::Process*>(find(tree, process.pid));
      out->set_terminal(device_of(process.stat.tty_nr));
      if (!dumping.terminals.contains(out->terminal()))
        refuse(process.pid, "is not one of which the service has both ends open");
    }
  for (auto& process : *tree.mutable_processes()) {
    const image::Tree::Process* leader = find(tree, process.session());
    auto used = dumping.terminals.find(process.terminal());
    if (!process.terminal() || used == dumping.terminals.end()) continue;
    if (!leader || leader->terminal() != process.terminal()) {
      refuse(process.pid(), "is not that of the leader of its session");
    } else if (leader == &process) {
      process.set_foreground(used->second.foreground);
      if (!has_group(tree, process.foreground(), process.session()))
        refuse(process.pid(),
               for_now(fmt::format("has a foreground process group ({}) that is gone", process.foreground())));
    }
  }
  for (const auto& [device, use] : dumping.terminals)
    if (use.session) {
      const image::Tree::Process* leader = find(tree, use.session);
      if (!leader || leader->terminal() != device)
        refuse(0, fmt::format("/dev/pts/{} is that of session {}, which is not part of the service", minor(device),
                              use.session));
    }
}

Result<> take_terminal(const Restoring& restoring, const image::Tree::Process& leader, RemoteCalls& calls) {
  if (leader.terminal())
    TRY(in("TIOCSCTTY", calls(SYS_ioctl, TRY(terminal(restoring, leader.terminal())), TIOCSCTTY, 0)));
  return {};
}

Result<> settle_terminals(const Restoring& restoring, const image::Tree& tree) {
  for (const auto& process : tree.processes()) {
    const image::Tree::Process* leader = find(tree, process.session());
    if (!leader || !leader->terminal()) continue;
    RestoredProcess& restored = *TRY(restoring.process(process.pid()));
    int fd = TRY(terminal(restoring, leader->terminal()));
    std::string label = fmt::format("pid {}", process.pid());
    if (!process.terminal()) TRY(in(label, in("TIOCNOTTY", restored.leader()(SYS_ioctl, fd, TIOCNOTTY))));
    if (leader != &process) continue;
    // All signals are blocked, so that nobody is stopped for being in the background (tcsetpgrp(3)).
    TRY(restored.memory->write_value(restored.scratch,
                                     restoring.nested.seen_by(process.pid(), process.foreground())));
    TRY(in(label, in("TIOCSPGRP", restored.leader()(SYS_ioctl, fd, TIOCSPGRP, restored.scratch))));
  }
  return {};
}

}  // namespace ks::engine
