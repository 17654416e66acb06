// SPDX-License-Identifier: LGPL-2.1-or-later
// POSIX message queues (mq_overview(7)). Messages are read by being taken and put back: messages.h.
#include <fcntl.h>
#include <fmt/format.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>
#include <optional>
#include <set>

#include "base/file.h"
#include "engine/context/ipc_guard.h"
#include "engine/context/outside.h"
#include "engine/kernel/namespace.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/message_queue/messages.h"
#include "engine/kinds/message_queue/registration.h"
#include "engine/message_queue.pb.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

using Queue = image::OpenMessageQueue;

constexpr std::string_view kName = "message_queue";
constexpr uint32_t kVersion = 3;  // 1: always empty, 2: notifies nobody
constexpr std::string_view kDeleted = " (deleted)";
constexpr uint64_t kFileSystem = 0x19800202;  // magic number of mqueue
constexpr int kMostNames = 100;
constexpr uint64_t kMostBytes = 64 << 20;  // of messages in one queue

bool owns(const OpenFile& file) { return S_ISREG(file.stat.st_mode) && file.file_system == kFileSystem; }

// The number under which a process has the queue: it has, or would be registered no more.
std::optional<int> number_of(const Dumping& dumping, pid_t pid, const OpenFile& queue) {
  for (const OpenFile& file : dumping.open_files)
    if (file.stat.st_dev == queue.stat.st_dev && file.stat.st_ino == queue.stat.st_ino)
      if (int number = dumping.number_of(pid, file.id); number >= 0) return number;
  return std::nullopt;
}

Result<> dump_registration(const Dumping& dumping, const OpenFile& file, int own, Queue& out) {
  auto registration = TRY(message_queue::registration_of(own));
  if (!registration) return {};
  auto number = number_of(dumping, registration->pid, file);
  if (!number) return refuse(fmt::format("is to notify pid {}, which is not part of it", registration->pid));
  // The first one that is put back would be told.
  if (TRY(message_queue::filling_of(own)).messages)
    return refuse_for_now("holds messages and is to notify a process (mq_notify), which is not supported yet");
  auto& put = *out.mutable_registration();
  put.set_pid(registration->pid);
  put.set_number(static_cast<uint32_t>(*number));
  put.set_by_signal(registration->by_signal);
  put.set_signal(registration->signal);
  put.set_value(registration->value);
  return {};
}

// Only for an image, not to examine: to an epoll that watches the queue edge-triggered, each message is an edge.
Result<> dump_messages(const OpenFile& file, Queue& out) {
  Fd own = TRY(open_file(file.magic_link(), O_RDWR | O_NONBLOCK));
  for (auto messages = TRY(message_queue::read_messages(own.get())); auto& message : messages) {
    auto* added = out.add_messages();
    added->set_priority(message.priority);
    added->set_text(std::move(message.text));
  }
  return {};
}

