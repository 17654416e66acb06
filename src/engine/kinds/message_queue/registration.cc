// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/message_queue/registration.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/text.h"
#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine::message_queue {

namespace {

struct Told {
  int how = 0, signal = 0;
  pid_t pid = 0;
};

// "QSIZE:0          NOTIFY:0     SIGNO:10    NOTIFY_PID:4711  "
Result<Told> ask(int fd) {
  char text[128];
  ssize_t length = ::pread(fd, text, sizeof text, 0);
  if (length < 0) return fail_errno("message queue");
  auto number = [&](std::string_view key) -> std::optional<int> {
    for (auto word : split_words({text, static_cast<size_t>(length)}))
      if (word.starts_with(key)) return parse_number<int>(word.substr(key.size()));
    return std::nullopt;
  };
  auto how = number("NOTIFY:"), signal = number("SIGNO:"), pid = number("NOTIFY_PID:");
  if (!how || !signal || !pid) return fail("does not tell who is to be notified");
  return Told{*how, *signal, *pid};
}

// What the program writes for each queue that we have open.
struct Record {
  uint64_t value;
  int32_t signal, how;
  uint64_t pid, process;  // the kernel's pid, and the first of its processes
  uint64_t user_namespace, credentials, user_namespace_now;
  uint32_t executions, executions_now;  // of its process
  int32_t fd, padding;
};
constexpr int64_t kRecordAt = -static_cast<int64_t>(sizeof(Record));

Result<std::vector<bpf_insn>> write_program(const KernelTypes& types) {
  using namespace bpf;
  constexpr int32_t kMagic = 0x19800202;  // of mqueue
  constexpr uint32_t kGroup = 1;  // PIDTYPE_TGID: a pid has one list of processes for each type, and they have links
  constexpr uint32_t kListHead = 8, kLink = 16;
  uint32_t inode = TRY(types.offset("mqueue_inode_info", "vfs_inode"));
  auto of_queue = [&](const char* member) -> Result<int64_t> {
    return int64_t{TRY(types.offset("mqueue_inode_info", member))} - inode;
  };
  auto event = TRY(of_queue("notify")), owner = TRY(of_queue("notify_owner")),
       user_namespace = TRY(of_queue("notify_user_ns")), executions = TRY(of_queue("notify_self_exec_id"));
  uint32_t first = TRY(types.offset("pid", "tasks")) + kGroup * kListHead;
  int64_t link = TRY(types.offset("task_struct", "pid_links")) + kGroup * kLink;

  std::vector<bpf_insn> code = {
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_DW, BPF_REG_1, BPF_REG_6, kContextFile),
      leave_if_null(BPF_REG_1),
      load(BPF_DW, BPF_REG_7, BPF_REG_1, TRY(types.offset("file", "f_inode"))),
      leave_if_null(BPF_REG_7),
      load(BPF_DW, BPF_REG_1, BPF_REG_7, TRY(types.offset("inode", "i_sb"))),
      leave_if_null(BPF_REG_1),
      load(BPF_DW, BPF_REG_1, BPF_REG_1, TRY(types.offset("super_block", "s_magic"))),
      leave_unless(BPF_REG_1, kMagic),
      load(BPF_W, BPF_REG_1, BPF_REG_6, kContextFd),
      store(BPF_W, BPF_REG_1, kRecordAt + offsetof(Record, fd)),
      store(BPF_W, BPF_REG_1, kRecordAt + offsetof(Record, padding)),
  };
  auto at = [](size_t member) { return kRecordAt + static_cast<int64_t>(member); };
  auto go_to = [&](size_t member) { code.push_back(load(BPF_DW, BPF_REG_8, BPF_REG_10, at(member))); };
  append(code, read(at(offsetof(Record, value)), offsetof(Record, pid), BPF_REG_7, event));
  append(code, read(at(offsetof(Record, pid)), sizeof(uint64_t), BPF_REG_7, owner));
  append(code, read(at(offsetof(Record, user_namespace)), sizeof(uint64_t), BPF_REG_7, user_namespace));
  append(code, read(at(offsetof(Record, executions)), sizeof(uint32_t), BPF_REG_7, executions));
  go_to(offsetof(Record, pid));
  append(code, read(at(offsetof(Record, process)), sizeof(uint64_t), BPF_REG_8, first));
  go_to(offsetof(Record, process));
  append(code, read(at(offsetof(Record, executions_now)), sizeof(uint32_t), BPF_REG_8,
                    TRY(types.offset("task_struct", "self_exec_id")) - link));
  append(code, read(at(offsetof(Record, credentials)), sizeof(uint64_t), BPF_REG_8,
                    TRY(types.offset("task_struct", "cred")) - link));
  go_to(offsetof(Record, credentials));
  append(code, read(at(offsetof(Record, user_namespace_now)), sizeof(uint64_t), BPF_REG_8,
                    TRY(types.offset("cred", "user_ns"))));
  finish(code, kRecordAt, sizeof(Record));
  return code;
}

Result<Iterator> load_iterator() {
  auto types = TRY(KernelTypes::read());
  return Iterator::load(types, "task_file", TRY(write_program(types)));
}

Result<Record> look(int fd) {
  static const Result<Iterator> iterator = load_iterator();
  if (!iterator) return std::unexpected(iterator.error());
  std::string all = TRY(iterator->run(::getpid()));
  for (const auto& record : bpf::records<Record>(all))
    if (record.fd == fd) return record;
  return fail("the kernel does not find the queue");
}

}  // namespace

Result<std::optional<Registration>> registration_of(int fd) {
  Told told = TRY(ask(fd));
  if (told.pid == 0) return std::nullopt;
  if (told.how == SIGEV_THREAD)
    return refuse("is to notify a process by a thread (mq_notify with SIGEV_THREAD), which is not supported yet");
  if (told.how != SIGEV_SIGNAL && told.how != SIGEV_NONE)
    return refuse(fmt::format("is to notify a process in an unknown way, {}", told.how));
  auto looked = look(fd);
  if (!looked) return refuse("is to notify a process (mq_notify), and cannot be looked into: " + looked.error().what);
  bool by_signal = told.how == SIGEV_SIGNAL;
  // Whatever has been read, it was not this.
  if (looked->how != told.how || (by_signal && looked->signal != told.signal))
    return refuse("is to notify a process (mq_notify), and the kernel is unknown");
  if (!looked->process) return refuse("is to notify a process that has ended");
  // Then the kernel sends no signal.
  if (by_signal && looked->executions != looked->executions_now)
    return refuse(fmt::format("is to notify pid {}, which has executed another program since", told.pid));
  if (looked->user_namespace != looked->user_namespace_now)
    return refuse(fmt::format("is to notify pid {}, which has entered another user namespace since", told.pid));
  return Registration{told.pid, by_signal, told.signal, looked->value};
}

}  // namespace ks::engine::message_queue
