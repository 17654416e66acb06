// SPDX-License-Identifier: LGPL-2.1-or-later
// The descriptor table of a process: numbers that lead to open files.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstring>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/taking.h"
#include "engine/descriptors.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  image::Descriptors out;
  for (const auto& descriptor : dumping.descriptors.at(process.stopped.pid)) {
    auto* written = out.add_descriptors();
    written->set_number(static_cast<uint32_t>(descriptor.number));
    written->set_file(descriptor.file);
    written->set_close_on_exec(descriptor.close_on_exec);
  }
  process.put(room.name, room.version, out);
  return {};
}

struct Message {
  msghdr header;
  iovec data;
  char byte;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
};

// Made after the process, which has not inherited it. (In a user namespace it may not take it by pidfd_getfd(2).)
Result<int> hand_over(Restoring& restoring, RestoredProcess& process, int source) {
  Message message{};
  message.data = {&message.byte, 1};
  message.header = {.msg_name = nullptr,
                    .msg_namelen = 0,
                    .msg_iov = &message.data,
                    .msg_iovlen = 1,
                    .msg_control = message.control,
                    .msg_controllen = sizeof message.control,
                    .msg_flags = 0};
  cmsghdr head{.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  std::memcpy(message.control, &head, sizeof head);
  std::memcpy(CMSG_DATA(reinterpret_cast<cmsghdr*>(message.control)), &source, sizeof source);
  if (::sendmsg(restoring.sender.get(), &message.header, MSG_NOSIGNAL) != 1) {
    if (errno != EINVAL) return fail_errno("sendmsg");
    return static_cast<int>(TRY(take_from_us(process, source)));  // rings of io_uring, since 6.7
  }

  RemoteAddress at = process.scratch;
  auto there = [at](size_t offset) { return reinterpret_cast<void*>((at + offset).value); };
  message.data.iov_base = there(offsetof(Message, byte));
  message.header.msg_iov = static_cast<iovec*>(there(offsetof(Message, data)));
  message.header.msg_control = there(offsetof(Message, control));
  TRY(process.memory->write_value(at, message));
  TRY(in("recvmsg", process.leader()(SYS_recvmsg, restoring.receiver.get(), at, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)));
  message = TRY(process.memory->read<Message>(at));
  if (message.header.msg_controllen < CMSG_LEN(sizeof(int))) return fail("recvmsg: no descriptor came");
  int received = -1;
  std::memcpy(&received, CMSG_DATA(reinterpret_cast<cmsghdr*>(message.control)), sizeof received);
  return received;
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  if (process.shares_descriptors) return {};
  auto table = TRY(process.read<image::Descriptors>(room.name, room.version));
  // The process has the engine's descriptors. Those that are needed lie in a range that is free here; what is not
  // replaced is closed.
  const DescriptorRange& own = restoring.own_descriptors;
  auto close_between = [&](uint32_t first, uint32_t end) -> Result<> {
    for (auto [from, to] : {std::pair(first, std::min(end, own.first)), std::pair(std::max(first, own.end), end)})
      if (from < to) TRY(in("close_range", process.leader()(SYS_close_range, from, to - 1, 0)));
    return {};
  };
  uint32_t next = 0;
  for (const auto& descriptor : table.descriptors()) {
    std::string label = fmt::format("fd {}", descriptor.number());
    TRY(close_between(next, descriptor.number()));
    int source = TRY(in(label, restoring.open_file(descriptor.file())));
    if (own.contains(descriptor.number())) return fail(label + ": overlaps the engine's own");
    bool late = restoring.late_files.contains(descriptor.file());
    if (late) source = TRY(in(label, hand_over(restoring, process, source)));
    if (source != static_cast<int>(descriptor.number())) {
      TRY(in(label,
             process.leader()(SYS_dup3, source, descriptor.number(), descriptor.close_on_exec() ? O_CLOEXEC : 0)));
      if (late) TRY(in(label, process.leader()(SYS_close, source)));
    } else if (!descriptor.close_on_exec()) {
      TRY(in(label, process.leader()(SYS_fcntl, source, F_SETFD, 0)));
    }
    next = descriptor.number() + 1;
  }
  TRY(close_between(next, ~0u));
  uint32_t first = own.first;
  if (restoring.proc) {
    auto kept = static_cast<uint32_t>(restoring.proc.get());
    if (kept > first) TRY(in("close_range", process.leader()(SYS_close_range, first, kept - 1, 0)));
    first = kept + 1;
  }
  TRY(in("close_range", process.leader()(SYS_close_range, first, own.end - 1, 0)));
  return {};
}

}  // namespace

extern const TaskRoom kDescriptors;
const TaskRoom kDescriptors{.name = "descriptors", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