Result<> dump_one(Dumping& dumping, const OpenFile& file, Queue& out) {
  std::string name = file.link.substr(file.link.rfind('/') + 1);
  bool unlinked = file.stat.st_nlink == 0;
  if (unlinked && name.ends_with(kDeleted)) name.resize(name.size() - kDeleted.size());
  uint32_t name_space = dumping.system_v.name_space.at(file.pid);
  if (!unlinked) dumping.open_queues.emplace(name_space, name);
  Fd mine = TRY(file.fetch());
  mq_attr attributes{};
  if (::mq_getattr(mine.get(), &attributes)) return fail_errno("mq_getattr");
  if (auto other = TRY(dumping.outside.sharer(file.stat.st_dev, file.stat.st_ino)))
    return refuse(fmt::format("shared with pid {}, which is not part of it", *other));
  auto own = TRY(open_file(file.magic_link(), O_RDONLY | O_NONBLOCK));
  if (auto filling = TRY(message_queue::filling_of(own.get())); filling.bytes > kMostBytes)
    return refuse(fmt::format("holds {} bytes of messages, more than {}", filling.bytes, kMostBytes));
  TRY(dump_registration(dumping, file, own.get(), out));
  // mq_open(3) uses a mount that nobody sees.
  if (file.link.rfind('/') != 0) return refuse("was opened as a file, which is not supported yet");
  // With none in common we could not tell whether it is that namespace's.
  if (!unlinked) {
    bool there = false;
    auto look = [&]() -> Result<> {
      Fd again(::mq_open(("/" + name).c_str(), O_RDONLY | O_NONBLOCK));
      struct stat stat{};
      there = again && ::fstat(again.get(), &stat) == 0 && stat.st_dev == file.stat.st_dev &&
              stat.st_ino == file.stat.st_ino;
      return {};
    };
    if (name_space == 0)
      TRY(look());
    else
      TRY(inside(TRY(open_namespace(file.pid, "ipc")).get(), CLONE_NEWIPC, look));
    if (!there) return refuse("is not of the IPC namespace of its process, or has got another name");
  } else if (name_space) {
    return refuse("has no name any more, and may be of another IPC namespace than its process");
  }
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_queue(file.stat.st_ino);
  out.set_name_space(name_space);
  out.set_name(name);
  out.set_unlinked(unlinked);
  out.set_mode(file.stat.st_mode & 07777);
  out.set_uid(file.stat.st_uid);
  out.set_gid(file.stat.st_gid);
  out.set_most_messages(attributes.mq_maxmsg);
  out.set_message_bytes(attributes.mq_msgsize);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::vector<std::pair<const OpenFile*, Queue>> openings;
  for (const OpenFile& file : files)
    if (Queue out; TRY(is_done(dumping, file, dump_one(dumping, file, out)))) openings.emplace_back(&file, out);
  std::set<std::pair<dev_t, ino_t>> read;
  for (auto& [file, out] : openings) {
    bool is_first = read.emplace(file->stat.st_dev, file->stat.st_ino).second;
    if (!is_first) out.clear_registration();
    if (is_first && dumping.image && dumping.verdict.ready()) TRY(is_done(dumping, *file, dump_messages(*file, out)));
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

bool is_same(int fd, const Queue& queue) {
  struct stat stat{};
  mq_attr attributes{};
  return ::fstat(fd, &stat) == 0 && ::mq_getattr(fd, &attributes) == 0 &&
         attributes.mq_maxmsg == queue.most_messages() && attributes.mq_msgsize == queue.message_bytes() &&
         stat.st_uid == queue.uid() && stat.st_gid == queue.gid() && (stat.st_mode & 07777) == queue.mode();
}

bool is_there(const std::string& name) {
  Fd there(::mq_open(name.c_str(), O_RDONLY | O_NONBLOCK));
  return there || errno != ENOENT;
}

Result<> open_all(const std::vector<Queue>& openings, const std::string& name, Fds& made) {
  for (const Queue& opening : openings) {
    Fd fd(::mq_open(name.c_str(), static_cast<int>(opening.flags()) & (O_ACCMODE | O_NONBLOCK)));
    if (!fd) return fail_errno("mq_open");
    if (!is_same(fd.get(), opening)) return fail("its name is taken");
    made.emplace(opening.id(), std::move(fd));
  }
  return {};
}

// After a swap that did not happen it holds what it held.
Result<> check_messages(const std::string& name, const std::vector<message_queue::Message>& expected) {
  Fd fd(::mq_open(name.c_str(), O_RDWR | O_NONBLOCK));
  if (!fd) return fail_errno("mq_open");
  if (expected.empty() && TRY(message_queue::filling_of(fd.get())).messages == 0) return {};
  struct stat stat{};
  if (::fstat(fd.get(), &stat)) return fail_errno("fstat");
  if (auto other = TRY(OutsideHolders({}).sharer(stat.st_dev, stat.st_ino)))
    return fail(fmt::format("is in use by pid {}", *other));
  if (TRY(message_queue::read_messages(fd.get())) != expected) return fail("its name is taken");
  return {};
}

Result<Fd> make_queue(const Queue& queue, const std::string& name) {
  mq_attr attributes{};
  attributes.mq_maxmsg = queue.most_messages();
  attributes.mq_msgsize = queue.message_bytes();
  Fd made(::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &attributes));
  if (!made) return fail_errno("mq_open");
  if (::fchown(made.get(), queue.uid(), queue.gid()) || ::fchmod(made.get(), queue.mode()))
    return fail_errno("fchown");
  return made;
}

// All that are open of one queue. One that has no name any more gets its last one for the moment, if that is free.
Result<> make_all(const std::vector<Queue>& openings, const Restoring& restoring, Fds& made) {
  const Queue& queue = openings.front();
  std::vector<message_queue::Message> messages;
  for (const Queue& opening : openings)
    for (const auto& message : opening.messages())
      messages.push_back({.priority = message.priority(), .text = message.text()});
  std::string name = "/" + queue.name();
  bool there = false;
  TRY(restoring.namespaces.in_ipc(queue.name_space(), [&]() -> Result<> {
    there = is_there(name);
    for (int attempt = 0; there && queue.unlinked() && attempt < kMostNames; ++attempt) {
      name = fmt::format("/kernel-swap-{}-{}", ::getpid(), attempt);
      there = is_there(name);
    }
    return {};
  }));
  if (there)
    return restoring.namespaces.in_ipc(queue.name_space(), [&]() -> Result<> {
      TRY(check_messages(name, messages));
      return open_all(openings, name, made);
    });
  return restoring.guard->make_named(queue.name_space(), name, queue.unlinked(), [&]() -> Result<> {
    Fd own = TRY(make_queue(queue, name));
    TRY(open_all(openings, name, made));
    for (const auto& message : messages) TRY(message_queue::send_message(own.get(), message));
    return queue.unlinked() && ::mq_unlink(name.c_str()) ? fail_errno("mq_unlink") : Result<>();
  });
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  std::map<std::pair<uint32_t, uint64_t>, std::vector<Queue>> queues;
  for (const Envelope& envelope : envelopes) {
    Queue queue;
    TRY(parse_body(envelope, queue));
    queues[{queue.name_space(), queue.queue()}].push_back(std::move(queue));
  }
  Fds made;
  for (const auto& [key, openings] : queues)
    TRY(in("message queue /" + openings.front().name(), make_all(openings, restoring, made)));
  return made;
}

Result<> register_process(const Restoring& restoring, const Queue::Registration& registration) {
  RestoredProcess& process = *TRY(restoring.process(registration.pid()));
  sigevent event{};
  event.sigev_notify = registration.by_signal() ? SIGEV_SIGNAL : SIGEV_NONE;
  event.sigev_signo = registration.signal();
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(registration.value());
  TRY(process.memory->write_value(process.scratch, event));
  TRY(in("mq_notify", process.leader()(SYS_mq_notify, registration.number(), process.scratch)));
  return {};
}

// When the messages are there, of which it is not to be told.
Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    Queue queue;
    TRY(parse_body(envelope, queue));
    if (queue.has_registration()) TRY(register_process(restoring, queue.registration()));
  }
  return {};
}

}  // namespace

extern const Kind kMessageQueue;
const Kind kMessageQueue{.name = kName,
                         .version = kVersion,
                         .owns = owns,
                         .dump = dump,
                         .make = make,
                         .connect = connect,
                         .of_holder = true,
                         .disturbs = true};

}  // namespace ks::engine
